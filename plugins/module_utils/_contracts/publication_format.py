# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the files of a publication and of the installed trust."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


# RFC 7468 section 2: lines of 64 characters, the last of them may be shorter.
_LINE = re.compile(".{1,64}")


_ESCAPES = {"+": "%2B", "/": "%2F", "=": "%3D", "\n": "%0A"}


def _escaped_pem(text: str) -> str:
    """Return what stands between the armour in ``$ssl_client_escaped_cert``: lines, escaped as RFC 3986 section 2.1 has it."""
    escaped = "\n".join(_LINE.findall(text))
    for char, escape in _ESCAPES.items():
        escaped = escaped.replace(char, escape)
    return escaped


# How a certificate is written, as the keys of ``edge_profiles.WAYS`` have it -> its text there, of its DER encoding in Base64.
CERTIFICATE_ENCODINGS: dict[str, Callable[[str], str]] = {"certificate": str, "certificate_pem": _escaped_pem}


def edge_file_of(spelling: str) -> str:
    """Return the name of the file of trust that has the maps of a spelling."""
    return f"edge-{spelling.replace('_', '-')}.conf"
