# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the certificates of CAs and clients: extensions and validity (RFC 5280 section 4)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._common.timestamps import BACKDATE
from .keys import signing_hash, spec_of

try:
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID
except ImportError:  # the modules report it (_common.requirements) before anything here is called
    pass

if TYPE_CHECKING:
    from datetime import datetime

    from .keys import PrivateKey, PublicKey


@dataclass(frozen=True)
class Signer:
    """A CA that signs: its certificate and its private key."""

    certificate: x509.Certificate
    key: PrivateKey


def random_serial() -> int:
    """Return a serial of at most 159 random bits (RFC 5280 section 4.1.2.2: positive, at most 20 octets)."""
    return secrets.randbits(159) or 1


def _key_usage(
    *, digital_signature: bool = False, key_encipherment: bool = False, signs: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=key_encipherment,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


@dataclass(frozen=True)
class CaProfile:
    """The fields of a CA certificate other than its issuer.

    :param path_length: how many CAs may follow below it (RFC 5280 section 4.2.1.9); 0: it signs clients only, None: unlimited.
    :param key_identifier: the subject key identifier to keep; None derives it from the key (section 4.2.1.2).
    """

    subject: x509.Name
    public_key: PublicKey
    not_before: datetime
    not_after: datetime
    path_length: int | None = 0
    key_identifier: x509.SubjectKeyIdentifier | None = None


def self_signed_ca(key: PrivateKey, profile: CaProfile) -> x509.Certificate:
    """Return a self-signed CA certificate; ``key`` is the private key of the profile's public key."""
    identifier = _subject_key_identifier(profile)
    builder = (
        _ca(profile)
        .issuer_name(profile.subject)
        .not_valid_before(profile.not_before - BACKDATE)
        .not_valid_after(profile.not_after)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
    )
    return builder.sign(key, signing_hash(key))


def issuing_ca(signer: Signer, profile: CaProfile) -> x509.Certificate:
    """Return a CA certificate that is signed by ``signer``. Its validity is within the signer's."""
    issuer = signer.certificate
    builder = (
        _ca(profile)
        .issuer_name(issuer.subject)
        .not_valid_before(max(profile.not_before - BACKDATE, issuer.not_valid_before_utc))
        .not_valid_after(min(profile.not_after, issuer.not_valid_after_utc))
        .add_extension(authority_key_identifier(issuer), critical=False)
    )
    return builder.sign(signer.key, signing_hash(signer.key))


def _ca(profile: CaProfile) -> x509.CertificateBuilder:
    """Return a builder with CA:true, key usage keyCertSign and cRLSign, and SKI (RFC 5280 sections 4.2.1.2, 4.2.1.3, 4.2.1.9)."""
    return (
        x509.CertificateBuilder()
        .subject_name(profile.subject)
        .public_key(profile.public_key)
        .serial_number(random_serial())
        .add_extension(x509.BasicConstraints(ca=True, path_length=profile.path_length), critical=True)
        .add_extension(_key_usage(signs=True), critical=True)
        .add_extension(_subject_key_identifier(profile), critical=False)
    )


def _subject_key_identifier(profile: CaProfile) -> x509.SubjectKeyIdentifier:
    return profile.key_identifier or x509.SubjectKeyIdentifier.from_public_key(profile.public_key)


def key_identifier_of(certificate: x509.Certificate) -> x509.SubjectKeyIdentifier | None:
    """Return the subject key identifier of a certificate, or None if it has none."""
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return None


def path_length_of(certificate: x509.Certificate) -> int | None:
    """Return how many CAs may follow below this one, or None for no limit (RFC 5280 section 4.2.1.9)."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
    except x509.ExtensionNotFound:
        return None


def client_certificate(
    signer: Signer,
    public_key: PublicKey,
    subject: x509.Name,
    emails: tuple[str, ...],
    serial: int,
    not_before: datetime,
    not_after: datetime,
) -> x509.Certificate:
    """Return a client certificate: CA:false, clientAuth, digitalSignature (and keyEncipherment for RSA), SAN = the e-mails.

    Its validity is within the signer's (RFC 5280 section 6.1 requires that every certificate of a path is valid).
    """
    rsa_key = getattr(spec_of(public_key), "type", None) == "rsa"
    earliest = max(not_before - BACKDATE, signer.certificate.not_valid_before_utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer.certificate.subject)
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(earliest)
        .not_valid_after(min(not_after, signer.certificate.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True, key_encipherment=rsa_key), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(authority_key_identifier(signer.certificate), critical=False)
    )
    if emails:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.RFC822Name(email) for email in emails]), critical=False
        )
    return builder.sign(signer.key, signing_hash(signer.key))


def authority_key_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """Return the AKI that identifies the key of ``issuer`` (RFC 5280 section 4.2.1.1)."""
    identifier = key_identifier_of(issuer)
    if identifier is None:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())  # type: ignore[arg-type]
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
