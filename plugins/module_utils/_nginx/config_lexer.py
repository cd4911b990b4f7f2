# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Split the text of an nginx configuration into tokens."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


# As in ngx_conf_read_token(): inside a word, quotes, # and } are ordinary characters, and so is a { after a $.
_TOKEN = re.compile(
    r"""[ \t\r\n]+ | \#[^\n]* | (?P<mark>[{};])
    | (?P<quoted>"(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*')
    | (?P<word>(?:\\.|\$\{|[^ \t\r\n;{}\\"'\#])(?:\\.|\$\{|[^ \t\r\n;{\\])*)""",
    re.VERBOSE | re.DOTALL,
)


_ESCAPE = re.compile(r"\\([\"'\\trn])")


_ESCAPED = {"t": "\t", "r": "\r", "n": "\n"}


# Braces inside Lua comments and strings, long and short, do not count.
_LUA = re.compile(
    r"""(?:--)?\[(?P<level>=*)\[.*?\](?P=level)\] | --[^\n]* | "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' | (?P<brace>[{}])""",
    re.VERBOSE | re.DOTALL,
)


class Unreadable(ValueError):
    """The text is not a valid nginx configuration; the message names file and line."""


class Token(NamedTuple):
    """One word or mark. ``start`` and ``end`` are its offsets in the text."""

    text: str
    mark: bool
    start: int
    end: int


def tokens(text: str, file: str) -> Iterator[Token]:
    """Yield the words and marks of a configuration.

    :raises Unreadable: if the text cannot be split, as nginx could not either.
    """
    position, previous = 0, ""
    while position < len(text):
        if previous.endswith("_by_lua_block") and text[position] == "{":
            end = _end_of_lua(text, position, file)
            yield Token("{", True, position, position + 1)
            yield Token("}", True, end - 1, end)
            position, previous = end, ""
            continue
        match = _TOKEN.match(text, position)
        if match is None:
            raise Unreadable(f"{file}:{_line_number(text, position)}: a quote is not closed")
        position = match.end()
        kind = match.lastgroup
        if kind == "mark":
            previous = ""
            yield Token(match[0], True, match.start(), position)
        elif kind is not None:
            raw = match[0][1:-1] if kind == "quoted" else match[0]
            previous = previous or raw
            yield Token(unescape(raw), False, match.start(), position)


def unescape(raw: str) -> str:
    """Return a word with its escapes replaced as nginx does."""
    return _ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[1]), raw) if "\\" in raw else raw


def _end_of_lua(text: str, start: int, file: str) -> int:
    depth = 0
    for match in _LUA.finditer(text, start):
        if match["brace"]:
            depth += 1 if match["brace"] == "{" else -1
            if depth == 0:
                return match.end()
    raise Unreadable(f"{file}:{_line_number(text, start)}: the Lua block is not closed")


def _line_number(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
