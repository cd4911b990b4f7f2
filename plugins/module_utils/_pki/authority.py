# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One authority: making it, opening it, its database, and what a killed run left of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from .._ansible.errors import Problem
from .._ansible.files import PRIVATE_FILE, PUBLIC_FILE, read_file, write_atomic
from . import database, openssl_conf, records
from .clock import BACKDATE, iso
from .keys import generate, load_private, private_pem, spec_of
from .layout import Layout, check_path, refuse_open_work_tree, require_authority
from .names import oneline, rfc2253
from .profiles import Signer, random_serial, self_signed_ca

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.serialization import Encoding
except ImportError:  # the modules report it (_ansible.dependencies) before anything here is called
    pass

if TYPE_CHECKING:
    from datetime import datetime

    from .database import Row
    from .keys import KeySpec

_ATTRIBUTES = "unique_subject = no\n"
# Bytes of a database: three million rows.
_LARGEST = 1 << 29


@dataclass(frozen=True)
class AuthoritySpec:
    """What an authority should be."""

    subject: x509.Name
    key: KeySpec
    valid_for: timedelta


@dataclass(frozen=True)
class Outcome:
    """What ``establish`` did or, in check mode, would do."""

    changes: list[str]
    certificate: x509.Certificate | None
    before: dict[str, str]
    after: dict[str, str]


class Authority:
    """An authority that exists, as it stands on disk when it is opened."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.certificate = _load_certificate(layout.certificate)
        self.rows: list[Row] = database.parse(_read_text(layout.index), layout.index)

    def signer(self, passphrase: bytes | None, now: datetime) -> Signer:
        """Return the authority ready to sign.

        :raises Problem: if the key does not open, is not the certificate's, or the certificate is not valid now.
        """
        key = load_private(self.layout.key, passphrase)
        if key.public_key() != self.certificate.public_key():
            raise Problem(
                f"{self.layout.key} is not the key of {self.layout.certificate}",
                "Restore the two files that belong together from the backup",
            )
        if not self.certificate.not_valid_before_utc <= now < self.certificate.not_valid_after_utc:
            raise Problem(
                f"{self.layout.certificate} is valid from {iso(self.certificate.not_valid_before_utc)} to "
                f"{iso(self.certificate.not_valid_after_utc)}, and it is {iso(now)} now",
                "Set the clock, or make a new authority",
            )
        return Signer(self.certificate, key)

    def issued(self, serial: str) -> x509.Certificate:
        """Return the certificate with this serial (hex) as it was issued."""
        return _load_certificate(self.layout.new_certificate(serial))

    def with_orphans(self) -> list[Row]:
        """Return the database's rows, and rows for certificates that a killed run signed but had not yet written down.

        A certificate that exists has to be in the database: only what is there can be revoked.
        """
        known = {row.serial for row in self.rows}
        names = sorted(os.listdir(self.layout.new_certificates))
        unknown = [name[:-4] for name in names if name.endswith(".pem") and name[:-4].upper() not in known]
        if not unknown:
            return self.rows
        told = records.load_all(self.layout.clients).values()
        announced = {issue.serial: (record.name, issue.stem) for record in told for issue in record.issues}
        orphans = [self._orphan(self._signed(name), announced) for name in unknown]
        return self.rows + [row for row in orphans if row and row.serial not in known]

    def _signed(self, name: str) -> x509.Certificate | None:
        path = self.layout.new_certificate(name)
        try:
            certificate = _load_certificate(path)
        except Problem as problem:
            raise Problem(problem.what, f"If it is what a broken run of openssl left, remove {path}") from None
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (ValueError, TypeError, InvalidSignature):
            return None
        return certificate

    def _orphan(self, certificate: x509.Certificate | None, announced: dict[str, tuple[str, str]]) -> Row | None:
        if certificate is None:
            return None
        number, end = certificate.serial_number, certificate.not_valid_after_utc
        owner, stem = announced.get(database.serial_hex(number), (None, ""))
        return database.valid_row(number, end, oneline(certificate.subject), owner, stem)

    def save(self, rows: list[Row]) -> None:
        """Write the database, under the lock."""
        write_atomic(self.layout.index, database.render(rows).encode("utf-8", "surrogateescape"), PUBLIC_FILE)
        self.rows = rows


def open_authority(path: str) -> Authority:
    """Return the authority in directory ``path``, for reading.

    :raises Problem: if there is none, or it is damaged.
    """
    return Authority(require_authority(path))


def open_for_change(path: str) -> Authority:
    """Return the authority in directory ``path`` for changing: leftovers of a killed run are cleared. Call it under the lock."""
    authority = open_authority(path)
    authority.layout.remove_leftovers()
    rows = authority.with_orphans()
    if rows != authority.rows:
        authority.save(rows)
    return authority


def establish(path: str, spec: AuthoritySpec, passphrase: bytes | None, now: datetime, *, check_mode: bool) -> Outcome:
    """Make the authority in directory ``path``, or bring the files of the existing one into order.

    Its key and certificate are made once and never again.

    :raises Problem: if the directory holds something else, or an authority that differs from ``spec``.
    """
    layout = check_path(path)
    refuse_open_work_tree(layout.root)
    layout.require_writable()
    if check_mode:
        return _establish(layout, spec, passphrase, now, check_mode=True)
    if not os.path.exists(layout.certificate):
        refuse_other_contents(layout)
        os.makedirs(layout.root, mode=0o700, exist_ok=True)
    with layout.locked():
        layout.remove_leftovers()
        return _establish(layout, spec, passphrase, now, check_mode=False)


def _establish(
    layout: Layout, spec: AuthoritySpec, passphrase: bytes | None, now: datetime, *, check_mode: bool
) -> Outcome:
    if not os.path.exists(layout.certificate):
        return _create(layout, spec, passphrase, now, check_mode=check_mode)
    authority = Authority(layout)
    _refuse_difference(authority, spec)
    authority.signer(passphrase, now)
    return _mend(authority, check_mode=check_mode)


def _create(
    layout: Layout, spec: AuthoritySpec, passphrase: bytes | None, now: datetime, *, check_mode: bool
) -> Outcome:
    refuse_other_contents(layout)
    after = {"subject": rfc2253(spec.subject), "key": str(spec.key), "not_after": iso(now + spec.valid_for)}
    if check_mode:
        return Outcome(["created"], None, {}, after)
    layout.make_directories()
    for file, text in _companions(layout, spec.key).items():
        if not os.path.exists(file):
            write_atomic(file, text.encode(), PUBLIC_FILE)
    if not os.path.exists(layout.key):
        write_atomic(layout.key, private_pem(generate(spec.key), passphrase), PRIVATE_FILE)
    key = load_private(layout.key, passphrase)
    if spec_of(key) != spec.key:
        raise Problem(
            f"{layout.key} is {spec_of(key)}, not {spec.key}, and has no certificate yet",
            "Remove it, or ask for its kind",
        )
    certificate = self_signed_ca(key, spec.subject, now, now + spec.valid_for)
    write_atomic(layout.certificate, certificate.public_bytes(Encoding.PEM), PUBLIC_FILE)
    return Outcome(["created"], certificate, {}, after)


def _companions(layout: Layout, key: KeySpec) -> dict[str, str]:
    return {
        layout.index: "",
        layout.index_attributes: _ATTRIBUTES,
        layout.serial: f"{database.serial_hex(random_serial())}\n",
        layout.crl_number: "01\n",
        layout.configuration: _configuration(layout, key),
    }


def _configuration(layout: Layout, key: KeySpec) -> str:
    return openssl_conf.render(layout.root, "sha384" if key.curve == "P-384" else "sha256")


def refuse_other_contents(layout: Layout) -> None:
    """Refuse to make an authority where something else is.

    :raises Problem: if the directory holds more than what a killed run of ``establish`` left.
    """
    if not os.path.lexists(layout.root):
        return
    if not os.path.isdir(layout.root):
        raise Problem(f"{layout.root} is not a directory", "Give the path of a directory for the authority")
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
        raise Problem(
            f"{layout.root} is neither empty nor an authority of ours: {what}",
            "Choose an empty directory, or restore the missing file",
        )


def _refuse_difference(authority: Authority, spec: AuthoritySpec) -> None:
    certificate = authority.certificate
    found = {
        "subject": (rfc2253(certificate.subject), rfc2253(spec.subject)),
        "key": (str(spec_of(certificate.public_key())), str(spec.key)),
    }
    differences = [f"{what} is {is_} and should be {should}" for what, (is_, should) in found.items() if is_ != should]
    length = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    if not timedelta(0) <= length - spec.valid_for <= BACKDATE:
        shown = f"{length.days} days" if length.days else str(length)
        differences.append(f"valid_for is {shown} and should be {spec.valid_for}")
    if differences:
        raise Problem(
            f"The authority in {authority.layout.root} differs: {'; '.join(differences)}",
            "A CA is never made again because an option changed: set the options as they were, or choose another path",
        )


def _mend(authority: Authority, *, check_mode: bool) -> Outcome:
    layout = authority.layout
    key = spec_of(authority.certificate.public_key())
    wanted = {layout.index_attributes: _ATTRIBUTES}
    if key is not None:
        wanted[layout.configuration] = _configuration(layout, key)
    stale = {path: text for path, text in wanted.items() if _read_or_empty(path) != text}
    modes = [path for path in [*layout.directories, layout.key] if not _has_private_mode(path)]
    changes = [f"{path} brought up to date" for path in stale] + [f"permissions of {path} closed" for path in modes]
    before = {path: _read_or_empty(path) for path in stale}
    if not check_mode:
        _write_mended(layout, stale, modes)
    return Outcome(changes, authority.certificate, before, stale)


def _write_mended(layout: Layout, stale: dict[str, str], modes: list[str]) -> None:
    for path, text in stale.items():
        write_atomic(path, text.encode(), PUBLIC_FILE)
    layout.make_directories()
    if layout.key in modes:
        os.chmod(layout.key, PRIVATE_FILE)


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
        raise Problem(f"{path} cannot be read ({error.strerror})", "Run as the user who owns the authority") from None


def _load_certificate(path: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(read_file(path))
    except OSError as error:
        raise Problem(f"{path} cannot be read ({error.strerror})", "Restore it from the backup") from None
    except ValueError:
        raise Problem(f"{path} is not a PEM certificate", "Restore it from the backup") from None
