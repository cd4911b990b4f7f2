# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Enforce that PEM texts, times and paths below quietdoor/, and logs in e2e tests, are each handled in one module."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

PLUGINS = Path(errors.__file__).parents[2]
PEM = "module_utils/_common/pem.py"
TIMESTAMPS = "module_utils/_common/timestamps.py"

PEM_MARKER = re.compile(r"-----(?:BEGIN|END)\b(?!%)|PEM_cert_to_DER_cert|DER_cert_to_PEM_cert")

PATHS = "module_utils/_contracts/paths.py"
# A path below quietdoor/ on a web host. /usr/local/lib/quietdoor/ is where trust_pull puts its program by default.
WEB_PATH = re.compile(
    r"(?<!/lib/)quietdoor/(?!\.)|^quietdoor$|(?:^|/)(?:http\.conf|manifest\.json|generation\.conf|anchors\.pem|edge\.conf)\b"
    r"|(?:^|/)(?:snippets|sites)/|-server\.conf|conf\.d/quietdoor|\b(?:gate|trust)\.(?:records|included|transaction|committed"
    r"|highest|revert)\b|(?:^|/)(?:settings\.json|revert\.pyz|snapshot\.json|ballast)$"
)
OTHER_FILES = {
    "module_utils/_backup/tar_stream.py",  # manifest.json of a backup
    "module_utils/_common/zipapp_builder.py",  # quietdoor, the package in a program
}

TIME_FORMAT = re.compile(
    r"%Y|%y%m|%H:?%M|^(?:strftime|strptime|fromisoformat|isoformat|fromtimestamp|utcfromtimestamp|gmtime|localtime|asctime|ctime"
    r"|timegm|mktime|cert_time_to_seconds|parsedate\w*|email\.utils)$"
)

E2E = Path(__file__).parents[1] / "e2e"
# A log that is split into lines while nginx writes one. The application's own logs count too.
LOG_LINES = re.compile(r"log\w*(?:\"\))?\.(?:read_text\([^)]*\)\.splitlines|open\(|read_text\))")


def python_files() -> Iterator[tuple[str, str]]:
    """Return the path below plugins/ and the source of each Python file."""
    for path in sorted(PLUGINS.rglob("*.py")):
        yield path.relative_to(PLUGINS).as_posix(), path.read_text(encoding="utf-8")


def texts_and_names(source: str) -> Iterator[str]:
    """Return every string, except docstrings, and every name of an attribute, a variable or an import."""
    tree = ast.parse(source)
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    documentation |= {
        id(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id in {"DOCUMENTATION", "EXAMPLES", "RETURN"}
    }
    for node in ast.walk(tree):
        if id(node) in documentation:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)):
            yield node.value if isinstance(node.value, str) else node.value.decode("latin-1")
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.alias):
            yield node.name


def files_with(pattern: re.Pattern[str]) -> set[str]:
    """Return the Python files that have the pattern in a string or a name."""
    return {
        path for path, source in python_files() if any(pattern.search(text) for text in set(texts_and_names(source)))
    }


@pytest.mark.parametrize(
    "line",
    [
        'A = re.compile(r"-----BEGIN CERTIFICATE-----")',
        'A = b"-----END X509 CRL-----"',
        "from ssl import PEM_cert_to_DER_cert",
        "der = ssl.PEM_cert_to_DER_cert(text)",
    ],
)
def test_second_place_for_pem_would_be_found(line: str) -> None:
    assert any(PEM_MARKER.search(text) for text in texts_and_names(line))


def test_pem_is_split_and_joined_in_one_module() -> None:
    assert files_with(PEM_MARKER) == {PEM}


@pytest.mark.parametrize(
    "line",
    [
        "text = when.strftime(FORMAT)",
        'text = f"{when:%Y-%m-%dT%H:%M:%SZ}"',
        "when = datetime.fromisoformat(text)",
        "when = datetime.fromtimestamp(0, timezone.utc)",
        "from time import gmtime",
    ],
)
def test_second_place_for_times_would_be_found(line: str) -> None:
    assert any(TIME_FORMAT.search(text) for text in texts_and_names(line))


def test_times_are_formatted_and_parsed_in_one_module() -> None:
    assert files_with(TIME_FORMAT) == {TIMESTAMPS}


@pytest.mark.parametrize(
    "line",
    [
        'path = os.path.join(conf_path, "quietdoor", "gate")',
        'path = f"quietdoor/gate/snippets/{site}-{kind}.conf"',
        'text = files["manifest.json"]',
        'text = f"{HOME}/gate.records"',
        'path = f"{home}snippets/{site}-server.conf"',
        'path = os.path.join(directory, "http.conf")',
    ],
)
def test_second_place_for_paths_would_be_found(line: str) -> None:
    assert any(WEB_PATH.search(text) for text in texts_and_names(line))


def test_paths_of_web_hosts_are_named_in_one_module() -> None:
    assert files_with(WEB_PATH) == {PATHS, *OTHER_FILES}


@pytest.mark.parametrize(
    "line",
    [
        'lines = (world.logs / f"quietdoor-{site}.log").read_text("utf-8", "replace").splitlines()',
        "first = parse(log.read_text().splitlines()[0])",
        "assert eventually(log.read_text)",
    ],
)
def test_second_place_for_log_lines_would_be_found(line: str) -> None:
    assert LOG_LINES.search(line)


def test_logs_of_nginx_are_split_in_one_module() -> None:
    found = {path.name for path in E2E.rglob("*.py") if LOG_LINES.search(path.read_text(encoding="utf-8"))}
    assert found == {"held_run.py"}  # it writes the log itself
