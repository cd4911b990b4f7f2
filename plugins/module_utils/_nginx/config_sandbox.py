# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create a scratch copy of an nginx configuration to test a change in it.

The copy is a private directory of symbolic links to the live files. A directory is expanded (replaced by a real one with links
in it) only if something in it must differ. So only files whose text changes are copied, and never a key. nginx resolves
relative paths against the directory of the main file, so they point into the copy; absolute paths of includes are rewritten.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
import tempfile
from typing import TYPE_CHECKING

from .._common.files import naming, opened
from .config_lexer import Unreadable
from .config_parser import rewrite_includes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PREFIX = "quietdoor-scratch-"
_NAME = re.compile(rf"{_PREFIX}([0-9]+)-.+")
# This link to / leads to files outside the configuration directory; it is expanded like any other directory.
_OUTSIDE = ".quietdoor-outside"


class ConfigSandbox:
    """The copy of ``conf_path`` at ``root``."""

    def __init__(self, conf_path: str, root: str) -> None:
        self.root = root
        self._homes = tuple(dict.fromkeys((os.path.normpath(conf_path), os.path.realpath(conf_path))))
        _link_entries(self._homes[-1], root)
        with naming(os.path.join(root, _OUTSIDE)):
            os.symlink("/", os.path.join(root, _OUTSIDE))

    def path(self, relative: str) -> str:
        """Return the path of ``relative`` in the copy."""
        return os.path.join(self.root, relative)

    def with_live_paths(self, text: str) -> str:
        """Return ``text`` with paths in the copy replaced by those of the live files."""
        return with_live_paths(text, self.root, self._homes[0])

    def remove(self, relative: str) -> None:
        """Remove ``relative``, a file or directory, from the copy."""
        path = self.path(relative)
        if os.path.lexists(path):
            self._expand(os.path.dirname(path))
            _delete(path)

    def write(self, relative: str, text: str) -> None:
        """Write a file of the copy."""
        self._write(self.path(relative), text)

    def redirect_includes(self, main_file: str) -> None:
        """Rewrite every include that nginx would follow from ``main_file`` to point into the copy."""
        waiting = [self.path(main_file)]
        seen: set[str] = set()
        while waiting:
            path = waiting.pop()
            if path not in seen and os.path.isfile(path):
                seen.add(path)
                waiting += self._redirect_file(path)

    def _redirect_file(self, path: str) -> list[str]:
        try:
            with opened(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
                text = file.read()
            if "include" not in text:
                return []
            changed, patterns = rewrite_includes(text, path, self._map_path)
        except (OSError, Unreadable):
            return []  # nginx reports the same error in more detail
        if changed != text:
            self._write(path, changed)
        return [found for pattern in patterns for found in sorted(glob.glob(os.path.join(self.root, pattern)))]

    def _map_path(self, path: str) -> str:
        path = os.path.normpath(path)
        if path.startswith(self.root + os.sep):
            return path
        for home in self._homes:
            if path.startswith(home + os.sep):
                return self.root + path[len(home) :]
        return os.path.join(self.root, _OUTSIDE) + path

    def _write(self, path: str, text: str) -> None:
        self._expand(os.path.dirname(path))
        _delete(path)
        with opened(path, "x", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.write(text)

    def _expand(self, directory: str) -> None:
        """Replace a linked ``directory`` by a real one, so that its contents can differ."""
        if directory == self.root:
            return
        self._expand(os.path.dirname(directory))
        if os.path.islink(directory):
            target = os.path.realpath(directory)
            os.unlink(directory)
            os.mkdir(directory, 0o700)
            _link_entries(target, directory)
        elif not os.path.isdir(directory):
            os.mkdir(directory, 0o700)


def with_live_paths(text: str, root: str, conf_path: str) -> str:
    """Return ``text`` with paths below ``root``, a scratch copy of ``conf_path``, replaced by the live paths."""
    return text.replace(os.path.join(root, _OUTSIDE), "").replace(root, os.path.normpath(conf_path))


@contextlib.contextmanager
def sandbox_copy(conf_path: str, main_file: str, changes: Mapping[str, str | None]) -> Iterator[ConfigSandbox]:
    """Create a scratch copy with ``changes`` applied, and remove it after the block.

    :param main_file: the name of the main configuration file.
    :param changes: relative path -> text, or None to remove a file or directory; applied in this order.
    """
    with private_directory() as root:
        scratch = ConfigSandbox(conf_path, root)
        for relative, text in changes.items():
            if text is None:
                scratch.remove(relative)
            else:
                scratch.write(relative, text)
        scratch.redirect_includes(main_file)
        yield scratch


@contextlib.contextmanager
def private_directory() -> Iterator[str]:
    """Create a directory that only this user can read, and remove it after the block."""
    root = os.path.realpath(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    try:
        yield root
    finally:
        shutil.rmtree(root)


def remove_abandoned_copies() -> None:
    """Remove the private directories of killed runs."""
    directory = tempfile.gettempdir()
    for name in os.listdir(directory):
        match = _NAME.fullmatch(name)
        path = os.path.join(directory, name)
        if match and not _is_running(int(match[1])):
            with contextlib.suppress(FileNotFoundError):
                if os.lstat(path).st_uid == os.geteuid():
                    shutil.rmtree(path, ignore_errors=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def _link_entries(source: str, destination: str) -> None:
    for name in os.listdir(source) if os.path.isdir(source) else ():
        with naming(os.path.join(destination, name)):
            os.symlink(os.path.join(source, name), os.path.join(destination, name))


def _delete(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
