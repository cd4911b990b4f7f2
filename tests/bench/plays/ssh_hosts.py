# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run an SSH server on loopback for the benchmark, and measure the CPU time of what it starts.

ssh_hosts.py CONFIG runs the SSH server and reaps orphans, so that the CPU time of programs that left a session is counted too.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_PR_SET_CHILD_SUBREAPER = 36
_TICKS = os.sysconf("SC_CLK_TCK")
_CONFIG = """\
{listen}
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/client_key.pub
PidFile none
AuthenticationMethods publickey
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
UseDNS no
MaxStartups 200
Subsystem sftp internal-sftp
"""


def find_sshd() -> str | None:
    """Return the path of the SSH server, None if it is not installed."""
    return shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def become_subreaper() -> None:
    """Make orphans of this process's descendants its children."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def children_of(pid: int) -> list[int]:
    """Return the children of a process, the oldest first."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def cpu_seconds(pids: Sequence[int]) -> float:
    """Return the CPU seconds of these processes, of their descendants and of all ended children that were reaped."""
    total, waiting = 0, list(pids)
    while waiting:
        pid = waiting.pop()
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            waiting += children_of(pid)
        except OSError:  # it has just ended
            continue
        # The fields from utime to cstime; see proc(5).
        total += sum(int(field) for field in fields[11:15])
    return total / _TICKS


class SshServer:
    """An SSH server with its own configuration and keys; each host has an address of its own on loopback."""

    def __init__(self, directory: Path, addresses: Sequence[str], port: int) -> None:
        self.directory = directory
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir()
        for name in ("host_key", "client_key"):
            keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)]
            subprocess.run(keygen, check=True)
        listen = "\n".join(f"ListenAddress {address}:{port}" for address in addresses)
        self._config = directory / "sshd_config"
        self._config.write_text(_CONFIG.format(listen=listen, directory=directory))
        self._address = addresses[-1]

    @property
    def pid(self) -> int:
        """The process whose descendants are what runs on the hosts."""
        assert self._process
        return self._process.pid

    def variables(self) -> dict[str, object]:
        """Return the variables of the inventory that connect to it."""
        options = ["UserKnownHostsFile=/dev/null", "StrictHostKeyChecking=no", "LogLevel=ERROR"]
        return {
            "ansible_connection": "ssh",
            "ansible_port": self.port,
            "ansible_user": pwd.getpwuid(os.geteuid()).pw_name,
            "ansible_ssh_private_key_file": str(self.directory / "client_key"),
            "ansible_ssh_common_args": " ".join(f"-o {option}" for option in options),
        }

    def wait_until_idle(self) -> None:
        """Wait until no session is left, so that the CPU time of all sessions is counted."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            [server, *_orphans] = children_of(self.pid)
            if not children_of(server):
                return
            time.sleep(0.05)

    def __enter__(self) -> SshServer:
        if os.geteuid() == 0:
            # The directory in which the SSH server of Debian separates its privileges.
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self._process = subprocess.Popen([sys.executable, __file__, str(self._config)], stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection((self._address, self.port), 1):
                return self
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("The SSH server did not start.")
            time.sleep(0.05)

    def __exit__(self, *_exception: object) -> None:
        assert self._process
        self._process.terminate()
        self._process.wait(10)


def main() -> None:
    """Run the SSH server until SIGTERM."""
    become_subreaper()
    sshd = find_sshd()
    assert sshd
    server = subprocess.Popen([sshd, "-D", "-e", "-f", sys.argv[1]], stderr=subprocess.DEVNULL)

    def stop(*_arguments: object) -> None:
        server.terminate()
        sys.exit(0)

    signal.signal(signal.SIGTERM, stop)
    while True:
        pid, _status = os.wait()
        if pid == server.pid:
            sys.exit(1)


if __name__ == "__main__":
    main()
