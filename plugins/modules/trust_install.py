#!/usr/bin/python
# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: trust_install
short_description: Install CA chain, CRLs and identities from a publication
version_added: 0.1.0
description:
  - Installs a publication of M(quietdoor.mtls.publication) as the trust of nginx on this host. If a gate is live, the trust is
    tested, switched, reloaded and proven like a gate (see M(quietdoor.mtls.gate_transaction)), but separately, so that a
    revocation never waits for a gate.
  - Refuses a publication that would lock clients out or let revoked clients in. Such a publication is damaged or older than the
    installed one, has a chain that does not reach its root, or a CRL that is missing for a CA of the chain, not signed by it,
    not valid yet, about to expire, or of a lower number than the installed one.
  - Refuses a publication of another authority, which has none of the installed trust anchors, unless
    O(replace_anchor) names its root. A trust anchor is the public key of a self-signed root. A root that was renewed with the
    same key keeps its anchor, and a successor is published beside its predecessor first.
  - Needs only python3 and the C(openssl) command on the host.
options:
  publication:
    description:
      - The texts of the five files of a publication, by name, V(ca.pem) (the CA chain, root last), V(crl.pem) (a CRL of every
        CA of the chain), V(identities.json), V(denied.json) and V(trust.json).
      - The texts must be unchanged, byte for byte. C(lookup('file', ...)) needs C(rstrip=false).
    type: dict
    required: true
  min_remaining:
    description:
      - A CRL that expires sooner is refused, even if it is installed already, so that it is noticed in time. As in V(7d).
      - A revocation does not wait for that. A publication that denies a serial that is not denied here yet is installed if its
        CRLs are still valid, with a warning; see RV(lapsing).
    type: str
    default: 7d
  replace_anchor:
    description:
      - The SHA-256 of the public key of a root, 64 hex digits. A publication with this root is installed although the host trusts
        another authority, every certificate of which is refused from then on.
      - Has no effect on a host that has this root already, and on one without trust.
      - The command C(openssl x509 -in certs/ca.cert.pem -noout -pubkey | openssl pkey -pubin -outform DER | openssl sha256)
        prints it on the CA host.
    type: str
    default: ""
  worker_shutdown_timeout:
    description:
      - The time after a reload for which former workers of nginx may serve open connections, such as WebSockets, as in
        V(10s). Without it such connections stay open until either side closes them.
      - It sets nginx's directive C(worker_shutdown_timeout), which applies to every server of that nginx, from the second reload
        on. The directive is removed if this option is omitted.
    type: str
  main_file:
    description: The file for that directive, relative to O(conf_path). C(nginx.conf) must include it at main level.
    type: str
    default: modules-enabled/quietdoor.conf
extends_documentation_fragment:
  - quietdoor.mtls.nginx
  - quietdoor.mtls.nginx.change
  - quietdoor.mtls.attributes
notes:
  - If a gate is live but nginx does not run, the tested files are put in place, so that nginx starts with them, and the module
    fails.
seealso:
  - module: quietdoor.mtls.publication
  - module: quietdoor.mtls.gate_transaction
author:
  - quietdoor.mtls authors (@quietdoor)
"""

EXAMPLES = r"""
- name: Install the publication of the CA host
  quietdoor.mtls.trust_install:
    publication:
      ca.pem: "{{ lookup('ansible.builtin.file', my_publication ~ '/ca.pem', rstrip=false) }}"
      crl.pem: "{{ lookup('ansible.builtin.file', my_publication ~ '/crl.pem', rstrip=false) }}"
      identities.json: "{{ lookup('ansible.builtin.file', my_publication ~ '/identities.json', rstrip=false) }}"
      denied.json: "{{ lookup('ansible.builtin.file', my_publication ~ '/denied.json', rstrip=false) }}"
      trust.json: "{{ lookup('ansible.builtin.file', my_publication ~ '/trust.json', rstrip=false) }}"
    min_remaining: 7d
"""

RETURN = r"""
generation:
  description: The generation of the publication.
  returned: success
  type: int
  sample: 1732362000
previous_generation:
  description: The last proven generation before, none if there was none.
  returned: success
  type: int
  sample: 1732275600
action:
  description: V(applied), V(resumed) (an earlier run had not finished) or V(unchanged).
  returned: success
  type: str
  sample: applied
reason:
  description: The reason of the change; empty if there was none.
  returned: success
  type: str
  sample: "the publication is newer: crl.pem, denied.json"
tested:
  description: Whether nginx tested it in a scratch copy in this run; that needs a live gate.
  returned: success
  type: bool
  sample: true
crl:
  description: The CRL of every CA of the chain.
  returned: success
  type: list
  elements: dict
  contains:
    issuer:
      description: The CA's name in the form of RFC 2253.
      type: str
      sample: CN=Quiet Door CA,O=Example
    number:
      description: The CRL number; none if the CRL has none.
      type: int
      sample: 7
    next_update:
      description: The expiry of the CRL, UTC.
      type: str
      sample: "2026-12-23T11:39:07Z"
    entries:
      description: The number of revoked certificates on it.
      type: int
      sample: 3
lapsing:
  description:
    - The CRLs that expire sooner than O(min_remaining) and were, or in check mode would be, installed because a
      revocation must not wait, one sentence each. Each is a warning, too.
  returned: success
  type: list
  elements: str
  sample: []
"""

from datetime import datetime, timezone
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.durations import parse_duration
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.module_runner import run
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.timestamps import iso
from ansible_collections.quietdoor.mtls.plugins.module_utils._deploy.module_options import (
    CHANGE,
    NGINX,
    kept,
    nginx_from,
    seconds,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._deploy.worker_shutdown import set_worker_shutdown_timeout
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.chain_verification import Crl
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.install import Request, install_trust
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.trust_anchor import check_anchors, parse_anchor

_CUT = {
    "worker_shutdown_timeout": {"type": "str"},
    "main_file": {"type": "str", "default": "modules-enabled/quietdoor.conf"},
}


def work(module: Any) -> dict[str, Any]:
    """Install the publication."""
    params = module.params
    request = Request(
        publication=params["publication"],
        min_remaining=parse_duration(params["min_remaining"], "min_remaining"),
        prove_timeout=seconds(params, "prove_timeout"),
        keep=kept(params),
        replace_anchor=parse_anchor(params["replace_anchor"], "trust_replace_anchor"),
    )
    nginx = nginx_from(params)
    now = datetime.now(timezone.utc)
    # A wrong anchor must fail before any change, the connection limit included.
    check_anchors(nginx.conf_path, request.publication.get("ca.pem"), request.replace_anchor, now)
    after = seconds(params, "worker_shutdown_timeout") if params["worker_shutdown_timeout"] else None
    # The limit is set before the trust, because a worker uses the limit from the time of its start.
    cutting = set_worker_shutdown_timeout(
        nginx, params["main_file"], after, request.prove_timeout, check_mode=module.check_mode
    )
    outcome = install_trust(nginx, request, now, check_mode=module.check_mode)
    for warning in (*outcome.result.warnings, *outcome.lapsing):
        module.warn(warning)
    header = {"before_header": "trust", "after_header": "trust"}
    return {
        "changed": cutting or outcome.result.action != "unchanged",
        "generation": outcome.generation,
        "previous_generation": outcome.previous_generation,
        "action": outcome.result.action,
        "reason": outcome.result.reason,
        "tested": outcome.result.tested,
        "crl": [described(crl) for crl in outcome.crls],
        "lapsing": list(outcome.lapsing),
        "diff": {**header, "before": outcome.before, "after": outcome.after},
    }


def described(crl: Crl) -> dict[str, Any]:
    """Return a CRL as the module returns it."""
    return {
        "issuer": crl.issuer,
        "number": crl.number,
        "next_update": iso(crl.next_update),
        "entries": crl.entries,
    }


def main() -> None:
    """Run the module."""
    spec = {
        **NGINX,
        **CHANGE,
        **_CUT,
        "publication": {"type": "dict", "required": True},
        "min_remaining": {"type": "str", "default": "7d"},
        "replace_anchor": {"type": "str", "default": ""},
    }
    run(AnsibleModule(argument_spec=spec, supports_check_mode=True), work)


if __name__ == "__main__":
    main()
