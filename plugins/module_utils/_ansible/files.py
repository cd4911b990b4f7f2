# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one way this collection writes files: whole or not at all, and never two writers at once."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
import time
from typing import TYPE_CHECKING

from .errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

PRIVATE_DIR = 0o700
PUBLIC_DIR = 0o755
PRIVATE_FILE = 0o600
PUBLIC_FILE = 0o644

_TEMPORARY_PREFIX = ".quietdoor-tmp-"


def sync_directory(path: str) -> None:
    """Make the names in directory ``path`` survive a power cut (POSIX fsync on the directory)."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_file(path: str, limit: int = 1 << 20) -> bytes:
    """Return what is in the plain file ``path``. A pipe or a device is not read: it might keep us waiting, or never end.

    :param limit: the most bytes that can make sense there.
    :raises OSError: if it cannot be read.
    :raises Problem: if it is no plain file, or larger.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise Problem(f"{path} is not a plain file", "Move it out of the way, or restore it from the backup")
        if found.st_size > limit:
            raise Problem(
                f"{path} has {found.st_size} bytes, more than such a file ever has", "Restore it from the backup"
            )
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(limit)
    finally:
        os.close(handle)


def write_atomic(path: str, data: bytes, mode: int) -> None:
    """Write ``data`` to ``path`` so that a reader, or a kill at any moment, sees the old file or the new one.

    :param mode: permission bits of the file; it never exists with any others.
    :raises OSError: if the file cannot be written; the old one is then as it was. It names the file, not the temporary one.
    """
    with _naming(path):
        _write_atomic(path, data, mode)


@contextlib.contextmanager
def _naming(path: str) -> Iterator[None]:
    """Let errors name the file that a person knows: some system calls name none, others a temporary one."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error


def _write_atomic(path: str, data: bytes, mode: int) -> None:
    directory = os.path.dirname(path) or "."
    handle, temporary = tempfile.mkstemp(prefix=_TEMPORARY_PREFIX, dir=directory)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    sync_directory(directory)


def link_atomic(target: str, path: str) -> None:
    """Make ``path`` a symbolic link to ``target``, replacing what stands there in one step."""
    directory = os.path.dirname(path) or "."
    temporary = os.path.join(directory, f"{_TEMPORARY_PREFIX}{os.getpid()}-{os.path.basename(path)}")
    with _naming(path):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        os.symlink(target, temporary)
        os.rename(temporary, path)
        sync_directory(directory)


def remove_leftovers(directory: str) -> None:
    """Remove the temporary files that a killed run left in ``directory``. Call it under the lock."""
    for name in os.listdir(directory):
        if name.startswith(_TEMPORARY_PREFIX):
            os.unlink(os.path.join(directory, name))


def require_writable(directory: str) -> None:
    """Make sure that files can be made in ``directory``, or, where it is yet to be made, in the one that will hold it.

    :raises Problem: otherwise, so that check mode says so too.
    """
    while not os.path.lexists(directory):
        directory = os.path.dirname(directory) or "."
    if not os.path.isdir(directory):
        raise Problem(f"{directory} is not a directory", "Move it out of the way or choose another path")
    if not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
        raise Problem(
            f"{directory} cannot be written to",
            "Run as the user who owns it, or mount its file system writable",
        )


def make_directory(path: str, mode: int) -> bool:
    """Make directory ``path`` with exactly ``mode`` and return whether anything changed.

    :raises Problem: if something that is no directory stands there.
    """
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        found = os.stat(path)
        if not stat.S_ISDIR(found.st_mode):
            raise Problem(f"{path} is not a directory", "Move it out of the way or choose another path") from None
        if stat.S_IMODE(found.st_mode) == mode:
            return False
    os.chmod(path, mode)
    return True


@contextlib.contextmanager
def lock(path: str, timeout: float = 60.0) -> Iterator[bool]:
    """Hold an exclusive lock on the file ``path`` (flock: the kernel drops it when its holder dies).

    The value is whether the last holder died holding it, and so may have left temporary files: its process id still stands there.

    :param timeout: seconds to wait for another run.
    :raises Problem: if another run still holds it then, or if something that is no plain file stands there.
    """
    handle = _open_lock(path)
    try:
        with _naming(path):
            os.fchmod(handle, PRIVATE_FILE)
        _wait_for(handle, path, timeout)
        died = bool(os.pread(handle, 1, 0))
        # Written over, not emptied first: at no moment does the file say that nobody died.
        os.ftruncate(handle, os.pwrite(handle, f"{os.getpid()}\n".encode(), 0))
        try:
            yield died
        finally:
            os.ftruncate(handle, 0)
            fcntl.flock(handle, fcntl.LOCK_UN)
    finally:
        os.close(handle)


def _open_lock(path: str) -> int:
    # Never through a link, which would have another file emptied, and never a pipe, which could keep us waiting.
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise Problem(f"{path}, the file to lock, is not a plain file", "Remove it")
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, PRIVATE_FILE)


def _wait_for(handle: int, path: str, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                holder = os.pread(handle, 32, 0).decode("ascii", "replace").strip() or "unknown"
                raise Problem(
                    f"{path} has been held by another run (process {holder}) for {timeout:g} s",
                    "Wait for that run to end and start this one again",
                ) from None
        time.sleep(0.05)
