#!/usr/bin/python
# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prove from outside that gates refuse revoked certificates, on earlier connections too."""

from __future__ import annotations

DOCUMENTATION = r"""
module: revocation_proof
short_description: Prove from outside that revoked certificates are refused
version_added: 0.1.0
description:
  - Opens at every gate, with every certificate whose private key is available, the connections that a browser may have open.
    These are TLS sessions that could be resumed (a TLS 1.2 session id, a TLS 1.2 ticket, a TLS 1.3 ticket), a kept-alive
    connection, and a WebSocket. It waits while the certificates are revoked and the web hosts install the new trust, and then
    tries all connections again.
  - Runs on the CA host, where the keys are, and asynchronously (C(async)), as in playbook C(quietdoor.mtls.revoke). It
    writes the file C(ready) into O(rendezvous) when everything is open, and continues when the file C(go) exists.
  - For a certificate without a key (its owner created it) it proves that every gate serves the published trust, that its serial
    is among the denied ones there, and that the openssl command refuses it with exactly the published CRLs.
  - No private key leaves this host, and none is used for anything but TLS handshakes with the gates.
options:
  certificates:
    description:
      - The certificates that are about to be revoked. Required unless O(revoked) is given.
    type: list
    elements: dict
    suboptions:
      name:
        description: The name of the certificate in the result.
        type: str
        required: true
      serial:
        description: The serial of the certificate, upper-case hex.
        type: str
        required: true
      certificate:
        description: The PEM file.
        type: path
        required: true
      key:
        description: The PEM file of its private key, if available.
        type: path
  revoked:
    description:
      - The certificates that are about to be revoked, as RV(quietdoor.mtls.revocation#module:revoked), instead of
        O(certificates).
      - Expired certificates are left out.
    type: list
    elements: dict
  issued:
    description:
      - The results of module M(quietdoor.mtls.certs_info) for each authority, in which the files of O(revoked) are found.
    type: list
    elements: dict
  hosts:
    description: The web hosts and the gates on each.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The name of the host.
        type: str
        required: true
      endpoints:
        description: The gates of the host, a list of C(site), C(address), C(port) and C(server_name).
        type: list
        elements: dict
        required: true
      address:
        description: The address to connect to instead of the gates' own addresses, a host or host:port.
        type: str
        default: ""
      ports:
        description: The port to connect to for each port of a gate, if ports are translated in between.
        type: dict
        default: {}
      server_ca:
        description: PEM file of the CA that signed the web servers' certificates, by default the CAs of this system.
        type: path
        default: ""
      websocket_path:
        description: A path at which the application accepts WebSockets. Without it no WebSocket is tried.
        type: str
        default: ""
      cut_after:
        description: The C(trust_worker_shutdown_timeout) of that host, as in V(10s); empty if it has none.
        type: str
        default: ""
      close_connections:
        description:
          - Whether the former workers of nginx were ended after the revocation. Then an answer on a connection that had begun
            before is a failure. Otherwise it is reported, because a former worker still judges with the trust from before.
        type: bool
        default: false
  publish_path:
    description: The directory of the publication, read when the file C(go) exists.
    type: path
    required: true
  rendezvous:
    description:
      - A private directory on this host, for the files C(ready) and C(go).
      - C(go) is a JSON object that maps the name of each host to its failure, an empty string if there was none.
    type: path
    required: true
  patience:
    description: The time to wait for the file C(go).
    type: str
    default: 15m
  timeout:
    description: Seconds for each request.
    type: float
    default: 5
extends_documentation_fragment:
  - quietdoor.mtls.attributes.info
attributes:
  check_mode:
    support: none
    description: Check mode revokes nothing, so there is nothing to prove.
author:
  - quietdoor.mtls authors (@quietdoor)
"""

EXAMPLES = r"""
- name: Open connections before the revocation
  quietdoor.mtls.revocation_proof:
    certificates:
      - name: carl
        serial: 2B6C0DE1
        certificate: /srv/quietdoor/authority/clients/carl/carl.crt
        key: /srv/quietdoor/authority/clients/carl/carl.key
    hosts:
      - name: web1
        address: web1.example.org
        endpoints:
          - {site: panel, address: "*", port: 443, server_name: panel.example.org}
    publish_path: /srv/quietdoor/publication
    rendezvous: /run/quietdoor-revoke
  async: 900
  poll: 0
  register: witness
"""

RETURN = r"""
unproven:
  description: The hosts without proof that they refuse the certificates.
  returned: success
  type: list
  elements: str
  sample: [web2]
unlisted:
  description: The directories of authorities in O(revoked) that could not be listed, so that nothing is proven for them.
  returned: success
  type: list
  elements: str
  sample: []
failures:
  description: The failures, one sentence for each host.
  returned: success
  type: list
  elements: str
  sample: ["web2: could not be reached"]
proofs:
  description: All attempts.
  returned: success
  type: list
  elements: dict
  contains:
    host:
      description: The host; empty for a proof from the publication.
      type: str
      sample: web1
    gate:
      description: Site, address and port.
      type: str
      sample: panel on 192.0.2.7 port 443
    client:
      description: The name of the certificate.
      type: str
      sample: carl 2B6C0DE1
    tried:
      description: The attempt.
      type: str
      sample: connection kept alive
    seen:
      description: The result of the attempt.
      type: str
      sample: closed by nginx
    ok:
      description: Whether it proves the refusal; null if it proves nothing but must be reported.
      type: bool
      sample: true
kind:
  description: The kind of proof, in words.
  returned: success
  type: str
  sample: "With the private key, from outside: carl 2B6C0DE1."
table:
  description: The proofs as lines of text.
  returned: success
  type: list
  elements: str
  sample: ["ok    web1  panel on 192.0.2.7 port 443  carl 2B6C0DE1  connection kept alive: closed by nginx"]
generation:
  description: The trust generation with which the certificates must be refused.
  returned: success
  type: int
  sample: 1763897947
"""

import json
import os
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks.revocation_proof import Certificate, ProofReport
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks.revoked_certificates import (
    find_certificates,
    unlisted_authorities,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.durations import parse_duration
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.files import PRIVATE_FILE, opened, write_atomic
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.module_runner import run

_PAUSE = 0.2

_CERTIFICATE = {
    "name": {"type": "str", "required": True},
    "serial": {"type": "str", "required": True},
    "certificate": {"type": "path", "required": True},
    "key": {"type": "path", "no_log": False},
}
_HOST = {
    "name": {"type": "str", "required": True},
    "endpoints": {"type": "list", "elements": "dict", "required": True},
    "address": {"type": "str", "default": ""},
    "ports": {"type": "dict", "default": {}},
    "server_ca": {"type": "path", "default": ""},
    "websocket_path": {"type": "str", "default": ""},
    "cut_after": {"type": "str", "default": ""},
    "close_connections": {"type": "bool", "default": False},
}
_SPEC = {
    "certificates": {"type": "list", "elements": "dict", "options": _CERTIFICATE},
    "revoked": {"type": "list", "elements": "dict"},
    "issued": {"type": "list", "elements": "dict"},
    "hosts": {"type": "list", "elements": "dict", "required": True, "options": _HOST},
    "publish_path": {"type": "path", "required": True},
    "rendezvous": {"type": "path", "required": True},
    "patience": {"type": "str", "default": "15m"},
    "timeout": {"type": "float", "default": 5},
}


def _work(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    patience = parse_duration(params["patience"], "patience").total_seconds()
    proof_report = ProofReport(certificates_from(params), params["hosts"], params["timeout"])
    proof_report.open()
    write_atomic(os.path.join(params["rendezvous"], "ready"), b"", PRIVATE_FILE)
    failures = _wait_for(os.path.join(params["rendezvous"], "go"), patience)
    unlisted = unlisted_authorities(params["revoked"] or (), params["issued"] or ())
    return {"changed": False, "unlisted": list(unlisted), **proof_report.judge(params["publish_path"], failures)}


def certificates_from(params: dict[str, Any]) -> list[Certificate]:
    """Return the certificates that the options name."""
    if params["certificates"] is None:
        return list(find_certificates(params["revoked"], params["issued"]))
    return [
        Certificate(one["name"], one["serial"], one["certificate"], one["key"] or "") for one in params["certificates"]
    ]


def _wait_for(path: str, patience: float) -> dict[str, str]:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            with opened(path, encoding="utf-8") as file:
                return {str(host): str(what) for host, what in json.load(file).items()}
        except FileNotFoundError:
            time.sleep(_PAUSE)
    raise MtlsError(
        f"{path} did not appear in {patience:g} s, so nothing was proven",
        "Run the playbook again: revoked certificates stay revoked, and are proven then",
    )


def main() -> None:
    """Run the module."""
    one_of = [("certificates", "revoked")]
    module = AnsibleModule(
        argument_spec=_SPEC,
        mutually_exclusive=one_of,
        required_one_of=one_of,
        required_together=[("revoked", "issued")],
        supports_check_mode=False,
    )
    run(module, _work)


if __name__ == "__main__":
    main()
