# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check malformed and ambiguous requests of clients without a valid certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._contracts.status_protocol import GENERATION_HEADER
from .._probe.http_client import ask_stream
from .._probe.messages import HTTP, Answer, Request
from .check import Check, Finding, Step, judge, needs_refusal
from .expectations import Expectation, expected_answer, not_application, refused_or

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._probe.messages import Identity
    from .session import ProbeSession

_BODY = b"quietdoor=probe"
_SHORT = 1024  # bytes; nginx's own error pages are shorter
_OVERSIZED = "x" * 40000  # bytes; more than nginx's default large_client_header_buffers (4 of 8k) hold in one line


def requests(session: ProbeSession, identity: Identity) -> list[tuple[str, Request, Expectation]]:
    """Return label, request and expected answer of each request as a refused client."""
    refusal = expected_answer(session, identity)
    path, host = session.gate.app_path, session.gate.host()
    other = session.gate.host(session.gate.other_name)
    elsewhere = Request("GET", f"https://{other}{path}", host)
    return [
        *((method, Request(method, path, host, body=_BODY), refusal) for method in ("POST", "PUT", "DELETE")),
        ("OPTIONS", Request("OPTIONS", path, host), refusal),
        ("TRACE", Request("TRACE", path, host), refused_or(405, refusal=refusal)),
        ("HTTP/1.0 without Host", Request("GET", path, None, version="HTTP/1.0"), not_application(session)),
        ("absolute-form target", Request("GET", f"https://{host}{path}", host), refusal),
        ("absolute-form target of another site", elsewhere, not_application(session)),
        (
            "oversized header",
            Request("GET", path, host, (("X-Filler", _OVERSIZED),)),
            refused_or(400, 414, 431, refusal=refusal),
        ),
    ]


def _hostile_requests(session: ProbeSession) -> Iterator[Finding]:
    for identity in session.refused:
        asked = requests(session, identity)
        steps = [Step(label, session.ask(request, identity), expected) for label, request, expected in asked]
        yield judge(identity.name, steps, "the gate's refusal, or nginx's own")


_CLOSE = "Connection: close\r\n\r\n"
_GET = "GET {path} HTTP/1.1\r\nHost: {host}\r\n"
_POST = "POST {path} HTTP/1.1\r\nHost: {host}\r\n"
_CHUNKED = "Transfer-Encoding: chunked\r\n"
_NO_CHUNKS = "\r\n0\r\n\r\n"
_SECOND = _GET + _CLOSE
# Bytes that two servers could read as different requests (RFC 9112 section 11.2): two lengths, odd line ends, a second request
# in the body of the first. Each ends with a request that closes the connection, or makes nginx close it after its answer.
_SHAPES = {
    "length and chunks": _POST + "Content-Length: 5\r\n" + _CHUNKED + _NO_CHUNKS + _SECOND,
    "two lengths": _POST + "Content-Length: 0\r\nContent-Length: 90\r\n\r\n" + _SECOND,
    "unknown coding": _POST + "Transfer-Encoding: xchunked\r\n" + _CLOSE + _NO_CHUNKS,
    "two codings": _POST + _CHUNKED + "Transfer-Encoding: identity\r\n" + _NO_CHUNKS + _SECOND,
    "blank before the colon": _POST + "Transfer-Encoding : chunked\r\n" + _CLOSE + _NO_CHUNKS,
    "folded header": _GET + "X-A: b\r\n X-Client-Verify: SUCCESS\r\n" + _CLOSE,
    "bare line feeds": _SECOND.replace("\r", ""),
    "bare carriage return": _GET + "X-A: b\rX-Client-Verify: SUCCESS\r\n" + _CLOSE,
    "two requests": _GET + "\r\n" + _SECOND,
    "a request in a body": _GET + "Content-Length: 0\r\n\r\n" + _SECOND,
    "a request after chunks": _POST + _CHUNKED + _NO_CHUNKS + _SECOND,
    "two hosts": _GET + "Host: localhost\r\n" + _CLOSE,
    "host with a path": "GET {path} HTTP/1.1\r\nHost: {host}/x\r\n" + _CLOSE,
    "upgrade to h2c": _GET + "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n" + _CLOSE,
    "to be continued": _GET + "Expect: 100-continue\r\n" + _CLOSE,
}
_REJECTIONS = (400, 405, 411, 413, 414, 417, 421, 431, 501, 505)  # nginx's own answers to requests that it rejects


def _smuggling(session: ProbeSession) -> Iterator[Finding]:
    gate = session.gate
    for identity in session.refused:
        expectation = _expect_turned_down(expected_answer(session, identity))
        steps = []
        for label, shape in _SHAPES.items():
            data = shape.format(path=gate.app_path, host=gate.host()).encode("ascii")
            answers = ask_stream(gate.target, session.connection(identity), data)
            steps += [Step(label, answer, expectation) for answer in _drop_closing(answers)]
        yield judge(identity.name, steps)


def _drop_closing(answers: list[Answer]) -> list[Answer]:
    """Return the HTTP answers without the end of the connection, or only the end without any answer."""
    return [answer for answer in answers if answer.outcome == HTTP] or answers


def _expect_turned_down(refusal: Expectation) -> Expectation:
    def wrong(answer: Answer) -> str:
        own = answer.status in _REJECTIONS and answer.header(GENERATION_HEADER) is None and len(answer.body) < _SHORT
        return "" if own else refusal.wrong(answer)

    return Expectation("the gate's refusal, or nginx's own", wrong)


CHECKS = (
    Check("hostile_requests", "odd methods, targets and sizes do not get past the gate", _hostile_requests, needs_refusal,
          needs_openssl=True),
    Check("smuggling", "requests that two servers could read differently do not get past the gate", _smuggling,
          needs_refusal, needs_openssl=True),
)  # fmt: skip
