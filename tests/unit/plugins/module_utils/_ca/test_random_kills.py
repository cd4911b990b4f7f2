# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test kill -9 at random moments of a random year of an authority, and the runs after it.

A year is a list of steps that ends with what the roster wants. A process of its own goes through it and tells what every
step returned: that was promised, and has to hold whatever happens afterwards. The process is killed; what runs next may be
killed too.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import select
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca.index_database import serial_hex
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.timestamps import iso
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509 import keys
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509 import pkcs12 as bundle
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key, pkcs12

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

ROUNDS = 12
KILLS = 26
"""Kills in one round; rounds are shared out among the processes that run the tests."""
PASSPHRASE = b"Correct-Horse-Battery-1"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip syncs and strong encryption: a kill loses no written data."""
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    monkeypatch.setattr(bundle, "KDF_ROUNDS", 1)
    monkeypatch.setattr(keys, "KDF_ROUNDS", 1)


@dataclass
class Year:
    """A year: steps with their days, the roster at its end, and its directory."""

    door: Any
    public: Path
    steps: list[tuple[int, str, Any]]
    roster: list[Any]

    @property
    def end(self) -> Any:
        """The authority on the last day."""
        return self.door.later(days=self.steps[-1][0])

    def live(self, tell: Callable[[Any], None]) -> None:
        """Go through the year."""
        for day, what, argument in self.steps:
            tell(do(self.door.later(days=day), self.public, what, argument))

    def finish(self) -> list[Any]:
        """Do what the last day's playbook does, once, and return what changed."""
        end = self.end
        changes = [*end.create().changes, *(one.action for one in end.enrol(*self.roster) if one.action != "unchanged")]
        changes += [end.crl().reason] if end.crl(check_mode=True).changed else []
        return changes + end.publish(self.public).changes


def do(door: Any, public: Path, what: str, argument: Any) -> dict[str, Any]:
    """Take one step and return what it promises from now on."""
    if what == "create":
        return {"authority": door.create().certificate.public_bytes(Encoding.PEM).decode()}
    if what == "enrol":
        done = door.enrol(*argument)
        gone = [serial for one in done for serial in one.step.revoke]
        return {"issued": [one.record.latest.serial for one in done if one.step.issues], "revoked": gone}
    if what == "revoke":
        return {"revoked": [one.row.serial for one in door.revoke("keyCompromise", client=argument)]}
    if what == "crl":
        return {"crl": door.crl().after.number, "digest": digest(door.authority.layout.crl)}
    return {"generation": door.publish(public).generation}


def digest(path: str | Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def a_year(seed: int, directory: Path, make_door: Any, client: Any) -> Year:
    """Return a year of the authority, drawn at random."""
    draw = random.Random(seed)
    door = make_door(str(directory / "ca"), PASSPHRASE if draw.random() < 0.3 else None)
    people = {name: client(name, bundle_profiles=profiles(draw)) for name in ("alex", "bea", "carl")}
    steps: list[tuple[int, str, Any]] = [(0, "create", None), (0, "enrol", list(people.values()))]
    for day in sorted(draw.sample(range(1, 360), 3)):
        steps += event(draw, day, people, client)
        if draw.random() < 0.5:
            steps += [(day, "crl", None), (day, "publish", None)]
    steps += [(360, "enrol", list(people.values())), (360, "crl", None), (360, "publish", None)]
    return Year(door, directory / "public", steps, list(people.values()))


def profiles(draw: random.Random) -> tuple[str, ...]:
    return draw.choice([("modern",), ("modern", "compat"), ()])


def event(draw: random.Random, day: int, people: dict[str, Any], client: Any) -> list[tuple[int, str, Any]]:
    """Return the steps of something that happens, and change who is on the roster."""
    name, happens = (
        draw.choice(["alex", "bea", "carl"]),
        draw.choice(["leaves", "stolen", "other roles", "joins", "bundles"]),
    )
    if happens == "stolen":
        return [(day, "revoke", name), (day, "enrol", list(people.values()))]
    if happens == "leaves":
        people[name] = client(name, present=False)
    elif happens == "joins":
        people[f"new{day}"] = client(f"new{day}", bundle_profiles=profiles(draw))
    elif happens == "other roles":
        people[name] = client(name, roles=(f"role{day}",), bundle_profiles=profiles(draw))
    else:
        people[name] = client(name, bundle_profiles=profiles(draw), bundle_passphrase=f"Staple-{day}")
    return [(day, "enrol", list(people.values()))]


@dataclass
class Promises:
    """The results of finished steps and the state on disk after a kill, which must remain true."""

    authority: str | None = None
    issued: set[str] = field(default_factory=set)
    revoked: set[str] = field(default_factory=set)
    rows: dict[str, Any] = field(default_factory=dict)
    crls: dict[int, str] = field(default_factory=dict)
    generation: int = 0

    def add(self, reported: dict[str, Any]) -> None:
        """Take down what a step returned."""
        self.authority = self.authority or reported.get("authority")
        self.issued |= set(reported.get("issued", []))
        self.revoked |= set(reported.get("revoked", []))
        self.generation = max(self.generation, reported.get("generation", 0))
        if "crl" in reported:
            assert self.crls.setdefault(reported["crl"], reported["digest"]) == reported["digest"], (
                "a CRL number was used twice"
            )

    def see(self, door: Any) -> None:
        """Look at the directory as a kill left it: whole files only, modes closed, nothing lost."""
        if not door.file("certs", "ca.cert.pem").exists():
            assert self.authority is None
            return
        authority = door.authority
        pem = authority.certificate.public_bytes(Encoding.PEM).decode()
        assert self.authority in (None, pem), "another CA certificate"
        self.authority = pem
        rows = {row.serial: row for row in authority.rows}
        assert self.rows.keys() <= rows.keys(), "a row was lost"
        for serial, row in self.rows.items():
            assert not row.is_revoked or rows[serial] == row, "a revocation was lost or changed"
        self.rows = rows
        assert self.issued <= rows.keys()
        assert all(rows[serial].is_revoked for serial in self.revoked)
        self._see_crl(Path(authority.layout.crl))
        check_modes(Path(door.path))

    def _see_crl(self, path: Path) -> None:
        if path.exists():
            found = x509.load_pem_x509_crl(path.read_bytes())
            number = found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
            self.add({"crl": number, "digest": digest(path)})
            assert number == max(self.crls), "an older CRL came back"


def check_modes(root: Path) -> None:
    """Check that no directory or secret is readable for other users."""
    for path in [root, *root.rglob("*")]:
        mode = path.lstat().st_mode & 0o777
        if path.is_symlink():
            continue
        if path.is_dir():
            assert mode == 0o700, path
        elif (
            path.suffix in (".key", ".p12", ".passphrase", ".json") or path.name == "ca.key.pem" or path.name[0] == "."
        ):
            assert mode == 0o600 or path.name.startswith(".quietdoor-tmp-"), path


def in_a_process(work: Callable[[Callable[[Any], None]], object], delay: float | None) -> tuple[list[Any], int, float]:
    """Run ``work`` in a process group of its own, killed after ``delay`` seconds; return what it told, its status, its time.

    Half of the kills hit the process alone, as kill -9 does; the others its child processes too, as a power cut does.
    """
    reading, writing = os.pipe()
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setpgid(0, 0)
            os.close(reading)
            work(lambda reported: os.write(writing, json.dumps(reported).encode() + b"\n"))
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with contextlib.suppress(OSError):  # the child may have done so itself
        os.setpgid(child, child)
    if delay is not None:
        wait_for(child, began + delay - time.monotonic())
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if int(delay * 1e6) % 2 else os.kill)(child, signal.SIGKILL)
    # The end of the pipe is also the end of everything that the child started.
    with os.fdopen(reading, "rb") as pipe:
        lines = pipe.read().split(b"\n")
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return [json.loads(line) for line in lines[:-1]], status, time.monotonic() - began


def wait_for(child: int, seconds: float) -> None:
    """Wait until the child has ended, but no longer than that."""
    handle = os.pidfd_open(child)
    select.select([handle], [], [], max(0.0, seconds))
    os.close(handle)


@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_year_with_kills(number: int, door: Any, client: Any, tmp_path: Path, openssl: Any) -> None:
    draw = random.Random(f"round {number}")

    def make_door(path: str, passphrase: bytes | None) -> Any:
        return type(door)(path, passphrase=passphrase, now=door.now)

    _told, status, usual = in_a_process(a_year(number, tmp_path / "usual", make_door, client).live, None)
    assert status == 0
    kills = Counter[bool]()
    for attempt in range(1000):
        if kills[True] >= KILLS:
            break
        seed = number * 1000 + attempt
        directory = tmp_path / str(seed)
        directory.mkdir()
        year = a_year(seed, directory, make_door, client)
        try:
            live_through(year, draw, usual, kills)
            check_end(year, openssl)
        except Exception as error:
            raise AssertionError(f"year {seed} of round {number}") from error
    assert kills[True] >= KILLS


def live_through(year: Year, draw: random.Random, usual: float, kills: Counter[bool]) -> float:
    """Kill the year, then in half of the rounds the repairing run too, and let a run complete it.

    :param usual: how long a year takes, in seconds. On a machine that is busy now and then, what is returned is nearer to it.
    """
    promises = Promises()

    def repair(_tell: Callable[[Any], None]) -> object:
        return year.finish()

    work: Callable[[Callable[[Any], None]], object] = year.live
    for delay in (draw.uniform(0, usual), *([draw.uniform(0, usual / 3)] if draw.random() < 0.5 else [])):
        reported, status, taken = in_a_process(work, delay)
        assert status in (0, -signal.SIGKILL)
        usual = min(usual, taken) if status == 0 and work == year.live else usual
        kills[status != 0] += 1
        for one in reported:
            promises.add(one)
        promises.see(year.door)
        work = repair
    year.finish()
    promises.see(year.door)
    after = year.door.digest()
    assert year.finish() == [], "the second run still had something to do"
    assert year.door.digest() == after
    assert json.loads((year.public / "trust.json").read_text())["generation"] >= promises.generation
    return usual


def check_end(year: Year, openssl: Any) -> None:
    """Judge the directory when all is done."""
    end, root = year.end, Path(year.door.path)
    names = [path.name for path in [*root.rglob("*"), *year.public.rglob("*")]]
    assert not [name for name in names if name.startswith(".quietdoor-tmp-")]
    authority = end.authority
    rows = {row.serial: row for row in authority.rows}
    issued = {path.stem: x509.load_pem_x509_certificate(path.read_bytes()) for path in end.file("newcerts").iterdir()}
    assert issued.keys() == rows.keys(), "a certificate that was signed is not in the database"
    assert len(rows) == len(authority.rows)
    for serial, certificate in issued.items():
        certificate.verify_directly_issued_by(authority.certificate)
        assert int(serial, 16) == certificate.serial_number
        assert iso(certificate.not_valid_after_utc) == iso(rows[serial].not_after)
    for client in year.roster:
        check_client(end, client, {serial for serial, row in rows.items() if row.client == client.name}, issued)
    check_crl(year, openssl)


def check_client(end: Any, client: Any, serials: set[str], issued: dict[str, x509.Certificate]) -> None:
    directory = end.file("clients", client.name)
    for key_file in directory.glob(f"{client.name}-*.key"):
        serial = next(one for one in serials if key_file.stem.endswith(one[:8]))
        assert load_pem_private_key(key_file.read_bytes(), None).public_key() == issued[serial].public_key()
    live = [
        row for row in end.authority.rows if row.serial in serials and not row.is_revoked and row.not_after > end.now
    ]
    if not client.present:
        assert not live
        return
    current = x509.load_pem_x509_certificate((directory / f"{client.name}.crt").read_bytes())
    assert issued[live[-1].serial] == current
    key = load_pem_private_key((directory / f"{client.name}.key").read_bytes(), None)
    assert key.public_key() == current.public_key()
    for profile in client.bundle_profiles:
        generated = directory / f"{client.name}.passphrase"
        passphrase = (client.bundle_passphrase or generated.read_text().strip()).encode()
        held = pkcs12.load_pkcs12((directory / f"{client.name}.{bundle.SUFFIXES[profile]}").read_bytes(), passphrase)
        assert held.cert is not None
        assert held.cert.certificate == current


def check_crl(year: Year, openssl: Any) -> None:
    """Check that openssl accepts the last certificate if and only if the database does."""
    end = year.end
    found = x509.load_pem_x509_crl((year.public / "crl.pem").read_bytes())
    revoked = {row.serial for row in end.authority.rows if row.is_revoked and row.not_after > end.now}
    assert revoked <= {serial_hex(entry.serial_number) for entry in found}
    number = found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    assert int(end.file("crlnumber").read_text(), 16) > number
    last = end.authority.rows[-1]
    openssl(
        "verify", "-x509_strict", "-crl_check", "-purpose", "sslclient", "-attime", str(int(end.now.timestamp())),
        "-CAfile", str(year.public / "ca.pem"), "-CRLfile", str(year.public / "crl.pem"),
        str(end.file("newcerts", f"{last.serial}.pem")), fails=last.is_revoked or last.not_after <= end.now,
    )  # fmt: skip
    # openssl ca -status ends with 1 for a valid certificate, too.
    output = end.openssl_ca("-status", last.serial, fails=True)
    assert f"{last.serial}={'Revoked' if last.is_revoked else 'Valid'}" in output
