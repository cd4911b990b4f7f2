# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory of an authority: that of ``openssl ca``, and ``clients/`` beside it."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._ansible.errors import Problem, shown
from .._ansible.files import PRIVATE_DIR, lock, make_directory, remove_leftovers, require_writable

if TYPE_CHECKING:
    from collections.abc import Iterator

_DIRECTORIES = ("private", "certs", "newcerts", "crl", "clients")


@dataclass(frozen=True)
class Layout:
    """Where the files of the authority in directory ``root`` lie."""

    root: str

    def _at(self, *parts: str) -> str:
        return os.path.join(self.root, *parts)

    @property
    def directories(self) -> list[str]:
        """All directories, the authority's own first. All are 0700: only their owner may look inside."""
        return [self.root, *(self._at(name) for name in _DIRECTORIES)]

    @property
    def key(self) -> str:
        """The private key (0600)."""
        return self._at("private", "ca.key.pem")

    @property
    def certificate(self) -> str:
        """The CA certificate. It is written last: where it is, the authority is complete."""
        return self._at("certs", "ca.cert.pem")

    @property
    def crl(self) -> str:
        """The current CRL."""
        return self._at("crl", "ca.crl.pem")

    @property
    def index(self) -> str:
        """The database of openssl."""
        return self._at("index.txt")

    @property
    def index_attributes(self) -> str:
        """The database's attributes: ``unique_subject = no``."""
        return self._at("index.txt.attr")

    @property
    def serial(self) -> str:
        """openssl's next serial, for who signs without rand_serial."""
        return self._at("serial")

    @property
    def crl_number(self) -> str:
        """The number of the next CRL, in hex."""
        return self._at("crlnumber")

    @property
    def configuration(self) -> str:
        """The configuration for the openssl command."""
        return self._at("openssl.cnf")

    @property
    def lock_file(self) -> str:
        """What every change of this authority holds a lock on."""
        return self._at(".lock")

    def new_certificate(self, serial: str) -> str:
        """The certificate with this serial (hex), as issued."""
        return self._at("newcerts", f"{serial}.pem")

    @property
    def new_certificates(self) -> str:
        """The directory of all certificates as issued."""
        return self._at("newcerts")

    @property
    def clients(self) -> str:
        """The directory with one directory per client."""
        return self._at("clients")

    def client(self, name: str, *parts: str) -> str:
        """The directory of a client, or a file in it."""
        return self._at("clients", name, *parts)

    def make_directories(self) -> bool:
        """Make the directories that are missing, mend modes; return whether anything changed."""
        made = [make_directory(path, PRIVATE_DIR) for path in self.directories]
        return any(made)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the authority's lock. What a run that was killed left in the clients' directories is cleared first."""
        self.require_writable()
        with lock(self.lock_file) as died:
            if died and os.path.isdir(self.clients):
                for entry in os.scandir(self.clients):
                    if entry.is_dir(follow_symlinks=False):
                        remove_leftovers(entry.path)
            yield

    def require_writable(self) -> None:
        """Make sure that the authority can be changed.

        :raises Problem: if one of its directories cannot be written to.
        """
        for path in (self.root, *filter(os.path.isdir, self.directories)):
            require_writable(path)

    def remove_leftovers(self) -> None:
        """Remove temporary files of a killed run from the authority's own directories. Call it under the lock."""
        for path in filter(os.path.isdir, self.directories):
            remove_leftovers(path)


def check_path(path: str) -> Layout:
    """Return the layout of an authority at ``path``.

    :raises Problem: if the path is not absolute or cannot stand in openssl.cnf.
    """
    if not os.path.isabs(path) or re.search("[\x00-\x1f\x7f\ud800-\udfff]", path):
        raise Problem(
            f"path: {shown(path)} is not an absolute path in UTF-8 without control characters",
            "Give the directory's full path",
        )
    return Layout(os.path.normpath(path))


def require_authority(path: str) -> Layout:
    """Return the layout of the authority at ``path``.

    :raises Problem: if there is none.
    """
    layout = check_path(path)
    for needed in (layout.certificate, layout.index):
        if not os.path.exists(needed):
            raise Problem(
                f"{layout.root} is not an authority: {needed} is missing",
                "Create it with module ca, or correct the path",
            )
    return layout


def refuse_open_work_tree(path: str) -> None:
    """Refuse a directory inside a git work tree that does not ignore it: a CA key is one ``git add`` away from everybody.

    :raises Problem: if so, and also where git cannot be asked.
    """
    tree = _work_tree(path)
    if tree is None:
        return
    mend = f"Choose a path outside {tree}, or add it to .gitignore there"
    try:
        answer = subprocess.run(
            [
                "git",
                "-c",
                f"safe.directory={tree}",
                "-C",
                tree,
                "check-ignore",
                "-q",
                "--no-index",
                "--",
                f"{path}/private",
            ],
            capture_output=True,
            check=False,
        )
    except OSError:
        raise Problem(
            f"{path} lies in the git work tree {tree}, and git is not there to say whether it is ignored", mend
        ) from None
    if answer.returncode != 0:
        raise Problem(f"{path} lies in the git work tree {tree}, which does not ignore it", mend)


def _work_tree(path: str) -> str | None:
    directory = os.path.realpath(path)
    while True:
        if os.path.exists(os.path.join(directory, ".git")):
            return directory
        parent = os.path.dirname(directory)
        if parent == directory:
            return None
        directory = parent
