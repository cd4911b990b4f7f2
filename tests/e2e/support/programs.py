# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start the commands of Ansible, and modules, by a fork server (see fork_server.py)."""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import json
import marshal
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

MODULES = "ansible_collections.quietdoor.mtls.plugins.modules"
_SERVER = Path(__file__).with_name("fork_server.py")
# Started for each module, so it imports nothing but modules that are part of the interpreter.
_INTERPRETER = """\
#!{python} -ISE
import json
import marshal, os, sys, _socket
arguments = sys.argv[1:]
if len(arguments) > 1 or (arguments and not os.path.basename(arguments[0]).startswith("AnsiballZ_")):
    os.execv({python!r}, [{python!r}, *arguments])
connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
connection.connect({address!r})
umask = os.umask(0)
os.umask(umask)
data = marshal.dumps((arguments, dict(os.environ), os.getcwd(), umask, False))
files = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2))
connection.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, files)])
connection.recv(16)
os._exit(int(connection.recv(16) or b"137"))
"""


class ForkServer:
    """A fork server of one kind; ends with this process."""

    def __init__(self, kind: str, environment: dict[str, str]) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="fork-server-", dir="/tmp"))
        self._address = str(self.directory / "socket")
        argv = [sys.executable, str(_SERVER), kind, self._address]
        self._process = subprocess.Popen(argv, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        atexit.register(self.stop)
        assert self._process.stdout
        assert self._process.stdout.readline() == b"ready\n", f"the fork server for {kind} did not start"

    def stop(self) -> None:
        """End it; it removes its directory, as it does when this process is killed."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(30)

    def interpreter(self) -> Path:
        """Return a program that runs modules as the Python interpreter does."""
        path = self.directory / "python"
        if not path.exists():
            path.write_text(_INTERPRETER.format(python=sys.executable, address=self._address))
            path.chmod(0o755)
        return path

    def start(
        self, arguments: list[str], environment: Mapping[str, str], files: list[int], session: bool = False
    ) -> Program:
        """Start a program with these three files as standard input, output and error."""
        umask = os.umask(0)
        os.umask(umask)
        data = marshal.dumps((arguments, dict(environment), os.getcwd(), umask, session))
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.connect(self._address)
        socket.send_fds(connection, [data], files)
        return Program(connection)

    def run(self, arguments: list[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a program; return what it printed and its exit code."""
        with (
            tempfile.TemporaryFile() as output,
            tempfile.TemporaryFile() as errors,
            Path(os.devnull).open("rb") as nothing,
        ):
            files = [nothing.fileno(), output.fileno(), errors.fileno()]
            code = self.start(arguments, environment, files).wait()
            texts = []
            for file in (output, errors):
                file.seek(0)
                texts.append(file.read().decode(errors="replace"))
        return subprocess.CompletedProcess(arguments, code, *texts)


class Program:
    """A program that a fork server runs; the methods are those of subprocess.Popen."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.pid = int(connection.recv(16))
        self.returncode: int | None = None
        self._end: int | None = None
        with contextlib.suppress(ProcessLookupError):
            self._end = os.pidfd_open(self.pid)

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs. The code of a killed program is -9."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended; return its exit code."""
        if self.returncode is None:
            if self._end is not None:
                if not select.select([self._end], [], [], timeout)[0]:
                    raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
                os.close(self._end)
            # Processes that it has started may have the connection open, so there is not always an end to read.
            self._connection.setblocking(False)
            try:
                code = self._connection.recv(16)
            except BlockingIOError:
                code = b""
            self._connection.close()
            self.returncode = int(code or -signal.SIGKILL)
        return self.returncode

    def kill(self) -> None:
        """Kill it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


_servers: dict[tuple[object, ...], ForkServer] = {}


def server(kind: str, **settings: str) -> ForkServer:
    """Return this process's fork server of a kind: command (with these settings of Ansible), module or direct."""
    key = (kind, *sorted(settings.items()))
    if key not in _servers:
        _servers[key] = ForkServer(kind, {**(ansible_environment() if kind == "command" else os.environ), **settings})
    return _servers[key]


def module_interpreter() -> str:
    """Return what ``ansible_python_interpreter`` is for a play whose modules are started by the fork server."""
    return str(server("module").interpreter())


def ansible_environment() -> dict[str, str]:
    """Return the environment of ansible-playbook; nothing of the user's own Ansible settings is in it."""
    collection = importlib.util.find_spec("ansible_collections.quietdoor.mtls")
    assert collection, "the collection is not installed"
    assert collection.submodule_search_locations
    home = server("module").directory / "ansible"
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
        "ANSIBLE_COLLECTIONS_PATH": str(Path(collection.submodule_search_locations[0]).parents[2]),
        "ANSIBLE_HOME": str(home),
        "ANSIBLE_LOCAL_TEMP": str(home / "tmp"),
        "ANSIBLE_REMOTE_TEMP": str(home / "tmp"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_PIPELINING": "1",
        "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
    }


def ansible_playbook(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ansible-playbook."""
    return server("command").run(["ansible-playbook", *arguments], ansible_environment())


def ansible(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command ansible."""
    return server("command").run(["ansible", *arguments], ansible_environment())


def module(name: str, options: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """Run a module of the installed collection without Ansible, with its options as Ansible hands them over."""
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump({"ANSIBLE_MODULE_ARGS": options}, file)
        file.flush()
        return server("direct").run([f"{MODULES}.{name}", file.name], dict(os.environ))
