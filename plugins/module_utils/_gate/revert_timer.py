# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start the armed revert at its deadline: systemd units, or a separate process without systemd.

The units survive a reboot. The service starts with the machine and waits until the revert is due; the timer starts it at the
deadline, by the wall clock or by the time since it was armed, at the earlier of both. The program waits if that is too early.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import sys
import time
from math import ceil
from typing import TYPE_CHECKING

from .._common.commands import run_command
from .._common.errors import MtlsError
from .._common.files import PUBLIC_FILE, opened, write_atomic
from .._common.timestamps import from_epoch, in_words, systemd_calendar
from .._contracts.paths import PROGRAM, SETTINGS
from .armed_state import Trigger

if TYPE_CHECKING:
    from .._deploy.deadline import Deadline

UNITS = "/etc/systemd/system"
_RUNNING = "/run/systemd/system"
_PREFIX = "quietdoor-gate-revert-"
_ENDINGS = ("timer", "service")
# Runs the first of two programs that is complete, with the arguments after both; without any, Python reports an error.
_START = (
    "import runpy, sys, zipfile; found = [path for path in sys.argv[1:3] if zipfile.is_zipfile(path)]; "
    "sys.argv[:3] = [*found, sys.argv[1]][:1]; runpy.run_path(sys.argv[0], run_name='__main__')"
)
_PAUSE = 0.05
_PATIENCE = 5.0

# No sandbox: it tests and reloads nginx, and a restriction that prevents this would lock clients out.
# Only its own process is killed, because a reload command may have started others.
_SERVICE = """\
# Written by module quietdoor.mtls.gate_transaction; it is here while a transaction is armed.
[Unit]
Description=Take the gate in {conf_path} back at {deadline} unless it is committed before
After=nginx.service network.target
StartLimitIntervalSec=0

[Service]
Type=simple
ExecStart={command}
Restart=on-failure
RestartSec=2s
KillMode=process
UMask=0022
SyslogIdentifier=quietdoor-gate-revert

[Install]
WantedBy=multi-user.target
"""
_TIMER = """\
# Written by module quietdoor.mtls.gate_transaction; it is here while a transaction is armed.
[Unit]
Description=Take the gate in {conf_path} back at {deadline} unless it is committed before

[Timer]
OnCalendar={calendar}
OnActiveSec={term}s
AccuracySec=100ms

[Install]
WantedBy=timers.target
"""


def choose(wanted: str) -> str:
    """Return ``systemd`` or ``process``: the given one, or for ``auto`` systemd where it runs.

    :raises MtlsError: if systemd was given and does not run.
    """
    runs = os.path.isdir(_RUNNING)
    if wanted == "systemd" and not runs:
        raise MtlsError(
            "systemd does not run on this host, so no unit could revert the gate", "Set revert_mechanism to auto"
        )
    return wanted if wanted != "auto" else ("systemd" if runs else "process")


def start(kind: str, conf_path: str, deadline: Deadline) -> Trigger:
    """Start the trigger of the revert. The program and the settings have to exist.

    :raises MtlsError: if it does not start.
    """
    return _start_units(conf_path, deadline) if kind == "systemd" else _start_process(conf_path)


def stop(conf_path: str, trigger: Trigger | None, *, own: bool) -> None:
    """Remove every unit, timer and process of a trigger.

    :param trigger: the recorded trigger, None without a record.
    :param own: whether the trigger started this program, which ends by itself.
    """
    if any(os.path.lexists(path) for path in unit_paths(conf_path)):
        _stop_units(unit_name(conf_path), own=own)
    if trigger and trigger.kind == "process" and trigger.pid != os.getpid():
        _stop_process(trigger)


def lives(trigger: Trigger) -> bool:
    """Return whether the trigger is still active."""
    if trigger.kind == "process":
        return bool(trigger.started) and started(trigger.pid) == trigger.started
    return (
        run_command(["systemctl", "is-active", "--quiet", f"{trigger.unit}.timer", f"{trigger.unit}.service"]).code == 0
    )


def unit_name(conf_path: str) -> str:
    """Return the name of the units for an nginx: a host may have several."""
    return _PREFIX + hashlib.sha256(os.path.normpath(conf_path).encode("utf-8", "surrogateescape")).hexdigest()[:8]


def unit_paths(conf_path: str) -> list[str]:
    """Return the paths of the units."""
    return [os.path.join(UNITS, f"{unit_name(conf_path)}.{ending}") for ending in _ENDINGS]


def render_units(conf_path: str, deadline: Deadline) -> dict[str, str]:
    """Return the units, by path."""
    at = ceil(deadline.wall)
    values = {
        "conf_path": conf_path.replace("%", "%%"),
        "deadline": in_words(from_epoch(at)),
        "command": " ".join(_quote_word(word) for word in command("act", conf_path)),
        "calendar": systemd_calendar(from_epoch(at)),
        "term": ceil(deadline.term),
    }
    return dict(zip(unit_paths(conf_path), (_TIMER.format(**values), _SERVICE.format(**values))))


def command(verb: str, conf_path: str) -> list[str]:
    """Return the command that runs the program, from the first directory that has it, with the settings of both."""
    python = sys.executable or "/usr/bin/python3"
    programs, settings = ([os.path.join(conf_path, path) for path in paths] for paths in (PROGRAM, SETTINGS))
    return [python, "-I", "-c", _START, *programs, verb, *settings]


def started(pid: int) -> str:
    """Return the start of a process in clock ticks since the boot (proc(5), stat field 22); empty if it does not run."""
    try:
        with opened(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in ("Z", "X") else fields[19]


def _start_units(conf_path: str, deadline: Deadline) -> Trigger:
    name = unit_name(conf_path)
    for path, text in render_units(conf_path, deadline).items():
        write_atomic(path, text.encode("utf-8", "surrogateescape"), PUBLIC_FILE)
    _systemctl("daemon-reload")
    _systemctl("enable", "--quiet", f"{name}.service", f"{name}.timer")
    _systemctl("start", f"{name}.timer")
    _systemctl("is-active", "--quiet", f"{name}.timer")
    return Trigger("systemd", unit=name)


def _systemctl(*words: str) -> None:
    done = run_command(["systemctl", *words])
    if done.code != 0:
        raise MtlsError(
            f"The revert could not be armed: systemctl {' '.join(words)} failed: {done.words}",
            "Fix the cause that systemctl reports; the gate was not changed",
        )


def _stop_units(name: str, *, own: bool) -> None:
    units = [f"{name}.{ending}" for ending in _ENDINGS]
    # A unit that a killed run removed already is not a failure; only the absence of the files counts.
    run_command(["systemctl", "disable", "--quiet", *units])
    run_command(["systemctl", "stop", *(units[:1] if own else units)])
    for unit in units:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(UNITS, unit))
    run_command(["systemctl", "daemon-reload"])
    if not own:
        run_command(["systemctl", "reset-failed", *units])


def _start_process(conf_path: str) -> Trigger:
    done = run_command(command("detach", conf_path))
    pid = done.out.strip()
    since = started(int(pid)) if pid.isdigit() else ""
    if done.code != 0 or not since:
        raise MtlsError(f"The revert could not be armed: its process reported {done.words}", "Run the play again")
    return Trigger("process", pid=int(pid), started=since)


def _stop_process(trigger: Trigger) -> None:
    deadline = time.monotonic() + _PATIENCE
    # It waits for the lock that is held here, or for the deadline, so ending it leaves nothing incomplete.
    while trigger.started and started(trigger.pid) == trigger.started:
        with contextlib.suppress(ProcessLookupError):
            os.kill(trigger.pid, signal.SIGKILL if time.monotonic() > deadline else signal.SIGTERM)
        time.sleep(_PAUSE)


def _quote_word(word: str) -> str:
    """Return a word of a command, quoted by the rules of systemd.syntax(7) and systemd.service(5)."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'
