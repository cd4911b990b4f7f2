#!/usr/bin/python
# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Revoke certificates by client name, serial, fingerprint or file."""

from __future__ import annotations

DOCUMENTATION = r"""
module: revocation
short_description: Revoke certificates by client name, serial, fingerprint or file
version_added: 0.1.0
description:
  - Marks certificates as revoked in the authority's database. Exactly one of O(client), O(serial), O(fingerprint) and
    O(certificate) selects them.
  - A client's name selects all serials that it ever had, including old ones.
  - A certificate that was revoked before is not changed, its date and reason included. A row is never removed from
    the database.
  - Neither the authority's private key nor its passphrase is needed. Gates apply the revocation after a CRL with it has
    been written (M(quietdoor.mtls.crl)), published and shipped.
  - As long as a client is V(present) on the roster, M(quietdoor.mtls.client_certs) gives it a new certificate with a
    new key.
author:
  - quietdoor.mtls authors (@quietdoor)
options:
  client:
    description:
      - Name of a client that certificates were issued to, whether or not it is still on the roster.
      - In an adopted authority, O(predecessors) included, it also selects the certificates from before the adoption with that
        common name if they all have the same subject; otherwise a warning names them and they are not revoked.
    type: str
  serial:
    description:
      - A serial in hex, as openssl or the gate's log prints it; colons are allowed.
    type: str
  fingerprint:
    description:
      - SHA-256 or SHA-1 fingerprint of a certificate in hex; colons are allowed.
    type: str
  certificate:
    description:
      - Path of a PEM certificate.
    type: path
  predecessors:
    description:
      - Directories of the authorities before O(path) whose certificates are still valid. The selected certificates are revoked
        there too.
      - A predecessor whose directory is missing or empty, for example because its medium is not mounted, does not delay a
        revocation. A warning names it.
    type: list
    elements: path
    default: []
  reason:
    description:
      - The reason of the revocation (RFC 5280 section 5.3.1).
      - The reason certificateHold is not available, because a revocation cannot be undone.
    type: str
    choices: [unspecified, keyCompromise, CACompromise, affiliationChanged, superseded, cessationOfOperation]
    default: unspecified
extends_documentation_fragment:
  - quietdoor.mtls.authority
  - quietdoor.mtls.attributes
"""

EXAMPLES = r"""
- name: Revoke all certificates of a client whose laptop was stolen
  quietdoor.mtls.revocation:
    path: /srv/quietdoor/authority
    client: carl
    reason: keyCompromise

- name: Revoke one certificate, by its serial from the gate's log
  quietdoor.mtls.revocation:
    path: /srv/quietdoor/authority
    serial: 2B6C0DE1
"""

RETURN = r"""
revoked:
  description: All selected certificates, including those that were revoked before.
  returned: success
  type: list
  elements: dict
  contains:
    serial:
      description: The serial of the certificate.
      type: str
      sample: 2B6C0DE1
    name:
      description: The client's name, if the certificate belongs to one.
      type: str
      sample: carl
    path:
      description: The directory of the authority that issued it.
      type: str
      sample: /srv/quietdoor/authority
    newly:
      description: Whether this run revoked it, or in check mode would.
      type: bool
      sample: true
    revoked_at:
      description: The time of revocation.
      type: str
      sample: "2026-11-23T11:39:07Z"
    reason:
      description: The reason of the revocation.
      type: str
      sample: keyCompromise
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca.layout import is_away
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca.predecessors import check_predecessors
from ansible_collections.quietdoor.mtls.plugins.module_utils._clients.predecessor_clients import revoke_everywhere
from ansible_collections.quietdoor.mtls.plugins.module_utils._clients.revoke import (
    CHOICES,
    Revoked,
    Target,
    describe_kept,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._common import argument_specs
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.module_runner import run
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.timestamps import iso, now

_TARGETS = ("client", "serial", "fingerprint", "certificate")


def _returned(path: str, revoked: Revoked) -> dict[str, Any]:
    revocation = revoked.row.revocation
    return {
        "path": path,
        "serial": revoked.row.serial,
        "name": revoked.client,
        "newly": revoked.newly,
        "revoked_at": iso(revocation.at) if revocation else None,
        "reason": (revocation.reason or "unspecified") if revocation else None,
    }


def _work(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    target = Target(**{name: params[name] for name in _TARGETS})
    away = [path for path in params["predecessors"] if is_away(path)]
    for path in away:
        module.warn(
            f"The predecessor {path} is unavailable: nothing is revoked there. Revoke again when it is available."
        )
    former = check_predecessors(params["path"], [path for path in params["predecessors"] if path not in away])
    revoked = revoke_everywhere(params["path"], former, target, params["reason"], now(), check_mode=module.check_mode)
    newly = [one for _path, one in revoked if one.newly]
    for root in (params["path"], *former) if params["client"] is not None else ():
        doubt = describe_kept(root, params["client"])
        if doubt:
            module.warn(f"{root}: {doubt}")
    return {
        "changed": bool(newly),
        "revoked": [_returned(path, one) for path, one in revoked],
        "diff": {
            "before": {one.row.serial: "valid" for one in newly},
            "after": {
                one.row.serial: f"revoked ({params['reason']}), {one.client or one.row.subject}" for one in newly
            },
        },
    }


def main() -> None:
    """Run the module."""
    spec = {
        "path": argument_specs.PATH,
        "predecessors": {"type": "list", "elements": "path", "default": []},
        "client": {"type": "str"},
        "serial": {"type": "str"},
        "fingerprint": {"type": "str"},
        "certificate": {"type": "path"},
        "reason": {"type": "str", "choices": list(CHOICES), "default": "unspecified"},
    }
    module = AnsibleModule(
        argument_spec=spec,
        supports_check_mode=True,
        mutually_exclusive=[_TARGETS],
        required_one_of=[_TARGETS],
    )
    run(module, _work, needs=["cryptography"])


if __name__ == "__main__":
    main()
