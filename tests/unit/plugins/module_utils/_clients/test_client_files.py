# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test when a client's files are written, and that openssl and Python open the bundles."""

from __future__ import annotations

import hashlib
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509 import pkcs12 as bundle
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509.keys import KeySpec
from cryptography.hazmat.primitives.serialization import load_pem_private_key, pkcs12
from cryptography.x509 import load_pem_x509_certificate, load_pem_x509_certificates

PASSPHRASES = ["geheim", "sécret ñ €", "a b$c\"d'e\\f", "x" * 100]
BOTH = ("modern", "compat")


def directory(door: Any) -> Path:
    return door.file("clients", "alex")


def test_the_files_have_their_names_modes_and_links(door: Any, client: Any) -> None:
    door.enrol(client(bundle_profiles=BOTH))
    serial = door.authority.rows[0].serial
    stem = f"alex-{door.now + timedelta(days=365):%Y%m%d}-{serial[:8]}"
    endings = {"key": 0o600, "crt": 0o644, "chain.pem": 0o644, "p12": 0o600, "compat.p12": 0o600}
    expected = {f"{stem}.{ending}": mode for ending, mode in endings.items()}
    expected.update({"client.json": 0o600, "alex.passphrase": 0o600})
    files = {path.name: path.stat().st_mode & 0o777 for path in directory(door).iterdir() if not path.is_symlink()}
    assert files == expected
    links = {path.name: os.readlink(path) for path in directory(door).iterdir() if path.is_symlink()}
    assert links == {f"alex.{ending}": f"{stem}.{ending}" for ending in endings}
    assert directory(door).stat().st_mode & 0o777 == 0o700


def test_key_certificate_chain_and_bundle_belong_together(door: Any, client: Any) -> None:
    door.enrol(client(bundle_profiles=BOTH))
    key = load_pem_private_key((directory(door) / "alex.key").read_bytes(), None)
    certificate = load_pem_x509_certificate((directory(door) / "alex.crt").read_bytes())
    chain = load_pem_x509_certificates((directory(door) / "alex.chain.pem").read_bytes())
    passphrase = (directory(door) / "alex.passphrase").read_text().strip()
    assert key.public_key() == certificate.public_key()
    assert chain == [certificate, door.authority.certificate]
    assert door.authority.issued(door.authority.rows[0].serial) == certificate
    for ending in ("p12", "compat.p12"):
        opened = pkcs12.load_pkcs12((directory(door) / f"alex.{ending}").read_bytes(), passphrase.encode())
        assert opened.cert is not None
        assert opened.cert.certificate == certificate
        assert opened.cert.friendly_name == b"Alex"
        assert [extra.certificate for extra in opened.additional_certs] == [door.authority.certificate]
        assert opened.key is not None
        assert opened.key.public_key() == key.public_key()


@pytest.mark.parametrize("passphrase", PASSPHRASES)
@pytest.mark.parametrize("key", [KeySpec("ecdsa", curve="P-256"), KeySpec("rsa", size=2048)], ids=str)
def test_openssl_opens_the_bundles(passphrase: str, key: KeySpec, door: Any, client: Any, openssl: Any) -> None:
    door.enrol(client(common_name="Zoë", key=key, bundle_profiles=BOTH, bundle_passphrase=passphrase))
    for ending, options, algorithms in [
        ("p12", [], "PBES2, PBKDF2, AES-256-CBC, Iteration 20000, PRF hmacWithSHA256"),
        ("p12", ["-legacy"], "PBES2"),
        ("compat.p12", ["-legacy"], "pbeWithSHA1And3-KeyTripleDES-CBC, Iteration 20000"),
        ("compat.p12", [], "pbeWithSHA1And3-KeyTripleDES-CBC"),
    ]:
        path = str(directory(door) / f"alex.{ending}")
        printed = openssl("pkcs12", "-in", path, "-passin", "env:P", *options, "-info", "-nodes", P=passphrase)
        assert algorithms in printed
        # Programs that accept only the old ciphers accept only SHA-1 for the MAC.
        assert f"MAC: {'sha1' if ending == 'compat.p12' else 'sha256'}, Iteration" in printed
        assert printed.count("BEGIN CERTIFICATE") == 2
        assert printed.count("BEGIN PRIVATE KEY") == 1
        refused = openssl("pkcs12", "-in", path, "-passin", "pass:wrong", *options, "-nokeys", fails=True)
        assert "invalid password" in refused


def test_generated_passphrases_are_long_and_differ() -> None:
    made = {bundle.generate_passphrase() for _time in range(100)}
    assert len(made) == 100
    assert all(len(passphrase.replace("-", "")) == 24 for passphrase in made)


@pytest.mark.parametrize("passphrase", ["", "a\n", "\x00", "😀", "\ud800", "\x7f"])
def test_bundle_passphrases_that_a_dialog_cannot_take_are_refused(passphrase: str) -> None:
    with pytest.raises(MtlsError, match="client alex: bundle_passphrase") as caught:
        bundle.check_passphrase(passphrase, "alex")
    assert passphrase == "" or passphrase not in str(caught.value)


@pytest.mark.parametrize("passphrase", PASSPHRASES)
def test_other_bundle_passphrases_pass(passphrase: str) -> None:
    assert bundle.check_passphrase(passphrase, "alex") == passphrase


def test_a_changed_passphrase_rewrites_the_bundles_and_nothing_else(door: Any, client: Any) -> None:
    door.enrol(client(bundle_profiles=BOTH, bundle_passphrase="one"))
    before = door.digest()
    assert door.actions(client(bundle_profiles=BOTH, bundle_passphrase="two")) == ["updated"]
    after = door.digest()
    changed = {Path(name).name.partition(".")[2] for name in before if before[name] != after[name]}
    assert changed == {"p12", "compat.p12", "json"}
    assert set(before) == set(after)
    pkcs12.load_pkcs12((directory(door) / "alex.p12").read_bytes(), b"two")


def test_a_given_passphrase_takes_the_generated_one_away_and_back(door: Any, client: Any) -> None:
    door.enrol(client(bundle_profiles=("modern",)))
    assert (directory(door) / "alex.passphrase").exists()
    door.enrol(client(bundle_profiles=("modern",), bundle_passphrase="one"))
    assert not (directory(door) / "alex.passphrase").exists()
    assert door.actions(client(bundle_profiles=("modern",))) == ["updated"]
    generated = (directory(door) / "alex.passphrase").read_text().strip()
    pkcs12.load_pkcs12((directory(door) / "alex.p12").read_bytes(), generated.encode())


def test_the_record_tells_nothing_of_the_passphrase(door: Any, client: Any) -> None:
    door.enrol(client(bundle_profiles=("modern",), bundle_passphrase="geheim"))
    text = (directory(door) / "client.json").read_text()
    for form in (b"geheim", hashlib.sha256(b"geheim").hexdigest().encode(), b"Z2VoZWlt"):
        assert form.decode() not in text


@pytest.mark.parametrize("ending", ["crt", "chain.pem", "p12", "compat.p12"])
@pytest.mark.parametrize("what", ["file", "link"])
def test_what_is_missing_is_made_again(ending: str, what: str, door: Any, client: Any) -> None:
    wanted = client(bundle_profiles=BOTH)
    door.enrol(wanted)
    path = directory(door) / f"alex.{ending}"
    lost = path.resolve() if what == "file" else path
    lost.unlink()
    before = door.digest()
    predicted = door.enrol(wanted, check_mode=True)[0]
    assert door.digest() == before
    result = door.enrol(wanted)[0]
    assert (result.action, predicted.action) == ("updated", "updated")
    assert lost.name in result.reason
    assert result.reason == predicted.reason
    assert path.exists()
    assert len(door.authority.rows) == 1
    assert door.actions(wanted) == ["unchanged"]


def test_a_damaged_bundle_is_made_again(door: Any, client: Any) -> None:
    wanted = client(bundle_profiles=("modern",))
    door.enrol(wanted)
    (directory(door) / "alex.p12").resolve().write_bytes(b"garbage")
    assert door.actions(wanted) == ["updated"]


@pytest.mark.parametrize("taken", [["key"], ["key", "p12"], ["key", "p12", "passphrase"], ["key", "passphrase"]])
def test_a_key_taken_away_after_the_hand_over_is_not_missed(taken: list[str], door: Any, client: Any) -> None:
    wanted = client(bundle_profiles=("modern",))
    door.enrol(wanted)
    for ending in taken:
        (directory(door) / f"alex.{ending}").resolve().unlink()
    assert door.actions(wanted, check_mode=True) == ["unchanged"]
    assert door.actions(wanted) == ["unchanged"]
    assert door.later(days=340).actions(wanted) == ["renewed"]


def test_a_bundle_that_was_never_made_cannot_be_made_without_the_key(door: Any, client: Any) -> None:
    door.enrol(client(), client("bea"))
    (directory(door) / "alex.key").resolve().unlink()
    before = door.digest()
    for check_mode in (True, False):
        with pytest.raises(
            MtlsError, match=r"client alex: .* the private key .* is not here. Put the key back, or revoke"
        ):
            door.enrol(client("carl"), client(bundle_profiles=("modern",)), check_mode=check_mode)
    assert door.digest() == before


def test_a_key_of_another_certificate_is_not_bundled(door: Any, client: Any) -> None:
    door.enrol(client(), client("bea"))
    (directory(door) / "alex.key").resolve().write_bytes(door.file("clients", "bea", "bea.key").read_bytes())
    with pytest.raises(MtlsError, match=r"alex.* is not the key of the certificate"):
        door.enrol(client(bundle_profiles=("modern",)))


def test_a_profile_that_is_no_longer_asked_for_loses_its_link(door: Any, client: Any) -> None:
    door.enrol(client(bundle_profiles=BOTH))
    assert door.actions(client(bundle_profiles=("modern",))) == ["updated"]
    assert not (directory(door) / "alex.compat.p12").is_symlink()
    assert door.actions(client(bundle_profiles=("modern",))) == ["unchanged"]


def test_the_links_follow_a_renewal_and_old_files_stay(door: Any, client: Any) -> None:
    wanted = client(bundle_profiles=("modern",))
    door.enrol(wanted)
    old = (directory(door) / "alex.p12").resolve()
    door.later(days=340).enrol(wanted)
    assert (directory(door) / "alex.p12").resolve() != old
    assert old.exists()


def test_a_foreign_key_in_the_directory_is_left_alone(door: Any, client: Any) -> None:
    door.enrol(client())
    for name in ("other.key", "alex-laptop.key", "alex-20300101-0000000G.key"):
        (directory(door) / name).write_text("mine")
    door.later(days=340).enrol(client())
    assert {"other.key", "alex-laptop.key", "alex-20300101-0000000G.key"} <= set(os.listdir(directory(door)))


def test_plain_foreign_file_stays(door: Any, client: Any) -> None:
    door.enrol(client(bundle_profiles=("modern",)))
    mine = directory(door) / "alex.compat.p12"
    mine.write_bytes(b"made by hand")
    assert door.actions(client(bundle_profiles=("modern",))) == ["unchanged"]
    assert mine.read_bytes() == b"made by hand"
