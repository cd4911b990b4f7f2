# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verify each active certificate against the exact contents of a publication.

This is the path validation of RFC 5280 section 6.1 as far as nginx applies it to client certificates: signatures up to the root
CA, dates, basicConstraints, extendedKeyUsage, and a good CRL of every CA. It runs in this process, because one command per client
takes minutes for a long roster.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._common.errors import MtlsError
from .._common.pem import CRL, split_whole_pem
from .._common.timestamps import iso
from .._x509.names import rfc2253

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.x509.oid import ExtendedKeyUsageOID
except ImportError:  # the modules report it (_common.requirements) before anything here is called
    pass

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

_HINT_CLIENT = "Revoke that certificate, so that a new one is issued, or correct the difference"
_HINT_CHAIN = "Repair the authority's certificates and CRLs first; nothing was published"


@dataclass(frozen=True)
class _Ca:
    """A CA of the publication with the serials that its CRL revokes."""

    certificate: x509.Certificate
    revoked: frozenset[int]


def rejected_certificates(
    files: Mapping[str, str], load: Callable[[int, str], x509.Certificate], now: datetime
) -> dict[tuple[int, str], MtlsError]:
    """Verify every certificate of identities.json against ca.pem and crl.pem of the same publication.

    :param files: name of a file of the publication -> its text.
    :param load: returns the certificate with an issuer's id and a serial (hex).
    :return: id of the issuer and serial of each certificate that would be rejected or cannot be read -> the client, and why.
    :raises MtlsError: for a CA whose certificate or CRL is not good.
    """
    bundle = _read_bundle(files["ca.pem"], files["crl.pem"], now)
    refused = {}
    for identity in json.loads(files["identities.json"])["identities"]:
        issuer, serial = identity["issuer"], identity["serial"]
        try:
            certificate = load(issuer, serial)
        except MtlsError as problem:
            refused[issuer, serial] = MtlsError(f"client {identity['name']}: {problem.what}", problem.hint)
            continue
        # A certificate from a clock that was ahead is not valid yet, and has a successor.
        why = "" if now < certificate.not_valid_before_utc else _objection(certificate, bundle, now)
        if why:
            refused[issuer, serial] = MtlsError(
                f"client {identity['name']}: web hosts with this publication would reject the certificate {serial}: "
                f"{why}",
                _HINT_CLIENT,
            )
    return refused


def _read_bundle(ca_pem: str, crl_pem: str, now: datetime) -> dict[bytes, list[_Ca]]:
    """Return the CAs of the publication by their names in DER, each verified up to a self-signed one."""
    certificates = x509.load_pem_x509_certificates(ca_pem.encode())
    crls = [x509.load_pem_x509_crl(block.encode()) for block in split_whole_pem(crl_pem, CRL)]
    bundle: dict[bytes, list[_Ca]] = {}
    for certificate in certificates:
        ca = _Ca(certificate, _revoked(certificate, crls, now))
        bundle.setdefault(certificate.subject.public_bytes(), []).append(ca)
    for certificate in certificates:
        why = _objection_to_ca(certificate, bundle, now)
        if why:
            raise MtlsError(f"The CA {rfc2253(certificate.subject)} cannot be published: {why}", _HINT_CHAIN)
    return bundle


def _revoked(
    certificate: x509.Certificate, crls: list[x509.CertificateRevocationList], now: datetime
) -> frozenset[int]:
    for crl in crls:
        if crl.issuer == certificate.subject and _signed_crl(certificate, crl):
            if crl.next_update_utc is not None and crl.last_update_utc <= now < crl.next_update_utc:
                return frozenset(entry.serial_number for entry in crl)
            raise MtlsError(f"The CRL of {rfc2253(crl.issuer)} is not valid at {iso(now)}", _HINT_CHAIN)
    raise MtlsError(
        f"The CRL of {rfc2253(certificate.subject)} is missing; nginx needs one of every CA, including the root CA",
        _HINT_CHAIN,
    )


def _signed_crl(certificate: x509.Certificate, crl: x509.CertificateRevocationList) -> bool:
    try:
        return crl.is_signature_valid(certificate.public_key())  # type: ignore[arg-type]
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False


def _objection_to_ca(certificate: x509.Certificate, bundle: Mapping[bytes, list[_Ca]], now: datetime) -> str:
    """Return why nginx would not accept a CA. A revoked CA is accepted: web hosts must learn it, and module crl warns."""
    try:
        is_ca = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        is_ca = False
    if not is_ca:
        return "it is not marked as a CA (basicConstraints)"
    issuer, objection = _issuer(certificate, bundle, now)
    # A revoked CA is published too, so that web hosts reject all of its clients.
    return "" if issuer else objection


def _objection(certificate: x509.Certificate, bundle: Mapping[bytes, list[_Ca]], now: datetime) -> str:
    try:
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        purposes = None
    # RFC 5280 section 4.2.1.12: without the extension the key may be used for anything.
    if purposes is not None and not {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & {
        *purposes
    }:
        return "it is not for clients (extendedKeyUsage)"
    return _objection_to_issue(certificate, bundle, now)


def _objection_to_issue(certificate: x509.Certificate, bundle: Mapping[bytes, list[_Ca]], now: datetime) -> str:
    """Return why nginx would not accept a certificate that a CA of the publication should have issued."""
    issuer, objection = _issuer(certificate, bundle, now)
    if issuer is None:
        return objection
    return "it is on the CRL" if certificate.serial_number in issuer.revoked else ""


def _issuer(certificate: x509.Certificate, bundle: Mapping[bytes, list[_Ca]], now: datetime) -> tuple[_Ca | None, str]:
    """Return the CA of the publication that signed a certificate which is valid now, or None and the reason."""
    if now < certificate.not_valid_before_utc:
        return None, f"it begins only at {iso(certificate.not_valid_before_utc)}"
    if now >= certificate.not_valid_after_utc:
        return None, f"it ended at {iso(certificate.not_valid_after_utc)}"
    namesakes = bundle.get(certificate.issuer.public_bytes(), [])
    issuer = next((ca for ca in namesakes if _signed(ca.certificate, certificate)), None)
    return issuer, "" if issuer else f"ca.pem holds no {rfc2253(certificate.issuer)} that signed it"


def _signed(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
