# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Authorities that came before: while the last certificates of a predecessor live, its successor looks after them too.

A successor has a key, a name and a directory of its own. The name has to differ, because nginx and CRLs know a CA by it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._ansible.errors import Problem
from . import records
from .authority import Authority, load_certificate, open_authority, open_for_change
from .database import revoked_row
from .layout import check_path, require_authority
from .names import rfc2253
from .revoke import NothingNamed, Revoked, Target, revoke
from .roster import moment

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from cryptography import x509

    from .database import Row
    from .layout import Layout
    from .roster import Client


@dataclass(frozen=True)
class Retired:
    """A certificate of a predecessor that was, or in check mode would be, revoked."""

    path: str
    client: str
    serial: str
    reason: str


def check_predecessors(path: str, predecessors: list[str]) -> list[str]:
    """Return the directories of the predecessors of the authority at ``path`` if they can be that.

    :raises Problem: if one is no authority, stands there twice, or has the name of another.
    """
    layouts = [check_path(one) for one in (path, *predecessors)]
    places = [os.path.realpath(layout.root) for layout in layouts]
    twice = next((layout.root for index, layout in enumerate(layouts) if places[index] in places[:index]), None)
    if twice:
        raise Problem(f"predecessors: {twice} is the authority itself, or stands there twice", "Leave it out")
    for layout in layouts[1:]:
        require_authority(layout.root)
    if predecessors and os.path.exists(layouts[0].certificate):
        _refuse_same_name(layouts)
    return [layout.root for layout in layouts[1:]]


def _refuse_same_name(layouts: list[Layout]) -> None:
    seen: dict[str, Layout] = {}
    for layout in layouts:
        name = rfc2253(load_certificate(layout.certificate).subject)
        other = seen.setdefault(name, layout)
        if other is not layout:
            raise _same_name(name, layout.root)


def _same_name(name: str, predecessor: str) -> Problem:
    return Problem(
        f"The authority and its predecessor in {predecessor} have one name, {name}, by which nginx and CRLs know a CA",
        "Give the successor another common_name, with a year in it for instance",
    )


def refuse_name_of(predecessors: list[str], subject: x509.Name) -> None:
    """Refuse a name for a new authority that a predecessor has.

    :raises Problem: if so.
    """
    for path in predecessors:
        layout = require_authority(path)
        if load_certificate(layout.certificate).subject == subject:
            raise _same_name(rfc2253(subject), layout.root)


def holders(predecessors: list[str], now: datetime) -> frozenset[str]:
    """Return the names of the clients who hold a valid certificate of a predecessor."""
    names: set[str] = set()
    for root in predecessors:
        authority = open_authority(root)
        live = {row.serial for row in authority.rows if _is_live(row, now)}
        owners = records.owners(records.load_all(authority.layout.clients), authority.rows)
        names |= {name for serial, name in owners.items() if serial in live}
    return frozenset(names)


def retire(
    path: str, predecessors: list[str], clients: list[Client], overlap: timedelta, now: datetime, *, check_mode: bool
) -> list[Retired]:
    """Revoke what clients still hold of predecessors: all of those who left, and of others what the overlap has passed for.

    The overlap runs from the moment at which the client got a certificate of the successor that is still good.
    """
    if not predecessors:
        return []
    served = _served(path, overlap, now)
    reasons = {
        client.name: "superseded" if client.present else client.reason
        for client in clients
        if not client.present or client.name in served
    }
    return [one for root in predecessors for one in _retire(root, reasons, now, check_mode=check_mode)]


def _served(path: str, overlap: timedelta, now: datetime) -> set[str]:
    """Return the names of the clients who have had a certificate here for longer than the overlap."""
    layout = check_path(path)
    if not os.path.exists(layout.certificate):
        return set()
    live = {row.serial for row in open_authority(path).with_orphans() if _is_live(row, now)}
    return {
        record.name
        for record in records.load_all(layout.clients).values()
        for issue in record.issues
        if issue.serial in live and moment(issue.issued_at) + overlap <= now
    }


def _is_live(row: Row, now: datetime) -> bool:
    return not row.is_revoked and row.not_after > now


def _retire(root: str, reasons: dict[str, str], now: datetime, *, check_mode: bool) -> list[Retired]:
    if check_mode:
        authority = open_authority(root)
        authority.rows = authority.with_orphans()
        return _named(authority, reasons, now)
    with require_authority(root).locked():
        authority = open_for_change(root)
        retired = {one.serial: one for one in _named(authority, reasons, now)}
        if retired:
            rows = authority.rows
            authority.save(
                [revoked_row(row, now, retired[row.serial].reason) if row.serial in retired else row for row in rows]
            )
        return list(retired.values())


def _named(authority: Authority, reasons: dict[str, str], now: datetime) -> list[Retired]:
    owners = records.owners(records.load_all(authority.layout.clients), authority.rows)
    live = [(row.serial, owners.get(row.serial, "")) for row in authority.rows if _is_live(row, now)]
    root = authority.layout.root
    return [Retired(root, name, serial, reasons[name]) for serial, name in live if name in reasons]


def revoke_everywhere(
    path: str, predecessors: list[str], target: Target, reason: str, now: datetime, *, check_mode: bool
) -> list[tuple[str, Revoked]]:
    """Revoke what ``target`` names at the authority and at its predecessors; return directory and certificate of each.

    :raises NothingNamed: if none of them issued anything of that name.
    """
    found: list[tuple[str, Revoked]] = []
    nothing: NothingNamed | None = None
    for root in (path, *predecessors):
        try:
            found += [(root, one) for one in revoke(root, target, reason, now, check_mode=check_mode)]
        except NothingNamed as problem:
            nothing = nothing or problem
    if nothing is not None and not found:
        raise nothing
    return found
