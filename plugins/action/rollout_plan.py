# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan the rollout or rollback of a host on the control node."""

from __future__ import annotations

import base64
import contextlib
import json
from dataclasses import asdict
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ansible_collections.quietdoor.mtls.plugins.module_utils._common.collection_version import collection_version
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.durations import parse_duration
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._contracts.paths import LIVE_MANIFEST
from ansible_collections.quietdoor.mtls.plugins.module_utils._deploy.module_options import RENDER
from ansible_collections.quietdoor.mtls.plugins.module_utils._rollout import plan, probes
from ansible_collections.quietdoor.mtls.plugins.module_utils._rollout.probe_client_files import read_probe_client_files
from ansible_collections.quietdoor.mtls.plugins.module_utils._rollout.probes import ProbePolicy
from ansible_collections.quietdoor.mtls.plugins.module_utils._rollout.readiness import rules_from
from ansible_collections.quietdoor.mtls.plugins.module_utils._rollout.site_digests import digests_of_sites
from ansible_collections.quietdoor.mtls.plugins.module_utils._rollout.stage_changes import plan_stage_changes
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.parser import parse_sites
from ansible_collections.quietdoor.mtls.plugins.plugin_utils.rollout_steps import SHARED, Step, StepAction

if TYPE_CHECKING:
    from collections.abc import Mapping

_SPEC = {
    **SHARED,
    "step": {
        "type": "str",
        "choices": ["changes", "enforced", "gates", "logs", "readiness", "rollout", "probes", "rollback", "summary"],
        "required": True,
    },
    "sites": {"type": "raw"},
    "manifest": {"type": "raw"},
    "test": {"type": "dict"},
    "force": {"type": "bool", "default": False},
    "log_path": RENDER["log_path"],
    "trust": {"type": "dict", "default": {}},
    "evidence": {
        "type": "dict",
        "default": {},
        "options": {
            "confirmations": {"type": "int", "default": 2},
            "period": {"type": "str", "default": "30d"},
            "quiet_for": {"type": "str", "default": "24h"},
            "exclude": {"type": "list", "elements": "str", "default": []},
        },
    },
    "probe_address": {"type": "str", "default": ""},
    "connection": {"type": "str", "default": "ssh"},
    "ansible_host": {"type": "str", "default": ""},
    "probe_ports": {"type": "dict", "default": {}},
    "probe_checks": {"type": "list", "elements": "str", "default": []},
    "live": {"type": "dict", "default": {}},
    "generation_only": {"type": "bool", "default": False},
    "only_back": {"type": "bool", "default": False},
    "skip": {"type": "list", "elements": "str", "default": []},
    "status": {"type": "dict"},
    "reverted": {"type": "bool", "default": False},
    "generation": {"type": "str", "default": ""},
}

# The variables in which the tasks of the role register the result with the logs: step changes and step logs.
_LOG_VARIABLES = ("rollout__changes", "rollout__logs")


class _Step(Step):
    """One step of a plan."""

    def changes(self) -> dict[str, Any]:
        """Return the stage changes, and the data that must be read before they are judged."""
        sites = parse_sites(self.options["sites"])
        changes = self._changes(sites)
        guarded = bool(plan.present(sites))
        # Without the fallback window no client is admitted after a CRL expires.
        min_remaining = self.options["min_remaining"] if changes.enforced else "0s"
        needs_client = guarded and not changes.only_back and plan.needs_probe_client(sites)
        logs = self._read_logs(sites, self.options["manifest"])
        if logs.get("failed"):
            return logs
        return {
            **logs,
            **self._probe_client(needed=needs_client),
            "trust": self.read_trust(min_remaining) if guarded else {},
            "check_trust": guarded and changes.differs and not changes.only_back,
            "transaction_step": "begin",
            "changes": [
                {"site": one.site, "from": one.now, "to": one.wanted, "kind": one.kind} for one in changes.changes
            ],
            "enforced": list(changes.enforced),
            "only_back": changes.only_back,
            "differs": changes.differs,
            "guarded": guarded,
            "min_remaining": min_remaining,
        }

    def enforced(self) -> dict[str, Any]:
        """Return the sites that would refuse clients that they admit without a certificate today."""
        options = self.options
        changes = plan_stage_changes(parse_sites(options["sites"]), options["manifest"], force=True)
        return {"enforced": [change.site for change in changes if change.shuts]}

    def gates(self) -> dict[str, Any]:
        """Return the endpoints of the gates of this host that refuse clients, and the sites that refuse none yet."""
        sites = parse_sites(self.options["sites"])
        return {
            "address": self._address(),
            "endpoints": plan.refusing_endpoints(sites),
            "observed": [site.name for site in sites if site.stage == "observe"],
        }

    def logs(self) -> dict[str, Any]:
        """Return the trust of this host and the evidence in its access logs."""
        sites = parse_sites(self.options["sites"])
        trust = self.read_trust("0s")
        if trust.get("failed"):
            return trust
        return {**self._read_logs(sites, self._read_manifest()), "trust": trust}

    def readiness(self) -> dict[str, Any]:
        """Return the evidence in the logs of all hosts about the sites of this host."""
        return {"sites": [one.as_dict() for one in self._readiness(parse_sites(self.options["sites"]))]}

    def rollout(self) -> dict[str, Any]:
        """Return the plan of the rollout, or fail with the reason why it is refused."""
        sites = parse_sites(self.options["sites"])
        changes = self._changes(sites)
        receipts = self.receipts_of()
        planned = plan.plan_rollout(
            sites,
            changes,
            self._readiness(sites),
            digests_of_sites(self.options["sites"], collection_version()),
            trust=self.options["trust"],
            certificates=[plan.ServerCertificate(**one) for one in self.options["test"]["server_certificates"]],
            client=self.client(),
            unread=[host for host in self._group() if host not in self._logs()],
            receipts=receipts,
            host=self.host,
            force=self.options["force"],
        )
        found = {
            "messages": list(planned.messages),
            "required_receipts": [asdict(one) for one in planned.required],
            "provable": [asdict(one) for one in planned.provable],
            "receipts_path": receipts.directory,
        }
        return {**found, "failed": True, "msg": str(planned.refusal)} if planned.refusal else found

    def probes(self) -> dict[str, Any]:
        """Return the options of module gate_probe for each gate."""
        options, live = self.options, self.options["live"]
        policy = ProbePolicy(options["probe_checks"], options["generation_only"], options["only_back"])
        # In check mode the gate is not live. After a revert without an answer of the host, its gate is not known.
        manifest = {} if self.check_mode else live.get("manifest", {})
        if options["generation_only"]:
            with contextlib.suppress(MtlsError):
                return {"probes": self._probes(manifest or {}, policy), "generation": live.get("generation")}
            return {"probes": []}
        if manifest is None:
            raise MtlsError(
                f"{self.host}: {LIVE_MANIFEST} is not valid JSON, so the gate cannot be probed",
                "Roll back to a kept generation with playbook quietdoor.mtls.rollback",
            )
        return {"probes": self._probes(manifest, policy), "generation": live.get("generation")}

    def rollback(self) -> dict[str, Any]:
        """Return the generation to restore."""
        options = self.options
        planned = plan.plan_rollback(
            options["status"],
            options["generation"],
            reverted=options["reverted"],
            host=self.host,
            force=options["force"],
            check_mode=self.check_mode,
        )
        return {
            "needed": planned.generation is not None,
            "generation": planned.generation,
            "messages": list(planned.messages),
            "transaction_step": "rollback",
            "check_trust": False,
            "only_back": True,
            **self._probe_client(needed=planned.generation is not None, only_if_usable=True),
        }

    def summary(self) -> dict[str, Any]:
        """Return the readiness of each site once, of all hosts of the play."""
        hosts = [self.variables["hostvars"][host] for host in self.variables["ansible_play_hosts"]]
        found = [site for host in hosts for site in host["rollout__readiness"]["sites"]]
        sites = plan.merge_readiness(found)
        return {"sites": sites, "table": [line for site in sites for line in site["table"]]}

    def _changes(self, sites: tuple[Any, ...]) -> plan.ChangePlan:
        options = self.options
        return plan.plan_changes(sites, options["manifest"], options["test"], host=self.host, force=options["force"])

    def _readiness(self, sites: tuple[Any, ...]) -> tuple[plan.SiteReadiness, ...]:
        given = self.options["evidence"]
        quiet_for = parse_duration(given.get("quiet_for", "24h"), "rollout_quiet_period")
        rules = rules_from(given.get("confirmations", 2), quiet_for, given.get("exclude", []))
        rows = [
            {"site": log["site"], "host": host, "log": log["log"]}
            for host, logs in self._logs().items()
            for log in logs
            if log["found"] or log["expected"]
        ]
        return plan.readiness_of(
            sites, rows, self.options["trust"].get("people", ()), rules, datetime.now(timezone.utc)
        )

    def _logs(self) -> dict[str, list[dict[str, Any]]]:
        """Return the results of the logs of each host of this run. A host on which reading failed is left out."""
        found = {}
        for host in self.variables["ansible_play_hosts_all"]:
            variables = self.variables["hostvars"][host]
            for name in _LOG_VARIABLES:
                result = variables.get(name) or {}
                if "logs" in result:
                    found[host] = result["logs"]
        return found

    def _address(self) -> str:
        options = self.options
        reached_at = options["ansible_host"] or self.host
        return probes.probe_address(options["probe_address"], options["connection"], reached_at)

    def _group(self) -> list[str]:
        return list(self.variables["groups"].get("mtls_web", ()))

    def _read_logs(self, sites: tuple[Any, ...], manifest: object) -> dict[str, Any]:
        """Return the evidence in the access log of every site of this host."""
        given = self.options["evidence"]
        return self.run_module(
            "quietdoor.mtls.gate_log_info",
            {
                "logs": [asdict(one) for one in plan.log_files(sites, manifest, self.options["log_path"])],
                "since": [given.get("period", "30d"), given.get("quiet_for", "24h")],
                "exclude": given.get("exclude", []),
            },
        )

    def _read_manifest(self) -> object:
        """Return the manifest of the live gate: an empty dictionary without a gate, None if it is not valid JSON."""
        path = f"{self.options['conf_path']}/{LIVE_MANIFEST}"
        found = self.run_module("ansible.legacy.slurp", {"src": path})
        if found.get("failed"):
            if str(found.get("msg", "")).lower().startswith("file not found"):
                return {}
            raise MtlsError(f"{self.host}: {path} cannot be read: {found.get('msg')}", "Run the playbook with become")
        try:
            return json.loads(base64.b64decode(found["content"]))
        except ValueError:
            return None

    def _probes(self, manifest: Mapping[str, Any], policy: ProbePolicy) -> list[dict[str, Any]]:
        options = self.options
        return probes.plan_probes(
            manifest, self._address(), options["probe_ports"], self.client(), policy, skip=options["skip"]
        )

    def _probe_client(self, *, needed: bool, only_if_usable: bool = False) -> dict[str, Any]:
        """Return the paths of the probe client's files, and their state if they are on the control node.

        :param only_if_usable: whether unreadable files are accepted.
        """
        client = self.client()
        found = {"probe_certificate": client.certificate, "probe_key": client.key}
        if not needed:
            return {**found, "probe_files": {}, "read_probe_files": False}
        localhost = self.variables["hostvars"].get(client.host) or {}
        if client.host != "localhost" or localhost.get("ansible_connection", "local") != "local":
            return {**found, "probe_files": {}, "read_probe_files": True}
        return {**found, "probe_files": _files_of(client, only_if_usable), "read_probe_files": False}


def _files_of(client: plan.ProbeClient, only_if_usable: bool) -> dict[str, Any]:
    try:
        return read_probe_client_files(client.certificate, client.key)
    except (MtlsError, OSError) as error:
        if only_if_usable:
            return {"certificate_found": False, "key_found": False, "serial": ""}
        if isinstance(error, MtlsError):
            raise
        raise MtlsError(
            f"{client.certificate} cannot be read: {error.strerror}", "Allow this user to read it"
        ) from None


class ActionModule(StepAction):
    """Action rollout_plan."""

    SPEC = _SPEC
    STEP = _Step
