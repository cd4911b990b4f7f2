#!/usr/bin/python
# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the CRL of an authority fresh and complete."""

from __future__ import annotations

DOCUMENTATION = r"""
module: crl
short_description: Keep the CRL of an authority fresh and complete
version_added: 0.1.0
description:
  - Writes the authority's certificate revocation list (X.509 version 2, numbered, with authority key identifier) to
    C(crl/ca.crl.pem), and as DER to C(crl/ca.crl.der), when it is missing, lacks a revocation, or is due.
  - A certificate that was revoked stays on it until one CRL was issued after its end (RFC 5280 section 3.3).
  - An expired CRL makes nginx refuse everybody. Run this on a schedule well inside O(renew_before).
author:
  - quietdoor.mtls authors (@quietdoor)
options:
  valid_for:
    description:
      - How long a CRL is valid.
    type: str
    default: 30d
  renew_before:
    description:
      - How long before its end a CRL is replaced.
    type: str
    default: 15d
  min_remaining:
    description:
      - A CRL is never left in place that lives shorter than this. Must not be longer than O(renew_before).
      - Where it cannot be replaced, as when the key does not open, the module fails and says how long it still lives.
    type: str
    default: 7d
extends_documentation_fragment:
  - quietdoor.mtls.authority
  - quietdoor.mtls.authority.passphrase
  - quietdoor.mtls.attributes
"""

EXAMPLES = r"""
- name: Keep the CRL fresh
  quietdoor.mtls.crl:
    path: /srv/quietdoor/authority
    passphrase: "{{ vault_authority_passphrase }}"
    valid_for: 30d
    renew_before: 15d
"""

RETURN = r"""
crl:
  description: Path of the CRL.
  returned: success
  type: str
  sample: /srv/quietdoor/authority/crl/ca.crl.pem
der:
  description: Path of the CRL as DER.
  returned: success
  type: str
  sample: /srv/quietdoor/authority/crl/ca.crl.der
reason:
  description: Why a new CRL was, or in check mode would be, written.
  returned: success
  type: str
  sample: "revoked since: 2B6C0DE1"
number:
  description: The number of the current CRL.
  returned: when there is one
  type: int
  sample: 7
last_update:
  description: From when on the current CRL is valid.
  returned: when there is one
  type: str
  sample: "2026-11-23T11:29:07Z"
next_update:
  description: When the current CRL ends.
  returned: when there is one
  type: str
  sample: "2026-12-23T11:39:07Z"
entries:
  description: How many certificates are on it.
  returned: when there is one
  type: int
  sample: 1
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quietdoor.mtls.plugins.module_utils._ansible import arguments
from ansible_collections.quietdoor.mtls.plugins.module_utils._ansible.durations import parse_duration
from ansible_collections.quietdoor.mtls.plugins.module_utils._ansible.running import run
from ansible_collections.quietdoor.mtls.plugins.module_utils._pki import keys
from ansible_collections.quietdoor.mtls.plugins.module_utils._pki.clock import iso, now
from ansible_collections.quietdoor.mtls.plugins.module_utils._pki.crl import Rules, State, check_rules, keep
from ansible_collections.quietdoor.mtls.plugins.module_utils._pki.layout import check_path


def _shown(state: State | None) -> dict[str, Any]:
    if state is None:
        return {}
    return {
        "number": state.number,
        "last_update": iso(state.last_update),
        "next_update": iso(state.next_update),
        "entries": len(state.serials),
    }


def _work(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    layout = check_path(params["path"])
    durations = (parse_duration(params[name], name) for name in ("valid_for", "renew_before", "min_remaining"))
    rules = check_rules(Rules(*durations))
    outcome = keep(
        params["path"], rules, keys.check_passphrase(params["passphrase"]), now(), check_mode=module.check_mode
    )
    return {
        "changed": outcome.changed,
        "reason": outcome.reason,
        "crl": layout.crl,
        "der": layout.crl_der,
        **_shown(outcome.after),
        "diff": {"before": _shown(outcome.before), "after": _shown(outcome.after) or {"reason": outcome.reason}},
    }


def main() -> None:
    """Run the module."""
    spec = {
        "path": arguments.PATH,
        "passphrase": arguments.PASSPHRASE,
        "valid_for": {"type": "str", "default": "30d"},
        "renew_before": {"type": "str", "default": "15d"},
        "min_remaining": {"type": "str", "default": "7d"},
    }
    run(AnsibleModule(argument_spec=spec, supports_check_mode=True), _work, needs=["cryptography"])


if __name__ == "__main__":
    main()
