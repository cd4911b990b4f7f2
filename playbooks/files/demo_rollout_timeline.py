# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evaluate the records of the clients of the rollout demo, stage by stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

CERTIFICATE, LISTED, STRANGER = KINDS = ("certificate", "listed", "stranger")
# nginx reads its clock once per batch of events, and the machine may be busy.
GRACE = 0.5
NO_GATE = "no gate"
MOVES = ("observe", "fallback", "enforce", "rollback")
_HELD = ("with certificates", "no certificate, from a listed network", "no certificate")


@dataclass(frozen=True)
class Step:
    """One run of a playbook, in seconds since 1970."""

    stage: str
    began: float
    ended: float


@dataclass(frozen=True)
class Closing:
    """The closing time of the window, between ``last_in``, the last admitted request, and ``first_out``, the first refusal."""

    deadline: float
    opened: float
    last_in: float
    first_out: float

    @property
    def in_time(self) -> bool:
        """Whether the window can have closed within the grace after its deadline, and not earlier."""
        return self.first_out >= self.deadline and self.last_in <= self.deadline + GRACE


@dataclass(frozen=True)
class Timeline:
    """The steps and records of one run.

    :param steps: in their order, with those of ``observe``, ``fallback``, ``enforce`` and ``rollback``.
    :param people: name -> kind.
    :param records: the records of all clients.
    """

    steps: Sequence[Step]
    people: Mapping[str, str]
    records: Sequence[Mapping]
    deadline: float

    def step(self, stage: str) -> Step:
        """Return the run that led to a stage."""
        return next(step for step in self.steps if step.stage == stage)

    def _of(self, kind: str) -> list[Mapping]:
        return [record for record in self.records if self.people[record["client"]] == kind]

    def was_to_get_in(self, record: Mapping) -> bool:
        """Return whether the client had to be admitted during the whole time from its request to the answer."""
        kind = self.people[record["client"]]
        if kind == CERTIFICATE:
            return True
        until = self.deadline if kind == LISTED else self.step("fallback").began
        return record["answered"] < until or record["at"] > self.step("rollback").ended

    def was_to_stay_out(self, record: Mapping) -> bool:
        """Return whether the client had to be refused during the whole time from its request to the answer."""
        kind = self.people[record["client"]]
        if kind == CERTIFICATE:
            return False
        since = self.deadline + GRACE if kind == LISTED else self.step("fallback").ended
        return record["at"] > since and record["answered"] < self.step("rollback").began

    def refused_wrongly(self) -> list[Mapping]:
        """Return every refusal, or missing answer, of a client that had to be admitted."""
        return [record for record in self.records if record["status"] != 200 and self.was_to_get_in(record)]

    def let_in_wrongly(self) -> list[Mapping]:
        """Return every admitted request that had to be refused."""
        return [record for record in self.records if record["status"] == 200 and self.was_to_stay_out(record)]

    def closing(self) -> Closing | None:
        """Return the closing of the window, or nothing if it was not observed open and then closed."""
        before = [record for record in self._of(LISTED) if record["answered"] < self.step("rollback").began]
        through = [record for record in before if record["verdict"] == "fallback"]
        if not through:
            return None
        opened = min(record["answered"] for record in through)
        out = [record["answered"] for record in before if record["status"] != 200 and record["at"] > opened]
        if not out:
            return None
        return Closing(self.deadline, opened, max(record["at"] for record in through), min(out))

    def rows(self) -> list[tuple[float, float, str]]:
        """Return the stages, each with its start, end and name."""
        starts = [(min(record["at"] for record in self.records), NO_GATE)]
        starts += [(step.began, step.stage) for step in self.steps if step.stage in MOVES]
        starts.append((self.deadline, "window closed"))
        starts.sort()
        ends = [start for start, _name in starts[1:]] + [float("inf")]
        return [(start, end, name) for (start, name), end in zip(starts, ends)]

    def table(self) -> list[str]:
        """Return the stages and the answers to all clients as lines of a table."""
        wrong = self.refused_wrongly()
        lines = [["from", "stage", *map(self._names, KINDS), "refused wrongly"], ["", "", *_HELD, "of those to get in"]]
        rows = self.rows()
        for start, end, name in rows:
            cells = [_verdicts(record for record in self._of(kind) if start <= _moment(record) < end) for kind in KINDS]
            refused = sum(start <= _moment(record) < end for record in wrong)
            lines.append([f"{start - rows[0][0]:.1f} s", name, *cells, str(refused)])
        widths = [max(map(len, column)) for column in zip(*lines)]
        return [_joined(line, widths) for line in lines]

    def _names(self, kind: str) -> str:
        return " and ".join(name for name, of in self.people.items() if of == kind)

    def problems(self) -> list[str]:
        """Return the wrong results as messages, or an empty list."""
        closing = self.closing()
        found = [
            f"{record['client']} was to get in and did not: {record['status'] or record.get('error')}"
            for record in self.refused_wrongly()[:5]
        ]
        found += [
            f"{record['client']} was to stay out and got in ({record['verdict']})"
            for record in self.let_in_wrongly()[:5]
        ]
        found += [
            f"{name} never asked" for name in self.people if not any(one["client"] == name for one in self.records)
        ]
        if closing is None:
            found.append("the window was not seen open and then closed")
        elif not closing.in_time:
            found.append(f"the window closed {self.told(closing)}")
        return found

    def told(self, closing: Closing) -> str:
        """Return the closing time relative to the deadline as text."""
        return f"between {closing.last_in - self.deadline:+.1f} s and {closing.first_out - self.deadline:+.1f} s of its deadline"


def _moment(record: Mapping) -> float:
    """Return the time of the decision: that of the request if it was admitted, else that of the answer."""
    return record["at"] if record["status"] == 200 else record["answered"]


def _verdicts(records: Iterable[Mapping]) -> str:
    """Return the verdicts in the order of their first occurrence, with their counts."""
    counts: dict[str, int] = {}
    for record in sorted(records, key=_moment):
        word = record["verdict"] or _unsaid(record)
        counts[word] = counts.get(word, 0) + 1
    return ", ".join(f"{word} {count}" for word, count in counts.items())


def _unsaid(record: Mapping) -> str:
    """Return a word for a record without a verdict: a reload may come between the answer and the request for its verdict."""
    if record["status"] != 200:
        return "no answer"
    return "let in" if record["gate"] else NO_GATE


def _joined(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Return a line of the table, whose first column contains numbers."""
    first, *others = (f"{cell:{side}{width}}" for cell, width, side in zip(cells, widths, ">" + "<" * len(widths)))
    return "  ".join([first, *others]).rstrip()
