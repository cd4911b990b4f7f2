# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificate profiles: what a CA and a client certificate carry, and for how long (RFC 5280 section 4)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .clock import BACKDATE
from .keys import signing_hash, spec_of

try:
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID
except ImportError:  # the modules report it (_ansible.dependencies) before anything here is called
    pass

if TYPE_CHECKING:
    from datetime import datetime

    from .keys import PrivateKey, PublicKey


@dataclass(frozen=True)
class Signer:
    """What signs: a CA's certificate and its private key."""

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


def self_signed_ca(key: PrivateKey, subject: x509.Name, not_before: datetime, not_after: datetime) -> x509.Certificate:
    """Return the certificate of an authority that signs clients directly (path length 0).

    CA:true and key usage keyCertSign, cRLSign, both critical, SKI and AKI (RFC 5280 sections 4.2.1.1 to 4.2.1.3 and 4.2.1.9).
    """
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(random_serial())
        .not_valid_before(not_before - BACKDATE)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs=True), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
    )
    return builder.sign(key, signing_hash(key))


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

    Its validity lies within the signer's (RFC 5280 section 6.1 wants every certificate of a path valid).
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
    """Return the AKI that points at ``issuer`` (RFC 5280 section 4.2.1.1)."""
    try:
        identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())  # type: ignore[arg-type]
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
