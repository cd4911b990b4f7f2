# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that clients missing on the roster are reported, or revoked up to the limit if purge is set."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._clients import roster
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError


def purging(door: Any, limit: int = 3) -> Any:
    return replace(door, rules=replace(door.rules, purge_limit=limit))


def statuses(door: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for row in door.authority.rows:
        found[str(row.client)] = found.get(str(row.client), "") + row.status
    return found


def test_all_certificates_of_who_left_the_roster_are_revoked(door: Any, client: Any) -> None:
    door.enrol(client("alex"), client("bea"), client("carl"))
    door.enrol(client("alex"), client("bea", roles=("dev",)), client("carl"))
    roster_now = [client("alex"), client("new")]
    before = door.digest()
    predicted = purging(door).enrol(*roster_now, check_mode=True)
    assert door.digest() == before
    results = purging(door).enrol(*roster_now)
    reported = [(result.step.client.name, result.action, result.reason) for result in results]
    assert reported == [
        ("alex", "unchanged", ""),
        ("new", "issued", "it has no certificate"),
        ("bea", "revoked", "it is not on the roster"),
        ("carl", "revoked", "it is not on the roster"),
    ]
    assert reported == [(result.step.client.name, result.action, result.reason) for result in predicted]
    assert [len(result.step.revoke) for result in results] == [0, 0, 2, 1]
    assert statuses(door) == {"alex": "V", "bea": "RR", "carl": "R", "new": "V"}
    assert {row.revocation.reason for row in door.authority.rows if row.is_revoked} == {"cessationOfOperation"}
    done = door.digest()
    assert purging(door).actions(*roster_now) == ["unchanged", "unchanged"]
    assert door.digest() == done


@pytest.mark.parametrize("check_mode", [True, False])
def test_more_than_the_limit_changes_nothing_at_all(check_mode: bool, door: Any, client: Any) -> None:
    names = [f"client{number:02}" for number in range(30)]
    door.enrol(client("alex"), *[client(name) for name in names])
    before = door.digest()
    with pytest.raises(
        MtlsError, match=r"purge would revoke 30 clients .* purge_limit is 29: client00, client01, .* and 10 more"
    ):
        purging(door, 29).enrol(client("alex", present=False), client("new"), check_mode=check_mode)
    assert door.digest() == before
    assert len(purging(door, 30).enrol(client("alex"), check_mode=True)) == 31


def test_the_limit_counts_clients_not_certificates(door: Any, client: Any) -> None:
    for role in "abc":
        door.enrol(client("alex"), client("bea", roles=(role,)))
    with pytest.raises(MtlsError, match=r"purge would revoke 1 clients .* purge_limit is 0: bea"):
        purging(door, 0).enrol(client("alex"))
    purging(door, 1).enrol(client("alex"))
    assert statuses(door) == {"alex": "V", "bea": "RRR"}


def test_empty_roster_purges_no_client(door: Any, client: Any) -> None:
    assert purging(door).enrol() == []
    door.enrol(client("alex"))
    before = door.digest()
    with pytest.raises(MtlsError, match=r"purge would revoke every client \(alex\), because the roster is empty"):
        purging(door).enrol()
    assert door.digest() == before


def test_what_is_no_clients_is_left_alone(door: Any, client: Any, openssl: Any) -> None:
    base = str(door.file("by-hand"))
    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=hand",
            "-keyout", f"{base}.key", "-out", f"{base}.csr")  # fmt: skip
    door.openssl_ca("-notext", "-in", f"{base}.csr", "-out", f"{base}.crt")
    assert purging(door, 0).actions(client("alex")) == ["issued"]
    assert statuses(door) == {"None": "V", "alex": "V"}


def test_who_holds_nothing_valid_any_more_does_not_count(door: Any, client: Any) -> None:
    door.enrol(client("gone"), client("ended"))
    door.revoke("keyCompromise", client="gone")
    later = door.later(days=366)
    assert purging(later, 0).actions(client("alex")) == ["issued"]
    assert {row.revocation.reason for row in door.authority.rows if row.is_revoked} == {"keyCompromise"}


def test_who_lost_the_files_is_purged_all_the_same(door: Any, client: Any) -> None:
    door.enrol(client("alex"), client("bea"))
    shutil.rmtree(door.file("clients", "bea"))
    assert purging(door).actions(client("alex")) == ["unchanged", "revoked"]
    assert not door.file("clients", "bea").exists()


def test_purging_needs_no_key(door: Any, client: Any) -> None:
    door.enrol(client("alex"), client("bea"))
    door.file("private", "ca.key.pem").unlink()
    assert purging(door).actions(client("alex")) == ["unchanged", "revoked"]


@pytest.mark.parametrize("check_mode", [True, False])
def test_without_purge_they_are_named(check_mode: bool, door: Any, client: Any) -> None:
    assert door.enrolment(client("alex"), client("zoe"), client("bea")).unlisted == []
    done = door.enrolment(client("alex"), check_mode=check_mode)
    assert done.unlisted == ["bea", "zoe"]
    assert statuses(door) == {"alex": "V", "bea": "V", "zoe": "V"}
    assert door.enrolment(client("alex"), client("zoe"), client("bea", present=False)).unlisted == []
    assert door.enrolment(client("alex"), client("zoe")).unlisted == []
    assert purging(door).enrolment(client("alex")).unlisted == []


def test_a_long_list_of_names_is_cut() -> None:
    names = [f"c{number}" for number in range(1000)]
    assert roster.enumerated(names) == ", ".join(names[:20]) + " and 980 more"
    assert roster.enumerated(["Zoë", "a\x1b[2J"]) == r"Zoë, 'a\x1b[2J'"
    assert roster.enumerated(names[:20]) == ", ".join(names[:20])
