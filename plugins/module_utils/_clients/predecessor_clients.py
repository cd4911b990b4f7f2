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
from . import adopted_clients
from .revoke import NothingNamed, Revoked, Target, revoke
from .roster import moment

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from .._ca.authority import Authority
    from .adopted_clients import Holdings
    from .roster import Client


@dataclass(frozen=True)
class Retired:
    """A certificate of a predecessor that was, or in check mode would be, revoked."""

    path: str
    client: str
    serial: str
    reason: str


@dataclass(frozen=True)
class Retirement:
    """What was, or in check mode would be, revoked at predecessors, and sentences on what is left although it may be meant."""

    retired: list[Retired]
    doubts: list[str]


@dataclass(frozen=True)
class Elsewhere:
    """What has to be known of predecessors where the roster is compared with who holds certificates."""

    holders: frozenset[str] = frozenset()
    """The names of those who hold a valid certificate of one."""
    holdings: tuple[Holdings, ...] = ()


NOWHERE = Elsewhere()


def look(predecessors: list[str], clients: list[Client], now: datetime) -> Elsewhere:
    """Return what is known of predecessors, and who holds a valid certificate of one.

    What was signed by hand before one was adopted, and is no client's, counts by the name that answers for it without doubt.
    """
    held = tuple(adopted_clients.holdings(open_authority(root), clients) for root in predecessors)
    spoken_for = {name for client in clients for name in (client.name, client.common_name)}
    return Elsewhere(frozenset(name for one in held for name in _holders(one, spoken_for, now)), held)


def _holders(held: Holdings, spoken_for: set[str], now: datetime) -> set[str]:
    owners = {held.owners[row.serial] for row in held.live(now) if row.serial in held.owners}
    others = {
        name
        for name, rows in held.named.items()
        if name and adopted_index.one_subject(rows) and any(adopted_index.is_live(row, now) for row in rows)
    }
    return owners | (others - spoken_for)


def retire(
    path: str, predecessors: list[str], clients: list[Client], overlap: timedelta, now: datetime, *, check_mode: bool
) -> Retirement:
    """Revoke what clients still hold of predecessors: all of those who left, and of others what the overlap has passed for.

    The overlap runs from the moment at which the client was issued a certificate of the successor that is still good.
    """
    if not predecessors:
        return Retirement([], [])
    served = _served(path, overlap, now)
    done = [_retire(root, clients, served, now, check_mode=check_mode) for root in predecessors]
    return Retirement([one for each in done for one in each.retired], [doubt for each in done for doubt in each.doubts])


def _served(path: str, overlap: timedelta, now: datetime) -> set[str]:
    """Return the names of the clients who have had a certificate here for longer than the overlap."""
    layout = check_path(path)
    if not os.path.exists(layout.certificate):
        return set()
    live = {row.serial for row in open_authority(path).with_orphans() if adopted_index.is_live(row, now)}
    return {
        record.name
        for record in client_records.load_all(layout.clients).values()
        for issue in record.issues
        if issue.stem and issue.serial in live and moment(issue.issued_at) + overlap <= now
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
    held, shared, root = (
        adopted_clients.holdings(authority, clients),
        adopted_clients.shared_names(clients),
        authority.layout.root,
    )
    concerned = {client.name: client for client in clients if not client.present or client.name in served}
    owned = [(row, held.owners.get(row.serial, "")) for row in held.live(now)]
    named = [(row, concerned[name]) for row, name in owned if name in concerned]
    doubts = _nobodys(held, clients, now)
    for client in concerned.values():
        rows = held.answering(client)
        live = [row for row in rows if adopted_index.is_live(row, now)]
        why = adopted_clients.why_unclear(client, rows, shared)
        if live and why:
            doubts.append(
                f"client {client.name}: of the predecessor in {root}, not revoked, because they are not certainly the same "
                f"client's ({why}): {adopted_index.told(live)}. Revoke them by serial."
            )
        elif live:
            named += [(row, client) for row in live]
    retired = {row.serial: Retired(root, client.name, row.serial, _reason(client)) for row, client in named}
    return Retirement(list(retired.values()), doubts)


def _reason(client: Client) -> str:
    return "superseded" if client.present else client.reason


def _nobodys(held: Holdings, clients: list[Client], now: datetime) -> list[str]:
    """Return a sentence on valid certificates that no client and no name answers for."""
    spoken_for = {name for client in clients for name in (client.name, client.common_name)}
    rows = [
        row
        for name, group in held.named.items()
        if not name or not (name in spoken_for or adopted_index.one_subject(group))
        for row in group
        if adopted_index.is_live(row, now)
    ]
    return (
        [f"Of the predecessor in {held.authority.layout.root}, nobody's on the roster: {adopted_index.told(rows)}. They get in "
         "until they end. Revoke them by serial if nobody needs them."]
        if rows
        else []
    )  # fmt: skip


def revoke_everywhere(
    path: str, predecessors: list[str], target: Target, reason: str, now: datetime, *, check_mode: bool
) -> list[tuple[str, Revoked]]:
    """Revoke what ``target`` names at the authority and at its predecessors; return directory and certificate of each.

    Everything is decided before anything is revoked. A name in doubt at a predecessor holds back nothing elsewhere.

    :raises NothingNamed: if none of them issued anything of that name.
    :raises Doubtful: if the name is in doubt at the authority, or at a predecessor while nothing else has it.
    """
    issuers: list[str] = []
    refused: list[MtlsError] = []
    for root in (path, *predecessors):
        try:
            revoke(root, target, reason, now, check_mode=True)
            issuers.append(root)
        except NothingNamed as problem:
            refused.append(problem)
        except adopted_index.Doubtful as problem:
            if root == path:
                raise
            refused.insert(0, problem)
    if not issuers:
        raise refused[0]
    return [(root, one) for root in issuers for one in revoke(root, target, reason, now, check_mode=check_mode)]
