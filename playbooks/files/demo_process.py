# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prepares the demo's directory, starts its processes and ends exactly those.

demo_process.py prepare DIR [PORTS]          directories, free loopback ports from 8443 on (two), a passphrase; all made once
demo_process.py start FILE LOG PORT ARGV...  start ARGV in the background, remembered in FILE; PORT 0 waits for none
demo_process.py stop FILE...                 end what is remembered in FILE, if it still is that process
Prints "changed" where it did something.
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

FIRST_PORT = 8443
DIRECTORIES = ("run", "server", "specimens", "inventory/group_vars", "nginx/conf.d", "nginx/logs", "nginx/tmp")
PATIENCE = 10.0


def stat(pid: int) -> list[str] | None:
    """Return the fields of proc(5) stat of a living process, from the third on."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields


def started_at(pid: int) -> str | None:
    """Return when process ``pid`` began (field 22), which tells it from a later one with the same number."""
    fields = stat(pid)
    return fields and fields[19]


def boot_id() -> str:
    """Return what tells this boot of the machine from any other."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def remembered(memory: Path) -> dict | None:
    """Return what ``memory`` says of a process that was started since the machine's last boot."""
    known = json.loads(memory.read_text(encoding="utf-8")) if memory.exists() else {}
    return known if known.get("boot_id") == boot_id() else None


def running(memory: Path) -> bool:
    """Tell whether the remembered process still runs."""
    known = remembered(memory)
    return bool(known) and started_at(known["pid"]) == known["started_at"]


def remaining(memory: Path) -> list[int]:
    """Return what still runs of the remembered process and its children: workers outlive an nginx that was killed.

    Each was started in a session of its own, and the number of a session is not given away while a process is in it.
    """
    known = remembered(memory)
    if not known or started_at(known["pid"]) not in (None, known["started_at"]):
        return []
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    return [pid for pid in pids if (fields := stat(pid)) and fields[3] == str(known["pid"])]


def is_free(port: int) -> bool:
    """Tell whether nobody listens on the port, on loopback or everywhere."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def prepare(directory: str, ports: str = "2") -> bool:
    """Make what the demo keeps for good: directories, ports, and the passphrase of its authorities."""
    top = Path(directory)
    if not (top / "run" / "ports.json").exists():
        forget_ports(top)
    for name in DIRECTORIES:
        (top / name).mkdir(parents=True, exist_ok=True)
    free = (port for port in range(FIRST_PORT, FIRST_PORT + 500) if is_free(port))
    made = [
        write_once(top / "run" / "ports.json", lambda: json.dumps(list(islice(free, int(ports)))), 0o644),
        write_once(top / "run" / "authority.passphrase", lambda: secrets.token_urlsafe(24), 0o600),
    ]
    return any(made)


def forget_ports(top: Path) -> None:
    """End what listens on the former ports, and take away the gate and the trust that were made for them."""
    stop(str(top / "run" / "nginx.json"), str(top / "run" / "panel.json"))
    for name in ("conf.d", "quietdoor"):
        shutil.rmtree(top / "nginx" / name, ignore_errors=True)


def write_once(path: Path, text: Callable[[], str], mode: int) -> bool:
    """Write a file with these permission bits unless it is there; return whether it was written."""
    if path.exists():
        return False
    temporary = path.with_suffix(".new")
    temporary.touch(mode=mode)
    temporary.write_text(text(), encoding="ascii")
    temporary.rename(path)
    return True


def start(memory: str, log: str, port: str, *argv: str) -> bool:
    """Start a process unless it runs already."""
    path = Path(memory)
    if running(path):
        return False
    end(path)
    if int(port) and not is_free(int(port)):
        sys.exit(
            f"Port {port} is taken by another process. End it, or remove {path.parent}/ports.json to have others chosen."
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
    """Wait until the process listens on the port, or for half a second where it has none."""
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
    """End the processes and forget them."""
    ended = [end(Path(memory)) for memory in memories]
    return any(ended)


def end(memory: Path) -> bool:
    """End a process and its children, by force if they do not go by themselves."""
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
