# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse which headers of a client a site drops: `drop_client_headers` and `keep_headers`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._contracts.identity_headers import CLIENT, IDENTITY, gate_header_names, header_names, without
from .field_reader import FieldReader, first_duplicate, kind

if TYPE_CHECKING:
    from collections.abc import Collection

_KEEP_KEYS = ("name", "reason")
_REASON_LIMIT = 200


@dataclass(frozen=True)
class KeptHeader:
    """A header that the application gets from the client although others trust it, and the reason."""

    name: str
    reason: str


@dataclass(frozen=True)
class HeaderPolicy:
    """The headers of a client that the application does not get.

    :param drop_client: whether those that clients of applications send too are dropped; None if the operator did not decide.
    """

    drop_client: bool | None = None
    kept: tuple[KeptHeader, ...] = ()

    def dropped(self) -> tuple[str, ...]:
        """Return the names."""
        return without(_listed(self.drop_client), [header.name for header in self.kept])


def parse_header_policy(entry: FieldReader, own: Collection[str]) -> HeaderPolicy:
    """Read ``drop_client_headers`` and ``keep_headers``.

    :param own: the headers that the gate sets, and those that it reads from an edge.
    :raises MtlsError: if a value is not valid, or a header is not one that the site would drop.
    """
    drop_client = entry.flag("drop_client_headers") if entry.given("drop_client_headers") else None
    hint = "Write a list of mappings of name and reason, as in [{name: X-Forwarded-Prefix, reason: set by our CDN}]"
    listed = entry.value("keep_headers")
    if listed is None:
        return HeaderPolicy(drop_client)
    if not isinstance(listed, (list, tuple)):
        raise entry.problem("keep_headers", f"{listed!r} is {kind(listed)}, not a list", hint)
    kept = tuple(_parse_kept(entry, item, drop_client, own, hint) for item in listed)
    duplicate = first_duplicate([header.name.lower() for header in kept])
    if duplicate:
        raise entry.problem("keep_headers", f"{duplicate} is listed more than once", "Remove the duplicate")
    return HeaderPolicy(drop_client, kept)


def _listed(drop_client: bool | None) -> tuple[str, ...]:
    return header_names(IDENTITY, CLIENT) if drop_client else header_names(IDENTITY)


def _parse_kept(
    entry: FieldReader, item: object, drop_client: bool | None, own: Collection[str], hint: str
) -> KeptHeader:
    if not isinstance(item, dict):
        raise entry.problem("keep_headers", f"{item!r} is {kind(item)}, not a mapping", hint)
    part = FieldReader(item, entry.called, "keep_headers: ")
    part.refuse_unknown(_KEEP_KEYS)
    name = part.text("name", hint)
    if name.lower() in {header.lower() for header in own}:
        raise part.problem("name", f"the gate itself sets or reads {name}", "Remove it from keep_headers")
    if name.lower() in {header.lower() for header in gate_header_names()}:
        what = (
            f"{name} is a header of the gates of this collection, which no client may set, also where a site renames it"
        )
        raise part.problem("name", what, "Remove it from keep_headers")
    if name.lower() not in {header.lower() for header in _listed(drop_client)}:
        raise part.problem("name", f"the gate does not drop {name!r}", "Remove it from keep_headers")
    reason = part.text("reason", "Write why clients may set this header")
    if not reason.isprintable() or len(reason) > _REASON_LIMIT:
        raise part.problem(
            "reason",
            "is not one line of printable characters",
            f"Write one line of at most {_REASON_LIMIT} characters",
        )
    return KeptHeader(name, reason)
