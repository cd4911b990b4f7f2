# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The effective configuration read a second time, by crossplane: on the control node, where that is installed.

What opens a panel is looked for in what :mod:`.config` has read. Where it has missed something that is there, nothing would be
found; so another program reads the same text, and both have to agree. The text can hold passwords: what is said of a difference
names file and line and nothing else.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._ansible.errors import Problem
from .config import Directive, Unreadable, assemble, parse, unescape
from .findings import Finding
from .survey import panels_from, refuse, survey

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

try:
    import crossplane

    CROSSPLANE = str(crossplane.__version__)
except ImportError:
    CROSSPLANE = ""

_LUA = "_by_lua_block"
# Where the two differ in how they write a word, and not in where it begins and ends.
_NOT_COMPARED = str.maketrans("", "", "\\() \t\r\n")


@dataclass(frozen=True)
class Reading:
    """What came of it.

    :param files: how many files were read.
    :param findings: those that open nothing.
    """

    files: int
    findings: tuple[Finding, ...]


def read_again(files: Mapping[str, str], manifest: str, *, lenient: bool) -> Reading:
    """Let crossplane read the files of a configuration, compare, and look for ways to the panels in what it has read.

    :param files: path -> text, in the order nginx opened them, the main file first.
    :param manifest: the text of the gate's manifest.json.
    :param lenient: whether a way through another server is a warning only.
    :raises Problem: if the two do not agree, or a panel is open.
    """
    try:
        configuration = assemble({file: _read_alike(file, text) for file, text in files.items()})
    except Unreadable as unreadable:
        raise Problem(f"The configuration that nginx -T printed cannot be read: {unreadable}", "Report this") from None
    home = os.path.join(os.path.dirname(configuration.main_file), "quietdoor", "gate", "")
    found = survey(configuration, panels_from(manifest), home, lenient=lenient)
    refuse(found, ())
    return Reading(len(files), found.findings)


def _read_alike(file: str, text: str) -> tuple[Directive, ...]:
    """Return what crossplane reads in one file, if that is what is read here."""
    theirs, complaint = _by_crossplane(file, text)
    line = _first_difference(parse(text, file), theirs) or complaint
    if line:
        stops = f" (it stops at line {complaint})" if complaint else ""
        raise Problem(
            f"{file}:{line}: crossplane reads this line, or one in its block, otherwise than this collection does{stops}, so "
            "what it opens is not certain",
            "Write it so that there is one way to read it: quotes around a word that holds braces, quotes or a semicolon",
        )
    return theirs


def _by_crossplane(file: str, text: str) -> tuple[tuple[Directive, ...], int]:
    """Return what crossplane reads in one file, and the line that it complains of, 0 if none.

    It takes paths only, and would follow includes to files of its own machine.
    """
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "part.conf")
        with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as part:
            part.write(text)
        found = crossplane.parse(path, single=True, check_ctx=False, check_args=False, strict=False)
    complaint = (found["errors"][0]["line"] or 1) if found["errors"] else 0
    return tuple(_directives(file, found["config"][0]["parsed"])), complaint


def _directives(file: str, parsed: Sequence[Mapping[str, Any]]) -> Iterator[Directive]:
    for one in parsed:
        block = tuple(_directives(file, one["block"])) if "block" in one else None
        # crossplane leaves escapes as they are written.
        yield Directive(unescape(one["directive"]), tuple(map(unescape, one["args"])), file, one["line"], block)


def _first_difference(ours: Sequence[Directive], theirs: Sequence[Directive]) -> int:
    """Return the line of the first directive that the two do not read alike, 0 if there is none."""
    for one, other in zip(ours, theirs):
        if not _alike(one, other):
            return min(one.line, other.line)
        if one.block is not None and other.block is not None and not one.name.endswith(_LUA):
            inside = _first_difference(one.block, other.block)
            if inside:
                return inside
    more = [*ours[len(theirs) :], *theirs[len(ours) :]]
    return more[0].line if more else 0


def _alike(one: Directive, other: Directive) -> bool:
    if one.line != other.line or _plain(one.name) != _plain(other.name):
        return False
    if one.name.endswith(_LUA):
        return True
    return (one.block is None) == (other.block is None) and _spelled(one) == _spelled(other)


def _spelled(directive: Directive) -> list[str]:
    words = [_plain(arg) for arg in directive.args]
    return ["".join(words)] if directive.name == "if" else words


def _plain(word: str) -> str:
    """What is compared of a word: without the characters that the two write differently."""
    return word.translate(_NOT_COMPARED).encode("ascii", "ignore").decode()
