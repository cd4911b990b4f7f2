# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the template data of applications and decision services."""

from __future__ import annotations

from typing import Any

from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.parser import parse_sites
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.template_context import describe_site
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.upstream_context import (
    decision_context,
    location_context,
    reproxy_context,
    upstream_context,
)

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


PATH = {"mode": "path", "paths": ["/a"]}
SNIPPETS = {"manage": "snippets", "certificate": None, "certificate_key": None}


def test_a_header_that_the_site_uses_is_not_blanked_in_any_case() -> None:
    described = site(identity_headers={"name": "remote-USER"})
    found = upstream_context(described, described["handlers"][0])
    assert {"name": "remote-USER", "value": "$quietdoor_name"} in found["headers"]
    lower = [name.lower() for name in found["blanked"]]
    assert "remote-user" not in lower
    assert "x-client-name" in lower
    assert len(lower) == len(set(lower))


def test_public_part_has_no_identity() -> None:
    described = site(**PATH)
    guarded, public = (upstream_context(described, handler) for handler in described["handlers"])
    assert {header["value"] for header in public["headers"]} == {'""'}
    assert (guarded["remote_user"], public["remote_user"]) == ("$quietdoor_name", '""')


def test_cgi_has_names_of_its_own() -> None:
    described = site(upstream="fastcgi://unix:/run/php.sock", fastcgi_script="/index.php")
    found = upstream_context(described, described["handlers"][0])
    assert found["headers"][0]["name"] == "HTTP_X_CLIENT_VERIFY"
    assert "HTTP_PROXY" in found["blanked"]
    assert found["document_root"] == "/"


def test_a_location_of_the_public_part_has_the_modules_of_all_parts() -> None:
    paths = [{"path": "/a", "upstream": "grpc://127.0.0.1:1"}, {"path": "/b", "upstream": "/srv/b"}]
    described = site(**SNIPPETS, mode="path", paths=paths)
    guarded, files, public = (location_context(described, handler) for handler in described["handlers"])
    assert [module["directive"] for module in guarded["modules"]] == ["grpc_set_header"]
    assert files["modules"] == []
    assert [module["directive"] for module in public["modules"]] == ["grpc_set_header", "proxy_set_header"]
    assert (guarded["question"], public["question"]) == ("verdict", "public")
    assert guarded["refused"] == "$quietdoor_site_panel_verdict_now != cert"
    assert public["refused"] == '$quietdoor_site_panel_verdict_now !~ "^(?:public|cert)\\z"'
    assert public["modules"][0]["headers"][0]["value"] == "$quietdoor_site_panel_identity_1"
    assert "X-Quietdoor-Visitor" in public["modules"][0]["blanked"]


def test_a_decision_service_gets_the_address_that_was_asked_for() -> None:
    blanked = decision_context(site())["blanked"]
    assert "X-Original-URL" in blanked
    assert "X-Original-URI" not in blanked


def test_the_second_request_goes_to_the_address_of_the_site() -> None:
    described = site(**SNIPPETS, stage="observe", listen=["[::]:8443"])
    assert reproxy_context(described, "/var/log/nginx")["url"] == "https://[::1]:8443"
