# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pack and unpack the tar stream (POSIX.1-2001 pax) of a backup: the manifest, then the files.

Directories and links are in the manifest only, so no name in the stream decides where a file is written.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from typing import TYPE_CHECKING

from .._common.errors import MtlsError
from .._common.files import opened
from . import manifest as manifests

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, BinaryIO

    from .encrypted_container import Sealed
    from .manifest import File, Manifest

_MANIFEST = "manifest.json"
_LONGEST_MANIFEST = 1 << 30
_BLOCK = 256 * 1024


class _Digesting(io.RawIOBase):
    """A file of which the digest is computed while it is read."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        return data


def pack(manifest: Manifest, stream: Any) -> None:
    """Write the manifest and its files into ``stream``.

    :raises MtlsError: if a file differs from the manifest, because it was changed without the lock.
    """
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_BLOCK) as tar:
        data = manifests.render(manifest)
        tar.addfile(_member(_MANIFEST, len(data), 0o600), io.BytesIO(data))
        for file in manifest.files:
            _add(tar, manifest.root, file)


def _add(tar: tarfile.TarFile, root: str, file: File) -> None:
    path = os.path.join(root, file.path)
    with opened(path, "rb") as content:
        digesting = _Digesting(content)
        try:
            tar.addfile(_member(f"files/{file.path}", file.size, file.mode), digesting)
        except OSError as error:
            # tarfile raises OSError without errno for a file that has become shorter.
            if error.errno is not None:
                raise
            raise _changed(path) from None
        if digesting.digest.hexdigest() != file.sha256 or content.read(1):
            raise _changed(path)
    # tarfile keeps every member in memory; this list is never read.
    tar.members = []  # type: ignore[attr-defined]


def _changed(path: str) -> MtlsError:
    return MtlsError(f"{path} changed while it was read", "Run again, while no other command works on the authority")


def _member(name: str, size: int, mode: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = mode
    return member


class Unpacked:
    """A backup that is being read: first the manifest, then every file once, in its order."""

    def __init__(self, sealed: Sealed) -> None:
        self._sealed = sealed
        self.path = sealed.path
        self._tar = tarfile.open(fileobj=sealed, mode="r|", bufsize=_BLOCK)  # type: ignore[call-overload]  # noqa: SIM115
        self.manifest = manifests.parse(self._read_manifest(), sealed.path)

    def _read_manifest(self) -> bytes:
        member = self._tar.next()
        if member is None or member.name != _MANIFEST or not member.isreg() or member.size > _LONGEST_MANIFEST:
            raise self._wrong()
        member_file = self._tar.extractfile(member)
        return member_file.read() if member_file else b""

    def files(self) -> Iterator[tuple[File, Iterator[bytes]]]:
        """Yield every file with the blocks of its contents. The caller must read all blocks.

        :raises MtlsError: if contents differ from the manifest, or a file is missing or not listed.
        """
        for file in self.manifest.files:
            yield file, self._blocks(file)
            self._tar.members = []
        if self._tar.next() is not None:
            raise self._wrong()
        # The end is authentic only after the last chunk was opened.
        while self._sealed.read(_BLOCK):
            pass

    def _blocks(self, file: File) -> Iterator[bytes]:
        member = self._tar.next()
        if member is None or not member.isreg() or (member.name, member.size) != (f"files/{file.path}", file.size):
            raise self._wrong()
        member_file = self._tar.extractfile(member)
        digest = hashlib.sha256()
        while member_file is not None:
            block = member_file.read(_BLOCK)
            if not block:
                break
            digest.update(block)
            yield block
        if digest.hexdigest() != file.sha256:
            raise self._wrong()

    def _wrong(self) -> MtlsError:
        return MtlsError(f"{self._sealed.path} does not hold what its manifest says", "Use another copy of the archive")
