# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run expensive work, such as the generation of keys, in a worker process for each processor.

Workers are forks of this process, so they have its data, secrets included, in memory; results come back through pipes. They write
no files, so a worker that dies leaves nothing on disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import select
import struct
from typing import TYPE_CHECKING, Any, TypeVar

from .._common.errors import MtlsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    T = TypeVar("T")
    R = TypeVar("R")

# Results that may be under way: enough to keep the workers busy while this process waits for the disk.
_AHEAD = 512
# With fewer items for each process, a fork costs more than it saves.
_SHARE = 8
_NUMBER = struct.Struct("=I")
# The size of a worker's pipe, so that the worker does not wait for the reader (Linux, fcntl(2); Python has the name since 3.10).
_SET_PIPE_SIZE, _PIPE_SIZE = 1031, 1 << 20


def processors() -> int:
    """Return the number of processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def each(work: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """Yield ``work(item)`` for all items, in their order, computed by one process for each processor.

    :param work: writes no files, and returns a value that can be pickled.
    :raises MtlsError: if a worker died; else whatever ``work`` raises.
    """
    count = min(processors(), len(items) // _SHARE)
    return _forked(work, items, count) if count > 1 else map(work, items)


def _forked(work: Callable[[T], R], items: Sequence[T], count: int) -> Iterator[R]:
    queue_end, queue = os.pipe()
    workers: dict[int, int] = {}
    try:
        for _worker in range(count):
            reading, writing = os.pipe()
            workers[reading] = _start(work, items, queue_end, writing, [queue, *workers])
            os.close(writing)
        yield from _in_order(len(items), queue, list(workers))
    finally:
        # Workers end without a queue or a reader, so a caller that stops early does not wait.
        for handle in (queue_end, queue, *workers):
            os.close(handle)
        for child in workers.values():
            os.waitpid(child, 0)


def _start(work: Callable[[T], R], items: Sequence[T], queue: int, results: int, others: list[int]) -> int:
    child = os.fork()
    if child == 0:
        # A worker must never return into the code of its parent process.
        try:
            for handle in others:
                os.close(handle)
            _serve(work, items, queue, results)
        finally:
            os._exit(0)
    _widen(results)
    return child


def _serve(work: Callable[[T], R], items: Sequence[T], queue: int, results: int) -> None:
    while True:
        number = os.read(queue, _NUMBER.size)
        if not number:
            return
        index = _NUMBER.unpack(number)[0]
        data = pickle.dumps((index, *_outcome(work, items[index])))
        _write(results, _NUMBER.pack(len(data)) + data)


def _outcome(work: Callable[[T], R], item: T) -> tuple[R | None, Exception | None]:
    try:
        return work(item), None
    except Exception as error:
        return None, error


def _write(handle: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]


def _in_order(count: int, queue: int, pipes: list[int]) -> Iterator[Any]:
    """Queue the numbers of the items, a limited count ahead, and yield the results in the order of the numbers."""
    asked, arrived = 0, {}
    for wanted in range(count):
        while asked < min(count, wanted + _AHEAD):
            os.write(queue, _NUMBER.pack(asked))
            asked += 1
        while wanted not in arrived:
            for pipe in select.select(pipes, [], [])[0]:
                index, result, error = _result(pipe)
                if error is not None:
                    raise error
                arrived[index] = result
        yield arrived.pop(wanted)


def _result(pipe: int) -> tuple[int, Any, Exception | None]:
    size = _NUMBER.unpack(_read(pipe, _NUMBER.size))[0]
    found: tuple[int, Any, Exception | None] = pickle.loads(_read(pipe, size))
    return found


def _read(pipe: int, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = os.read(pipe, size - len(data))
        if not part:
            raise MtlsError(
                "A worker process died while keys or bundles were made (was memory short?)",
                "Run again: finished work is kept, and the rest is completed",
            )
        data += part
    return bytes(data)


def _widen(pipe: int) -> None:
    with contextlib.suppress(OSError):
        fcntl.fcntl(pipe, _SET_PIPE_SIZE, _PIPE_SIZE)
