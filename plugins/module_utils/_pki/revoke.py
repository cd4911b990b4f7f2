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

from .._ansible.errors import Problem
from . import records
from .authority import open_authority, open_for_change
from .database import REASONS, revoked_row
from .names import shown

try:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding
except ImportError:  # the modules report it (_ansible.dependencies) before anything here is called
    pass

if TYPE_CHECKING:
    from datetime import datetime

    from .authority import Authority
    from .database import Row

_HEX = re.compile(r"[0-9A-Fa-f]+")


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

    :param reason: an RFC 5280 section 5.3.1 reason, see database.REASONS.
    :raises Problem: if the target names nothing that this authority issued.
    """
    if reason not in REASONS or reason == "removeFromCRL":
        raise Problem(f"reason: {shown(reason)} is not a reason to revoke", f"Use one of {', '.join(REASONS[:-1])}")
    if check_mode:
        authority = open_authority(path)
        authority.rows = authority.with_orphans()
        return _revoke(authority, target, reason, now)[1]
    with open_authority(path).layout.locked():
        authority = open_for_change(path)
        rows, revoked = _revoke(authority, target, reason, now)
        if rows != authority.rows:
            authority.save(rows)
        return revoked


def _revoke(authority: Authority, target: Target, reason: str, now: datetime) -> tuple[list[Row], list[Revoked]]:
    known = records.load_all(authority.layout.clients)
    owners = {serial: record.name for record in known.values() for serial in record.serials}
    serials = _serials(authority, target, known)
    rows = [
        revoked_row(row, now, reason) if row.serial in serials and not row.is_revoked else row for row in authority.rows
    ]
    pairs = zip(authority.rows, rows)
    revoked = [
        Revoked(after, owners.get(after.serial), before is not after)
        for before, after in pairs
        if after.serial in serials
    ]
    if not revoked:
        raise Problem(
            f"{_description(target)} is nothing that the authority in {authority.layout.root} issued",
            "List what there is with module certs_info",
        )
    return rows, revoked


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


def _serials(authority: Authority, target: Target, known: dict[str, records.Record]) -> set[str]:
    if target.client is not None:
        record = known.get(target.client)
        return set(record.serials) if record else set()
    if target.serial is not None:
        return {_hex("serial", target.serial)}
    if target.fingerprint is not None:
        return _by_fingerprint(authority, _hex("fingerprint", target.fingerprint))
    return _by_certificate(authority, target.certificate or "")


def _hex(option: str, value: str) -> str:
    digits = value.replace(":", "").replace(" ", "")
    if not _HEX.fullmatch(digits):
        raise Problem(
            f"{option}: {shown(value)} is not hexadecimal",
            "Write it as openssl or the gate's log prints it, with or without colons",
        )
    return digits.upper() if len(digits) % 2 == 0 else f"0{digits.upper()}"


def _by_fingerprint(authority: Authority, fingerprint: str) -> set[str]:
    algorithm = {40: "sha1", 64: "sha256"}.get(len(fingerprint))
    if algorithm is None:
        raise Problem(
            f"fingerprint: {shown(fingerprint)} has {len(fingerprint)} digits",
            "Give a SHA-256 (64 digits) or SHA-1 (40 digits) fingerprint",
        )
    for row in authority.rows:
        if os.path.exists(authority.layout.new_certificate(row.serial)):
            der = authority.issued(row.serial).public_bytes(Encoding.DER)
            if hashlib.new(algorithm, der).hexdigest().upper() == fingerprint:
                return {row.serial}
    return set()


def _by_certificate(authority: Authority, path: str) -> set[str]:
    try:
        with open(path, "rb") as file:
            certificate = x509.load_pem_x509_certificate(file.read(1 << 20))
    except OSError as error:
        raise Problem(
            f"certificate: {shown(path)} cannot be read ({error.strerror})",
            "Give the path of a PEM certificate on this host",
        ) from None
    except ValueError:
        raise Problem(
            f"certificate: {shown(path)} is not a PEM certificate", "Give the path of a PEM certificate"
        ) from None
    return _by_fingerprint(authority, hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest().upper())
