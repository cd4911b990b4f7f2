# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check that nginx can bind the ports of a configuration.

``nginx -t`` does not detect a port that another process uses, and a reload then silently keeps the old configuration.
"""

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
    """A listening socket of this host. ``address`` is ``*`` or ``::`` if it is bound to all addresses."""

    address: str
    port: int
    inode: str


@dataclass(frozen=True)
class Holder:
    """A process that holds a listening socket."""

    pid: int
    name: str


def check_free(wanted: Iterable[tuple[str, int]], master: int) -> None:
    """Check that nginx can bind every address and port of ``wanted``.

    If the holder of a port is not visible (not Linux, or no permission), no error is raised: the verification after the reload
    detects the conflict.

    :param master: the process id of the nginx that will listen; ports that it holds itself are free for it.
    :raises MtlsError: with the process that holds one of the ports.
    """
    for address, port in _remove_covered(set(wanted)):
        if _can_bind(address, port):
            continue
        holders = [holder for found in _find_overlapping(address, port) for holder in _find_holders(found.inode)]
        if holders and all(holder.pid != master for holder in holders):
            held_by = holders[0]
            raise MtlsError(
                f"Port {port} on {address} is in use by process {held_by.pid} ({held_by.name}), so nginx cannot listen on it",
                "Stop that process, or give the site another port or address",
            )


def _remove_covered(wanted: set[tuple[str, int]]) -> list[tuple[str, int]]:
    """Return the pairs without addresses whose port is wanted on all addresses, since nginx binds only the latter."""
    return sorted(
        (address, port)
        for address, port in wanted
        if address in _WILDCARDS or ("::" if ":" in address else "*", port) not in wanted
    )


def _can_bind(address: str, port: int) -> bool:
    """Return whether a bind would not fail because the port is in use. Other errors and host names count as True."""
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


def _find_overlapping(address: str, port: int) -> list[Socket]:
    return [
        found
        for found in _listening_sockets()
        if found.port == port and (found.address in (address, *_WILDCARDS) or address in _WILDCARDS)
    ]


def _listening_sockets() -> Iterator[Socket]:
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError), opened(f"/proc/net/{name}", encoding="ascii") as table:
            for line in table.readlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING:
                    address, _colon, port = fields[1].partition(":")
                    yield Socket(_decode_address(address), int(port, 16), fields[9])


def _decode_address(address: str) -> str:
    # /proc/net/tcp prints each 32 bits of the address in the byte order of this machine.
    words = [int(address[start : start + 8], 16) for start in range(0, len(address), 8)]
    packed = b"".join(socket.ntohl(word).to_bytes(4, "big") for word in words)
    if not any(packed):
        return "*" if len(packed) == 4 else "::"
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def _find_holders(inode: str) -> list[Holder]:
    wanted = f"socket:[{inode}]"
    return [Holder(pid, _process_name(pid)) for pid in _processes() if _has_socket(pid, wanted)]


def _processes() -> list[int]:
    try:
        return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
    except OSError:
        return []


def _has_socket(pid: int, wanted: str) -> bool:
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
