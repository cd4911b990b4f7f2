# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse the files that ``nginx -T`` prints, and rewrite their includes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .config_lexer import Token, Unreadable, tokens
from .quoting import quote_verbatim

if TYPE_CHECKING:
    from collections.abc import Callable

_MARKER = re.compile(r"^# configuration file (/.*):$", re.MULTILINE)
DEEPEST = 200


@dataclass(frozen=True)
class Directive:
    """One directive as written. ``block`` is None if it ends with a semicolon."""

    name: str
    args: tuple[str, ...]
    file: str
    line: int
    block: tuple[Directive, ...] | None = None


def parse(text: str, file: str) -> tuple[Directive, ...]:
    """Return the directives of one file without following includes.

    :raises Unreadable: if braces or semicolons are missing.
    """
    stack: list[tuple[str, tuple[str, ...], int, list[Directive]]] = [("", (), 0, [])]
    words: list[str] = []
    line, counted, begun = 1, 0, 1
    for token in tokens(text, file):
        line += text.count("\n", counted, token.start)
        counted = token.start
        if not token.mark:
            begun = begun if words else line
            words.append(token.text)
        elif token.text == "}":
            if words or len(stack) == 1:
                raise Unreadable(f"{file}:{line}: unexpected }}")
            name, args, started, inner = stack.pop()
            stack[-1][3].append(Directive(name, args, file, started, tuple(inner)))
        elif not words:
            raise Unreadable(f"{file}:{line}: unexpected {token.text}")
        elif token.text == "{":
            stack.append((words[0], tuple(words[1:]), begun, []))
            words = []
        else:
            stack[-1][3].append(Directive(words[0], tuple(words[1:]), file, begun))
            words = []
    if words or len(stack) > 1:
        raise Unreadable(f"{file}:{line}: the file ends inside a directive")
    return tuple(stack[0][3])


def split_dump(dump: str) -> dict[str, str]:
    """Return the files that ``nginx -T`` printed, by path, in the order nginx opened them.

    :raises Unreadable: if there is none, or if a file is listed more than once.
    """
    markers = list(_MARKER.finditer(dump))
    if not markers:
        raise Unreadable("nginx -T printed no configuration file")
    ends = [marker.start() for marker in markers[1:]] + [len(dump)]
    found: dict[str, str] = {}
    for marker, end in zip(markers, ends):
        if marker[1] in found:
            # nginx prints every file once.
            raise Unreadable(f"a comment is equal to '# configuration file {marker[1]}:'; remove it")
        found[marker[1]] = dump[marker.end() + 1 : end]
    return found


def rewrite_includes(text: str, file: str, place: Callable[[str], str]) -> tuple[str, list[str]]:
    """Return ``text`` with ``place`` applied to the absolute paths of includes, and the resulting paths of all includes.

    Only arguments of ``include`` directives change, not comments or strings that look like one.

    :raises Unreadable: if the text is not a configuration.
    """
    pieces: list[str] = []
    paths: list[str] = []
    copied = 0
    words: list[Token] = []
    for token in tokens(text, file):
        if not token.mark:
            words.append(token)
            continue
        if token.text == ";" and len(words) == 2 and words[0].text == "include":
            path = words[1].text
            if path.startswith("/") and place(path) != path:
                path = place(path)
                pieces += [text[copied : words[1].start], quote_verbatim(path)]
                copied = words[1].end
            paths.append(path)
        words = []
    return "".join(pieces) + text[copied:], paths
