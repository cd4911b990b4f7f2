# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of one client: key, certificate, chain, bundles, and stable links to the current ones."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .._ansible.errors import Problem
from .._ansible.files import PRIVATE_FILE, PUBLIC_FILE, link_atomic, write_atomic
from . import bundle
from .keys import load_private
from .records import Bundle

try:
    from cryptography.hazmat.primitives.serialization import Encoding
except ImportError:  # the modules report it (_ansible.dependencies) before anything here is called
    pass

if TYPE_CHECKING:
    from .authority import Authority
    from .records import Issue, Record
    from .roster import Client

KEY, CERTIFICATE, CHAIN = "key", "crt", "chain.pem"
_ALWAYS = (KEY, CERTIFICATE, CHAIN)


@dataclass(frozen=True)
class ClientFiles:
    """Where the files of one client's certificate are."""

    directory: str
    name: str
    issue: Issue

    def file(self, ending: str) -> str:
        """The file of this very certificate."""
        return os.path.join(self.directory, f"{self.issue.stem}.{ending}")

    def link(self, ending: str) -> str:
        """The stable name of the current certificate's file."""
        return os.path.join(self.directory, f"{self.name}.{ending}")

    @property
    def passphrase_file(self) -> str:
        """Where a generated bundle passphrase lies (0600)."""
        return self.link("passphrase")


def missing(files: ClientFiles, client: Client, record: Record) -> list[str]:
    """Return the names of the client's files that are missing or out of date, the links included.

    :raises Problem: if a bundle has to be written and the private key is no longer here.
    """
    endings = _endings(files, client)
    stale = [files.file(ending) for ending in endings if not os.path.exists(files.file(ending))]
    bundles = [
        files.file(bundle.SUFFIXES[profile])
        for profile in client.bundle_profiles
        if _is_stale(files, client, record, profile)
    ]
    if bundles and not os.path.exists(files.file(KEY)):
        raise Problem(
            f"client {client.name}: {bundles[0]} has to be written, but the private key {files.file(KEY)} is not here",
            "Put the key back, or revoke the certificate to have a new one issued",
        )
    links = [files.link(ending) for ending in endings if _target(files.link(ending)) != f"{files.issue.stem}.{ending}"]
    return [os.path.basename(path) for path in dict.fromkeys([*stale, *bundles, *links])]


def complete(authority: Authority, files: ClientFiles, client: Client, record: Record) -> Record:
    """Make what ``missing`` names and return the record with the bundles as they are now."""
    _write_certificate(authority, files)
    stale = [profile for profile in client.bundle_profiles if _is_stale(files, client, record, profile)]
    written = _write_bundles(authority, files, client, stale) if stale else {}
    for ending in _endings(files, client):
        if _target(files.link(ending)) != f"{files.issue.stem}.{ending}":
            link_atomic(f"{files.issue.stem}.{ending}", files.link(ending))
    if client.bundle_passphrase is not None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(files.passphrase_file)
    kept = {profile: record.bundles[profile] for profile in client.bundle_profiles if profile in record.bundles}
    return replace(record, bundles={**kept, **written})


def _endings(files: ClientFiles, client: Client) -> list[str]:
    # A key that its owner took away after the bundle was handed over is not missing.
    always = [ending for ending in _ALWAYS if ending != KEY or os.path.exists(files.file(KEY))]
    return always + [bundle.SUFFIXES[profile] for profile in client.bundle_profiles]


def _target(link: str) -> str | None:
    try:
        return os.readlink(link)
    except OSError:
        return None


def _is_stale(files: ClientFiles, client: Client, record: Record, profile: str) -> bool:
    last = record.bundles.get(profile)
    data = _read(files.file(bundle.SUFFIXES[profile]))
    if last is None or last.serial != files.issue.serial or data is None or bundle.digest(data) != last.digest:
        return True
    passphrase = _passphrase(files, client)
    key = _read(files.file(KEY))
    return passphrase is None or (key is not None and bundle.passphrase_tag(key, passphrase) != last.passphrase_tag)


def _passphrase(files: ClientFiles, client: Client) -> str | None:
    if client.bundle_passphrase is not None:
        return client.bundle_passphrase
    generated = _read(files.passphrase_file)
    return generated.decode().rstrip("\n") if generated else None


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _write_certificate(authority: Authority, files: ClientFiles) -> None:
    if os.path.exists(files.file(CERTIFICATE)) and os.path.exists(files.file(CHAIN)):
        return
    pem = authority.issued(files.issue.serial).public_bytes(Encoding.PEM)
    write_atomic(files.file(CERTIFICATE), pem, PUBLIC_FILE)
    write_atomic(files.file(CHAIN), pem + authority.certificate.public_bytes(Encoding.PEM), PUBLIC_FILE)


def _write_bundles(authority: Authority, files: ClientFiles, client: Client, profiles: list[str]) -> dict[str, Bundle]:
    passphrase = _passphrase(files, client)
    if passphrase is None:
        passphrase = bundle.generate_passphrase()
        write_atomic(files.passphrase_file, f"{passphrase}\n".encode(), PRIVATE_FILE)
    key_pem = _read(files.file(KEY)) or b""
    key = load_private(files.file(KEY), None)
    certificate = authority.issued(files.issue.serial)
    written = {}
    for profile in profiles:
        data = bundle.build(profile, client.common_name, key, certificate, [authority.certificate], passphrase)
        write_atomic(files.file(bundle.SUFFIXES[profile]), data, PRIVATE_FILE)
        written[profile] = Bundle(files.issue.serial, bundle.digest(data), bundle.passphrase_tag(key_pem, passphrase))
    return written
