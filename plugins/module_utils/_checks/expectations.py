# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the answers that a check expects from a gate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable

from .._contracts.status_protocol import GENERATION_HEADER, VERDICT_HEADER
from .._probe.messages import CLOSED, HTTP, NOBODY, REJECTED, Answer
from .expected_outcomes import ASK, CERT, DENY, LETTING_IN, THROUGH, WOULD_DENY

if TYPE_CHECKING:
    from .._probe.messages import Identity
    from .session import ProbeSession


# These do not come from the application, and an authorized client must not get them: bad request (nginx answers with it to a
# bad certificate that no error_page catches), misdirected, and an application that is down.
_NOT_SERVED = (400, 421, 502, 503, 504)


_NO_CONTENT = 204


_UNAUTHORIZED = 401  # RFC 9110 section 15.5.2


_REFUSALS = (403, 429)  # a gate that limits refusals answers some of them with 429


@dataclass(frozen=True)
class Expectation:
    """An expected answer.

    :param wrong: returns how an answer deviates; empty if it is as expected.
    """

    text: str
    wrong: Callable[[Answer], str]


def _describe_no_http(answer: Answer) -> str:
    if answer.outcome == REJECTED:
        return f"the handshake was rejected ({answer.reason}) where an answer was expected"
    return f"{answer.outcome} ({answer.reason}), which proves nothing: is the gate down?"


def _check_kept_out(answer: Answer, *shut: str) -> str:
    """Return how a client was let in that must be kept out, or that it is unknown; ``shut`` are the verdicts that keep out."""
    if answer.outcome != HTTP:
        return _describe_no_http(answer)
    verdict = answer.header(VERDICT_HEADER)
    if verdict is None:
        return f"{answer.status} without the gate's verdict: it comes from behind the gate or from another server"
    return "" if verdict in shut else f"let in with verdict {verdict!r}"


def _check_refused(answer: Answer) -> str:
    wrong = _check_kept_out(answer, DENY)
    if wrong:
        return wrong
    return "" if answer.status in _REFUSALS else f"verdict deny, but with status {answer.status}"


def _check_asked(answer: Answer) -> str:
    wrong = _check_kept_out(answer, DENY, ASK)
    if wrong:
        return wrong
    if answer.status != _UNAUTHORIZED or not answer.header("WWW-Authenticate"):
        return f"verdict {answer.header(VERDICT_HEADER)}, but without a password prompt ({answer.status})"
    return ""


def _confirming(wanted: str) -> Expectation:
    """Return the expectation that the status location confirms access with verdict ``wanted``."""

    def wrong(answer: Answer) -> str:
        if answer.outcome != HTTP:
            return _describe_no_http(answer)
        verdict = answer.header(VERDICT_HEADER)
        if verdict is None:
            return f"{answer.status} without the gate's verdict: no gate of this collection answers there"
        if verdict == DENY:
            return f"turned away with {answer.status} and verdict {verdict!r}"
        if verdict != wanted:
            return f"let in with verdict {verdict!r}, not {wanted!r}"
        return "" if answer.status == _NO_CONTENT else f"verdict {wanted}, but with status {answer.status}"

    return Expectation(f"{_NO_CONTENT} {wanted}", wrong)


def _check_served(answer: Answer) -> str:
    if answer.down:
        return f"{answer.status or answer.outcome}: the application behind the gate did not answer"
    if answer.outcome != HTTP:
        return _describe_no_http(answer)
    if answer.header(VERDICT_HEADER) is not None or answer.header(GENERATION_HEADER) is not None:
        return f"{answer.status} with headers that only the gate's own answers carry"
    if answer.status in _NOT_SERVED:
        return f"{answer.status}: the application behind the gate did not answer"
    return ""


def _check_misdirected(answer: Answer) -> str:
    if answer.outcome == REJECTED:
        return ""
    return "" if answer.outcome == HTTP and answer.status == 421 else _check_refused(answer)


REFUSED = Expectation("403 deny", _check_refused)


ASKED = Expectation("401 deny", _check_asked)


CONFIRMED = _confirming(CERT)


SERVED = Expectation("the application", _check_served)


MISDIRECTED = Expectation("421, 403 deny or a rejected handshake", _check_misdirected)


# outcome -> expected answer at the status location, which never prompts for a password, and elsewhere
_AT_STATUS = {DENY: REFUSED, ASK: REFUSED, THROUGH: _confirming(THROUGH), WOULD_DENY: _confirming(WOULD_DENY)}


_ELSEWHERE = {DENY: REFUSED, ASK: ASKED}


def expected_status(session: ProbeSession, identity: Identity = NOBODY) -> Expectation:
    """Return the expected answer of the status location for an identity without a valid certificate."""
    return one_of(*(_AT_STATUS[outcome] for outcome in sorted(session.possible_outcomes(identity))))


def expected_answer(
    session: ProbeSession, identity: Identity = NOBODY, let_in: Expectation | None = None, status: Answer | None = None
) -> Expectation:
    """Return the expected answer elsewhere behind the gate for an identity without a valid certificate.

    :param let_in: the expected answer if the identity is let in; default is the application.
    :param status: the answer of the status location just before; an identity refused there is not let in here.
    """
    possible = session.possible_outcomes(identity)
    if status is not None and status.header(VERDICT_HEADER) == DENY:
        possible = possible - LETTING_IN or possible
    entered = allow_down(session, let_in or SERVED)
    return one_of(*(_ELSEWHERE.get(outcome, entered) for outcome in sorted(possible)))


def allow_down(session: ProbeSession, expectation: Expectation) -> Expectation:
    """Return the expectation, which also accepts that the application is down if that is not a deviation."""
    if session.gate.expect_application:
        return expectation
    return Expectation(expectation.text, lambda answer: "" if answer.down else expectation.wrong(answer))


def one_of(*expectations: Expectation) -> Expectation:
    """Return an expectation that accepts what any of ``expectations`` accepts."""

    def wrong(answer: Answer) -> str:
        deviations = [expectation.wrong(answer) for expectation in expectations]
        return "" if "" in deviations else "; or else ".join(dict.fromkeys(deviations))

    return Expectation(" or ".join(dict.fromkeys(expectation.text for expectation in expectations)), wrong)


def refused_or(*statuses: int, refusal: Expectation = REFUSED) -> Expectation:
    """Return the expectation of the gate's refusal, or of nginx's own answer to a request that it rejects."""
    text = " or ".join([refusal.text, *map(str, statuses)])
    return Expectation(text, lambda answer: "" if answer.status in statuses else refusal.wrong(answer))


def not_application(session: ProbeSession) -> Expectation:
    """Return the expectation of any answer but the application's, because another site may answer at the same address."""

    def wrong(answer: Answer) -> str:
        # nginx's "return 444" closes the connection after the handshake: a refusal too, since the gate is known to be up.
        hung_up = answer.handshake and answer.reason == CLOSED
        if hung_up or not _check_misdirected(answer):
            return ""
        if answer.outcome != HTTP:
            return _describe_no_http(answer)
        return f"{answer.status}, which looks like the application" if session.is_application(answer) else ""

    return Expectation("not the application", wrong)
