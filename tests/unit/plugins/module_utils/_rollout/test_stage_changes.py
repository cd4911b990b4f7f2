# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which stage changes of a site are allowed."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._contracts.stages import STAGES
from ansible_collections.quietdoor.mtls.plugins.module_utils._rollout.stage_changes import (
    as_dicts,
    live_stages,
    plan_stage_changes,
    refuse_stage_changes,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.parser import parse_sites

SITE = {
    "name": "panel",
    "server_names": ["panel.example"],
    "upstream": "http://app",
    "certificate": "a",
    "certificate_key": "b",
}
BEHIND_AN_EDGE = {
    **SITE,
    "source": "edge",
    "trusted_proxies": ["192.0.2.1"],
    "edge": {"profile": "nginx", "certificate_authority": "/ca", "certificates": ["CN=edge"]},
}
SNIPPETS = {"name": "panel", "server_names": ["panel.example"], "upstream": "http://app", "manage": "snippets"}


def site(stage: str, **more: Any) -> tuple[Any, ...]:
    """Return the list of one site."""
    window = {"window": {"networks": ["192.0.2.0/24"]}} if stage == "fallback" else {}
    return parse_sites([{**SITE, "stage": stage, **window, **more}])


def manifest(stage: str) -> dict[str, Any]:
    """Return the manifest of a live gate; without the site for stage absent."""
    return {} if stage == "absent" else {"format": 1, "sites": {"panel": {"stage": stage}}}


ALLOWED = {
    ("absent", "fallback"): "forward",
    ("observe", "fallback"): "forward",
    ("fallback", "enforce"): "forward",
    ("observe", "absent"): "back",
    ("fallback", "absent"): "back",
    ("fallback", "observe"): "back",
    ("enforce", "absent"): "back",
    ("enforce", "observe"): "back",
    ("enforce", "fallback"): "back",
    ("observe", "observe"): "stay",
    ("fallback", "fallback"): "stay",
    ("enforce", "enforce"): "stay",
}
REFUSED = {
    ("absent", "observe"): "no other server of this nginx publishes the application today",
    ("absent", "enforce"): "that skips observe and fallback",
    ("observe", "enforce"): "that skips fallback",
}


@pytest.mark.parametrize(("now", "wanted"), ALLOWED)
def test_what_may_be_done(now: str, wanted: str) -> None:
    [move] = plan_stage_changes(site(wanted), manifest(now))
    refuse_stage_changes([move])
    assert (move.now, move.wanted, move.kind) == (now, wanted, ALLOWED[now, wanted])


@pytest.mark.parametrize(("now", "wanted"), REFUSED)
def test_what_may_not(now: str, wanted: str) -> None:
    moves = plan_stage_changes(site(wanted), manifest(now))
    with pytest.raises(MtlsError, match=f"site panel: {now} -> {wanted}: {REFUSED[now, wanted]}.*rollout_force"):
        refuse_stage_changes(moves)


def test_every_move_was_looked_at() -> None:
    every = {(now, wanted) for now in STAGES for wanted in STAGES} - {("absent", "absent")}
    assert every == {*ALLOWED, *REFUSED}
    assert plan_stage_changes(site("absent"), {}) == ()


def test_open_application_may_be_observed() -> None:
    [move] = plan_stage_changes(site("observe"), {}, ["panel"])
    refuse_stage_changes([move])
    assert move.kind == "forward"


@pytest.mark.parametrize(("is_open", "first"), [(False, "fallback"), (True, "observe")])
def test_jump_names_the_next_stage(is_open: bool, first: str) -> None:
    with pytest.raises(MtlsError, match=f"Set stage: {first} for site panel first"):
        refuse_stage_changes(plan_stage_changes(site("enforce"), {}, ["panel"] if is_open else []))


@pytest.mark.parametrize(
    ("now", "wanted", "shuts"),
    [
        ("fallback", "enforce", True),
        ("observe", "enforce", True),
        ("absent", "enforce", False),
        ("enforce", "enforce", False),
        ("observe", "fallback", False),
        ("enforce", "fallback", False),
    ],
)
def test_changes_that_refuse_clients(now: str, wanted: str, shuts: bool) -> None:
    [move] = plan_stage_changes(site(wanted), manifest(now))
    assert move.shuts is shuts


def test_a_site_that_left_the_list_goes_back() -> None:
    [told] = as_dicts(plan_stage_changes((), manifest("enforce")))
    assert (told["site"], told["wanted"], told["kind"], told["told"]) == (
        "panel",
        "absent",
        "back",
        "panel: enforce -> absent",
    )


def test_rehearsal_refuses_no_client() -> None:
    moves = plan_stage_changes(site("absent", staging_listen=["8443"]), {})
    refuse_stage_changes(moves)
    [told] = as_dicts(moves)
    assert (told["site"], told["wanted"], told["shuts"], told["rehearsal"]) == ("panel-staging", "enforce", False, True)


@pytest.mark.parametrize("entry", [SNIPPETS, BEHIND_AN_EDGE])
def test_where_there_is_no_window_observe_is_the_only_stage_between(entry: dict[str, Any]) -> None:
    [move] = plan_stage_changes(parse_sites([{**entry, "stage": "enforce"}]), manifest("observe"))
    assert (move.kind, move.shuts, move.objection) == ("forward", True, "")
    with pytest.raises(MtlsError, match=r"that skips observe\. Set stage: observe for site panel first"):
        refuse_stage_changes(plan_stage_changes(parse_sites([{**entry, "stage": "enforce"}]), {}))


def test_foreign_server_was_open_before_the_gate() -> None:
    [move] = plan_stage_changes(parse_sites([{**SNIPPETS, "stage": "observe"}]), {})
    assert (move.kind, move.objection) == ("forward", "")


def test_a_site_that_had_a_window_and_has_none_any_more_can_be_closed() -> None:
    [move] = plan_stage_changes(parse_sites([{**SNIPPETS, "stage": "enforce"}]), manifest("fallback"))
    assert (move.kind, move.shuts, move.objection) == ("forward", True, "")


def test_a_server_behind_an_edge_may_be_public_through_that_and_only_the_operator_knows() -> None:
    sites = parse_sites([{**BEHIND_AN_EDGE, "stage": "observe"}])
    with pytest.raises(MtlsError, match="if the edge leads clients to site panel already"):
        refuse_stage_changes(plan_stage_changes(sites, {}))
    refuse_stage_changes(plan_stage_changes(sites, {}, ["panel"]))


STRANGE = [
    [],
    {"sites": []},
    {"sites": {"panel": {}}},
    {"sites": {"panel": {"stage": "off"}}},
    {"sites": {"panel": {"stage": ["observe"]}}},
    {"sites": {"panel": "enforce"}},
]


@pytest.mark.parametrize("strange", [None, *STRANGE])
def test_empty_manifest_is_refused(strange: object) -> None:
    with pytest.raises(MtlsError, match="does not contain the stages"):
        live_stages(strange)


def test_what_is_touched() -> None:
    paths = ["quietdoor/gate/http.conf", "quietdoor/gate/snippets/shop-proxy.conf", "quietdoor/gate/sites/wiki.conf"]
    sites = [
        {**SITE, "name": name, "server_names": [f"{name}.example"], "stage": "enforce"}
        for name in ("panel", "shop", "wiki")
    ]
    live = {"sites": {name: {"stage": "enforce"} for name in ("panel", "shop", "wiki", "gone")}}
    told = as_dicts(plan_stage_changes(parse_sites(sites), live, (), paths))
    assert {one["site"]: one["touched"] for one in told} == {"panel": False, "shop": True, "wiki": True, "gone": True}
    assert all(one["touched"] for one in as_dicts(plan_stage_changes(parse_sites(sites), live)))


@pytest.mark.parametrize("strange", STRANGE)
@pytest.mark.parametrize("stage", STAGES)
def test_empty_manifest_refuses_no_client_with_force(strange: object, stage: str) -> None:
    """Every site counts as enforced: no change closes one further, and every earlier stage is allowed."""
    with pytest.raises(MtlsError, match=r"playbook quietdoor\.mtls\.rollback.*rollout_force=true"):
        plan_stage_changes(site(stage), strange)
    moves = plan_stage_changes(site(stage), strange, force=True)
    assert [(move.now, move.kind, move.shuts) for move in moves] == [
        ("enforce", "stay" if stage == "enforce" else "back", False)
    ]
