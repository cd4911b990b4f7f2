# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The roster: who should hold a certificate, compared with who does. Planning reads; nothing here writes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from .._ansible.errors import Problem
from .clock import iso
from .names import check_client_name, check_email, check_role, check_subject_text
from .records import Record, Request

if TYPE_CHECKING:
    from .database import Row
    from .keys import KeySpec
    from .records import Issue


@dataclass(frozen=True)
class Client:
    """One entry of the roster, checked."""

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

    @property
    def request(self) -> Request:
        """What its certificate has to be issued for."""
        return Request(
            self.common_name,
            self.organization,
            self.email,
            self.roles,
            str(self.key),
            int(self.valid_for.total_seconds()),
        )


@dataclass(frozen=True)
class Rules:
    """When certificates are renewed and predecessors revoked."""

    renew_before: timedelta
    overlap: timedelta


@dataclass(frozen=True)
class Step:
    """What has to happen for one client."""

    client: Client
    record: Record
    action: str
    """``issued``, ``renewed``, ``reissued``, ``revoked`` or ``unchanged``."""
    reason: str
    revoke: tuple[str, ...] = ()
    """Serials to revoke: all valid ones of a client that left, or predecessors whose overlap has passed."""

    @property
    def issues(self) -> bool:
        """Whether a certificate is to be issued."""
        return self.action in ("issued", "renewed", "reissued")


def check_roster(clients: list[Client]) -> list[Client]:
    """Return the roster if every entry is sound and no name stands in it twice (names that differ in case only are the same).

    :raises Problem: otherwise.
    """
    for client in clients:
        _check_client(client)
    twice = [name for name, count in Counter(client.name.lower() for client in clients).items() if count > 1]
    if twice:
        raise Problem(
            f"clients: {twice[0]} is on the roster twice",
            "Give every client a name of its own, also when case is ignored",
        )
    return clients


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
            raise Problem(f"client {client.name}: a value stands twice in {option}", "Leave one of them out")
    if client.valid_for < timedelta(minutes=1):
        raise Problem(f"client {client.name}: valid_for is shorter than a minute", "Give a longer one, as in 365d")


@dataclass(frozen=True)
class Situation:
    """What the roster is compared with."""

    records: dict[str, Record]
    """By client name."""
    rows: dict[str, Row]
    """The authority's database, by serial."""
    ca_end: datetime
    """The end of the CA certificate's validity; no certificate outlives it."""
    now: datetime


def plan(clients: list[Client], situation: Situation, rules: Rules) -> list[Step]:
    """Return one step per client, in the order of the roster."""
    return [_step(client, settled(client.name, situation), situation, rules) for client in clients]


def settled(name: str, situation: Situation) -> Record:
    """Return a client's record without a certificate that a killed run announced but never signed."""
    record = situation.records.get(name, Record(name))
    latest = record.latest
    if record.issuing and latest is not None and latest.serial not in situation.rows:
        return record.without_latest()
    return record


def _step(client: Client, record: Record, situation: Situation, rules: Rules) -> Step:
    rows = [situation.rows[serial] for serial in record.serials if serial in situation.rows]
    live = tuple(row.serial for row in rows if not row.is_revoked and row.not_after > situation.now)
    if not client.present:
        return _leaving(client, record, live)
    latest = record.latest
    row = situation.rows.get(latest.serial) if latest else None
    if latest is None or row is None:
        return Step(client, record, "issued", "it has no certificate")
    needed = _need(client, latest, row, situation, rules)
    if needed:
        return Step(client, record, *needed)
    predecessors = tuple(serial for serial in live if serial != latest.serial)
    if predecessors and _moment(latest.issued_at) + rules.overlap <= situation.now:
        return Step(
            client, record, "unchanged", f"overlap has passed: {', '.join(predecessors)} superseded", predecessors
        )
    return Step(client, record, "unchanged", "")


def _leaving(client: Client, record: Record, live: tuple[str, ...]) -> Step:
    if live:
        return Step(client, record, "revoked", f"the roster says so ({client.reason})", live)
    return Step(client, record, "unchanged", "no valid certificate is left to revoke")


def _need(client: Client, latest: Issue, row: Row, situation: Situation, rules: Rules) -> tuple[str, str] | None:
    now = situation.now
    if row.revocation is not None:
        return "issued", f"{row.serial} was revoked ({row.revocation.reason or 'unspecified'})"
    if row.not_after <= now:
        return "renewed", f"{row.serial} expired at {iso(row.not_after)}"
    if latest.request != client.request:
        return "reissued", _difference(latest.request, client.request)
    # A window as long as the validity would renew at every run; so would one that reaches over the CA's own end.
    window = min(rules.renew_before, client.valid_for / 3)
    if row.not_after - now <= window and min(now + client.valid_for, situation.ca_end) > row.not_after:
        return "renewed", f"{row.serial} ends at {iso(row.not_after)}"
    return None


def _difference(old: Request, new: Request) -> str:
    pairs = [(name, getattr(old, name), getattr(new, name)) for name in Request.__dataclass_fields__]
    return "; ".join(
        f"{name} is now {_plain(after)}, was {_plain(before)}" for name, before, after in pairs if before != after
    )


def _plain(value: object) -> str:
    return ", ".join(value) or "none" if isinstance(value, tuple) else str(value if value is not None else "none")


def _moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
