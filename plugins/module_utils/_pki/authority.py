# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One authority: making it, opening it, its database, and what a killed run left of it."""

from __future__ import annotations

import functools
import hashlib
import os
import re
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from .._ansible.errors import Problem
from .._ansible.files import PRIVATE_FILE, PUBLIC_FILE, make_parents, read_file, rewrite_atomic, write_atomic
from . import chain, database, openssl_conf, records, renewal
from .clock import iso
from .keys import generate, load_private, opening, private_pem, spec_of
from .layout import Layout, check_path, readable_authority, refuse_open_work_tree
from .names import oneline, rfc2253
from .profiles import CaProfile, Signer, key_identifier_of, path_length_of, random_serial, self_signed_ca

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.serialization import Encoding
except ImportError:  # the modules report it (_ansible.dependencies) before anything here is called
    pass

if TYPE_CHECKING:
    from datetime import datetime

    from .chain import Chain
    from .database import Row
    from .issuing import Issuer
    from .keys import KeySpec, PrivateKey

_ATTRIBUTES = "unique_subject = no\n"
# An adopted authority may keep other certificates beside these, its own among them.
_BY_SERIAL = re.compile(r"(?:[0-9A-Fa-f]{2})+\.pem")
# Bytes of a database: three million rows.
_LARGEST = 1 << 29


@dataclass(frozen=True)
class AuthoritySpec:
    """What an authority should be.

    :param path_length: how many CAs may follow below it (RFC 5280 section 4.2.1.9); None makes 0 and accepts what is there.
    :param issuer: the authority that signs it; None for a self-signed one.
    :param renew: whether its certificate is renewed with the same key, ``renew_before`` its end or when it differs.
    """

    subject: x509.Name
    key: KeySpec
    valid_for: timedelta
    path_length: int | None = None
    issuer: Issuer | None = None
    renew: bool = False
    renew_before: timedelta = timedelta(0)


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
        self.rows = database.parse(_read_text(layout.index), layout.index) if rows is None else rows

    @property
    def chain(self) -> Chain:
        """Its certificate and those of all CAs above it, the root last; a self-signed authority is its own chain.

        :raises Problem: if its copy of the certificates above is not sound.
        """
        return chain.load_chain(self.layout, self.certificate)

    @functools.cached_property
    def chain_digest(self) -> str:
        """SHA-256 of the chain in hex: by it the files of clients are compared, of which there may be ten thousand."""
        return hashlib.sha256(chain.pem(self.chain).encode()).hexdigest()

    def key(self, passphrase: bytes | None) -> PrivateKey:
        """Return the private key.

        :raises Problem: if it does not open or is not the certificate's.
        """
        key = load_private(self.layout.key, passphrase)
        if key.public_key() != self.certificate.public_key():
            raise Problem(
                f"{self.layout.key} is not the key of {self.layout.certificate}",
                "Restore the two files that belong together from the backup",
            )
        return key

    def signer(self, passphrase: bytes | None, now: datetime) -> Signer:
        """Return the authority ready to sign.

        :raises Problem: if the key does not open, is not the certificate's, or the certificate is not valid now.
        """
        key = self.key(passphrase)
        if not self.certificate.not_valid_before_utc <= now < self.certificate.not_valid_after_utc:
            raise Problem(
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

        :raises Problem: if there are certificates without a row that nothing announced: rows were lost, and with them who was
            revoked.
        """
        orphans = self.orphans()
        announced = self._announced() if orphans else frozenset()
        lost = [row.serial for row in orphans if row.serial not in announced]
        if lost:
            raise Problem(
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
        told = records.load_all(self.layout.clients).values()
        owners = {issue.serial: (record.name, issue.stem) for record in told for issue in record.issues}
        found = [self._orphan(self._signed(name), owners) for name in unknown]
        return [row for row in found if row and row.serial not in known]

    def _announced(self) -> frozenset[str]:
        """Return the serials that a run said it was going to sign, and did not get to say that it is done with."""
        told = records.load_all(self.layout.clients).values()
        clients = {record.latest.serial for record in told if record.issuing and record.latest}
        return frozenset(clients | set(_read_or_empty(self.layout.announcement).split()))

    def _signed(self, name: str) -> x509.Certificate | None:
        path = self.layout.new_certificate(name)
        if self.layout.adopted and _is_something_else(path):
            return None
        try:
            certificate = load_certificate(path)
        except Problem as problem:
            raise Problem(problem.what, f"If it is what a broken run of openssl left, remove {path}") from None
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
        owner, stem = owners.get(database.serial_hex(number), (None, ""))
        return database.valid_row(number, end, oneline(certificate.subject), owner, stem)

    def save(self, rows: list[Row]) -> None:
        """Write the database, under the lock."""
        rewrite_atomic(self.layout.index, database.render(rows).encode("utf-8", "surrogateescape"), PUBLIC_FILE)
        self.rows = rows


def open_authority(path: str) -> Authority:
    """Return the authority in directory ``path``, for reading.

    :raises Problem: if there is none, or it is damaged.
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


def establish(
    path: str,
    spec: AuthoritySpec,
    passphrase: bytes | None,
    now: datetime,
    *,
    check_mode: bool,
    previous_passphrase: bytes | None = None,
) -> Outcome:
    """Make the authority in directory ``path``, or bring the files of the existing one into order.

    Its key is made once and never again, its certificate only when ``spec`` says that it may be renewed. A key that still has the
    previous passphrase is encrypted anew.

    :raises Problem: if the directory holds something else, or an authority that differs from ``spec``.
    """
    layout = check_path(path)
    refuse_open_work_tree(layout.root)
    layout.require_writable()
    if check_mode:
        return _establish(layout, spec, passphrase, previous_passphrase, now, check_mode=True)
    if not os.path.exists(layout.certificate):
        _refuse_impossible(layout, spec, now, check_mode=False)
        make_parents(layout.root)
        os.makedirs(layout.root, mode=0o700, exist_ok=True)
    with layout.locked():
        layout.remove_leftovers()
        return _establish(layout, spec, passphrase, previous_passphrase, now, check_mode=False)


def _establish(
    layout: Layout,
    spec: AuthoritySpec,
    passphrase: bytes | None,
    previous: bytes | None,
    now: datetime,
    *,
    check_mode: bool,
) -> Outcome:
    if not os.path.exists(layout.certificate):
        return _create(layout, spec, passphrase, now, check_mode=check_mode)
    authority = Authority(layout)
    _refuse_difference(authority, spec)
    opens_with = opening(layout.key, passphrase, previous)
    above = _above(authority, spec)
    latest = above[0].not_valid_after_utc if above else None
    reason = renewal.why_due(authority.certificate, spec, latest, now)
    if reason is None:
        authority.signer(opens_with, now)
        outcome = _mend(authority, above, check_mode=check_mode)
    else:
        outcome = _renew(authority, spec, opens_with, now, reason, check_mode=check_mode)
    if opens_with == passphrase:
        return outcome
    return _encrypt(layout, authority.key(opens_with), passphrase, outcome, check_mode=check_mode)


def _above(authority: Authority, spec: AuthoritySpec) -> Chain:
    """Return the CAs above: as the issuer says, or while it is away, as the copy does."""
    certificate = authority.certificate
    if spec.issuer is None or not spec.issuer.is_here:
        return authority.chain[1:]
    above = spec.issuer.chain()
    if not chain.is_issued_by(certificate, above[0]):
        raise Problem(
            f"{authority.layout.certificate} was issued by {rfc2253(certificate.issuer)}, not by the authority in "
            f"{spec.issuer.path}",
            "Give the path of its issuer, or make a new authority in another directory",
        )
    return above


def _encrypt(
    layout: Layout, key: PrivateKey, passphrase: bytes | None, outcome: Outcome, *, check_mode: bool
) -> Outcome:
    """Give the same key its new passphrase, and add that to what was done."""
    if not check_mode:
        # The key may lie on another medium, with a link to it.
        write_atomic(os.path.realpath(layout.key), private_pem(key, passphrase), PRIVATE_FILE)
    return replace(
        outcome,
        changes=[*outcome.changes, f"passphrase of {layout.key} changed"],
        before={**outcome.before, layout.key: "encrypted with previous_passphrase, or not at all\n"},
        after={**outcome.after, layout.key: "the same key, encrypted with passphrase\n"},
    )


def _create(
    layout: Layout, spec: AuthoritySpec, passphrase: bytes | None, now: datetime, *, check_mode: bool
) -> Outcome:
    _refuse_impossible(layout, spec, now, check_mode=check_mode)
    after = {"subject": rfc2253(spec.subject), "key": str(spec.key), "not_after": iso(_end(spec, now))}
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
    profile = CaProfile(spec.subject, key.public_key(), now, now + spec.valid_for, spec.path_length or 0)
    certificate = _certify(layout, spec, key, profile, frozenset(), now)
    return Outcome(["created"], certificate, {}, after)


def _refuse_impossible(layout: Layout, spec: AuthoritySpec, now: datetime, *, check_mode: bool) -> None:
    refuse_other_contents(layout)
    # In check mode the issuer may be one that the same play would have made.
    if spec.issuer is not None and (spec.issuer.is_here or not check_mode):
        spec.issuer.check(spec.subject, layout.root, now)


def _end(spec: AuthoritySpec, now: datetime) -> datetime:
    end = now + spec.valid_for
    if spec.issuer is None or not spec.issuer.is_here:
        return end
    return min(end, spec.issuer.chain()[0].not_valid_after_utc)


def _certify(
    layout: Layout, spec: AuthoritySpec, key: PrivateKey, profile: CaProfile, known: frozenset[str], now: datetime
) -> x509.Certificate:
    """Have the certificate signed and write it. It comes last: where it is, the authority is complete."""
    if spec.issuer is None:
        certificate = self_signed_ca(key, profile)
    else:
        certificate, above = spec.issuer.certify(profile, known, now)
        write_atomic(layout.chain, chain.pem((certificate, *above)).encode(), PUBLIC_FILE)
    write_atomic(layout.certificate, certificate.public_bytes(Encoding.PEM), PUBLIC_FILE)
    return certificate


def _renew(
    authority: Authority, spec: AuthoritySpec, passphrase: bytes | None, now: datetime, reason: str, *, check_mode: bool
) -> Outcome:
    layout, former = authority.layout, authority.certificate
    if former.issuer != former.subject and spec.issuer is None:
        raise Problem(
            f"{layout.certificate} has to be renewed ({reason}), and it was issued by {rfc2253(former.issuer)}",
            "Set the option issuer to that authority",
        )
    renewal.refuse_bound_to_serial(authority, now)
    key = authority.key(passphrase)
    if spec.issuer is not None:
        spec.issuer.check(spec.subject, layout.root, now)
    before, after = {"not_after": iso(former.not_valid_after_utc)}, {"not_after": iso(_end(spec, now))}
    changes = [f"renewed with the same key: {reason}"]
    if check_mode:
        return Outcome(changes, None, before, after, renewed=True)
    serial = database.serial_hex(former.serial_number)
    write_atomic(layout.former_certificate(serial), former.public_bytes(Encoding.PEM), PUBLIC_FILE)
    length = path_length_of(former) if spec.path_length is None else spec.path_length
    profile = CaProfile(former.subject, key.public_key(), now, now + spec.valid_for, length, key_identifier_of(former))
    certificate = _certify(layout, spec, key, profile, _known_serials(layout), now)
    return Outcome(changes, certificate, before, after, renewed=True)


def _known_serials(layout: Layout) -> frozenset[str]:
    """Return the serials (hex) of the certificates that this authority has or had."""
    names = [name for name in os.listdir(os.path.dirname(layout.certificate)) if name.startswith("ca-")]
    return frozenset(name[len("ca-") : -len(".cert.pem")] for name in names)


def _companions(layout: Layout, key: KeySpec) -> dict[str, str]:
    return {
        layout.index: "",
        layout.index_attributes: _ATTRIBUTES,
        layout.serial: _new_serial(),
        layout.crl_number: "01\n",
        layout.configuration: configuration(layout, key),
    }


def _new_serial() -> str:
    return f"{database.serial_hex(random_serial())}\n"


def configuration(layout: Layout, key: KeySpec, certificate: x509.Certificate | None = None) -> str:
    """Return the configuration for the openssl command of an authority with such a key, and its certificate if it has one yet."""
    names_key = certificate is None or any(part.oid == x509.SubjectKeyIdentifier.oid for part in certificate.extensions)
    digest = "sha384" if key.curve == "P-384" else "sha256"
    return openssl_conf.render(layout, digest, has_key_identifier=names_key)


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
            "Choose an empty directory, or restore the missing file; an authority made by hand is taken over with adopt: true",
        )


def _refuse_difference(authority: Authority, spec: AuthoritySpec) -> None:
    certificate = authority.certificate
    found = {
        "subject": (rfc2253(certificate.subject), rfc2253(spec.subject)),
        "key": (str(spec_of(certificate.public_key())), str(spec.key)),
    }
    differences = [f"{what} is {is_} and should be {should}" for what, (is_, should) in found.items() if is_ != should]
    if spec.issuer is not None and certificate.issuer == certificate.subject:
        differences.append("it is self-signed and should have an issuer")
    renewable = [] if spec.renew else renewal.differences(certificate, spec)
    differences += renewable
    if differences:
        raise Problem(
            f"The authority in {authority.layout.root} differs: {'; '.join(differences)}",
            "A CA is never made again because an option changed: set the options as they were, or choose another path"
            + (", or renew it with the same key (renew: same_key)" if differences == renewable else ""),
        )


def _mend(authority: Authority, above: Chain, *, check_mode: bool) -> Outcome:
    layout = authority.layout
    key = spec_of(authority.certificate.public_key())
    wanted = {layout.index_attributes: _attributes(layout)}
    if key is not None:
        wanted[layout.configuration] = configuration(layout, key, authority.certificate)
    if not layout.adopted and not os.path.exists(layout.serial):
        # Any number does that was never used; the CRL's has to be higher than the last, which only a person may know.
        wanted[layout.serial] = _new_serial()
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
    return text if layout.adopted and database.allows_repeated_subjects(text) else _ATTRIBUTES


def put_in_order(authority: Authority, *, check_mode: bool) -> Outcome:
    """Bring the files beside key, certificate and database into order, as ``establish`` does. Call it under the lock."""
    return _mend(authority, authority.chain[1:], check_mode=check_mode)


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
        raise Problem(f"{path} cannot be read ({error.strerror})", "Run as the user who owns the authority") from None


def load_certificate(path: str) -> x509.Certificate:
    """Return the certificate in the PEM file ``path``.

    :raises Problem: if there is none.
    """
    try:
        return x509.load_pem_x509_certificate(read_file(path))
    except OSError as error:
        raise Problem(f"{path} cannot be read ({error.strerror})", "Restore it from the backup") from None
    except ValueError:
        raise Problem(f"{path} is not a PEM certificate", "Restore it from the backup") from None
