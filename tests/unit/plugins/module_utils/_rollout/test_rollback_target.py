# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the choice of the generation to roll back to."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._rollout.rollback_target import choose_rollback_target


def kept(number: int, stage: str, restores: int | None = None, **more: Any) -> dict[str, Any]:
    """Return a snapshot in the format of gate_transaction."""
    return {
        "generation": number,
        "stages": {"panel": stage},
        "restores": restores,
        "closed": [],
        "intact": True,
        **more,
    }


OBSERVE, FALLBACK, ENFORCE = kept(1, "observe"), kept(2, "fallback"), kept(3, "enforce")


def test_the_one_before() -> None:
    assert choose_rollback_target([ENFORCE, FALLBACK, OBSERVE], 3, "", force=False).generation == 2


def test_going_back_twice_is_going_back_once() -> None:
    """Otherwise a playbook that is run again, because one host was away, would enforce a gate that was just opened."""
    found = choose_rollback_target([kept(4, "fallback", 2), ENFORCE, FALLBACK, OBSERVE], 4, "", force=False)
    assert found.generation == 4
    assert "generation 4 is already a rollback to generation 2" in found.reason


def test_what_was_rolled_out_once_more_can_be_gone_back_from_once_more() -> None:
    """The same as generation 3, but rolled out again on purpose."""
    again = choose_rollback_target(
        [kept(5, "enforce"), kept(4, "fallback", 2), ENFORCE, FALLBACK, OBSERVE], 5, "", force=False
    )
    assert (again.generation, again.reason) == (4, "")


@pytest.mark.parametrize("asked", ["", "3"])
def test_rollback_refuses_no_admitted_client(asked: str) -> None:
    snapshots = [kept(4, "fallback"), ENFORCE, FALLBACK]
    with pytest.raises(MtlsError, match=r"Generation 3 is stricter than the live one .panel: fallback -> enforce."):
        choose_rollback_target(snapshots, 4, asked, force=False)
    assert choose_rollback_target(snapshots, 4, asked, force=True).generation == 3


def test_a_site_that_had_no_gate_stays_without() -> None:
    with pytest.raises(MtlsError, match=r"panel: absent -> enforce"):
        choose_rollback_target([kept(2, "enforce"), kept(1, "enforce")], None, "2", force=False)


def test_closed_window_is_not_a_rollback_target() -> None:
    closed = kept(2, "fallback", closed=["panel"])
    with pytest.raises(MtlsError, match=r"has closed meanwhile .panel."):
        choose_rollback_target([ENFORCE, closed, OBSERVE], 3, "", force=False)
    assert choose_rollback_target([ENFORCE, closed, OBSERVE], 3, "2", force=False).closed == ("panel",)
    assert choose_rollback_target([ENFORCE, closed, OBSERVE], 3, "1", force=False).generation == 1


def test_removal_of_the_gate_is_always_possible() -> None:
    assert choose_rollback_target([ENFORCE], 3, "0", force=False).generation == 0


def test_what_was_changed_by_hand_is_not_gone_back_to() -> None:
    assert (
        choose_rollback_target([ENFORCE, kept(2, "fallback", intact=False), OBSERVE], 3, "", force=False).generation
        == 1
    )


@pytest.mark.parametrize("asked", ["9", "-1", "x", "1.5", " "])
def test_what_is_not_kept(asked: str) -> None:
    with pytest.raises(MtlsError, match=r"is not kept on this host .kept: 3."):
        choose_rollback_target([ENFORCE], 3, asked, force=False)


@pytest.mark.parametrize("live", [3, None])
def test_nothing_before(live: int | None) -> None:
    with pytest.raises(MtlsError, match="No generation before the live one"):
        choose_rollback_target([ENFORCE] if live else [], live, "", force=False)
