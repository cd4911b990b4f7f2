# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The second reader: where both agree nothing is said, where they do not a line is named and never shown."""

from __future__ import annotations

import json

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._ansible.errors import Problem
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.parcel import pack, unpack
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.second import read_again

SECRET = "c3dvcmRmaXNo"
MANIFEST = json.dumps(
    {
        "format": 1,
        "endpoints": [],
        "sites": {
            "panel": {
                "manage": "snippets",
                "server_names": ["panel.test"],
                "listen": [{"address": "*", "port": 443}],
                "upstreams": ["http://127.0.0.1:3000"],
            }
        },
    }
)
GUARDED = (
    "server { include quietdoor/gate/snippets/panel-server.conf; listen 443 ssl; server_name panel.test;\n"
    "location / { include quietdoor/gate/snippets/panel-location.conf; proxy_pass http://127.0.0.1:3000; } }\n"
)
SNIPPETS = {
    "/etc/nginx/quietdoor/gate/snippets/panel-server.conf": "auth_request /v; satisfy all; error_page 495 = @r;\n"
    'location @r { auth_request off; return 403 "no\\n"; }',
    "/etc/nginx/quietdoor/gate/snippets/panel-location.conf": "proxy_set_header X-Client-Name $quietdoor_name;",
}


def files(own: str, guarded: str = GUARDED) -> dict[str, str]:
    """A configuration whose file sites/own begins with ``own``."""
    return {
        "/etc/nginx/nginx.conf": "events { } http { include sites/*; }",
        "/etc/nginx/sites/own": f"{own}\n{guarded}",
        **(SNIPPETS if guarded == GUARDED else {}),
    }


@pytest.mark.parametrize(
    "own",
    [
        "",
        'map $uri $x { "~^/a\\\\.b{2}\\z" 1; default "é;{}"; }',
        'log_format x \'{"a":"$b"}\' "c\\"d\\n";',
        'server { if ($host ~ "^(a|b)$") { return 301 /x; } location ~ \\.php$ { return 204; } }',
        "# server { listen 80; }\nserver { set $a b#c; listen 81; return 204; }",
        'server { content_by_lua_block { ngx.say("}") -- }\n } }\nserver { listen 82; return 204; }',
    ],
)
def test_where_both_read_the_same_nothing_is_said(own: str) -> None:
    reading = read_again(files(own), MANIFEST, lenient=False)
    assert (reading.files, reading.findings) == (4, ())


@pytest.mark.parametrize(
    "own",
    [
        "\nmap $uri $x { default a}b; }",
        "\nserver { set $x a}b;\nlocation / {\nreturn 204; } }",
        f"\nset $password {SECRET}}};",
    ],
)
def test_where_they_do_not_the_line_is_named_and_not_shown(own: str) -> None:
    with pytest.raises(Problem) as problem:
        read_again(files(own), MANIFEST, lenient=False)
    assert "/etc/nginx/sites/own:2: " in str(problem.value)
    assert SECRET not in str(problem.value)


def test_what_crossplane_reads_is_looked_through() -> None:
    open_too = (
        f'server {{ listen 81;\nproxy_set_header A "{SECRET}"; location / {{ proxy_pass http://127.0.0.1:3000; }} }}'
    )
    with pytest.raises(Problem) as problem:
        read_again(files(open_too), MANIFEST, lenient=False)
    assert "site panel: /etc/nginx/sites/own:2: the server without a name hands requests on" in str(problem.value)
    assert SECRET not in str(problem.value)
    (finding,) = read_again(files(open_too), MANIFEST, lenient=True).findings
    assert not finding.opens


def test_a_site_that_nothing_guards_yet_is_no_error() -> None:
    bare = "server { listen 443 ssl; server_name panel.test; location / { proxy_pass http://127.0.0.1:3000; } }"
    assert [one.unguarded for one in read_again(files("", bare), MANIFEST, lenient=False).findings] == [True]


def test_a_file_that_nothing_includes_is_refused() -> None:
    with pytest.raises(Problem, match="nothing includes /etc/nginx/hidden"):
        read_again({**files(""), "/etc/nginx/hidden": "server { }"}, MANIFEST, lenient=False)


def test_files_come_as_they_were_sent() -> None:
    sent = {"/b": "é\udcff\n", "/a": "", "/c": "x" * 10_000}
    assert list(unpack(pack(sent)).items()) == list(sent.items())
    assert len(pack(sent)) < 300
    with pytest.raises(ValueError, match=r"incorrect|Error"):
        unpack("AAAA")
