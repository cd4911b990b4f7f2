# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which headers of a client a site drops."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._contracts.identity_headers import (
    CLIENT,
    IDENTITY,
    header_names,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.parser import parse_sites
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.template_context import manifest_of

SITE = {
    "name": "panel",
    "stage": "enforce",
    "server_names": ["panel.example"],
    "upstream": "http://127.0.0.1:3000",
    "certificate": "a",
    "certificate_key": "b",
}


def dropped(**changes: Any) -> set[str]:
    """Return the headers that a site drops."""
    return set(parse_sites([{**SITE, **changes}])[0].headers.dropped())


@pytest.mark.parametrize("changes", [{}, {"drop_client_headers": False}])
def test_headers_of_proxies_are_dropped_and_those_of_clients_are_not(changes: dict[str, Any]) -> None:
    assert dropped(**changes) == set(header_names(IDENTITY))


def test_headers_of_clients_are_dropped_if_the_site_says_so() -> None:
    assert dropped(drop_client_headers=True) == set(header_names(IDENTITY, CLIENT))


@pytest.mark.parametrize("name", ["X-Forwarded-Prefix", "x-forwarded-PREFIX"])
def test_kept_header_is_not_dropped_in_any_case(name: str) -> None:
    kept = dropped(keep_headers=[{"name": name, "reason": "the edge sets it"}])
    assert kept == set(header_names(IDENTITY)) - {"X-Forwarded-Prefix"}


@pytest.mark.parametrize(
    ("changes", "undecided"),
    [({}, True), ({"drop_client_headers": False}, False), ({"drop_client_headers": True}, False)],
)
def test_manifest_says_whether_the_operator_decided(changes: dict[str, Any], undecided: bool) -> None:
    [site] = manifest_of(parse_sites([{**SITE, **changes}])).sites
    assert site.client_headers_undecided is undecided


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"drop_client_headers": "yes"}, "drop_client_headers: 'yes' is a string, not a boolean"),
        ({"keep_headers": "Proxy"}, "keep_headers: 'Proxy' is a string, not a list"),
        ({"keep_headers": ["Proxy"]}, "keep_headers: 'Proxy' is a string, not a mapping"),
        ({"keep_headers": [{"name": "Proxy"}]}, "keep_headers: reason: missing"),
        ({"keep_headers": [{"reason": "x"}]}, "keep_headers: name: missing"),
        ({"keep_headers": [{"name": "Proxy", "reason": "a", "more": 1}]}, "keep_headers: more: unknown key"),
        ({"keep_headers": [{"name": "X-Mine", "reason": "a"}]}, "keep_headers: name: the gate does not drop 'X-Mine'"),
        ({"keep_headers": [{"name": "X-User-Id", "reason": "a"}]}, "the gate does not drop 'X-User-Id'"),
        ({"keep_headers": [{"name": "x-client-name", "reason": "a"}]}, "the gate itself sets or reads x-client-name"),
        (
            {"keep_headers": [{"name": "remote-user", "reason": "a"}], "identity_headers": {"name": "Remote-User"}},
            "the gate itself sets or reads remote-user",
        ),
        (
            {"keep_headers": [{"name": "X-Client-Name", "reason": "a"}], "identity_headers": {"name": "Remote-User"}},
            "keep_headers: name: X-Client-Name is a header of the gates of this collection",
        ),
        (
            {"keep_headers": [{"name": "x-quietdoor-verdict", "reason": "a"}]},
            "x-quietdoor-verdict is a header of the gates",
        ),
        ({"keep_headers": [{"name": "Proxy", "reason": "a\nproxy_pass x;"}]}, "reason: is not one line"),
        ({"keep_headers": [{"name": "Proxy", "reason": "a" * 201}]}, "reason: is not one line"),
        (
            {"keep_headers": [{"name": "Proxy", "reason": "a"}, {"name": "PROXY", "reason": "b"}]},
            "proxy is listed more than once",
        ),
    ],
)
def test_mistake_is_refused_by_name(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(MtlsError) as problem:
        parse_sites([{**SITE, **changes}])
    assert f"site panel: {said}" in str(problem.value) or said in str(problem.value)
