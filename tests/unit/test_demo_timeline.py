# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rollout demo says that something was wrong where something was."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from ansible_collections.quietdoor.mtls.plugins.module_utils._common import errors

FILE = Path(errors.__file__).parents[3] / "playbooks" / "files" / "demo_rollout_timeline.py"
_spec = importlib.util.spec_from_file_location("demo_rollout_timeline", FILE)
assert _spec is not None
assert _spec.loader is not None
timeline = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = timeline  # dataclasses look there
_spec.loader.exec_module(timeline)

PEOPLE = {"alex": "certificate", "dana": "listed", "stranger": "stranger"}
STEPS = [
    timeline.Step(*one)
    for one in (("observe", 10, 12), ("fallback", 20, 24), ("enforce", 60, 64), ("rollback", 70, 74))
]
DEADLINE = 50.0


def told(client: str, at: float) -> str:
    """Return the verdict of a correct gate."""
    if at < 12:
        return ""
    if client == "alex":
        return "cert"
    if at < 22 or at > 72:
        return "would-deny"
    return "fallback" if client == "dana" and at < DEADLINE else "deny"


def record(client: str, at: float, verdict: str) -> dict[str, Any]:
    """Return the record that a client writes about one request."""
    status = 403 if verdict == "deny" else 200
    return {"client": client, "at": at, "answered": at + 0.04, "gate": at >= 12, "status": status, "verdict": verdict}


def seen(**said: Any) -> Any:
    """Return the timeline of a walk; ``said`` is what was different: client -> (from, until, verdict)."""
    records = []
    for client in PEOPLE:
        since, until, verdict = said.get(client, (0, 0, ""))
        for tick in range(800):
            at = tick / 10 + 0.02
            records.append(record(client, at, verdict if since <= at < until else told(client, at)))
    return timeline.Timeline(STEPS, PEOPLE, records, DEADLINE)


def row(walk: Any, stage: str) -> str:
    """Return the words of a stage's row."""
    return " ".join(next(line for line in walk.table() if f" {stage} " in line).split())


def test_a_good_walk() -> None:
    walk = seen()
    assert walk.problems() == []
    closing = walk.closing()
    assert (round(closing.last_in - DEADLINE, 2), round(closing.first_out - DEADLINE, 2)) == (-0.08, 0.06)
    assert row(walk, "fallback") == "20.0 s fallback cert 300 would-deny 20, fallback 280 would-deny 20, deny 280 0"
    assert row(walk, "window closed") == "50.0 s window closed cert 100 deny 100 deny 100 0"


def test_refusal_of_a_client_with_a_certificate() -> None:
    walk = seen(alex=(62, 62.1, "deny"))
    assert walk.problems() == ["alex was to get in and did not: 403"]
    assert row(walk, "enforce").endswith(" 1")


def test_a_window_that_closed_too_early() -> None:
    problems = seen(dana=(49.5, 50, "deny")).problems()
    assert "dana was to get in and did not: 403" in problems
    assert "the window closed between -0.6 s and -0.4 s of its deadline" in problems


def test_a_window_that_closed_too_late() -> None:
    problems = seen(dana=(50, 51, "fallback")).problems()
    assert "dana was to stay out and got in (fallback)" in problems
    assert "the window closed between +0.9 s and +1.1 s of its deadline" in problems
    assert seen(dana=(50, 50.4, "fallback")).problems() == []


def test_a_window_that_was_never_open() -> None:
    assert "the window was not seen open and then closed" in seen(dana=(0, 80, "cert")).problems()


def test_unauthenticated_client_that_is_admitted() -> None:
    assert seen(stranger=(66, 66.1, "cert")).problems() == ["stranger was to stay out and got in (cert)"]


def test_a_refusal_after_the_rollback() -> None:
    assert seen(dana=(75, 75.1, "deny")).problems() == ["dana was to get in and did not: 403"]
