# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Match certificates from before an adoption with names, by their subjects in the database.

The database does not name the owners of these certificates; only the subjects and the certificates identify them. The second of
these two rules is the strict one:

* a certificate has a *name*: its common name, or its e-mail address if it has no common name. The name serves to list and to
  revoke, as long as all certificates of that name have one subject;
* a certificate is the *predecessor* of a roster client's if its only common name is the client's, and its e-mail addresses
  (those of the subject and of the subjectAltName together) are exactly the client's. It is then superseded, and has its roles.

A certificate that several clients of the roster could claim by a rule belongs to none of them. Both rules apply to an authority
and to its predecessors.
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING

from .._common.errors import MtlsError, shown
from . import client_records
from .client_records import Record

if TYPE_CHECKING:
    from datetime import datetime

    from .authority import Authority
    from .index_database import Row

_ATTRIBUTE = re.compile(r"(?<!\\)[/+]([A-Za-z][A-Za-z0-9]*|\d+(?:\.\d+)+)=")
_ESCAPE = re.compile(rb"\\(?:x([0-9A-F]{2})|([/+]))")


def attributes(subject: str) -> dict[str, list[str]]:
    """Return the values of a subject in openssl's one-line form (X509_NAME_oneline), by their short names.

    Old versions of openssl did not escape slashes, so a value with a slash may be returned as several attributes.
    """
    found: dict[str, list[str]] = {}
    text = subject.rstrip("\r")
    matches = list(_ATTRIBUTE.finditer(text))
    ends = [match.start() for match in matches[1:]] + [len(text)]
    for match, end in zip(matches, ends):
        found.setdefault(match[1], []).append(_decode_value(text[match.end() : end]))
    return found


def _decode_value(value: str) -> str:
    data = _ESCAPE.sub(
        lambda match: bytes([int(match[1], 16)]) if match[1] else match[2], value.encode("utf-8", "surrogateescape")
    )
    try:
        # Zero bytes indicate a BMPString.
        return data.decode("utf-16-be" if b"\0" in data else "utf-8")
    except UnicodeDecodeError:
        # A T61String, which is Latin-1 in practice.
        return data.decode("latin-1")


def name_of(row: Row) -> str | None:
    """Return the name of a certificate: its common name if it has one, else its e-mail address, or None."""
    found = attributes(row.subject)
    for kind in ("CN", "emailAddress"):
        if kind in found:
            return found[kind][0] if len(found[kind]) == 1 and found[kind][0] else None
    return None


class AmbiguousName(MtlsError):
    """A name belongs to certificates with different subjects."""


def is_live(row: Row, now: datetime) -> bool:
    """Return whether a certificate is valid now, according to its row."""
    return not row.is_revoked and row.not_after > now


def rows_by_name(rows: list[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(name_of(row) or "", []).append(row)
    return found


def readable_records(authority: Authority) -> dict[str, Record]:
    """Return the records that may refer to certificates from before an adoption.

    Damaged records are skipped: they must not prevent a revocation.
    """
    layout, found = authority.layout, {}
    if not (layout.adopted and os.path.isdir(layout.clients)):
        return {}
    for name in os.listdir(layout.clients):
        with contextlib.suppress(MtlsError):
            found[name] = client_records.load(layout.client(name))
    return {name: record for name, record in found.items() if record}


def unowned_rows(authority: Authority, known: dict[str, Record]) -> list[Row]:
    """Return the rows without a known owner, except the row of the CA certificate.

    An authority that this collection made has none: the rules do not apply to certificates signed there by hand.
    """
    layout = authority.layout
    if not (layout.adopted or layout.foreign):
        return []
    owners = client_records.owners(known, authority.rows)
    own = authority.certificate.serial_number
    return [row for row in authority.rows if row.serial not in owners and int(row.serial, 16) != own]


def _unowned_rows_named(authority: Authority, known: dict[str, Record], name: str) -> list[Row]:
    return [row for row in unowned_rows(authority, known) if name_of(row) == name]


def has_one_subject(rows: list[Row]) -> bool:
    """Return whether all rows have the same subject, so that their name is unambiguous."""
    return len({row.subject.rstrip("\r") for row in rows}) <= 1


def rows_named(authority: Authority, name: str) -> list[Row]:
    """Return the rows of the roster client ``name``, and the unowned rows of that name if it is unambiguous.

    :raises AmbiguousName: if there are only unowned rows, with different subjects.
    """
    known = readable_records(authority)
    owners = client_records.owners(known, authority.rows)
    others = _unowned_rows_named(authority, known, name)
    wanted = {row.serial for row in authority.rows if owners.get(row.serial) == name}
    if has_one_subject(others):
        wanted |= {row.serial for row in others}
    elif not wanted:
        raise AmbiguousName(
            f"{shown(name)} is the common name of certificates with different subjects: {list_rows(others)}",
            "Revoke each by its serial",
        )
    return [row for row in authority.rows if row.serial in wanted]


def describe_kept(authority: Authority, name: str) -> str:
    """Return a sentence about valid certificates of an ambiguous name, which a revocation by name keeps, or nothing."""
    rows = _unowned_rows_named(authority, readable_records(authority), name)
    live = [row for row in rows if not row.is_revoked]
    if has_one_subject(rows) or not live:
        return ""
    return (
        f"Not revoked, because {shown(name)} is the common name of several subjects: {list_rows(live)}. "
        "Revoke them by serial if they are meant."
    )


def list_rows(rows: list[Row]) -> str:
    """Return serials and subjects for a message."""
    listed = ", ".join(f"{row.serial} ({shown(row.subject)})" for row in rows[:5])
    return listed + (f" and {len(rows) - 5} more" if len(rows) > 5 else "")
