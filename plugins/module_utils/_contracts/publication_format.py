# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the files of a publication and of the installed trust."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


# The name of the CAs' file, which gates trust directly or through the anchors.
CHAIN = "ca.pem"
# The files of a publication, and the manifest with their digests and the generation, which is written last.
DATA_FILES = (CHAIN, "crl.pem", "identities.json", "denied.json")
MANIFEST = "trust.json"

# RFC 7468 section 2: lines have 64 characters, the last line may be shorter.
_LINE = re.compile(".{1,64}")


_ESCAPES = {"+": "%2B", "/": "%2F", "=": "%3D", "\n": "%0A"}


def _escape_pem(text: str) -> str:
    """Return the text between BEGIN and END in ``$ssl_client_escaped_cert``: lines, percent-encoded (RFC 3986 section 2.1)."""
    escaped = "\n".join(_LINE.findall(text))
    for char, escape in _ESCAPES.items():
        escaped = escaped.replace(char, escape)
    return escaped


# Name of an encoding in ``edge_profiles.WAYS`` -> function from the DER in Base64 to the text that the proxy sends.
CERTIFICATE_ENCODINGS: dict[str, Callable[[str], str]] = {"certificate": str, "certificate_pem": _escape_pem}


def edge_file_of(encoding: str) -> str:
    """Return the name of the installed file with the maps of an encoding."""
    return f"edge-{encoding.replace('_', '-')}.conf"
