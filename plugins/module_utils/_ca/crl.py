# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Issue and check the CRL of an authority: version 2, numbered, with AKI (RFC 5280 section 5)."""

from __future__ import annotations

import functools
import os
import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from .._common.errors import MtlsError
from .._common.files import PUBLIC_FILE, NewFile, put_all, read_file, rewrite_atomic, write_atomic
from .._common.pem import CRL, decode_pem, encode_pem, split_pem
from .._common.timestamps import BACKDATE, asn1, iso, sortable
from .._x509.certificate_profiles import authority_key_identifier
from .._x509.keys import sign, signing_hash
from . import crl_encoding
from .authority import open_authority, open_for_change, refuse_other_contents
from .index_database import serial_hex
from .layout import check_path, require_authority

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
    from cryptography.hazmat.primitives.serialization import Encoding
except ImportError:  # the modules report it (_common.requirements) before anything here is called
    pass

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

    from .._x509.certificate_profiles import Signer
    from .authority import Authority
    from .index_database import Row

# The limit of a CRL in bytes: about five million entries.
_LARGEST = 1 << 29
# RFC 5280 section 5.2.3: at most 20 octets.
_NUMBER = re.compile("[0-9A-Fa-f]{1,39}")


@dataclass(frozen=True)
class Rules:
    """The validity of a CRL, when it is replaced, and the minimum of its remaining validity."""

    valid_for: timedelta
    renew_before: timedelta
    min_remaining: timedelta


@dataclass(frozen=True)
class State:
    """A CRL: its number, its dates (UTC), the serials (hex) on it, and whether it has an authority key identifier."""

    number: int | None
    last_update: datetime
    next_update: datetime
    serials: frozenset[str]
    names_key: bool = True


@dataclass(frozen=True)
class _Found:
    """A CRL and its DER form, which cryptography would have to encode again."""

    crl: x509.CertificateRevocationList
    der: bytes


@dataclass(frozen=True)
class Outcome:
    """The change (in check mode: the predicted change) and its reason; ``after`` is None if it is not known yet."""

    changed: bool
    reason: str
    before: State | None
    after: State | None


def check_rules(rules: Rules) -> Rules:
    """Return the rules if they are consistent.

    :raises MtlsError: if every run would replace the CRL, or if a CRL could fall below the minimum before it is replaced.
    """
    if rules.min_remaining > rules.renew_before or rules.renew_before >= rules.valid_for:
        raise MtlsError(
            f"valid_for {rules.valid_for}, renew_before {rules.renew_before} and min_remaining {rules.min_remaining} "
            "do not fit together",
            "Choose min_remaining <= renew_before < valid_for, as in 7d, 15d and 30d",
        )
    return rules


def keep(path: str, rules: Rules, passphrase: bytes | None, now: datetime, *, check_mode: bool) -> Outcome:
    """Write the CRL of the authority at ``path`` if it is missing, differs from the database, or is due.

    The CRL is written as PEM and as DER. If the files differ, after a kill in between or a run of openssl, the next run writes
    the DER file again. In check mode nothing is written; without an authority, the prediction is a new CRL.

    :raises MtlsError: if the authority cannot sign a CRL that is due. The message contains the remaining time of the current CRL
        if it is short.
    """
    if check_mode:
        layout = check_path(path)
        layout.require_writable()
        if not os.path.exists(layout.certificate):
            refuse_other_contents(layout)
            return Outcome(True, "it is missing", None, None)
        authority = open_authority(path)
        authority.rows = authority.with_orphans()
        return _keep(authority, rules, passphrase, now, check_mode=True)
    with require_authority(path).locked():
        return _keep(open_for_change(path), rules, passphrase, now, check_mode=False)


def _keep(authority: Authority, rules: Rules, passphrase: bytes | None, now: datetime, *, check_mode: bool) -> Outcome:
    found = _read_current(authority)
    before = _state(found) if found else None
    reason = why_due(authority, before, rules.renew_before, now)
    if reason is None:
        lost = _keep_number(authority, before, check_mode=check_mode)
        kept = _keep_der(authority, found.der if found else b"", before, check_mode=check_mode)
        return replace(kept, changed=True, reason=lost) if lost else kept
    signer = _signer(authority, rules, passphrase, before, now)
    if check_mode and authority.layout.foreign:
        # The adoption, which the same play predicts, will set the number.
        return Outcome(True, reason, before, None)
    number = max(_next_number(authority, before), (before.number or 0) + 1 if before else 1)
    after = None if check_mode else _write(authority, signer, rules, before, number, now)
    return Outcome(True, reason, before, after)


def _keep_number(authority: Authority, state: State | None, *, check_mode: bool) -> str | None:
    """Restore a lost crlnumber file from the current CRL, because openssl ca -gencrl requires the file."""
    path = authority.layout.crl_number
    if authority.layout.foreign or os.path.lexists(path) or state is None or state.number is None:
        return None
    if not check_mode:
        write_atomic(path, f"{serial_hex(state.number + 1)}\n".encode(), PUBLIC_FILE)
    return f"{path} is missing"


def _keep_der(authority: Authority, wanted: bytes, state: State | None, *, check_mode: bool) -> Outcome:
    if _read(authority.layout.crl_der) == wanted:
        return Outcome(False, "", state, state)
    if not check_mode:
        write_atomic(authority.layout.crl_der, wanted, PUBLIC_FILE)
    return Outcome(True, f"{authority.layout.crl_der} is not the same CRL", state, state)


def has_ended(path: str, now: datetime) -> bool:
    """Return whether the CA certificate of the authority at ``path`` has expired: nothing it signed verifies any more."""
    return open_authority(path).certificate.not_valid_after_utc <= now


def _read(path: str) -> bytes | None:
    try:
        return read_file(path, _LARGEST)
    except FileNotFoundError:
        return None


def _signer(
    authority: Authority, rules: Rules, passphrase: bytes | None, before: State | None, now: datetime
) -> Signer:
    try:
        return authority.signer(passphrase, now)
    except MtlsError as problem:
        if before is None or before.next_update - now >= rules.min_remaining:
            raise
        left = before.next_update - now
        end = f"in {_days(left)}" if left > timedelta(0) else f"{_days(-left)} ago, and nginx refuses every client"
        raise MtlsError(
            f"{problem.what}. Meanwhile the CRL {authority.layout.crl} ends at {iso(before.next_update)}, {end}; "
            f"its minimum is {_days(rules.min_remaining)}",
            problem.hint,
        ) from None


def _days(length: timedelta) -> str:
    return f"{length.days} days" if length.days > 1 else f"{int(length.total_seconds() // 3600)} hours"


def load(authority: Authority) -> x509.CertificateRevocationList | None:
    """Return the authority's current CRL, or None if there is none or this authority did not sign it."""
    found = _read_current(authority)
    return found.crl if found else None


def _read_current(authority: Authority) -> _Found | None:
    try:
        blocks = split_pem(read_file(authority.layout.crl, _LARGEST), CRL)
        if not blocks:
            return None
        der = decode_pem(blocks[0])
        crl = x509.load_der_x509_crl(der)
        found = _Found(crl, der)
        return found if _is_signed_by(found, authority.certificate.public_key()) else None
    except (FileNotFoundError, ValueError, TypeError, UnsupportedAlgorithm):
        return None


def _is_signed_by(found: _Found, key: CertificatePublicKeyTypes) -> bool:
    """Return whether a CRL was signed with a key, without encoding every entry again as cryptography would."""
    crl, data = found.crl, crl_encoding.signed_part(found.der)
    how, digest = crl.signature_algorithm_parameters, crl.signature_hash_algorithm
    if data is None or digest is None:
        return False
    try:
        if isinstance(key, rsa.RSAPublicKey) and isinstance(how, (padding.PKCS1v15, padding.PSS)):
            key.verify(crl.signature, data, how, digest)
        elif isinstance(key, ec.EllipticCurvePublicKey) and isinstance(how, ec.ECDSA):
            key.verify(crl.signature, data, how)
        else:
            return False
    except InvalidSignature:
        return False
    return True


def current(authority: Authority) -> State | None:
    """Return the state of the authority's current CRL, or None if it is missing or not sound."""
    found = _read_current(authority)
    return _state(found) if found else None


def _state(found: _Found) -> State | None:
    crl = found.crl
    if crl.next_update_utc is None:
        return None
    return State(
        _number(crl),
        crl.last_update_utc,
        crl.next_update_utc,
        frozenset(crl_encoding.serials(found.der)),
        any(extension.oid == x509.AuthorityKeyIdentifier.oid for extension in crl.extensions),
    )


def why_due(authority: Authority, state: State | None, renew_before: timedelta, now: datetime) -> str | None:
    """Return why a new CRL is needed, or None if the current one is good.

    :raises MtlsError: if a certificate on the current CRL is not revoked in the database: then revocations were lost.
    """
    if state is None:
        return "no CRL signed by this authority exists"
    revoked = {row.serial: row for row in authority.rows if row.is_revoked}
    _refuse_lost(authority, sorted(state.serials - revoked.keys()))
    issued = _issued(state, now)
    missing = sorted(
        serial for serial, row in revoked.items() if serial not in state.serials and row.not_after > issued
    )
    if missing:
        return f"revoked since: {', '.join(missing[:10])}" + (
            f" and {len(missing) - 10} more" if len(missing) > 10 else ""
        )
    if state.next_update - now <= renew_before:
        return f"it ends at {iso(state.next_update)}"
    if state.last_update > now:
        return f"it begins only at {iso(state.last_update)}"
    if state.number is None or not state.names_key:
        return "it lacks the number or the authority key identifier"
    return None


def _issued(state: State, now: datetime) -> datetime:
    """Return when a CRL was issued, at most now: a clock that was ahead must not drop entries too early."""
    return min(state.last_update, now)


def _refuse_lost(authority: Authority, lost: list[str]) -> None:
    if lost:
        raise MtlsError(
            f"{authority.layout.crl} revokes {lost[0]}, which {authority.layout.index} does not ({len(lost)} such in all): "
            "revocations were lost",
            f"Restore the newest {authority.layout.index} from the backup, or revoke them again with module revocation; "
            "remove the CRL to discard these revocations",
        )


def _write(
    authority: Authority, signer: Signer, rules: Rules, before: State | None, number: int, now: datetime
) -> State:
    next_update = now + rules.valid_for
    # RFC 5280 section 3.3: an entry stays until one CRL was issued after the end of its certificate.
    since = sortable(asn1(_issued(before, now))) if before else ""
    rows = [row for row in authority.rows if row.is_revoked and sortable(row.expires) >= since]
    signed = _sign(signer, rows, number, now - BACKDATE, next_update)
    # The number is consumed before the CRL exists: a kill in between leaves a gap, but never repeats a number.
    rewrite_atomic(authority.layout.crl_number, f"{serial_hex(number + 1)}\n".encode(), PUBLIC_FILE)
    put_all(
        [
            NewFile(authority.layout.crl, encode_pem(signed.der, CRL).encode("ascii"), PUBLIC_FILE),
            NewFile(authority.layout.crl_der, signed.der, PUBLIC_FILE),
        ]
    )
    return State(number, signed.crl.last_update_utc, next_update, frozenset(row.serial for row in rows))


def _sign(signer: Signer, rows: list[Row], number: int, last_update: datetime, next_update: datetime) -> _Found:
    """Return the CRL: cryptography signs one without entries, the entries are added, and cryptography reads the result."""
    builder = x509.CertificateRevocationListBuilder(
        issuer_name=signer.certificate.subject,
        last_update=_naive(last_update),
        next_update=_naive(next_update),
        extensions=[
            x509.Extension(x509.AuthorityKeyIdentifier.oid, False, authority_key_identifier(signer.certificate)),
            x509.Extension(x509.CRLNumber.oid, False, x509.CRLNumber(number)),
        ],
    )
    empty = builder.sign(signer.key, signing_hash(signer.key)).public_bytes(Encoding.DER)
    crl = crl_encoding.with_entries(empty, rows, functools.partial(sign, signer.key))
    return _Found(x509.load_der_x509_crl(crl), crl)


def reason_of(entry: x509.RevokedCertificate) -> str | None:
    """Return the reason of an entry of a CRL in the spelling of openssl's database, or None."""
    try:
        flag = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    except x509.ExtensionNotFound:
        return None
    # RFC 5280 section 5.3.1 spells it cACompromise, openssl's database CACompromise.
    word: str = "CACompromise" if flag is x509.ReasonFlags.ca_compromise else flag.value
    return word if word in crl_encoding.CODES else None


def _naive(when: datetime) -> datetime:
    return when.astimezone(timezone.utc).replace(tzinfo=None)


def _number(crl: x509.CertificateRevocationList) -> int | None:
    try:
        return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return None


def _next_number(authority: Authority, before: State | None) -> int:
    path = authority.layout.crl_number
    try:
        text = read_file(path).decode("ascii").strip()
        if not _NUMBER.fullmatch(text):
            raise ValueError(text)
        return int(text, 16)
    except FileNotFoundError:
        if before is None:
            # With a lower number, hosts that have a CRL with a higher one would ignore every CRL from now on.
            raise MtlsError(
                f"{path} is missing, and no CRL has its number",
                "Restore it from the backup, or write a hexadecimal number into it, higher than the last CRL's",
            ) from None
        return 1
    except ValueError:
        raise MtlsError(
            f"{path} is not a hexadecimal number",
            "Write the number of the next CRL into it, higher than the last one's",
        ) from None
