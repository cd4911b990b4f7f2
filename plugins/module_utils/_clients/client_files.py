# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan and build the files of one client: key, certificate, chain, bundles, links to the current ones."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .._ca import chain, client_records
from .._ca.client_records import Bundle
from .._common.errors import MtlsError
from .._common.files import PRIVATE_FILE, PUBLIC_FILE, NewFile, NewLink, read_file
from .._x509 import pkcs12
from .._x509.keys import load_private

try:
    from cryptography.hazmat.primitives.serialization import Encoding
except ImportError:  # the modules report it (_common.requirements) before anything here is called
    pass

if TYPE_CHECKING:
    from .._ca.authority import Authority
    from .._ca.client_records import Issue, Record
    from .._x509.keys import PrivateKey
    from .roster import Client

KEY, CERTIFICATE, CHAIN = "key", "crt", "chain.pem"


@dataclass(frozen=True)
class ClientFiles:
    """The paths of the files of one certificate of a client."""

    directory: str
    name: str
    issue: Issue

    def file(self, ending: str) -> str:
        """Return the path of a file of this certificate."""
        return f"{self.directory}/{self.issue.stem}.{ending}"

    def link(self, ending: str) -> str:
        """Return the path of the link to the file of the current certificate."""
        return f"{self.directory}/{self.name}.{ending}"

    @property
    def has_key(self) -> bool:
        """Return whether the private key is here. Operators may remove it and the bundles after the hand-over."""
        return os.path.exists(self.file(KEY))

    @property
    def passphrase_file(self) -> str:
        """Return the path of the file with a generated bundle passphrase (0600)."""
        return self.link("passphrase")


@dataclass(frozen=True)
class Work:
    """The files that have to be written or removed so that a client's files are complete."""

    certificate: bool
    """Whether the certificate and the chain have to be written."""
    profiles: tuple[str, ...]
    """The profiles of the bundles to write."""
    links: tuple[str, ...]
    """The endings of links that do not point at the current files."""
    outdated: tuple[str, ...]
    """Paths to remove: links to files that the client no longer gets, and an unused generated passphrase."""

    def __bool__(self) -> bool:
        return bool(self.certificate or self.profiles or self.links or self.outdated)

    def names(self, files: ClientFiles) -> list[str]:
        """Return the names of these files."""
        paths = [files.file(ending) for ending in (CERTIFICATE, CHAIN) if self.certificate]
        paths += [files.file(pkcs12.SUFFIXES[profile]) for profile in self.profiles]
        paths += [files.link(ending) for ending in self.links]
        return [os.path.basename(path) for path in [*paths, *self.outdated]]


def work(files: ClientFiles, client: Client, record: Record, chain_digest: str) -> Work:
    """Return the files that are missing or out of date.

    :param chain_digest: the digest of the authority's chain, which is in the chain file and in bundles.
    :raises MtlsError: if a bundle has to be written and the private key is no longer here.
    """
    profiles = tuple(
        profile for profile in client.bundle_profiles if _is_stale(files, client, record, profile, chain_digest)
    )
    if profiles and not files.has_key:
        path = files.file(pkcs12.SUFFIXES[profiles[0]])
        raise MtlsError(
            f"client {client.name}: {path} has to be written, but the private key {files.file(KEY)} is not here",
            "Put the key back, or revoke the certificate to have a new one issued",
        )
    bundles = [pkcs12.SUFFIXES[profile] for profile in client.bundle_profiles]
    present = [CERTIFICATE, CHAIN, *([KEY, *bundles] if files.has_key else [])]
    others = [files.link(ending) for ending in pkcs12.SUFFIXES.values() if ending not in bundles]
    # Only links are removed: this collection did not write a plain file of that name.
    unwanted = [path for path in others if os.path.islink(path)]
    if client.public_key is not None and os.path.islink(files.link(KEY)):
        unwanted.append(files.link(KEY))
    if client.bundle_passphrase is not None and files.has_key:
        unwanted.append(files.passphrase_file)
    there = os.path.exists(files.file(CERTIFICATE)) and os.path.exists(files.file(CHAIN))
    return Work(
        certificate=not there or record.chain != chain_digest,
        profiles=profiles,
        links=tuple(ending for ending in present if _target(files.link(ending)) != f"{files.issue.stem}.{ending}"),
        outdated=tuple(path for path in unwanted if os.path.lexists(path)),
    )


@dataclass(frozen=True)
class Completion:
    """The changes that bring a client's files up to date, in their order: entries, removals, the record."""

    entries: tuple[NewFile | NewLink, ...]
    outdated: tuple[str, ...]
    record: Record
    record_file: NewFile


def completion(authority: Authority, files: ClientFiles, client: Client, record: Record) -> Completion:
    """Return the files to write, and the record with the new roles and bundles. Write nothing."""
    due = work(files, client, record, authority.chain_digest)
    entries = _certificate(authority, files) if due.certificate else []
    bundles, written = _bundles(authority, files, client, due.profiles) if due.profiles else ([], {})
    links = [NewLink(files.link(ending), f"{files.issue.stem}.{ending}") for ending in due.links]
    kept = {profile: record.bundles[profile] for profile in client.bundle_profiles if profile in record.bundles}
    chain_digest = authority.chain_digest if due.certificate else record.chain
    after = replace(record, bundles={**kept, **written}, issuing=False, roles=client.roles, chain=chain_digest)
    return Completion((*entries, *bundles, *links), due.outdated, after, client_records.as_file(files.directory, after))


def open_key(authority: Authority, files: ClientFiles) -> PrivateKey:
    """Return the client's private key.

    :raises MtlsError: if it is damaged, or is not the key of the certificate.
    """
    key = load_private(files.file(KEY), None)
    if key.public_key() != authority.issued(files.issue.serial).public_key():
        raise MtlsError(
            f"client {files.name}: {files.file(KEY)} is not the key of the certificate with serial {files.issue.serial}",
            "Put the right key back, or revoke the certificate to have a new one issued",
        )
    return key


def _target(link: str) -> str | None:
    try:
        return os.readlink(link)
    except OSError:
        return None


def _is_stale(files: ClientFiles, client: Client, record: Record, profile: str, chain_digest: str) -> bool:
    last = record.bundles.get(profile)
    if last is None or last.serial != files.issue.serial:
        return True
    data, key = _read(files.file(pkcs12.SUFFIXES[profile])), _read(files.file(KEY))
    if key is None:
        return data is not None and pkcs12.digest(data) != last.digest
    passphrase = _passphrase(files, client)
    if data is None or passphrase is None or (pkcs12.digest(data), chain_digest) != (last.digest, last.chain):
        return True
    return pkcs12.passphrase_tag(key, passphrase) != last.passphrase_tag


def _passphrase(files: ClientFiles, client: Client) -> str | None:
    if client.bundle_passphrase is not None:
        return client.bundle_passphrase
    generated = _read(files.passphrase_file)
    return generated.decode("utf-8", "replace").rstrip("\n") if generated else None


def _read(path: str) -> bytes | None:
    try:
        return read_file(path)
    except FileNotFoundError:
        return None


def _certificate(authority: Authority, files: ClientFiles) -> list[NewFile | NewLink]:
    pem = authority.issued(files.issue.serial).public_bytes(Encoding.PEM)
    return [
        NewFile(files.file(CERTIFICATE), pem, PUBLIC_FILE),
        NewFile(files.file(CHAIN), pem + chain.pem(authority.chain).encode(), PUBLIC_FILE),
    ]


def _bundles(
    authority: Authority, files: ClientFiles, client: Client, profiles: tuple[str, ...]
) -> tuple[list[NewFile | NewLink], dict[str, Bundle]]:
    entries: list[NewFile | NewLink] = []
    passphrase = _passphrase(files, client)
    if passphrase is None:
        passphrase = pkcs12.generate_passphrase()
        entries.append(NewFile(files.passphrase_file, f"{passphrase}\n".encode(), PRIVATE_FILE))
    key_pem = _read(files.file(KEY)) or b""
    key, certificate = open_key(authority, files), authority.issued(files.issue.serial)
    written = {}
    for profile in profiles:
        data = pkcs12.build(profile, client.common_name, key, certificate, list(authority.chain), passphrase)
        entries.append(NewFile(files.file(pkcs12.SUFFIXES[profile]), data, PRIVATE_FILE))
        tag = pkcs12.passphrase_tag(key_pem, passphrase)
        written[profile] = Bundle(files.issue.serial, pkcs12.digest(data), tag, authority.chain_digest)
    return entries, written
