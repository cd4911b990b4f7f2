# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test full disks, read-only directories, jumping clocks, and damaged or missing files.

Check that the error names the file and a hint, that no data is lost, and that the next run completes.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import re
import resource
import shutil
import signal
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._clients.listing import listing
from ansible_collections.quietdoor.mtls.plugins.module_utils._common import timestamps
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509 import pkcs12

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

CALLS = ("open", "fsync", "fchmod", "chmod", "rename", "symlink", "unlink", "mkdir")


@pytest.fixture(autouse=True)
def cheap_bundles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the encryption of bundles cheap."""
    monkeypatch.setattr(pkcs12, "KDF_ROUNDS", 1)


@pytest.fixture(autouse=True)
def no_hanging() -> Iterator[None]:
    """End a test that waits for a pipe."""

    def late(*_arguments: object) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def full(door: Any, client: Any) -> Any:
    """Return an authority with clients, a CRL, and a revocation that is not on the CRL yet."""
    door.enrol(client("alex", bundle_profiles=("modern",)), client("bea"), client("carl"))
    door.crl()
    door.revoke(client="carl")
    return door


def acts(door: Any, client: Any, public: Path) -> dict[str, Any]:
    """Do all the work of a playbook on an authority, in its order."""
    return {
        "ca": door.create,
        "client_certs": lambda: door.enrol(
            client("alex", bundle_profiles=("modern",)), client("new"), client("bea", present=False)
        ),
        "revocation": lambda: door.revoke(client="alex"),
        "crl": door.crl,
        "publication": lambda: door.publish(public),
    }


def in_a_process(prepare: Callable[[], None], act: Callable[[], object]) -> str:
    """Run ``act`` in a process of its own and return the message of a module, or nothing."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        output = "it broke off"
        try:
            signal.alarm(60)
            prepare()
            act()
            output = ""
        except MtlsError as problem:
            output = str(problem)
        except OSError as error:
            output = f"{error.filename}: {error.strerror}"
        except BaseException as error:
            output = f"Traceback: {error!r}"
        finally:
            os.write(writing, output.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        output = pipe.read().decode()
    os.waitpid(child, 0)
    return output


def give_up_privileges() -> None:
    """Give up root's right to ignore the modes of files (capabilities 1 and 2). Other users do not have it."""
    version, pid, ignoring = 0x20080522, 0, 0b110
    header = (ctypes.c_uint32 * 2)(version, pid)
    sets = (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capget(header, sets) == 0
    for index in (0, 1):
        sets[index] &= ~ignoring
    assert libc.capset(header, sets) == 0


@pytest.mark.parametrize("what", ["ca", "client_certs", "revocation", "crl", "publication"])
@pytest.mark.parametrize("where", [".", "private", "newcerts", "clients", "crl"])
def test_a_directory_that_cannot_be_written_to(where: str, what: str, full: Any, client: Any, tmp_path: Path) -> None:
    """The run fails before it changes anything."""
    full.crl()
    act = acts(full, client, tmp_path / "public")[what]
    if what == "publication":
        directory = tmp_path / "public"
        act()
        full.enrol(client("new"))
    else:
        directory = full.file(where)
    mode = directory.stat().st_mode
    directory.chmod(0o500)
    before = full.digest()
    output = in_a_process(give_up_privileges, act)
    assert (
        output == f"{directory} cannot be written to. Run as the user that owns it, or mount its file system writable."
    )
    assert full.digest() == before
    directory.chmod(mode)
    assert in_a_process(give_up_privileges, act) == ""


@pytest.mark.parametrize("what", ["ca", "client_certs", "revocation", "crl", "publication"])
def test_check_mode_says_that_a_directory_cannot_be_written_to(
    what: str, full: Any, client: Any, tmp_path: Path
) -> None:
    public = tmp_path / "public"
    public.mkdir()
    full.crl()
    full.file(".").chmod(0o500)
    public.chmod(0o500)
    act = {
        "ca": lambda: full.create(check_mode=True),
        "client_certs": lambda: full.enrol(client("new"), check_mode=True),
        "revocation": lambda: full.revoke(client="alex", check_mode=True),
        "crl": lambda: full.crl(check_mode=True),
        "publication": lambda: full.publish(public, check_mode=True),
    }[what]
    assert "cannot be written to. Run as the user" in in_a_process(give_up_privileges, act)
    full.file(".").chmod(0o700)
    public.chmod(0o755)
    assert in_a_process(give_up_privileges, act) == ""


@pytest.mark.parametrize("check_mode", [True, False])
def test_a_place_where_no_authority_can_be_made(check_mode: bool, empty_door: Any, client: Any, tmp_path: Path) -> None:
    """The nearest directory that exists is named."""
    (tmp_path / "deep").mkdir(mode=0o500)
    empty_door.path = str(tmp_path / "deep" / "a" / "ca")
    output = in_a_process(give_up_privileges, lambda: empty_door.create(check_mode=check_mode))
    assert output.startswith(f"{tmp_path}/deep cannot be written to. ")
    assert os.listdir(tmp_path / "deep") == []


@pytest.mark.parametrize(("number", "first"), [(errno.ENOSPC, 1), (errno.EROFS, 2), (errno.EIO, 3)])
def test_a_disk_that_fails_from_some_call_on(number: int, first: int, door: Any, client: Any, tmp_path: Path) -> None:
    """At every call that changes a file (one in three for each error): a file is named, and the next run completes."""
    old = [client("alex", bundle_profiles=("modern",)), client("bea")]
    roster = [client("alex", roles=("dev",), bundle_profiles=("modern",)), client("bea", present=False), client("new")]
    door.enrol(*old)
    door.crl()
    saved = tmp_path / "saved"
    shutil.copytree(door.path, saved, symlinks=True)
    for moment in itertools.count(first, 3):
        shutil.rmtree(door.path)
        shutil.copytree(saved, door.path, symlinks=True)
        rows = {row.serial: row for row in door.authority.rows}

        def run() -> None:
            door.enrol(*roster)
            door.crl()

        output = in_a_process(lambda moment=moment: fail_from(moment, number), run)  # type: ignore[misc]
        if not output:
            assert moment > 40
            break
        assert re.match(rf"{re.escape(door.path)}[/:]", output), output
        assert output.endswith(os.strerror(number)), output
        assert ".quietdoor-tmp-" not in output
        found = {row.serial: row for row in door.authority.rows}
        assert rows.keys() <= found.keys()
        run()
        check_complete(door, *roster)


def fail_from(moment: int, number: int) -> None:
    """Make every call that may change a file fail in this process, from its ``moment``-th on. Removing still works."""
    counter = itertools.count(1)

    def replaced(name: str) -> Callable[..., Any]:
        call = getattr(os, name)

        def failing(*arguments: Any, **options: Any) -> Any:
            reads = name == "open" and not (arguments[1] if len(arguments) > 1 else 0) & (os.O_CREAT | os.O_WRONLY)
            if not reads and next(counter) >= moment and name != "unlink":
                path = arguments[0] if arguments and isinstance(arguments[0], str) else None
                raise OSError(number, os.strerror(number), path)
            return call(*arguments, **options)

        return failing

    for name in CALLS:
        setattr(os, name, replaced(name))


def check_complete(door: Any, *roster: Any) -> None:
    before = door.digest()
    assert {result.action for result in door.enrol(*roster)} == {"unchanged"}
    assert not door.crl().changed
    assert door.digest() == before
    assert not [name for name in before if ".quietdoor-tmp-" in name]
    rows = door.authority.rows
    assert {path.stem for path in door.file("newcerts").iterdir()} == {row.serial for row in rows}
    live = Counter(row.client for row in rows if not row.is_revoked)
    assert live["bea"] == 0
    assert live["alex"] >= 1
    assert live["new"] == 1


def test_a_disk_that_is_really_full(full: Any, client: Any) -> None:
    """The kernel refuses to write (a limit on the size of files: no right to mount is needed): what is missing is named."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))

    before = full.digest()
    output = in_a_process(limit, lambda: full.enrol(client("new")))
    assert output == f"{full.path}/clients/new/client.json: {os.strerror(errno.EFBIG)}"
    assert {name: what for name, what in full.digest().items() if "clients/new" not in name} == before
    assert full.actions(client("new")) == ["issued"]
    assert full.actions(client("new")) == ["unchanged"]


def gone(path: Path) -> None:
    path.unlink()


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def zeroed(path: Path) -> None:
    path.write_bytes(b"\0" * 512)


def binary(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 3)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("/nowhere")


def looping(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate((1 << 29) + 1)


def endless(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


DAMAGES = [gone, emptied, zeroed, binary, directory, dangling, looping, pipe, huge, endless]
FILES = [
    "index.txt", "index.txt.attr", "serial", "crlnumber", "openssl.cnf", ".lock", "certs/ca.cert.pem", "private/ca.key.pem",
    "crl/ca.crl.pem", "newcerts/SERIAL.pem", "clients/alex/client.json", "clients/alex/alex.passphrase",
    "clients/alex/STEM.key", "clients/alex/STEM.crt", "clients/alex/STEM.p12",
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file(name: str, damage: Callable[[Path], None], full: Any, client: Any, tmp_path: Path) -> None:
    """A module repairs, ignores or names any damaged file; it never hangs, and no revocation is undone."""
    alex = full.authority.rows[0]
    path = full.file(*name.replace("SERIAL", alex.serial).replace("STEM", Path(alex.file).stem).split("/"))
    saved, revoked = tmp_path / "saved", full.authority.rows[2]
    full.crl()
    shutil.copytree(full.path, saved, symlinks=True)

    def digest() -> Any:
        # Half a gigabyte takes too long to read.
        return None if damage is huge else full.digest()

    for what in ("ca", "client_certs", "revocation", "crl", "publication", "listing"):
        damage(path)
        door = full.later(days=20)
        everything = {**acts(door, client, tmp_path / "public"), "listing": lambda: listing(full.path, full.now)}
        before = digest()
        output = in_a_process(lambda: None, everything[what])
        assert not output.startswith("Traceback"), output
        assert not Path("/nowhere").exists(), f"{what} wrote through a link that leads to nothing"
        if output:
            assert re.match(rf"(The \S+( \S+)? |client alex: )?{re.escape(full.path)}", output), output
            assert digest() == before, f"{what} failed and changed something"
        shutil.rmtree(full.path)
        shutil.copytree(saved, full.path, symlinks=True)
    door = full.later(days=20)
    door.crl()
    acts(door, client, tmp_path / "public")["client_certs"]()
    assert revoked in door.authority.rows


def test_the_key_of_another_authority(full: Any, client: Any, tmp_path: Path) -> None:
    other = type(full)(str(tmp_path / "other"), now=full.now)
    other.create()
    shutil.copy(other.file("private", "ca.key.pem"), full.file("private", "ca.key.pem"))
    before = full.digest()
    for check_mode in (True, False):
        for act in (
            lambda mode: full.enrol(client("new"), check_mode=mode),
            lambda mode: full.crl(check_mode=mode),
            lambda mode: full.create(check_mode=mode),
        ):
            with pytest.raises(MtlsError, match=r"ca\.key\.pem is not the key of .*ca\.cert\.pem\. Restore"):
                act(check_mode)
            assert full.digest() == before


def test_the_key_of_another_client_is_seen_before_anything_is_changed(full: Any, client: Any) -> None:
    alex, bea = (next(full.file("clients", name).glob(f"{name}-*.key")) for name in ("alex", "bea"))
    shutil.copy(bea, alex)
    before = full.digest()
    for check_mode in (True, False):
        with pytest.raises(MtlsError, match=r"client alex: .* is not the key of the certificate"):
            full.enrol(client("alex", bundle_profiles=("compat",)), client("new"), check_mode=check_mode)
        assert full.digest() == before


def test_a_clock_that_jumped_ahead_and_came_back(door: Any, client: Any, openssl: Any, tmp_path: Path) -> None:
    """Objects from the future are made again; openssl accepts them now; no number is repeated."""
    ahead = door.later(days=200)
    ahead.enrol(client())
    ahead.crl()
    ahead.publish(tmp_path / "public")
    number, generation = ahead.crl().after.number, ahead.publish(tmp_path / "public").generation
    assert door.actions(client()) == ["reissued"]
    assert door.crl().after.number > number
    assert door.publish(tmp_path / "public").generation > generation
    openssl(
        "verify", "-x509_strict", "-crl_check", "-attime", str(int(door.now.timestamp())),
        "-CAfile", str(tmp_path / "public" / "ca.pem"), "-CRLfile", str(tmp_path / "public" / "crl.pem"),
        str(door.file("clients", "alex", "alex.crt")),
    )  # fmt: skip
    assert door.actions(client()) == ["unchanged"]
    assert not door.crl().changed


@pytest.mark.parametrize("days", [-3, 3651])
def test_a_clock_outside_the_life_of_the_authority(days: int, full: Any, client: Any) -> None:
    """Nothing is signed that web hosts would reject, and no existing file is lost."""
    door, before = full.later(days=days), full.digest()
    for act in (lambda: door.enrol(client("new")), door.crl, door.create):
        with pytest.raises(
            MtlsError, match=r"ca\.cert\.pem is valid from .* to .*, and it is .* now\..* Set the clock"
        ):
            act()
        assert full.digest() == before


def test_a_clock_that_was_never_set(monkeypatch: pytest.MonkeyPatch) -> None:
    class Never(timestamps.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return cls(1970, 1, 1, tzinfo=tz)

    monkeypatch.setattr(timestamps, "datetime", Never)
    with pytest.raises(MtlsError, match=r"shows 1970-01-01T00:00:00Z\. Set the clock"):
        timestamps.now()


def test_files_of_others_are_left_alone(full: Any, client: Any) -> None:
    """Temporary files of editors, of openssl and of backups are ignored."""
    foreign = ["index.txt.old", "index.txt.new", "crlnumber.old", ".index.txt.swp", "newcerts/.nfs0001", "newcerts/notes.txt",
               "clients/README", "clients/alex/notes~", "clients/alex/alex-old.key", "private/.quietdoor"]  # fmt: skip
    for name in foreign:
        full.file(*name.split("/")).write_text("theirs")
    full.enrol(client("alex", roles=("dev",)), client("new"))
    full.crl()
    full.create()
    assert [full.file(*name.split("/")).read_text() for name in foreign] == ["theirs"] * len(foreign)


def test_signals_interrupt_no_run(full: Any, client: Any) -> None:
    """Interrupted system calls are repeated (EINTR, PEP 475)."""

    def interrupt() -> None:
        signal.signal(signal.SIGVTALRM, lambda *_arguments: None)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0005, 0.0005)

    assert in_a_process(interrupt, lambda: full.enrol(*[client(f"new{number}") for number in range(5)])) == ""
    assert full.actions(*[client(f"new{number}") for number in range(5)]) == ["unchanged"] * 5
