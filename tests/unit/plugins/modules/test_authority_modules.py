# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the modules of the authority: bad input fails with a clear error, and secrets stay secret."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import resource
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from support import programs

if TYPE_CHECKING:
    from collections.abc import Callable

AUTHORITY_PASSPHRASE = "Correct-Horse-Battery-1"
FIRST_PASSPHRASE = "Former-Mule-5"
BUNDLE_PASSPHRASE = "Staple-Zwölf-2"
ARCHIVE_PASSPHRASE = "Harbour-Größe-Lamp-4"
CA = {"common_name": "Test CA", "key": {"type": "ecdsa"}}
ALEX = {"name": "alex", "email": ["alex@example.org"]}
BEA = {"name": "bea", "bundle_passphrase": BUNDLE_PASSPHRASE}


class Directory:
    """An authority on disk that only the modules change."""

    def __init__(self, root: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self.capture = capture
        self.path = str(root / "ca")

    def run(self, name: str, *, check_mode: bool = False, **options: Any) -> dict[str, Any]:
        """Run a module in this process and return what it returned."""
        module = importlib.import_module(f"ansible_collections.quietdoor.mtls.plugins.modules.{name}")
        arguments = {"path": self.path, "_ansible_check_mode": check_mode, "_ansible_diff": True, **options}
        told: list[str] = []
        with pytest.MonkeyPatch.context() as patch, patch_module_args(arguments):
            # In one process Ansible prints each warning only once, so another test may have printed it.
            patch.setattr(AnsibleModule, "warn", lambda _self, text: told.append(text))
            with pytest.raises(SystemExit):
                module.main()
        result: dict[str, Any] = {**json.loads(self.capture.readouterr().out), "warnings": told}
        assert AUTHORITY_PASSPHRASE not in str(result.get("msg"))
        return result

    def sign(self, *clients: dict[str, Any], **options: Any) -> dict[str, Any]:
        """Run client_certs."""
        return self.run("client_certs", passphrase=AUTHORITY_PASSPHRASE, clients=list(clients), **options)

    def digest(self) -> dict[str, str]:
        """Every file with its mode and contents, locks aside."""
        return {
            str(path.relative_to(self.root)): f"{path.lstat().st_mode:o} "
            + (hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "")
            for path in sorted(self.root.rglob("*"))
            if path.name != ".lock"
        }


@pytest.fixture
def empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Directory:
    return Directory(tmp_path, capsys)


@pytest.fixture
def made(empty: Directory) -> Directory:
    assert empty.run("ca", passphrase=AUTHORITY_PASSPHRASE, **CA)["changed"]
    assert empty.sign(BEA)["changed"]
    assert empty.run("crl", passphrase=AUTHORITY_PASSPHRASE)["changed"]
    return empty


def refused(result: dict[str, Any], says: str) -> None:
    assert result.get("failed"), result
    message = result["msg"]
    assert re.search(says, message), message
    assert "Traceback" not in message
    assert len(message) < 700
    assert message.isprintable()


def test_a_successor_looks_after_its_predecessor(made: Directory) -> None:
    new = str(made.root / "new")
    at = {"path": new, "predecessors": [made.path]}
    gone = {"name": "bea", "state": "revoked"}
    made.sign(ALEX)
    before = made.digest()
    told = made.sign(ALEX, gone, check_mode=True, **at)
    assert [(one["path"], one["client"]) for one in told["retired"]] == [(made.path, "bea")]
    refused(made.sign(ALEX, gone, **at), "new is not an authority")
    assert made.digest() == before, "without a successor nothing is taken from anybody"

    made.run("ca", path=new, passphrase=AUTHORITY_PASSPHRASE, common_name="New CA", key={"type": "ecdsa"})
    done = made.sign(ALEX, **at)
    assert (done["changed"], done["retired"], done["unlisted"]) == (True, [], ["bea"])
    assert "Not on the roster, but with a valid certificate: bea." in done["warnings"][0]
    done = made.sign(ALEX, purge=True, **at)
    (retired,) = done["retired"]
    assert (retired["client"], retired["reason"], done["unlisted"]) == ("bea", "cessationOfOperation", [])
    assert done["diff"]["after"][f"{made.path}: {retired['serial']}"] == "revoked (cessationOfOperation), bea"
    assert [one["action"] for one in done["clients"]] == ["unchanged", "revoked"]
    assert not made.sign(ALEX, purge=True, **at)["changed"]
    done = made.sign(ALEX, overlap="0s", **at)
    assert [(one["client"], one["reason"]) for one in done["retired"]] == [("alex", "superseded")]
    again = made.sign(ALEX, overlap="0s", **at)
    assert (again["changed"], again["warnings"]) == (False, [])
    by_name = made.run("revocation", client="alex", **at)["revoked"]
    assert [(one["path"], one["newly"]) for one in by_name] == [(new, True), (made.path, False)]


BAD_CLIENTS = [
    ([{"name": 'a; }"\n'}], r"clients: entry 2: name 'a; }\"\\n' is not a valid client name. Use 1 to 64"),
    ([{"name": "x" * 10_000}], r"\(10000 characters\) is not a valid client name"),
    ([{"name": "a\x00b"}], "is not a valid client name"),
    ([{"name": "\u202exela"}], "is not a valid client name"),
    ([{"name": "\u0430lex"}], "is not a valid client name"),
    ([{"name": ""}], "is not a valid client name"),
    ([ALEX, ALEX], "alex is on the roster more than once"),
    ([ALEX, {"name": "ALEX"}], "alex is on the roster more than once"),
    ([{"name": "Bea"}], "Bea differs only in case from bea, which has certificates"),
    ([ALEX | {"email": ["nobody"]}], "client alex: 'nobody' is not an e-mail address"),
    ([ALEX | {"email": ["x" * 10_000 + "@example.org"]}], "client alex: .* is not an e-mail address"),
    ([ALEX | {"common_name": "\u202ealex"}], "client alex: common_name"),
    ([ALEX | {"common_name": "x" * 10_000}], "client alex: common_name: .* is too long"),
    ([ALEX | {"organization": "a\x00b"}], "client alex: organization"),
    ([ALEX | {"roles": ["a,b"]}], "client alex: role"),
    ([ALEX | {"valid_for": "for ever"}], "client alex: valid_for: 'for ever' is not a duration"),
    ([ALEX | {"valid_for": "1s"}], "client alex: valid_for is shorter than a minute"),
    ([ALEX | {"bundle_passphrase": ""}], "client alex: bundle_passphrase is empty"),
    ([ALEX | {"bundle_passphrase": "a\nb"}], "client alex: bundle_passphrase"),
    ([ALEX | {"key": {"type": "rsa", "curve": "P-256"}}], "key: type rsa takes size only"),
    ([ALEX | {"key": {"type": "ed25519"}}], "value of type must be one of: rsa, ecdsa"),
    ([ALEX | {"reason": "certificateHold"}], "value of reason must be one of"),
    ([ALEX | {"state": "absent"}], "value of state must be one of: present, revoked"),
]


@pytest.mark.parametrize("check_mode", [True, False])
@pytest.mark.parametrize(("clients", "says"), BAD_CLIENTS)
def test_a_bad_roster_changes_nothing(clients: Any, says: str, check_mode: bool, made: Directory) -> None:
    before = made.digest()
    refused(made.sign({"name": "good"}, *clients, check_mode=check_mode), says)
    assert made.digest() == before


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def garble(path: Path) -> None:
    path.write_bytes(b"\x00\xff garbage\n")


def put_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [cut, garble, Path.unlink, put_directory])
@pytest.mark.parametrize("name", ["index.txt", "certs/ca.cert.pem", "private/ca.key.pem"])
def test_a_damaged_authority_is_named_and_left_as_it_is(
    name: str, damage: Callable[[Path], Any], made: Directory
) -> None:
    path = Path(made.path, name)
    damage(path)
    before = made.digest()
    for module, options in [
        ("client_certs", {"clients": [ALEX], "passphrase": AUTHORITY_PASSPHRASE}),
        ("crl", {"renew_before": "59d", "valid_for": "60d", "passphrase": AUTHORITY_PASSPHRASE}),
        ("ca", {"passphrase": AUTHORITY_PASSPHRASE, **CA}),
    ]:
        if name == "index.txt" and damage is Path.unlink and module == "ca":
            continue  # it says the same in other words, see test_authority.py
        refused(made.run(module, **options), re.escape(made.path))
        assert made.digest() == before


@pytest.mark.parametrize("check_mode", [True, False])
@pytest.mark.parametrize(
    ("passphrase", "says"),
    [(None, "is encrypted and no passphrase was given. Set the option passphrase"), ("wrong", "does not open with"),
     ("", "passphrase is empty"), ("a\nb", "has a control character"), ("x" * 2000, "longer than 1023 bytes")],
)  # fmt: skip
def test_a_passphrase_that_does_not_open_the_key_changes_nothing(
    passphrase: str | None, says: str, check_mode: bool, made: Directory
) -> None:
    before = made.digest()
    for module, options in [
        ("ca", CA),
        ("client_certs", {"clients": [ALEX]}),
        ("crl", {"renew_before": "59d", "valid_for": "60d"}),
    ]:
        refused(made.run(module, check_mode=check_mode, passphrase=passphrase, **options), says)
        assert made.digest() == before


def test_a_file_in_the_way_is_named_and_nothing_is_half_done(made: Directory) -> None:
    Path(made.path, "clients", "alex").write_text("a file")
    before = made.digest()
    refused(
        made.sign({"name": "good"}, {"name": "bea", "state": "revoked"}, ALEX),
        "clients/alex is not a directory. Move it out of the way",
    )
    Path(made.path, "clients", "good").rmdir()
    assert made.digest() == before


def test_a_revocation_does_not_wait_for_an_issue_that_fails(made: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_arguments: object) -> None:
        raise OSError(28, "No space left on device", "key")

    monkeypatch.setattr("ansible_collections.quietdoor.mtls.plugins.module_utils._clients.enrol.generate", fails)
    refused(made.sign(ALEX, {"name": "bea", "state": "revoked"}), "No space left on device")
    (entry,) = made.run("certs_info")["certificates"]
    assert (entry["name"], entry["status"]) == ("bea", "revoked")


def test_a_link_to_nowhere_in_place_of_the_database_is_named(made: Directory) -> None:
    index = Path(made.path, "index.txt")
    index.rename(index.with_name("elsewhere"))
    index.symlink_to("/nowhere/index.txt")
    refused(made.sign(ALEX), "index.txt is missing")


def test_a_full_disk_loses_nothing_and_the_next_run_completes(made: Directory) -> None:
    """A limit on the size of files simulates a full disk: index.txt, the last of many files, cannot be written."""
    index = Path(made.path, "index.txt")
    many = [{"name": f"client{number}", "bundle_profiles": []} for number in range(40)]
    assert made.sign(*many)["changed"]
    rows = index.read_text()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert len(rows) > 4000
    resource.setrlimit(resource.RLIMIT_FSIZE, (3900, limits[1]))
    try:
        # Python ignores SIGXFSZ, so the write fails with EFBIG.
        result = made.sign(ALEX)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    refused(result, "File too large. Correct that and run again")
    assert index.read_text() == rows
    again = made.sign(ALEX)
    assert again["clients"][0]["action"] in ("issued", "updated")
    assert index.read_text().startswith(rows)
    assert index.read_text().count("/CN=alex\n") == 1
    assert not made.sign(ALEX, *many)["changed"]
    assert not [name for name in made.digest() if ".quietdoor-tmp-" in name]


def test_check_mode_and_run_return_the_same(empty: Directory) -> None:
    """Check mode predicts the certificate of a client, except for the values that only signing provides."""
    empty.run("ca", **CA)
    for clients in ([ALEX], [ALEX, {"name": "bea"}], [ALEX | {"roles": ["x"]}], [ALEX | {"state": "revoked"}], [ALEX]):
        predicted = empty.run("client_certs", check_mode=True, clients=clients)
        result = empty.run("client_certs", clients=clients)
        assert predicted["changed"]
        assert predicted["diff"] == result["diff"]
        for before, after in zip(predicted["clients"], result["clients"]):
            assert {**before, "serial": 0, "not_after": 0} == {**after, "serial": 0, "not_after": 0}


def test_a_play_in_check_mode_on_a_fresh_machine_runs_through(empty: Directory) -> None:
    assert empty.run("ca", check_mode=True, **CA)["changed"]
    assert empty.run("client_certs", check_mode=True, clients=[ALEX])["clients"][0]["action"] == "issued"
    assert empty.run("crl", check_mode=True)["changed"]
    assert empty.run("publication", check_mode=True, publish_path=f"{empty.root}/public")["changed"]
    assert empty.run("certs_info", check_mode=True, query="[].name")["result"] == []
    refused(empty.run("certs_info"), "is not an authority")
    assert empty.digest() == {}


BACKUP = {"archive_passphrase": ARCHIVE_PASSPHRASE}


def test_a_backup_through_the_module(made: Directory) -> None:
    archive = str(made.root / "archive")
    key = {"passphrase": AUTHORITY_PASSPHRASE}
    for check_mode in (True, False, True, False):
        result = made.run("ca_backup", check_mode=check_mode, archive=archive, **BACKUP, **key)
        assert result["changed"] == bool(result["reason"]) == bool(result["diff"]["after"])
        assert (result["subject"], result["certificates"], result["key_opened"]) == ("CN=Test CA", 1, True)
    assert not result["changed"]
    before = made.digest()
    verified = made.run("ca_backup", path=None, archive=archive, state="verified", **BACKUP)
    assert (verified["changed"], verified["key_opened"], verified["crl_number"]) == (False, False, 1)
    assert made.digest() == before
    again = str(made.root / "again")
    for check_mode, changes in ((True, ["restored"]), (False, ["restored"]), (True, []), (False, [])):
        result = made.run(
            "ca_backup", check_mode=check_mode, path=again, archive=archive, state="restored", **BACKUP, **key
        )
        assert (result["changes"], result["changed"]) == (changes, bool(changes))
    made.path = again
    assert not made.run("ca", **key, **CA)["changed"]


@pytest.mark.parametrize("check_mode", [True, False])
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"archive_passphrase": "tiny"}, "archive_passphrase is shorter than 12 characters"),
        ({"archive_passphrase": ""}, "archive_passphrase is shorter than 12 characters"),
        ({"passphrase": "wrong"}, "does not open with the passphrase"),
        ({"passphrase": ""}, "passphrase is empty"),
        ({"archive": ""}, "archive: '' is not an absolute path"),
        ({"archive": "/nowhere/x"}, "The directory /nowhere of the archive does not exist"),
        ({"path": None}, "path: (None|'') is not an absolute path"),
        ({"state": "verified"}, "archive cannot be read"),
        ({"state": "restored"}, "archive cannot be read"),
        ({"state": "absent"}, "value of state must be one of"),
    ],
)
def test_a_backup_that_cannot_be_changes_nothing(
    options: dict[str, Any], says: str, check_mode: bool, made: Directory
) -> None:
    before = made.digest()
    archive = {"archive": str(made.root / "archive"), **BACKUP}
    refused(made.run("ca_backup", check_mode=check_mode, **{**archive, **options}), says)
    assert made.digest() == before


def played(play: Path, *options: str) -> str:
    """Run a play on this machine, which must succeed, and return the output of Ansible."""
    interpreter = f"ansible_python_interpreter={programs.module_interpreter()}"
    done = programs.ansible_playbook("-i", "localhost,", "-c", "local", *options, "-e", interpreter, str(play))
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    return output


def test_no_module_prints_a_secret_at_any_verbosity(tmp_path: Path) -> None:
    """Passphrases and keys are not in the output of a real play with -vvv and --diff, run more than once."""
    clients = [
        {**ALEX, "bundle_passphrase": BUNDLE_PASSPHRASE, "bundle_profiles": ["modern", "compat"]},
        {"name": "bea"},
    ]
    common = {"path": str(tmp_path / "ca"), "passphrase": AUTHORITY_PASSPHRASE}
    archive = {"archive": str(tmp_path / "archive"), "archive_passphrase": ARCHIVE_PASSPHRASE}
    tasks: list[dict[str, Any]] = [
        {"quietdoor.mtls.ca": {**common, **CA, "passphrase": FIRST_PASSPHRASE}, "ignore_errors": True},
        {"quietdoor.mtls.ca": {**common, **CA, "previous_passphrase": FIRST_PASSPHRASE}},
        {"quietdoor.mtls.client_certs": {**common, "clients": clients}},
        {"quietdoor.mtls.client_certs": {**common, "passphrase": "Wrong-Pony-3", "clients": [{"name": "carl"}]},
         "ignore_errors": True},
        {"quietdoor.mtls.revocation": {"path": common["path"], "client": "bea"}},
        {"quietdoor.mtls.crl": common},
        {"quietdoor.mtls.publication": {"path": common["path"], "publish_path": str(tmp_path / "public")}},
        {"quietdoor.mtls.certs_info": {"path": common["path"]}},
        {"quietdoor.mtls.ca_backup": {**common, **archive}},
        {"quietdoor.mtls.ca_backup": {**common, **archive, "state": "verified"}},
        {"quietdoor.mtls.ca_backup": {**common, **archive, "path": str(tmp_path / "again"), "state": "restored"},
         "ignore_errors": True},
        {"quietdoor.mtls.ca_backup": {**archive, "archive_passphrase": "Wrong-Ladder-4", "state": "verified"},
         "ignore_errors": True},
    ]  # fmt: skip
    for index, task in enumerate(tasks):
        task.update({"register": f"result{index}"})
    shown = [f"{{{{ result{index} }}}}" for index in range(len(tasks))]
    tasks.append({"ansible.builtin.debug": {"msg": shown}})
    play = tmp_path / "play.yml"
    play.write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    for _time in range(2):
        output = played(play, "-vvv", "--diff")
        assert "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER" in output
        generated = (tmp_path / "ca" / "clients" / "bea" / "bea.passphrase").read_text().strip()
        for secret in (
            AUTHORITY_PASSPHRASE,
            FIRST_PASSPHRASE,
            BUNDLE_PASSPHRASE,
            ARCHIVE_PASSPHRASE,
            "Wrong-Pony-3",
            "Wrong-Ladder-4",
            generated,
            "PRIVATE KEY",
        ):
            assert secret not in output
            assert json.dumps(secret)[1:-1] not in output
    for path in tmp_path.joinpath("ca").rglob("*"):
        if path.is_file() and not path.is_symlink() and path.suffix not in (".passphrase",):
            assert AUTHORITY_PASSPHRASE.encode() not in path.read_bytes()
            assert BUNDLE_PASSPHRASE.encode() not in path.read_bytes()


def request() -> str:
    """Return a CSR from openssl, whose key is not kept."""
    command = ["openssl", "req", "-new", "-nodes", "-subj", "/CN=x", "-keyout", "/dev/null"]
    command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_csr_given_as_text_and_as_a_file(made: Directory) -> None:
    text = request()
    file = made.root / "alex.csr"
    file.write_text(text)
    as_text, as_file = [BEA, ALEX | {"csr": text}], [BEA, ALEX | {"csr": str(file)}]
    before = made.digest()
    predicted = made.sign(*as_text, check_mode=True)
    assert made.digest() == before
    assert [client["action"] for client in predicted["clients"]] == ["unchanged", "issued"]
    assert [client["action"] for client in made.sign(*as_text)["clients"]] == ["unchanged", "issued"]
    done = made.digest()
    assert not [name for name in done if re.search(r"clients/alex/.*\.(key|p12|passphrase)$", name)]
    assert not made.sign(*as_file)["changed"]
    assert not made.sign(*as_file, check_mode=True)["changed"]
    assert made.digest() == done
    file.unlink()
    refused(made.sign(*as_file), "client alex: csr .* cannot be read")
    assert made.sign(BEA, ALEX | {"csr": str(file), "state": "revoked"})["changed"]


def test_csr_with_a_revoked_key_is_a_warning_and_delays_no_client(made: Directory) -> None:
    alex = ALEX | {"csr": request()}
    made.sign(alex)
    assert made.run("revocation", client="alex", reason="keyCompromise")["changed"]
    result = made.sign(alex, BEA, {"name": "carl"})
    assert [client["action"] for client in result["clients"]] == ["unchanged", "unchanged", "issued"]
    assert re.search(r"client alex: it gets no new certificate: .* of client alex, revoked \(keyCompromise\): it needs a new key",
                     str(result["warnings"]))  # fmt: skip
    assert not made.sign(alex, BEA, {"name": "carl"})["changed"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"csr": ""}, "client alex: csr '' is neither a CSR in PEM nor a full path"),
        ({"csr": "x" * 10_000}, r"client alex: csr .*\(10000 characters\) is neither"),
        ({"csr": "/etc/hostname"}, "client alex: csr is not one CSR in PEM"),
        ({"csr": "-----BEGIN PRIVATE KEY-----"}, "client alex: csr has a private key in it"),
        ({"csr": "/x", "key": {"type": "rsa"}}, "client alex: csr and key cannot be combined"),
        ({"csr": "/x", "bundle_profiles": ["compat"]}, "client alex: csr and bundle_profiles cannot be combined"),
        ({"csr": "/x", "bundle_passphrase": "y"}, "client alex: csr and bundle_passphrase cannot be combined"),
    ],
)
def test_a_bad_csr_changes_nothing(changes: dict[str, Any], says: str, made: Directory) -> None:
    before = made.digest()
    for check_mode in (True, False):
        refused(made.sign({"name": "good"}, ALEX | changes, check_mode=check_mode), says)
    assert made.digest() == before


NOTHING = [
    {"clients": None},
    {"clients": [None]},
    {"clients": [{}]},
    {"clients": [{"name": None}]},
    {"clients": [ALEX | {"email": None}]},
    {"clients": [ALEX | {"email": [None]}]},
    {"clients": [ALEX | {"roles": [None]}]},
    {"clients": [ALEX | {"roles": None}]},
    {"clients": [ALEX | {"state": None}]},
    {"clients": [ALEX | {"reason": None}]},
    {"clients": [ALEX | {"key": {"type": None}}]},
    {"clients": [ALEX | {"bundle_profiles": None}]},
    {"clients": [ALEX | {"bundle_profiles": [None]}]},
    {"clients": [ALEX], "bundle_profiles": None},
    {"clients": [ALEX], "key": {"type": None}},
    {"clients": [ALEX], "valid_for": None},
    {"clients": [ALEX], "overlap": None},
    {"clients": [ALEX], "path": None},
    {"clients": [ALEX], "purge_limit": None},
    {"clients": [ALEX], "purge_limit": -1},
]


@pytest.mark.parametrize("options", NOTHING, ids=str)
def test_null_where_a_value_belongs_is_explained(options: dict[str, Any], made: Directory) -> None:
    before = made.digest()
    refused(made.run("client_certs", **{"passphrase": AUTHORITY_PASSPHRASE, **options}), ".")
    assert made.digest() == before


def test_null_is_as_good_as_left_out_where_nothing_has_to_stand(made: Directory) -> None:
    options = ("common_name", "organization", "valid_for", "key", "csr", "bundle_passphrase")
    made.sign(BEA, ALEX)
    assert not made.sign(BEA, ALEX | dict.fromkeys(options))["changed"]


def test_who_is_not_on_the_roster_is_named_or_purged(made: Directory) -> None:
    result = made.sign(ALEX)
    assert result["unlisted"] == ["bea"]
    assert "Not on the roster, but with a valid certificate: bea." in str(result["warnings"])
    before = made.digest()
    refused(made.sign(ALEX, purge=True, purge_limit=0), "purge_limit is 0: bea. Put the clients that should stay back")
    refused(made.sign(purge=True), r"purge would revoke every client \(alex, bea\)")
    predicted = made.sign(ALEX, purge=True, check_mode=True)
    assert made.digest() == before
    result = made.sign(ALEX, purge=True)
    assert result["changed"]
    assert result["unlisted"] == []
    assert [(client["name"], client["action"]) for client in result["clients"]] == [
        ("alex", "unchanged"),
        ("bea", "revoked"),
    ]
    assert (predicted["clients"], predicted["diff"]) == (result["clients"], result["diff"])
    assert not made.sign(ALEX, purge=True)["changed"]


def test_a_new_passphrase_keeps_the_key(made: Directory) -> None:
    before = made.digest()
    options = {**CA, "passphrase": "Brand-New-Donkey-4", "previous_passphrase": AUTHORITY_PASSPHRASE}
    predicted = made.run("ca", check_mode=True, **options)
    assert made.digest() == before
    result = made.run("ca", **options)
    assert predicted["changed"]
    assert predicted["passphrase_changed"]
    # Between the two a second may have passed.
    assert {**predicted, "days_left": result["days_left"]} == result
    assert "Donkey" not in str(result["diff"])
    after = made.digest()
    assert [name for name in after if after[name] != before[name]] == ["ca/private/ca.key.pem"]
    again = made.run("ca", **options)
    assert not again["changed"]
    assert not again["passphrase_changed"]
    refused(made.sign(ALEX), "does not open with the passphrase")
    assert made.run("client_certs", passphrase="Brand-New-Donkey-4", clients=[ALEX])["changed"]


@pytest.mark.parametrize("previous", [None, AUTHORITY_PASSPHRASE], ids=["no encryption", "another passphrase"])
def test_role_changes_the_passphrase_and_check_mode_reports_it(previous: str | None, tmp_path: Path) -> None:
    common: dict[str, Any] = {"authority_path": str(tmp_path / "ca"), "authority_root": CA}
    first = {**common, "authority_roster": [ALEX], **({"authority_passphrase": previous} if previous else {})}
    second = {
        **common,
        "authority_roster": [ALEX, {"name": "new"}],
        "authority_passphrase": "Brand-New-Donkey-4",
        "authority_previous_passphrase": previous or "",
    }

    def run(variables: dict[str, Any], *options: str) -> str:
        play = tmp_path / "play.yml"
        play.write_text(
            yaml.safe_dump(
                [
                    {
                        "hosts": "localhost",
                        "gather_facts": False,
                        "vars": variables,
                        "roles": ["quietdoor.mtls.authority"],
                    }
                ]
            )
        )
        return played(play, "--diff", *options)

    assert "failed=0" in run(first)
    assert re.search("changed=3 .*failed=0", run(second, "--check"))
    output = run(second)
    assert re.search("changed=3 .*failed=0", output)
    assert "Donkey" not in output
    assert "PRIVATE KEY" not in output
    assert re.search("changed=0 .*failed=0", run(second))
