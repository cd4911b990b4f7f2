# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Quote arbitrary text as one token of an nginx configuration.

ngx_conf_read_token() in src/core/ngx_conf_file.c reads tokens: between double quotes only the backslash and the quote itself are
special, and a token must fit into a buffer of 4096 bytes.
"""

from __future__ import annotations

import re
import string
import unicodedata

from .._common.errors import MtlsError

# NGX_CONF_BUFFER is 4096: the text between the quotes, the closing quote and the character after it must fit.
LONGEST_TOKEN = 4094
_PLAIN_IN_PATTERN = frozenset(f"{string.ascii_letters}{string.digits} _,=@:/-'".encode())


def quote(value: str) -> str:
    """Return ``value`` as one quoted token for a directive whose arguments can contain variables.

    :raises MtlsError: if the text contains control characters or ``$`` (which cannot be escaped), or is too long.
    """
    if "$" in value:
        raise MtlsError(
            f"{_shown(value)} contains a $, which nginx would read as a variable and which cannot be escaped",
            "Remove the $",
        )
    return quote_verbatim(value)


def quote_verbatim(value: str) -> str:
    """Return ``value`` as one quoted token for an argument without variables, such as the path of an include or a key of a map.

    :raises MtlsError: if the text contains control characters, or is too long.
    """
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in value):
        raise MtlsError(f"{_shown(value)} contains a control character", "Remove it")
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    if len(escaped.encode()) > LONGEST_TOKEN:
        raise MtlsError(f"{_shown(value)} is longer than the {LONGEST_TOKEN} bytes of one word in nginx", "Shorten it")
    return f'"{escaped}"'


def quote_pattern(pattern: str) -> str:
    r"""Return a regular expression as one quoted token, with no more backslashes than nginx needs.

    Between quotes nginx keeps a backslash, except before a quote, a backslash, and the letters of ``\t``, ``\r`` and ``\n``.

    :raises MtlsError: if the expression is too long for nginx.
    """
    escaped = re.sub(r"""\\(?=[\\'"trn]|\Z)|["]""", r"\\\g<0>", pattern)
    if len(escaped.encode()) > LONGEST_TOKEN:
        raise MtlsError(
            f"{_shown(pattern)} is longer than the {LONGEST_TOKEN} bytes of one word in nginx", "Shorten it"
        )
    return f'"{escaped}"'


def regex_exact(text: str) -> str:
    r"""Return a key for ``map``: a case-sensitive regular expression that matches exactly ``text``.

    Bytes that could be special in PCRE are written as ``\xHH``; ``\z`` is used because ``$`` also matches before a final
    newline.

    :raises MtlsError: if the expression is too long for nginx, or the text is not Unicode.
    """
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise MtlsError(f"{_shown(text)} is not Unicode text", "Remove the surrogates") from None
    pattern = "".join(chr(byte) if byte in _PLAIN_IN_PATTERN else f"\\x{byte:02x}" for byte in data)
    return quote_verbatim(f"~^{pattern}\\z")


def _shown(value: str) -> str:
    return ascii(value if len(value) <= 60 else f"{value[:57]}...")
