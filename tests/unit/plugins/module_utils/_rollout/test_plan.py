# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the plan of a rollout: stage changes and their conditions."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._rollout import plan
from ansible_collections.quietdoor.mtls.plugins.module_utils._rollout.readiness import Rules
from ansible_collections.quietdoor.mtls.plugins.module_utils._rollout.receipts import RolledOutSite
from ansible_collections.quietdoor.mtls.plugins.module_utils._rollout.site_digests import digests_of_sites
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.parser import parse_sites

NOW = datetime(2026, 11, 29, 12, tzinfo=timezone.utc)
SERIALS = {"alex": "0A", "bea": "0B", "door-probe": "0C"}
PEOPLE = [{"name": name, "email": [], "roles": [], "serials": [serial]} for name, serial in SERIALS.items()]
TRUST = {"people": PEOPLE, "problems": [], "unverifiable": []}
CLIENT = plan.ProbeClient("door-probe", "localhost", "/c.pem", "/c.key", (True, True), "0C")
RECEIPTS = plan.Receipts("/receipts", "ca", "production", "staging")
RULES = Rules(1, timedelta(days=1), frozenset({"door-probe"}))
EDGE = {"source": "edge", "edge": {"profile": "nginx", "networks": ["192.0.2.7"]}}


def raw(stage: str, **more: Any) -> dict[str, Any]:
    """Return an entry of gate_sites."""
    return {
        "name": "panel",
        "stage": stage,
        "server_names": ["panel.example"],
        "upstream": "http://app",
        "certificate": "a",
        "certificate_key": "b",
        **({"window": {"networks": ["192.0.2.0/24"]}} if stage == "fallback" else {}),
        **more,
    }


def manifest(stage: str) -> dict[str, Any]:
    """Return the manifest of a live gate."""
    return {"format": 1, "sites": {"panel": {"stage": stage}}}


def candidate_test(*differing: str, **more: Any) -> dict[str, Any]:
    """Return the result of a test of the candidate."""
    action = "applied" if differing else "unchanged"
    return {"action": action, "tested": True, "open_elsewhere": [], "differing": list(differing), **more}


def changes(before: dict[str, Any], *sites: dict[str, Any], force: bool = False, **more: Any) -> plan.ChangePlan:
    """Return the plan for a host with the live gate ``before``."""
    test = candidate_test("quietdoor/gate/sites/panel.conf", **more)
    return plan.plan_changes(parse_sites(list(sites)), before, test, host="web1", force=force)


def log(name: str, site: str = "panel") -> dict[str, Any]:
    """Return the results of a host where one client was admitted."""
    row = {"name": name, "email": "", "count": 1, "serials": [SERIALS[name]]}
    row |= {"first_seen": "2026-11-28T10:00:00Z", "last_seen": "2026-11-28T10:00:00Z"}
    found = {"people": [row], "would_deny": [], "fallback": [], "beyond": 0, "lines": 1, "damaged": 0, "unread": []}
    return {"site": site, "host": "web1", "log": found}


def planned(
    before: dict[str, Any], entry: dict[str, Any], logs: list[dict[str, Any]] | None = None, **given: Any
) -> plan.RolloutPlan:
    """Return the plan of a rollout of one site."""
    sites = parse_sites([entry])
    force = given.get("force", False)
    found = plan.readiness_of(sites, [log("alex")] if logs is None else logs, PEOPLE, RULES, NOW)
    options = {"trust": TRUST, "certificates": [], "client": CLIENT, "unread": [], "receipts": RECEIPTS, "force": False}
    done = changes(before, entry, force=force)
    return plan.plan_rollout(
        sites, done, found, digests_of_sites([entry], "1.0.0"), host="web1", **{**options, **given}
    )


def refusal(*given: Any, **more: Any) -> str:
    """Return why a rollout is refused."""
    found = planned(*given, **more).refusal
    return str(found) if found else ""


class TestChanges:
    """Stage changes."""

    def test_a_stage_that_is_left_out_is_refused(self) -> None:
        with pytest.raises(MtlsError, match="skips observe and fallback"):
            changes({}, raw("enforce"))

    def test_with_force_it_is_not(self) -> None:
        assert [one.kind for one in changes({}, raw("enforce"), force=True).changes] == ["jump"]

    def test_an_unreadable_manifest_is_refused(self) -> None:
        with pytest.raises(MtlsError, match="does not contain the stages"):
            plan.plan_changes(parse_sites([raw("enforce")]), None, candidate_test("x"), host="web1", force=False)

    def test_a_candidate_that_was_not_tested_is_refused(self) -> None:
        with pytest.raises(MtlsError, match="No trust is installed on web1"):
            changes({}, raw("observe"), tested=False)

    def test_without_a_site_nothing_has_to_be_tested(self) -> None:
        assert changes(manifest("observe"), tested=False).only_back

    @pytest.mark.parametrize(
        ("before", "stage", "enforced", "only_back"),
        [
            ("observe", "fallback", (), False),
            ("fallback", "enforce", ("panel",), False),
            ("enforce", "fallback", (), True),
            ("enforce", "enforce", (), False),
        ],
    )
    def test_what_a_change_means(self, before: str, stage: str, enforced: tuple[str, ...], only_back: bool) -> None:
        found = changes(manifest(before), raw(stage))
        assert (found.enforced, found.only_back, found.differs) == (enforced, only_back, True)

    def test_where_nothing_changes_nothing_goes_back(self) -> None:
        sites = parse_sites([raw("enforce")])
        found = plan.plan_changes(sites, manifest("enforce"), candidate_test(), host="web1", force=False)
        assert (found.only_back, found.differs) == (False, False)


class TestLogs:
    """The access logs to read."""

    def test_a_log_is_expected_where_the_live_gate_admits_clients_without_a_certificate(self) -> None:
        sites = parse_sites([raw("enforce")])
        assert plan.log_files(sites, manifest("fallback"), "/var/log/nginx") == (
            plan.LogFile("panel", "/var/log/nginx/quietdoor-panel.log", from_files=False, expected=True),
        )
        assert not plan.log_files(sites, manifest("enforce"), "/l")[0].expected
        assert not plan.log_files(sites, None, "/l")[0].expected

    @pytest.mark.parametrize(
        ("more", "from_files"),
        [({}, False), ({"upstream": "/srv/www"}, True)],
    )
    def test_nginx_itself_may_answer(self, more: dict[str, Any], from_files: bool) -> None:
        assert plan.log_files(parse_sites([raw("enforce", **more)]), {}, "/l")[0].from_files is from_files

    def test_a_server_of_the_operator_may_answer_itself(self) -> None:
        entry = raw("observe", manage="snippets")
        del entry["certificate"], entry["certificate_key"]
        assert plan.log_files(parse_sites([entry]), {}, "/l")[0].from_files


class TestReadiness:
    """The evidence of the access logs."""

    def found(self, sites: list[dict[str, Any]], logs: list[dict[str, Any]], rules: Rules = RULES) -> list[Any]:
        return [one.as_dict() for one in plan.readiness_of(parse_sites(sites), logs, PEOPLE, rules, NOW)]

    def test_evidence_of_a_staging_port_belongs_to_the_site(self) -> None:
        tried = raw("enforce", staging_listen=["8443"])
        [site] = self.found([tried], [log("alex", "panel-staging"), log("bea", "other")])
        assert ([one["name"] for one in site["ready"]], site["never"], site["allowed"]) == (["alex"], ["bea"], True)
        assert site["admitted"] == ["alex", "bea", "door-probe"]

    def test_a_site_whose_name_ends_likewise_is_another_one(self) -> None:
        sites = [raw("enforce"), raw("enforce", name="panel-staging", server_names=["staging.example"])]
        found = self.found(sites, [log("alex", "panel-staging")])
        assert {one["site"]: one["allowed"] for one in found} == {"panel": False, "panel-staging": True}

    def test_machines_and_hosts_without_a_log_do_not_close_a_gate(self) -> None:
        logs = [log("alex"), log("bea"), {"site": "panel", "host": "web2", "log": None}]
        [site] = self.found([raw("enforce")], logs, replace(RULES, confirmations=2, exclude=frozenset({"bea"})))
        assert [one["name"] for one in site["ready"]] == ["alex"]
        assert [reason[:8] for reason in site["reasons"]] == ["1 of at ", "web2 has"]

    def test_a_site_without_a_gate_is_not_judged(self) -> None:
        assert self.found([raw("absent")], []) == []

    def test_of_two_hosts_the_stricter_one_is_shown(self) -> None:
        lax, strict = {"site": "a", "allowed": True}, {"site": "a", "allowed": False}
        other = {"site": "b", "allowed": True}
        assert plan.merge_readiness([lax, other, strict, lax]) == [strict, other]


class TestRefusals:
    """The conditions of a rollout."""

    def test_nothing(self) -> None:
        found = planned(manifest("fallback"), raw("enforce"))
        assert found.refusal is None
        assert found.messages[-1] == "panel: fallback -> enforce"
        assert "it can be enforced" in found.messages[-2]

    def test_clients_that_have_not_got_in(self) -> None:
        found = planned(manifest("fallback"), raw("enforce"), [])
        assert "Not yet. panel: 0 of at least 1 people" in str(found.refusal)
        assert "site panel: clients that got in with a certificate" in found.messages

    def test_force_does_not_wait_for_them(self) -> None:
        assert refusal(manifest("fallback"), raw("enforce"), [], force=True) == ""

    def test_a_host_that_was_not_read(self) -> None:
        assert "web2 was not read in this run" in refusal(manifest("fallback"), raw("enforce"), unread=["web2"])
        assert refusal(manifest("fallback"), raw("enforce"), unread=["web2"], force=True) == ""

    def test_nobody_waits_for_it_where_no_site_is_enforced(self) -> None:
        assert refusal(manifest("observe"), raw("fallback"), unread=["web2"]) == ""

    def test_a_problem_of_the_installed_trust(self) -> None:
        trust = {**TRUST, "problems": ["the CRL of CN=CA has ended."]}
        assert refusal(manifest("observe"), raw("fallback"), trust=trust).startswith(
            "Nothing was changed: the CRL of CN=CA has ended. Run playbook quietdoor.mtls.trust"
        )

    def test_an_installed_trust_that_cannot_be_read(self) -> None:
        trust = {"failed": True, "msg": "crl.pem is cut off"}
        assert "crl.pem is cut off" in refusal(manifest("observe"), raw("fallback"), trust=trust)
        assert "could not be read" in refusal(manifest("observe"), raw("fallback"), trust={})

    def test_a_step_back_does_not_wait_for_the_trust(self) -> None:
        found = planned(manifest("enforce"), raw("fallback"), trust={"msg": "crl.pem is cut off"})
        assert found.refusal is None
        assert found.messages[0] == (
            "The installed trust has problems, which do not stop a change to an earlier stage: crl.pem is cut off"
        )

    def test_without_a_site_the_trust_does_not_count(self) -> None:
        assert refusal(manifest("enforce"), raw("absent"), trust={"skipped": True}) == ""

    @pytest.mark.parametrize(
        ("client", "words"),
        [
            (replace(CLIENT, name="dora"), "dora holds no valid certificate"),
            (
                replace(CLIENT, found=(True, False)),
                "localhost has no certificate and key of door-probe: /c.pem, /c.key",
            ),
            (replace(CLIENT, certificate="", found=(False, True)), "rollout_probe_certificate is not set, /c.key"),
            (
                replace(CLIENT, serial="0F"),
                "is not one of the valid certificates of door-probe that web1 has installed (0C)",
            ),
        ],
    )
    def test_a_probe_client_that_cannot_be_used(self, client: plan.ProbeClient, words: str) -> None:
        assert words in refusal(manifest("observe"), raw("fallback"), client=client)

    def test_behind_an_edge_no_probe_client_is_needed(self) -> None:
        sites = parse_sites([raw("enforce")])
        behind = tuple(replace(site, edge=object()) for site in sites)  # type: ignore[arg-type]
        assert (plan.needs_probe_client(sites), plan.needs_probe_client(behind)) == (True, False)

    def test_a_probe_client_that_the_site_does_not_admit(self) -> None:
        entry = raw("fallback", allow={"names": ["alex"]})
        assert "panel: door-probe is not admitted by allow" in refusal(manifest("observe"), entry)

    @pytest.mark.parametrize(
        ("problem", "words"),
        [
            ("name", "a.pem is not for panel.example (does NOT match)"),
            ("end", "a.pem has ended"),
            ("unreadable", "a.pem cannot be read (does NOT match)"),
        ],
    )
    def test_a_server_certificate_that_browsers_warn_of(self, problem: str, words: str) -> None:
        certificate = plan.ServerCertificate("a.pem", "panel.example", problem, "does NOT match")
        assert words in refusal(manifest("observe"), raw("fallback"), certificates=[certificate])
        assert refusal(manifest("enforce"), raw("fallback"), certificates=[certificate]) == "", "a step back"

    def test_clients_without_a_published_certificate_are_named(self) -> None:
        found = planned(manifest("observe"), raw("fallback"), trust={**TRUST, "unverifiable": ["gina"]})
        assert "not verified: gina" in found.messages[0]


class TestReceipts:
    """The receipts that the previous environment must have."""

    def test_a_change_needs_a_receipt(self) -> None:
        found = planned(manifest("observe"), raw("fallback"))
        assert [(one.site, one.stage) for one in found.required] == [("panel", "fallback")]
        assert found.provable == found.required

    @pytest.mark.parametrize(
        ("before", "stage", "given"),
        [
            ("enforce", "fallback", {}),
            ("observe", "fallback", {"force": True}),
            ("observe", "fallback", {"receipts": replace(RECEIPTS, previous="")}),
            ("observe", "fallback", {"receipts": replace(RECEIPTS, previous="production")}),
        ],
    )
    def test_some_changes_need_none(self, before: str, stage: str, given: dict[str, Any]) -> None:
        assert planned(manifest(before), raw(stage), **given).required == ()

    def test_where_nothing_differs_none_is_needed(self) -> None:
        sites = parse_sites([raw("enforce")])
        done = plan.plan_changes(sites, manifest("enforce"), candidate_test(), host="web1", force=False)
        digests = digests_of_sites([raw("enforce")], "1.0.0")
        options = {"trust": TRUST, "certificates": [], "client": CLIENT, "unread": [], "receipts": RECEIPTS}
        found = plan.plan_rollout(
            sites, done, plan.readiness_of(sites, [], PEOPLE, RULES, NOW), digests, host="web1", force=False, **options
        )
        assert (found.required, found.refusal, found.provable) == ((), None, digests)

    def test_a_site_without_a_gate_is_not_provable(self) -> None:
        assert planned(manifest("enforce"), raw("absent")).provable == ()

    def test_an_unknown_directory_is_refused(self) -> None:
        assert "rollout_receipts_path: the directory of the receipts on ca is not known" in refusal(
            manifest("observe"), raw("fallback"), receipts=replace(RECEIPTS, directory="")
        )

    @pytest.mark.parametrize("name", ["", "Production", "a-b", "7th", "x" * 33])
    def test_the_name_of_an_environment(self, name: str) -> None:
        words = refusal(manifest("enforce"), raw("fallback"), receipts=replace(RECEIPTS, environment=name))
        assert "is not a valid name of an environment" in words

    def test_defaults(self) -> None:
        assert plan.default_receipts("", "/srv/ca/") == "/srv/ca-receipts"
        assert plan.default_receipts("/r", "/srv/ca") == "/r"
        assert plan.default_receipts("", "") == ""
        bare = replace(CLIENT, certificate="", key="")
        full = plan.with_default_files(bare, "/srv/ca/")
        assert (full.certificate, full.key) == (
            "/srv/ca/clients/door-probe/door-probe.chain.pem",
            "/srv/ca/clients/door-probe/door-probe.key",
        )
        assert plan.with_default_files(bare, "") == bare
        assert plan.with_default_files(CLIENT, "/srv/ca") == CLIENT


class TestRollback:
    """The plan of a rollback."""

    STATUS = {  # noqa: RUF012
        "generation": 3,
        "snapshots": [
            {
                "generation": 3,
                "stages": {"panel": "enforce"},
                "live": True,
                "intact": True,
                "restores": None,
                "closed": [],
            },
            {
                "generation": 2,
                "stages": {"panel": "fallback"},
                "live": False,
                "intact": True,
                "restores": None,
                "closed": [],
            },
        ],
    }

    def rollback(self, wanted: str = "", *, reverted: bool = False, check_mode: bool = False) -> plan.RollbackPlan:
        return plan.plan_rollback(
            self.STATUS, wanted, reverted=reverted, host="web1", force=False, check_mode=check_mode
        )

    def test_the_generation_before(self) -> None:
        assert self.rollback() == plan.RollbackPlan(2, ())

    def test_a_reverted_transaction_is_a_rollback_already(self) -> None:
        [message] = self.rollback(reverted=True).messages
        assert message == "web1: the armed transaction was reverted. The gate is as it was before that."
        assert "would be" in self.rollback(reverted=True, check_mode=True).messages[0]
        assert self.rollback(reverted=True).generation is None

    def test_unless_a_generation_is_named(self) -> None:
        assert self.rollback("2", reverted=True).generation == 2

    def test_a_generation_that_is_not_kept(self) -> None:
        with pytest.raises(MtlsError, match="'7' is not kept"):
            self.rollback("7")

    def test_a_second_rollback_does_nothing(self) -> None:
        done = {**self.STATUS["snapshots"][0], "restores": 1}
        status = {**self.STATUS, "snapshots": [done, self.STATUS["snapshots"][1]]}
        found = plan.plan_rollback(status, "", reverted=False, host="web1", force=False, check_mode=False)
        assert found.generation is None
        assert found.messages[0].startswith("web1: generation 3 is already a rollback to generation 1")

    def test_a_window_that_has_ended_is_named(self) -> None:
        ended = {**self.STATUS["snapshots"][1], "closed": ["panel"]}
        status = {**self.STATUS, "snapshots": [self.STATUS["snapshots"][0], ended]}
        found = plan.plan_rollback(status, "2", reverted=False, host="web1", force=False, check_mode=False)
        assert found.generation == 2
        assert found.messages == (
            "panel: the fallback window of generation 2 has ended. It admits no client any more.",
        )

    def test_the_summary(self) -> None:
        assert plan.rollback_summary("web1", 2, 4, check_mode=False) == (
            "web1 is back at the files of generation 2; they are generation 4 now"
        )
        assert plan.rollback_summary("web1", 0, None, check_mode=False).endswith("they are generation none now")
        assert plan.rollback_summary("web1", 2, 4, check_mode=True) == "web1 would go back to the files of generation 2"


def test_digests_are_named_by_site() -> None:
    [digest] = digests_of_sites([raw("enforce")], "1.0.0")
    assert digest == RolledOutSite("panel", "enforce", digest.digest)
    assert len(digest.digest) == 64
