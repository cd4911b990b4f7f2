# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render the probe report: a table of expected and seen answers, then the deviations in full."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .catalogue import Plan, Result
    from .session import Gate

_TITLES = ("", "check", "client", "expected", "seen")
_WIDEST = 60  # characters of one cell


def report(gate: Gate, plan: Plan, results: Sequence[Result], generation: tuple[int, int] | None) -> dict[str, Any]:
    """Return the whole report as module gate_probe returns it.

    :param generation: the generations of gate and trust that the running gate reported; None if it reported none.
    """
    passed = sum(result.finding.ok for result in results)
    reported = generation or (None, None)
    return {
        "checks": [_entry(result) for result in results],
        "passed": passed,
        "deviations": len(results) - passed,
        "application_down": [
            f"{result.name} ({_plain(result.finding.client)}): {what}"
            for result in results
            for what in result.finding.down
        ],
        "left_out": [{"name": name, "missing": missing} for name, missing in plan.left_out],
        "table": table(results, plan),
        "generation": {"gate": reported[0], "trust": reported[1]},
        "address": f"{gate.target.address} port {gate.target.port}",
    }


def _entry(result: Result) -> dict[str, Any]:
    entry = {"name": result.name, **dataclasses.asdict(result.finding)}
    del entry["down"]
    return entry


def table(results: Sequence[Result], plan: Plan) -> str:
    """Return the fixed-width table, followed by the full text of each deviation and the checks that were left out."""
    rows = [_TITLES, *(_row(result) for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_TITLES))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    lines += [f"FAIL {_deviation(result)}" for result in results if not result.finding.ok]
    lines += [f"left out {name}: {missing}" for name, missing in plan.left_out]
    return "\n".join(lines)


def summary(results: Sequence[Result]) -> str:
    """Return the outcome in a few lines, with the first deviation of each check that deviates."""
    failed = [result for result in results if not result.finding.ok]
    if not failed:
        return f"The gate did as expected in all {len(results)} cases."
    first = {result.name: result for result in reversed(failed)}
    lines = [_deviation(result) for result in failed if first[result.name] is result]
    return "\n".join([f"The gate deviates in {len(failed)} of {len(results)} cases.", *lines])


def _deviation(result: Result) -> str:
    return f"{result.name} ({_plain(result.finding.client)}): {_plain(result.finding.detail)}"


def _row(result: Result) -> tuple[str, ...]:
    finding = result.finding
    cells = (result.name, finding.client, finding.expected, finding.seen)
    return ("ok" if finding.ok else "FAIL", *(_short(_plain(cell)) for cell in cells))


def _short(text: str) -> str:
    return text if len(text) <= _WIDEST else text[: _WIDEST - 3] + "..."


def _plain(text: str) -> str:
    """Return ``text`` without control characters, because the answer of a server must not control a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)
