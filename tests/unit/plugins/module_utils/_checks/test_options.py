# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that options of the probe become a gate, or one clear error."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks.options import gate_from
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks.session import Gate
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError

ADDRESS = "192.0.2.7"
CLIENT = {"name": "alex", "certificate": "/c", "key": "/k"}


def gate(**options: Any) -> Gate:
    return gate_from({"url": "https://Admin.Example.org/x?y=1#z", "address": ADDRESS, "timeout": 5, **options})


def test_url_sets_name_port_and_path() -> None:
    found = gate()
    assert (found.server_name, found.port, found.path) == ("admin.example.org", 443, "/x?y=1")
    assert (found.target.address, found.target.port) == (ADDRESS, 443)
    assert found.host() == "admin.example.org"
    assert found.other_name == "quietdoor-probe.example.org"
    assert found.app_path == "/x?y=1"


def test_the_host_header_has_the_port_of_the_url_not_of_the_connection() -> None:
    found = gate(url="https://admin.example.org:8443", address=f"{ADDRESS}:9443", echo_path="/echo")
    assert (found.target.port, found.path, found.app_path) == (9443, "/", "/echo")
    assert found.host() == "admin.example.org:8443"
    assert found.host("www.example.org") == "www.example.org:8443"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.7", ("192.0.2.7", 443)),
        ("192.0.2.7:8443", ("192.0.2.7", 8443)),
        ("2001:db8::7", ("2001:db8::7", 443)),
        ("[2001:db8::7]", ("2001:db8::7", 443)),
        ("[2001:db8::7]:8443", ("2001:db8::7", 8443)),
    ],
)
def test_addresses(address: str, expected: tuple[str, int]) -> None:
    target = gate(address=address).target
    assert (target.address, target.port) == expected


def test_a_name_outside_ascii_is_sent_as_dns_knows_it() -> None:
    assert gate(url="https://büro.example.org/").server_name == "xn--bro-hoa.example.org"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": "http://admin.example.org/"}, "not an https URL"),
        ({"url": "https:///x"}, "not an https URL"),
        ({"url": "https://me:secret@admin.example.org/"}, "without user name"),
        ({"url": "https://admin.example.org:x/"}, "is not a URL"),
        ({"url": "https://192.0.2.7/"}, "192.0.2.7 is an address"),
        ({"url": "https://[2001:db8::7]/"}, "2001:db8::7 is an address"),
        ({"server_name": "a b"}, "not the name of a server"),
        ({"server_name": 'a;"\n'}, "not the name of a server"),
        ({"url": "https://admin.example.org/a b"}, "url: the path '/a b'"),
        ({"echo_path": "echo"}, "echo_path: the path 'echo'"),
        ({"echo_path": "/e\r\nX-Evil: 1"}, "echo_path: the path"),
        ({"other_server_name": "ADMIN.example.org"}, "the gate's own name"),
        ({"address": "192.0.2.7:0"}, "address: '192.0.2.7:0'"),
        ({"address": "192.0.2.7:70000"}, "is not a host or host:port"),
        ({"address": "http://192.0.2.7"}, "is not a host or host:port"),
        ({"address": "no-such-host.invalid"}, "does not resolve"),
        ({"timeout": 0}, "timeout: 0 s is out of range"),
        ({"timeout": 301}, "timeout: 301 s is out of range"),
        ({"plain_ports": [0]}, "plain_ports: 0 is not a TCP port"),
        ({"clients": [CLIENT, CLIENT]}, "'alex' is used more than once"),
        ({"clients": [{**CLIENT, "name": "a\x1b[2J"}]}, "cannot be the name of a client"),
        ({"clients": [{**CLIENT, "name": "no certificate"}]}, "cannot be the name of a client"),
        ({"clients": [{**CLIENT, "expect": "cert", "kind": "revoked"}]}, "of kind revoked, but expected to get in"),
    ],
)
def test_invalid_option_is_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(MtlsError) as caught:
        gate(**options)
    assert words in str(caught.value)
    assert caught.value.hint


def test_clients_have_a_kind_even_if_none_is_given() -> None:
    clients = gate(clients=[CLIENT, {**CLIENT, "name": "bea", "expect": "deny"}]).clients
    assert [(client.expect, client.kind) for client in clients] == [("cert", "valid"), ("deny", "other")]
