# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check HSTS, the rate limit of refusals and WebSockets of a gate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._contracts.status_protocol import STATUS_PATH, VERDICT_HEADER
from .._probe.messages import CLOSED, HTTP, NO_ANSWER, NOBODY, Answer, Identity
from .._probe.persistent_connection import PersistentConnection
from .check import Check, Finding, Step, describe, judge
from .client_certificates import needs_authorized_client
from .expectations import CONFIRMED, REFUSED, Expectation, allow_down, expected_answer
from .expected_outcomes import DENY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .session import ProbeSession

HSTS = ("absent", "present", "preload")

_HEADER = "Strict-Transport-Security"  # RFC 6797 section 6.1
_LIMITED = 429  # RFC 6585 section 4
_BEYOND = 10  # refusals above the burst: far more than the limit refills while they are sent
_SWITCHING = 101  # RFC 9110 section 15.2.2


def _hsts(session: ProbeSession) -> Iterator[Finding]:
    wanted = session.gate.expect_hsts
    asked = [
        (identity, path) for identity in (NOBODY, *session.authorized[:1]) for path in (STATUS_PATH, session.gate.path)
    ]
    for identity, path in asked:
        answer = session.ask(session.get(path), identity)
        # An application that need not run cannot send a wrong header while it does not answer.
        silent = answer.outcome == NO_ANSWER and answer.down and not session.gate.expect_application
        if not silent:
            yield _judge_hsts(identity, f"GET {path}", answer, wanted)
    plain = session.ask(session.get(session.gate.path), plain=True)
    yield _judge_hsts(NOBODY, "plain HTTP", plain, "absent")


def _judge_hsts(identity: Identity, label: str, answer: Answer, wanted: str) -> Finding:
    seen = answer.header(_HEADER) or "absent" if answer.outcome == HTTP else describe(answer)
    wrong = hsts_wrong(answer, wanted)
    return Finding(
        identity.name, f"{label}: {wanted or 'reported only'}", seen, not wrong, f"{label}: {wrong}" if wrong else ""
    )


def hsts_wrong(answer: Answer, wanted: str) -> str:
    """Return how the HSTS header of an answer deviates; empty if it is as expected.

    :param wanted: one of HSTS; empty to accept every header.
    """
    if answer.outcome != HTTP:
        return describe(answer)
    value = answer.header(_HEADER)
    if wanted in ("", "absent") or value is None:
        return "" if not wanted or (value is None) == (wanted == "absent") else f"{_HEADER} is {value or 'absent'}"
    directives = [part.strip().lower() for part in value.split(";")]
    ages = [part.partition("=")[2].strip('"') for part in directives if part.partition("=")[0] == "max-age"]
    if len(ages) != 1 or "," in value or not ages[0].isdigit() or not int(ages[0]):
        return f"{_HEADER} is {value}, in which no single max-age above 0 stands"
    if ("preload" in directives) != (wanted == "preload"):
        return f"{_HEADER} is {value}, {'without' if wanted == 'preload' else 'with'} preload"
    return ""


def _rate_limit(session: ProbeSession) -> Iterator[Finding]:
    times = (session.gate.rate_limit_burst or 0) + _BEYOND
    request = session.get(session.gate.path)
    # A password prompt is not a refusal, so it is not counted.
    refused = NOBODY if session.possible_outcomes() == {DENY} else session.always_refused[0]
    answers = [session.ask(request, refused) for _time in range(times)]
    limited = sum(answer.status == _LIMITED and answer.header(VERDICT_HEADER) == DENY for answer in answers)
    wrong = "; ".join(dict.fromkeys(filter(None, map(REFUSED.wrong, answers))))
    if not limited:
        wrong = wrong or f"{times} refusals in a row were all answered"
    yield Finding(refused.name, "429 deny after the burst", f"{limited} of {times} answered 429 deny", not wrong, wrong)
    # The limit is used up now. It must apply neither to the generation, which is public, nor to authorized clients.
    step = Step(f"GET {STATUS_PATH}", session.ask(session.get(STATUS_PATH), refused), _UNLIMITED)
    yield judge(refused.name, [step], "403 deny, not limited")
    for identity in session.authorized[:1]:
        steps = [Step(f"GET {STATUS_PATH}", session.ask(session.get(STATUS_PATH), identity), CONFIRMED)]
        more = [session.ask(request, identity) for _time in range(times)]
        yield judge(
            identity.name,
            [*steps, *(Step("GET", answer, allow_down(session, _NEVER_LIMITED)) for answer in more)],
            "never limited",
        )


def _limited_status(answer: Answer) -> str:
    return "limited, although it only reports the generation" if answer.status == _LIMITED else REFUSED.wrong(answer)


def _limited(answer: Answer) -> str:
    if answer.outcome != HTTP:
        return describe(answer)
    return "a valid certificate is limited too" if answer.status == _LIMITED else ""


_UNLIMITED = Expectation("403 deny", _limited_status)
_NEVER_LIMITED = Expectation("never 429", _limited)


def _websocket(session: ProbeSession) -> Iterator[Finding]:
    for identity in (NOBODY, session.forged_certificates.foreign):
        answer = _upgrade(session, identity)
        yield judge(identity.name, [Step("upgrade", answer, expected_answer(session, identity, _SWITCHED))])
    for identity in session.authorized[:1]:
        answer = _upgrade(session, identity)
        yield judge(identity.name, [Step("upgrade", answer, allow_down(session, _SWITCHED))])


def _upgrade(session: ProbeSession, identity: Identity) -> Answer:
    gate = session.gate
    try:
        held = PersistentConnection(gate.target, session.connection(identity))
    except OSError as error:
        return Answer(NO_ANSWER, str(error) or CLOSED)
    try:
        return session.classify(held.upgrade(gate.websocket_path, gate.host()), gate.websocket_path, identity)
    finally:
        held.close()


def _not_switched(answer: Answer) -> str:
    if answer.outcome != HTTP:
        return describe(answer)
    return "" if answer.status == _SWITCHING else f"{describe(answer)} where the application should take a WebSocket"


_SWITCHED = Expectation("101, a WebSocket", _not_switched)


def _needs_websocket(session: ProbeSession) -> str:
    return "" if session.gate.websocket_path else "websocket_path was not given"


def _needs_limit(session: ProbeSession) -> str:
    missing = "" if session.gate.rate_limit_burst is not None else "rate_limit_burst was not given"
    limitless = "no client is refused for certain without a password prompt, and no revoked client was given"
    refused = session.possible_outcomes() == {DENY} or session.always_refused
    return missing or needs_authorized_client(session) or session.refusal_unknown or ("" if refused else limitless)


CHECKS = (
    Check("hsts", "HSTS is sent with refusals too, never with plain HTTP, and with preload only if expected", _hsts),
    Check("websocket", "a WebSocket opens only with a valid certificate", _websocket, _needs_websocket,
          needs_openssl=True),
)  # fmt: skip

# This check runs last, because requests from this address are limited for a while after it.
LAST = (
    Check("rate_limit", "too many refusals are limited; the status location and valid certificates never are", _rate_limit,
          _needs_limit),
)  # fmt: skip
