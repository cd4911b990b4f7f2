# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test whether a site may be enforced."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._rollout.readiness import (
    Rules,
    judge,
    people_of,
    rules_from,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.access_rules import Allow

if TYPE_CHECKING:
    from collections.abc import Sequence

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=timezone.utc)
RULES = Rules(2, timedelta(hours=24), frozenset(["door-probe"]))
PEOPLE = {"alex": {"0A", "1B"}, "bea": {"0C"}, "carl": {"0D"}, "door-probe": {"0E"}}
SERIALS = {"alex": "0A", "bea": "0C", "carl": "0D", "door-probe": "0E"}


def person(name: str, count: int = 1, serials: Sequence[str] | None = None) -> dict[str, Any]:
    """Return a row of people."""
    return {
        "name": name,
        "email": "",
        "count": count,
        "first_seen": "2026-11-27T09:00:00Z",
        "last_seen": "2026-11-28T10:00:00Z",
        "serials": list(serials if serials is not None else [SERIALS.get(name, "0F")]),
    }


def source(address: str, last: str, name: str = "") -> dict[str, Any]:
    """Return a row of fallback or would_deny."""
    return {
        "address": address,
        "reason": "no-certificate",
        "name": name,
        "count": 3,
        "first_seen": last,
        "last_seen": last,
    }


def log(
    people: Sequence[Any] = (),
    fallback: Sequence[Any] = (),
    would_deny: Sequence[Any] = (),
    beyond: int = 0,
    **reading: Any,
) -> dict[str, Any]:
    """Return the result of gate_log_info on a host."""
    found = {"people": people, "fallback": fallback, "would_deny": would_deny, "beyond": beyond}
    return {"host": "web1", "log": {**found, "lines": 9, "damaged": 0, "unread": [], **reading}}


def test_two_clients_and_a_quiet_window() -> None:
    found = judge("panel", [log([person("alex")]), log([person("bea")])], PEOPLE, RULES, NOW)
    assert (found.reasons, found.never) == ((), ("carl",))
    assert found.as_dict()["allowed"] is True
    assert found.table()[-1] == "  it can be enforced"


@pytest.mark.parametrize(
    ("name", "last", "held"),
    [
        ("carl", "2026-11-28T11:00:00Z", True),
        ("carl", "2026-11-20T11:00:00Z", False),
        ("somebody-else", "2026-11-28T11:00:00Z", False),
        ("", "2026-11-28T11:00:00Z", False),
        ("door-probe", "2026-11-28T11:00:00Z", False),
    ],
)
def test_public_application_waits_for_known_clients(name: str, last: str, held: bool) -> None:
    """An unknown client without a valid certificate may be a robot."""
    rules = Rules(2, timedelta(hours=24), frozenset(["door-probe"]))
    people = {**PEOPLE, "door-probe": {"0D"}}
    logs = [log([person("alex"), person("bea")], would_deny=[source("192.0.2.9", last, name)])]
    found = judge("panel", logs, people, rules, NOW)
    assert any("carl at 2026-11-28T11:00:00Z (no-certificate)" in reason for reason in found.reasons) is held
    assert (found.reasons == ()) is not held


def test_client_on_two_hosts_counts_once() -> None:
    found = judge("panel", [log([person("alex", count=2)]), log([person("alex", count=3)])], PEOPLE, RULES, NOW)
    assert [one.count for one in found.ready] == [5]
    assert found.reasons == ("1 of at least 2 people got in with a certificate (alex; never seen: bea, carl)",)


def test_a_certificate_that_is_not_good_any_more_shows_nothing() -> None:
    logs = [
        log([person("alex", serials=["09"])]),
        log([person("bea", serials=["09", "0C"]), person("carl", serials=[])]),
    ]
    found = judge("panel", logs, PEOPLE, RULES, NOW)
    assert [one.name for one in found.ready] == ["bea"]
    assert ([one.name for one in found.former], found.never) == (["alex", "carl"], ())
    assert found.as_dict()["former"][0]["name"] == "alex"
    assert any("former alex" in line and "a certificate that is not valid any more" in line for line in found.table())
    assert found.reasons == (
        "1 of at least 2 people got in with a certificate (bea; "
        "only with a certificate that is not valid any more: alex, carl)",
    )


def test_client_may_use_either_of_two_certificates() -> None:
    logs = [log([person("alex", serials=["09"])]), log([person("alex", serials=["1b"])]), log([person("bea")])]
    found = judge("panel", logs, PEOPLE, RULES, NOW)
    assert ([one.name for one in found.ready], found.former, found.reasons) == (["alex", "bea"], (), ())


@pytest.mark.parametrize(("ours", "seen"), [("0A", "A"), ("A", "0a"), ("0A:1B", "0A1B")])
def test_a_serial_is_a_number_however_it_is_written(ours: str, seen: str) -> None:
    found = judge("panel", [log([person("alex", serials=[seen])])], {"alex": {ours}}, RULES, NOW)
    assert [one.name for one in found.ready] == ["alex"]


def test_machine_does_not_confirm() -> None:
    rules = Rules(2, timedelta(hours=24), frozenset(["door-probe", "carl", "dora"]))
    people = [person(name) for name in ("alex", "carl", "door-probe", "dora")]
    found = judge("panel", [log(people)], PEOPLE, rules, NOW)
    assert ([one.name for one in found.ready], found.never, found.strangers) == (["alex"], ("bea",), ())
    assert found.reasons


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"host": "web2", "log": None}, "web2 has no log of this site, so the clients that got in there are unknown"),
        ({"log": None}, "a host has no log of this site, so the clients that got in there are unknown"),
        (
            log(unread=["quietdoor-panel.log.2.zst"]),
            "web1 has rotated logs that could not be read (quietdoor-panel.log.2.zst), "
            "so the clients that got in there are unknown",
        ),
        (
            log(lines=3, damaged=3),
            "the log of web1 has no valid line of a gate, so the clients that got in there are unknown",
        ),
    ],
)
def test_missing_log_is_not_quiet(row: dict[str, Any], reason: str) -> None:
    found = judge("panel", [log([person("alex"), person("bea")]), row], PEOPLE, RULES, NOW)
    assert found.reasons == (reason,)
    assert found.as_dict()["allowed"] is False


def test_an_empty_log_and_single_damaged_lines_are_nothing_unusual() -> None:
    logs = [log([person("alex"), person("bea")], lines=9, damaged=2), log(lines=0)]
    assert judge("panel", logs, PEOPLE, RULES, NOW).reasons == ()


@pytest.mark.parametrize("other", ["dora", ""])
def test_client_without_a_valid_certificate_does_not_count(other: str) -> None:
    found = judge("panel", [log([person("alex"), person(other)])], PEOPLE, RULES, NOW)
    assert len(found.ready) == 1
    assert [one.name for one in found.strangers] == ([other] if other else [])
    assert found.reasons


def test_no_client_at_all() -> None:
    found = judge("panel", [], PEOPLE, RULES, NOW)
    assert found.reasons[0].startswith("0 of at least 2 people got in with a certificate (none; never")


@pytest.mark.parametrize(("last", "quiet"), [("2026-11-27T12:00:01Z", False), ("2026-11-27T12:00:00Z", True)])
def test_the_window_has_to_be_quiet(last: str, quiet: bool) -> None:
    found = judge(
        "panel", [log([person("alex"), person("bea")], [source("192.0.2.7", last, "carl")])], PEOPLE, RULES, NOW
    )
    assert (found.reasons == ()) is quiet
    if not quiet:
        assert "in the last 1d: 192.0.2.7 at 2026-11-27T12:00:01Z (no-certificate, carl)" in found.reasons[0]


def test_quiet_for_nothing_asks_for_nothing() -> None:
    logs = [log([person("alex"), person("bea")], [source("192.0.2.7", "2026-11-28T11:59:59Z")])]
    assert judge("panel", logs, PEOPLE, Rules(2, timedelta(0), frozenset()), NOW).reasons == ()


def test_requests_before_the_gate_are_shown_and_do_not_delay() -> None:
    logs = [log([person("alex"), person("bea")], would_deny=[source("203.0.113.9", "2026-11-28T11:59:59Z")])]
    found = judge("panel", logs, PEOPLE, RULES, NOW)
    assert found.reasons == ()
    assert [(one.address, one.verdict) for one in found.without] == [("203.0.113.9", "would-deny")]
    assert any("203.0.113.9" in line for line in found.table())


def test_more_addresses_than_are_kept() -> None:
    found = judge("panel", [log([person("alex"), person("bea")], beyond=1)], PEOPLE, RULES, NOW)
    assert "the clients that would be refused are unknown" in found.reasons[0]


def test_a_long_list_is_cut_and_counted() -> None:
    rows = [source(f"192.0.2.{number}", "2026-11-28T11:00:00Z") for number in range(30)]
    found = judge("panel", [log([person("alex"), person("bea")], rows)], PEOPLE, RULES, NOW)
    assert "and 25 more" in found.reasons[0]
    assert any("and 10 more addresses" in line for line in found.table())


@pytest.mark.parametrize(
    ("allow", "names"),
    [
        (Allow((), (), ()), {"alex", "bea"}),
        (Allow(("alex",), (), ()), {"alex"}),
        (Allow((), ("bea@example.org",), ()), {"bea"}),
        (Allow((), (), ("ops",)), {"alex"}),
        (Allow(("nobody",), (), ()), set()),
    ],
)
def test_clients_that_a_site_admits(allow: Allow, names: set[str]) -> None:
    identities = [
        {"name": "alex", "email": ["alex@example.org"], "roles": ["ops"], "serials": ["0A", "1B"]},
        {"name": "bea", "email": ["bea@example.org"], "roles": ["ops-read"], "serials": ["0C"]},
    ]
    serials = {"alex": {"0A", "1B"}, "bea": {"0C"}}
    assert people_of(identities, allow) == {name: serials[name] for name in names}


@pytest.mark.parametrize("number", [0, -1, True, "2", None, 1.5])
def test_invalid_number_of_confirmations(number: object) -> None:
    with pytest.raises(MtlsError, match="not a valid number of people"):
        rules_from(number, timedelta(0), [])
