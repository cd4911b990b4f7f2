# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan stage changes and reject invalid ones.

Sites advance one stage at a time towards `enforce`; they may go back any number of stages.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .._common.errors import MtlsError
from .._contracts.gate_manifest import manifest_from
from .._contracts.paths import LIVE_MANIFEST, is_of_site
from .._contracts.stages import ABSENT, ENFORCE, FALLBACK, OBSERVE, STAGES

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from .._sites.models import Site

STAY, FORWARD, BACK, JUMP = "stay", "forward", "back", "jump"


@dataclass(frozen=True)
class StageChange:
    """The stage change of one site.

    :param now: the stage of the live gate; ``absent`` if it has none.
    :param wanted: the wanted stage.
    :param kind: ``stay``, ``forward``, ``back`` or ``jump``, which is a change forward that skips a stage.
    :param objection: why it is refused, empty if it is not.
    :param hint: the remedy.
    :param rehearsal: whether it belongs to a staging port.
    :param touched: whether any file of the site changes.
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
        """Whether clients that get in today without a certificate are refused from then on."""
        return self.wanted == ENFORCE and self.kind in (FORWARD, JUMP) and self.now != ABSENT and not self.rehearsal

    def __str__(self) -> str:
        return f"{self.site}: {self.now}" if self.kind == STAY else f"{self.site}: {self.now} -> {self.wanted}"


def live_stages(manifest: object) -> dict[str, str]:
    """Return the stage of every site of a live gate.

    :param manifest: its parsed manifest.json; empty if no gate is live.
    :raises MtlsError: if the manifest is not valid.
    """
    found = manifest_from(manifest)
    if found.damaged or not all(site.stage in STAGES for site in found.sites):
        raise _invalid_manifest()
    return {site.name: site.stage for site in found.sites}


def plan_stage_changes(
    sites: Sequence[Site],
    manifest: object,
    open_elsewhere: Collection[str] = (),
    differing: Collection[str] | None = None,
    *,
    force: bool = False,
) -> tuple[StageChange, ...]:
    """Return the stage change of every site that is, or is to be, behind a gate.

    :param sites: the wanted sites, those in stage ``absent`` included.
    :param manifest: the manifest of the live gate, empty if there is none.
    :param open_elsewhere: the sites whose application can be reached without the gate.
    :param differing: the paths of the files of the gate that would change, None if unknown.
    :param force: whether an invalid manifest counts as one with all sites in ``enforce``.
    :raises MtlsError: if the manifest is not valid, without ``force``.
    """
    try:
        now = live_stages(manifest)
    except MtlsError:
        if not force:
            raise
        now = {site.name: ENFORCE for site in sites}
    changes = [
        replace(_plan_change(site, now.get(site.name, ABSENT), open_elsewhere), touched=_touched(site.name, differing))
        for site in sites
    ]
    named = {site.name for site in sites}
    gone = [StageChange(name, stage, ABSENT, BACK) for name, stage in sorted(now.items()) if name not in named]
    return (*(change for change in changes if (change.now, change.wanted) != (ABSENT, ABSENT)), *gone)


def refuse_stage_changes(changes: Sequence[StageChange]) -> None:
    """Fail if a stage change is refused.

    :raises MtlsError: if so; it names every such change, and the remedy.
    """
    refused = [change for change in changes if change.objection]
    if refused:
        raise MtlsError(
            "; ".join(f"site {change}: {change.objection}" for change in refused),
            "; ".join(dict.fromkeys(change.hint for change in refused)),
        )


def as_dicts(changes: Sequence[StageChange]) -> list[dict[str, Any]]:
    """Return stage changes as plain data."""
    return [
        {
            "site": change.site,
            "told": str(change),
            "now": change.now,
            "wanted": change.wanted,
            "kind": change.kind,
            "shuts": change.shuts,
            "rehearsal": change.rehearsal,
            "touched": change.touched or change.kind != STAY,
        }
        for change in changes
    ]


def _plan_change(site: Site, now: str, open_elsewhere: Collection[str]) -> StageChange:
    wanted = site.stage
    kind = _kind(site, now, wanted)
    if site.rehearsal:
        # Clients without a certificate use the other port.
        return StageChange(site.name, now, wanted, FORWARD if kind == JUMP else kind, rehearsal=True)
    # A server of the operator was open before it included the gate.
    if (now, wanted) == (ABSENT, OBSERVE) and site.manage == "vhost" and site.name not in open_elsewhere:
        return StageChange(site.name, now, wanted, kind, *_would_publish(site))
    if kind == JUMP:
        return StageChange(
            site.name, now, wanted, kind, *_skips_stages(site, now, wanted, is_open=site.name in open_elsewhere)
        )
    return StageChange(site.name, now, wanted, kind)


def _touched(site: str, differing: Collection[str] | None) -> bool:
    if differing is None:
        return True
    # A snippet of site panel-x may count as one of site panel: that may report too many changes, never too few.
    return any(is_of_site(path, site) for path in differing)


def _kind(site: Site, now: str, wanted: str) -> str:
    steps = STAGES.index(wanted) - STAGES.index(now)
    if steps <= 0:
        return BACK if steps else STAY
    # observe publishes the application; if no other server did so before, fallback is the first stage.
    first = (now, wanted) == (ABSENT, FALLBACK)
    return JUMP if _between(site, now, wanted) and not first else FORWARD


def _between(site: Site, now: str, wanted: str) -> list[str]:
    return [stage for stage in site.stages if stage in STAGES[STAGES.index(now) + 1 : STAGES.index(wanted)]]


def _would_publish(site: Site) -> tuple[str, str]:
    what = "no other server of this nginx publishes the application today, and stage observe would publish it"
    if site.edge:
        return (
            what,
            f"Set -e rollout_force=true if the edge leads clients to site {site.name} already; if it does not yet, set it with "
            "stage: enforce",
        )
    return (
        what,
        f"Begin site {site.name} with stage: fallback; or set -e rollout_force=true if the application is public in another way",
    )


def _skips_stages(site: Site, now: str, wanted: str, *, is_open: bool) -> tuple[str, str]:
    between = _between(site, now, wanted)
    first = FALLBACK if now == ABSENT and not is_open and FALLBACK in between else between[0]
    return (
        f"that skips {' and '.join(between)}",
        f"Set stage: {first} for site {site.name} first; or set -e rollout_force=true if no client would be refused",
    )


def _invalid_manifest() -> MtlsError:
    return MtlsError(
        "The manifest of the live gate does not contain the stages of its sites",
        f"Check {LIVE_MANIFEST} on that host. Go back to a generation with a valid one, with playbook "
        "quietdoor.mtls.rollback; or, if no client would be refused, set -e rollout_force=true, which counts every site as "
        "enforced and writes the manifest again",
    )
