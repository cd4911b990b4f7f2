#!/usr/bin/python
# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: publication_info
short_description: Read the files of a publication on the CA host
version_added: 0.1.0
description:
  - Returns the texts of the five files of a publication of M(quietdoor.mtls.publication), for M(quietdoor.mtls.trust_install).
    It verifies nothing; M(quietdoor.mtls.trust_install) does. Changes nothing.
  - As a task with C(delegate_to), it is read once for all hosts of the task, and again after one minute.
  - Needs no library.
options:
  path:
    description: The directory of the publication. Empty if unknown, which fails.
    type: path
    required: true
  optional:
    description: Whether a publication that does not exist is a warning, as in check mode before the first run.
    type: bool
    default: false
extends_documentation_fragment:
  - quietdoor.mtls.attributes.info
seealso:
  - module: quietdoor.mtls.publication
  - module: quietdoor.mtls.trust_install
author:
  - quietdoor.mtls authors (@quietdoor)
"""

EXAMPLES = r"""
- name: Read the publication
  quietdoor.mtls.publication_info:
    path: /srv/quietdoor/authority-publication
  delegate_to: ca.example.org
  register: published

- name: Install the publication
  quietdoor.mtls.trust_install:
    publication: "{{ published.files }}"
"""

RETURN = r"""
exists:
  description: Whether the publication exists, that is, its C(trust.json).
  returned: success
  type: bool
  sample: true
files:
  description: The texts of the files by name. Empty if the publication does not exist.
  returned: success
  type: dict
  sample:
    trust.json: '{"format": 1, "generation": 1732362000}'
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.module_runner import run
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.publication_files import read_files


def work(module: Any) -> dict[str, Any]:
    """Return the files."""
    files = read_files(module.params["path"])
    return {"changed": False, "exists": bool(files), "files": files}


def main() -> None:
    """Run the module."""
    spec = {"path": {"type": "path", "required": True}, "optional": {"type": "bool", "default": False}}
    run(AnsibleModule(argument_spec=spec, supports_check_mode=True), work)


if __name__ == "__main__":
    main()
