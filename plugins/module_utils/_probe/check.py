# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a check is, and how an answer is held against what was expected.

A new check is one :class:`Check` in one of the theme files, and its name in the catalogue (``checks.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable

from .inquiry import GENERATION, VERDICT
from .stages import ASK, CERT, DENY, LETTING_IN, THROUGH, WOULD_DENY
from .wire import CLOSED, HTTP, NOBODY, REJECTED, Answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .inquiry import Inquiry
    from .wire import Identity

# Not the application's, and not what somebody who was let in should get: bad request (nginx's word for a bad
# certificate that no error_page catches), misdirected, and an application that is down.
_NOT_SERVED = (400, 421, 502, 503, 504)
_NO_CONTENT = 204
_UNAUTHORIZED = 401  # RFC 9110 section 15.5.2
_REFUSALS = (403, 429)  # a gate that limits refusals answers some of them with the latter


@dataclass(frozen=True)
class Expectation:
    """:param wrong: says what is wrong with an answer; empty if it is as expected."""

    text: str
    wrong: Callable[[Answer], str]


@dataclass(frozen=True)
class Step:
    """One question of a check: what was asked, what came, and what should have come."""

    label: str
    answer: Answer
    expectation: Expectation


@dataclass(frozen=True)
class Finding:
    """One row of the report: a check's result for one client.

    :param down: the questions whose answer shows that the application does not run, and that answer.
    """

    client: str
    expected: str
    seen: str
    ok: bool
    detail: str = ""
    down: tuple[str, ...] = ()


def _always(_inquiry: Inquiry) -> str:
    return ""


@dataclass(frozen=True)
class Check:
    """One entry of the catalogue.

    :param about: what it asks and why.
    :param run: asks the gate, and judges.
    :param lacks: says what would have to be given for it to make sense; empty if nothing.
    :param needs_openssl: whether it shows certificates made on the spot or reads one.
    """

    name: str
    about: str
    run: Callable[[Inquiry], Iterator[Finding]]
    lacks: Callable[[Inquiry], str] = _always
    needs_openssl: bool = False


def judge(client: str, steps: Iterable[Step], expected: str = "") -> Finding:
    """Return the finding of one client after all its questions.

    :param expected: for the report; default is what the steps expect.
    """
    asked = list(steps)
    deviations = [(step, step.expectation.wrong(step.answer)) for step in asked]
    detail = "; ".join(f"{step.label}: {wrong}" for step, wrong in deviations if wrong)
    return Finding(
        client,
        expected or _unique(step.expectation.text for step in asked),
        _unique(describe(step.answer) for step in asked),
        not detail,
        detail,
        tuple(f"{step.label}: {describe(step.answer)}" for step in asked if step.answer.down),
    )


def describe(answer: Answer) -> str:
    """Return what was seen, in a few words."""
    if answer.down:
        return f"{answer.status or answer.outcome}, the application is down"
    if answer.outcome == HTTP and answer.status:
        verdict = answer.header(VERDICT)
        return f"{answer.status} {verdict or 'without verdict'}"
    if answer.outcome == HTTP:
        return f"TLS {answer.tls} accepted"
    if answer.outcome == REJECTED:
        return f"handshake rejected ({answer.reason})"
    return f"{answer.outcome} ({answer.reason})"


def _unique(texts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(texts))


def _no_http(answer: Answer) -> str:
    if answer.outcome == REJECTED:
        return f"the handshake was rejected ({answer.reason}) where an answer was expected"
    return f"{answer.outcome} ({answer.reason}), which proves nothing: is the gate down?"


def _let_in(answer: Answer, *shut: str) -> str:
    """Say how somebody got in who should not have, or that it is not known; ``shut`` are the verdicts that keep out."""
    if answer.outcome != HTTP:
        return _no_http(answer)
    verdict = answer.header(VERDICT)
    if verdict is None:
        return f"{answer.status} without the gate's verdict: it comes from behind the gate or from another server"
    return "" if verdict in shut else f"let in with verdict {verdict!r}"


def _not_refused(answer: Answer) -> str:
    wrong = _let_in(answer, DENY)
    if wrong:
        return wrong
    return "" if answer.status in _REFUSALS else f"verdict deny, but with status {answer.status}"


def _not_asked(answer: Answer) -> str:
    wrong = _let_in(answer, DENY, ASK)
    if wrong:
        return wrong
    if answer.status != _UNAUTHORIZED or not answer.header("WWW-Authenticate"):
        return f"verdict {answer.header(VERDICT)}, but nobody is asked for a password ({answer.status})"
    return ""


def _confirming(wanted: str) -> Expectation:
    """At the status location: the gate's own word that somebody gets in, and why."""

    def wrong(answer: Answer) -> str:
        if answer.outcome != HTTP:
            return _no_http(answer)
        verdict = answer.header(VERDICT)
        if verdict is None:
            return f"{answer.status} without the gate's verdict: nothing there answers as a gate of this collection"
        if verdict == DENY:
            return f"turned away with {answer.status} and verdict {verdict!r}"
        if verdict != wanted:
            return f"let in with verdict {verdict!r}, not {wanted!r}"
        return "" if answer.status == _NO_CONTENT else f"verdict {wanted}, but with status {answer.status}"

    return Expectation(f"{_NO_CONTENT} {wanted}", wrong)


def _not_served(answer: Answer) -> str:
    if answer.down:
        return f"{answer.status or answer.outcome}: the application behind the gate did not answer"
    if answer.outcome != HTTP:
        return _no_http(answer)
    if answer.header(VERDICT) is not None or answer.header(GENERATION) is not None:
        return f"{answer.status} with headers that only the gate's own answers carry"
    if answer.status in _NOT_SERVED:
        return f"{answer.status}: the application behind the gate did not answer"
    return ""


def _not_misdirected(answer: Answer) -> str:
    if answer.outcome == REJECTED:
        return ""
    return "" if answer.outcome == HTTP and answer.status == 421 else _not_refused(answer)


REFUSED = Expectation("403 deny", _not_refused)
ASKED = Expectation("401 deny", _not_asked)
CONFIRMED = _confirming(CERT)
SERVED = Expectation("the application", _not_served)
MISDIRECTED = Expectation("421, 403 deny or a rejected handshake", _not_misdirected)


# fate -> what answers it at the status location, which asks nobody for a password, and elsewhere
_AT_STATUS = {DENY: REFUSED, ASK: REFUSED, THROUGH: _confirming(THROUGH), WOULD_DENY: _confirming(WOULD_DENY)}
_ELSEWHERE = {DENY: REFUSED, ASK: ASKED}


def status_for(inquiry: Inquiry, identity: Identity = NOBODY) -> Expectation:
    """What an identity without a good certificate is told at the status location."""
    return one_of(*(_AT_STATUS[fate] for fate in sorted(inquiry.fates(identity))))


def reception(
    inquiry: Inquiry, identity: Identity = NOBODY, let_in: Expectation | None = None, told: Answer | None = None
) -> Expectation:
    """What an identity without a good certificate gets elsewhere behind the gate.

    :param let_in: what those get who are let in; default is the application.
    :param told: the answer of the status location just before; who was turned away there is not let in here.
    """
    possible = inquiry.fates(identity)
    if told is not None and told.header(VERDICT) == DENY:
        possible = possible - LETTING_IN or possible
    entered = tolerant(inquiry, let_in or SERVED)
    return one_of(*(_ELSEWHERE.get(fate, entered) for fate in sorted(possible)))


def tolerant(inquiry: Inquiry, expectation: Expectation) -> Expectation:
    """The same, and that the application is down where that is no deviation."""
    if inquiry.gate.expect_application:
        return expectation
    return Expectation(expectation.text, lambda answer: "" if answer.down else expectation.wrong(answer))


def one_of(*expectations: Expectation) -> Expectation:
    """Any of them."""

    def wrong(answer: Answer) -> str:
        said = [expectation.wrong(answer) for expectation in expectations]
        return "" if "" in said else "; or else ".join(dict.fromkeys(said))

    return Expectation(" or ".join(dict.fromkeys(expectation.text for expectation in expectations)), wrong)


def refused_or(*statuses: int, refusal: Expectation = REFUSED) -> Expectation:
    """The gate's refusal, or one of nginx's own answers to a request that it does not take at all."""
    text = " or ".join([refusal.text, *map(str, statuses)])
    return Expectation(text, lambda answer: "" if answer.status in statuses else refusal.wrong(answer))


def needs_refusal(inquiry: Inquiry) -> str:
    """Say what is missing where nobody is refused."""
    return inquiry.all_get_in


def not_application(inquiry: Inquiry) -> Expectation:
    """Anything but the application: another site at the same address may well have something to say."""

    def wrong(answer: Answer) -> str:
        # nginx's "return 444" hangs up after the handshake: a refusal too, since the gate is known to be up.
        hung_up = answer.handshake and answer.reason == CLOSED
        if hung_up or not _not_misdirected(answer):
            return ""
        if answer.outcome != HTTP:
            return _no_http(answer)
        return f"{answer.status}, which looks like the application" if inquiry.is_application(answer) else ""

    return Expectation("not the application", wrong)
