# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prepare the directory of the demo, and start and stop its processes.

demo_process.py prepare DIR [PORTS [FIRST]]  create directories, PORTS free ports from FIRST on (2 from 8443), a passphrase
demo_process.py start FILE LOG PORT ARGV...  start ARGV in the background and record it in FILE; wait for PORT unless it is 0
demo_process.py stop FILE...                 stop the process that FILE records, if it is still the same one
It prints "changed" if it changed anything.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

DIRECTORIES = ("run", "server", "specimens", "inventory/group_vars", "nginx/conf.d", "nginx/logs", "nginx/tmp")
PATIENCE = 10.0


def stat(pid: int) -> list[str] | None:
    """Return the fields of proc(5) stat of a running process, beginning with the third."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields


def started_at(pid: int) -> str | None:
    """Return the start time of process ``pid`` (field 22), which distinguishes it from a later one with the same number."""
    fields = stat(pid)
    return fields and fields[19]


def boot_id() -> str:
    """Return the identifier of the current boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def remembered(memory: Path) -> dict | None:
    """Return the record of file ``memory``, or nothing if its process was started before the last boot of the machine."""
    known = json.loads(memory.read_text(encoding="utf-8")) if memory.exists() else {}
    return known if known.get("boot_id") == boot_id() else None


def running(memory: Path) -> bool:
    """Return whether the recorded process is still running."""
    known = remembered(memory)
    return bool(known) and started_at(known["pid"]) == known["started_at"]


def remaining(memory: Path) -> list[int]:
    """Return the running processes of the recorded process and its children: workers outlive an nginx that was killed.

    Each recorded process has its own session, and the number of a session is not reused while it has processes.
    """
    known = remembered(memory)
    if not known or started_at(known["pid"]) not in (None, known["started_at"]):
        return []
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    return [pid for pid in pids if (fields := stat(pid)) and fields[3] == str(known["pid"])]


def is_free(port: int) -> bool:
    """Return whether no process listens on the port, on loopback or on all addresses."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def prepare(directory: str, ports: str = "2", first: str = "8443") -> bool:
    """Create the permanent data of a demo: directories, ports, and the passphrase of its authorities.

    A port is used some seconds after it was chosen, so demos that run at the same time need different values of ``first``.
    """
    top = Path(directory)
    if not (top / "run" / "ports.json").exists():
        forget_ports(top)
    for name in DIRECTORIES:
        (top / name).mkdir(parents=True, exist_ok=True)
    free = (port for port in range(int(first), int(first) + 500) if is_free(port))
    made = [
        write_once(top / "run" / "ports.json", lambda: json.dumps(list(islice(free, int(ports)))), 0o644),
        write_once(top / "run" / "authority.passphrase", lambda: secrets.token_urlsafe(24), 0o600),
    ]
    return any(made)


def forget_ports(top: Path) -> None:
    """Stop the processes on the former ports, and remove the gate and the trust that belong to them."""
    stop(str(top / "run" / "nginx.json"), str(top / "run" / "panel.json"))
    for name in ("conf.d", "quietdoor"):
        shutil.rmtree(top / "nginx" / name, ignore_errors=True)


def write_once(path: Path, text: Callable[[], str], mode: int) -> bool:
    """Write a file with these permission bits unless it exists. Return whether it was written."""
    if path.exists():
        return False
    temporary = path.with_suffix(".new")
    temporary.touch(mode=mode)
    temporary.write_text(text(), encoding="ascii")
    temporary.rename(path)
    return True


def start(memory: str, log: str, port: str, *argv: str) -> bool:
    """Start a process unless it is already running. Return whether it was started."""
    path = Path(memory)
    if running(path):
        return False
    end(path)
    if int(port) and not is_free(int(port)):
        sys.exit(
            f"Port {port} is used by another process. Stop it, or remove {path.parent}/ports.json to choose other ports."
        )
    with Path(log).open("ab") as output:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd="/"
        )
    known = {"pid": process.pid, "started_at": started_at(process.pid), "boot_id": boot_id()}
    path.write_text(json.dumps(known), encoding="utf-8")
    wait_for(process, int(port), log)
    return True


def wait_for(process: subprocess.Popen, port: int, log: str) -> None:
    """Wait until the process listens on the port, or for half a second if it has no port."""
    deadline = time.monotonic() + (PATIENCE if port else 0.5)
    while time.monotonic() < deadline:
        if process.poll() is not None:
            sys.exit(f"{process.args[0]} ended at once: {Path(log).read_text(errors='replace')[-2000:]}")
        if port and not is_free(port):
            return
        time.sleep(0.05)
    if port:
        sys.exit(f"{process.args[0]} does not listen on port {port}: {Path(log).read_text(errors='replace')[-2000:]}")


def stop(*memories: str) -> bool:
    """Stop the processes and remove their records. Return whether one was running."""
    ended = [end(Path(memory)) for memory in memories]
    return any(ended)


def end(memory: Path) -> bool:
    """Stop a process and its children, with SIGKILL if they do not stop after SIGTERM."""
    found = remaining(memory)
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + PATIENCE
        for pid in remaining(memory):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        while remaining(memory) and time.monotonic() < deadline:
            time.sleep(0.05)
    memory.unlink(missing_ok=True)
    return bool(found)


if __name__ == "__main__":
    if {"prepare": prepare, "start": start, "stop": stop}[sys.argv[1]](*sys.argv[2:]):
        sys.stdout.write("changed\n")
