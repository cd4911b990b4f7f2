# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark of the playbooks still runs: one playbook, one round, one host and a fleet of two."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_playbook_gets_its_figures(tmp_path: Path) -> None:
    bench = Path(__file__).parent / "plays" / "bench_plays.py"
    small = ["--plays=trust", "--hosts=2", "--rounds=1", "--connection=local"]
    places = [f"--directory={tmp_path}", f"--json={tmp_path / 'figures.json'}"]
    done = subprocess.run([sys.executable, bench, *small, *places], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "figures.json").read_text())
    assert [row["name"] for row in rows] == ["trust, nothing to do", "trust, nothing to do, 2 hosts"]
    assert all(row["tasks"] > 0 < row["control"][0] for row in rows)
    assert all(f"| {row['name']} | {row['tasks']} | " in done.stdout for row in rows)
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]
