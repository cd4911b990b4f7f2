# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A TLS client of the benchmark, a process of its own.

It reads tasks as lines of JSON, says ``ready`` when nothing but the work itself is left, works when it reads ``go``, and says
``done``. Everything else it says is why it failed.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

CONNECTIONS = 8


def context_of(task: dict[str, Any]) -> ssl.SSLContext:
    """Return the settings of a client; it keeps no sessions."""
    context = ssl.create_default_context(cafile=task["server_ca"])
    context.load_cert_chain(task["certificate"], task["key"])
    return context


def connect(task: dict[str, Any], context: ssl.SSLContext) -> ssl.SSLSocket:
    """Return a connection on which the handshake is over, as far as the client knows."""
    plain = socket.create_connection(("127.0.0.1", task["port"]))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(plain, server_hostname=task["server_name"])


def ask(tls: ssl.SSLSocket, request: bytes) -> bytes:
    """Send a request and return the whole answer."""
    tls.sendall(request)
    return answer(tls)


def answer(tls: ssl.SSLSocket) -> bytes:
    """Return the next answer. Its length is told in ``Content-Length``."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += more(tls)
    head, _end, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    while len(body) < length:
        body += more(tls)
    return head + b"\r\n\r\n" + body


def more(tls: ssl.SSLSocket) -> bytes:
    """Return what comes next; that nothing does is an error."""
    piece = tls.recv(65536)
    if not piece:
        raise ConnectionError("the server has closed the connection")
    return piece


def handshakes(task: dict[str, Any]) -> tuple[Callable[[], None], Callable[[], None]]:
    """One full handshake after the other.

    In TLS 1.3 a client is done before the server has looked at its certificate, so it waits until the server has closed.
    """
    context = context_of(task)

    def work() -> None:
        for _number in range(task["count"]):
            tls = connect(task, context)
            with contextlib.suppress(OSError):
                tls.unwrap()
            tls.close()

    return work, lambda: None


def requests(task: dict[str, Any]) -> tuple[Callable[[], None], Callable[[], None]]:
    """Requests on connections that are open already, some at once, so that the worker is not woken up for every single one."""
    context = context_of(task)
    request = f"GET {task['path']} HTTP/1.1\r\nHost: {task['server_name']}:{task['port']}\r\nUser-Agent: bench\r\n\r\n".encode()
    connections = [connect(task, context) for _number in range(CONNECTIONS)]
    first = [ask(tls, request) for tls in connections]
    if not all(one.startswith(b"HTTP/1.1 200 ") for one in first):
        raise ConnectionError(f"refused: {first[0][:200]!r}")

    def work() -> None:
        for _number in range(task["count"] // CONNECTIONS):
            for tls in connections:
                tls.sendall(request)
            for tls in connections:
                if not answer(tls).startswith(b"HTTP/1.1 200 "):
                    raise ConnectionError("refused")

    def close() -> None:
        for tls in connections:
            tls.close()

    return work, close


def main() -> None:
    """Work until no task is left."""
    for line in sys.stdin:
        task = json.loads(line)
        work, close = {"handshakes": handshakes, "requests": requests}[task["kind"]](task)
        print("ready", flush=True)
        sys.stdin.readline()
        work()
        print("done", flush=True)
        close()


if __name__ == "__main__":
    main()
