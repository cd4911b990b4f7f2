# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Search for texts for which an expression of the golden files takes more time than in proportion to their length.

The steps of PCRE2 are counted, not seconds, so the result is the same on a busy machine. tests/e2e/test_addresses.py measures
the processor time of nginx.
"""

from __future__ import annotations

import functools
import re

import pytest
from golden import GOLDEN
from map_evaluation import maps_of
from pcre import compiled

# Steps for each byte. The highest that an expression needs is half of it.
_MOST = 256
_SIZE = 1024
_ATOMS = (
    *(
        "/",
        "//",
        ";",
        "%2f",
        "%25",
        "%252f",
        "%61",
        "a",
        "A",
        ".",
        "/.",
        "/..",
        "%2525",
        "%25z",
        ".php",
        ".ph",
        "+",
        "@",
        "-",
    ),
    *(
        "\u00e9",
        "%c3%a9",
        "%ef%bd%81",
        "\uff41",
        "%e2%80",
        "%80",
        "%c0",
        "a/",
        "a.",
        "/a",
        ";a",
        "0",
        "1",
        ":",
        ",",
        "=",
        "x",
    ),
    *("\\", "_", "q"),
)
_BYTES = (b"\xef", b"\x80", b"\xc3", b"\xe0", b"\xcd", b"\xf0\x9d", b"\xff")
_BEGINNINGS = (b"", b"/", b"/;x/", b"/x%25/", b"1:")
_ENDS = (b"", b"q", b"/", b"?")

# Commit 78b0319 had this for the path /administration. Its look-alikes could be split in many ways.
_SEPARATOR = r"(?:[^a-z0-9_~?%-]|%(?:25)*(?:[01][0-9a-f]|2[0-9a-f]|3[a-f]|40|5[b-e]|60|7[b-f]|[89a-f][0-9a-f]))"
_LOOK_ALIKE = r"(?:[\x80-\xff]|%(?:25)*[89a-f][0-9a-f]){2,4}"
_FORMER = [
    "~*^/"
    + _SEPARATOR
    + "*"
    + "".join(f"(?:{char}|%(?:25)*{ord(char):x}|{_LOOK_ALIKE})" for char in "administration")
    + "(?![a-z0-9_~-])",
    rf"~*^(?=[^?]*?(?:[;\\#]|//))[^?]*?{_SEPARATOR}"
    + "".join(f"(?:{char}|%(?:25)*{ord(char):x}|{_LOOK_ALIKE})" for char in "administration")
    + "(?![a-z0-9_~-])",
]


@functools.cache
def _expressions() -> list[str]:
    """Return the expressions with repetitions. Without a repetition the time does not depend on the text."""
    texts = [
        part
        for path in sorted(GOLDEN.rglob("*.txt"))
        for part in re.split(r"^==> .* <==\n", path.read_text(), flags=re.M)
    ]
    found = {
        key
        for text in texts
        if not text.startswith(("{", "(as "))
        for one in maps_of(text)
        for key, _value in one.expressions
        if re.search(r"[*+{]", key.lstrip("~*"))
    }
    return sorted(found, key=lambda key: (len(key), key))


@functools.cache
def _worst(key: str) -> tuple[int, bytes]:
    """Return the most steps for each byte that were found, and the text.

    The search repeats pieces, also pieces of the expression, and then combines the pieces that took the most steps.
    """
    pattern = compiled(key)
    literals = re.findall(r"[A-Za-z0-9]{2,}", re.sub(r"\\x[0-9a-f]{2}", " ", key))[:12]
    atoms = [*(atom.encode() for atom in (*_ATOMS, *literals)), *_BYTES]
    frames = [(beginning, end) for beginning in _BEGINNINGS for end in _ENDS]
    worst = (0, b"")
    for _round in range(2):
        measured = []
        for atom in atoms:
            for beginning, end in frames:
                text = beginning + atom * ((_SIZE - len(beginning) - len(end)) // len(atom)) + end
                measured.append((pattern.steps(text, _MOST * _SIZE + 1, exact=False), atom, (beginning, end), text))
        measured.sort(key=lambda one: one[0], reverse=True)
        worst = max(worst, (measured[0][0] // _SIZE, measured[0][3]))
        frames = list(dict.fromkeys(frame for _steps, _atom, frame, _text in measured[:40]))[:4]
        best = [*list(dict.fromkeys(atom for _steps, atom, _frame, _text in measured))[:3], "\u00e9".encode()]
        # A piece that matches many times, and one that the match fails at.
        atoms = [first * count + end for first in best for count in (2, 5, 9, 14) for end in (*best, b"q", b"/")]
    return worst


def test_no_text_takes_more_time_than_in_proportion_to_its_length() -> None:
    expressions = _expressions()
    assert len(expressions) >= 30
    slow = {key[:80]: worst for key in expressions if (worst := _worst(key))[0] >= _MOST}
    assert not slow


@pytest.mark.parametrize("key", _FORMER)
def test_the_search_finds_the_texts_that_were_slow(key: str) -> None:
    assert _worst(key)[0] >= _MOST


def test_twice_the_text_takes_twice_the_steps() -> None:
    for key in _expressions():
        pattern, (_steps, text) = compiled(key), _worst(key)
        half = len(text) // 2
        short, long = (text[:half] + text[half : half + 252] * number + text[-64:] for number in (4, 8))
        assert pattern.steps(long) <= 2.2 * pattern.steps(short) + 64, key[:80]
