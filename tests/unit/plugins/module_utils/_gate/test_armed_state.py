# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test when a revert is due, its systemd units and its program."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.zipapp_builder import build_program
from ansible_collections.quietdoor.mtls.plugins.module_utils._deploy.deadline import (
    Deadline,
    Moment,
    deadline_from,
    read_clocks,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._gate import auto_revert, revert_timer
from ansible_collections.quietdoor.mtls.plugins.module_utils._gate.arm import term_from

ARMED = Deadline(Moment(1_000_000, 5000, "first"), 300)


@pytest.mark.parametrize(
    ("now", "left"),
    [
        (Moment(1_000_100, 5100, "first"), 200),
        (Moment(9_000_000, 5100, "first"), 200),  # the clock was set on
        (Moment(0, 5100, "first"), 200),  # the clock was set back
        (Moment(1_000_000, 5400, "first"), -100),  # it was stopped, or the machine slept
        (Moment(1_000_100, 20, "second"), 200),  # rebooted
        (Moment(1_000_400, 20, "second"), -100),  # rebooted, and the time passed while it was down
        (Moment(0, 20, "second"), 280),  # rebooted with a clock that starts at nothing
        (Moment(0, 301, "second"), -1),
        (Moment(1_000_100, 5100, "second"), 200),  # a container of a machine that did not stop
    ],
)
def test_what_is_left(now: Moment, left: float) -> None:
    assert ARMED.remaining(now) == left
    assert deadline_from(json.loads(json.dumps(ARMED.as_dict()))) == ARMED


def test_without_a_boot_id_the_wall_clock_decides() -> None:
    armed = Deadline(Moment(1_000_000, 5000, ""), 300)
    assert armed.remaining(Moment(1_000_100, 5400, "")) == 200


@pytest.mark.parametrize(("text", "seconds"), [("10s", 10), ("5m", 300), ("1h", 3600)])
def test_terms(text: str, seconds: float) -> None:
    assert term_from(text, "revert_after") == seconds


@pytest.mark.parametrize("text", ["9s", "0s", "61m", "1d", "soon", ""])
def test_terms_that_make_no_sense(text: str) -> None:
    with pytest.raises(MtlsError, match="revert_after"):
        term_from(text, "revert_after")


def test_units_of_an_odd_place() -> None:
    """Any character of the path stays part of one word, and no specifier of systemd."""
    units = revert_timer.render_units('/srv/my "n%i$x\\y', ARMED)
    timer, service = units.values()
    assert [Path(path).suffix for path in units] == [".timer", ".service"]
    home = '"/srv/my \\"n%%i$$x\\\\y/quietdoor'
    assert f' {home}/armed/revert.pyz" {home}/gate.revert/revert.pyz" "act" ' in service
    assert "OnCalendar=1970-01-12 13:51:40 UTC\nOnActiveSec=300s\n" in timer
    assert "WantedBy=multi-user.target" in service
    assert "WantedBy=timers.target" in timer


def test_two_nginx_have_units_of_their_own() -> None:
    assert revert_timer.unit_name("/etc/nginx") == revert_timer.unit_name("/etc/nginx/")
    assert revert_timer.unit_name("/etc/nginx") != revert_timer.unit_name("/opt/nginx/conf")


def test_process_that_reverts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(revert_timer, "_RUNNING", str(tmp_path))
    assert [revert_timer.choose(wanted) for wanted in ("auto", "systemd", "process")] == [
        "systemd",
        "systemd",
        "process",
    ]
    monkeypatch.setattr(revert_timer, "_RUNNING", str(tmp_path / "none"))
    assert [revert_timer.choose(wanted) for wanted in ("auto", "process")] == ["process", "process"]
    with pytest.raises(MtlsError, match="systemd does not run on this host"):
        revert_timer.choose("systemd")


def test_a_process_of_the_same_id_is_not_ended() -> None:
    """The id was assigned to another process meanwhile."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        revert_timer.stop("/nowhere", revert_timer.Trigger("process", pid=other.pid, started="1"), own=False)
        assert other.poll() is None
        assert revert_timer.lives(
            revert_timer.Trigger("process", pid=other.pid, started=revert_timer.started(other.pid))
        )
        other.communicate(b"\n")


class TestProgram:
    """The revert program, a single file on the host."""

    def test_it_runs_alone_and_holds_what_it_loads_and_nothing_of_ansible(self, tmp_path: Path) -> None:
        program = tmp_path / "revert.pyz"
        program.write_bytes(build_program("_gate", "auto_revert"))
        assert build_program("_gate", "auto_revert") == program.read_bytes()
        code = (
            f"import sys; sys.path.insert(0, {str(program)!r}); import quietdoor._gate.auto_revert; "
            "print(*sorted(name for name in sys.modules if name.startswith(('quietdoor', 'ansible'))))"
        )
        argv = [sys.executable, "-I", "-c", code]
        done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=tmp_path)
        loaded = {f"{name.replace('.', '/')}.py" for name in done.stdout.split() if name.count(".") == 2}
        held = {name for name in zipfile.ZipFile(io.BytesIO(program.read_bytes())).namelist() if name.count("/") == 2}
        assert {name for name in held if not name.endswith("__init__.py")} == loaded
        assert "ansible" not in done.stdout.replace("_common", "")

    def test_manual_start_is_refused_with_a_message(self, tmp_path: Path) -> None:
        program = tmp_path / "revert.pyz"
        program.write_bytes(build_program("_gate", "auto_revert"))
        done = subprocess.run([sys.executable, "-I", str(program)], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "gate_transaction" in done.stderr

    def test_it_ends_without_settings(self, tmp_path: Path) -> None:
        assert auto_revert.act(str(tmp_path / "none.json")) == 0

    def test_it_ends_when_its_settings_are_gone_or_of_another_transaction(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "settings.json"
        settings = {"id": "one", "conf_path": str(tmp_path), "deadline": Deadline(read_clocks(), 300).as_dict()}
        path.write_text(json.dumps(settings))
        monkeypatch.setattr(time, "sleep", lambda _seconds: path.write_text(path.read_text().replace("one", "two")))
        monkeypatch.setattr(auto_revert, "fire", lambda *_args: pytest.fail("it was not due"))
        assert auto_revert.act(str(path)) == 0
        monkeypatch.setattr(time, "sleep", lambda _seconds: path.unlink())
        assert auto_revert.act(str(path)) == 0

    def test_it_tries_again_whatever_goes_wrong(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path, output, paused = tmp_path / "settings.json", [], []
        past = Deadline(Moment(0, 0, ""), 10)
        path.write_text(json.dumps({"id": "one", "conf_path": "/etc/nginx", "deadline": past.as_dict()}))
        errors: list[Exception] = [MtlsError("nginx -t failed", "Mend it"), OSError(28, "full"), ValueError("odd")]

        def fire(_settings: Any, _now: Moment) -> str:
            if errors:
                raise errors.pop(0)
            return "done"

        monkeypatch.setattr(auto_revert, "fire", fire)
        monkeypatch.setattr(auto_revert, "_log", lambda words, **_keywords: output.append(words))
        monkeypatch.setattr(time, "sleep", paused.append)
        assert auto_revert.act(str(path)) == 0
        assert (len(output), output[-1], paused) == (4, "done", [2.0, 4.0, 8.0])
