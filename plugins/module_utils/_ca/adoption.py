# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adopt an authority that was made by hand with ``openssl ca`` or by easy-rsa.

Its keys, certificates, rows and configuration stay byte for byte. The additional files are planned first and written in an order
that is safe against a kill: without ``quietdoor.json`` the authority is not adopted, and with it every other module works; the
next run writes missing files.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from .._common.errors import MtlsError, shown
from .._common.files import (
    PRIVATE_DIR,
    PRIVATE_FILE,
    PUBLIC_FILE,
    make_directory,
    opened,
    remove_leftovers,
    rewrite_atomic,
)
from .._common.files import lock as hold
from .._common.pem import CRL, decode_pem, split_pem
from .._x509.keys import KeySpec, spec_of
from .._x509.names import rfc2253
from . import file_locations, index_database
from . import layout as layout_module
from .authority import Authority, Outcome, configuration
from .file_locations import Places
from .index_database import serial_hex
from .layout import Layout, check_path, refuse_open_work_tree

try:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.x509.oid import NameOID
except ImportError:  # the modules report it (_common.requirements) before anything here is called
    pass

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from datetime import datetime


_ATTRIBUTES = "unique_subject = no\n"
_CRL_NAME = re.compile(r".*crl.*|.*\.r[0-9]+", re.IGNORECASE)
_HEX = re.compile(r"[0-9A-Fa-f]+")
_Kind = TypeVar("_Kind", bound="x509.ExtensionType")


@dataclass(frozen=True)
class Claim:
    """The options that describe the authority to adopt. None: the property is not compared, or the file is detected."""

    common_name: str | None = None
    organization: str | None = None
    country: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None


@dataclass(frozen=True)
class _Change:
    """One change by the adoption: a file with its contents, a directory, or the mode of a file."""

    what: str
    path: str
    after: str | None = None
    is_directory: bool = False


@dataclass(frozen=True)
class _Crl:
    """The contents of a CRL that this authority signed."""

    path: str
    number: int
    serials: frozenset[str] = field(default_factory=frozenset)


def adopt(path: str, claim: Claim, passphrase: bytes | None, now: datetime, *, check_mode: bool) -> Outcome:
    """Adopt the authority in directory ``path``, or check that it was adopted.

    :raises MtlsError: if there is none, it was made by this collection, its files do not fit together, or openssl and nginx would
        not accept its certificates.
    """
    layout = _layout(check_path(path), claim)
    refuse_open_work_tree(layout.root)
    if check_mode:
        return _outcome(*_examined(layout, claim, passphrase, now))
    # Checked before the lock file is created, which would be the first change.
    _examined(layout, claim, passphrase, now)
    with hold(layout.lock_file):
        for directory in filter(os.path.isdir, layout.directories):
            remove_leftovers(directory)
        authority, changes = _examined(layout, claim, passphrase, now)
        outcome = _outcome(authority, changes)
        for change in changes:
            _carry_out(change)
        return outcome


def refuse_unasked(path: str, passphrase: bytes | None, now: datetime) -> None:
    """Refuse an authority in ``path`` that this collection neither made nor adopted.

    :raises MtlsError: if there is one; the message lists what the adoption would change.
    """
    layout = check_path(path)
    if not layout.foreign:
        return
    try:
        what = "that would change: " + "; ".join(adopt(path, Claim(), passphrase, now, check_mode=True).changes)
    except MtlsError as problem:
        what = f"what prevents it: {problem}"
    raise MtlsError(
        f"The authority in {layout.root} was not made by this collection, and nothing of it was changed",
        f"Set adopt to true to take it over as it is; {what}",
    )


def _layout(layout: Layout, claim: Claim) -> Layout:
    if layout.made_here:
        raise MtlsError(
            f"The authority in {layout.root} was made by this collection: there is nothing to adopt",
            "Remove the option adopt",
        )
    if not os.path.isfile(layout.index):
        raise MtlsError(
            f"{layout.root} holds no authority to adopt: {layout.index} is missing",
            "Give the directory of openssl ca with index.txt (for easy-rsa: its pki/)",
        )
    if layout.adopted:
        _refuse_other_files(layout, claim)
        return layout
    certificate = _file(layout, "certificate_file", claim.certificate_file, file_locations.CERTIFICATES)
    key = _file(layout, "key_file", claim.key_file, file_locations.KEYS)
    found = Places(certificate, key, file_locations.new_certificates(layout.root), "quietdoor.cnf")
    return Layout(layout.root, found, adopted=True)


def _refuse_other_files(layout: Layout, claim: Claim) -> None:
    pairs = (
        ("certificate_file", claim.certificate_file, layout.places.certificate),
        ("key_file", claim.key_file, layout.places.key),
    )
    for option, wanted, known in pairs:
        if wanted not in (None, known):
            raise MtlsError(
                f"{option} is {shown(wanted)}, and the authority in {layout.root} was adopted with {known}",
                f"Leave {option} out, or correct {layout.memory}",
            )


def _file(layout: Layout, option: str, given: str | None, known: tuple[str, ...]) -> str:
    if given is not None:
        return file_locations.check_relative(given, option)
    found = file_locations.candidates(layout.root, known)
    if len(found) == 1:
        return found[0]
    what = f"{' and '.join(found)} differ" if found else f"none of {', '.join(known)} exists"
    raise MtlsError(
        f"{layout.root}: {what}, so it is not known which file to adopt",
        f"Set {option} to its path relative to that directory",
    )


def _examined(layout: Layout, claim: Claim, passphrase: bytes | None, now: datetime) -> tuple[Authority, list[_Change]]:
    text = _read(layout.index)
    whole = text if text.endswith("\n") or not text else f"{text}\n"
    authority = Authority(layout, index_database.parse(whole, layout.index))
    key = spec_of(authority.signer(passphrase, now).key) or KeySpec("unknown")
    _refuse_unfit(authority, key)
    _refuse_other_subject(authority, claim)
    crls = _crls(authority)
    _refuse_lost(authority, crls, now)
    return authority, _changes(authority, key, whole, crls)


def _refuse_unfit(authority: Authority, key: KeySpec) -> None:
    """Refuse a CA that openssl and nginx would not accept (RFC 5280 sections 4.2.1.3 and 4.2.1.9, and openssl's check_ca)."""
    certificate, path = authority.certificate, authority.layout.certificate
    if certificate.issuer != certificate.subject:
        raise MtlsError(
            f"{path} is signed by {rfc2253(certificate.issuer)}: web hosts need that authority and its CRL too",
            "Adopt the self-signed authority at the top of the chain",
        )
    usage = _extension(certificate, x509.KeyUsage)
    basic = _extension(certificate, x509.BasicConstraints)
    is_ca = basic.ca if basic else certificate.version == x509.Version.v1 or usage is not None
    if not is_ca or (usage and not (usage.key_cert_sign and usage.crl_sign)):
        raise MtlsError(
            f"{path} is not the certificate of an authority that may sign certificates and CRLs: nginx would refuse every client",
            "Create a new authority with module ca, in an empty directory",
        )
    if key.type == "rsa" and (key.size or 0) < 2048:
        raise MtlsError(
            f"{path} has a key of {key.size} bits, which openssl no longer accepts",
            "Create a new authority with module ca, in an empty directory",
        )


def _extension(certificate: x509.Certificate, kind: type[_Kind]) -> _Kind | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _refuse_other_subject(authority: Authority, claim: Claim) -> None:
    subject = authority.certificate.subject
    pairs = (
        ("common_name", claim.common_name, NameOID.COMMON_NAME),
        ("organization", claim.organization, NameOID.ORGANIZATION_NAME),
        ("country", claim.country, NameOID.COUNTRY_NAME),
    )
    for option, wanted, oid in pairs:
        if wanted is not None and wanted not in [part.value for part in subject.get_attributes_for_oid(oid)]:
            raise MtlsError(
                f"The subject of {authority.layout.certificate} is {rfc2253(subject)}, and {option} is {shown(wanted)}",
                f"Leave {option} out, or correct the path: an adopted authority stays as it is",
            )


def _crls(authority: Authority) -> list[_Crl]:
    """Return the CRLs of this authority that are anywhere in its directory."""
    root, crl_directory = authority.layout.root, os.path.dirname(authority.layout.crl)
    paths = [os.path.join(root, name) for name in os.listdir(root) if _CRL_NAME.fullmatch(name)]
    if os.path.isdir(crl_directory):
        paths += [os.path.join(crl_directory, name) for name in os.listdir(crl_directory)]
    return [crl for path in sorted(paths) if os.path.isfile(path) for crl in _crls_in(authority, path)]


def _crls_in(authority: Authority, path: str) -> list[_Crl]:
    """Return the CRLs of this authority in a file: one in DER, or any number in PEM, with other text around them."""
    with opened(path, "rb") as file:
        data = file.read()
    found = (_crl(authority, path, crl) for crl in _load_crls(data))
    return [crl for crl in found if crl]


def _load_crls(data: bytes) -> Iterator[x509.CertificateRevocationList]:
    blocks = split_pem(data, CRL)
    if not blocks:
        with contextlib.suppress(ValueError):
            yield x509.load_der_x509_crl(data)
    for block in blocks:
        with contextlib.suppress(ValueError):
            yield x509.load_der_x509_crl(decode_pem(block))


def _crl(authority: Authority, path: str, crl: x509.CertificateRevocationList) -> _Crl | None:
    try:
        if not crl.is_signature_valid(authority.certificate.public_key()):  # type: ignore[arg-type]
            return None
    except TypeError:
        return None
    except UnsupportedAlgorithm:
        # An old algorithm, such as MD5: the CRL may be of this authority, and its revocations must not be lost.
        if crl.issuer != authority.certificate.subject:
            return None
    try:
        numbers = [item.value.crl_number for item in crl.extensions if isinstance(item.value, x509.CRLNumber)]
        return _Crl(path, max(numbers, default=0), frozenset(serial_hex(entry.serial_number) for entry in crl))
    except ValueError as error:
        raise MtlsError(
            f"{path} is a CRL of this authority that cannot be read: {error}", "Write it again with openssl ca -gencrl"
        ) from None


def _refuse_lost(authority: Authority, crls: list[_Crl], now: datetime) -> None:
    """Refuse a database without all revocations of the CRLs, because the next CRL is made from the database alone."""
    index = authority.layout.index
    known = {row.serial for row in authority.rows}
    live = {row.serial for row in authority.rows if not row.is_revoked and row.not_after > now}
    for crl in crls:
        without_row = crl.serials - known
        if without_row:
            raise MtlsError(
                f"{crl.path} revokes serials that have no row in {index}: {_listed(without_row)}",
                "Add each row with openssl ca -revoke CERTIFICATE, as docs/adoption.md shows, or restore "
                f"{index} from a backup",
            )
        lost = crl.serials & live
        if lost:
            raise MtlsError(
                f"{crl.path} revokes serials that {index} does not: {_listed(lost)}",
                f"Revoke each again with openssl ca -revoke, or remove {crl.path} if the certificates are to be good",
            )


def _listed(serials: Collection[str]) -> str:
    listed = ", ".join(sorted(serials)[:10])
    return f"{listed} and {len(serials) - 10} more" if len(serials) > 10 else listed


def _changes(authority: Authority, key: KeySpec, index: str, crls: list[_Crl]) -> list[_Change]:
    layout = authority.layout
    files = [*_number(layout, crls), *_index(layout, index), *_attributes(layout), *_configuration(authority, key)]
    remembered = _replaced(layout.memory, file_locations.render(layout.places), "where its files lie")
    directories = [path for path in (layout.new_certificates, os.path.dirname(layout.crl)) if not os.path.isdir(path)]
    made = [_Change(f"{path}/ added", path, is_directory=True) for path in directories]
    clients = (
        []
        if os.path.isdir(layout.clients)
        else [_Change(f"{layout.clients}/ added", layout.clients, is_directory=True)]
    )
    return [*_mode(layout), *files, *made, *remembered, *clients]


def _replaced(path: str, text: str, what: str) -> list[_Change]:
    if not os.path.exists(path):
        return [_Change(f"{path} added: {what}", path, text)]
    return [] if _read(path) == text else [_Change(f"{path} brought up to date", path, text)]


def _mode(layout: Layout) -> list[_Change]:
    mode = os.stat(layout.key).st_mode & 0o777
    if mode & 0o077 == 0:
        return []
    return [_Change(f"{layout.key} closed to others: its mode was {mode:04o}", layout.key)]


def _index(layout: Layout, whole: str) -> list[_Change]:
    if _read(layout.index) == whole:
        return []
    return [_Change(f"{layout.index}: its last row, which openssl ignores, gets an end of line", layout.index, whole)]


def _attributes(layout: Layout) -> list[_Change]:
    path = layout.index_attributes
    if os.path.exists(path) and index_database.allows_repeated_subjects(_read(path)):
        return []
    return [_Change(f"{path}: unique_subject = no, so that a client can have two certificates", path, _ATTRIBUTES)]


def _number(layout: Layout, crls: list[_Crl]) -> list[_Change]:
    """Raise the number of the next CRL above that of every known CRL (RFC 5280 section 5.2.3)."""
    path = layout.crl_number
    least = max((crl.number for crl in crls), default=0) + 1
    text = f"{serial_hex(least)}\n"
    if not os.path.exists(path):
        return [_Change(f"{path} added: the next CRL's number, {serial_hex(least)}", path, text)]
    present = _read(path).strip()
    if not _HEX.fullmatch(present):
        raise MtlsError(f"{path} is not a hexadecimal number", f"Write {serial_hex(least)} into it")
    if int(present, 16) >= least:
        return []
    return [_Change(f"{path} raised from {present} to {serial_hex(least)}, above every CRL that is there", path, text)]


def _configuration(authority: Authority, key: KeySpec) -> list[_Change]:
    layout = authority.layout
    if os.path.exists(layout.configuration) and not layout_module.is_ours(layout.configuration):
        raise MtlsError(
            f"{layout.configuration} was not written by this collection, which needs its name", "Rename the file"
        )
    text = configuration(layout, key, authority.certificate)
    return _replaced(layout.configuration, text, "a configuration for openssl ca beside yours")


def _outcome(authority: Authority, changes: list[_Change]) -> Outcome:
    texts = {change.path: change.after for change in changes if change.after is not None}
    before = {path: _read(path) if os.path.exists(path) else "" for path in texts}
    return Outcome([change.what for change in changes], authority.certificate, before, texts)


def _carry_out(change: _Change) -> None:
    if change.is_directory:
        make_directory(change.path, PRIVATE_DIR)
    elif change.after is None:
        os.chmod(change.path, PRIVATE_FILE)
    else:
        rewrite_atomic(change.path, change.after.encode("utf-8", "surrogateescape"), PUBLIC_FILE)


def _read(path: str) -> str:
    try:
        with opened(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read()
    except OSError as error:
        raise MtlsError(f"{path} cannot be read ({error.strerror})", "Run as the user who owns the authority") from None
