#!/usr/bin/python
# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: probe_client_info
short_description: Report whether a host has the certificate and key of the probe client
version_added: 0.1.0
description:
  - Checks whether the certificate and the private key of the probe client exist, and reads the serial of the certificate. Changes
    nothing, and does not read the key.
  - A missing file is not an error, because a rollback does not need them.
  - Needs no library.
options:
  certificate:
    description: Path of the certificate, PEM, followed by its chain. Empty if unknown.
    type: str
    required: true
  key:
    description: Path of the private key. Empty if unknown.
    type: str
    required: true
extends_documentation_fragment:
  - quietdoor.mtls.attributes.info
seealso:
  - module: quietdoor.mtls.gate_probe
author:
  - quietdoor.mtls authors (@quietdoor)
"""

EXAMPLES = r"""
- name: Check the files of the probe client
  quietdoor.mtls.probe_client_info:
    certificate: /srv/quietdoor/authority/clients/door-probe/door-probe.chain.pem
    key: /srv/quietdoor/authority/clients/door-probe/door-probe.key
  delegate_to: localhost
"""

RETURN = r"""
certificate_found:
  description: Whether the certificate exists.
  returned: success
  type: bool
  sample: true
key_found:
  description: Whether the private key exists.
  returned: success
  type: bool
  sample: true
serial:
  description: The serial of the certificate, upper-case hex as nginx writes it. Empty if it does not exist.
  returned: success
  type: str
  sample: 2B6C0DE1
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.module_runner import run
from ansible_collections.quietdoor.mtls.plugins.module_utils._rollout.probe_client_files import read_probe_client_files


def work(module: Any) -> dict[str, Any]:
    """Return the state of the files."""
    return {"changed": False, **read_probe_client_files(module.params["certificate"], module.params["key"])}


def main() -> None:
    """Run the module."""
    # Paths are not secret.
    spec = {"certificate": {"type": "str", "required": True}, "key": {"type": "str", "required": True, "no_log": False}}
    run(AnsibleModule(argument_spec=spec, supports_check_mode=True), work)


if __name__ == "__main__":
    main()
