# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge the results of a rollout: probe results, failures, and which hosts have finished."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._contracts.paths import HTTP, is_of_site

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from .receipts import RolledOutSite

_BACK = ("reverted", "unchanged")


@dataclass(frozen=True)
class ProbeVerdict:
    """The verdict on the probes of one host.

    :param messages: the deviations, for the operator.
    :param down: the sites whose application does not respond.
    :param failure: why the gate has to be reverted; empty if it may stay.
    """

    messages: tuple[str, ...]
    down: tuple[str, ...]
    failure: str


def judge_probes(
    sites: Sequence[str],
    results: Sequence[Mapping[str, Any]],
    former: object,
    present: object,
    *,
    only_back: bool,
    force: bool,
) -> ProbeVerdict:
    """Return the verdict on the probes of one host.

    During a rollback only the generation is checked: other deviations may be the reason for it, and where no probe was possible
    nginx has reported its generation on the host itself. If the upstreams are the same as before, an application that does not
    respond did not respond before either; otherwise the gate may have a wrong upstream.

    :param sites: the site of each result.
    :param results: of module gate_probe. Without ``deviations`` the gate could not be probed.
    :param former: the manifest of the gate before the rollout.
    :param present: the manifest of the gate that is live now.
    """
    # A probe without a result is a deviation, so that nothing is committed that was not probed.
    results = [*results, *[{}] * (len(sites) - len(results))]
    pairs = list(zip(sites, results))
    deviating = [f"{site}: {_deviation(result)}" for site, result in pairs if _deviates(result)]
    down = tuple(dict.fromkeys(site for site, result in pairs if result.get("application_down")))
    messages = [f"The gate of {', '.join(down)} works, but the application behind it does not respond"] if down else []
    serious = [one for one in results if (_wrong_generation(one) if only_back else _deviates(one))]
    if serious:
        return ProbeVerdict((*messages, *deviating), down, "; ".join(deviating))
    return ProbeVerdict(
        (*messages, *deviating), down, "" if only_back or force else _new_dead_upstreams(down, former, present)
    )


def returned_messages(results: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the deviations that the probes of a reverted gate found."""
    return [_deviation(result) for result in results if _deviates(result)]


def failure_text(
    task: str,
    result: Mapping[str, Any],
    begun: Mapping[str, Any] | None,
    reverted: Mapping[str, Any] | None,
    returned: Sequence[Mapping[str, Any]],
) -> str:
    """Return why the rollout of a host failed, and the state of the host.

    :param task: the name of the task that failed, for a result without a message.
    :param result: the result of that task.
    :param begun: the result of module gate_transaction, step ``begin`` or ``rollback``; None if it did not run.
    :param reverted: the result of step ``revert``; None if it did not run.
    :param returned: the probe results of the gate that was reverted.
    """
    failed = [one for one in result.get("results") or [result] if one.get("failed") or one.get("unreachable")]
    why = "; ".join(str(one.get("msg") or task) for one in failed) or task
    state = _state(begun, reverted, returned)
    return f"{why.rstrip('.')}. {state}".strip()


def has_finished(variables: Mapping[str, Any]) -> bool:
    """Return whether the rollout of a host has ended with a gate that stays.

    :param variables: the variables of that host.
    """
    return _succeeded(variables.get("rollout__committed")) and not variables.get("rollout__failure")


def unfinished(hosts: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the hosts on which the rollout began and did not finish.

    :param hosts: the variables of each host.
    """
    return tuple(
        name for name, found in hosts.items() if _succeeded(found.get("rollout__started")) and not has_finished(found)
    )


def provable(
    digests: Iterable[RolledOutSite], unguarded: Collection[str], down: Collection[str]
) -> tuple[RolledOutSite, ...]:
    """Return the sites for which a receipt may be written.

    A site that no server includes yet, or whose application did not respond, has not been proven.
    """
    return tuple(one for one in digests if one.site not in unguarded and one.site not in down)


def rolled_back_sites(
    snapshots: Iterable[Mapping[str, Any]], before: int | None, target: int, begun: Mapping[str, Any]
) -> tuple[str, ...]:
    """Return the sites that a rollback has changed, so that their receipts are withdrawn.

    A generation that is only written again, because its files were edited, is not another one. Files that all sites share belong
    to each site.

    :param before: the generation before the rollback, None without a gate.
    :param begun: the result of module gate_transaction, step ``rollback``.
    """
    if begun.get("action") == "unchanged" or target == (before or 0):
        return ()
    live = [str(site) for one in snapshots if one["live"] for site in one["stages"]]
    return tuple(site for site in live if any(_belongs(path, site) for path in begun["differing"]))


def _deviates(result: Mapping[str, Any]) -> bool:
    return bool(result.get("deviations", 1))


def _deviation(result: Mapping[str, Any]) -> str:
    return str(result.get("msg") or "the gate could not be probed").rstrip(".")


def _wrong_generation(result: Mapping[str, Any]) -> bool:
    return any(check["name"] == "generation" and not check["ok"] for check in result.get("checks", ()))


def _new_dead_upstreams(down: Iterable[str], former: object, present: object) -> str:
    changed = [site for site in down if _upstreams(former, site) != _upstreams(present, site)]
    if not changed:
        return ""
    return (
        f"The application behind the gate of {', '.join(changed)} does not respond. Start it or correct upstream, and run "
        "playbook quietdoor.mtls.rollout again; or set rollout_force=true"
    )


def _upstreams(manifest: object, site: str) -> object:
    """Return the upstreams of a site, None if that is not known."""
    sites = manifest.get("sites") if isinstance(manifest, dict) else None
    found = sites.get(site) if isinstance(sites, dict) else None
    return found.get("upstreams") if isinstance(found, dict) else None


def _state(
    begun: Mapping[str, Any] | None, reverted: Mapping[str, Any] | None, returned: Sequence[Mapping[str, Any]]
) -> str:
    if begun is None or not begun.get("armed"):
        # A module that failed to begin reports itself what it reverted, and what it could not revert.
        return "" if begun is not None and begun.get("failed") else "Nothing was changed on this host."
    result = reverted or {}
    if result.get("action") not in _BACK:
        why = result.get("msg") or "no answer"
        return f"It could not be reverted at once ({why}); the host does that itself at {begun.get('deadline', '')}."
    # Otherwise this very run has reverted it.
    meanwhile = f"Meanwhile {result.get('reason', '')}. " if result["action"] == "unchanged" else ""
    wrong = returned_messages(returned)
    seen = f" But the probes found: {'; '.join(wrong)}." if wrong else ""
    return f"{meanwhile}The gate is back as it was before.{seen}"


def _succeeded(result: object) -> bool:
    return isinstance(result, dict) and not result.get("failed") and not result.get("unreachable")


def _belongs(path: str, site: str) -> bool:
    return path.endswith(f"/{HTTP}") or is_of_site(path, site)
