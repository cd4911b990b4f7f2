# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List the certificates that an authority issued."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .._ca import adopted_index, client_records
from .._ca.authority import open_authority, refuse_other_contents
from .._ca.layout import check_path
from .._common.errors import MtlsError
from .._common.timestamps import iso
from . import adopted_clients
from .client_files import ClientFiles

if TYPE_CHECKING:
    from datetime import datetime

    from .._ca.authority import Authority
    from .._ca.client_records import Record
    from .._ca.index_database import Row

_ENDINGS = {"certificate": "crt", "key": "key", "chain": "chain.pem", "bundle": "p12", "bundle_compat": "compat.p12"}


def listing(path: str, now: datetime, *, check_mode: bool = False) -> list[dict[str, Any]]:
    """Return the certificates that the authority at ``path`` issued, oldest first, as plain data.

    In check mode, the list of a missing authority is empty.
    """
    layout = check_path(path)
    if check_mode and not os.path.exists(layout.certificate):
        refuse_other_contents(layout)
        return []
    authority = open_authority(path)
    rows = authority.with_orphans()
    known = client_records.load_all(authority.layout.clients)
    owners = client_records.owners(known, rows)
    current = {owners[row.serial]: row.serial for row in rows if row.serial in owners}
    entries = [_entry(authority, row, owners.get(row.serial), known, current, now) for row in rows]
    return _with_adopted(authority, known, rows, entries)


def _with_adopted(
    authority: Authority, known: dict[str, Record], rows: list[Row], entries: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return the entries; entries from before an adoption are completed with the data of the certificates."""
    authority.rows = rows
    older = {row.serial: row for row in adopted_index.unowned_rows(authority, known)}
    latest = {row.subject: serial for serial, row in older.items()}
    facts = {
        serial: {**_read_facts(authority, row), "current": latest[row.subject] == serial}
        for serial, row in older.items()
    }
    return [{**entry, **facts.get(entry["serial"], {})} for entry in entries]


def _read_facts(authority: Authority, row: Row) -> dict[str, Any]:
    facts: dict[str, Any] = {"name": adopted_index.name_of(row), "subject": row.subject.rstrip("\r")}
    path = authority.layout.new_certificate(row.serial)
    if not os.path.exists(path):
        return {**facts, "files": {}}
    try:
        certificate = authority.issued(row.serial)
        return {
            **facts,
            "email": adopted_clients.emails(certificate),
            "issued_at": iso(certificate.not_valid_before_utc),
        }
    except (MtlsError, ValueError):
        # A certificate that cannot be read is listed too: its row has enough data to revoke it.
        return facts


def _entry(
    authority: Authority, row: Row, name: str | None, known: dict[str, Record], current: dict[str, str], now: datetime
) -> dict[str, Any]:
    owner = known.get(name) if name else None
    issue = next((issue for issue in owner.issues if issue.serial == row.serial), None) if owner else None
    revocation = row.revocation
    return {
        "serial": row.serial,
        "name": name,
        "subject": row.subject,
        "email": list(issue.request.email) if issue else [],
        "roles": list(owner.roles) if owner else [],
        "status": "revoked" if revocation else "expired" if row.not_after <= now else "valid",
        "current": bool(name) and current.get(name or "") == row.serial,
        "issued_at": issue.issued_at if issue else None,
        "not_after": iso(row.not_after),
        "days_left": (row.not_after - now).days,
        "revoked_at": iso(revocation.at) if revocation else None,
        "revocation_reason": (revocation.reason or "unspecified") if revocation else None,
        "files": _files(authority, owner, issue)
        if owner and issue and issue.stem
        else {"certificate": authority.layout.new_certificate(row.serial)},
    }


def _files(authority: Authority, owner: Record, issue: client_records.Issue) -> dict[str, str]:
    files = ClientFiles(authority.layout.client(owner.name), owner.name, issue)
    return {what: files.file(ending) for what, ending in _ENDINGS.items() if os.path.exists(files.file(ending))}
