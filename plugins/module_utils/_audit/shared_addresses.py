# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find servers on the addresses of a site that shut out its clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._contracts.gate_manifest import ProtectedSite
from .findings import Block, Finding
from .snippet_server import guarded_servers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# The wildcard address of a family -> that of the other, and the name of the other.
_FAMILIES = {"*": ("::", "IPv6"), "::": ("*", "IPv4")}


def audit_shared_addresses(servers: Sequence[Block], protected: ProtectedSite, home: str) -> list[Finding]:
    """Return the findings about listens of other servers with which clients of a site do not reach it."""
    return [*_proxy_protocols(servers, protected), *_missing_families(servers, protected, home)]


def _proxy_protocols(servers: Sequence[Block], protected: ProtectedSite) -> Iterator[Finding]:
    """Yield the listens that make nginx require a PROXY header on an address of a site, which no client of a gate sends."""
    for listen in (one for block in servers for one in block.tcp):
        if listen.proxy_protocol and (listen.address, listen.port) in protected.listens:
            place = f"{listen.address}:{listen.port}"
            what = f"proxy_protocol is required of every connection to {place}, and clients of the gate come without it"
            hint = (
                f"Remove proxy_protocol from line {listen.line} of {listen.file}, or write another address or port in listen of "
                f"site {protected.site}"
            )
            yield Finding(protected.site, True, listen.file, listen.line, what, hint)


def _missing_families(servers: Sequence[Block], protected: ProtectedSite, home: str) -> Iterator[Finding]:
    """Yield a warning for each wildcard address of a site whose port only other servers serve in the other family.

    Their default server answers the clients of that family, which nginx chooses by address before it knows the name.
    """
    served = {(one.address, one.port) for block in guarded_servers(servers, protected, home) for one in block.tcp}
    foreign = [one for block in servers for one in block.tcp if not one.file.startswith(home)]
    for address, port in protected.listens:
        other, family = _FAMILIES.get(address, ("", ""))
        listen = next((one for one in foreign if (one.address, one.port) == (other, port)), None)
        if listen is None or (other, port) in served | set(protected.listens):
            continue
        token, name = f"[::]:{port}" if other == "::" else f"{port}", protected.server_names[0]
        what = f"{family} clients of {name} reach this server, because the site does not listen on {token}"
        hint = f"Add '{token}' to listen of site {protected.site} if its name has {family} addresses"
        yield Finding(protected.site, False, listen.file, listen.line, what, hint)
