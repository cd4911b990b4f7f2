# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run an application that echoes requests."""

from __future__ import annotations

import json
import re
import socketserver
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from support.ca import Pair


class _UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class _TcpServer(ThreadingHTTPServer):
    request_queue_size = 128  # nginx may bring all the streams of a connection at once


class Application:
    """Echoes requests as JSON; ``/status/NNN`` answers with that status and a body of its own."""

    def __init__(self, port: int = 0, tls: Pair | None = None, path: Path | None = None) -> None:
        self.port = port
        self.reached: list[str] = []
        application = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                application.reached.append(f"{self.command} {self.path}")
                if self.headers.get("Upgrade", "").lower() == "websocket":
                    self._echo_upgraded()
                    return
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                status = re.match(r"/status/(\d+)", self.path)
                seen = {"path": self.path, "method": self.command, "body": body, "headers": self.headers.items()}
                answer = (f"own page {status[1]}" if status else json.dumps(seen)).encode()
                self.send_response(int(status[1]) if status else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("X-Quietdoor-Verdict", "forged")
                self.send_header("X-Quietdoor-Generation", "gate=999 trust=999")
                if self.path == "/accel":
                    self.send_header("X-Accel-Redirect", "/.well-known/quietdoor/verdict")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer)

            def __getattr__(self, name: str) -> object:
                if name.startswith("do_"):
                    return self.do_GET
                raise AttributeError(name)

            def _echo_upgraded(self) -> None:
                self.send_response(101)
                self.send_header("Upgrade", "websocket")
                self.send_header("Connection", "Upgrade")
                self.end_headers()
                self.wfile.write(self.rfile.read(5)[::-1])
                self.close_connection = True

            def log_message(self, *args: object) -> None:
                pass

            def address_string(self) -> str:
                return "a socket has none"

        self._server = _UnixServer(str(path), Handler) if path else _TcpServer(("127.0.0.1", port), Handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls.crt, tls.pem)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
