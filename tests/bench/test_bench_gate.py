# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark of the gate still runs: one small scenario, one stage, one round, figures for every server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

STAGE = "enforce"


def test_every_server_gets_its_figures(tmp_path: Path) -> None:
    bench = Path(__file__).parent / "gate" / "bench_gate.py"
    small = ["--identities=", "--revoked=2", f"--stages={STAGE}", "--rounds=1", "--handshakes=2", "--requests=16"]
    places = [f"--directory={tmp_path}", f"--json={tmp_path / 'figures.json'}"]
    done = subprocess.run([sys.executable, bench, *small, *places], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert list(figures) == ["1,000 identities, 2 revoked"]
    servers = figures["1,000 identities, 2 revoked"]
    assert [server["name"] for server in servers] == [
        "no client certificates",
        "ssl_verify_client on, ssl_crl",
        "the same, telling as much as a gate",
        *(f"gate, {mode}, {STAGE}, {form}" for mode in ("host", "path") for form in ("crl", "map")),
    ]
    assert all(server["handshakes"][0] > 0 < server["requests"][0] for server in servers)
    assert all(f"| {server['name']} | " in done.stdout for server in servers)
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]
