# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The entries of a CRL, written and read as DER (RFC 5280 section 5.1).

cryptography wants an object for every entry, and a CRL may have a million. So it makes, and later checks, a CRL as a whole; the
list of entries in the middle of it is ours.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from . import der
from .clock import parse_asn1
from .database import parse_reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from .database import Row

# RFC 5280 section 5.3.1. ``unspecified`` is said by saying nothing.
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


def entry(row: Row) -> bytes:
    """Return the entry of a revoked certificate: serial, time, and what is known of the reason."""
    at, _comma, why = row.revoked.partition(",")
    contents = _serial(row.serial) + _time(at) + _extensions(why)
    if len(contents) < 0x80:
        return bytes((der.SEQUENCE, len(contents))) + contents
    return der.encode(der.SEQUENCE, contents)


def _serial(text: str) -> bytes:
    # A leading bit would make the number negative.
    value = bytes.fromhex(text if text[0] < "8" else "00" + text)
    return der.encode(der.INTEGER, value)


def _time(text: str) -> bytes:
    if len(text) == 13:
        return b"\x17\x0d" + text.encode("ascii")
    return _encoded_time(parse_asn1(text))


def _encoded_time(when: datetime) -> bytes:
    # Section 4.1.2.5: UTCTime through the year 2049.
    if 1950 <= when.year < 2050:
        return der.encode(der.UTC_TIME, when.strftime("%y%m%d%H%M%SZ").encode("ascii"))
    return der.encode(der.GENERALIZED_TIME, _generalized(when))


def _generalized(when: datetime) -> bytes:
    return f"{when.year:04d}{when:%m%d%H%M%S}Z".encode("ascii")


@functools.lru_cache(maxsize=1024)
def _extensions(why: str) -> bytes:
    reason, invalid_since = parse_reason(why)
    found = []
    if reason in CODES:
        found.append(_extension(_REASON_CODE, der.encode(der.ENUMERATED, bytes([CODES[reason]]))))
    if invalid_since:
        found.append(_extension(_INVALIDITY_DATE, der.encode(der.GENERALIZED_TIME, _generalized(invalid_since))))
    return der.encode(der.SEQUENCE, *found) if found else b""


def _extension(oid: bytes, value: bytes) -> bytes:
    return der.encode(der.SEQUENCE, der.encode(der.OID, oid), der.encode(der.OCTETS, value))


def with_entries(empty: bytes, rows: Iterable[Row], sign: Callable[[bytes], bytes]) -> bytes:
    """Return the CRL ``empty`` (DER, without entries) with these entries, signed anew.

    :param sign: returns the signature of its argument, made with the algorithm that ``empty`` names.
    """
    fields = [empty[start:end] for start, _contents, end in _fields(empty)]
    # Section 5.1: version, signature, issuer, thisUpdate, nextUpdate, revokedCertificates, crlExtensions. No empty list.
    entries = b"".join(map(entry, rows))
    listed = [der.encode(der.SEQUENCE, entries)] if entries else []
    body = der.encode(der.SEQUENCE, *fields[:5], *listed, *fields[5:])
    return der.encode(der.SEQUENCE, body, fields[1], der.encode(der.BITS, b"\x00", sign(body)))


def _fields(crl: bytes) -> list[tuple[int, int, int]]:
    """Return where the fields of the TBSCertList lie."""
    _start, contents, end = next(der.values(crl, 0, len(crl)))
    _start, contents, end = next(der.values(crl, contents, end))
    return list(der.values(crl, contents, end))


def serials(crl: bytes) -> list[str]:
    """Return the serials (hex, as in index.txt) on a CRL (DER) that cryptography has read and found sound."""
    for start, contents, end in _fields(crl)[3:]:
        # After signature and issuer, the one SEQUENCE is the list of entries.
        if crl[start] == der.SEQUENCE:
            return [_hex(crl, first) for _start, first, _end in der.values(crl, contents, end)]
    return []


def _hex(crl: bytes, start: int) -> str:
    # Serials are at most 20 octets long (section 4.1.2.2): one octet tells their length.
    text = crl[start + 2 : start + 2 + crl[start + 1]].hex().upper()
    return text[2:] if text.startswith("00") and len(text) > 2 else text
