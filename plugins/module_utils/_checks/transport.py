# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check plain HTTP, TLS versions, session resumption and HTTP/2 of a gate."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .._contracts.status_protocol import STATUS_PATH
from .._probe.http2_client import ALPN as HTTP2
from .._probe.http2_client import ask_http2
from .._probe.http_client import ask, ask_resumed, take_session
from .._probe.messages import (
    CLOSED,
    HTTP,
    NO_ANSWER,
    NOBODY,
    REFUSED_CONNECTION,
    REJECTED,
    TIMED_OUT,
    Answer,
    Connection,
)
from .._probe.raw_client_hello import OLD_VERSIONS, offer_old_tls
from .check import Check, Finding, Step, describe, judge
from .expectations import CONFIRMED, SERVED, Expectation, allow_down, expected_answer, expected_status, not_application
from .identity_headers import misdirected

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._probe.messages import Identity, Request
    from .session import ProbeSession

_REDIRECTS = (301, 302, 307, 308)


def _plain_http(session: ProbeSession) -> Iterator[Finding]:
    gate = session.gate
    expected = Expectation(f"redirect to https://{gate.host()}", lambda answer: _bad_redirect(session, answer))
    answer = session.ask(session.get(gate.app_path), plain=True)
    yield judge(NOBODY.name, [Step(f"plain GET {gate.app_path}", answer, expected)])


def _bad_redirect(session: ProbeSession, answer: Answer) -> str:
    if answer.outcome != HTTP:
        return f"{answer.outcome} ({answer.reason})"
    if answer.status not in _REDIRECTS:
        return f"{answer.status} instead of a redirect"
    location = answer.header("Location") or ""
    try:
        there = urlsplit(location)
        found = (there.scheme, there.hostname, there.port or 443)
    except ValueError:
        found = ("", None, 0)
    wanted = ("https", session.gate.server_name, session.gate.port)
    return "" if found == wanted else f"redirects to {location!r}"


def _plain_ports(session: ProbeSession) -> Iterator[Finding]:
    gate = session.gate
    for port in gate.plain_ports:
        request = session.get(gate.app_path, host=gate.server_name)
        answer = ask(dataclasses.replace(gate.target, port=port), Connection(plain=True), request)
        step = Step(f"plain GET {gate.app_path}", answer, _nothing_or(not_application(session)))
        yield judge(NOBODY.name, [step], f"port {port}: not the application")


def _nothing_or(expectation: Expectation) -> Expectation:
    """Return the expectation, which also accepts a port on which no server answers."""

    def wrong(answer: Answer) -> str:
        return "" if answer.reason in (REFUSED_CONNECTION, TIMED_OUT) else expectation.wrong(answer)

    return Expectation(expectation.text, wrong)


def _needs_plain_ports(session: ProbeSession) -> str:
    return "" if session.gate.plain_ports else "plain_ports was not given"


def _check_old_refused(answer: Answer) -> str:
    # Some servers refuse a version by closing the connection; the steps with 1.2 and 1.3 prove that this one is up.
    hung_up = answer.outcome == NO_ANSWER and answer.reason in (CLOSED, "connection reset by peer")
    if answer.outcome == REJECTED or hung_up:
        return ""
    return "the server would go on" if answer.outcome == HTTP else f"{answer.outcome} ({answer.reason})"


def _tls_versions(session: ProbeSession) -> Iterator[Finding]:
    gate = session.gate
    for version in OLD_VERSIONS:
        answer = offer_old_tls(gate.target, gate.server_name, version)
        expectation = Expectation(f"TLS {version} refused", _check_old_refused)
        yield judge(NOBODY.name, [Step(f"TLS {version}", answer, expectation)])
    for version in ("1.2", "1.3"):
        answer = session.ask(session.get(STATUS_PATH), tls=version)
        expected = expected_status(session)
        yield judge(NOBODY.name, [Step(f"TLS {version}", answer, expected)], f"TLS {version}: {expected.text}")
        if session.authorized:
            answer = session.ask(session.get(STATUS_PATH), session.authorized_client, tls=version)
            yield judge(
                session.authorized_client.name, [Step(f"TLS {version}", answer, CONFIRMED)], f"TLS {version}: 204 cert"
            )


_SESSIONS = (("TLS 1.2 session id", "1.2", False), ("TLS 1.2 ticket", "1.2", True), ("TLS 1.3 ticket", "1.3", True))


def _check_not_resumed(answer: Answer) -> str:
    # A server without this version resumes nothing; check tls_versions tests which versions it must support.
    if answer.outcome not in (HTTP, REJECTED):
        return f"{answer.outcome} ({answer.reason})"
    return "resumed: a certificate revoked meanwhile would not have been checked" if answer.resumed else ""


_NOT_RESUMED = Expectation("a full handshake", _check_not_resumed)


def _resumption(session: ProbeSession) -> Iterator[Finding]:
    request = session.get(STATUS_PATH)
    identity = session.authorized_client
    for label, version, tickets in _SESSIONS:
        held = take_session(session.gate.target, session.connection(identity, tls=version), request, tickets)
        answer = ask_resumed(session.gate.target, held, request)
        finding = judge(identity.name, [Step(label, answer, _NOT_RESUMED)], f"{label}: not resumed")
        seen = f"{'resumed' if answer.resumed else 'not resumed'}, {describe(answer)}"
        yield Finding(finding.client, finding.expected, seen, finding.ok, finding.detail)


def _expect_worthless(session: ProbeSession) -> Expectation:
    expected = misdirected(session)

    def wrong(answer: Answer) -> str:
        # The other checks test full handshakes.
        return expected.wrong(answer) if answer.resumed or answer.outcome not in (HTTP, REJECTED) else ""

    return Expectation("not resumed, or without effect", wrong)


def _resumption_elsewhere(session: ProbeSession) -> Iterator[Finding]:
    """Establish a session where other settings may apply, and offer it to the gate."""
    gate, request, expected = session.gate, session.get(session.gate.app_path), _expect_worthless(session)
    for identity in (NOBODY, session.forged_certificates.foreign, *session.refused_clients[:1]):
        steps = []
        for sni in (gate.other_name, None):
            for label, version, tickets in _SESSIONS:
                there = session.connection(identity, tls=version, sni=sni, verify=False)
                held = take_session(gate.target, there, session.get("/", host=gate.host(gate.other_name)), tickets)
                here = dataclasses.replace(held, connection=dataclasses.replace(there, sni=gate.server_name))
                answer = session.classify(ask_resumed(gate.target, here, request), gate.app_path, identity)
                steps.append(Step(f"{label} of SNI {sni or 'absent'}", answer, expected))
        yield judge(identity.name, steps)


def _http2_requests(session: ProbeSession) -> Iterator[Finding]:
    gate = session.gate
    offer = session.ask(session.get(STATUS_PATH), alpn=(HTTP2, "http/1.1"))
    if offer.alpn != HTTP2:
        seen = "HTTP/2 is not offered" if offer.handshake else describe(offer)
        yield Finding(NOBODY.name, "as by HTTP/1.1", seen, offer.handshake, "" if offer.handshake else seen)
        return
    page, status = session.get(gate.app_path), session.get(STATUS_PATH)
    elsewhere = session.get(gate.app_path, host=gate.host(gate.other_name))
    for identity in (NOBODY, session.forged_certificates.foreign):
        status_answer = _by_http2(session, status, identity)
        expected = expected_answer(session, identity, status=status_answer)
        steps = [Step(f"GET {gate.app_path}", _by_http2(session, page, identity), expected)]
        steps.append(Step(f"GET {STATUS_PATH}", status_answer, expected_status(session, identity)))
        other = _by_http2(session, elsewhere, identity)
        steps.append(Step(f":authority {gate.other_name}", other, not_application(session)))
        yield judge(identity.name, steps)
    for identity in session.authorized[:1]:
        steps = [Step(f"GET {STATUS_PATH}", _by_http2(session, status, identity), CONFIRMED)]
        steps.append(Step(f"GET {gate.app_path}", _by_http2(session, page, identity), allow_down(session, SERVED)))
        yield judge(identity.name, steps)


def _by_http2(session: ProbeSession, request: Request, identity: Identity) -> Answer:
    answer = ask_http2(session.gate.target, session.connection(identity, alpn=(HTTP2,)), request)
    return session.classify(answer, request.target, identity)


def _http2(session: ProbeSession) -> Iterator[Finding]:
    answer = session.ask(session.get(STATUS_PATH), alpn=(HTTP2, "http/1.1"))
    wanted = session.gate.expect_http2
    expected = {None: "reported only", True: "HTTP/2", False: "no HTTP/2"}[wanted]
    offered = answer.alpn == HTTP2
    ok = answer.handshake and (wanted is None or wanted == offered)
    seen = ("HTTP/2" if offered else "no HTTP/2") if answer.handshake else describe(answer)
    yield Finding(NOBODY.name, expected, seen, ok, "" if ok else f"the handshake agreed on {answer.alpn or 'nothing'}")


CHECKS = (
    Check("plain_http_on_tls_port", "plain HTTP on the TLS port is redirected to https", _plain_http),
    Check("plain_ports", "plain HTTP on other ports does not reach the application", _plain_ports, _needs_plain_ports),
    Check("tls_versions", "TLS 1.0 and 1.1 are refused, 1.2 and 1.3 work", _tls_versions),
    Check("resumption", "no TLS session is resumed: a resumed one is not checked against the CRL again", _resumption),
    Check("resumption_elsewhere", "a session established for another server name grants nothing here", _resumption_elsewhere,
          needs_openssl=True),
    Check("http2", "HTTP/2 is offered (ALPN) as expected", _http2),
    Check("http2_requests", "over HTTP/2 the gate decides as over HTTP/1.1", _http2_requests, needs_openssl=True),
)  # fmt: skip
