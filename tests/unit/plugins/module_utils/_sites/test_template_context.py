# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the data of a site for the templates and the manifest."""

from __future__ import annotations

from typing import Any

from ansible_collections.quietdoor.mtls.plugins.module_utils._contracts.status_protocol import Endpoint
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.models import Site
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.parser import parse_sites
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.template_context import (
    describe_site,
    endpoints_of,
    manifest_of,
)


def site(**changes: Any) -> Site:
    """Return one site."""
    good = {"name": "my-panel", "stage": "enforce", "server_names": ["panel.example"], "upstream": "http://a:1"}
    return parse_sites([{**good, "certificate": "a", "certificate_key": "b", **changes}])[0]


WINDOW = {"networks": ["192.0.2.0/24"], "until": "2030-01-01T00:00:00Z", "basic_auth": {"user_file": "/users"}}


def test_the_host_asks_a_site_on_the_loopback_address_where_it_listens_on_all() -> None:
    assert endpoints_of(site(listen=["443", "[::]:443", "192.0.2.1:8443"])) == [
        Endpoint("my-panel", "127.0.0.1", 443, "panel.example"),
        Endpoint("my-panel", "::1", 443, "panel.example"),
        Endpoint("my-panel", "192.0.2.1", 8443, "panel.example"),
    ]


def test_the_contact_is_safe_in_html_and_in_an_nginx_string() -> None:
    assert (
        describe_site(site(contact='<b> & $x \\ "y"'))["contact_html"] == "&lt;b&gt; &amp; &#36;x &#92; &quot;y&quot;"
    )


def test_an_open_stage_has_identity_variables_of_the_site() -> None:
    closed, open_ = (describe_site(site(stage=stage)) for stage in ("enforce", "observe"))
    assert (closed["user"], open_["user"]) == ("$quietdoor_name", "$quietdoor_site_my_panel_told_name")
    assert closed["identity_headers"][0] == {
        "name": "X-Client-Verify",
        "key": "verify",
        "source": "$ssl_client_verify",
        "value": "$ssl_client_verify",
    }
    assert open_["identity_headers"][0]["value"] == "$quietdoor_site_my_panel_told_verify"


def test_a_window_is_described_in_stage_fallback_only() -> None:
    assert describe_site(site())["window"] == {}
    window = describe_site(site(stage="fallback", window=WINDOW))["window"]
    assert (window["networks"], window["until"], window["basic_auth"]["user_file"]) == (
        ["192.0.2.0/24"],
        1893456000,
        "/users",
    )


def test_the_manifest_has_what_readers_need() -> None:
    manifest = manifest_of([site(stage="fallback", window=WINDOW)])
    [panel] = manifest.sites
    assert (panel.stage, panel.until, panel.basic_auth, panel.upstreams) == (
        "fallback",
        1893456000,
        True,
        ("http://a:1",),
    )
    assert manifest.endpoints == (Endpoint("my-panel", "127.0.0.1", 443, "panel.example"),)
    assert (manifest_of([site()]).sites[0].until, manifest_of([site()]).sites[0].public) == (None, "")


def test_the_manifest_of_mode_path_names_the_guarded_applications_and_the_public_one() -> None:
    paths = [{"path": "/a", "upstream": "http://A:1"}, "/b", {"path": "/c", "upstream": "http://a:1"}]
    [panel] = manifest_of([site(mode="path", paths=paths)]).sites
    assert (panel.paths, panel.upstreams, panel.public) == (
        ("/a", "/b", "/c"),
        ("http://A:1", "http://a:1"),
        "http://a:1",
    )
