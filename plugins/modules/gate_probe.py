#!/usr/bin/python
# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probe a gate from outside as real clients do, and judge the answers."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gate_probe
short_description: Probe a gate from outside as real clients do, and judge the answers
version_added: 0.1.0
description:
  - Opens real TLS connections to a gate, with and without certificates, and compares every answer with the expected one.
  - A certificate counts as let in only if the gate confirms it at C(/.well-known/quietdoor) and the application answers the page
    (but see O(expect_application)). A refusal counts only if it comes from the gate (its header C(X-Quietdoor-Verdict)), never
    if it is a time-out or an answer of the application. A gate that cannot be reached at all is an error, not a refusal.
  - Needs no library. The checks that present forged certificates create them with the C(openssl) command.
  - Run it where the clients are, for example on the control node with C(delegate_to).
author:
  - quietdoor.mtls authors (@quietdoor)
options:
  url:
    description:
      - The https URL of a page behind the gate. Choose a page that the application has.
    type: str
    required: true
  address:
    description:
      - Connect here instead of to the host in O(url); C(host), C(host:port) or C([IPv6]:port).
      - If a name has several addresses, the first one that accepts a connection is used and returned as RV(address).
    type: str
  server_name:
    description:
      - The gate's name, for the handshake (SNI) and the C(Host) header. Default is the host in O(url).
    type: str
  other_server_name:
    description:
      - The name of another site at the same address, for check V(sni_other). Default is an unused name beside the gate's,
        C(quietdoor-probe) in the same domain.
    type: str
  server_ca:
    description:
      - Path of a PEM file with the CA that signed the certificate of the web server. Default is the system's store.
    type: path
  client_ca:
    description:
      - Path of the PEM chain of the CA that signs the clients' certificates, the issuing CA first. Check V(look_alike) needs it.
    type: path
  clients:
    description:
      - Certificates to present, and the expected verdict for each.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description:
          - The name of this client in the report.
        type: str
        required: true
      certificate:
        description:
          - Path of the certificate, PEM, followed by its chain if there is one.
        type: path
        required: true
      key:
        description:
          - Path of the private key, PEM, without a passphrase. It never leaves the host that this module runs on.
          - A path is not secret, so it is not hidden in logs.
        type: path
        required: true
      expect:
        description:
          - Whether the gate should let this certificate in (V(cert)) or refuse it (V(deny)), the latter as far as its O(stage)
            refuses clients.
        type: str
        choices: [cert, deny]
        default: cert
      kind:
        description:
          - The kind of the certificate. It selects the check that presents a certificate with O(clients[].expect=deny).
            V(valid) is a valid certificate that is not allowed. V(server_auth) is one for servers only.
          - A certificate that was ever revoked is V(revoked), even if it has other faults. With V(other) the window of
            O(stage=fallback) may open to it or not.
          - Default is V(valid) with O(clients[].expect=cert), else V(other).
        type: str
        choices: [valid, revoked, expired, server_auth, foreign, other]
      reason:
        description:
          - The reason of the expectation; the report contains it if the gate deviates.
        type: str
  echo_path:
    description:
      - A path at which the application echoes the request as a JSON object with the members C(method), C(path) and C(headers),
        the last an object of names and values.
      - Check V(identity_headers) needs it. If it is given, all checks recognise the application by it.
    type: str
  contact:
    description:
      - A text that the refusal page must contain, for example the address to ask for a certificate.
    type: str
  generation:
    description:
      - The generations that the running gate must report. It must report both, but a generation that is not given may be any.
    type: dict
    suboptions:
      gate:
        description:
          - The generation of the gate's configuration.
        type: int
      trust:
        description:
          - The generation of the trust files.
        type: int
  plain_ports:
    description:
      - Ports of the same address that may serve plain HTTP, for example V(80). Check V(plain_ports) requests the application
        there; a redirect is accepted, and so is a port that does not answer.
    type: list
    elements: int
    default: []
  guarded_paths:
    description:
      - The guarded paths of the site, as in C(gate_sites) of role C(gate). Check V(spellings) requests each of them in two
        dozen spellings.
      - Default is the path of O(url).
    type: list
    elements: str
    default: []
  path_spelling:
    description:
      - Whether the gate refuses other spellings of a guarded path (V(strict)) or only those that nginx itself reads as the
        same (V(loose)).
    type: str
    choices: [strict, loose]
    default: strict
  public_path:
    description:
      - A public page of the same site, if only some paths are guarded. Check V(public_part) requests it with every
        kind of certificate. Default is O(public_echo_path).
    type: str
  public_echo_path:
    description:
      - A public path at which the application echoes the request as for O(echo_path). Check V(public_headers) needs it.
    type: str
  websocket_path:
    description:
      - The path at which the application accepts WebSockets. Check V(websocket) needs it.
    type: str
  expect_hsts:
    description:
      - Whether answers must have C(Strict-Transport-Security), refusals included (V(present), and V(preload) with that
        directive), or must not have it (V(absent)). Only reported if not given.
    type: str
    choices: [absent, present, preload]
  rate_limit_burst:
    description:
      - The number of refusals that one address gets at once before the gate limits them, C(burst) in C(rate_limit) of
        C(gate_sites). Check V(rate_limit) sends ten more than that. The address of the probe stays limited for a while after it.
    type: int
  stage:
    description:
      - The stage of the gate, as in C(gate_sites) of role C(gate). It decides what the gate does with unauthenticated clients.
        Clients with a valid certificate get in at every stage.
      - V(enforce) refuses them. V(observe) lets them in, with verdict C(would-deny) at C(/.well-known/quietdoor), and hands no
        identity to the application. V(fallback) depends on O(window) and O(side_door), but never lets in a certificate of
        O(clients[].kind=revoked).
      - Checks that need a refusal are made as a revoked client if the stage refuses no other client. Without a revoked client
        they are left out and listed in RV(left_out).
    type: str
    choices: [observe, fallback, enforce]
    default: enforce
  window:
    description:
      - Only used with O(stage=fallback). V(listed) means that the window is open and its networks contain the address of the
        probe, so that every client gets in that was never revoked, with verdict C(fallback). V(outside) means that they do not,
        or that the window is closed, so that only clients with a valid certificate get in.
      - With V(unknown) both are accepted, as long as status location and page agree, and RV(checks[].seen) shows the result.
    type: str
    choices: [listed, outside, unknown]
    default: unknown
  side_door:
    description:
      - Only used with O(stage=fallback). Whether clients outside the window get a password prompt (401, with the headers of the
        gate) instead of a refusal. No password is tried.
    type: bool
    default: false
  expect_application:
    description:
      - Whether the application behind the gate must answer.
      - With V(false) a certificate counts as let in if the gate confirms it at C(/.well-known/quietdoor). An answer 502, 503 or
        504 from behind the gate is not a deviation if the first authorized client gets such an answer too. It is reported in
        RV(checks[].seen) and in RV(application_down). If that client reaches the application, a client with such an answer was
        not let in.
      - The same applies to no answer within O(timeout) if the gate itself answers. The check then waits for O(timeout).
    type: bool
    default: true
  expect_http2:
    description:
      - Whether the gate must offer HTTP/2 or must not. Only reported if not given.
    type: bool
  checks:
    description:
      - The checks to make. Default is all checks whose inputs are given; RV(left_out) lists the others.
      - The module fails if a check that is named here lacks an input.
      - V(no_certificate), V(valid), V(foreign) (another CA, the serial of a valid client), V(look_alike) (a CA that copies the
        name of the real one), V(self_signed), V(expired), V(revoked), V(server_auth_only), V(not_allowed) and V(other) check
        the verdict for each kind of certificate.
      - V(header_spoofing) sends forged identity headers without a valid certificate, V(identity_headers) with one. The former
        needs O(echo_path) if O(stage) lets in unauthenticated clients.
      - V(sni_none), V(sni_unknown) and V(sni_other) send server names and C(Host) headers that do not belong together. A gate
        with O(stage=observe) may let these through if the application receives no identity.
      - V(spellings) requests guarded paths in other spellings, V(public_part) and V(public_headers) the public part, and
        V(internal_locations) the locations that only nginx itself may request.
      - V(plain_http_on_tls_port), V(plain_ports), V(tls_versions), V(ciphers), V(ca_names), V(resumption),
        V(resumption_elsewhere) and V(http2) check TLS and plain HTTP, V(http2_requests) sends the same requests by HTTP/2.
      - V(generation), V(friendly_page), V(unlisted_page) and V(hsts) check the reported generation, the refusal page and its
        headers, V(websocket) WebSockets, V(hostile_requests) and V(smuggling) malformed requests. V(rate_limit) runs last,
        because it uses the limit up.
    type: list
    elements: str
    default: []
    choices:
      - no_certificate
      - valid
      - foreign
      - look_alike
      - self_signed
      - expired
      - revoked
      - server_auth_only
      - not_allowed
      - other
      - header_spoofing
      - identity_headers
      - spellings
      - public_part
      - public_headers
      - internal_locations
      - sni_none
      - sni_unknown
      - sni_other
      - plain_http_on_tls_port
      - plain_ports
      - tls_versions
      - resumption
      - resumption_elsewhere
      - http2
      - http2_requests
      - ciphers
      - ca_names
      - generation
      - friendly_page
      - unlisted_page
      - hsts
      - websocket
      - hostile_requests
      - smuggling
      - rate_limit
  timeout:
    description:
      - Seconds for one request, from the connection to the last byte.
    type: float
    default: 5
  fail_on_deviation:
    description:
      - Whether the module fails if a check fails. With V(false) evaluate RV(deviations).
    type: bool
    default: true
extends_documentation_fragment:
  - quietdoor.mtls.attributes.info
"""

EXAMPLES = r"""
- name: Fail unless the gate lets in the probe client and refuses all others
  quietdoor.mtls.gate_probe:
    url: https://admin.example.org/
    server_ca: /srv/quietdoor/web-ca.pem
    client_ca: /srv/quietdoor/published/ca.pem
    contact: it@example.org
    clients:
      - name: door-probe
        certificate: /srv/quietdoor/authority/clients/door-probe/door-probe.chain.pem
        key: /srv/quietdoor/authority/clients/door-probe/door-probe.key
      - name: carl
        certificate: /srv/quietdoor/authority/clients/carl/carl.chain.pem
        key: /srv/quietdoor/authority/clients/carl/carl.key
        expect: deny
        kind: revoked
        reason: left the company
  delegate_to: localhost

- name: Probe one host by its address, with the checks that a reload concerns
  quietdoor.mtls.gate_probe:
    url: https://admin.example.org/
    address: 192.0.2.7
    checks: [no_certificate, generation]
    generation:
      gate: 12
      trust: 1732362000
  delegate_to: localhost

- name: Probe a gate in stage observe whose application may be down
  quietdoor.mtls.gate_probe:
    url: https://admin.example.org/
    stage: observe
    expect_application: false
  delegate_to: localhost

- name: Probe a gate without failing the play
  quietdoor.mtls.gate_probe:
    url: https://admin.example.org/
    fail_on_deviation: false
  register: probe
  delegate_to: localhost

- name: Show the report
  ansible.builtin.debug:
    msg: "{{ probe.table.splitlines() }}"
"""

RETURN = r"""
msg:
  description: The outcome in a few lines, with the name of every check that deviates.
  returned: always
  type: str
  sample: The gate did as expected in all 41 cases.
checks:
  description: One entry per check and client, in the order of the catalogue.
  returned: when the gate could be reached
  type: list
  elements: dict
  contains:
    name:
      description: Name of the check.
      type: str
      sample: revoked
    client:
      description: Name of the client, or of the forged certificate, or V(no certificate).
      type: str
      sample: carl
    expected:
      description: The expected answer.
      type: str
      sample: 403 deny
    seen:
      description: The answer that was seen.
      type: str
      sample: 403 deny
    ok:
      description: Whether the answer is as expected.
      type: bool
      sample: true
    detail:
      description: The deviation of each request; empty if there is none.
      type: str
      sample: ""
passed:
  description: Number of entries that are as expected.
  returned: when the gate could be reached
  type: int
  sample: 41
deviations:
  description: Number of entries that deviate. The module fails for them unless O(fail_on_deviation=false).
  returned: when the gate could be reached
  type: int
  sample: 0
application_down:
  description:
    - The requests whose answer shows that the application does not run, each with check, client and answer; empty if there were
      none. O(expect_application) decides whether that is a deviation.
  returned: when the gate could be reached
  type: list
  elements: str
  sample: ["valid (alex): GET /: 502, the application is down"]
left_out:
  description: The checks that could not be made, and the missing input of each.
  returned: when the gate could be reached
  type: list
  elements: dict
  contains:
    name:
      description: Name of the check.
      type: str
      sample: identity_headers
    missing:
      description: The missing input.
      type: str
      sample: echo_path was not given
table:
  description: The whole report as a fixed-width table, to be printed.
  returned: when the gate could be reached
  type: str
  sample: "      check           client          expected  seen\nok    no_certificate  no certificate  403 deny  403 deny"
generation:
  description: The generations that the running gate reported at the beginning; each is null if it was not reported.
  returned: when the gate could be reached
  type: dict
  contains:
    gate:
      description: Of the gate's configuration.
      type: int
      sample: 12
    trust:
      description: Of the trust files.
      type: int
      sample: 1732362000
address:
  description: The address and port that were probed.
  returned: when the gate could be reached
  type: str
  sample: 192.0.2.7 port 443
"""

import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks import catalogue
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks.expected_outcomes import (
    ENFORCE,
    STAGES,
    UNKNOWN,
    WINDOWS,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks.options import KINDS, gate_from
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks.preflight import check_files, reach
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks.report import report, summary
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks.response_policies import HSTS
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks.session import ProbeSession
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.module_runner import run
from ansible_collections.quietdoor.mtls.plugins.module_utils._probe.forged_certificates import ForgedCertificateFactory

_CLIENT = {
    "name": {"type": "str", "required": True},
    "certificate": {"type": "path", "required": True},
    "key": {"type": "path", "required": True, "no_log": False},
    "expect": {"type": "str", "choices": ["cert", "deny"], "default": "cert"},
    "kind": {"type": "str", "choices": list(KINDS)},
    "reason": {"type": "str"},
}
_SPEC = {
    "url": {"type": "str", "required": True},
    "address": {"type": "str"},
    "server_name": {"type": "str"},
    "other_server_name": {"type": "str"},
    "server_ca": {"type": "path"},
    "client_ca": {"type": "path"},
    "clients": {"type": "list", "elements": "dict", "default": [], "options": _CLIENT},
    "echo_path": {"type": "str"},
    "contact": {"type": "str"},
    "generation": {"type": "dict", "options": {"gate": {"type": "int"}, "trust": {"type": "int"}}},
    "plain_ports": {"type": "list", "elements": "int", "default": []},
    "guarded_paths": {"type": "list", "elements": "str", "default": []},
    "path_spelling": {"type": "str", "choices": ["strict", "loose"], "default": "strict"},
    "public_path": {"type": "str"},
    "public_echo_path": {"type": "str"},
    "websocket_path": {"type": "str"},
    "expect_hsts": {"type": "str", "choices": list(HSTS)},
    "rate_limit_burst": {"type": "int"},
    "stage": {"type": "str", "choices": list(STAGES), "default": ENFORCE},
    "window": {"type": "str", "choices": list(WINDOWS), "default": UNKNOWN},
    "side_door": {"type": "bool", "default": False},
    "expect_application": {"type": "bool", "default": True},
    "expect_http2": {"type": "bool"},
    "checks": {"type": "list", "elements": "str", "default": [], "choices": list(catalogue.NAMES)},
    "timeout": {"type": "float", "default": 5},
    "fail_on_deviation": {"type": "bool", "default": True},
}


def _work(module: AnsibleModule) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="quietdoor-probe-", dir=module.tmpdir) as directory:
        session = ProbeSession(gate_from(module.params), ForgedCertificateFactory(directory))
        check_files(session)
        plan = catalogue.plan(session, module.params["checks"])
        generation = reach(session)
        results = catalogue.run(session, plan)
    outcome = report(session.gate, plan, results, generation)
    if outcome["deviations"] and module.params["fail_on_deviation"]:
        module.fail_json(msg=summary(results), **outcome)
    return {"changed": False, "msg": summary(results), **outcome}


def main() -> None:
    """Run the module."""
    run(AnsibleModule(argument_spec=_SPEC, supports_check_mode=True), _work)


if __name__ == "__main__":
    main()
