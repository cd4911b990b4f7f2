#!/usr/bin/python
# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: trust_info
short_description: What a web host believes today, and whom that would shut out
version_added: 0.1.0
description:
  - Looks at the trust that is live on a web host with the clock of today. The chain, its CRLs with their signatures and dates,
    and every certificate that is good according to C(identities.json), which C(openssl verify) has to take with exactly that
    chain and these CRLs. Changes nothing.
  - A CRL that has ended, or that is not of this CA, makes the module fail, for nobody with a certificate gets in then.
options:
  conf_path:
    description: The directory of C(nginx.conf).
    type: path
    default: /etc/nginx
  min_remaining:
    description: A CRL that ends sooner than this is among RV(problems), a duration as in V(7d).
    type: str
    default: 0s
extends_documentation_fragment:
  - quietdoor.mtls.attributes.info
notes:
  - It needs the C(openssl) command and no library.
seealso:
  - module: quietdoor.mtls.trust_install
  - module: quietdoor.mtls.publication
author:
  - quietdoor.mtls authors (@quietdoor)
"""

EXAMPLES = r"""
- name: Look at what this host believes
  quietdoor.mtls.trust_info:
  register: trust

- name: Stop where somebody would be shut out
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
    - Who holds a certificate that has not ended, by name. C(not_after) is the end of the latest one, C(verified) says whether
      one was verified, and C(serials) are those of all of them.
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
  description: What would shut people out, a sentence each.
  returned: success
  type: list
  elements: str
  sample: []
unverifiable:
  description: The names of people who have a certificate that is not published as a whole, so that it could not be verified.
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
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.status import trust_status


def work(module: Any) -> dict[str, Any]:
    """Look."""
    remaining = parse_duration(module.params["min_remaining"], "min_remaining")
    belief = trust_status(os.path.normpath(module.params["conf_path"]), datetime.now(timezone.utc), remaining)
    return {
        "changed": False,
        "generation": belief.generation,
        "people": [
            {**asdict(one), "email": list(one.email), "roles": list(one.roles), "serials": list(one.serials)}
            for one in belief.people
        ],
        "crls": [
            {
                "issuer": crl.issuer,
                "number": crl.number,
                "next_update": f"{crl.next_update:%Y-%m-%dT%H:%M:%SZ}",
                "entries": crl.entries,
            }
            for crl in belief.crls
        ],
        "problems": list(belief.problems),
        "unverifiable": list(belief.unverifiable),
    }


def main() -> None:
    """Entry point."""
    spec = {
        "conf_path": {"type": "path", "default": "/etc/nginx"},
        "min_remaining": {"type": "str", "default": "0s"},
    }
    run(AnsibleModule(argument_spec=spec, supports_check_mode=True), work)


if __name__ == "__main__":
    main()
