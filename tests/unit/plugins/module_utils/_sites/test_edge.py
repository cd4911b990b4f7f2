# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test sites behind an edge: mistakes, profiles and the maps of trust. Real edges are in tests/e2e."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any
from urllib.parse import quote

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._contracts.publication_format import (
    CERTIFICATE_ENCODINGS,
    edge_file_of,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.config_parser import parse as parse_nginx
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.edge_profiles import (
    PROFILES,
    WAYS,
    Profile,
    patterns,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.parser import parse_sites
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.template_context import describe_site
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.edge_certificate_maps import render_certificate_maps
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.edge_maps import render_edge_maps
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.publication_reader import (
    DATA_FILES,
    Publication,
    read_publication,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from support.made_der import certificate, pem
from support.made_der import name as name_of

PEER = {"certificate_authority": "edge.pem", "certificates": ["CN=edge"]}
CUSTOM = {**PEER, "profile": "custom"}


def parse(**changes: Any) -> dict[str, Any]:
    """Return the template data of a site behind an edge; a change to ``...`` removes the key."""
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
    return describe_site(parse_sites([{key: value for key, value in site.items() if value is not ...}])[0])


def test_context_of_templates() -> None:
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
        (
            {"manage": "snippets", "certificate": ..., "certificate_key": ...},
            "source: edge is not possible with manage",
        ),
        ({"trusted_proxies": ...}, "trusted_proxies: missing"),
        ({"trusted_proxies": []}, "trusted_proxies: an empty list"),
        ({"trusted_proxies": ["0.0.0.0/0"]}, "trusted_proxies: 0.0.0.0/0 contains every address"),
        ({"trusted_proxies": ["::/0"]}, "trusted_proxies: ::/0 contains every address"),
        ({"trusted_proxies": ["192.0.2.1/24"]}, "'192.0.2.1/24' is not a valid address or network"),
        ({"trusted_proxies": ["unix:"]}, "'unix:' is not a valid address or network"),
        ({"trusted_proxies": ["edge.example.org"]}, "is not a valid address or network"),
        ({"trusted_proxies": ["192.0.2.1; }"]}, "is not a valid address or network"),
        ({"trusted_proxies": ["fe80::1%eth0"]}, "is not a valid address or network"),
        ({"trusted_proxies": [7]}, "'7' is not a valid address or network"),
        ({"trusted_proxies": ["192.0.2.1", "192.0.2.1/32"]}, "192.0.2.1/32 is listed more than once"),
        ({"edge": ...}, "edge: missing. Write at least profile, one of: nginx, haproxy"),
        ({"edge": "nginx"}, "edge: 'nginx' is a string, not a mapping"),
        ({"edge": {**PEER}}, "edge: profile: missing"),
        ({"edge": {**PEER, "profile": "squid"}}, "edge: profile: 'squid' is unknown. Write one of: nginx"),
        ({"edge": {**PEER, "profile": "nginx", "ca": "x"}}, "edge: ca: unknown key"),
        ({"edge": {"profile": "nginx"}}, "edge: certificates: missing; a CA alone does not show which"),
        ({"edge": {"profile": "nginx", "certificates": ["CN=x"]}}, "edge: certificate_authority: missing"),
        ({"edge": {**PEER, "profile": "nginx", "certificates": []}}, "edge: certificates: an empty list"),
        (
            {"edge": {**PEER, "profile": "nginx", "certificates": ["edge"]}},
            "'edge' is not a valid SHA-1 fingerprint or subj",
        ),
        (
            {"edge": {**PEER, "profile": "nginx", "certificates": ["AB" * 32]}},
            "is not a valid SHA-1 fingerprint or subject",
        ),
        (
            {"edge": {**PEER, "profile": "nginx", "certificates": ["CN=a\nb"]}},
            "is not a valid SHA-1 fingerprint or subject",
        ),
        ({"edge": {**PEER, "profile": "nginx", "certificates": ["CN=a", "CN=a"]}}, "CN=a is listed more than once"),
        ({"edge": {**PEER, "profile": "nginx", "certificate_authority": "$x"}}, "edge: certificate_authority: "),
        ({"edge": {**PEER, "profile": "nginx", "crl": "$x"}}, "edge: crl: "),
        ({"edge": {**PEER, "profile": "nginx", "authentication": "none"}}, "authentication: 'none' is unknown"),
        (
            {"edge": {**PEER, "profile": "nginx", "authentication": "network"}},
            "edge: certificate_authority: has no effect with authentication: network",
        ),
        (
            {"edge": {**PEER, "profile": "nginx", "headers": {"sha256": "X-A"}}},
            "headers: sha256 is not a header of this",
        ),
        ({"edge": {**PEER, "profile": "nginx", "headers": {"cert": "X-A"}}}, "headers: cert: unknown key"),
        (
            {"edge": {**PEER, "profile": "nginx", "headers": {"serial": "X_A"}}},
            "headers: serial: 'X_A' is not a valid header",
        ),
        (
            {"edge": {**PEER, "profile": "nginx", "headers": {"serial": "Cookie"}}},
            "serial: Cookie is reserved",
        ),
        (
            {"edge": {**PEER, "profile": "nginx", "headers": {"serial": "x-ssl-client-verify"}}},
            "headers: x-ssl-client-verify is listed more than once",
        ),
        ({"edge": {**PEER, "profile": "nginx", "verified_value": "yes"}}, "verified_value: is set by the profile"),
        (
            {"edge": {**PEER, "profile": "nginx", "address_header": "X-A B"}},
            "address_header: 'X-A B' is not a valid header name",
        ),
        ({"edge": CUSTOM}, "headers: no header identifies the certificate, so allow cannot admit a client"),
        ({"edge": {**CUSTOM, "headers": {"verify": "X-V"}}}, "headers: no header identifies the certificate"),
        ({"edge": {**CUSTOM, "headers": {"verify": "X-V", "serial": "X-S"}}}, "headers: issuer_dn is missing"),
        ({"edge": {**CUSTOM, "headers": {"verify": "X-V", "issuer_dn": "X-S"}}}, "headers: serial is missing"),
        ({"edge": {**CUSTOM, "headers": {"serial": "X-S", "issuer_dn": "X-I"}}}, "headers: verify is missing"),
        (
            {"edge": {**CUSTOM, "headers": {"sha1": "X-S", "sha256": "X-I"}}},
            "sha256 and sha1 both identify the certificate",
        ),
        (
            {"edge": {**CUSTOM, "headers": {"certificate": "X-S", "certificate_pem": "X-I"}}},
            "certificate and certificate_pem both identify the certificate",
        ),
        (
            {"edge": {**PEER, "profile": "rfc9440", "headers": {"certificate_pem": "X-C"}}},
            "is not a header of this profile",
        ),
        (
            {"edge": {**CUSTOM, "headers": {"sha1": "X-S"}, "verified_value": "1"}},
            "verified_value: has no effect without",
        ),
        (
            {"edge": {**CUSTOM, "headers": {"sha1": "X-S", "verify": "X-V"}, "verified_value": "a|b"}},
            "verified_value: 'a|b' is not a valid value",
        ),
    ],
)
def test_a_mistake_is_named_with_site_and_key(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(MtlsError) as problem:
        parse(**changes)
    assert str(problem.value).startswith("gate_sites: site panel: ")
    assert said in str(problem.value)


def test_every_profile_says_one_thing_in_one_way() -> None:
    for name, profile in PROFILES.items():
        assert set(profile.headers) - {"verify"} == set(WAYS[profile.way]), name
        assert bool(profile.verified) == ("verify" in profile.headers), name
        edge = parse(edge={**PEER, "profile": name})["edge"]
        assert edge["said"]
        assert edge["whole"] == (profile.way if profile.way in CERTIFICATE_ENCODINGS else "")


def pattern_of(key: str) -> str:
    """Return a key of a map as a regular expression of Python, which has possessive quantifiers only since 3.11.

    In those of edges they change what matches in nothing.
    """
    pattern = key.strip('"')[1:].replace('\\"', '"').replace("\\\\", "\\")
    pattern = re.sub(r"\\k<(\w+)>", r"(?P=\1)", pattern.replace("(?<", "(?P<").replace("\\z", "\\Z"))
    return re.sub(r"(?<=[*+}])\+", "", pattern)


def takes(profile: str | Profile, value: str) -> str:
    """Return the values that the maps of a profile extract from its header."""
    for pairs in patterns(profile if isinstance(profile, Profile) else PROFILES[profile]).values():
        for key, yields in pairs:
            match = re.search(pattern_of(key), f"good:{value}")
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


B64 = "MIIB+/9z="
OTHER = "AAAA"


@pytest.mark.parametrize(
    ("profile", "value", "good"),
    [
        ("rfc9440", f":{B64}:", True),
        ("rfc9440", B64, False),
        ("rfc9440", f":{B64}:, :{B64}:", False),
        ("rfc9440", f":{B64}:,:{B64}:", False),
        ("rfc9440", f":{B64}:;x=1", False),
        ("rfc9440", f":{B64}", False),
        ("rfc9440", f": {B64}:", False),
        ("rfc9440", "::", False),
        ("rfc9440", ":MI=IB:", False),
        ("rfc9440", ":MIIB===:", False),
        ("rfc9440", ":MI-_:", False),
        ("traefik", B64, True),
        ("traefik", f"{B64},{OTHER}", True),
        ("traefik", f"{B64},{OTHER},{OTHER}=", True),
        ("traefik", f"{B64},", False),
        ("traefik", f",{B64}", False),
        ("traefik", f"{B64}, {B64}", False),
        ("traefik", f"{B64},{OTHER}, {B64}", False),
        ("traefik", f":{B64}:", False),
        ("traefik", "MIIB%2B%2F9z%3D", False),
        ("custom", B64, True),
        ("custom", f":{B64}:", True),
        ("custom", f":{B64}", False),
        ("custom", f"{B64}:", False),
        ("custom", f"{B64},{OTHER}", False),
        ("ingress_nginx", "-----BEGIN%20CERTIFICATE-----%0AMII%2B%0AAA%3D%0A-----END%20CERTIFICATE-----%0A", True),
        ("ingress_nginx", "-----BEGIN%20CERTIFICATE-----%0AMII%2B%0AAA%3D%0A-----END%20CERTIFICATE-----", False),
        ("ingress_nginx", "-----BEGIN+CERTIFICATE-----%0AMII%2B%0AAA%3D%0A-----END+CERTIFICATE-----%0A", False),
        ("ingress_nginx", "-----BEGIN%20CERTIFICATE-----%0AMII+%0A-----END%20CERTIFICATE-----%0A", False),
        ("ingress_nginx", "MII%2B%0AAA%3D", False),
        ("ingress_nginx", "%2D%2D%2D%2D%2DBEGIN%20CERTIFICATE%2D%2D%2D%2D%2D%0AMII%0A", False),
    ],
)
def test_a_whole_certificate_is_taken_in_the_form_of_the_profile_only(profile: str, value: str, good: bool) -> None:
    known = PROFILES.get(profile) or Profile(way="certificate", headers={})
    assert takes(known, value) == (("MII%2B%0AAA%3D" if profile == "ingress_nginx" else B64) if good else "")


# --- the maps of trust ---

CA = certificate(name_of("One"), 1, subject=name_of("One"))
ISSUERS = [
    {"id": 1, "subject": 'CN=A\\, "B" {x} $y;O=Ops', "sha256": hashlib.sha256(CA).hexdigest().upper()},
    {"id": 12, "subject": "CN=a", "sha256": "cd" * 32},
]
ALEX = {"issuer": 1, "serial": "0A1B", "name": "alex", "email": ["a@b.test", "c@b.test"], "roles": ["admin"]}
GONE = {"issuer": 12, "serial": "FF", "reason": "keyCompromise", "revoked_at": "2026-01-01T00:00:00Z"}


def publication(*people: dict[str, Any], issuers: list[dict[str, Any]] | None = None) -> Publication:
    """Return the publication of these clients, with matching digests."""
    files = {
        "ca.pem": pem(CA),
        "crl.pem": "crl",
        "identities.json": json.dumps({"format": 1, "issuers": issuers or ISSUERS, "identities": people}),
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
    assert found["$quietdoor_edge_denied"] == (presented, {"default": "1", "12:FF": "1", "~^[0-9]+:": "0"})
    assert found["$quietdoor_edge_name"] == (presented, {"default": "", "1:0A1B": "alex", "1:0A1C": "bea"})
    assert found["$quietdoor_edge_email"] == (presented, {"default": "", "1:0A1B": "a@b.test,c@b.test"})
    assert found["$quietdoor_edge_client_serial"][1]["1:0A1C"] == "0A1C"
    assert found["$quietdoor_edge_client_sha1"] == (presented, {"default": "", "1:0A1C": "ab" * 20})


def test_identity_and_edge_come_from_trust() -> None:
    dora = {**ALEX, "serial": "0A1D", "name": "dora", "subject": "CN=costs $host"}
    issuers = [ISSUERS[1], {**ISSUERS[1], "id": 3, "subject": 'CN="q" \\, x'}]
    found = maps(render_edge_maps(publication({**ALEX, "issuer": 3, "subject": 'CN=a\\,"b",O=x'}, issuers=issuers)))
    assert found["$quietdoor_edge_dn"] == ("$quietdoor_edge_presented", {"default": "", "3:0A1B": 'CN=a\\,"b",O=x'})
    assert found["$quietdoor_edge_client_issuer_dn"] == (
        "$quietdoor_edge_presented",
        {"default": "", "~^12:": "CN=a", "~^3:": 'CN="q" \\, x'},
    )
    # nginx would read a $ as a variable, in the name of an issuer too; such a name is not passed on.
    found = maps(render_edge_maps(publication(ALEX, BEA, dora)))
    assert found["$quietdoor_edge_dn"][1] == {"default": ""}
    assert found["$quietdoor_edge_client_issuer_dn"][1] == {"default": "", "~^12:": "CN=a"}


def test_the_maps_ask_for_nothing_that_an_older_gate_does_not_define() -> None:
    """Trust changes independently: a revocation must not wait for the next gate, nor fail after a rollback."""
    text = render_edge_maps(publication(ALEX, BEA))
    own = set(re.findall(r"^map .* \$(\w+) \{$", text, re.MULTILINE)) | set(re.findall(r"\(\?<(\w+)>", text))
    given = {f"quietdoor_edge_{what}" for what in ("serial", "issuer_dn", "sha256", "sha256_base64", "sha1")}
    assert set(re.findall(r"\$(\w+)", text)) - own == given


def test_keys_fit_the_default_bucket() -> None:
    """46 bytes, as for the other maps of trust."""
    people = publication(ALEX, BEA, CARL)
    for text in (render_edge_maps(people), *render_certificate_maps(people).values()):
        for source, entries in maps(text).values():
            assert all(len(key) <= 46 for key in entries if not key.startswith("~")), source


# --- whole certificates ---

SIGNATURE = bytes(range(256)) * 2 + b"a signature, which is random"
CERTIFICATE = certificate(name_of("One"), 0x0A1F, more=SIGNATURE)
DER = base64.b64encode(CERTIFICATE).decode()
CARL = {**ALEX, "serial": "0A1F", "name": "carl", "der": DER}
# The longest one, with as many as possible of the characters that escaping makes three.
_FRAME = len(certificate(name_of("One"), 0x0A21, more=bytes(2000))) - 2000
BIG = base64.b64encode(certificate(name_of("One"), 0x0A21, more=(b"\xfb\xef\xbe" * 1000)[_FRAME:])).decode()
LONG = {**ALEX, "serial": "0A21", "name": "dora", "der": BIG}


def looked_up(spelling: str, value: str, *people: dict[str, Any]) -> str:
    """Return the result of the maps of a spelling for a text, in the order of nginx."""
    found = maps(render_certificate_maps(publication(*people))[edge_file_of(spelling)])
    variables = {f"$quietdoor_edge_{spelling}": value}

    def look(text: str, entries: dict[str, str]) -> str:
        for key, yields in entries.items():
            if not key.startswith("~") and key.lower() == text.lower():
                return yields
        for key, yields in entries.items():
            match = re.search(pattern_of(key), text) if key.startswith("~") else None
            if match:
                return match[yields[1:]]
        return entries["default"]

    for variable, (source, entries) in found.items():
        text = re.sub(r"\$\w+", lambda name: variables[name[0]], source)
        variables[variable] = look(text, entries)
    return variables[f"$quietdoor_edge_{spelling}_sha256"]


def test_a_known_certificate_is_found_by_its_whole_text() -> None:
    digest = hashlib.sha256(CERTIFICATE).hexdigest()
    lines = "\n".join(DER[place : place + 64] for place in range(0, len(DER), 64))
    for spelling, text in (("certificate", DER), ("certificate_pem", quote(lines, safe=""))):
        assert looked_up(spelling, text, ALEX, CARL, LONG) == digest
        assert looked_up(spelling, text, ALEX, BEA) == ""


@given(st.data())
@settings(max_examples=50)
def test_a_text_that_differs_anywhere_is_not_found(data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(DER) - 1))
    char = DER[place]
    changed = data.draw(st.sampled_from([char.swapcase(), "", f"{char}{char}", "A", "=", "/", f"{char}:", f"{char} "]))
    text = DER[:place] + changed + DER[place + 1 :]
    assert (looked_up("certificate", text, ALEX, CARL) != "") == (text == DER)


def test_empty_value_is_not_an_identity() -> None:
    for spelling in CERTIFICATE_ENCODINGS:
        for text in ("", ":", "A", "A" * 42, DER[-42:], f"{DER}:", f"{DER}:{hashlib.sha256(CERTIFICATE).hexdigest()}"):
            assert looked_up(spelling, text, ALEX, CARL) == ""


def test_what_does_not_fit_into_one_word_of_nginx_is_left_out() -> None:
    plain, escaped = (render_certificate_maps(publication(LONG))[edge_file_of(one)] for one in CERTIFICATE_ENCODINGS)
    assert BIG in plain
    assert "%2B" not in escaped
    assert max(map(len, re.findall(r"\S+", plain))) <= 4094


def test_two_with_one_end_are_both_left_out_since_nginx_takes_no_key_twice() -> None:
    other = base64.b64encode(certificate(name_of("One"), 0x0A20, more=SIGNATURE)).decode()
    text = render_certificate_maps(publication(CARL, {**CARL, "serial": "0A20", "der": other}))["edge-certificate.conf"]
    assert maps(text)["$quietdoor_edge_certificate_entry"][1] == {"default": ""}
    assert looked_up("certificate", DER, CARL, {**CARL, "serial": "0A20", "der": other}) == ""


@given(st.from_regex(r"[A-Za-z]{1,8}=[\x20-\x7e]{1,40}", fullmatch=True))
def test_a_subject_stays_in_its_map(subject: str) -> None:
    found = maps(render_edge_maps(publication({**ALEX, "subject": subject})))
    expected = {} if "$" in subject else {"1:0A1B": subject}
    assert found["$quietdoor_edge_dn"][1] == {"default": "", **expected}
    assert found["$quietdoor_edge_name"][1] == {"default": "", "1:0A1B": "alex"}


@pytest.mark.parametrize(
    ("people", "words"),
    [
        ([{**BEA, "sha256": "zz"}], "is not a certificate's sha256"),
        ([{**BEA, "sha256": f"{DIGEST}\n"}], "is not a certificate's sha256"),
        ([{**BEA, "sha256": 7}], "is not a certificate's sha256"),
        ([{**BEA, "sha1": DIGEST}], "is not a certificate's sha1"),
        ([{**ALEX, "der": 7}], "7 is not a certificate's der"),
        ([{**ALEX, "der": ""}], "'' is not a certificate's der"),
        ([{**ALEX, "der": "MIIB\n"}], "is not a certificate's der"),
        ([{**ALEX, "der": "MIIB; }"}], "is not a certificate's der"),
        ([{**ALEX, "der": "MIB="[:-1]}], "is not a certificate's der"),
        ([{**ALEX, "der": "A" * 4004}], "is not a certificate's der"),
        ([{**ALEX, "der": "MIJ="}], "is not the certificate with the sha256"),
        ([{**BEA, "der": "MIIB"}], f"'MIIB' is not the certificate with the sha256 {DIGEST}"),
        ([{**ALEX, "der": "MIIB"}, {**ALEX, "serial": "0A1C", "der": "MIIB"}], "more than one identity has the digest"),
        ([{**ALEX, "der": "MIIB"}], "'MIIB' is not a certificate"),
        ([{**CARL, "sha1": "ab" * 20}], f"is not the certificate with the sha1 {'ab' * 20}"),
        ([{**CARL, "serial": "0A1B"}], "is not the certificate with issuer and serial 1:0A1B of carl"),
        ([{**ALEX, "subject": "CN=a\n"}], "is not a certificate's subject"),
        ([{**ALEX, "subject": ""}], "'' is not a certificate's subject"),
        ([BEA, {**BEA, "serial": "0A1D", "sha1": "CD" * 20}], f"more than one identity has the digest {DIGEST}"),
        ([BEA, {**BEA, "serial": "0A1D", "sha256": "CD" * 32}], f"more than one identity has the digest {'ab' * 20}"),
    ],
)
def test_a_digest_that_is_none_is_refused(people: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(MtlsError) as caught:
        publication(*people)
    assert words in str(caught.value)
