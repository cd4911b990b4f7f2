# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the exact members of both programs, and every form of import on a toy library."""

from __future__ import annotations

import io
import subprocess
import sys
import textwrap
import zipfile
from typing import TYPE_CHECKING

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.zipapp_builder import build_program

if TYPE_CHECKING:
    from pathlib import Path

# They run as root on web hosts: a new member is a decision, not an accident.
MEMBERS = {
    ("_trust", "pull_program"): [
        "_common/__init__.py",
        "_common/asn1.py",
        "_common/certificate_fields.py",
        "_common/commands.py",
        "_common/durations.py",
        "_common/errors.py",
        "_common/files.py",
        "_common/pem.py",
        "_common/system_errors.py",
        "_common/timestamps.py",
        "_common/zipapp_builder.py",
        "_contracts/__init__.py",
        "_contracts/gate_manifest.py",
        "_contracts/paths.py",
        "_contracts/publication_format.py",
        "_contracts/stages.py",
        "_contracts/status_protocol.py",
        "_deploy/__init__.py",
        "_deploy/entry_point.py",
        "_deploy/generation_store.py",
        "_deploy/live_generation.py",
        "_deploy/module_options.py",
        "_deploy/switch.py",
        "_deploy/worker_shutdown.py",
        "_nginx/__init__.py",
        "_nginx/build_info.py",
        "_nginx/config_lexer.py",
        "_nginx/config_model.py",
        "_nginx/config_parser.py",
        "_nginx/config_sandbox.py",
        "_nginx/former_workers.py",
        "_nginx/hash_sizes.py",
        "_nginx/nginx.py",
        "_nginx/port_check.py",
        "_nginx/quoting.py",
        "_trust/__init__.py",
        "_trust/chain_verification.py",
        "_trust/deny_list.py",
        "_trust/edge_certificate_maps.py",
        "_trust/edge_maps.py",
        "_trust/https_fetch.py",
        "_trust/identity_maps.py",
        "_trust/install.py",
        "_trust/publication_reader.py",
        "_trust/pull.py",
        "_trust/pull_metrics.py",
        "_trust/pull_program.py",
        "_trust/trust_anchor.py",
    ],
    ("_gate", "auto_revert"): [
        "_common/__init__.py",
        "_common/commands.py",
        "_common/durations.py",
        "_common/errors.py",
        "_common/files.py",
        "_common/system_errors.py",
        "_common/timestamps.py",
        "_contracts/__init__.py",
        "_contracts/gate_manifest.py",
        "_contracts/paths.py",
        "_contracts/stages.py",
        "_contracts/status_protocol.py",
        "_deploy/__init__.py",
        "_deploy/deadline.py",
        "_deploy/entry_point.py",
        "_deploy/generation_store.py",
        "_deploy/live_generation.py",
        "_deploy/module_options.py",
        "_gate/__init__.py",
        "_gate/armed_state.py",
        "_gate/auto_revert.py",
        "_gate/history.py",
        "_gate/revert_timer.py",
        "_nginx/__init__.py",
        "_nginx/build_info.py",
        "_nginx/config_lexer.py",
        "_nginx/config_model.py",
        "_nginx/config_parser.py",
        "_nginx/config_sandbox.py",
        "_nginx/former_workers.py",
        "_nginx/hash_sizes.py",
        "_nginx/nginx.py",
        "_nginx/quoting.py",
    ],
}


def members(program: bytes) -> list[str]:
    """Return the names of the files of a program."""
    return zipfile.ZipFile(io.BytesIO(program)).namelist()


def run(program: bytes, path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program alone: without the environment, the user's site directory and the current directory."""
    path.write_bytes(program)
    argv = [sys.executable, "-I", str(path), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=False, cwd=path.parent)


@pytest.mark.parametrize("start", MEMBERS, ids=".".join)
def test_program_contains_exactly_the_listed_members(start: tuple[str, str]) -> None:
    always = ["__main__.py", "quietdoor/__init__.py"]
    assert members(build_program(*start)) == always + [f"quietdoor/{path}" for path in MEMBERS[start]]


def test_pull_program_contains_no_transaction_engine_of_the_gate() -> None:
    packages = {name.split("/")[1] for name in members(build_program("_trust", "pull_program")) if name.count("/") > 1}
    assert packages == {"_common", "_contracts", "_deploy", "_nginx", "_trust"}


@pytest.mark.parametrize(
    ("start", "arguments", "code", "output"),
    [
        (("_trust", "pull_program"), ["none.json"], 1, "The settings cannot be read"),
        (("_gate", "auto_revert"), ["act", "none.json"], 0, ""),
    ],
)
def test_program_runs_isolated(
    tmp_path: Path, start: tuple[str, str], arguments: list[str], code: int, output: str
) -> None:
    done = run(build_program(*start), tmp_path / "program.pyz", *arguments)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert output in done.stderr


TOY = {
    "_web/__init__.py": '"""Run on the web host."""\n',
    "_web/start.py": """\
        from __future__ import annotations

        import typing
        from typing import TYPE_CHECKING

        from .._common import aliased as other
        from .._common import CONSTANT, attribute
        from .._common.deep.inner import value
        from . import first, second
        from .third import THIRD
        from .._shared import helper
        from .. import _whole

        if TYPE_CHECKING:
            from ._types import Never
            from .._absent import Nothing
        else:
            from . import executed

        if typing.TYPE_CHECKING:
            from . import _types

        def late() -> str:
            from . import inside
            from .._common.late import LATE

            return inside.TEXT + LATE

        def main(arguments: list[str]) -> int:
            words = (other.TEXT, CONSTANT, attribute(), value, first.TEXT, second.TEXT, THIRD, helper.TEXT, _whole.NAME,
                     executed.TEXT, late(), *arguments)
            print(*words)
            return 3
        """,
    "_web/_types.py": "class Never: ...\n",
    "_web/first.py": "TEXT = 'first'\n",
    "_web/second.py": "from . import third\nTEXT = 'second' + third.THIRD\n",
    "_web/third.py": "THIRD = 'third'\n",
    "_web/executed.py": "TEXT = 'else'\n",
    "_web/inside.py": "TEXT = 'inside'\n",
    "_web/unused.py": "raise SystemExit('not imported')\n",
    "_common/__init__.py": "from .defined import attribute\nCONSTANT = 'constant'\n",
    "_common/aliased.py": "TEXT = 'aliased'\n",
    "_common/defined.py": "def attribute():\n    return 'attribute'\n",
    "_common/late.py": "LATE = 'late'\n",
    "_common/deep/__init__.py": "",
    "_common/deep/inner.py": "from ... import _whole\nfrom ..aliased import TEXT\nvalue = TEXT + _whole.NAME\n",
    "_shared/__init__.py": "",
    "_shared/helper.py": "TEXT = 'helper'\n",
    "_whole/__init__.py": "NAME = 'whole'\n",
}


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """Return the name of an importable library with the files of TOY."""
    name = f"toy_{abs(hash(request.node.name))}"
    for path, text in TOY.items():
        write(tmp_path / name / path, text)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def write(path: Path, text: str) -> None:
    """Write a source file of the toy library."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))


def test_every_form_of_relative_import_is_resolved(toy: str, tmp_path: Path) -> None:
    program = build_program("_web", "start", toy)
    left_out = {"_web/_types.py", "_web/unused.py"}
    shipped = ["__main__.py", "quietdoor/__init__.py", *(f"quietdoor/{path}" for path in TOY if path not in left_out)]
    assert members(program) == sorted(shipped)
    done = run(program, tmp_path / "program.pyz", "argument")
    words = "aliased constant attribute aliasedwhole first secondthird third helper whole else insidelate argument"
    assert (done.stdout, done.stderr, done.returncode) == (f"{words}\n", "", 3)


def test_program_contains_the_real_init_file_of_a_package(toy: str) -> None:
    archive = zipfile.ZipFile(io.BytesIO(build_program("_web", "start", toy)))
    for package in ("_web", "_common", "_whole"):
        assert archive.read(f"quietdoor/{package}/__init__.py").decode() == TOY[f"{package}/__init__.py"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("from . import absent", ". contains neither a module nor a name 'absent'"),
        ("from .absent import name", ".absent is not a module"),
        ("from .._absent import module", ".._absent is not a module"),
        ("from .._absent.module import name", ".._absent.module is not a module"),
        ("from .._common import absent", ".._common contains neither a module nor a name 'absent'"),
        ("from .._common import *", ".._common contains neither a module nor a name '*'"),
        ("from .._common.aliased.absent import name", ".._common.aliased.absent is not a module"),
        ("from .. import _absent", ".. contains neither a module nor a name '_absent'"),
        ("from ... import errors", "... is outside of the library"),
        ("def late():\n    from . import absent", ". contains neither a module nor a name 'absent'"),
    ],
)
def test_import_that_cannot_be_resolved_is_an_error(toy: str, tmp_path: Path, line: str, reason: str) -> None:
    write(tmp_path / toy / "_web" / "start.py", f"from . import broken\n{line}\n")
    write(tmp_path / toy / "_web" / "broken.py", "")
    with pytest.raises(MtlsError) as caught:
        build_program("_web", "start", toy)
    number = 2 + line.count("\n")
    assert f"_web.start, line {number}: the import cannot be resolved: {reason}. " in str(caught.value)


@pytest.mark.parametrize(("package", "module"), [("_web", "absent"), ("_absent", "start")])
def test_module_without_source_is_an_error(toy: str, package: str, module: str) -> None:
    with pytest.raises(MtlsError, match=rf"{package}\.{module}: the source cannot be read"):
        build_program(package, module, toy)
