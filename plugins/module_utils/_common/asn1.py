# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Encode DER values and iterate over them (X.690)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

INTEGER, BITS, OCTETS, NULL, OID, ENUMERATED, UTF8_STRING = 0x02, 0x03, 0x04, 0x05, 0x06, 0x0A, 0x0C
UTC_TIME, GENERALIZED_TIME, SEQUENCE = 0x17, 0x18, 0x30


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
