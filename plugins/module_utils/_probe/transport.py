# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Below HTTP: plain HTTP on the TLS port, TLS versions, resumption, HTTP/2."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .check import CONFIRMED, REFUSED, Check, Expectation, Finding, Step, describe, judge, not_application
from .client import ask, ask_resumed, take_session
from .hello import OLD_VERSIONS, offer_old_tls
from .inquiry import STATUS_PATH
from .wire import CLOSED, HTTP, NO_ANSWER, NOBODY, REFUSED_CONNECTION, REJECTED, TIMED_OUT, Answer, Connection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .inquiry import Inquiry

_REDIRECTS = (301, 302, 307, 308)
_HTTP2 = "h2"  # RFC 9113 section 3.1


def _plain_http(inquiry: Inquiry) -> Iterator[Finding]:
    gate = inquiry.gate
    expected = Expectation(f"redirect to https://{gate.host()}", lambda answer: _bad_redirect(inquiry, answer))
    answer = inquiry.ask(inquiry.get(gate.app_path), plain=True)
    yield judge(NOBODY.name, [Step(f"plain GET {gate.app_path}", answer, expected)])


def _bad_redirect(inquiry: Inquiry, answer: Answer) -> str:
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
    wanted = ("https", inquiry.gate.server_name, inquiry.gate.port)
    return "" if found == wanted else f"redirects to {location!r}"


def _plain_ports(inquiry: Inquiry) -> Iterator[Finding]:
    gate = inquiry.gate
    for port in gate.plain_ports:
        request = inquiry.get(gate.app_path, host=gate.server_name)
        answer = ask(dataclasses.replace(gate.target, port=port), Connection(plain=True), request)
        step = Step(f"plain GET {gate.app_path}", answer, _nothing_or(not_application(inquiry)))
        yield judge(NOBODY.name, [step], f"port {port}: not the application")


def _nothing_or(expectation: Expectation) -> Expectation:
    """Also content with a port that nobody serves."""

    def wrong(answer: Answer) -> str:
        return "" if answer.reason in (REFUSED_CONNECTION, TIMED_OUT) else expectation.wrong(answer)

    return Expectation(expectation.text, wrong)


def _needs_plain_ports(inquiry: Inquiry) -> str:
    return "" if inquiry.gate.plain_ports else "plain_ports was not given"


def _old_refused(answer: Answer) -> str:
    # Hanging up is how some servers refuse a version; the steps with 1.2 and 1.3 prove that this one is up.
    hung_up = answer.outcome == NO_ANSWER and answer.reason in (CLOSED, "connection reset by peer")
    if answer.outcome == REJECTED or hung_up:
        return ""
    return "the server would go on" if answer.outcome == HTTP else f"{answer.outcome} ({answer.reason})"


def _tls_versions(inquiry: Inquiry) -> Iterator[Finding]:
    gate = inquiry.gate
    for version in OLD_VERSIONS:
        answer = offer_old_tls(gate.target, gate.server_name, version)
        expectation = Expectation(f"TLS {version} refused", _old_refused)
        yield judge(NOBODY.name, [Step(f"TLS {version}", answer, expectation)])
    for version in ("1.2", "1.3"):
        answer = inquiry.ask(inquiry.get(STATUS_PATH), tls=version)
        yield judge(NOBODY.name, [Step(f"TLS {version}", answer, REFUSED)], f"TLS {version}: 403 deny")
        if inquiry.let_in:
            answer = inquiry.ask(inquiry.get(STATUS_PATH), inquiry.insider, tls=version)
            yield judge(inquiry.insider.name, [Step(f"TLS {version}", answer, CONFIRMED)], f"TLS {version}: 204 cert")


_SESSIONS = (("TLS 1.2 session id", "1.2", False), ("TLS 1.2 ticket", "1.2", True), ("TLS 1.3 ticket", "1.3", True))


def _resumed(answer: Answer) -> str:
    # A server that does not speak the version resumes nothing in it; tls_versions says what it has to speak.
    if answer.outcome not in (HTTP, REJECTED):
        return f"{answer.outcome} ({answer.reason})"
    return "resumed: a certificate revoked meanwhile would not have been looked at" if answer.resumed else ""


_NOT_RESUMED = Expectation("a full handshake", _resumed)


def _resumption(inquiry: Inquiry) -> Iterator[Finding]:
    request = inquiry.get(STATUS_PATH)
    identity = inquiry.insider
    for label, version, tickets in _SESSIONS:
        held = take_session(inquiry.gate.target, inquiry.connection(identity, tls=version), request, tickets)
        answer = ask_resumed(inquiry.gate.target, held, request)
        finding = judge(identity.name, [Step(label, answer, _NOT_RESUMED)], f"{label}: not resumed")
        seen = f"{'resumed' if answer.resumed else 'not resumed'}, {describe(answer)}"
        yield Finding(finding.client, finding.expected, seen, finding.ok, finding.detail)


def _http2(inquiry: Inquiry) -> Iterator[Finding]:
    answer = inquiry.ask(inquiry.get(STATUS_PATH), alpn=(_HTTP2, "http/1.1"))
    wanted = inquiry.gate.expect_http2
    expected = {None: "reported only", True: "HTTP/2", False: "no HTTP/2"}[wanted]
    offered = answer.alpn == _HTTP2
    ok = answer.handshake and (wanted is None or wanted == offered)
    seen = ("HTTP/2" if offered else "no HTTP/2") if answer.handshake else describe(answer)
    yield Finding(NOBODY.name, expected, seen, ok, "" if ok else f"the handshake agreed on {answer.alpn or 'nothing'}")


CHECKS = (
    Check("plain_http_on_tls_port", "plain HTTP on the TLS port is redirected to https", _plain_http),
    Check(
        "plain_ports", "the application is not there for plain HTTP on other ports", _plain_ports, _needs_plain_ports
    ),
    Check("tls_versions", "TLS 1.0 and 1.1 are refused, 1.2 and 1.3 work", _tls_versions),
    Check("resumption", "no TLS session is resumed: a resumed one is not checked against the CRL again", _resumption),
    Check("http2", "HTTP/2 is offered (ALPN) as expected", _http2),
)
