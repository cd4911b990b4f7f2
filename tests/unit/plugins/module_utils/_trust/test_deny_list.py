# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the additional keys of the deny map, and the trust anchors."""

from __future__ import annotations

import subprocess
from datetime import datetime, timedelta, timezone

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.chain_verification import (
    Ca,
    Crl,
    read_chain,
    read_crls,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.deny_list import anchors, deny_keys, revoked_cas
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.identity_maps import render_maps
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.publication_reader import Issuer, Publication
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509.certificate_profiles import CaProfile, self_signed_ca
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509.keys import KeySpec, generate
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509.names import build_name
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

NOW = datetime.now(timezone.utc).replace(microsecond=0)


def ca(name: str, issuer: str, serial: str) -> Ca:
    return Ca(f"CN={name}", f"CN={issuer}", serial, name, NOW + timedelta(days=9), "", name)


def crl(issuer: str, *serials: str) -> Crl:
    return Crl(f"CN={issuer}", issuer, 1, NOW, NOW + timedelta(days=9), serials)


CHAIN = (ca("low", "high", "03"), ca("high", "root", "02"), ca("root", "root", "01"), ca("other", "other", "01"))
CRLS = tuple(crl(one.sha256) for one in CHAIN)


def publication(*denied: str) -> Publication:
    issuers = tuple(Issuer(number, one.subject, one.sha256) for number, one in enumerate(CHAIN, 1))
    return Publication(5, {}, issuers, (), denied)


@pytest.mark.parametrize(
    ("denied", "crls", "lost"),
    [
        ((), (), set()),
        (("1:02", "1:03", "4:02", "3:03"), (), set()),  # the same serials of other CAs
        (("3:02",), (), {"low", "high"}),
        ((), (crl("root", "02"),), {"low", "high"}),
        ((), (crl("high", "03"),), {"low"}),
        ((), (crl("root", "01"),), {"low", "high", "root"}),
        (("4:01",), (), {"other"}),
    ],
)
def test_ca_is_revoked_with_any_ca_above_it(denied: tuple[str, ...], crls: tuple[Crl, ...], lost: set[str]) -> None:
    assert revoked_cas(publication(*denied), CHAIN, crls) == lost
    assert revoked_cas(publication(*denied), CHAIN[::-1], crls) == lost


def test_deny_map_includes_crl_entries_and_clients_of_revoked_cas() -> None:
    found = publication("1:AA", "4:BB")
    keys = deny_keys(found, CHAIN, (crl("low", "AA", "CC"), crl("root", "02")))
    assert keys == ("1:AA", "1:CC", "3:02", '"~^2:"', '"~^1:"')
    maps = render_maps(found, keys).partition("$quietdoor_denied_by_serial {\n")[2].partition("}")[0]
    assert maps.split() == [
        *["default", "1;", "1:AA", "1;", "4:BB", "1;", "1:CC", "1;", "3:02", "1;"],
        '"~^2:"',
        "1;",
        '"~^1:"',
        "1;",
        '"~^[0-9]+:"',
        "0;",
    ]


def test_crl_of_a_ca_without_an_id_is_ignored() -> None:
    found = Publication(5, {}, publication().issuers[:1], (), ())
    assert deny_keys(found, CHAIN, (crl("root", "02"),)) == ('"~^1:"',)


# --- with openssl ---


def made(name: str) -> tuple[x509.Certificate, object, str]:
    key = generate(KeySpec("ecdsa", curve="P-256"))
    profile = CaProfile(build_name(name), key.public_key(), NOW, NOW + timedelta(days=30), 0)
    certificate = self_signed_ca(key, profile)
    return certificate, key, certificate.public_bytes(Encoding.PEM).decode()


def test_anchors_are_trusted_certificates_followed_by_plain_ones() -> None:
    pems = [made(name)[2] for name in ("One", "Two")]
    chain = read_chain("".join(pems), NOW)
    both, one = anchors(chain, frozenset()), anchors(chain, frozenset({chain[0].sha256}))
    assert [both.count(f"BEGIN {what}CERTIFICATE") for what in ("TRUSTED ", "")] == [2, 2]
    assert both.index("BEGIN CERTIFICATE") > both.rindex("END TRUSTED")
    assert [one.count(f"BEGIN {what}CERTIFICATE") for what in ("TRUSTED ", "")] == [1, 1]
    assert pems[1] in one
    output = subprocess.run(
        ["openssl", "x509", "-noout", "-text"], input=one, capture_output=True, text=True, check=True
    )
    assert "TLS Web Client Authentication" in output.stdout.partition("Trusted Uses:")[2]
    assert anchors(chain, frozenset(ca.sha256 for ca in chain)) == both, "nginx starts with no empty file"


@pytest.mark.parametrize(
    ("serial", "expected"),
    [(0x0A1B, "0A1B"), (0xFF, "FF"), (0xABC, "0ABC"), ((1 << 160) - 1, "F" * 40), (1 << 160, None)],
)
def test_serials_of_a_crl_have_the_form_of_nginx(serial: int, expected: str | None) -> None:
    certificate, key, pem = made("One")
    chain = read_chain(pem, NOW)
    entry = x509.RevokedCertificateBuilder(serial, NOW.replace(tzinfo=None)).build()
    ends = [moment.replace(tzinfo=None) for moment in (NOW - timedelta(days=1), NOW + timedelta(days=9))]
    builder = x509.CertificateRevocationListBuilder(certificate.subject, *ends, [], [entry])
    text = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
    if expected is not None:
        assert read_crls(text, chain, NOW)[0].serials == (expected,)
        return
    with pytest.raises(MtlsError, match="is not a valid serial number"):
        read_crls(text, chain, NOW)
