# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write files atomically, and lock them against concurrent runs."""

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
except ImportError:  # Python was built without libffi: files are synced one by one
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
# From this number of files on, one sync of the file system takes less time than one for each file.
_SYNCFS_THRESHOLD = 32
# The content of a released lock. It is not empty, so that the next holder needs no new block on a full disk.
_RELEASED = b"\n"


@dataclass(frozen=True)
class NewFile:
    """A file to write; ``mode`` is its permission bits."""

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
    """Set ``path`` in every system error of the block. Calls on descriptors name no file, others a temporary one."""
    try:
        yield
    except OSError as error:
        raise _with_path(error, path) from error


@contextlib.contextmanager
def _naming_if_unnamed(path: str) -> Iterator[None]:
    """Set ``path`` in system errors of the block that name no file or a temporary one. Keep the path of all others."""
    try:
        yield
    except OSError as error:
        name = error.filename
        if isinstance(name, str) and not is_leftover(os.path.basename(name)):
            raise
        raise _with_path(error, path) from error


@contextlib.contextmanager
def created(path: str, mode: int) -> Iterator[BinaryIO]:
    """Create a file that must not exist yet, not even as a link, and open it for writing. Do not sync it.

    :param mode: permission bits of the file; until they are set, only its owner can open it.
    :raises OSError: with ``path`` as its file name.
    """
    with naming(path):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE_FILE)
    with _naming_if_unnamed(path), os.fdopen(handle, "wb") as file:
        os.fchmod(handle, mode)
        yield file


def _with_path(error: OSError, path: str) -> OSError:
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
    """Open a file as open() does, and set ``path`` in errors of reading, writing and closing, too.

    :raises OSError: with ``path`` as its file name.
    """
    with _naming_if_unnamed(path), open(path, mode, **options) as file:
        yield file


def sync_directory(path: str) -> None:
    """Sync directory ``path``, so that its entries survive a power failure (POSIX fsync)."""
    with naming(path):
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read_file(path: str, limit: int = 1 << 20) -> bytes:
    """Return the contents of the plain file ``path``. Pipes and devices are rejected, since reading them may never end.

    :param limit: the maximum size in bytes.
    :raises OSError: if the file cannot be read.
    :raises MtlsError: if it is not a plain file, or larger than the limit.
    """
    with naming(path):
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise MtlsError(f"{path} is not a plain file", "Move it out of the way, or restore it from the backup")
            if found.st_size > limit:
                raise MtlsError(
                    f"{path} has {found.st_size} bytes, more than the limit of {limit}", "Restore it from the backup"
                )
            with os.fdopen(handle, "rb", closefd=False) as file:
                return file.read(limit)
        finally:
            os.close(handle)


@contextlib.contextmanager
def writing(path: str, mode: int) -> Iterator[BinaryIO]:
    """Open a temporary file for writing; if the block succeeds, sync it and rename it to ``path``.

    :param mode: permission bits of the file; it never exists with other ones.
    :raises OSError: if the file cannot be written; the old one is then unchanged. It names ``path``, not the temporary file.
    """
    directory = os.path.dirname(path) or "."
    with naming(path):
        handle, temporary = tempfile.mkstemp(prefix=_TEMPORARY_PREFIX, dir=directory)
    try:
        with _naming_if_unnamed(path), os.fdopen(handle, "wb") as file:
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
    """Write ``data`` to ``path``. A reader sees the old file or the new one, and a kill leaves one of them.

    :param mode: permission bits of the file; it never exists with other ones.
    :raises OSError: if the file cannot be written; the old one is then unchanged.
    """
    put_all([NewFile(path, data, mode)])


def rewrite_atomic(path: str, data: bytes, mode: int) -> None:
    """Write a file that another program may own, too: as ``write_atomic``, but follow links and keep the mode of the file.

    A dangling link is replaced, because its target could be any path.

    :param mode: permission bits if the file does not exist yet.
    """
    real = os.path.realpath(path) if os.path.exists(path) else path
    with contextlib.suppress(FileNotFoundError):
        mode = stat.S_IMODE(os.stat(real).st_mode) & 0o777
    write_atomic(real, data, mode)


def link_atomic(target: str, path: str) -> None:
    """Make ``path`` a symbolic link to ``target``, replacing an existing file or link in one step."""
    put_all([NewLink(path, target)])


def put_all(entries: Sequence[Entry]) -> None:
    """Write files and links as ``write_atomic`` and ``link_atomic`` do, but sync them together.

    All entries are written under temporary names and synced first. Then they are renamed in the given order, and the directories
    are synced. A kill in between leaves the first entries new and the others old.

    :raises OSError: if an entry cannot be written; nothing has changed then, unless a rename failed. It names the path of the
        entry, not the temporary file.
    """
    temporary: list[str] = []
    try:
        for entry in entries:
            with naming(entry.path):
                _write_beside(entry, temporary)
        _sync_paths({path: entry.path for path, entry in zip(temporary, entries) if isinstance(entry, NewFile)})
        for path, entry in zip(temporary, entries):
            with naming(entry.path):
                os.rename(path, entry.path)
    except BaseException:
        for path in temporary:
            with contextlib.suppress(OSError):
                os.unlink(path)
        raise
    directories = [os.path.dirname(entry.path) or "." for entry in entries]
    _sync_paths(dict(zip(directories, directories)))


def _write_beside(entry: Entry, temporary: list[str]) -> None:
    """Write ``entry`` under a temporary name in its directory, and append that name to ``temporary`` as soon as it exists."""
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


def _sync_paths(names: dict[str, str]) -> None:
    """Sync files or directories, so that they survive a power failure.

    :param names: path -> the path that errors name.
    :raises OSError: if they cannot be synced.
    """
    syncfs = _load_syncfs() if len(names) >= _SYNCFS_THRESHOLD else None
    for path in _select_one_per_file_system(names) if syncfs else names:
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


def _select_one_per_file_system(names: dict[str, str]) -> list[str]:
    found = {}
    for path, name in names.items():
        with naming(name):
            found[os.stat(path).st_dev] = path
    return list(found.values())


def _load_syncfs() -> Any:
    """Return syncfs(2) of the C library, which Python does not offer; None if the library lacks it."""
    return getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None) if ctypes else None


def is_leftover(name: str) -> bool:
    """Return whether a file of this name is temporary: being written, or left by a killed run."""
    return name.startswith(_TEMPORARY_PREFIX)


def remove_leftovers(directory: str) -> None:
    """Remove the temporary files that a killed run left in ``directory``. The caller holds the lock."""
    for name in os.listdir(directory):
        if is_leftover(name):
            os.unlink(os.path.join(directory, name))


def require_writable(directory: str) -> None:
    """Check that files can be created in ``directory``, or in its nearest existing parent.

    :raises MtlsError: if they cannot, in check mode, too.
    """
    while not os.path.lexists(directory):
        directory = os.path.dirname(directory) or "."
    if not os.path.isdir(directory):
        raise MtlsError(f"{directory} is not a directory", "Move it out of the way or choose another path")
    if not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
        raise MtlsError(
            f"{directory} cannot be written to",
            "Run as the user that owns it, or mount its file system writable",
        )


def make_directory(path: str, mode: int) -> bool:
    """Create directory ``path`` with exactly ``mode`` and return whether anything changed.

    :raises MtlsError: if ``path`` exists and is not a directory.
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
    """Create the missing directories above ``path``, with the umask applied, and writable by their owner only."""
    parent = os.path.dirname(path)
    if parent and not os.path.lexists(parent):
        make_parents(parent)
        with contextlib.suppress(FileExistsError):
            os.mkdir(parent, PUBLIC_DIR)


@contextlib.contextmanager
def lock(path: str, timeout: float = 60.0) -> Iterator[bool]:
    """Hold an exclusive lock on the file ``path`` (flock: the kernel drops it when its holder dies).

    Yield whether the last holder died while it held the lock, so that it may have left temporary files. The file contains the
    process id of its holder until the lock is released.

    :param timeout: seconds to wait for another run.
    :raises MtlsError: if another run holds the lock for longer, or if ``path`` exists and is not a plain file.
    """
    handle = _open_lock(path)
    try:
        with naming(path):
            os.fchmod(handle, PRIVATE_FILE)
            _wait_for_lock(handle, path, timeout)
            died = os.pread(handle, 1, 0) not in (b"", _RELEASED)
            # The process id overwrites the old content, so that a kill at any moment is detected by the next run.
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
    # A link could make this run overwrite another file, and opening a pipe could block.
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise MtlsError(f"{path}: the lock file is not a plain file", "Remove it")
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, PRIVATE_FILE)


def _wait_for_lock(handle: int, path: str, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                holder = os.pread(handle, 32, 0).decode("ascii", "replace").strip() or "unknown"
                raise MtlsError(
                    f"{path}: the lock has been held by another run (process {holder}) for {timeout:g} s",
                    "Wait for that run to end and start this one again",
                ) from None
        time.sleep(0.05)
