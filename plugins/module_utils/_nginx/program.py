# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A program for a web host made of the very files of this package: one zip archive, which Python runs (PEP 441)."""

from __future__ import annotations

import ast
import importlib
import io
import zipfile

from .._ansible.errors import Problem

_PACKAGE = "quietdoor"
_MAIN = """\
import sys

from {package}._nginx.{module} import main

sys.exit(main(sys.argv[1:]))
"""
_EPOCH = (1980, 1, 1, 0, 0, 0)


def build_program(module: str) -> bytes:
    """Return the archive that runs ``main`` of a module of this package. The same sources make the same bytes.

    :param module: its name, for example ``puller``.
    :raises Problem: if a source cannot be read.
    """
    top, _dot, package = __name__.rpartition(".")[0].rpartition(".")
    texts = {"__main__.py": _MAIN.format(package=_PACKAGE, module=module), f"{_PACKAGE}/__init__.py": ""}
    waiting = [(package, module)]
    while waiting:
        package, name = waiting.pop()
        path = f"{_PACKAGE}/{package}/{name}.py"
        if path not in texts:
            texts[f"{_PACKAGE}/{package}/__init__.py"] = ""
            texts[path] = _source(f"{top}.{package}.{name}")
            waiting += _imported(texts[path], package)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(texts):
            archive.writestr(zipfile.ZipInfo(path, _EPOCH), texts[path])
    return buffer.getvalue()


def _imported(source: str, package: str) -> list[tuple[str, str]]:
    """Return what a file imports relatively, as package and module. These are what Ansible ships with a module, too."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            found += [(package, node.module)] if node.module else [(package, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level > 1 and node.module:
            other, _dot, name = node.module.partition(".")
            found.append((other, name))
    return found


def _source(name: str) -> str:
    # By its loader, because as an Ansible module this runs from a zip archive itself.
    spec = importlib.import_module(name).__spec__
    text = spec.loader.get_source(name) if spec and spec.loader else None  # type: ignore[attr-defined]
    if not isinstance(text, str):
        raise Problem(f"The source of {name} cannot be read", "Install the collection with its sources")
    return text
