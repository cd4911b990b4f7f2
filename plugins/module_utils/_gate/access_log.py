# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a gate's access log line by line: both formats, rotated and compressed files included.

Only one line is in memory at a time, however large the log is, and at most the longest line that nginx writes.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import stat
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from .._common.errors import MtlsError
from .._common.files import opened
from .._common.timestamps import parse_iso
from .._contracts.log_format import parse_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

# Longer than any line of a gate: nginx accepts 8 KiB of request line and 8 KiB of each header, and JSON needs at most six
# characters for a byte.
_LONGEST = 1 << 18
_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


@dataclass(frozen=True)
class Request:
    """One line of the log.

    :param peer: the TCP peer; behind an edge, which is always the peer, the client's address that the edge sent.
    :param status: the status that the client got.
    :param uri: the requested address, as the client sent it.
    """

    at: datetime
    stage: str
    verdict: str
    reason: str
    name: str
    email: str
    serial: str
    peer: str
    status: int
    upstream_status: str
    agent: str = ""
    uri: str = ""


@dataclass
class Reading:
    """The progress of reading a log. ``unread`` are files with an unsupported compression."""

    files: int = 0
    lines: int = 0
    damaged: int = 0
    unread: tuple[str, ...] = ()


def requests(path: str, reading: Reading) -> Iterator[Request]:
    """Yield every request in the log at ``path`` and in its rotated files, in no particular order of time.

    Lines that no gate wrote, or that are cut off, are counted as damaged and left out. A last line without a line break is left
    out too, and not counted: nginx is writing it.

    :param path: the live file; the names of rotated ones begin with its name and a dot or a hyphen, as those of logrotate.
    :param reading: is updated meanwhile.
    :raises MtlsError: if a file cannot be read.
    """
    if not os.path.isabs(path):
        raise MtlsError(f"path: {path!r} is not an absolute path", "Give the log's full path")
    seen: set[tuple[int, int]] = set()
    for found in _files(path, reading):
        try:
            yield from _requests_of_file(found, seen, reading)
        except FileNotFoundError:
            continue  # it was rotated meanwhile, and exists under another name
        except (OSError, EOFError, lzma.LZMAError) as error:
            raise MtlsError(
                f"{found} cannot be read: {error}",
                "Run as a user who may read the logs, and remove a damaged file",
            ) from None


def _files(path: str, reading: Reading) -> list[str]:
    """Return the files, the oldest first, so that a file that is rotated meanwhile is met again and not missed."""
    directory, base = os.path.split(path)
    try:
        names = os.listdir(directory or ".")
    except OSError as error:
        raise MtlsError(f"{directory} cannot be read: {error.strerror}", "Correct the path of the log") from None
    rotated = re.compile(re.escape(base) + r"(?:[.-][0-9A-Za-z_.-]+)?")
    found = sorted((name for name in names if rotated.fullmatch(name)), reverse=True)
    reading.unread = tuple(name for name in found if name.endswith((".zst", ".lz4", ".Z", ".zip", ".7z")))
    return [os.path.join(directory, name) for name in found if name not in reading.unread]


def _requests_of_file(path: str, seen: set[tuple[int, int]], reading: Reading) -> Iterator[Request]:
    if not stat.S_ISREG(os.stat(path).st_mode):
        return
    with opened(path, "rb") as plain:
        status = os.fstat(plain.fileno())
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        reading.files += 1
        opener = _OPENERS.get(os.path.splitext(path)[1])
        if opener is None:
            yield from _requests_of_lines(plain, reading)
            return
    with opener(path, "rb") as unpacked:
        yield from _requests_of_lines(unpacked, reading)


def _requests_of_lines(file: IO[bytes], reading: Reading) -> Iterator[Request]:
    whole = True
    while True:
        line = file.readline(_LONGEST)
        if not line:
            return
        begins, whole = whole, line.endswith(b"\n")
        if not begins:
            continue  # the rest of a line that was too long
        if not whole and len(line) < _LONGEST:
            return
        reading.lines += 1
        request = parse(line.decode("utf-8", "replace")) if whole else None
        if request is None:
            reading.damaged += 1
        else:
            yield request


def parse(line: str) -> Request | None:
    """Parse a line of either format. Return None if no gate wrote it."""
    try:
        return _request_from(parse_line(line))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _request_from(fields: dict[str, str]) -> Request:
    texts = {key: fields[key] for key in ("stage", "verdict", "reason", "name", "email", "serial", "upstream_status")}
    if not all(isinstance(text, str) for text in texts.values()):
        raise TypeError
    return Request(
        at=parse_iso(fields["time"]),
        peer=str(fields["remote_addr"] if "edge" in fields else fields.get("peer") or fields["remote_addr"]),
        status=int(fields["status"]),
        agent=str(fields.get("user_agent") or ""),
        uri=str(fields.get("uri") or ""),
        **texts,
    )
