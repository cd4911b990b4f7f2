# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that a successor retires certificates that were signed by hand at an adopted authority."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca import adopted_index
from ansible_collections.quietdoor.mtls.plugins.module_utils._clients import enrol, predecessor_clients, revoke
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError

OVERLAP = timedelta(days=14)


@pytest.fixture
def signed(by_hand: Any, empty_door: Any, tmp_path: Path) -> Any:
    """Return a function that makes an adopted authority with these certificates, and its successor."""

    def make(*subjects: str) -> tuple[Any, Any]:
        theirs = by_hand(unique_subject="no")
        (theirs.path / "index.txt.attr").write_text("unique_subject = no\n")
        for subject in subjects:
            theirs.sign(subject)
        old, new = type(empty_door)(str(theirs.path)), type(empty_door)(str(tmp_path / "new"))
        old.adopt()
        new.create("New CA")
        return old, new

    return make


def retired(new: Any, old: Any, *clients: Any) -> predecessor_clients.Retirement:
    """Retire certificates and return the result, which check mode predicts and a second run does not change."""
    arguments = (new.path, [old.path], list(clients), OVERLAP, new.now)
    before = old.digest()
    predicted = predecessor_clients.retire(*arguments, check_mode=True)
    assert old.digest() == before
    done = predecessor_clients.retire(*arguments, check_mode=False)
    assert predicted == done
    again = predecessor_clients.retire(*arguments, check_mode=False)
    assert (again.retired, again.doubts) == ([], done.doubts)
    return done


def revocations(done: predecessor_clients.Retirement) -> list[tuple[str, str, str]]:
    return [(one.client, one.serial, one.reason) for one in done.retired]


def statuses(door: Any) -> str:
    return "".join(row.status for row in door.authority.rows)


ALEX = "/O=Old/CN=Alex/emailAddress=alex@example.org"
TEAM = "/CN=Alex/emailAddress=team@example.org"
BOB = "/CN=Bob"
SAMS = ("/O=A/CN=sam", "/O=B/CN=sam")


def test_it_is_superseded_when_the_overlap_at_the_successor_has_passed(signed: Any, client: Any) -> None:
    old, new = signed(ALEX, ALEX, BOB)
    new.enrol(client())
    assert retired(new.later(days=13), old, client()) == predecessor_clients.Retirement([], [])
    done = retired(new.later(days=14), old, client())
    assert revocations(done) == [("alex", "1000", "superseded"), ("alex", "1001", "superseded")]
    assert statuses(old) == "RRV"


@pytest.mark.parametrize("subject", [ALEX, TEAM, "/CN=alex"])
def test_who_leaves_loses_it_at_once(subject: str, signed: Any, client: Any) -> None:
    old, new = signed(subject, BOB)
    done = retired(new, old, client(present=False, reason="keyCompromise"))
    assert (revocations(done), done.doubts) == ([("alex", "1000", "keyCompromise")], [])
    assert statuses(old) == "RV"


def test_what_is_not_certainly_a_clients_is_left_and_named(signed: Any, client: Any) -> None:
    old, new = signed(TEAM, *SAMS)
    clients = [client(), client("sam", common_name="sam", present=False)]
    new.enrol(*clients)
    (sam,) = retired(new, old, *clients).doubts
    assert "client sam: certificates of the predecessor in" in sam
    assert "(their subjects differ): 1001 ('/O=A/CN=sam'), 1002 ('/O=B/CN=sam'). Revoke them by serial." in sam
    done = retired(new.later(days=14), old, *clients)
    assert done.doubts[1] == sam
    assert "client alex: certificates of the predecessor in" in done.doubts[0]
    assert "(its common name or e-mail addresses differ): 1000 (" in done.doubts[0]
    assert (done.retired, statuses(old)) == ([], "VVV")


def test_who_holds_one_is_known_by_the_name_that_answers_for_it(signed: Any, client: Any) -> None:
    old, new = signed(ALEX, TEAM, BOB, *SAMS, "/O=Nameless")
    elsewhere = predecessor_clients.load_elsewhere([old.path], [client()], new.now)
    assert elsewhere.holders == {"alex", "Bob"}, "Alex is on the roster, sam is ambiguous"
    (doubt,) = retired(new, old, client()).doubts
    assert f"The predecessor in {old.path} has valid certificates that match no client of the roster: 1003 (" in doubt
    assert "1004 (" in doubt
    assert "1005 ('/O=Nameless')" in doubt
    assert (
        predecessor_clients.load_elsewhere([old.path], [client()], new.now + timedelta(days=400)).holders == frozenset()
    )


def test_a_purge_reaches_it(signed: Any, client: Any) -> None:
    old, new = signed(ALEX, BOB, BOB)
    clients = [client()]

    def planned(limit: int) -> enrol.Enrolment:
        elsewhere = predecessor_clients.load_elsewhere([old.path], clients, new.now)
        rules = replace(new.rules, purge_limit=limit)
        return enrol.bring_to_desired_state(new.path, clients, rules, None, new.now, elsewhere)

    with pytest.raises(MtlsError, match=r"purge would revoke 1 clients that are not on the roster, .*: Bob"):
        planned(0)
    purged = [result.step.client for result in planned(1).results[1:]]
    done = retired(new, old, *clients, *purged)
    assert revocations(done) == [("Bob", "1001", "cessationOfOperation"), ("Bob", "1002", "cessationOfOperation")]
    assert [result.step.client.name for result in planned(0).results] == ["alex"]


def test_an_adopted_successor_gives_the_overlap_too(signed: Any, client: Any, by_hand: Any, tmp_path: Path) -> None:
    """A certificate that was signed by hand at the successor long ago does not begin the overlap."""
    old, _new = signed(ALEX)
    theirs = by_hand(path=tmp_path / "second", subject="/CN=Second")
    theirs.sign(ALEX)
    new = type(old)(str(theirs.path))
    new.adopt()
    later = new.later(days=30)
    later.enrol(client())
    assert revocations(retired(later, old, client())) == []
    assert len(revocations(retired(later.later(days=14), old, client()))) == 1


# --- two clients with one name ---


def test_ambiguous_certificate_belongs_to_no_client(signed: Any, client: Any) -> None:
    old, new = signed(ALEX)
    alex, laptop = client(), client("alex-laptop", common_name="Alex", email=("alex@example.org",))
    for clients in ([alex, laptop], [laptop, alex]):
        results = old.enrol(*clients, check_mode=True)
        assert [result.action for result in results] == ["issued", "issued"]
        assert all("another client of the roster has that common name too" in result.reason for result in results)
    gone = replace(laptop, present=False)
    assert old.actions(alex, gone) == ["issued", "unchanged"]
    assert "another client of the roster has that common name too" in retired(new, old, alex, gone).doubts[0]
    assert statuses(old) == "VV"
    assert old.actions(replace(alex, present=False), gone) == ["revoked", "revoked"]
    assert statuses(old) == "RR"


# --- module revocation ---


def test_a_doubt_at_the_predecessor_leaves_nothing_half_revoked(signed: Any, client: Any) -> None:
    old, new = signed(*SAMS)
    target = revoke.Target(client="sam")
    arguments = ([old.path], target, "keyCompromise", new.now)
    before = new.digest(), old.digest()
    with pytest.raises(
        adopted_index.AmbiguousName, match="'sam' is the common name of certificates with different subjects"
    ):
        predecessor_clients.revoke_everywhere(new.path, *arguments, check_mode=False)
    new.enrol(client("sam"))
    done = predecessor_clients.revoke_everywhere(new.path, *arguments, check_mode=False)
    assert [(path, one.newly) for path, one in done] == [(new.path, True)]
    assert old.digest() == before[1]
    assert "Not revoked, because 'sam' is the common name of several subjects" in revoke.describe_kept(old.path, "sam")


def test_a_doubt_at_the_authority_changes_nothing_anywhere(signed: Any, client: Any) -> None:
    old, new = signed(*SAMS)
    new.enrol(client("sam"))
    before = new.digest(), old.digest()
    with pytest.raises(adopted_index.AmbiguousName):
        predecessor_clients.revoke_everywhere(
            old.path, [new.path], revoke.Target(client="sam"), "unspecified", new.now, check_mode=False
        )
    assert (new.digest(), old.digest()) == before
