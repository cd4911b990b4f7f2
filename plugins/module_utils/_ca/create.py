# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create an authority, or bring an existing one to its specification."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from .._common.errors import MtlsError
from .._common.files import PRIVATE_FILE, PUBLIC_FILE, make_parents, write_atomic
from .._common.timestamps import iso
from .._x509.certificate_profiles import CaProfile, key_identifier_of, path_length_of, self_signed_ca
from .._x509.keys import generate, load_private, opening, private_pem, spec_of
from .._x509.names import rfc2253
from . import chain, index_database, renewal
from .authority import ATTRIBUTES, Authority, Outcome, configuration, new_serial, refuse_other_contents, repair_files
from .authority_spec import AuthoritySpec
from .layout import Layout, check_path, refuse_open_work_tree

try:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding
except ImportError:  # the modules report it (_common.requirements) before anything here is called
    pass

if TYPE_CHECKING:
    from datetime import datetime

    from .._x509.keys import KeySpec, PrivateKey
    from .chain import Chain


def establish(
    path: str,
    spec: AuthoritySpec,
    passphrase: bytes | None,
    now: datetime,
    *,
    check_mode: bool,
    previous_passphrase: bytes | None = None,
) -> Outcome:
    """Create the authority in directory ``path``, or repair the files of the existing one.

    The key is made only once. The certificate is made again only if ``spec`` allows a renewal. A key with the previous passphrase
    is re-encrypted.

    :raises MtlsError: if the directory holds something else, or an authority that differs from ``spec``.
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
        outcome = repair_files(authority, above, check_mode=check_mode)
    else:
        outcome = _renew(authority, spec, opens_with, now, reason, check_mode=check_mode)
    if opens_with == passphrase:
        return outcome
    return _encrypt(layout, authority.key(opens_with), passphrase, outcome, check_mode=check_mode)


def _above(authority: Authority, spec: AuthoritySpec) -> Chain:
    """Return the issuers of the authority: from the issuer's directory or, while it is away, from the copy."""
    certificate = authority.certificate
    if spec.issuer is None or not spec.issuer.is_here:
        return authority.chain[1:]
    above = spec.issuer.chain()
    if not chain.is_issued_by(certificate, above[0]):
        raise MtlsError(
            f"{authority.layout.certificate} was issued by {rfc2253(certificate.issuer)}, not by the authority in "
            f"{spec.issuer.path}",
            "Give the path of its issuer, or create a new authority in another directory",
        )
    return above


def _encrypt(
    layout: Layout, key: PrivateKey, passphrase: bytes | None, outcome: Outcome, *, check_mode: bool
) -> Outcome:
    """Re-encrypt the key with its new passphrase, and add that to the outcome."""
    if not check_mode:
        # The key may be a link to a file on another medium.
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
        raise MtlsError(
            f"{layout.key} is {spec_of(key)}, not {spec.key}, and has no certificate yet",
            "Remove it, or set key to its kind",
        )
    profile = CaProfile(spec.subject, key.public_key(), now, now + spec.valid_for, spec.path_length or 0)
    certificate = _certify(layout, spec, key, profile, frozenset(), now)
    return Outcome(["created"], certificate, {}, after)


def _refuse_impossible(layout: Layout, spec: AuthoritySpec, now: datetime, *, check_mode: bool) -> None:
    refuse_other_contents(layout)
    # In check mode the same play may create the issuer later.
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
    """Sign and write the certificate, last of all: its existence means that the authority is complete."""
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
        raise MtlsError(
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
    serial = index_database.serial_hex(former.serial_number)
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
        layout.index_attributes: ATTRIBUTES,
        layout.serial: new_serial(),
        layout.crl_number: "01\n",
        layout.configuration: configuration(layout, key),
    }


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
        raise MtlsError(
            f"The authority in {authority.layout.root} differs: {'; '.join(differences)}",
            "Restore the former options, or choose another path"
            + (", or renew it with the same key (renew: same_key)" if differences == renewable else ""),
        )
