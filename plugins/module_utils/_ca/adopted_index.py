# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose the certificates are that an adopted authority issued before its adoption.

Nothing in its database says so; only subjects and the certificates do. Two rules, of which the second is the stricter:

* a *name* answers for a certificate if it is its common name (its e-mail address if it has none). It serves to list and to
  revoke, as long as all certificates of that name have one subject;
* a certificate is the *predecessor* of a roster client's if its only common name is the client's, and its e-mail addresses
  (those of the subject and of the subjectAltName together) are exactly the client's. It is then superseded, and has its roles.

What two clients of the roster could claim by a rule is nobody's by it. Both rules hold for an authority and for those before it.
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

    Old versions of openssl did not escape slashes: what cannot be told apart then comes out as attributes of its own.
    """
    found: dict[str, list[str]] = {}
    text = subject.rstrip("\r")
    matches = list(_ATTRIBUTE.finditer(text))
    ends = [match.start() for match in matches[1:]] + [len(text)]
    for match, end in zip(matches, ends):
        found.setdefault(match[1], []).append(_plain(text[match.end() : end]))
    return found


def _plain(value: str) -> str:
    data = _ESCAPE.sub(
        lambda match: bytes([int(match[1], 16)]) if match[1] else match[2], value.encode("utf-8", "surrogateescape")
    )
    try:
        # A BMPString shows by its zero bytes.
        return data.decode("utf-16-be" if b"\0" in data else "utf-8")
    except UnicodeDecodeError:
        # T61String: in practice Latin-1.
        return data.decode("latin-1")


def name_of(row: Row) -> str | None:
    """Return the name that answers for a certificate, or None: its common name if it has one, else its e-mail address."""
    found = attributes(row.subject)
    for kind in ("CN", "emailAddress"):
        if kind in found:
            return found[kind][0] if len(found[kind]) == 1 and found[kind][0] else None
    return None


class Doubtful(MtlsError):
    """A name answers for certificates of several subjects."""


def is_live(row: Row, now: datetime) -> bool:
    """Tell whether a certificate is valid now, as far as its row tells."""
    return not row.is_revoked and row.not_after > now


def rows_by_name(rows: list[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(name_of(row) or "", []).append(row)
    return found


def readable(authority: Authority) -> dict[str, Record]:
    """Return the records that may tell of certificates from before an adoption.

    A damaged one is passed over: it must not hinder a revocation.
    """
    layout, found = authority.layout, {}
    if not (layout.adopted and os.path.isdir(layout.clients)):
        return {}
    for name in os.listdir(layout.clients):
        with contextlib.suppress(MtlsError):
            found[name] = client_records.load(layout.client(name))
    return {name: record for name, record in found.items() if record}


def unowned(authority: Authority, known: dict[str, Record]) -> list[Row]:
    """Return the rows that no client of the roster is known to own, the CA certificate's own aside.

    There are none in an authority that this collection made: what was signed there by hand has no name.
    """
    layout = authority.layout
    if not (layout.adopted or layout.foreign):
        return []
    owners = client_records.owners(known, authority.rows)
    own = authority.certificate.serial_number
    return [row for row in authority.rows if row.serial not in owners and int(row.serial, 16) != own]


def answering(authority: Authority, known: dict[str, Record], *names: str) -> list[Row]:
    """Return the unowned rows that one of the names answers for."""
    return [row for row in unowned(authority, known) if name_of(row) in names]


def one_subject(rows: list[Row]) -> bool:
    """Tell whether all rows are of one subject, so that a name means them without doubt."""
    return len({row.subject.rstrip("\r") for row in rows}) <= 1


def named(authority: Authority, name: str) -> list[Row]:
    """Return all rows that a name means: those of the roster's client, and those that it answers for without doubt.

    :raises Doubtful: if it answers only for certificates of several subjects.
    """
    known = readable(authority)
    owners = client_records.owners(known, authority.rows)
    others = answering(authority, known, name)
    wanted = {row.serial for row in authority.rows if owners.get(row.serial) == name}
    if one_subject(others):
        wanted |= {row.serial for row in others}
    elif not wanted:
        raise Doubtful(
            f"{shown(name)} is the common name of certificates with different subjects: {told(others)}",
            "Revoke each by its serial",
        )
    return [row for row in authority.rows if row.serial in wanted]


def doubtful(authority: Authority, name: str) -> str:
    """Return a sentence on the valid certificates that may be meant by a client's name, but have several subjects; or nothing."""
    rows = answering(authority, readable(authority), name)
    live = [row for row in rows if not row.is_revoked]
    if one_subject(rows) or not live:
        return ""
    return (
        f"Not revoked, because {shown(name)} is the common name of several subjects: {told(live)}. "
        "Revoke them by serial if they are meant."
    )


def told(rows: list[Row]) -> str:
    """Return serials and subjects for a message."""
    listed = ", ".join(f"{row.serial} ({shown(row.subject)})" for row in rows[:5])
    return listed + (f" and {len(rows) - 5} more" if len(rows) > 5 else "")
