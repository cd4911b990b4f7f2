# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare rendered gates and trust maps with the golden files, byte for byte."""

from __future__ import annotations

import difflib

from golden import GOLDEN, golden_files


def test_rendered_files_equal_the_golden_files() -> None:
    rendered = golden_files()
    stored = {str(path.relative_to(GOLDEN)): path.read_text(encoding="utf-8") for path in GOLDEN.rglob("*.txt")}
    differences = [
        line
        for name in sorted({*rendered, *stored})
        if rendered.get(name) != stored.get(name)
        for line in difflib.unified_diff(
            stored.get(name, "").splitlines(),
            rendered.get(name, "").splitlines(),
            f"golden/{name}",
            "rendered",
            "",
            "",
            2,
            "",
        )
    ]
    shown = "\n".join(differences[:200])
    assert not differences, f"Run `make golden` if this change is intended, and review its diff:\n{shown}"
