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


ANY, NAMED = "^/x/([^?]*)$", "^/x/(?<rest>[^?]*)$"


@pytest.mark.parametrize("panel", [WHOLE, PART])
@pytest.mark.parametrize(
    ("line", "http"),
    [
        (f"location ~ {ANY} {{ HEAD proxy_pass {APP}/$1; }}", ""),
        (f"location ~* {ANY} {{ HEAD proxy_pass {APP}/${{1}}; }}", ""),
        (f"location ~ ^/x/(.*)$ {{ HEAD proxy_pass {APP}/$1; }}", ""),
        (f"location ~ {NAMED} {{ HEAD proxy_pass {APP}/$REST; }}", ""),
        (f"location ~ {NAMED} {{ HEAD set $t $rest; proxy_pass {APP}/$t; }}", ""),
        (f"location ~ {ANY} {{ HEAD proxy_set_header X-Original $1; proxy_pass {APP}; }}", ""),
        (f"rewrite {ANY} /y break; proxy_pass {APP}/$1;", ""),
        (f"rewrite {ANY} /y; set $t $1; proxy_pass {APP}/$t;", ""),
        (f"rewrite {NAMED} /y?q=$rest break;", ""),
        ("rewrite ^ /y?q=$uri break;", ""),
        (f"rewrite {NAMED} /y; set $args q=$rest;", ""),
        (f"rewrite {ANY} /y; set $args q=$1;", ""),
        (f"if ($uri ~ {ANY}) {{ proxy_pass {APP}/$1; }}", ""),
        (f"if ( $uri ~* {NAMED} ) {{ set $t $rest; }} proxy_pass {APP}/$t;", ""),
        (f"set $t $uri; if ($t ~ {ANY}) {{ proxy_pass {APP}/$1; }}", ""),
        (f"proxy_pass {APP}$t;", "map $uri $t { ~^/x/([^?]*)$ /$1; }"),
        (f"proxy_pass {APP}/$t;", "map $host$uri $t { ~*/x/(?<part>[^?]*)$ $part; }"),
        (f"proxy_pass {APP}$request_filename;", ""),
        (f"proxy_set_header X-Original $document_root$fastcgi_script_name; proxy_pass {APP};", ""),
        ("try_files /none /admin/?q=$uri;", ""),
        ("try_files /none /admin$uri;", ""),
        (f"location ~ {ANY} {{ HEAD try_files /none /admin/?q=$1; }}", ""),
        ("error_page 404 /admin/?u=$uri;", ""),
        ("error_page 404 =200 /admin$document_uri;", ""),
    ],
)
def test_a_capture_of_the_decoded_address_is_an_error(line: str, http: str, panel: ProtectedSite) -> None:
    text = line.replace("HEAD", HEADER)
    assert errors(text, http, panel, "passes on the decoded address") == [("/etc/nginx/sites/own", 7)]


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        (
            f"location ~ {ANY} {{ proxy_pass {APP}/app/$1; }}",
            f"Write rewrite {ANY} /app/$1 break; proxy_pass {APP}; in line 7",
        ),
        (
            f'location ~ "^/x/([^?]{{2}})$" {{ proxy_pass {APP}/$1; }}',
            f'Write rewrite "^/x/([^?]{{2}})$" /$1 break; proxy_pass {APP}; in line 7',
        ),
        (f"proxy_pass {APP}$uri;", "Write $request_uri, or no address behind the application, in line 7"),
        (
            f"proxy_set_header X-Original $uri; proxy_pass {APP};",
            "Write proxy_set_header X-Original $request_uri; in line 7",
        ),
    ],
)
def test_the_hint_is_the_line_to_write_instead(line: str, hint: str) -> None:
    found = [one for one in survey_of(line, "", WHOLE).errors() if "decoded address" in one.what]
    assert [one.hint for one in found] == [f"{hint} of /etc/nginx/sites/own"]


USER = f"proxy_set_header X-Forwarded-User $remote_user; proxy_pass {APP};"


@pytest.mark.parametrize(
    ("line", "http"),
    [
        (USER, ""),
        (f"set $u $remote_user; proxy_set_header X-Forwarded-User $u; proxy_pass {APP};", ""),
        (f"auth_basic staff; {USER}", ""),
        (f"auth_basic off; {USER}", "auth_basic staff; auth_basic_user_file f;"),
        (f"satisfy any; auth_basic staff; {USER}", "auth_basic_user_file f;"),
        (f"auth_basic $realm; {USER}", "auth_basic_user_file f;"),
        (f"proxy_pass {APP}/$remote_user;", ""),
        (f"rewrite ^ /y?q=$remote_user break; proxy_pass {APP};", ""),
        ("try_files /none /admin/?q=$remote_user;", ""),
        (f"if ($remote_user ~ ^([^?]*)$) {{ proxy_pass {APP}/$1; }}", ""),
    ],
)
def test_a_user_name_without_a_password_check_is_an_error(line: str, http: str) -> None:
    words = "passes on a user name that no auth_basic checks"
    assert errors(line, http, WHOLE, words) == [("/etc/nginx/sites/own", 7)]


def test_a_user_name_with_a_password_check_is_no_error() -> None:
    assert not errors(f"auth_basic staff; {USER}", "auth_basic_user_file f;", WHOLE, "user name")
    assert not errors(f"satisfy all; {USER}", "auth_basic staff; auth_basic_user_file f;", WHOLE, "user name")
    (hint,) = [one.hint for one in survey_of(USER, "", WHOLE).errors() if "user name" in one.what]
    assert hint == (
        'Write proxy_set_header X-Forwarded-User ""; in line 7 of /etc/nginx/sites/own, or auth_basic and auth_basic_user_file '
        "in the location of line 7 of /etc/nginx/sites/own"
    )


def test_a_capture_of_the_written_address_is_no_error() -> None:
    line = f"location ~ {ANY} {{ if ($request_uri ~ {ANY}) {{ proxy_pass {APP}/$1; }} }}"
    assert errors(line, "", WHOLE, "decoded address") == []
    assert errors(line.replace("{ if", f"{{ rewrite {ANY} /y; if"), "", WHOLE, "decoded address") != []


def test_an_inherited_header_is_an_error_where_a_location_has_none() -> None:
    header = "proxy_set_header X-Original $uri;"
    assert errors("", header, WHOLE, "decoded address") == [], "the snippet has lines of its own"
    assert errors(f"}} location /y {{ proxy_pass {APP};", header, WHOLE, "decoded address") == [
        ("/etc/nginx/sites/own", 1)
    ]


def test_a_decoded_address_for_another_application_of_the_public_part_is_a_warning() -> None:
    line = f"location /y {{ {HEADER} proxy_pass TO$uri; }}"
    for target, opens in ((APP, [True]), ("http://127.0.0.1:5000", [False]), ("http://$host", [True])):
        found = [one for one in survey_of(line.replace("TO", target), "", PART).findings if "decoded" in one.what]
        assert [one.opens for one in found] == opens, target


def test_a_decoded_address_in_a_query_is_no_error_without_a_proxied_application() -> None:
    texts = {
        "/etc/nginx/nginx.conf": "http { include sites/own; }",
        "/etc/nginx/sites/own": "server { include quietdoor/gate/snippets/app-server.conf; server_name app.test;\n"
        "location / { try_files $uri /index.php?q=$uri; } location ~ \\.php$ { fastcgi_pass unix:/run/php.sock; } }",
        f"{HOME}snippets/app-server.conf": SNIPPETS["server"],
    }
    dump = "".join(f"# configuration file {path}:\n{text}\n" for path, text in texts.items())
    findings = audit_configuration(read_dump(dump), [WHOLE], HOME, lenient=False).findings
    assert not [one for one in findings if "decoded address" in one.what]
    dump = dump.replace("fastcgi_pass unix:/run/php.sock", f"proxy_pass {APP}")
    findings = audit_configuration(read_dump(dump), [WHOLE], HOME, lenient=False).findings
    assert [one.hint for one in findings if "decoded address" in one.what] == [
        "Write $request_uri instead of the decoded variable in line 2 of /etc/nginx/sites/own"
    ]


@pytest.mark.parametrize("panel", [WHOLE, PART])
@pytest.mark.parametrize(
    "line",
    [
        f"proxy_pass {APP};",
        f"proxy_pass {APP}$request_uri;",
        f"if ($uri ~ {ANY}) {{ set $t $1; }} proxy_set_header X-Y $t; proxy_pass {APP};",
        f"if ($uri ~ {ANY}) {{ set $args q=$1; }} proxy_pass {APP};",
        f"rewrite {ANY} /y?q=$1 break; proxy_pass {APP};",
        f"rewrite {ANY} /y?q=$uri redirect; proxy_pass {APP};",
        "try_files $uri $uri/ /admin/?q=$request_uri;",
        "try_files $uri @app;",
        "error_page 404 https://app.test/?u=$uri;",
        f"if ($uri ~ ^/v(?<version>[0-9]+)/([a-z\\.]*|en)/) {{ set $t $version; }} proxy_set_header X-V $t; proxy_pass {APP};",
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
