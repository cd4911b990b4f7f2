# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the inputs of the rollout actions from the variables of all hosts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ansible_collections.quietdoor.mtls.plugins.action import rollout_plan, rollout_verify
from ansible_collections.quietdoor.mtls.plugins.modules import rollout_plan as plan_module
from ansible_collections.quietdoor.mtls.plugins.modules import rollout_verify as verify_module

if TYPE_CHECKING:
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
STARTED, COMMITTED = {"rollout__started": {}}, {"rollout__committed": {}}


def read(**more: Any) -> dict[str, Any]:
    """The variables of a host whose access logs were read."""
    row = {"name": "alex", "email": "", "count": 1, "serials": ["0A"]}
    row |= {"first_seen": "2026-11-28T10:00:00Z", "last_seen": "2026-11-28T10:00:00Z"}
    log = {"people": [row], "would_deny": [], "fallback": [], "beyond": 0, "lines": 1, "damaged": 0, "unread": []}
    return {"rollout__logs": {"logs": [{"site": "panel", "found": True, "expected": True, "log": log, **more}]}}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs an action on host web1 of a play."""

    def run(action: Any, args: dict[str, Any], hosts: dict[str, Any] | None = None, **variables: Any) -> dict[str, Any]:
        module = object.__new__(action.ActionModule)
        module._task = SimpleNamespace(args=args, check_mode=False, action="quietdoor.mtls.x")
        monkeypatch.setattr(action.ActionBase, "run", lambda *_given: {})
        found = {"web1": {}} if hosts is None else hosts
        shared = {"hostvars": found, "groups": {"mtls_web": list(found)}}
        plays = {"ansible_play_hosts": list(found), "ansible_play_hosts_all": list(found)}
        result: dict[str, Any] = module.run(None, {"inventory_hostname": "web1", **shared, **plays, **variables})
        return result

    return run


@pytest.mark.parametrize(("action", "module"), [(rollout_plan, plan_module), (rollout_verify, verify_module)])
def test_the_documented_options_are_those_of_the_action(action: Any, module: Any) -> None:
    documented = yaml.safe_load(module.DOCUMENTATION)["options"]
    assert sorted(documented) == sorted(action._SPEC)
    for name, spec in action._SPEC.items():
        assert documented[name]["type"] == spec["type"], name
        for key in ("default", "choices", "required"):
            assert documented[name].get(key) == spec.get(key), (name, key)


class TestPlan:
    """Action rollout_plan."""

    def options(self, **more: Any) -> dict[str, Any]:
        return {"sites": [SITE], "manifest": OBSERVED, "test": TEST, "probe_client": "door-probe", **more}

    def rollout(self, run: Any, hosts: dict[str, Any], **more: Any) -> dict[str, Any]:
        options = self.options(step="rollout", trust=TRUST, probe_files=FILES, confirmations=1, exclude=["door-probe"])
        result: dict[str, Any] = run(rollout_plan, {**options, "force": True, **more}, hosts)
        return result

    def test_a_refused_change_is_one_sentence(self, run: Any) -> None:
        result = run(rollout_plan, self.options(step="changes"))
        assert (result["failed"], result["msg"][:49]) == (
            True,
            "site panel: observe -> enforce: that skips fallba",
        )

    def test_changes(self, run: Any) -> None:
        result = run(rollout_plan, self.options(step="changes", force="yes", min_remaining="9d", authority_path="/ca"))
        assert result["changes"] == [{"site": "panel", "from": "observe", "to": "enforce", "kind": "jump"}]
        assert (result["enforced"], result["min_remaining"]) == (["panel"], "9d")
        assert (result["probe_files"]["key_found"], result["read_probe_files"]) == (False, False)
        assert result["probe_key"] == "/ca/clients/door-probe/door-probe.key"
        assert result["logs"][0]["expected"]

    def test_the_files_of_the_probe_client_are_elsewhere(self, run: Any) -> None:
        options = self.options(step="changes", force=True, probe_from="bastion")
        assert run(rollout_plan, options)["read_probe_files"]
        hosts = {"web1": {}, "localhost": {"ansible_connection": "ssh"}}
        assert run(rollout_plan, {**options, "probe_from": "localhost"}, hosts)["read_probe_files"]
        assert not run(rollout_plan, self.options(step="changes", sites=[]))["read_probe_files"]

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
        result = self.rollout(run, {"web1": read()}, previous_environment="staging", receipts_path="/r", force=True)
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
            self.options(step="readiness", trust=TRUST, confirmations=1),
            {"web1": read(found=False, expected=False)},
        )
        assert result["sites"][0]["ready"] == []
        assert not any("no log" in reason for reason in result["sites"][0]["reasons"])

    def test_bad_confirmations(self, run: Any) -> None:
        assert (
            "rollout_confirmations: 0 is not a valid number"
            in self.rollout(run, {"web1": read()}, confirmations=0)["msg"]
        )

    def test_summary(self, run: Any) -> None:
        site = {"site": "panel", "allowed": True, "table": ["x"]}
        hosts = {name: {"rollout__readiness": {"sites": [site]}} for name in ("web1", "web2")}
        assert run(rollout_plan, {"step": "summary"}, hosts)["table"] == ["x"]

    def test_a_manifest_that_cannot_be_read_is_not_probed(self, run: Any) -> None:
        assert "not valid JSON" in run(rollout_plan, {"step": "probes", "manifest": None})["msg"]

    def test_probes(self, run: Any) -> None:
        listen = [{"address": "*", "port": 443}]
        manifest = {"sites": {"panel": {"stage": "enforce", "server_names": ["panel.example"], "listen": listen}}}
        result = run(rollout_plan, {"step": "probes", "manifest": manifest, "probe_client": "p"})
        assert [one["address"] for one in result["probes"]] == ["web1:443"]

    def test_a_rollback_does_not_wait_for_the_files_of_the_probe_client(self, run: Any, tmp_path: Path) -> None:
        broken = tmp_path / "c.pem"
        broken.write_text("not a certificate")
        kept = {"generation": 1, "stages": {}, "live": False, "intact": True, "closed": []}
        options = {
            "step": "rollback",
            "status": {"generation": 2, "snapshots": [kept]},
            "probe_certificate": str(broken),
        }
        result = run(rollout_plan, options)
        assert (result["generation"], result["probe_files"]["certificate_found"]) == (1, False)
        changes = self.options(step="changes", force=True, probe_certificate=str(broken))
        assert "does not begin with a certificate" in run(rollout_plan, changes)["msg"]
        assert "cannot be read" in run(rollout_plan, {**changes, "probe_certificate": str(tmp_path)})["msg"]

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
        options = {"step": "trust", "sites": [SITE], "probe_client": "door-probe", "probe_files": FILES}
        assert "failed" not in run(rollout_verify, {**options, "trust": TRUST})
        broken = {**options, "trust": {"msg": "the CRL has ended"}}
        assert "the CRL has ended" in run(rollout_verify, broken)["msg"]
        assert "failed" not in run(rollout_verify, {**broken, "only_back": True})

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
        options = {"step": "receipts", "authority_path": "/ca"}
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
        options = {"step": "withdrawals", "receipts_path": "/r"}
        assert run(rollout_verify, options, {"web1": {**back, **COMMITTED}, "web2": {}})["sites"] == ["panel"]
        assert run(rollout_verify, options, {"web1": back})["sites"] == []
        stayed = {**back, **COMMITTED, "rollout__rollback": {"needed": False}}
        assert run(rollout_verify, options, {"web1": stayed})["sites"] == []
