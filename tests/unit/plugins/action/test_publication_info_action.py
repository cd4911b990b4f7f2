# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the action that reads a publication once for all hosts of a task."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.quietdoor.mtls.plugins.action import publication_info as action
from ansible_collections.quietdoor.mtls.plugins.modules import publication_info as module

if TYPE_CHECKING:
    from pathlib import Path

FOUND = {"changed": False, "exists": True, "files": {"trust.json": "{}"}}
NOTHING = {"changed": False, "exists": False, "files": {}}


class Reader:
    """Runs the action, and counts how often it reads the publication of the CA host."""

    def __init__(self, found: dict[str, Any] | Exception | None = None) -> None:
        self.found = FOUND if found is None else found
        self.reads: list[dict[str, Any]] = []

    def run(self, task: str = "1", host: str | None = "ca", path: str = "/pub", **options: Any) -> dict[str, Any]:
        """Run the action of one web host."""
        one = object.__new__(action.ActionModule)
        one._task = SimpleNamespace(args={"path": path, **options}, async_val=0, delegate_to=host, _uuid=task)
        one._execute_module = self._execute
        result: dict[str, Any] = one.run()
        return result

    def _execute(self, **call: Any) -> dict[str, Any]:
        self.reads.append(call)
        if isinstance(self.found, Exception):
            raise self.found
        return {**self.found, "invocation": {}}


@pytest.fixture(autouse=True)
def private_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(action.constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    monkeypatch.setattr(action.ActionBase, "run", lambda *_given: {})


def test_publication_is_read_once_for_all_hosts_of_a_task() -> None:
    reader = Reader()
    with ThreadPoolExecutor(8) as workers:
        results = list(workers.map(lambda _number: reader.run(), range(20)))
    assert results == [FOUND] * 20
    assert [(call["module_name"], call["module_args"]) for call in reader.reads] == [
        ("quietdoor.mtls.publication_info", {"path": "/pub"})
    ]


@pytest.mark.parametrize("other", [{"task": "2"}, {"host": "other"}, {"path": "/other"}])
def test_another_task_host_or_path_is_read_itself(other: dict[str, str]) -> None:
    reader = Reader()
    reader.run()
    reader.run(**other)
    assert len(reader.reads) == 2


def test_another_run_reads_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader()
    reader.run()
    monkeypatch.setattr(os, "getppid", lambda: -1)
    reader.run()
    assert len(reader.reads) == 2


@pytest.mark.parametrize("shift", [-61.0, 61.0])
def test_publication_is_read_again_after_a_minute(tmp_path: Path, shift: float) -> None:
    reader = Reader()
    reader.run()
    [file] = [path for path in tmp_path.iterdir() if not path.suffix]
    time = file.stat().st_mtime + shift
    os.utime(file, (time, time))
    reader.run()
    assert len(reader.reads) == 2


def test_unreachable_host_is_tried_once_and_unreachable_for_all() -> None:
    reader = Reader(AnsibleConnectionFailure("no route"))
    for _host in range(3):
        with pytest.raises(AnsibleConnectionFailure, match="no route"):
            reader.run()
    assert len(reader.reads) == 1


def test_failure_of_the_module_fails() -> None:
    failure = {"failed": True, "msg": "not text"}
    assert Reader(failure).run() == failure


def test_missing_publication_fails_unless_it_is_optional() -> None:
    reader = Reader(NOTHING)
    assert reader.run()["failed"]
    assert "/pub on ca: no publication exists. Run role authority" in reader.run()["msg"]
    predicted = reader.run(optional=True)
    assert {**NOTHING, "warnings": predicted["warnings"]} == predicted
    assert "no publication exists yet" in predicted["warnings"][0]


@pytest.mark.parametrize("unknown", [{"host": None}, {"host": ""}, {"path": ""}])
def test_unknown_location_reads_nothing(unknown: dict[str, Any]) -> None:
    reader = Reader()
    result = reader.run(**unknown)
    assert result["failed"]
    assert "the location of the publication is not known" in result["msg"]
    assert reader.reads == []


def test_documented_options_are_those_of_the_action() -> None:
    for name in action._SPEC:
        assert f"\n  {name}:\n" in module.DOCUMENTATION
