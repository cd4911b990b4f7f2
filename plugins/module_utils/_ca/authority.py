# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One authority: making it, opening it, its database, and what a killed run left of it."""

from __future__ import annotations

import functools
import hashlib
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._common.errors import MtlsError
from .._common.files import PRIVATE_FILE, PUBLIC_FILE, read_file, rewrite_atomic, write_atomic
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
# An adopted authority may keep other certificates beside these, its own among them.
_BY_SERIAL = re.compile(r"(?:[0-9A-Fa-f]{2})+\.pem")
# Bytes of a database: three million rows.
_LARGEST = 1 << 29


@dataclass(frozen=True)
class Outcome:
    """What ``establish`` did or, in check mode, would do."""

    changes: list[str]
    certificate: x509.Certificate | None
    before: dict[str, str]
    after: dict[str, str]
    renewed: bool = False


class Authority:
    """An authority that exists, as it stands on disk when it is opened."""

    def __init__(self, layout: Layout, rows: list[Row] | None = None) -> None:
        self.layout = layout
        self.certificate = load_certificate(layout.certificate)
        self.rows = index_database.parse(_read_text(layout.index), layout.index) if rows is None else rows

    @property
    def chain(self) -> Chain:
        """Its certificate and those of all CAs above it, the root last; a self-signed authority is its own chain.

        :raises MtlsError: if its copy of the certificates above is not sound.
        """
        return chain.load_chain(self.layout, self.certificate)

    @functools.cached_property
    def chain_digest(self) -> str:
        """SHA-256 of the chain in hex: by it the files of clients are compared, of which there may be ten thousand."""
        return hashlib.sha256(chain.pem(self.chain).encode()).hexdigest()

    def key(self, passphrase: bytes | None) -> PrivateKey:
        """Return the private key.

        :raises MtlsError: if it does not open or is not the certificate's.
        """
        key = load_private(self.layout.key, passphrase)
        if key.public_key() != self.certificate.public_key():
            raise MtlsError(
                f"{self.layout.key} is not the key of {self.layout.certificate}",
                "Restore the two files that belong together from the backup",
            )
        return key

    def signer(self, passphrase: bytes | None, now: datetime) -> Signer:
        """Return the authority ready to sign.

        :raises MtlsError: if the key does not open, is not the certificate's, or the certificate is not valid now.
        """
        key = self.key(passphrase)
        if not self.certificate.not_valid_before_utc <= now < self.certificate.not_valid_after_utc:
            raise MtlsError(
                f"{self.layout.certificate} is valid from {iso(self.certificate.not_valid_before_utc)} to "
                f"{iso(self.certificate.not_valid_after_utc)}, and it is {iso(now)} now",
                "Set the clock, or make a new authority",
            )
        return Signer(self.certificate, key)

    def issued(self, serial: str) -> x509.Certificate:
        """Return the certificate with this serial (hex) as it was issued."""
        return load_certificate(self.layout.new_certificate(serial))

    def with_orphans(self) -> list[Row]:
        """Return the database's rows, and rows for certificates that a killed run signed but had not yet written down.

        A certificate that exists has to be in the database: only what is there can be revoked.

        :raises MtlsError: if there are certificates without a row that nothing announced: rows were lost, and with them who was
            revoked.
        """
        orphans = self.orphans()
        announced = self._announced() if orphans else frozenset()
        lost = [row.serial for row in orphans if row.serial not in announced]
        if lost:
            raise MtlsError(
                f"{self.layout.index} lost rows: {self.layout.new_certificate(lost[0])} was issued and is not in it "
                f"({len(lost)} such in all), so it is not known whether it was revoked",
                f"Restore the newest {self.layout.index} from the backup, or revoke them with module revocation; one that is "
                "known to be good gets a row with openssl ca -valid",
            )
        return self.rows + orphans

    def orphans(self) -> list[Row]:
        """Return rows, as of valid certificates, for those that this authority signed and its database does not have."""
        known = {row.serial for row in self.rows}
        directory = self.layout.new_certificates
        names = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
        unknown = [name[:-4] for name in names if _BY_SERIAL.fullmatch(name) and name[:-4].upper() not in known]
        if not unknown:
            return []
        told = client_records.load_all(self.layout.clients).values()
        owners = {issue.serial: (record.name, issue.stem) for record in told for issue in record.issues}
        found = [self._orphan(self._signed(name), owners) for name in unknown]
        return [row for row in found if row and row.serial not in known]

    def _announced(self) -> frozenset[str]:
        """Return the serials that a run said it was going to sign, and did not get to say that it is done with."""
        told = client_records.load_all(self.layout.clients).values()
        clients = {record.latest.serial for record in told if record.issuing and record.latest}
        return frozenset(clients | set(_read_or_empty(self.layout.announcement).split()))

    def _signed(self, name: str) -> x509.Certificate | None:
        path = self.layout.new_certificate(name)
        if self.layout.adopted and _is_something_else(path):
            return None
        try:
            certificate = load_certificate(path)
        except MtlsError as problem:
            raise MtlsError(problem.what, f"If it is what a broken run of openssl left, remove {path}") from None
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (ValueError, TypeError, InvalidSignature):
            return None
        # With the authority's own key: its certificate, or one that it had before.
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
    """Return the authority in directory ``path`` for changing: leftovers of a killed run are cleared. Call it under the lock."""
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
    """Return the configuration for the openssl command of an authority with such a key, and its certificate if it has one yet."""
    names_key = certificate is None or any(part.oid == x509.SubjectKeyIdentifier.oid for part in certificate.extensions)
    digest = "sha384" if key.curve == "P-384" else "sha256"
    return openssl_conf.render(layout, digest, has_key_identifier=names_key)


def refuse_other_contents(layout: Layout) -> None:
    """Refuse to make an authority where something else is.

    :raises MtlsError: if the directory holds more than what a killed run of ``establish`` left.
    """
    if not os.path.lexists(layout.root):
        return
    if not os.path.isdir(layout.root):
        raise MtlsError(f"{layout.root} is not a directory", "Give the path of a directory for the authority")
    ours = {
        os.path.basename(path)
        for path in [*layout.directories[1:], layout.index, layout.index_attributes, layout.serial]
    }
    ours |= {os.path.basename(path) for path in (layout.crl_number, layout.configuration, layout.lock_file)}
    others = sorted(
        name for name in os.listdir(layout.root) if name not in ours and not name.startswith(".quietdoor-tmp-")
    )
    if others or (os.path.exists(layout.index) and os.path.getsize(layout.index) > 0):
        what = f"it has {others[0]}" if others else "it has a database but no CA certificate"
        raise MtlsError(
            f"{layout.root} is neither empty nor an authority of ours: {what}",
            "Choose an empty directory, or restore the missing file; an authority made by hand is taken over with adopt: true",
        )


def repair(authority: Authority, above: Chain, *, check_mode: bool) -> Outcome:
    layout = authority.layout
    key = spec_of(authority.certificate.public_key())
    wanted = {layout.index_attributes: _attributes(layout)}
    if key is not None:
        wanted[layout.configuration] = configuration(layout, key, authority.certificate)
    if not layout.adopted and not os.path.exists(layout.serial):
        # Any number does that was never used; the CRL's has to be higher than the last, which only a person may know.
        wanted[layout.serial] = new_serial()
    if above:
        wanted[layout.chain] = chain.pem((authority.certificate, *above))
    stale = {path: text for path, text in wanted.items() if _read_or_empty(path) != text}
    # The directories of an adopted authority stay as their maker wanted them.
    closed = [layout.key] if layout.adopted else [*layout.directories, layout.key]
    modes = [path for path in closed if not _has_private_mode(path)]
    changes = [f"{path} brought up to date" for path in stale] + [f"permissions of {path} closed" for path in modes]
    before = {path: _read_or_empty(path) for path in stale}
    if not check_mode:
        _write_mended(layout, stale, modes)
    return Outcome(changes, authority.certificate, before, stale)


def _attributes(layout: Layout) -> str:
    text = _read_or_empty(layout.index_attributes)
    return text if layout.adopted and index_database.allows_repeated_subjects(text) else ATTRIBUTES


def put_in_order(authority: Authority, *, check_mode: bool) -> Outcome:
    """Bring the files beside key, certificate and database into order, as ``establish`` does. Call it under the lock."""
    return repair(authority, authority.chain[1:], check_mode=check_mode)


def _write_mended(layout: Layout, stale: dict[str, str], modes: list[str]) -> None:
    for path, text in stale.items():
        write_atomic(path, text.encode(), PUBLIC_FILE)
    if not layout.adopted:
        layout.make_directories()
    if layout.key in modes:
        os.chmod(layout.key, PRIVATE_FILE)


def _is_something_else(path: str) -> bool:
    """Tell whether a PEM file holds a key, say, and no certificate: its maker may keep them where certificates go."""
    text = _read_text(path)
    return "-----BEGIN " in text and "CERTIFICATE-----" not in text


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
