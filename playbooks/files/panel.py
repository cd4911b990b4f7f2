# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serve a demo application that answers with the received request."""

from __future__ import annotations

import html
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>:root{{color-scheme:light dark;--back:#f4f5f7;--card:#fff;--text:#1b1f24;--soft:#57606a;--line:#d0d7de;--mark:#1a7f37}}
@media(prefers-color-scheme:dark){{:root{{--back:#14171c;--card:#1c2128;--text:#e6edf3;--soft:#9aa7b4;--line:#373e47;--mark:#3fb950}}}}
*{{box-sizing:border-box}}
body{{margin:0;padding:1.5rem;background:var(--back);color:var(--text);font:1rem/1.6 system-ui,sans-serif}}
main{{max-width:48rem;margin:1.5rem auto;padding:2rem;background:var(--card);border:1px solid var(--line);
border-top:.3rem solid var(--mark);border-radius:.6rem}}
h1{{margin:0 0 1rem;font-size:1.5rem;line-height:1.25}}p{{margin:0 0 1rem}}
dl{{display:grid;grid-template-columns:max-content 1fr;gap:.35rem 1.5rem;margin:0;font:.875rem/1.5 ui-monospace,monospace}}
dt{{color:var(--soft)}}dd{{margin:0;overflow-wrap:anywhere}}
@media(max-width:36rem){{main{{padding:1.25rem}}dl{{display:block}}dd{{margin-bottom:.6rem}}}}</style></head>
<body><main><h1>{title}</h1><p>{welcome} This is the request as it reached the application:</p>
<p><code>{method} {path}</code></p><dl>{rows}</dl></main></body></html>
"""


class Panel(BaseHTTPRequestHandler):
    """A request handler that answers every method on every path."""

    protocol_version = "HTTP/1.1"
    server_version = "ToyPanel"
    sys_version = ""

    def answer(self) -> None:
        """Answer with the request, as JSON or as a small page for clients that accept HTML."""
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
            f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in request["headers"].items()
        )
        title, welcome = self._greeting()
        method, path = html.escape(request["method"]), html.escape(request["path"])
        return _PAGE.format(title=title, welcome=welcome, method=method, path=path, rows=rows)

    def _greeting(self) -> tuple[str, str]:
        if self.headers.get("X-Client-Verify") != "SUCCESS":
            return "Public page", 'Everybody may see it; <a href="/admin/">the panel</a> opens with a certificate.'
        who = html.escape(self.headers.get("X-Client-Name") or "somebody")
        return "Admin panel", f"You are in, <b>{who}</b>."

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
