# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test failures during a rollout with a real nginx, kills, and clients that send requests.

After each failure the gate answers as before the rollout or as after it, no allowed client was refused, no revert is armed,
and no run reported success while nginx serves another configuration.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import itertools
import json
import os
import shutil
import socket
import sysconfig
import time
import venv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID
from support import programs
from support.held_run import Held, Visitor, wait_for
from support.lab import Application, Lab, built, free_ports, make_certificate, write_pair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROBE_CLIENT = {"name": "door-probe", "common_name": "Door probe"}
BEGIN, PROBE, COMMIT = (
    "Activate the candidate gate, armed",
    "Probe the gates from outside",
    "Commit the gate transaction",
)
TEST, RECEIPTS = "Test the candidate gate in a scratch copy", "Collect the stages that every host has rolled out"
SOON = {"rollout_revert_after": "10s"}
AT_LEISURE = {"rollout_revert_after": "30m"}

# The time since the machine started is left alone: nobody sets that.
JUMPING = """
import time
real = time.time
time.time = lambda: real() + float(open({file!r}).read())
"""


class Host:
    """A gate in stage fallback, and moves to another contact: who gets in stays the same, and every refusal tells which it is."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.site = lab.sites[0]
        self.quietdoor = lab.nginx.prefix / "quietdoor"
        self._desks = itertools.count(1)
        self.runs: list[Held] = []
        self.before = self.wanted = ""
        self.welcomed = {200}

    # --- moving ---

    def moves(self, **entry: Any) -> None:
        """From now on the inventory wants something else."""
        self.before, self.wanted = self.site.entry["contact"], f"desk-{next(self._desks)}"
        self.site.entry.update({"contact": self.wanted, **entry})

    def held(self, task: str, **overrides: object) -> Held:
        """Begin a rollout that waits at a task, and wait until it does."""
        argv = ["ansible-playbook", *self.lab.arguments("quietdoor.mtls.rollout", "--diff", **overrides)]
        place = self.lab.root / f"run-{len(self.runs)}"
        self.runs.append(Held(argv, programs.ansible_environment(), place, task, forked=True))
        return self.runs[-1].waits()

    def sooner(self) -> None:
        """Move the deadline to now, as if the transaction had begun earlier."""
        names = ("gate.transaction", "armed/settings.json", "gate.revert/settings.json")
        for path in (self.quietdoor / name for name in names):
            data = json.loads(path.read_text())
            data["deadline"]["wall"] = time.time() - data["deadline"]["term"]
            data["deadline"]["uptime"] = time.clock_gettime(time.CLOCK_BOOTTIME) - data["deadline"]["term"]
            new = path.with_name(f"{path.name}.new")
            new.write_text(json.dumps(data))
            new.replace(path)

    def goes_through(self, **overrides: object) -> str:
        """Run a rollout as a whole."""
        done = self.lab.play(playbook="quietdoor.mtls.rollout", **overrides)
        assert done.code == 0, done.output
        self.is_at(self.wanted)
        return " ".join(done.output.split())

    def fails(self, run: Held, *words: str) -> None:
        """Let a run go on; it fails, says why, and everything is as before."""
        assert run.go().ends() != 0, run.output
        assert [one for one in words if one not in run.words] == [], run.output
        self.is_at(self.before)

    def is_refused(self, *words: str, **overrides: object) -> None:
        """Run a rollout as a whole; it does not begin, and says why."""
        before = self.transaction
        done = self.lab.play(playbook="quietdoor.mtls.rollout", **overrides)
        message = " ".join(done.output.split())
        assert done.code != 0, done.output
        assert [one for one in words if one not in message] == [], done.output
        assert self.transaction == before

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
        left = [name for name in ("armed", "gate.revert") if (self.quietdoor / name).exists()]
        return not left and self.transaction.get("phase") in ("committed", "reverted")

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
        """Return a client with an address, with or without a certificate."""
        client = (self.lab.client(who, "chain.pem"), self.lab.client(who, "key")) if who else None
        ca = self.lab.root / "tls" / f"{self.site.name}.crt"
        return Visitor(name, self.site.port, self.site.server_name, ca, source, client)


@pytest.fixture(scope="module")
def rolled_out(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A lab whose one site is in stage fallback, for 127.0.0.1."""
    with built(tmp_path_factory.mktemp("faults"), 11, clients=2, sites=1) as lab:
        lab.roster = [{**client, "key": {"type": "ecdsa", "curve": "P-256"}} for client in lab.roster] + [PROBE_CLIENT]
        lab.variables.update(
            rollout_probe_server_ca=str(lab.root / "tls" / f"{lab.sites[0].name}.crt"),
            rollout_probe_timeout=30,
            rollout_revert_mechanism="process",
            rollout_requires_environment="",
            rollout_operator="kim",
            gate_prove_timeout="30s",
        )
        lab.sites[0].entry.update(stage="fallback", window={"networks": ["127.0.0.1"]}, contact="desk-0")
        done = lab.play(playbook="quietdoor.mtls.trust")
        assert done.code == 0, done.output
        host = Host(lab)
        host.moves()
        host.goes_through()
        yield host


@pytest.fixture
def host(rolled_out: Host) -> Iterator[Host]:
    """The same while three people come: one with a certificate, one from the listed network, and one who is neither."""
    host, entry = rolled_out, dict(rolled_out.site.entry)
    before = host.site.entry["contact"]
    host.moves()
    certified = host.visitor("with a certificate", "127.0.0.2", host.lab.roster[0]["name"])
    listed = host.visitor("from the network", "127.0.0.1")
    stranger = host.visitor("stranger", "127.0.0.2")
    try:
        with certified, listed, stranger:
            yield host
    finally:
        for run in host.runs:
            run.kill()
        served = host.visitor("once", "127.0.0.2").ask().contact
        welcomed, host.welcomed = host.welcomed, {200}
        host.site.entry.clear()
        host.site.entry.update(entry, contact=served)
        if not host.at_rest:  # a failed test: a process that waits sees that all of this is gone, and ends
            shutil.rmtree(host.quietdoor / "armed", ignore_errors=True)
            shutil.rmtree(host.quietdoor / "gate.revert", ignore_errors=True)
            (host.quietdoor / "gate.transaction").unlink(missing_ok=True)
    counts = {one.name: sum(one.answers.values()) for one in (certified, listed, stranger)}
    print(f"visits: {counts}")
    assert (certified.other_than(*welcomed), listed.other_than(*welcomed)) == ({}, {})
    assert stranger.other_than(403) == {}
    assert {answer.contact for answer in stranger.answers} <= {before, host.wanted}
    assert all(counts.values())


def switched(host: Host) -> bool:
    """Whether the link is another one already, and nothing is proven."""
    return host.live != host.committed


def is_armed(host: Host) -> bool:
    """Whether a transaction holds the host."""
    return host.transaction.get("phase") == "armed"


def decided(host: Host) -> bool:
    """Whether the commit is decided."""
    return host.transaction["phase"] in ("committing", "committed")


class TestKilled:
    """The control node is killed with -9, and with it whatever module is at work; or alone."""

    @pytest.mark.parametrize(
        ("task", "stays"),
        [
            (TEST, False),
            (BEGIN, False),
            (PROBE, False),
            (COMMIT, False),
            (RECEIPTS, True),
        ],
    )
    def test_when_a_task_begins(self, host: Host, task: str, stays: bool) -> None:
        # On a busy machine more than ten seconds can pass before the last question is answered.
        at_once = task in (TEST, BEGIN, PROBE)
        host.held(task, **(SOON if at_once else AT_LEISURE)).kill()
        if task == COMMIT:
            host.sooner()
        host.is_at(host.wanted if stays else host.before)
        if task == COMMIT:
            host.goes_through()

    @pytest.mark.parametrize("moment", [is_armed, switched], ids=["armed", "switched"])
    @pytest.mark.parametrize("how", ["kill", "kill_alone"])
    def test_while_it_begins(self, host: Host, moment: Callable[[Host], bool], how: str) -> None:
        run = host.held(BEGIN, **SOON).go()
        wait_for(lambda: moment(host), lambda: run.output)
        getattr(run, how)()
        host.is_at(host.before)

    @pytest.mark.parametrize("how", ["kill", "kill_alone"])
    def test_while_it_commits(self, host: Host, how: str) -> None:
        """Decided is decided: the next run completes what is left of it, and has nothing else to do."""
        run = host.held(COMMIT, **AT_LEISURE).go()
        wait_for(lambda: decided(host), lambda: run.output)
        getattr(run, how)()
        host.goes_through()


def test_armed_gate_reverts_at_its_deadline(host: Host) -> None:
    """The host reverts while the probe from outside still sends requests: the run fails and reports this reason."""
    run = host.held(PROBE, **AT_LEISURE)
    host.sooner()
    host.rests()
    host.fails(run, "it was not committed by", "The gate is back as it was before")


class TestInterrupted:
    """The operator presses Ctrl-C."""

    @pytest.mark.parametrize("task", [BEGIN, PROBE, COMMIT])
    def test_when_a_task_begins(self, host: Host, task: str) -> None:
        run = host.held(task, **AT_LEISURE)
        run.interrupt()
        assert run.go().ends() != 0
        if task != BEGIN:
            assert host.transaction["phase"] == "armed"
            host.sooner()
        host.is_at(host.before)

    def test_while_it_begins(self, host: Host) -> None:
        run = host.held(BEGIN, **SOON).go()
        wait_for(lambda: is_armed(host), lambda: run.output)
        run.interrupt()
        assert run.ends() != 0
        host.is_as_before_or_after()


class TestNginx:
    """It does not take what it is given, whatever its commands say."""

    def test_it_refuses_the_configuration(self, host: Host) -> None:
        """Another file is broken manually after the checks."""
        run, other = host.held(BEGIN), host.lab.nginx.prefix / "conf.d/other.conf"
        other.write_text("oops;\n")
        try:
            host.fails(run, 'unknown directive "oops"', "nothing live was changed")
        finally:
            other.unlink()

    def test_nginx_refuses_the_revert(self, host: Host) -> None:
        """As long as another file is broken the gate stays armed, and the run says so; then it goes back by itself."""
        run, other = host.held(COMMIT, **AT_LEISURE), host.lab.nginx.prefix / "conf.d/other.conf"
        live = host.quietdoor / "gate/sites" / f"{host.site.name}.conf"
        live.write_text(live.read_text() + "# by hand\n")
        other.write_text("oops;\n")
        try:
            assert run.go().ends() != 0
            assert "It could not be reverted at once" in run.words
            assert "the host does that itself at" in run.words
            assert host.transaction["phase"] == "reverting"
        finally:
            other.unlink()
            host.sooner()
        host.is_at(host.before)

    def test_a_reload_that_does_nothing(self, host: Host) -> None:
        """Its command ends with 0."""
        run = host.held(BEGIN, gate_nginx_reload_argv=["true"], gate_prove_timeout="5s")
        host.fails(run, "Reverted: nginx serves gate generation", "again, as new connections confirmed")
        assert "Nothing was changed on this host" not in run.words

    def test_a_port_that_is_taken(self, host: Host) -> None:
        """By another program, after everything was looked at."""
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{other.getsockname()[1]}"
            host.site.entry["listen"] = [*host.site.entry["listen"], address]
            run = host.held(BEGIN)
            other.listen()
            host.fails(run, f"{address}")

    def test_port_that_nginx_holds_itself(self, host: Host) -> None:
        """From one address to all of them: the test passes, the reload ends with 0, and the former configuration serves."""
        host.site.entry["listen"] = [f"*:{host.site.port}"]
        run = host.held(BEGIN, gate_prove_timeout="5s")
        host.fails(run, "Reverted: nginx serves gate generation")

    def test_an_application_that_is_down(self, host: Host) -> None:
        """It ends while the gate moves: that is not the gate's doing."""
        host.welcomed = {200, 502}
        run = host.held(PROBE, **AT_LEISURE)
        host.site.application.stop()
        try:
            assert run.go().ends() == 0, run.output
        finally:
            host.site.application = Application(host.site.application.port)
        assert "the application behind it does not respond" in run.words
        host.is_at(host.wanted)


class TestTrust:
    """A CRL that would shut everybody out lies on the host. The running nginx has not read it, and nothing makes it."""

    @pytest.fixture
    def put(self, host: Host) -> Iterator[Callable[[bytes], None]]:
        """Puts another CRL into the live trust, with its digest; the right one comes back afterwards."""
        with contextlib.ExitStack() as stack:
            yield lambda crl: stack.enter_context(installed_crl(host, crl))

    def test_empty(self, host: Host, put: Callable[[bytes], None]) -> None:
        put(b"")
        host.is_refused("crl.pem", "nothing live was changed")

    def test_of_another_ca(self, host: Host, put: Callable[[bytes], None]) -> None:
        put(make_crl(*make_certificate("Another CA", is_ca=True), days=30))
        host.is_refused("Nothing was changed", "contains a CRL of CN=Another CA")

    def test_expired(self, host: Host, put: Callable[[bytes], None]) -> None:
        put(expired_crl(host.lab))
        host.is_refused("Nothing was changed", "nginx would reject every client")

    def test_certificate_expired_since_the_check(self, host: Host, put: Callable[[bytes], None]) -> None:
        """A fleet takes its time: what was good when the run began may not be so any more when it comes to a host."""
        run = host.held("Fail if the installed trust would refuse clients")
        put(expired_crl(host.lab))
        host.fails(run, "nginx would reject every client", "Nothing was changed on this host")


class TestByHand:
    """A manual change of the gate during a rollout is shown and refused."""

    def test_before_it_begins(self, host: Host) -> None:
        run, path = host.held(BEGIN), host.quietdoor / "gate/http.conf"
        text = path.read_text()
        path.write_text(f"{text}# by hand\n")
        try:
            host.fails(run, "+# by hand", "differs from what the last transaction wrote")
            assert path.read_text().endswith("# by hand\n")
        finally:
            path.write_text(text)

    def test_while_it_is_armed(self, host: Host) -> None:
        run, path = host.held(COMMIT, **AT_LEISURE), host.quietdoor / "gate/http.conf"
        path.write_text(f"{path.read_text()}# by hand\n")
        host.fails(run, "+# by hand", "The gate is back as it was before")


@pytest.fixture(scope="module")
def quiet_output(rolled_out: Host) -> str:
    """Return the output of a rollout that has nothing to do, which changes nothing."""
    # Another test may have ended a run before it wrote its receipts.
    assert rolled_out.lab.play(playbook="quietdoor.mtls.rollout").code == 0
    done = rolled_out.lab.play(playbook="quietdoor.mtls.rollout")
    assert (done.code, done.changed) == (0, 0), done.output
    return " ".join(done.output.split())


class TestNothingToDo:
    """A rollout without a change to make detects each fault, planted alone, that a slow rollout detected."""

    @pytest.mark.parametrize(
        ("plant", "code", "words"),
        [
            ("hand_edit", 2, "+# by hand"),
            ("removed_entry", 2, "-include quietdoor/gate/http.conf;"),
            ("removed_include", 2, "conf.d/quietdoor.conf has to be included in the http block"),
            ("new_bypass", 0, "does not require a certificate"),
            ("other_running_generation", 0, "changed: [localhost]"),
            ("armed_leftover", 2, "This host is held by transaction"),
            ("upstream_down", 0, "the application behind it does not respond"),
            ("expired_crl", 2, "nginx would reject every client"),
        ],
    )
    def test_rollout_detects(self, rolled_out: Host, quiet_output: str, plant: str, code: int, words: str) -> None:
        with getattr(self, plant)(rolled_out):
            done = rolled_out.lab.play(playbook="quietdoor.mtls.rollout")
        assert (done.code, words in " ".join(done.output.split())) == (code, True), done.output
        assert words not in quiet_output
        rolled_out.is_at(rolled_out.site.entry["contact"])

    @contextlib.contextmanager
    def hand_edit(self, host: Host) -> Iterator[None]:
        """Append a comment to a file of the live gate."""
        with edited(host.quietdoor / "gate/http.conf", lambda text: f"{text}# by hand\n"):
            yield

    @contextlib.contextmanager
    def removed_entry(self, host: Host) -> Iterator[None]:
        """Remove the file by which nginx includes the gate; the running nginx has not read that yet."""
        path = host.lab.nginx.prefix / "conf.d/quietdoor.conf"
        with edited(path, str):
            path.unlink()
            yield

    @contextlib.contextmanager
    def removed_include(self, host: Host) -> Iterator[None]:
        """Remove the include of that file from nginx.conf; the running nginx has not read that yet."""
        with edited(host.lab.nginx.conf_file, lambda text: text.replace("include conf.d/*.conf;", "")):
            yield

    @contextlib.contextmanager
    def new_bypass(self, host: Host) -> Iterator[None]:
        """Add a server without a gate that passes requests to the application; nginx serves it."""
        path = host.lab.nginx.prefix / "conf.d/other.conf"
        path.write_text(
            f"server {{ listen {free_ports(1)[0]}; location / {{ proxy_pass {host.site.entry['upstream']}; }} }}\n"
        )
        host.lab.nginx.serve({})
        try:
            yield
        finally:
            path.unlink()
            host.lab.nginx.serve({})

    @contextlib.contextmanager
    def other_running_generation(self, host: Host) -> Iterator[None]:
        """Make nginx serve an earlier generation, while the files are those of the committed one."""
        with edited(
            host.quietdoor / "gate/generation.conf",
            lambda text: text.replace(f'"{host.committed}"', f'"{host.committed + 1}"'),
        ):
            host.lab.nginx.serve({})
        yield

    @contextlib.contextmanager
    def armed_leftover(self, host: Host) -> Iterator[None]:
        """Kill a rollout while its transaction is armed, and return to the committed inventory."""
        served = host.site.entry["contact"]
        host.moves()
        host.held(PROBE, **AT_LEISURE).kill()
        host.site.entry["contact"] = served
        assert is_armed(host)
        try:
            yield
        finally:
            host.sooner()
            host.rests()

    @contextlib.contextmanager
    def upstream_down(self, host: Host) -> Iterator[None]:
        """End the application."""
        host.site.application.stop()
        try:
            yield
        finally:
            host.site.application = Application(host.site.application.port)

    @contextlib.contextmanager
    def expired_crl(self, host: Host) -> Iterator[None]:
        """Replace the CRL of the installed trust by one that has expired, with its digest."""
        with installed_crl(host, expired_crl(host.lab)):
            yield


def test_the_certificate_of_another_server(host: Host) -> None:
    """Every browser would warn of it, so it is refused before anything moves."""
    host.lab.make_server_certificate("wrong", "wrong.example")
    wrong = {
        one: str(host.lab.root / "tls" / f"wrong.{end}")
        for one, end in (("certificate", "crt"), ("certificate_key", "key"))
    }
    host.site.entry.update(wrong)
    host.is_refused(f"is not for {host.site.server_name}", "Nothing was changed")


def test_a_server_certificate_that_has_ended(host: Host) -> None:
    """Likewise, though nginx itself takes it without a word."""
    name = host.site.server_name
    pair = make_certificate(name, eku=ExtendedKeyUsageOID.SERVER_AUTH, dns=(name,), expired=True)
    certificate, key = write_pair(host.lab.root / "tls" / "ended", *pair)
    host.site.entry.update(certificate=str(certificate), certificate_key=str(key))
    host.is_refused("ended.crt has ended", "Nothing was changed")


def test_two_operators(host: Host) -> None:
    """The second run reports the operator who holds the host, and reverts nothing of the first run."""
    second = host.held(BEGIN, rollout_operator="lee", **AT_LEISURE)
    first = host.held(COMMIT, **AT_LEISURE)
    assert second.go().ends() != 0
    assert "This host is held by transaction" in second.words
    assert "begun by kim at" in second.words
    assert first.go().ends() == 0, first.output
    host.is_at(host.wanted)


class TestRollback:
    """Going back when things are in a bad way."""

    def test_armed_transaction_of_a_killed_run_is_reverted_first(self, host: Host) -> None:
        """And that is all, unless a generation is named."""
        host.held(PROBE, **AT_LEISURE).kill()
        assert is_armed(host)
        done = host.lab.play(playbook="quietdoor.mtls.rollback")
        assert done.code == 0, done.output
        assert "The gate is as it was before that" in " ".join(done.output.split())
        host.is_at(host.before)

    def test_named_generation_while_a_transaction_is_armed(self, host: Host) -> None:
        base = host.committed
        host.held(PROBE, **AT_LEISURE).kill()
        done = host.lab.play("-e", f"rollback_generation={base}", playbook="quietdoor.mtls.rollback")
        assert done.code == 0, done.output
        host.is_at(host.before)
        assert host.committed == base

    def test_without_the_probe_client(self, host: Host) -> None:
        """It is held to the generation alone, which the host itself has seen."""
        before = host.live
        host.goes_through()
        done = host.lab.play(
            "-e",
            f"rollback_generation={before}",
            playbook="quietdoor.mtls.rollback",
            rollout_probe_certificate="/nowhere.pem",
        )
        assert done.code == 0, done.output
        host.is_at(host.before)


class TestClock:
    """The clock of the host is set while a transaction is armed; elapsed time counts, not the clock."""

    @pytest.fixture
    def clock(self, tmp_path: Path) -> tuple[str, Path]:
        """A Python for whose programs the clock can be set, and the file that says by how many seconds."""
        home, file = tmp_path / "python", tmp_path / "clock"
        file.write_text("0")
        venv.create(home, symlinks=True)
        (site,) = home.glob("lib/python3*/site-packages")
        (site / "jumping.py").write_text(JUMPING.format(file=str(file)))
        (site / "jumping.pth").write_text(f"{sysconfig.get_path('purelib')}\nimport jumping\n")
        return str(home / "bin" / "python"), file

    def test_it_jumps_ahead(self, host: Host, clock: tuple[str, Path]) -> None:
        """By more than the term: the move is not lost."""
        python, file = clock
        run = host.held(COMMIT, ansible_python_interpreter=python, **AT_LEISURE)
        file.write_text("7200")
        assert run.go().ends() == 0, run.output
        host.is_at(host.wanted)

    def test_it_jumps_back(self, host: Host, clock: tuple[str, Path]) -> None:
        """And the control node is killed: the gate goes back in time all the same."""
        python, file = clock
        run = host.held(PROBE, ansible_python_interpreter=python, **SOON)
        file.write_text("-7200")
        run.kill()
        host.is_at(host.before)


@contextlib.contextmanager
def edited(path: Path, edit: Callable[[str], str]) -> Iterator[None]:
    """Edit a file, and restore it in the end."""
    text = path.read_text()
    path.write_text(edit(text))
    try:
        yield
    finally:
        path.write_text(text)


@contextlib.contextmanager
def installed_crl(host: Host, crl: bytes) -> Iterator[None]:
    """Replace the CRL of the installed trust, with its digest, and restore both in the end."""
    trust = host.quietdoor / "trust"

    def describe(text: str) -> str:
        described = json.loads(text)
        described["files"]["crl.pem"] = hashlib.sha256(crl).hexdigest()
        return json.dumps(described)

    with edited(trust / "crl.pem", lambda _text: crl.decode()), edited(trust / "trust.json", describe):
        yield


def expired_crl(lab: Lab) -> bytes:
    """Return a CRL of the lab's CA that ended a minute ago."""
    certificate = x509.load_pem_x509_certificate((lab.authority / "certs/ca.cert.pem").read_bytes())
    passphrase = lab.variables["authority_passphrase"].encode()
    key = serialization.load_pem_private_key((lab.authority / "private/ca.key.pem").read_bytes(), passphrase)
    return make_crl(certificate, key, days=0)


def make_crl(issuer: x509.Certificate, key: Any, days: int) -> bytes:
    """Return an empty CRL that was made yesterday and ends in so many days, less a minute."""
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(now - datetime.timedelta(days=1))
        .next_update(now + datetime.timedelta(days=days, minutes=-1))
        .add_extension(x509.CRLNumber(99), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), critical=False)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
