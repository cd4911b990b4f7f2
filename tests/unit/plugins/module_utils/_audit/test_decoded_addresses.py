# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which `proxy_pass` lines pass on the decoded address, and which lead from a public location to a guarded path."""

from __future__ import annotations

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._audit.audit import Audit, audit_configuration
from ansible_collections.quietdoor.mtls.plugins.module_utils._contracts.gate_manifest import ProtectedSite
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.config_model import read_dump

HOME = "/etc/nginx/quietdoor/gate/"
APP = "http://127.0.0.1:3000"
WHOLE = ProtectedSite("app", "snippets", ("app.test",), (("*", 443),), (APP,))
PART = ProtectedSite("app", "snippets", ("app.test",), (("*", 443),), (APP,), "path", ("/admin",), APP)
HEADER = 'proxy_set_header X-Client-Name $quietdoor_name; proxy_set_header Proxy "";'
SNIPPETS = {
    "server": "auth_request /v; satisfy all; error_page 403 495 496 = @r; real_ip_header X;\n"
    "location = /v { internal; } location @r { auth_request off; }",
    "location": HEADER,
    "public": f"if ($now = deny) {{ return 403; }} auth_request /public; {HEADER}",
    "panel-1": f"if ($now != cert) {{ return 403; }} auth_request /v; {HEADER}",
}


def survey_of(line: str, http: str, panel: ProtectedSite) -> Audit:
    """Return the audit of a server with ``line`` in line 7, in a location of everything, and ``http`` in line 1."""
    kinds = ("location",) if panel.mode == "host" else ("public", "panel-1")
    include = "include quietdoor/gate/snippets/app-{}.conf;".format
    lines = [http, "server {", include("server"), "listen 443 ssl;", "server_name app.test;"]
    lines += [f"location / {{ {include(kinds[0])}", line, "}"]
    lines += [f"location /admin/ {{ {include(kinds[-1])} proxy_pass {APP}; }}", "}"]
    texts = {
        "/etc/nginx/nginx.conf": "http { include conf.d/quietdoor.conf; include sites/own; }",
        "/etc/nginx/conf.d/quietdoor.conf": "",
        "/etc/nginx/sites/own": "\n".join(lines),
        **{f"{HOME}snippets/app-{kind}.conf": SNIPPETS[kind] for kind in ("server", *kinds)},
    }
    dump = "".join(f"# configuration file {path}:\n{text}\n" for path, text in texts.items())
    return audit_configuration(read_dump(dump), [panel], HOME, lenient=False)


def errors(line: str, http: str, panel: ProtectedSite, words: str) -> list[tuple[str, int]]:
    """Return file and line of the errors with these words."""
    return [(one.file, one.line) for one in survey_of(line, http, panel).errors() if words in one.what]


@pytest.mark.parametrize("panel", [WHOLE, PART])
@pytest.mark.parametrize(
    ("line", "http"),
    [
        (f"proxy_pass {APP}$uri;", ""),
        (f"proxy_pass {APP}$uri$is_args$args;", ""),
        (f"proxy_pass {APP}${{document_uri}};", ""),
        (f"proxy_pass {APP}/x$URI;", ""),
        (f"set $t $uri; proxy_pass {APP}$t;", ""),
        (f"set $t /x$u; proxy_pass {APP}$t;", "map $host $u { default $document_uri; }"),
        (f"if ($arg_x) {{ proxy_pass {APP}$uri; }} proxy_pass {APP};", ""),
    ],
)
def test_a_decoded_address_is_an_error_at_its_line(line: str, http: str, panel: ProtectedSite) -> None:
    assert errors(line, http, panel, "passes on the decoded address") == [("/etc/nginx/sites/own", 7)]


@pytest.mark.parametrize("panel", [WHOLE, PART])
@pytest.mark.parametrize(
    "line",
    [
        f"proxy_pass {APP};",
        f"proxy_pass {APP}$request_uri;",
        "set $app 127.0.0.1:3000; proxy_pass http://$app$request_uri; set $log $uri;",
    ],
)
def test_an_address_as_the_client_wrote_it_is_no_error(line: str, panel: ProtectedSite) -> None:
    assert not survey_of(line, "", panel).errors()


@pytest.mark.parametrize(
    ("line", "http"),
    [
        ("set $t /admin/x; proxy_pass http://127.0.0.1:3000$t;", ""),
        ("proxy_pass http://127.0.0.1:3000$t;", "map $arg_x $t { default /x; 1 /admin/y; }"),
        ("set $t 127.0.0.1:3000/admin; proxy_pass http://$t;", ""),
    ],
)
def test_a_variable_that_can_be_a_guarded_address_is_an_error(line: str, http: str) -> None:
    assert errors(line, http, PART, "changes addresses of this public location") == [("/etc/nginx/sites/own", 7)]
    assert not errors("set $t /x; proxy_pass http://127.0.0.1:3000$t;", "", PART, "changes addresses")
