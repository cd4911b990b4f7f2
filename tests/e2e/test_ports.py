# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that every test gets its own ports, also before a process listens on them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support.lab import free_ports
from support.nginx import free_port

RANGE = (18900, 18999)
# All of them begin to look in the same place, as any two may.
ASK = (
    f"import os; from support import nginx as n; os.getpid = lambda: 1; print(n.free_port{RANGE}, flush=True); input()"
)


def test_concurrent_processes_get_different_ports() -> None:
    asking = [
        subprocess.Popen(
            [sys.executable, "-c", ASK], cwd=Path(__file__).parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(4)
    ]
    given = [int(process.stdout.readline()) for process in asking]
    for process in asking:
        process.communicate(b"\n")
    assert len(set(given)) == len(given)


def test_process_keeps_its_port_unless_it_requests_another() -> None:
    port = free_port(*RANGE)
    assert free_port(*RANGE) == port
    assert free_port(*RANGE, never_given=True) != port


def test_requested_ports_differ_and_stay_reserved() -> None:
    ports = [*free_ports(6), *free_ports(2)]
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert len(set(ports)) == len(ports)
    assert max(ports) < first
