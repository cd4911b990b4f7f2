# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the rendering of role gate for nginx versions that are not installed.

Installed versions are tested in tests/e2e/test_gate.py.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._contracts.identity_headers import IDENTITY, header_names
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.config_parser import parse
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.edge import EDGE_KEYS
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.edge_profiles import CUSTOM, HEADERS, PROFILES
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.models import KEYS
from gate_rendering import ROLE, render
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize("template", ["http.conf.j2", "site.conf.j2"])
@pytest.mark.parametrize(
    ("version", "http2", "by_listen", "by_directive"),
    [
        ("1.19.4", True, 2, 0),
        ("1.25.0", True, 2, 0),
        ("1.25.1", True, 0, 1),
        ("1.26.3", True, 0, 1),
        ("1.26.3", False, 0, 0),
        ("1.22.1", False, 0, 0),
    ],
)
def test_http2_is_written_for_the_nginx_at_hand(
    template: str, version: str, http2: bool, by_listen: int, by_directive: int
) -> None:
    text = render(template, version, http2)
    servers = text.count("server {")
    assert len(re.findall(r"listen \S+ ssl http2", text)) == by_listen
    assert text.count("http2 on;") == by_directive * servers
    assert len(re.findall(r"^    listen \S+ ssl", text, re.MULTILINE)) == 2


def test_every_server_ends_resumption_and_has_the_same_protocols() -> None:
    for template in ("http.conf.j2", "site.conf.j2"):
        text = render(template)
        servers = text.count("server {")
        for line in ("ssl_protocols TLSv1.2 TLSv1.3;", "ssl_session_cache off;", "ssl_session_tickets off;"):
            assert text.count(line) == servers, line


@pytest.mark.parametrize("changes", [{}, {"mode": "path", "paths": ["/admin"]}])
def test_without_a_crl_nothing_may_stand_between_a_certificate_and_an_anchor(changes: dict[str, Any]) -> None:
    by_crl, by_map = render("site.conf.j2", **changes), render("site.conf.j2", revocation="map", **changes)
    for text, directives in (
        (by_crl, {"ssl_crl": "quietdoor/trust/crl.pem", "ssl_verify_depth": "2"}),
        (by_map, {"ssl_crl": '""', "ssl_verify_depth": "0"}),
    ):
        cas = f"quietdoor/trust/{'anchors' if text is by_map else 'ca'}.pem"
        directives |= {"ssl_client_certificate": cas, "ssl_trusted_certificate": cas}
        for name, value in directives.items():
            assert re.findall(rf"^    {name} (.*);$", text, re.MULTILINE) == [value]


def test_server_of_a_gate_sets_ciphers_and_hides_the_version() -> None:
    text = render("site.conf.j2")
    (ciphers,) = re.findall(r"^    ssl_ciphers (\S+);$", text, re.MULTILINE)
    sound = re.compile(r"ECDHE-(?:ECDSA|RSA)-(?:AES(?:128|256)-GCM-SHA\d+|CHACHA20-POLY1305)")
    assert all(map(sound.fullmatch, ciphers.split(":")))
    for template in ("http.conf.j2", "site.conf.j2"):
        assert render(template).count("server_tokens off;") == render(template).count("server {")


def test_gate_files_are_included_by_a_relative_path() -> None:
    for template in ("http.conf.j2", "site.conf.j2", "proxy.conf.j2"):
        text = render(template)
        assert not re.findall(r"include /|/etc/nginx", text)
    assert "include quietdoor/gate/generation.conf;" in render("http.conf.j2")


def test_names_are_looked_up_where_a_key_is_short_enough() -> None:
    """A key has at most 46 bytes where nothing else is configured; it counts without its case, as names of hosts do."""
    text = render("http.conf.j2", server_names=["panel.example", "a" * 23 + ".example", "a" * 27])
    keys = re.findall(r'^    "([~.].*)" 1;$', text.partition("$quietdoor_sni {")[2].partition("}")[0], re.MULTILINE)
    longest = f".:443:panel.example:{'a' * 26}"
    assert len(longest) == 46
    assert keys == [
        ".:443:panel.example:panel.example",
        rf"~*^\\.:443:panel\\.example:{'a' * 23}\\.example\\z",
        rf"~*^\\.:443:panel\\.example:{'a' * 27}\\z",
    ]
    assert f'"{longest}" 1;' in render("http.conf.j2", server_names=["panel.example", "a" * 26])


def test_names_are_matched_whole() -> None:
    long = "a-name-that-is-long.panel.example"
    text = render("http.conf.j2", server_names=[long, long.replace("panel", "alias")])
    keys = re.findall(r'^    "~\*(\^\\\\\.:443:[^"]+)" 1;$', text, re.MULTILINE)
    assert len(keys) == 2, "one for each name, and one port for two addresses"
    patterns = [re.compile(key.replace("\\\\", "\\").replace("\\z", "\\Z"), re.IGNORECASE) for key in keys]

    def made_for_us(text: str) -> bool:
        return any(pattern.search(text) for pattern in patterns)

    assert made_for_us(f".:443:{long}:{long}")
    assert made_for_us(f".:443:{long}:{long.replace('panel', 'ALIAS')}")
    for other in (
        f".:443:{long}:",
        f".:443:{long}:{long.replace('.', 'x')}",
        f".:443:{long}:{long}.evil",
        f".:8443:{long}:{long}",
        f".:443:other:{long}",
        f".:443:{long}:x.{long}",
    ):
        assert not made_for_us(other)
    assert not made_for_us(f"r:443:{long}:{long}"), "a resumed session was not made for us"


def test_no_header_is_written_twice() -> None:
    names = [name.lower() for name in re.findall(r"proxy_set_header (\S+)", render("proxy.conf.j2", websocket=True))]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("websocket", [True, False])
def test_gate_hands_on_no_upgrade_but_websocket(websocket: bool) -> None:
    sources = [path.read_text() for path in (ROLE / "templates").rglob("*.j2")]
    values = [re.findall(r"^\s*\w+ (?:HTTP_)?upgrade (.+);$", one, re.MULTILINE | re.IGNORECASE) for one in sources]
    assert {value for found in values for value in found} == {"$quietdoor_upgrade", '""'}
    text = render("proxy.conf.j2", websocket=websocket)
    assert ("proxy_set_header Upgrade $quietdoor_upgrade;" in text) == websocket
    (block,) = re.findall(r"map \$http_upgrade \$quietdoor_upgrade \{(.*?)\}", render("http.conf.j2"), re.DOTALL)
    assert block.split() == ["default", '"";', '"~*^websocket\\z"', "websocket;"]


def test_no_token_is_too_long_for_nginx_whatever_the_contact() -> None:
    text = render("site.conf.j2", contact="&" * 200) + render("http.conf.j2")
    assert all(len(token.encode()) <= 4094 for token in re.findall(r'"(?:[^"\\]|\\.)*"', text))


def test_an_upstream_is_checked_against_its_ca_and_only_then() -> None:
    assert "proxy_ssl" not in render("proxy.conf.j2")
    unchecked = render("proxy.conf.j2", upstream="https://app.internal")
    assert 'proxy_ssl_name "app.internal";' in unchecked
    assert "proxy_ssl_verify" not in unchecked
    checked = render("proxy.conf.j2", upstream="https://app.internal", upstream_ca="ca.pem")
    assert "proxy_ssl_verify on;" in checked
    assert 'proxy_ssl_trusted_certificate "ca.pem";' in checked


_HEADER = re.compile(r"^(?:proxy_set_header|grpc_set_header|fastcgi_param) (\S+) (.+);$", re.MULTILINE)
_UPSTREAMS = {
    "proxy": {"upstream": "http://127.0.0.1:3000"},
    "grpc": {"upstream": "grpcs://app.internal:50051", "upstream_ca": "ca.pem"},
    "fastcgi": {"upstream": "fastcgi://unix:/run/php.sock", "fastcgi_script": "/srv/app/index.php"},
    "decision": {"auth_request": "http://127.0.0.1:9000/x"},
}


@pytest.mark.parametrize("kind", _UPSTREAMS)
def test_every_kind_sends_the_same_identity_headers_once(kind: str) -> None:
    names = {"name": "remote-user", "email": "X-Mail", "verify": "X-SSL-Client-Verify"}
    found = _HEADER.findall(render(f"{kind}.conf.j2", identity_headers=names, **_UPSTREAMS[kind]))
    told = {
        name.lower().replace("http_", "").replace("_", "-"): value for name, value in found if name != "REMOTE_USER"
    }
    assert len(told) == len([name for name, _value in found if name != "REMOTE_USER"])
    assert told["remote-user"] == "$quietdoor_name"
    assert told["x-mail"] == "$quietdoor_email"
    assert told["x-ssl-client-verify"] == "$ssl_client_verify"
    assert told["x-client-roles"] == "$quietdoor_roles"
    for blanked in ("x-client-name", "x-client-email", "x-client-verify", "x-forwarded-user", "forwarded", "proxy"):
        assert told[blanked] == '""', blanked


@pytest.mark.parametrize("kind", ["proxy", "grpc", "fastcgi"])
def test_public_part_gets_no_identity_headers(kind: str) -> None:
    text = render(f"{kind}.conf.j2", handler=-1, mode="path", paths=["/admin"], **_UPSTREAMS[kind])
    told = dict(_HEADER.findall(text))
    names = [name for name in told if name.lower().replace("_", "-").removeprefix("http-").startswith("x-client-")]
    assert len(names) >= 8
    assert {told[name] for name in names} == {'""'}
    assert "$quietdoor_name" not in text
    assert "$ssl_client" not in text


def test_an_application_that_speaks_grpc_is_checked_against_its_ca() -> None:
    text = render("grpc.conf.j2", **_UPSTREAMS["grpc"])
    for line in ('grpc_ssl_name "app.internal";', "grpc_ssl_verify on;", 'grpc_pass "grpcs://app.internal:50051";'):
        assert line in text
    assert "grpc_ssl" not in render("grpc.conf.j2", upstream="grpc://127.0.0.1:50051")


def test_files_are_served_from_their_directory_and_never_listed() -> None:
    text = render("static.conf.j2", upstream='/srv/odd "dir; } #')
    assert 'root "/srv/odd \\"dir; } #";' in text
    assert "autoindex off;" in text


def test_every_answer_of_the_gate_has_hsts_and_none_without_it() -> None:
    text = render("site.conf.j2", hsts=True, rate_limit={"rate": "1r/s"})
    assert text.count("add_header Strict-Transport-Security $quietdoor_site_panel_hsts always;") == 4
    for location in re.split(r"\n    location ", text)[1:]:
        assert ("add_header" in location) == ("Strict-Transport-Security" in location)
    assert "Strict-Transport-Security" not in render("site.conf.j2", rate_limit={"rate": "1r/s"})


def test_mode_path_opens_only_one_location() -> None:
    text = render("site.conf.j2", mode="path", paths=["/admin", "/x/y.php"], auth_request="http://127.0.0.1:9000")
    locations = re.split(r"\n    location ", text)
    assert "    auth_request /.well-known/quietdoor/verdict;\n" in locations[0]
    weaker = [one.split(" {")[0] for one in locations[1:] if "auth_request" in one]
    assert weaker == ["@quietdoor_bad_certificate", "/"]
    assert "auth_request off" not in text
    for path in ("/admin", "/x/y.php"):
        assert f'location = "{path}" {{' in text
        assert f'location ^~ "{path}/" {{' in text


_EDGE = {
    "source": "edge",
    "trusted_proxies": ["192.0.2.0/24", "2001:db8::1"],
    "edge": {"profile": "nginx", "certificate_authority": "edge.pem", "certificates": ["CN=edge"]},
}


@pytest.mark.parametrize("template", ["http.conf.j2", "site.conf.j2", "proxy.conf.j2"])
def test_a_direct_site_knows_nothing_of_edges(template: str) -> None:
    assert "edge" not in render(template)


@pytest.mark.parametrize("mode", [{}, {"mode": "path", "paths": ["/admin"]}])
def test_site_behind_an_edge_trusts_only_its_ca_and_names_only_the_client(mode: dict[str, Any]) -> None:
    text = render("site.conf.j2", **_EDGE, **mode, allow={"names": ["alex"]}, rate_limit={"rate": "1r/m"})
    assert "quietdoor/trust/" not in text, "a person's certificate would be verified too"
    for line in (
        f"ssl_verify_client {'optional' if mode else 'on'};",
        'ssl_client_certificate "edge.pem";',
        'ssl_trusted_certificate "edge.pem";',
        'ssl_crl "";',
        "set_real_ip_from 192.0.2.0/24;",
        "set_real_ip_from 2001:db8::1/128;",
        "real_ip_header X-Forwarded-For;",
        "real_ip_recursive off;",
    ):
        assert text.count(line) == 1, line
    assert not re.findall(r"\$quietdoor_(?:name|email|roles)\b", text)
    assert "$binary_remote_addr" not in text
    # nginx speaks of the edge's certificate, in the log and where it is compared.
    assert set(re.findall(r"[^\n]*\$ssl_client_[^\n]*", text)) == {
        line for line in text.splitlines() if line.startswith("map") or '"edge":' in line if "$ssl_client_" in line
    }
    handlers = [render("proxy.conf.j2", handler=number, **_EDGE, **mode) for number in ((0, -1) if mode else (0,))]
    for handler in handlers:
        assert "$ssl_client" not in handler
        assert "$remote_addr" not in handler
        for name in ("X-SSL-Client-Verify", "X-SSL-Client-Serial", "X-SSL-Client-I-DN"):
            assert handler.count(f'proxy_set_header {name} "";') == 1


def test_by_the_network_alone_no_certificate_is_asked_for() -> None:
    edge = {"profile": "google", "authentication": "network"}
    text = render("site.conf.j2", **{**_EDGE, "edge": edge})
    assert "ssl_verify_client off;" in text
    assert "ssl_client_certificate" not in text
    assert "real_ip_recursive on;" in text


def test_an_edge_with_a_list_of_revoked_certificates() -> None:
    text = render("site.conf.j2", **{**_EDGE, "edge": {**_EDGE["edge"], "crl": "edge-crl.pem"}})
    assert 'ssl_crl "edge-crl.pem";' in text


@pytest.mark.parametrize("kind", _UPSTREAMS)
def test_names_of_an_edge_reach_no_kind_of_application(kind: str) -> None:
    edge = {**_EDGE["edge"], "profile": "custom", "headers": {"sha256": "X-Edge-Digest"}, "address_header": "X-Visitor"}
    text = render(f"{kind}.conf.j2", **{**_EDGE, "edge": edge}, **_UPSTREAMS[kind])
    told = {name.lower().replace("http_", "").replace("_", "-"): value for name, value in _HEADER.findall(text)}
    assert (told["x-edge-digest"], told["x-visitor"]) == ('""', '""')
    assert told["x-real-ip"] == told["x-forwarded-for"] == "$quietdoor_site_panel_visitor"


def test_names_for_captures_fit_into_pcre() -> None:
    edge = _EDGE["edge"]
    for profile in PROFILES:
        text = render("site.conf.j2", name="a" * 32, **{**_EDGE, "edge": {**edge, "profile": profile}})
        names = re.findall(r"\(\?<(\w+)>", text)
        assert names
        assert all(len(name) <= 32 for name in names)


_OPEN = {
    "stage": "fallback",
    "window": {
        "until": "2030-01-01T00:00:00Z",
        "networks": ["192.0.2.0/24"],
        "basic_auth": {"user_file": "/etc/nginx/users", "rate": "1r/s"},
    },
}
_PATH = {"mode": "path", "paths": ["/admin"], "allow": {"names": ["alex"]}, "rate_limit": {"rate": "1r/m"}}


@pytest.mark.parametrize("changes", [{}, _PATH, _OPEN, {**_PATH, **_OPEN}, *({"profile": one} for one in PROFILES)])
def test_names_of_variables_fit_into_nginx_however_long_the_name_of_the_site_is(changes: dict[str, Any]) -> None:
    """One that is longer than 46 bytes does not fit into variables_hash_bucket_size where cache lines have 64 bytes."""
    if "profile" in changes:
        changes = {**_EDGE, "edge": {**_EDGE["edge"], **changes}}
    texts = [render(template, name="a" * 32, **changes) for template in ("http.conf.j2", "site.conf.j2")]
    for text in texts:
        assert max(map(len, re.findall(r"[$<](quietdoor_\w+)", text))) <= 46


def _without(text: str) -> list[Any]:
    """Which directives there are, without the keys of maps."""
    return [
        (one.name, one.args[1:], len(one.block or ()))
        if one.name in ("map", "geo")
        else (one.name, [(inner.name, len(inner.args)) for inner in one.block or ()])
        for one in parse(text, "site.conf")
    ]


_PIECES = st.lists(
    st.sampled_from(
        ["CN=", "x", '"', "'", "\\", ";", "{", "}", "$", "${host}", "\n", "#", "~", " ", ".pem", "/", "X-A"]
    ),
    min_size=1,
    max_size=6,
).map("".join)
_FREE = {
    "certificate_authority": lambda value: {"certificate_authority": value},
    "crl": lambda value: {"crl": value},
    "certificates": lambda value: {"certificates": [value]},
    "headers": lambda value: {"headers": {"serial": value}},
    "address_header": lambda value: {"address_header": value},
}


@pytest.mark.parametrize("key", _FREE)
@settings(max_examples=40)
@given(value=st.one_of(_PIECES, st.text(min_size=1, max_size=20)))
def test_whatever_is_written_of_an_edge_is_refused_or_adds_no_directive(key: str, value: str) -> None:
    harmless = {
        "certificate_authority": "a",
        "crl": "a",
        "certificates": "CN=a",
        "headers": "X-B",
        "address_header": "X-B",
    }
    text, refusal = "", ""
    try:
        text = render("site.conf.j2", **{**_EDGE, "edge": {**_EDGE["edge"], **_FREE[key](value)}})
    except MtlsError as problem:
        refusal = str(problem)
    if refusal:
        assert "gate_sites: site panel: edge: " in refusal
        return
    assert _without(text) == _without(
        render("site.conf.j2", **{**_EDGE, "edge": {**_EDGE["edge"], **_FREE[key](harmless[key])}})
    )


def test_the_role_documents_every_key_of_a_site_and_of_an_edge() -> None:
    specs = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
    site = specs["argument_specs"]["main"]["options"]["gate_sites"]["options"]
    assert sorted(site) == sorted(KEYS)
    assert sorted(site["edge"]["options"]) == sorted(EDGE_KEYS)
    assert sorted(site["edge"]["options"]["headers"]["options"]) == sorted(HEADERS)
    described = site["edge"]["options"]["profile"]["description"][0]
    page = (ROLE.parents[1] / "docs" / "behind-a-proxy.md").read_text(encoding="utf-8")
    for name in (*PROFILES, CUSTOM):
        assert f"V({name})" in described
        assert f"| `{name}` |" in page
    for name, profile in PROFILES.items():
        assert all(header in page for header in profile.headers.values()), name


def test_every_header_of_a_profile_is_dropped_by_every_site() -> None:
    blanked = {header.lower() for header in header_names(IDENTITY)}
    for name, profile in PROFILES.items():
        assert {header.lower() for header in profile.headers.values()} <= blanked, name


@pytest.mark.parametrize("template", ["proxy.conf.j2", "location.conf.j2"])
def test_reason_of_a_kept_header_is_in_the_configuration(template: str) -> None:
    more = {"manage": "snippets", "certificate": None, "certificate_key": None} if "location" in template else {}
    text = render(template, keep_headers=[{"name": "X-Forwarded-Prefix", "reason": "set by {our} CDN; $x"}], **more)
    assert "\n# X-Forwarded-Prefix of the client is kept: set by {our} CDN; $x\n" in text
    assert 'X-Forwarded-Prefix "";' not in text
    assert 'X-Forwarded-Path "";' in text


BY_PATH = {"manage": "snippets", "mode": "path", "paths": ["/admin/"], "certificate": None, "certificate_key": None}


@pytest.mark.parametrize(
    ("listen", "address", "url"),
    [
        ("443", "127.0.0.1", "https://127.0.0.1:443"),
        ("[::]:8443", "::1", "https://[::1]:8443"),
        ("192.0.2.1:443", "192.0.2.1", "https://192.0.2.1:443"),
    ],
)
def test_re_proxied_request_uses_the_address_of_the_site(listen: str, address: str, url: str) -> None:
    server = render("site.conf.j2", part="server", listen=[listen], **BY_PATH)
    assert f"set_real_ip_from {address};" in server
    assert f"proxy_pass {url};" in render("again.conf.j2", listen=[listen], **BY_PATH)


def test_snippets_of_a_path_ask_in_both_phases() -> None:
    panel, public = (render("location.conf.j2", handler=number, **BY_PATH) for number in (0, 1))
    assert "if ($quietdoor_site_panel_verdict_now != cert) {" in panel
    assert "auth_request /.well-known/quietdoor/verdict;" in panel
    assert 'if ($quietdoor_site_panel_verdict_now !~ "^(?:public|cert)\\z") {' in public
    assert "auth_request /.well-known/quietdoor/public;" in public
    assert "proxy_set_header X-Client-Name $quietdoor_name;" in panel
    assert "proxy_set_header X-Client-Name $quietdoor_site_panel_identity_" in public
    for text in (panel, public):
        names = [name.lower() for name in re.findall(r"proxy_set_header (\S+)", text)]
        assert len(names) == len(set(names))
