# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Enforce which package of module_utils may import which, and what else it may import."""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common import errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LIBRARY = Path(errors.__file__).parents[1]

# Package -> the packages that it may import, besides itself. Type-only imports count.
RULES: dict[str, set[str]] = {
    # floor 1
    "_common": set(),
    # floor 2
    "_contracts": {"_common"},
    "_nginx": {"_common"},
    "_x509": {"_common"},
    # floor 3
    "_audit": {"_common", "_contracts", "_nginx"},
    "_ca": {"_common", "_contracts", "_x509"},
    "_deploy": {"_common", "_contracts", "_nginx"},
    "_probe": {"_common", "_contracts"},
    "_sites": {"_common", "_contracts", "_nginx"},
    # floor 4
    "_backup": {"_ca", "_common", "_x509"},
    "_checks": {"_common", "_contracts", "_probe"},
    "_clients": {"_ca", "_common", "_x509"},
    "_gate": {"_audit", "_common", "_contracts", "_deploy", "_nginx"},
    "_rollout": {"_common", "_contracts", "_sites"},
    "_trust": {"_common", "_contracts", "_deploy", "_nginx"},
}
# Package -> what it may import that is not in the standard library. Web hosts have the standard library only.
THIRD_PARTY: dict[str, set[str]] = {
    package: {"cryptography"} for package in ("_backup", "_ca", "_clients", "_x509")
} | {"_sites": {"jinja2"}}
# A module -> likewise, where the package may not. This list only shrinks.
THIRD_PARTY_EXCEPTIONS: dict[str, set[str]] = {}
# Circles of imports between modules, counted with type-only imports. This list only shrinks.
CIRCLES: list[set[str]] = []


def imports_of(library: Path) -> dict[str, set[str]]:
    """Return module -> the modules of the library that it imports, and the top-level names of others."""
    paths = {path.relative_to(library).with_suffix("") for path in library.rglob("*.py")}
    modules = {".".join(path.parts).removesuffix(".__init__") for path in paths}
    return {name: set(_imported(library, name, modules)) for name in modules if "." in name or name in RULES}


def _imported(library: Path, name: str, modules: set[str]) -> Iterator[str]:
    path = library.joinpath(*name.split("."))
    is_package = path.is_dir()
    source = (path / "__init__.py" if is_package else path.with_suffix(".py")).read_text(encoding="utf-8")
    package = name.split(".") if is_package else name.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module).partition(".")[0]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] + (node.module.split(".") if node.module else [])
            members = {".".join([*base, alias.name]) for alias in node.names}
            yield from members & modules or {".".join(base)}


def circles_in(imports: Mapping[str, set[str]]) -> list[set[str]]:
    """Return the sets of modules that reach each other, sorted."""
    reached = {name: _reached(name, imports) for name in imports}
    found = {
        frozenset({name, *(other for other in reached[name] if name in reached.get(other, ()))}) for name in imports
    }
    return sorted((set(circle) for circle in found if len(circle) > 1), key=sorted)


def _reached(name: str, imports: Mapping[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    waiting = [name]
    while waiting:
        new = imports.get(waiting.pop(), set()) - reached
        reached |= new
        waiting += new
    return reached


IMPORTS = imports_of(LIBRARY)


def test_every_package_has_a_rule() -> None:
    assert {name.partition(".")[0] for name in IMPORTS} == set(RULES)
    assert {path.parent.name for path in LIBRARY.glob("*/*.py")} == set(RULES)
    assert not set(LIBRARY.glob("*.py")) - {LIBRARY / "__init__.py"}, "a module is part of a package"
    assert {other for allowed in RULES.values() for other in allowed} <= set(RULES)


@pytest.mark.parametrize("package", RULES)
def test_package_imports_only_what_its_rule_allows(package: str) -> None:
    allowed = {package, *RULES[package]}
    wrong = {
        f"{name} imports {other}"
        for name, found in IMPORTS.items()
        if name.partition(".")[0] == package
        for other in found
        if other.partition(".")[0] in RULES and other.partition(".")[0] not in allowed
    }
    assert not wrong


def test_rules_contain_no_circle() -> None:
    assert circles_in(RULES) == []


@pytest.mark.parametrize("package", RULES)
def test_package_imports_only_allowed_third_party_libraries(package: str) -> None:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for name, imported in IMPORTS.items():
        if name.partition(".")[0] == package:
            outside = {
                one for one in imported if one.partition(".")[0] not in RULES and one not in sys.stdlib_module_names
            }
            if outside - THIRD_PARTY.get(package, set()):
                found[name] = outside
    listed = {name: libraries for name, libraries in THIRD_PARTY_EXCEPTIONS.items() if name.startswith(f"{package}.")}
    assert found == listed


def test_modules_import_each_other_in_no_circle_that_is_not_listed() -> None:
    found = circles_in(IMPORTS)
    assert found == sorted(CIRCLES, key=sorted), "Remove the new circle, or shorten CIRCLES where one is gone"


def test_every_form_of_import_is_seen(tmp_path: Path) -> None:
    (tmp_path / "_nginx" / "deep").mkdir(parents=True)
    for path, text in {
        "_nginx/__init__.py": "",
        "_nginx/a.py": "def late():\n    from . import b\nfrom .._trust.c import x\nimport os.path, yaml.nodes as n\n",
        "_nginx/b.py": "if TYPE_CHECKING:\n    from .a import A\nfrom ansible.errors import E\nfrom .deep.d import D\n",
        "_nginx/deep/__init__.py": "",
        "_nginx/deep/d.py": "from ... import _trust\nfrom ..a import x\nfrom ..._trust import c, name\nfrom . import d\n",
        "_trust/__init__.py": "from .c import x\n",
        "_trust/c.py": "",
    }.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    imports = imports_of(tmp_path)
    assert imports == {
        "_nginx": set(),
        "_nginx.a": {"_nginx.b", "_trust.c", "os", "yaml"},
        "_nginx.b": {"_nginx.a", "ansible", "_nginx.deep.d"},
        "_nginx.deep": set(),
        "_nginx.deep.d": {"_trust", "_nginx.a", "_trust.c", "_nginx.deep.d"},
        "_trust": {"_trust.c"},
        "_trust.c": set(),
    }
    assert circles_in(imports) == [{"_nginx.a", "_nginx.b", "_nginx.deep.d"}]
