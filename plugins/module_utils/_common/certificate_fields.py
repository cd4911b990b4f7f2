# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read serial, issuer and subject from the DER encoding of a certificate.

Only the standard library is used. Data that do not follow RFC 5280 section 4.1 are rejected; the signature is not verified.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from .asn1 import BITS, IA5_STRING, INTEGER, OID, PRINTABLE_STRING, SEQUENCE, SET, UTF8_STRING, expect, read_value
from .pem import CERTIFICATE, decode_pem, split_pem

_VERSION = 0xA0


@dataclass(frozen=True)
class Certificate:
    """The fields of a certificate that identify it.

    :param serial: in the form of ``$ssl_client_serial``.
    :param issuer: the DER encoding of the issuer's Name.
    :param subject: the DER encoding of the subject's Name.
    """

    serial: str
    issuer: bytes
    subject: bytes


def read_certificate(der: bytes) -> Certificate:
    """Return the fields of a certificate.

    :raises ValueError: if ``der`` is not the DER encoding of a certificate.
    """
    tbs, after = expect(der, 0, len(der), SEQUENCE)
    _require(after == len(der))
    fields, after_fields = expect(der, tbs, after, SEQUENCE)
    _signature, at = expect(der, after_fields, after, SEQUENCE)
    _bits, at = expect(der, at, after, BITS)
    _require(at == after)
    at = fields
    if der[at] == _VERSION:
        inner, at = expect(der, at, after_fields, _VERSION)
        _number, end = expect(der, inner, at, INTEGER)
        _require(end == at)
    number, at_signature = expect(der, at, after_fields, INTEGER)
    _algorithm, at_issuer = expect(der, at_signature, after_fields, SEQUENCE)
    _names, at_validity = expect(der, at_issuer, after_fields, SEQUENCE)
    _dates, at_subject = expect(der, at_validity, after_fields, SEQUENCE)
    _names, at_key = expect(der, at_subject, after_fields, SEQUENCE)
    expect(der, at_key, after_fields, SEQUENCE)
    return Certificate(_format_serial(der[number:at_signature]), der[at_issuer:at_validity], der[at_subject:at_key])


def subjects_in(pem: str) -> dict[str, bytes]:
    """Return the subject (DER) of each certificate in a PEM text by its SHA-256 (lower-case hex). Skip damaged certificates."""
    found = {}
    for block in split_pem(pem, CERTIFICATE):
        try:
            der = decode_pem(block)
            found[hashlib.sha256(der).hexdigest()] = read_certificate(der).subject
        except ValueError:
            continue
    return found


def same_name(one: bytes, other: bytes) -> bool:
    """Return whether two names (DER) are equal, whatever string type each uses for ASCII text.

    A renewed CA may encode its name with another string type. Verifiers still treat both names as equal.
    """
    if one == other:
        return True
    try:
        return _read_attributes(one) == _read_attributes(other)
    except ValueError:
        return False


def _read_attributes(name: bytes) -> list[list[tuple[bytes, int, bytes]]]:
    found = []
    at, end = expect(name, 0, len(name), SEQUENCE)
    _require(end == len(name))
    while at < end:
        inner, at = expect(name, at, end, SET)
        found.append(_read_attribute_set(name, inner, at))
    return found


def _read_attribute_set(name: bytes, at: int, end: int) -> list[tuple[bytes, int, bytes]]:
    found = []
    while at < end:
        inner, at = expect(name, at, end, SEQUENCE)
        kind, after_kind = expect(name, inner, at, OID)
        value, last = read_value(name, after_kind, at)
        _require(last == at)
        tag = UTF8_STRING if name[after_kind] in (PRINTABLE_STRING, IA5_STRING) else name[after_kind]
        found.append((name[kind:after_kind], tag, name[value:last]))
    return sorted(found)


def _format_serial(contents: bytes) -> str:
    """Return a serial number in the form of i2a_ASN1_INTEGER().

    :raises ValueError: if it is negative (RFC 5280 section 4.1.2.2).
    """
    _require(bool(contents) and contents[0] < 0x80)
    if len(contents) > 1 and contents[0] == 0:
        _require(contents[1] >= 0x80)
        contents = contents[1:]
    return contents.hex().upper()


def _require(valid: bool) -> None:
    if not valid:
        raise ValueError("not the DER encoding of a certificate")
