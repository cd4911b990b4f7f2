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
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from .._ansible.errors import Problem, shown
from . import records
from .clock import iso
from .keys import spec_of
from .records import Issue, Record, Request

try:
    from cryptography import x509
    from cryptography.x509.oid import NameOID
except ImportError:  # the modules report it (_ansible.dependencies) before anything here is called
    pass

if TYPE_CHECKING:
    from datetime import datetime

    from .authority import Authority
    from .database import Row
    from .roster import Client, Step

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


class Doubtful(Problem):
    """A name answers for certificates of several subjects."""


@dataclass(frozen=True)
class Holdings:
    """An authority, and whose its certificates are."""

    authority: Authority
    known: dict[str, Record]
    """The records, with those of clients that own something by the stricter rule; see ``with_predecessors``."""

    @cached_property
    def owners(self) -> dict[str, str]:
        """The names of the roster's clients, by serial."""
        return records.owners(self.known, self.authority.rows)

    @cached_property
    def unowned(self) -> list[Row]:
        """What no client is known to own, and the first rule may answer for."""
        return unowned(self.authority, self.known)

    @cached_property
    def named(self) -> dict[str, list[Row]]:
        """The unowned rows, by the name that answers for them."""
        return _by_name(self.unowned)

    def live(self, now: datetime) -> list[Row]:
        """The rows of certificates that are valid now."""
        return [row for row in self.authority.rows if is_live(row, now)]

    def answering(self, client: Client) -> list[Row]:
        """The unowned rows that a client's name or common name answers for."""
        names = dict.fromkeys((client.name, client.common_name))
        return [row for name in names for row in self.named.get(name, [])]


def holdings(authority: Authority, clients: list[Client]) -> Holdings:
    """Return whose an authority's certificates are, as its records and the roster tell.

    :raises Problem: if a record is damaged.
    """
    return Holdings(authority, with_predecessors(authority, clients, records.load_all(authority.layout.clients)))


def is_live(row: Row, now: datetime) -> bool:
    """Tell whether a certificate is valid now, as far as its row tells."""
    return not row.is_revoked and row.not_after > now


def shared_names(clients: list[Client]) -> set[str]:
    """Return the names that may mean several clients, one of them present: they say nothing of whose a certificate is."""
    meant = Counter(name for client in clients for name in sorted({client.name, client.common_name}))
    present = {name for client in clients if client.present for name in (client.name, client.common_name)}
    return {name for name, times in meant.items() if times > 1 and name in present}


def _by_name(rows: list[Row]) -> dict[str, list[Row]]:
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
        with contextlib.suppress(Problem):
            found[name] = records.load(layout.client(name))
    return {name: record for name, record in found.items() if record}


def unowned(authority: Authority, known: dict[str, Record]) -> list[Row]:
    """Return the rows that no client of the roster is known to own, the CA certificate's own aside.

    There are none in an authority that this collection made: what was signed there by hand has no name.
    """
    layout = authority.layout
    if not (layout.adopted or layout.foreign):
        return []
    owners = records.owners(known, authority.rows)
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
    owners = records.owners(known, authority.rows)
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


def with_predecessors(authority: Authority, clients: list[Client], known: dict[str, Record]) -> dict[str, Record]:
    """Return the records, and records of clients that had none for the certificates that are theirs by the stricter rule."""
    by_name = _by_name(unowned(authority, known))
    fitting = {
        client.name: [
            issue for row in by_name.get(client.common_name, []) for issue in [_issue(authority, row, client)] if issue
        ]
        for client in clients
    }
    claims = Counter(issue.serial for issues in fitting.values() for issue in issues)
    found = {}
    for client in clients:
        record = known.get(client.name, Record(client.name))
        issues = tuple(issue for issue in fitting[client.name] if claims[issue.serial] == 1)
        if issues and not record.issues:
            found[client.name] = replace(record, issues=issues, roles=client.roles)
    return {**known, **found}


def _issue(authority: Authority, row: Row, client: Client) -> Issue | None:
    if not os.path.exists(authority.layout.new_certificate(row.serial)):
        return None
    certificate = authority.issued(row.serial)
    try:
        common_names = [part.value for part in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        organizations = [
            str(part.value) for part in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        ]
        found = emails(certificate)
    except ValueError:
        return None
    if common_names != [client.common_name] or not found or set(found) != set(client.email):
        return None
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    request = Request(
        client.common_name,
        organizations[0] if organizations else None,
        client.email,
        client.roles,
        str(spec_of(certificate.public_key()) or "of a kind that is unknown here"),
        int((end - start).total_seconds()),
    )
    # It has no files of a client, hence no stem.
    return Issue(row.serial, "", iso(start), request)


def emails(certificate: x509.Certificate) -> list[str]:
    """Return the e-mail addresses of a certificate: those in the subject, then those in the subjectAltName.

    :raises ValueError: if the certificate cannot be parsed.
    """
    found = [str(part.value) for part in certificate.subject.get_attributes_for_oid(NameOID.EMAIL_ADDRESS)]
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            found += extension.value.get_values_for_type(x509.RFC822Name)
    return list(dict.fromkeys(found))


def settled(authority: Authority, steps: list[Step], known: dict[str, Record], now: datetime) -> list[Step]:
    """Return the plan with what the roster's names answer for: revoked for who leaves, told for who is issued a certificate."""
    held = Holdings(authority, known)
    if not held.unowned:
        return steps
    shared = shared_names([step.client for step in steps])
    return [_settled(step, held.answering(step.client), shared, now) for step in steps]


def _settled(step: Step, rows: list[Row], shared: set[str], now: datetime) -> Step:
    live = [row for row in rows if is_live(row, now)]
    if not live or (step.client.present and not step.issues):
        return step
    why = why_unclear(step.client, rows, shared)
    if not why:
        serials = tuple(row.serial for row in live)
        reason = f"the roster says so ({step.client.reason})"
        return replace(step, action="revoked", reason=reason, revoke=(*step.revoke, *serials))
    hint = f"from before the adoption, and not certainly the same client's ({why}): {told(live)}; revoke by serial"
    return replace(step, reason=f"{step.reason}; {hint}")


def why_unclear(client: Client, rows: list[Row], shared: set[str]) -> str:
    """Return why the rows that a client's name answers for are not certainly the client's; nothing for one who leaves with them.

    :param shared: see ``shared_names``.
    """
    if shared & {name_of(row) for row in rows}:
        return "another client of the roster has that common name too"
    if client.present:
        return "its common name or e-mail addresses differ"
    return "" if one_subject(rows) else "their subjects differ"
