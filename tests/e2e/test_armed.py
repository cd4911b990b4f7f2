# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A transaction in steps against a real nginx, with real kills, while a client with a valid certificate sends requests."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._gate import revert_timer
from support.nginx import NginxInstance, free_port
from support.transaction import NAME, Pki, World, call, deadly, openssl, scratch_copies, start

if TYPE_CHECKING:
    from collections.abc import Iterator

# Every file of an armed transaction is in both.
SPARES = ("armed", "gate.revert")
PORTS = (24400, 24499)
pytestmark = pytest.mark.usefixtures("own_temporary_directory")
# Runs a module, and kills it -9 before the n-th time that it changes a name in a directory, or ends a process.
KILLER = """
import os, runpy, signal, sys
left, module, kill = int(sys.argv.pop(1)), sys.argv.pop(1), os.kill

def deadly(call):
    def guard(*args, **keywords):
        global left
        left -= 1
        if left < 0:
            kill(os.getpid(), signal.SIGKILL)
        return call(*args, **keywords)
    return guard

for name in ("rename", "unlink", "rmdir", "mkdir", "symlink", "kill"):
    setattr(os, name, deadly(getattr(os, name)))
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


@dataclass
class Client:
    """A client that must be admitted, with a request every 100 ms on a new connection."""

    port: int
    certificate: Path
    answers: Counter[str] = field(default_factory=Counter)
    refusals: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def knock(self) -> None:
        """Ask until it is over; anything but the page is a refusal."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(self.certificate)
        while not self.over.wait(0.1):
            try:
                self.answers[self._page(context)] += 1
            except (OSError, http.client.HTTPException, AssertionError) as error:
                self.refusals.append(f"{type(error).__name__} {error}")

    def _page(self, context: ssl.SSLContext) -> str:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        with plain, context.wrap_socket(plain, server_hostname=NAME) as tls:
            tls.sendall(f"GET /panel HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n".encode())
            response = http.client.HTTPResponse(tls)
            response.begin()
            body = response.read().decode()
            assert response.status == 200, f"{response.status} {body}"
            return body


class Host(World):
    """A web host with a gate, and the steps of a transaction on it."""

    def candidate(self, word: str = "one", listen: str = "", extra: str = "") -> dict[str, str]:
        """A gate whose panel says ``word`` to a good certificate, and refuses everybody else."""
        refuse = 'if ($ssl_client_verify != SUCCESS) { return 403 "refused"; }'
        return super().candidate(word, listen, f'location = /panel {{ {refuse} return 200 "{word}"; }} {extra}')

    def do(self, step: str, **more: Any) -> dict[str, Any]:
        """Call the module."""
        return call("gate_transaction", self.asked(step, **more))

    def asked(self, step: str, **more: Any) -> dict[str, Any]:
        """Return the options of a call."""
        options = {
            **self.nginx.options(),
            "prove_timeout": "6s",
            "revert_mechanism": "process",
            "operator": "kim",
            "step": step,
        }
        return {**options, **more}

    def begin(self, candidate: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
        """Begin; None is the second candidate."""
        candidate = self.candidate("two") if candidate is None else candidate
        endpoints = [self.endpoint] if candidate else []
        return self.do(more.pop("step", "begin"), **{"candidate": candidate, "endpoints": endpoints, **more})

    @property
    def state(self) -> dict[str, Any]:
        """The file that decides."""
        return json.loads((self.quietdoor / "gate.transaction").read_text())

    def sooner(self, seconds: float) -> None:
        """Move the deadline, as if the transaction had begun earlier: what the tests have for a clock."""
        names = ("gate.transaction", "armed/settings.json", "gate.revert/settings.json")
        for path in (self.quietdoor / name for name in names):
            if not path.exists():
                continue  # it was being taken away
            data = json.loads(path.read_text())
            shift = data["deadline"]["term"] - seconds
            data["deadline"]["wall"] = time.time() - shift
            data["deadline"]["uptime"] = time.clock_gettime(time.CLOCK_BOOTTIME) - shift
            new = path.with_name(f"{path.name}.new")
            new.write_text(json.dumps(data))
            new.replace(path)

    def knows(self, **options: Any) -> None:
        """Change by what commands the armed revert knows nginx."""
        for path in (self.quietdoor / directory / "settings.json" for directory in SPARES):
            new = path.with_name("settings.json.new")
            new.write_text(json.dumps({**json.loads(path.read_text()), **options}))
            new.replace(path)

    def laid_out(self) -> list[str]:
        """Which directories of an armed transaction are there."""
        return [name for name in SPARES if (self.quietdoor / name).exists()]

    def waits_for(self, phase: str) -> None:
        """Wait until another process has ended the transaction and nothing of it is left."""
        deadline = time.monotonic() + 60
        while self.state["phase"] != phase or self.laid_out():
            assert time.monotonic() < deadline, self.state
            time.sleep(0.05)
        self.disarmed()

    def disarmed(self) -> None:
        """Nothing of it is left: no file, no process, no unit."""
        assert self.laid_out() == []
        known = self.state["trigger"]
        gone = time.monotonic() + 10
        while known["started"] and revert_timer.started(known["pid"]) == known["started"]:
            assert time.monotonic() < gone, "the process that takes it back still runs"
            time.sleep(0.05)
        assert not any(os.path.exists(path) for path in revert_timer.unit_paths(str(self.nginx.prefix)))

    def says(self, word: str, generation: int) -> None:
        """Link, committed generation and the running nginx agree, and the panel says ``word``."""
        self.is_whole(generation)
        assert self.get("/word") == word


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """CAs, alex who is let in, and a certificate for the server."""
    home = tmp_path_factory.mktemp("pki")
    pki = Pki(home / "first").make()
    pki.add("alex", ["alex@ops.test"], ["admin"])
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(pki.home / "key")]
    openssl("req", "-x509", *new, "-out", str(pki.home / "certificate"), "-subj", f"/CN={NAME}", "-days", "30")
    (pki.home / "server.pem").write_text((pki.home / "certificate").read_text() + (pki.home / "key").read_text())
    return pki


@contextlib.contextmanager
def running(prefix: Path, pki: Pki) -> Iterator[Host]:
    """Start an nginx with trust, without a gate; afterwards no process waits."""
    with NginxInstance(prefix) as nginx:
        host = Host(nginx, pki, free_port(*PORTS), pki.home / "server.pem")
        assert host.trust(pki.publication(100))["action"] == "applied"
        yield host
        for name in ("gate.transaction", *SPARES):  # a process that waits for a failed test sees that they are gone
            subprocess.run(["rm", "-rf", str(host.quietdoor / name)], check=True)
        assert scratch_copies() == []


@pytest.fixture
def bare(tmp_path: Path, pki: Pki) -> Any:
    """A running nginx with trust, without a gate."""
    with running(tmp_path / "nginx", pki) as host:
        yield host


@pytest.fixture
def host(bare: Host) -> Any:
    """The same with a gate that returns one, and requests of alex; alex is never refused."""
    with visited(bare):
        yield bare


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A file system of 4 MB. It needs root, as the containers of the other tests do; without it, the tests fail."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=755", "tmpfs", str(disk)], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture
def cramped(small_disk: Path, pki: Pki) -> Any:
    """A host whose configuration is on a small file system."""
    with running(small_disk / "nginx", pki) as host, visited(host):
        yield host


@contextlib.contextmanager
def visited(bare: Host) -> Iterator[None]:
    """Commit a gate that says one, and let alex ask for a page all the time; alex is never refused."""
    assert bare.gate()["action"] == "applied"
    client = Client(bare.port, bare.pki.issuing.home / "alex.both.pem")
    thread = threading.Thread(target=client.knock)
    thread.start()
    try:
        yield
        time.sleep(0.3)
    finally:
        client.over.set()
        thread.join()
    assert client.refusals == []
    assert client.answers


class TestSteps:
    """Test the result of each step without a kill."""

    def test_begin_and_commit(self, host: Host) -> None:
        """Check mode and step test foretell it; commit disarms, and can be said twice."""
        before = host.tree()
        for foretold in (host.begin(step="test"), host.begin(_ansible_check_mode=True)):
            assert (foretold["changed"], foretold["action"], foretold["armed"]) == (True, "applied", False)
            assert '"two"' in foretold["diff"][0]["after"]
        assert host.tree() == before

        begun = host.begin()
        assert (begun["action"], begun["armed"], begun["generation"]) == ("applied", True, 2), begun
        assert host.get("/word") == "two"
        assert (host.quietdoor / "gate.committed").read_text() == "1\n"
        seen = host.do("status")
        assert (seen["armed"], seen["transaction"]) == (True, begun["transaction"])
        assert (seen["held_by"]["operator"], seen["held_by"]["triggered"]) == ("kim", True)
        assert [one["generation"] for one in seen["snapshots"]] == [2, 1]
        assert [one["generation"] for one in seen["told"]] == [2]

        foretold = host.do("commit", transaction=begun["transaction"], _ansible_check_mode=True)
        assert (foretold["changed"], foretold["action"], foretold["armed"]) == (True, "committed", True)
        done = host.do("commit", transaction=begun["transaction"])
        assert (done["changed"], done["action"], done["armed"], done["previous_generation"]) == (
            True,
            "committed",
            False,
            1,
        )
        host.disarmed()
        host.says("two", 2)
        assert host.do("commit", transaction=begun["transaction"])["changed"] is False
        assert "was committed" in host.do("revert", transaction=begun["transaction"])["msg"]
        assert host.do("revert")["changed"] is False
        assert (host.begin()["changed"], host.begin()["armed"]) == (False, False)

    def test_manual_revert(self, host: Host) -> None:
        """After a requested revert there is nothing to commit."""
        begun = host.begin()
        assert host.do("revert", _ansible_check_mode=True)["changed"] is True
        assert host.get("/word") == "two"
        done = host.do("revert")
        assert (done["action"], done["reason"], done["generation"]) == ("reverted", "kim requested it", 1)
        host.disarmed()
        host.says("one", 1)
        assert host.do("revert", transaction=begun["transaction"])["changed"] is False
        refused = host.do("commit", transaction=begun["transaction"])
        assert (
            "cannot be committed any more, because the gate was reverted to generation 1: kim requested it"
            in refused["msg"]
        )
        host.says("one", 1)

    def test_gate_reverts_when_control_node_disappears(self, host: Host) -> None:
        """Nobody commits: the gate goes back by itself; trust that came meanwhile stays."""
        begun = host.begin(revert_after="12s")
        assert host.trust(host.pki.publication(200))["action"] == "applied"
        host.waits_for("reverted")
        host.says("one", 1)
        assert host.told().trust == 200
        assert "it was not committed by" in host.state["why"]
        assert "was reverted to generation 1: it was not" in host.do("commit", transaction=begun["transaction"])["msg"]

    def test_rollback(self, host: Host) -> None:
        """To a kept generation, under a new number; to no gate; to one that is not kept."""
        assert host.gate(host.candidate("two"))["generation"] == 2
        begun = host.do("rollback", generation=1)
        assert (begun["action"], begun["armed"], begun["generation"]) == ("applied", True, 3), begun
        assert host.do("commit", transaction=begun["transaction"])["action"] == "committed"
        host.says("one", 3)
        assert "generation 9 is not kept on this host (kept: 1, 2, 3)" in host.do("rollback", generation=9)["msg"]

    def test_first_gate_and_removal(self, bare: Host) -> None:
        """The snapshot of a host without a gate is that there is none."""
        begun = bare.begin(revert_after="10s")
        assert begun["action"] == "applied", begun
        bare.sooner(0.5)
        bare.waits_for("reverted")
        assert bare.told().gate is None
        assert not (bare.nginx.prefix / "conf.d/quietdoor.conf").exists()
        begun = bare.begin()
        assert begun["generation"] == 2
        assert bare.do("commit", transaction=begun["transaction"])["action"] == "committed"
        begun = bare.do("rollback", generation=0)
        assert (begun["action"], bare.told().gate) == ("removed", None)
        bare.sooner(0.5)
        bare.waits_for("reverted")
        bare.says("two", 2)

    def test_second_rollout_is_refused(self, host: Host) -> None:
        """It names who holds the host; once the time is up, anybody may go on, though the holder is dead."""
        begun = host.begin()
        for other in (
            host.begin(host.candidate("three")),
            host.gate(host.candidate("three")),
            host.do("rollback", generation=1),
        ):
            assert f"held by transaction {begun['transaction']}, begun by kim at 20" in other["msg"]
        assert host.get("/word") == "two"
        os.kill(host.state["trigger"]["pid"], signal.SIGKILL)
        assert host.do("status")["held_by"]["triggered"] is False
        host.sooner(0)
        assert "first ends transaction" in str(
            host.begin(host.candidate("three"), _ansible_check_mode=True)["warnings"]
        )
        again = host.begin(host.candidate("three"))
        assert (again["action"], again["previous_generation"]) == ("applied", 1), again
        assert host.do("commit", transaction=again["transaction"])["action"] == "committed"
        assert "There is no transaction" in host.do("commit", transaction=begun["transaction"])["msg"]

    def test_commit_after_the_deadline(self, host: Host) -> None:
        """The deadline decides, also where nothing took the gate back: commit does it, and fails."""
        begun = host.begin()
        os.kill(host.state["trigger"]["pid"], signal.SIGKILL)
        host.sooner(0)
        assert "was reverted to generation 1" in host.do("commit", transaction=begun["transaction"])["msg"]
        host.disarmed()
        host.says("one", 1)

    def test_edited_by_hand(self, host: Host) -> None:
        """Shown and refused; overwritten by force, and then a revert brings the edited one back."""
        live = host.quietdoor / "gates/1/sites/admin.conf"
        live.write_text(live.read_text().replace('"one"', '"by hand"'))
        host.nginx.reload()
        before = host.tree()
        for step in ("begin", "test"):
            refused = host.begin(step=step)
            assert "quietdoor/gate/sites/admin.conf differs from what the last transaction wrote" in refused["msg"]
            assert '+                location = /word { return 200 "by hand"; }' in refused["msg"]
            assert refused["drift"] == ["quietdoor/gate/sites/admin.conf"]
        assert host.tree() == before
        seen = host.do("status")
        assert (seen["drift"], seen["snapshots"][0]["intact"]) == (["quietdoor/gate/sites/admin.conf"], False)
        begun = host.begin(force=True)
        assert begun["armed"] is True, begun
        assert host.do("revert")["action"] == "reverted"
        host.says("by hand", 1)

    def test_edited_between_begin_and_commit(self, host: Host) -> None:
        """The files differ from the probed ones, so they are not committed."""
        begun = host.begin()
        live = host.quietdoor / "gates/2/sites/admin.conf"
        live.write_text(live.read_text() + "# mine\n")
        assert "The live gate was changed manually" in host.do("commit", transaction=begun["transaction"])["msg"]
        assert host.do("revert")["action"] == "reverted"
        host.says("one", 1)

    def test_begin_is_refused_when_nginx_serves_another_generation(self, host: Host) -> None:
        """After a manual switch commit does not report a generation that is not served."""
        begun = host.begin()
        link = host.quietdoor / "gate"
        link.unlink()
        link.symlink_to("gates/1")
        host.nginx.reload()
        assert (
            "does not serve the generation of transaction" in host.do("commit", transaction=begun["transaction"])["msg"]
        )
        assert host.do("revert")["action"] == "reverted"
        host.says("one", 1)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"revert_after": "9s"}, "revert_after: 9s is not between 10s and 1h"),
            ({"revert_after": "61m"}, "revert_after: 61m is not between"),
            ({"revert_after": "soon"}, "revert_after: 'soon' is not a duration"),
        ],
    )
    def test_bad_options(self, host: Host, options: dict[str, Any], words: str) -> None:
        """Named, and nothing changed."""
        before = host.tree()
        assert words in host.begin(**options)["msg"]
        assert "step is rollback" in host.do("rollback")["msg"]
        assert "There is no transaction" in host.do("commit", transaction="")["msg"]
        assert "missing: candidate" in host.do("begin")["msg"]
        assert "candidate is null" in host.do("begin", candidate=None)["msg"]
        assert host.tree() == before


class TestFaults:
    """Reloads that lie, a test that fails, kills: the door answers as before the move or as after it."""

    def test_reload_that_does_not_take(self, host: Host) -> None:
        """The same run goes back, and nothing stays armed."""
        refused = host.begin(host.candidate("two", listen=f"*:{host.port}"), prove_timeout="1s")
        assert "Reverted: nginx serves gate generation 1 again" in refused["msg"]
        host.disarmed()
        host.says("one", 1)
        assert "was reverted to generation 1" in host.do("commit", transaction=host.state["id"])["msg"]

    def test_test_fails(self, host: Host) -> None:
        """In the scratch copy: nothing is armed."""
        before = host.tree()
        assert "nonsense" in host.begin(host.candidate("two", extra="nonsense;"))["msg"]
        assert host.tree() == before

    def test_revert_that_nginx_refuses_at_first(self, host: Host) -> None:
        """After a manual error in another file the revert retries until nginx accepts it."""
        begun = host.begin()
        other = host.nginx.prefix / "conf.d/other.conf"
        other.write_text("oops;\n")
        host.sooner(0)
        deadline = time.monotonic() + 30
        while host.state["phase"] != "reverting":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        refused = host.do("commit", transaction=begun["transaction"])
        assert 'unknown directive "oops"' in refused["msg"]
        assert "oops" in host.gate(host.candidate("three"))["msg"]
        other.unlink()
        host.waits_for("reverted")
        host.says("one", 1)

    @pytest.mark.parametrize("moment", ["live test", "before reload", "after reload"])
    def test_begin_is_killed(self, host: Host, tmp_path: Path, moment: str) -> None:
        """With -9, after each step: the armed revert brings everything back."""
        assert host.begin(**deadly(host, tmp_path, moment)) == {"killed": 9}
        assert host.do("status")["armed"] is True
        host.knows(**host.nginx.options())  # the revert was armed with the deadly commands
        host.sooner(0)
        host.waits_for("reverted")
        host.says("one", 1)

    @pytest.mark.parametrize("step", ["commit", "revert"])
    @pytest.mark.parametrize("moment", range(0, 12, 3))
    def test_end_is_killed(self, host: Host, tmp_path: Path, step: str, moment: int) -> None:
        """With -9, before that change of a file: the next run completes or reverts the transaction, and reports which."""
        begun = host.begin()
        options = host.asked(step, transaction=begun["transaction"])
        argv = [sys.executable, "-c", KILLER, str(moment), *module_argv(options, tmp_path)[2:]]
        killed = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
        host.sooner(0)
        seen = host.do("commit", transaction=begun["transaction"])
        host.disarmed()
        if "msg" in seen:
            assert "was reverted to generation 1" in seen["msg"]
            host.says("one", 1)
        else:
            host.says("two", 2)
        assert host.state["phase"] == ("reverted" if "msg" in seen else "committed")

    @pytest.mark.parametrize("moment", ["live test", "before reload", "after reload"])
    def test_revert_is_killed(self, host: Host, tmp_path: Path, moment: str) -> None:
        """The program that takes the gate back dies with -9: the next run completes it."""
        begun = host.begin()
        host.knows(**deadly(host, tmp_path, moment))
        known = host.state["trigger"]
        host.sooner(0)
        deadline = time.monotonic() + 30
        while revert_timer.started(known["pid"]) == known["started"]:
            assert time.monotonic() < deadline, "it was not killed"
            time.sleep(0.05)
        assert host.state["phase"] == "reverting"
        assert "was reverted to generation 1" in host.do("commit", transaction=begun["transaction"])["msg"]
        host.disarmed()
        host.says("one", 1)

    def test_commit_races_the_revert(self, host: Host) -> None:
        """At the very deadline, again and again: one of them wins, and commit says the truth."""
        committed = 1
        for turn in range(4):
            begun = host.begin(host.candidate(f"turn {turn}"))
            host.sooner(0.9 + turn / 10)
            done = host.do("commit", transaction=begun["transaction"])
            if "msg" in done:
                assert "was reverted to generation" in done["msg"]
            else:
                committed = begun["generation"]
            host.disarmed()
            host.is_whole(committed)

    def test_two_begin_at_once(self, host: Host, tmp_path: Path) -> None:
        """One holds the host, the other is told."""
        more = {"endpoints": [host.endpoint]}
        runs = [
            start("gate_transaction", host.asked("begin", candidate=host.candidate(word), **more), tmp_path)
            for word in ("a", "b")
        ]
        done = [json.loads(run.communicate(timeout=90)[0]) for run in runs]
        (refused,) = [one for one in done if "msg" in one]
        (begun,) = [one for one in done if "msg" not in one]
        assert f"held by transaction {begun['transaction']}" in refused["msg"]
        assert host.do("revert")["action"] == "reverted"
        host.says("one", 1)

    def test_ssh_is_cut(self, host: Host, tmp_path: Path) -> None:
        """The session of the module ends, with everything in it: the revert is in none of it."""
        argv = module_argv(host.asked("begin", **second(host)), tmp_path)
        with subprocess.Popen(
            argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        ) as run:
            run.wait(timeout=90)
        known = host.state["trigger"]
        with open(f"/proc/{known['pid']}/stat", encoding="ascii") as file:
            session = int(file.read().rpartition(")")[2].split()[3])
        assert session not in (run.pid, os.getsid(0))
        assert {os.readlink(f"/proc/{known['pid']}/fd/{number}") for number in (0, 1, 2)} == {os.devnull}
        host.sooner(0)
        host.waits_for("reverted")
        host.says("one", 1)


class TestCleaned:
    """A cleaner, or a purge of configuration management, removes what lies there while a transaction is armed."""

    @pytest.mark.parametrize(
        "gone",
        [
            *[["armed"], ["gate.revert"], [*SPARES]],
            *[[f"armed/{name}"] for name in ("revert.pyz", "settings.json", "snapshot.json")],
            *[[f"{place}/{name}" for place in SPARES] for name in ("revert.pyz", "settings.json", "snapshot.json")],
        ],
        ids=" ".join,
    )
    def test_gate_goes_back_at_its_deadline(self, host: Host, gone: list[str]) -> None:
        """The process that waits needs none of these files."""
        begun = host.begin()
        clean(host, *gone)
        time.sleep(2)
        host.sooner(0)
        host.waits_for("reverted")
        host.says("one", 1)
        assert "it was not committed by" in host.state["why"]
        assert "was reverted to generation 1" in host.do("commit", transaction=begun["transaction"])["msg"]

    @pytest.mark.parametrize("end", ["commit", "revert", "rollback", "begin"])
    @pytest.mark.parametrize("due", [False, True])
    def test_every_step_works(self, host: Host, end: str, due: bool) -> None:
        """With both directories gone, and the process too: the record holds the texts of the generation to go back to."""
        begun = host.begin()
        os.kill(host.state["trigger"]["pid"], signal.SIGKILL)
        if due:
            host.sooner(0)
        # A rollback needs the generation that it goes to; for the others the record is enough.
        clean(host, *SPARES, *(() if end == "rollback" else ("gates/1",)))
        name = begun["transaction"]
        if end == "commit":
            done = host.do("commit", transaction=name)
            assert "was reverted to generation 1" in done["msg"] if due else done["action"] == "committed", done
        elif end == "revert":
            assert host.do("revert", transaction=name)["action"] == "reverted"
        else:
            done = host.begin(host.candidate("three")) if end == "begin" else host.do("rollback", generation=1)
            if not due:
                assert f"held by transaction {name}" in done["msg"]
                assert host.do("revert")["action"] == "reverted"
            elif end == "begin":
                assert (done["armed"], done["previous_generation"]) == (True, 1), done
                assert host.do("revert")["action"] == "reverted"
            else:  # generation 1 is what the overdue transaction went back to
                assert (done["action"], host.state["phase"]) == ("unchanged", "reverted"), done
        host.disarmed()
        host.says(*(("two", 2) if end == "commit" and not due else ("one", 1)))

    def test_first_gate_goes_away(self, bare: Host) -> None:
        """There was none before: no snapshot is needed."""
        bare.begin()
        clean(bare, *SPARES)
        bare.sooner(0)
        bare.waits_for("reverted")
        assert bare.told().gate is None
        assert not (bare.nginx.prefix / "conf.d/quietdoor.conf").exists()

    @pytest.mark.parametrize("gone", ["armed", "gate.revert", "armed/revert.pyz", "armed/settings.json"])
    def test_unit_finds_the_other_copy(self, host: Host, gone: str) -> None:
        """The command that the unit of systemd runs after a reboot, or at the deadline."""
        host.begin()
        os.kill(host.state["trigger"]["pid"], signal.SIGKILL)
        clean(host, gone)
        host.sooner(0)
        argv = revert_timer.command("act", str(host.nginx.prefix))
        assert subprocess.run(argv, check=False, timeout=60).returncode == 0
        host.waits_for("reverted")
        host.says("one", 1)

    @pytest.mark.parametrize("name", ["revert.pyz", "settings.json"])
    def test_unit_without_any_copy_fails(self, host: Host, name: str) -> None:
        """It is seen, and tried again; the next step of the module takes the gate back."""
        host.begin()
        os.kill(host.state["trigger"]["pid"], signal.SIGKILL)
        clean(host, *(f"{place}/{name}" for place in SPARES))
        host.sooner(0)
        argv = revert_timer.command("act", str(host.nginx.prefix))
        assert subprocess.run(argv, check=False, timeout=60, capture_output=True).returncode == 1
        assert host.do("revert")["action"] == "reverted"
        host.disarmed()
        host.says("one", 1)

    def test_lost_snapshot_generation_and_record_are_named(self, host: Host) -> None:
        """Its files, its record and both snapshots are gone: the message says the way out, and that way works."""
        assert host.gate(host.candidate("two"))["generation"] == 2
        host.begin(host.candidate("three"))
        os.kill(host.state["trigger"]["pid"], signal.SIGKILL)
        clean(host, *SPARES, "gates/2", "gate.records/2.json")
        refused = host.do("revert")["msg"]
        assert "is lost, and so are the generation and its record" in refused
        assert f"Move {host.quietdoor}/gate.transaction away, and run step rollback with a kept generation" in refused
        clean(host, "gate.transaction")
        begun = host.do("rollback", generation=1)
        assert begun["armed"], begun
        assert host.do("commit", transaction=begun["transaction"])["action"] == "committed"
        host.says("one", begun["generation"])


def clean(host: Host, *names: str) -> None:
    """Remove files and directories below quietdoor/."""
    for name in names:
        assert (host.quietdoor / name).exists(), name
        subprocess.run(["rm", "-r", str(host.quietdoor / name)], check=True)


class TestFullDisk:
    """The file system of the configuration is full while a transaction is armed; nothing but its reserved room is left."""

    @pytest.mark.parametrize(("end", "action"), [("commit", "committed"), ("revert", "reverted")])
    def test_module_ends_the_transaction(self, cramped: Host, end: str, action: str) -> None:
        """Commit and revert release the reserved room before they lock."""
        begun = cramped.begin()
        fill(cramped)
        done = cramped.do(end, transaction=begun["transaction"])
        assert done.get("action") == action, done
        cramped.disarmed()
        cramped.says(*(("two", 2) if end == "commit" else ("one", 1)))

    def test_armed_program_reverts_the_gate(self, cramped: Host) -> None:
        """At its deadline, without the module."""
        begun = cramped.begin()
        cramped.sooner(5)
        fill(cramped)
        cramped.waits_for("reverted")
        cramped.says("one", 1)
        assert "was reverted to generation 1" in cramped.do("commit", transaction=begun["transaction"])["msg"]

    @pytest.mark.parametrize("step", ["rollback", "begin"])
    def test_next_transaction_reverts_an_overdue_one(self, cramped: Host, step: str) -> None:
        """The armed program was killed: the next change first takes the gate back, then needs room for itself."""
        cramped.begin()
        os.kill(cramped.state["trigger"]["pid"], signal.SIGKILL)
        cramped.sooner(0)
        fill(cramped)
        done = (
            cramped.do("rollback", generation=1)
            if step == "rollback"
            else cramped.begin(cramped.candidate("three", extra="# padding\n" * 40000))
        )
        assert cramped.state["phase"] == "reverted", done
        cramped.says("one", 1)
        if step == "rollback":
            assert done["action"] == "unchanged", done
        else:
            disk = cramped.nginx.prefix.parent
            assert f"No space left on device on the file system that is mounted at {disk}. Free space on" in done["msg"]
            assert done["msg"].startswith(f"{cramped.quietdoor}/"), done

    def test_failed_commit_keeps_the_room(self, cramped: Host) -> None:
        """A commit that is refused reserves the room again, so that the end of the transaction succeeds afterwards."""
        cramped.begin()
        room = (cramped.quietdoor / "gate.revert/ballast").stat().st_size
        fill(cramped)
        for _turn in range(2):
            assert "There is no transaction" in cramped.do("commit", transaction="0123456789abcdef")["msg"]
            assert (cramped.quietdoor / "gate.revert/ballast").stat().st_size == room
        assert cramped.do("revert")["action"] == "reverted"
        cramped.says("one", 1)

    def test_damaged_generation_is_restored(self, cramped: Host) -> None:
        """The room is enough for the whole snapshot."""
        assert cramped.gate(cramped.candidate("x" * 2000))["generation"] == 2
        begun = cramped.begin(cramped.candidate("three"))
        (cramped.quietdoor / "gates/2/sites/admin.conf").write_text("oops;")
        fill(cramped)
        assert cramped.do("revert", transaction=begun["transaction"])["action"] == "reverted"
        cramped.says("x" * 2000, 2)

    def test_begin_names_file_and_file_system(self, cramped: Host) -> None:
        """Nothing is armed, and nothing moves."""
        fill(cramped)
        refused = cramped.begin()
        assert refused["msg"].startswith(f"{cramped.quietdoor}/"), refused
        assert f"is mounted at {cramped.nginx.prefix.parent}. Free space on that file system" in refused["msg"]
        assert cramped.laid_out() == []
        cramped.says("one", 1)


def fill(host: Host) -> None:
    """Fill the file system of the configuration to its last byte."""
    disk = host.nginx.prefix.parent
    with open(disk / "filling", "ab", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    assert os.statvfs(disk).f_bavail == 0


def second(host: Host) -> dict[str, Any]:
    """The second candidate."""
    return {"candidate": host.candidate("two"), "endpoints": [host.endpoint]}


def module_argv(options: dict[str, Any], directory: Path) -> list[str]:
    """Return the command that runs the module."""
    file = directory / "options.json"
    file.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": options}))
    return [sys.executable, "-m", "ansible_collections.quietdoor.mtls.plugins.modules.gate_transaction", str(file)]
