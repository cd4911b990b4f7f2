# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Encode and decode the entries of a CRL in DER (RFC 5280 section 5.1).

cryptography needs an object for every entry, and a CRL may have a million. It therefore builds and checks the CRL as a whole,
while this module encodes the list of entries.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from .._common import asn1, timestamps
from .._common.timestamps import parse_asn1
from .index_database import parse_reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from .index_database import Row

# RFC 5280 section 5.3.1. ``unspecified`` is expressed by the absence of the extension.
CODES = {
    "keyCompromise": 1,
    "CACompromise": 2,
    "affiliationChanged": 3,
    "superseded": 4,
    "cessationOfOperation": 5,
    "certificateHold": 6,
}
# The contents of the object identifiers of sections 5.3.1 and 5.3.2.
_REASON_CODE = bytes.fromhex("551d15")
_INVALIDITY_DATE = bytes.fromhex("551d18")
# Tag and length of a UTCTime, which always has thirteen octets.
_UTC = bytes((asn1.UTC_TIME, 13))


def entry(row: Row) -> bytes:
    """Return the entry of a revoked certificate: serial, time and, if known, the reason."""
    at, _comma, why = row.revoked.partition(",")
    serial = bytes.fromhex(row.serial)
    if serial[0] >= 0x80:  # a leading bit would make the number negative
        serial = b"\0" + serial
    if len(at) == 13:
        head, tail = _around(len(serial), why)
        return head + serial + _UTC + at.encode("ascii") + tail
    return asn1.encode(
        asn1.SEQUENCE, asn1.encode(asn1.INTEGER, serial), _encoded_time(parse_asn1(at)), _extensions(why)
    )


# Cached, because nearly all entries differ only in serial and time.
@functools.lru_cache(maxsize=1024)
def _around(size: int, why: str) -> tuple[bytes, bytes]:
    """Return the bytes of an entry before a serial of ``size`` octets and after the UTCTime."""
    tail = _extensions(why)
    whole = asn1.encode(asn1.SEQUENCE, asn1.encode(asn1.INTEGER, bytes(size)), _UTC, bytes(13), tail)
    return whole[: len(whole) - size - len(_UTC) - 13 - len(tail)], tail


def _encoded_time(when: datetime) -> bytes:
    text = timestamps.asn1(when)
    return asn1.encode(asn1.UTC_TIME if len(text) == 13 else asn1.GENERALIZED_TIME, text.encode("ascii"))


def _encoded_generalized_time(when: datetime) -> bytes:
    return asn1.encode(asn1.GENERALIZED_TIME, timestamps.generalized_time(when).encode("ascii"))


@functools.lru_cache(maxsize=1024)
def _extensions(why: str) -> bytes:
    reason, invalid_since = parse_reason(why)
    found = []
    if reason in CODES:
        found.append(_extension(_REASON_CODE, asn1.encode(asn1.ENUMERATED, bytes([CODES[reason]]))))
    if invalid_since:
        found.append(_extension(_INVALIDITY_DATE, _encoded_generalized_time(invalid_since)))
    return asn1.encode(asn1.SEQUENCE, *found) if found else b""


def _extension(oid: bytes, value: bytes) -> bytes:
    return asn1.encode(asn1.SEQUENCE, asn1.encode(asn1.OID, oid), asn1.encode(asn1.OCTETS, value))


def with_entries(empty: bytes, rows: Iterable[Row], sign: Callable[[bytes], bytes]) -> bytes:
    """Return the CRL ``empty`` (DER, without entries) with these entries, signed anew.

    :param sign: returns the signature of its argument, made with the algorithm that ``empty`` names.
    """
    fields = [empty[start:end] for start, _contents, end in _fields(empty)]
    # Section 5.1: version, signature, issuer, thisUpdate, nextUpdate, revokedCertificates (never empty), crlExtensions.
    entries = b"".join(map(entry, rows))
    listed = [asn1.encode(asn1.SEQUENCE, entries)] if entries else []
    body = asn1.encode(asn1.SEQUENCE, *fields[:5], *listed, *fields[5:])
    return asn1.encode(asn1.SEQUENCE, body, fields[1], asn1.encode(asn1.BITS, b"\x00", sign(body)))


def signed_part(crl: bytes) -> bytes | None:
    """Return the signed part (TBSCertList) of a CRL (DER), or None if its two algorithm fields differ."""
    _start, contents, end = next(asn1.values(crl, 0, len(crl)))
    (start, _first, stop), (outer, _second, outer_end), *_signature = asn1.values(crl, contents, end)
    # Section 5.1.1.2: both fields must be equal.
    inner = crl[outer:outer_end]
    return crl[start:stop] if inner in [crl[first:last] for first, _inside, last in _fields(crl)[:2]] else None


def _fields(crl: bytes) -> list[tuple[int, int, int]]:
    """Return the positions of the fields of the TBSCertList."""
    _start, contents, end = next(asn1.values(crl, 0, len(crl)))
    _start, contents, end = next(asn1.values(crl, contents, end))
    return list(asn1.values(crl, contents, end))


def serials(crl: bytes) -> list[str]:
    """Return the serials (hex, as in index.txt) on a CRL (DER) that cryptography has checked."""
    for start, contents, end in _fields(crl)[3:]:
        # The only SEQUENCE after signature and issuer is the list of entries.
        if crl[start] == asn1.SEQUENCE:
            return _hex(_raw_serials(crl, contents, end))
    return []


def _raw_serials(crl: bytes, start: int, end: int) -> Iterator[bytes]:
    while start < end:
        size, first = crl[start + 1], start + 2
        if size >= 0x80:
            first += size & 0x7F
            size = int.from_bytes(crl[start + 2 : first], "big")
        # Serials have at most 20 octets (section 4.1.2.2), so one octet holds the length. A leading zero keeps them positive.
        length = crl[first + 1]
        yield crl[first + 2 + (length > 1 and crl[first + 2] == 0) : first + 2 + length]
        start = first + size


def _hex(serials: Iterator[bytes]) -> list[str]:
    # One call of upper() for all serials, because a hundred thousand calls are slow.
    return " ".join([serial.hex() for serial in serials]).upper().split()
