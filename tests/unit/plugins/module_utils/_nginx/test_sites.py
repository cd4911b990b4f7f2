# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of sites: what is accepted, what is completed, and how mistakes are named."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._ansible.errors import Problem
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.quoting import quote
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.sites import KEYS, parse_sites
from hypothesis import given
from hypothesis import strategies as st


def site(**changes: Any) -> dict[str, Any]:
    """A good site, with some keys replaced, or left out where the value is ``...``."""
    good = {
        "name": "panel",
        "stage": "enforce",
        "server_names": ["panel.example.org"],
        "upstream": "http://127.0.0.1:3000",
        "certificate": "/etc/ssl/panel.pem",
        "certificate_key": "panel.key",
    }
    return {key: value for key, value in {**good, **changes}.items() if value is not ...}


def test_what_is_left_out_is_filled_in() -> None:
    assert parse_sites([site()])[0].as_dict() == {
        "name": "panel",
        "slug": "panel",
        "stage": "enforce",
        "mode": "host",
        "server_names": ["panel.example.org"],
        "listen": [{"address": "*", "port": 443, "token": "443"}],
        "endpoints": [{"site": "panel", "address": "127.0.0.1", "port": 443, "server_name": "panel.example.org"}],
        "upstream": "http://127.0.0.1:3000",
        "upstream_name": "127.0.0.1",
        "upstream_ca": "",
        "certificate": "/etc/ssl/panel.pem",
        "certificate_key": "panel.key",
        "contact": "",
        "contact_html": "",
        "client_max_body_size": "",
        "websocket": False,
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
        assert parsed.as_dict()["endpoints"][0]["address"] == asked_at


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
    assert (parsed.upstream, parsed.upstream_name) == (for_nginx, name)


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
    with pytest.raises(Problem, match=rf"^gate_sites: (?:site panel|entry 1): {key}: "):
        parse_sites([site(**{key: text})])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": ...}, "entry 1: name: missing"),
        ({"name": "Panel"}, "entry 1: name: 'Panel' cannot be the name of a site"),
        ({"name": "p" * 33}, "cannot be the name"),
        ({"name": 7}, "entry 1: name: 7 is a number, not a string"),
        ({"stage": ...}, "site panel: stage: missing. Write one of: absent, enforce."),
        (
            {"stage": False},
            "site panel: stage: False is a boolean (YAML reads off, no, on and yes as one). To remove the gate write",
        ),
        ({"stage": "off"}, "site panel: stage: 'off' is no stage"),
        ({"mode": "path"}, "site panel: mode: 'path' is no mode"),
        ({"server_names": ...}, "site panel: server_names: missing"),
        ({"server_names": []}, "site panel: server_names: an empty list"),
        ({"server_names": ["*.example.org"]}, "'*.example.org' is no exact host name"),
        ({"server_names": ["~^panel$"]}, "is no exact host name"),
        ({"server_names": ["_"]}, "is no exact host name"),
        ({"server_names": ["192.0.2.7"]}, "'192.0.2.7' is an address"),
        ({"server_names": ["[::1]"]}, "is no exact host name"),
        ({"server_names": ["bücher.example"]}, "is not ASCII. Write it as the A-label"),
        ({"server_names": ["a.example", "A.example"]}, "a.example stands there twice"),
        ({"server_names": [f"{'a' * 64}.example"]}, "is no exact host name"),
        ({"server_names": [".".join(["abcdefgh"] * 30)]}, "is no exact host name"),
        ({"server_names": [None]}, "None is null, not a string"),
        ({"server_names": {"a": 1}}, "is a mapping, not a string"),
        ({"listen": ["0"]}, "site panel: listen: 0 is no port"),
        ({"listen": ["65536"]}, "65536 is no port"),
        ({"listen": ["443 default_server"]}, "is no port and no address with a port"),
        ({"listen": ["999.1.1.1:443"]}, "'999.1.1.1' is no address"),
        ({"listen": ["[::1:443"]}, "is no port and no address with a port"),
        ({"listen": ["443", "0.0.0.0:443"]}, "443 stands there twice"),
        ({"listen": [True]}, "True is a boolean, not a string"),
        ({"upstream": ...}, "site panel: upstream: missing"),
        ({"upstream": "http://app:3000/admin"}, "is no address of an application"),
        ({"upstream": "http://app:99999"}, "99999 is no port"),
        ({"upstream": "ftp://app"}, "is no address of an application"),
        ({"upstream": "http://user@app"}, "is no address of an application"),
        ({"upstream": "app:3000"}, "is no address of an application"),
        ({"upstream_ca": "/ca.pem"}, "upstream_ca: has no effect, because upstream is not https"),
        ({"certificate": ...}, "site panel: certificate: missing"),
        ({"certificate_key": ...}, "site panel: certificate_key: missing"),
        ({"certificate": "/etc/$host.pem"}, "cannot be the path of a file"),
        ({"certificate_key": "engine:pkcs11:key"}, "cannot be the path of a file"),
        ({"certificate_key": "data:x"}, "cannot be the path of a file"),
        ({"certificate": "a\nb"}, "cannot be the path of a file"),
        ({"contact": "x" * 201}, "201 characters are too many"),
        ({"contact": "a\nb"}, "a line break or another control character"),
        ({"contact": "evil\u202egnp"}, "a line break or another control character"),
        ({"contact": ["a"]}, "is a list, not a string"),
        ({"client_max_body_size": "20 m"}, "is no size"),
        ({"client_max_body_size": ["1m", "2m"]}, "is no size"),
        ({"websocket": "yes"}, "site panel: websocket: 'yes' is a string, not a boolean"),
        ({"hsts": True, "paths": []}, "site panel: hsts, paths: no such key. The keys of a site are: certificate, "),
    ],
)
def test_a_mistake_is_named_with_site_and_key(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(Problem) as problem:
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
        ([site(), site()], "site panel: name: the same as that of site panel"),
        ([site(name="a-b"), site(name="a_b")], "site a_b: name: the same as that of site a-b"),
        (
            [site(), site(name="b", server_names=["x.example", "PANEL.example.org"], listen=["127.0.0.1:443"])],
            "site b: server_names: panel.example.org on port 443 belongs to site panel already",
        ),
    ],
)
def test_a_mistake_of_the_list_is_named(raw: object, said: str) -> None:
    with pytest.raises(Problem) as problem:
        parse_sites(raw)
    assert said in str(problem.value)


def test_one_name_on_two_ports_and_of_an_absent_site_is_no_mistake() -> None:
    sites = parse_sites([site(), site(name="b", listen=["8443"]), site(name="c", stage="absent")])
    assert [one.stage for one in sites] == ["enforce", "enforce", "absent"]


def test_every_known_key_is_accepted_and_none_is_forgotten() -> None:
    full = site(
        mode="host",
        listen=["443"],
        upstream="https://app.internal",
        upstream_ca="ca.pem",
        contact="ops",
        websocket=True,
        client_max_body_size=0,
    )
    assert sorted(full) == sorted(KEYS)
    parsed = parse_sites([full])[0]
    assert (parsed.client_max_body_size, parsed.websocket, parsed.upstream_ca) == ("0", True, "ca.pem")


@given(st.text(max_size=200).filter(str.isprintable))
def test_a_contact_is_harmless_in_html_and_in_nginx(contact: str) -> None:
    shown = parse_sites([site(contact=contact)])[0].as_dict()["contact_html"]
    assert not set(shown) & set("<>\"'$\\")
    assert quote(shown) == f'"{shown}"'


@given(st.text())
def test_whatever_stands_in_a_path_nginx_can_quote_it_or_it_is_refused(path: str) -> None:
    try:
        parsed = parse_sites([site(certificate=path)])[0]
    except Problem:
        return
    assert quote(parsed.certificate).strip('"')
