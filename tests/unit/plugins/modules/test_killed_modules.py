# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real module processes and real playbooks, killed while they hold the authority's lock; and many of them at once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.quietdoor.mtls.plugins.module_utils._common import errors

COLLECTIONS = Path(errors.__file__).parents[6]
RUNNER = """
import importlib, json, sys
from ansible.module_utils.testing import patch_module_args
module = importlib.import_module("ansible_collections.quietdoor.mtls.plugins.modules." + sys.argv[1])
with patch_module_args(json.loads(sys.argv[2])):
    module.main()
"""
CA = {"common_name": "Test CA", "key": {"type": "ecdsa"}}
ROSTER = [{"name": f"client{number}", "bundle_profiles": ["modern", "compat"]} for number in range(8)]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(COLLECTIONS), "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS)}


class Authority:
    """An authority that real processes of modules work on."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / "ca"

    def start(self, name: str, **options: Any) -> subprocess.Popen[str]:
        """Start a module."""
        arguments = json.dumps({"path": str(self.path), **options})
        return subprocess.Popen(
            [sys.executable, "-c", RUNNER, name, arguments],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, name: str, **options: Any) -> dict[str, Any]:
        """Run a module to its end."""
        return ended(self.start(name, **options))

    def kill_holder(self, process: subprocess.Popen[str], delay: float) -> bool:
        """Kill the module that holds the lock, ``delay`` seconds after it took it; return whether it was still there."""
        while process.poll() is None:
            holder = self.holder()
            if holder:
                time.sleep(delay)
                if holder == self.holder():
                    os.kill(holder, signal.SIGKILL)
                    return True
                return False
            time.sleep(0.001)
        return False

    def holder(self) -> int | None:
        """Return the module that holds the lock; the process id of an ended module may have been reused."""
        try:
            holder = int((self.path / ".lock").read_text())
            command = Path(f"/proc/{holder}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        return holder if b"client_certs" in command else None

    def check(self) -> None:
        """Assert that no certificate is duplicated, lost or incomplete, and that every client has one."""
        rows = [line.split("\t") for line in (self.path / "index.txt").read_text().splitlines()]
        serials = Counter(row[3] for row in rows)
        assert set(serials.values()) == {1}
        assert {path.stem for path in (self.path / "newcerts").iterdir()} == serials.keys()
        assert Counter(row[4].split("/")[1] for row in rows) == {client["name"]: 1 for client in ROSTER}
        assert not list(self.path.rglob(".quietdoor-tmp-*"))
        for client in ROSTER:
            directory = self.path / "clients" / client["name"]
            assert len(list(directory.glob("*-*.key"))) == 1
            assert sorted(path.suffix for path in directory.glob("*-*.p12")) == [".p12", ".p12"]


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=60)
    assert not err, err
    result: dict[str, Any] = json.loads(out)
    return result


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority(tmp_path)
    assert made.run("ca", **CA)["changed"]
    return made


def test_modules_killed_while_they_hold_the_lock(authority: Authority) -> None:
    draw = random.Random("modules")
    kills = 0
    for _attempt in range(8):
        process = authority.start("client_certs", clients=ROSTER)
        kills += authority.kill_holder(process, draw.uniform(0, 0.15))
        process.communicate(timeout=60)
    assert kills >= 2
    authority.run("client_certs", clients=ROSTER)
    authority.check()
    assert not authority.run("client_certs", clients=ROSTER)["changed"]


@pytest.mark.parametrize("runs", [2, 8])
def test_modules_at_once_wait_for_each_other(runs: int, authority: Authority) -> None:
    results = [ended(one) for one in [authority.start("client_certs", clients=ROSTER) for _run in range(runs)]]
    assert not [result for result in results if result.get("failed")]
    assert [result["changed"] for result in results].count(True) == 1
    authority.check()


def test_a_playbook_killed_while_it_holds_the_lock(authority: Authority, tmp_path: Path) -> None:
    """Twice killed, then left to finish, then nothing is left to do."""
    task = {"quietdoor.mtls.client_certs": {"path": str(authority.path), "clients": ROSTER}}
    play = tmp_path / "play.yml"
    play.write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": [task]}]))
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "-c", "local"]
    command += ["-e", f"ansible_python_interpreter={sys.executable}", str(play)]
    environment = {**ENVIRONMENT, "ANSIBLE_HOME": str(tmp_path / "home")}

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    for delay in (0.0, 0.05):
        killed = start()
        found = authority.kill_holder(killed, delay)
        output = killed.communicate(timeout=60)[0]
        assert killed.returncode == (2 if found else 0), output
        assert "Traceback" not in output
    output = ""
    for _time in range(2):
        run = start()
        output = run.communicate(timeout=60)[0]
        assert run.returncode == 0, output
        authority.check()
    assert "changed=0" in output
