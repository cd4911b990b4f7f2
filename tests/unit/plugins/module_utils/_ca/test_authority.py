# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the creation and repair of an authority, and what is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca import crl, layout
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca.authority import open_authority
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509.keys import KeySpec

MODES = {"private": 0o40700, "certs": 0o40700, "newcerts": 0o40700, "crl": 0o40700, "clients": 0o40700,
         "private/ca.key.pem": 0o100600, "certs/ca.cert.pem": 0o100644, "index.txt": 0o100644,
         "index.txt.attr": 0o100644, "serial": 0o100644, "crlnumber": 0o100644, "openssl.cnf": 0o100644}  # fmt: skip


def test_a_new_authority_has_the_layout_and_the_modes_that_are_promised(empty_door: Any, tree: Any) -> None:
    outcome = empty_door.create()
    assert outcome.changes == ["created"]
    found = {name: int(what.split()[0], 8) for name, what in tree(Path(empty_door.path)).items()}
    assert found == MODES
    assert Path(empty_door.path).stat().st_mode & 0o777 == 0o700
    assert empty_door.file("index.txt.attr").read_text() == "unique_subject = no\n"


def test_check_mode_makes_nothing_and_says_what_would_be(empty_door: Any) -> None:
    outcome = empty_door.create(check_mode=True)
    assert (outcome.changes, outcome.certificate) == (["created"], None)
    assert outcome.after["subject"] == "CN=Test CA"
    assert not Path(empty_door.path).exists()


def test_a_second_run_changes_nothing(door: Any) -> None:
    before = door.digest()
    for later in (door, door.later(days=100)):
        assert later.create().changes == []
        assert later.create(check_mode=True).changes == []
    assert door.digest() == before


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"common_name": "Other"}, "subject is CN=Test CA and should be CN=Other"),
        ({"key": KeySpec("rsa", size=2048)}, "key is ECDSA P-256 and should be RSA 2048"),
        ({"days": 3651}, "valid_for is 3650 days and should be 3651 days"),
        ({"days": 3649}, "valid_for"),
    ],
)
@pytest.mark.parametrize("check_mode", [True, False])
def test_a_ca_is_never_made_again_because_an_option_changed(
    options: dict[str, Any], says: str, check_mode: bool, door: Any
) -> None:
    before = door.digest()
    with pytest.raises(MtlsError, match=says):
        door.create(**options, check_mode=check_mode)
    assert door.digest() == before


def test_changed_configuration_and_open_modes_are_repaired(door: Any) -> None:
    before = door.digest()
    door.file("openssl.cnf").write_text("changed")
    door.file("index.txt.attr").write_text("unique_subject = yes\n")
    door.file("private").chmod(0o755)
    door.file("private", "ca.key.pem").chmod(0o644)
    shutil.rmtree(door.file("crl"))
    changed = door.digest()
    predicted = door.create(check_mode=True)
    assert door.digest() == changed
    outcome = door.create()
    assert outcome.changes == predicted.changes
    assert len(outcome.changes) == 5
    assert door.digest() == before


@pytest.mark.parametrize("check_mode", [True, False])
@pytest.mark.parametrize("others", [["notes.txt"], [".ssh"], ["private", "README"]])
def test_a_directory_with_something_else_in_it_is_refused(
    others: list[str], check_mode: bool, empty_door: Any, tree: Any
) -> None:
    root = Path(empty_door.path)
    for name in others:
        (root / name).mkdir(parents=True)
    root.chmod(0o755)
    before = tree(root.parent)
    with pytest.raises(
        MtlsError, match=f"{root} is neither empty nor an authority of this collection: it has {others[-1]}"
    ):
        empty_door.create(check_mode=check_mode)
    assert tree(root.parent) == before
    assert not (root / ".lock").exists()


def test_a_database_without_a_certificate_is_refused_untouched(door: Any, client: Any) -> None:
    door.enrol(client())
    door.file("certs", "ca.cert.pem").unlink()
    door.file(".lock").unlink()
    before = door.digest()
    with pytest.raises(MtlsError, match="a database but no CA certificate"):
        door.create()
    assert door.digest() == before
    assert not door.file(".lock").exists()


@pytest.mark.parametrize("path", ["relative", "", "/a\nb", "/a\x00b", "/a\x1fb", "/a\udcff"])
def test_paths_that_no_configuration_can_hold_are_refused(path: str) -> None:
    with pytest.raises(MtlsError, match="path: "):
        layout.check_path(path)


def test_a_file_in_place_of_the_directory_is_named(empty_door: Any) -> None:
    Path(empty_door.path).write_text("file")
    with pytest.raises(MtlsError, match=f"{empty_door.path} is not a directory"):
        empty_door.create()


def test_what_is_not_an_authority_is_said_to_be_none(tmp_path: Path, client: Any, empty_door: Any) -> None:
    os.mkdir(empty_door.path)
    for act in (lambda: empty_door.enrol(client()), empty_door.crl, lambda: empty_door.revoke(client="alex")):
        with pytest.raises(
            MtlsError, match=r"is not an authority: .*ca\.cert\.pem is missing. Create it with module ca"
        ):
            act()
    assert os.listdir(empty_door.path) == []


def test_check_mode_before_there_is_an_authority_says_what_would_be(
    empty_door: Any, client: Any, tmp_path: Path
) -> None:
    assert empty_door.actions(client(), client("carl", present=False), check_mode=True) == ["issued", "unchanged"]
    assert empty_door.crl(check_mode=True).changed
    published = empty_door.publish(tmp_path / "public", check_mode=True)
    assert published.changes == ["ca.pem", "crl.pem", "identities.json", "denied.json"]
    assert os.listdir(tmp_path) == []


def test_check_mode_does_not_promise_what_the_run_cannot_do(empty_door: Any, client: Any, tmp_path: Path) -> None:
    os.mkdir(empty_door.path)
    (Path(empty_door.path) / "notes.txt").touch()
    for act in (
        lambda: empty_door.enrol(client(), check_mode=True),
        lambda: empty_door.crl(check_mode=True),
        lambda: empty_door.publish(tmp_path / "public", check_mode=True),
    ):
        with pytest.raises(MtlsError, match="neither empty nor an authority of this collection"):
            act()


@pytest.mark.parametrize("check_mode", [True, False])
@pytest.mark.parametrize(("passphrase", "says"), [(None, "no passphrase was given"), (b"wrong", "does not open")])
def test_a_wrong_or_missing_passphrase_changes_nothing(
    passphrase: bytes | None, says: str, check_mode: bool, empty_door: Any, client: Any
) -> None:
    empty_door.passphrase = b"geheim"
    empty_door.create()
    empty_door.enrol(client("bea"))
    before = empty_door.digest()
    empty_door.passphrase = passphrase
    for act in (
        lambda: empty_door.create(check_mode=check_mode),
        lambda: empty_door.enrol(client(), check_mode=check_mode),
        lambda: empty_door.crl(check_mode=check_mode),
    ):
        with pytest.raises(MtlsError, match=says) as caught:
            act()
        assert "geheim" not in str(caught.value)
        assert empty_door.digest() == before


def test_nothing_to_sign_needs_no_passphrase(empty_door: Any, client: Any) -> None:
    empty_door.passphrase = b"geheim"
    empty_door.create()
    empty_door.enrol(client())
    empty_door.crl()
    empty_door.passphrase = None
    assert empty_door.actions(client()) == ["unchanged"]
    assert not empty_door.crl().changed
    assert empty_door.revoke(client="alex")[0].newly


def test_a_key_of_another_authority_is_refused(door: Any, client: Any, tmp_path: Path) -> None:
    other = type(door)(str(tmp_path / "other"))
    other.create()
    shutil.copy(other.file("private", "ca.key.pem"), door.file("private", "ca.key.pem"))
    for act in (door.create, lambda: door.enrol(client()), door.crl):
        with pytest.raises(MtlsError, match=r"ca\.key\.pem is not the key of .*ca\.cert\.pem"):
            act()


def test_a_lost_serial_is_made_again(door: Any, client: Any) -> None:
    door.enrol(client())
    serial, others = door.file("serial"), door.digest()
    serial.unlink()
    assert door.create(check_mode=True).changes == [f"{serial} brought up to date"]
    assert not serial.exists()
    assert door.create().changes == [f"{serial} brought up to date"]
    assert len(serial.read_text()) > 30
    assert {name for name, what in door.digest().items() if others[name] != what} == {"serial"}
    assert door.create().changes == []


def test_a_lost_crl_number_is_not_made_again(door: Any) -> None:
    """Module crl restores it from the CRL, or asks the operator for it."""
    door.crl()
    door.file("crlnumber").unlink()
    assert door.create().changes == []
    assert not door.file("crlnumber").exists()
    assert door.later(days=20).crl().after.number == 2
    assert door.file("crlnumber").read_text() == "03\n"


@pytest.mark.parametrize("name", ["certs/ca.cert.pem", "private/ca.key.pem", "index.txt"])
@pytest.mark.parametrize("damage", [b"", b"garbage\n", b"\x00" * 1000, "half"])
def test_damaged_files_are_named_and_nothing_changes(name: str, damage: bytes | str, door: Any, client: Any) -> None:
    door.enrol(client("bea"))
    path = door.file(name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if damage == "half" else damage)
    before = door.digest()
    for check_mode in (True, False):
        with pytest.raises(MtlsError, match=str(path)):
            door.enrol(client(), check_mode=check_mode)
    assert door.digest() == before


def test_a_clock_outside_the_cas_validity_is_named(door: Any, client: Any) -> None:
    for wrong in (door.later(days=-1), door.later(days=4000)):
        with pytest.raises(MtlsError, match=r"is valid from .* and it is .* now. Set the clock"):
            wrong.enrol(client())


def test_a_certificate_that_a_killed_run_signed_comes_into_the_database(door: Any, client: Any) -> None:
    door.enrol(client("alex"), client("bea"))
    index = door.file("index.txt")
    rows = index.read_text().splitlines(keepends=True)
    index.write_text(rows[0])
    announce(door, "bea")
    door.enrol()
    assert index.read_text() == "".join(rows)


def announce(door: Any, name: str) -> None:
    """Set a client's record to its state while a certificate is being signed."""
    path = door.file("clients", name, "client.json")
    path.write_text(path.read_text().replace('"issuing": false', '"issuing": true'))


def test_a_database_that_lost_rows_is_not_filled_with_valid_ones(door: Any, client: Any, tmp_path: Path) -> None:
    """Only announced certificates get a row, because the others may have been revoked."""
    door.enrol(client("alex"), client("bea"), client("carl"))
    announce(door, "carl")
    door.revoke(client="alex")
    index = door.file("index.txt")
    rows = index.read_text().splitlines(keepends=True)
    for kept in ([], rows[:1], rows[1:]):
        index.write_text("".join(kept))
        announce(door, "carl")
        before = door.digest()
        for act in (
            lambda: door.enrol(client("alex"), client("new"), check_mode=True),
            lambda: door.enrol(client("alex"), client("new")),
            door.crl,
            lambda: door.crl(check_mode=True),
            door.listed,
        ):
            with pytest.raises(
                MtlsError, match=r"index\.txt lost rows: .*newcerts/.*\. Restore the newest .*index\.txt"
            ):
                act()
            assert door.digest() == before
    index.write_text("".join(rows))
    assert door.actions(client("bea")) == ["unchanged"]


def test_a_certificate_without_a_row_can_be_revoked(door: Any, client: Any) -> None:
    door.enrol(client("alex"), client("bea"))
    alex, bea = door.authority.rows
    door.file("index.txt").write_text("")
    for check_mode in (True, False):
        assert [one.newly for one in door.revoke(serial=alex.serial, check_mode=check_mode)] == [True]
    assert [(row.serial, row.status) for row in door.authority.rows] == [(alex.serial, "R")]
    with pytest.raises(MtlsError, match=rf"lost rows: .*{bea.serial}\.pem .*\(1 such in all\)"):
        door.crl()
    door.revoke(client="bea")
    assert door.crl().after.serials == {alex.serial, bea.serial}


def test_a_certificate_that_is_known_to_be_good_gets_its_row_from_openssl(door: Any, client: Any) -> None:
    door.enrol(client())
    (row,) = door.authority.rows
    door.file("index.txt").write_text("")
    door.openssl_ca("-valid", str(door.file("newcerts", f"{row.serial}.pem")))
    assert [one.serial for one in door.authority.rows] == [row.serial]
    assert door.actions(client()) == ["unchanged"]


def test_a_copied_certificate_is_not_taken_for_a_second_one(door: Any, client: Any) -> None:
    door.enrol(client())
    serial = door.authority.rows[0].serial
    shutil.copy(door.file("newcerts", f"{serial}.pem"), door.file("newcerts", "alex.pem"))
    before = door.file("index.txt").read_bytes()
    assert door.actions(client()) == ["unchanged"]
    assert door.file("index.txt").read_bytes() == before


def test_a_certificate_of_another_authority_in_newcerts_is_passed_over(door: Any, client: Any, tmp_path: Path) -> None:
    other = type(door)(str(tmp_path / "other"))
    other.create()
    other.enrol(client())
    shutil.copy(next(other.file("newcerts").iterdir()), door.file("newcerts"))
    door.enrol()
    assert door.authority.rows == []


def test_half_a_certificate_in_newcerts_is_named_with_what_to_do(door: Any, client: Any) -> None:
    door.file("newcerts", "AB.pem").write_text("-----BEGIN CERT")
    with pytest.raises(MtlsError, match=r"newcerts/AB\.pem is not a PEM certificate.*Remove"):
        door.enrol(client())


def git(tree: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", tree, *arguments], check=True, capture_output=True)


def test_an_open_git_work_tree_is_refused(empty_door: Any, tmp_path: Path) -> None:
    git(tmp_path, "init")
    for check_mode in (True, False):
        with pytest.raises(MtlsError, match=f"is in the git work tree {tmp_path}, which does not ignore it"):
            empty_door.create(check_mode=check_mode)
    assert not Path(empty_door.path).exists()
    (tmp_path / ".gitignore").write_text("/ca/\n")
    assert empty_door.create().changes == ["created"]
    (tmp_path / ".gitignore").unlink()
    with pytest.raises(MtlsError, match="does not ignore it"):
        empty_door.create()


def test_a_work_tree_behind_a_link_is_seen(empty_door: Any, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    git(tmp_path / "tree", "init")
    (tmp_path / "link").symlink_to(tmp_path / "tree")
    empty_door.path = str(tmp_path / "link" / "ca")
    with pytest.raises(MtlsError, match="git work tree"):
        empty_door.create()


def test_a_link_into_a_work_tree_is_seen_and_what_it_leads_to_is_asked_for(empty_door: Any, tmp_path: Path) -> None:
    inner = tmp_path / "tree" / "inner"
    inner.mkdir(parents=True)
    git(tmp_path / "tree", "init")
    (tmp_path / "link").symlink_to(inner)
    empty_door.path = str(tmp_path / "link" / "ca")
    with pytest.raises(MtlsError, match="git work tree"):
        empty_door.create()
    (tmp_path / "tree" / ".gitignore").write_text("/inner/ca/\n")
    assert empty_door.create().changes == ["created"]


@pytest.mark.parametrize(
    "ignored", ["private", "private/", "private*\n*.key", "/ca/private/\n/ca/clients/", "/ca/*\n!/ca/clients/"]
)
def test_a_work_tree_that_ignores_only_a_part_is_open(ignored: str, empty_door: Any, tmp_path: Path) -> None:
    git(tmp_path, "init")
    (tmp_path / ".gitignore").write_text("/ca/\n")
    empty_door.create()
    (tmp_path / ".gitignore").write_text(f"{ignored}\n")
    with pytest.raises(MtlsError, match="does not ignore it"):
        empty_door.create()


def test_where_git_is_missing_a_work_tree_is_refused(
    empty_door: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MtlsError, match="without git it is not known"):
        empty_door.create()


def test_a_key_of_a_killed_run_is_used_and_one_of_another_kind_refused(empty_door: Any) -> None:
    empty_door.create()
    empty_door.file("certs", "ca.cert.pem").unlink()
    key = empty_door.file("private", "ca.key.pem").read_bytes()
    with pytest.raises(MtlsError, match="is ECDSA P-256, not RSA 2048"):
        empty_door.create(key=KeySpec("rsa", size=2048))
    empty_door.create()
    assert empty_door.file("private", "ca.key.pem").read_bytes() == key
    assert open_authority(empty_door.path).signer(None, empty_door.now)


def test_rules_that_make_no_sense_are_refused() -> None:
    day = timedelta(days=1)
    for rules in (crl.Rules(30 * day, 5 * day, 7 * day), crl.Rules(7 * day, 7 * day, day)):
        with pytest.raises(MtlsError, match="do not fit together"):
            crl.check_rules(rules)
    assert crl.check_rules(crl.Rules(30 * day, 7 * day, 7 * day))


def test_directories_above_are_not_open_to_all_whatever_the_umask(empty_door: Any, tmp_path: Path) -> None:
    empty_door.path = str(tmp_path / "a" / "b" / "ca")
    former = os.umask(0)
    try:
        empty_door.create()
        empty_door.crl()
        empty_door.publish(tmp_path / "c" / "d" / "public")
    finally:
        os.umask(former)
    assert [(tmp_path / path).stat().st_mode & 0o777 for path in ("a", "a/b", "c", "c/d")] == [0o755] * 4


def test_a_key_behind_a_link_stays_there_when_its_passphrase_changes(empty_door: Any, tmp_path: Path) -> None:
    door = replace(empty_door, passphrase=b"one")
    door.create()
    link, real = door.file("private", "ca.key.pem"), tmp_path / "medium.pem"
    link.rename(real)
    link.symlink_to(real)
    assert replace(door, passphrase=b"two").create(previous_passphrase=b"one").changes
    assert link.is_symlink()
    replace(door, passphrase=b"two").authority.key(b"two")
    assert (real.stat().st_mode & 0o777, sorted(path.name for path in tmp_path.glob(".quiet*"))) == (0o600, [])
