# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check that an authority in memory is sound, before it is backed up or restored."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._ca import file_locations, index_database
from .._common.errors import MtlsError
from .._x509.keys import is_encrypted, parse_private
from .._x509.names import rfc2253

try:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
except ImportError:  # the modules report it (_common.requirements) before anything here is called
    pass

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from .._ca.index_database import Row
    from .manifest import Manifest

# The files whose contents are checked; the others only have to exist.
LOOKED_INTO = ("certificate", "key", "index", "crl")
_HINT = "Repair the authority, or restore an older backup"


@dataclass(frozen=True)
class Contents:
    """An authority in memory: its manifest, and the checked files by the name of their property of Layout."""

    where: str
    manifest: Manifest
    files: dict[str, bytes]

    def path(self, role: str) -> str:
        """Return the place of a file, for errors."""
        return f"{self.where}: {self.manifest.names[role]}"


@dataclass(frozen=True)
class Findings:
    """Facts about a sound authority: its subject as nginx prints it, numbers of certificates, whether the key was opened."""

    subject: str
    certificates: int
    revoked: int
    crl_number: int | None
    key_opened: bool
    missing: list[str]
    """The serials of valid certificates without a file. Only adopted authorities may have them: easy-rsa moves files away."""


def inspect(contents: Contents, passphrase: bytes | None, now: datetime) -> Findings:
    """Check an authority and return the facts about it.

    :param passphrase: of its key; without it, an encrypted key is not opened.
    :raises MtlsError: if the key does not belong to the certificate, the database is damaged, the file of a valid certificate is
        missing (except in an adopted authority), or the CRL is not of this authority or has revocations that the database lacks.
    """
    for role in ("certificate", "key", "index"):
        if role not in contents.files:
            raise MtlsError(f"{contents.path(role)} is missing", _HINT)
    certificate = _certificate(contents)
    opened = _check_key(contents, certificate, passphrase)
    rows = index_database.parse(contents.files["index"].decode("utf-8", "surrogateescape"), contents.path("index"))
    missing = _missing(contents, rows, now)
    number = _check_crl(contents, certificate, rows)
    revoked = sum(row.is_revoked for row in rows)
    return Findings(rfc2253(certificate.subject), len(rows), revoked, number, opened, missing)


def public_key_of(contents: Contents) -> bytes:
    """Return the authority's public key (DER), which identifies the authority."""
    key = _certificate(contents).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _certificate(contents: Contents) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(contents.files["certificate"])
    except ValueError:
        raise MtlsError(f"{contents.path('certificate')} is not a PEM certificate", _HINT) from None


def _check_key(contents: Contents, certificate: x509.Certificate, passphrase: bytes | None) -> bool:
    pem = contents.files["key"]
    if is_encrypted(pem) and passphrase is None:
        return False
    key = parse_private(pem, contents.path("key"), passphrase)
    if key.public_key() != certificate.public_key():
        raise MtlsError(f"{contents.path('key')} is not the key of {contents.manifest.names['certificate']}", _HINT)
    return True


def _missing(contents: Contents, rows: Iterable[Row], now: datetime) -> list[str]:
    directory = contents.manifest.names["new_certificates"]
    there = {file.path for file in contents.manifest.files}
    lost = [
        row.serial
        for row in rows
        if row.status == "V" and row.not_after > now and os.path.normpath(f"{directory}/{row.serial}.pem") not in there
    ]
    # easyrsa renew removes the file of the former certificate, which stays valid.
    if lost and file_locations.FILE not in there:
        raise MtlsError(
            f"{contents.where}: {directory}/{lost[0]}.pem is missing, a valid certificate ({len(lost)} such in all)",
            "Restore it from an older backup, or revoke that serial with module revocation",
        )
    return lost


def _check_crl(contents: Contents, certificate: x509.Certificate, rows: Iterable[Row]) -> int | None:
    if "crl" not in contents.files:
        return None
    try:
        crl = x509.load_pem_x509_crl(contents.files["crl"])
        is_own = crl.is_signature_valid(certificate.public_key())  # type: ignore[arg-type]
    except (ValueError, TypeError, UnsupportedAlgorithm):
        is_own = False
    if not is_own:
        raise MtlsError(f"{contents.path('crl')} is not a CRL of this authority", "Write a new one with module crl")
    revoked = {row.serial for row in rows if row.is_revoked}
    lost = sorted({index_database.serial_hex(entry.serial_number) for entry in crl} - revoked)
    if lost:
        raise MtlsError(
            f"{contents.path('crl')} revokes {lost[0]}, which {contents.manifest.names['index']} does not "
            f"({len(lost)} such in all): revocations were lost",
            _HINT,
        )
    try:
        return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return None
