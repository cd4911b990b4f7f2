# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The little of DER (X.690) that is written by hand."""

from __future__ import annotations

INTEGER, OCTETS, NULL, OID, UTF8_STRING, SEQUENCE = 0x02, 0x04, 0x05, 0x06, 0x0C, 0x30


def encode(tag: int, *contents: bytes) -> bytes:
    """Return one value: tag, length (section 8.1.3), contents."""
    data = b"".join(contents)
    size = len(data)
    if size < 0x80:
        return bytes([tag, size]) + data
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + data
