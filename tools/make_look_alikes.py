# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write `plugins/module_utils/_sites/look_alikes.py` from the Unicode tables of this Python.

Usage: make_look_alikes.py [FILE]

The output is checked in: nginx configurations that depended on the Unicode version of the control node would differ between
control nodes, and a rollout from another one would change gates.
"""

from __future__ import annotations

import itertools
import string
import sys
import textwrap
import unicodedata
from pathlib import Path

TABLE = Path(__file__).parents[1] / "plugins" / "module_utils" / "_sites" / "look_alikes.py"
# The characters of a guarded path, folded, and the slash between its parts.
PATH = frozenset(f"{string.ascii_lowercase}{string.digits}._~@+-/")
# ASCII characters at which programs split, cut or trim an address.
SEPARATORS = frozenset("./\\;?#% ")
# Unicode 16 added outlined capital letters and digits. This Python can have older tables than the program behind a gate.
NEWER = {
    **{0x1CCD6 + number: letter for number, letter in enumerate(string.ascii_lowercase)},
    **{0x1CCF0 + number: digit for number, digit in enumerate(string.digits)},
}
# Its simple lower-case mapping is "i" (UnicodeData.txt); Python knows the full mapping only, which adds a combining dot.
DOTTED_CAPITAL_I = 0x130
# Characters that programs drop, or that regular expressions count as white space: Default_Ignorable_Code_Point and White_Space.
IGNORED = (
    *range(0x80, 0xA1),
    *(0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180E, 0x180F, 0x1680),
    *range(0x2000, 0x2070),  # with the other General Punctuation, which keeps expressions short
    *(0x3000, 0x3164, 0xFEFF, 0xFFA0),
    *range(0xFE00, 0xFE10),
    *range(0xFFF0, 0xFFF9),
)

HEADER = '''\
# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Map texts of a guarded path to the characters beyond ASCII that Unicode folds to them.

Written by tools/make_look_alikes.py from Unicode {version}, with the letters that Unicode 16 added; changes made here are lost.
"""

from __future__ import annotations

# Folded text -> code points in hexadecimal, for NFKC and case mappings in any order.
LOOK_ALIKES = {{
{look_alikes}
}}

# First and last code point, in hexadecimal, of characters that are folded to separators, or that programs drop.
SEPARATORS = (
{separators}
)
'''


def fold(text: str) -> str:
    """Return a text after NFKC and all case mappings, repeated until nothing changes."""
    while True:
        folded = unicodedata.normalize("NFKC", text).casefold().upper().casefold()
        folded = unicodedata.normalize("NFKC", folded)
        if folded == text:
            return text
        text = folded


def folds_of(point: int) -> set[str]:
    """Return the texts that a program could read in place of a character: with and without the mapping to upper case."""
    if point == DOTTED_CAPITAL_I:
        return {"i"}
    if point in NEWER:
        return {NEWER[point]}
    char = chr(point)
    return {fold(char), unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", char).casefold())}


def make() -> tuple[dict[str, list[int]], list[tuple[int, int]]]:
    """Return the look-alikes, and the ranges of separators."""
    found: dict[str, list[int]] = {}
    separators = set(IGNORED)
    for point in range(0x80, sys.maxunicode + 1):
        if 0xD800 <= point <= 0xDFFF:
            continue
        for text in folds_of(point):
            if text and set(text) <= PATH:
                found.setdefault(text, []).append(point)
            if text and set(text) <= SEPARATORS:
                separators.add(point)
    return found, list(_ranges(sorted(separators)))


def _ranges(points: list[int]) -> list[tuple[int, int]]:
    groups = itertools.groupby(enumerate(points), lambda pair: pair[1] - pair[0])
    runs = [[point for _number, point in group] for _key, group in groups]
    return [(run[0], run[-1]) for run in runs]


def _quoted(text: str) -> str:
    """Return a literal as `ruff format` leaves it."""
    parts = textwrap.wrap(text, 100, drop_whitespace=False)
    return f'"{text}"' if len(parts) == 1 else "\n".join(["(", *(f'        "{part}"' for part in parts), "    )"])


def render() -> str:
    """Return the text of the module."""
    look_alikes, separators = make()
    order = sorted(look_alikes, key=lambda text: (len(text), text))
    lines = [f'    "{text}": {_quoted(" ".join(f"{point:x}" for point in look_alikes[text]))},' for text in order]
    pairs = [f'    ("{first:x}", "{last:x}"),' for first, last in separators]
    return HEADER.format(version=unicodedata.unidata_version, look_alikes="\n".join(lines), separators="\n".join(pairs))


if __name__ == "__main__":
    target = Path(sys.argv[1]) if sys.argv[1:] else TABLE
    target.write_text(render(), encoding="utf-8")
