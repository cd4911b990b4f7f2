# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the generated table of look-alikes against the Unicode tables of this Python."""

from __future__ import annotations

import unicodedata

import make_look_alikes
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites import look_alikes


def test_the_table_has_everything_that_the_generator_finds_here() -> None:
    """The table was made by one Python; another one can have older Unicode tables, or newer ones with additions to check in."""
    found, separators = make_look_alikes.make()
    missing = {
        text: [f"{point:x}" for point in points if f"{point:x}" not in look_alikes.LOOK_ALIKES.get(text, "").split()]
        for text, points in found.items()
    }
    assert not {text: points for text, points in missing.items() if points}, "Run tools/make_look_alikes.py"
    listed = [(int(first, 16), int(last, 16)) for first, last in look_alikes.SEPARATORS]
    assert all(any(first <= one <= last for first, last in listed) for pair in separators for one in pair)


def test_the_checked_in_table_is_the_output_of_the_generator() -> None:
    version = look_alikes.__doc__.partition("from Unicode ")[2].partition(",")[0]
    with open(look_alikes.__file__, encoding="utf-8") as file:
        text = file.read()
    if unicodedata.unidata_version == version:
        assert text == make_look_alikes.render()
    assert len(look_alikes.LOOK_ALIKES) > 150


def test_a_character_is_folded_as_case_mappings_and_nfkc_do() -> None:
    fold = make_look_alikes.fold
    assert [fold(char) for char in "\uff21\u212a\u017f\u0131\u2122\ufb01\u2167"] == [
        "a",
        "k",
        "s",
        "i",
        "tm",
        "fi",
        "viii",
    ]
    assert fold("\u0430") != "a", "a confusable is another letter"
