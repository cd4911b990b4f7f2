#!/usr/bin/python
# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gate_second_reading
short_description: Let crossplane read the configuration of nginx too, and look for ways round a gate
version_added: 0.1.0
description:
  - Takes the effective configuration of nginx as it lies on the host (C(nginx -T)) and lets crossplane, another program than this
    collection's own, read it on the control node. Both have to read the same directives in the same lines.
  - Then looks, in what crossplane has read, for everything that module M(quietdoor.mtls.gate_transaction) looks for. Fails where
    a panel is open.
  - crossplane is optional. Where it is not installed for the Python of the control node's Ansible, or where nginx refuses the
    configuration as it is, the check is not made, and a warning says so.
  - The text of the configuration can hold passwords. It is never shown, returned, or kept; findings name file and line.
options:
  manifest:
    description: The text of the gate's C(manifest.json), which says what the sites are.
    type: str
    required: true
  other_ways:
    description: As for module M(quietdoor.mtls.gate_transaction).
    type: str
    choices: [refuse, warn]
    default: refuse
extends_documentation_fragment:
  - quietdoor.mtls.nginx
  - quietdoor.mtls.attributes.info
notes:
  - An action of the same name does the work on the control node.
seealso:
  - module: quietdoor.mtls.gate_transaction
author:
  - quietdoor.mtls authors (@quietdoor)
"""

EXAMPLES = r"""
- name: Let another program read what nginx reads
  quietdoor.mtls.gate_second_reading:
    manifest: "{{ lookup('template', 'manifest.json.j2') }}"
"""

RETURN = r"""
made:
  description: Whether the check was made.
  returned: success
  type: bool
  sample: true
reason:
  description: Why it was not made; empty if it was.
  returned: success
  type: str
  sample: ""
files:
  description: How many files were read.
  returned: success
  type: int
  sample: 12
findings:
  description: What was found, as module M(quietdoor.mtls.gate_transaction) returns it. Warnings only, because an error fails.
  returned: success
  type: list
  elements: dict
  sample: []
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quietdoor.mtls.plugins.module_utils._ansible.errors import Problem
from ansible_collections.quietdoor.mtls.plugins.module_utils._ansible.running import run
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.options import NGINX, SECOND_READING, nginx_from
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.parcel import pack


def work(module: Any) -> dict[str, Any]:
    """Return the files for the action, in a form that nobody reads by accident."""
    nginx = nginx_from(module.params)
    nginx.check()
    trust = os.path.join(nginx.conf_path, "quietdoor", "trust", "http.conf")
    try:
        files = nginx.files(nginx.conf_file)
    except Problem as problem:
        return {"changed": False, "refusal": problem.what, "parcel": ""}
    # Large, ours, and known to hold nothing but maps.
    return {"changed": False, "refusal": "", "parcel": pack({**files, **({trust: ""} if trust in files else {})})}


def main() -> None:
    """Entry point."""
    run(AnsibleModule(argument_spec={**NGINX, **SECOND_READING}, supports_check_mode=True), work)


if __name__ == "__main__":
    main()
