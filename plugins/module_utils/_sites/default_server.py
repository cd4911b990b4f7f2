# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The servers that an nginx has beside ours: what of an address is ours to decide, and where the two would collide."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._common.errors import MtlsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .models import Listen, Site

POLICIES = ("auto", "always", "never")
# The files of role gate, in whatever directory nginx.conf is.
_OURS = re.compile(r".*/quietdoor/gate/(?:http|sites/[^/]+)\.conf")


@dataclass(frozen=True)
class ExistingServer:
    """One ``listen`` of a server that is not ours, as module nginx_info returns it."""

    address: str
    port: int | None
    ssl: bool
    http2: bool
    default_server: bool
    server_names: tuple[str, ...]
    place: str


@dataclass(frozen=True)
class Plan:
    """What is decided about the addresses of the sites.

    :param owned: those whose default server is ours.
    :param http2: those where ``listen ... http2``, which switches HTTP/2 on for every server of the address, changes nobody else.
    :param reasons: one sentence on each address that says why the default server is ours or not.
    """

    owned: tuple[Listen, ...]
    http2: tuple[Listen, ...]
    reasons: tuple[str, ...]


def existing_servers_from(listens: Sequence[Mapping[str, Any]]) -> tuple[ExistingServer, ...]:
    """Return the ``listens`` of nginx_info without those of the gate itself and of protocols that carry no HTTP."""
    return tuple(
        ExistingServer(
            address=str(listen["address"]),
            port=listen["port"],
            ssl=bool(listen["ssl"]),
            http2=bool(listen["http2"]),
            default_server=bool(listen["default_server"]),
            server_names=tuple(str(name).lower() for name in listen["server_names"]),
            place=f"{listen['file']}:{listen['line']}",
        )
        for listen in listens
        if listen["protocol"] == "http" and not listen["udp"] and not _OURS.fullmatch(str(listen["file"]))
    )


def plan_default_servers(
    sites: Sequence[Site], neighbours: Sequence[ExistingServer] | None, policy: str, *, can_reject: bool
) -> Plan:
    """Decide for every address of the sites whether its default server is ours.

    With ``auto`` it is where nobody else listens: the first server of an address is its default without saying so, and one
    of ours would take that from it.

    :param neighbours: None if they are not known, because nginx refuses the configuration as it is now.
    :param can_reject: whether this nginx knows ``ssl_reject_handshake``.
    :raises MtlsError: if a site cannot share an address with what is there, or the policy cannot be had.
    """
    owned, http2, reasons = [], [], []
    for listen in _listens(sites):
        there = [neighbour for neighbour in neighbours or () if _same_address(neighbour, listen)]
        _refuse_collisions(sites, listen, there)
        observed = next((site.name for site in sites if site.stage == "observe" and listen in site.listen), "")
        reason = _why_not(there, policy, observed, known=neighbours is not None, can_reject=can_reject)
        if reason and policy == "always":
            raise MtlsError(
                f"gate_default_server: always cannot be had on {listen.token}: {reason}",
                "Write auto, or remove what is in the way",
            )
        if not reason:
            owned.append(listen)
        if not there or any(neighbour.http2 for neighbour in there):
            http2.append(listen)
        reasons.append(f"{listen.token}: {reason or 'the default server is ours and rejects unknown names'}")
    return Plan(tuple(owned), tuple(http2), tuple(reasons))


def _listens(sites: Sequence[Site]) -> list[Listen]:
    found = {listen.token: listen for site in sites if _listens_itself(site) for listen in site.listen}
    return [found[token] for token in sorted(found)]


def _listens_itself(site: Site) -> bool:
    """Whether the server is ours; snippets stand in one that is somebody else's."""
    return site.stage != "absent" and site.manage == "vhost"


def _same_address(neighbour: ExistingServer, listen: Listen) -> bool:
    return (neighbour.address, neighbour.port) == (listen.address, listen.port)


def _refuse_collisions(sites: Sequence[Site], listen: Listen, there: Sequence[ExistingServer]) -> None:
    for site in sites:
        if not _listens_itself(site) or listen not in site.listen:
            continue
        for neighbour in there:
            called = f"gate_sites: site {site.name}"
            if not neighbour.ssl:
                raise MtlsError(
                    f"{called}: listen: {neighbour.place} serves {listen.token} without TLS, and a TLS site on the same "
                    "address would turn all of it into TLS",
                    "Give the site another port or address",
                )
            taken = sorted(set(site.server_names) & set(neighbour.server_names))
            if taken:
                raise MtlsError(
                    f"{called}: server_names: {neighbour.place} serves {taken[0]} on {listen.token} already",
                    "Remove that server, or give the site another name or port",
                )


def _why_not(there: Sequence[ExistingServer], policy: str, observed: str, *, known: bool, can_reject: bool) -> str:
    if policy == "never":
        return "the default server is left alone, as gate_default_server says"
    if observed:
        return f"site {observed} is in stage observe, which refuses nobody, unknown names included"
    if not can_reject:
        return "this nginx is older than 1.19.4 and cannot reject a handshake; unknown names are answered with 421"
    chosen = next((neighbour for neighbour in there if neighbour.default_server), None)
    if chosen:
        return f"{chosen.place} is the default server; TLS protocols and unknown names are its business"
    if not known and policy == "auto":
        return "nginx refuses its configuration as it is now, so who else listens is not known"
    if there and policy == "auto":
        return f"{there[0].place} may be the default server without saying so; TLS protocols and unknown names are its business"
    return ""
