# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sites behind an edge: what is refused, what the profiles say, and what trust makes of it. Real edges are in tests/e2e."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._ansible.errors import Problem
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.config import parse as parse_nginx
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.edge_maps import render_edge_maps
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.edge_profiles import PROFILES, WAYS, patterns
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.publication import (
    DATA_FILES,
    Publication,
    read_publication,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.sites import parse_sites
from hypothesis import given
from hypothesis import strategies as st

PEER = {"certificate_authority": "edge.pem", "certificates": ["CN=edge"]}
CUSTOM = {**PEER, "profile": "custom"}


def parse(**changes: Any) -> dict[str, Any]:
    """Return what templates are told of a site behind an edge; a change to ``...`` leaves the key out."""
    site = {
        "name": "panel",
        "stage": "enforce",
        "server_names": ["panel.example.org"],
        "upstream": "http://127.0.0.1:3000",
        "certificate": "a",
        "certificate_key": "b",
        "source": "edge",
        "trusted_proxies": ["192.0.2.0/24"],
        "edge": {**PEER, "profile": "nginx"},
        **changes,
    }
    return parse_sites([{key: value for key, value in site.items() if value is not ...}])[0].as_dict()


def test_what_templates_are_told() -> None:
    told = parse(
        trusted_proxies=["192.0.2.7", "2001:DB8::/32"],
        edge={
            **PEER,
            "profile": "nginx",
            "certificates": ["CN=edge\\, one,O=Ops", "AB:" * 19 + "CD"],
            "crl": "edge-crl.pem",
            "headers": {"serial": "X-Serial"},
            "address_header": "X-Real-IP",
        },
    )
    edge = told["edge"]
    assert edge["networks"] == ["192.0.2.7/32", "2001:db8::/32"]
    assert (edge["by_certificate"], edge["certificate_authority"], edge["crl"]) == (True, "edge.pem", "edge-crl.pem")
    assert edge["fingerprints"] == ["ab" * 19 + "cd"]
    assert edge["subject_keys"] == ['"~^CN=edge\\\\x5c, one,O=Ops\\\\z"']
    assert edge["said"] == {
        "verify": "$http_x_ssl_client_verify",
        "serial": "$http_x_serial",
        "issuer_dn": "$http_x_ssl_client_i_dn",
    }
    assert edge["verified_key"] == '"~^1:SUCCESS\\\\z"'
    assert (edge["address_header"], edge["recursive"]) == ("X-Real-IP", False)
    assert told["edge_headers"] == ["X-SSL-Client-Verify", "X-Serial", "X-SSL-Client-I-DN"]
    assert told["visitor"]["address"] == "$quietdoor_site_panel_visitor"
    assert {header["value"] for header in told["identity_headers"]} == set(told["visitor"].values()) - {
        told["visitor"]["address"]
    }
    assert not [value for value in told["visitor"].values() if not value.startswith("$quietdoor_")]


def test_by_the_network_alone() -> None:
    edge = parse(edge={"profile": "aws_alb", "authentication": "network"})["edge"]
    assert (edge["by_certificate"], edge["certificate_authority"], edge["fingerprints"]) == (False, "", [])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"source": "cdn"}, "source: 'cdn' is unknown. Write one of: direct, edge"),
        ({"source": ...}, "trusted_proxies: has no effect with source: direct"),
        ({"source": "direct", "trusted_proxies": ...}, "edge: has no effect with source: direct"),
        ({"manage": "snippets", "certificate": ..., "certificate_key": ...}, "source: edge cannot be had with manage"),
        ({"trusted_proxies": ...}, "trusted_proxies: missing"),
        ({"trusted_proxies": []}, "trusted_proxies: an empty list"),
        ({"trusted_proxies": ["0.0.0.0/0"]}, "trusted_proxies: 0.0.0.0/0 is everybody"),
        ({"trusted_proxies": ["::/0"]}, "trusted_proxies: ::/0 is everybody"),
        ({"trusted_proxies": ["192.0.2.1/24"]}, "'192.0.2.1/24' is no address and no network"),
        ({"trusted_proxies": ["unix:"]}, "'unix:' is no address and no network"),
        ({"trusted_proxies": ["edge.example.org"]}, "is no address and no network"),
        ({"trusted_proxies": ["192.0.2.1; }"]}, "is no address and no network"),
        ({"trusted_proxies": ["fe80::1%eth0"]}, "is no address and no network"),
        ({"trusted_proxies": [7]}, "'7' is no address and no network"),
        ({"trusted_proxies": ["192.0.2.1", "192.0.2.1/32"]}, "192.0.2.1/32 stands there twice"),
        ({"edge": ...}, "edge: missing. Write at least profile, one of: nginx, haproxy"),
        ({"edge": "nginx"}, "edge: 'nginx' is a string, not a mapping"),
        ({"edge": {**PEER}}, "edge: profile: missing"),
        ({"edge": {**PEER, "profile": "traefik"}}, "edge: profile: 'traefik' is unknown. Write one of: nginx"),
        ({"edge": {**PEER, "profile": "nginx", "ca": "x"}}, "edge: ca: no such key"),
        ({"edge": {"profile": "nginx"}}, "edge: certificates: missing: a CA alone does not say which"),
        ({"edge": {"profile": "nginx", "certificates": ["CN=x"]}}, "edge: certificate_authority: missing"),
        ({"edge": {**PEER, "profile": "nginx", "certificates": []}}, "edge: certificates: an empty list"),
        (
            {"edge": {**PEER, "profile": "nginx", "certificates": ["edge"]}},
            "'edge' is no SHA-1 fingerprint and no subj",
        ),
        ({"edge": {**PEER, "profile": "nginx", "certificates": ["AB" * 32]}}, "is no SHA-1 fingerprint and no subject"),
        ({"edge": {**PEER, "profile": "nginx", "certificates": ["CN=a\nb"]}}, "is no SHA-1 fingerprint and no subject"),
        ({"edge": {**PEER, "profile": "nginx", "certificates": ["CN=a", "CN=a"]}}, "CN=a stands there twice"),
        ({"edge": {**PEER, "profile": "nginx", "certificate_authority": "$x"}}, "edge: certificate_authority: "),
        ({"edge": {**PEER, "profile": "nginx", "crl": "$x"}}, "edge: crl: "),
        ({"edge": {**PEER, "profile": "nginx", "authentication": "none"}}, "authentication: 'none' is unknown"),
        (
            {"edge": {**PEER, "profile": "nginx", "authentication": "network"}},
            "edge: certificate_authority: has no effect with authentication: network",
        ),
        ({"edge": {**PEER, "profile": "nginx", "headers": {"sha256": "X-A"}}}, "headers: sha256 is not said by this"),
        ({"edge": {**PEER, "profile": "nginx", "headers": {"cert": "X-A"}}}, "headers: cert: no such key"),
        ({"edge": {**PEER, "profile": "nginx", "headers": {"serial": "X_A"}}}, "headers: serial: 'X_A' cannot be the"),
        (
            {"edge": {**PEER, "profile": "nginx", "headers": {"serial": "Cookie"}}},
            "serial: Cookie has a meaning of its",
        ),
        (
            {"edge": {**PEER, "profile": "nginx", "headers": {"serial": "x-ssl-client-verify"}}},
            "headers: x-ssl-client-verify stands there twice",
        ),
        ({"edge": {**PEER, "profile": "nginx", "verified_value": "yes"}}, "verified_value: is given by the profile"),
        (
            {"edge": {**PEER, "profile": "nginx", "address_header": "X-A B"}},
            "address_header: 'X-A B' cannot be the name",
        ),
        ({"edge": CUSTOM}, "headers: nothing says whose certificate it is, so allow could let nobody in"),
        ({"edge": {**CUSTOM, "headers": {"verify": "X-V"}}}, "headers: nothing says whose certificate it is"),
        ({"edge": {**CUSTOM, "headers": {"verify": "X-V", "serial": "X-S"}}}, "headers: issuer_dn is missing"),
        ({"edge": {**CUSTOM, "headers": {"verify": "X-V", "issuer_dn": "X-S"}}}, "headers: serial is missing"),
        ({"edge": {**CUSTOM, "headers": {"serial": "X-S", "issuer_dn": "X-I"}}}, "headers: verify is missing"),
        (
            {"edge": {**CUSTOM, "headers": {"sha1": "X-S", "sha256": "X-I"}}},
            "sha256 and sha1 both say whose certificate",
        ),
        (
            {"edge": {**CUSTOM, "headers": {"sha1": "X-S"}, "verified_value": "1"}},
            "verified_value: has no effect without",
        ),
        (
            {"edge": {**CUSTOM, "headers": {"sha1": "X-S", "verify": "X-V"}, "verified_value": "a|b"}},
            "verified_value: 'a|b' cannot be compared",
        ),
    ],
)
def test_a_mistake_is_named_with_site_and_key(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(Problem) as problem:
        parse(**changes)
    assert str(problem.value).startswith("gate_sites: site panel: ")
    assert said in str(problem.value)


def test_every_profile_says_one_thing_in_one_way() -> None:
    for name, profile in PROFILES.items():
        assert set(profile.headers) - {"verify"} == set(WAYS[profile.way]), name
        assert bool(profile.verified) == ("verify" in profile.headers), name
        assert parse(edge={**PEER, "profile": name})["edge"]["said"]


def takes(profile: str, value: str) -> str:
    """What the maps of a profile take out of its header."""
    for pairs in patterns(PROFILES[profile]).values():
        for key, yields in pairs:
            # Python knows possessive quantifiers since 3.11 only; here they change what matches in nothing.
            pattern = key.strip('"')[1:].replace('\\"', '"').replace("\\\\", "\\")
            pattern = pattern.replace("(?<", "(?P<").replace("\\z", "\\Z").replace("*+", "*")
            match = re.search(pattern, f"good:{value}")
            if match:
                text = yields.strip('"')
                for name, found in match.groupdict().items():
                    text = text.replace(f"${name}", found)
                return text
    return ""


@given(st.integers(min_value=0, max_value=2**159 - 1), st.integers(min_value=0, max_value=4), st.booleans())
def test_a_serial_is_a_number_however_it_is_written(number: int, zeros: int, lower: bool) -> None:
    digits = f"{number:X}"
    meant = digits.zfill(len(digits) + len(digits) % 2)
    said = "0" * zeros + digits
    assert takes("nginx", said.lower() if lower else said).upper() == meant


@given(st.text(alphabet="0123456789abcdefABCDEFxg, :\n", max_size=80))
def test_nothing_but_a_number_and_nothing_but_a_digest_is_taken(text: str) -> None:
    assert bool(takes("nginx", text)) == bool(re.fullmatch(r"[0-9a-fA-F]+", text))
    assert bool(takes("haproxy", text)) == bool(re.fullmatch(r"[0-9a-fA-F]{64}", text))
    assert bool(takes("azure", text)) == bool(re.fullmatch(r"[0-9a-fA-F]{40}", text))


@pytest.mark.parametrize(
    ("element", "good"),
    [
        ("Hash=DIGEST", True),
        ("By=spiffe://a/b;Hash=DIGEST", True),
        ("By=x;By=y;Hash=DIGEST;URI=spiffe://c", True),
        ('Hash=DIGEST;Cert="-----BEGIN%20";Chain="";Subject="CN=a, \\"b\\";Hash=x";DNS=a;DNS=b', True),
        ("Hash=DIGEST,Hash=DIGEST", False),
        ("Hash=DIGEST,By=x", False),
        ("Hash=DIGEST;Hash=DIGEST", False),
        ("URI=spiffe://c;Hash=DIGEST", False),
        ('Subject="x";Hash=DIGEST', False),
        ('Hash=DIGEST;Subject="x', False),
        ('Hash=DIGEST;Subject="x\\"', False),
        ('Hash=DIGEST;URI="a,b",Hash=DIGEST', False),
        ("Hash=DIGEST;URI=a,b", False),
        ("Hash=DIGEST;", False),
        ("hash=DIGEST", False),
        ("Hash=DIGEST0", False),
        (" Hash=DIGEST", False),
        ("", False),
    ],
)
def test_one_element_of_xfcc_and_no_second_one(element: str, good: bool) -> None:
    assert takes("envoy", element.replace("DIGEST", "ab" * 32)) == ("ab" * 32 if good else "")


# --- the maps of trust ---

ISSUERS = [
    {"id": 1, "subject": 'CN=A\\, "B" {x} $y;O=Ops', "sha256": "AB" * 32},
    {"id": 12, "subject": "CN=a", "sha256": "cd" * 32},
]
ALEX = {"issuer": 1, "serial": "0A1B", "name": "alex", "email": ["a@b.test", "c@b.test"], "roles": ["admin"]}
GONE = {"issuer": 12, "serial": "FF", "reason": "keyCompromise", "revoked_at": "2026-01-01T00:00:00Z"}


def publication(*people: dict[str, Any]) -> Publication:
    """Return the publication of these people; digests fit."""
    files = {
        "ca.pem": "ca",
        "crl.pem": "crl",
        "identities.json": json.dumps({"format": 1, "issuers": ISSUERS, "identities": people}),
        "denied.json": json.dumps({"format": 1, "denied": [GONE]}),
    }
    digests = {name: hashlib.sha256(files[name].encode()).hexdigest() for name in DATA_FILES}
    return read_publication({**files, "trust.json": json.dumps({"format": 1, "generation": 5, "files": digests})})


def maps(text: str) -> dict[str, tuple[str, dict[str, str]]]:
    """Return the maps of a configuration: variable -> source and entries."""
    return {
        one.args[1]: (one.args[0], {entry.name: entry.args[0] for entry in one.block or ()})
        for one in parse_nginx(text, "edge.conf")
    }


DIGEST = "0123456789abcdef" * 4
BEA = {**ALEX, "serial": "0A1C", "name": "bea", "sha256": DIGEST.upper(), "sha1": "AB" * 20, "email": [], "roles": []}


def test_maps() -> None:
    found = maps(render_edge_maps(publication(ALEX, BEA)))
    text = base64.b64encode(bytes.fromhex(DIGEST)).decode().rstrip("=")
    presented = "$quietdoor_edge_presented"
    assert found["$quietdoor_edge_sha256_entry"] == (
        "$quietdoor_edge_sha256_head",
        {"default": "", DIGEST[:40]: f"{DIGEST}=1:0A1C"},
    )
    assert found["$quietdoor_edge_base64_entry"][1] == {"default": "", text: f"{text}=1:0A1C"}
    assert found["$quietdoor_edge_by_sha1"][1] == {"default": "", "ab" * 20: "1:0A1C"}
    assert found["$quietdoor_edge_issuer"][1] == {
        "default": "0",
        "~^CN=A\\x5c, \\x22B\\x22 \\x7bx\\x7d \\x24y\\x3bO=Ops\\z": "1",
        "~^CN=a\\z": "12",
    }
    assert found["$quietdoor_edge_presented"][1]["default"] == "$quietdoor_edge_issuer:$quietdoor_edge_serial"
    assert found["$quietdoor_edge_denied"] == (presented, {"default": "0", "12:FF": "1"})
    assert found["$quietdoor_edge_name"] == (presented, {"default": "", "1:0A1B": "alex", "1:0A1C": "bea"})
    assert found["$quietdoor_edge_email"] == (presented, {"default": "", "1:0A1B": "a@b.test,c@b.test"})
    assert found["$quietdoor_edge_client_serial"][1]["1:0A1C"] == "0A1C"
    assert found["$quietdoor_edge_client_sha1"] == (presented, {"default": "", "1:0A1C": "ab" * 20})


def test_keys_fit_the_default_bucket() -> None:
    """46 bytes, as for the other maps of trust."""
    for source, entries in maps(render_edge_maps(publication(ALEX, BEA))).values():
        assert all(len(key) <= 46 for key in entries if not key.startswith("~")), source


@pytest.mark.parametrize(
    ("people", "words"),
    [
        ([{**BEA, "sha256": "zz"}], "is not a certificate's sha256"),
        ([{**BEA, "sha256": f"{DIGEST}\n"}], "is not a certificate's sha256"),
        ([{**BEA, "sha256": 7}], "is not a certificate's sha256"),
        ([{**BEA, "sha1": DIGEST}], "is not a certificate's sha1"),
        ([BEA, {**BEA, "serial": "0A1D", "sha1": "CD" * 20}], f"two identities have the digest {DIGEST}"),
        ([BEA, {**BEA, "serial": "0A1D", "sha256": "CD" * 32}], f"two identities have the digest {'ab' * 20}"),
    ],
)
def test_a_digest_that_is_none_is_refused(people: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(Problem) as caught:
        publication(*people)
    assert words in str(caught.value)
