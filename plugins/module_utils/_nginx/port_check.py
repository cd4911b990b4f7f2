# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who holds a port. ``nginx -t`` does not mind a taken one, and a reload then keeps the old configuration without a word."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._common.errors import MtlsError
from .._common.files import opened

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LISTENING = "0A"  # TCP_LISTEN of include/net/tcp_states.h, as /proc/net/tcp shows it
_WILDCARDS = ("*", "::")


@dataclass(frozen=True)
class Socket:
    """A listening socket of this host. ``address`` is ``*`` or ``::`` for every address."""

    address: str
    port: int
    inode: str


@dataclass(frozen=True)
class Holder:
    """A process that holds a listening socket."""

    pid: int
    name: str


def check_free(wanted: Iterable[tuple[str, int]], master: int) -> None:
    """Make sure that nginx can have every address and port of ``wanted``.

    Where the holder cannot be seen (no Linux, no right to look), nothing is said: the proof after the reload will tell.

    :param master: the process id of the nginx that will listen there; what it holds itself is free for it.
    :raises MtlsError: naming the process that holds one of them.
    """
    for address, port in _widest(set(wanted)):
        if _can_bind(address, port):
            continue
        holders = [holder for found in _overlapping(address, port) for holder in _holders(found.inode)]
        if holders and all(holder.pid != master for holder in holders):
            held_by = holders[0]
            raise MtlsError(
                f"Port {port} on {address} is taken by process {held_by.pid} ({held_by.name}), so nginx could not listen there",
                "Stop that process, or give the site another port or address",
            )


def _widest(wanted: set[tuple[str, int]]) -> list[tuple[str, int]]:
    """Leave out an address whose port is wanted for every address: nginx then binds that one only."""
    return sorted(
        (address, port)
        for address, port in wanted
        if address in _WILDCARDS or ("::" if ":" in address else "*", port) not in wanted
    )


def _can_bind(address: str, port: int) -> bool:
    """Return whether a bind would succeed; True also for what is no matter of a taken port (another error, a host name)."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            probe.bind(("" if address in _WILDCARDS else address, port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True


def _overlapping(address: str, port: int) -> list[Socket]:
    return [
        found
        for found in _listening()
        if found.port == port and (found.address in (address, *_WILDCARDS) or address in _WILDCARDS)
    ]


def _listening() -> Iterator[Socket]:
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError), opened(f"/proc/net/{name}", encoding="ascii") as table:
            for line in table.readlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING:
                    address, _colon, port = fields[1].partition(":")
                    yield Socket(_decode(address), int(port, 16), fields[9])


def _decode(address: str) -> str:
    # /proc/net/tcp prints every 32 bits of the address in the order of this machine.
    words = [int(address[start : start + 8], 16) for start in range(0, len(address), 8)]
    packed = b"".join(socket.ntohl(word).to_bytes(4, "big") for word in words)
    if not any(packed):
        return "*" if len(packed) == 4 else "::"
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def _holders(inode: str) -> list[Holder]:
    wanted = f"socket:[{inode}]"
    return [Holder(pid, _process_name(pid)) for pid in _processes() if _has_open(pid, wanted)]


def _processes() -> list[int]:
    try:
        return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
    except OSError:
        return []


def _has_open(pid: int, wanted: str) -> bool:
    directory = f"/proc/{pid}/fd"
    with contextlib.suppress(OSError):
        for name in os.listdir(directory):
            with contextlib.suppress(OSError):
                if os.readlink(os.path.join(directory, name)) == wanted:
                    return True
    return False


def _process_name(pid: int) -> str:
    try:
        with opened(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return "unknown"
