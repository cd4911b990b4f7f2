# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the reported generation and the refusal page of a gate."""

from __future__ import annotations

import html
import html.parser
import re
from typing import TYPE_CHECKING, Callable

from .._contracts.status_protocol import GENERATION_HEADER, STATUS_PATH
from .._probe.messages import HTTP, NOBODY, Answer, Identity, Request
from .check import Check, Finding, Step, judge, needs_refusal
from .expectations import Expectation, expected_answer
from .expected_outcomes import DENY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .session import ProbeSession

_GENERATION = re.compile(r"gate=([0-9]{1,18}) trust=([0-9]{1,18})")
_TIMES = 4  # new connections, so that more than one worker is likely to answer

_LOADING = {"src", "srcset", "poster", "data", "background", "action", "formaction", "xlink:href"}
_CSS_LOADING = re.compile(r"@import|url\(\s*['\"]?(?!data:|#)", re.IGNORECASE)


def read_generation(answer: Answer) -> tuple[int, int] | None:
    """Return the generations of gate and trust in an answer, or None."""
    match = _GENERATION.fullmatch(answer.header(GENERATION_HEADER) or "")
    return (int(match[1]), int(match[2])) if match else None


def _generation(session: ProbeSession) -> Iterator[Finding]:
    gate = session.gate
    answers = [session.ask(session.get(STATUS_PATH)) for _time in range(_TIMES)]
    reported = list(dict.fromkeys(answer.header(GENERATION_HEADER) or "none" for answer in answers))
    expected = f"gate={_number(gate.generation)} trust={_number(gate.trust)}"
    detail = _check_generation(session, answers)
    yield Finding(NOBODY.name, expected, "; ".join(reported), not detail, detail)


def _number(value: int | None) -> str:
    return "<any>" if value is None else str(value)


def _check_generation(session: ProbeSession, answers: list[Answer]) -> str:
    failed = [answer for answer in answers if answer.outcome != HTTP]
    if failed:
        return f"{failed[0].outcome} ({failed[0].reason})"
    seen = {read_generation(answer) for answer in answers}
    found = seen.pop()
    if found is None or None in seen:
        return f"the header {GENERATION_HEADER} is absent or not of the form gate=<number> trust=<number>"
    if seen:
        return f"{_TIMES} connections reported different generations: an old nginx worker or another server answers too"
    wanted = (session.gate.generation, session.gate.trust)
    stale = [
        f"{name} {is_there} is served, not {should}"
        for name, is_there, should in zip(("gate", "trust"), found, wanted)
        if should is not None and is_there != should
    ]
    return "; ".join(stale) + (": the reload did not take" if stale else "")


class _Resources(html.parser.HTMLParser):
    """A parser that collects the resources that a page loads, and its automatic redirects."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_style = tag == "style"
        values = {name: (value or "").strip() for name, value in attrs}
        loading = _LOADING | ({"href"} if tag not in ("a", "area") else set())
        for name, value in values.items():
            if name in loading and value and not value.lower().startswith(("data:", "#")):
                self.found.append(f"{tag} {name}={value}")
        if _CSS_LOADING.search(values.get("style", "")):
            self.found.append(f"{tag} style")
        if tag == "meta" and values.get("http-equiv", "").lower() == "refresh":
            self.found.append("meta refresh")

    def handle_endtag(self, tag: str) -> None:
        self._in_style = self._in_style and tag != "style"

    def handle_data(self, data: str) -> None:
        if self._in_style and _CSS_LOADING.search(data):
            self.found.append("style sheet with url() or @import")


def external_resources(page: str) -> list[str]:
    """Return the resources that an HTML page loads from elsewhere: the gate refuses them, or they disclose the visit."""
    parser = _Resources()
    parser.feed(page)
    parser.close()
    return parser.found


def _check_page(answer: Answer, contact: str) -> str:
    page = answer.body.decode("utf-8", "replace")
    wrong = []
    if not (answer.header("Content-Type") or "").lower().startswith("text/html"):
        wrong.append(f"Content-Type is {answer.header('Content-Type')}, not text/html")
    if "no-store" not in (answer.header("Cache-Control") or "").lower():
        wrong.append("Cache-Control: no-store is missing")
    if external_resources(page):
        wrong.append(f"it loads {', '.join(external_resources(page))}")
    if contact and contact not in html.unescape(page):
        wrong.append(f"it does not name {contact}")
    return "; ".join(wrong)


def _without_reference(body: bytes) -> bytes:
    # A page may contain the request id (nginx: $request_id, 32 hex digits), which identifies the request in the log.
    return re.sub(rb"\b[0-9a-f]{32}\b", b"", body)


def _refused_and(refusal: Expectation, text: str, wrong: Callable[[Answer], str]) -> Expectation:
    """Return the expectation of a refusal that passes ``wrong`` too."""
    return Expectation(text, lambda answer: refusal.wrong(answer) or wrong(answer))


def _same_as(page: Answer, body: bytes) -> Callable[[Answer], str]:
    def wrong(answer: Answer) -> str:
        bodies = {_without_reference(answer.body), _without_reference(body)}
        types = {answer.header("Content-Type"), page.header("Content-Type")}
        return "" if len(bodies) == len(types) == 1 else "another page than for GET"

    return wrong


def _friendly_page(session: ProbeSession) -> Iterator[Finding]:
    for identity in (NOBODY, session.forged_certificates.foreign, *session.refused_clients):
        if session.is_refused(identity):
            yield _page_of(session, identity)


def _page_of(session: ProbeSession, identity: Identity) -> Finding:
    gate = session.gate
    refusal = expected_answer(session, identity)
    friendly = _refused_and(refusal, "friendly page", lambda answer: _check_page(answer, gate.contact))
    page = session.ask(session.get(gate.path), identity)
    head = session.ask(Request("HEAD", gate.path, gate.host()), identity)
    post = session.ask(Request("POST", gate.path, gate.host(), body=b"user=probe&action=none"), identity)
    steps = [
        Step("GET", page, friendly),
        Step("HEAD", head, _refused_and(refusal, "the same", _same_as(page, b""))),
        Step("POST", post, _refused_and(refusal, "the same", _same_as(page, page.body))),
    ]
    return judge(identity.name, steps, f"{refusal.text}, a self-contained page")


def _unlisted(session: ProbeSession) -> list[Identity]:
    return [client.identity for client in session.gate.clients if (client.expect, client.kind) == (DENY, "valid")]


def _unlisted_page(session: ProbeSession) -> Iterator[Finding]:
    for identity in _unlisted(session):
        answer = session.ask(session.get(session.gate.path), identity)
        expected = _refused_and(expected_answer(session, identity), _UNLISTED, _check_unlisted_text)
        yield judge(
            identity.name, [Step("GET", answer, expected)], f"{expected_answer(session, identity).text}, {_UNLISTED}"
        )


def _check_unlisted_text(answer: Answer) -> str:
    page = html.unescape(answer.body.decode("utf-8", "replace"))
    return "" if _UNLISTED in page else f"the page does not say that the certificate is {_UNLISTED}"


_UNLISTED = "not on the list"  # text of the gate's page for a valid certificate that is not allowed


def _needs_unlisted(session: ProbeSession) -> str:
    missing = "" if _unlisted(session) else f"no client with expect={DENY} and kind=valid was given"
    return missing or ("" if session.is_refused() else f"such a client may get in at stage {session.gate.stage}")


CHECKS = (
    Check("generation", "the running gate reports its generation, the same on every connection", _generation),
    Check("friendly_page", "a refused client gets a self-contained page with the contact, for every method",
          _friendly_page, needs_refusal, needs_openssl=True),
    Check("unlisted_page", "the page for a valid certificate that is not allowed gives this reason",
          _unlisted_page, _needs_unlisted),
)  # fmt: skip
