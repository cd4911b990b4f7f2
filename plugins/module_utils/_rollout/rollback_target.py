# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""To which kept generation a host goes back.

Going back never shuts anybody out, and doing it twice is doing it once: it may be repeated because one host of many was away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._common.errors import MtlsError
from .._sites.models import STAGES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_OF_OTHERS = "Name a generation with -e rollback_generation=N (0 for no gate)"


@dataclass(frozen=True)
class RollbackTarget:
    """Where to go.

    :param generation: 0 for no gate.
    :param reason: why nothing is to be done; empty if something is.
    :param closed: the sites whose window has closed meanwhile, so that it lets nobody in any more.
    """

    generation: int
    reason: str = ""
    closed: tuple[str, ...] = ()


def choose_rollback_target(
    snapshots: Sequence[Mapping[str, Any]], live: int | None, asked: str, *, force: bool
) -> RollbackTarget:
    """Return where a host goes back to.

    :param snapshots: what is kept, as module gate_transaction returns it, the newest first.
    :param live: the live generation, None if there is no gate.
    :param asked: the generation that somebody asked for; empty for the one before.
    :param force: whether it may be stricter than the live one.
    :raises MtlsError: if there is none, or if it would shut people out.
    """
    kept = {int(one["generation"]): one for one in snapshots}
    now = kept.get(live or 0, {"generation": 0, "stages": {}})
    if asked:
        chosen = _asked(asked, kept)
    else:
        earlier = [one for number, one in sorted(kept.items(), reverse=True) if number < (live or 0) and one["intact"]]
        if now.get("restores") is not None:
            done = f"generation {live} is what generation {now['restores']} was: it went back before"
            return RollbackTarget(int(live or 0), f"{done}. {_OF_OTHERS} to go further")
        chosen = _before(earlier, live)
    stricter = _stricter(now["stages"], chosen["stages"])
    if stricter and not force:
        raise MtlsError(
            f"Generation {chosen['generation']} is stricter than the live one ({', '.join(stricter)}), so going back would shut "
            "people out",
            f"{_OF_OTHERS}; with rollout_force it may be a stricter one",
        )
    closed = tuple(chosen.get("closed", ()))
    if closed and not asked:
        raise MtlsError(
            f"Generation {chosen['generation']} has a window that has closed meanwhile ({', '.join(closed)}), so it lets in "
            "nobody whom the live one keeps out",
            "Set stage: fallback and a new window, and run quietdoor.mtls.rollout, which needs no evidence to go back. Or: "
            f"{_OF_OTHERS}",
        )
    return RollbackTarget(int(chosen["generation"]), "", closed)


def _asked(asked: str, kept: Mapping[int, Mapping[str, Any]]) -> Mapping[str, Any]:
    numbers = ", ".join(str(number) for number in sorted(kept, reverse=True)) or "none"
    if not asked.isdecimal() or int(asked) not in {0, *kept}:
        raise MtlsError(
            f"Generation {asked!r} is not kept on this host (kept are: {numbers})", "Choose one of those, or 0"
        )
    return kept.get(int(asked), {"generation": 0, "stages": {}})


def _before(earlier: Sequence[Mapping[str, Any]], live: int | None) -> Mapping[str, Any]:
    if not earlier:
        raise MtlsError(f"No generation before the live one ({live or 'no gate'}) is kept on this host", _OF_OTHERS)
    return earlier[0]


def _stricter(now: Mapping[str, str], then: Mapping[str, str]) -> list[str]:
    """The sites that would be stricter than they are, as sentences. No gate at all is the least strict."""
    return [
        f"{site}: {now.get(site, STAGES[0])} -> {stage}"
        for site, stage in sorted(then.items())
        if STAGES.index(stage) > STAGES.index(now.get(site, STAGES[0]))
    ]
