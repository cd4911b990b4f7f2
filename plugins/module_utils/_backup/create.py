# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create and verify backups: encrypted files with the state of an authority at one moment."""

from __future__ import annotations

import io
import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._ca.authority import refuse_other_contents
from .._ca.layout import check_path, refuse_open_work_tree, require_authority
from .._common.errors import MtlsError
from .._common.files import lock, opened, remove_leftovers
from .._common.timestamps import iso
from . import encrypted_container, manifest
from . import tar_stream as archive
from .verify import LOOKED_INTO, Contents, Findings, inspect, public_key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from datetime import datetime
    from typing import BinaryIO

    from .._ca.layout import Layout
    from .manifest import File, Manifest


@dataclass(frozen=True)
class Secrets:
    """The passphrase of the archive and, to open an encrypted key of the authority, the passphrase of that key."""

    archive: str
    key: bytes | None = None


@dataclass(frozen=True)
class Backup:
    """A backup: its contents, its size in bytes, and the reason to write it (empty if it was there already).

    ``manifest`` and ``findings`` are None in check mode before the authority exists.
    """

    reason: str
    manifest: Manifest | None
    findings: Findings | None
    size: int | None


def create(path: str, target: str, secrets: Secrets, now: datetime, *, check_mode: bool) -> Backup:
    """Write a backup of the authority at ``path`` to the file ``target``, unless it holds exactly this state already.

    :raises MtlsError: if the authority is not sound (a bad state never replaces a good backup), or if the file ``target`` exists
        and is not a backup of this authority with the same passphrase.
    """
    layout = check_path(path)
    target = check_archive(target, layout)
    passphrase = encrypted_container.check_new_passphrase(secrets.archive)
    refuse_open_work_tree(target)
    if check_mode and not os.path.exists(layout.certificate):
        refuse_other_contents(layout)
        return Backup("the archive does not exist", None, None, None)
    require_authority(path)
    _require_directory(target)
    with ExitStack() as locks:
        if not check_mode:
            locks.enter_context(layout.locked())
            locks.enter_context(lock(os.path.join(os.path.dirname(target), ".lock")))
            remove_leftovers(os.path.dirname(target))
        contents = _contents(layout, now)
        findings = inspect(contents, secrets.key, now)
        reason = _why(target, passphrase, contents)
        if not reason or check_mode:
            size = os.path.getsize(target) if not reason else None
            return Backup(reason, contents.manifest, findings, size)
        return Backup(reason, contents.manifest, findings, _seal(target, passphrase, contents))


def verify(target: str, secrets: Secrets, now: datetime) -> Backup:
    """Read a whole backup in memory, compare every digest, and check the authority in it. Write nothing.

    :raises MtlsError: if it is damaged, does not open, or the authority in it is not sound.
    """
    target = check_archive(target, None)
    with open_archive(target) as file:
        unpacked = unseal(target, file, secrets)
        contents = read(unpacked)
    return Backup("", contents.manifest, inspect(contents, secrets.key, now), os.path.getsize(target))


@contextmanager
def open_archive(target: str) -> Iterator[BinaryIO]:
    """Open an archive for reading.

    :raises MtlsError: if it cannot be read.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(opened(target, "rb"))
        except OSError as error:
            raise MtlsError(
                f"The archive {target} cannot be read ({error.strerror})", "Give the path of an archive of this module"
            ) from None
        yield file


def unseal(target: str, file: BinaryIO, secrets: Secrets) -> archive.Unpacked:
    """Return the opened archive, of which the manifest has been read.

    :raises MtlsError: if it is damaged or does not open.
    """
    opened = encrypted_container.unseal(target, file, encrypted_container.encoded(secrets.archive))
    opened.require_whole()
    unpacked = archive.Unpacked(opened)
    if opened.keys.tag(unpacked.manifest.state()) != opened.public.state:
        raise MtlsError(f"{target} holds another state than its header says", "Use another copy of the archive")
    return unpacked


def read(
    unpacked: archive.Unpacked, create: Callable[[File], AbstractContextManager[BinaryIO]] | None = None
) -> Contents:
    """Read an archive to its end and return the files of it that are checked.

    :param create: opens the destination of a file of the archive; without it, nothing is written.
    """
    found = unpacked.manifest
    wanted = {found.names[role]: role for role in LOOKED_INTO}
    kept: dict[str, bytearray] = {}
    for file, blocks in unpacked.files():
        taken = kept.setdefault(wanted[file.path], bytearray()) if file.path in wanted else None
        with create(file) if create else io.BytesIO() as written:
            for block in blocks:
                if create:
                    written.write(block)
                if taken is not None:
                    taken += block
    return Contents(unpacked.path, found, {role: bytes(data) for role, data in kept.items()})


def check_archive(target: str | None, layout: Layout | None) -> str:
    """Return the normalised path of an archive.

    :raises MtlsError: if it is not absolute, or is inside the authority, whose loss it should survive.
    """
    found = check_path(target, "archive").root
    root = layout and os.path.realpath(layout.root)
    if root and os.path.commonpath([root, os.path.realpath(found)]) in (root, os.path.realpath(found)):
        raise MtlsError(
            f"archive {found} and the authority {layout and layout.root} are one inside the other",
            "Choose a file outside the authority, preferably on another disk",
        )
    return found


def _require_directory(target: str) -> None:
    directory = os.path.dirname(target)
    if not os.path.isdir(directory):
        # The directory is not created: if its disk is not mounted, the backup would be on the wrong disk.
        raise MtlsError(
            f"The directory {directory} of the archive does not exist", "Create it, or mount the disk that holds it"
        )
    if os.path.isdir(target):
        raise MtlsError(f"archive {target} is a directory", "Give the path of a file in it")


def _contents(layout: Layout, now: datetime) -> Contents:
    found = manifest.survey(layout, iso(now))
    there = {file.path for file in found.files}
    files = {}
    for role in LOOKED_INTO:
        if found.names[role] in there:
            with opened(os.path.join(layout.root, found.names[role]), "rb") as file:
                files[role] = file.read()
    return Contents(layout.root, found, files)


def _why(target: str, passphrase: bytes, contents: Contents) -> str:
    """Return why a backup has to be written, or an empty text if the archive holds this state already."""
    if not os.path.lexists(target):
        return "the archive does not exist"
    with open_archive(target) as file:
        found = encrypted_container.unseal(target, file, passphrase)
    if found.public.owner != found.keys.tag(public_key_of(contents)):
        raise MtlsError(
            f"{target} is the backup of another authority than {contents.where}",
            "Choose another file: a backup is replaced only by one of the same authority",
        )
    if not found.is_whole:
        return "the archive was cut off or added to"
    return "" if found.public.state == found.keys.tag(contents.manifest.state()) else "the authority changed"


def _seal(target: str, passphrase: bytes, contents: Contents) -> int:
    def fill(stream: encrypted_container.Writer) -> None:
        archive.pack(contents.manifest, stream)

    def tag(keys: encrypted_container.Keys) -> encrypted_container.PublicHeader:
        return encrypted_container.PublicHeader(keys.tag(public_key_of(contents)), keys.tag(contents.manifest.state()))

    return encrypted_container.seal(target, passphrase, fill, tag)
