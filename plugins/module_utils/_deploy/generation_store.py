# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Store the generations of gate and trust on disk, and switch between them in one step.

Each generation has its own directory. A symbolic link selects the live one, and a file contains the number of the last verified
one. If a run is killed, the link and that file differ, and the next run detects it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from typing import TYPE_CHECKING

from .._common.errors import MtlsError
from .._common.files import (
    PUBLIC_DIR,
    PUBLIC_FILE,
    link_atomic,
    lock,
    make_directory,
    opened,
    remove_leftovers,
    sync_directory,
    write_atomic,
)
from .._contracts import paths
from .._nginx.config_sandbox import remove_abandoned_copies

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

# The default of gate_keep and trust_keep.
KEPT_GENERATIONS = 5
_NUMBER = re.compile(r"[0-9]{1,18}")


@contextlib.contextmanager
def locked(conf_path: str, *, check_mode: bool) -> Iterator[None]:
    """Hold the lock for all files of this collection below ``conf_path``, and remove temporary files of killed runs.

    Check mode changes nothing: if the lock file does not exist yet, it is not created.
    """
    home = os.path.join(conf_path, paths.HOME)
    path = os.path.join(conf_path, paths.LOCK)
    if check_mode and not os.path.exists(path):
        yield
        return
    make_directory(home, PUBLIC_DIR)
    with lock(path):
        if not check_mode:
            remove_abandoned_copies()
            for relative in (paths.HOME, paths.RECORDS, paths.ARMED, paths.SPARE, paths.ENTRY_DIRECTORY):
                directory = os.path.join(conf_path, relative)
                if os.path.isdir(directory):
                    remove_leftovers(directory)
        yield


class GenerationStore:
    """The generations of ``gate`` or ``trust`` on disk."""

    def __init__(self, conf_path: str, kind: str) -> None:
        self.kind = kind
        self.home = os.path.join(conf_path, paths.HOME)
        self.link = os.path.join(conf_path, paths.link_of(kind))
        self.store = os.path.join(self.home, paths.store_of(kind))
        self._committed = os.path.join(conf_path, paths.committed_of(kind))
        self._highest = os.path.join(conf_path, paths.highest_of(kind))

    def live(self) -> int | None:
        """Return the generation to which the link points, None if there is none.

        :raises MtlsError: if the path is not a link to a generation.
        """
        try:
            target = os.readlink(self.link)
        except FileNotFoundError:
            return None
        except OSError:
            raise self._unexpected_content(self.link) from None
        store, _slash, number = target.partition("/")
        if store != paths.store_of(self.kind) or not _NUMBER.fullmatch(number):
            raise self._unexpected_content(self.link)
        return int(number) if os.path.isdir(self.directory(int(number))) else None

    def committed(self) -> int | None:
        """Return the generation that was last verified, None if it was verified that none is live.

        :raises MtlsError: if the file with the number is damaged.
        """
        return self._read_number(self._committed) or None

    def directory(self, generation: int) -> str:
        """Return the directory of ``generation``."""
        return os.path.join(self.store, str(generation))

    def files(self, generation: int | None) -> dict[str, str]:
        """Return relative path -> text of the files of ``generation``; empty if it does not exist."""
        if generation is None:
            return {}
        top = self.directory(generation)
        found = {}
        for directory, _subdirectories, names in os.walk(top):
            for name in names:
                path = os.path.join(directory, name)
                with opened(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
                    found[os.path.relpath(path, top)] = file.read()
        return found

    def next_generation(self) -> int:
        """Return a number that no generation, kept or removed, ever had."""
        known = [self._read_number(self._highest), self._read_number(self._committed), *self.stored()]
        return max(known) + 1

    def tidy(self) -> None:
        """Remove the generations of killed runs, which were written but never verified.

        After the gate was removed they cannot be distinguished from kept ones; prune() removes them then.
        """
        proven = self.committed()
        if proven is not None or not os.path.exists(self._committed):
            self._remove(number for number in self.stored() if number > (proven or 0) and number != self.live())

    def write(self, generation: int, files: Mapping[str, str]) -> None:
        """Write the files of a new generation. They have no effect until the link is switched."""
        write_atomic(self._highest, f"{generation}\n".encode(), PUBLIC_FILE)
        self.restore(generation, files)

    def restore(self, generation: int, files: Mapping[str, str]) -> None:
        """Write the files of a generation that is not live; replace it if it exists."""
        top = self.directory(generation)
        self._remove([generation])
        make_directory(self.store, PUBLIC_DIR)
        make_directory(top, PUBLIC_DIR)
        for relative, text in files.items():
            directory = top
            for part in relative.split("/")[:-1]:
                directory = os.path.join(directory, part)
                make_directory(directory, PUBLIC_DIR)
            write_atomic(os.path.join(top, relative), text.encode("utf-8", "surrogateescape"), PUBLIC_FILE)
        sync_directory(self.store)

    def point(self, generation: int | None) -> None:
        """Make ``generation`` live; None removes the link."""
        if generation is not None:
            link_atomic(f"{paths.store_of(self.kind)}/{generation}", self.link)
        elif os.path.lexists(self.link):
            os.unlink(self.link)
            sync_directory(self.home)

    def commit(self, generation: int | None) -> None:
        """Store that the running nginx uses ``generation``; None means that none is live."""
        write_atomic(self._committed, f"{generation or 0}\n".encode(), PUBLIC_FILE)

    def prune(self, keep: int) -> None:
        """Remove all but the ``keep`` newest generations; never the live one."""
        self._remove(number for number in sorted(self.stored(), reverse=True)[keep:] if number != self.live())

    def discard(self, generation: int) -> None:
        """Remove a generation that is not live."""
        self._remove([generation])

    def stored(self) -> list[int]:
        """Return the generations whose files are on disk."""
        try:
            names = os.listdir(self.store)
        except FileNotFoundError:
            return []
        return [int(name) for name in names if _NUMBER.fullmatch(name)]

    def _remove(self, generations: Iterable[int]) -> None:
        for generation in list(generations):
            shutil.rmtree(self.directory(generation), ignore_errors=True)

    def _read_number(self, path: str) -> int:
        try:
            with opened(path, encoding="ascii", errors="replace") as file:
                text = file.read().strip()
        except FileNotFoundError:
            return 0
        if not _NUMBER.fullmatch(text):
            raise self._unexpected_content(path)
        return int(text)

    def _unexpected_content(self, path: str) -> MtlsError:
        return MtlsError(
            f"{path} was not written by this collection",
            f"Move it away, and if a {self.kind} should be live, run the play again",
        )
