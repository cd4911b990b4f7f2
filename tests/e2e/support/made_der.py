# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates written by hand, thousands in no time. Nothing in them is signed; who issued which, and its serial, are told."""

from __future__ import annotations

import base64
import hashlib
import textwrap
from typing import Any

UTF8, PRINTABLE = 0x0C, 0x13
_INTEGER, _BITS, _OID, _SEQUENCE, _SET = 0x02, 0x03, 0x06, 0x30, 0x31
_COMMON_NAME = bytes.fromhex("550403")


def value(tag: int, *contents: bytes) -> bytes:
    """Return one value in DER."""
    data = b"".join(contents)
    size = len(data).to_bytes(max(1, (len(data).bit_length() + 7) // 8), "big")
    return bytes([tag]) + (size if len(data) < 0x80 else bytes([0x80 | len(size)]) + size) + data


def name(text: str, kind: int = UTF8) -> bytes:
    """Return a name that is nothing but a common name."""
    pair = value(_SEQUENCE, value(_OID, _COMMON_NAME), value(kind, text.encode()))
    return value(_SEQUENCE, value(_SET, pair))


def certificate(
    issuer: bytes, serial: int, *, subject: bytes = b"", more: bytes = b"", version: bytes = b"\xa0\x03\x02\x01\x02"
) -> bytes:
    """Return a certificate. The issuer and the subject are names; ``more`` stands in place of its signature."""
    number = value(_INTEGER, serial.to_bytes(serial.bit_length() // 8 + 1, "big", signed=True))
    nothing = value(_SEQUENCE)
    fields = value(_SEQUENCE, version, number, nothing, issuer, nothing, subject or name("x"), nothing)
    return value(_SEQUENCE, fields, nothing, value(_BITS, b"\0", more))


def described(der: bytes) -> dict[str, Any]:
    """Return what identities.json says of a certificate."""
    return {
        "sha256": hashlib.sha256(der).hexdigest(),
        "sha1": hashlib.sha1(der, usedforsecurity=False).hexdigest(),
        "der": base64.b64encode(der).decode(),
    }


def pem(der: bytes) -> str:
    """Return it as PEM."""
    lines = textwrap.wrap(base64.b64encode(der).decode(), 64)
    return "\n".join(("-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""))
