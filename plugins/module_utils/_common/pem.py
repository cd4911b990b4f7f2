# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Split, decode and encode PEM texts (RFC 7468). Text around the blocks is ignored."""

from __future__ import annotations

import base64
import re

CERTIFICATE = "CERTIFICATE"
CRL = "X509 CRL"
ENCRYPTED_KEY = "ENCRYPTED PRIVATE KEY"
PUBLIC_KEY = "PUBLIC KEY"
TRUSTED_CERTIFICATE = "TRUSTED CERTIFICATE"
_BEGIN = re.compile(r"-----BEGIN ([^-\r\n]*)")
_LINE_LENGTH = 64
_MARK = "-----"


def pem_labels(text: str | bytes) -> list[str]:
    """Return the label of every BEGIN line, also of blocks without an END line."""
    return _BEGIN.findall(_decode_text(text))


def split_pem(text: str | bytes, label: str) -> list[str]:
    """Return the complete blocks with a label, from BEGIN to END, without the line end after END."""
    return re.findall(_pattern(label), _decode_text(text))


def split_whole_pem(text: str, label: str) -> list[str]:
    """Return the blocks as ``split_pem`` does.

    :raises ValueError: if there is none, or if the text has another block or a damaged one.
    """
    found = split_pem(text, label)
    if not found or _MARK in remove_pem(text, label):
        raise ValueError(f"the text does not consist of whole blocks {label}")
    return found


def remove_pem(text: str, label: str) -> str:
    """Return the text without the complete blocks with a label."""
    return re.sub(_pattern(label), "", text)


def decode_pem(block: str) -> bytes:
    """Return the bytes in a block that ``split_pem`` returned.

    :raises ValueError: if the text between BEGIN and END is not Base64.
    """
    return base64.b64decode("".join(block.split(_MARK)[2].split()), validate=True)


def encode_pem(data: bytes, label: str) -> str:
    """Return one block, with a line end after END."""
    text = base64.b64encode(data).decode("ascii")
    lines = (text[start : start + _LINE_LENGTH] for start in range(0, len(text), _LINE_LENGTH))
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])


def _pattern(label: str) -> str:
    # Base64 has no hyphen. So a block without an END line does not include the block after it.
    return f"-----BEGIN {label}-----[^-]*-----END {label}-----"


def _decode_text(text: str | bytes) -> str:
    # PEM is ASCII. Latin-1 accepts any bytes, because files may have other text around the blocks.
    return text if isinstance(text, str) else text.decode("latin-1")
