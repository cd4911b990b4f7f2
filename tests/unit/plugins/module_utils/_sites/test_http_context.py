# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the data that all sites of a host share."""

from __future__ import annotations

from typing import Any

from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.default_server import Plan
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.http_context import http_context
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.models import Listen
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.parser import parse_sites
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.template_context import describe_site

SITE = {
    "name": "panel",
    "stage": "enforce",
    "server_names": ["panel.example"],
    "upstream": "http://127.0.0.1:3000",
    "certificate": "a",
    "certificate_key": "b",
}


def site(**changes: Any) -> dict[str, Any]:
    """Return the template data of a site."""
    definition = {key: value for key, value in {**SITE, **changes}.items() if value is not None}
    return describe_site(parse_sites([definition])[0])


EDGE = {
    "source": "edge",
    "trusted_proxies": ["192.0.2.1"],
    "edge": {"profile": "nginx", "certificate_authority": "edge.pem", "certificates": ["CN=edge"]},
}
PLAN = Plan((Listen("*", 443),), (), ())


def context(*sites: dict[str, Any]) -> dict[str, Any]:
    """Return the context of these sites."""
    return http_context(sites, PLAN, http2_tokens=[], hash_sizes=[])


def test_each_name_and_port_has_one_key() -> None:
    names = ["panel.example", "b" * 30]
    found = context(site(server_names=names, listen=["443", "[::]:443", "8443"]))
    assert found["sni_keys"] == [
        '".:443:panel.example:panel.example"',
        f'"~*^\\\\.:443:panel\\\\.example:{"b" * 30}\\\\z"',
        '".:8443:panel.example:panel.example"',
        f'"~*^\\\\.:8443:panel\\\\.example:{"b" * 30}\\\\z"',
    ]


def test_without_a_site_behind_a_proxy_there_is_one_verdict() -> None:
    assert (context(site())["direct"], context(site())["edge_sites"]) == ("$quietdoor_", [])


def test_a_site_behind_a_proxy_has_variables_of_its_own() -> None:
    found = context(site(), site(**EDGE, name="edge", server_names=["edge.example"]))
    assert found["direct"] == "$quietdoor_direct_"
    assert found["edge_sites"] == [{"key": '"~^443:edge\\\\.example\\\\z"', "slug": "edge"}]
    maps = {one["name"]: one for one in found["edge_maps"]}
    assert maps["peer"] == {
        "name": "peer",
        "default": "0",
        "entries": [{"slug": "edge", "variable": "$quietdoor_site_edge_edge_peer"}],
    }
    assert (maps["signal"]["default"], maps["sha1"]["default"]) == ("none", '""')


def test_the_header_host_is_compared_where_it_is_short() -> None:
    found = context(site(server_names=["panel.example", "c" * 50], listen=["8443"]))
    assert found["usual_hosts"] == [
        {"key": '"panel.example"', "port": ""},
        {"key": '"panel.example:8443"', "port": ":8443"},
    ]


def test_the_default_servers_are_those_of_the_plan() -> None:
    assert context(site())["owned"] == ["443"]
