# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Describe an error of the operating system: the file, the file system if that is full, and a hint."""

from __future__ import annotations

import errno
import os

from .errors import MtlsError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_HINTS = {
    errno.ENOSPC: "Free space on that file system",
    errno.EDQUOT: "Free space in that quota, or raise it",
    errno.EROFS: "Mount that file system writable",
    errno.EACCES: "Run as a user with that permission",
    errno.EPERM: "Run as a user with that permission",
    errno.EIO: "Check the kernel log for errors of that disk",
}
_NO_INODE = "Remove files from that file system because it has no inode left,"


def problem_of(error: OSError) -> MtlsError:
    """Convert an error of the operating system to a message with a hint."""
    path = file_of(error)
    hint = _HINTS.get(error.errno or 0, "Correct that")
    place = ""
    if path and error.errno in _FULL:
        mounted = mount_point(path)
        place = f" on the file system that is mounted at {mounted}"
        hint = _NO_INODE if error.errno == errno.ENOSPC and _lacks_inodes(mounted) else hint
    return MtlsError(f"{path or 'A system call'}: {error.strerror or error}{place}", f"{hint} and run again")


def file_of(error: OSError) -> str:
    """Return the file that an error names, the second one of two; empty if it names none."""
    for name in (error.filename2, error.filename):
        if isinstance(name, (str, bytes)):
            return os.fsdecode(name)
    return ""


def mount_point(path: str) -> str:
    """Return the mount point of the file system that contains ``path``, or would contain it."""
    place = os.path.realpath(path)
    while not os.path.lexists(place) or not os.path.ismount(place):
        parent = os.path.dirname(place)
        if parent == place:
            break
        place = parent
    return place


def _lacks_inodes(mounted: str) -> bool:
    try:
        found = os.statvfs(mounted)
    except OSError:
        return False
    # A file system that allocates inodes on demand reports a total of 0.
    return found.f_files > 0 and found.f_favail == 0
