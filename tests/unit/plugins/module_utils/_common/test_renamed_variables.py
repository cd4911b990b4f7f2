# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that former names of variables are refused with the present ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible_collections.quietdoor.mtls.plugins.module_utils._common import renamed_variables
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.renamed_variables import refuse_former_names

ROLES = Path(renamed_variables.__file__).parents[3] / "roles"
NAMES = {
    "gate_other_ways": "gate_on_bypass",
    "gate_close_without_evidence": "gate_allow_unverified_enforce",
    "rollout_quiet_for": "rollout_quiet_period",
    "rollout_evidence_for": "rollout_evidence_period",
    "rollout_not_people": "rollout_ignored_clients",
    "rollout_canary": "rollout_probe_client",
    "rollout_after": "rollout_requires_environment",
    "rollout_overwrite": "rollout_overwrite_manual_changes",
    "rollout_revert_by": "rollout_revert_mechanism",
    "trust_cut_connections_after": "trust_worker_shutdown_timeout",
    "revoke_server_ca": "rollout_probe_server_ca",
    "revoke_probe_address": "rollout_probe_address",
    "revoke_websocket_path": "rollout_probe_websocket_path",
}


def message(hosts: dict[str, dict[str, object]]) -> str:
    """Return the error about the variables of these hosts."""
    with pytest.raises(MtlsError) as problem:
        refuse_former_names(hosts)
    return str(problem.value)


@pytest.mark.parametrize("former", NAMES)
def test_former_name_is_refused_with_the_present_one_and_the_host(former: str) -> None:
    assert f"{former} is now {NAMES[former]} (set for web1)" in message({"ca": {}, "web1": {former: ""}})


@pytest.mark.parametrize("present", NAMES.values())
def test_present_names_are_documented_options_of_roles(present: str) -> None:
    specs = yaml.safe_load(
        (ROLES / present.partition("_")[0] / "meta" / "argument_specs.yml").read_text(encoding="utf-8")
    )
    assert present in specs["argument_specs"]["main"]["options"]
    refuse_former_names({"web1": {present: "x"}})


def test_former_value_is_refused_under_both_names() -> None:
    text = message({"web1": {"gate_other_ways": "refuse"}, "web2": {"gate_on_bypass": "refuse"}})
    assert "gate_other_ways: refuse is now gate_on_bypass: fail (set for web1)" in text
    assert "gate_on_bypass: refuse is now gate_on_bypass: fail (set for web2)" in text
    assert "gate_other_ways is now gate_on_bypass (" in message({"web1": {"gate_other_ways": "warn"}})
    assert "gate_other_ways is now gate_on_bypass (" in message({"web1": {"gate_other_ways": ["refuse"]}})


def test_all_names_and_the_hosts_of_each_are_in_one_message() -> None:
    several = {f"web{number}": {"rollout_canary": "x", "rollout_after": ""} for number in range(1, 6)}
    text = message({**several, "ca": {"rollout_canary": "y"}})
    assert "rollout_after is now rollout_requires_environment (set for web1, web2, web3 and 2 more)" in text
    assert "rollout_canary is now rollout_probe_client (set for web1, web2, web3 and 3 more)" in text


def test_present_and_other_names_are_accepted() -> None:
    refuse_former_names({})
    refuse_former_names({"web1": {"gate_on_bypass": "warn", "rollout_revert_after": "5m", "my_rollout_canary": 1}})
