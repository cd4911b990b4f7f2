# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find and retire certificates of clients at predecessor authorities."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._ca import adopted_index, client_records
from .._ca.authority import open_authority, open_for_change
from .._ca.index_database import revoked_row
from .._ca.layout import check_path, require_authority
from .._common.errors import MtlsError
from .._common.timestamps import parse_iso
from . import adopted_clients
from .revoke import NotIssued, Revoked, Target, revoke

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from .._ca.authority import Authority
    from .adopted_clients import Holdings
    from .roster import Client


@dataclass(frozen=True)
class Retired:
    """A certificate of a predecessor that was revoked; in check mode, that would be revoked."""

    path: str
    client: str
    serial: str
    reason: str


@dataclass(frozen=True)
class Retirement:
    """The revoked certificates of predecessors, and sentences about certificates that were kept although they may be meant."""

    retired: list[Retired]
    doubts: list[str]


@dataclass(frozen=True)
class Elsewhere:
    """The state of the predecessors, for the comparison of the roster with the holders of certificates."""

    holders: frozenset[str] = frozenset()
    """The names of the holders of a valid certificate of a predecessor."""
    holdings: tuple[Holdings, ...] = ()


NOWHERE = Elsewhere()


def load_elsewhere(predecessors: list[str], clients: list[Client], now: datetime) -> Elsewhere:
    """Return the state of the predecessors, with the holders of valid certificates.

    An ownerless certificate from before an adoption counts by its name if all certificates of that name have one subject.
    """
    holdings = tuple(adopted_clients.load_holdings(open_authority(root), clients) for root in predecessors)
    on_roster = {name for client in clients for name in (client.name, client.common_name)}
    return Elsewhere(frozenset(name for one in holdings for name in _holders(one, on_roster, now)), holdings)


def _holders(holdings: Holdings, on_roster: set[str], now: datetime) -> set[str]:
    owners = {holdings.owners[row.serial] for row in holdings.live(now) if row.serial in holdings.owners}
    others = {
        name
        for name, rows in holdings.named.items()
        if name and adopted_index.has_one_subject(rows) and any(adopted_index.is_live(row, now) for row in rows)
    }
    return owners | (others - on_roster)


def retire(
    path: str, predecessors: list[str], clients: list[Client], overlap: timedelta, now: datetime, *, check_mode: bool
) -> Retirement:
    """Revoke the clients' certificates at predecessors: all of a client that left, else those whose overlap has passed.

    The overlap begins when the client is issued a certificate of the successor that is still good.
    """
    if not predecessors:
        return Retirement([], [])
    served = _served(path, overlap, now)
    done = [_retire(root, clients, served, now, check_mode=check_mode) for root in predecessors]
    return Retirement([one for each in done for one in each.retired], [doubt for each in done for doubt in each.doubts])


def _served(path: str, overlap: timedelta, now: datetime) -> set[str]:
    """Return the names of the clients that have had a certificate of the successor for longer than the overlap."""
    layout = check_path(path)
    if not os.path.exists(layout.certificate):
        return set()
    live = {row.serial for row in open_authority(path).with_orphans() if adopted_index.is_live(row, now)}
    return {
        record.name
        for record in client_records.load_all(layout.clients).values()
        for issue in record.issues
        if issue.stem and issue.serial in live and parse_iso(issue.issued_at) + overlap <= now
    }


def _retire(root: str, clients: list[Client], served: set[str], now: datetime, *, check_mode: bool) -> Retirement:
    if check_mode:
        authority = open_authority(root)
        authority.rows = authority.with_orphans()
        return _due(authority, clients, served, now)
    with require_authority(root).locked():
        authority = open_for_change(root)
        due = _due(authority, clients, served, now)
        reasons = {one.serial: one.reason for one in due.retired}
        if reasons:
            rows = authority.rows
            authority.save(
                [revoked_row(row, now, reasons[row.serial]) if row.serial in reasons else row for row in rows]
            )
        return due


def _due(authority: Authority, clients: list[Client], served: set[str], now: datetime) -> Retirement:
    holdings, shared, root = (
        adopted_clients.load_holdings(authority, clients),
        adopted_clients.shared_names(clients),
        authority.layout.root,
    )
    concerned = {client.name: client for client in clients if not client.present or client.name in served}
    owned = [(row, holdings.owners.get(row.serial, "")) for row in holdings.live(now)]
    named = [(row, concerned[name]) for row, name in owned if name in concerned]
    doubts = _describe_ownerless(holdings, clients, now)
    for client in concerned.values():
        rows = holdings.rows_named_like(client)
        live = [row for row in rows if adopted_index.is_live(row, now)]
        why = adopted_clients.why_unclear(client, rows, shared)
        if live and why:
            doubts.append(
                f"client {client.name}: certificates of the predecessor in {root} were not revoked, because they may belong to "
                f"another client ({why}): {adopted_index.list_rows(live)}. Revoke them by serial."
            )
        elif live:
            named += [(row, client) for row in live]
    retired = {row.serial: Retired(root, client.name, row.serial, _reason(client)) for row, client in named}
    return Retirement(list(retired.values()), doubts)


def _reason(client: Client) -> str:
    return "superseded" if client.present else client.reason


def _describe_ownerless(holdings: Holdings, clients: list[Client], now: datetime) -> list[str]:
    """Return a sentence about valid certificates that neither a client nor an unambiguous name identifies."""
    on_roster = {name for client in clients for name in (client.name, client.common_name)}
    rows = [
        row
        for name, group in holdings.named.items()
        if not name or not (name in on_roster or adopted_index.has_one_subject(group))
        for row in group
        if adopted_index.is_live(row, now)
    ]
    return (
        [f"The predecessor in {holdings.authority.layout.root} has valid certificates that match no client of the roster: "
         f"{adopted_index.list_rows(rows)}. Revoke them by serial if they are not needed."]
        if rows
        else []
    )  # fmt: skip


def revoke_everywhere(
    path: str, predecessors: list[str], target: Target, reason: str, now: datetime, *, check_mode: bool
) -> list[tuple[str, Revoked]]:
    """Revoke the certificates of ``target`` at the authority and its predecessors; return directory and certificate of each.

    All decisions come before the first revocation. An ambiguous name at a predecessor does not stop revocations elsewhere.

    :raises NotIssued: if none of them issued such a certificate.
    :raises AmbiguousName: if the name is ambiguous at the authority, or at a predecessor while no other authority has it.
    """
    issuers: list[str] = []
    refused: list[MtlsError] = []
    for root in (path, *predecessors):
        try:
            revoke(root, target, reason, now, check_mode=True)
            issuers.append(root)
        except NotIssued as problem:
            refused.append(problem)
        except adopted_index.AmbiguousName as problem:
            if root == path:
                raise
            refused.insert(0, problem)
    if not issuers:
        raise refused[0]
    return [(root, one) for root in issuers for one in revoke(root, target, reason, now, check_mode=check_mode)]
