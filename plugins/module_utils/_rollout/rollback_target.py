# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Choose the kept generation to roll back to.

A rollback never refuses clients that get in today, and repeating it changes nothing: it may be run again after one of many hosts
was away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._common.errors import MtlsError
from .._contracts.stages import STAGES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NAME_ONE = "Name a generation with -e rollback_generation=N (0 for no gate)"


@dataclass(frozen=True)
class RollbackTarget:
    """The target of a rollback.

    :param generation: 0 for no gate.
    :param reason: why no generation is restored; empty if one is.
    :param closed: the sites whose fallback window has closed meanwhile, so that it admits no client any more.
    """

    generation: int
    reason: str = ""
    closed: tuple[str, ...] = ()


def choose_rollback_target(
    snapshots: Sequence[Mapping[str, Any]], live: int | None, asked: str, *, force: bool
) -> RollbackTarget:
    """Return the target of a rollback.

    :param snapshots: the kept generations as module gate_transaction returns them, the newest first.
    :param live: the live generation, None if there is no gate.
    :param asked: the requested generation; empty for the one before.
    :param force: whether it may be stricter than the live one.
    :raises MtlsError: if none is kept, or if it would refuse clients that get in today.
    """
    kept = {int(one["generation"]): one for one in snapshots}
    now = kept.get(live or 0, {"generation": 0, "stages": {}})
    if asked:
        chosen = _requested(asked, kept)
    else:
        earlier = [one for number, one in sorted(kept.items(), reverse=True) if number < (live or 0) and one["intact"]]
        if now.get("restores") is not None:
            done = f"generation {live} is already a rollback to generation {now['restores']}"
            return RollbackTarget(int(live or 0), f"{done}. {_NAME_ONE} to go further")
        chosen = _newest_of(earlier, live)
    stricter = _stricter(now["stages"], chosen["stages"])
    if stricter and not force:
        raise MtlsError(
            f"Generation {chosen['generation']} is stricter than the live one ({', '.join(stricter)}), so it would refuse "
            "clients that get in today",
            f"{_NAME_ONE}; with rollout_force it may be a stricter one",
        )
    closed = tuple(chosen.get("closed", ()))
    if closed and not asked:
        raise MtlsError(
            f"The fallback window of generation {chosen['generation']} has closed meanwhile ({', '.join(closed)}), so it admits "
            "no client whom the live one refuses",
            "Set stage: fallback and a new window in gate_sites, and run playbook quietdoor.mtls.rollout, which needs no "
            f"evidence to go back. Or: {_NAME_ONE}",
        )
    return RollbackTarget(int(chosen["generation"]), "", closed)


def _requested(asked: str, kept: Mapping[int, Mapping[str, Any]]) -> Mapping[str, Any]:
    numbers = ", ".join(str(number) for number in sorted(kept, reverse=True)) or "none"
    if not asked.isdecimal() or int(asked) not in {0, *kept}:
        raise MtlsError(f"Generation {asked!r} is not kept on this host (kept: {numbers})", "Choose one of those, or 0")
    return kept.get(int(asked), {"generation": 0, "stages": {}})


def _newest_of(earlier: Sequence[Mapping[str, Any]], live: int | None) -> Mapping[str, Any]:
    if not earlier:
        raise MtlsError(f"No generation before the live one ({live or 'no gate'}) is kept on this host", _NAME_ONE)
    return earlier[0]


def _stricter(now: Mapping[str, str], then: Mapping[str, str]) -> list[str]:
    """Return the sites that would be stricter than they are, with both stages. No gate is the least strict."""
    return [
        f"{site}: {now.get(site, STAGES[0])} -> {stage}"
        for site, stage in sorted(then.items())
        if STAGES.index(stage) > STAGES.index(now.get(site, STAGES[0]))
    ]
