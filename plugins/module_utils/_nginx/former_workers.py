# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the former workers of nginx, count the connections of clients that they hold, and end them.

After a reload the old workers accept no connection any more, but they go on with requests that have begun, with the configuration
and the CRL from before the reload.
"""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._common.files import opened

if TYPE_CHECKING:
    from collections.abc import Collection

_WORKER = b"nginx: worker process"
_SHUTTING_DOWN = b"shutting down"
# The states of RFC 9293 in which a client can still send or wait for an answer: ESTABLISHED, CLOSE_WAIT (proc_net_tcp of Linux).
_OPEN_STATES = ("01", "08")


@dataclass(frozen=True)
class FormerWorker:
    """One worker that is shutting down.

    :param started: the start time in clock ticks since boot, the 22nd field of proc(5) ``stat``. With the process id it
        identifies a process, even if the id is used again.
    """

    pid: int
    started: int


def child_processes(master: int) -> list[int]:
    """Return the processes whose parent is ``master``; none if /proc shows none."""
    processes = map(int, filter(str.isdigit, os.listdir("/proc")))
    return [pid for pid in processes if _parent(pid) == master]


def accepts_connections(pid: int) -> bool:
    """Return whether a process is a worker that accepts connections."""
    title = _title(pid)
    return title.startswith(_WORKER) and _SHUTTING_DOWN not in title


def former_workers(master: int) -> tuple[FormerWorker, ...] | None:
    """Return the workers of ``master`` that are shutting down, None if its processes are not visible.

    They are children of the master in the pid file with the title of such a worker. So neither a master, which during a binary
    upgrade is a child of the other master, nor a worker of another nginx is among them.
    """
    children = child_processes(master)
    if not any(_title(pid).startswith(_WORKER) for pid in children):
        return None
    found = [FormerWorker(pid, started_at(pid)) for pid in children]
    return tuple(worker for worker in found if is_shutting_down(worker))


def start_time(worker: FormerWorker) -> float:
    """Return when the worker started, in seconds since 1970."""
    boot = next(line.split()[1] for line in _all_lines("/proc/stat") if line.startswith("btime "))
    return int(boot) + worker.started / os.sysconf("SC_CLK_TCK")


def is_shutting_down(worker: FormerWorker) -> bool:
    """Return whether the same process still exists and is still a worker that shuts down."""
    title = _title(worker.pid)
    shutting_down = title.startswith(_WORKER) and _SHUTTING_DOWN in title
    return shutting_down and worker.started > 0 and started_at(worker.pid) == worker.started


def open_connections(workers: Collection[FormerWorker], ports: Collection[int]) -> int | None:
    """Return the number of TCP connections to these local ports that the workers hold, None if that is not visible."""
    try:
        return sum(_connections(worker, ports) for worker in workers if is_shutting_down(worker))
    except PermissionError:
        return None


def end(workers: Collection[FormerWorker]) -> tuple[FormerWorker, ...]:
    """End the workers at once with SIGTERM (nginx: fast shutdown), which closes their connections. Return the signalled ones.

    Each is checked again by start time and title right before the signal.
    """
    ended = []
    for worker in filter(is_shutting_down, workers):
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker.pid, signal.SIGTERM)
            ended.append(worker)
    return tuple(ended)


def _connections(worker: FormerWorker, ports: Collection[int]) -> int:
    try:
        inodes = _socket_inodes(worker.pid)
    except FileNotFoundError:
        return 0  # The worker has ended.
    return sum(
        _is_client_row(row, inodes, ports)
        for table in ("tcp", "tcp6")
        for row in _lines(f"/proc/{worker.pid}/net/{table}")
    )


def _is_client_row(row: str, inodes: Collection[str], ports: Collection[int]) -> bool:
    # proc_net_tcp: number, local address, remote address, state, queues, timer, retransmits, user, timeout, inode
    fields = row.split()
    if len(fields) <= 9 or fields[3] not in _OPEN_STATES or fields[9] not in inodes:
        return False
    return int(fields[1].rpartition(":")[2], 16) in ports


def _socket_inodes(pid: int) -> frozenset[str]:
    directory = f"/proc/{pid}/fd"
    found = []
    for name in os.listdir(directory):
        with contextlib.suppress(FileNotFoundError):
            kind, _colon, inode = os.readlink(f"{directory}/{name}").partition(":")
            found += [inode.strip("[]")] if kind == "socket" else []
    return frozenset(found)


def _lines(path: str) -> list[str]:
    try:
        return _all_lines(path)[1:]
    except FileNotFoundError:
        return []  # The worker has ended, or the host has no IPv6.


def _all_lines(path: str) -> list[str]:
    with opened(path, encoding="ascii", errors="replace") as file:
        return file.read().splitlines()


def _parent(pid: int) -> int:
    fields = _stat_fields(pid)
    return int(fields[1]) if len(fields) > 1 else 0


def started_at(pid: int) -> int:
    """Return the start time of a process as in :class:`FormerWorker`, 0 if it does not exist."""
    fields = _stat_fields(pid)
    return int(fields[19]) if len(fields) > 19 else 0


def _stat_fields(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the third one on; the name before them can contain any character."""
    try:
        with opened(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


def _title(pid: int) -> bytes:
    try:
        with opened(f"/proc/{pid}/cmdline", "rb") as file:
            return bytes(file.read(200))
    except OSError:
        return b""
