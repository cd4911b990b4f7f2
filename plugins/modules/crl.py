#!/usr/bin/python
# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Maintain the CRL of an authority."""

from __future__ import annotations

DOCUMENTATION = r"""
module: crl
short_description: Maintain the CRL of an authority
version_added: 0.1.0
description:
  - Writes the authority's certificate revocation list (X.509 version 2, numbered, with authority key identifier) to
    C(crl/ca.crl.pem), and as DER to C(crl/ca.crl.der), if it is missing, lacks a revocation, or is due.
  - A revoked certificate stays on it until one CRL was issued after its expiry (RFC 5280 section 3.3).
  - For an issuing CA it also maintains copies of the CRLs of the CAs above (C(crl/issuers.crl.pem)), because the verification of
    a certificate needs the CRL of every CA up to the root. It writes all of them into C(crl/chain.crl.pem), its own
    first, for C(openssl verify -crl_check_all) or for nginx.
    The directory of the root may be unavailable; O(issuer) and O(issuer_crl) provide a new CRL of it.
  - With an expired CRL nginx refuses every client. Run this module on a schedule well inside O(renew_before).
author:
  - quietdoor.mtls authors (@quietdoor)
options:
  valid_for:
    description:
      - The validity of a CRL.
    type: str
    default: 30d
  renew_before:
    description:
      - The time before its expiry at which a CRL is replaced.
    type: str
    default: 15d
  min_remaining:
    description:
      - A CRL that expires sooner than this is never left in place. Must not be longer than O(renew_before).
      - If it cannot be replaced, for example because the key does not open, the module fails with the remaining validity.
    type: str
    default: 7d
  issuer:
    description:
      - The authority above an issuing CA. While its directory is available, its current CRL is copied.
      - It is verified first. A CRL that is damaged, expired or has a lower number than the copy is not copied, with a warning.
    type: dict
    suboptions:
      path:
        description:
          - The issuer's directory. It may be unavailable.
        type: path
        required: true
  issuer_crl:
    description:
      - A file on this host with a new CRL of a CA above, PEM or DER, that was created on the host of the root.
      - It is verified first. An unusable CRL is refused.
    type: path
  predecessor:
    description:
      - Whether this is a predecessor of the authority that issues now.
      - If the CA certificate of a predecessor has expired, nothing is done, with a warning. For any other authority that is an
        error.
    type: bool
    default: false
  warn_before:
    description:
      - The module warns about a CRL of a CA above that expires sooner than this.
    type: str
    default: 30d
extends_documentation_fragment:
  - quietdoor.mtls.authority
  - quietdoor.mtls.authority.passphrase
  - quietdoor.mtls.attributes
"""

EXAMPLES = r"""
- name: Maintain the CRL
  quietdoor.mtls.crl:
    path: /srv/quietdoor/authority
    passphrase: "{{ vault_authority_passphrase }}"
    valid_for: 30d
    renew_before: 15d

- name: Maintain the CRL of an offline root, on the host of the root
  quietdoor.mtls.crl:
    path: /media/offline/authority
    passphrase: "{{ vault_root_passphrase }}"
    valid_for: 365d
    renew_before: 180d

- name: Copy the CRL of the offline root to the issuing CA
  quietdoor.mtls.crl:
    path: /srv/quietdoor/authority
    passphrase: "{{ vault_authority_passphrase }}"
    issuer_crl: /tmp/root.crl.pem
"""

RETURN = r"""
crl:
  description: Path of the CRL.
  returned: success
  type: str
  sample: /srv/quietdoor/authority/crl/ca.crl.pem
chain_crl:
  description: Path of the CRLs of all CAs of the chain. For a self-signed authority, RV(crl).
  returned: success
  type: str
  sample: /srv/quietdoor/authority/crl/chain.crl.pem
changes:
  description: The changes to the CRLs of the CAs above that were, or in check mode would be, made.
  returned: success
  type: list
  elements: str
  sample: ["CRL 3 of CN=Example Root CA taken over"]
chain:
  description: The CRL of every CA of the chain, the authority's own first.
  returned: when the authority exists
  type: list
  elements: dict
  contains:
    issuer:
      description: The CA's name in the form of RFC 2253.
      type: str
      sample: CN=Example Root CA
    number:
      description: The number of the CRL; none if the CRL does not exist.
      type: int
      sample: 3
    next_update:
      description: The expiry of the CRL; none if the CRL does not exist.
      type: str
      sample: "2027-11-23T11:39:07Z"
    days_left:
      description: The days until it expires; none if the CRL does not exist.
      type: int
      sample: 364
der:
  description: Path of the CRL as DER.
  returned: success
  type: str
  sample: /srv/quietdoor/authority/crl/ca.crl.der
reason:
  description: The reason why a new CRL was, or in check mode would be, written.
  returned: success
  type: str
  sample: "revoked since: 2B6C0DE1"
number:
  description: The number of the current CRL.
  returned: when there is one
  type: int
  sample: 7
last_update:
  description: The beginning of the validity of the current CRL.
  returned: when there is one
  type: str
  sample: "2026-11-23T11:29:07Z"
next_update:
  description: The expiry of the current CRL.
  returned: when there is one
  type: str
  sample: "2026-12-23T11:39:07Z"
entries:
  description: The number of certificates on it.
  returned: when there is one
  type: int
  sample: 1
"""

import os
from datetime import datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca import issuer_crls
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca.crl import Rules, State, check_rules, has_ended, keep
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca.layout import check_path
from ansible_collections.quietdoor.mtls.plugins.module_utils._common import argument_specs
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.durations import parse_duration
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.module_runner import run
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.timestamps import iso, now
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509 import keys
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509.names import rfc2253


def _shown(state: State | None) -> dict[str, Any]:
    if state is None:
        return {}
    return {
        "number": state.number,
        "last_update": iso(state.last_update),
        "next_update": iso(state.next_update),
        "entries": len(state.serials),
    }


def _end(issuer: str, number: int | None, end: datetime | None, at: datetime) -> dict[str, Any]:
    shown = {"number": number, "next_update": iso(end), "days_left": (end - at).days} if end else {}
    return {"issuer": issuer, "number": None, "next_update": None, "days_left": None, **shown}


def _above(copy: issuer_crls.Copy, at: datetime) -> dict[str, Any]:
    if copy.crl is None:
        return _end(copy.issuer, None, None, at)
    return _end(copy.issuer, issuer_crls.number_of(copy.crl), copy.crl.next_update_utc, at)


def _chain(path: str, own: State | None, above: list[issuer_crls.Copy], at: datetime) -> list[dict[str, Any]]:
    issuer = rfc2253(issuer_crls.chain_of(path)[0].subject)
    first = _end(issuer, own.number if own else None, own.next_update if own else None, at)
    return [first, *(_above(copy, at) for copy in above)]


def _warn(module: AnsibleModule, outcome: issuer_crls.Outcome, at: datetime) -> None:
    least = parse_duration(module.params["warn_before"], "warn_before")
    for warning in outcome.warnings:
        module.warn(warning)
    for copy in outcome.copies:
        unfit = issuer_crls.why_unfit(copy.crl, least, at)
        if unfit:
            module.warn(
                f"The CRL of {copy.issuer}: {unfit}. Without a valid CRL no client gets in. {issuer_crls.HINT}."
            )


def _work(module: AnsibleModule) -> dict[str, Any]:
    params, at = module.params, now()
    durations = (parse_duration(params[name], name) for name in ("valid_for", "renew_before", "min_remaining"))
    rules = check_rules(Rules(*durations))
    layout = check_path(params["path"])
    result: dict[str, Any] = {"chain_crl": layout.crl, "changes": []}
    offer = issuer_crls.Offer(params["issuer"] and params["issuer"]["path"], params["issuer_crl"])
    exists = os.path.exists(layout.certificate)
    if exists and params["predecessor"] and has_ended(params["path"], at):
        module.warn(
            f"The CA certificate of the predecessor {layout.root} has expired, and with it all certificates that it issued: its "
            "CRL was not renewed. Remove it from authority_predecessors."
        )
        return {"changed": False, "reason": "", "crl": layout.crl, "der": layout.crl_der, **result}
    if exists:
        issuer_crls.check_offer(params["path"], offer, at)
    outcome = keep(params["path"], rules, keys.check_passphrase(params["passphrase"]), at, check_mode=module.check_mode)
    if exists:
        above = issuer_crls.keep(params["path"], offer, at, check_mode=module.check_mode)
        _warn(module, above, at)
        result = {
            "chain_crl": layout.chain_crls if above.copies else layout.crl,
            "changes": above.changes,
            "chain": _chain(params["path"], outcome.after, above.copies, at),
        }
    before, after = _shown(outcome.before), _shown(outcome.after) or {"reason": outcome.reason}
    return {
        "changed": outcome.changed or bool(result["changes"]),
        "reason": outcome.reason,
        "crl": layout.crl,
        **result,
        "der": layout.crl_der,
        **_shown(outcome.after),
        "diff": {"before": before, "after": {**after, "issuers": result["changes"]} if result["changes"] else after},
    }


def main() -> None:
    """Run the module."""
    spec = {
        "path": argument_specs.PATH,
        "passphrase": argument_specs.PASSPHRASE,
        "valid_for": {"type": "str", "default": "30d"},
        "renew_before": {"type": "str", "default": "15d"},
        "min_remaining": {"type": "str", "default": "7d"},
        "issuer": {"type": "dict", "options": {"path": argument_specs.PATH}},
        "issuer_crl": {"type": "path"},
        "predecessor": {"type": "bool", "default": False},
        "warn_before": {"type": "str", "default": "30d"},
    }
    run(AnsibleModule(argument_spec=spec, supports_check_mode=True), _work, needs=["cryptography"])


if __name__ == "__main__":
    main()
