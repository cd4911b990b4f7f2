#!/usr/bin/python
# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask a gate from outside, as real clients do, and judge the answers."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gate_probe
short_description: Ask a gate from outside, as real clients do, and judge the answers
version_added: 0.1.0
description:
  - Opens real TLS connections to a gate, with and without certificates, and holds every answer against what was expected.
  - A certificate was let in only if the gate says so at C(/.well-known/quietdoor) and the page itself is answered by the
    application (but see O(expect_application)). A refusal counts only if it is the gate's own (its header
    C(X-Quietdoor-Verdict)), never a time-out or an answer of the application. A gate that cannot be reached at all is an error,
    not a refusal.
  - Needs no library. The checks that show false certificates make them on the spot with the C(openssl) command.
  - Run it where the clients are, for example on the control node with C(delegate_to).
author:
  - quietdoor.mtls authors (@quietdoor)
options:
  url:
    description:
      - The https URL of a page behind the gate. Choose one that the application answers, not one that it does not have.
    type: str
    required: true
  address:
    description:
      - Connect here instead of to the host in O(url); C(host), C(host:port) or C([IPv6]:port).
      - If a name has several addresses, the first one that takes a connection is asked; RV(address) says which.
    type: str
  server_name:
    description:
      - The gate's name, for the handshake (SNI) and the C(Host) header. Default is the host in O(url).
    type: str
  other_server_name:
    description:
      - The name of another site at the same address, for check V(sni_other). Default is a name beside the gate's that nobody
        has, C(quietdoor-probe) in the same domain.
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
      - Certificates to show, and what the gate should make of each.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description:
          - What the report calls this client.
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
          - A path is no secret, so it is not hidden in logs.
        type: path
        required: true
      expect:
        description:
          - Whether the gate should let this certificate in (V(cert)) or refuse it (V(deny)), the latter as far as its O(stage)
            refuses anybody.
        type: str
        choices: [cert, deny]
        default: cert
      kind:
        description:
          - What sort of certificate it is. It says which check asks as this client when it is to be refused, V(valid) being
            one that is sound and still not allowed. V(server_auth) is one for servers only.
          - One that was ever revoked is V(revoked), whatever else is the matter with it. With V(other) the window of
            O(stage=fallback) may open to it or not.
          - Default is V(valid) with O(clients[].expect=cert), else V(other).
        type: str
        choices: [valid, revoked, expired, server_auth, foreign, other]
      reason:
        description:
          - Why this is expected; it stands in the report when the gate deviates.
        type: str
  echo_path:
    description:
      - A path where the application echoes the request as a JSON object with the members C(method), C(path) and C(headers), the
        last an object of names and values.
      - Check V(identity_headers) needs it, and all checks recognise the application by it if it is there.
    type: str
  contact:
    description:
      - A text that the refusal page has to name, for example the address of whom to ask.
    type: str
  generation:
    description:
      - The generations that the running gate has to tell. What is not given has to be told, but may be any.
    type: dict
    suboptions:
      gate:
        description:
          - Of the gate's configuration.
        type: int
      trust:
        description:
          - Of the trust files.
        type: int
  plain_ports:
    description:
      - Ports of the same address where plain HTTP may be spoken, for example V(80). Check V(plain_ports) asks there for the
        application; a redirect is fine, and so is a port that does not answer.
    type: list
    elements: int
    default: []
  guarded_paths:
    description:
      - The guarded paths of the site, as in C(gate_sites) of role C(gate). Check V(spellings) asks for each of them in two
        dozen ways.
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
      - A page of the same site that is public, where only some paths are guarded. Check V(public_part) asks for it with every
        kind of certificate. Default is O(public_echo_path).
    type: str
  public_echo_path:
    description:
      - A public path where the application echoes the request as for O(echo_path). Check V(public_headers) needs it.
    type: str
  websocket_path:
    description:
      - Where the application takes WebSockets. Check V(websocket) needs it.
    type: str
  expect_hsts:
    description:
      - Whether C(Strict-Transport-Security) has to be there, refusals included (V(present), and V(preload) with that directive),
        or must not be (V(absent)). Only reported if not given.
    type: str
    choices: [absent, present, preload]
  rate_limit_burst:
    description:
      - How many refusals one address gets at once before the gate limits them, C(burst) in C(rate_limit) of
        C(gate_sites). Check V(rate_limit) sends ten more than that. The address that asks is limited for a while after it.
    type: int
  stage:
    description:
      - The stage of the gate, as in C(gate_sites) of role C(gate); what it is expected to do with clients that have no good
        certificate. Those with a good one get in at every stage.
      - V(enforce) refuses them. V(observe) lets them in, with verdict C(would-deny) at C(/.well-known/quietdoor), and tells the
        application of no identity. V(fallback) goes by O(window) and O(side_door), but never lets in a certificate of
        O(clients[].kind=revoked).
      - What only makes sense where somebody is refused is asked as a revoked client where nobody else is; without one it is
        left out, and RV(left_out) says so.
    type: str
    choices: [observe, fallback, enforce]
    default: enforce
  window:
    description:
      - Only looked at with O(stage=fallback). Whether the address that asks is in the networks of the site's window while that
        is open (V(listed)), so that everybody gets in who was never revoked, with verdict C(fallback); or it is not, or the
        window is closed (V(outside)), so that only a good certificate opens.
      - With V(unknown) either counts, as long as status location and page agree, and RV(checks[].seen) says which it was.
    type: str
    choices: [listed, outside, unknown]
    default: unknown
  side_door:
    description:
      - Only looked at with O(stage=fallback). Whether somebody from outside the window is asked for a password (401, with the
        headers of the gate) instead of being refused. No password is tried.
    type: bool
    default: false
  expect_application:
    description:
      - Whether the application behind the gate has to answer.
      - With V(false) a certificate was let in if the gate says so at C(/.well-known/quietdoor), and an answer 502, 503 or 504
        from behind the gate is no deviation, if the first client that gets in has such an answer too. It is said in
        RV(checks[].seen) and in RV(application_down). Who gets it where that client reaches the application was not let in.
      - The same goes for no answer within O(timeout), where the gate itself answers. That takes its time.
    type: bool
    default: true
  expect_http2:
    description:
      - Whether HTTP/2 has to be offered or must not be. Only reported if absent.
    type: bool
  checks:
    description:
      - The checks to make. Default is all that can be made with what is given; RV(left_out) names the others.
      - Each one that is named here has to be possible, else the module fails.
      - V(no_certificate), V(valid), V(foreign) (another CA, the serial of a valid client), V(look_alike) (a CA that only has the
        real one's name), V(self_signed), V(expired), V(revoked), V(server_auth_only), V(not_allowed), V(other) say who gets in.
      - V(header_spoofing) sends forged identity headers without a good certificate, V(identity_headers) with one. Where others
        get in too, because of O(stage), the former needs O(echo_path).
      - V(sni_none), V(sni_unknown) and V(sni_other) send server names and C(Host) headers that do not belong together. A gate
        with O(stage=observe) may let these through, if the application is told of nobody then.
      - V(spellings) asks for guarded paths in other spellings, V(public_part) and V(public_headers) for what is public, and
        V(internal_locations) for what only nginx itself may ask.
      - V(plain_http_on_tls_port), V(plain_ports), V(tls_versions), V(ciphers), V(ca_names), V(resumption),
        V(resumption_elsewhere) and V(http2) look below HTTP, V(http2_requests) asks the same by HTTP/2.
      - V(generation), V(friendly_page), V(unlisted_page) and V(hsts) look at what the gate tells and at its page, V(websocket) at
        WebSockets, V(hostile_requests) and V(smuggling) at odd requests. V(rate_limit) comes last, because it uses the limit up.
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
      - Seconds for one question, from the connection to the last byte.
    type: float
    default: 5
  fail_on_deviation:
    description:
      - Whether the module fails when a check does. With V(false) look at RV(deviations).
    type: bool
    default: true
extends_documentation_fragment:
  - quietdoor.mtls.attributes.info
"""

EXAMPLES = r"""
- name: The gate lets the canary in, and nobody else
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

- name: One host of several, by its address, and only what a reload changes
  quietdoor.mtls.gate_probe:
    url: https://admin.example.org/
    address: 192.0.2.7
    checks: [no_certificate, generation]
    generation:
      gate: 12
      trust: 1732362000
  delegate_to: localhost

- name: A gate that refuses nobody yet, before an application that need not run
  quietdoor.mtls.gate_probe:
    url: https://admin.example.org/
    stage: observe
    expect_application: false
  delegate_to: localhost

- name: A report that does not stop the play
  quietdoor.mtls.gate_probe:
    url: https://admin.example.org/
    fail_on_deviation: false
  register: probe
  delegate_to: localhost

- name: Show it
  ansible.builtin.debug:
    msg: "{{ probe.table.splitlines() }}"
"""

RETURN = r"""
msg:
  description: The outcome in a few lines; every check that deviates is named.
  returned: always
  type: str
  sample: The gate did as expected in all 41 cases.
checks:
  description: One entry per check and client, in the order of the catalogue.
  returned: when the gate could be asked
  type: list
  elements: dict
  contains:
    name:
      description: Name of the check.
      type: str
      sample: revoked
    client:
      description: Name of the client, or of the false certificate, or V(no certificate).
      type: str
      sample: carl
    expected:
      description: What should have been seen.
      type: str
      sample: 403 deny
    seen:
      description: What was seen.
      type: str
      sample: 403 deny
    ok:
      description: Whether that is as expected.
      type: bool
      sample: true
    detail:
      description: What deviates, request by request; empty if nothing does.
      type: str
      sample: ""
passed:
  description: Number of entries that are as expected.
  returned: when the gate could be asked
  type: int
  sample: 41
deviations:
  description: Number of entries that deviate. The module fails for them unless O(fail_on_deviation=false).
  returned: when the gate could be asked
  type: int
  sample: 0
application_down:
  description:
    - The questions to which the answer was that the application does not run, each with check, client and what was seen; empty if
      there were none. Whether that is a deviation is up to O(expect_application).
  returned: when the gate could be asked
  type: list
  elements: str
  sample: ["valid (alex): GET /: 502, the application is down"]
left_out:
  description: The checks that could not be made, and what would have to be given for each.
  returned: when the gate could be asked
  type: list
  elements: dict
  contains:
    name:
      description: Name of the check.
      type: str
      sample: identity_headers
    missing:
      description: What is missing.
      type: str
      sample: echo_path was not given
table:
  description: All of that as text of fixed width, to be printed.
  returned: when the gate could be asked
  type: str
  sample: "      check           client          expected  seen\nok    no_certificate  no certificate  403 deny  403 deny"
generation:
  description: The generations that the running gate told at the beginning; each is null if it was not told.
  returned: when the gate could be asked
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
  description: The address and port that were asked.
  returned: when the gate could be asked
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
