# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that nginx reads a quoted token as the original text, and that other text is rejected."""

from __future__ import annotations

import re
import unicodedata

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.config_lexer import tokens
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.quoting import (
    LONGEST_TOKEN,
    quote,
    quote_verbatim,
    regex_exact,
)
from hypothesis import given
from hypothesis import strategies as st

PRINTABLE = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=200)


def read(token: str) -> str:
    """Return the one word that nginx reads from a token."""
    (word,) = [found for found in tokens(f"{token} ;", "test") if not found.mark]
    return word.text


@given(PRINTABLE)
def test_quoted_text_is_read_unchanged(text: str) -> None:
    """Include quotes, backslashes, braces and semicolons."""
    assert read(quote_verbatim(text)) == text
    if "$" not in text:
        assert read(quote(text)) == text


@pytest.mark.parametrize("text", ["a\0b", "a\nb", "tab\t", "\x7f", "\x85", "\ud800", "$host", "x${y}"])
def test_text_that_cannot_be_quoted_is_rejected(text: str) -> None:
    """Reject control characters, surrogates and variables."""
    with pytest.raises(MtlsError):
        quote(text)


def test_longest_token() -> None:
    """Count bytes after escaping."""
    assert len(quote("é" * (LONGEST_TOKEN // 2))) == LONGEST_TOKEN // 2 + 2
    for text in ("x" * (LONGEST_TOKEN + 1), "\\" * (LONGEST_TOKEN // 2 + 1), "é" * (LONGEST_TOKEN // 2 + 1)):
        with pytest.raises(MtlsError, match="longer than the 4094 bytes"):
            quote(text)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=80), st.text(max_size=5))
def test_regex_matches_that_text_only(text: str, more: str) -> None:
    r"""Match bytes as PCRE without UTF mode does. Python's \Z is PCRE's \z."""
    token = read(regex_exact(text))
    assert token.startswith("~^")
    pattern = re.compile(token[1:].replace("\\z", "\\Z").encode())
    assert pattern.search(text.encode())
    assert not pattern.search(text.encode() + b"\n")
    if more:
        data = more.encode("utf-8", "surrogatepass")
        assert not pattern.search(data + text.encode())
        assert not pattern.search(text.encode() + data)
    if text.swapcase() != text:
        assert not pattern.search(text.swapcase().encode())


def test_regex_is_readable_and_plain() -> None:
    """Keep a usual name readable, without a character that could end the token."""
    assert regex_exact("CN=Quiet CA,O=Ops") == '"~^CN=Quiet CA,O=Ops\\\\z"'
    assert regex_exact('a"b.c$') == '"~^a\\\\x22b\\\\x2ec\\\\x24\\\\z"'
    with pytest.raises(MtlsError):
        regex_exact("." * 1000)
    with pytest.raises(MtlsError):
        regex_exact("\udc80")


def test_every_control_character_is_refused() -> None:
    """Reject all of category Cc."""
    for number in range(0x110000):
        if unicodedata.category(chr(number)) == "Cc":
            with pytest.raises(MtlsError):
                quote(chr(number))
