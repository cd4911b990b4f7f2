# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse lists of networks for the directives `geo` and `set_real_ip_from`."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .field_reader import FieldReader

# Module ipaddress also accepts scopes, and whole numbers.
_NETWORK = re.compile(r"[0-9A-Fa-f.:]+(?:/[0-9.]+)?")


def parse_networks(entry: FieldReader, key: str, hint: str) -> tuple[str, ...]:
    """Read a list of networks and addresses and return them in CIDR notation, without duplicates.

    :raises MtlsError: if one is not valid, contains every address, or would never match.
    """
    return entry.each(key, hint, lambda text: _parse_network(entry, key, text, hint))


def covered_share(networks: Sequence[str], space: str) -> float:
    """Return the share of the addresses of ``space`` that networks in CIDR notation contain together, from 0 to 1."""
    whole = ipaddress.ip_network(space)
    parsed = [ipaddress.ip_network(network) for network in networks]
    inside: Any = [one for one in parsed if one.version == whole.version and one.overlaps(whole)]
    if any(one.prefixlen <= whole.prefixlen for one in inside):
        return 1.0
    collapsed: Any = ipaddress.collapse_addresses(inside)
    return float(sum(one.num_addresses for one in collapsed) / whole.num_addresses)


def _parse_network(entry: FieldReader, key: str, text: str, hint: str) -> str:
    if not _NETWORK.fullmatch(text):
        raise entry.problem(key, f"{text!r} is not a valid address or network", hint)
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise entry.problem(key, f"{text!r} is not a valid address or network: {error}", hint) from None
    if network.prefixlen == 0:
        raise entry.problem(key, f"{text} contains every address", hint)
    # An IPv4 peer of an IPv6 socket is looked up as IPv4, so a network of mapped addresses would never match.
    if isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped:
        raise entry.problem(key, f"{text} contains IPv4 addresses written as IPv6", "Write them as IPv4")
    return str(network)
