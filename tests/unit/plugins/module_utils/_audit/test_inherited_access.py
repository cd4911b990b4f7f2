# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which inherited access rules the audit reports."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._audit.audit import audit_configuration
from ansible_collections.quietdoor.mtls.plugins.module_utils._audit.findings import Finding
from ansible_collections.quietdoor.mtls.plugins.module_utils._contracts.gate_manifest import ProtectedSite
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.config_model import read_dump

HOME = "/etc/nginx/quietdoor/gate/"
APP = "http://127.0.0.1:3000"
VHOST = ProtectedSite("app", "vhost", ("app.test",), (("*", 443),), (APP,))
HOST = replace(VHOST, manage="snippets")
PART = replace(HOST, mode="path", paths=("/admin",), public=APP)
HEADER = "proxy_set_header X-Client-Name $quietdoor_name;"
FILES = {
    "snippets/app-server.conf": "auth_request /v; satisfy all; real_ip_header X;\n"
    "location @r { auth_request off; auth_basic off; allow all; }",
    "snippets/app-location.conf": HEADER,
    "snippets/app-public.conf": f"if ($now = deny) {{ return 403; }} auth_request /public; {HEADER}",
    "snippets/app-panel-1.conf": f"if ($now != cert) {{ return 403; }} auth_request /v; {HEADER}",
    "sites/app.conf": "server { listen 443 ssl; server_name app.test; auth_request /v; auth_basic $door;"
    f" location / {{ {HEADER} proxy_pass {APP}; }} }}",
}


def found(panel: ProtectedSite, http: str = "", server: str = "", location: str = "") -> list[Finding]:
    """Return the findings about ``http`` in line 1, ``server`` in line 6, and ``location`` in line 7."""
    include = "include quietdoor/gate/snippets/app-{}.conf;".format
    lines = [http, "server {", include("server"), "listen 443 ssl;", "server_name app.test;", server]
    first, last = ("location", "location") if panel.mode == "host" else ("public", "panel-1")
    lines += [f"location / {{ {include(first)} {location} proxy_pass {APP}; }}"]
    lines += [f"location /admin/ {{ {include(last)} proxy_pass {APP}; }}", "location /fixed { return 200 x; } }"]
    own = "\n".join(lines) if panel.manage == "snippets" else f"{http}\ninclude {HOME}sites/app.conf;"
    texts = {"/etc/nginx/nginx.conf": "http { include conf.d/quietdoor.conf; include sites/own; }"}
    texts |= {"/etc/nginx/conf.d/quietdoor.conf": "", "/etc/nginx/sites/own": own}
    texts |= {f"{HOME}{path}": text for path, text in FILES.items() if path in own}
    dump = "".join(f"# configuration file {path}:\n{text}\n" for path, text in texts.items())
    return list(audit_configuration(read_dump(dump), [panel], HOME, lenient=False).findings)


def places(findings: list[Finding]) -> list[tuple[bool, int]]:
    """Return severity and line of findings, all in the operator's file."""
    assert {one.file for one in findings} <= {"/etc/nginx/sites/own"}, findings
    return [(one.opens, one.line) for one in findings]


@pytest.mark.parametrize("panel", [VHOST, HOST, PART])
@pytest.mark.parametrize(
    ("http", "opens"),
    [
        ('auth_basic "staff only";', [True]),
        ("auth_jwt realm;", [True]),
        ("auth_pam realm;", [True]),
        ("auth_basic off;", []),
        ("auth_basic $realm;", [False]),
        ("auth_request /ask;", [True]),
        ("auth_request off;", []),
        ("allow 10.0.0.0/8; deny all;", [False]),
        ("satisfy any; deny all;", [False]),
        ("deny 10.0.0.0/8; allow all;", []),
        ("satisfy any;", []),
    ],
)
def test_rule_of_http_that_refuses_certificates_is_an_error(panel: ProtectedSite, http: str, opens: list[bool]) -> None:
    assert places(found(panel, http)) == [(one, 1) for one in opens]


@pytest.mark.parametrize("panel", [VHOST, HOST, PART])
def test_password_that_can_be_the_only_protection_in_observe_is_a_warning(panel: ProtectedSite) -> None:
    early = replace(panel, enforced=False, observed=True)
    assert places(found(early, "auth_basic staff;")) == [(False, 1)]
    assert places(found(replace(early, observed=False), "auth_basic staff;")) == [(True, 1)]
    assert places(found(early, "auth_request /ask;")) == [(True, 1)]


def test_realm_of_the_fallback_window_replaces_that_of_http() -> None:
    window = replace(VHOST, enforced=False, basic_auth=True)
    assert places(found(window, "auth_basic staff;")) == []
    assert places(found(window, "auth_pam staff;")) == [(True, 1)]
    assert places(found(replace(window, basic_auth=False), "auth_basic staff;")) == [(True, 1)]


def test_rule_of_the_server_is_an_error_and_one_of_the_location_is_intended() -> None:
    assert places(found(HOST, server="auth_basic staff;")) == [(True, 6)]
    assert places(found(HOST, location="auth_basic staff;")) == []
    assert places(found(HOST, "auth_basic staff;", server="auth_basic off;")) == []
    nested = "location /x { auth_basic staff; location /x/y { proxy_set_header A b; } }"
    assert places(found(HOST, server=nested)) == [(True, 6)]


def test_the_hint_has_both_lines_and_the_locations() -> None:
    (finding,) = found(HOST, 'auth_basic "staff only";')
    own = "/etc/nginx/sites/own"
    assert finding.hint == (
        'Write auth_basic off; (a certificate is enough) or auth_basic "staff only"; (a password is needed as well) in the '
        f"locations at {own}:7, {own}:8"
    )


def test_password_of_the_public_part_alone_is_not_mentioned() -> None:
    assert places(found(PART, location="auth_basic staff;")) == []
    (finding,) = found(PART, server="auth_basic staff;")
    assert finding.hint.endswith("in the locations at /etc/nginx/sites/own:8")
