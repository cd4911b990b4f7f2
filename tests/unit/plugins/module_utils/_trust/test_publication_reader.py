# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the publication reader: rejected values, rendered maps, and 100,000 entries."""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.config_parser import parse
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.identity_maps import render_maps
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.publication_reader import (
    DATA_FILES,
    read_generation,
    read_publication,
)
from hypothesis import given
from hypothesis import strategies as st
from support.made_der import PRINTABLE, certificate, described, name, pem

CA_ONE, CA_TWELVE = (certificate(name(text), 1, subject=name(text)) for text in ("One", "Twelve"))
ISSUERS = [
    {"id": 1, "subject": 'CN=A\\, "B" {x} $y;O=Ops', "sha256": hashlib.sha256(CA_ONE).hexdigest().upper()},
    {"id": 12, "subject": "CN=a", "sha256": hashlib.sha256(CA_TWELVE).hexdigest()},
]
ALEX = {
    "issuer": 1,
    "serial": "0A1B",
    "name": "alex",
    "common_name": "x",
    "email": ["a@b.test", "c@b.test"],
    "roles": ["admin"],
}
GONE = {"issuer": 12, "serial": "FF", "reason": "keyCompromise", "revoked_at": "2026-01-01T00:00:00Z"}


def texts(**changed: Any) -> dict[str, Any]:
    """Return the files of a publication with matching digests."""
    identities = {"format": 1, "issuers": ISSUERS, "identities": changed.get("identities", [ALEX])}
    identities.update(changed.get("issuers", {}))
    files = {
        "ca.pem": changed.get("ca", pem(CA_ONE) + pem(CA_TWELVE)),
        "crl.pem": "crl",
        "identities.json": json.dumps(identities),
        "denied.json": json.dumps({"format": 1, "denied": changed.get("denied", [GONE])}),
    }
    digests = {name: hashlib.sha256(files[name].encode()).hexdigest() for name in DATA_FILES}
    trust = {"format": 1, "generation": 5, "files": digests, **changed.get("trust", {})}
    return {**files, "trust.json": json.dumps(trust), **changed.get("files", {})}


def maps(text: str) -> dict[str, tuple[str, dict[str, str]]]:
    """Return the maps of a configuration: variable -> source and entries."""
    return {
        one.args[1]: (one.args[0], {entry.name: entry.args[0] for entry in one.block or ()})
        for one in parse(text, "http.conf")
    }


def test_maps() -> None:
    """Compare the maps with docs/architecture.md. A certificate without description is found by issuer and serial."""
    found = maps(render_maps(read_publication(texts())))
    verified = "$quietdoor_issuer:$ssl_client_serial"
    by_serial = {what: f"$quietdoor_{what}_by_serial" for what in ("denied", "good", "name", "email", "roles")}
    assert found == {
        "$quietdoor_trust_generation": ("", {"default": "5"}),
        "$quietdoor_known": ("$ssl_client_fingerprint", {"default": ""}),
        "$quietdoor_issuer_by_dn": (
            "$ssl_client_i_dn",
            {
                "default": "",
                "": "0",
                "~^CN=A\\x5c, \\x22B\\x22 \\x7bx\\x7d \\x24y\\x3bO=Ops\\z": "1",
                "~^CN=a\\z": "12",
                "~^": "0",
            },
        ),
        "$quietdoor_presented_issuer": (
            "$quietdoor_known",
            {"default": "0", "": "$quietdoor_issuer_by_dn", "~^[1-9]": "0"},
        ),
        "$quietdoor_issuer": ("$ssl_client_verify", {"default": "0", "SUCCESS": "$quietdoor_presented_issuer"}),
        "$quietdoor_issuer_dn": ("$quietdoor_known", {"default": "$ssl_client_i_dn", "": "$ssl_client_i_dn"}),
        "$quietdoor_serial": ("$quietdoor_known", {"default": "$ssl_client_serial"}),
        "$quietdoor_subject_dn": ("$quietdoor_known", {"default": "$ssl_client_s_dn"}),
        by_serial["denied"]: (
            "$quietdoor_issuer_by_dn:$ssl_client_serial",
            {"default": "1", "12:FF": "1", "~^[0-9]+:": "0"},
        ),
        "$quietdoor_denied": ("$quietdoor_known", {"default": "1", "": by_serial["denied"], "~^[1-9]": "0"}),
        "$quietdoor_holder": ("$ssl_client_verify", {"default": "0", "SUCCESS": "$quietdoor_known"}),
        "$quietdoor_good": ("$quietdoor_holder", {"default": "0", "": by_serial["good"]}),
        by_serial["good"]: (
            "$quietdoor_issuer:$quietdoor_denied",
            {"default": "0", "~^[1-9][0-9]*:0\\z": "1"},
        ),
        by_serial["name"]: (verified, {"default": "", "1:0A1B": "alex"}),
        by_serial["email"]: (verified, {"default": "", "1:0A1B": "a@b.test,c@b.test"}),
        by_serial["roles"]: (verified, {"default": "", "1:0A1B": "admin"}),
        "$quietdoor_name": ("$quietdoor_holder", {"default": "", "": by_serial["name"]}),
        "$quietdoor_email": ("$quietdoor_holder", {"default": "", "": by_serial["email"]}),
        "$quietdoor_roles": ("$quietdoor_holder", {"default": "", "": by_serial["roles"]}),
    }


BEA = {
    **ALEX,
    "serial": "0A1C",
    "name": "bea",
    **described(certificate(name("One"), 0x0A1C)),
    "subject": 'O=a\\,"b,CN=Bea',
    "email": [],
    "roles": [],
}
CARL = {
    **ALEX,
    "issuer": 12,
    "serial": "0A1C",
    "name": "carl",
    **described(certificate(name("Twelve"), 0x0A1C)),
    "subject": "CN=$carl",
}
DORA = {**ALEX, "serial": "0A1D", "name": "dora", **described(certificate(name("One"), 0x0A1D))}


def test_a_certificate_that_is_described_is_known_by_its_fingerprint() -> None:
    """Look up no data by its serial, which a certificate of another CA can have, too."""
    found = maps(render_maps(read_publication(texts(identities=[ALEX, BEA, CARL, DORA]))))
    entries = {
        name: found[f"$quietdoor_{name}"][1]
        for name in ("presented_issuer", "good", "serial", "subject_dn", "name", "email")
    }
    assert found["$quietdoor_known"][1] == {"default": "", BEA["sha1"]: "1", CARL["sha1"]: "2", DORA["sha1"]: "3"}
    assert entries == {
        "presented_issuer": {"default": "0", "": "$quietdoor_issuer_by_dn", "2": "12", "~^[1-9]": "1"},
        "good": {"default": "0", "": "$quietdoor_good_by_serial", **dict.fromkeys("123", "1")},
        "serial": {"default": "$ssl_client_serial", "1": "0A1C", "2": "0A1C", "3": "0A1D"},
        "subject_dn": {"default": "$ssl_client_s_dn", "1": 'O=a\\,"b,CN=Bea', "2": "$ssl_client_s_dn"},
        "name": {"default": "", "": "$quietdoor_name_by_serial", "1": "bea", "2": "carl", "3": "dora"},
        "email": {"default": "", "": "$quietdoor_email_by_serial", **dict.fromkeys("23", "a@b.test,c@b.test")},
    }
    assert found["$quietdoor_name_by_serial"][1] == {"default": "", "1:0A1B": "alex"}
    # The name of the first issuer contains a $, which nginx cannot escape.
    dns = {"default": "$ssl_client_i_dn", "": "$ssl_client_i_dn", "2": "CN=a"}
    assert found["$quietdoor_issuer_dn"][1] == dns


@pytest.mark.parametrize(
    ("denied", "revoked", "quick"),
    [
        ([], [], {"bea", "carl", "dora"}),
        ([{**GONE, "serial": "0A1C"}], [], {"bea", "dora"}),  # the same serial of the other CA is not affected
        ([{**GONE, "issuer": 1, "serial": "0A1C"}], [], {"carl", "dora"}),
        ([], ["1:0A1D"], {"bea", "carl"}),  # an entry of a CRL only
        ([], ['"~^12:"'], {"bea", "dora"}),  # a revoked CA
        ([], ['"~^1:"'], {"carl"}),
    ],
)
def test_denied_certificate_is_not_known_by_its_fingerprint(
    denied: list[dict[str, Any]], revoked: list[str], quick: set[str]
) -> None:
    """Let issuer and serial decide, which are the keys of the deny map."""
    found = maps(render_maps(read_publication(texts(identities=[BEA, CARL, DORA], denied=denied)), revoked))
    names = found["$quietdoor_name"][1]
    assert {names[number] for number in found["$quietdoor_known"][1].values() if number} == quick
    assert set(found["$quietdoor_name_by_serial"][1].values()) - {""} == {"bea", "carl", "dora"} - quick


def test_a_fingerprint_without_its_certificate_is_not_known() -> None:
    """Let issuer and serial decide, because the fingerprint is not verified."""
    bare = {key: value for key, value in DORA.items() if key != "der"}
    found = maps(render_maps(read_publication(texts(identities=[BEA, bare]))))
    assert found["$quietdoor_known"][1] == {"default": "", BEA["sha1"]: "1"}
    assert found["$quietdoor_name_by_serial"][1] == {"default": "", "1:0A1D": "dora"}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"sha1": CARL["sha1"]}, f"is not the certificate with the sha1 {CARL['sha1']}"),
        (described(certificate(name("One"), 0x0A1E)), "is not the certificate with issuer and serial 1:0A1D"),
        (described(certificate(name("Twelve"), 0x0A1D)), "is not the certificate with issuer and serial 1:0A1D"),
        (described(certificate(name("one"), 0x0A1D)), "is not the certificate with issuer and serial 1:0A1D"),
        (described(certificate(name("One"), 0x0A1D) + b"\0"), "is not a certificate"),
        (described(b"0\x03\x02\x01\x07"), "is not a certificate"),
    ],
)
def test_certificate_listed_with_another_key_is_rejected(changed: dict[str, Any], words: str) -> None:
    """Otherwise a revoked certificate would be admitted with the serial of a valid one."""
    with pytest.raises(MtlsError) as caught:
        read_publication(texts(identities=[{**DORA, **changed}]))
    assert words in str(caught.value)


@pytest.mark.parametrize("ca", ["", "ca", pem(CA_TWELVE), pem(CA_ONE).replace("M", "N"), pem(CA_ONE + b"\0")])
def test_certificate_without_its_issuer_is_rejected(ca: str) -> None:
    with pytest.raises(MtlsError, match=r"ca\.pem does not contain issuer 1"):
        read_publication(texts(identities=[DORA], ca=ca))
    assert read_publication(texts(ca=ca)).generation == 5


def test_renewed_ca_can_encode_its_name_with_another_string_type() -> None:
    dora = {**DORA, **described(certificate(name("One", PRINTABLE), 0x0A1D))}
    [person] = read_publication(texts(identities=[dora])).identities
    assert person.key == "1:0A1D"


def test_the_fingerprint_is_that_of_the_certificate() -> None:
    bare = {key: value for key, value in DORA.items() if key not in ("sha1", "sha256")}
    [person] = read_publication(texts(identities=[bare])).identities
    assert (person.sha1, person.sha256) == (DORA["sha1"], DORA["sha256"])


def test_ten_thousand_certificates() -> None:
    """Read them in a fraction of a second; the limit allows for a busy machine."""
    people = [
        {**ALEX, "serial": f"{serial:040X}", **described(certificate(name("One"), serial, more=bytes(700)))}
        for serial in range(16**38, 16**38 + 10_000)
    ]
    files = texts(identities=[{**one, "serial": one["serial"].removeprefix("00")} for one in people])
    started = time.process_time()
    rendered = render_maps(read_publication(files))
    assert time.process_time() - started < 3
    assert '"10000"' in rendered or " 10000;" in rendered


def test_keys_fit_the_default_bucket() -> None:
    """Check 46 bytes: 64 minus two pointers minus the length, as in ngx_hash_init()."""
    assert len("999:" + "F" * 40) <= 46
    longest = {**GONE, "serial": "F" * 40}
    assert f"12:{'F' * 40} 1;" in render_maps(read_publication(texts(denied=[longest])))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"identities": [{**ALEX, "name": 'a; }"\n'}]}, "is not a name"),
        ({"identities": [{**ALEX, "name": None}]}, "is not a name"),
        ({"identities": [{**ALEX, "email": ["$x@b.test"]}]}, "is not an e-mail address"),
        ({"identities": [{**ALEX, "email": ["a b@b.test"]}]}, "is not an e-mail address"),
        ({"identities": [{**ALEX, "email": "a@b.test"}]}, "is not a list"),
        ({"identities": [{**ALEX, "roles": ["a,b"]}]}, "is not a role"),
        ({"identities": [{**ALEX, "serial": "0a1b"}]}, "is not a serial"),
        ({"identities": [{**ALEX, "serial": "A1B"}]}, "is not a serial"),
        ({"identities": [{**ALEX, "serial": "000A1B"}]}, "is not a serial"),
        ({"identities": [{**ALEX, "serial": "F" * 42}]}, "is not a serial"),
        ({"identities": [{**ALEX, "serial": "-01"}]}, "is not a serial"),
        ({"identities": [{**ALEX, "issuer": 2}]}, "is not an issuer"),
        ({"identities": [{**ALEX, "issuer": True}]}, "is not an issuer"),
        ({"identities": [ALEX, ALEX]}, "more than one identity has issuer and serial 1:0A1B"),
        ({"identities": ["x"]}, "has no list identities"),
        ({"identities": [{**ALEX, "subject": "CN=a\nb"}]}, "is not a certificate's subject"),
        ({"identities": [{**ALEX, "subject": 7}]}, "is not a certificate's subject"),
        ({"denied": [{**GONE, "serial": "FF 1; } #"}]}, "is not a serial"),
        ({"denied": [{**GONE, "issuer": 3}]}, "is not an issuer"),
        ({"denied": {}}, "has no list denied"),
        ({"issuers": {"issuers": [ISSUERS[0], {**ISSUERS[1], "id": 1}]}}, "more than one issuer has the id 1"),
        ({"issuers": {"issuers": [ISSUERS[0], {**ISSUERS[0], "id": 2}]}}, "more than one issuer has the subject"),
        ({"issuers": {"issuers": [{**ISSUERS[0], "id": 1000}]}}, "is not an issuer's id"),
        ({"issuers": {"issuers": [{**ISSUERS[0], "subject": "CN=a\nb"}]}}, "is not an issuer's subject"),
        ({"issuers": {"issuers": [{**ISSUERS[0], "sha256": "zz"}]}}, "is not an issuer's sha256"),
        ({"issuers": {"format": 2}}, "does not have format 1"),
        ({"trust": {"generation": 0}}, "has no generation"),
        ({"trust": {"generation": "5"}}, "has no generation"),
        ({"trust": {"generation": True}}, "has no generation"),
        ({"trust": {"files": {}}}, "does not list the files"),
        ({"files": {"ca.pem": "other"}}, "ca.pem does not have the digest"),
        ({"files": {"trust.json": "{"}}, "trust.json is not JSON"),
        ({"files": {"trust.json": {}}}, "trust.json is not text"),
        ({"files": {"more.pem": ""}}, "'more.pem' unknown"),
    ],
)
def test_invalid_value_is_rejected(changed: dict[str, Any], words: str) -> None:
    """Name the file and the value."""
    with pytest.raises(MtlsError) as caught:
        read_publication(texts(**changed))
    assert words in str(caught.value)


def test_duplicate_denial_is_accepted() -> None:
    """A duplicate must not delay a revocation."""
    assert read_publication(texts(denied=[GONE, {**GONE, "reason": "superseded"}])).denied == ("12:FF",)


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30))
def test_no_value_escapes_from_its_token(name: str, email: str, role: str) -> None:
    """Reject the value, or render the same maps with that value."""
    person = {**ALEX, "name": name, "email": [email], "roles": [role]}
    try:
        found = maps(render_maps(read_publication(texts(identities=[person]))))
    except MtlsError:
        return
    reported = [found[f"$quietdoor_{what}_by_serial"][1]["1:0A1B"] for what in ("name", "email", "roles")]
    assert reported == [name, email, role]
    assert len(found) == 19


def test_a_hundred_thousand() -> None:
    """Read and render 100,000 revocations in about a second; the limit allows for a busy machine."""
    denied = [
        {**GONE, "serial": f"{number:040X}"[:40].replace("0", "A", 1)} for number in range(16**39, 16**39 + 100_000)
    ]
    files = texts(denied=denied)
    started = time.process_time()
    rendered = render_maps(read_publication(files))
    assert time.process_time() - started < 4
    assert rendered.count("\n    12:") == len({row["serial"] for row in denied}) == 100_000


def test_generation() -> None:
    """Read it from trust.json alone."""
    assert read_generation('{"format": 1, "generation": 7}') == 7
    with pytest.raises(MtlsError):
        read_generation("")
