#!/usr/bin/python
# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: trust_info
short_description: Report the installed trust of a web host, and the clients that it would refuse
version_added: 0.1.0
description:
  - Checks the live trust of a web host at the present time, which is the chain and its CRLs with their signatures and dates.
    C(openssl verify) must accept every certificate that is valid according to C(identities.json) with exactly that
    chain and these CRLs. Changes nothing.
  - The module fails for a CRL that has expired, or that is not of this CA, because no client with a certificate gets in then.
options:
  conf_path:
    description: The directory of C(nginx.conf).
    type: path
    default: /etc/nginx
  min_remaining:
    description: A CRL that expires sooner than this is among RV(problems), a duration as in V(7d).
    type: str
    default: 0s
extends_documentation_fragment:
  - quietdoor.mtls.attributes.info
notes:
  - It needs only the C(openssl) command.
seealso:
  - module: quietdoor.mtls.trust_install
  - module: quietdoor.mtls.publication
author:
  - quietdoor.mtls authors (@quietdoor)
"""

EXAMPLES = r"""
- name: Read the trust of this host
  quietdoor.mtls.trust_info:
  register: trust

- name: Fail if a client would be refused
  ansible.builtin.assert:
    that: trust.problems == []
"""

RETURN = r"""
generation:
  description: The generation of the trust.
  returned: success
  type: int
  sample: 1732362000
people:
  description:
    - The clients with a certificate that has not expired, by name. C(not_after) is the expiry of the latest one, C(verified) is
      whether one was verified, and C(serials) are those of all of them.
  returned: success
  type: list
  elements: dict
  sample:
    - name: alex
      email: [alex@example.org]
      roles: [admin]
      not_after: "2027-11-23T11:39:07Z"
      verified: true
      serials: [0A1B2C3D]
crls:
  description: The CRL of every CA in the chain.
  returned: success
  type: list
  elements: dict
  sample:
    - issuer: CN=Example Ops Client CA
      number: 7
      next_update: "2026-12-24T10:00:00Z"
      entries: 3
problems:
  description: The problems that would refuse clients, one sentence each.
  returned: success
  type: list
  elements: str
  sample: []
unverifiable:
  description: The names of clients with a certificate that is not published completely, so that it could not be verified.
  returned: success
  type: list
  elements: str
  sample: []
"""

import os
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.durations import parse_duration
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.module_runner import run
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.timestamps import iso
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.status import trust_status


def work(module: Any) -> dict[str, Any]:
    """Return the state of the trust."""
    remaining = parse_duration(module.params["min_remaining"], "min_remaining")
    trust = trust_status(os.path.normpath(module.params["conf_path"]), datetime.now(timezone.utc), remaining)
    return {
        "changed": False,
        "generation": trust.generation,
        "people": [
            {**asdict(one), "email": list(one.email), "roles": list(one.roles), "serials": list(one.serials)}
            for one in trust.people
        ],
        "crls": [
            {
                "issuer": crl.issuer,
                "number": crl.number,
                "next_update": iso(crl.next_update),
                "entries": crl.entries,
            }
            for crl in trust.crls
        ],
        "problems": list(trust.problems),
        "unverifiable": list(trust.unverifiable),
    }


def main() -> None:
    """Run the module."""
    spec = {
        "conf_path": {"type": "path", "default": "/etc/nginx"},
        "min_remaining": {"type": "str", "default": "0s"},
    }
    run(AnsibleModule(argument_spec=spec, supports_check_mode=True), work)


if __name__ == "__main__":
    main()
