# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test receipts: which settings must be the same in two environments, and which may differ."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._rollout import receipts, site_digests

if TYPE_CHECKING:
    from pathlib import Path

SITE: dict[str, Any] = {
    "name": "panel",
    "stage": "fallback",
    "server_names": ["panel.example"],
    "listen": ["443"],
    "upstream": "http://127.0.0.1:3000",
    "certificate": "/etc/ssl/a.crt",
    "certificate_key": "/etc/ssl/a.key",
    "window": {"networks": ["192.0.2.0/24"], "until": "2026-12-24T12:00:00Z"},
    "contact": "the ops team",
    "allow": {"names": ["alex"]},
}
WHEN = "2026-11-28T12:00:00Z"


def digest(**changes: Any) -> str:
    """Return the digest of the site, with some keys changed."""
    [thing] = site_digests.digests_of_sites([{**SITE, **changes}], "1.2.3")
    return thing.digest


@pytest.mark.parametrize(
    "changes",
    [
        {"server_names": ["panel.staging.example"]},
        {"listen": ["8443"]},
        {"staging_listen": ["9443"]},
        {"upstream": "http://127.0.0.1:4000"},
        {"certificate": "/etc/ssl/b.crt", "certificate_key": "/etc/ssl/b.key"},
        {"allow": {"roles": ["ops"]}},
        {"window": {"networks": ["198.51.100.0/24"], "until": "2027-01-01T12:00:00Z"}},
    ],
)
def test_what_may_differ(changes: dict[str, Any]) -> None:
    assert digest(**changes) == digest()


@pytest.mark.parametrize(
    "changes",
    [
        {"stage": "enforce"},
        {"stage": "observe"},
        {"contact": "nobody"},
        {"hsts": True},
        {"rate_limit": {"rate": "1r/m"}},
        {"mode": "path", "paths": ["/admin"]},
        {"revocation": "map"},
        {"websocket": True},
        {"allow": None},
        {"upstream": "https://127.0.0.1:4000"},
        {"auth_request": "http://127.0.0.1:9000/decide"},
        {"identity_headers": {"name": "X-Person"}},
        {"window": {"networks": ["192.0.2.0/24"], "basic_auth": {"user_file": "/etc/users"}}},
    ],
)
def test_what_has_to_be_the_same(changes: dict[str, Any]) -> None:
    assert digest(**changes) != digest()


def test_another_version_is_another_thing() -> None:
    assert site_digests.digests_of_sites([SITE], "1.2.4")[0].digest != digest()


def test_a_receipt_is_there_once_it_is_written(tmp_path: Path) -> None:
    directory = str(tmp_path / "receipts")
    things = site_digests.digests_of_sites([SITE], "1.2.3")
    assert receipts.missing(directory, "staging", things) == things
    assert receipts.write(directory, "staging", things, WHEN, check_mode=True) == things
    assert not os.path.exists(directory)
    assert receipts.write(directory, "staging", things, WHEN, check_mode=False) == things
    assert receipts.write(directory, "staging", things, WHEN, check_mode=False) == ()
    assert receipts.missing(directory, "staging", things) == ()
    assert receipts.missing(directory, "production", things) == things
    assert (
        receipts.missing(directory, "staging", site_digests.digests_of_sites([{**SITE, "stage": "enforce"}], "1.2.3"))
        != ()
    )


def test_all_of_a_site_in_one_environment_are_withdrawn(tmp_path: Path) -> None:
    directory = str(tmp_path)
    panel, other = (
        receipts.RolledOutSite("panel", stage, digit * 64) for stage, digit in (("enforce", "a"), ("fallback", "b"))
    )
    shop = receipts.RolledOutSite("shop", "enforce", "c" * 64)
    for environment in ("staging", "production"):
        receipts.write(directory, environment, [panel, other, shop], WHEN, check_mode=False)
    (tmp_path / "staging.panel.txt").write_text("somebody's own")
    before = sorted(tmp_path.iterdir())
    assert receipts.withdraw(directory, "staging", ["panel", "wiki"], check_mode=True) == ("panel",)
    assert sorted(tmp_path.iterdir()) == before
    assert receipts.withdraw(directory, "staging", ["panel", "wiki"], check_mode=False) == ("panel",)
    assert receipts.withdraw(directory, "staging", ["panel", "wiki"], check_mode=False) == ()
    assert receipts.missing(directory, "staging", [panel, other, shop]) == (panel, other)
    assert receipts.missing(directory, "production", [panel, other, shop]) == ()
    assert (tmp_path / "staging.panel.txt").exists()


def test_nothing_is_withdrawn_where_there_is_nothing(tmp_path: Path) -> None:
    assert receipts.withdraw(str(tmp_path / "none"), "staging", ["panel"], check_mode=False) == ()
    with pytest.raises(MtlsError, match="is not a valid name of an environment"):
        receipts.withdraw(str(tmp_path), "../staging", ["panel"], check_mode=False)


def test_the_newest_hundred_are_kept(tmp_path: Path) -> None:
    directory = str(tmp_path)
    for number in range(105):
        thing = receipts.RolledOutSite("panel", "enforce", f"{number:064x}")
        receipts.write(directory, "staging", [thing], WHEN, check_mode=False)
        os.utime(os.path.join(directory, f"staging.panel.{number:064x}.json"), (number, number))
    other = receipts.RolledOutSite("other", "enforce", "0" * 64)
    receipts.write(directory, "staging", [other], WHEN, check_mode=False)
    left = sorted(os.listdir(directory))
    assert len(left) == 101
    assert f"staging.panel.{104:064x}.json" in left
    assert f"staging.panel.{0:064x}.json" not in left


@pytest.mark.parametrize("environment", ["", "Staging", "../x", "a b", "x" * 33, "a.b"])
def test_a_strange_environment(tmp_path: Path, environment: str) -> None:
    with pytest.raises(MtlsError, match="is not a valid name of an environment"):
        receipts.missing(str(tmp_path), environment, ())


@pytest.mark.parametrize(
    "item",
    [
        None,
        {},
        {"site": "../x", "stage": "enforce", "digest": "0" * 64},
        {"site": "panel", "stage": "enforce", "digest": "zz"},
    ],
)
def test_what_no_receipt_can_be_about(item: object) -> None:
    with pytest.raises(MtlsError, match="expected site, stage and digest"):
        receipts.rolled_out_site_from(item)


def test_directories_above_are_made(tmp_path: Path) -> None:
    """The operator does not have to make them before the first rollout."""
    directory = str(tmp_path / "quietdoor" / "receipts")
    things = site_digests.digests_of_sites([SITE], "1.2.3")
    assert receipts.write(directory, "staging", things, WHEN, check_mode=False) == tuple(things)
    assert receipts.missing(directory, "staging", things) == ()
