# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the bypasses that `gate_sites` shows."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.parser import parse_sites
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.shared_upstreams import shared_upstreams

APP, PANEL = "http://127.0.0.1:3000", "http://127.0.0.1:4000"


def site(name: str, **changes: Any) -> dict[str, Any]:
    """Return a site in mode path whose protected application is a separate one."""
    good = {
        "name": name,
        "stage": "enforce",
        "mode": "path",
        "paths": [{"path": "/admin", "upstream": PANEL}],
        "server_names": [f"{name}.example.org"],
        "upstream": APP,
        "certificate": "a",
        "certificate_key": "b",
    }
    return {key: value for key, value in {**good, **changes}.items() if value is not ...}


def found_in(*sites: dict[str, Any]) -> list[str]:
    """Return the sentences about these sites."""
    return list(shared_upstreams(parse_sites(list(sites))))


def test_separate_application_has_no_bypass() -> None:
    assert found_in(site("a"), site("b", mode="host", paths=..., upstream=PANEL)) == []


def test_an_application_that_does_both_is_named() -> None:
    (sentence,) = found_in(site("a", paths=["/admin"]))
    assert sentence.startswith(f"site a: /admin and the public part have the same upstream {APP}")
    assert "loose" not in sentence
    (sentence,) = found_in(site("a", paths=["/admin"], path_spelling="loose"))
    assert sentence.endswith("path_spelling: loose does not block other spellings of them")


@pytest.mark.parametrize(
    ("paths", "how"),
    [
        ([{"path": "/other", "upstream": APP + "1"}], "without a certificate, because /admin is not guarded there"),
        ([{"path": "/admin", "upstream": APP + "1"}], "at other addresses than its own guarded paths"),
    ],
)
def test_another_site_that_leads_there_is_named(paths: list[Any], how: str) -> None:
    found = found_in(site("a"), site("b", upstream=PANEL, paths=paths))
    assert found == [f"site a: /admin has the upstream {PANEL}, which site b reaches too, {how}"]
    assert found_in(site("a"), site("b", upstream=PANEL, paths=paths, stage="absent")) == []
