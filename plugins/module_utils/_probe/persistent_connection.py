# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep one connection open between requests: HTTP/1.1 keep-alive (RFC 9112) or WebSocket (RFC 6455)."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from typing import TYPE_CHECKING

from .._contracts.status_protocol import PROBE_USER_AGENT
from .messages import CLOSED, HTTP, NO_ANSWER, TIMED_OUT, Answer
from .tls_context import make_context

if TYPE_CHECKING:
    from .messages import Connection, Target

_UPGRADE = (
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "cXVpZXRkb29yIHByb2JlIQ=="),
)
_SWITCHING = 101  # RFC 9110 section 15.2.2


class PersistentConnection:
    """One TLS connection, open until :meth:`close`. A request on it never raises because of the server's behaviour."""

    def __init__(self, target: Target, connection: Connection) -> None:
        """Connect.

        :raises MtlsError: for unusable files of the client (certificate, key, server CA).
        :raises OSError: if the connection fails.
        """
        context = make_context(target, connection)
        with socket.create_connection((target.address, target.port), timeout=target.timeout) as raw:
            self._tls = context.wrap_socket(raw, server_hostname=connection.sni)

    def ask(self, path: str, host: str) -> Answer:
        """Request ``path`` and leave the connection open."""
        return self._exchange(path, host, (("Connection", "keep-alive"),))

    def upgrade(self, path: str, host: str) -> Answer:
        """Request a WebSocket at ``path``; status 101 means that the connection is now a WebSocket."""
        return self._exchange(path, host, _UPGRADE)

    def begin(self, path: str, host: str) -> None:
        """Send the first half of a request header.

        :raises OSError: if the connection is closed.
        """
        self._tls.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n".encode("latin-1"))

    def finish(self) -> Answer:
        """Send the rest of the request header that :meth:`begin` began."""
        return self._answer_to(f"User-Agent: {PROBE_USER_AGENT}\r\nConnection: close\r\n\r\n")

    def ends_within(self, seconds: float) -> bool:
        """Wait until the server closes the connection; return False if it is still open."""
        deadline = time.monotonic() + seconds
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            try:
                self._tls.settimeout(left)
                if not self._tls.recv(16384):
                    return True
            except socket.timeout:
                return False
            except OSError:
                return True

    def close(self) -> None:
        """Close the connection."""
        self._tls.close()

    def _exchange(self, path: str, host: str, headers: tuple[tuple[str, str], ...]) -> Answer:
        fields = (("Host", host), ("User-Agent", PROBE_USER_AGENT), *headers)
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields), "", ""]
        return self._answer_to("\r\n".join(lines))

    def _answer_to(self, text: str) -> Answer:
        try:
            self._tls.sendall(text.encode("latin-1"))
            response = http.client.HTTPResponse(self._tls, method="GET")
            response.begin()
            if response.status != _SWITCHING:
                response.read()
        except socket.timeout:
            return Answer(NO_ANSWER, TIMED_OUT, handshake=True)
        except (OSError, ssl.SSLError, http.client.HTTPException):
            return Answer(NO_ANSWER, CLOSED, handshake=True)
        return Answer(HTTP, status=response.status, headers=tuple(response.getheaders()), handshake=True)
