# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that every path, link and test that the documents name exists in the checkout."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

CHECKOUT = Path(__file__).parents[2]
LIBRARY = CHECKOUT / "plugins" / "module_utils"
DOCUMENTS = [
    *(CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((CHECKOUT / "docs").rglob("*.md")),
]
_TOP = "changelogs|docs|meta|molecule|playbooks|plugins|requirements|roles|tests|tools"
# A path of the checkout, or of a package of module_utils. Names with placeholders (<site>, NAME, *) are not paths.
_PATH = re.compile(rf"(?<![\w./~<>*{{}}-])((?:{_TOP}|_[a-z0-9]+)/[\w./-]*\w/?)(?![\w*<>{{}}-])(::\w+)?")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def paths_in(text: str) -> list[tuple[str, str]]:
    """Return the paths that a text names, each with the test that follows it after two colons."""
    found = [(path, test.lstrip(":")) for path, test in _PATH.findall(_LINK.sub("](", text))]
    return [(path, test) for path, test in found if not re.search(r"[A-Z]{3,}(?!.*\.md)", path)]


def resolve(path: str) -> Path:
    """Return where a path is: below the checkout, or in a package of module_utils."""
    return LIBRARY / path if path.startswith("_") else CHECKOUT / path


def anchors_of(document: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a document."""
    headings = _HEADING.findall(_FENCE.sub("", document.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_every_path_exists(document: Path) -> None:
    missing = []
    for path, test in paths_in(document.read_text(encoding="utf-8")):
        file = resolve(path)
        if not file.exists() or (test and f"def {test}(" not in file.read_text(encoding="utf-8")):
            missing.append((path, test))
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_every_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    text = _FENCE.sub("", document.read_text(encoding="utf-8"))
    wrong = []
    for link in _LINK.findall(text):
        name, _hash, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        target = (document.parent / name) if name else document
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors_of(target)):
            wrong.append(link)
    assert not wrong


def test_architecture_names_every_package() -> None:
    packages = {path.parent.name for path in LIBRARY.glob("_*/__init__.py")}
    rows = re.findall(r"^\| \d \| `(_\w+)` \|", (CHECKOUT / "docs/architecture/overview.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(packages)


def test_architecture_names_every_module() -> None:
    modules = {path.stem for path in (CHECKOUT / "plugins" / "modules").glob("*.py")}
    text = (CHECKOUT / "docs/architecture/overview.md").read_text(encoding="utf-8")
    table = text.partition("## Which module uses which package")[2].partition("\n## ")[0]
    assert modules - set(re.findall(r"`([a-z_]+)`", table)) == set()


def test_contributors_files_stay_out_of_the_archive() -> None:
    galaxy = yaml.safe_load((CHECKOUT / "galaxy.yml").read_text(encoding="utf-8"))
    assert {".pre-commit-config.yaml", "tests/unit/test_documents.py", "tests/e2e", "tools"} <= set(
        galaxy["build_ignore"]
    )


def test_every_place_names_the_same_least_ansible_core() -> None:
    runtime = yaml.safe_load((CHECKOUT / "meta" / "runtime.yml").read_text(encoding="utf-8"))["requires_ansible"]
    least = runtime.removeprefix(">=")
    assert f"ansible-core {least} or later" in (CHECKOUT / "README.md").read_text(encoding="utf-8")
    assert f"ansible-core ~= {least} ;" in (CHECKOUT / "requirements" / "runtime.in").read_text(encoding="utf-8")
    for meta in (CHECKOUT / "roles").glob("*/meta/main.yml"):
        assert yaml.safe_load(meta.read_text(encoding="utf-8"))["galaxy_info"]["min_ansible_version"] == least


def test_help_describes_every_target() -> None:
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    targets = {name for line in re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE) for name in line.split()}
    assert targets - set(re.findall(r"^([a-z0-9-]+):.*## \S", makefile, re.MULTILINE)) == set()


def test_documents_name_targets_that_exist() -> None:
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z0-9-]+):", makefile, re.MULTILINE))
    for document in DOCUMENTS:
        named = re.findall(r"(?:`|\$ )make ([a-z][a-z-]*)", document.read_text(encoding="utf-8"))
        assert set(named) <= targets, document


def test_what_does_not_exist_is_found() -> None:
    text = "`_deploy/none.py`, plugins/modules/ca.py, roles/NAME/tasks and `tests/unit/test_documents.py::test_none`"
    assert paths_in(text) == [
        ("_deploy/none.py", ""),
        ("plugins/modules/ca.py", ""),
        ("tests/unit/test_documents.py", "test_none"),
    ]
    assert [resolve(path).exists() for path, _test in paths_in(text)] == [False, True, True]
