# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the parser of `gate_sites`: accepted values, defaults and messages."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._contracts.identity_headers import IDENTITY, header_names
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.quoting import quote
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.models import KEYS
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.parser import parse_sites
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.template_context import describe_site
from hypothesis import given
from hypothesis import strategies as st


def site(**changes: Any) -> dict[str, Any]:
    """Return a valid site, with some keys replaced, or removed where the value is ``...``."""
    good = {
        "name": "panel",
        "stage": "enforce",
        "server_names": ["panel.example.org"],
        "upstream": "http://127.0.0.1:3000",
        "certificate": "/etc/ssl/panel.pem",
        "certificate_key": "panel.key",
    }
    return {key: value for key, value in {**good, **changes}.items() if value is not ...}


def test_a_long_name_is_short_in_nginx_and_like_no_other() -> None:
    """The names of variables have room for 14 characters."""
    names = ["a-name-of-14-c", "a-name-of-15-ch", "a-name-of-15-ci", "a" * 32]
    sites = [site(name=name, server_names=[f"{number}.test"]) for number, name in enumerate(names)]
    slugs = [one.slug for one in parse_sites(sites)]
    assert slugs[0] == "a_name_of_14_c"
    assert slugs[1] == f"a_name__{sha256(b'a_name_of_15_ch').hexdigest()[:6]}"
    assert all(re.fullmatch("[a-z][a-z0-9_]{0,13}", slug) for slug in slugs)
    assert len(set(slugs)) == len(slugs)
    with pytest.raises(MtlsError, match="the same as site a-name-of-15-ch"):
        parse_sites([sites[1], site(name="a-name-of-15_ch", server_names=["x.test"])])


def test_what_is_left_out_is_filled_in() -> None:
    assert describe_site(parse_sites([site()])[0]) == {
        "name": "panel",
        "slug": "panel",
        "stage": "enforce",
        "manage": "vhost",
        "mode": "host",
        "comes_again": False,
        "server_names": ["panel.example.org"],
        "listen": [{"address": "*", "port": 443, "token": "443"}],
        "endpoints": [{"site": "panel", "address": "127.0.0.1", "port": 443, "server_name": "panel.example.org"}],
        "handlers": [
            {
                "key": "proxy",
                "path": "/",
                "identity": True,
                "kind": "proxy",
                "address": "http://127.0.0.1:3000",
                "name": "127.0.0.1",
                "tls": False,
                "ca": "",
                "script": "",
            }
        ],
        "paths": [],
        "path_keys": {"guarded": [], "spelled": [], "refused": [], "odd": [], "hidden": []},
        "allow": {},
        "identity_headers": [
            {"name": name, "key": key, "value": variable, "source": variable}
            for name, key, variable in (
                ("X-Client-Verify", "verify", "$ssl_client_verify"),
                ("X-Client-DN", "dn", "$quietdoor_subject_dn"),
                ("X-Client-Serial", "serial", "$quietdoor_serial"),
                ("X-Client-Fingerprint", "fingerprint", "$ssl_client_fingerprint"),
                ("X-Client-Issuer-DN", "issuer_dn", "$quietdoor_issuer_dn"),
                ("X-Client-Name", "name", "$quietdoor_name"),
                ("X-Client-Email", "email", "$quietdoor_email"),
                ("X-Client-Roles", "roles", "$quietdoor_roles"),
            )
        ],
        "user": "$quietdoor_name",
        "window": {},
        "edge": {},
        "edge_headers": [],
        "visitor": {
            "verify": "$ssl_client_verify",
            "dn": "$quietdoor_subject_dn",
            "serial": "$quietdoor_serial",
            "fingerprint": "$ssl_client_fingerprint",
            "issuer_dn": "$quietdoor_issuer_dn",
            "name": "$quietdoor_name",
            "email": "$quietdoor_email",
            "roles": "$quietdoor_roles",
            "address": "$remote_addr",
        },
        "auth_request": "",
        "hsts": "",
        "rate_limit": {},
        "revocation": "crl",
        "certificate": "/etc/ssl/panel.pem",
        "certificate_key": "panel.key",
        "contact": "",
        "contact_html": "",
        "client_max_body_size": "",
        "larger_body_key": "",
        "websocket": False,
        "rehearsal": False,
        "detects_forgery": False,
        "dropped_headers": list(header_names(IDENTITY)),
        "kept_headers": [],
    }


def test_an_empty_list_is_no_mistake() -> None:
    assert parse_sites([]) == ()


@pytest.mark.parametrize(
    ("listen", "token", "asked_at"),
    [
        (8443, "8443", "127.0.0.1"),
        ("8443", "8443", "127.0.0.1"),
        ("*:8443", "8443", "127.0.0.1"),
        ("0.0.0.0:8443", "8443", "127.0.0.1"),
        ("192.0.2.7:8443", "192.0.2.7:8443", "192.0.2.7"),
        ("[::]:8443", "[::]:8443", "::1"),
        ("[2001:DB8::0:7]:8443", "[2001:db8::7]:8443", "2001:db8::7"),
    ],
)
def test_listen(listen: object, token: str, asked_at: str) -> None:
    for given_as in ([listen], listen):
        parsed = parse_sites([site(listen=given_as)])[0]
        assert [one.token for one in parsed.listen] == [token]
        assert describe_site(parsed)["endpoints"][0]["address"] == asked_at


@pytest.mark.parametrize(
    ("upstream", "for_nginx", "name"),
    [
        ("http://127.0.0.1:3000", "http://127.0.0.1:3000", "127.0.0.1"),
        ("http://app.internal:3000/", "http://app.internal:3000", "app.internal"),
        ("https://app.internal", "https://app.internal", "app.internal"),
        ("http://[::1]:3000", "http://[::1]:3000", "::1"),
        ("http://unix:/run/app/http.sock", "http://unix:/run/app/http.sock", ""),
    ],
)
def test_upstream(upstream: str, for_nginx: str, name: str) -> None:
    parsed = parse_sites([site(upstream=upstream)])[0]
    assert (parsed.upstream.address, parsed.upstream.name) == (for_nginx, name)


def test_names_are_compared_without_case_and_in_ascii() -> None:
    assert parse_sites([site(server_names=["Panel.EXAMPLE.org", "xn--bcher-kva.example"])])[0].server_names == (
        "panel.example.org",
        "xn--bcher-kva.example",
    )


_HOSTILE = [
    "a b",
    "a;b",
    "a}b",
    'a"b',
    "a\\b",
    "a\nb",
    "a$b",
    "a#b",
    "a\x00b",
    "$host",
    "",
    "a{b",
    "é",
    "../x",
    "-a",
    ".a",
    "a.",
]


@pytest.mark.parametrize("text", _HOSTILE)
@pytest.mark.parametrize("key", ["name", "server_names", "listen", "upstream", "stage", "mode", "client_max_body_size"])
def test_nothing_hostile_is_a_word_of_nginx(key: str, text: str) -> None:
    if text == "" and key in ("listen", "mode", "client_max_body_size"):
        assert parse_sites([site(**{key: text})]) == parse_sites([site()])
        return
    with pytest.raises(MtlsError, match=rf"^gate_sites: (?:site panel|entry 1): {key}: "):
        parse_sites([site(**{key: text})])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": ...}, "entry 1: name: missing"),
        ({"name": "Panel"}, "entry 1: name: 'Panel' is not a valid site name"),
        ({"name": "p" * 33}, "is not a valid site name"),
        ({"name": 7}, "entry 1: name: 7 is a number, not a string"),
        ({"stage": ...}, "site panel: stage: missing. Write one of: absent, observe, fallback, enforce."),
        (
            {"stage": False},
            "site panel: stage: False is a boolean (YAML reads off, no, on and yes as one). Write stage: absent",
        ),
        ({"stage": "off"}, "site panel: stage: 'off' is not a valid stage"),
        ({"mode": "paths"}, "site panel: mode: 'paths' is not a valid mode"),
        ({"server_names": ...}, "site panel: server_names: missing"),
        ({"server_names": []}, "site panel: server_names: an empty list"),
        ({"server_names": ["*.example.org"]}, "'*.example.org' is not a valid host name (wildcards are not supported)"),
        ({"server_names": ["~^panel$"]}, "is not a valid host name (wildcards are not supported)"),
        ({"server_names": ["_"]}, "is not a valid host name (wildcards are not supported)"),
        ({"server_names": ["192.0.2.7"]}, "'192.0.2.7' is an address"),
        ({"server_names": ["[::1]"]}, "is not a valid host name (wildcards are not supported)"),
        ({"server_names": ["bücher.example"]}, "is not ASCII. Write it as the A-label"),
        ({"server_names": ["a.example", "A.example"]}, "a.example is listed more than once"),
        ({"server_names": [f"{'a' * 64}.example"]}, "is not a valid host name (wildcards are not supported)"),
        ({"server_names": [".".join(["abcdefgh"] * 30)]}, "is not a valid host name (wildcards are not supported)"),
        ({"server_names": [None]}, "None is null, not a string"),
        ({"server_names": {"a": 1}}, "is a mapping, not a string"),
        ({"listen": ["0"]}, "site panel: listen: 0 is not a valid port"),
        ({"listen": ["65536"]}, "65536 is not a valid port"),
        ({"listen": ["443 default_server"]}, "is not a valid port, or address and port"),
        ({"listen": ["999.1.1.1:443"]}, "'999.1.1.1' is not a valid address"),
        ({"listen": ["[::1:443"]}, "is not a valid port, or address and port"),
        ({"listen": ["443", "0.0.0.0:443"]}, "443 is listed more than once"),
        ({"listen": [True]}, "True is a boolean, not a string"),
        ({"upstream": ...}, "site panel: upstream: missing"),
        ({"upstream": "http://app:3000/admin"}, "is not a valid address of an application"),
        ({"upstream": "http://app:99999"}, "99999 is not a valid port"),
        ({"upstream": "ftp://app"}, "is not a valid address of an application"),
        ({"upstream": "http://user@app"}, "is not a valid address of an application"),
        ({"upstream": "app:3000"}, "is not a valid address of an application"),
        ({"upstream_ca": "/ca.pem"}, "upstream_ca: has no effect, because upstream is not https"),
        ({"certificate": ...}, "site panel: certificate: missing"),
        ({"certificate_key": ...}, "site panel: certificate_key: missing"),
        ({"certificate": "/etc/$host.pem"}, "is not a valid path of a file"),
        ({"certificate_key": "engine:pkcs11:key"}, "is not a valid path of a file"),
        ({"certificate_key": "data:x"}, "is not a valid path of a file"),
        ({"certificate": "a\nb"}, "is not a valid path of a file"),
        ({"contact": "x" * 201}, "201 characters are more than 200"),
        ({"contact": "a\nb"}, "a line break or another control character"),
        ({"contact": "evil\u202egnp"}, "a line break or another control character"),
        ({"contact": ["a"]}, "is a list, not a string"),
        ({"client_max_body_size": "20 m"}, "is not a valid size"),
        ({"accepted_variable_targets": ["proxy_pass http://a"]}, "is not a valid directive with a variable target"),
        ({"accepted_variable_targets": ["rewrite ^ $a"]}, "is not a valid directive with a variable target"),
        ({"accepted_variable_targets": ['proxy_pass "http://$a']}, "is not a valid directive with a variable target"),
        ({"accepted_variable_targets": ["proxy_pass http://$a; }"]}, "is not a valid directive with a variable target"),
        ({"accepted_variable_targets": []}, "accepted_variable_targets: an empty list"),
        ({"client_max_body_size": ["1m", "2m"]}, "is not a valid size"),
        ({"websocket": "yes"}, "site panel: websocket: 'yes' is a string, not a boolean"),
        (
            {"hst": True, "path": []},
            "site panel: hst, path: unknown key. Write only keys of a site: accepted_variable_targets, ",
        ),
    ],
)
def test_a_mistake_is_named_with_site_and_key(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(MtlsError) as problem:
        parse_sites([site(**changes)])
    assert str(problem.value).startswith("gate_sites: ")
    assert said in str(problem.value)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (None, "gate_sites is null, not a list"),
        ({"panel": {}}, "gate_sites is a mapping, not a list"),
        ("panel", "gate_sites is a string, not a list"),
        (["panel"], "entry 1 is a string, not a mapping"),
        ([site(), site()], "site panel: name: the same as site panel"),
        ([site(name="a-b"), site(name="a_b")], "site a_b: name: the same as site a-b"),
        (
            [site(), site(name="b", server_names=["x.example", "PANEL.example.org"], listen=["127.0.0.1:443"])],
            "site b: server_names: panel.example.org on port 443 already belongs to site panel",
        ),
    ],
)
def test_a_mistake_of_the_list_is_named(raw: object, said: str) -> None:
    with pytest.raises(MtlsError) as problem:
        parse_sites(raw)
    assert said in str(problem.value)


def test_one_name_on_two_ports_and_of_an_absent_site_is_no_mistake() -> None:
    sites = parse_sites([site(), site(name="b", listen=["8443"]), site(name="c", stage="absent")])
    assert [one.stage for one in sites] == ["enforce", "enforce", "absent"]


def test_every_known_key_is_accepted_and_none_is_forgotten() -> None:
    full = site(
        manage="vhost",
        mode="path",
        paths=["/admin/", {"path": "/rpc", "upstream": "fastcgi://unix:/run/x", "fastcgi_script": "/srv/x.php"}],
        path_spelling="loose",
        listen=["443"],
        upstream="https://app.internal",
        upstream_ca="ca.pem",
        contact="ops",
        websocket=True,
        client_max_body_size=0,
        accepted_variable_targets=[
            "proxy_pass  http://$backend ;",
            "fastcgi_pass 'unix:/run/$app.sock';",
            'grpc_pass "$a"',
        ],
        allow={"names": ["alex"], "emails": [], "roles": ["db:read"]},
        identity_headers={"name": "Remote-User"},
        auth_request="http://127.0.0.1:9000",
        hsts={"max_age": "365d", "include_subdomains": True, "preload": True},
        rate_limit={"rate": "10r/m"},
        window={"networks": ["192.0.2.0/24"]},
        staging_listen=["8443"],
        source="edge",
        trusted_proxies=["192.0.2.1"],
        edge={"profile": "haproxy", "certificate_authority": "edge.pem", "certificates": ["CN=edge"]},
        revocation="map",
        drop_client_headers=True,
        keep_headers=[{"name": "X-User-Id", "reason": "bots"}],
    )
    assert sorted([*full, "fastcgi_script", "refuse_forged_headers"]) == sorted(KEYS)
    parsed = parse_sites([full])[0]
    assert (parsed.client_max_body_size, parsed.websocket, parsed.upstream.ca) == ("0", True, "ca.pem")
    targets = ("proxy_pass http://$backend", "fastcgi_pass unix:/run/$app.sock", "grpc_pass $a")
    assert parsed.accepted_variable_targets == targets
    reported = describe_site(parsed)
    assert [(one["key"], one["path"], one["kind"], one["identity"]) for one in reported["handlers"]] == [
        ("panel-1", "/admin", "proxy", True),
        ("panel-2", "/rpc", "fastcgi", True),
        ("public", "/", "proxy", False),
    ]
    assert reported["auth_request"] == "http://127.0.0.1:9000/"
    assert reported["hsts"] == "max-age=31536000; includeSubDomains; preload"
    assert reported["rate_limit"] == {"rate": "10r/m", "burst": 10}
    assert reported["larger_body_key"] == ""


_PATH_SITE = {"mode": "path", "paths": ["/admin/"]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mode": "path"}, "paths: missing"),
        ({"paths": ["/admin"]}, "paths: has no effect in mode host"),
        ({"path_spelling": "loose"}, "path_spelling: has no effect in mode host"),
        ({**_PATH_SITE, "path_spelling": "lax"}, "path_spelling: 'lax' is unknown. Write one of: strict, loose"),
        ({**_PATH_SITE, "paths": "/admin"}, "paths: '/admin' is a string, not a list"),
        ({**_PATH_SITE, "paths": [7]}, "paths: 7 is a number, not a string"),
        ({**_PATH_SITE, "paths": ["/"]}, "paths: path: '/' is the whole site"),
        ({**_PATH_SITE, "paths": ["admin"]}, "paths: path: 'admin' is not a valid guarded path"),
        ({**_PATH_SITE, "paths": ["/admin//x"]}, "is not a valid guarded path"),
        ({**_PATH_SITE, "paths": ["/a/../b"]}, "is not a valid guarded path"),
        ({**_PATH_SITE, "paths": ["/adm%69n"]}, "is not a valid guarded path"),
        ({**_PATH_SITE, "paths": ["/a b"]}, "is not a valid guarded path"),
        ({**_PATH_SITE, "paths": ["/a;b"]}, "is not a valid guarded path"),
        ({**_PATH_SITE, "paths": ['/a"']}, "is not a valid guarded path"),
        ({**_PATH_SITE, "paths": ["/a\n}"]}, "is not a valid guarded path"),
        ({**_PATH_SITE, "paths": ["/$host"]}, "is not a valid guarded path"),
        (
            {**_PATH_SITE, "paths": ["/caf\u00e9"]},
            "'/café' has characters beyond ASCII, which programs encode and normalize in different ways. Guard an ASCII path",
        ),
        ({**_PATH_SITE, "paths": [f"/{'a' * 99}x"]}, "is not a valid guarded path"),
        ({**_PATH_SITE, "paths": [f"/{'a' * 60}"]}, "is too long to be matched in every spelling"),
        ({**_PATH_SITE, "paths": ["/.well-known/quietdoor/x"]}, "/.well-known/quietdoor belongs to the gate itself"),
        ({**_PATH_SITE, "paths": ["/.Well-Known"]}, "/.well-known/quietdoor belongs to the gate itself"),
        ({**_PATH_SITE, "paths": ["/admin", "/Admin/"]}, "paths: /admin is listed more than once"),
        (
            {**_PATH_SITE, "paths": [{"path": "/a", "up": 1}]},
            "paths: up: unknown key. Write only these keys here: path, upstream",
        ),
        (
            {**_PATH_SITE, "paths": [{"path": "/a", "upstream_ca": "x"}]},
            "paths: upstream_ca: has no effect without an upstream",
        ),
        (
            {**_PATH_SITE, "paths": [{"path": "/a", "upstream": "x"}]},
            "paths: upstream: 'x' is not a valid address of an application",
        ),
        ({"upstream": "grpc://127.0.0.1"}, "upstream: 'grpc://127.0.0.1' has no port"),
        ({"upstream": "https://unix:/run/x"}, "is not a valid address of an application"),
        ({"upstream": "fastcgi://127.0.0.1:9000"}, "fastcgi_script: missing"),
        (
            {"upstream": "fastcgi://127.0.0.1:9000", "fastcgi_script": "x.php"},
            "'x.php' is not a valid path of a script",
        ),
        ({"upstream": "fastcgi://127.0.0.1:9000", "fastcgi_script": "/$x.php"}, "is not a valid path of a script"),
        ({"fastcgi_script": "/x.php"}, "fastcgi_script: has no effect, because upstream is not fastcgi"),
        ({"upstream": "/srv/$host"}, "is not a valid path of a directory"),
        ({"upstream": "/srv/../etc"}, "is not a valid path of a directory"),
        ({"upstream": "/srv\n"}, "is not a valid path of a directory"),
        ({"allow": {}}, "allow: admits no client"),
        ({"allow": {"names": []}}, "allow: admits no client"),
        ({"allow": ["alex"]}, "allow: ['alex'] is a list, not a mapping"),
        ({"allow": {"groups": ["x"]}}, "allow: groups: unknown key"),
        ({"allow": {"names": ["a,b"]}}, "allow: names: 'a,b' is not valid in a roster"),
        ({"allow": {"names": [".*"]}}, "is not valid in a roster"),
        ({"allow": {"emails": ["a@b", "a@b"]}}, "allow: emails: a@b is listed more than once"),
        ({"allow": {"emails": ["a@b,c@d"]}}, "is not valid in a roster"),
        ({"allow": {"roles": ["a b"]}}, "is not valid in a roster"),
        ({"allow": {"roles": [True]}}, "True is a boolean, not a string"),
        ({"identity_headers": {"name": "X_Name"}}, "identity_headers: name: 'X_Name' is not a valid header name"),
        ({"identity_headers": {"name": "X-Name:"}}, "is not a valid header name"),
        ({"identity_headers": {"name": "X-Name $a"}}, "is not a valid header name"),
        ({"identity_headers": {"name": "X--Name"}}, "is not a valid header name"),
        ({"identity_headers": {"name": "X" * 41}}, "is not a valid header name"),
        ({"identity_headers": {"name": "Connection"}}, "name: Connection is reserved, because"),
        ({"identity_headers": {"name": "transfer-encoding"}}, "is reserved, because"),
        ({"identity_headers": {"name": "X-Forwarded-For"}}, "is reserved, because"),
        ({"identity_headers": {"name": "X-Quietdoor-Verdict"}}, "is reserved, because"),
        ({"identity_headers": {"name": "X-Client-DN"}}, "identity_headers: x-client-dn is listed more than once"),
        ({"identity_headers": {"name": "X-Who", "email": "x-who"}}, "x-who is listed more than once"),
        ({"identity_headers": {"who": "X-Who"}}, "identity_headers: who: unknown key"),
        ({"auth_request": "https://127.0.0.1/x"}, "is not a valid address of a decision service"),
        ({"auth_request": "http://127.0.0.1/x?y=$z"}, "is not a valid address of a decision service"),
        ({"auth_request": "http://127.0.0.1:/x"}, "is not a valid address of a decision service"),
        ({"auth_request": "http://unix:/run/x"}, "is not a valid address of a decision service"),
        ({"auth_request": "http://127.0.0.1:70000/x"}, "auth_request: 70000 is not a valid port"),
        ({"hsts": "yes"}, "hsts: 'yes' is a string, not a mapping"),
        ({"hsts": {"max_age": "1y"}}, "hsts: max_age: '1y' is not a valid duration"),
        ({"hsts": {"preload": True}}, "hsts: preload: the preload list requires include_subdomains"),
        (
            {"hsts": {"preload": True, "include_subdomains": True, "max_age": "364d"}},
            "hsts: preload: the preload list requires",
        ),
        ({"hsts": {"includeSubDomains": True}}, "hsts: includeSubDomains: unknown key"),
        ({"revocation": "ocsp"}, "revocation: 'ocsp' is unknown"),
        ({"rate_limit": {}}, "rate_limit: rate: missing"),
        ({"rate_limit": "10r/m"}, "rate_limit: '10r/m' is a string, not a mapping"),
        ({"rate_limit": {"rate": "10/m"}}, "rate_limit: rate: '10/m' is not a valid rate"),
        ({"rate_limit": {"rate": "0r/s"}}, "is not a valid rate"),
        ({"rate_limit": {"rate": "1r/s; }"}}, "is not a valid rate"),
        ({"rate_limit": {"rate": "1r/s", "burst": -1}}, "rate_limit: burst: -1 is not a valid number of requests"),
        ({"rate_limit": {"rate": "1r/s", "burst": True}}, "burst: True is not a valid number of requests"),
    ],
)
def test_a_mistake_in_what_guards_a_site_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(MtlsError) as problem:
        parse_sites([site(**changes)])
    assert str(problem.value).startswith("gate_sites: site panel: ")
    assert said in str(problem.value)


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9000/decide", "http://unix:/run/opa.sock:/v1/x", "http://[::1]:9000/"]
)
def test_a_decision_service_is_taken_as_it_stands(address: str) -> None:
    assert parse_sites([site(auth_request=address)])[0].auth_request == address


@given(st.text(max_size=200).filter(str.isprintable))
def test_a_contact_is_harmless_in_html_and_in_nginx(contact: str) -> None:
    shown = describe_site(parse_sites([site(contact=contact)])[0])["contact_html"]
    assert not set(shown) & set("<>\"'$\\")
    assert quote(shown) == f'"{shown}"'


@given(st.text())
def test_whatever_stands_in_a_path_nginx_can_quote_it_or_it_is_refused(path: str) -> None:
    try:
        parsed = parse_sites([site(certificate=path)])[0]
    except MtlsError:
        return
    assert quote(parsed.certificate).strip('"')


def test_snippets_stand_in_a_server_that_says_the_rest_itself() -> None:
    bare = site(manage="snippets", certificate=..., certificate_key=..., upstream="fastcgi://unix:/run/app.sock")
    reported = describe_site(parse_sites([bare])[0])
    assert [(one["key"], one["kind"], one["identity"]) for one in reported["handlers"]] == [
        ("location", "fastcgi", True)
    ]
    assert reported["certificate"] == ""


def test_snippets_of_a_path_are_one_for_each_part() -> None:
    paths = ["/admin/", {"path": "/php", "upstream": "fastcgi://unix:/run/app.sock"}]
    bare = site(manage="snippets", mode="path", paths=paths, certificate=..., certificate_key=...)
    reported = describe_site(parse_sites([bare])[0])
    handlers = [(one["key"], one["kind"], one["identity"]) for one in reported["handlers"]]
    assert handlers == [("panel-1", "proxy", True), ("panel-2", "fastcgi", True), ("public", "proxy", False)]
    assert (reported["client_max_body_size"], reported["larger_body_key"]) == ("", "")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"manage": "conf"}, "site panel: manage: 'conf' is unknown. Write one of: vhost, snippets"),
        ({"manage": "snippets"}, "site panel: certificate: has no effect with manage: snippets"),
        (
            {"refuse_forged_headers": False},
            "site panel: refuse_forged_headers: has an effect only with manage: snippets",
        ),
        (
            {"manage": "snippets", "mode": "path", "paths": ["/a"], "refuse_forged_headers": True}
            | {"certificate": ..., "certificate_key": ...},
            "site panel: refuse_forged_headers: has an effect only with manage: snippets and mode: host",
        ),
        (
            {"manage": "snippets", "refuse_forged_headers": "no", "certificate": ..., "certificate_key": ...},
            "site panel: refuse_forged_headers: 'no' is a string, not a boolean",
        ),
        (
            {"manage": "snippets", "certificate": ..., "certificate_key": ..., "websocket": False},
            "websocket: has no effect",
        ),
        (
            {"manage": "snippets", "certificate": ..., "certificate_key": ..., "upstream_ca": "x"},
            "upstream_ca: has no effect",
        ),
        (
            {
                "manage": "snippets",
                "certificate": ...,
                "certificate_key": ...,
                "mode": "path",
                "paths": [{"path": "/admin/", "upstream": "https://a.test", "upstream_ca": "x"}],
            },
            "site panel: paths: upstream_ca: has no effect with manage: snippets",
        ),
    ],
)
def test_what_snippets_cannot_do_is_refused_by_name(changes: dict[str, object], said: str) -> None:
    with pytest.raises(MtlsError) as problem:
        parse_sites([site(**changes)])
    assert said in str(problem.value)


# --- staging ports ---


def test_another_port_is_a_gate_of_its_own_enforced_whatever_the_stage() -> None:
    for stage in ("absent", "observe", "enforce"):
        first, second = parse_sites([site(stage=stage, staging_listen=["8443", "[::]:8443"])])
        assert (first.name, first.stage, [one.token for one in first.listen]) == ("panel", stage, ["443"])
        assert (second.name, second.stage, [one.token for one in second.listen]) == (
            "panel-staging",
            "enforce",
            ["8443", "[::]:8443"],
        )
        assert (describe_site(first)["rehearsal"], describe_site(second)["rehearsal"]) == (False, True)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"staging_listen": ["443"]},
            "site panel-staging: server_names: panel.example.org on port 443 already belongs to site panel",
        ),
        ({"staging_listen": []}, "site panel: staging_listen: an empty list"),
        (
            {"staging_listen": ["8443 ssl"]},
            "site panel: staging_listen: '8443 ssl' is not a valid port, or address and port",
        ),
        (
            {"staging_listen": ["8443"], "manage": "snippets", "certificate": ..., "certificate_key": ...},
            "site panel: staging_listen: needs a server of the gate",
        ),
        ({"stage": "fallback", "source": "edge"}, "site panel: stage: fallback is not possible with source: edge"),
        (
            {"stage": "fallback", "manage": "snippets"},
            "site panel: stage: fallback is not possible with manage: snippets",
        ),
        (
            {"window": {"basic_auth": {"user_file": "x\n"}}},
            "site panel: window: basic_auth: user_file: 'x\\n' is not a valid path",
        ),
    ],
)
def test_mistakes_about_stages_are_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(MtlsError) as caught:
        parse_sites([site(**changes)])
    assert said in str(caught.value)
