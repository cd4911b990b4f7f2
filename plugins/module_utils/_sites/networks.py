# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists of networks, as ``geo`` and ``set_real_ip_from`` take them."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .field_reader import FieldReader

# ipaddress also reads scopes, and whole numbers.
_NETWORK = re.compile(r"[0-9A-Fa-f.:]+(?:/[0-9.]+)?")


def parse_networks(entry: FieldReader, key: str, hint: str) -> tuple[str, ...]:
    """Read a list of networks and addresses: in CIDR notation, none twice.

    :raises MtlsError: if one is none, or is everybody, or would never match.
    """
    return entry.each(key, hint, lambda text: _parse(entry, key, text, hint))


def _parse(entry: FieldReader, key: str, text: str, hint: str) -> str:
    if not _NETWORK.fullmatch(text):
        raise entry.problem(key, f"{text!r} is no address and no network", hint)
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise entry.problem(key, f"{text!r} is no address and no network: {error}", hint) from None
    if network.prefixlen == 0:
        raise entry.problem(key, f"{text} is everybody", hint)
    # An IPv4 peer of an IPv6 socket is looked up as IPv4, so a network of mapped addresses would never match.
    if isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped:
        raise entry.problem(key, f"{text} holds IPv4 addresses written as IPv6", "Write them as IPv4")
    return str(network)
