# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Revoke certificates by client name, serial, fingerprint or certificate."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._ca import adopted_index, client_records
from .._ca.authority import open_authority
from .._ca.index_database import REASONS, revoked_row, serial_hex
from .._ca.layout import require_authority
from .._common.errors import MtlsError, shown
from .._common.files import read_file

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.serialization import Encoding
except ImportError:  # the modules report it (_common.requirements) before anything here is called
    pass

if TYPE_CHECKING:
    from datetime import datetime

    from .._ca.authority import Authority
    from .._ca.index_database import Row

_HEX = re.compile(r"[0-9A-Fa-f]+")
# certificateHold is missing: the database of openssl cannot lift a hold.
CHOICES = tuple(reason for reason in REASONS if reason not in ("certificateHold", "removeFromCRL"))


class NotIssued(MtlsError):
    """The authority issued no certificate that the target names."""


@dataclass(frozen=True)
class Target:
    """The certificates to revoke; exactly one of the four fields is set."""

    client: str | None = None
    serial: str | None = None
    fingerprint: str | None = None
    certificate: str | None = None


@dataclass(frozen=True)
class Revoked:
    """A certificate that the target names, and whether this run revoked it."""

    row: Row
    client: str | None
    newly: bool


def revoke(path: str, target: Target, reason: str, now: datetime, *, check_mode: bool) -> list[Revoked]:
    """Revoke the certificates that ``target`` names and return them, including those that were revoked before.

    :param reason: one of CHOICES (RFC 5280 section 5.3.1).
    :raises NotIssued: if this authority issued no certificate that the target names.
    """
    if reason not in CHOICES:
        raise MtlsError(f"reason: {shown(reason)} is not a valid reason", f"Use one of {', '.join(CHOICES)}")
    if check_mode:
        authority = open_authority(path)
        authority.layout.require_writable()
        return _revoke(authority, target, reason, now)[1]
    with require_authority(path).locked():
        authority = open_authority(path)
        authority.layout.remove_leftovers()
        before = authority.rows
        rows, revoked = _revoke(authority, target, reason, now)
        if rows != before:
            authority.save(rows)
        return revoked


def _revoke(authority: Authority, target: Target, reason: str, now: datetime) -> tuple[list[Row], list[Revoked]]:
    # Revocation must work with an incomplete database, because it also repairs one.
    in_database, orphans = authority.rows, authority.orphans()
    authority.rows = in_database + orphans
    named = _named(authority, target)
    if not named:
        raise NotIssued(
            f"{_description(target)} was not issued by the authority in {authority.layout.root}",
            "List the issued certificates with module certs_info",
        )
    _refuse_own(authority, named)
    after = {row.serial: row if row.is_revoked else revoked_row(row, now, reason) for row in named}
    rows = [after.get(row.serial, row) for row in in_database] + [after[row.serial] for row in orphans if row in named]
    owners = client_records.owners(adopted_index.readable_records(authority), named)
    return rows, [Revoked(after[row.serial], owners.get(row.serial), not row.is_revoked) for row in named]


def _refuse_own(authority: Authority, named: list[Row]) -> None:
    """Refuse to revoke the CA certificate, which has a row if the authority was made with ``openssl ca -selfsign``."""
    own = serial_hex(authority.certificate.serial_number)
    if any(row.serial == own for row in named):
        raise MtlsError(
            f"{own} is the serial of the CA certificate, whose revocation would lock out every client",
            "Remove the authority from the trust of your web hosts instead",
        )


def describe_kept(path: str, client: str) -> str:
    """Return a sentence about certificates that a revocation by this name keeps although they may be meant, or nothing."""
    return adopted_index.describe_kept(open_authority(path), client)


def _description(target: Target) -> str:
    if target.client is not None:
        return f"client {shown(target.client)}"
    if target.serial is not None:
        return f"serial {shown(target.serial)}"
    return (
        f"fingerprint {shown(target.fingerprint)}"
        if target.fingerprint is not None
        else f"certificate {shown(target.certificate)}"
    )


def _named(authority: Authority, target: Target) -> list[Row]:
    """Return the rows that the target names. Only the database is read, because it survives the loss of files."""
    if target.client is not None:
        return adopted_index.rows_named(authority, target.client)
    serial = _serial(authority, target)
    return [row for row in authority.rows if row.serial == serial]


def _serial(authority: Authority, target: Target) -> str | None:
    if target.serial is not None:
        return serial_hex(int(_hex("serial", target.serial), 16))
    if target.fingerprint is not None:
        return _by_fingerprint(authority, _hex("fingerprint", target.fingerprint))
    return _by_certificate(authority, target.certificate or "")


def _hex(option: str, value: str) -> str:
    digits = value.replace(":", "").replace(" ", "")
    if not _HEX.fullmatch(digits):
        raise MtlsError(
            f"{option}: {shown(value)} is not hexadecimal",
            "Copy it from openssl or from the gate's log, with or without colons",
        )
    return digits


def _by_fingerprint(authority: Authority, fingerprint: str) -> str | None:
    algorithm = {40: "sha1", 64: "sha256"}.get(len(fingerprint))
    if algorithm is None:
        raise MtlsError(
            f"fingerprint: {shown(fingerprint)} has {len(fingerprint)} digits",
            "Give a SHA-256 (64 digits) or SHA-1 (40 digits) fingerprint",
        )
    for row in authority.rows:
        if os.path.exists(authority.layout.new_certificate(row.serial)):
            der = authority.issued(row.serial).public_bytes(Encoding.DER)
            if hashlib.new(algorithm, der).hexdigest() == fingerprint.lower():
                return row.serial
    return None


def _by_certificate(authority: Authority, path: str) -> str | None:
    try:
        certificate = x509.load_pem_x509_certificate(read_file(path))
    except OSError as error:
        raise MtlsError(
            f"certificate: {shown(path)} cannot be read ({error.strerror})",
            "Give the path of a PEM certificate on this host",
        ) from None
    except (MtlsError, ValueError):
        raise MtlsError(
            f"certificate: {shown(path)} is not a PEM certificate", "Give the path of a PEM certificate"
        ) from None
    try:
        certificate.verify_directly_issued_by(authority.certificate)
    except (ValueError, TypeError, InvalidSignature):
        return None
    return serial_hex(certificate.serial_number)
