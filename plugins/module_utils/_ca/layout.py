# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory of an authority: that of ``openssl ca``, and ``clients/`` beside it.

An authority that was adopted keeps the names that its files had; see ``places``.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._common.errors import MtlsError, shown
from .._common.files import PRIVATE_DIR, lock, make_directory, opened, remove_leftovers, require_writable
from . import file_locations as places
from .file_locations import Places

if TYPE_CHECKING:
    from collections.abc import Iterator

_OURS = Places()
# What git has to ignore so that it can be said to ignore the authority: not the key alone, but whatever
# is secret of clients, and a file of no particular name.
_SECRET = (
    "index.txt",
    "private/ca.key.pem",
    "clients/x/x.key",
    "clients/x/x.modern.p12",
    "clients/x/x.compat.p12",
    "clients/x/x.passphrase",
)


@dataclass(frozen=True)
class Layout:
    """Where the files of the authority in directory ``root`` lie."""

    root: str
    places: Places = _OURS
    adopted: bool = False
    """Whether it was made by somebody else and taken over by module ca."""

    def _at(self, *parts: str) -> str:
        return os.path.join(self.root, *parts)

    @property
    def foreign(self) -> bool:
        """Whether somebody else made an authority here that was not adopted yet."""
        there = os.path.exists(self.certificate) and os.path.exists(self.index)
        return there and not self.adopted and not self.made_here

    @property
    def made_here(self) -> bool:
        """Whether what is here, be it complete or not, was made by this collection."""
        return not self.adopted and (os.path.isdir(self.clients) or is_ours(self.configuration))

    @property
    def memory(self) -> str:
        """Where the names of an adopted authority's files are remembered."""
        return self._at(places.FILE)

    @property
    def directories(self) -> list[str]:
        """All directories, the authority's own first. All are 0700: only their owner may look inside."""
        files = (self.key, self.certificate, self.new_certificate("0"), self.crl, self._at("clients", "0"))
        return list(dict.fromkeys([self.root, *map(os.path.dirname, files)]))

    @property
    def key(self) -> str:
        """The private key (0600)."""
        return self._at(self.places.key)

    @property
    def certificate(self) -> str:
        """The CA certificate. It is written last: where it is, the authority is complete."""
        return self._at(self.places.certificate)

    @property
    def chain(self) -> str:
        """The certificate and those of all CAs above it, the root last. A self-signed authority has no such file."""
        return os.path.join(os.path.dirname(self.certificate), "chain.pem")

    def former_certificate(self, serial: str) -> str:
        """A certificate of this authority that was renewed with the same key, by its serial (hex)."""
        return os.path.join(os.path.dirname(self.certificate), f"ca-{serial}.cert.pem")

    @property
    def crl(self) -> str:
        """The current CRL."""
        return self._at("crl", "ca.crl.pem")

    @property
    def issuer_crls(self) -> str:
        """Copies of the CRLs of the CAs above, PEM. A self-signed authority has no such file."""
        return os.path.join(os.path.dirname(self.crl), "issuers.crl.pem")

    @property
    def chain_crls(self) -> str:
        """The CRL of every CA of the chain, PEM, its own first. A self-signed authority has no such file."""
        return os.path.join(os.path.dirname(self.crl), "chain.crl.pem")

    @property
    def crl_der(self) -> str:
        """The current CRL once more, as DER."""
        return f"{os.path.splitext(self.crl)[0]}.der"

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
        return self._at(self.places.configuration)

    @property
    def announcement(self) -> str:
        """The serial of a CA certificate that is being signed. It is there for a moment only, or after a kill."""
        return self._at(".signing")

    @property
    def lock_file(self) -> str:
        """What every change of this authority holds a lock on."""
        return self._at(".lock")

    def new_certificate(self, serial: str) -> str:
        """The certificate with this serial (hex), as issued."""
        return os.path.join(self.new_certificates, f"{serial}.pem")

    @property
    def new_certificates(self) -> str:
        """The directory of all certificates as issued."""
        return os.path.normpath(self._at(self.places.new_certificates))

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

        :raises MtlsError: if one of its directories cannot be written to.
        """
        for path in (self.root, *filter(os.path.isdir, self.directories)):
            require_writable(path)

    def withdraw_announcement(self) -> None:
        """Say that what was announced is in the database. Call it under the lock."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.announcement)

    def remove_leftovers(self) -> None:
        """Remove temporary files of a killed run from the authority's own directories. Call it under the lock."""
        for path in filter(os.path.isdir, self.directories):
            remove_leftovers(path)


def check_path(path: str | None, option: str = "path") -> Layout:
    """Return the layout of an authority at ``path``.

    :param path: None, where a variable in YAML is null, is refused like any other value that is no path.
    :param option: the name of the option, for the error.
    :raises MtlsError: if the path is not absolute or cannot stand in openssl.cnf.
    """
    if path is None or not os.path.isabs(path) or re.search("[\x00-\x1f\x7f\ud800-\udfff]", path):
        raise MtlsError(
            f"{option}: {shown(path)} is not an absolute path in UTF-8 without control characters",
            "Give the directory's full path",
        )
    root = os.path.normpath(path)
    remembered = places.remembered(root)
    if remembered:
        return Layout(root, remembered, adopted=True)
    layout = Layout(root)
    # Of what somebody else made, the files have to be found before the adoption too: check mode looks at them.
    return layout if layout.made_here else Layout(root, places.detect(root))


def require_authority(path: str) -> Layout:
    """Return the layout of the authority at ``path``, which is going to be changed.

    :raises MtlsError: if there is none, or one that was made by somebody else and not adopted.
    """
    layout = readable_authority(path)
    if layout.foreign:
        raise MtlsError(
            f"The authority in {layout.root} was not made by this collection",
            "Adopt it first: module ca with adopt: true; check mode lists what that changes",
        )
    return layout


def is_away(path: str) -> bool:
    """Tell whether there is nothing at ``path``: no directory, or an empty one, on which a medium is mounted at other times."""
    root = check_path(path).root
    return not os.path.lexists(root) or (os.path.isdir(root) and not os.listdir(root))


def readable_authority(path: str) -> Layout:
    """Return the layout of the authority at ``path``, which is only going to be read.

    :raises MtlsError: if there is none.
    """
    layout = check_path(path)
    for needed in (layout.certificate, layout.index):
        if not os.path.exists(needed):
            raise MtlsError(
                f"{layout.root} is not an authority: {needed} is missing",
                "Create it with module ca, or correct the path",
            )
    return layout


def refuse_open_work_tree(path: str) -> None:
    """Refuse a directory inside a git work tree that does not ignore it: a CA key is one ``git add`` away from everybody.

    :raises MtlsError: if so, and also where git cannot be asked.
    """
    tree = _work_tree(path)
    if tree is None:
        return
    wanted = [os.fsencode(os.path.join(os.path.realpath(path), name)) for name in _SECRET]
    hint = f"Choose a path outside {tree}, or add it to .gitignore there"
    try:
        answer = subprocess.run(
            ["git", "-c", f"safe.directory={tree}", "-C", tree, "check-ignore", "-z", "--stdin", "--no-index"],
            input=b"".join(b"%s\0" % one for one in wanted),
            capture_output=True,
            check=False,
        )
    except OSError:
        raise MtlsError(
            f"{path} lies in the git work tree {tree}, and git is not there to say whether it is ignored", hint
        ) from None
    # Its exit code says only whether one of them is ignored.
    if set(wanted) - set(answer.stdout.split(b"\0")):
        raise MtlsError(f"{path} lies in the git work tree {tree}, which does not ignore it", hint)


def _work_tree(path: str) -> str | None:
    directory = os.path.realpath(path)
    while True:
        if os.path.exists(os.path.join(directory, ".git")):
            return directory
        parent = os.path.dirname(directory)
        if parent == directory:
            return None
        directory = parent


_MARK = "# Written by quietdoor.mtls"


def is_ours(path: str) -> bool:
    """Tell whether the configuration ``path`` was written by this collection."""
    if not os.path.isfile(path):
        return False
    with opened(path, encoding="utf-8", errors="replace") as file:
        return file.readline().startswith(_MARK)
