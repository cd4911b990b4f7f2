# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the inputs of the rollout actions from the variables of all hosts."""

from __future__ import annotations

import base64
import json
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ansible_collections.quietdoor.mtls.plugins.action import rollout_plan, rollout_verify
from ansible_collections.quietdoor.mtls.plugins.doc_fragments.rollout import ModuleDocFragment
from ansible_collections.quietdoor.mtls.plugins.modules import rollout_plan as plan_module
from ansible_collections.quietdoor.mtls.plugins.modules import rollout_verify as verify_module
from ansible_collections.quietdoor.mtls.plugins.plugin_utils import rollout_steps

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SITE = {
    "name": "panel",
    "stage": "enforce",
    "server_names": ["panel.example"],
    "upstream": "http://app",
    "certificate": "a",
    "certificate_key": "b",
}
OBSERVED = {"sites": {"panel": {"stage": "observe", "server_names": ["panel.example"], "listen": []}}}
TEST = {"action": "applied", "tested": True, "open_elsewhere": [], "differing": ["x"], "server_certificates": []}
PEOPLE = [{"name": name, "email": [], "roles": [], "serials": ["0A"]} for name in ("alex", "door-probe")]
TRUST = {"problems": [], "people": PEOPLE, "unverifiable": []}
FILES = {"certificate_found": True, "key_found": True, "serial": "0A"}
THING = {"site": "panel", "stage": "enforce", "digest": "0" * 64}
LISTEN = [{"address": "*", "port": 443}]
PROBED = {"sites": {"panel": {"stage": "enforce", "server_names": ["panel.example"], "listen": LISTEN}}}
EVIDENCE = {"confirmations": 1, "exclude": ["door-probe"]}
STARTED, COMMITTED = {"rollout__started": {}}, {"rollout__committed": {}}


def modules(trust: Mapping[str, Any] = MappingProxyType(TRUST), **results: Any) -> dict[str, Any]:
    """The modules that the actions run on the host, with their results."""
    return {
        "quietdoor.mtls.trust_info": lambda options: {**trust, "options": options},
        "quietdoor.mtls.gate_log_info": lambda options: {"logs": options["logs"], "options": options},
        **{name: (lambda _options, result=result: result) for name, result in results.items()},
    }


def read(**more: Any) -> dict[str, Any]:
    """The variables of a host whose access logs were read."""
    row = {"name": "alex", "email": "", "count": 1, "serials": ["0A"]}
    row |= {"first_seen": "2026-11-28T10:00:00Z", "last_seen": "2026-11-28T10:00:00Z"}
    log = {"people": [row], "would_deny": [], "fallback": [], "beyond": 0, "lines": 1, "damaged": 0, "unread": []}
    return {"rollout__logs": {"logs": [{"site": "panel", "found": True, "expected": True, "log": log, **more}]}}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs an action on host web1 of a play."""

    def run(
        action: Any,
        args: dict[str, Any],
        hosts: dict[str, Any] | None = None,
        modules: dict[str, Any] | None = None,
        check_mode: bool = False,
        **variables: Any,
    ) -> dict[str, Any]:
        module = object.__new__(action.ActionModule)
        module._task = SimpleNamespace(args=args, check_mode=check_mode, action="quietdoor.mtls.x")
        monkeypatch.setattr(rollout_steps.ActionBase, "run", lambda *_given: {})
        ran = modules or {}
        monkeypatch.setattr(module, "_execute_module", lambda **call: ran[call["module_name"]](call["module_args"]))
        found = {"web1": {}} if hosts is None else hosts
        shared = {"hostvars": found, "groups": {"mtls_web": list(found)}}
        plays = {"ansible_play_hosts": list(found), "ansible_play_hosts_all": list(found)}
        result: dict[str, Any] = module.run(None, {"inventory_hostname": "web1", **shared, **plays, **variables})
        return result

    return run


def assert_documented(documented: dict[str, Any], specs: dict[str, Any]) -> None:
    """Assert that the documentation of options, and of their suboptions, equals the argument spec."""
    assert sorted(documented) == sorted(specs)
    for name, spec in specs.items():
        assert documented[name]["type"] == spec["type"], name
        for key in ("default", "choices", "required", "elements"):
            assert documented[name].get(key) == spec.get(key), (name, key)
        assert_documented(documented[name].get("suboptions", {}), spec.get("options", {}))


@pytest.mark.parametrize(("action", "module"), [(rollout_plan, plan_module), (rollout_verify, verify_module)])
def test_the_documented_options_are_those_of_the_action(action: Any, module: Any) -> None:
    texts = (module.DOCUMENTATION, ModuleDocFragment.DOCUMENTATION)
    own, shared = (yaml.safe_load(text)["options"] for text in texts)
    assert not own.keys() & shared.keys()
    assert_documented({**own, **shared}, action._SPEC)


class TestPlan:
    """Action rollout_plan."""

    def options(self, **more: Any) -> dict[str, Any]:
        return {"sites": [SITE], "manifest": OBSERVED, "test": TEST, "client": {"name": "door-probe"}, **more}

    def rollout(self, run: Any, hosts: dict[str, Any], **more: Any) -> dict[str, Any]:
        options = self.options(step="rollout", trust=TRUST, probe_files=FILES, evidence=EVIDENCE)
        result: dict[str, Any] = run(rollout_plan, {**options, "force": True, **more}, hosts)
        return result

    def test_a_refused_change_is_one_sentence(self, run: Any) -> None:
        result = run(rollout_plan, self.options(step="changes"))
        assert (result["failed"], result["msg"][:49]) == (
            True,
            "site panel: observe -> enforce: that skips fallba",
        )

    def test_changes(self, run: Any) -> None:
        client = {"name": "door-probe", "authority_path": "/ca"}
        options = self.options(step="changes", force="yes", min_remaining="9d", client=client, conf_path="/n")
        result = run(rollout_plan, options, modules=modules())
        assert result["changes"] == [{"site": "panel", "from": "observe", "to": "enforce", "kind": "jump"}]
        assert (result["enforced"], result["min_remaining"]) == (["panel"], "9d")
        assert (result["probe_files"]["key_found"], result["read_probe_files"]) == (False, False)
        assert result["probe_key"] == "/ca/clients/door-probe/door-probe.key"
        assert (result["check_trust"], result["transaction_step"]) == (True, "begin")
        assert result["trust"]["options"] == {"conf_path": "/n", "min_remaining": "9d"}
        assert (result["logs"][0]["expected"], result["options"]["since"]) == (True, ["30d", "24h"])

    def test_trust_is_not_verified_again_if_every_change_goes_back(self, run: Any) -> None:
        back = {**SITE, "stage": "observe"}
        manifest = {"sites": {"panel": {**OBSERVED["sites"]["panel"], "stage": "enforce"}}}
        result = run(rollout_plan, self.options(step="changes", sites=[back], manifest=manifest), modules=modules())
        assert (result["only_back"], result["differs"], result["check_trust"]) == (True, True, False)

    def test_trust_is_read_only_if_a_site_has_a_gate(self, run: Any) -> None:
        result = run(rollout_plan, self.options(step="changes", sites=[], force=True), modules=modules())
        assert (result["trust"], result["check_trust"]) == ({}, False)

    def test_failed_trust_is_part_of_the_changes(self, run: Any) -> None:
        broken = modules({"failed": True, "msg": "no trust"})
        result = run(rollout_plan, self.options(step="changes", force=True), modules=broken)
        assert (result.get("failed"), result["trust"]["msg"]) == (None, "no trust")

    def test_changes_fail_with_the_message_of_the_logs(self, run: Any) -> None:
        broken = modules(**{"quietdoor.mtls.gate_log_info": {"failed": True, "msg": "no log"}})
        result = run(rollout_plan, self.options(step="changes", force=True), modules=broken)
        assert (result["failed"], result["msg"]) == (True, "no log")

    def test_the_files_of_the_probe_client_are_elsewhere(self, run: Any) -> None:
        options = self.options(step="changes", force=True, client={"name": "p", "host": "bastion"})
        assert run(rollout_plan, options, modules=modules())["read_probe_files"]
        hosts = {"web1": {}, "localhost": {"ansible_connection": "ssh"}}
        options = self.options(step="changes", force=True)
        assert run(rollout_plan, options, hosts, modules=modules())["read_probe_files"]
        assert not run(rollout_plan, self.options(step="changes", sites=[]), modules=modules())["read_probe_files"]

    @pytest.mark.parametrize(
        ("slurped", "expected"),
        [
            ({"content": base64.b64encode(json.dumps(OBSERVED).encode())}, True),
            ({"content": base64.b64encode(b"{")}, False),
            ({"failed": True, "msg": "File not found: /n/quietdoor/gate/manifest.json"}, False),
        ],
    )
    def test_logs_are_expected_by_the_live_manifest(self, run: Any, slurped: Any, expected: bool) -> None:
        paths: list[Any] = []
        found = {**modules(), "ansible.legacy.slurp": lambda options: paths.append(options["src"]) or slurped}
        result = run(rollout_plan, {"step": "logs", "sites": [SITE], "conf_path": "/n"}, modules=found)
        assert (result["logs"][0]["expected"], paths) == (expected, ["/n/quietdoor/gate/manifest.json"])
        assert result["trust"]["people"] == PEOPLE

    def test_logs_fail_if_trust_or_manifest_cannot_be_read(self, run: Any) -> None:
        unreadable = modules(**{"ansible.legacy.slurp": {"failed": True, "msg": "File is not readable: x"}})
        options = {"step": "logs", "sites": [SITE]}
        assert (
            "/etc/nginx/quietdoor/gate/manifest.json cannot be read"
            in run(rollout_plan, options, modules=unreadable)["msg"]
        )
        broken = modules({"failed": True, "msg": "no trust"})
        assert run(rollout_plan, options, modules=broken)["msg"] == "no trust"

    def test_sites_that_would_be_enforced(self, run: Any) -> None:
        result = run(rollout_plan, {"step": "enforced", "sites": [SITE], "manifest": OBSERVED})
        assert result["enforced"] == ["panel"]
        assert run(rollout_plan, {"step": "enforced", "sites": [SITE], "manifest": {}})["enforced"] == []

    def test_gates_that_refuse_clients(self, run: Any) -> None:
        watched = {**SITE, "name": "watched", "stage": "observe", "server_names": ["watched.example"]}
        found = run(rollout_plan, {"step": "gates", "sites": [SITE, watched], "ansible_host": "192.0.2.7"})
        assert (found["address"], found["observed"]) == ("192.0.2.7", ["watched"])
        assert found["endpoints"] == [
            {"site": "panel", "address": "127.0.0.1", "port": 443, "server_name": "panel.example"}
        ]
        assert run(rollout_plan, {"step": "gates", "sites": [], "connection": "local"})["address"] == ""

    def test_rollout(self, run: Any) -> None:
        receipts = {"previous_environment": "staging", "path": "/r"}
        result = self.rollout(run, {"web1": read()}, receipts=receipts, force=True)
        assert "failed" not in result, result
        assert [one["site"] for one in result["provable"]] == ["panel"]
        assert (result["required_receipts"], result["receipts_path"]) == ([], "/r")

    def test_a_refused_rollout_shows_its_table(self, run: Any) -> None:
        site, manifest = (
            {**SITE, "stage": "enforce"},
            {"sites": {"panel": {**OBSERVED["sites"]["panel"], "stage": "fallback"}}},
        )
        hosts = {"web1": read(), "web2": read(log=None, found=False)}
        result = self.rollout(run, hosts, sites=[site], manifest=manifest, force=False)
        assert "panel: web2 has no log of this site" in result["msg"]
        assert any("ready  alex" in line for line in result["messages"])

    def test_a_host_whose_logs_were_not_read_is_named(self, run: Any) -> None:
        manifest = {"sites": {"panel": {**OBSERVED["sites"]["panel"], "stage": "fallback"}}}
        hosts = {"web1": read(), "web2": {}, "web3": {"rollout__logs": {"failed": True}}}
        assert "web2, web3 was not read" in self.rollout(run, hosts, manifest=manifest, force=False)["msg"]

    def test_a_missing_log_that_nothing_expects_is_left_out(self, run: Any) -> None:
        result = run(
            rollout_plan,
            self.options(step="readiness", trust=TRUST, evidence={"confirmations": 1}),
            {"web1": read(found=False, expected=False)},
        )
        assert result["sites"][0]["ready"] == []
        assert not any("no log" in reason for reason in result["sites"][0]["reasons"])

    def test_bad_confirmations(self, run: Any) -> None:
        assert (
            "rollout_confirmations: 0 is not a valid number"
            in self.rollout(run, {"web1": read()}, evidence={"confirmations": 0})["msg"]
        )

    def test_summary(self, run: Any) -> None:
        site = {"site": "panel", "allowed": True, "table": ["x"]}
        hosts = {name: {"rollout__readiness": {"sites": [site]}} for name in ("web1", "web2")}
        assert run(rollout_plan, {"step": "summary"}, hosts)["table"] == ["x"]

    def test_a_manifest_that_cannot_be_read_is_not_probed(self, run: Any) -> None:
        live = {"manifest": None, "generation": 3}
        assert "not valid JSON" in run(rollout_plan, {"step": "probes", "live": live})["msg"]
        reverted = run(rollout_plan, {"step": "probes", "live": live, "generation_only": True})
        assert (reverted.get("failed"), reverted["probes"]) == (None, [])

    def test_probes(self, run: Any) -> None:
        options = {"step": "probes", "live": {"manifest": PROBED, "generation": 7}, "client": {"name": "p"}}
        result = run(rollout_plan, options)
        assert ([one["address"] for one in result["probes"]], result["generation"]) == (["web1:443"], 7)
        assert run(rollout_plan, options, check_mode=True)["probes"] == []

    @pytest.mark.parametrize("live", [{}, {"manifest": {}}, {"manifest": {"sites": "x"}}, {"failed": True, "msg": "x"}])
    def test_probes_of_a_reverted_gate_never_fail(self, run: Any, live: dict[str, Any]) -> None:
        result = run(rollout_plan, {"step": "probes", "live": live, "generation_only": True})
        assert (result.get("failed"), result["probes"]) == (None, [])

    def test_probes_of_a_reverted_gate_check_the_generation(self, run: Any) -> None:
        live = {"manifest": PROBED, "generation": 6}
        result = run(rollout_plan, {"step": "probes", "live": live, "generation_only": True})
        assert ([one["checks"] for one in result["probes"]], result["generation"]) == ([["generation"]], 6)

    def test_a_rollback_does_not_wait_for_the_files_of_the_probe_client(self, run: Any, tmp_path: Path) -> None:
        broken = tmp_path / "c.pem"
        broken.write_text("not a certificate")
        kept = {"generation": 1, "stages": {}, "live": False, "intact": True, "closed": []}
        options = {
            "step": "rollback",
            "status": {"generation": 2, "snapshots": [kept]},
            "client": {"certificate": str(broken)},
        }
        result = run(rollout_plan, options)
        assert (result["generation"], result["probe_files"]["certificate_found"]) == (1, False)
        assert (result["transaction_step"], result["only_back"], result["check_trust"]) == ("rollback", True, False)
        changes = self.options(step="changes", force=True, client={"certificate": str(broken)})
        assert "does not begin with a certificate" in run(rollout_plan, changes, modules=modules())["msg"]
        changes["client"] = {"certificate": str(tmp_path)}
        assert "cannot be read" in run(rollout_plan, changes, modules=modules())["msg"]

    def test_rollback(self, run: Any) -> None:
        status = {"generation": 1, "snapshots": []}
        assert "No generation before" in run(rollout_plan, {"step": "rollback", "status": status})["msg"]
        assert not run(rollout_plan, {"step": "rollback", "status": status, "reverted": True})["needed"]


class TestVerify:
    """Action rollout_verify."""

    def test_earlier_hosts(self, run: Any) -> None:
        result = run(rollout_verify, {"step": "earlier_hosts"}, {"web1": {}, "web2": STARTED})
        assert "web2 did not come to an end, so web1 was left as it is" in result["msg"]
        assert "failed" not in run(
            rollout_verify, {"step": "earlier_hosts"}, {"web1": {}, "web2": {**STARTED, **COMMITTED}}
        )

    def test_unfinished_hosts_are_a_warning(self, run: Any) -> None:
        [warning] = run(rollout_verify, {"step": "unfinished"}, {"web2": {**STARTED, "rollout_revert_after": "9m"}})[
            "warnings"
        ]
        assert warning.startswith("web2 did not come to an end")
        assert "at the latest 9m after" in warning
        assert "warnings" not in run(rollout_verify, {"step": "unfinished"}, {"web2": {}})

    def test_trust(self, run: Any) -> None:
        options = {"step": "trust", "sites": [SITE], "client": {"name": "door-probe"}, "probe_files": FILES}
        assert "failed" not in run(rollout_verify, options, modules=modules())
        broken = run(rollout_verify, options, modules=modules({"failed": True, "msg": "the CRL has ended"}))
        assert (broken["failed"], "the CRL has ended" in broken["msg"]) == (True, True)

    def test_probes(self, run: Any) -> None:
        begun = {"generation": 7, "manifest": OBSERVED, "unguarded": []}
        options = {"step": "probes", "probes": [{"site": "panel"}], "begun": begun, "provable": [THING], "target": 5}
        good = run(rollout_verify, {**options, "results": [{"deviations": 0}]})
        assert (good["proven"], good["summary"]) == (
            [THING],
            "web1 is back at the files of generation 5; they are generation 7 now",
        )
        bad = run(rollout_verify, {**options, "results": [{"deviations": 1, "msg": "open"}]})
        assert (bad["failed"], bad["msg"]) == (True, "panel: open")

    def test_failure(self, run: Any) -> None:
        variables = {"ansible_failed_task": {"name": "x"}, "ansible_failed_result": {"failed": True, "msg": "It broke"}}
        assert run(rollout_verify, {"step": "failure"}, **variables)["text"] == (
            "web1: It broke. Nothing was changed on this host."
        )

    def test_receipts_only_when_every_host_has_finished(self, run: Any) -> None:
        done = {**STARTED, **COMMITTED, "rollout__verified": {"proven": [THING]}}
        options = {"step": "receipts", "receipts": {"authority_path": "/ca"}}
        assert run(rollout_verify, options, {"web1": done, "web2": done}) == {
            "changed": False,
            "things": [THING],
            "path": "/ca-receipts",
        }
        assert run(rollout_verify, options, {"web1": done, "web2": {}})["things"] == []
        assert run(rollout_verify, {"step": "receipts"}, {"web1": done})["things"] == []

    def test_withdrawals(self, run: Any) -> None:
        snapshots = [{"generation": 2, "live": True, "stages": {"panel": "enforce"}}]
        back = {
            "rollout__rollback": {"needed": True, "generation": 1},
            "rollout__status": {"generation": 2, "snapshots": snapshots},
            "rollout__begun": {"action": "applied", "differing": ["quietdoor/gate/http.conf"]},
        }
        options = {"step": "withdrawals", "receipts": {"path": "/r", "host": "ca"}}
        result = run(rollout_verify, options, {"web1": {**back, **COMMITTED}, "web2": {}})
        assert result["sites"] == ["panel"]
        assert result["failure"].startswith("/r on ca: the receipts of production were not withdrawn")
        assert run(rollout_verify, options, {"web1": back})["sites"] == []
        stayed = {**back, **COMMITTED, "rollout__rollback": {"needed": False}}
        assert run(rollout_verify, options, {"web1": stayed})["sites"] == []
