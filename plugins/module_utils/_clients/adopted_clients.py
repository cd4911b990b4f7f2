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
from .._ca.adopted_index import has_one_subject, is_live, list_rows, name_of, rows_by_name, unowned_rows
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
    """An authority, and the owners of its certificates."""

    authority: Authority
    known: dict[str, Record]
    """The records, including those of clients that own certificates by the strict rule; see ``with_predecessors``."""

    @cached_property
    def owners(self) -> dict[str, str]:
        """Return the names of the roster's clients, by serial."""
        return client_records.owners(self.known, self.authority.rows)

    @cached_property
    def unowned(self) -> list[Row]:
        """Return the rows without a known owner, to which the rule of names applies."""
        return unowned_rows(self.authority, self.known)

    @cached_property
    def named(self) -> dict[str, list[Row]]:
        """Return the unowned rows, by name."""
        return rows_by_name(self.unowned)

    def live(self, now: datetime) -> list[Row]:
        """Return the rows of certificates that are valid now."""
        return [row for row in self.authority.rows if is_live(row, now)]

    def rows_named_like(self, client: Client) -> list[Row]:
        """Return the unowned rows whose name is the client's name or common name."""
        names = dict.fromkeys((client.name, client.common_name))
        return [row for name in names for row in self.named.get(name, [])]


def load_holdings(authority: Authority, clients: list[Client]) -> Holdings:
    """Return the owners of an authority's certificates, by its records and the roster.

    :raises MtlsError: if a record is damaged.
    """
    return Holdings(authority, with_predecessors(authority, clients, client_records.load_all(authority.layout.clients)))


def shared_names(clients: list[Client]) -> set[str]:
    """Return the names that several clients share, one of them present: such a name does not identify an owner."""
    meant = Counter(name for client in clients for name in sorted({client.name, client.common_name}))
    present = {name for client in clients if client.present for name in (client.name, client.common_name)}
    return {name for name, times in meant.items() if times > 1 and name in present}


def with_predecessors(authority: Authority, clients: list[Client], known: dict[str, Record]) -> dict[str, Record]:
    """Return the records, completed for clients without any by the certificates that are theirs by the strict rule."""
    by_name = rows_by_name(unowned_rows(authority, known))
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
        str(spec_of(certificate.public_key()) or "of an unsupported kind"),
        int((end - start).total_seconds()),
    )
    # The certificate has no files in a client's directory, hence no stem.
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


def add_adopted(authority: Authority, steps: list[Step], known: dict[str, Record], now: datetime) -> list[Step]:
    """Return the plan with the unowned certificates of the same names.

    They are revoked for clients that leave, and named in the reason for clients that are issued a certificate.
    """
    holdings = Holdings(authority, known)
    if not holdings.unowned:
        return steps
    shared = shared_names([step.client for step in steps])
    return [_add_adopted(step, holdings.rows_named_like(step.client), shared, now) for step in steps]


def _add_adopted(step: Step, rows: list[Row], shared: set[str], now: datetime) -> Step:
    live = [row for row in rows if is_live(row, now)]
    if not live or (step.client.present and not step.issues):
        return step
    why = why_unclear(step.client, rows, shared)
    if not why:
        serials = tuple(row.serial for row in live)
        reason = f"its state on the roster is revoked ({step.client.reason})"
        return replace(step, action="revoked", reason=reason, revoke=(*step.revoke, *serials))
    hint = f"issued before the adoption, perhaps to another client ({why}): {list_rows(live)}; revoke by serial"
    return replace(step, reason=f"{step.reason}; {hint}")


def why_unclear(client: Client, rows: list[Row], shared: set[str]) -> str:
    """Return why rows with a client's name may belong to another client, or an empty text.

    For a client that leaves, the text is empty if all rows have one subject.

    :param shared: see ``shared_names``.
    """
    if shared & {name_of(row) for row in rows}:
        return "another client of the roster has that common name too"
    if client.present:
        return "its common name or e-mail addresses differ"
    return "" if has_one_subject(rows) else "their subjects differ"
