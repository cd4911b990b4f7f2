# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait for the connections of former workers, or end them, and report the requests that can still arrive on them.

A former worker judges with the CRL and the deny list from before the reload. It serves only requests that had begun: a connection
past the handshake without a request, a request header or a request body that is still arriving, an answer, a WebSocket.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from .._common.timestamps import iso
from .._nginx.former_workers import FormerWorker, end, former_workers, is_shutting_down, open_connections, start_time
from .._nginx.request_timeouts import DEFAULTS, Timeout, parse_time, request_timeouts

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from .._nginx.config_model import Configuration
    from .._nginx.nginx import Nginx

_SHUTDOWN = "worker_shutdown_timeout"
_NO_LIMIT = "no limit"
_PAUSE = 0.1
# proc(5) gives the start of a process to 0.01 s, but the time of the boot only to a second.
_CLOCK_ERROR = 2
_END_TIMEOUT = 5.0


@dataclass(frozen=True)
class FormerConnections:
    """The connections that the former workers of an nginx still hold.

    :param visible: whether the processes of that nginx can be seen; if not, nothing is known.
    :param workers: the process ids of the former workers that still run.
    :param connections: the number of connections of clients to the ports of gates that they hold, None if not visible.
    :param ended: the process ids of the workers that were ended.
    :param headers_until: when the last request header can arrive, UTC, RFC 3339; empty if none can.
    :param bodies_until: the same for a request body or a WebSocket; ``no limit`` if nothing ends them.
    :param report: one sentence.
    """

    visible: bool
    workers: tuple[int, ...]
    connections: int | None
    ended: tuple[int, ...]
    headers_until: str
    bodies_until: str
    report: str


def settle_former_connections(
    nginx: Nginx,
    configuration: Configuration,
    ports: Collection[int],
    timeout: float,
    *,
    close: bool,
    clock: Callable[[], float] = time.monotonic,
) -> FormerConnections:
    """Wait until no former worker runs, at most ``timeout`` seconds, or end them at once.

    :param ports: the TCP ports of the gates.
    :param close: whether to end them, which closes the connections of every site of that nginx that they hold.
    """
    if not ports:
        return FormerConnections(True, (), 0, (), "", "", "No gate is live on this host")
    upgraded = nginx.former_master(configuration)
    if upgraded is not None:
        return _upgrading(upgraded)
    master = nginx.master(configuration)
    workers = None if master is None else former_workers(master)
    if workers is None:
        return _unknown(nginx)
    ended = end(workers) if close else ()
    left = _wait(workers, _END_TIMEOUT if close else timeout, clock)
    return _described(nginx, configuration, ports, left, ended)


def _wait(workers: tuple[FormerWorker, ...], timeout: float, clock: Callable[[], float]) -> tuple[FormerWorker, ...]:
    deadline = clock() + timeout
    while True:
        left = tuple(filter(is_shutting_down, workers))
        if not left or clock() >= deadline:
            return left
        time.sleep(_PAUSE)


def _unknown(nginx: Nginx) -> FormerConnections:
    words = (
        f"No process of the nginx with {nginx.conf_file} is visible here: it does not run, or it runs in a container. So it is "
        "not known whether former workers still serve requests that began before the reload"
    )
    return FormerConnections(False, (), None, (), "", "", words)


def _upgrading(master: int) -> FormerConnections:
    words = (
        f"nginx replaces its binary: its former master (process {master}) and the workers of it serve the former configuration "
        f"without a limit. Complete the upgrade with kill -QUIT {master}"
    )
    return FormerConnections(True, (), None, (), _NO_LIMIT, _NO_LIMIT, words)


def _described(
    nginx: Nginx,
    configuration: Configuration,
    ports: Collection[int],
    left: tuple[FormerWorker, ...],
    ended: tuple[FormerWorker, ...],
) -> FormerConnections:
    pids = tuple(worker.pid for worker in left)
    ended_pids = tuple(worker.pid for worker in ended)
    if not left:
        words = "No former worker runs: no request can arrive that began before the reload"
        if ended:
            count = _count(len(ended), "former worker")
            words += f". Ended with the connections of every site of that nginx that they held: {count}"
        return FormerConnections(True, (), 0, ended_pids, "", "", words)
    held = open_connections(left, ports)
    oldest = min(map(start_time, left))
    version = tuple(map(int, nginx.build.version.split(".")))
    timeouts = [_in_force(timeout, oldest) for timeout in request_timeouts(configuration, ports, version)]
    longest = max(timeouts, key=lambda timeout: timeout.seconds, default=None)
    shutdown = _shutdown_timeout(configuration, oldest)
    cut = parse_time(shutdown) if shutdown else float("inf")
    seconds = min(cut, longest.seconds) if longest else cut
    headers_until, bodies_until = _at(seconds), _at(cut)
    connections = "an unknown number of connections" if held is None else _count(held, "connection")
    reason = longest or "no server listens there"
    words = (
        f"{_count(len(left), 'former worker')} (process {', '.join(map(str, pids))}): {connections} to the ports of gates. "
        f"On them a request header can still arrive until {headers_until} ({reason}), and a request body or a WebSocket can "
        f"go on until {bodies_until} ({_SHUTDOWN} {shutdown or 'is not set for them'})"
    )
    return FormerConnections(True, pids, held, ended_pids, headers_until, bodies_until, words)


def _in_force(timeout: Timeout, started: float) -> Timeout:
    """Return the timeout of workers that started then; they do not know a directive that was written later."""
    if not timeout.is_set or not _is_younger(timeout.file, started):
        return timeout
    return replace(timeout, seconds=max(timeout.seconds, DEFAULTS[timeout.directive]), is_set=False)


def _shutdown_timeout(configuration: Configuration, started: float) -> str:
    """Return the limit of workers that started then, empty if they have none."""
    found = [one for one in configuration.directives if one.name == _SHUTDOWN and one.args]
    return found[-1].args[0] if found and not _is_younger(found[-1].file, started) else ""


def _is_younger(file: str, started: float) -> bool:
    try:
        return os.stat(file).st_mtime > started + _CLOCK_ERROR
    except OSError:
        return True


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _at(seconds: float) -> str:
    """Return the time in so many seconds; every former worker began to shut down before now."""
    if seconds == float("inf"):
        return _NO_LIMIT
    return iso(datetime.now(timezone.utc) + timedelta(seconds=seconds))
