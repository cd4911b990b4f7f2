# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one way this collection writes files: whole or not at all, and never two writers at once."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import tempfile
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Union, overload

from .errors import MtlsError

try:
    import ctypes
except ImportError:  # a Python without libffi; files are then synced one by one
    ctypes = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from typing import BinaryIO, Literal, TextIO

PRIVATE_DIR = 0o700
PUBLIC_DIR = 0o755
PRIVATE_FILE = 0o600
PUBLIC_FILE = 0o644

_TEMPORARY_PREFIX = ".quietdoor-tmp-"
# From this many files on, one wait for the whole file system is shorter than one for each.
_MANY = 32
# A lock that nobody holds. It is not empty: on a full disk, the next holder overwrites the block that the file has.
_RELEASED = b"\n"


@dataclass(frozen=True)
class NewFile:
    """A file to write; ``mode`` are its permission bits."""

    path: str
    data: bytes = field(repr=False)
    mode: int


@dataclass(frozen=True)
class NewLink:
    """A symbolic link to make."""

    path: str
    target: str


if TYPE_CHECKING:
    Entry = Union[NewFile, NewLink]


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
    """Let every system error of the block name ``path``: calls on file descriptors name no file, others a temporary one."""
    try:
        yield
    except OSError as error:
        raise _named(error, path) from error


@contextlib.contextmanager
def _naming_unnamed(path: str) -> Iterator[None]:
    """Let the system errors of the block that name no file, or a temporary one, name ``path``. Others stay as they are."""
    try:
        yield
    except OSError as error:
        name = error.filename
        if isinstance(name, str) and not is_leftover(os.path.basename(name)):
            raise
        raise _named(error, path) from error


@contextlib.contextmanager
def created(path: str, mode: int) -> Iterator[BinaryIO]:
    """Make a file that must not exist, not even as a link, and open it for writing. It is not synced.

    :param mode: permission bits of the file; until it has them, only its owner may open it.
    :raises OSError: with ``path`` as its file name.
    """
    with naming(path):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE_FILE)
    with _naming_unnamed(path), os.fdopen(handle, "wb") as file:
        os.fchmod(handle, mode)
        yield file


def _named(error: OSError, path: str) -> OSError:
    return OSError(error.errno or errno.EIO, error.strerror or str(error), path)


@overload
def opened(path: str, mode: Literal["rb", "wb"]) -> AbstractContextManager[BinaryIO]: ...


@overload
def opened(
    path: str,
    mode: Literal["r", "w", "x"] = "r",
    *,
    encoding: str,
    errors: str | None = None,
    newline: str | None = None,
) -> AbstractContextManager[TextIO]: ...


@contextlib.contextmanager
def opened(path: str, mode: str = "r", **options: Any) -> Iterator[Any]:
    """Open a file as open() does. Errors of reading, writing and closing it name it too, those of open() alone do not.

    :raises OSError: with ``path`` as its file name.
    """
    with _naming_unnamed(path), open(path, mode, **options) as file:
        yield file


def sync_directory(path: str) -> None:
    """Make the names in directory ``path`` survive a power cut (POSIX fsync on the directory)."""
    with naming(path):
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read_file(path: str, limit: int = 1 << 20) -> bytes:
    """Return what is in the plain file ``path``. A pipe or a device is not read: it might keep us waiting, or never end.

    :param limit: the most bytes that can make sense there.
    :raises OSError: if it cannot be read.
    :raises MtlsError: if it is no plain file, or larger.
    """
    with naming(path):
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise MtlsError(f"{path} is not a plain file", "Move it out of the way, or restore it from the backup")
            if found.st_size > limit:
                raise MtlsError(
                    f"{path} has {found.st_size} bytes, more than such a file ever has", "Restore it from the backup"
                )
            with os.fdopen(handle, "rb", closefd=False) as file:
                return file.read(limit)
        finally:
            os.close(handle)


@contextlib.contextmanager
def writing(path: str, mode: int) -> Iterator[BinaryIO]:
    """Hand out a file to write; when the block ends well, it stands at ``path``, whole and on disk, in one step.

    :param mode: permission bits of the file; it never exists with any others.
    :raises OSError: if the file cannot be written; the old one is then as it was. It names the file, not the temporary one.
    """
    directory = os.path.dirname(path) or "."
    with naming(path):
        handle, temporary = tempfile.mkstemp(prefix=_TEMPORARY_PREFIX, dir=directory)
    try:
        with _naming_unnamed(path), os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        with naming(path):
            os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_directory(directory)


def write_atomic(path: str, data: bytes, mode: int) -> None:
    """Write ``data`` to ``path`` so that a reader, or a kill at any moment, sees the old file or the new one.

    :param mode: permission bits of the file; it never exists with any others.
    :raises OSError: if the file cannot be written; the old one is then as it was.
    """
    put_all([NewFile(path, data, mode)])


def rewrite_atomic(path: str, data: bytes, mode: int) -> None:
    """Write a file that may be somebody else's too as ``write_atomic`` does, through a link, and with the mode that it has.

    A link that leads to nothing is replaced: what it names can be anywhere.

    :param mode: permission bits where there is no such file yet.
    """
    real = os.path.realpath(path) if os.path.exists(path) else path
    with contextlib.suppress(FileNotFoundError):
        mode = stat.S_IMODE(os.stat(real).st_mode) & 0o777
    write_atomic(real, data, mode)


def link_atomic(target: str, path: str) -> None:
    """Make ``path`` a symbolic link to ``target``, replacing what stands there in one step."""
    put_all([NewLink(path, target)])


def put_all(entries: Sequence[Entry]) -> None:
    """Write files and links as ``write_atomic`` and ``link_atomic`` do, but wait for the disk only twice for all of them.

    Everything is written beside its place and is on disk before the first of them takes its place; they take it in the order
    given, and that is on disk when this returns. A kill in between leaves the first so many new and the others old.

    :raises OSError: if one cannot be written; nothing has then changed, unless it was a rename that failed. It names the file
        that was to be written, not the temporary one.
    """
    temporary: list[str] = []
    try:
        for entry in entries:
            with naming(entry.path):
                _write_beside(entry, temporary)
        _sync({path: entry.path for path, entry in zip(temporary, entries) if isinstance(entry, NewFile)})
        for path, entry in zip(temporary, entries):
            with naming(entry.path):
                os.rename(path, entry.path)
    except BaseException:
        for path in temporary:
            with contextlib.suppress(OSError):
                os.unlink(path)
        raise
    directories = [os.path.dirname(entry.path) or "." for entry in entries]
    _sync(dict(zip(directories, directories)))


def _write_beside(entry: Entry, temporary: list[str]) -> None:
    """Write ``entry`` under a temporary name in its directory, and note that name as soon as it is taken."""
    directory, name = os.path.split(entry.path)
    if isinstance(entry, NewLink):
        path = os.path.join(directory, f"{_TEMPORARY_PREFIX}{os.getpid()}-{name}")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        os.symlink(entry.target, path)
        temporary.append(path)
        return
    handle, path = tempfile.mkstemp(prefix=_TEMPORARY_PREFIX, dir=directory or ".")
    temporary.append(path)
    with open(handle, "wb") as file:
        os.fchmod(handle, entry.mode)
        file.write(entry.data)


def _sync(names: dict[str, str]) -> None:
    """Make files or directories survive a power cut.

    :param names: path -> what errors are to call it.
    :raises OSError: if the disk could not take them.
    """
    syncfs = _syncfs() if len(names) >= _MANY else None
    for path in _one_per_file_system(names) if syncfs else names:
        with naming(names[path]):
            handle = os.open(path, os.O_RDONLY)
            try:
                if syncfs is None:
                    os.fsync(handle)
                elif syncfs(handle) != 0:
                    error = ctypes.get_errno()
                    raise OSError(error, os.strerror(error))
            finally:
                os.close(handle)


def _one_per_file_system(names: dict[str, str]) -> list[str]:
    found = {}
    for path, name in names.items():
        with naming(name):
            found[os.stat(path).st_dev] = path
    return list(found.values())


def _syncfs() -> Any:
    """Return syncfs(2) of the C library, or None where it has none: Python does not offer it."""
    return getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None) if ctypes else None


def is_leftover(name: str) -> bool:
    """Tell whether a file of this name is temporary: being written, or left by a killed run."""
    return name.startswith(_TEMPORARY_PREFIX)


def remove_leftovers(directory: str) -> None:
    """Remove the temporary files that a killed run left in ``directory``. Call it under the lock."""
    for name in os.listdir(directory):
        if is_leftover(name):
            os.unlink(os.path.join(directory, name))


def require_writable(directory: str) -> None:
    """Make sure that files can be made in ``directory``, or, where it is yet to be made, in the one that will hold it.

    :raises MtlsError: otherwise, so that check mode says so too.
    """
    while not os.path.lexists(directory):
        directory = os.path.dirname(directory) or "."
    if not os.path.isdir(directory):
        raise MtlsError(f"{directory} is not a directory", "Move it out of the way or choose another path")
    if not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
        raise MtlsError(
            f"{directory} cannot be written to",
            "Run as the user who owns it, or mount its file system writable",
        )


def make_directory(path: str, mode: int) -> bool:
    """Make directory ``path`` with exactly ``mode`` and return whether anything changed.

    :raises MtlsError: if something that is no directory stands there.
    """
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        found = os.stat(path)
        if not stat.S_ISDIR(found.st_mode):
            raise MtlsError(f"{path} is not a directory", "Move it out of the way or choose another path") from None
        if stat.S_IMODE(found.st_mode) == mode:
            return False
    os.chmod(path, mode)
    return True


def make_parents(path: str) -> None:
    """Make the directories above ``path`` that are missing, as the umask says, but never writable for others than their owner."""
    parent = os.path.dirname(path)
    if parent and not os.path.lexists(parent):
        make_parents(parent)
        with contextlib.suppress(FileExistsError):
            os.mkdir(parent, PUBLIC_DIR)


@contextlib.contextmanager
def lock(path: str, timeout: float = 60.0) -> Iterator[bool]:
    """Hold an exclusive lock on the file ``path`` (flock: the kernel drops it when its holder dies).

    The value is whether the last holder died holding it, and so may have left temporary files: its process id still stands there.

    :param timeout: seconds to wait for another run.
    :raises MtlsError: if another run still holds it then, or if something that is no plain file stands there.
    """
    handle = _open_lock(path)
    try:
        with naming(path):
            os.fchmod(handle, PRIVATE_FILE)
            _wait_for(handle, path, timeout)
            died = os.pread(handle, 1, 0) not in (b"", _RELEASED)
            # Written over, not emptied first: at no moment does the file say that nobody died.
            os.ftruncate(handle, os.pwrite(handle, f"{os.getpid()}\n".encode(), 0))
        try:
            yield died
        finally:
            with naming(path):
                os.ftruncate(handle, os.pwrite(handle, _RELEASED, 0))
                fcntl.flock(handle, fcntl.LOCK_UN)
    finally:
        with naming(path):
            os.close(handle)


def _open_lock(path: str) -> int:
    # Never through a link, which would have another file emptied, and never a pipe, which could keep us waiting.
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise MtlsError(f"{path}, the file to lock, is not a plain file", "Remove it")
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
                raise MtlsError(
                    f"{path} has been held by another run (process {holder}) for {timeout:g} s",
                    "Wait for that run to end and start this one again",
                ) from None
        time.sleep(0.05)
