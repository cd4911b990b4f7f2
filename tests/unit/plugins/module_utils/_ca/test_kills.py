# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test kill -9 at every system call that changes a file, the next run, and concurrent runs."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import shutil
import signal
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._backup import create, encrypted_container, restore
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca import issuer_crls
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca.issuer import Issuer
from ansible_collections.quietdoor.mtls.plugins.module_utils._clients import client_files, enrol, process_pool
from ansible_collections.quietdoor.mtls.plugins.module_utils._common import files
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.timestamps import iso
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509 import keys
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509 import pkcs12 as bundle
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key, pkcs12
from cryptography.x509 import load_pem_x509_certificate, load_pem_x509_crl

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip syncs and strong encryption: a kill loses no written data."""
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    monkeypatch.setattr(os, "sync", lambda: None)
    monkeypatch.setattr(bundle, "KDF_ROUNDS", 1)
    monkeypatch.setattr(encrypted_container, "COST", encrypted_container.Cost(14, 8, 1))


pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

CALLS = ("open", "fsync", "fchmod", "chmod", "rename", "replace", "link", "symlink", "unlink", "mkdir", "rmdir")


def arm(moment: int) -> None:
    """Make this process kill itself instead of making its ``moment``-th call that may change a file."""
    counter, process = itertools.count(1), os.getpid()

    def deadly(name: str, call: Any, *arguments: Any, **options: Any) -> Any:
        reads = name == "open" and not (arguments[1] if len(arguments) > 1 else 0) & (os.O_CREAT | os.O_WRONLY)
        # A worker changes nothing; its death is tested below.
        if not reads and os.getpid() == process and next(counter) == moment:
            os.kill(process, signal.SIGKILL)
        return call(*arguments, **options)

    for name in CALLS:
        setattr(os, name, functools.partial(deadly, name, getattr(os, name)))


def start(act: Callable[[], object], moment: int = 0) -> int:
    """Run ``act`` in a process of its own, killed at ``moment`` if that is not 0, and return its id."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            arm(moment)
            act()
            status = 0
        finally:
            os._exit(status)
    return child


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_everywhere(
    original: Path, act: Callable[[], object], check: Callable[[], None], repair: Callable[[], object] | None = None
) -> int:
    """Kill ``act`` at its first, second, ... call, each time on a fresh copy of a directory; return how many calls there are.

    The next run is ``repair``, or ``act`` again.
    """
    saved = original.with_name("saved")
    if original.exists():
        shutil.copytree(original, saved, symlinks=True)
    for moment in itertools.count(1):
        shutil.rmtree(original, ignore_errors=True)
        if saved.exists():
            shutil.copytree(saved, original, symlinks=True)
        status = ended(start(act, moment))
        assert status in (0, -signal.SIGKILL), f"failed before call {moment}"
        (repair or act)()
        try:
            check()
        except Exception as error:
            raise AssertionError(f"after a kill at call {moment}") from error
        if status == 0:
            return moment - 1
    raise AssertionError


def check_whole(door: Any, *clients: Any) -> None:
    """Check that a directory has no lost, partial or repeated data, and that no work is left."""
    before = door.digest()
    assert {result.action for result in door.enrol(*clients)} <= {"unchanged"}
    assert door.digest() == before
    assert not [name for name in before if ".quietdoor-tmp-" in name]
    rows = door.authority.rows
    issued = {path.stem: load_pem_x509_certificate(path.read_bytes()) for path in door.file("newcerts").iterdir()}
    assert {row.serial for row in rows} == set(issued)
    for row in rows:
        assert f"{issued[row.serial].serial_number:X}".zfill(len(row.serial)) == row.serial
        assert iso(issued[row.serial].not_valid_after_utc) == iso(row.not_after)
    for client in clients:
        check_client(door, client)


def check_client(door: Any, client: Any) -> None:
    directory = door.file("clients", client.name)
    rows = [row for row in door.authority.rows if row.client == client.name]
    if not client.present:
        assert all(row.is_revoked for row in rows)
        return
    certificate = load_pem_x509_certificate((directory / f"{client.name}.crt").read_bytes())
    key = load_pem_private_key((directory / f"{client.name}.key").read_bytes(), None)
    assert f"{certificate.serial_number:X}".zfill(len(rows[-1].serial)) == rows[-1].serial
    assert certificate.public_key() == key.public_key()
    assert len(list(directory.glob(f"{client.name}-*.key"))) == len(rows)
    passphrase = (directory / f"{client.name}.passphrase").read_bytes().strip()
    bundle = pkcs12.load_pkcs12((directory / f"{client.name}.p12").read_bytes(), passphrase)
    assert bundle.cert is not None
    assert bundle.cert.certificate == certificate


def test_killing_the_making_of_an_authority(empty_door: Any) -> None:
    def check() -> None:
        before = empty_door.digest()
        assert empty_door.create().changes == []
        assert empty_door.digest() == before
        assert empty_door.authority.signer(None, empty_door.now)
        assert not [name for name in before if ".quietdoor-tmp-" in name]

    assert kill_everywhere(Path(empty_door.path), empty_door.create, check) > 20


@pytest.fixture
def pair_of_authorities(empty_door: Any, tmp_path: Path) -> tuple[Any, Any]:
    """Return a root CA and a directory for its issuing CA."""
    (tmp_path / "both").mkdir()
    root, below = (type(empty_door)(str(tmp_path / "both" / name), now=empty_door.now) for name in ("root", "below"))
    root.create("Root", path_length=1)
    return root, below


def check_pair(root: Any, below: Any, certificates: int, act: Callable[[], Any]) -> None:
    """Check that the issuing CA has the certificate that the root CA signed, and that no work is left."""
    before = root.digest(), below.digest()
    assert act().changes == []
    assert (root.digest(), below.digest()) == before
    assert not [name for name in (*before[0], *before[1]) if ".quietdoor-tmp-" in name]
    rows = root.authority.rows
    assert len(rows) == len(list(root.file("newcerts").iterdir())) == certificates
    assert int(rows[-1].serial, 16) == below.authority.certificate.serial_number
    assert len(below.authority.chain) == 2
    assert below.authority.signer(None, below.now)


def test_killing_the_signing_of_an_issuing_ca(pair_of_authorities: tuple[Any, Any]) -> None:
    root, below = pair_of_authorities
    act = functools.partial(below.create, "Issuing", issuer=Issuer(root.path))
    assert kill_everywhere(Path(root.path).parent, act, lambda: check_pair(root, below, 1, act)) > 30


def test_killing_the_renewal_of_an_issuing_ca(pair_of_authorities: tuple[Any, Any]) -> None:
    root, below = pair_of_authorities
    below.create("Issuing", issuer=Issuer(root.path), days=400)
    key = below.file("private", "ca.key.pem").read_bytes()
    later = below.later(days=390)
    options = {"issuer": Issuer(root.path), "days": 400, "renew": True, "renew_before": timedelta(days=60)}
    act = functools.partial(later.create, "Issuing", **options)

    def check() -> None:
        check_pair(root, later, 2, act)
        assert below.file("private", "ca.key.pem").read_bytes() == key
        assert len(list(below.file("certs").glob("ca-*.cert.pem"))) == 1

    assert kill_everywhere(Path(root.path).parent, act, check) >= 20


def test_killing_the_renewal_of_a_root(door: Any, client: Any) -> None:
    door.enrol(client())
    later = door.later(days=3640)
    act = functools.partial(later.create, renew=True, renew_before=timedelta(days=60))

    def check() -> None:
        before = door.digest()
        assert act().changes == []
        assert door.digest() == before
        assert not [name for name in before if ".quietdoor-tmp-" in name]
        certificate = door.authority.certificate
        load_pem_x509_certificate(door.file("clients", "alex", "alex.crt").read_bytes()).verify_directly_issued_by(
            certificate
        )

    assert kill_everywhere(Path(door.path), act, check) >= 8


def test_killing_the_copying_of_the_roots_crl(pair_of_authorities: tuple[Any, Any]) -> None:
    root, below = pair_of_authorities
    root.crl()
    below.create("Issuing", issuer=Issuer(root.path))
    below.crl()

    def act() -> issuer_crls.Outcome:
        return issuer_crls.keep(below.path, issuer_crls.Offer(root.path), below.now, check_mode=False)

    def check() -> None:
        before = below.digest()
        assert act().changes == []
        assert below.digest() == before
        assert below.file("crl", "chain.crl.pem").read_text().count("BEGIN X509 CRL") == 2
        assert not [name for name in before if ".quietdoor-tmp-" in name]

    assert kill_everywhere(Path(root.path).parent, act, check) >= 8


def test_killing_issuing_renewing_and_revoking_in_one_run(door: Any, client: Any) -> None:
    bundles = ("modern",)
    names = ("gone", "renewed", "changed")
    door.enrol(*[client(name, bundle_profiles=bundles) for name in names])
    later = door.later(days=340)
    roster = [
        client("gone", present=False),
        client("renewed", bundle_profiles=bundles),
        client("changed", bundle_profiles=bundles, roles=("dev",)),
        client("new", bundle_profiles=bundles),
    ]

    def check() -> None:
        check_whole(later, *roster)
        counts = Counter(row.client for row in later.authority.rows)
        assert counts == {"gone": 1, "renewed": 2, "changed": 2, "new": 1}

    assert kill_everywhere(Path(door.path), lambda: later.enrol(*roster), check) > 60


@pytest.fixture
def in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use batches, worker processes and whole syncs, as for a long roster."""
    monkeypatch.setattr(enrol, "_BATCH", 2)
    monkeypatch.setattr(process_pool, "_SHARE", 1)
    monkeypatch.setattr(process_pool, "processors", lambda: 2)
    monkeypatch.setattr(files, "_SYNCFS_THRESHOLD", 1)
    monkeypatch.setattr(files, "_load_syncfs", lambda: lambda handle: os.fsync(handle) or 0)


@pytest.mark.usefixtures("in_batches")
def test_killing_issuing_and_renewing_in_batches(door: Any, client: Any) -> None:
    bundles = ("modern",)
    door.enrol(*[client(name, bundle_profiles=bundles) for name in ("gone", "renewed")])
    later = door.later(days=340)
    roster = [
        client("gone", present=False),
        *[client(name, bundle_profiles=bundles) for name in ("renewed", "new1", "new2")],
    ]

    def check() -> None:
        check_whole(later, *roster)
        counts = Counter(row.client for row in later.authority.rows)
        assert counts == {"gone": 1, "renewed": 2, "new1": 1, "new2": 1}

    assert kill_everywhere(Path(door.path), lambda: later.enrol(*roster), check) > 60


@pytest.mark.usefixtures("in_batches")
@pytest.mark.parametrize(("module", "work"), [(enrol, "generate"), (client_files, "_bundles")])
@pytest.mark.parametrize("victim", range(5))
def test_death_of_a_worker_is_reported_and_repaired_by_the_next_run(
    victim: int, module: Any, work: str, door: Any, client: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    roster = [client(f"c{index}", bundle_profiles=("modern",)) for index in range(5)]
    original = getattr(module, work)

    def deadly(*arguments: Any) -> Any:
        # Workers share no memory: the length of a file counts their calls.
        with open(tmp_path / "calls", "a+b", buffering=0) as calls:
            position = os.write(calls.fileno(), b"x") and os.lseek(calls.fileno(), 0, os.SEEK_CUR)
        if position == victim + 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(module, work, deadly)
        with pytest.raises(MtlsError, match="worker process died"):
            door.enrol(*roster)
    door.enrol(*roster)
    check_whole(door, *roster)
    assert len(door.authority.rows) == 5


@pytest.mark.parametrize("known", [True, False])
def test_killing_an_issue_to_a_client_that_leaves_before_the_next_run(known: bool, door: Any, client: Any) -> None:
    """There are no temporary files, no unsigned keys, and no records of missing certificates."""
    if known:
        door.enrol(client())
    directory = door.file("clients", "alex")

    def check() -> None:
        check_whole(door, client(present=False))
        assert not [name for name in door.digest() if ".quietdoor-tmp-" in name]
        stems = {Path(row.file).stem for row in door.authority.rows}
        assert {path.stem for path in directory.glob("alex-*.key")} <= stems
        if (directory / "client.json").exists():
            assert {issue["stem"] for issue in json.loads((directory / "client.json").read_text())["issues"]} <= stems

    def act() -> None:
        door.enrol(client(roles=("dev",), bundle_profiles=("modern",)))

    assert kill_everywhere(Path(door.path), act, check, repair=lambda: door.enrol(client(present=False))) > 30


def test_killing_a_run_beside_whose_clients_the_next_one_passes_by(door: Any, client: Any) -> None:
    """The next run of any module removes temporary files, also of clients missing on the roster."""

    def check() -> None:
        assert not [name for name in door.digest() if ".quietdoor-tmp-" in name]
        assert {row.serial for row in door.authority.rows} == {path.stem for path in door.file("newcerts").iterdir()}

    def act() -> None:
        door.enrol(client(bundle_profiles=("modern",)))

    assert kill_everywhere(Path(door.path), act, check, repair=door.crl) > 30


def test_killing_the_run_that_repairs_after_a_kill(door: Any, client: Any) -> None:
    saved = [client("alex", bundle_profiles=("modern",)), client("bea")]
    status = ended(start(lambda: door.enrol(*saved), 45))
    assert status == -signal.SIGKILL

    assert kill_everywhere(Path(door.path), lambda: door.enrol(*saved), lambda: check_whole(door, saved[0])) > 20


def test_killing_the_making_of_an_authority_with_a_passphrase(empty_door: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "KDF_ROUNDS", 1)
    empty_door.passphrase = b"Correct-Horse-Battery-1"

    def check() -> None:
        assert b"ENCRYPTED" in empty_door.file("private", "ca.key.pem").read_bytes()
        assert empty_door.create().changes == []

    assert kill_everywhere(Path(empty_door.path), empty_door.create, check) > 20


def test_killing_a_revocation(door: Any, client: Any) -> None:
    door.enrol(client(bundle_profiles=("modern",)))

    def check() -> None:
        check_whole(door)
        assert [row.status for row in door.authority.rows] == ["R"]

    assert kill_everywhere(Path(door.path), lambda: door.revoke(client="alex"), check) >= 4


def test_killing_the_writing_of_a_crl(door: Any, client: Any) -> None:
    door.enrol(client())
    door.crl()
    door.revoke(client="alex")

    def check() -> None:
        crl = load_pem_x509_crl(door.file("crl", "ca.crl.pem").read_bytes())
        assert len(crl) == 1
        assert door.file("crl", "ca.crl.der").read_bytes() == crl.public_bytes(Encoding.DER)
        outcome = door.crl()
        assert not outcome.changed
        assert int(door.file("crlnumber").read_text(), 16) > outcome.after.number > 1
        assert not [name for name in door.digest() if ".quietdoor-tmp-" in name]

    assert kill_everywhere(Path(door.path), door.crl, check) >= 8


def test_killing_a_publication(door: Any, client: Any, tmp_path: Path) -> None:
    public = tmp_path / "public"
    door.enrol(client())
    door.crl()
    first = door.publish(public).generation
    door.enrol(client("bea"))
    door.revoke(client="alex")
    door.crl()

    def check() -> None:
        outcome = door.publish(public)
        assert outcome.changes == []
        assert outcome.generation > first
        assert not [path for path in public.iterdir() if path.name.startswith(".quietdoor-tmp-")]

    assert kill_everywhere(public, lambda: door.publish(public), check) >= 16


def secrets() -> create.Secrets:
    return create.Secrets("a passphrase for tests")


def test_killing_a_backup(door: Any, client: Any, tmp_path: Path) -> None:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    target = str(shelf / "backup")
    door.enrol(client())
    create.create(door.path, target, secrets(), door.now, check_mode=False)
    door.revoke(client="alex")

    def act() -> None:
        create.create(door.path, target, secrets(), door.now, check_mode=False)

    def check() -> None:
        found = create.verify(target, secrets(), door.now).findings
        assert found is not None
        assert found.revoked == 1
        assert {path.name for path in shelf.iterdir()} == {"backup", ".lock"}

    assert kill_everywhere(shelf, act, check) >= 4


def test_killing_a_restore(door: Any, client: Any, tmp_path: Path) -> None:
    target = str(tmp_path / "backup")
    door.enrol(client())
    create.create(door.path, target, secrets(), door.now, check_mode=False)
    there = tmp_path / "parent" / "there"
    there.parent.mkdir()

    def act() -> None:
        restore.restore(str(there), target, secrets(), door.now, check_mode=False)

    def check() -> None:
        restored = replace(door, path=str(there))
        assert restored.create().changes == []
        assert restored.actions(client(), client("bea", present=False)) == ["unchanged", "unchanged"]
        assert f'dir = "{there}"' in restored.file("openssl.cnf").read_text()
        assert [path.name for path in there.parent.iterdir()] == ["there"]

    assert kill_everywhere(there.parent, act, check) > 20


def test_restores_at_once_make_one(door: Any, client: Any, tmp_path: Path) -> None:
    target = str(tmp_path / "backup")
    door.enrol(client())
    create.create(door.path, target, secrets(), door.now, check_mode=False)
    there = tmp_path / "there"

    def act() -> None:
        with contextlib.suppress(MtlsError):
            restore.restore(str(there), target, secrets(), door.now, check_mode=False)

    assert [ended(child) for child in [start(act) for _time in range(4)]] == [0] * 4
    assert restore.restore(str(there), target, secrets(), door.now, check_mode=False).changes == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "backup", "ca", "there"]


def test_runs_at_once_share_no_serial_and_lose_no_row(door: Any, client: Any, tmp_path: Path) -> None:
    rosters = [[client(f"{run}-{index}") for index in range(4)] + [client("shared")] for run in range(5)]
    children = [start(functools.partial(door.enrol, *roster)) for roster in rosters]
    children += [start(door.crl), start(lambda: door.crl(check_mode=True))]
    assert [ended(child) for child in children] == [0] * 7
    rows = door.authority.rows
    assert len({row.serial for row in rows}) == len(rows) == 5 * 4 + 1
    assert {row.client for row in rows} == {client.name for roster in rosters for client in roster}
    assert {path.stem for path in door.file("newcerts").iterdir()} == {row.serial for row in rows}


def test_two_runs_making_one_authority_at_once_make_one(empty_door: Any) -> None:
    children = [start(empty_door.create) for _time in range(4)]
    assert [ended(child) for child in children] == [0] * 4
    assert empty_door.create().changes == []


def test_publications_at_once_end_in_a_whole_one(door: Any, client: Any, tmp_path: Path) -> None:
    door.enrol(client())
    door.crl()
    children = [start(lambda: door.publish(tmp_path / "public")) for _time in range(4)]
    assert [ended(child) for child in children] == [0] * 4
    assert door.publish(tmp_path / "public").changes == []
