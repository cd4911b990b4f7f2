# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the time that playbooks take: whole processes, on one web host and on a fleet.

``make bench-plays`` runs it. Each host is a directory with an nginx of its own, and an address of its own of an SSH server that
the benchmark starts. The output is a table in Markdown: the medians of the rounds. The benchmark neither passes nor fails.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "e2e"))

import ssh_hosts
import yaml
from cryptography.x509.oid import ExtendedKeyUsageOID
from support.ca import make_certificate, write_pair
from support.lab import Application, free_ports
from support.nginx import NginxInstance

HERE = Path(__file__).parent
ANSIBLE_PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
SERVER_NAME = "panel.bench.example"
PLAYS = ("first", "rollout", "trust", "confirm", "revoke", "ordinary")


@dataclass
class Row:
    """The cost of one command, one figure per round. ``tasks`` is the number of task lines shown."""

    name: str
    tasks: int = 0
    wall: list[float] = field(default_factory=list)
    control: list[float] = field(default_factory=list)
    hosts: list[float] = field(default_factory=list)


class WebHost:
    """A directory with an nginx, and the variables of the host."""

    def __init__(self, root: Path, number: int, common: World) -> None:
        self.name = f"web{number}"
        self.address = f"127.0.1.{number}"
        self.nginx = NginxInstance(root / self.name)
        port, *ordinary = free_ports(4)
        site = {
            "name": "panel",
            "server_names": [SERVER_NAME],
            "listen": [f"127.0.0.1:{port}"],
            "upstream": common.upstream,
            "certificate": str(common.certificate.with_suffix(".crt")),
            "certificate_key": str(common.certificate.with_suffix(".key")),
            "contact": "ops@example.org",
            "window": {"networks": ["127.0.0.1"]},
        }
        self.variables = {
            "ansible_host": self.address,
            "ansible_python_interpreter": "/usr/bin/python3",
            "gate_nginx_conf_path": str(self.nginx.prefix),
            "gate_nginx_log_path": str(self.nginx.prefix),
            "gate_nginx_binary": self.nginx.binary,
            "gate_nginx_test_argv": self.nginx.test_argv,
            "gate_nginx_reload_argv": self.nginx.reload_argv,
            "gate_sites": [site],
            "rollout_probe_address": "127.0.0.1",
            "ordinary_path": str(root / f"{self.name}-ordinary"),
            "ordinary_ports": dict(zip("abc", ordinary)),
        }

    def stop_ordinary(self) -> None:
        """End the nginx of the ordinary play."""
        with contextlib.suppress(OSError, ValueError):
            pid = int(Path(self.variables["ordinary_path"], "nginx.pid").read_text())
            os.kill(pid, signal.SIGTERM)


class World:
    """The CA host, the web hosts, one application, and the inventory."""

    def __init__(self, root: Path, options: argparse.Namespace) -> None:
        self.root = root
        self.options = options
        self.application = Application(free_ports(1)[0])
        self.upstream = f"http://127.0.0.1:{self.application.port}"
        self.certificate = root / "panel"
        names = {"eku": ExtendedKeyUsageOID.SERVER_AUTH, "dns": (SERVER_NAME,)}
        write_pair(self.certificate, *make_certificate(SERVER_NAME, **names))
        self.webs = [WebHost(root, number, self) for number in range(1, max(1, options.hosts) + 1)]
        self.roster = [{"name": f"client{number}"} for number in range(10)] + [
            {"name": "door-probe", "common_name": "Door probe"},
            *({"name": f"leaver{number}"} for number in range(2 * options.rounds)),
        ]
        self.sshd: ssh_hosts.SshServer | None = None
        if options.connection == "ssh":
            addresses = ["127.0.2.1", *(web.address for web in self.webs)]
            self.sshd = ssh_hosts.SshServer(root / "ssh", addresses, free_ports(1)[0])

    def inventory(self, count: int, stage: str) -> Path:
        """Write the inventory with so many web hosts, whose sites are in a stage."""
        authority = self.root / "authority"
        probe = authority / "clients/door-probe"
        connection: dict[str, object] = {"ansible_connection": "local"}
        if self.sshd:
            connection = self.sshd.variables()
        variables = {
            **connection,
            "ansible_become": False,
            "authority_path": str(authority),
            "authority_passphrase": "a passphrase of the benchmark",
            "authority_root": {"common_name": "Bench CA", "organization": "Bench"},
            "authority_roster": self.roster,
            "rollout_requires_environment": "",
            "rollout_revert_mechanism": "process",
            "rollout_probe_server_ca": str(self.certificate.with_suffix(".crt")),
            "rollout_probe_certificate": str(probe / "door-probe.chain.pem"),
            "rollout_probe_key": str(probe / "door-probe.key"),
            "ordinary_certificate": str(self.certificate),
            "ordinary_upstream": self.upstream,
        }
        ca = {"ansible_host": "127.0.2.1", "ansible_python_interpreter": sys.executable}
        webs = {
            web.name: {**web.variables, "gate_sites": [{**web.variables["gate_sites"][0], "stage": stage}]}
            for web in self.webs[:count]
        }
        data = {
            "all": {"vars": variables},
            "mtls_ca": {"hosts": {"ca": ca}},
            "mtls_web": {"hosts": webs},
        }
        path = self.root / f"inventory-{count}.yml"
        path.write_text(yaml.safe_dump(data))
        return path

    def host_pids(self) -> list[int]:
        """Return the processes that belong to the hosts, without their descendants."""
        return [web.nginx.pid for web in self.webs] + ([self.sshd.pid] if self.sshd else [])

    def __enter__(self) -> World:
        for web in self.webs:
            web.nginx.start()
        if self.sshd:
            self.sshd.__enter__()
        return self

    def __exit__(self, *_exception: object) -> None:
        for web in self.webs:
            web.stop_ordinary()
            web.nginx.stop()
        if self.sshd:
            self.sshd.__exit__()
        self.application.stop()


class Bench:
    """The commands and their costs."""

    def __init__(self, world: World, options: argparse.Namespace) -> None:
        self.world = world
        self.options = options
        self.rows: list[Row] = []
        self.log = world.root / "log"

    def play(self, playbook: str, count: int, *arguments: str, stage: str = "fallback", row: Row | None = None) -> str:
        """Run a playbook on so many web hosts; add the cost to a row, and return the output.

        :raises RuntimeError: if it fails; the message is its output.
        """
        inventory = self.world.inventory(count, stage)
        command = [str(ANSIBLE_PLAYBOOK), "-i", str(inventory), "-f", "20", playbook, *arguments]
        if row and self.options.quiet:
            wait_until_quiet()
        with tempfile.TemporaryDirectory(dir="/tmp") as control:  # a path of a socket is short
            environment = {**self.environment(), "ANSIBLE_SSH_CONTROL_PATH_DIR": control}
            hosts = ssh_hosts.cpu_seconds(self.world.host_pids())
            before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
            wall = time.perf_counter() - start
            self.end_orphans()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        output = done.stdout + done.stderr
        with self.log.open("a") as log:
            log.write(output)
        if done.returncode != 0:
            raise RuntimeError(f"{playbook} failed:\n{output}")
        if row:
            row.tasks = output.count("\nTASK [") + output.count("\nRUNNING HANDLER [")
            row.wall.append(wall)
            row.control.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
            row.hosts.append(ssh_hosts.cpu_seconds(self.world.host_pids()) - hosts)
        return output

    def environment(self) -> dict[str, str]:
        """Return the environment of ansible-playbook, without the user's own settings of Ansible."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        home = str(self.world.root / "ansible")
        settings = {
            "ANSIBLE_CONFIG": str(HERE.parents[2] / "tools/ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": os.environ["PYTHONPATH"].split(":", maxsplit=1)[0],
            "ANSIBLE_HOME": home,
            "ANSIBLE_LOCAL_TEMP": f"{home}/tmp",
            "ANSIBLE_REMOTE_TEMP": f"{home}/remote",
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_NOCOLOR": "1",
        }
        return {**kept, **settings, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}

    def end_orphans(self) -> None:
        """End the SSH connections that Ansible keeps open, so that the next command opens its own, and reap them."""
        known = set(self.world.host_pids())
        for pid in ssh_hosts.children_of(os.getpid()):
            if pid not in known:
                with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                    if Path(f"/proc/{pid}/comm").read_text().strip() == "ssh":
                        os.kill(pid, signal.SIGTERM)
                        os.waitpid(pid, 0)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if self.world.sshd:
            self.world.sshd.wait_until_idle()

    def measure(self, name: str, playbook: str, count: int, *arguments: str, changes: bool = False) -> None:
        """Run a playbook once per round.

        :param changes: whether the play must change something; else a run that changes something is an error.
        """
        row = Row(name)
        self.rows.append(row)
        for _round in range(self.options.rounds):
            output = self.play(playbook, count, *arguments, row=row)
            if not changes:
                check_unchanged(name, output)

    def run(self) -> None:
        """Run all."""
        self.play("quietdoor.mtls.trust", len(self.world.webs))
        self.one_host()
        if self.options.hosts > 1:
            self.fleet()

    def one_host(self) -> None:
        """Measure one CA host and one web host with one site."""
        plays = self.options.plays
        if "first" in plays:
            row = Row("first rollout of a site")
            self.rows.append(row)
            for number in range(self.options.rounds):
                if number:
                    self.play("quietdoor.mtls.rollout", 1, stage="absent")
                self.play("quietdoor.mtls.rollout", 1, row=row)
        elif {"rollout", "confirm", "revoke"} & set(plays):
            self.play("quietdoor.mtls.rollout", 1)
        if "rollout" in plays:
            self.measure("rollout, nothing to do", "quietdoor.mtls.rollout", 1)
        if "trust" in plays:
            self.measure("trust, nothing to do", "quietdoor.mtls.trust", 1)
        if "confirm" in plays:
            self.measure("confirm", "quietdoor.mtls.confirm", 1)
        if "revoke" in plays:
            self.revoke("revoke, proven", 1)
        if "ordinary" in plays:
            ordinary = str(HERE / "ordinary.yml")
            row = Row("20 ordinary tasks, first run")
            self.rows.append(row)
            for number in range(self.options.rounds):
                if number:
                    self.world.webs[0].stop_ordinary()
                    shutil.rmtree(self.world.webs[0].variables["ordinary_path"])
                self.play(ordinary, 1, row=row)
            self.measure("20 ordinary tasks, nothing to do", ordinary, 1)

    def fleet(self) -> None:
        """Measure all web hosts."""
        count, plays = self.options.hosts, self.options.plays
        if {"rollout", "revoke"} & set(plays):
            self.play("quietdoor.mtls.rollout", count)
        if "trust" in plays:
            self.play("quietdoor.mtls.trust", count)
            self.measure(f"trust, nothing to do, {count} hosts", "quietdoor.mtls.trust", count)
        if "rollout" in plays:
            self.measure(f"rollout, nothing to do, {count} hosts", "quietdoor.mtls.rollout", count)
        if "revoke" in plays:
            self.revoke(f"revoke, proven on all, {count} hosts", count)

    def revoke(self, name: str, count: int) -> None:
        """Revoke another client in every round."""
        row = Row(name)
        self.rows.append(row)
        present = [client["name"] for client in self.world.roster if client["name"].startswith("leaver")]
        for client in present[: self.options.rounds]:
            self.play("quietdoor.mtls.revoke", count, "-e", f"revoke_client={client}", row=row)
            self.world.roster = [one for one in self.world.roster if one["name"] != client]


def check_unchanged(name: str, output: str) -> None:
    """Raise RuntimeError if a run that has nothing to do changed something."""
    recap = output.rpartition("PLAY RECAP")[2]
    if any(f"changed={digit}" in recap for digit in "123456789"):
        raise RuntimeError(f"{name}: the run changed something:\n{output}")


def wait_until_quiet() -> None:
    """Wait until the load of the machine is below 0.5."""
    while os.getloadavg()[0] >= 0.5:
        time.sleep(5)


def table(rows: list[Row]) -> str:
    """Return the medians in Markdown."""
    lines = [
        "| play | tasks shown | wall | CPU, control node | CPU, hosts |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        wall, control, hosts = (statistics.median(values) for values in (row.wall, row.control, row.hosts))
        lines.append(f"| {row.name} | {row.tasks} | {wall:.1f} s | {control:.1f} s | {hosts:.1f} s |")
    return "\n".join(lines)


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hosts", type=int, default=20, help="web hosts of the fleet; 0 measures one host only")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each play")
    parser.add_argument("--plays", default=",".join(PLAYS), help="comma-separated choice of %(default)s")
    parser.add_argument("--connection", choices=["ssh", "local"], help="default: ssh if an SSH server is installed")
    parser.add_argument("--quiet", action="store_true", help="wait for a load below 0.5 before each measured run")
    parser.add_argument("--directory", help="where the hosts are created; default: a new directory, removed afterwards")
    parser.add_argument("--json", help="also write the figures to this file")
    options = parser.parse_args()
    options.plays = options.plays.split(",")
    if unknown := set(options.plays) - set(PLAYS):
        parser.error(f"--plays: {', '.join(sorted(unknown))} is not one of {', '.join(PLAYS)}")
    if options.connection is None:
        options.connection = "ssh" if ssh_hosts.find_sshd() else "local"
    return options


def main() -> None:
    """Run the benchmark and print the table."""
    options = parse_options()
    ssh_hosts.become_subreaper()
    with (
        tempfile.TemporaryDirectory(dir=options.directory, prefix="bench-plays-") as root,
        World(Path(root), options) as world,
    ):
        bench = Bench(world, options)
        bench.run()
    print(
        f"{len(os.sched_getaffinity(0))} processors, Python {platform.python_version()}, {options.connection},", end=" "
    )
    print(f"medians of {options.rounds}, load {os.getloadavg()[0]:.1f}\n")
    print(table(bench.rows))
    if options.json:
        figures: list[dict[str, Any]] = [asdict(row) for row in bench.rows]
        Path(options.json).write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
