# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of ansible-playbook that a test holds at a task, kills, or interrupts; and visitors who come all the time meanwhile."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from support import programs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CALLBACKS = Path(__file__).with_name("callbacks")
_PATIENCE = 240.0
_CONTACT = re.compile(r"desk-\d+")


def wait_for(condition: Callable[[], object], words: Callable[[], object], patience: float = _PATIENCE) -> None:
    """Wait until it is so; ``words`` say what is wrong if it never is."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, words()
        time.sleep(0.05)


class Held:
    """A run that waits at the beginning of a task. Its own session, as a terminal of its own would give it."""

    def __init__(
        self, argv: list[str], environment: Mapping[str, str], place: Path, task: str, forked: bool = False
    ) -> None:
        """Start it.

        :param forked: by a fork server, with the settings of Ansible that are in programs.ansible_environment().
        """
        place.mkdir()
        self.task = task
        self._place = place
        self._log = place / "output"
        settings = {"ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS), "ANSIBLE_CALLBACKS_ENABLED": "hold"}
        environment = {**environment, **settings, "HOLD_AT": task, "HOLD_PATH": str(place)}
        self._run: programs.Program | subprocess.Popen[bytes]
        with self._log.open("wb") as log, Path(os.devnull).open("rb") as nothing:
            if forked:
                files = [nothing.fileno(), log.fileno(), log.fileno()]
                self._run = programs.server("command", **settings).start(argv, environment, files, session=True)
            else:
                self._run = subprocess.Popen(
                    argv, env=environment, stdin=nothing, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
                )

    @property
    def output(self) -> str:
        """The output so far."""
        return self._log.read_text()

    @property
    def words(self) -> str:
        """The same without line breaks."""
        return " ".join(self.output.split())

    def waits(self) -> Held:
        """Wait until it waits."""
        reached = self._place / "reached"
        wait_for(lambda: reached.exists() or self._run.poll() is not None, lambda: self.output)
        assert reached.exists(), f"it ended before task {self.task}: {self.output}"
        return self

    def go(self) -> Held:
        """Let it go on."""
        (self._place / "go").touch()
        return self

    def ends(self) -> int:
        """Wait until it has ended by itself; return its code."""
        return self._run.wait(timeout=_PATIENCE)

    def kill(self) -> None:
        """Kill it -9 and everything that it has started, a module in the middle of its work included; not what has left it."""
        if self._run.poll() is not None:
            return
        for pid in self._family():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._run.wait(timeout=_PATIENCE)

    def kill_alone(self) -> None:
        """Kill -9 only what would run on a control node; a module that it has started works on, and nobody hears of it."""
        self._run.kill()
        self._run.wait(timeout=_PATIENCE)

    def interrupt(self) -> None:
        """Press Ctrl-C: the whole group of the terminal hears it, and modules, which would be in it without a fork server."""
        modules = [int(path.read_text()) for path in self._place.glob("module-of-*")]
        os.killpg(self._run.pid, signal.SIGINT)
        for pid in modules:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)

    def _family(self) -> list[int]:
        """Return its process ids, stopped so that none has another child meanwhile."""
        family, new = [], [self._run.pid]
        while new:
            for pid in new:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            family += new
            new = [child for pid in new for child in (*_children(pid), *self._module_of(pid))]
        return family

    def _module_of(self, pid: int) -> list[int]:
        """Return the process id of the module that a fork server has started for a process."""
        path = self._place / f"module-of-{pid}"
        return [int(path.read_text())] if path.exists() else []


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, path.read_text().split())
    return found


@dataclass(frozen=True)
class Answer:
    """The answer to a visitor. ``status`` 0 means no answer at all; ``contact`` is the contact on the refusal page."""

    status: int
    generation: int | None = None
    contact: str = ""
    words: str = ""


@dataclass
class Visitor:
    """A client that sends a request every 100 ms on a new connection.

    :param server_ca: the CA to trust, as in a browser; an invalid certificate counts as no answer.
    :param source: the address to come from.
    :param client: certificate and key.
    :param host_header: what to ask for, where ports are translated on the way.
    """

    name: str
    port: int
    server_name: str
    server_ca: Path
    source: str
    client: tuple[Path, Path] | None = None
    host_header: str = ""
    answers: Counter[Answer] = field(default_factory=Counter)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        self._tls = ssl.create_default_context(cafile=str(self.server_ca))
        if self.client:
            self._tls.load_cert_chain(*self.client)

    def __enter__(self) -> Visitor:
        self._thread = threading.Thread(target=self._come, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._over.set()
        assert self._thread
        self._thread.join()

    def _come(self) -> None:
        while not self._over.wait(0.1):
            self.answers[self.ask()] += 1

    def ask(self, path: str = "/") -> Answer:
        """Come once."""
        try:
            # The timeout is long, because a busy machine must not count as a refusal.
            plain = socket.create_connection(("127.0.0.1", self.port), 60, (self.source, 0))
            with plain, self._tls.wrap_socket(plain, server_hostname=self.server_name) as tls:
                host = self.host_header or f"{self.server_name}:{self.port}"
                tls.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                response = http.client.HTTPResponse(tls)
                response.begin()
                return _answer(response, response.read().decode())
        except (OSError, http.client.HTTPException) as error:
            return Answer(0, words=f"{type(error).__name__} {error}")

    def other_than(self, *statuses: int) -> dict[Answer, int]:
        """Return the answers of other statuses, and how often they came."""
        return {answer: often for answer, often in self.answers.items() if answer.status not in statuses}


def _answer(response: http.client.HTTPResponse, body: str) -> Answer:
    reported = re.search(r"gate=(\d+)", response.headers.get("X-Quietdoor-Generation", ""))
    contact = _CONTACT.search(body) if response.status == 403 else None
    return Answer(response.status, int(reported[1]) if reported else None, contact[0] if contact else "")
