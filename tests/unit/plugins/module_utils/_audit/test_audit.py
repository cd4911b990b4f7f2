# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the audit with small configurations that have one bypass, or something like one."""

from __future__ import annotations

import fnmatch
import json
import re
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._audit.audit import (
    Audit,
    audit_configuration,
    refuse,
    refuse_orphans,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._audit.findings import Finding
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._contracts.gate_manifest import (
    ProtectedSite,
    protected_sites,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.config_model import Configuration, read_dump
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.proxy_targets import pools_of, targets

HOME = "/etc/nginx/quietdoor/gate/"
FILES = {
    f"{HOME}snippets/panel-server.conf": "ssl_verify_client on; ssl_conf_command Options -SessionTicket;\n"
    "auth_request /v; satisfy all; error_page 403 495 496 = @r;\n"
    "location @r { auth_request off; return 403 x; }",
    f"{HOME}snippets/panel-location.conf": 'proxy_set_header X-Client-Name $quietdoor_name; proxy_set_header Proxy "";',
    f"{HOME}sites/whole.conf": "server { listen 443 ssl; server_name whole.test; "
    "location / { proxy_pass http://127.0.0.1:3000; } }",
}
SERVER = "include quietdoor/gate/snippets/panel-server.conf;"
LOCATION = "include quietdoor/gate/snippets/panel-location.conf;"
PANEL = ProtectedSite("panel", "snippets", ("panel.test", "alias.test"), (("*", 443),), ("http://127.0.0.1:3000",))
WHOLE = ProtectedSite("whole", "vhost", ("whole.test",), (("*", 443),), ("http://127.0.0.1:3000",))


def configuration(http: str, stream: str = "") -> Configuration:
    """Return the output of nginx -T; ``http`` is in a separate file, from line 1 on."""
    main = "http { include conf.d/quietdoor.conf; include sites/own; }"
    main += " stream { include sites/stream; }" if stream else ""
    texts = {"/etc/nginx/nginx.conf": main, "/etc/nginx/conf.d/quietdoor.conf": "", "/etc/nginx/sites/own": http}
    texts.update({"/etc/nginx/sites/stream": stream} if stream else {})
    # nginx prints only the files that it opened.
    for pattern in re.findall(r"include (?:/etc/nginx/)?(quietdoor/\S+?);", http):
        texts.update({path: text for path, text in FILES.items() if fnmatch.fnmatch(path, f"/etc/nginx/{pattern}")})
    return read_dump("".join(f"# configuration file {path}:\n{text}\n" for path, text in texts.items()))


def vhost(
    server: str = SERVER,
    location: str = LOCATION,
    first: str = "",
    more: str = "",
    listen: str = "443 ssl",
    upstream: str = "http://127.0.0.1:3000",
) -> str:
    """Return the operator's server, in ten lines."""
    lines = ["server {", first, server, f"listen {listen};", "server_name panel.test Alias.test;", "location / {"]
    return "\n".join([*lines, location, f"proxy_pass {upstream};", "}", f"{more} }}"])


def found(http: str, panel: ProtectedSite = PANEL, lenient: bool = False, stream: str = "") -> Audit:
    """Return the audit of one site."""
    return audit_configuration(configuration(http, stream), [panel], HOME, lenient=lenient)


def only(http: str, **more: Any) -> Finding:
    """Return the only finding of a configuration."""
    findings = found(http, **more).findings
    assert len(findings) == 1, findings
    return findings[0]


def beside(content: str, listen: str = "8080", name: str = "old.test") -> str:
    """Return the correct server of the operator, and another one."""
    return f"{vhost()}\nserver {{ listen {listen}; server_name {name};\n{content} }}"


def test_correct_configuration_has_no_findings() -> None:
    assert found(vhost()) == Audit(("panel",), (), ())
    assert found(f"include {HOME}sites/whole.conf;", WHOLE) == Audit((), (), ())


@pytest.mark.parametrize(
    ("http", "line", "said"),
    [
        (vhost(more="location /x { auth_request off; }"), 10, "auth_request off replaces the auth_request of the gate"),
        (
            vhost(more="location /x { auth_request /own; }"),
            10,
            "auth_request /own replaces",
        ),
        (vhost(more="location /x { location /x/y { auth_request off; } }"), 10, "auth_request off"),
        (vhost(more="location /x { limit_except GET { satisfy any; } }"), 10, "satisfy any admits"),
        (vhost(more="error_page 404 495 = @own;"), 10, "error_page 404 495 = @own replaces"),
        (vhost(more="location /x { error_page 496 /x; }"), 10, "error_page 496 /x replaces"),
        (vhost(more="ssl_conf_command VerifyCAFile x;"), 10, "ssl_conf_command VerifyCAFile x can change"),
        (
            vhost(more="ssl_conf_command Options SessionTicket;"),
            10,
            "ssl_conf_command Options SessionTicket can change",
        ),
        (vhost(first='return 200 "x";'), 2, "return precedes the server snippet"),
        (vhost(first="rewrite ^ /x break;"), 2, "rewrite precedes the server snippet"),
        (vhost(first="if ($http_x) { break; }"), 2, "if precedes the server snippet"),
        (
            vhost(first="server_name first.test;"),
            1,
            "the first name of this server is first.test, that of the site is panel.test",
        ),
        (vhost(location=""), 8, "proxy_pass passes on identity headers of the client"),
        (vhost(more="location /x { uwsgi_pass 127.0.0.1:1; }"), 10, "uwsgi_pass passes on"),
        (vhost(more="location /x { fastcgi_pass 127.0.0.1:1; }"), 10, "fastcgi_pass passes on"),
        (
            vhost(more=f"location /x {{ {LOCATION} if ($arg_x) {{ proxy_set_header A b; proxy_pass http://a; }} }}"),
            10,
            "proxy_pass passes on",
        ),
        (
            vhost(location=f"{LOCATION} proxy_set_header x-client-name me;"),
            7,
            "sets an identity header of the snippet again",
        ),
        (vhost(server="include quietdoor/gate/snippets/panel-server.con[f];"), 3, "is a pattern"),
        (vhost(server="include quietdoor/gate/snippets/panel-*.conf;"), 3, "is a pattern"),
        (vhost(location="include quietdoor/gate/snippets/panel-locatio?.conf;"), 7, "is a pattern"),
        (vhost(listen="127.0.0.1:443 ssl"), 1, "this server does not listen on *:443 with TLS"),
        (
            beside("location / { proxy_pass http://127.0.0.1:3000; }"),
            12,
            "the server old.test passes requests to 127.0.0.1:3000",
        ),
        (beside("location / { proxy_pass http://localhost:3000/admin/; }"), 12, "passes requests to 127.0.0.1:3000"),
        (beside("location / { if ($arg_x) { proxy_pass http://127.0.0.1:3000; } }"), 12, "passes requests"),
        (beside("location / { fastcgi_pass 127.0.0.1:3000; }"), 12, "passes requests"),
        (
            f"upstream app {{ server 127.0.0.1:3000; }} {beside('location / { proxy_pass http://app; }')}",
            12,
            "passes requests",
        ),
        (beside("allow 10.0.0.0/8; deny all; satisfy any; proxy_pass http://127.0.0.1:3000;"), 12, "passes requests"),
        (
            beside("location / { proxy_pass http://$host; }"),
            12,
            "proxy_pass http://$host is not known before a request",
        ),
        (beside("location / { proxy_pass HTTP://127.0.0.1:3000; }"), 12, "passes requests"),
        (beside("location / { set $s HTTP; proxy_pass $s://127.0.0.1:3000; }"), 12, "passes requests"),
        (beside("location / { fastcgi_pass $host:9000; }"), 12, "is not known before a request"),
        (beside("location / { set $to 127.0.0.1:1; proxy_pass http://$to; } js_set $TO x;"), 12, "is not known"),
        (beside("location ~ ^/(?<to>.*) { set $to 127.0.0.1:1; proxy_pass http://$to; }"), 12, "is not known"),
        (beside("location / { proxy_pass http://$to; } } geoip2 x { $to source=$a y;"), 12, "is not known"),
        (beside("location / { proxy_pass http://$to; } } map $a $to { a a:1; default $host;"), 12, "is not known"),
        (beside("", "443 ssl", "alias.test"), 11, "another server for alias.test on *:443"),
    ],
)
def test_bypass_is_an_error_with_file_and_line(http: str, line: int, said: str) -> None:
    errors = [(one.file, one.line) for one in found(http).errors() if said in one.what]
    assert errors == [("/etc/nginx/sites/own", line)], found(http).findings
    with pytest.raises(MtlsError, match=f"site panel: /etc/nginx/sites/own:{line}: "):
        refuse(found(http), ())


@pytest.mark.parametrize(
    ("http", "line", "said"),
    [
        (vhost(more="listen 80;"), 10, "listens without TLS too"),
        (vhost(more="listen 8443 ssl;"), 10, "no client gets in on port 8443"),
        (vhost(more="server_name third.test;"), 1, "no client gets in at third.test"),
        (vhost(more='location @x { return 200 "x"; }'), 10, "return in a named location"),
        (vhost(more="proxy_set_header A b;"), 6, "do not apply in this location"),
        (f"proxy_set_header A b; {vhost()}", 6, "do not apply in this location"),
        (
            vhost(upstream="http://127.0.0.1:3001"),
            1,
            "no directive of this server passes requests to http://127.0.0.1:3000",
        ),
        (beside("", "443 ssl default_server"), 11, "answers requests without a known name on *:443"),
        (beside("root /srv;", name=".test"), 11, "a server without the gate answers for panel.test on *:8080"),
        (beside("root /srv;", name="panel.*"), 11, "a server without the gate answers for panel.test"),
        (
            beside("location / { proxy_pass http://127.0.0.1:3000; }", "127.0.0.1:8080"),
            12,
            "; it listens on this host only",
        ),
        (
            beside("location / { proxy_pass http://127.0.0.1:3000; }", "unix:/run/x"),
            12,
            "; it listens on this host only",
        ),
        (
            beside("allow 10.0.0.0/8; deny all; location / { proxy_pass http://127.0.0.1:3000; }"),
            12,
            "; it is open to the addresses",
        ),
        (beside("location / { internal; proxy_pass http://$host; }"), 12, "the protected application; it is internal"),
        (beside("location / { internal; proxy_pass http://127.0.0.1:3000; }"), 12, "; it is internal"),
    ],
)
def test_harmless_deviation_is_a_warning(http: str, line: int, said: str) -> None:
    finding = only(http)
    assert (finding.opens, finding.file, finding.line) == (False, "/etc/nginx/sites/own", line)
    assert said in finding.what
    refuse(found(http), ("panel",))


@pytest.mark.parametrize(
    "http",
    [
        vhost(more="location /x { return 301 /; }"),
        vhost(more="location /x { satisfy all; allow 10.0.0.0/8; deny all; }"),
        vhost(more="error_page 404 500 /sorry.html;"),
        vhost(more="ssl_conf_command Ciphersuites TLS_AES_256_GCM_SHA384;"),
        vhost(more=f"location /x {{ {LOCATION} location /x/y {{ proxy_pass http://127.0.0.1:3000; }} }}"),
        vhost(location=f"{LOCATION} proxy_set_header Proxy $x; proxy_set_header Host $host;"),
        beside("return 301 https://panel.test$request_uri;", "80", "panel.test"),
        beside(
            "location /.well-known/acme-challenge/ { root /srv; } location / { return 301 /x; }", "80", "panel.test"
        ),
        beside("location / { proxy_pass http://127.0.0.1:3001; }"),
        beside("location / { fastcgi_pass unix:/run/php/$version.sock; }"),
        beside("location / { set $TO 127.0.0.1:1; proxy_pass http://$to; }"),
        beside("ssl_reject_handshake on;", "443 ssl default_server", "other.test"),
    ],
)
def test_configuration_without_bypass_is_not_mentioned(http: str) -> None:
    assert found(http).findings == ()


@pytest.mark.parametrize(
    ("server", "location", "limited"),
    [
        ("allow 10.0.0.0/8; deny all;", "", True),
        ("deny all; allow all;", "", True),
        ("allow all; deny all;", "", False),
        ("allow 0.0.0.0/0; deny all;", "", False),
        ("allow ::/0; deny all;", "", False),
        ("allow 10.0.0.0/8;", "", False),
        ("allow 10.0.0.0/8; deny all;", "allow all;", False),
        ("allow 10.0.0.0/8; deny all;", "deny 192.0.2.1;", False),
        ("allow all;", "allow 10.0.0.0/8; deny all;", True),
        ("allow 10.0.0.0/8; deny all;", "satisfy any;", False),
        ("allow 10.0.0.0/8; deny all; satisfy any;", "satisfy all;", True),
    ],
)
def test_rules_of_the_innermost_block_in_their_order_limit_access(server: str, location: str, limited: bool) -> None:
    http = beside(f"{server} location / {{ {location} proxy_pass http://127.0.0.1:3000; }}")
    assert only(http).opens is not limited


@pytest.mark.parametrize(
    ("code", "writes"),
    [
        ("access_by_lua_file x.lua;", True),
        ("rewrite_by_lua_block { x }", True),
        ("set_by_lua $a 'x';", True),
        ("js_access main.access;", True),
        ("js_content main.content;", True),
        ("perl main::handler;", True),
        ("js_import main.js;", False),
        ("js_set $a main.a;", False),
        ("perl_modules /srv;", False),
        ("log_by_lua_file x.lua;", False),
    ],
)
def test_code_of_another_language_can_write_a_variable_target(code: str, writes: bool) -> None:
    http = beside(f'location / {{ set $to ""; {code} proxy_pass http://$to; }}')
    assert ["is not known before a request" in one.what for one in found(http).errors()] == [True] * writes


def test_variable_target_that_the_operator_accepts_is_not_mentioned() -> None:
    http = beside("location / { proxy_pass http://$host; } location /x { proxy_pass http://$arg_x; }")
    first = found(http).errors()[0]
    assert "write accepted_variable_targets: ['proxy_pass http://$host'] for that site in gate_sites" in first.hint
    accepted = ("proxy_pass http://$host", "proxy_pass http://$arg_x")
    assert found(http, replace(PANEL, accepted_variable_targets=accepted)).findings == ()
    assert len(found(http, replace(PANEL, accepted_variable_targets=accepted[:1])).errors()) == 1


def test_variable_target_never_reaches_files_but_can_reach_a_socket() -> None:
    files, socket = (
        ProtectedSite("whole", "vhost", ("whole.test",), (("*", 443),), (upstream,))
        for upstream in ("/srv/www/panel", "http://unix:/run/app.sock")
    )
    http = "server { listen 80; location / { fastcgi_pass unix:/run/php/$version.sock; } }"
    assert (found(http, files).findings, len(found(http, socket).errors())) == ((), 1)


@pytest.mark.parametrize("panel", [PANEL, WHOLE])
def test_a_stream_server_goes_past_every_gate(panel: ProtectedSite) -> None:
    http = f"{vhost()} include {HOME}sites/whole.conf;"
    findings = found(http, panel, stream="server { listen 99;\nproxy_pass 127.0.0.1:3000; }").errors()
    assert [(one.file, one.line) for one in findings] == [("/etc/nginx/sites/stream", 2)]


def test_a_directory_of_files_is_found_below_another_root() -> None:
    panel = ProtectedSite("panel", "snippets", ("panel.test", "alias.test"), (("*", 443),), ("/srv/www/panel",))
    for content, seen in (
        ("root /srv/www;", 1),
        ("location / { alias /srv/www/panel/; }", 1),
        ("root /srv/www/pan;", 0),
    ):
        http = vhost().replace("proxy_pass http://127.0.0.1:3000", "root /srv/www/panel") + (
            f"server {{ listen 80; server_name x; {content} }}"
        )
        assert len(found(http, panel).errors()) == seen


def test_a_whole_server_of_ours_gets_the_same_look_at_others() -> None:
    http = f"include {HOME}sites/whole.conf; server {{ listen 80; location / {{ proxy_pass http://127.0.0.1:3000; }} }}"
    assert "the server without a name passes requests" in found(http, WHOLE).errors()[0].what
    lenient = found(http, WHOLE, lenient=True)
    assert [one.opens for one in lenient.findings] == [False]
    refuse(lenient, ())


def test_server_behind_a_gate_is_not_a_bypass() -> None:
    assert found(f"{vhost()} include {HOME}sites/whole.conf;", WHOLE).findings == ()


def test_lenience_is_for_other_servers_only() -> None:
    http = vhost(more="location /x { auth_request off; }")
    with pytest.raises(MtlsError, match="auth_request off"):
        refuse(found(http, lenient=True), ())


def test_snippets_that_nobody_includes_yet_are_a_warning_with_the_lines_to_add() -> None:
    seen = found(
        vhost(server="", location="") + "server { listen 80; location / { proxy_pass http://127.0.0.1:3000; } }"
    )
    assert (seen.included, seen.unguarded, seen.errors()) == ((), ("panel",), [])
    refuse(seen, ())
    first = next(one for one in seen.findings if one.unguarded)
    assert (first.file, first.line) == ("/etc/nginx/sites/own", 1)
    assert f"Add the line {SERVER} as the first of the server at /etc/nginx/sites/own:1" in first.hint
    assert f"{LOCATION} to every location of it that passes requests on (/etc/nginx/sites/own:6)" in first.hint


def test_server_read_too_early_is_reported() -> None:
    texts = {
        "/etc/nginx/nginx.conf": "http { include conf.d/*.conf; }",
        "/etc/nginx/conf.d/panel.conf": vhost(server="", location=""),
        "/etc/nginx/conf.d/quietdoor.conf": "",
    }
    dump = "".join(f"# configuration file {path}:\n{text}\n" for path, text in texts.items())
    (finding,) = audit_configuration(read_dump(dump), [PANEL], HOME, lenient=False).findings
    assert "Let nginx read /etc/nginx/conf.d/panel.conf after conf.d/quietdoor.conf" in finding.hint


def test_missing_server_is_reported() -> None:
    assert "(none with TLS was found)" in only("server { listen 80; server_name panel.test; return 301 /; }").hint


def test_an_include_that_has_gone_is_an_error() -> None:
    with pytest.raises(MtlsError) as problem:
        refuse(found(vhost(server="")), ("panel",))
    assert "site panel was guarded and is not any more" in str(problem.value)
    assert SERVER in str(problem.value)


@pytest.mark.parametrize(
    "include",
    [SERVER, "include /etc/nginx/quietdoor/gate/snippets/panel-server.conf;", SERVER.replace("conf;", "con[f];")],
)
def test_a_snippet_that_is_included_does_not_go(include: str) -> None:
    with pytest.raises(MtlsError, match=r"/etc/nginx/sites/own:3 includes snippets/panel-server\.conf"):
        refuse_orphans(configuration(vhost(server=include)), ["snippets/panel-location.conf"], HOME)
    refuse_orphans(
        configuration(vhost(server=include)), ["snippets/panel-location.conf", "snippets/panel-server.conf"], HOME
    )


@pytest.mark.parametrize(
    ("address", "reached"),
    [
        ("http://127.0.0.1:3000", {"127.0.0.1:3000"}),
        ("http://LOCALHOST/x", {"127.0.0.1:80"}),
        ("https://app.test", {"app.test:443"}),
        ("http://[2001:db8::1]:8080/", {"[2001:db8::1]:8080"}),
        ("https://[2001:db8::1]", {"[2001:db8::1]:443"}),
        ("http://[::1]:8080/", {"127.0.0.1:8080"}),
        ("http://0.0.0.0:8080", {"127.0.0.1:8080"}),
        ("http://127.1.2.3:8080", {"127.0.0.1:8080"}),
        ("http://0x7f000001:8080", {"127.0.0.1:8080"}),
        ("http://2130706433:8080/", {"127.0.0.1:8080"}),
        ("http://0177.0.0.1:8080", {"127.0.0.1:8080"}),
        ("http://127.1:8080", {"127.0.0.1:8080"}),
        ("http://0:8080", {"127.0.0.1:8080"}),
        ("http://[::ffff:127.0.0.1]:8080", {"127.0.0.1:8080"}),
        ("http://[::FFFF:7f00:1]:8080", {"127.0.0.1:8080"}),
        ("http://[0:0:0:0:0:0:0:1]:8080", {"127.0.0.1:8080"}),
        ("http://[::]:8080", {"127.0.0.1:8080"}),
        ("http://0xa000001", {"10.0.0.1:80"}),
        ("http://[2001:DB8:0::0:1]", {"[2001:db8::1]:80"}),
        ("http://[::ffff:10.0.0.1]", {"10.0.0.1:80"}),
        ("http://1.2.3.4.5", {"1.2.3.4.5:80"}),
        ("http://0x.test", {"0x.test:80"}),
        ("http://app.test:8080$request_uri", {"app.test:8080"}),
        ("http://app.test:80$arg_port", None),
        ("127.0.0.1:9000", {"127.0.0.1:9000"}),
        ("unix:/run/app.sock", {"unix:/run/app.sock"}),
        ("http://unix:/run/app.sock:/x/", {"unix:/run/app.sock"}),
        ("http://pool", {"127.0.0.1:1", "unix:/run/p", "b.test:80"}),
        ("HTTP://127.0.0.1:3000/", {"127.0.0.1:3000"}),
        ("HttpS://App.Test$request_uri", {"app.test:443"}),
        ("Http://UNIX:/run/App.sock:/x/", {"unix:/run/App.sock"}),
        ("UNIX:/run/App.sock", {"unix:/run/App.sock"}),
        ("HTTP://POOL", {"127.0.0.1:1", "unix:/run/p", "b.test:80"}),
        ("http://$backend", None),
    ],
)
def test_where_an_address_leads(address: str, reached: set[str] | None) -> None:
    pool = "upstream pool { server 127.0.0.1:1 weight=2; server Unix:/run/p; server B.test; }"
    reported = targets(pools_of(configuration(pool)), address)
    assert reported == (None if reached is None else frozenset(reached))


def test_the_manifest_says_what_there_is_to_guard() -> None:
    site = {
        "manage": "snippets",
        "server_names": ["panel.test", "alias.test"],
        "listen": [{"address": "*", "port": 443, "token": "443"}],
        "upstreams": ["http://127.0.0.1:3000"],
    }
    assert protected_sites(json.dumps({"format": 1, "endpoints": [], "sites": {"panel": site}})) == (PANEL,)
    assert protected_sites('{"format": 1, "endpoints": []}') == ()


@pytest.mark.parametrize(
    "text", ["[]", "x", '{"sites": []}', '{"sites": {"a": []}}', '{"sites": {"a": {"listen": 1}}}']
)
def test_a_manifest_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(MtlsError, match=r"manifest\.json: the list of sites is not valid"):
        protected_sites(text)


@pytest.mark.parametrize("panel", [PANEL, WHOLE])
@pytest.mark.parametrize(
    "content",
    [
        "location / { set $to 127.0.0.1:3000; proxy_pass http://$to; }",
        "location / { set $port 3000; set $to http://127.0.0.1:${port}; proxy_pass $to; }",
        "location / { proxy_pass http://$mapped/x; }",
        "location / { proxy_pass http://$pooled$request_uri; }",
        "location / { proxy_pass http://[::1]:3000; }",
        "location / { proxy_pass http://0.0.0.0:3000; }",
        "location / { uwsgi_pass uwsgi://127.0.0.1:3000; }",
    ],
)
def test_where_a_variable_leads_is_looked_up(content: str, panel: ProtectedSite) -> None:
    maps = "upstream pool { server 127.0.0.1:3000; } map $host $mapped { default 127.0.0.1:3000; x a:1; }"
    maps += " split_clients $host $pooled { 50% pool; * other; }"
    http = f"{beside(content)}\n{maps} include {HOME}sites/whole.conf;"
    assert [(one.file, one.line) for one in found(http, panel).errors()] == [("/etc/nginx/sites/own", 12)]


@pytest.mark.parametrize(
    ("content", "opens"),
    [
        ("proxy_pass $to; } map $ssl_preread_server_name $to { a.test 127.0.0.1:3000;", [True]),
        ("proxy_pass $to; } map $ssl_preread_server_name $to { a.test 127.0.0.1:3001;", []),
        ("proxy_pass $ssl_preread_server_name:443;", [True]),
    ],
)
def test_a_stream_server_that_chooses_by_name_is_looked_up_too(content: str, opens: list[bool]) -> None:
    http = f"include {HOME}sites/whole.conf;"
    reported = found(http, WHOLE, stream=f"server {{ listen 99; {content} }}").findings
    assert [one.opens for one in reported] == opens


@pytest.mark.parametrize(
    ("http", "lines"),
    [
        ("server { listen 80; server_name x;\nroot /srv/www/panel/public; }", [2]),
        ("server { listen 80; server_name x;\nroot /; }", [2]),
        ("root /srv/www;\nserver { listen 80; server_name x; location / { } }", [1]),
        ("root /srv/www;\nserver { listen 80; server_name x; return 301 /x; }", []),
        ("root /srv/www;\nserver { listen 80; server_name x; root /srv/other; }", []),
        ("server { listen 80; server_name x; root html; }", []),
    ],
)
def test_files_of_a_whole_server_are_found_wherever_a_root_shows_them(http: str, lines: list[int]) -> None:
    panel = ProtectedSite("whole", "vhost", ("whole.test",), (("*", 443),), ("/srv/www/panel",))
    assert [one.line for one in found(http, panel).errors()] == lines


@pytest.mark.parametrize("panel", [PANEL, WHOLE, replace(WHOLE, enforced=False)])
def test_neighbour_with_proxy_protocol_on_the_address_of_a_site_is_an_error(panel: ProtectedSite) -> None:
    server = "server { server_name old.test;\nlisten 443 ssl proxy_protocol; return 204; }"
    http = f"{server}\n{vhost() if panel is PANEL else f'include {HOME}sites/whole.conf;'}"
    errors = found(http, panel).errors()
    assert [(one.file, one.line) for one in errors] == [("/etc/nginx/sites/own", 2)]
    assert "proxy_protocol is required of every connection to *:443" in errors[0].what
    assert errors[0].hint.startswith(
        "Remove proxy_protocol from line 2 of /etc/nginx/sites/own, or write another address"
    )
    assert found(http.replace("443 ssl proxy", "8443 ssl proxy"), panel).errors() == []


@pytest.mark.parametrize(
    ("site", "neighbour", "token"),
    [
        ("*", "[::]:443 ssl", "[::]:443"),
        ("::", "443 ssl", "443"),
        ("*", "[::]:8443 ssl", ""),
        ("*", "[2001:db8::1]:443 ssl", ""),
        ("192.0.2.1", "[::]:443 ssl", ""),
    ],
)
def test_family_in_which_only_a_neighbour_listens_is_a_warning(site: str, neighbour: str, token: str) -> None:
    http = f"server {{ server_name old.test;\nlisten {neighbour}; ssl_reject_handshake on; }} include {HOME}sites/whole.conf;"
    findings = found(http, replace(WHOLE, listens=((site, 443),))).findings
    assert [(one.opens, one.line) for one in findings] == ([(False, 2)] if token else [])
    assert all(f"Add '{token}' to listen of site whole" in one.hint for one in findings)
    assert found(http, replace(WHOLE, listens=(("*", 443), ("::", 443)))).findings == ()


def test_server_with_snippets_that_listens_in_both_families_is_not_mentioned() -> None:
    http = f"{vhost(more='listen [::]:443 ssl;')} server {{ listen [::]:443 ssl; server_name old.test; }}"
    assert [one for one in found(http).findings if "clients of panel.test reach this server" in one.what] == []


def test_headers_of_clients_are_named_once_for_all_undecided_sites() -> None:
    sites = [replace(one, client_headers_undecided=True) for one in (PANEL, WHOLE)]
    http = f"{vhost(upstream='http://127.0.0.1:3001')} include {HOME}sites/whole.conf;"
    sites[0] = replace(sites[0], upstreams=("http://127.0.0.1:3001",))
    [finding] = audit_configuration(configuration(http), sites, HOME, lenient=False).findings
    assert (finding.site, finding.opens) == ("panel, whole", False)
    assert "X-User-Id, X-Auth-Token, X-HTTP-Method-Override" in finding.what
    assert "drop_client_headers: true" in finding.hint
