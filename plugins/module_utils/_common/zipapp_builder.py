# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build a program for web hosts from source files of this collection: one zip archive (PEP 441)."""

from __future__ import annotations

import ast
import importlib.util
import io
import zipfile
from typing import TYPE_CHECKING

from .errors import MtlsError

if TYPE_CHECKING:
    from collections.abc import Iterator

_LIBRARY = __name__.rpartition(".")[0].rpartition(".")[0]
_NAME = "quietdoor"
_MAIN = """\
import sys

from {name}.{package}.{module} import main

sys.exit(main(sys.argv[1:]))
"""
_EPOCH = (1980, 1, 1, 0, 0, 0)


def build_program(package: str, module: str, library: str = _LIBRARY) -> bytes:
    """Return the archive that runs ``main`` of a module. Equal sources result in equal bytes.

    It contains the module, every module that it imports relatively, and the ``__init__.py`` of their packages.

    :param package: the package of the module, for example ``_trust``.
    :param module: its name, for example ``pull_program``.
    :param library: the dotted name of the package that contains all these packages.
    :raises MtlsError: if a source cannot be read, or if a relative import cannot be resolved.
    """
    sources = _Sources(library)
    sources.add(f"{package}.{module}")
    files = {f"{_NAME}/{path}": text for path, text in sources.files.items()}
    files["__main__.py"] = _MAIN.format(name=_NAME, package=package, module=module)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(files):
            archive.writestr(zipfile.ZipInfo(path, _EPOCH), files[path])
    return buffer.getvalue()


class _Sources:
    """The files of a program, found by following relative imports. Names of modules are relative to the library."""

    def __init__(self, library: str) -> None:
        self.files = {"__init__.py": ""}  # the library is a namespace package where the collection is installed
        self._library = library
        self._seen: set[str] = {""}

    def add(self, name: str) -> None:
        """Add a module, its packages, and what they import."""
        waiting = [name]
        while waiting:
            name = waiting.pop()
            if name not in self._seen:
                self._seen.add(name)
                source, is_package = self._read(name)
                path = name.replace(".", "/")
                self.files[f"{path}/__init__.py" if is_package else f"{path}.py"] = source
                waiting.append(name.rpartition(".")[0])
                waiting += self._imported(name, source, is_package)

    def _imported(self, name: str, source: str, is_package: bool) -> Iterator[str]:
        """Yield the modules that a file imports relatively."""
        package = name.split(".") if is_package else name.split(".")[:-1]
        for node in _relative_imports(ast.parse(source)):
            up = node.level - 1
            written = f"{'.' * node.level}{node.module or ''}"
            if up > len(package):
                raise _unresolved_import(name, node, f"{written} is outside of the library")
            base = package[: len(package) - up] + (node.module.split(".") if node.module else [])
            target = ".".join(base)
            if target and not self._is_module(target):
                raise _unresolved_import(name, node, f"{written} is not a module")
            if target:
                yield target
            if not target or self._is_package(target):
                for alias in node.names:
                    member = ".".join([*base, alias.name])
                    if self._is_module(member):
                        yield member
                    elif not target or alias.name not in _defined_names(self._read(target)[0]):
                        raise _unresolved_import(
                            name, node, f"{written} contains neither a module nor a name {alias.name!r}"
                        )

    def _is_module(self, name: str) -> bool:
        try:
            return importlib.util.find_spec(f"{self._library}.{name}") is not None
        except ImportError:  # its parent is not a package
            return False

    def _is_package(self, name: str) -> bool:
        return self._read(name)[1]

    def _read(self, name: str) -> tuple[str, bool]:
        """Return the source of a module, and whether it is a package."""
        # The loader reads the source, because an Ansible module itself runs from a zip archive.
        spec = importlib.util.find_spec(f"{self._library}.{name}") if self._is_module(name) else None
        read = getattr(spec.loader, "get_source", None) if spec else None
        text = read(spec.name) if spec and read else None
        if not spec or not isinstance(text, str):
            raise MtlsError(
                f"{self._library}.{name}: the source cannot be read", "Install the collection with its sources"
            )
        return text, spec.submodule_search_locations is not None


def _relative_imports(tree: ast.AST) -> Iterator[ast.ImportFrom]:
    """Yield the relative imports of a file, also those inside functions, but not those for type checkers only."""
    if isinstance(tree, ast.ImportFrom) and tree.level:
        yield tree
    skipped = tree.body if isinstance(tree, ast.If) and _is_type_checking(tree.test) else []
    for child in ast.iter_child_nodes(tree):
        if child not in skipped:
            yield from _relative_imports(child)


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _defined_names(source: str) -> set[str]:
    """Return the names that the top level of a file defines."""
    names: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        else:
            names |= {one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}
    return names


def _unresolved_import(name: str, node: ast.ImportFrom, reason: str) -> MtlsError:
    return MtlsError(
        f"{name}, line {node.lineno}: the import cannot be resolved: {reason}",
        "Import a module of this collection, or a name that the __init__.py of a package defines",
    )
