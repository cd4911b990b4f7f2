# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that backups of an authority are created, verified and restored completely or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._backup import create as backup
from ansible_collections.quietdoor.mtls.plugins.module_utils._backup import (
    encrypted_container,
    manifest,
    restore,
    tar_stream,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509 import keys, pkcs12
from cryptography.x509 import CRLNumber, load_pem_x509_crl

if TYPE_CHECKING:
    from collections.abc import Callable

PASSPHRASE = "a passphrase for tests"
KEY_PASSPHRASE = b"of the key"


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make scrypt, PBKDF2 and syncing cheap: these tests are not about their cost."""
    monkeypatch.setattr(encrypted_container, "COST", encrypted_container.Cost(4, 8, 1))
    monkeypatch.setattr(encrypted_container, "_LOG_N", range(4, 19))
    monkeypatch.setattr(keys, "KDF_ROUNDS", 1)
    monkeypatch.setattr(pkcs12, "KDF_ROUNDS", 1)
    monkeypatch.setattr(os, "sync", lambda: None)
    monkeypatch.setattr(os, "fsync", lambda _handle: None)


class BackupSetup:
    """An authority with a history, and a directory for its backups."""

    def __init__(self, door: Any, directory: Path) -> None:
        self.door = door
        self.directory = directory
        self.archive = directory / "authority.quietdoor"

    def create(self, *, check_mode: bool = False, **options: Any) -> backup.Backup:
        values = {"path": self.door.path, "target": str(self.archive), "secrets": self.secrets(), "now": self.door.now}
        return backup.create(**{**values, **options}, check_mode=check_mode)

    def secrets(self, passphrase: str = PASSPHRASE, key: bytes | None = None) -> backup.Secrets:
        return backup.Secrets(passphrase, key)

    def verify(self, **secrets: Any) -> backup.Backup:
        return backup.verify(str(self.archive), self.secrets(**secrets), self.door.now)

    def restore(self, path: Path, *, check_mode: bool = False, **secrets: Any) -> restore.Restored:
        return restore.restore(
            str(path), str(self.archive), self.secrets(**secrets), self.door.now, check_mode=check_mode
        )

    def at(self, path: Path) -> Any:
        """Return the authority in another directory."""
        return replace(self.door, path=str(path))


@pytest.fixture
def setup(empty_door: Any, client: Any, tmp_path: Path) -> BackupSetup:
    empty_door.passphrase = KEY_PASSPHRASE
    empty_door.create()
    empty_door.enrol(client("alex", bundle_profiles=("modern",)), client("bea"))
    empty_door.revoke(client="bea")
    empty_door.crl()
    (tmp_path / "setup").mkdir(mode=0o700)
    return BackupSetup(empty_door, tmp_path / "setup")


def test_a_backup_is_made_once_and_again_when_the_authority_changed(setup: BackupSetup, client: Any, tree: Any) -> None:
    before = setup.door.digest()
    for reason in ("the archive does not exist", "the authority changed"):
        assert setup.create(check_mode=True).reason == reason
        made = setup.create()
        assert (made.reason, made.size) == (reason, setup.archive.stat().st_size)
        assert setup.door.digest() == before
        done = tree(setup.directory)
        assert setup.create(check_mode=True).reason == ""
        assert setup.create().reason == ""
        assert setup.verify().findings == made.findings
        assert tree(setup.directory) == done
        setup.door.enrol(client("carl"))
        before = setup.door.digest()
    assert setup.archive.stat().st_mode & 0o777 == 0o600
    assert {path.name for path in setup.directory.iterdir()} == {setup.archive.name, ".lock"}


def test_an_authority_that_issued_nothing_yet_has_a_backup_too(door: Any, tmp_path: Path) -> None:
    """Its database is an empty file."""
    (tmp_path / "setup").mkdir()
    setup = BackupSetup(door, tmp_path / "setup")
    made = setup.create().findings
    assert made is not None
    assert (made.certificates, made.crl_number, made.key_opened) == (0, None, True)
    assert setup.verify().findings == made
    assert setup.restore(tmp_path / "again").changes == ["restored"]
    assert setup.at(tmp_path / "again").create().changes == []


def test_what_a_backup_says_of_itself(setup: BackupSetup) -> None:
    made = setup.create()
    assert made.findings is not None
    assert made.manifest is not None
    findings = made.findings
    assert (findings.subject, findings.certificates, findings.revoked, findings.crl_number) == ("CN=Test CA", 2, 1, 1)
    assert not findings.key_opened
    opened = setup.verify(key=KEY_PASSPHRASE).findings
    assert opened is not None
    assert opened.key_opened
    paths = {file.path for file in made.manifest.files}
    assert {"private/ca.key.pem", "index.txt", "crl/ca.crl.pem", "clients/alex/client.json"} < paths
    assert ".lock" not in paths
    assert made.manifest.links["clients/alex/alex.crt"].startswith("alex-")


def test_a_new_archive_is_sealed_at_owasps_cost(setup: BackupSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    setup.create()
    assert setup.archive.read_bytes()[:20] == b"quietdoor backup\x01\x11\x08\x01"


def test_only_a_change_of_mode_is_a_change_too(setup: BackupSetup) -> None:
    setup.create()
    setup.door.file("index.txt").chmod(0o600)
    assert setup.create().reason == "the authority changed"


def test_nothing_secret_is_readable_in_an_archive(setup: BackupSetup) -> None:
    setup.create()
    data = setup.archive.read_bytes()
    for secret in (b"PRIVATE KEY", b"alex", b"Test CA", b"index.txt", b"manifest"):
        assert secret not in data


def test_restored_on_an_empty_directory_it_works_at_once(
    setup: BackupSetup, client: Any, openssl: Any, tmp_path: Path
) -> None:
    """Issue, revoke and write a CRL from there, with this collection and with the openssl command."""
    setup.create()
    saved = setup.door.digest()
    shutil.rmtree(setup.door.path)
    assert setup.restore(Path(setup.door.path), check_mode=True).changes == ["restored"]
    assert not Path(setup.door.path).exists()
    assert setup.restore(Path(setup.door.path), key=KEY_PASSPHRASE).changes == ["restored"]
    assert setup.door.digest() == saved
    for check_mode in (True, False):
        assert setup.restore(Path(setup.door.path), check_mode=check_mode).changes == []
    assert setup.door.create().changes == []
    alex, bea = client("alex", bundle_profiles=("modern",)), client("bea", present=False)
    assert setup.door.actions(alex, bea) == ["unchanged"] * 2
    assert setup.door.actions(client("carl")) == ["issued"]
    setup.door.revoke("keyCompromise", client="alex")
    assert setup.door.crl().after.number == 2
    ca, crl = str(setup.door.file("certs", "ca.cert.pem")), str(setup.door.file("crl", "ca.crl.pem"))
    judged = ["verify", "-x509_strict", "-crl_check", "-CAfile", ca, "-CRLfile", crl, "-purpose", "sslclient"]
    assert "OK" in openssl(*judged, str(setup.door.file("clients", "carl", "carl.crt")))
    assert "revoked" in openssl(*judged, str(setup.door.file("clients", "alex", "alex.crt")), fails=True)
    setup.door.openssl_ca("-revoke", str(setup.door.file("clients", "carl", "carl.crt")))
    assert setup.door.later(minutes=1).crl().after.number == 3
    assert not list(tmp_path.glob(".*"))


def test_restored_elsewhere_the_configuration_leads_there(setup: BackupSetup, client: Any, tmp_path: Path) -> None:
    setup.create()
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    assert setup.restore(elsewhere).changes == ["restored"]
    assert setup.restore(elsewhere).changes == []
    there = setup.at(elsewhere)
    assert f'dir = "{elsewhere}"' in there.file("openssl.cnf").read_text()
    assert there.create().changes == []
    before = setup.door.digest()
    there.enrol(client("carl"))
    there.openssl_ca("-revoke", str(there.file("clients", "carl", "carl.crt")))
    assert setup.door.digest() == before
    assert setup.at(elsewhere).authority.rows[-1].is_revoked


@pytest.fixture(params=["easy-rsa", "by hand"])
def adopted(
    request: pytest.FixtureRequest, easy_rsa: Any, by_hand: Any, empty_door: Any, client: Any, tmp_path: Path
) -> BackupSetup:
    """Return an adopted authority with an operator's comment in index.txt.attr."""
    theirs = easy_rsa() if request.param == "easy-rsa" else by_hand()
    serial = theirs.sign("theirs" if request.param == "easy-rsa" else "/CN=theirs")
    theirs.path.chmod(0o755)
    (theirs.path / "index.txt.attr").write_text("# ours, since 2014\nunique_subject = no\n")
    door = type(empty_door)(str(theirs.path))
    door.adopt()
    door.enrol(client())
    door.revoke(serial=serial)
    door.crl()
    (tmp_path / "setup").mkdir(mode=0o700)
    return BackupSetup(door, tmp_path / "setup")


def test_an_adopted_authority_comes_back_as_it_was(adopted: BackupSetup, client: Any, tmp_path: Path) -> None:
    """Only the configuration beside the operator's own holds the path of the authority."""
    assert adopted.create().reason
    again = adopted.at(tmp_path / "again")
    assert adopted.restore(tmp_path / "again").changes == ["restored"]
    before, after = adopted.door.digest(), again.digest()
    assert {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} == {"quietdoor.cnf"}
    assert adopted.restore(tmp_path / "again").changes == []
    assert again.digest() == after
    assert again.adopt() == []
    assert again.actions(client(), client("new")) == ["unchanged", "issued"]
    assert not again.crl().changed


def test_modes_and_links_come_back(setup: BackupSetup, tree: Any, tmp_path: Path) -> None:
    setup.door.file("notes").mkdir(mode=0o750)
    setup.door.file("notes", "Ämter \\ \n").write_bytes(b"\x00" * 300_000)
    setup.door.file("notes", "Ämter \\ \n").chmod(0o400)
    Path(os.fsdecode(os.path.join(os.fsencode(setup.door.path), b"notes", b"\xff"))).touch(0o640)
    setup.door.file("notes", "link").symlink_to("nowhere")
    setup.door.file("notes").chmod(0o550)
    setup.create()
    setup.restore(tmp_path / "again")
    changed = {"openssl.cnf"}
    saved, found = tree(Path(setup.door.path)), tree(tmp_path / "again")
    assert {name for name in saved if saved[name] != found[name]} == changed
    assert saved.keys() == found.keys()


@pytest.mark.parametrize("inside", ["a file", "private", "index.txt"])
def test_nothing_is_ever_overwritten(inside: str, setup: BackupSetup, tree: Any, tmp_path: Path) -> None:
    setup.create()
    there = tmp_path / "there"
    there.mkdir()
    (there / inside).write_text("mine")
    before = tree(tmp_path)
    for check_mode in (True, False):
        with pytest.raises(MtlsError, match="nothing is ever overwritten"):
            setup.restore(there, check_mode=check_mode)
    assert tree(tmp_path) == before


def test_an_authority_that_went_on_is_not_overwritten(setup: BackupSetup, client: Any) -> None:
    setup.create()
    setup.door.enrol(client("carl"))
    before = setup.door.digest()
    with pytest.raises(MtlsError, match="differs from the archive in "):
        setup.restore(Path(setup.door.path))
    assert setup.door.digest() == before


def test_a_file_in_the_way_of_the_directory_is_named(setup: BackupSetup, tmp_path: Path) -> None:
    setup.create()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(MtlsError, match="file is not a directory"):
        setup.restore(tmp_path / "file")


def test_after_an_older_backup_the_newest_crl_keeps_number_and_revocations(
    setup: BackupSetup, client: Any, tmp_path: Path
) -> None:
    """The last published CRL is copied into the authority, as documented, so lost revocations are detected."""
    setup.create()
    published = tmp_path / "published.pem"
    for days in (1, 17, 34):
        later = setup.door.later(days=days)
        later.crl()
    setup.door.later(days=34).revoke(client="alex")
    assert setup.door.later(days=35).crl().after.number == 4
    published.write_bytes(setup.door.file("crl", "ca.crl.pem").read_bytes())
    restored = setup.at(tmp_path / "again").later(days=36)
    setup.restore(tmp_path / "again")
    restored.file("crl", "ca.crl.pem").write_bytes(published.read_bytes())
    with pytest.raises(MtlsError, match="revocations were lost"):
        restored.crl()
    restored.revoke(client="alex")
    restored.later(days=20).crl()
    crl = load_pem_x509_crl(restored.file("crl", "ca.crl.pem").read_bytes())
    assert crl.extensions.get_extension_for_class(CRLNumber).value.crl_number == 5
    assert len(crl) >= 1


def test_a_certificate_issued_since_an_older_backup_is_taken_in_and_revoked(
    setup: BackupSetup, client: Any, tmp_path: Path
) -> None:
    setup.create()
    setup.door.enrol(client("carl"))
    row = setup.door.authority.rows[-1]
    setup.restore(tmp_path / "again")
    restored = setup.at(tmp_path / "again")
    shutil.copy(setup.door.file("newcerts", f"{row.serial}.pem"), restored.file("newcerts", f"{row.serial}.pem"))
    assert [revoked.newly for revoked in restored.revoke(serial=row.serial)] == [True]


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 100)


def grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


def flip(at: int) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[at] ^= 0x10
        path.write_bytes(data)

    return damage


DAMAGES: list[tuple[Callable[[Path], Any], str]] = [
    (cut, "bytes instead of"),
    (grow, "bytes instead of"),
    (flip(0), "is not an archive of module ca_backup"),
    (flip(16), "is an archive of format 17"),
    (flip(17), "does not open|asks scrypt"),
    (flip(18), "asks scrypt for"),
    (flip(30), "does not open with archive_passphrase, or its header is damaged"),
    (flip(60), "does not open with archive_passphrase, or its header is damaged"),
    (flip(100), "does not open with archive_passphrase, or its header is damaged"),
    (flip(150), "does not open with archive_passphrase, or its header is damaged"),
    (flip(200), "is damaged at or after byte"),
    (flip(-1), "is damaged at or after byte"),
    (lambda path: path.write_text("no archive at all " * 20), "is not an archive of module ca_backup"),
    (Path.unlink, "cannot be read"),
]


@pytest.mark.parametrize(("damage", "says"), DAMAGES)
def test_a_damaged_archive_is_neither_verified_nor_restored(
    damage: Callable[[Path], Any], says: str, setup: BackupSetup, tree: Any, tmp_path: Path
) -> None:
    setup.create()
    damage(setup.archive)
    before = tree(tmp_path)
    for act in (
        setup.verify,
        lambda: setup.restore(tmp_path / "x"),
        lambda: setup.restore(tmp_path / "x", check_mode=True),
    ):
        with pytest.raises(MtlsError, match=says):
            act()
        assert tree(tmp_path) == before


@pytest.mark.parametrize("act", ["create", "verify", "restore"])
def test_a_wrong_passphrase_changes_nothing(
    act: str, setup: BackupSetup, client: Any, tree: Any, tmp_path: Path
) -> None:
    setup.create()
    setup.door.enrol(client("carl"))
    before = tree(tmp_path)
    wrong = setup.secrets("another one, long enough")
    with pytest.raises(MtlsError, match="does not open with archive_passphrase"):
        {
            "create": lambda: setup.create(secrets=wrong),
            "verify": lambda: setup.verify(passphrase=wrong.archive),
            "restore": lambda: setup.restore(tmp_path / "again", passphrase=wrong.archive),
        }[act]()
    assert tree(tmp_path) == before


def test_a_wrong_passphrase_of_the_key_is_seen_before_anything_is_restored(
    setup: BackupSetup, tree: Any, tmp_path: Path
) -> None:
    setup.create()
    before = tree(tmp_path)
    for act in (setup.verify, lambda **key: setup.restore(tmp_path / "again", **key)):
        with pytest.raises(MtlsError, match=r"private/ca\.key\.pem does not open with the passphrase"):
            act(key=b"wrong")
    with pytest.raises(MtlsError, match="does not open with the passphrase"):
        setup.create(secrets=setup.secrets(key=b"wrong"))
    assert tree(tmp_path) == before


def test_an_archive_that_was_cut_off_is_made_anew(setup: BackupSetup) -> None:
    setup.create()
    cut(setup.archive)
    assert setup.create().reason == "the archive was cut off or added to"
    setup.verify()


def test_the_backup_of_another_authority_is_not_replaced(setup: BackupSetup, tmp_path: Path) -> None:
    setup.create()
    other = setup.at(tmp_path / "other")
    other.create()
    before = setup.archive.read_bytes()
    with pytest.raises(MtlsError, match="is the backup of another authority"):
        setup.create(path=other.path)
    assert setup.archive.read_bytes() == before


def lose_key(setup: BackupSetup) -> None:
    setup.door.file("private", "ca.key.pem").unlink()


def swap_key(setup: BackupSetup) -> None:
    other = setup.at(setup.directory / "other")
    other.passphrase = None
    other.create()
    shutil.copy(other.file("private", "ca.key.pem"), setup.door.file("private", "ca.key.pem"))


def lose_certificate(setup: BackupSetup) -> None:
    setup.door.file("newcerts", f"{setup.door.authority.rows[0].serial}.pem").unlink()


def cut_index(setup: BackupSetup) -> None:
    setup.door.file("index.txt").write_bytes(setup.door.file("index.txt").read_bytes()[:-5])


def forget(setup: BackupSetup) -> None:
    rows = [row._replace(status="V", revoked="") for row in setup.door.authority.rows]
    setup.door.authority.save([*rows])
    shutil.copy(setup.door.file("certs", "ca.cert.pem"), setup.door.file("newcerts", f"{rows[1].serial}.pem"))


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lose_key, r"private/ca\.key\.pem is missing"),
        (swap_key, r"private/ca\.key\.pem is not the key of certs/ca\.cert\.pem"),
        (lose_certificate, r"newcerts/[0-9A-F]+\.pem is missing, a valid certificate \(1 such in all\)"),
        (cut_index, r"index\.txt is damaged"),
        (forget, "revocations were lost"),
        (lambda setup: setup.door.file("crl", "ca.crl.pem").write_text("x"), "is not a CRL of this authority"),
        (lambda setup: setup.door.file("certs", "ca.cert.pem").write_text("x"), "is not a PEM certificate"),
        (lambda setup: setup.door.file("certs", "ca.cert.pem").unlink(), "is not an authority"),
        (lambda setup: os.mkfifo(setup.door.file("fifo")), "is neither a file nor a directory"),
        (lambda setup: setup.door.file("link").symlink_to("/etc/passwd"), "is a link to '/etc/passwd'"),
        (lambda setup: setup.door.file("clients", "link").symlink_to("../index.txt"), "is a link to"),
        (lambda setup: setup.door.file("link").symlink_to(".."), "is a link to"),
    ],
)
def test_a_bad_state_does_not_replace_a_good_backup(
    harm: Callable[[BackupSetup], Any], says: str, setup: BackupSetup, tmp_path: Path
) -> None:
    setup.create()
    good = setup.archive.read_bytes()
    harm(setup)
    for _time in range(2):
        with pytest.raises(MtlsError, match=says):
            setup.create()
        assert setup.archive.read_bytes() == good
    assert setup.restore(tmp_path / "again").changes == ["restored"]


def test_an_unsound_authority_in_an_archive_is_seen(
    setup: BackupSetup, tree: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    findings = setup.create().findings
    lose_certificate(setup)
    with monkeypatch.context() as blind:
        blind.setattr(backup, "inspect", lambda *_arguments: findings)
        assert setup.create().reason == "the authority changed"
    before = tree(tmp_path)
    for act in (setup.verify, lambda: setup.restore(tmp_path / "again")):
        with pytest.raises(MtlsError, match="is missing, a valid certificate"):
            act()
    assert tree(tmp_path) == before


def test_a_file_that_changes_while_it_is_read_is_named(setup: BackupSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    setup.create()
    good = setup.archive.read_bytes()
    index = setup.door.file("index.txt")
    survey = manifest.survey
    for text in (b"", index.read_bytes() * 2, index.read_bytes().replace(b"alex", b"axel")):

        def survey_then_change(*arguments: Any, text: bytes = text) -> manifest.Manifest:
            found = survey(*arguments)
            index.write_bytes(text)
            return found

        before = index.read_bytes()
        monkeypatch.setattr(manifest, "survey", survey_then_change)
        monkeypatch.setattr(backup, "inspect", lambda *_arguments: None)
        setup.door.file("serial").write_text("0A\n" if setup.door.file("serial").read_text() != "0A\n" else "0B\n")
        with pytest.raises(MtlsError, match=r"index\.txt changed while it was read"):
            setup.create()
        index.write_bytes(before)
        assert setup.archive.read_bytes() == good


def hostile(setup: BackupSetup, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Put a manifest into the archive that the collection would not write."""
    setup.create()
    render = manifest.render
    with monkeypatch.context() as patch:
        patch.setattr(manifest, "render", lambda found: render(replace(found, **changes)))
        setup.archive.unlink()
        setup.create()


@pytest.mark.parametrize(
    "changes",
    [
        {"links": {"../out": "x"}},
        {"links": {"/tmp/out": "x"}},
        {"links": {"x": "../out"}},
        {"links": {"x": "/etc"}},
        {"links": {"x": "."}},
        {"directories": {"": 0o700, "..": 0o700}},
        {"directories": {"": 0o700, "/tmp/x": 0o700}},
        {"directories": {"": 0o700, "a/b": 0o700}},
        {"directories": {"": 0o7777}},
        {"directories": {}},
        {"files": [manifest.File("../out", 0o600, 0, "")]},
        {"files": [manifest.File("/out", 0o600, 0, "")]},
        {"files": [manifest.File("a\0b", 0o600, 0, "")]},
        {"files": [manifest.File("link/out", 0o600, 0, "")], "links": {"link": "x"}},
        {"files": [manifest.File("x", 0o4755, 0, "")]},
        {"files": [manifest.File("x", 0o600, 0, "")] * 2},
        {"names": {}},
    ],
)
def test_a_manifest_that_leads_elsewhere_is_refused(
    changes: dict[str, Any], setup: BackupSetup, tree: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile(setup, monkeypatch, **changes)
    before = tree(tmp_path)
    with pytest.raises(MtlsError, match="holds no manifest that this release can read"):
        setup.restore(tmp_path / "again")
    assert tree(tmp_path) == before


def test_a_manifest_that_differs_from_the_files_is_refused(
    setup: BackupSetup, tree: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = setup.create().manifest
    assert made is not None
    last = made.files[-1]
    for files in (made.files[:-1], [*made.files, replace(last, path="more")], made.files[::-1]):
        hostile(setup, monkeypatch, files=files)
        with pytest.raises(MtlsError, match="holds another state than its header says"):
            setup.verify()


@pytest.mark.parametrize("change", ["fewer", "more", "order", "name", "contents"])
def test_files_that_differ_from_the_manifest_are_refused(
    change: str, setup: BackupSetup, tree: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack, member = tar_stream.pack, tar_stream._member

    class Forged(tar_stream._Digesting):
        def read(self, size: int = -1) -> bytes:
            return super().read(size).swapcase()

    def packed(found: manifest.Manifest, stream: Any) -> None:
        others = {"fewer": found.files[:-1], "more": [*found.files, found.files[0]], "order": found.files[::-1]}
        with monkeypatch.context() as patch:
            patch.setattr(manifest, "render", lambda _others, render=manifest.render: render(found))
            if change == "name":
                patch.setattr(tar_stream, "_member", lambda name, *rest: member(name.replace("index", "xedni"), *rest))
            if change == "contents":
                patch.setattr(tar_stream, "_Digesting", Forged)
            pack(replace(found, files=others.get(change, found.files)), stream)

    with monkeypatch.context() as patch:
        patch.setattr(tar_stream, "pack", packed)
        setup.create()
    before = tree(tmp_path)
    for act in (setup.verify, lambda: setup.restore(tmp_path / "again")):
        with pytest.raises(MtlsError, match="does not hold what its manifest says"):
            act()
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", ["clients/backup", "backup", "."])
def test_an_archive_inside_the_authority_is_refused(name: str, setup: BackupSetup) -> None:
    for target in (setup.door.file(name), setup.door.file("clients", "..", name)):
        with pytest.raises(MtlsError, match="are one inside the other"):
            setup.create(target=str(target))


def test_a_link_does_not_hide_that_an_archive_is_inside_the_authority(setup: BackupSetup, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(setup.door.file("clients"))
    with pytest.raises(MtlsError, match="are one inside the other"):
        setup.create(target=str(tmp_path / "link" / "backup"))


@pytest.mark.parametrize(
    ("target", "says"),
    [(None, "archive: None is not an absolute path"), ("relative", "archive: 'relative' is not"),
     ("/nowhere/at/all", "does not exist")],
)  # fmt: skip
def test_a_path_that_cannot_be_is_named(target: str | None, says: str, setup: BackupSetup) -> None:
    with pytest.raises(MtlsError, match=says):
        setup.create(target=target)


def test_a_directory_in_place_of_the_archive_is_named(setup: BackupSetup) -> None:
    setup.archive.mkdir()
    with pytest.raises(MtlsError, match="is a directory"):
        setup.create()


@pytest.mark.parametrize("exists", [False, True])
def test_an_archive_in_a_work_tree_has_to_be_ignored(exists: bool, setup: BackupSetup, tmp_path: Path) -> None:
    if exists:
        setup.create()
    subprocess.run(["git", "init", "-q", str(setup.directory)], check=True)
    before = exists and setup.archive.read_bytes()
    with pytest.raises(MtlsError, match="which does not ignore it"):
        setup.create()
    assert (setup.archive.exists() and setup.archive.read_bytes()) == before
    (setup.directory / ".gitignore").write_text("*.quietdoor\n")
    setup.create()
    setup.verify()
    with pytest.raises(MtlsError, match="which does not ignore it"):
        setup.restore(setup.directory / "again")
    (setup.directory / ".gitignore").write_text("/again/\n")
    with pytest.raises(MtlsError, match=r"\.again\.restoring is in the git work tree"):
        setup.restore(setup.directory / "again")
    assert not (setup.directory / "again").exists()


def test_what_a_killed_restore_left_is_cleared(setup: BackupSetup, tmp_path: Path) -> None:
    setup.create()
    left = tmp_path / ".again.restoring"
    (left / "private").mkdir(parents=True)
    (left / "private" / "ca.key.pem").write_text("half")
    (left / "link").symlink_to(setup.door.path)
    before = setup.door.digest()
    setup.restore(tmp_path / "again")
    assert not left.exists()
    assert not (tmp_path / "again" / "link").exists()
    assert setup.door.digest() == before


def test_in_check_mode_there_may_be_no_authority_yet(empty_door: Any, tmp_path: Path) -> None:
    setup = BackupSetup(empty_door, tmp_path / "not there")
    made = setup.create(check_mode=True)
    assert (made.reason, made.manifest, made.findings) == ("the archive does not exist", None, None)
    with pytest.raises(MtlsError, match="is not an authority"):
        setup.create()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("moved_away", [False, True])
def test_an_adopted_authority_with_its_certificates_in_its_own_directory(
    moved_away: bool, by_hand: Any, empty_door: Any, tmp_path: Path
) -> None:
    """The file of a valid certificate is also missing, as after easyrsa renew."""
    theirs = by_hand(certificate="ca.crt", key="ca.key", new_certificates=".")
    theirs.sign("/CN=Alex")
    if moved_away:
        Path(theirs.file("1000")).unlink()
    door = type(empty_door)(str(theirs.path))
    door.adopt()
    made = backup.create(door.path, str(tmp_path / "archive"), backup.Secrets("x" * 14), door.now, check_mode=False)
    assert made.findings
    assert made.findings.missing == (["1000"] if moved_away else [])


def test_restored_behind_a_link_to_an_empty_directory(door: Any, tmp_path: Path, tree: Any) -> None:
    secrets = backup.Secrets("x" * 14)
    backup.create(door.path, str(tmp_path / "archive"), secrets, door.now, check_mode=False)
    (tmp_path / "disk").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "disk")
    for check_mode in (True, False):
        done = restore.restore(str(link), str(tmp_path / "archive"), secrets, door.now, check_mode=check_mode)
        assert done.changes == ["restored"]
    assert link.is_symlink()
    assert tree(tmp_path / "disk").keys() == tree(Path(door.path)).keys()
    again = restore.restore(str(link), str(tmp_path / "archive"), secrets, door.now, check_mode=False)
    assert again.changes == []
    assert sorted(path.name for path in tmp_path.glob(".*")) == [".lock"]


@pytest.mark.parametrize("check_mode", [False, True])
def test_a_mount_point_is_refused_before_a_key_is_written_beside_it(
    check_mode: bool, door: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = backup.Secrets("x" * 14)
    backup.create(door.path, str(tmp_path / "archive"), secrets, door.now, check_mode=False)
    disk = tmp_path / "disk"
    disk.mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: path == str(disk))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(MtlsError, match="is a mount point"):
        restore.restore(str(disk), str(tmp_path / "archive"), secrets, door.now, check_mode=check_mode)
    (tmp_path / "file").write_text("")
    with pytest.raises(MtlsError, match="file is not a directory"):
        restore.restore(
            str(tmp_path / "file" / "ca"), str(tmp_path / "archive"), secrets, door.now, check_mode=check_mode
        )
    assert sorted(path for path in tmp_path.iterdir() if path.name != "file") == before


# --- without the collection -----------------------------------------------------------------------------------------

OPENER = Path(backup.__file__).parents[3] / "docs" / "open_backup.py"


def open_alone(*arguments: Path, passphrase: str = PASSPHRASE) -> subprocess.CompletedProcess[str]:
    """Run the program of the documentation unchanged, without the collection and without a terminal."""
    return subprocess.run(
        [sys.executable, "-I", "-W", "ignore", str(OPENER), *map(str, arguments)],
        input=f"{passphrase}\n", capture_output=True, text=True, check=False, start_new_session=True,
    )  # fmt: skip


def test_a_backup_is_opened_without_the_collection(
    setup: BackupSetup, tree: Callable[[Path], Any], tmp_path: Path
) -> None:
    source = Path(setup.door.path)
    # More than one chunk, and an empty directory.
    (source / "notes").write_bytes(os.urandom(600_000))
    (source / "empty").mkdir()
    setup.create()
    done = open_alone(setup.archive, tmp_path / "opened")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    files = {name: what for name, what in tree(source).items() if "directory" not in what}
    opened = tree(tmp_path / "opened")
    assert {name: what for name, what in opened.items() if "directory" not in what} == files
    assert opened.keys() == tree(source).keys()
    assert any("link" in what for what in files.values())
    again = open_alone(setup.archive, tmp_path / "opened")
    assert again.returncode != 0
    assert tree(tmp_path / "opened") == opened


def test_the_program_that_opens_a_backup_is_short_and_needs_little() -> None:
    text = OPENER.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 40
    imported = {line.split()[1].partition(".")[0] for line in text.splitlines() if line.startswith(("import", "from"))}
    assert imported - set(sys.stdlib_module_names) == {"cryptography"}


@pytest.mark.parametrize("change", ["passphrase", "cut off", "header", "chunk"])
def test_the_program_writes_nothing_of_an_archive_that_is_not_whole(
    setup: BackupSetup, tmp_path: Path, change: str
) -> None:
    setup.create()
    data = bytearray(setup.archive.read_bytes())
    if change == "cut off":
        del data[-1]
    elif change != "passphrase":
        data[60 if change == "header" else -1] ^= 1
    copy = tmp_path / "copy"
    copy.write_bytes(data)
    done = open_alone(copy, tmp_path / "opened", passphrase="another one" if change == "passphrase" else PASSPHRASE)
    assert done.returncode != 0
    says = {"cut off": "is not a whole archive", "chunk": "InvalidTag"}.get(
        change, "The passphrase is wrong, or the header"
    )
    assert says in done.stderr
    assert not (tmp_path / "opened").exists()
