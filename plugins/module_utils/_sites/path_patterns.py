# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
r"""Render the spellings of a guarded path as regular expressions for `map`.

nginx decodes a path once, resolves its dot segments and merges its slashes (``$uri``), and passes to the application the text of
the client (``$request_uri``). An application may read that in another way: decode it again, ignore case, drop the text behind a
semicolon, treat a backslash as a slash, keep dot segments (RFC 3986 section 6.2 has some of it).
So the maps check two things: whether nginx reads it as the path, and whether another program could.

The expressions use only the syntax of Python's ``re``, for bytes and ignoring case, so they can be tested alone.
"""

from __future__ import annotations

from .._nginx.quoting import quote_verbatim

# One byte other than a letter, digit, underscore, tilde or hyphen: unencoded, or percent-encoded any number of times.
_SEPARATOR = r"(?:[^a-z0-9_~?%-]|%(?:25)*(?:[01][0-9a-f]|2[0-9a-f]|3[a-f]|40|5[b-e]|60|7[b-f]|[89a-f][0-9a-f]))"
# Two to four bytes beyond ASCII can be a letter that Unicode folds to an ASCII one: dotless i, long s, full width.
_LOOK_ALIKE = r"(?:[\x80-\xff]|%(?:25)*[89a-f][0-9a-f]){2,4}"
# The end of a whole word. A percent sign ends it, because a letter does not need encoding.
_END = r"(?![A-Za-z0-9_~-])"
_SCRIPTS = "php[0-9]?|phtml|phar|f?cgi|pl|py|rb|aspx?|ashx|asmx|jspx?|jsf|do|action|cfm|exe|dll"
# Everything that two programs can read differently: parameters, backslashes, dot segments, empty ones, encoded separators and
# control characters, double encoding, overlong and full-width slashes, a script with a path behind it.
_ODDITIES = (
    r"[;\\#]",
    r"//",
    r"/\.{1,2}(?:[/?]|\z)",
    r"%25",
    r"%(?:[01][0-9a-f]|2e|2f|3b|5c|7f)",
    r"%c[01]",
    r"%ef%bc",
    rf"\.(?:{_SCRIPTS})/",
)

# Letters and digits do not need encoding; encoded beside a double encoding they can become any text.
ENCODED_IN_PIECES = quote_verbatim(r"~*^(?=[^?]*%25)[^?]*%(?:25)*(?:3[0-9]|[46][1-9a-f]|[57][0-9a])")


def exact_pattern(path: str) -> str:
    r"""Return a key for ``map $uri``: ``path`` itself and everything below it.

    :param path: without a final slash, of letters, digits and ``/ . _ ~ @ + -``.
    """
    return quote_verbatim(rf"~^{_escape_literal(path)}(?:/|\z)")


def raw_prefix_pattern(path: str) -> str:
    """Return a key for ``map $request_uri``: ``path`` at the beginning of the client's text.

    A program that does not resolve dot segments reads ``/admin/../x`` as a path below ``/admin``, where nginx reads ``/x``.

    :param path: as for :func:`exact_pattern`.
    """
    return quote_verbatim(f"~^{_escape_literal(path)}{_END}")


def obfuscated_patterns(path: str) -> tuple[str, str]:
    """Return two keys for ``map $request_uri``: texts that another program could read as ``path`` or as a path below it.

    The first is the path itself in any spelling, at the beginning. The second is its last part in any spelling, at any place, in
    an address that also contains a part that two programs can read differently.

    :param path: as for :func:`exact_pattern`.
    """
    parts = [_match_spellings(part) for part in path.strip("/").split("/")]
    whole = f"{_SEPARATOR}+".join(parts)
    oddity = "|".join(_ODDITIES)
    return (
        quote_verbatim(f"~*^/{_SEPARATOR}*{whole}{_END}"),
        quote_verbatim(f"~*^(?=[^?]*?(?:{oddity}))[^?]*?{_SEPARATOR}{parts[-1]}{_END}"),
    )


def _escape_literal(text: str) -> str:
    return "".join(char if char.isalnum() or char in "/_~-@" else f"\\x{ord(char):02x}" for char in text)


def _match_spellings(part: str) -> str:
    return "".join(_match_character(char) for char in part)


def _match_character(char: str) -> str:
    codes = "|".join(sorted({f"{ord(form):02x}" for form in (char.lower(), char.upper())}))
    return rf"(?:\x{ord(char):02x}|%(?:25)*(?:{codes})|{_LOOK_ALIKE})"
