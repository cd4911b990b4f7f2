# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the roster with the issued certificates and plan a step for each client."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from .._ca import client_records as records
from .._ca.client_records import Record, Request
from .._common.errors import MtlsError, shown
from .._common.timestamps import BACKDATE, iso, parse_iso
from .._x509.keys import KeySpec
from .._x509.names import check_client_name, check_email, check_role, check_subject_text

if TYPE_CHECKING:
    from .._ca.index_database import Row

# The number of names in one message.
_NAMES_SHOWN = 20


@dataclass(frozen=True)
class Client:
    """One validated entry of the roster."""

    name: str
    common_name: str
    organization: str | None
    email: tuple[str, ...]
    roles: tuple[str, ...]
    key: KeySpec
    valid_for: timedelta
    present: bool
    reason: str
    bundle_profiles: tuple[str, ...]
    bundle_passphrase: str | None = field(default=None, repr=False)
    public_key: bytes | None = field(default=None, repr=False)
    """The key of the client's CSR (SubjectPublicKeyInfo, DER), or None if the CA host generates the key."""

    @property
    def request(self) -> Request:
        """Return the contents that the client's certificate should have."""
        return Request(
            self.common_name,
            self.organization,
            self.email,
            self.roles,
            _described(self.key, self.public_key),
            int(self.valid_for.total_seconds()),
        )


def _described(key: KeySpec, public_key: bytes | None) -> str:
    return str(key) if public_key is None else f"{key} of a CSR, SHA-256 {hashlib.sha256(public_key).hexdigest()}"


def departed(name: str) -> Client:
    """Return an entry for a client that is no longer on the roster."""
    return Client(
        name=name,
        common_name=name,
        organization=None,
        email=(),
        roles=(),
        key=KeySpec("ecdsa", curve="P-256"),
        valid_for=timedelta(0),
        present=False,
        reason="cessationOfOperation",
        bundle_profiles=(),
    )


@dataclass(frozen=True)
class Rules:
    """When certificates are renewed, and predecessors and departed clients revoked."""

    renew_before: timedelta
    overlap: timedelta
    purge_limit: int | None = None
    """The number of clients missing on the roster that one run may revoke; None: they keep their certificates."""


@dataclass(frozen=True)
class Step:
    """The planned action for one client."""

    client: Client
    record: Record
    action: str
    """``issued``, ``renewed``, ``reissued``, ``revoked`` or ``unchanged``."""
    reason: str
    revoke: tuple[str, ...] = ()
    """The serials to revoke: all valid ones of a client that left, or predecessors whose overlap has passed."""
    withdrawn: bool = False
    """Whether the record on disk announces a certificate that was never signed, which ``record`` does not contain."""
    refused: bool = False
    """Whether the client should get a certificate but cannot, because the key of its CSR was revoked."""

    @property
    def issues(self) -> bool:
        """Return whether a certificate is to be issued."""
        return self.action in ("issued", "renewed", "reissued")


def check_roster(clients: list[Client]) -> list[Client]:
    """Return the roster if every entry is valid and every name is unique, also when case is ignored.

    :raises MtlsError: otherwise.
    """
    for client in clients:
        _check_client(client)
    repeated = [name for name, count in Counter(client.name.lower() for client in clients).items() if count > 1]
    if repeated:
        raise MtlsError(
            f"clients: {repeated[0]} is on the roster more than once",
            "Give every client a unique name, also when case is ignored",
        )
    _refuse_shared_keys(clients)
    return clients


def _refuse_shared_keys(clients: list[Client]) -> None:
    holders: dict[bytes, str] = {}
    for client in clients:
        if client.public_key is None:
            continue
        other = holders.setdefault(client.public_key, client.name)
        if other != client.name:
            raise MtlsError(
                f"client {client.name}: its csr has the same key as that of {other}",
                "Create a separate key for each of them",
            )


def _check_client(client: Client) -> None:
    check_client_name(client.name)
    check_subject_text(client.common_name, f"client {client.name}: common_name")
    if client.organization is not None:
        check_subject_text(client.organization, f"client {client.name}: organization")
    for email in client.email:
        check_email(email, client.name)
    for role in client.roles:
        check_role(role, client.name)
    for option, values in (("email", client.email), ("roles", client.roles)):
        if len(set(values)) != len(values):
            raise MtlsError(f"client {client.name}: {option} lists a value more than once", "Remove the duplicate")
    if client.valid_for < timedelta(minutes=1):
        raise MtlsError(f"client {client.name}: valid_for is shorter than a minute", "Set a longer one, as in 365d")
    if client.public_key is not None and (client.bundle_profiles or client.bundle_passphrase is not None):
        raise MtlsError(
            f"client {client.name}: with a csr there can be no bundle, because the private key is not on the CA host",
            "Remove bundle_profiles and bundle_passphrase; the client makes its bundle itself from the chain",
        )


@dataclass(frozen=True)
class Situation:
    """The state with which the roster is compared."""

    records: dict[str, Record]
    """The records of the clients, by name."""
    rows: list[Row]
    """The authority's database, in the order of issuing."""
    ca_end: datetime
    """The end of the CA certificate's validity. No certificate is valid longer."""
    now: datetime
    elsewhere: frozenset[str] = frozenset()
    """The names of the clients that hold a valid certificate of a predecessor of this authority."""

    @cached_property
    def owned(self) -> dict[str, list[Row]]:
        """Return the rows by client name, without CA certificates and certificates that were signed by hand."""
        rows: dict[str, list[Row]] = {}
        owners = records.owners(self.records, self.rows)
        for row in self.rows:
            if row.serial in owners:
                rows.setdefault(owners[row.serial], []).append(row)
        return rows

    def live(self, name: str) -> tuple[str, ...]:
        """Return the serials of a client's certificates that are valid now."""
        rows = self.owned.get(name, [])
        return tuple(row.serial for row in rows if not row.is_revoked and row.not_after > self.now)


def plan(clients: list[Client], situation: Situation, rules: Rules) -> list[Step]:
    """Return one step per client, in the order of the roster, then one for each purged client.

    :raises MtlsError: if a name differs only in case from that of another client with certificates (files and nginx maps would
        mix them up), or if more clients would be purged than the rules allow.
    """
    serials = {row.serial for row in situation.rows}
    _refuse_other_case(clients, [*situation.records, *situation.owned])
    on_disk = [situation.records.get(client.name, Record(client.name)) for client in clients]
    known = [without_unsigned(record, serials) for record in on_disk]
    steps = [
        replace(_step(client, record, situation, rules), withdrawn=record is not before)
        for client, record, before in zip(clients, known, on_disk)
    ]
    return steps if rules.purge_limit is None else steps + _purges(clients, situation, rules.purge_limit)


def unlisted(clients: list[Client], situation: Situation) -> list[str]:
    """Return the names of clients that hold a valid certificate and are not on the roster."""
    listed = {client.name for client in clients}
    holders = {name for name in situation.owned if situation.live(name)} | situation.elsewhere
    return sorted(holders - listed)


def enumerated(names: list[str]) -> str:
    """Return names for a message: all names, or the first ones and the number of the others."""
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    # A name from before an adoption may be any text.
    return ", ".join(name if name.isprintable() else shown(name) for name in names[:_NAMES_SHOWN]) + more


def _purges(clients: list[Client], situation: Situation, limit: int) -> list[Step]:
    names = unlisted(clients, situation)
    if names and not clients:
        raise MtlsError(
            f"purge would revoke every client ({enumerated(names)}), because the roster is empty",
            "Find out why it is empty; to revoke a client on purpose, list it with state revoked",
        )
    if len(names) > limit:
        raise MtlsError(
            f"purge would revoke {len(names)} clients that are not on the roster, and purge_limit is {limit}: "
            f"{enumerated(names)}",
            "Put the clients that should stay back on the roster, or raise purge_limit",
        )
    return [
        Step(
            departed(name),
            situation.records.get(name, Record(name)),
            "revoked",
            "it is not on the roster",
            situation.live(name),
        )
        for name in names
    ]


def _refuse_other_case(clients: list[Client], names: list[str]) -> None:
    known = {name.lower(): name for name in names}
    for client in clients:
        other = known.get(client.name.lower(), client.name)
        if other != client.name and client.name not in names:
            raise MtlsError(
                f"clients: {client.name} differs only in case from {other}, which has certificates",
                f"Write {other}, or choose another name",
            )


def without_unsigned(record: Record, serials: set[str]) -> Record:
    """Return a record without a certificate that a killed run announced but never signed.

    :param serials: all serials in the database.
    """
    latest = record.latest
    return record.without_latest() if record.issuing and latest and latest.serial not in serials else record


def _step(client: Client, record: Record, situation: Situation, rules: Rules) -> Step:
    rows, live = situation.owned.get(client.name, []), situation.live(client.name)
    if not client.present:
        return _leaving(client, record, live)
    predecessors = _superseded(record, rows, rules.overlap, situation.now)
    superseded = tuple(serial for serial in predecessors if serial in live)
    action, reason = _need(client, record, rows, situation, rules)
    if superseded:
        reason = "; ".join(part for part in (reason, f"overlap has passed: {', '.join(superseded)} superseded") if part)
    return Step(client, record, action, reason, superseded)


def _superseded(record: Record, rows: list[Row], overlap: timedelta, now: datetime) -> list[str]:
    """Return the serials with a valid successor that was issued longer ago than the overlap.

    A certificate signed by hand before an adoption is not a successor: it may be for another device of the same person.
    """
    issued_at = {issue.serial: parse_iso(issue.issued_at) for issue in record.issues if issue.stem}
    successors = [
        index
        for index, row in enumerate(rows)
        if not row.is_revoked and row.serial in issued_at and issued_at[row.serial] + overlap <= now
    ]
    return [row.serial for row in rows[: max(successors, default=0)]]


def _leaving(client: Client, record: Record, live: tuple[str, ...]) -> Step:
    if live:
        return Step(client, record, "revoked", f"its state on the roster is revoked ({client.reason})", live)
    return Step(client, record, "unchanged", "it has no valid certificate to revoke")


def _need(client: Client, record: Record, rows: list[Row], situation: Situation, rules: Rules) -> tuple[str, str]:
    """Return the action for a present client, and the reason."""
    if not rows:
        return "issued", "it has no certificate"
    row, latest, now = rows[-1], record.latest, situation.now
    if row.revocation is not None:
        return "issued", f"{row.serial} was revoked ({row.revocation.reason or 'unspecified'})"
    if latest is None or latest.serial != row.serial:
        return "issued", f"its certificate {row.serial} has no record"
    if row.not_after <= now:
        return "renewed", f"{row.serial} expired at {iso(row.not_after)}"
    if not latest.stem:
        return (
            "renewed",
            f"{row.serial} was issued before the authority was adopted, for the same name and e-mail addresses",
        )
    difference = _difference(_unordered(latest.request), _unordered(client.request))
    if difference:
        return "reissued", difference
    if parse_iso(latest.issued_at) - BACKDATE > now:
        return "reissued", f"{row.serial} was issued by a clock that was ahead, at {latest.issued_at}"
    # A window as long as the validity, or one that extends beyond the CA's end, would renew at every run.
    window = min(rules.renew_before, client.valid_for / 3)
    if row.not_after - now <= window and min(now + client.valid_for, situation.ca_end) > row.not_after:
        return "renewed", f"{row.serial} ends at {iso(row.not_after)}"
    return "unchanged", ""


def _unordered(request: Request) -> Request:
    """Return the request in a form that does not depend on the order of values on the roster."""
    return replace(request, email=tuple(sorted(request.email)), roles=tuple(sorted(request.roles)))


def _difference(old: Request, new: Request) -> str:
    pairs = [(name, getattr(old, name), getattr(new, name)) for name in Request.__dataclass_fields__]
    return "; ".join(
        f"{name} is now {_plain(after)}, was {_plain(before)}" for name, before, after in pairs if before != after
    )


def _plain(value: object) -> str:
    return ", ".join(value) or "none" if isinstance(value, tuple) else str(value if value is not None else "none")
