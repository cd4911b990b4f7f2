# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Encode and read DER values (X.690)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

INTEGER, BITS, OCTETS, NULL, OID, ENUMERATED, UTF8_STRING = 0x02, 0x03, 0x04, 0x05, 0x06, 0x0A, 0x0C
PRINTABLE_STRING, IA5_STRING, UTC_TIME, GENERALIZED_TIME, SEQUENCE, SET = 0x13, 0x16, 0x17, 0x18, 0x30, 0x31


def encode(tag: int, *contents: bytes) -> bytes:
    """Return one value: tag, length (section 8.1.3), contents."""
    data = b"".join(contents)
    size = len(data)
    if size < 0x80:
        return bytes([tag, size]) + data
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + data


def values(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield start, start of the contents, and end of every value in ``data[start:end]``, which must be valid DER."""
    while start < end:
        size, contents = data[start + 1], start + 2
        if size >= 0x80:
            contents += size & 0x7F
            size = int.from_bytes(data[start + 2 : contents], "big")
        yield start, contents, contents + size
        start = contents + size


def read_value(data: bytes, start: int, end: int) -> tuple[int, int]:
    """Return start and end of the contents of the value at ``start``, whatever its tag.

    :raises ValueError: if the value does not end by ``end``, or is not DER.
    """
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


def expect(data: bytes, start: int, end: int, tag: int) -> tuple[int, int]:
    """Return start and end of the contents of the value at ``start``, which must have this tag.

    :raises ValueError: if it has another tag, does not end by ``end``, or is not DER.
    """
    _require(start < end and data[start] == tag)
    return read_value(data, start, end)


def _require(valid: bool) -> None:
    if not valid:
        raise ValueError("not the DER encoding of the expected value")
