# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test how modules exit and fail."""

from __future__ import annotations

import errno
import os
import types
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common import requirements, system_errors
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.module_runner import run


class Ended(Exception):
    """The module exited."""


class Module:
    """The functions of AnsibleModule that end a module."""

    check_mode = False
    params: ClassVar[dict[str, Any]] = {}

    def exit_json(self, **result: Any) -> NoReturn:
        raise Ended(result)

    def fail_json(self, msg: str, **result: Any) -> NoReturn:
        raise Ended({"failed": True, "msg": msg, **result})


def ended(work: Any, needs: tuple[str, ...] = ()) -> Any:
    with pytest.raises(Ended) as caught:
        run(Module(), work, needs)
    return caught.value.args[0]


def test_a_result_is_returned() -> None:
    assert ended(lambda _module: {"changed": True}) == {"changed": True}


def test_a_problem_is_one_message() -> None:
    def work(_module: object) -> dict[str, Any]:
        raise MtlsError("It is broken.", "Correct it")

    assert ended(work) == {"failed": True, "msg": "It is broken. Correct it."}


def test_system_error_is_one_message_with_its_file() -> None:
    def work(_module: object) -> dict[str, Any]:
        raise PermissionError(13, "Permission denied", "/ca/index.txt")

    assert ended(work)["msg"].startswith("/ca/index.txt: Permission denied.")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (
            errno.ENOSPC,
            "No space left on device on the file system that is mounted at {}. Free space on that file system",
        ),
        (errno.EDQUOT, "Disk quota exceeded on the file system that is mounted at {}. Free space in that quota"),
        (errno.EIO, "Input/output error. Check the kernel log"),
    ],
)
def test_a_full_disk_is_named_with_its_file_system(number: int, words: str, tmp_path: Path) -> None:
    path = tmp_path / "not" / "there" / "file"

    def work(_module: object) -> dict[str, Any]:
        raise OSError(number, os.strerror(number), str(path))

    mounted = next(str(one) for one in path.parents if one.is_mount())
    assert ended(work)["msg"].startswith(f"{path}: {words.format(mounted)}")


def test_a_file_system_without_inodes_is_named_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _path: types.SimpleNamespace(f_files=1000, f_favail=0))
    problem = system_errors.problem_of(OSError(errno.ENOSPC, "No space left on device", "/etc/nginx/file"))
    assert problem.hint == "Remove files from that file system because it has no inode left, and run again"


def test_of_two_files_the_new_one_is_named() -> None:
    error = OSError(errno.EIO, "Input/output error", "/old", None, "/new")
    assert system_errors.problem_of(error).what == "/new: Input/output error"


def test_a_missing_library_is_named_with_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(requirements.importlib, "import_module", missing)
    message = ended(lambda _module: {}, ("cryptography",))["msg"]
    assert "cryptography is not installed for" in message
    assert "pip install 'cryptography>=42'" in message


@pytest.mark.parametrize(
    ("version", "good"), [("41.0.7", False), ("42.0.0", True), ("50.0.2", True), ("42.0rc1", True)]
)
def test_an_old_library_is_refused(version: str, good: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    library = types.SimpleNamespace(__version__=version)
    monkeypatch.setattr(requirements.importlib, "import_module", lambda _name: library)
    assert ("failed" in ended(lambda _module: {}, ("cryptography",))) != good


@pytest.mark.parametrize(("version", "good"), [((3, 8, 18), False), ((3, 9, 0), True), ((3, 14, 0), True)])
def test_old_python_is_refused_before_anything_is_done(
    version: tuple[int, int, int], good: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[object] = []
    monkeypatch.setattr(requirements.sys, "version_info", version)
    monkeypatch.setattr(requirements.sys, "executable", "/opt/bin/python3")
    result = ended(lambda module: {"changed": bool(done.append(module))})
    assert ("failed" not in result, bool(done)) == (good, good)
    if not good:
        assert result["msg"] == (
            "/opt/bin/python3 is Python 3.8, but this module needs Python 3.9 or later. "
            "Set ansible_python_interpreter to a newer Python of this host."
        )
