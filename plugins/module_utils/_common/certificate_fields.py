# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read serial, issuer and subject from the DER encoding of a certificate.

Only the standard library is used. Data that do not follow RFC 5280 section 4.1 are rejected; the signature is not verified.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

_INTEGER, _BITS, _OID, _SEQUENCE, _SET, _VERSION = 0x02, 0x03, 0x06, 0x30, 0x31, 0xA0
_UTF8_STRING, _PRINTABLE_STRING, _IA5_STRING = 0x0C, 0x13, 0x16
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")


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
    tbs, after = _expect(der, 0, len(der), _SEQUENCE)
    _require(after == len(der))
    fields, after_fields = _expect(der, tbs, after, _SEQUENCE)
    _signature, at = _expect(der, after_fields, after, _SEQUENCE)
    _bits, at = _expect(der, at, after, _BITS)
    _require(at == after)
    at = fields
    if der[at] == _VERSION:
        inner, at = _expect(der, at, after_fields, _VERSION)
        _number, end = _expect(der, inner, at, _INTEGER)
        _require(end == at)
    number, at_signature = _expect(der, at, after_fields, _INTEGER)
    _algorithm, at_issuer = _expect(der, at_signature, after_fields, _SEQUENCE)
    _names, at_validity = _expect(der, at_issuer, after_fields, _SEQUENCE)
    _dates, at_subject = _expect(der, at_validity, after_fields, _SEQUENCE)
    _names, at_key = _expect(der, at_subject, after_fields, _SEQUENCE)
    _expect(der, at_key, after_fields, _SEQUENCE)
    return Certificate(_format_serial(der[number:at_signature]), der[at_issuer:at_validity], der[at_subject:at_key])


def subjects_in(pem: str) -> dict[str, bytes]:
    """Return the subject (DER) of each certificate in a PEM text by its SHA-256 (lower-case hex). Skip damaged certificates."""
    found = {}
    for block in _PEM.findall(pem):
        try:
            der = base64.b64decode("".join(block.split()), validate=True)
            found[hashlib.sha256(der).hexdigest()] = read_certificate(der).subject
        except (binascii.Error, ValueError):
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
    at, end = _expect(name, 0, len(name), _SEQUENCE)
    _require(end == len(name))
    while at < end:
        inner, at = _expect(name, at, end, _SET)
        found.append(_read_attribute_set(name, inner, at))
    return found


def _read_attribute_set(name: bytes, at: int, end: int) -> list[tuple[bytes, int, bytes]]:
    found = []
    while at < end:
        inner, at = _expect(name, at, end, _SEQUENCE)
        kind, after_kind = _expect(name, inner, at, _OID)
        value, last = _read_value(name, after_kind, at)
        _require(last == at)
        tag = _UTF8_STRING if name[after_kind] in (_PRINTABLE_STRING, _IA5_STRING) else name[after_kind]
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


def _expect(data: bytes, start: int, end: int, tag: int) -> tuple[int, int]:
    """Return start and end of the contents of the value at ``start``, which must have this tag and end by ``end``."""
    _require(start < end and data[start] == tag)
    return _read_value(data, start, end)


def _read_value(data: bytes, start: int, end: int) -> tuple[int, int]:
    _require(start + 2 <= end and data[start] & 0x1F != 0x1F)
    size, contents = data[start + 1], start + 2
    if size >= 0x80:
        # X.690 section 10.1: the definite form, in as few bytes as possible.
        count = size & 0x7F
        _require(0 < count <= 4 and contents + count <= end)
        size = int.from_bytes(data[contents : contents + count], "big")
        _require(size >= 0x80 and size >> (8 * (count - 1)) > 0)
        contents += count
    _require(contents + size <= end)
    return contents, contents + size


def _require(valid: bool) -> None:
    if not valid:
        raise ValueError("not the DER encoding of a certificate")
