# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send requests to a gate, and wait for what follows from them."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STATUS = "/.well-known/quietdoor"
Found = TypeVar("Found")


@dataclass
class Answer:
    """The answer to a client; ``status`` 0 if the handshake was refused."""

    status: int
    headers: dict[str, str]
    body: str

    def seen(self) -> dict[str, str]:
        """Return the headers that the application saw, names in lower case."""
        return {name.lower(): value for name, value in json.loads(self.body)["headers"]}


REJECTED = Answer(0, {}, "")


def exchange(tls: socket.socket, method: str, path: str, headers: dict[str, str], body: bytes | None = None) -> Answer:
    """Send one request and read the answer."""
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "Connection: close"]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    tls.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
    with contextlib.suppress(OSError):  # the gate may answer and hang up before the body is through
        tls.sendall(body or b"")
    response = http.client.HTTPResponse(tls, method=method)
    response.begin()
    text = response.read().decode()
    return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, text)


def eventually(look: Callable[[], Found | None]) -> Found:
    """Return what ``look`` finds; nginx writes its log a moment after the client has the answer."""
    for _attempt in range(100):
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it was not found within five seconds")


def log_lines(path: Path) -> list[str]:
    """Return the lines of a log. A line that nginx is writing has no line break yet, and is left out."""
    text = path.read_text("utf-8", "replace") if path.exists() else ""
    return text.split("\n")[:-1]


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    for _attempt in range(200):
        assert process.poll() is None, "nginx did not start"
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.05)
    raise AssertionError("nginx does not listen")
