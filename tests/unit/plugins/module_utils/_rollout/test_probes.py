# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the probes of a rollout."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._rollout.plan import ProbeClient
from ansible_collections.quietdoor.mtls.plugins.module_utils._rollout.probes import (
    ProbePolicy,
    plan_probes,
    probe_address,
)

CLIENT = ProbeClient("door-probe", "localhost", "/c.pem", "/c.key", (True, True), "0C")
CHECKS = ["no_certificate", "valid"]
WHOLE = ProbePolicy(CHECKS)


def manifest(**more: Any) -> dict[str, Any]:
    """Return the manifest of a gate with one site and two names."""
    site = {"stage": "enforce", "server_names": ["a.example", "b.example"], "listen": [{"address": "*", "port": 443}]}
    return {"format": 1, "sites": {"panel": {**site, **more}}}


def planned(policy: ProbePolicy = WHOLE, client: ProbeClient = CLIENT, **more: Any) -> list[dict[str, Any]]:
    """Return the probes of one host."""
    return plan_probes(manifest(**more), "192.0.2.7", {443: 8443}, client, policy)


def test_all_checks_once_for_each_port() -> None:
    first, second = planned()
    assert first["checks"] == ["generation", "valid", "no_certificate"]
    assert second["checks"] == ["generation", "valid"]
    assert (first["label"], first["address"], second["server_name"]) == (
        "panel at 192.0.2.7:8443",
        "192.0.2.7:8443",
        "b.example",
    )
    assert first["clients"] == [{"name": "door-probe", "certificate": "/c.pem", "key": "/c.key"}]


@pytest.mark.parametrize("checks", [[], ["no_certificate"]])
def test_no_list_leaves_the_generation_and_the_probe_client_out(checks: list[str]) -> None:
    assert planned(ProbePolicy(checks))[0]["checks"][:2] == ["generation", "valid"]


@pytest.mark.parametrize(
    ("policy", "client", "more"),
    [
        (ProbePolicy(CHECKS), CLIENT, {"edge": True}),
        (ProbePolicy(CHECKS, generation_only=True), CLIENT, {}),
        (ProbePolicy(CHECKS, only_back=True), ProbeClient("p", "h", "", "", (True, False)), {}),
    ],
)
def test_the_generation_alone(policy: ProbePolicy, client: ProbeClient, more: dict[str, Any]) -> None:
    assert {(tuple(one["checks"]), tuple(one["clients"])) for one in planned(policy, client, **more)} == {
        (("generation",), ())
    }


def test_without_its_files_only_a_rollback_goes_on_without_the_probe_client() -> None:
    """A probe with a file that does not exist fails, and so does the rollout."""
    assert planned(client=ProbeClient("p", "h", "/gone", "/gone"))[0]["clients"][0]["certificate"] == "/gone"


def test_a_rollback_uses_the_probe_client_that_is_there() -> None:
    assert planned(ProbePolicy(CHECKS, only_back=True))[0]["clients"]


def test_sites_that_are_not_included_yet_are_skipped() -> None:
    assert plan_probes(manifest(), "h", {}, CLIENT, ProbePolicy(CHECKS), skip=["panel"]) == []
    assert plan_probes({}, "h", {}, CLIENT, ProbePolicy(CHECKS)) == []


def test_a_manifest_without_sites_is_refused() -> None:
    with pytest.raises(MtlsError, match="does not contain the stage and addresses"):
        plan_probes({"sites": 7}, "h", {}, CLIENT, ProbePolicy(CHECKS))


@pytest.mark.parametrize(
    ("given", "connection", "expected"),
    [("", "ssh", "web1.example"), ("", "local", ""), ("192.0.2.7", "local", "192.0.2.7")],
)
def test_addresses(given: str, connection: str, expected: str) -> None:
    assert probe_address(given, connection, "web1.example") == expected
