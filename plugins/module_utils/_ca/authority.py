# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Open an authority, read and write its database, and complete the work of a killed run."""

from __future__ import annotations

import functools
import hashlib
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._common.errors import MtlsError
from .._common.files import PRIVATE_FILE, PUBLIC_FILE, read_file, rewrite_atomic, write_atomic
from .._common.pem import CERTIFICATE, pem_labels
from .._common.timestamps import iso
from .._x509.certificate_profiles import (
    Signer,
    random_serial,
)
from .._x509.keys import load_private, spec_of
from .._x509.names import oneline
from . import chain, client_records, index_database, openssl_conf
from .layout import Layout, readable_authority

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
except ImportError:  # the modules report it (_common.requirements) before anything here is called
    pass

if TYPE_CHECKING:
    from datetime import datetime

    from .._x509.keys import KeySpec, PrivateKey
    from .chain import Chain
    from .index_database import Row

ATTRIBUTES = "unique_subject = no\n"
# An adopted authority may have other certificates in this directory, its own among them.
_BY_SERIAL = re.compile(r"(?:[0-9A-Fa-f]{2})+\.pem")
# The limit of a database in bytes: three million rows.
_LARGEST = 1 << 29


@dataclass(frozen=True)
class Outcome:
    """The changes by ``establish``; in check mode, the predicted changes."""

    changes: list[str]
    certificate: x509.Certificate | None
    before: dict[str, str]
    after: dict[str, str]
    renewed: bool = False


class Authority:
    """An existing authority, in the state on disk when it is opened."""

    def __init__(self, layout: Layout, rows: list[Row] | None = None) -> None:
        self.layout = layout
        self.certificate = load_certificate(layout.certificate)
        self.rows = index_database.parse(_read_text(layout.index), layout.index) if rows is None else rows

    @property
    def chain(self) -> Chain:
        """Return the authority's certificate and those of its issuers, the root CA last.

        :raises MtlsError: if its copy of the issuers' certificates is not sound.
        """
        return chain.load_chain(self.layout, self.certificate)

    @functools.cached_property
    def chain_digest(self) -> str:
        """Return the SHA-256 of the chain in hex, for fast comparisons with the files of many clients."""
        return hashlib.sha256(chain.pem(self.chain).encode()).hexdigest()

    def key(self, passphrase: bytes | None) -> PrivateKey:
        """Return the private key.

        :raises MtlsError: if it does not open or does not belong to the certificate.
        """
        key = load_private(self.layout.key, passphrase)
        if key.public_key() != self.certificate.public_key():
            raise MtlsError(
                f"{self.layout.key} is not the key of {self.layout.certificate}",
                "Restore both files from the same backup",
            )
        return key

    def signer(self, passphrase: bytes | None, now: datetime) -> Signer:
        """Return the certificate with the opened key.

        :raises MtlsError: if the key does not open or does not belong to the certificate, or the certificate is not valid now.
        """
        key = self.key(passphrase)
        if not self.certificate.not_valid_before_utc <= now < self.certificate.not_valid_after_utc:
            raise MtlsError(
                f"{self.layout.certificate} is valid from {iso(self.certificate.not_valid_before_utc)} to "
                f"{iso(self.certificate.not_valid_after_utc)}, and it is {iso(now)} now",
                "Set the clock, or create a new authority",
            )
        return Signer(self.certificate, key)

    def issued(self, serial: str) -> x509.Certificate:
        """Return the issued certificate with this serial (hex)."""
        return load_certificate(self.layout.new_certificate(serial))

    def with_orphans(self) -> list[Row]:
        """Return the rows of the database, and rows for certificates that a killed run signed but did not record.

        Every certificate needs a row, because only certificates in the database can be revoked.

        :raises MtlsError: if a certificate has no row and was not announced: then rows and their revocations were lost.
        """
        orphans = self.orphans()
        announced = self._announced() if orphans else frozenset()
        lost = [row.serial for row in orphans if row.serial not in announced]
        if lost:
            raise MtlsError(
                f"{self.layout.index} lost rows: {self.layout.new_certificate(lost[0])} was issued and is not in it "
                f"({len(lost)} such in all), so it is not known whether it was revoked",
                f"Restore the newest {self.layout.index} from the backup, or revoke these certificates with module revocation; "
                "add a row for a certificate that is good with openssl ca -valid",
            )
        return self.rows + orphans

    def orphans(self) -> list[Row]:
        """Return rows of valid certificates for the certificates of this authority that its database lacks."""
        known = {row.serial for row in self.rows}
        directory = self.layout.new_certificates
        names = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
        unknown = [name[:-4] for name in names if _BY_SERIAL.fullmatch(name) and name[:-4].upper() not in known]
        if not unknown:
            return []
        records = client_records.load_all(self.layout.clients).values()
        owners = {issue.serial: (record.name, issue.stem) for record in records for issue in record.issues}
        found = [self._orphan(self._signed(name), owners) for name in unknown]
        return [row for row in found if row and row.serial not in known]

    def _announced(self) -> frozenset[str]:
        """Return the serials that a run announced before it signed them, and that it has not recorded yet."""
        records = client_records.load_all(self.layout.clients).values()
        clients = {record.latest.serial for record in records if record.issuing and record.latest}
        return frozenset(clients | set(_read_or_empty(self.layout.announcement).split()))

    def _signed(self, name: str) -> x509.Certificate | None:
        path = self.layout.new_certificate(name)
        if self.layout.adopted and _is_something_else(path):
            return None
        try:
            certificate = load_certificate(path)
        except MtlsError as problem:
            raise MtlsError(problem.what, f"Remove {path} if it is from an interrupted run of openssl") from None
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (ValueError, TypeError, InvalidSignature):
            return None
        # The authority's own key: this is its certificate, or a former one.
        return None if certificate.public_key() == self.certificate.public_key() else certificate

    def _orphan(self, certificate: x509.Certificate | None, owners: dict[str, tuple[str, str]]) -> Row | None:
        if certificate is None:
            return None
        number, end = certificate.serial_number, certificate.not_valid_after_utc
        owner, stem = owners.get(index_database.serial_hex(number), (None, ""))
        return index_database.valid_row(number, end, oneline(certificate.subject), owner, stem)

    def save(self, rows: list[Row]) -> None:
        """Write the database, under the lock."""
        rewrite_atomic(self.layout.index, index_database.render(rows).encode("utf-8", "surrogateescape"), PUBLIC_FILE)
        self.rows = rows


def open_authority(path: str) -> Authority:
    """Return the authority in directory ``path``, for reading.

    :raises MtlsError: if there is none, or it is damaged.
    """
    return Authority(readable_authority(path))


def open_for_change(path: str) -> Authority:
    """Return the authority in directory ``path`` for changes, after completing a killed run. Call it under the lock."""
    authority = open_authority(path)
    authority.layout.remove_leftovers()
    rows = authority.with_orphans()
    if rows != authority.rows:
        authority.save(rows)
    authority.layout.withdraw_announcement()
    return authority


def new_serial() -> str:
    return f"{index_database.serial_hex(random_serial())}\n"


def configuration(layout: Layout, key: KeySpec, certificate: x509.Certificate | None = None) -> str:
    """Return the configuration for the openssl command, for an authority with such a key and, if it exists, certificate."""
    names_key = certificate is None or any(part.oid == x509.SubjectKeyIdentifier.oid for part in certificate.extensions)
    digest = "sha384" if key.curve == "P-384" else "sha256"
    return openssl_conf.render(layout, digest, has_key_identifier=names_key)


def refuse_other_contents(layout: Layout) -> None:
    """Refuse to create an authority in a directory with other contents.

    :raises MtlsError: if the directory has anything but leftovers of a killed run of ``establish``.
    """
    if not os.path.lexists(layout.root):
        return
    if not os.path.isdir(layout.root):
        raise MtlsError(f"{layout.root} is not a directory", "Give the path of a directory for the authority")
    expected = {
        os.path.basename(path)
        for path in [*layout.directories[1:], layout.index, layout.index_attributes, layout.serial]
    }
    expected |= {os.path.basename(path) for path in (layout.crl_number, layout.configuration, layout.lock_file)}
    others = sorted(
        name for name in os.listdir(layout.root) if name not in expected and not name.startswith(".quietdoor-tmp-")
    )
    if others or (os.path.exists(layout.index) and os.path.getsize(layout.index) > 0):
        what = f"it has {others[0]}" if others else "it has a database but no CA certificate"
        raise MtlsError(
            f"{layout.root} is neither empty nor an authority of this collection: {what}",
            "Choose an empty directory, or restore the missing file; set adopt to true for an authority that was made by hand",
        )


def repair_files(authority: Authority, issuers: Chain, *, check_mode: bool) -> Outcome:
    layout = authority.layout
    key = spec_of(authority.certificate.public_key())
    wanted = {layout.index_attributes: _attributes(layout)}
    if key is not None:
        wanted[layout.configuration] = configuration(layout, key, authority.certificate)
    if not layout.adopted and not os.path.exists(layout.serial):
        # Any unused serial will do, but the CRL number must be higher than the last one, which is not known here.
        wanted[layout.serial] = new_serial()
    if issuers:
        wanted[layout.chain] = chain.pem((authority.certificate, *issuers))
    stale = {path: text for path, text in wanted.items() if _read_or_empty(path) != text}
    # The directories of an adopted authority keep their modes.
    closed = [layout.key] if layout.adopted else [*layout.directories, layout.key]
    modes = [path for path in closed if not _has_private_mode(path)]
    changes = [f"{path} brought up to date" for path in stale] + [f"permissions of {path} closed" for path in modes]
    before = {path: _read_or_empty(path) for path in stale}
    if not check_mode:
        _write_repaired(layout, stale, modes)
    return Outcome(changes, authority.certificate, before, stale)


def _attributes(layout: Layout) -> str:
    text = _read_or_empty(layout.index_attributes)
    return text if layout.adopted and index_database.allows_repeated_subjects(text) else ATTRIBUTES


def put_in_order(authority: Authority, *, check_mode: bool) -> Outcome:
    """Repair the files beside key, certificate and database, as ``establish`` does. Call it under the lock."""
    return repair_files(authority, authority.chain[1:], check_mode=check_mode)


def _write_repaired(layout: Layout, stale: dict[str, str], modes: list[str]) -> None:
    for path, text in stale.items():
        write_atomic(path, text.encode(), PUBLIC_FILE)
    if not layout.adopted:
        layout.make_directories()
    if layout.key in modes:
        os.chmod(layout.key, PRIVATE_FILE)


def _is_something_else(path: str) -> bool:
    """Return whether a PEM file has no certificate, but for example a key, which operators may keep beside certificates."""
    labels = pem_labels(_read_text(path))
    return bool(labels) and not any(label.endswith(CERTIFICATE) for label in labels)


def _has_private_mode(path: str) -> bool:
    try:
        return os.stat(path).st_mode & 0o077 == 0
    except FileNotFoundError:
        return False


def _read_or_empty(path: str) -> str:
    return _read_text(path) if os.path.exists(path) else ""


def _read_text(path: str) -> str:
    try:
        return read_file(path, _LARGEST).decode("utf-8", "surrogateescape")
    except OSError as error:
        raise MtlsError(f"{path} cannot be read ({error.strerror})", "Run as the user who owns the authority") from None


def load_certificate(path: str) -> x509.Certificate:
    """Return the certificate in the PEM file ``path``.

    :raises MtlsError: if there is none.
    """
    try:
        return x509.load_pem_x509_certificate(read_file(path))
    except OSError as error:
        raise MtlsError(f"{path} cannot be read ({error.strerror})", "Restore it from the backup") from None
    except ValueError:
        raise MtlsError(f"{path} is not a PEM certificate", "Restore it from the backup") from None
