# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running a command and seeing what it costs: time, processor, and the memory of all its processes together."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

_PAUSE = 0.02


@dataclass(frozen=True)
class Cost:
    """The cost of one run."""

    seconds: float
    """By the clock on the wall."""
    processor: float
    """Seconds of user and system time of all processes."""
    mebibytes: float
    """The most that all processes held at once: the sum of their proportional set sizes, looked at every 20 ms."""


def run(command: list[str], log: Path, environment: dict[str, str] | None = None) -> Cost:
    """Run a command to its end and return what it cost.

    :raises RuntimeError: if it fails; its output is in ``log``.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start, peak = time.perf_counter(), 0.0
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **(environment or {})})
        while process.poll() is None:
            peak = max(peak, _held(process.pid))
            time.sleep(_PAUSE)
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode != 0:
        raise RuntimeError(f"{command[:4]} failed, see {log}")
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(seconds, processor, peak)


def _held(root: int) -> float:
    total, waiting = 0.0, [root]
    while waiting:
        process = waiting.pop()
        try:
            children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:  # it has just ended
            continue
        waiting += [int(child) for child in children]
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    return total
