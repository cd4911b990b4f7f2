# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Revoking by client name, serial, fingerprint or certificate."""

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
# A hold could not be lifted again: the database of openssl has no way to.
CHOICES = tuple(reason for reason in REASONS if reason not in ("certificateHold", "removeFromCRL"))


class NothingNamed(MtlsError):
    """The target names nothing that this authority issued."""


@dataclass(frozen=True)
class Target:
    """What to revoke; exactly one of the four is given."""

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
    """Revoke what ``target`` names, and return all certificates that it names, also those revoked before: they stay so.

    :param reason: one of CHOICES (RFC 5280 section 5.3.1).
    :raises NothingNamed: if the target names nothing that this authority issued.
    """
    if reason not in CHOICES:
        raise MtlsError(f"reason: {shown(reason)} is not a reason to revoke", f"Use one of {', '.join(CHOICES)}")
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
    # A revocation has to be possible whatever became of the database: it is one way to mend it.
    in_database, orphans = authority.rows, authority.orphans()
    authority.rows = in_database + orphans
    named = _named(authority, target)
    if not named:
        raise NothingNamed(
            f"{_description(target)} is nothing that the authority in {authority.layout.root} issued",
            "List what there is with module certs_info",
        )
    _refuse_own(authority, named)
    after = {row.serial: row if row.is_revoked else revoked_row(row, now, reason) for row in named}
    rows = [after.get(row.serial, row) for row in in_database] + [after[row.serial] for row in orphans if row in named]
    owners = client_records.owners(adopted_index.readable(authority), named)
    return rows, [Revoked(after[row.serial], owners.get(row.serial), not row.is_revoked) for row in named]


def _refuse_own(authority: Authority, named: list[Row]) -> None:
    """The database of an authority made with ``openssl ca -selfsign`` has a row for the CA certificate."""
    own = serial_hex(authority.certificate.serial_number)
    if any(row.serial == own for row in named):
        raise MtlsError(
            f"{own} is the serial of the CA certificate itself: once it were revoked, nobody would get in",
            "Take the authority out of the trust of your web hosts instead",
        )


def doubtful(path: str, client: str) -> str:
    """Return a sentence on certificates that revoking by this name leaves alone although they may be meant; or nothing."""
    return adopted_index.doubtful(open_authority(path), client)


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
    """Return the rows of the database that the target names. Only the database is asked: it is there when files are lost."""
    if target.client is not None:
        return adopted_index.named(authority, target.client)
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
            "Write it as openssl or the gate's log prints it, with or without colons",
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
