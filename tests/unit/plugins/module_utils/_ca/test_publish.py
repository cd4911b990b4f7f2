# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the format of the publication (docs/architecture/trust.md) and its generation."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca import publication_contents
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from cryptography import x509

FILES = ["ca.pem", "crl.pem", "denied.json", "identities.json", "trust.json"]


@pytest.fixture
def public(tmp_path: Path) -> Path:
    return tmp_path / "public"


def ready(door: Any, *clients: Any) -> Any:
    door.enrol(*clients)
    door.crl()
    return door


def read(public: Path, name: str) -> Any:
    return json.loads((public / name).read_text())


def test_the_files_are_what_the_architecture_says(door: Any, client: Any, public: Path, openssl: Any) -> None:
    door.enrol(client("alex", common_name="Zoë"), client("bea"), client("carl"))
    door.revoke("keyCompromise", client="carl")
    door.crl()
    outcome = door.publish(public)
    assert sorted(path.name for path in public.iterdir() if path.name != ".lock") == FILES
    alex, bea, carl = door.authority.rows
    path = str(public / "ca.pem")
    subject = openssl("x509", "-in", path, "-noout", "-subject", "-nameopt", "RFC2253")[len("subject=") : -1]
    digest = openssl("x509", "-in", path, "-noout", "-fingerprint", "-sha256").partition("=")[2].strip()

    def fingerprint_of(row: Any, algorithm: str) -> str:
        issued = door.authority.layout.new_certificate(row.serial)
        reported = openssl("x509", "-in", issued, "-noout", "-fingerprint", f"-{algorithm}").partition("=")[2]
        return str(reported).strip().replace(":", "").lower()

    def der_of(row: Any) -> str:
        return "".join(
            str(openssl("x509", "-in", door.authority.layout.new_certificate(row.serial))).splitlines()[1:-1]
        )

    def subject_of(row: Any) -> str:
        issued = door.authority.layout.new_certificate(row.serial)
        return str(openssl("x509", "-in", issued, "-noout", "-subject", "-nameopt", "RFC2253"))[len("subject=") : -1]

    end = (door.now + timedelta(days=365)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert read(public, "identities.json") == {
        "format": 1,
        "issuers": [{"id": 1, "subject": subject, "sha256": digest.replace(":", "").lower()}],
        "identities": [
            {"issuer": 1, "serial": row.serial, "name": name, "common_name": shown, "email": [f"{name}@example.org"],
             "roles": ["admin"], "not_after": end, "sha256": fingerprint_of(row, "sha256"), "sha1": fingerprint_of(row, "sha1"),
             "der": der_of(row), "subject": subject_of(row)}
            for row, name, shown in [(alex, "alex", "Zoë"), (bea, "bea", "Bea")]
        ],
    }  # fmt: skip
    revoked = {"issuer": 1, "serial": carl.serial, "reason": "keyCompromise",
               "revoked_at": door.now.strftime("%Y-%m-%dT%H:%M:%SZ")}  # fmt: skip
    assert read(public, "denied.json") == {"format": 1, "denied": [revoked]}
    digests = {name: hashlib.sha256((public / name).read_bytes()).hexdigest() for name in FILES[:-1]}
    assert read(public, "trust.json") == {"format": 1, "generation": outcome.generation, "files": digests}
    assert (public / "ca.pem").read_bytes() == door.file("certs", "ca.cert.pem").read_bytes()
    assert (public / "crl.pem").read_bytes() == door.file("crl", "ca.crl.pem").read_bytes()
    assert outcome.changes == ["ca.pem", "crl.pem", "identities.json", "denied.json"]
    assert outcome.generation == int(door.now.timestamp())


def test_a_file_that_holds_another_certificate_says_nothing_of_this_one(door: Any, client: Any, public: Path) -> None:
    """A fingerprint must belong to the certificate with the serial, by which it can be revoked."""
    door.enrol(client("alex"), client("bea"))
    door.crl()
    alex, bea = (Path(door.authority.layout.new_certificate(row.serial)) for row in door.authority.rows)
    alex.write_bytes(bea.read_bytes())
    facts = [publication_contents._certificate(door.authority, row.serial) for row in door.authority.rows]
    assert facts[0] == {}
    assert facts[1].keys() == {"sha256", "sha1", "der", "subject"}


def test_publication_has_no_secret_and_is_readable_for_every_user(door: Any, client: Any, public: Path) -> None:
    ready(door, client(bundle_profiles=("modern",), bundle_passphrase="geheim")).publish(public)
    assert public.stat().st_mode & 0o777 == 0o755
    for name in FILES:
        assert (public / name).stat().st_mode & 0o777 == 0o644
        assert "PRIVATE KEY" not in (public / name).read_text()
        assert "geheim" not in (public / name).read_text()


def test_a_second_run_changes_nothing_and_check_mode_foretells(door: Any, client: Any, public: Path, tree: Any) -> None:
    ready(door, client())
    predicted = door.publish(public, check_mode=True)
    assert not public.exists()
    outcome = door.publish(public)
    assert (predicted.changes, predicted.after) == (outcome.changes, outcome.after)
    before = tree(public)
    again = door.later(hours=1).publish(public)
    assert (again.changes, again.generation) == ([], outcome.generation)
    assert door.publish(public, check_mode=True).changes == []
    assert tree(public) == before


@pytest.mark.parametrize(
    ("change", "changes"),
    [
        (lambda door, client: door.enrol(client("bea")), ["identities.json"]),
        (lambda door, _client: (door.revoke(client="alex"), door.crl()), ["crl.pem", "identities.json", "denied.json"]),
        (lambda door, client: door.enrol(client(roles=())), ["identities.json"]),
        (lambda door, _client: door.later(days=20).crl(), ["crl.pem"]),
    ],
)
def test_every_change_raises_the_generation(
    change: Any, changes: list[str], door: Any, client: Any, public: Path
) -> None:
    first = ready(door, client()).publish(public)
    change(door, client)
    later = door.later(days=20) if changes == ["crl.pem"] else door
    predicted = later.publish(public, check_mode=True)
    outcome = later.publish(public)
    assert predicted.changes == outcome.changes == changes
    assert outcome.generation > first.generation
    assert read(public, "trust.json")["generation"] == outcome.generation


def test_the_generation_rises_even_when_the_clock_went_back_or_the_directory_was_lost(
    door: Any, client: Any, public: Path
) -> None:
    first = ready(door, client()).publish(public)
    door.enrol(client("bea"))
    second = door.later(minutes=-5).publish(public)
    assert second.generation == first.generation + 1
    for path in public.iterdir():
        path.unlink()
    assert door.later(minutes=5).publish(public).generation > second.generation


@pytest.mark.parametrize("name", FILES)
def test_a_lost_or_changed_file_is_published_again_with_a_higher_generation(
    name: str, door: Any, client: Any, public: Path
) -> None:
    first = ready(door, client()).publish(public)
    (public / name).unlink()
    second = door.later(seconds=5).publish(public)
    assert second.changes == [name]
    assert second.generation > first.generation
    if name != "trust.json":
        (public / name).write_bytes(b"\xff changed")
        assert door.publish(public).changes == [name]


def test_a_run_killed_between_the_files_and_the_manifest_is_completed(door: Any, client: Any, public: Path) -> None:
    first = ready(door, client()).publish(public)
    manifest = (public / "trust.json").read_bytes()
    door.enrol(client("bea"))
    door.publish(public)
    (public / "trust.json").write_bytes(manifest)
    again = door.publish(public)
    assert again.changes == ["trust.json"]
    assert again.generation > first.generation


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", "null", '{"generation": "7"}', '{"generation": true}', '{"generation": -1}', "\x00"]
)
def test_a_damaged_manifest_is_named(text: str, door: Any, client: Any, public: Path, tree: Any) -> None:
    ready(door, client()).publish(public)
    (public / "trust.json").write_text(text)
    before = tree(public)
    for check_mode in (True, False):
        with pytest.raises(MtlsError, match=r"trust\.json is damaged. Remove it"):
            door.publish(public, check_mode=check_mode)
    assert tree(public) == before


def test_a_crl_that_is_missing_behind_or_ends_too_soon_is_not_published(door: Any, client: Any, public: Path) -> None:
    door.enrol(client())
    with pytest.raises(MtlsError, match=r"no CRL signed by .*Write a new one with module crl"):
        door.publish(public)
    door.crl()
    with pytest.raises(MtlsError, match="it ends at"):
        door.later(days=24).publish(public)
    door.revoke(client="alex")
    with pytest.raises(MtlsError, match="revoked since"):
        door.publish(public)
    assert not public.exists()


def test_check_mode_takes_a_crl_that_is_due_for_written(door: Any, client: Any, public: Path) -> None:
    """In check mode, module crl only predicted the CRL."""
    ready(door, client()).publish(public)
    assert door.later(days=24).publish(public, check_mode=True).changes == ["crl.pem"]


def test_what_ended_is_no_identity_any_more_and_what_was_revoked_is_denied_for_ever(
    door: Any, client: Any, public: Path
) -> None:
    ready(door, client("alex", valid_for=timedelta(days=10)), client("bea", valid_for=timedelta(days=10)))
    door.revoke(client="bea")
    later = door.later(days=1000)
    later.crl()
    later.publish(public)
    assert read(public, "identities.json")["identities"] == []
    assert [entry["serial"] for entry in read(public, "denied.json")["denied"]] == [door.authority.rows[1].serial]
    assert len(x509.load_pem_x509_crl((public / "crl.pem").read_bytes())) == 1


def test_two_valid_certificates_of_a_client_are_both_identities_with_the_present_roles(
    door: Any, client: Any, public: Path
) -> None:
    door.enrol(client(email=("old@example.org",)))
    ready(door, client(roles=("viewer",))).publish(public)
    identities = read(public, "identities.json")["identities"]
    assert [entry["roles"] for entry in identities] == [["viewer"], ["viewer"]]
    assert [entry["email"] for entry in identities] == [["old@example.org"], ["alex@example.org"]]


def test_a_directory_that_overlaps_the_authority_is_refused(door: Any, client: Any, tmp_path: Path) -> None:
    ready(door, client())
    (tmp_path / "link").symlink_to(door.path)
    before = door.digest()
    for directory in (Path(door.path), door.file("public"), tmp_path, Path("/"), tmp_path / "link" / "public"):
        with pytest.raises(MtlsError, match="are one inside the other"):
            door.publish(directory)
    assert door.digest() == before


def test_a_directory_that_is_there_keeps_its_mode(door: Any, client: Any, public: Path) -> None:
    public.mkdir(mode=0o750)
    ready(door, client()).publish(public)
    assert public.stat().st_mode & 0o777 == 0o750


def test_a_file_in_the_way_is_named(door: Any, client: Any, public: Path) -> None:
    public.write_text("file")
    with pytest.raises(MtlsError, match=f"{public} is not a directory"):
        ready(door, client()).publish(public)


def test_leftovers_of_a_killed_run_are_cleared(door: Any, client: Any, public: Path) -> None:
    ready(door, client()).publish(public)
    (public / ".quietdoor-tmp-abc").write_text("half")
    door.publish(public)
    assert ".quietdoor-tmp-abc" not in os.listdir(public)
