# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test tools/check_language.py: the phrases that it finds, the texts that it reads, and lists that only shrink."""

from __future__ import annotations

from typing import TYPE_CHECKING

import check_language as checker
import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("It is no valid name.", {"is-no": 1}),
        ("It is no longer valid. IS NO name.", {"is-no": 1}),
        ("It is\nno valid name.", {"is-no": 1}),
        ("There is no gate. If there is\nno gate, it is no error.", {"is-no": 1}),
        ("Whoever asks", {"whoever": 1, "wh-subject": 1}),
        ("A key stands there twice", {"stands-there": 1}),
        ("It mends and recommends", {"mend": 1}),
        ("A probe knocked", {"knock": 1}),
        ("Somebody said it; see what came of it.", {"somebody": 1, "came-of-it": 1}),
        ("A CA of ours. Of ourselves.", {"of-ours": 1}),
        ("There is the way back", {"the-way-back": 1}),
        ("He sees his key and the hint of history", {"he": 2}),
        ("What nginx reads.", {"wh-subject": 1}),
        ("This is what nginx reads.", {}),
        ("It works. Where it fails, see there.", {"wh-subject": 1}),
        ("What does it cost? Who knows?", {}),
        ("- What one has\n- What another has", {"wh-subject": 2}),
        ("A word `whoever` in code", {}),
        ("The client, not the operator.", {}),
    ],
)
def test_phrases_are_counted(text: str, phrases: dict[str, int]) -> None:
    assert checker.count("a.md", text) == phrases


def test_markdown_without_code_tables_and_headings_is_read() -> None:
    text = "# Whoever\n\n```\nwhoever\n```\n\n| whoever |\n\nwhoever\n"
    assert checker.count("docs/a.md", text) == {"whoever": 1}


def test_long_lines_of_markdown_are_counted() -> None:
    lines = ["word " * 19 + "words", "word " * 20 + "words", "x" * 101, f"| {'cell ' * 30} |"]
    assert checker.count("a.md", "\n".join(lines)) == {"width": 1}


PYTHON = '''\
"""Whoever reads this."""

VALUE = "somebody"
# It is
# no name.
other = 1  # a knock


def function(name):
    """Mend it."""
    raise Problem(f"{name} is no name", "Mend it now")
'''


def test_docstrings_comments_and_messages_of_python_are_read() -> None:
    everywhere = {"whoever": 1, "wh-subject": 1, "is-no": 1, "knock": 1, "mend": 1}
    assert checker.count("tests/unit/a.py", PYTHON) == everywhere
    assert checker.count("plugins/modules/a.py", PYTHON) == {**everywhere, "is-no": 2, "mend": 2}


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("- name: Whoever asks\n", {"whoever": 1, "wh-subject": 1}),
        ("- name: What is left\n  msg: >-\n    What is\n    no name\n", {"wh-subject": 2, "is-no": 1}),
        ("# What it is\n# about\nkey: value\n", {"wh-subject": 1}),
        ("description:\n  - What it is.\n  - Where it is.\n", {"wh-subject": 2}),
        ('msg: "{{ name }} is no name"\n', {"is-no": 1}),
    ],
)
def test_task_names_messages_and_comments_of_yaml_are_read(text: str, phrases: dict[str, int]) -> None:
    assert checker.count("roles/a/tasks/main.yml", text) == phrases


@pytest.mark.parametrize("path", ["a.sh", "Makefile", "a.conf.j2"])
def test_comments_of_scripts_are_read(path: str) -> None:
    assert checker.count(path, "#!/bin/sh\n# Whoever\necho whoever  \n") == {"whoever": 1, "wh-subject": 1}


def test_comments_of_jinja_are_read() -> None:
    assert checker.count("a.j2", "{# somebody #}\nsomebody\n") == {"somebody": 1}


def test_counts_only_shrink() -> None:
    listed = {("a.md", "he"): 2, ("b.md", "he"): 1}
    assert checker.compare(listed, listed) == []
    (more,) = checker.compare({**listed, ("a.md", "he"): 3}, listed)
    assert more.startswith("a.md: he: 3 found, 2 allowed.")
    (fewer,) = checker.compare({("a.md", "he"): 2}, listed)
    assert fewer == "b.md: he: 0 found, 1 listed. Run: make language"


def test_file_may_move_but_no_total_grows() -> None:
    listed = {("a.md", "he"): 2}
    assert checker.grown({("b.md", "he"): 2}, listed) == []
    assert checker.grown({("a.md", "he"): 2, ("b.md", "he"): 1}, listed) == ["he"]
    assert checker.grown({("a.md", "mend"): 1}, listed) == ["mend"]


def test_exceptions_are_read_as_they_are_written() -> None:
    counts = {("docs/a.md", "he"): 2, ("a.md", "width"): 10}
    assert checker.read_exceptions(checker.render_exceptions(counts)) == counts


@pytest.mark.parametrize(
    "subject", ["docs: explain it", "role gate: fail early", "ci, tests: run less", "a: " + "x" * 69]
)
def test_subject_is_valid(subject: str) -> None:
    assert checker.check_subjects([subject]) == []


@pytest.mark.parametrize(
    "subject", ["Explain it", "Docs: explain it", "docs:explain it", "docs: ", "a: " + "x" * 70, "docs explain: "]
)
def test_subject_is_not_valid(subject: str) -> None:
    (message,) = checker.check_subjects([subject])
    assert repr(subject) in message


def test_writing_refuses_growth_and_the_check_reports_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    listing = tmp_path / "exceptions.txt"
    monkeypatch.setattr(checker, "EXCEPTIONS", listing)
    monkeypatch.setattr(checker, "_git", lambda command, *_rest: ["a.md"] if command == "ls-files" else [])
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "a.md"
    page.write_text("Whether he asks or his key.\n")
    assert checker.main(["--write"]) == 0
    assert checker.main([]) == 0
    page.write_text("Whether he asks or his key. He does.\n")
    assert (checker.main([]), checker.main(["--write"])) == (1, 1)
    assert "a.md: he: 3 found, 2 allowed" in capsys.readouterr().out
    page.write_text("Whether he asks.\n")
    assert checker.main([]) == 1
    assert (checker.main(["--write"]), checker.main([])) == (0, 0)
    assert listing.read_text().endswith("\na.md he 1\n")
