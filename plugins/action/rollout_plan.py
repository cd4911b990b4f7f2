# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan the rollout or rollback of a host on the control node."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ansible.plugins.action import ActionBase
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.collection_version import collection_version
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.durations import parse_duration
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._contracts.paths import LIVE_MANIFEST
from ansible_collections.quietdoor.mtls.plugins.module_utils._rollout import plan, probes
from ansible_collections.quietdoor.mtls.plugins.module_utils._rollout.probe_client_files import read_probe_client_files
from ansible_collections.quietdoor.mtls.plugins.module_utils._rollout.readiness import rules_from
from ansible_collections.quietdoor.mtls.plugins.module_utils._rollout.site_digests import digests_of_sites
from ansible_collections.quietdoor.mtls.plugins.module_utils._rollout.stage_changes import plan_stage_changes
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.parser import parse_sites

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_CLIENT = {
    "probe_client": {"type": "str"},
    "probe_from": {"type": "str", "default": "localhost"},
    "probe_certificate": {"type": "str", "default": ""},
    "probe_key": {"type": "str", "default": "", "no_log": False},
    "probe_files": {"type": "dict", "default": {}},
    "authority_path": {"type": "str", "default": ""},
}
_SPEC = {
    **_CLIENT,
    "step": {
        "type": "str",
        "choices": ["changes", "enforced", "gates", "logs", "readiness", "rollout", "probes", "rollback", "summary"],
        "required": True,
    },
    "sites": {"type": "raw"},
    "manifest": {"type": "raw"},
    "test": {"type": "dict"},
    "force": {"type": "bool", "default": False},
    "log_path": {"type": "str", "default": "/var/log/nginx"},
    "min_remaining": {"type": "str", "default": "7d"},
    "trust": {"type": "dict", "default": {}},
    "confirmations": {"type": "int", "default": 2},
    "quiet_for": {"type": "str", "default": "24h"},
    "exclude": {"type": "list", "elements": "str", "default": []},
    "environment": {"type": "str", "default": "production"},
    "previous_environment": {"type": "str", "default": ""},
    "receipts_host": {"type": "str", "default": "localhost"},
    "receipts_path": {"type": "str", "default": ""},
    "probe_address": {"type": "str", "default": ""},
    "connection": {"type": "str", "default": "ssh"},
    "ansible_host": {"type": "str", "default": ""},
    "probe_ports": {"type": "dict", "default": {}},
    "probe_checks": {"type": "list", "elements": "str", "default": []},
    "generation_only": {"type": "bool", "default": False},
    "only_back": {"type": "bool", "default": False},
    "skip": {"type": "list", "elements": "str", "default": []},
    "status": {"type": "dict"},
    "reverted": {"type": "bool", "default": False},
    "generation": {"type": "str", "default": ""},
}


class ActionModule(ActionBase):
    """Action rollout_plan."""

    _supports_check_mode = True
    _supports_diff = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Plan, or fail with the reason why the plan is refused."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        options = self.validate_argument_spec(argument_spec=_SPEC)[1]
        step = _Step(options, task_vars or {}, check_mode=self._task.check_mode)
        steps: dict[str, Callable[[], dict[str, Any]]] = {
            "changes": step.changes,
            "enforced": step.enforced,
            "gates": step.gates,
            "logs": step.logs,
            "readiness": step.readiness,
            "rollout": step.rollout,
            "probes": step.probes,
            "rollback": step.rollback,
            "summary": step.summary,
        }
        try:
            return {**result, "changed": False, **steps[options["step"]]()}
        except MtlsError as problem:
            return {**result, "changed": False, "failed": True, "msg": str(problem)}


class _Step:
    """One step, with its options as Ansible gives them."""

    def __init__(self, options: Mapping[str, Any], variables: Mapping[str, Any], *, check_mode: bool) -> None:
        self.options = options
        self.variables = variables
        self.host = str(variables["inventory_hostname"])
        self.check_mode = check_mode

    def changes(self) -> dict[str, Any]:
        """Return the stage changes, and the data that must be read before they are judged."""
        sites = parse_sites(self.options["sites"])
        changes = self._changes(sites)
        guarded = bool(plan.present(sites))
        client = self._client()
        return {
            **self.logs(),
            "changes": [
                {"site": one.site, "from": one.now, "to": one.wanted, "kind": one.kind} for one in changes.changes
            ],
            "enforced": list(changes.enforced),
            "only_back": changes.only_back,
            "differs": changes.differs,
            "guarded": guarded,
            # Without the fallback window no client is admitted after a CRL expires.
            "min_remaining": self.options["min_remaining"] if changes.enforced else "0s",
            **self._probe_client(client, needed=guarded and not changes.only_back and plan.needs_probe_client(sites)),
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
        """Return the logs of every site."""
        sites, manifest = parse_sites(self.options["sites"]), self.options["manifest"]
        return {"logs": [asdict(one) for one in plan.log_files(sites, manifest, self.options["log_path"])]}

    def readiness(self) -> dict[str, Any]:
        """Return the evidence in the logs of all hosts about the sites of this host."""
        return {"sites": [one.as_dict() for one in self._readiness(parse_sites(self.options["sites"]))]}

    def rollout(self) -> dict[str, Any]:
        """Return the plan of the rollout, or fail with the reason why it is refused."""
        sites = parse_sites(self.options["sites"])
        changes = self._changes(sites)
        receipts = self._receipts()
        planned = plan.plan_rollout(
            sites,
            changes,
            self._readiness(sites),
            digests_of_sites(self.options["sites"], collection_version()),
            trust=self.options["trust"],
            certificates=[plan.ServerCertificate(**one) for one in self.options["test"]["server_certificates"]],
            client=self._client(),
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
        options = self.options
        policy = probes.ProbePolicy(options["probe_checks"], options["generation_only"], options["only_back"])
        if options["manifest"] is None:
            raise MtlsError(
                f"{self.host}: {LIVE_MANIFEST} is not valid JSON, so the gate cannot be probed",
                "Roll back to a kept generation with playbook quietdoor.mtls.rollback",
            )
        planned = probes.plan_probes(
            options["manifest"], self._address(), options["probe_ports"], self._client(), policy, skip=options["skip"]
        )
        return {"probes": planned}

    def rollback(self) -> dict[str, Any]:
        """Return the generation to restore."""
        options, client = self.options, self._client()
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
            **self._probe_client(client, needed=planned.generation is not None, only_if_usable=True),
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
        options = self.options
        rules = rules_from(
            options["confirmations"], parse_duration(options["quiet_for"], "rollout_quiet_period"), options["exclude"]
        )
        rows = [
            {"site": log["site"], "host": host, "log": log["log"]}
            for host, logs in self._logs().items()
            for log in logs
            if log["found"] or log["expected"]
        ]
        return plan.readiness_of(sites, rows, options["trust"].get("people", ()), rules, datetime.now(timezone.utc))

    def _logs(self) -> dict[str, list[dict[str, Any]]]:
        """Return the results of the logs of each host of this run. A host on which reading failed is left out."""
        found = {}
        for host in self.variables["ansible_play_hosts_all"]:
            result = self.variables["hostvars"][host].get("rollout__logs") or {}
            if "logs" in result:
                found[host] = result["logs"]
        return found

    def _address(self) -> str:
        options = self.options
        reached_at = options["ansible_host"] or self.host
        return probes.probe_address(options["probe_address"], options["connection"], reached_at)

    def _group(self) -> list[str]:
        return list(self.variables["groups"].get("mtls_web", ()))

    def _client(self) -> plan.ProbeClient:
        options = self.options
        files = options["probe_files"]
        client = plan.ProbeClient(
            name=options["probe_client"] or "",
            host=options["probe_from"],
            certificate=options["probe_certificate"],
            key=options["probe_key"],
            found=(bool(files.get("certificate_found")), bool(files.get("key_found"))),
            serial=str(files.get("serial", "")),
        )
        return plan.with_default_files(client, options["authority_path"])

    def _probe_client(self, client: plan.ProbeClient, *, needed: bool, only_if_usable: bool = False) -> dict[str, Any]:
        """Return the paths of the probe client's files, and their state if they are on the control node.

        :param only_if_usable: whether unreadable files are accepted.
        """
        found = {"probe_certificate": client.certificate, "probe_key": client.key}
        if not needed:
            return {**found, "probe_files": {}, "read_probe_files": False}
        localhost = self.variables["hostvars"].get(client.host) or {}
        if client.host != "localhost" or localhost.get("ansible_connection", "local") != "local":
            return {**found, "probe_files": {}, "read_probe_files": True}
        return {**found, "probe_files": _files_of(client, only_if_usable), "read_probe_files": False}

    def _receipts(self) -> plan.Receipts:
        options = self.options
        return plan.Receipts(
            directory=plan.default_receipts(options["receipts_path"], options["authority_path"]),
            host=options["receipts_host"],
            environment=options["environment"],
            previous=options["previous_environment"],
        )


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
