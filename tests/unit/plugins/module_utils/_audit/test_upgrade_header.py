# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which `Upgrade` lines of a server with snippets the audit refuses."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._audit.audit import Audit, audit_configuration, refuse
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
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
GATE = 'map $http_upgrade $quietdoor_upgrade { default ""; "~*^websocket\\z" websocket; }'


def survey_of(location: str = "", http: str = "", server: str = "", panel: ProtectedSite = WHOLE) -> Audit:
    """Return the audit of a server with ``location`` in line 9, ``server`` in line 6, ``http`` in line 1."""
    kinds = ("location",) if panel.mode == "host" else ("public", "panel-1")
    include = "include quietdoor/gate/snippets/app-{}.conf;".format
    lines = [http, "server {", include("server"), "listen 443 ssl;", "server_name app.test;", server]
    lines += [f"location / {{ {include(kinds[0])}", f"proxy_pass {APP};", location, "}"]
    lines += [f"location /admin/ {{ {include(kinds[-1])} proxy_pass {APP}; }}", "}"]
    texts = {
        "/etc/nginx/nginx.conf": "http { include conf.d/quietdoor.conf; include sites/own; }",
        "/etc/nginx/conf.d/quietdoor.conf": GATE,
        "/etc/nginx/sites/own": "\n".join(lines),
        **{f"{HOME}snippets/app-{kind}.conf": SNIPPETS[kind] for kind in ("server", *kinds)},
    }
    dump = "".join(f"# configuration file {path}:\n{text}\n" for path, text in texts.items())
    return audit_configuration(read_dump(dump), [panel], HOME, lenient=False)


def upgrades(location: str = "", **parts: Any) -> list[tuple[bool, str, int]]:
    """Return severity, file and line of the findings about ``Upgrade``."""
    found = survey_of(location, **parts).findings
    return [(one.opens, one.file, one.line) for one in found if "other protocols than websocket" in one.what]


@pytest.mark.parametrize("panel", [WHOLE, PART])
@pytest.mark.parametrize(
    "location",
    [
        "proxy_set_header Upgrade $http_upgrade;",
        "proxy_set_header UPGRADE ${http_upgrade};",
        'proxy_set_header upgrade "$HTTP_UPGRADE";',
        "proxy_set_header Upgrade h2c;",
        "proxy_set_header Upgrade $http_x_upgrade;",
        "proxy_set_header Upgrade websocket$arg_more;",
        "set $up $http_upgrade; proxy_set_header Upgrade $up;",
        "set $up $quietdoor_upgrade; set $UP h2c; proxy_set_header Upgrade $up;",
        'if ($http_upgrade ~ "(.*)") { set $up $1; } proxy_set_header Upgrade $up;',
        "set $up websocket; auth_request_set $up $upstream_http_x; proxy_set_header Upgrade $up;",
        'set $up websocket; if ($http_upgrade ~ "(?<up>.*)") { break; } proxy_set_header Upgrade $up;',
        "set $up $up; proxy_set_header Upgrade $up$http_upgrade;",
    ],
)
def test_upgrade_of_the_client_is_an_error_at_its_line(location: str, panel: ProtectedSite) -> None:
    assert upgrades(location, panel=panel) == [(True, "/etc/nginx/sites/own", 9)]
    with pytest.raises(MtlsError) as problem:
        refuse(survey_of(location, panel=panel), ())
    assert "site app: /etc/nginx/sites/own:9: proxy_set_header" in str(problem.value)
    hint = "Write proxy_set_header Upgrade $quietdoor_upgrade; in line 9 of /etc/nginx/sites/own"
    assert hint in str(problem.value.hint)


@pytest.mark.parametrize(
    "table",
    [
        "map $http_upgrade $up { default $http_upgrade; }",
        'map $http_upgrade $up { default ""; "~*^(?<name>.*)$" $name; }',
        'map $http_upgrade $up { default ""; h2c h2c; websocket websocket; }',
        "map $host $up { volatile; default websocket; a.test $other; } map $host $other { default $http_upgrade; }",
        "geo $up { default websocket; 10.0.0.0/8 h2c; }",
        "split_clients $host $up { 50% h2c; * websocket; }",
    ],
)
def test_table_that_yields_another_protocol_is_an_error(table: str) -> None:
    assert upgrades("proxy_set_header Upgrade $up;", http=table) == [(True, "/etc/nginx/sites/own", 9)]


@pytest.mark.parametrize(
    ("location", "http"),
    [
        ("proxy_set_header Upgrade $quietdoor_upgrade;", ""),
        ("proxy_set_header Upgrade $QuietDoor_Upgrade;", ""),
        ('proxy_set_header Upgrade "";', ""),
        ("proxy_set_header Upgrade WebSocket;", ""),
        ("set $up $quietdoor_upgrade; proxy_set_header Upgrade $up;", ""),
        ("proxy_set_header Upgrade $up;", 'map $http_upgrade $up { default ""; "~*^websocket$" websocket; }'),
        ("proxy_set_header Upgrade $up;", "map $host $up { default $quietdoor_upgrade; }"),
        ("proxy_set_header Connection $up;", "map $http_upgrade $up { default upgrade; '' close; }"),
        ("proxy_set_header X-Upgrade $http_upgrade;", ""),
    ],
)
def test_websocket_alone_is_not_mentioned(location: str, http: str) -> None:
    assert survey_of(location, http).findings == ()


def test_inherited_line_counts_where_the_location_has_none() -> None:
    line = "proxy_set_header Upgrade $http_upgrade;"
    bare = "location /x { proxy_pass http://127.0.0.1:3000; }"
    assert upgrades(server=f"{line} {bare}") == [(True, "/etc/nginx/sites/own", 6)]
    assert upgrades(http=line, server=bare) == [(True, "/etc/nginx/sites/own", 1)]
    assert upgrades(http=line) == [], "the snippets have lines of their own"
    nested = f"location /x {{ include quietdoor/gate/snippets/app-location.conf; {line}\n}}"
    assert upgrades(server=nested) == [], "nothing is handed on there"


def test_line_of_a_block_counts_in_its_if() -> None:
    inner = f"proxy_set_header Upgrade $http_upgrade; if ($arg_x) {{ proxy_pass {APP}; }}"
    location = f"location /x {{ include quietdoor/gate/snippets/app-location.conf; {inner} }}"
    assert upgrades(server=location) == [(True, "/etc/nginx/sites/own", 6)]
