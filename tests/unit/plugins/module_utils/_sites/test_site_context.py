# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which verdicts pass in each stage and mode."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.parser import parse_sites
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.site_context import site_context

WINDOW = {"networks": ["192.0.2.0/24"], "until": "2030-01-01T00:00:00Z"}
PASSWORD = {**WINDOW, "basic_auth": {"user_file": "/users", "rate": "1r/s"}}
PATH = {"mode": "path", "paths": ["/a", "/ab"]}
OWN = "$quietdoor_site_panel"


def context(part: str = "whole", **changes: Any) -> dict[str, Any]:
    """Return the context of a site."""
    site = {"name": "panel", "stage": "enforce", "server_names": ["panel.example"], "upstream": "http://127.0.0.1:3000"}
    if changes.get("manage") != "snippets":
        site |= {"certificate": "a", "certificate_key": "b"}
    [parsed] = parse_sites([{**site, **changes}])
    return site_context(parsed, part, log_path="/var/log/nginx", log_format="json", http2_tokens=["443"])


@pytest.mark.parametrize(
    ("changes", "refused", "answered"),
    [
        ({}, "$quietdoor_verdict != cert", "$quietdoor_verdict = cert"),
        ({"allow": {"names": ["alex"]}}, f"{OWN}_admitted != cert", f"{OWN}_admitted = cert"),
        (
            {"stage": "observe"},
            f'{OWN}_verdict !~ "^(?:cert|would-deny)\\z"',
            f'{OWN}_verdict ~ "^(?:cert|would-deny)\\z"',
        ),
        (
            {"stage": "fallback", "window": WINDOW},
            f'{OWN}_verdict !~ "^(?:cert|fallback)\\z"',
            f'{OWN}_verdict ~ "^(?:cert|fallback)\\z"',
        ),
        (
            {"stage": "fallback", "window": PASSWORD},
            f'{OWN}_verdict !~ "^(?:cert|fallback|ask)\\z"',
            f'{OWN}_verdict ~ "^(?:cert|fallback)\\z"',
        ),
        (PATH, f'{OWN}_verdict !~ "^(?:cert|public)\\z"', f"{OWN}_verdict = cert"),
    ],
)
def test_each_stage_and_mode_has_its_verdicts(changes: dict[str, Any], refused: str, answered: str) -> None:
    conditions = context(**changes)["conditions"]
    assert (conditions["refused"], conditions["answered"]) == (refused, answered)


def test_no_verdict_of_stage_enforce_passes_without_a_certificate() -> None:
    conditions = context()["conditions"]
    assert (conditions["without_certificate"], conditions["not_reproxied"]) == ("", "")
    assert context()["invalid_certificate_handlers"] == []


def test_what_is_public_goes_on_with_an_invalid_certificate_and_nothing_else() -> None:
    [public] = context(**PATH)["invalid_certificate_handlers"]
    assert (public["suffix"], public["refused"]) == ("", f"{OWN}_verdict != public")
    handlers = context(**PATH, stage="fallback", window=PASSWORD)["invalid_certificate_handlers"]
    assert [handler["refused"] for handler in handlers] == [
        f'{OWN}_verdict !~ "^(?:fallback|ask)\\z"',
        f'{OWN}_verdict !~ "^(?:fallback|ask)\\z"',
        f"{OWN}_verdict != public",
    ]
    observed = context(**PATH, stage="observe")["invalid_certificate_handlers"][-1]
    assert observed["refused"] == f'{OWN}_verdict !~ "^(?:public|would-deny)\\z"'


@pytest.mark.parametrize(
    ("changes", "target"),
    [
        (PATH, "@quietdoor_bad_certificate"),
        ({"stage": "observe"}, f"{OWN}_again"),
        ({"manage": "snippets", "stage": "observe"}, f"{OWN}_bad_certificate"),
    ],
)
def test_an_invalid_certificate_leads_where_the_verdict_is_asked(changes: dict[str, Any], target: str) -> None:
    assert context(**changes)["invalid_certificate"] == target


@pytest.mark.parametrize(
    ("changes", "part", "verdict"),
    [
        ({}, "whole", "$quietdoor_verdict"),
        ({"stage": "fallback", "window": PASSWORD}, "whole", f"{OWN}_told"),
        ({"stage": "observe", "manage": "snippets", **PATH}, "http", f"{OWN}_verdict_now"),
        ({"stage": "observe", **PATH}, "whole", f"{OWN}_verdict"),
    ],
)
def test_the_log_has_the_verdict_that_counted(changes: dict[str, Any], part: str, verdict: str) -> None:
    assert f'"verdict":"{verdict}"' in context(part, **changes)["log_format"]


@pytest.mark.parametrize(
    ("changes", "value"),
    [
        ({}, "on"),
        (PATH, "optional"),
        ({"stage": "observe"}, "optional"),
        (
            {
                "source": "edge",
                "trusted_proxies": ["192.0.2.1"],
                "edge": {"profile": "google", "authentication": "network"},
            },
            "off",
        ),
    ],
)
def test_a_certificate_is_required_where_nothing_is_public(changes: dict[str, Any], value: str) -> None:
    assert context(**changes)["verify_client"] == value


def test_a_longer_path_comes_before_one_that_it_begins_with() -> None:
    assert [handler["path"] for handler in context(**PATH)["guarded_handlers"]] == ["/ab", "/a"]


def test_a_host_name_that_is_too_long_for_a_key_is_an_expression() -> None:
    names = ["a" * 46, f"{'a' * 39}.example"]
    assert context(server_names=names)["server_name_keys"] == [f'"{names[0]}"', f'"~*^{"a" * 39}\\\\.example\\\\z"']


def test_the_second_request_of_a_client_is_told_by_verdict_and_address() -> None:
    found = context("http", manage="snippets", stage="observe", listen=["192.0.2.1:443"], **PATH)
    assert found["reproxied_key"] == '"~^(?:public|would-deny):192\\\\.0\\\\.2\\\\.1:."'


@pytest.mark.parametrize(
    ("changes", "refuses", "verdict"),
    [
        ({}, True, "deny"),
        ({"refuse_forged_headers": True}, True, "deny"),
        ({"refuse_forged_headers": False}, False, "cert"),
        ({"stage": "observe"}, False, "would-deny"),
        ({"stage": "observe", "refuse_forged_headers": False}, False, "cert"),
    ],
)
def test_forged_identity_header_is_refused_unless_the_site_only_logs_it(
    changes: dict[str, Any], refuses: bool, verdict: str
) -> None:
    found = context("server", manage="snippets", **changes)
    assert (found["refuses_forgery"], found["forgery_verdict"]) == (refuses, verdict)
    assert (found["page_reason"], found["logged_reason"]) == (f"{OWN}_logged_reason",) * 2
    assert found["logged_verdict"] == f"{OWN}_logged_verdict"


def test_identity_headers_of_the_site_are_those_that_can_be_forged() -> None:
    names = {key: f"X-Own-{key.replace('_', '-')}" for key in ("verify", "dn", "serial", "fingerprint")}
    found = context("http", manage="snippets", identity_headers={**names, "issuer_dn": "A1", "name": "B1"})
    assert found["identity_header_values"] == (
        "$http_x_own_verify$http_x_own_dn$http_x_own_serial$http_x_own_fingerprint$http_a1$http_b1"
        "$http_x_client_email$http_x_client_roles"
    )


@pytest.mark.parametrize("changes", [{}, PATH, {**PATH, "manage": "snippets"}])
def test_forgery_is_not_looked_for_where_every_open_location_replaces_the_headers(changes: dict[str, Any]) -> None:
    part = "server" if "manage" in changes else "whole"
    found = context(part, **changes)
    assert (found["refuses_forgery"], found["page_reason"]) == (False, found["reason"])
