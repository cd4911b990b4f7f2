# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the cost of a gate, of a plain ``ssl_verify_client on`` and of no client certificates.

``make bench-gate`` runs it. The cost is the processor time of the one worker of each nginx, not elapsed time: the load of the
machine and the speed of the clients matter little. Every round measures every server once, and costs are compared within a
round; the output shows the medians of the rounds. The benchmark neither passes nor fails.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "e2e"))

import client
import compared_servers
import instructions
from compared_servers import ComparedServer
from material import SERVER_NAME, Material, Person

HERE = Path(__file__).parent
KINDS = ("handshakes", "requests")
PROCESSES = 2
BARE = 1  # the plain ssl_verify_client on
TELLING = 2  # the same, telling as much as a gate


@dataclass
class Figures:
    """The cost of one server in one scenario: worker seconds for one handshake and for one request, one figure per round."""

    name: str
    mebibytes: float = 0.0
    handshakes: list[float] = field(default_factory=list)
    requests: list[float] = field(default_factory=list)


class Clients:
    """Processes that do the same task at the same time."""

    def __init__(self) -> None:
        argv = [sys.executable, str(HERE / "client.py")]
        pipe = subprocess.PIPE
        self._processes = [subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True) for _number in range(PROCESSES)]

    def cost(self, server: ComparedServer, task: dict[str, Any]) -> float:
        """Return how many seconds of the worker one piece of the task took."""
        self._tell(json.dumps(task), "ready")
        before = server.processor()
        self._tell("go", "done")
        return (server.processor() - before) / (task["count"] * PROCESSES)

    def _tell(self, words: str, expected: str) -> None:
        for process in self._processes:
            print(words, file=process.stdin, flush=True)
        for process in self._processes:
            said = process.stdout.readline().strip()
            if said != expected:
                raise RuntimeError(f"a client ended, see above: {said}")

    def stop(self) -> None:
        """End them."""
        for process in self._processes:
            process.communicate()


def task(material: Material, server: ComparedServer, person: Person, kind: str, count: int) -> dict[str, Any]:
    """Return the task of the clients."""
    return {
        "kind": kind,
        "count": count,
        "port": server.port,
        "server_name": SERVER_NAME,
        "path": compared_servers.PATH,
        "server_ca": str(material.server.certificate),
        "certificate": str(person.certificate),
        "key": str(person.key),
    }


def status(material: Material, server: ComparedServer, person: Person) -> int:
    """Return the answer to a client."""
    asked = task(material, server, person, "requests", 0)
    with client.connect(asked, client.context_of(asked)) as tls:
        return int(
            client.ask(tls, f"GET {compared_servers.PATH} HTTP/1.1\r\nHost: {SERVER_NAME}\r\n\r\n".encode()).split()[1]
        )


def check(material: Material, servers: list[ComparedServer], revoked: int) -> None:
    """See that they do what they are measured for.

    :raises RuntimeError: otherwise.
    """
    for server in servers:
        if status(material, server, material.good) != 200:
            raise RuntimeError(f"{server.name} lets nobody in")
        refuses = server.verifies and (server.site or {}).get("stage") != "observe"
        if refuses and revoked and status(material, server, material.revoked) == 200:
            raise RuntimeError(f"{server.name} lets in somebody who was revoked")


def table(title: str, found: list[Figures]) -> str:
    """Return the figures as a table in Markdown.

    A request is compared with both: who tells the application whom it has before it cannot be free beside one that tells nothing.
    """
    lines = [
        f"### {title}",
        "",
        "| | handshakes / CPU s | to bare | requests / CPU s | to bare | to telling as much | MiB |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for one in found:
        rates = [f"{1 / statistics.median(costs):,.0f}" for costs in (one.handshakes, one.requests)]
        ratios = [
            _ratio(one.handshakes, found[BARE].handshakes),
            _ratio(one.requests, found[BARE].requests),
            _ratio(one.requests, found[TELLING].requests),
        ]
        cells = (rates[0], ratios[0], rates[1], *ratios[1:], f"{one.mebibytes:.0f}")
        lines.append(f"| {one.name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _ratio(costs: list[float], others: list[float]) -> str:
    """Return the median of the ratios within the rounds."""
    return f"{statistics.median(cost / other for cost, other in zip(costs, others)):.3f}"


def measure(
    material: Material, servers: list[ComparedServer], clients: Clients, options: argparse.Namespace
) -> list[Figures]:
    """Measure all servers in turns."""
    found = [Figures(server.name, mebibytes=server.mebibytes()) for server in servers]
    for number in range(options.rounds + 1):
        # Not always in the same order: whatever comes and goes on the machine must not hit the same one each time.
        turn = list(zip(servers, found))
        for server, figures in turn[number % len(turn) :] + turn[: number % len(turn)]:
            for kind in KINDS:
                cost = clients.cost(server, task(material, server, material.good, kind, getattr(options, kind)))
                if number:  # the first round warms up
                    getattr(figures, kind).append(cost)
    return found


def count_instructions(material: Material, servers: list[ComparedServer]) -> str:
    """Return how many instructions each server takes, as a table in Markdown. None of them runs any more afterwards."""
    pieces = {"handshakes": 24, "requests": 160}
    counts = [
        {
            kind: instructions.count(server, task(material, server, material.good, kind, number))
            for kind, number in pieces.items()
        }
        for server in servers
    ]
    lines = [
        "| instructions of nginx, without the kernel | a handshake | a request | to bare | to telling as much |",
        "|---|---:|---:|---:|---:|",
    ]
    for server, count in zip(servers, counts):
        ratios = [f"{count['requests'] / counts[other]['requests']:.3f}" for other in (BARE, TELLING)]
        cells = (f"{count['handshakes']:,}", f"{count['requests']:,}", *ratios)
        lines.append(f"| {server.name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""

    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.split(",") if part]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--identities", type=numbers, default=[10, 1000, 10_000], help="how many, with nobody revoked")
    parser.add_argument(
        "--revoked", type=numbers, default=[1000, 10_000, 100_000], help="how many, with 1,000 identities"
    )
    parser.add_argument(
        "--stages",
        type=lambda text: text.split(","),
        default=compared_servers.STAGES,
        help="of the gates (default: every stage)",
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--handshakes", type=int, default=50, help="of each client in a round")
    parser.add_argument("--requests", type=int, default=1000, help="of each client in a round")
    parser.add_argument("--quick", action="store_true", help="1,000 identities, with none and 10,000 revoked; 5 rounds")
    parser.add_argument("--instructions", action="store_true", help="count instructions, too, with valgrind")
    parser.add_argument("--directory", type=Path, help="where to work (default: the system's temporary directory)")
    parser.add_argument("--json", type=Path, default=Path(".cache/bench/gate.json"))
    options = parser.parse_args(arguments)
    if options.quick:
        options.identities, options.revoked, options.rounds = [1000], [10_000], 5
    return options


def scenarios(options: argparse.Namespace) -> list[tuple[int, int]]:
    """Return pairs of identities and revoked certificates."""
    return [*((count, 0) for count in options.identities), *((1000, count) for count in options.revoked)]


def run(root: Path, options: argparse.Namespace) -> dict[str, list[Figures]]:
    """Build the servers, measure every scenario, and take them down again."""
    material = Material(root / "material")
    found: dict[str, list[Figures]] = {}
    servers, application = compared_servers.build(root, material, material.publication(1, 0), options.stages)
    clients = Clients()
    try:
        for identities, revoked in scenarios(options):
            publication = material.publication(identities, revoked)
            for server in servers:
                server.update_trust(publication)
            check(material, servers, revoked)
            title = f"{identities:,} identities, {revoked:,} revoked"
            found[title] = measure(material, servers, clients, options)
            print(table(title, found[title]), flush=True)
        if options.instructions:
            print(count_instructions(material, servers), flush=True)
    finally:
        clients.stop()
        for nginx in (*(server.nginx for server in servers), application):
            nginx.stop()
    return found


def main(arguments: list[str]) -> None:
    """Run all of it."""
    options = parse(arguments)
    processors = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    print(f"{platform.platform()}, {processors} processors, load {load:.1f}, {options.rounds} rounds\n", flush=True)
    root = Path(tempfile.mkdtemp(prefix="quietdoor-bench-gate-", dir=options.directory))
    root.chmod(0o755)  # for the workers, which run as another user
    try:
        found = run(root, options)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({title: [asdict(one) for one in figures] for title, figures in found.items()}, indent=1)
    options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
