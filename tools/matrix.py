# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run tests with other versions of ansible-core, Python, cryptography, nginx and Debian.

matrix.py kernel    run the oldest and the newest ansible-core, as `make test` does
matrix.py all       run every row, and write the results with their date into docs/support.md
"""

from __future__ import annotations

import datetime
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".cache" / "matrix"
SUPPORT = ROOT / "docs" / "support.md"
BEGIN, END = "<!-- matrix begin -->\n", "<!-- matrix end -->\n"
COLLECTION = ROOT / ".venv" / "collections" / "ansible_collections" / "quietdoor" / "mtls"


@dataclass(frozen=True)
class Core:
    """A control node: an ansible-core with a Python, of this machine or (``suite``) of a Debian release."""

    name: str
    suite: str
    packages: tuple[str, ...]
    kernel: bool = False
    whole: bool = True

    def run(self, log: Path) -> bool:
        """Install it, and run the demo; ``whole`` adds a run that must change nothing and the demo of a rollout.

        Return whether everything passed.
        """
        home = WORK / re.sub(r"[^a-z0-9.]+", "-", self.name)
        python = _output("tools/python.sh", self.suite) if self.suite else sys._base_executable
        install = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "install", "-qq"]
        collections = str(ROOT / ".venv" / "collections")
        settings = {"ANSIBLE_COLLECTIONS_PATH": collections, "ANSIBLE_PIPELINING": "true"}
        argv = [
            str(home / "bin" / "ansible-playbook"),
            "-i",
            "localhost,",
            "-e",
            json.dumps({"demo_path": str(home / "demo")}),
        ]
        steps = [
            [python, "-m", "venv", "--clear", "--without-pip", str(home)],
            [*install, "--disable-pip-version-check", "jmespath", *self.packages],
            [str(home / "bin" / "ansible"), "--version"],
            [*argv, "quietdoor.mtls.demo"],
        ]
        if self.whole:
            demo = COLLECTION / "playbooks" / "files" / "demo_rollout.py"
            steps.append([*argv, "quietdoor.mtls.demo", "--check", "--diff"])
            steps.append([str(home / "bin" / "python"), str(demo), str(home / "rollout")])
        try:
            passed = all(_logged(log, step, settings) for step in steps)
            return passed and (not self.whole or "changed=0 " in _recap(log))
        finally:
            _logged(log, [*argv, "quietdoor.mtls.demo_stop"], settings)


@dataclass(frozen=True)
class Command:
    """Tests of web hosts, by a command of this project."""

    name: str
    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()

    def run(self, log: Path) -> bool:
        """Run the command. Return whether it passed."""
        return _logged(log, list(self.argv), dict(self.environment))


def _images(first: str, second: str) -> tuple[tuple[str, str], ...]:
    names = ("MOLECULE_DOOR_BOOKWORM_IMAGE", "MOLECULE_DOOR_TRIXIE_IMAGE")
    return tuple((name, f"localhost/door-{suite}:latest") for name, suite in zip(names, (first, second)))


def _scenario(first: str, second: str) -> tuple[str, ...]:
    return ("bash", "-c", f"tools/images.sh {first} {second} && tools/scenarios.sh default")


ROWS = (
    Core("ansible-core 2.19.1, cryptography 42", "", ("ansible-core==2.19.1", "cryptography==42.*"), kernel=True),
    Core("ansible-core 2.19", "", ("ansible-core==2.19.*", "cryptography")),
    Core("ansible-core 2.20, Python 3.13", "trixie", ("ansible-core==2.20.*", "cryptography")),
    Core("ansible-core newest, Python 3.13", "trixie", ("ansible-core", "cryptography"), kernel=True),
    Core("ansible-core newest pre-release, Python 3.14", "sid", ("--pre", "ansible-core", "cryptography")),
    Command("nginx 1.18 of Debian 11, 1.30 of Debian sid", ("tools/pytest.sh", "-q", "tests/e2e/test_smoke.py")),
    Command("nginx 1.22 of Debian 12, 1.26 of Debian 13", ("tools/pytest.sh", "-q", "tests/e2e/test_gate.py")),
    Command("web hosts Debian 11 and sid, ssh and systemd", _scenario("bullseye", "sid"), _images("bullseye", "sid")),
    Command(
        "web hosts Debian 12 and 13, ssh and systemd", _scenario("bookworm", "trixie"), _images("bookworm", "trixie")
    ),
)


def _output(*argv: str) -> str:
    return subprocess.run(argv, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def _logged(log: Path, argv: list[str], environment: dict[str, str]) -> bool:
    with log.open("ab") as output:
        output.write(f"$ {' '.join(argv)}\n".encode())
        output.flush()
        settings = {"PYTHONDONTWRITEBYTECODE": "1", **os.environ, **environment}
        return subprocess.run(argv, cwd=ROOT, check=False, env=settings, stdout=output, stderr=output).returncode == 0


def _recap(log: Path) -> str:
    """Return the recap of the second run of the demo, which must change nothing."""
    return re.findall(r"^localhost +: ok=.*", log.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)[1]


def _version(log: Path) -> str:
    """Return the version that a pre-release or `newest` stands for, from the output of ``ansible --version``."""
    found = re.search(r"^ansible \[core (\S+)\]", log.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    return found[1] if found else ""


def run_rows(rows: Sequence[Core | Command]) -> list[tuple[str, bool]]:
    """Run the rows, and print a line for each. Return the name of each row and whether it passed."""
    WORK.mkdir(parents=True, exist_ok=True)
    results = []
    for number, row in enumerate(rows):
        log = WORK / f"row{number}.log"
        log.unlink(missing_ok=True)
        begun = time.monotonic()
        passed = row.run(log)
        version = _version(log)
        name = f"{row.name} ({version})" if version and version not in row.name else row.name
        results.append((name, passed))
        if not passed:
            sys.stdout.write(log.read_text(encoding="utf-8", errors="replace")[-6000:])
        seconds = time.monotonic() - begun
        sys.stdout.write(f"{name}: {_word(passed)}, {seconds:.0f} s, log {log.relative_to(ROOT)}\n")
        sys.stdout.flush()
    return results


def write_support(results: Sequence[tuple[str, bool]]) -> None:
    """Write the results with the date of today into docs/support.md."""
    date = datetime.datetime.now(datetime.timezone.utc).date()
    lines = "".join(f"| {name} | {_word(passed)} | {date} |\n" for name, passed in results)
    before, _begin, rest = SUPPORT.read_text(encoding="utf-8").partition(BEGIN)
    table = f"| tested with | result | date |\n| --- | --- | --- |\n{lines}"
    SUPPORT.write_text(before + BEGIN + table + END + rest.partition(END)[2], encoding="utf-8")


def _word(passed: bool) -> str:
    return "passed" if passed else "failed"


def main(which: str) -> bool:
    """Run the rows of the kernel or all rows. Return whether all passed."""
    if which == "all":
        results = run_rows(ROWS)
        write_support(results)
    else:
        results = run_rows([replace(row, whole=False) for row in ROWS if isinstance(row, Core) and row.kernel])
    return all(passed for _name, passed in results)


if __name__ == "__main__":
    if sys.argv[1:] not in (["kernel"], ["all"]):
        sys.exit(__doc__)
    sys.exit(not main(sys.argv[1]))
