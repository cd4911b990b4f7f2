# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define a check, and compare an answer with its expectation.

A new check is one :class:`Check` in one of the theme files, which ``catalogue.py`` lists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable

from .._contracts.status_protocol import VERDICT_HEADER
from .._probe.messages import HTTP, REJECTED, Answer
from .expectations import Expectation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .session import ProbeSession


@dataclass(frozen=True)
class Step:
    """One request of a check: its label, the answer, and the expected answer."""

    label: str
    answer: Answer
    expectation: Expectation


@dataclass(frozen=True)
class Finding:
    """One row of the report: the result of a check for one client.

    :param down: the requests whose answer shows that the application does not run, each with that answer.
    """

    client: str
    expected: str
    seen: str
    ok: bool
    detail: str = ""
    down: tuple[str, ...] = ()


def _always(_session: ProbeSession) -> str:
    return ""


@dataclass(frozen=True)
class Check:
    """One entry of the catalogue.

    :param about: the behaviour that it checks.
    :param run: sends the requests and yields the findings.
    :param lacks: returns the missing input, empty if the check can run.
    :param needs_openssl: whether it presents forged certificates or reads a certificate.
    """

    name: str
    about: str
    run: Callable[[ProbeSession], Iterator[Finding]]
    lacks: Callable[[ProbeSession], str] = _always
    needs_openssl: bool = False


def judge(client: str, steps: Iterable[Step], expected: str = "") -> Finding:
    """Return the finding of one client after all its requests.

    :param expected: text for the report; default is the joined text of all steps.
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
    """Return a short description of an answer."""
    if answer.down:
        return f"{answer.status or answer.outcome}, the application is down"
    if answer.outcome == HTTP and answer.status:
        verdict = answer.header(VERDICT_HEADER)
        return f"{answer.status} {verdict or 'without verdict'}"
    if answer.outcome == HTTP:
        return f"TLS {answer.tls} accepted"
    if answer.outcome == REJECTED:
        return f"handshake rejected ({answer.reason})"
    return f"{answer.outcome} ({answer.reason})"


def _unique(texts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(texts))


def needs_refusal(session: ProbeSession) -> str:
    """Return why no client is refused for certain, empty if one is."""
    return session.refusal_unknown
