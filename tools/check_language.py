# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check commit subjects, the width of Markdown lines, and texts for phrases that the style rules exclude.

Texts are docstrings, comments, messages, YAML and Markdown outside of code. Phrases that exist already are counted per file in
tools/language_exceptions.txt. A count never grows, and one that shrinks is written down: run ``make language``.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import subprocess
import sys
import tokenize
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

EXCEPTIONS = Path("tools/language_exceptions.txt")
# The subjects of earlier commits stay as they are.
BASE = "78b03195552bc2bbcceb213aa95b9667c01cb34a"
SUBJECT = re.compile(r"(?=.{1,72}\Z)[a-z0-9][a-z0-9_./, -]*: \S.*")
WIDTH = 100
PHRASES = {
    "is-no": r"(?<!\bthere )\bis no\b(?! longer\b)",
    "whoever": r"\bwhoever\b",
    "stands-there": r"\bstands there\b",
    "mend": r"\bmend(?:s|ed|ing)?\b",
    "knock": r"\bknock(?:s|ed|ing)?\b",
    "somebody": r"\bsomebody\b",
    "came-of-it": r"\bcame of it\b",
    "of-ours": r"\bof ours\b",
    "the-way-back": r"\bthe way back\b",
    "he": r"\b(?:he|him|his|himself)\b",
}
# A subject, not a question. It counts at the beginning of a paragraph or after the end of a sentence.
_CLAUSE = re.compile(r"(?:^|(?<=[.!?:;] ))[\"'(*]*(?:Who|Whose|Whoever|What|Whatever|Where|Wherever)\b(?![^.!?]*\?)")
_PATTERNS = {name: re.compile(pattern, re.IGNORECASE) for name, pattern in PHRASES.items()} | {"wh-subject": _CLAUSE}

# Written by tools from texts that are checked, or from templates that are not prose.
_SKIPPED = re.compile(
    r"(?:CHANGELOG\.md|changelogs/changelog\.yaml|roles/\w+/README\.md|LICENSES?/.*|tests/unit/golden/.*)"
)
_CODE = re.compile(r"(`+).+?\1", re.DOTALL)
_ITEM = re.compile(r"(?:[-*+]|\d+[.)]) +|:\w+[^:]*: +|[|>]")
_YAML_KEY = re.compile(r"(?:- +)*(?:[\w.]+: +)?(?:[|>][-+]?\Z)?[\"']?")


def paragraphs(text: str) -> Iterator[str]:
    """Yield the paragraphs and list items of a text, each as one line without code spans."""
    words: list[str] = []
    for line in [*_CODE.sub("`code`", text).splitlines(), ""]:
        stripped = line.strip()
        item = _ITEM.match(stripped)
        if words and (not stripped or item):
            yield " ".join(words)
            words = []
        if stripped:
            words.append(stripped[item.end() :] if item else stripped)


def python_texts(source: str, *, messages: bool) -> Iterator[str]:
    """Yield docstrings, blocks of comments and, where wanted, the other strings that contain a space."""
    tree = ast.parse(source)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        node.body[0].value for node in ast.walk(tree) if isinstance(node, documented) and ast.get_docstring(node)
    }  # type: ignore[attr-defined]
    formatted = {part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr) and messages:
            parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
            yield "".join(map(str, parts))
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and node not in formatted
            and (node in docstrings or (messages and " " in node.value))
        ):
            yield node.value
    yield from _comments(source)


def _comments(source: str) -> Iterator[str]:
    block: list[str] = []
    last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            if block and token.start[0] != last + 1:
                yield "\n".join(block)
                block = []
            block.append(token.string.lstrip("#! "))
            last = token.start[0]
    yield "\n".join(block)


def hash_comments(source: str) -> Iterator[str]:
    """Yield blocks of comment lines of shell, make, nginx or Jinja files, and comments of Jinja."""
    block: list[str] = []
    for line in [*source.splitlines(), ""]:
        stripped = line.strip()
        if stripped.startswith("#") and not stripped.startswith("#!"):
            block.append(stripped.lstrip("# "))
        elif block:
            yield "\n".join(block)
            block = []
    yield from (found.strip() for found in re.findall(r"\{#(.+?)#\}", source, re.DOTALL))


def yaml_texts(source: str) -> Iterator[str]:
    """Yield blocks of comments and, without their keys, the other lines."""
    yield from hash_comments(source)
    lines = [line.strip() for line in source.splitlines() if not line.strip().startswith("#")]
    text: list[str] = []
    for line in lines:
        key = _YAML_KEY.match(line)
        if key and key.end():
            yield "\n".join(text)
            text = []
        text.append(line[key.end() :] if key else line)
    yield "\n".join(text)


def prose_of(markdown: str) -> list[str]:
    """Return the lines of Markdown that are not code, headings or tables."""
    lines, fenced = [], False
    for line in markdown.splitlines():
        fence = line.lstrip().startswith(("```", "~~~"))
        fenced ^= fence
        lines.append("" if fenced or fence or line.startswith("#") or line.lstrip().startswith("|") else line)
    return lines


def texts_of(path: str, source: str) -> Iterator[str]:
    """Yield the texts of a file, by its name."""
    name = Path(path).name
    if path.endswith(".py"):
        yield from python_texts(source, messages=path.startswith(("plugins/", "playbooks/", "roles/")))
    elif path.endswith((".yml", ".yaml")):
        yield from yaml_texts(source)
    elif path.endswith(".md"):
        yield "\n".join(prose_of(source))
    elif path.endswith((".sh", ".j2", ".toml")) or name == "Makefile":
        yield from hash_comments(source)


def count(path: str, source: str) -> Counter[str]:
    """Return how often a file contains each phrase, and ``width``: its Markdown lines that are too long."""
    found: Counter[str] = Counter()
    for text in texts_of(path, source):
        for paragraph in paragraphs(text):
            for name, pattern in _PATTERNS.items():
                found[name] += len(pattern.findall(paragraph))
    if path.endswith(".md"):
        # A line without a space, such as a link, cannot be wrapped.
        found["width"] = sum(len(line) > WIDTH and " " in line.strip() for line in prose_of(source))
    return +found


def read_exceptions(text: str) -> dict[tuple[str, str], int]:
    """Return (path, phrase) -> the count that is allowed."""
    rows = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    return {(path, phrase): int(number) for path, phrase, number in rows}


def render_exceptions(counts: dict[tuple[str, str], int]) -> str:
    """Return the text of the exceptions file."""
    rows = [f"{path} {phrase} {number}\n" for (path, phrase), number in sorted(counts.items())]
    return "# Written by `make language`. Counts only shrink.\n" + "".join(rows)


def compare(counts: dict[tuple[str, str], int], listed: dict[tuple[str, str], int]) -> list[str]:
    """Return what differs from the exceptions: one message each."""
    problems = []
    for path, phrase in sorted({*counts, *listed}):
        now, allowed = counts.get((path, phrase), 0), listed.get((path, phrase), 0)
        if now > allowed:
            problems.append(f"{path}: {phrase}: {now} found, {allowed} allowed. Write the new text without it.")
        elif now < allowed:
            problems.append(f"{path}: {phrase}: {now} found, {allowed} listed. Run: make language")
    return problems


def grown(counts: dict[tuple[str, str], int], listed: dict[tuple[str, str], int]) -> list[str]:
    """Return the phrases whose total over all files grew. A moved file takes its counts along."""
    totals: Counter[str] = Counter()
    for sign, found in ((1, counts), (-1, listed)):
        for (_path, phrase), number in found.items():
            totals[phrase] += sign * number
    return sorted(phrase for phrase, number in totals.items() if number > 0)


def check_subjects(subjects: Iterable[str]) -> list[str]:
    """Return a message for every commit subject that does not follow the rule."""
    rule = "Write `area: summary` with a lower-case area and at most 72 characters."
    return [f"commit subject: {one!r} is not valid. {rule}" for one in subjects if not SUBJECT.fullmatch(one)]


def _git(*arguments: str) -> list[str]:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def _counts() -> dict[tuple[str, str], int]:
    counts = {}
    for path in _git("ls-files", "--cached", "--others", "--exclude-standard"):
        if not _SKIPPED.fullmatch(path) and Path(path).is_file() and not Path(path).is_symlink():
            try:
                source = Path(path).read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue
            counts.update({(path, phrase): number for phrase, number in count(path, source).items()})
    return counts


def main(arguments: list[str]) -> int:
    """Check, or write the exceptions where no total grew. Return 1 if something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the exceptions file")
    options = parser.parse_args(arguments)
    counts = _counts()
    listed = read_exceptions(EXCEPTIONS.read_text(encoding="utf-8")) if EXCEPTIONS.exists() else None
    if options.write:
        more = grown(counts, listed) if listed is not None else []
        if not more:
            EXCEPTIONS.write_text(render_exceptions(counts), encoding="utf-8")
            return 0
        problems = [f"{EXCEPTIONS}: more than before of: {', '.join(more)}. Write the new text without it."]
        problems += compare(counts, listed or {})
    else:
        problems = compare(counts, listed or {})
        try:
            problems += check_subjects(_git("log", "--no-merges", "--format=%s", f"{BASE}..HEAD"))
        except subprocess.CalledProcessError:
            problems.append(f"commit subjects: commit {BASE} is not in this clone. Fetch the whole history.")
    print(*problems, sep="\n", end="\n" if problems else "")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
