# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resolve the addresses that a probe connects to."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket

from .._common.errors import MtlsError


def resolve(host: str, port: int) -> str:
    """Return the first address of ``host`` that accepts a TCP connection, or else its first address.

    :raises MtlsError: if the name has no address.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise MtlsError(
            f"The name {host!r} does not resolve here: {error}",
            "Correct the name, or set option address to the address to connect to",
        ) from error
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses if len(addresses) > 1 else []:
        with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=2):
            return address
    return addresses[0]


def is_address(host: str) -> bool:
    """Return whether ``host`` is an IP address rather than a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


LAST_PORT = 65535


_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.%]+)\]|(?P<host>[^:\[\]/\s]+))(?::(?P<port>[0-9]{1,5}))?")


def address_from(text: str, default_host: str, default_port: int) -> tuple[str, int]:
    """Return host and port of ``text``, which is a host or host:port; use the defaults for missing parts.

    :raises MtlsError: if ``text`` is neither.
    """
    if not text:
        return default_host, default_port
    if is_address(text):
        return text, default_port
    match = _ADDRESS.fullmatch(text)
    port = int(match["port"] or default_port) if match else 0
    if not match or not 0 < port <= LAST_PORT:
        raise MtlsError(
            f"address: {text!r} is not a host or host:port",
            "Write for example 192.0.2.7, web1:8443 or [2001:db8::7]:443",
        )
    return match["six"] or match["host"], port
