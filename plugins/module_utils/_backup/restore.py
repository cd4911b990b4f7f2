# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restore a backup into a missing or empty directory, in one step and without overwriting."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._ca.authority import open_authority, put_in_order
from .._ca.layout import Layout, check_path, refuse_open_work_tree
from .._common.errors import MtlsError
from .._common.files import PRIVATE_DIR, created, make_parents, naming, require_writable, sync_directory
from .._common.timestamps import iso
from . import manifest
from .create import Backup, check_archive, open_archive, read, unseal
from .verify import inspect

if TYPE_CHECKING:
    from datetime import datetime
    from typing import BinaryIO

    from .create import Secrets
    from .manifest import File, Manifest
    from .tar_stream import Unpacked

# Files that are rewritten after a move to another directory, so they may differ from the archive.
_MOVED = ("configuration", "index_attributes")


@dataclass(frozen=True)
class Restored:
    """The changes (in check mode: the predicted changes), and the backup that was restored."""

    changes: list[str]
    backup: Backup


def restore(path: str, target: str, secrets: Secrets, now: datetime, *, check_mode: bool) -> Restored:
    """Restore the backup ``target`` into the directory ``path``, which is missing or empty, or holds that backup already.

    The tree is built beside ``path`` under a temporary name, checked like every backup, and renamed at the end.

    :raises MtlsError: if anything else is in the directory, or the backup is damaged, does not open or is not sound.
    """
    layout = check_path(path)
    target = check_archive(target, layout)
    place = _place(layout.root)
    building = Layout(_building(place))
    for directory in (layout.root, building.root):
        refuse_open_work_tree(directory)
    with open_archive(target) as file:
        unpacked = unseal(target, file, secrets)
        if not _is_free(layout.root):
            return _keep(layout, unpacked, secrets, now, check_mode=check_mode)
        _refuse_no_place(place)
        if check_mode:
            contents = read(unpacked)
        else:
            make_parents(building.root)
            os.makedirs(building.root, mode=PRIVATE_DIR, exist_ok=True)
            # The lock file is in the directory that is renamed, so it becomes the lock of the authority.
            with building.locked():
                return _build(layout, building, unpacked, secrets, now)
    findings = inspect(contents, secrets.key, now)
    return Restored(["restored"], Backup("", contents.manifest, findings, os.path.getsize(target)))


def _building(root: str) -> str:
    return os.path.join(os.path.dirname(root), f".{os.path.basename(root)}.restoring")


def _place(root: str) -> str:
    """Return the directory of the authority. A link is followed, not replaced."""
    return os.path.realpath(root) if os.path.islink(root) else root


def _refuse_no_place(place: str) -> None:
    """Refuse a directory that cannot be replaced by a rename, before any secret is written beside it."""
    if os.path.ismount(place):
        raise MtlsError(
            f"{place} is a mount point, which the restored directory cannot replace in one step",
            "Give the path of a new directory in it, or unmount it, restore, and move the files",
        )
    require_writable(os.path.dirname(place))


def _is_free(root: str) -> bool:
    if os.path.lexists(root) and not os.path.isdir(root):
        raise MtlsError(f"{root} is not a directory", "Move it away or choose another path")
    return not os.path.lexists(root) or not os.listdir(root)


def _keep(layout: Layout, unpacked: Unpacked, secrets: Secrets, now: datetime, *, check_mode: bool) -> Restored:
    """Return an unchanged result if the directory holds this backup already; refuse any other contents."""
    may_differ = {unpacked.manifest.names[role] for role in _MOVED}
    there = _survey(layout, now)
    differs = sorted(unpacked.manifest.differences(there) - may_differ) if there else [layout.root]
    if differs:
        raise MtlsError(
            f"{layout.root} is not empty, and differs from the archive in {differs[0] or 'its own mode'} "
            f"({len(differs)} such in all)",
            "Move the directory away, or restore into another one: nothing is ever overwritten",
        )
    contents = read(unpacked)
    findings = inspect(contents, secrets.key, now)
    changes = _order(layout, check_mode=check_mode)
    return Restored(changes, Backup("", contents.manifest, findings, os.path.getsize(unpacked.path)))


def _survey(layout: Layout, now: datetime) -> Manifest | None:
    try:
        return manifest.survey(layout, iso(now))
    except MtlsError:
        # The directory has entries that a backup cannot hold.
        return None


def _order(layout: Layout, *, check_mode: bool) -> list[str]:
    with contextlib.nullcontext() if check_mode else layout.locked():
        return put_in_order(open_authority(layout.root), check_mode=check_mode).changes


def _build(layout: Layout, building: Layout, unpacked: Unpacked, secrets: Secrets, now: datetime) -> Restored:
    try:
        if not _is_free(layout.root):
            raise MtlsError(f"{layout.root} was restored by another run at the same time", "Run again")
        _clear(building)
        contents = _write(building.root, unpacked, secrets, now)
        with naming(layout.root):
            os.rename(building.root, _place(layout.root))
    except BaseException:
        shutil.rmtree(building.root, ignore_errors=True)
        raise
    sync_directory(os.path.dirname(building.root))
    put_in_order(open_authority(layout.root), check_mode=False)
    return Restored(["restored"], contents)


def _clear(building: Layout) -> None:
    """Remove the leftovers of a killed run."""
    for entry in os.scandir(building.root):
        if entry.path == building.lock_file:
            continue
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


def _write(root: str, unpacked: Unpacked, secrets: Secrets, now: datetime) -> Backup:
    found = unpacked.manifest
    for path in sorted(found.directories):
        if path:
            os.mkdir(os.path.join(root, path), PRIVATE_DIR)

    def create(file: File) -> contextlib.AbstractContextManager[BinaryIO]:
        return created(os.path.join(root, file.path), file.mode)

    contents = read(unpacked, create)
    findings = inspect(contents, secrets.key, now)
    for path, link in found.links.items():
        with naming(os.path.join(root, path)):
            os.symlink(link, os.path.join(root, path))
    # Innermost first: otherwise directories without write permission could not be filled.
    for path in sorted(found.directories, reverse=True):
        os.chmod(os.path.join(root, path), found.directories[path])
    # One sync for all files: a fsync for each of 50,000 takes minutes. On Linux, sync() waits for the disk.
    os.sync()
    return Backup("", found, findings, os.path.getsize(unpacked.path))
