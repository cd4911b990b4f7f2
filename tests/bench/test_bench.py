# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark still runs: the smallest roster, the shortest CRL, one round, figures for every peer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_every_peer_gets_its_figures(tmp_path: Path) -> None:
    bench = Path(__file__).with_name("bench.py")
    small = ["--clients=2", "--rsa-clients=1", "--revoked=10", "--loop=1", "--rounds=1"]
    places = [f"--directory={tmp_path}", f"--json={tmp_path / 'figures.json'}", f"--crypto-bin={tmp_path}"]
    done = subprocess.run([sys.executable, bench, *small, *places], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert list(figures) == ["2 P-256 clients with bundles", "1 RSA-2048 clients with bundles", "A CRL of 10 entries"]
    for peers in figures.values():
        assert all(cost["seconds"] > 0 for peer in peers for cost in peer["costs"])
        assert "| quietdoor, " in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]
