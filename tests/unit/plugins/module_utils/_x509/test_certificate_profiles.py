# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the contents of CA and client certificates with the openssl command."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509 import certificate_profiles
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509.keys import KeySpec
from cryptography import x509

P256, P384, RSA = KeySpec("ecdsa", curve="P-256"), KeySpec("ecdsa", curve="P-384"), KeySpec("rsa", size=2048)


def verify(openssl: Any, door: Any, certificate: Path, *options: str, fails: bool = False) -> str:
    return openssl(
        "verify", "-x509_strict", "-crl_check_all", "-CAfile", str(door.file("certs", "ca.cert.pem")),
        "-CRLfile", str(door.file("crl", "ca.crl.pem")), *options, str(certificate), fails=fails,
    )  # fmt: skip


@pytest.mark.parametrize("ca_key", [P256, P384, RSA], ids=str)
@pytest.mark.parametrize("key", [P256, RSA], ids=str)
def test_openssl_accepts_a_client_as_a_client_and_as_nothing_else(
    ca_key: KeySpec, key: KeySpec, empty_door: Any, client: Any, openssl: Any
) -> None:
    empty_door.create('Zoë, "Ops" + CA', key=ca_key)
    empty_door.enrol(client(key=key, email=("a@example.org", "b@example.org"), organization="Ex+ample; Ltd"))
    empty_door.crl()
    certificate = empty_door.file("clients", "alex", "alex.crt")
    assert "OK" in verify(openssl, empty_door, certificate, "-purpose", "sslclient")
    for purpose in ("sslserver", "smimesign", "timestampsign"):
        assert "purpose" in verify(openssl, empty_door, certificate, "-purpose", purpose, fails=True)
    empty_door.revoke(client="alex")
    empty_door.crl()
    assert "revoked" in verify(openssl, empty_door, certificate, "-purpose", "sslclient", fails=True)


def extension(certificate: x509.Certificate, kind: Any) -> Any:
    return certificate.extensions.get_extension_for_class(kind)


@pytest.mark.parametrize(("key", "encipherment"), [(P256, False), (RSA, True)], ids=str)
def test_what_a_client_certificate_carries(key: KeySpec, encipherment: bool, door: Any, client: Any) -> None:
    door.enrol(client(key=key, email=("a@example.org", "b@example.org"), organization="Ops"))
    certificate, ca = door.authority.issued(door.authority.rows[0].serial), door.authority.certificate
    assert len(certificate.extensions) == 6
    assert extension(certificate, x509.BasicConstraints).critical
    assert not extension(certificate, x509.BasicConstraints).value.ca
    usage = extension(certificate, x509.KeyUsage)
    assert usage.critical
    assert usage.value == certificate_profiles._key_usage(digital_signature=True, key_encipherment=encipherment)
    assert list(extension(certificate, x509.ExtendedKeyUsage).value) == [x509.ExtendedKeyUsageOID.CLIENT_AUTH]
    names = extension(certificate, x509.SubjectAlternativeName).value
    assert names == x509.SubjectAlternativeName([x509.RFC822Name("a@example.org"), x509.RFC822Name("b@example.org")])
    authority_key = extension(certificate, x509.AuthorityKeyIdentifier).value
    assert authority_key.key_identifier == extension(ca, x509.SubjectKeyIdentifier).value.digest
    assert certificate.subject.rfc4514_string() == "CN=Alex,O=Ops"
    assert certificate.version is x509.Version.v3


def test_without_an_address_there_is_no_alternative_name(door: Any, client: Any) -> None:
    door.enrol(client(email=()))
    certificate = door.authority.issued(door.authority.rows[0].serial)
    with pytest.raises(x509.ExtensionNotFound):
        extension(certificate, x509.SubjectAlternativeName)


def test_what_a_ca_certificate_carries(door: Any, openssl: Any) -> None:
    ca = door.authority.certificate
    basic = extension(ca, x509.BasicConstraints)
    assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 0)
    usage = extension(ca, x509.KeyUsage)
    assert usage.critical
    assert usage.value == certificate_profiles._key_usage(signs=True)
    digest = extension(ca, x509.SubjectKeyIdentifier).value.digest
    assert extension(ca, x509.AuthorityKeyIdentifier).value.key_identifier == digest
    assert ca.subject == ca.issuer
    path = str(door.file("certs", "ca.cert.pem"))
    assert "OK" in openssl("verify", "-x509_strict", "-CAfile", path, path)


def test_validity_begins_a_little_before_now_and_lies_within_the_cas(empty_door: Any, client: Any) -> None:
    empty_door.create(days=20)
    empty_door.later(days=1).enrol(client(valid_for=timedelta(days=5)), client("bea"))
    ca = empty_door.authority.certificate
    alex, bea = (empty_door.authority.issued(row.serial) for row in empty_door.authority.rows)
    begin = empty_door.later(days=1).now - timedelta(minutes=10)
    assert (alex.not_valid_before_utc, alex.not_valid_after_utc) == (begin, empty_door.later(days=6).now)
    assert bea.not_valid_after_utc == ca.not_valid_after_utc
    assert ca.not_valid_before_utc == empty_door.now - timedelta(minutes=10)


def test_a_client_of_a_brand_new_ca_does_not_begin_before_it(door: Any, client: Any) -> None:
    door.enrol(client())
    certificate = door.authority.issued(door.authority.rows[0].serial)
    assert certificate.not_valid_before_utc >= door.authority.certificate.not_valid_before_utc


def test_serials_are_random_positive_and_fit_twenty_octets() -> None:
    serials = {certificate_profiles.random_serial() for _time in range(1000)}
    assert len(serials) == 1000
    assert all(0 < serial < 2**159 for serial in serials)
    assert max(serials) > 2**150


def test_a_very_long_validity_is_written_as_rfc_5280_says(empty_door: Any, client: Any, openssl: Any) -> None:
    """Dates are UTCTime until 2049 and GeneralizedTime from 2050 on: in the certificate, in index.txt and on the CRL."""
    empty_door.create(days=36_500)
    empty_door.enrol(client(valid_for=timedelta(days=36_000)))
    row = empty_door.authority.rows[0]
    assert len(row.expires) == 15
    assert row.not_after == empty_door.authority.issued(row.serial).not_valid_after_utc
    assert "Valid" in empty_door.openssl_ca("-status", row.serial, fails=True)
