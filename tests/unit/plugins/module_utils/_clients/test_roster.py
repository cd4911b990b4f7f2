# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the planned actions and their reasons on a real directory, at chosen times."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca import client_records
from ansible_collections.quietdoor.mtls.plugins.module_utils._clients.roster import Rules, check_roster
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.files import put_all
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509.keys import KeySpec


def one(door: Any, *clients: Any) -> Any:
    """Enrol the clients and return the results, which check mode predicts and a second run does not change."""
    digest = door.digest()
    predicted = door.enrol(*clients, check_mode=True)
    assert digest == door.digest(), "check mode wrote something"
    results = door.enrol(*clients)
    assert [(result.action, result.reason) for result in predicted] == [
        (result.action, result.reason) for result in results
    ]
    done = door.digest()
    assert {result.action for result in door.enrol(*clients, check_mode=True)} <= {"unchanged"}
    assert {result.action for result in door.enrol(*clients)} <= {"unchanged"}
    assert door.digest() == done
    return results[0]


def statuses(door: Any, name: str = "alex") -> str:
    return "".join(row.status for row in door.authority.rows if row.client == name)


def test_a_new_client_is_issued_a_certificate(door: Any, client: Any) -> None:
    result = one(door, client())
    assert (result.action, result.reason) == ("issued", "it has no certificate")
    assert statuses(door) == "V"


def test_a_client_that_never_had_a_certificate_has_none_to_revoke(door: Any, client: Any) -> None:
    result = one(door, client(present=False))
    assert result.action == "unchanged"
    assert statuses(door) == ""


def test_a_client_that_leaves_loses_all_its_certificates(door: Any, client: Any) -> None:
    door.enrol(client())
    door.enrol(client(roles=("viewer",)))
    result = one(door, client(present=False, reason="keyCompromise"))
    assert result.action == "revoked"
    assert len(result.step.revoke) == 2
    assert statuses(door) == "RR"
    assert {row.revocation.reason for row in door.authority.rows} == {"keyCompromise"}


def test_leaving_needs_no_key(door: Any, client: Any) -> None:
    door.enrol(client())
    door.file("private", "ca.key.pem").unlink()
    assert door.actions(client(present=False)) == ["revoked"]


def test_a_client_that_returns_gets_a_new_key(door: Any, client: Any) -> None:
    door.enrol(client())
    door.enrol(client(present=False))
    result = one(door, client())
    assert result.action == "issued"
    assert "was revoked (cessationOfOperation)" in result.reason
    assert statuses(door) == "RV"
    assert len({path.read_bytes() for path in door.file("clients", "alex").glob("alex-*.key")}) == 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"common_name": "Alexandra"}, "common_name is now Alexandra, was Alex"),
        ({"organization": "Ops"}, "organization is now Ops, was none"),
        ({"email": ("a@example.org",)}, "email is now a@example.org, was alex@example.org"),
        ({"email": ()}, "email is now none, was alex@example.org"),
        ({"roles": ("admin", "dev")}, "roles is now admin, dev, was admin"),
        ({"key": KeySpec("rsa", size=2048)}, "key is now RSA 2048, was ECDSA P-256"),
        ({"valid_for": timedelta(days=30)}, "valid_for is now 2592000, was 31536000"),
    ],
)
def test_a_change_on_the_roster_reissues(changes: dict[str, Any], reason: str, door: Any, client: Any) -> None:
    door.enrol(client())
    result = one(door, client(**changes))
    assert (result.action, result.reason) == ("reissued", reason)
    assert statuses(door) == "VV"


def test_order_and_bundles_are_no_reason_to_reissue(door: Any, client: Any) -> None:
    door.enrol(client())
    assert door.actions(client(bundle_profiles=("modern",))) == ["updated"]
    assert statuses(door) == "V"


def test_the_order_of_roles_and_addresses_is_no_reason_to_reissue(door: Any, client: Any) -> None:
    door.enrol(client(roles=("a", "b"), email=("a@example.org", "b@example.org")))
    assert door.actions(client(roles=("b", "a"), email=("b@example.org", "a@example.org"))) == ["unchanged"]
    (result,) = door.enrol(client(roles=("b", "c"), email=("b@example.org", "a@example.org")))
    assert (result.action, result.reason) == ("reissued", "roles is now b, c, was a, b")


@pytest.mark.parametrize(("days", "action"), [(0, "unchanged"), (334, "unchanged"), (335, "renewed"), (365, "renewed")])
def test_the_renewal_window(days: int, action: str, door: Any, client: Any) -> None:
    door.enrol(client())
    assert one(door.later(days=days), client()).action == action


@pytest.mark.parametrize(("hours", "action"), [(1, "unchanged"), (15, "unchanged"), (16, "renewed"), (25, "renewed")])
def test_a_short_lived_client_is_renewed_in_its_last_third_not_at_every_run(
    hours: int, action: str, door: Any, client: Any
) -> None:
    short = client(valid_for=timedelta(hours=24))
    door.enrol(short)
    assert one(door.later(hours=hours), short).action == action


def test_a_predecessor_is_superseded_after_the_overlap(door: Any, client: Any) -> None:
    door.enrol(client())
    renewed = door.later(days=340)
    assert one(renewed, client()).action == "renewed"
    assert statuses(door) == "VV"
    assert one(renewed.later(days=13), client()).action == "unchanged"
    result = one(renewed.later(days=14), client())
    assert result.action == "updated"
    assert "overlap has passed" in result.reason
    assert statuses(door) == "RV"
    assert door.authority.rows[0].revocation.reason == "superseded"


def test_changes_in_quick_succession_do_not_keep_the_first_certificate_alive(door: Any, client: Any) -> None:
    """The overlap begins with the successor, not with the newest certificate: weekly changes would keep all valid."""
    for week, role in enumerate("abcd"):
        one(door.later(weeks=week), client(roles=(role,)))
    assert statuses(door) == "RVVV"


def test_a_predecessor_stays_when_its_successor_was_revoked(door: Any, client: Any) -> None:
    door.enrol(client())
    door.enrol(client(roles=("dev",)))
    door.revoke(serial=door.authority.rows[1].serial)
    assert one(door.later(days=20), client(roles=("dev",))).action == "issued"
    assert statuses(door) == "VRV"


def test_without_overlap_the_predecessor_goes_with_the_next_run(door: Any, client: Any) -> None:
    at_once = replace(door, rules=Rules(timedelta(days=30), timedelta(0)))
    at_once.enrol(client())
    at_once.enrol(client(roles=("dev",)))
    assert statuses(door) == "VV"
    assert at_once.actions(client(roles=("dev",))) == ["updated"]
    assert statuses(door) == "RV"


def test_no_certificate_outlives_the_ca_and_none_is_renewed_for_nothing(empty_door: Any, client: Any) -> None:
    empty_door.create(days=100)
    assert one(empty_door, client()).action == "issued"
    end = empty_door.authority.certificate.not_valid_after_utc
    assert empty_door.authority.rows[0].not_after == end
    assert one(empty_door.later(days=99), client()).action == "unchanged"
    with pytest.raises(MtlsError, match=r"ca\.cert\.pem is valid from .* create a new authority"):
        empty_door.later(days=101).enrol(client())


def test_a_certificate_from_a_clock_that_was_ahead_is_made_again(door: Any, client: Any) -> None:
    door.later(days=200).enrol(client())
    result = one(door, client())
    assert result.action == "reissued"
    assert "clock that was ahead" in result.reason


def test_a_clock_that_jumped_ahead_renews_and_superseded_come_later(door: Any, client: Any) -> None:
    door.enrol(client())
    assert one(door.later(days=400), client()).action == "renewed"
    assert statuses(door) == "VV"


def test_a_client_whose_files_are_lost_gets_a_new_certificate_and_the_old_one_ends(door: Any, client: Any) -> None:
    door.enrol(client())
    shutil.rmtree(door.file("clients", "alex"))
    result = one(door, client())
    assert result.action == "issued"
    assert "has no record" in result.reason
    assert one(door.later(days=15), client()).action == "updated"
    assert statuses(door) == "RV"


def test_a_client_whose_files_are_lost_is_revoked_all_the_same(door: Any, client: Any) -> None:
    door.enrol(client())
    shutil.rmtree(door.file("clients", "alex"))
    assert door.actions(client(present=False)) == ["revoked"]
    assert statuses(door) == "R"


def test_an_old_record_from_a_backup_does_not_revoke_the_newer_certificate(door: Any, client: Any) -> None:
    door.enrol(client())
    old = door.file("clients", "alex", "client.json").read_bytes()
    door.enrol(client(roles=("dev",)))
    door.file("clients", "alex", "client.json").write_bytes(old)
    later = door.later(days=20)
    assert one(later, client(roles=("dev",))).action == "issued"
    assert statuses(door) == "VVV"
    one(later.later(days=15), client(roles=("dev",)))
    assert statuses(door) == "RRV"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"format": 1}',
        '{"format": 2}',
        "\x00",
        '{"format":1,"name":"alex","issues":[{}],"bundles":{}}',
        "[" * 100_000,
    ],
)
def test_a_damaged_record_is_named(text: str, door: Any, client: Any) -> None:
    door.enrol(client())
    door.file("clients", "alex", "client.json").write_text(text)
    before = door.digest()
    with pytest.raises(MtlsError, match=r"clients/alex/client\.json is damaged"):
        door.enrol(client())
    assert door.digest() == before


def test_a_damaged_record_does_not_hinder_a_revocation(door: Any, client: Any) -> None:
    door.enrol(client("alex"), client("bea"))
    door.file("clients", "alex", "client.json").write_text("{")
    assert [one.client for one in door.revoke(client="bea")] == ["bea"]
    assert [one.client for one in door.revoke(client="alex")] == ["alex"]


def test_a_copy_of_a_clients_directory_is_not_taken_for_the_client(door: Any, client: Any) -> None:
    door.enrol(client())
    shutil.copytree(door.file("clients", "alex"), door.file("clients", "alex.bak"))
    with pytest.raises(MtlsError, match=r"alex\.bak/client\.json belongs to the client alex\. Move .*alex\.bak"):
        door.enrol(client())


def test_names_that_differ_in_case_only_are_refused_over_time_too(door: Any, client: Any) -> None:
    door.enrol(client("alex"))
    before = door.digest()
    with pytest.raises(MtlsError, match="Alex differs only in case from alex, which has certificates"):
        door.enrol(client("Alex"))
    assert door.digest() == before


@pytest.mark.parametrize("names", [("alex", "alex"), ("alex", "Alex"), ("bea", "ALEX", "alex")])
def test_twins_are_refused(names: tuple[str, ...], client: Any) -> None:
    with pytest.raises(MtlsError, match="alex is on the roster more than once"):
        check_roster([client(name, email=()) for name in names])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": 'a; }"\n'}, "is not a valid client name"),
        ({"email": ("alex",)}, "client alex: 'alex' is not an e-mail"),
        ({"email": ("a@b.org", "a@b.org")}, "client alex: email lists a value more than once"),
        ({"roles": ("x", "x")}, "client alex: roles lists a value more than once"),
        ({"roles": ("a,b",)}, "client alex: role"),
        ({"common_name": "\u202eevil"}, "client alex: common_name"),
        ({"organization": ""}, "client alex: organization"),
        ({"valid_for": timedelta(seconds=59)}, "client alex: valid_for is shorter than a minute"),
    ],
)
def test_entries_that_are_not_sound_are_refused(changes: dict[str, Any], says: str, client: Any) -> None:
    with pytest.raises(MtlsError, match=says):
        check_roster(
            [client(**{"name": "alex", **changes}) if "name" not in changes else client(changes["name"], email=())]
        )


def test_a_sound_roster_passes(client: Any) -> None:
    roster = [client("alex"), client("bea", valid_for=timedelta(minutes=1)), client("carl", email=(), roles=())]
    assert check_roster(roster) == roster


def test_results_come_in_the_order_of_the_roster(door: Any, client: Any) -> None:
    names = ["zoe", "alex", "mia"]
    results = door.enrol(*[client(name) for name in names])
    assert [result.step.client.name for result in results] == names


def test_a_client_that_is_not_on_the_roster_is_left_alone(door: Any, client: Any) -> None:
    door.enrol(client("alex"), client("bea"))
    door.later(days=360).enrol(client("bea"))
    assert statuses(door, "alex") == "V"


def test_a_passphrase_never_stands_in_a_repr(client: Any) -> None:
    assert "geheim" not in repr(client(bundle_passphrase="geheim"))


def test_records_round_trip(door: Any, client: Any) -> None:
    door.enrol(client(bundle_profiles=("modern",)))
    directory = str(door.file("clients", "alex"))
    record = client_records.load(directory)
    assert record is not None
    put_all([client_records.as_file(directory, record)])
    assert client_records.load(directory) == record
