# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong during a rollout, with a real nginx and real kills, while people come every 100 ms.

After each of them the door answers as before the move or as after it, whoever may come in was never refused, nothing is left armed,
and no run said that it went well while nginx serves something else.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
from typing import TYPE_CHECKING, Any

import pytest
from held import Held, Visitor, wait_for
from lab import Lab, built

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CANARY = {"name": "door-probe", "common_name": "Door probe"}
BEGIN, KNOCK, COMMIT = "Make it what nginx serves, armed", "Knock", "Let it stay"
SOON = {"rollout_revert_after": "10s"}


class Door:
    """A gate in stage fallback, and moves to another contact: who gets in stays the same, and every refusal tells which it is."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.site = lab.sites[0]
        self.quietdoor = lab.nginx.prefix / "quietdoor"
        self._desks = itertools.count(1)
        self._runs = itertools.count(1)
        self.before = self.wanted = ""

    # --- moving ---

    def moves(self, **entry: Any) -> None:
        """From now on the inventory wants something else."""
        self.before, self.wanted = self.site.entry["contact"], f"desk-{next(self._desks)}"
        self.site.entry.update({"contact": self.wanted, **entry})

    def held(self, task: str, playbook: str = "quietdoor.mtls.rollout", **overrides: object) -> Held:
        """Begin a rollout that waits at a task, and wait until it does."""
        argv, environment = self.lab.command(playbook, "--diff", **overrides)
        return Held(argv, environment, self.lab.root / f"run-{next(self._runs)}", task).waits()

    def goes_through(self, **overrides: object) -> str:
        """Run a rollout as a whole."""
        done = self.lab.play(playbook="quietdoor.mtls.rollout", **overrides)
        assert done.code == 0, done.output
        self.is_at(self.wanted)
        return " ".join(done.output.split())

    def fails(self, *words: str, **overrides: object) -> str:
        """Run a rollout that says why it failed."""
        done = self.lab.play("--diff", playbook="quietdoor.mtls.rollout", **overrides)
        said = " ".join(done.output.split())
        assert done.code != 0, done.output
        assert [one for one in words if one not in said] == [], done.output
        return said

    # --- looking ---

    @property
    def transaction(self) -> dict[str, Any]:
        """The file that decides; empty if no transaction ever held this host."""
        path = self.quietdoor / "gate.transaction"
        return json.loads(path.read_text()) if path.exists() else {}

    @property
    def live(self) -> int:
        """The generation that the link names."""
        return int(os.readlink(self.quietdoor / "gate").rpartition("/")[2])

    @property
    def committed(self) -> int:
        """The generation that was last proven."""
        return int((self.quietdoor / "gate.committed").read_text())

    @property
    def at_rest(self) -> bool:
        """Whether nothing is armed."""
        return not (self.quietdoor / "armed").exists() and self.transaction.get("phase") in ("committed", "reverted")

    def rests(self) -> None:
        """Wait until nothing is armed; the files and the running nginx agree."""
        wait_for(lambda: self.at_rest, lambda: self.transaction)
        assert self.live == self.committed

    def is_at(self, contact: str) -> None:
        """Nothing is armed, and nginx serves that."""
        self.rests()
        answer = self.visitor("once", "127.0.0.2").ask()
        assert (answer.status, answer.generation, answer.contact) == (403, self.committed, contact), answer

    def is_as_before_or_after(self) -> str:
        """Nothing is armed, and nginx serves the one or the other; return which."""
        self.rests()
        contact = self.visitor("once", "127.0.0.2").ask().contact
        assert contact in (self.before, self.wanted)
        self.is_at(contact)
        return contact

    def visitor(self, name: str, source: str, who: str | None = None) -> Visitor:
        """Somebody who comes from an address, with a certificate or without."""
        client = (self.lab.client(who, "chain.pem"), self.lab.client(who, "key")) if who else None
        ca = self.lab.root / "tls" / f"{self.site.name}.crt"
        return Visitor(name, self.site.port, self.site.server_name, ca, source, client)


@pytest.fixture(scope="module")
def rolled_out(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """A lab whose one site is in stage fallback, for 127.0.0.1."""
    with built(tmp_path_factory.mktemp("faults"), 11, clients=2, sites=1) as lab:
        lab.roster = [{**client, "key": {"type": "ecdsa", "curve": "P-256"}} for client in lab.roster] + [CANARY]
        lab.variables.update(
            rollout_probe_server_ca=str(lab.root / "tls" / f"{lab.sites[0].name}.crt"),
            rollout_probe_timeout=30,
            rollout_revert_by="process",
            rollout_after="",
            rollout_operator="kim",
            gate_prove_timeout="30s",
        )
        lab.sites[0].entry.update(stage="fallback", window={"networks": ["127.0.0.1"]}, contact="desk-0")
        done = lab.play(playbook="quietdoor.mtls.trust")
        assert done.code == 0, done.output
        door = Door(lab)
        door.moves()
        door.goes_through()
        yield door


@pytest.fixture
def door(rolled_out: Door) -> Iterator[Door]:
    """The same while three people come: one with a certificate, one from the listed network, and one who is neither."""
    door, entry = rolled_out, dict(rolled_out.site.entry)
    before = door.site.entry["contact"]
    door.moves()
    certified = door.visitor("with a certificate", "127.0.0.2", door.lab.roster[0]["name"])
    listed = door.visitor("from the network", "127.0.0.1")
    stranger = door.visitor("stranger", "127.0.0.2")
    try:
        with certified, listed, stranger:
            yield door
    finally:
        served = door.visitor("once", "127.0.0.2").ask().contact
        door.site.entry.clear()
        door.site.entry.update(entry, contact=served)
        shutil.rmtree(door.quietdoor / "armed", ignore_errors=True)
    counts = {one.name: sum(one.answers.values()) for one in (certified, listed, stranger)}
    print(f"visits: {counts}")
    assert (certified.other_than(200), listed.other_than(200)) == ({}, {})
    assert stranger.other_than(403) == {}
    assert {answer.contact for answer in stranger.answers} <= {before, door.wanted}
    assert all(counts.values())


def switched(door: Door) -> bool:
    """Whether the link is another one already, and nothing is proven."""
    return door.live != door.committed


def is_armed(door: Door) -> bool:
    """Whether a transaction holds the host."""
    return door.transaction.get("phase") == "armed"


def decided(door: Door) -> bool:
    """Whether somebody has decided to commit."""
    return door.transaction["phase"] in ("committing", "committed")


class TestKilled:
    """The control node is killed with -9, and with it whatever module is at work; or alone."""

    @pytest.mark.parametrize(
        ("task", "stays"),
        [
            ("Test the candidate in a scratch copy", False),
            (BEGIN, False),
            (KNOCK, False),
            (COMMIT, False),
            ("Note that it is done", True),
            ("Write receipts", True),
        ],
    )
    def test_when_a_task_begins(self, door: Door, task: str, stays: bool) -> None:
        door.held(task, **SOON).kill()
        door.is_at(door.wanted if stays else door.before)
        door.goes_through()

    @pytest.mark.parametrize(
        ("task", "moment"), [(BEGIN, is_armed), (BEGIN, switched), (COMMIT, decided)], ids=["armed", "switched", "decided"]
    )
    @pytest.mark.parametrize("how", ["kill", "kill_alone"])
    def test_in_the_middle_of_a_task(self, door: Door, task: str, moment: Any, how: str) -> None:
        run = door.held(task, rollout_revert_after="10s" if task == BEGIN else "5m").go()
        wait_for(lambda: moment(door), lambda: run.output)
        getattr(run, how)()
        if task == COMMIT:
            # Decided is decided; the next run completes what is left of it.
            door.goes_through()
        else:
            door.is_at(door.before)


class TestInterrupted:
    """Somebody presses Ctrl-C."""

    @pytest.mark.parametrize("task", [BEGIN, KNOCK, COMMIT])
    def test_when_a_task_begins(self, door: Door, task: str) -> None:
        run = door.held(task, **SOON)
        run.interrupt()
        run.go()
        assert run.ends() != 0
        door.is_as_before_or_after()
        door.goes_through()

    def test_while_it_begins(self, door: Door) -> None:
        run = door.held(BEGIN, **SOON).go()
        wait_for(lambda: is_armed(door), lambda: run.output)
        run.interrupt()
        assert run.ends() != 0
        door.is_as_before_or_after()
