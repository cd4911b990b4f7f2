# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List the directories, links and files of an authority with mode, size and SHA-256."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from dataclasses import asdict, astuple, dataclass
from typing import TYPE_CHECKING, Any

from .._common.errors import MtlsError, shown
from .._common.files import is_leftover, opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._ca.layout import Layout

_FORMAT = 1
_BLOCK = 1 << 20
# The files whose contents are checked, by the name of their property of Layout.
ROLES = ("certificate", "key", "index", "crl", "crl_number", "configuration", "index_attributes", "new_certificates")


@dataclass(frozen=True)
class File:
    """A regular file: path relative to the authority's directory, permission bits, size in bytes, SHA-256 (hex)."""

    path: str
    mode: int
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The contents of a backup. ``names`` has the paths of the checked files; the target of a link is a name beside it."""

    root: str
    created_at: str
    names: dict[str, str]
    directories: dict[str, int]
    links: dict[str, str]
    files: list[File]

    @property
    def size(self) -> int:
        """Return the size of all files in bytes."""
        return sum(file.size for file in self.files)

    def state(self) -> bytes:
        """Return a digest of everything except the time: backups of the same state have the same digest."""
        data = asdict(self)
        del data["created_at"]
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).digest()

    def differences(self, other: Manifest) -> set[str]:
        """Return the paths that differ between both manifests."""
        return {path for pair in zip(self._items(), other._items()) for path, _what in set(pair[0]) ^ set(pair[1])}

    def _items(self) -> Iterator[set[tuple[str, Any]]]:
        yield set(self.directories.items())
        yield set(self.links.items())
        yield {(file.path, astuple(file)) for file in self.files}


def survey(layout: Layout, created_at: str) -> Manifest:
    """Return the manifest of the authority on disk. Call it under the lock.

    :raises MtlsError: for entries that a backup cannot hold: a device, a socket, a link to another directory.
    """
    root = layout.root
    names = {role: os.path.relpath(getattr(layout, role), root) for role in ROLES}
    directories: dict[str, int] = {}
    links: dict[str, str] = {}
    files: list[File] = []
    for path, found in _walk(root, ""):
        full = os.path.join(root, path)
        if stat.S_ISDIR(found.st_mode):
            directories[path] = found.st_mode & 0o777
        elif stat.S_ISLNK(found.st_mode):
            links[path] = _target(full)
        elif stat.S_ISREG(found.st_mode):
            size, digest = _digest(full)
            files.append(File(path, found.st_mode & 0o777, size, digest))
        else:
            raise MtlsError(f"{full} is neither a file nor a directory", f"Move it out of {root}")
    return Manifest(root, created_at, names, directories, links, files)


def _walk(root: str, directory: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield ``directory`` and the entries below it, sorted, so that the same state always gives the same archive."""
    yield directory, os.stat(os.path.join(root, directory))
    for name in sorted(os.listdir(os.path.join(root, directory))):
        path = os.path.join(directory, name)
        found = os.lstat(os.path.join(root, path))
        if stat.S_ISDIR(found.st_mode):
            yield from _walk(root, path)
        elif not (path == ".lock" or is_leftover(name)):
            yield path, found


def _target(path: str) -> str:
    target = os.readlink(path)
    if not _is_plain(target):
        raise MtlsError(
            f"{path} is a link to {shown(target)}, and a backup holds only links to files beside them",
            "Replace the link by its target, or remove it",
        )
    return target


def _digest(path: str) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with opened(path, "rb") as file:
        while True:
            block = file.read(_BLOCK)
            if not block:
                return size, digest.hexdigest()
            digest.update(block)
            size += len(block)


def render(manifest: Manifest) -> bytes:
    """Return the manifest in the form that an archive holds."""
    data = {"format": _FORMAT, **asdict(manifest), "files": [astuple(file) for file in manifest.files]}
    return json.dumps(data, sort_keys=True).encode()


def parse(data: bytes, where: str) -> Manifest:
    """Return the manifest of an archive. No path in it leads outside the directory of the restored authority.

    :param where: names the archive in errors.
    :raises MtlsError: otherwise.
    """
    try:
        fields = json.loads(data)
        if fields.pop("format") != _FORMAT:
            raise ValueError("format")
        manifest = Manifest(**{**fields, "files": [File(*file) for file in fields["files"]]})
        sound = _is_sound(manifest)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        sound = False
    if not sound:
        raise MtlsError(
            f"{where} holds no manifest that this release can read", "Use the release of the collection that made it"
        )
    return manifest


def _is_sound(manifest: Manifest) -> bool:
    paths = [*manifest.directories, *manifest.links, *(file.path for file in manifest.files)]
    modes = [*manifest.directories.values(), *(file.mode for file in manifest.files)]
    return (
        len(set(paths)) == len(paths)
        and "" in manifest.directories
        and all(_has_its_place(path, manifest.directories) for path in paths if path)
        and all(_is_plain(target) for target in manifest.links.values())
        and all(isinstance(mode, int) and 0 <= mode <= 0o777 for mode in modes)
        and all(isinstance(manifest.names[role], str) for role in ROLES)
    )


def _has_its_place(path: str, directories: dict[str, int]) -> bool:
    parent, slash, name = path.rpartition("/")
    # A slash without a parent makes the path absolute.
    return parent in directories and bool(parent) == bool(slash) and _is_plain(name)


def _is_plain(name: str) -> bool:
    return name not in ("", ".", "..") and "/" not in name and "\0" not in name
