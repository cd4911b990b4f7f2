# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the verdicts on a rollout."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._rollout import verify
from ansible_collections.quietdoor.mtls.plugins.module_utils._rollout.receipts import RolledOutSite

GOOD = {"checks": [{"name": "generation", "ok": True}], "deviations": 0, "msg": "as expected", "application_down": []}
OLD = {"checks": [{"name": "generation", "ok": False}], "deviations": 1, "msg": "old generation."}
OPEN = {
    "checks": [{"name": "generation", "ok": True}, {"name": "foreign", "ok": False}],
    "deviations": 1,
    "msg": "open",
}
DOWN = {**GOOD, "application_down": ["valid (alex): GET /: 502"]}
AWAY = {"unreachable": True, "msg": "no route to host"}
BEGUN = {"armed": True, "deadline": "2026-11-29T12:05:00Z"}


def site(upstream: str) -> dict[str, Any]:
    """Return a manifest of one site."""
    return {"sites": {"panel": {"stage": "enforce", "upstreams": [upstream]}}}


def judged(*results: dict[str, Any], **given: Any) -> verify.ProbeVerdict:
    """Return the verdict on the probes of one site."""
    options = {"former": site("a"), "present": site("a"), "only_back": False, "force": False}
    return verify.judge_probes(["panel"] * len(results), results, **{**options, **given})


def test_probe_without_a_result_is_a_failure() -> None:
    verdict = verify.judge_probes(["panel"], [], {}, {}, only_back=False, force=True)
    assert verdict.failure == "panel: the gate could not be probed"


class TestProbes:
    """The verdict on probe results."""

    def test_correct_gate_stays(self) -> None:
        assert judged(GOOD, GOOD) == verify.ProbeVerdict((), (), "")

    def test_no_gate_has_no_probes(self) -> None:
        assert judged() == verify.ProbeVerdict((), (), "")

    @pytest.mark.parametrize(
        ("result", "words"), [(OLD, "panel: old generation"), (OPEN, "panel: open"), (AWAY, "panel: no route to host")]
    )
    def test_whatever_deviates_is_a_failure(self, result: dict[str, Any], words: str) -> None:
        assert judged(GOOD, result).failure == words

    def test_result_without_a_message_is_not_probed(self) -> None:
        assert judged({}).failure == "panel: the gate could not be probed"

    def test_force_does_not_make_it_good(self) -> None:
        assert judged(OPEN, force=True).failure == "panel: open"

    @pytest.mark.parametrize(("result", "fails"), [(OLD, True), (OPEN, False), (AWAY, False), (GOOD, False)])
    def test_a_rollback_is_judged_by_the_generation_alone(self, result: dict[str, Any], fails: bool) -> None:
        found = judged(result, only_back=True)
        assert bool(found.failure) is fails
        assert bool(found.messages) is (result is not GOOD)

    def test_an_application_that_was_down_before_is_no_failure(self) -> None:
        found = judged(DOWN, DOWN)
        assert (found.failure, found.down) == ("", ("panel",))
        assert found.messages == ("The gate of panel works, but the application behind it does not respond",)

    @pytest.mark.parametrize("former", [site("b"), {}, None, {"sites": {}}])
    def test_a_new_upstream_that_does_not_respond_is_a_failure(self, former: object) -> None:
        assert judged(DOWN, former=former).failure.startswith(
            "The application behind the gate of panel does not respond."
        )
        assert judged(DOWN, former=former, force=True).failure == ""
        assert judged(DOWN, former=former, only_back=True).failure == ""


class TestFailure:
    """The report of a failed rollout."""

    def text(self, begun: Any = None, reverted: Any = None, returned: Any = (), result: Any = None) -> str:
        failed = result or {"failed": True, "msg": "It broke."}
        return verify.failure_text("Commit the gate transaction", failed, begun, reverted, returned)

    def test_before_it_began(self) -> None:
        assert self.text() == "It broke. Nothing was changed on this host."

    def test_a_module_that_failed_to_begin_reports_the_state_itself(self) -> None:
        assert self.text({"failed": True, "msg": "x"}) == "It broke."

    def test_nothing_was_armed(self) -> None:
        assert self.text({"armed": False}) == "It broke. Nothing was changed on this host."

    def test_it_was_reverted(self) -> None:
        words = self.text(BEGUN, {"action": "reverted"}, [GOOD])
        assert words == "It broke. The gate is back as it was before."

    def test_gate_was_reverted_meanwhile(self) -> None:
        words = self.text(BEGUN, {"action": "unchanged", "reason": "it was not committed by 12:05"})
        assert words == "It broke. Meanwhile it was not committed by 12:05. The gate is back as it was before."

    def test_reverted_gate_deviates(self) -> None:
        words = self.text(BEGUN, {"action": "reverted"}, [GOOD, OLD, AWAY])
        assert words.endswith("as it was before. But the probes found: old generation; no route to host.")

    @pytest.mark.parametrize("reverted", [{"failed": False, "msg": "nginx refuses"}, {}, None])
    def test_it_could_not_be_reverted(self, reverted: Any) -> None:
        words = self.text(BEGUN, reverted)
        assert "It could not be reverted at once" in words
        assert words.endswith("the host does that itself at 2026-11-29T12:05:00Z.")

    def test_of_a_loop_only_what_failed_is_reported(self) -> None:
        results = [{"failed": True, "msg": "a"}, {"msg": "b"}, {"failed": True}, {"unreachable": True, "msg": "c"}]
        assert self.text(result={"results": results}).startswith("a; Commit the gate transaction; c. ")


class TestHosts:
    """The hosts that have finished."""

    STARTED, COMMITTED = {"rollout__started": {"changed": False}}, {"rollout__committed": {"skipped": True}}

    @pytest.mark.parametrize(
        ("variables", "finished"),
        [
            ({}, False),
            (STARTED, False),
            ({**STARTED, **COMMITTED}, True),
            ({**STARTED, "rollout__committed": {"failed": True}}, False),
            ({**STARTED, "rollout__committed": {"unreachable": True}}, False),
            ({**STARTED, **COMMITTED, "rollout__failure": {"text": "x"}}, False),
        ],
    )
    def test_finished(self, variables: dict[str, Any], finished: bool) -> None:
        assert verify.has_finished(variables) is finished

    def test_unfinished(self) -> None:
        hosts = {
            "done": {**self.STARTED, **self.COMMITTED},
            "stuck": self.STARTED,
            "waiting": {},
            "refused": {"rollout__started": {"failed": True}},
        }
        assert verify.unfinished(hosts) == ("stuck",)


class TestReceipts:
    """The sites whose receipts are written or withdrawn."""

    def test_only_of_what_was_seen_at_work(self) -> None:
        things = [RolledOutSite(name, "enforce", "0" * 64) for name in ("a", "b", "c")]
        assert verify.provable(things, ["a"], ["c"]) == (things[1],)

    @pytest.mark.parametrize(
        ("before", "target", "action", "differing", "sites"),
        [
            (3, 2, "applied", ["quietdoor/gate/sites/a.conf"], ("a",)),
            (3, 2, "applied", ["quietdoor/gate/snippets/b-proxy.conf"], ("b",)),
            (3, 2, "applied", ["quietdoor/gate/http.conf"], ("a", "b")),
            (3, 2, "unchanged", ["quietdoor/gate/http.conf"], ()),
            (3, 3, "applied", ["quietdoor/gate/http.conf"], ()),
            (None, 0, "applied", ["quietdoor/gate/http.conf"], ()),
        ],
    )
    def test_of_what_a_rollback_changed(
        self, before: int | None, target: int, action: str, differing: list[str], sites: tuple[str, ...]
    ) -> None:
        snapshots = [
            {"generation": 3, "live": True, "stages": {"a": "enforce", "b": "observe"}},
            {"generation": 2, "live": False, "stages": {"z": "enforce"}},
        ]
        begun = {"action": action, "differing": differing}
        assert verify.rolled_back_sites(snapshots, before, target, begun) == sites
