# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask a gate with the probe."""

from __future__ import annotations

import http.server
import json
import pathlib
import time
from typing import Any

from ansible_collections.quietdoor.mtls.plugins.module_utils._checks import catalogue
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks.options import gate_from
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks.preflight import check_files, reach
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks.report import report
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks.session import ProbeSession
from ansible_collections.quietdoor.mtls.plugins.module_utils._probe.forged_certificates import ForgedCertificateFactory


class Echo(http.server.BaseHTTPRequestHandler):
    """An application that says what it got, and that tries to speak for the gate. Anything without /echo in it is a page."""

    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers: dict[str, list[str]] = {}
        for name, value in self.headers.items():
            headers.setdefault(name, []).append(value)
        echo = json.dumps({"method": self.command, "path": self.path, "headers": headers})
        page = f"<title>Panel</title><p>Welcome to the panel</p><!-- {time.monotonic_ns()} -->"
        body = (echo if "/echo" in self.path else page).encode()
        self.send_response(200)
        self.send_header("X-Quietdoor-Verdict", "cert")
        self.send_header("X-Quietdoor-Generation", "gate=1 trust=1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_TRACE = _answer  # noqa: N815

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""


def probe(directory: pathlib.Path, wanted: dict[str, Any], names: tuple[str, ...] = ()) -> dict[str, Any]:
    """Do what the module does, in this process."""
    workshop = directory / "workshop"
    workshop.mkdir()
    session = ProbeSession(gate_from(wanted), ForgedCertificateFactory(str(workshop)))
    check_files(session)
    plan = catalogue.plan(session, names)
    generation = reach(session)
    return report(session.gate, plan, catalogue.run(session, plan), generation)


def red(outcome: dict[str, Any]) -> set[str]:
    return {entry["name"] for entry in outcome["checks"] if not entry["ok"]}
