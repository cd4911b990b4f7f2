# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the behaviour of nginx that the gate relies on or guards against, on every version.

Each test has a minimal configuration. A failure after an update of nginx means that the gate needs a review. ``GUARDED`` lists
the tests that check the gate itself.
"""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import ssl
import subprocess
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.hash_sizes import small_hashes
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from support.bare_nginx import Bare, Papers, until
from support.client import exchange
from support.nginx import RELEASES

if TYPE_CHECKING:
    from collections.abc import Callable

TESTS = Path(__file__).parents[1]
TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
# A server that asks for a certificate, and one behind it that says what it got.
DOOR = "listen 127.0.0.1:<port> ssl; server_name panel.test; <tls>"
ON = f"{DOOR} ssl_client_certificate <dir>/ca.crt; ssl_verify_client on;"
OPTIONAL = ON.replace("client on", "client optional")
REASON = 'error_page 495 496 = @reason; location @reason { return 200 "$ssl_client_verify"; }'
PASS = "proxy_pass http://127.0.0.1:<other>;"
PANEL = (
    "server { listen 127.0.0.1:<other>; underscores_in_headers on; return 200 "
    '"panel $request_method $request_uri $http_content_length,$http_x_client_verify,$http_authorization"; }'
)


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    """Certificates of every kind."""
    return Papers(tmp_path_factory.mktemp("papers"))


@pytest.fixture(params=RELEASES)
def bare(request: pytest.FixtureRequest, tmp_path: Path, papers: Papers) -> Bare:
    """Each version of nginx."""
    return Bare(request.param, tmp_path, papers)


# --- syntax ---


@pytest.mark.parametrize(
    "line",
    [
        'map "" $a { default 1; }',
        "geo $a { default 1; }",
        'log_format a "b";',
        "limit_req_zone $uri zone=a:1m rate=1r/s;",
    ],
)
def test_maps_log_formats_and_zones_stand_at_http_level_only(bare: Bare, line: str) -> None:
    """Inside a server the configuration is refused."""
    passed, said = bare.tested(f"server {{ listen 127.0.0.1:<port>; {line} }}")
    assert (passed, "is not allowed here" in said) == (False, True)
    assert bare.tested(line)[0]


def test_http2_is_a_matter_of_the_listen_line_first_and_of_the_server_later(bare: Bare) -> None:
    """``listen ... http2`` up to 1.25.0; ``http2 on`` from 1.25.1, where the old form only gets a warning."""
    passed, said = bare.tested("server { listen 127.0.0.1:<port> ssl http2; <tls> }")
    assert (passed, "deprecated" in said) == (True, bare.new)
    passed, said = bare.tested("server { listen 127.0.0.1:<port> ssl; http2 on; <tls> }")
    assert (passed, 'unknown directive "http2"' in said) == (bare.new, not bare.new)


def test_tls_1_3_is_spoken_by_default_in_newer_versions_only(bare: Bare) -> None:
    """1.22's own ssl_protocols has no TLS 1.3 (since 1.23.4 it has), so the gate names its protocols."""
    with bare.serving(f"server {{ {DOOR} return 204; }}"), bare.connect() as tls:
        assert tls.version() == ("TLSv1.3" if bare.new else "TLSv1.2")


def test_the_protocols_of_an_address_are_those_of_its_default_server(bare: Bare) -> None:
    """The request of another server of the address has no effect."""
    own = DOOR.replace("panel.test", "first.test") + " ssl_protocols TLSv1.2;"
    both = f"server {{ {own} return 204; }} server {{ {DOOR} ssl_protocols TLSv1.3; return 204; }}"
    with bare.serving(both), bare.connect() as tls:
        assert tls.version() == "TLSv1.2"


def test_worker_shutdown_timeout_stands_at_main_level_only(bare: Bare) -> None:
    """On Debian a file in modules-enabled/ is included there."""
    passed, said = bare.tested("worker_shutdown_timeout 5s;")
    assert (passed, "is not allowed here" in said) == (False, True)
    assert bare.tested("", "worker_shutdown_timeout 5s;")[0]


# --- verification ---


def test_the_handshake_always_completes_and_the_refusal_is_400(bare: Bare) -> None:
    """A refused client gets an HTTP status: 495 (bad), 496 (none) and 497 (no TLS), which look like 400."""
    with bare.serving(f"server {{ {ON} return 204; }}"):
        assert bare.get(who="alex").status == 204
        for who, said in (("foreign", "The SSL certificate error"), (None, "No required SSL certificate was sent")):
            answer = bare.get(who=who)
            assert (answer.status, said in answer.body) == (400, True)
        answer = bare.plain()
        assert (answer.status, "plain HTTP request was sent to HTTPS port" in answer.body) == (400, True)
    codes = "".join(
        f"error_page {code} = @{code}; location @{code} {{ return 200 {code}; }}" for code in (495, 496, 497)
    )
    with bare.serving(f"server {{ {ON} {codes} }}"):
        assert [bare.get(who="foreign").body, bare.get().body, bare.plain().body] == ["495", "496", "497"]


def test_ssl_client_verify_is_success_none_or_failed_with_a_reason(bare: Bare) -> None:
    """The reason is a sentence of OpenSSL's."""
    with bare.serving(f"server {{ {ON} {REASON} location / {{ return 200 $ssl_client_verify; }} }}"):
        assert [bare.get(who=who).body for who in ("alex", None)] == ["SUCCESS", "NONE"]
        assert bare.get(who="expired").body == "FAILED:certificate has expired"
        assert bare.get(who="foreign").body.startswith("FAILED:unable to ")


def test_optional_answers_400_to_any_bad_certificate_on_every_path(bare: Bare) -> None:
    """Before access rules, and before any gate: also on pages that are public."""
    with bare.serving(f"server {{ {OPTIONAL} location / {{ deny all; }} location /public {{ return 200 hello; }} }}"):
        assert [bare.get("/public", who).status for who in (None, "alex", "foreign", "expired")] == [200, 200, 400, 400]
        assert [bare.get("/", who).status for who in (None, "foreign")] == [403, 400]


def test_optional_no_ca_lets_foreign_certificates_through_to_the_rules(bare: Bare) -> None:
    """nginx says FAILED, and serves."""
    open_to_all = OPTIONAL.replace("optional", "optional_no_ca")
    with bare.serving(f"server {{ {open_to_all} return 200 $ssl_client_verify; }}"):
        answer = bare.get(who="foreign")
        assert (answer.status, answer.body[:7]) == (200, "FAILED:")


def test_a_certificate_for_servers_only_is_refused_and_one_for_any_use_passes(bare: Bare) -> None:
    """serverAuth without clientAuth is the wrong purpose; no extended key usage at all is every purpose."""
    with bare.serving(f"server {{ {ON} return 204; }}"):
        assert [bare.get(who=who).status for who in ("server-only", "any-use")] == [400, 204]


@pytest.mark.parametrize(
    ("line", "status", "page"),
    [
        ("error_page 495 496 /page;", 400, True),
        ("error_page 495 496 =403 /page;", 403, True),
        ("error_page 495 496 = /page;", 200, True),
        ("error_page 400 /page;", 400, False),
    ],
)
def test_error_page_keeps_400_unless_it_is_told_another_status(bare: Bare, line: str, status: int, page: bool) -> None:
    """``=403`` makes it 403, a bare ``=`` 200; ``error_page 400`` does not catch them."""
    with bare.serving(f"server {{ {ON} {line} location = /page {{ return 200 friendly; }} }}"):
        for who in (None, "foreign"):
            answer = bare.get(who=who)
            assert (answer.status, answer.body == "friendly") == (status, page)


def test_an_error_page_that_is_a_backend_gets_the_whole_request(bare: Bare) -> None:
    """``error_page 495 496 = @proxied`` hands on what nobody vouched for, method and body included."""
    proxied = f"error_page 495 496 = @proxied; location @proxied {{ {PASS} }} location / {{ return 204; }}"
    with bare.serving(f"server {{ {ON} {proxied} }} {PANEL}"):
        for who in (None, "foreign"):
            answer = bare.get("/admin/", who, method="DELETE", body=b"12345")
            assert (answer.status, answer.body.startswith("panel DELETE /admin/ 5,")) == (200, True)


# --- chain and CRL ---


def _chain(ca: str, crl: str = "", more: str = "") -> str:
    crl = f"ssl_crl <dir>/{crl};" if crl else ""
    door = f"{DOOR} ssl_client_certificate <dir>/{ca}; ssl_verify_client on; ssl_verify_depth 3; {crl} {more}"
    return f"server {{ {door} {REASON} location / {{ return 200 $ssl_client_verify; }} }}"


def test_the_crl_of_every_ca_in_the_chain_is_needed(bare: Bare) -> None:
    """The root's included, or everybody is refused."""
    with bare.serving(_chain("chain.crt", "below.crl")):
        assert bare.get(who="bea").body == "FAILED:unable to get certificate CRL"
    with bare.serving(_chain("chain.crt", "both.crl")):
        assert bare.get(who="bea").body == "SUCCESS"


def test_an_issuing_ca_without_its_root_is_not_enough(bare: Bare) -> None:
    """A chain has to end in a root that is trusted."""
    with bare.serving(_chain("below.crt")):
        assert bare.get(who="bea").body == "FAILED:unable to get issuer certificate"


def test_a_root_in_ssl_trusted_certificate_opens_to_its_other_cas(bare: Bare) -> None:
    """A client that also sends the certificate of a sibling is admitted."""
    with bare.serving(_chain("below.crt", more="ssl_trusted_certificate <dir>/root.crt;")):
        assert [bare.get(who=who).body for who in ("bea", "sibling")] == ["SUCCESS", "SUCCESS"]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda papers: papers.crl("ca", days=(-9, -1)), "CRL has expired"),
        (lambda papers: papers.crl("ca", days=(1, 9)), "CRL is not yet valid"),
        (lambda papers: papers.crl("foreign-ca"), "unable to get certificate CRL"),
        (lambda papers: papers.crl("ca", scope=True), "unable to get certificate CRL"),
    ],
    ids=["expired", "not-yet-valid", "of another issuer", "of another scope"],
)
def test_expired_or_foreign_crl_refuses_every_client(bare: Bare, make: Callable[[Papers], bytes], reason: str) -> None:
    """``nginx -t`` does not see it. Nor one whose critical IssuingDistributionPoint no certificate matches."""
    bare.papers.write("odd.crl", make(bare.papers))
    assert bare.tested(_chain("ca.crt", "odd.crl"))[0]
    with bare.serving(_chain("ca.crt", "odd.crl")):
        assert bare.get(who="alex").body == f"FAILED:{reason}"


def test_a_crl_file_that_is_none_fails_the_test_and_running_workers_keep_theirs(bare: Bare) -> None:
    """Missing, empty, cut off or DER: ``nginx -t`` says so, and a signal to the master changes nothing."""
    der = x509.load_pem_x509_crl(bare.papers.crl("ca")).public_bytes(Encoding.DER)
    bare.papers.write("good.crl", bare.papers.crl("ca"))
    with bare.serving(_chain("ca.crt", "good.crl")) as nginx:
        for content in (b"", bare.papers.crl("ca")[:200], der):
            bare.papers.write("good.crl", content)
            assert not bare.tested(_chain("ca.crt", "good.crl"))[0]
        assert not bare.tested(_chain("ca.crt", "missing.crl"))[0]
        os.kill(nginx.pid, signal.SIGHUP)
        until(lambda: "[emerg]" in nginx.error_log.read_text())
        assert bare.get(who="alex").body == "SUCCESS"


# --- revocation and living sessions ---


def _resuming(settings: str) -> str:
    return (
        f"server {{ {ON} ssl_crl <dir>/live.crl; ssl_protocols TLSv1.2 TLSv1.3; {settings} "
        f"location / {{ return 200 $ssl_client_verify; }} }}"
    )


def _revoked_meanwhile(
    bare: Bare, tls: ssl.TLSVersion, before: str, after: str, restart: bool = False
) -> tuple[int, bool]:
    """Let alex in, revoke the certificate, and return the status on the old session and whether nginx resumed it."""
    bare.papers.write("live.crl", bare.papers.crl("ca"))
    context = bare.context("alex", tls)
    with bare.serving(before) as nginx:
        answer, session = bare.kept(context)
        assert answer.body == "SUCCESS"
        bare.papers.write("live.crl", bare.papers.crl("ca", "alex"))
        bare.change(nginx, after)
        if restart:
            nginx.stop()
            nginx.start()
        else:
            bare.reload(nginx)
        assert bare.get(who="alex").status == 400, "on a new one he is out"
        answer, resumed = bare.resumed(context, session)
        return answer.status, resumed


@pytest.mark.parametrize("tls", [TLS_1_2, TLS_1_3])
def test_shared_session_cache_admits_revoked_clients(bare: Bare, tls: ssl.TLSVersion) -> None:
    """After the revocation and a reload: a resumed session is not verified again."""
    same = _resuming("ssl_session_cache shared:a:1m; ssl_session_tickets off;")
    assert _revoked_meanwhile(bare, tls, same, same) == (200, True)


@pytest.mark.parametrize("tls", [TLS_1_2, TLS_1_3])
def test_ticket_key_file_admits_revoked_clients_after_a_restart(bare: Bare, tls: ssl.TLSVersion) -> None:
    """The session is in the ticket, and the key that opens it stays."""
    bare.papers.write("ticket.key", b"k" * 80)
    same = _resuming("ssl_session_ticket_key <dir>/ticket.key;")
    assert _revoked_meanwhile(bare, tls, same, same, restart=True) == (200, True)


_OFF = "ssl_session_cache off; ssl_session_tickets off;"


@pytest.mark.parametrize("tls", [TLS_1_2, TLS_1_3])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (_OFF, _OFF),
        *[
            (
                "ssl_session_cache shared:a:1m; ssl_session_tickets off;",
                "ssl_session_cache shared:b:1m; ssl_session_tickets off;",
            )
        ],
    ],
    ids=["nothing is resumed", "a zone of another name"],
)
def test_without_resumption_or_with_a_new_zone_revoked_clients_are_refused(
    bare: Bare, tls: ssl.TLSVersion, before: str, after: str
) -> None:
    """The gate resumes nothing, because a name for every CRL would tie trust to the gate."""
    assert _revoked_meanwhile(bare, tls, _resuming(before), _resuming(after)) == (400, False)


def test_a_deny_map_on_the_serial_refuses_resumed_sessions_too(bare: Bare) -> None:
    """It is looked at on every request, so it does not matter how the session came about."""
    cache = "ssl_session_cache shared:a:1m; ssl_session_tickets off;"
    serial = f"{bare.papers.pairs['alex'].certificate.serial_number:X}"
    denied = f'map $ssl_client_serial $denied {{ default 0; "~^0?{serial}\\z" 1; }}'
    after = denied + _resuming(f"{cache} if ($denied) {{ return 403; }}")
    context = bare.context("alex", TLS_1_2)
    bare.papers.write("live.crl", bare.papers.crl("ca"))
    with bare.serving(_resuming(cache)) as nginx:
        session = bare.kept(context)[1]
        bare.change(nginx, after)
        bare.reload(nginx)
        answer, resumed = bare.resumed(context, session)
        assert (answer.status, resumed) == (403, True)


def test_idle_connections_are_closed_by_a_reload(bare: Bare) -> None:
    """A kept-alive connection does not outlive it. A WebSocket does, until worker_shutdown_timeout."""
    with bare.serving(f"server {{ {ON} return 204; }}") as nginx, bare.connect("alex") as tls:
        tls.sendall(b"GET / HTTP/1.1\r\nHost: panel.test\r\n\r\n")
        assert tls.recv(4096).startswith(b"HTTP/1.1 204")
        nginx.reload()
        tls.settimeout(10)
        assert tls.recv(4096) == b""


# --- reload ---

_LISTENING = "server { listen 127.0.0.1:<port>; return 200 old; }"


def _reloaded(bare: Bare, after: str, complaint: str) -> str:
    """Change the configuration, test and reload it without an error, and return what is served once nginx has complained."""
    with bare.serving(f"limit_req_zone $binary_remote_addr zone=a:1m rate=9r/s; {_LISTENING}") as nginx:
        bare.change(nginx, after.replace("old", "new"))
        assert subprocess.run(nginx.test_argv, capture_output=True, check=False).returncode == 0
        nginx.reload()
        until(lambda: complaint in nginx.error_log.read_text())
        return bare.plain().body


def test_a_reload_that_succeeds_serves_the_old_configuration_where_a_port_is_taken(bare: Bare) -> None:
    """``nginx -t`` and ``nginx -s reload`` are content; only the error log knows."""
    zone = "limit_req_zone $binary_remote_addr zone=a:1m rate=9r/s;"
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", bare.other))
        holder.listen()
        after = f"{zone} {_LISTENING} server {{ listen 127.0.0.1:<other>; }}"
        assert _reloaded(bare, after, "still could not bind()") == "old"


def test_a_reload_that_succeeds_serves_the_old_configuration_where_an_address_becomes_a_wildcard(bare: Bare) -> None:
    """The old listening socket is in the way of the new one."""
    zone = "limit_req_zone $binary_remote_addr zone=a:1m rate=9r/s;"
    after = f"{zone} {_LISTENING}".replace("listen 127.0.0.1:", "listen ")
    assert _reloaded(bare, after, "still could not bind()") == "old"


def test_a_reload_that_succeeds_serves_the_old_configuration_where_a_zone_has_another_key(bare: Bare) -> None:
    """The zone lives on in memory, with the key that it had."""
    after = f"limit_req_zone $uri zone=a:1m rate=9r/s; {_LISTENING}"
    assert _reloaded(bare, after, "while previously it used the") == "old"


# --- SNI and Host ---


def _two(first: str, second: str = ON) -> str:
    answer = 'location / { return 200 "$server_name $ssl_client_verify"; }'
    return f"server {{ {DOOR.replace('panel.test', 'first.test')} {first} {answer} }} server {{ {second} {answer} }}"


def test_the_name_of_one_site_with_the_host_of_another_is_421(bare: Bare) -> None:
    """The site of the handshake requests certificates."""
    with bare.serving(_two("ssl_verify_client optional_no_ca;")):
        assert bare.get(who="alex", sni="panel.test", host="first.test").status == 421
        assert bare.get(who="foreign", sni="first.test", host="panel.test").status == 421


@pytest.mark.parametrize("sni", [None, "unknown.test"])
@pytest.mark.parametrize(
    ("first", "who"),
    [
        ("ssl_verify_client optional; ssl_client_certificate <dir>/foreign-ca.crt;", "foreign"),
        ("ssl_verify_client optional; ssl_client_certificate <dir>/ca.crt;", "carl"),
    ],
)
def test_without_a_known_name_the_tls_settings_are_those_of_the_default_server(
    bare: Bare, sni: str | None, first: str, who: str
) -> None:
    """So ``Host: panel`` with a foreign or a revoked certificate is a SUCCESS, although panel says ``on``."""
    panel = f"{ON} ssl_crl <dir>/ca.crl;"
    with bare.serving(_two(first, panel)):
        assert bare.get(who=who).status == 400
        assert bare.get(who=who, sni=sni).body == "panel.test SUCCESS"
    with bare.serving(_two(first, f"{panel} if ($ssl_server_name != panel.test) {{ return 421; }}")):
        assert (bare.get(who=who, sni=sni).status, bare.get(who="alex").status) == (421, 200)


@pytest.mark.parametrize("sni", [None, "unknown.test"])
def test_a_default_server_can_end_such_a_handshake(bare: Bare, sni: str | None) -> None:
    """``ssl_reject_handshake on`` needs no certificate."""
    with (
        bare.serving(
            f"server {{ listen 127.0.0.1:<port> ssl default_server; ssl_reject_handshake on; }} server {{ {ON} }}"
        ),
        pytest.raises(ssl.SSLError),
    ):
        bare.get(who="alex", sni=sni)


def test_another_listen_without_tls_opens_the_server(bare: Bare) -> None:
    """``ssl_verify_client on`` is a setting of TLS."""
    with bare.serving(f"server {{ {ON} listen 127.0.0.1:<other>; location / {{ return 200 panel; }} }}"):
        assert bare.plain(port=bare.other).body == "panel"


# --- mode path ---

_PLACES = "location / { return 200 public; } location /admin/ { return 200 guarded; }"


@pytest.mark.parametrize("path", ["//admin/", "/%61dmin/", "/x/../admin/", "/%2fadmin/", "/admin%2f", "/./admin//x"])
def test_nginx_normalises_the_address_before_it_looks_for_a_location(bare: Bare, path: str) -> None:
    """Slashes merged, dots resolved, decoded once."""
    with bare.serving(f"server {{ listen 127.0.0.1:<port>; {_PLACES} }}"):
        assert bare.plain(path).body == "guarded"


@pytest.mark.parametrize(
    "path",
    ["/admin", "/ADMIN/", "/admin;x/", "/;/admin/", "/admin%20/", "/%2561dmin/", "/\\admin/", "/index.php/admin/"],
)
def test_a_location_of_a_path_covers_no_other_spelling(bare: Bare, path: str) -> None:
    """They matter where the application takes them for the panel; see hostile.py for the whole list."""
    with bare.serving(f"server {{ listen 127.0.0.1:<port>; {_PLACES} }}"):
        assert bare.plain(path).body != "guarded"


def test_a_regular_expression_takes_a_path_away_unless_it_has_a_caret(bare: Bare) -> None:
    """``location ~`` comes before the longest prefix, and after ``location ^~``."""
    places = _PLACES + " location ~ \\.php$ { return 200 php; }"
    with bare.serving(f"server {{ listen 127.0.0.1:<port>; {places} }}"):
        assert bare.plain("/admin/index.php").body == "php"
    with bare.serving(f"server {{ listen 127.0.0.1:<port>; {places.replace('/admin/ {', '^~ /admin/ {')} }}"):
        assert bare.plain("/admin/index.php").body == "guarded"


_APP = "proxy_pass http://127.0.0.1:<other>"
_ANY = "^/x/([^?]*)$"
_ANY_NAMED = "^/x/(?<rest>[^?]*)$"
# Locations that pass on the decoded address, so that line breaks in it become headers.
_DECODED = [
    f"location / {{ {_APP}$uri; }}",
    f"location / {{ {_APP}$document_uri; }}",
    f"location / {{ root /; {_APP}$request_filename; }}",
    f"location / {{ proxy_set_header X-Original $uri; {_APP}; }}",
    f"location ~ {_ANY} {{ {_APP}/$1; }}",
    f"location ~ {_ANY} {{ proxy_set_header X-Original $1; {_APP}; }}",
    f"location ~ {_ANY_NAMED} {{ {_APP}/$rest; }}",
    f"location ~ {_ANY_NAMED} {{ set $t $rest; {_APP}/$t; }}",
    f"location / {{ rewrite {_ANY} /$1 break; {_APP}/$1; }}",
    f"rewrite {_ANY} /z; location / {{ {_APP}/$1; }}",
    f"rewrite {_ANY} /z; set $t $1; location / {{ {_APP}/$t; }}",
    f"location / {{ if ($uri ~ {_ANY}) {{ {_APP}/$1; }} }}",
    f"location / {{ if ($uri ~ {_ANY_NAMED}) {{ set $t $rest; }} {_APP}/$t; }}",
    f"location / {{ rewrite {_ANY_NAMED} /y?q=$rest break; {_APP}; }}",
    f"location / {{ rewrite ^ /y?q=$uri break; {_APP}; }}",
    f"location ~ {_ANY_NAMED} {{ set $args q=$rest; {_APP}; }}",
    f"location / {{ {_APP}$mapped; }}",
    f"location / {{ {_APP}/$mapped_by_name; }}",
    f"location / {{ try_files /none /index?q=$uri; }} location /index {{ {_APP}; }}",
    f"location ~ {_ANY} {{ try_files /none /index?q=$1; }} location /index {{ {_APP}; }}",
    f"location / {{ error_page 404 /index?u=$uri; return 404; }} location /index {{ {_APP}; }}",
]
# Locations in which nginx takes the text behind a decoded question mark for the query.
_SPLIT = [
    # nginx compares the scheme without case.
    f"location / {{ try_files /none /index$uri; }} location /index {{ {_APP.replace('http', 'HTTP')}; }}",
    f"location / {{ error_page 404 /index$document_uri; return 404; }} location /index {{ {_APP}; }}",
    f"location / {{ try_files /none /index$uri; }} location /index {{ {_APP}; }}",
]
# Locations in which nginx encodes it, or which pass on the address as the client wrote it.
_ENCODED = [
    f"location / {{ {_APP}$request_uri; }}",
    f"location /x/ {{ {_APP}/y/; }}",
    f"location ~ {_ANY} {{ set $t $1; {_APP}/$t; }}",
    f"location ~ {_ANY} {{ set $args q=$1; {_APP}; }}",
    f"location / {{ if ($uri ~ {_ANY}) {{ set $t $1; }} {_APP}/$t; }}",
    f"location / {{ rewrite {_ANY} /$1 break; {_APP}; }}",
    f"location / {{ rewrite {_ANY_NAMED} /$rest break; {_APP}; }}",
    f"location / {{ rewrite {_ANY} /y?q=$1 break; {_APP}; }}",
    f"location / {{ if ($request_uri ~ {_ANY}) {{ {_APP}/$1; }} }}",
    f"location / {{ try_files /none /index?q=$request_uri; }} location /index {{ {_APP}; }}",
    f"location / {{ error_page 404 /index?u=$request_uri; return 404; }} location /index {{ {_APP}; }}",
    # A dot matches no line feed.
    f"location ~ ^/x/(.*)$ {{ {_APP}/$1; }} location / {{ {_APP}; }}",
]


def test_a_decoded_address_writes_headers(bare: Bare) -> None:
    """nginx encodes the path of ``rewrite`` and ``$1`` in ``set``, but no variables of ``proxy_pass`` and of headers."""
    http = 'server { listen 127.0.0.1:<other>; return 200 "$http_x_client_name"; }'
    http += " map $uri $mapped { ~^/x/([^?]*)$ /$1; } map $uri $mapped_by_name { ~^/x/(?<part>[^?]*)$ $part; }"
    for number, locations in enumerate((*_DECODED, *_SPLIT, *_ENCODED)):
        http += f" server {{ listen 127.0.0.1:<port>; server_name n{number}.test; {locations} }}"
    # A user name ends at the first colon, so it writes no header, but ends those of the request.
    user = f"proxy_set_header X-User $remote_user; proxy_set_header X-Client-Name alex; {_APP};"
    http += f" server {{ listen 127.0.0.1:<port>; server_name user.test; location /open {{ {user} }}"
    http += f" location /half {{ auth_basic staff; {user} }}"
    http += f" location /asks {{ auth_basic staff; auth_basic_user_file /dev/null; {user} }} }}"
    path = "/x/%20HTTP/1.1%0d%0aX-Client-Name:%20forged%0d%0aX-Y:%20"
    with bare.serving(http):
        for number, locations in enumerate((*_DECODED, *_SPLIT, *_ENCODED)):
            asked = path.replace("/x/", "/x/%3f", 1) if locations in _SPLIT else path
            seen = bare.plain(asked, host=f"n{number}.test").body
            assert seen == ("" if locations in _ENCODED else "forged"), locations
        assert bare.plain("/open", host="user.test").body == "alex"
        user = b64encode(b"x\r\n\r\nGET / HTTP/1.1:").decode()
        for place, status in (("open", 200), ("half", 200), ("asks", 401)):
            response = bare.plain(f"/{place}", {"Authorization": f"Basic {user}"}, host="user.test")
            assert (response.status, "alex" in response.body) == (status, False), place


def test_a_neighbour_decides_about_proxy_protocol_for_the_whole_address(bare: Bare) -> None:
    """Without the header nginx closes the connection to every server of the address."""
    neighbour = "server { listen 127.0.0.1:<port> proxy_protocol; server_name other.test; }"
    server = "server { listen 127.0.0.1:<port>; server_name panel.test; return 204; }"
    with bare.serving(server + neighbour), pytest.raises((ConnectionError, http.client.HTTPException)):
        bare.plain()


def test_a_neighbour_answers_the_family_in_which_a_server_does_not_listen(bare: Bare) -> None:
    """The address decides before the name."""
    server = "server { listen <port>; server_name panel.test; return 204; }"
    with bare.serving(f"{server} server {{ listen [::]:<port>; server_name other.test; return 421; }}"):
        assert bare.plain().status == 204
        with socket.create_connection(("::1", bare.port), 10) as connection:
            assert exchange(connection, "GET", "/", {"Host": "panel.test"}).status == 421


def test_a_password_of_http_refuses_certificates(bare: Bare) -> None:
    """With ``satisfy all`` a server needs its own ``auth_basic off``."""
    server = f"server {{ {ON} satisfy all; location / {{ <off> {PASS} }} }} {PANEL}"
    for off, status in (("", 401), ("auth_basic off;", 200)):
        with bare.serving(f"auth_basic staff; auth_basic_user_file /dev/null; {server.replace('<off>', off)}"):
            # The application behind it inherits the password too, but answers before nginx asks for it.
            assert bare.get(who="alex").status == status


def test_a_nested_location_does_not_inherit_an_if(bare: Bare) -> None:
    """The rewrite phase knows one location alone."""
    guard = "if ($ssl_client_verify != SUCCESS) { return 403; }"
    places = f"location /admin/ {{ {guard} {PASS} location /admin/x {{ {PASS} }} }}"
    with bare.serving(f"server {{ {OPTIONAL} {places} }} {PANEL}"):
        assert [bare.get(path).status for path in ("/admin/", "/admin/x")] == [403, 200]


def test_the_panel_is_reached_from_elsewhere_by_rewrite_by_proxy_pass_and_by_accel(bare: Bare) -> None:
    """Three ways that never enter the location of the path, or enter one that is internal."""
    places = f"""
        location /admin/ {{ return 403; }}
        location /old/ {{ rewrite ^/old/(.*)$ /admin/$1 break; {PASS} }}
        location /new/ {{ proxy_pass http://127.0.0.1:<other>/admin/; }}
        location /file {{ proxy_pass http://127.0.0.1:<other>/file; }}
        location /inside/ {{ internal; {PASS} }}
    """
    accel = "server { listen 127.0.0.1:<other>; location / { return 200 $request_uri; }"
    accel += " location /file { add_header X-Accel-Redirect /inside/admin/; return 204; } }"
    with bare.serving(f"server {{ listen 127.0.0.1:<port>; {places} }} {accel}"):
        said = [bare.plain(path).body for path in ("/old/x", "/new/x", "/file")]
        assert said == ["/admin/x", "/admin/x", "/inside/admin/"]
        assert [bare.plain(path).status for path in ("/admin/x", "/inside/admin/")] == [403, 404]


def test_an_if_of_the_server_on_a_map_is_evaluated_once_and_cached(bare: Bare) -> None:
    """A later rewrite of the address does not change the verdict."""
    place = 'map $uri $place { default public; "~^/admin" guarded; }'
    server = "if ($place = guarded) { return 403; } location /again { rewrite ^ /admin/ last; }"
    server += ' location / { return 200 "$place $uri"; }'
    with bare.serving(f"{place} server {{ listen 127.0.0.1:<port>; {server} }}"):
        assert bare.plain("/admin/").status == 403
        assert bare.plain("/again").body == "public /admin/"


# --- getting past 495 ---

_AGAIN = f"""
    map "$uri:$ssl_client_verify" $shut {{ default 0; "~^/admin/.*:SUCCESS$" 0; "~^/admin/" 1; }}
    server {{
        {OPTIONAL}
        if ($shut) {{ return 403; }}
        error_page 495 = @again;
        location @again {{ rewrite ^ <where> last; }}
        location / {{ {PASS} }}
        location /inside/ {{ internal; {PASS} }}
    }}
    {PANEL}
"""


def test_a_rewrite_after_495_skips_the_if_of_the_server(bare: Bare) -> None:
    """Method and body are kept, and a foreign or expired certificate is where nobody without one can go."""
    with bare.serving(_AGAIN.replace("<where>", "$uri")):
        assert bare.get("/admin/").status == 403
        for who in ("foreign", "expired"):
            answer = bare.get("/admin/", who, method="PUT", body=b"123")
            assert (answer.status, answer.body.startswith("panel PUT /admin/ 3,")) == (200, True)


def test_a_rewrite_after_495_opens_internal_locations(bare: Bare) -> None:
    """The request counts as one of nginx's own."""
    with bare.serving(_AGAIN.replace("<where>", "$uri")):
        assert (bare.get("/inside/").status, bare.get("/inside/", "foreign").status) == (404, 200)


def test_a_rewrite_after_495_loses_the_address_as_it_was_written(bare: Bare) -> None:
    """With $uri it is decoded and merged, with $request_uri encoded a second time."""
    with bare.serving(_AGAIN.replace("<where>", "$uri")):
        assert bare.get("/a%2Fb//c").body.startswith("panel GET /a%2Fb//c ")
        assert bare.get("/a%2Fb//c", "foreign").body.startswith("panel GET /a/b/c ")
    with bare.serving(_AGAIN.replace("<where>", "$request_uri")):
        assert bare.get("/a%20b", "foreign").body.startswith("panel GET /a%2520b ")


def test_the_reason_of_495_hides_a_revocation(bare: Bare) -> None:
    """Revoked and expired is told as expired; revoked below a CRL that has expired, as that. So the deny map is asked first."""
    with bare.serving(_chain("ca.crt", "ca.crl")):
        assert bare.get(who="carl").body == "FAILED:certificate revoked"
        assert bare.get(who="expired").body == "FAILED:certificate has expired"
    bare.papers.write("stale.crl", bare.papers.crl("below", "bea") + bare.papers.crl("root", days=(-9, -1)))
    with bare.serving(_chain("chain.crt", "stale.crl")):
        assert bare.get(who="bea").body == "FAILED:CRL has expired"


# --- deciding in the access phase ---

_ASKED = f"""
    limit_req_zone $binary_remote_addr zone=a:1m rate=1r/m;
    server {{
        listen 127.0.0.1:<port>;
        auth_request /verdict;
        location = /verdict {{ internal; if ($http_x_pass = yes) {{ return 204; }} return 403; }}
        location = /yes {{ internal; return 204; }}
        location = /broken {{ internal; return 404; }}
        location / {{ {PASS} location /nested {{ {PASS} }} }}
        location ~ \\.php$ {{ {PASS} }}
        location /old/ {{ rewrite ^ /admin/ break; {PASS} }}
        location /tried/ {{ root /nowhere; try_files $uri @fallback; }}
        location @fallback {{ {PASS} }}
        location /lost/ {{ auth_request /yes; error_page 404 = @fallback; root /nowhere; }}
        location /limited {{ limit_req zone=a; {PASS} }}
        location /said {{ return 200 open; }}
        location /own {{ auth_request /yes; {PASS} }}
        location /off {{ auth_request off; {PASS} }}
        location /any {{ satisfy any; allow all; {PASS} }}
        location /fails {{ auth_request /broken; {PASS} }}
    }}
    {PANEL}
"""


def test_a_question_of_the_server_is_asked_wherever_a_request_ends(bare: Bare) -> None:
    """Nested and regular-expression locations, rewrite ... break, try_files and error_page inherit it."""
    with bare.serving(_ASKED):
        for path in ("/", "/nested", "/x.php", "/old/x", "/tried/x", "/lost/x"):
            assert bare.plain(path).status == 403, path
            assert bare.plain(path, {"X-Pass": "yes"}).status == 200, path


def test_a_question_lets_limits_fire_first_and_fails_closed(bare: Bare) -> None:
    """limit_req has its place before the access phase; an answer that is neither yes nor no is 500."""
    with bare.serving(_ASKED):
        assert [bare.plain("/limited").status for _time in range(2)] == [403, 503]
        assert bare.plain("/fails", {"X-Pass": "yes"}).status == 500


def test_a_question_is_not_asked_after_a_return_or_where_a_location_has_its_own(bare: Bare) -> None:
    """Nor where it is switched off, nor where any rule will do: so there is a second layer, and ours chains other questions."""
    with bare.serving(_ASKED):
        assert [bare.plain(path).status for path in ("/said", "/own", "/off", "/any")] == [200] * 4


# --- headers ---


def _heard(bare: Bare, settings: str, name: str = "X-Client-Verify") -> bool:
    with bare.serving(f"server {{ listen 127.0.0.1:<port>; {settings} }} {PANEL}"):
        return ",SUCCESS," in bare.plain("/", {name: "SUCCESS"}).body


def test_header_of_the_client_passes_locations_that_do_not_overwrite_it(bare: Bare) -> None:
    """Public ones too."""
    assert _heard(bare, f"location / {{ {PASS} }}")
    assert not _heard(bare, f'location / {{ proxy_set_header X-Client-Verify ""; {PASS} }}')


def test_one_header_in_a_location_drops_all_that_it_would_inherit(bare: Bare) -> None:
    """proxy_set_header, and add_header likewise: so all of them stand in one snippet."""
    blank = 'proxy_set_header X-Client-Verify "";'
    assert not _heard(bare, f"{blank} location / {{ {PASS} }}")
    assert _heard(bare, f"{blank} location / {{ proxy_set_header X-A b; {PASS} }}")
    with bare.serving(
        "server { listen 127.0.0.1:<port>; add_header X-A b; location / { add_header X-B c; return 204; } }"
    ):
        answer = bare.plain()
        assert ("x-a" in answer.headers, "x-b" in answer.headers) == (False, True)


@pytest.mark.parametrize(
    ("settings", "heard"),
    [("", False), ("underscores_in_headers on;", True), ("ignore_invalid_headers off;", True)],
)
def test_a_name_with_underscores_arrives_only_where_it_is_let_in(bare: Bare, settings: str, heard: bool) -> None:
    """underscores_in_headers, or ignore_invalid_headers off."""
    assert _heard(bare, f"{settings} location / {{ {PASS} }}", "X_Client_Verify") is heard


def test_a_header_is_on_refusals_only_with_always(bare: Bare) -> None:
    """HSTS, for one."""
    added = "add_header X-A b; add_header X-B c always;"
    with bare.serving(f"server {{ listen 127.0.0.1:<port>; {added} return 403; }}"):
        answer = bare.plain()
        assert ("x-a" in answer.headers, "x-b" in answer.headers) == (False, True)


# --- window ---


def test_satisfy_any_admits_no_client_if_a_certificate_is_required(bare: Bare) -> None:
    """``ssl_verify_client on`` comes before every access rule."""
    with bare.serving(f"server {{ {ON} satisfy any; allow 127.0.0.1; deny all; location / {{ return 200 x; }} }}"):
        assert bare.get().status == 400


_WINDOW = f"""
    geo $realip_remote_addr $in_network {{ default 0; <network> 1; }}
    map "$ssl_client_verify:$in_network" $opens {{ default 0; "SUCCESS:0" 1; "SUCCESS:1" 1; "NONE:1" 1; }}
    server {{
        {OPTIONAL} ssl_crl <dir>/ca.crl;
        set_real_ip_from 127.0.0.1;
        real_ip_header X-Real-IP;
        if ($opens = 0) {{ return 403; }}
        location / {{ return 200 "$remote_addr $realip_remote_addr"; }}
    }}
"""


def test_window_admits_no_certificate_and_never_a_bad_one(bare: Bare) -> None:
    """``optional`` and one map of what nginx says, together with the network."""
    with bare.serving(_WINDOW.replace("<network>", "127.0.0.1")):
        assert [bare.get(who=who).status for who in (None, "alex", "carl", "foreign")] == [200, 200, 400, 400]
    with bare.serving(_WINDOW.replace("<network>", "192.0.2.0/24")):
        assert [bare.get(who=who).status for who in (None, "alex")] == [403, 200]


def test_an_address_is_that_of_the_peer_and_not_what_a_header_says(bare: Bare) -> None:
    """$remote_addr follows real_ip_header, $realip_remote_addr does not."""
    with bare.serving(_WINDOW.replace("<network>", "127.0.0.1")):
        assert bare.get(headers={"X-Real-IP": "192.0.2.1"}).body == "192.0.2.1 127.0.0.1"
    with bare.serving(_WINDOW.replace("<network>", "192.0.2.0/24")):
        assert bare.get(headers={"X-Real-IP": "192.0.2.1"}).status == 403


def test_window_that_handles_495_admits_revoked_clients(bare: Bare) -> None:
    """Unless it looks at the reason."""
    caught = f"error_page 495 496 = @window; location @window {{ allow 127.0.0.1; deny all; {PASS} }}"
    with bare.serving(f"server {{ {ON} ssl_crl <dir>/ca.crl; {caught} }} {PANEL}"):
        assert bare.get(who="carl").body.startswith("panel ")


def test_the_clock_is_seconds_a_dot_and_milliseconds(bare: Bare) -> None:
    """So a map of $msec can close a window by itself, without a reload: it is read on every request."""
    epoch = 'map $msec $soon { default no; "~^[0-9]{10}\\.[0-9]{3}\\z" yes; }'
    with bare.serving(f'{epoch} server {{ listen 127.0.0.1:<port>; location / {{ return 200 "$soon $msec"; }} }}'):
        first, second = bare.plain().body.split(), bare.plain().body.split()
        assert (first[0], second[0], float(first[1]) < float(second[1]) + 1) == ("yes", "yes", True)
        until(lambda: bare.plain().body != " ".join(first))


def test_basic_auth_forwards_the_password(bare: Bare) -> None:
    """Unless the header is cleared."""
    bare.papers.write("users", b"alex:{PLAIN}secret\n")
    door = f'auth_basic "door"; auth_basic_user_file <dir>/users; location / {{ {PASS} }}'
    door += f' location /cleared {{ proxy_set_header Authorization ""; {PASS} }}'
    with bare.serving(f"server {{ listen 127.0.0.1:<port>; {door} }} {PANEL}"):
        said = [bare.plain(path, {"Authorization": "Basic YWxleDpzZWNyZXQ="}).body for path in ("/", "/cleared")]
        assert ["Basic YWxleDpzZWNyZXQ=" in one for one in said] == [True, False]


# --- limits ---


def test_a_limit_beside_a_return_never_fires_and_one_on_the_way_to_the_page_does(bare: Bare) -> None:
    """The rewrite phase comes before any limit."""
    zone = "limit_req_zone $binary_remote_addr zone=a:1m rate=1r/m;"
    with bare.serving(f"{zone} server {{ listen 127.0.0.1:<port>; limit_req zone=a; if ($uri) {{ return 403; }} }}"):
        assert [bare.plain().status for _time in range(4)] == [403] * 4
    refused = "location @refused { limit_req zone=a; limit_req_status 429; try_files /nothing @page; }"
    page = 'location @page { return 403 "page"; }'
    gate = f"if ($uri) {{ return 403; }} error_page 403 = @refused; recursive_error_pages on; {refused} {page}"
    with bare.serving(f"{zone} server {{ listen 127.0.0.1:<port>; root /nowhere; {gate} }}"):
        assert [bare.plain().status for _time in range(3)] == [403, 429, 429]


# --- identity ---


def _admitted(bare: Bare, who: str, expression: str) -> bool:
    known = f'map $ssl_client_s_dn $admitted {{ default 0; "~{expression}" 1; }}'
    with bare.serving(f"{known} server {{ {ON} return 200 $admitted; }}"):
        return bare.get(who=who).body == "1"


@pytest.mark.parametrize(
    ("expression", "fooled_by"),
    [("CN=.*Admin.*", ["NotAdministrator", "comma"]), ("(^|,)CN=Admin(,|$)", ["comma", "twice"])],
)
def test_expression_on_the_subject_can_be_deceived(bare: Bare, expression: str, fooled_by: list[str]) -> None:
    """By part of a name, by an escaped comma, by a second name: so people are known by issuer and serial."""
    assert [who for who in ["Admin", *fooled_by] if _admitted(bare, who, expression)] == ["Admin", *fooled_by]


def test_the_keys_of_a_map_ignore_case(bare: Bare) -> None:
    """Unless they are regular expressions."""
    known = 'map $arg_x $plain { default 0; Admin 1; } map $arg_x $exact { default 0; "~^Admin\\z" 1; }'
    with bare.serving(f'{known} server {{ listen 127.0.0.1:<port>; location / {{ return 200 "$plain$exact"; }} }}'):
        assert [bare.plain(f"/?x={value}").body for value in ("Admin", "ADMIN", "x")] == ["11", "10", "00"]


def test_a_serial_is_upper_case_hex_padded_to_whole_bytes(bare: Bare) -> None:
    """As identities.json has it."""
    with bare.serving(f"server {{ {ON} return 200 $ssl_client_serial; }}"):
        assert bare.get(who="small").body == "0ABC"
        assert re.fullmatch("(?:[0-9A-F]{2})+", bare.get(who="alex").body)


def test_a_long_key_of_a_map_wants_a_larger_bucket(bare: Bare) -> None:
    """So the maps of trust have short ones."""
    long = f"map $arg_x $y {{ {'x' * 200} 1; }}"
    passed, said = bare.tested(long)
    assert (passed, "you should increase map_hash_bucket_size" in said) == (False, True)
    assert bare.tested(f"map_hash_bucket_size 512; {long}")[0]


def test_a_hash_that_is_too_small_gets_a_warning_with_its_size(bare: Bare) -> None:
    """Two such directives are a duplicate, and ``map_hash_max_size`` is one after the first map too."""
    entries = " ".join(f"{number:030} 1;" for number in range(3000))
    passed, said = bare.tested(f"map $host $a {{ {entries} }}")
    assert (passed, small_hashes(said)) == (True, (("map_hash", 2048),))
    passed, said = bare.tested(f"map_hash_max_size 65536; map $host $a {{ {entries} }}")
    assert (passed, small_hashes(said)) == (True, ())
    for twice in ("map $host $a { b c; } map_hash_max_size 32768;", 2 * "variables_hash_max_size 2048; "):
        passed, said = bare.tested(twice)
        assert (passed, "directive is duplicate" in said) == (False, True)


@pytest.mark.parametrize("variable", ["ssl_client_s_an", "ssl_client_email", "ssl_client_san"])
def test_no_variable_holds_the_e_mail_of_a_certificate(bare: Bare, variable: str) -> None:
    """It comes from the roster, by issuer and serial."""
    passed, said = bare.tested(f"server {{ listen 127.0.0.1:<port>; return 200 ${variable}; }}")
    assert (passed, f'unknown "{variable}" variable' in said) == (False, True)


# --- testing a candidate ---


def test_an_absolute_include_is_read_from_where_it_points_to(bare: Bare) -> None:
    """``nginx -t`` of a copy reads the live tree there, so the copy has to rewrite them."""
    live, copy = bare.root / "live", bare.root / "copy"
    for directory, content in ((live, "broken;"), (copy, "")):
        directory.mkdir()
        (directory / "part.conf").write_text(content)
    for include, passes in ((f"{live}/part.conf", False), (f"{copy}/part.conf", True)):
        assert bare.tested(f"include {include};")[0] is passes


def test_openssl_reports_a_foreign_crl_only_in_text(papers: Papers) -> None:
    """``openssl crl -verify`` of OpenSSL 3.0 exits with 0 either way, so "verify OK" is what counts."""
    for ca, said in (("ca", "verify OK"), ("foreign-ca", "")):
        argv = [
            "openssl",
            "crl",
            "-in",
            f"{papers.directory}/ca.crl",
            "-CAfile",
            f"{papers.directory}/{ca}.crt",
            "-noout",
            "-verify",
        ]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert ("verify OK" in done.stdout + done.stderr) is bool(said)


# --- the gate itself ---

# Tests of the gate for each test of nginx above: start of its name -> file::test.
GUARDED = {
    "maps_log_formats_and_zones": ["e2e/test_fuzz.py::test_value_is_refused_by_name_or_rendered_in_its_place"],
    "http2": ["unit/plugins/filter/test_gate_templates.py::test_http2_is_written_for_the_nginx_at_hand"],
    "tls_1_3": ["e2e/test_gate.py::test_curl_is_admitted_with_every_protocol"],
    "the_protocols_of_an_address": ["e2e/test_neighbours.py::test_old_tls_of_a_neighbour_admits_no_client"],
    "worker_shutdown_timeout": ["e2e/test_shutdown.py::test_it_comes_changes_stays_and_goes"],
    "the_handshake_always_completes": ["e2e/test_gate.py::test_plain_http_is_redirected_to_https"],
    "ssl_client_verify": ["e2e/test_gate.py::test_log_has_client_and_reason"],
    "optional_answers_400": ["e2e/test_path.py::test_public_part_is_public_for_every_client"],
    "optional_no_ca": ["e2e/test_path.py::test_guarded_paths_stay_closed_without_any_one_defence"],
    "a_certificate_for_servers_only": ["e2e/test_gate.py::test_unauthenticated_clients_get_the_page_with_the_reason"],
    "error_page_keeps_400": ["e2e/test_path.py::test_a_guarded_path_answers_others_with_the_page"],
    "a page loads nothing": ["e2e/test_gate.py::test_page_is_complete_safe_and_not_cached"],
    "an_error_page_that_is_a_backend": ["e2e/test_hostile_matrix.py::test_nothing_hostile_reaches_the_panel"],
    "the_crl_of_every_ca": ["e2e/test_transaction.py::test_crl_that_would_refuse_every_client"],
    "an_issuing_ca_without_its_root": ["e2e/test_transaction.py::test_invalid_chain"],
    "a_root_in_ssl_trusted_certificate": ["e2e/test_neighbours.py::test_http_level_settings_do_not_change_verdicts"],
    "expired_or_foreign_crl": ["e2e/test_transaction.py::test_crl_that_would_refuse_every_client"],
    "a_crl_file_that_is_none": ["e2e/test_pull.py::test_an_ended_and_a_damaged_crl"],
    "from 1.27.4 a CRL may be cached by its file's identity": [
        "e2e/test_transaction.py::test_only_the_newest_are_kept",
        "unit/plugins/module_utils/_common/test_files.py::test_a_link_is_replaced_in_one_step",
    ],
    "shared_session_cache": ["e2e/test_witness.py::test_a_shared_session_cache_is_found_out"],
    "ticket_key_file": ["e2e/test_witness.py::test_a_fixed_ticket_key_is_found_out"],
    "without_resumption": [
        "e2e/test_gate.py::test_a_revocation_by_trust_alone_is_effective_at_once_for_old_sessions_too",
        "unit/plugins/filter/test_gate_templates.py::test_every_server_ends_resumption_and_has_the_same_protocols",
    ],
    "a_deny_map": ["e2e/test_probe_rendered.py::test_removed_line_fails_exactly_its_checks"],
    "idle_connections": ["e2e/test_revoke.py::test_revoked_client_is_refused_everywhere_and_no_other_is"],
    "WebSockets live on": [
        "e2e/test_witness.py::test_websocket_that_may_stay_open_is_reported",
        "e2e/test_witness.py::test_a_websocket_that_is_cut",
    ],
    "a_reload_that_succeeds": [
        "e2e/test_transaction.py::test_reload_that_does_not_take",
        "e2e/test_transaction.py::test_port_taken",
        "e2e/test_site.py::test_a_port_taken_is_named_and_the_gate_stays_as_it_was",
    ],
    "the_name_of_one_site": ["e2e/test_neighbours.py::test_one_connection_for_two_sites_is_sent_back_to_make_another"],
    "without_a_known_name": ["e2e/test_gate.py::test_connections_for_another_name_never_reach_the_application"],
    "a_default_server": ["e2e/test_gate.py::test_default_server_always_and_never_are_followed"],
    "another_listen_without_tls": ["e2e/test_snippets.py::test_harmless_deviation_is_a_warning"],
    "nginx_normalises": ["e2e/test_hostile_matrix.py::test_nothing_hostile_reaches_the_panel"],
    "a_location_of_a_path": ["e2e/test_path.py::test_other_spelling_is_refused_for_every_client_and_logged"],
    "a_regular_expression": ["unit/plugins/filter/test_gate_templates.py::test_mode_path_opens_only_one_location"],
    "a_neighbour_decides_about_proxy_protocol": [
        "e2e/test_neighbours.py::test_neighbour_with_proxy_protocol_shuts_the_address_and_is_an_error",
    ],
    "a_neighbour_answers_the_family": [
        "unit/plugins/module_utils/_audit/test_audit.py::test_family_in_which_only_a_neighbour_listens_is_a_warning",
    ],
    "a_password_of_http": ["e2e/test_neighbours.py::test_inherited_password_refuses_certificates_and_is_an_error"],
    "a_nested_location": ["e2e/test_snippets.py::test_client_without_a_valid_certificate_is_refused"],
    "a_decoded_address": [
        "unit/plugins/module_utils/_audit/test_decoded_addresses.py::test_a_decoded_address_is_an_error_at_its_line",
        "unit/plugins/module_utils/_audit/test_decoded_addresses.py::test_a_capture_of_the_decoded_address_is_an_error",
    ],
    "the_panel_is_reached_from_elsewhere": [
        "e2e/test_path.py::test_role_shows_other_ways_to_a_guarded_path",
        "e2e/test_snippets.py::test_bypass_is_an_error_with_file_and_line",
        "e2e/test_gate.py::test_the_application_cannot_speak_for_the_gate",
    ],
    "an_if_of_the_server": ["e2e/test_path.py::test_guarded_paths_stay_closed_without_any_one_defence"],
    "a_rewrite_after_495": [
        "e2e/test_path.py::test_public_part_is_public_for_every_client",
        "e2e/test_path.py::test_guarded_paths_stay_closed_without_any_one_defence",
    ],
    "the_reason_of_495": ["e2e/test_gate.py::test_unauthenticated_clients_get_the_page_with_the_reason"],
    "a_question_of_the_server": ["e2e/test_gate.py::test_either_layer_alone_refuses_unauthenticated_clients"],
    "a_question_lets_limits_fire_first": [
        "e2e/test_path.py::test_without_its_decision_service_a_site_is_closed",
        "e2e/test_path.py::test_refusals_are_limited_and_certificates_never",
    ],
    "a_question_is_not_asked": [
        "e2e/test_snippets.py::test_bypass_is_an_error_with_file_and_line",
        "e2e/test_path.py::test_decision_service_overrides_the_verdict",
    ],
    "header_of_the_client": [
        "e2e/test_gate.py::test_forged_identity_headers_do_not_count",
        "e2e/test_path.py::test_public_part_is_public_for_every_client",
    ],
    "one_header_in_a_location": ["e2e/test_probe_rendered.py::test_removed_line_fails_exactly_its_checks"],
    "a_name_with_underscores": ["e2e/test_gate.py::test_forged_identity_headers_do_not_count"],
    "a_header_is_on_refusals": ["e2e/test_path.py::test_hsts_is_on_every_answer_and_not_over_plain_http"],
    "satisfy_any": ["e2e/test_gate.py::test_unauthenticated_clients_get_the_page_with_the_reason"],
    "a_limit_beside_a_return": ["e2e/test_path.py::test_refusals_are_limited_and_certificates_never"],
    "expression_on_the_subject": [
        "e2e/test_path.py::test_a_certificate_that_is_in_no_roster_is_not_listed_whatever_its_name_is"
    ],
    "the_keys_of_a_map": ["unit/plugins/filter/test_gate_templates.py::test_names_are_matched_whole"],
    "a_serial_is": ["e2e/test_gate.py::test_valid_certificate_is_admitted_with_its_identity"],
    "a_long_key": ["e2e/test_fuzz.py::test_a_publication_is_refused_or_its_names_stay_in_their_maps"],
    "a_hash_that_is_too_small": [
        "e2e/test_smoke.py::test_smoke_nginx_is_the_release_and_reports_no_problem",
        "unit/plugins/module_utils/_nginx/test_hash_sizes.py::test_small_hash_is_named_once_with_the_line_to_write",
    ],
    "no_variable_holds": ["e2e/test_gate.py::test_valid_certificate_is_admitted_with_its_identity"],
    "an_absolute_include": ["e2e/test_transaction.py::test_candidate_reads_its_own_files_through_absolute_includes"],
    "openssl_reports_a_foreign_crl": ["e2e/test_pull.py::test_a_foreign_ca"],
}
# The gate has no window yet, so nothing of it stands behind these.
WINDOW = {
    "window_admits_no_certificate",
    "an_address_is_that_of_the_peer",
    "window_that_handles_495",
    "the_clock_is",
    "basic_auth_forwards",
}


def test_every_fact_names_the_tests_that_guard_the_gate_and_they_exist() -> None:
    own = re.findall(r"^def test_(\w+)", Path(__file__).read_text(), re.MULTILINE)[:-1]
    named = {name for name in own for fact in [*GUARDED, *WINDOW] if name.startswith(fact)}
    assert set(own) - named == set()
    for tests in GUARDED.values():
        for test in tests:
            file, _colons, name = test.partition("::")
            assert re.search(rf"def {name}\(", (TESTS / file).read_text()), test
