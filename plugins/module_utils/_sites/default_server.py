# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide for which addresses the gate owns the default server, and detect conflicting servers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._common.errors import MtlsError
from .._contracts.paths import GATE, HTTP, SITES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .models import Listen, Site

POLICIES = ("auto", "always", "never")
# The files of role gate, below any directory of nginx.conf.
GATE_FILE = re.compile(rf".*/{GATE}/(?:{re.escape(HTTP)}|{SITES}[^/]+\.conf)")


@dataclass(frozen=True)
class ExistingServer:
    """One ``listen`` of a server outside the gate, as module nginx_info returns it."""

    address: str
    port: int | None
    ssl: bool
    http2: bool
    default_server: bool
    server_names: tuple[str, ...]
    place: str


@dataclass(frozen=True)
class Plan:
    """The decisions about the addresses of the sites.

    :param owned: the addresses whose default server the gate owns.
    :param http2: the addresses where ``listen ... http2``, which applies to every server of an address, changes no other server.
    :param reasons: for each address one sentence why the gate owns the default server or not.
    """

    owned: tuple[Listen, ...]
    http2: tuple[Listen, ...]
    reasons: tuple[str, ...]


def existing_servers_from(listens: Sequence[Mapping[str, Any]]) -> tuple[ExistingServer, ...]:
    """Return the ``listens`` of nginx_info without those of the gate itself and of protocols other than HTTP."""
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
        if listen["protocol"] == "http" and not listen["udp"] and not GATE_FILE.fullmatch(str(listen["file"]))
    )


def plan_default_servers(
    sites: Sequence[Site], existing: Sequence[ExistingServer] | None, policy: str, *, can_reject: bool
) -> Plan:
    """Decide for every address of the sites whether the gate owns its default server.

    With ``auto`` the gate owns it where no other server listens: the first server of an address is its implicit default, and a
    default server of the gate would replace it.

    :param existing: None if they are not known, because nginx rejects its present configuration.
    :param can_reject: whether this nginx has ``ssl_reject_handshake``.
    :raises MtlsError: if a site conflicts with an existing server, or the policy is not possible.
    """
    owned, http2, reasons = [], [], []
    for listen in _listens(sites):
        there = [server for server in existing or () if _same_address(server, listen)]
        _refuse_collisions(sites, listen, there)
        observed = next((site.name for site in sites if site.stage == "observe" and listen in site.listen), "")
        reason = _reason_against(there, policy, observed, known=existing is not None, can_reject=can_reject)
        if reason and policy == "always":
            raise MtlsError(
                f"gate_default_server: always is not possible on {listen.token}: {reason}",
                "Write auto, or remove the cause",
            )
        if not reason:
            owned.append(listen)
        if not there or any(server.http2 for server in there):
            http2.append(listen)
        reasons.append(f"{listen.token}: {reason or 'the gate owns the default server and rejects unknown names'}")
    return Plan(tuple(owned), tuple(http2), tuple(reasons))


def _listens(sites: Sequence[Site]) -> list[Listen]:
    found = {listen.token: listen for site in sites if _listens_itself(site) for listen in site.listen}
    return [found[token] for token in sorted(found)]


def _listens_itself(site: Site) -> bool:
    """Return whether the gate renders the server; snippets are included in a server of the operator."""
    return site.stage != "absent" and site.manage == "vhost"


def _same_address(server: ExistingServer, listen: Listen) -> bool:
    return (server.address, server.port) == (listen.address, listen.port)


def _refuse_collisions(sites: Sequence[Site], listen: Listen, there: Sequence[ExistingServer]) -> None:
    for site in sites:
        if not _listens_itself(site) or listen not in site.listen:
            continue
        for server in there:
            called = f"gate_sites: site {site.name}"
            if not server.ssl:
                raise MtlsError(
                    f"{called}: listen: {server.place} serves {listen.token} without TLS, and a TLS site on the same "
                    "address would turn all of it into TLS",
                    "Give the site another port or address",
                )
            taken = sorted(set(site.server_names) & set(server.server_names))
            if taken:
                raise MtlsError(
                    f"{called}: server_names: {server.place} serves {taken[0]} on {listen.token} already",
                    "Remove that server, or give the site another name or port",
                )


def _reason_against(
    there: Sequence[ExistingServer], policy: str, observed: str, *, known: bool, can_reject: bool
) -> str:
    if policy == "never":
        return "gate_default_server: never leaves the default server as it is"
    if observed:
        return f"site {observed} is in stage observe, which refuses no request, not even for unknown names"
    if not can_reject:
        return "this nginx is older than 1.19.4 and cannot reject a handshake; unknown names are answered with 421"
    chosen = next((server for server in there if server.default_server), None)
    if chosen:
        return f"{chosen.place} is the default server and decides about TLS protocols and unknown names"
    if not known and policy == "auto":
        return "nginx rejects its present configuration, so other servers on this address are unknown"
    if there and policy == "auto":
        return f"{there[0].place} may be the implicit default server and decides about TLS protocols and unknown names"
    return ""
