# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the audit of public servers with guarded paths, each with one mistake or bypass."""

from __future__ import annotations

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._audit.audit import Audit, audit_configuration
from ansible_collections.quietdoor.mtls.plugins.module_utils._audit.snippet_locations import reach_of
from ansible_collections.quietdoor.mtls.plugins.module_utils._contracts.gate_manifest import ProtectedSite
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.config_model import read_dump

HOME = "/etc/nginx/quietdoor/gate/"
OURS = {
    "server": "auth_request /v; satisfy all; error_page 403 496 = @r; error_page 495 = $b; real_ip_header X;\n"
    "location = /v { internal; } location @r { auth_request off; }",
    "public": 'if ($now = deny) { return 403; } auth_request /public; proxy_set_header X-Client-Name "";',
    "panel-1": "if ($now != cert) { return 403; } auth_request /v; proxy_set_header X-Client-Name $quietdoor_name;",
    "panel-2": "if ($now != cert) { return 403; } auth_request /v; proxy_set_header X-Client-Name $quietdoor_name;",
}
APP, OTHER, FILES = "http://127.0.0.1:3000", "http://127.0.0.1:4000", "/srv/www"
SHOP = ProtectedSite(
    "shop", "snippets", ("shop.test",), (("*", 443),), (APP, OTHER), "path", ("/admin", "/app/panel"), APP
)
STATIC = ProtectedSite(
    "shop", "snippets", ("shop.test",), (("*", 443),), (FILES,), "path", ("/admin", "/app/panel"), FILES
)
PUBLIC, FIRST, SECOND = (
    f"include quietdoor/gate/snippets/shop-{kind}.conf;" for kind in ("public", "panel-1", "panel-2")
)


def found(
    more: str = "", beside: str = "", panel: ProtectedSite = SHOP, listen: str = "listen 443 ssl;", root: str = PUBLIC
) -> Audit:
    """Return the audit of a server with ``more`` in line 7; the server ``beside`` it begins in line 9."""
    lines = ["server {", "include quietdoor/gate/snippets/shop-server.conf;", listen, "server_name shop.test;"]
    lines += [f"location / {{ {root} proxy_pass {APP}; }}"]
    lines += [
        f"location /admin/ {{ {FIRST} proxy_pass {APP}; }} location /app/panel {{ {SECOND} proxy_pass {OTHER}; }}"
    ]
    own = "\n".join([*lines, more, "}", beside])
    texts = {"/etc/nginx/nginx.conf": "http { include sites/own; }", "/etc/nginx/sites/own": own}
    texts |= {f"{HOME}snippets/shop-{kind}.conf": text for kind, text in OURS.items() if f"shop-{kind}.conf" in own}
    dump = "".join(f"# configuration file {path}:\n{text}\n" for path, text in texts.items())
    return audit_configuration(read_dump(dump), [panel], HOME, lenient=False)


def test_correct_configuration_has_no_findings() -> None:
    assert found() == Audit(("shop",), (), ())


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("location /x { root /srv; }", "this location is closed to every client"),
        ("location ~ \\.css$ { root /srv; }", "this location is closed to every client"),
        ("location @x { root /srv; }", "this location is closed to every client"),
        (f"location /x {{ {FIRST} }}", "the snippet of a guarded path is included in a location of the public part"),
        (
            f"location /admin/x {{ {PUBLIC} }}",
            "the snippet of the public part is included in a location of a guarded path",
        ),
        (
            f"location = /admin {{ {PUBLIC} }}",
            "the snippet of the public part is included in a location of a guarded path",
        ),
        (
            f"location ~ \\.x$ {{ {PUBLIC} location ~ \\.y$ {{ }} }}",
            "rewritten requests are not checked again here",
        ),
        (f"location /x {{ rewrite ^ /y last; {PUBLIC} }}", "rewrite precedes the snippet"),
        (f"location /x {{ break; {PUBLIC} }}", "break precedes the snippet"),
        (f"location /x {{ if ($arg_x) {{ break; }} {PUBLIC} }}", "if precedes the snippet"),
        (f"location /x {{ {PUBLIC} proxy_pass {OTHER}; }}", "passes requests of the public part to 127.0.0.1:4000"),
        (
            f"location ~ \\.x$ {{ {PUBLIC} proxy_pass {OTHER}; }}",
            "passes requests of the public part to 127.0.0.1:4000",
        ),
        (
            f"location /x {{ {PUBLIC} if ($arg_x) {{ proxy_pass http://localhost:4000; }} }}",
            "passes requests of the public part to 127.0.0.1:4000",
        ),
        (
            f"location /x {{ {PUBLIC} proxy_pass http://$host; }}",
            "proxy_pass http://$host is not known before a request",
        ),
        (f"location /x {{ {PUBLIC} grpc_pass $arg_to; }}", "grpc_pass $arg_to is not known before a request"),
        (f"location /x/ {{ {PUBLIC} proxy_pass {APP}/; }}", "proxy_pass changes addresses"),
        (f"location /x/ {{ {PUBLIC} proxy_pass {APP}/admin/y; }}", "proxy_pass changes addresses"),
        (
            f"location /x {{ {PUBLIC} rewrite ^/x(.*) /admin$1 break; proxy_pass {APP}; }}",
            "rewrite changes addresses",
        ),
        (f"location /x {{ {PUBLIC} rewrite ^/x(.*) $1; break; proxy_pass {APP}; }}", "rewrite changes addresses"),
        (
            f"location /x {{ {PUBLIC} proxy_pass {APP}; if ($arg_x) {{ rewrite ^ /admin break; proxy_pass {APP}; }} }}",
            "rewrite changes addresses",
        ),
        ("set_real_ip_from 10.0.0.1;", "set_real_ip_from sets the source of the client's address"),
        ("real_ip_header X-Real-IP;", "real_ip_header sets the source of the client's address"),
        ("proxy_ssl_certificate x;", "nginx presents this certificate in re-proxied requests"),
        ("listen 443 ssl proxy_protocol;", "proxy_protocol is required of every connection to *:443"),
        ("listen 80;", "this server listens without TLS too"),
    ],
)
def test_closed_public_part_or_bypass_is_an_error(more: str, said: str) -> None:
    errors = [(one.file, one.line) for one in found(more).errors() if said in one.what]
    assert errors == [("/etc/nginx/sites/own", 7)], found(more).findings


def test_additional_server_name_would_be_refused() -> None:
    assert [
        one.line for one in found("server_name more.test;").errors() if "no client gets in at more.test" in one.what
    ] == [1]


@pytest.mark.parametrize(
    "more",
    [
        "location /x { return 301 /; }",
        "location ~ /\\.ht { deny all; }",
        f"location /x {{ {PUBLIC} root /srv; }}",
        f"location /x {{ {PUBLIC} location /x/y {{ }} }}",
        f"location ~ ^/admin/.*\\.x$ {{ {FIRST} proxy_pass {APP}; }}",
        f"location /admin/x {{ {FIRST} location /admin/x/y {{ proxy_pass {APP}; }} }}",
        f"location /x {{ {PUBLIC} rewrite ^/x(.*) /admin$1 last; proxy_pass {APP}; }}",
        f"location /x {{ {PUBLIC} rewrite ^/x(.*) /admin$1 permanent; proxy_pass {APP}; }}",
        f"location /x {{ {PUBLIC} rewrite ^/x(.*) /y$1 break; proxy_pass {APP}; }}",
        f"location /x {{ {PUBLIC} rewrite ^/x(.*) https://a.test/admin$1; break; proxy_pass {APP}; }}",
        f"location /x/ {{ {PUBLIC} proxy_pass {APP}/x/; }}",
        f"location /x/ {{ {PUBLIC} proxy_pass {APP}/y/; }}",
        f"location /x/ {{ {PUBLIC} proxy_pass {APP}$request_uri; }}",
        "rewrite ^/old /admin/ last;",
    ],
)
def test_what_is_harmless_is_not_mentioned(more: str) -> None:
    assert found(more).findings == ()


def test_other_application_of_the_public_part_may_get_client_headers() -> None:
    more = f"location /x {{ {PUBLIC} location /x/y {{ proxy_set_header A b; proxy_pass TO; }} }}"
    assert [one.opens for one in found(more.replace("TO", "http://127.0.0.1:5000")).findings] == [False]
    assert [one.opens for one in found(more.replace("TO", APP)).findings] == [True]


@pytest.mark.parametrize(
    ("content", "errors"),
    [
        ("alias /srv/www/admin/;", 1),
        ("alias /srv/www/admin/x;", 1),
        ("root /srv;", 1),
        ("alias /srv/www/other/;", 0),
        ("root /srv/www;", 0),
    ],
)
def test_files_of_a_guarded_path_are_not_shown_by_a_public_location(content: str, errors: int) -> None:
    assert len(found(f"location /x {{ {PUBLIC} {content} }}", panel=STATIC).errors()) == errors


@pytest.mark.parametrize(
    ("listen", "other", "errors"),
    [
        ("listen 443 ssl;", "listen 127.0.0.1:443 ssl;", 1),
        ("listen 443 ssl; listen 127.0.0.1:443 ssl;", "listen 127.0.0.1:443 ssl;", 0),
        ("listen 443 ssl;", "listen 127.0.0.1:444 ssl;", 0),
    ],
)
def test_re_proxied_request_reaches_the_same_server(listen: str, other: str, errors: int) -> None:
    beside = f"server {{ {other} server_name b.test; ssl_reject_handshake on; }}"
    reported = [
        one for one in found(beside=beside, listen=listen).errors() if "re-proxied requests to the site" in one.what
    ]
    assert [one.line for one in reported] == [9] * errors


def test_public_part_does_not_reach_another_sites_application() -> None:
    other = ProtectedSite("other", "vhost", ("other.test",), (("*", 443),), (APP,))
    reported = found(panel=other).errors()
    assert [one.line for one in reported] == [5]
    assert (
        "the server shop.test passes requests to 127.0.0.1:3000, the protected application of site other"
        in reported[0].what
    )


@pytest.mark.parametrize(
    ("args", "reach"),
    [
        (("/",), "above"),
        (("/adm",), "above"),
        (("/admin",), "below"),
        (("/admin/x",), "below"),
        (("^~", "/admin/"), "below"),
        (("=", "/"), "apart"),
        (("=/admin",), "below"),
        (("/administration",), "apart"),
        (("~", "x"), "any"),
        (("~*x",), "any"),
        (("@x",), "any"),
    ],
)
def test_which_addresses_come_to_a_location(args: tuple[str, ...], reach: str) -> None:
    (location,) = read_dump(f"# configuration file /x:\nlocation {' '.join(args)} {{ }}").directives
    assert reach_of((location,), ("/admin",)) == reach
