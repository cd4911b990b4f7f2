# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test rollouts of two hosts from no gate to an enforced gate and back, with failures, in order.

Clients that must be admitted send requests to both hosts all the time, except to a host that is down, and are never refused.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.held_run import Held, Visitor, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

BEGIN, PROBE, COMMIT = (
    "Activate the candidate gate, armed",
    "Probe the gates from outside",
    "Commit the gate transaction",
)
SOON = "10s"
# The hosts see the clients at the address of the bridge, which differs between machines.
LISTED = {"networks": ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8"]}
# The script cuts only sessions, and sshd must not restart automatically.
CUT_SSH = """
systemctl stop ssh.socket ssh.service
for process in /proc/[0-9]*; do
    case $(cat "$process/comm" 2>/dev/null) in sshd*) kill -9 "${process#/proc/}" ;; esac
done
true
"""
SMALL_DISK = """
cp -a /etc/nginx /var/tmp/nginx
mount -t tmpfs -o size=4m,mode=755 tmpfs /etc/nginx
cp -a /var/tmp/nginx/. /etc/nginx/
"""


class Host:
    """A container of a web host."""

    def __init__(self, name: str, world: dict[str, Any]) -> None:
        self.name = name
        self._podman, self._container = world["podman"], world["containers"][name]
        self.port = int(Path(f"{world['states'][name]}.443").read_text())

    def podman(self, *words: str) -> None:
        """Run a podman command on the container, again if podman has not seen that a container that it killed has ended."""
        for _attempt in range(5):
            done = subprocess.run([self._podman, *words, self._container], check=False, capture_output=True)
            if done.returncode == 0:
                return
            time.sleep(2)
        raise AssertionError(done.stderr)

    def run(self, script: str) -> str:
        """Run a script in the container, without ssh. Return its output."""
        argv = [self._podman, "exec", self._container, "sh", "-c", script]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def read(self, path: str) -> str:
        """Return the content of a file, or an empty string if it does not exist."""
        return self.run(f"if [ -e {path} ]; then cat {path}; fi")

    @property
    def transaction(self) -> dict[str, Any]:
        """The content of the transaction file, empty if no transaction ever held this host."""
        text = self.read("/etc/nginx/quietdoor/gate.transaction")
        return json.loads(text) if text else {}

    @property
    def at_rest(self) -> bool:
        """Whether no transaction is armed, without a file or unit."""
        armed = (
            "/etc/nginx/quietdoor/armed /etc/nginx/quietdoor/gate.revert /etc/systemd/system/quietdoor-gate-revert-*"
        )
        return not self.run(
            f'for one in {armed}; do if [ -e "$one" ]; then echo "$one"; fi; done'
        ) and self.transaction.get("phase", "reverted") in ("committed", "reverted")

    def rests(self) -> None:
        """Wait until no transaction is armed."""
        wait_for(lambda: self.at_rest, lambda: (self.name, self.transaction))


class Fleet:
    """Both hosts and the runs of the playbooks."""

    def __init__(self, world: dict[str, Any], place: Path) -> None:
        self.world = world
        self.web1, self.web2 = self.hosts = [Host(name, world) for name in ("web1", "web2")]
        self.runs: list[Held] = []
        self._place = place

    def command(self, playbook: str, stage: str, contact: str, **variables: Any) -> list[str]:
        """Return the command that runs a playbook with the site in a stage."""
        window = {"window": LISTED} if stage == "fallback" else {}
        sites = [{**site, "stage": stage, "contact": contact, **window} for site in self.world["sites"]]
        inventories = [f"--inventory={path}" for path in self.world["inventories"]]
        extra = json.dumps({"gate_sites": sites, **variables})
        return [str(Path(sys.executable).with_name("ansible-playbook")), *inventories, playbook, "-e", extra]

    def run(
        self, stage: str, contact: str, playbook: str = "quietdoor.mtls.rollout", **variables: Any
    ) -> tuple[int, str]:
        """Run a playbook. Return its exit code and output."""
        argv = self.command(playbook, stage, contact, **variables)
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        print(done.stdout[-1500:])
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    def held(self, task: str, stage: str, contact: str, **variables: Any) -> Held:
        """Start a rollout that stops at a task of its first host."""
        argv = self.command("quietdoor.mtls.rollout", stage, contact, **variables)
        self.runs.append(Held(argv, os.environ, self._place / f"run-{len(self.runs)}", task))
        return self.runs[-1].waits()

    def visitor(self, host: Host, who: str | None = None) -> Visitor:
        """Return a client with a certificate, or without one from a listed network."""
        stem = Path(self.world["authority"]) / "clients" / str(who) / str(who)
        client = (Path(f"{stem}.chain.pem"), Path(f"{stem}.key")) if who else None
        name = self.world["sites"][0]["server_names"][0]
        ca = Path(self.world["server_ca"])
        return Visitor(f"{who or 'listed'} at {host.name}", host.port, name, ca, "127.0.0.1", client, host_header=name)

    @contextlib.contextmanager
    def visited(self, *hosts: Host, listed: bool = True) -> Iterator[None]:
        """Send requests of clients to these hosts, and assert that none is refused."""
        people = [
            self.visitor(host, who) for host in hosts or self.hosts for who in (["alex", None] if listed else ["alex"])
        ]
        with contextlib.ExitStack() as stack:
            for one in people:
                stack.enter_context(one)
            yield
        print({one.name: sum(one.answers.values()) for one in people})
        assert [(one.name, one.other_than(200)) for one in people if one.other_than(200)] == []
        assert all(one.answers for one in people)

    def serve(self, *contacts: str) -> None:
        """Assert that no host is armed and each serves the gate with its contact, or no gate for an empty one."""
        for host, contact in zip(self.hosts, contacts):
            host.rests()
            found = host.run("grep -o 'desk-[0-9]*' -rh /etc/nginx/quietdoor/gate/ 2>/dev/null | sort -u")
            assert found.split() == ([contact] if contact else []), (host.name, found)
            link = host.run("if [ -L /etc/nginx/quietdoor/gate ]; then readlink /etc/nginx/quietdoor/gate; fi").strip()
            committed = host.read("/etc/nginx/quietdoor/gate.committed").strip() or "0"
            assert link.rpartition("/")[2] == (committed if contact else "")
            assert self.generation(host) == (int(committed) if contact else None)

    def generation(self, host: Host) -> int | None:
        """Return the generation that the running nginx reports."""
        return self.visitor(host).ask("/.well-known/quietdoor").generation


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Return the hosts that molecule created."""
    fleet = Fleet(json.loads(Path(os.environ["ROLLOUT_WORLD"]).read_text()), tmp_path_factory.mktemp("way"))
    yield fleet
    for run in fleet.runs:
        run.kill()


def test_what_fails_on_the_first_host_leaves_the_second_alone(fleet: Fleet) -> None:
    run = fleet.held(BEGIN, "fallback", "desk-1")
    fleet.web1.run("echo 'oops;' >/etc/nginx/conf.d/other.conf")
    assert run.go().ends() != 0
    assert 'unknown directive "oops"' in run.words
    assert fleet.web2.transaction == {}
    fleet.web1.run("rm /etc/nginx/conf.d/other.conf")
    fleet.serve("", "")


def test_from_nothing_to_fallback(fleet: Fleet) -> None:
    """One host comes first. The same run again continues after the last one, and then changes nothing."""
    code, words = fleet.run("fallback", "desk-1")
    assert code == 0, words
    fleet.serve("desk-1", "desk-1")
    assert fleet.visitor(fleet.web1, "bea").ask().status == 200


def test_ssh_is_cut(fleet: Fleet) -> None:
    """The first host is reverted automatically, the second does not change, and the next run changes both."""
    with fleet.visited():
        run = fleet.held(PROBE, "fallback", "desk-2", rollout_revert_after=SOON)
        fleet.web1.run(CUT_SSH)
        assert run.go().ends() != 0, run.output
        fleet.serve("desk-1", "desk-1")
        fleet.web1.run("systemctl start ssh")
        code, words = fleet.run("fallback", "desk-2")
        assert code == 0, words
        fleet.serve("desk-2", "desk-2")


def test_the_control_node_is_killed_and_the_host_restarts(fleet: Fleet) -> None:
    with fleet.visited(fleet.web2):
        with fleet.visited(fleet.web1):
            run = fleet.held(PROBE, "fallback", "desk-3", rollout_revert_after="30s")
            run.kill()
        fleet.web1.podman("stop", "--time=5")
        fleet.web1.podman("start")
        # The demo application does not start automatically.
        fleet.web1.run("for _ in $(seq 60); do systemctl start panel@3000 2>/dev/null && exit; sleep 1; done; exit 1")
        fleet.serve("desk-2", "desk-2")


def test_production_waits_for_staging(fleet: Fleet) -> None:
    """The same hosts represent both environments."""
    with fleet.visited():
        code, words = fleet.run("fallback", "desk-4", rollout_environment="production")
        assert code != 0
        assert "staging has not had this yet" in words
        fleet.serve("desk-2", "desk-2")
        code, words = fleet.run("fallback", "desk-2", rollout_environment="production")
        assert code == 0, words


def test_enforce(fleet: Fleet) -> None:
    """After two clients were admitted, clients without a certificate are refused."""
    assert fleet.visitor(fleet.web2, "bea").ask().status == 200
    time.sleep(2)
    with fleet.visited(listed=False):
        code, words = fleet.run("enforce", "desk-2")
        assert code == 0, words
        assert [fleet.visitor(host).ask().status for host in fleet.hosts] == [403, 403]


def test_rollback(fleet: Fleet) -> None:
    with fleet.visited(listed=False):
        code, words = fleet.run("enforce", "desk-2", playbook="quietdoor.mtls.rollback")
        assert code == 0, words
    fleet.serve("desk-2", "desk-2")
    assert [fleet.visitor(host).ask().status for host in fleet.hosts] == [200, 200]


def test_the_disk_is_full(fleet: Fleet) -> None:
    """The armed revert works with a full disk and without the control node, and a new rollout changes nothing."""
    fleet.web1.run(SMALL_DISK)
    with fleet.visited():
        run = fleet.held(PROBE, "fallback", "desk-5", rollout_revert_after=SOON)
        fleet.web1.run("cat /dev/zero >/etc/nginx/filling 2>/dev/null; true")
        run.kill()
        fleet.serve("desk-2", "desk-2")
        # The files of the reverted transaction are gone, so there is space again.
        fleet.web1.run("cat /dev/zero >/etc/nginx/filling-again 2>/dev/null; true")
        code, words = fleet.run("fallback", "desk-5")
        assert code != 0
        assert "No space left on device" in words
        fleet.serve("desk-2", "desk-2")
        fleet.web1.run("rm /etc/nginx/filling /etc/nginx/filling-again")
