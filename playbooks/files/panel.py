# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A toy admin panel. It answers with the request as it reached it, so that everyone sees what an application gets."""

from __future__ import annotations

import html
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Admin panel</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:3rem auto;padding:0 1rem}}
td{{padding:.15rem 1rem .15rem 0;vertical-align:top;word-break:break-all}}</style></head>
<body><h1>Admin panel</h1><p>You are in, <b>{who}</b>. This is the request as it reached the application:</p>
<p><code>{method} {path}</code></p><table>{rows}</table></body></html>
"""


class Panel(BaseHTTPRequestHandler):
    """Answers every method on every path."""

    protocol_version = "HTTP/1.1"
    server_version = "ToyPanel"
    sys_version = ""

    def answer(self) -> None:
        """Answer with the request: JSON, or a small page for who asks for HTML."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = {"method": self.command, "path": self.path, "headers": self._headers()}
        if "text/html" in self.headers.get("Accept", ""):
            self._send("text/html; charset=utf-8", self._page(request))
        else:
            self._send("application/json", json.dumps(request, indent=1) + "\n")

    def __getattr__(self, name: str) -> object:
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def _headers(self) -> dict[str, str]:
        return {name: ", ".join(self.headers.get_all(name, [])) for name in self.headers}

    def _page(self, request: dict) -> str:
        rows = "".join(
            f"<tr><td><code>{html.escape(name)}</code></td><td>{html.escape(value)}</td></tr>"
            for name, value in request["headers"].items()
        )
        who = html.escape(self.headers.get("X-Client-Name") or "somebody")
        return _PAGE.format(
            who=who, method=html.escape(request["method"]), path=html.escape(request["path"]), rows=rows
        )

    def _send(self, content_type: str, text: str) -> None:
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Panel).serve_forever()
