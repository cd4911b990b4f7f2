# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``make bench``: what this collection costs beside its peers, run in turns on one machine.

Every round runs every peer once, so that whatever else the machine does hits all of them; medians of the rounds are shown, and
the ratio to the floor (see jobs.py). Nothing here passes or fails.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import measure

HERE = Path(__file__).parent
JOBS = [sys.executable, str(HERE / "jobs.py")]
PROCESSORS = len(os.sched_getaffinity(0))


@dataclass
class Peer:
    """Something that is measured: how one run of it is started, and by how much its figure is multiplied for the table."""

    name: str
    run: Callable[[int], measure.Cost]
    """Takes the number of the round."""
    scale: float = 1.0
    """Peers that are slow do a part of the work; their time is taken to grow linearly."""
    costs: list[measure.Cost] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """The median of the rounds."""
        return statistics.median(cost.seconds for cost in self.costs) * self.scale


@dataclass
class Bench:
    """The directory and the sizes of a run."""

    directory: Path
    options: argparse.Namespace

    @property
    def log(self) -> Path:
        """The output of the commands."""
        return self.directory / "log"

    def job(self, *arguments: object) -> measure.Cost:
        """Run one of jobs.py."""
        return measure.run([*JOBS, *map(str, arguments)], self.log)

    def authority(self, name: str) -> Path:
        """Make an authority of its own."""
        path = self.directory / name
        self.job("ours_make", path)
        return path

    def playbook(self, play: str, ansible: Path, **variables: object) -> measure.Cost:
        """Run one of the playbooks."""
        settings = [argument for name, value in variables.items() for argument in ("-e", f"{name}={value}")]
        command = [str(ansible / "ansible-playbook"), "-i", "localhost,", *settings, str(HERE / play)]
        environment = {"ANSIBLE_LOCAL_TEMP": str(self.directory / "ansible")}
        if play == "community_crypto.yml":
            # It lies among the Python packages of its own environment.
            environment |= {"PYTHONPATH": "", "ANSIBLE_COLLECTIONS_SCAN_SYS_PATH": "true"}
        return measure.run(command, self.log, environment)


def enrolment(bench: Bench, kind: str, count: int) -> list[Peer]:
    """A roster of clients with bundles, from nothing, and once more with nothing to do."""
    part, few = min(count, bench.options.loop), min(count, bench.options.crypto)
    crypto, own = Path(bench.options.crypto_bin), Path(sys.executable).parent
    ca = bench.authority(f"peers-{kind}")

    def path(round_: int) -> Path:
        return bench.directory / f"{kind}-{round_}"

    def first(round_: int) -> measure.Cost:
        bench.job("ours_make", path(round_))
        return bench.job("ours_enrol", path(round_), kind, count)

    def through_ansible(round_: int) -> measure.Cost:
        made = bench.authority(f"play-{kind}-{round_}")
        return bench.playbook("playbook.yml", own, authority=made, kind=kind, count=count)

    def loop(script: str, root: Path) -> measure.Cost:
        return measure.run([str(HERE / script), str(root), kind, str(part)], bench.log)

    def modules(round_: int) -> measure.Cost:
        target = bench.directory / f"crypto-{kind}-{round_}"
        target.mkdir(exist_ok=True)
        return bench.playbook("community_crypto.yml", crypto, authority=ca, directory=target, kind=kind, count=few)

    peers = [
        Peer(f"floor, {PROCESSORS} processes", lambda _: bench.job("floor_enrol", kind, count, PROCESSORS)),
        Peer("floor, 1 process", lambda _: bench.job("floor_enrol", kind, count, 1)),
        Peer("quietdoor, first run", first),
        Peer("quietdoor, nothing to do", lambda round_: bench.job("ours_enrol", path(round_), kind, count)),
        Peer("quietdoor, one new client", lambda round_: bench.job("ours_enrol", path(round_), kind, count + 1)),
        Peer("quietdoor through Ansible, first run", through_ansible),
        Peer("Ansible with one empty task", lambda _: bench.playbook("playbook.yml", own, count=-1)),
        Peer(f"openssl in a shell loop ({part})", lambda _: loop("openssl_enrol.sh", ca), count / part),
        Peer(f"easy-rsa ({part})", lambda _: loop("easyrsa_enrol.sh", bench.directory / f"easy-{kind}"), count / part),
    ]
    if (crypto / "ansible-playbook").exists():
        peers.append(Peer(f"community.crypto, first run ({few})", modules, count / few))
        peers.append(Peer(f"community.crypto, nothing to do ({few})", modules, count / few))
    return peers


def revocation(bench: Bench, count: int) -> list[Peer]:
    """A CRL of so many entries."""
    ca = bench.authority("revoked")
    bench.job("ours_revoked", ca, count)
    command = ["openssl", "ca", "-config", f"{ca}/openssl.cnf", "-gencrl", "-out", f"{ca}/openssl.pem"]

    def build(_round: int) -> measure.Cost:
        (ca / "crl" / "ca.crl.pem").unlink(missing_ok=True)
        return bench.job("ours_crl", ca, 0)

    return [
        Peer("floor", lambda _: bench.job("floor_crl", ca)),
        Peer("quietdoor, built", build),
        Peer("quietdoor, unchanged", lambda _: bench.job("ours_crl", ca, 0)),
        Peer("quietdoor, replaced when due", lambda _: bench.job("ours_crl", ca, 16)),
        Peer("openssl ca -gencrl", lambda _: measure.run(command, bench.log)),
        Peer("Python's start and imports alone", lambda _: bench.job("nothing")),
    ]


def table(title: str, peers: list[Peer]) -> str:
    """Return the figures as a table in Markdown; the first peer is what the others are compared with."""
    lines = [f"### {title}", "", "| | median s | to the floor | CPU s | MiB |", "|---|---:|---:|---:|---:|"]
    for peer in peers:
        processor = statistics.median(cost.processor for cost in peer.costs) * peer.scale
        memory = max(cost.mebibytes for cost in peer.costs)
        ratio = peer.seconds / peers[0].seconds
        lines.append(f"| {peer.name} | {peer.seconds:.2f} | {ratio:.2f} | {processor:.2f} | {memory:.0f} |")
    return "\n".join(lines) + "\n"


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=200, help="P-256 clients (0: leave out)")
    parser.add_argument("--rsa-clients", type=int, default=50, help="RSA-2048 clients (0: leave out)")
    parser.add_argument("--revoked", type=int, default=100_000, help="entries of the CRL (0: leave out)")
    parser.add_argument("--loop", type=int, default=20, help="clients of the shell loops; their time is scaled")
    parser.add_argument("--crypto", type=int, default=5, help="clients of community.crypto; its time is scaled")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--directory", type=Path, help="where to work (default: the system's temporary directory)")
    parser.add_argument(
        "--crypto-bin", default=".cache/bench/venv/bin", help="where ansible-playbook of package ansible is"
    )
    parser.add_argument("--json", type=Path, default=Path(".cache/bench/figures.json"))
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    """Run all of it."""
    options = parse(arguments)
    found: dict[str, list[dict[str, object]]] = {}
    directory = Path(tempfile.mkdtemp(prefix="quietdoor-bench-", dir=options.directory))
    bench = Bench(directory, options)
    scenarios: list[tuple[str, int, Callable[[int], list[Peer]]]] = [
        ("{} P-256 clients with bundles", options.clients, lambda count: enrolment(bench, "ecdsa", count)),
        ("{} RSA-2048 clients with bundles", options.rsa_clients, lambda count: enrolment(bench, "rsa", count)),
        ("A CRL of {} entries", options.revoked, lambda count: revocation(bench, count)),
    ]
    print(
        f"{platform.platform()}, Python {platform.python_version()}, {PROCESSORS} processors, {options.rounds} rounds\n"
    )
    for title, count, make in scenarios:
        if count:
            peers = make(count)
            for round_ in range(options.rounds):
                for peer in peers:
                    peer.costs.append(peer.run(round_))
            print(table(title.format(count), peers), flush=True)
            found[title.format(count)] = [
                {"name": peer.name, "scale": peer.scale, "costs": [asdict(cost) for cost in peer.costs]}
                for peer in peers
            ]
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    # Only now: ext4 is slow to hand out inodes for some minutes after many were given back.
    shutil.rmtree(directory)


if __name__ == "__main__":
    main(sys.argv[1:])
