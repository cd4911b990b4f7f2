# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks rollout, confirm and rollback on a real nginx, from a public panel to an enforced gate and back."""

from __future__ import annotations

import datetime
import json
import time
from typing import TYPE_CHECKING

import pytest
from support.lab import Lab, built
from support.rollout import PROBE_CLIENT, QUICK, Poller, armed, rollout, status

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab with one site, whose panel an ordinary server opens to everybody, and a trust without a gate."""

    def yesterday(lab: Lab) -> str:
        site = lab.sites[0]
        panel = f"location / {{ proxy_pass {site.entry['upstream']}; }} location = /no {{ return 403; }}"
        return f"server {{ listen 127.0.0.1:{lab.free}; {panel} }}"

    from support.lab import free_ports  # noqa: PLC0415

    Lab.free = free_ports(1)[0]
    with built(tmp_path_factory.mktemp("rollout"), 5, yesterday, clients=3, sites=1) as lab:
        lab.roster = [{**client, "key": {"type": "ecdsa", "curve": "P-256"}} for client in lab.roster] + [PROBE_CLIENT]
        lab.variables.update(QUICK, rollout_probe_server_ca=str(lab.root / "tls" / f"{lab.sites[0].name}.crt"))
        done = lab.play(playbook="quietdoor.mtls.trust")
        assert done.code == 0, done.output
        yield lab


def test_a_jump_is_refused_by_name(lab: Lab) -> None:
    done = rollout(lab, "enforce")
    assert done.code != 0
    assert "that skips observe and fallback" in " ".join(done.output.split())
    assert status(lab) == 0


def test_from_nothing_to_observe(lab: Lab) -> None:
    predicted = rollout(lab, "observe", "--check", "--diff")
    assert predicted.code == 0, predicted.output
    assert status(lab) == 0
    done = rollout(lab, "observe")
    assert done.code == 0, done.output
    assert status(lab) == 200
    again = rollout(lab, "observe")
    assert (again.code, again.changed) == (0, 0), again.output
    assert not armed(lab)


def test_from_observe_to_fallback(lab: Lab) -> None:
    with Poller(lab, lab.roster[0]["name"]) as alex, Poller(lab, None) as listed:
        done = rollout(lab, "fallback")
    assert done.code == 0, done.output
    assert (alex.refused, listed.refused) == ([], [])
    assert alex.asked > 3
    assert listed.asked > 3
    assert not armed(lab)


def test_enforce_waits_for_confirmations(lab: Lab) -> None:
    # The value is a string, as from the command line.
    done = rollout(lab, "enforce", "-e", "rollout_confirmations=2")
    words = " ".join(done.output.split())
    assert done.code != 0
    assert "1 of at least 2 people got in with a certificate" in words
    assert lab.roster[1]["name"] in words
    assert status(lab) == 200


def test_confirm_lists_ready_clients(lab: Lab) -> None:
    assert status(lab, lab.roster[1]["name"]) == 200
    path = lab.root / "confirm.json"
    done = lab.play("-e", f"confirm_json={path}", playbook="quietdoor.mtls.confirm")
    assert (done.code, done.changed) == (0, 1), done.output
    [site] = json.loads(path.read_text())
    assert {one["name"] for one in site["ready"]} == {client["name"] for client in lab.roster[:2]}
    assert site["never"] == [lab.roster[2]["name"]]
    assert {one["address"] for one in site["without"]} == {"127.0.0.1"}


def test_enforce_waits_until_the_window_is_quiet(lab: Lab) -> None:
    assert status(lab) == 200
    done = rollout(lab, "enforce", rollout_quiet_period="1h")
    assert done.code != 0
    assert "clients without a valid certificate got in through the window in the last 1h" in " ".join(
        done.output.split()
    )


def test_from_fallback_to_enforce(lab: Lab) -> None:
    time.sleep(2)
    with Poller(lab, lab.roster[0]["name"]) as alex:
        done = rollout(lab, "enforce")
    assert done.code == 0, done.output
    assert alex.refused == []
    assert status(lab) == 403
    assert not armed(lab)


def test_rollback_opens_the_window_again(lab: Lab) -> None:
    with Poller(lab, lab.roster[0]["name"]) as alex:
        done = lab.play(playbook="quietdoor.mtls.rollback")
    assert done.code == 0, done.output
    assert alex.refused == []
    assert status(lab) == 200
    assert not armed(lab)


def test_second_rollback_does_not_go_forward(lab: Lab) -> None:
    done = lab.play(playbook="quietdoor.mtls.rollback")
    assert (done.code, done.changed) == (0, 0), done.output
    assert "is already a rollback to" in " ".join(done.output.split())
    assert status(lab) == 200


def test_site_does_not_enforce_what_a_rollout_observes(lab: Lab) -> None:
    lab.sites[0].entry["stage"] = "enforce"
    done = lab.play()
    assert done.code != 0
    assert "the live gate admits clients without a certificate, and the new one would refuse them" in " ".join(
        done.output.split()
    )
    assert status(lab) == 200


def test_removal_of_the_gate_waits_for_no_client(lab: Lab) -> None:
    done = rollout(lab, "absent", rollout_requires_environment="staging")
    assert done.code == 0, done.output
    assert status(lab) == 0


def test_production_waits_for_staging(lab: Lab) -> None:
    done = rollout(lab, "fallback", rollout_requires_environment="staging")
    assert done.code != 0
    assert "staging has not had this yet" in " ".join(done.output.split())
    assert status(lab) == 0
    staging = rollout(lab, "fallback", rollout_requires_environment="staging", rollout_environment="staging")
    assert staging.code == 0, staging.output
    assert rollout(lab, "absent").code == 0
    done = rollout(lab, "fallback", rollout_requires_environment="staging")
    assert done.code == 0, done.output


def test_stage_reverted_in_staging_does_not_reach_production(lab: Lab) -> None:
    """A rollback says that it was wrong; a rollout that went back by one word in the inventory, as above, does not."""
    lab.sites[0].entry["contact"] = "somebody else"
    staging = {"rollout_requires_environment": "staging", "rollout_environment": "staging"}
    assert rollout(lab, "fallback", **staging).code == 0
    back = lab.play(playbook="quietdoor.mtls.rollback", **staging)
    assert back.code == 0, back.output
    done = rollout(lab, "fallback", rollout_requires_environment="staging")
    assert done.code != 0
    assert "staging has not had this yet" in " ".join(done.output.split())
    assert rollout(lab, "fallback", **staging).code == 0
    # It is there already, so this is about the receipt alone.
    assert rollout(lab, "fallback", rollout_requires_environment="staging").code == 0
    # The generation that is there already is none to go back from.
    live = (lab.nginx.prefix / "quietdoor" / "gate").readlink().name
    same = lab.play("-e", f"rollback_generation={live}", playbook="quietdoor.mtls.rollback", **staging)
    assert (same.code, same.changed) == (0, 0), same.output
    assert rollout(lab, "fallback", rollout_requires_environment="staging").code == 0
    # Every host is reverted, independently of the receipts.
    back = lab.play(playbook="quietdoor.mtls.rollback", **staging, rollout_receipts_path="/etc/hostname")
    message = " ".join(back.output.split())
    assert "they are generation" in message
    assert "were not withdrawn" in message
    assert back.code == 2, "so that nothing goes on to production on the strength of it"


def test_faulty_gate_is_reverted(lab: Lab) -> None:
    """The server's certificate is not the one that the canary was told to trust."""
    site = lab.sites[0]
    lab.make_server_certificate("wrong", site.server_name)
    before = (lab.nginx.prefix / "quietdoor" / "gate.committed").read_text()
    right = dict(site.entry)
    site.entry["certificate"], site.entry["certificate_key"] = (
        str(lab.root / "tls" / f"wrong.{end}") for end in ("crt", "key")
    )
    try:
        done = rollout(lab, "fallback")
    finally:
        site.entry.clear()
        site.entry.update(right)
    assert done.code != 0
    assert "The gate is back as it was before" in " ".join(done.output.split())
    assert (lab.nginx.prefix / "quietdoor" / "gate.committed").read_text() == before
    assert status(lab, lab.roster[0]["name"]) == 200
    assert not armed(lab)


def test_truncated_manifest_enforces_no_site(lab: Lab) -> None:
    """The stage of the site and the endpoints of nginx are unknown then. The hint of the message fixes it."""
    path: Path = lab.nginx.prefix / "quietdoor" / "gate" / "manifest.json"
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    lab.sites[0].entry["stage"] = "enforce"
    try:
        alone, whole = lab.play(), rollout(lab, "enforce")
    finally:
        lab.sites[0].entry["stage"] = "fallback"
    assert (alone.code, whole.code) == (2, 2)
    assert "manifest.json: the list of endpoints is not valid" in " ".join(alone.output.split())
    assert "quietdoor/gate/manifest.json differs from what the last transaction wrote" in " ".join(whole.output.split())
    live = (lab.nginx.prefix / "quietdoor" / "gate").readlink().name
    assert f"-e rollback_generation={live} -e rollout_overwrite_manual_changes=true" in " ".join(alone.output.split())
    repaired = lab.play(
        "-e",
        f"rollback_generation={live}",
        "-e",
        "rollout_overwrite_manual_changes=true",
        playbook="quietdoor.mtls.rollback",
    )
    assert repaired.code == 0, repaired.output
    assert path.read_text() == text
    assert status(lab) == 200


def test_gate_with_a_dead_upstream_is_reverted(lab: Lab) -> None:
    site = lab.sites[0]
    right = site.entry["upstream"]
    site.entry["upstream"] = "http://127.0.0.1:9"
    try:
        done = rollout(lab, "fallback")
    finally:
        site.entry["upstream"] = right
    assert done.code != 0
    assert f"The application behind the gate of {site.name} does not respond" in " ".join(done.output.split())
    assert status(lab, lab.roster[0]["name"]) == 200
    assert not armed(lab)


@pytest.mark.parametrize("service", ["refuses everybody", "does not answer"])
def test_mandatory_checks_cannot_be_omitted(lab: Lab, service: str) -> None:
    """The rollout detects a decision service that refuses every client, also with an empty list of checks."""
    site = lab.sites[0]
    site.entry["auth_request"] = (
        f"http://127.0.0.1:{lab.free}/no" if service == "refuses everybody" else "http://127.0.0.1:9"
    )
    try:
        done = rollout(lab, "fallback", rollout_probe_checks=[])
    finally:
        del site.entry["auth_request"]
    assert done.code != 0
    assert "The gate is back as it was before" in " ".join(done.output.split())
    assert status(lab, lab.roster[0]["name"]) == 200


def test_a_dead_application_is_no_failure_of_the_gate(lab: Lab) -> None:
    site = lab.sites[0]
    site.application.stop()
    site.entry["contact"] = f"somebody else, {datetime.datetime.now(datetime.timezone.utc):%H:%M}"
    done = rollout(lab, "fallback")
    assert done.code == 0, done.output
    assert "the application behind it does not respond" in " ".join(done.output.split())
