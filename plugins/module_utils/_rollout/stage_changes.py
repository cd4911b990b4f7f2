# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From which stage to which a site moves, and whether it may: one step at a time towards ``enforce``, any way back at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .._common.errors import MtlsError
from .._contracts.gate_manifest import manifest_from
from .._sites.models import STAGES

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from .._sites.models import Site

ABSENT, OBSERVE, FALLBACK, ENFORCE = STAGES
STAY, FORWARD, BACK, JUMP = "stay", "forward", "back", "jump"


@dataclass(frozen=True)
class StageChange:
    """What becomes of one site.

    :param now: the stage of the live gate; ``absent`` if it has none.
    :param wanted: the stage to come.
    :param kind: ``stay``, ``forward``, ``back`` or ``jump``, which is a move forward that leaves a stage out.
    :param objection: why it may not be made, empty if it may.
    :param mend: what to do instead.
    :param rehearsal: whether it is about a second port on which a gate is tried.
    :param touched: whether anything of the site changes.
    """

    site: str
    now: str
    wanted: str
    kind: str
    objection: str = ""
    hint: str = ""
    rehearsal: bool = False
    touched: bool = True

    @property
    def shuts(self) -> bool:
        """Whether people who get in today without a certificate will not any more, for good."""
        return self.wanted == ENFORCE and self.kind in (FORWARD, JUMP) and self.now != ABSENT and not self.rehearsal

    def __str__(self) -> str:
        return f"{self.site}: {self.now}" if self.kind == STAY else f"{self.site}: {self.now} -> {self.wanted}"


def live_stages(manifest: object) -> dict[str, str]:
    """Return the stage of every site of a live gate.

    :param manifest: its manifest.json, read; empty if no gate is live.
    :raises MtlsError: if it is no such manifest.
    """
    found = manifest_from(manifest)
    if found.damaged or not all(site.stage in STAGES for site in found.sites):
        raise _strange()
    return {site.name: site.stage for site in found.sites}


def plan_stage_changes(
    sites: Sequence[Site],
    manifest: object,
    open_elsewhere: Collection[str] = (),
    differing: Collection[str] | None = None,
    *,
    force: bool = False,
) -> tuple[StageChange, ...]:
    """Return the move of every site that is, or is to be, behind a gate.

    :param sites: what is wanted, sites in stage ``absent`` included.
    :param manifest: that of the live gate, empty if there is none.
    :param open_elsewhere: the sites whose panel can be reached without the gate.
    :param differing: the paths of the files of the gate that would change, None if that is not known.
    :param force: whether a manifest that does not say in which stages the sites are counts as one with all in ``enforce``.
    :raises MtlsError: if it is no manifest, without ``force``.
    """
    try:
        now = live_stages(manifest)
    except MtlsError:
        if not force:
            raise
        now = {site.name: ENFORCE for site in sites}
    moves = [
        replace(_move(site, now.get(site.name, ABSENT), open_elsewhere), touched=_touched(site.name, differing))
        for site in sites
    ]
    named = {site.name for site in sites}
    gone = [StageChange(name, stage, ABSENT, BACK) for name, stage in sorted(now.items()) if name not in named]
    return (*(move for move in moves if (move.now, move.wanted) != (ABSENT, ABSENT)), *gone)


def refuse_stage_changes(moves: Sequence[StageChange]) -> None:
    """Fail if a move may not be made.

    :raises MtlsError: that names every such move, and what to do instead.
    """
    refused = [move for move in moves if move.objection]
    if refused:
        raise MtlsError(
            "; ".join(f"site {move}: {move.objection}" for move in refused),
            "; ".join(dict.fromkeys(move.hint for move in refused)),
        )


def as_dicts(moves: Sequence[StageChange]) -> list[dict[str, Any]]:
    """Return moves as plain data."""
    return [
        {
            "site": move.site,
            "told": str(move),
            "now": move.now,
            "wanted": move.wanted,
            "kind": move.kind,
            "shuts": move.shuts,
            "rehearsal": move.rehearsal,
            "touched": move.touched or move.kind != STAY,
        }
        for move in moves
    ]


def _move(site: Site, now: str, open_elsewhere: Collection[str]) -> StageChange:
    wanted = site.stage
    kind = _kind(site, now, wanted)
    if site.rehearsal:
        # Whoever has no certificate has the other port.
        return StageChange(site.name, now, wanted, FORWARD if kind == JUMP else kind, rehearsal=True)
    # A server of somebody else's was open before the gate came.
    if (now, wanted) == (ABSENT, OBSERVE) and site.manage == "vhost" and site.name not in open_elsewhere:
        return StageChange(site.name, now, wanted, kind, *_would_publish(site))
    if kind == JUMP:
        return StageChange(
            site.name, now, wanted, kind, *_leaves_out(site, now, wanted, is_open=site.name in open_elsewhere)
        )
    return StageChange(site.name, now, wanted, kind)


def _touched(site: str, differing: Collection[str] | None) -> bool:
    if differing is None:
        return True
    # A snippet of panel-x may be taken for one of panel: too much is touched then, never too little.
    return any(path.endswith(f"/sites/{site}.conf") or f"/snippets/{site}-" in path for path in differing)


def _kind(site: Site, now: str, wanted: str) -> str:
    steps = STAGES.index(wanted) - STAGES.index(now)
    if steps <= 0:
        return BACK if steps else STAY
    # observe publishes a panel; where nobody could reach it yesterday, fallback is the first stage.
    first = (now, wanted) == (ABSENT, FALLBACK)
    return JUMP if _between(site, now, wanted) and not first else FORWARD


def _between(site: Site, now: str, wanted: str) -> list[str]:
    return [stage for stage in site.stages if stage in STAGES[STAGES.index(now) + 1 : STAGES.index(wanted)]]


def _would_publish(site: Site) -> tuple[str, str]:
    what = "no other server of this nginx opens the panel today, and stage observe would open it to everybody"
    if site.edge:
        return (
            what,
            f"If the edge leads people to site {site.name} already, say -e rollout_force=true; if nobody comes there yet, "
            "say it with stage: enforce",
        )
    return (
        what,
        f"Begin site {site.name} with stage: fallback; or say -e rollout_force=true if the panel is public in another way",
    )


def _leaves_out(site: Site, now: str, wanted: str, *, is_open: bool) -> tuple[str, str]:
    between = _between(site, now, wanted)
    first = FALLBACK if now == ABSENT and not is_open and FALLBACK in between else between[0]
    return (
        f"that leaves out {' and '.join(between)}",
        f"Set stage: {first} for site {site.name} first; or say -e rollout_force=true if you know that nobody is shut out",
    )


def _strange() -> MtlsError:
    return MtlsError(
        "The manifest of the live gate does not say in which stages its sites are",
        "Look at quietdoor/gate/manifest.json on that host. Go back to a generation that does, with playbook "
        "quietdoor.mtls.rollback; or, if you know that nobody is shut out, say -e rollout_force=true, which takes every site "
        "for enforced and writes the manifest anew",
    )
