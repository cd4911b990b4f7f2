# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start ansible-playbook and modules by a fork server (see fork_server.py)."""

from __future__ import annotations

import atexit
import importlib.util
import marshal
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

COLLECTION = Path(importlib.util.find_spec("ansible_collections.quietdoor.mtls").submodule_search_locations[0])
COLLECTIONS = COLLECTION.parents[2]
_SERVER = Path(__file__).with_name("fork_server.py")
# Started for each module, so it imports nothing but modules that are part of the interpreter.
_INTERPRETER = """\
#!{python} -ISE
import marshal, os, sys, _socket
arguments = sys.argv[1:]
if len(arguments) > 1 or (arguments and not os.path.basename(arguments[0]).startswith("AnsiballZ_")):
    os.execv({python!r}, [{python!r}, *arguments])
connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
connection.connect({address!r})
umask = os.umask(0)
os.umask(umask)
data = marshal.dumps((arguments, dict(os.environ), os.getcwd(), umask))
files = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2))
connection.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, files)])
os._exit(int(connection.recv(16) or b"137"))
"""


class ForkServer:
    """A fork server of one kind; ends with this process."""

    def __init__(self, kind: str, environment: dict[str, str]) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="quietdoor-", dir="/tmp"))
        self._address = str(self.directory / "socket")
        argv = [sys.executable, str(_SERVER), kind, self._address]
        self._process = subprocess.Popen(argv, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        atexit.register(self.stop)
        assert self._process.stdout
        assert self._process.stdout.readline() == b"ready\n", f"the fork server for {kind} did not start"

    def stop(self) -> None:
        """End it and remove its directory."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(30)
        shutil.rmtree(self.directory, ignore_errors=True)

    def interpreter(self) -> Path:
        """Return a program that runs modules as the Python interpreter does."""
        path = self.directory / "python"
        if not path.exists():
            path.write_text(_INTERPRETER.format(python=sys.executable, address=self._address))
            path.chmod(0o755)
        return path

    def run(self, arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a program; return what it printed and its exit code."""
        umask = os.umask(0)
        os.umask(umask)
        data = marshal.dumps((arguments, environment, os.getcwd(), umask))
        with (
            tempfile.TemporaryFile() as output,
            tempfile.TemporaryFile() as errors,
            Path(os.devnull).open("rb") as nothing,
            socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection,
        ):
            connection.connect(self._address)
            socket.send_fds(connection, [data], [nothing.fileno(), output.fileno(), errors.fileno()])
            code = int(connection.recv(16) or b"-9")
            texts = []
            for file in (output, errors):
                file.seek(0)
                texts.append(file.read().decode(errors="replace"))
        return subprocess.CompletedProcess(arguments, code, *texts)


_servers: dict[str, ForkServer] = {}


def server(kind: str) -> ForkServer:
    """Return this process's fork server of a kind: playbook, module or direct."""
    if kind not in _servers:
        _servers[kind] = ForkServer(kind, ansible_environment() if kind == "playbook" else dict(os.environ))
    return _servers[kind]


def module_interpreter() -> str:
    """Return what ``ansible_python_interpreter`` is for a play whose modules are started by the fork server."""
    return str(server("module").interpreter())


def ansible_environment() -> dict[str, str]:
    """Return the environment of ansible-playbook; nothing of the user's own Ansible settings is in it."""
    home = server("module").directory / "ansible"
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_HOME": str(home),
        "ANSIBLE_LOCAL_TEMP": str(home / "tmp"),
        "ANSIBLE_REMOTE_TEMP": str(home / "tmp"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_PIPELINING": "1",
        "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
    }


def ansible_playbook(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ansible-playbook."""
    return server("playbook").run(list(arguments), ansible_environment())
