# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the directory of an authority: the layout of ``openssl ca``, and ``clients/`` beside it.

An adopted authority keeps the names of its files; see ``file_locations``.
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
# The paths that git must ignore: the key, the secret files of clients, and a file without a special name.
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
    """The paths of the files of the authority in directory ``root``."""

    root: str
    places: Places = _OURS
    adopted: bool = False
    """Whether the authority was made by hand and adopted by module ca."""

    def _at(self, *parts: str) -> str:
        return os.path.join(self.root, *parts)

    @property
    def foreign(self) -> bool:
        """Return whether the directory holds an authority that this collection neither made nor adopted."""
        there = os.path.exists(self.certificate) and os.path.exists(self.index)
        return there and not self.adopted and not self.made_here

    @property
    def made_here(self) -> bool:
        """Return whether this collection made the contents of the directory, complete or not."""
        return not self.adopted and (os.path.isdir(self.clients) or is_ours(self.configuration))

    @property
    def memory(self) -> str:
        """Return the path of the file with the locations of an adopted authority's files."""
        return self._at(places.FILE)

    @property
    def directories(self) -> list[str]:
        """Return all directories, the authority's own first. All have mode 0700."""
        files = (self.key, self.certificate, self.new_certificate("0"), self.crl, self._at("clients", "0"))
        return list(dict.fromkeys([self.root, *map(os.path.dirname, files)]))

    @property
    def key(self) -> str:
        """Return the path of the private key (0600)."""
        return self._at(self.places.key)

    @property
    def certificate(self) -> str:
        """Return the path of the CA certificate, which is written last: its existence means that the authority is complete."""
        return self._at(self.places.certificate)

    @property
    def chain(self) -> str:
        """Return the path of the chain, root CA last. A self-signed authority has no such file."""
        return os.path.join(os.path.dirname(self.certificate), "chain.pem")

    def former_certificate(self, serial: str) -> str:
        """Return the path of a former certificate that was renewed with the same key, by its serial (hex)."""
        return os.path.join(os.path.dirname(self.certificate), f"ca-{serial}.cert.pem")

    @property
    def crl(self) -> str:
        """Return the path of the current CRL (PEM)."""
        return self._at("crl", "ca.crl.pem")

    @property
    def issuer_crls(self) -> str:
        """Return the path of the copies of the issuers' CRLs (PEM). A self-signed authority has no such file."""
        return os.path.join(os.path.dirname(self.crl), "issuers.crl.pem")

    @property
    def chain_crls(self) -> str:
        """Return the path of the CRLs of the chain (PEM), its own first. A self-signed authority has no such file."""
        return os.path.join(os.path.dirname(self.crl), "chain.crl.pem")

    @property
    def crl_der(self) -> str:
        """Return the path of the current CRL (DER)."""
        return f"{os.path.splitext(self.crl)[0]}.der"

    @property
    def index(self) -> str:
        """Return the path of openssl's database."""
        return self._at("index.txt")

    @property
    def index_attributes(self) -> str:
        """Return the path of the database's attributes: ``unique_subject = no``."""
        return self._at("index.txt.attr")

    @property
    def serial(self) -> str:
        """Return the path of openssl's next serial, which is used without rand_serial."""
        return self._at("serial")

    @property
    def crl_number(self) -> str:
        """Return the path of the number of the next CRL (hex)."""
        return self._at("crlnumber")

    @property
    def configuration(self) -> str:
        """Return the path of the configuration for the openssl command."""
        return self._at(self.places.configuration)

    @property
    def announcement(self) -> str:
        """Return the path of the serial of a CA certificate that is being signed. It exists only briefly, or after a kill."""
        return self._at(".signing")

    @property
    def lock_file(self) -> str:
        """Return the path of the lock file, which every change of this authority locks."""
        return self._at(".lock")

    def new_certificate(self, serial: str) -> str:
        """Return the path of the issued certificate with this serial (hex)."""
        return os.path.join(self.new_certificates, f"{serial}.pem")

    @property
    def new_certificates(self) -> str:
        """Return the directory of all issued certificates."""
        return os.path.normpath(self._at(self.places.new_certificates))

    @property
    def clients(self) -> str:
        """Return the directory with one directory per client."""
        return self._at("clients")

    def client(self, name: str, *parts: str) -> str:
        """Return the directory of a client, or a file in it."""
        return self._at("clients", name, *parts)

    def make_directories(self) -> bool:
        """Create missing directories and correct modes; return whether anything changed."""
        made = [make_directory(path, PRIVATE_DIR) for path in self.directories]
        return any(made)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the authority's lock, after removing the leftovers of a killed run."""
        self.require_writable()
        with lock(self.lock_file) as died:
            if died and os.path.isdir(self.clients):
                for entry in os.scandir(self.clients):
                    if entry.is_dir(follow_symlinks=False):
                        remove_leftovers(entry.path)
            yield

    def require_writable(self) -> None:
        """Check that the authority can be changed.

        :raises MtlsError: if one of its directories is not writable.
        """
        for path in (self.root, *filter(os.path.isdir, self.directories)):
            require_writable(path)

    def withdraw_announcement(self) -> None:
        """Remove the announcement, because the certificate is in the database. Call it under the lock."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.announcement)

    def remove_leftovers(self) -> None:
        """Remove temporary files of a killed run from the authority's own directories. Call it under the lock."""
        for path in filter(os.path.isdir, self.directories):
            remove_leftovers(path)


def check_path(path: str | None, option: str = "path") -> Layout:
    """Return the layout of an authority at ``path``.

    :param path: None, from a variable that is null in YAML, is refused like every value that is not a path.
    :param option: names the option in errors.
    :raises MtlsError: if the path is not absolute or not valid in openssl.cnf.
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
    # The files of an authority that was made by hand are detected before the adoption too, for check mode.
    return layout if layout.made_here else Layout(root, places.detect(root))


def require_authority(path: str) -> Layout:
    """Return the layout of the authority at ``path`` for changes.

    :raises MtlsError: if there is none, or if this collection neither made nor adopted it.
    """
    layout = readable_authority(path)
    if layout.foreign:
        raise MtlsError(
            f"The authority in {layout.root} was not made by this collection",
            "Adopt it first: module ca with adopt: true; check mode lists what that changes",
        )
    return layout


def is_away(path: str) -> bool:
    """Return whether the directory ``path`` is missing, or empty as the mount point of a removable medium."""
    root = check_path(path).root
    return not os.path.lexists(root) or (os.path.isdir(root) and not os.listdir(root))


def readable_authority(path: str) -> Layout:
    """Return the layout of the authority at ``path`` for reading.

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
    """Refuse a directory in a git work tree that does not ignore it, because ``git add`` could publish the CA key.

    :raises MtlsError: if git does not ignore it, or if git is not available.
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
            f"{path} is in the git work tree {tree}, and without git it is not known whether it is ignored", hint
        ) from None
    # The exit code only shows whether one of the paths is ignored.
    if set(wanted) - set(answer.stdout.split(b"\0")):
        raise MtlsError(f"{path} is in the git work tree {tree}, which does not ignore it", hint)


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
    """Return whether this collection wrote the configuration ``path``."""
    if not os.path.isfile(path):
        return False
    with opened(path, encoding="utf-8", errors="replace") as file:
        return file.readline().startswith(_MARK)
