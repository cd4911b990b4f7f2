# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge the results of a rollout or rollback on the control node."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._rollout import plan, verify
from ansible_collections.quietdoor.mtls.plugins.module_utils._rollout.receipts import RolledOutSite
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.parser import parse_sites
from ansible_collections.quietdoor.mtls.plugins.plugin_utils.rollout_steps import SHARED, Step, StepAction

if TYPE_CHECKING:
    from collections.abc import Mapping

_SPEC = {
    **SHARED,
    "step": {
        "type": "str",
        "choices": ["earlier_hosts", "trust", "probes", "failure", "receipts", "withdrawals", "unfinished"],
        "required": True,
    },
    "sites": {"type": "raw"},
    "probes": {"type": "list", "elements": "dict", "default": []},
    "results": {"type": "list", "elements": "dict", "default": []},
    "begun": {"type": "dict", "default": {}},
    "reverted": {"type": "dict", "default": {}},
    "former_manifest": {"type": "raw"},
    "provable": {"type": "list", "elements": "dict", "default": []},
    "only_back": {"type": "bool", "default": False},
    "force": {"type": "bool", "default": False},
    "target": {"type": "int"},
    "revert_after": {"type": "str", "default": "5m"},
}


class _Step(Step):
    """One step of a judgement."""

    def earlier_hosts(self) -> dict[str, Any]:
        """Fail if the rollout of an earlier host has not finished."""
        unfinished = verify.unfinished(self._hosts())
        if unfinished:
            raise MtlsError(
                f"{', '.join(unfinished)} did not come to an end, so {self.host} was left as it is",
                "Correct that, and run the rollout again",
            )
        return {}

    def trust(self) -> dict[str, Any]:
        """Fail if the installed trust would refuse clients, or the probe client."""
        sites = parse_sites(self.options["sites"])
        plan.check_trust(sites, self.read_trust(self.options["min_remaining"]), self.client(), self.host)
        return {}

    def probes(self) -> dict[str, Any]:
        """Judge the probe results of an armed gate; fail if it must be reverted."""
        options = self.options
        begun = options["begun"]
        verdict = verify.judge_probes(
            [one["site"] for one in options["probes"]],
            options["results"],
            options["former_manifest"],
            begun.get("manifest"),
            only_back=options["only_back"],
            force=options["force"],
        )
        digests = [RolledOutSite(**one) for one in options["provable"]]
        proven = verify.provable(digests, begun.get("unguarded", ()), verdict.down)
        found = {"messages": list(verdict.messages), "proven": [asdict(one) for one in proven]}
        if options["target"] is not None:
            found["summary"] = plan.rollback_summary(
                self.host, options["target"], begun.get("generation"), check_mode=self.check_mode
            )
        return {**found, "failed": True, "msg": verdict.failure} if verdict.failure else found

    def failure(self) -> dict[str, Any]:
        """Return why the rollout of this host failed, and the state of the host."""
        task, options = self.variables["ansible_failed_task"], self.options
        text = verify.failure_text(
            str(task["name"]),
            self.variables["ansible_failed_result"],
            options["begun"] or None,
            options["reverted"] or None,
            options["results"],
        )
        return {"text": f"{self.host}: {text}"}

    def receipts(self) -> dict[str, Any]:
        """Return the subjects of the receipts to write; there are none unless every web host has finished."""
        hosts = self._hosts()
        complete = bool(hosts) and all(verify.has_finished(found) for found in hosts.values())
        directory = self.receipts_of().directory
        if not complete or not directory:
            return {"things": [], "path": directory}
        proven = dict.fromkeys(RolledOutSite(**one) for found in hosts.values() for one in self._proven(found))
        return {"things": [asdict(one) for one in proven], "path": directory}

    def withdrawals(self) -> dict[str, Any]:
        """Return the sites of all rolled back web hosts, whose receipts are withdrawn."""
        sites = {site for found in self._hosts().values() for site in self._rolled_back(found)}
        receipts = self.receipts_of()
        return {
            "sites": sorted(sites) if receipts.directory else [],
            "path": receipts.directory,
            "failure": f"{receipts.directory} on {receipts.host}: the receipts of {receipts.environment} were not withdrawn, so "
            "the next environment could accept the reverted gates. Remove them there; the rollback of the hosts is complete.",
        }

    def unfinished(self) -> dict[str, Any]:
        """Return a warning with the hosts that have not finished."""
        unfinished = verify.unfinished(self._hosts())
        if not unfinished:
            return {}
        after = self._hosts()[unfinished[0]].get("rollout_revert_after", self.options["revert_after"])
        return {
            "warnings": [
                f"{', '.join(unfinished)} did not come to an end. An armed gate reverts by itself, with or without this machine, "
                f"at the latest {after} after it was activated. Then run the rollout again."
            ]
        }

    def _rolled_back(self, found: Mapping[str, Any]) -> tuple[str, ...]:
        target = found.get("rollout__rollback")
        if not target or not target.get("needed") or not verify.has_finished(found):
            return ()
        status = found["rollout__status"]
        return verify.rolled_back_sites(
            status["snapshots"], status["generation"], target["generation"], found["rollout__begun"]
        )

    def _proven(self, found: Mapping[str, Any]) -> list[dict[str, Any]]:
        return list((found.get("rollout__verified") or {}).get("proven", ()))

    def _hosts(self) -> dict[str, Mapping[str, Any]]:
        names = self.variables["groups"].get("mtls_web", ())
        return {str(name): self.variables["hostvars"][name] for name in names}


class ActionModule(StepAction):
    """Action rollout_verify."""

    SPEC = _SPEC
    STEP = _Step
