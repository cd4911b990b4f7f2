# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Match certificates of an adopted authority with clients of the roster."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from .._ca import client_records
from .._ca.adopted_index import is_live, name_of, one_subject, rows_by_name, told, unowned
from .._ca.client_records import Issue, Record, Request
from .._common.timestamps import iso
from .._x509.keys import spec_of

try:
    from cryptography import x509
    from cryptography.x509.oid import NameOID
except ImportError:  # the modules report it (_common.requirements) before anything here is called
    pass

if TYPE_CHECKING:
    from datetime import datetime

    from .._ca.authority import Authority
    from .._ca.index_database import Row
    from .roster import Client, Step


@dataclass(frozen=True)
class Holdings:
    """An authority, and whose its certificates are."""

    authority: Authority
    known: dict[str, Record]
    """The records, with those of clients that own something by the stricter rule; see ``with_predecessors``."""

    @cached_property
    def owners(self) -> dict[str, str]:
        """The names of the roster's clients, by serial."""
        return client_records.owners(self.known, self.authority.rows)

    @cached_property
    def unowned(self) -> list[Row]:
        """What no client is known to own, and the first rule may answer for."""
        return unowned(self.authority, self.known)

    @cached_property
    def named(self) -> dict[str, list[Row]]:
        """The unowned rows, by the name that answers for them."""
        return rows_by_name(self.unowned)

    def live(self, now: datetime) -> list[Row]:
        """The rows of certificates that are valid now."""
        return [row for row in self.authority.rows if is_live(row, now)]

    def answering(self, client: Client) -> list[Row]:
        """The unowned rows that a client's name or common name answers for."""
        names = dict.fromkeys((client.name, client.common_name))
        return [row for name in names for row in self.named.get(name, [])]


def holdings(authority: Authority, clients: list[Client]) -> Holdings:
    """Return whose an authority's certificates are, as its records and the roster tell.

    :raises MtlsError: if a record is damaged.
    """
    return Holdings(authority, with_predecessors(authority, clients, client_records.load_all(authority.layout.clients)))


def shared_names(clients: list[Client]) -> set[str]:
    """Return the names that may mean several clients, one of them present: they say nothing of whose a certificate is."""
    meant = Counter(name for client in clients for name in sorted({client.name, client.common_name}))
    present = {name for client in clients if client.present for name in (client.name, client.common_name)}
    return {name for name, times in meant.items() if times > 1 and name in present}


def with_predecessors(authority: Authority, clients: list[Client], known: dict[str, Record]) -> dict[str, Record]:
    """Return the records, and records of clients that had none for the certificates that are theirs by the stricter rule."""
    by_name = rows_by_name(unowned(authority, known))
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
