# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that a changed passphrase re-encrypts the same key of an authority and changes nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509 import keys

OLD, NEW = b"old passphrase", "neue Losung ñ".encode()


def key_file(door: Any) -> Path:
    return door.file("private", "ca.key.pem")


def store_key(door: Any, form: str, openssl: Any) -> None:
    """Store the key in one of the forms that an operator can produce with openssl."""
    plain = str(door.file("plain.pem"))
    Path(plain).write_bytes(key_file(door).read_bytes())
    if form != "plain":
        options = {"PKCS #8": [], "traditional": ["-traditional"]}[form]
        openssl("pkey", "-in", plain, *options, "-aes256", "-passout", f"pass:{OLD.decode()}",
                "-out", str(key_file(door)))  # fmt: skip
        key_file(door).chmod(0o600)
    Path(plain).unlink()


@pytest.mark.parametrize("form", ["plain", "PKCS #8", "traditional"])
def test_the_same_key_gets_the_new_passphrase(form: str, door: Any, client: Any, openssl: Any) -> None:
    store_key(door, form, openssl)
    before = door.digest()
    changing = replace(door, passphrase=NEW)
    changed = [f"passphrase of {key_file(door)} changed"]
    predicted = changing.create(check_mode=True, previous_passphrase=OLD)
    assert predicted.changes == changed
    assert door.digest() == before

    outcome = changing.create(previous_passphrase=OLD)
    assert (outcome.changes, outcome.before, outcome.after) == (changed, predicted.before, predicted.after)
    after = door.digest()
    assert [name for name in after if after[name] != before.get(name)] == ["private/ca.key.pem"]
    assert after.keys() == before.keys()
    assert key_file(door).stat().st_mode & 0o777 == 0o600
    pem = key_file(door).read_bytes()
    assert pem.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert "hmacWithSHA256" in openssl("asn1parse", "-in", str(key_file(door)))
    key = keys.load_private(str(key_file(door)), NEW)
    assert key.public_key() == door.authority.certificate.public_key()
    for passphrase in (OLD, None):
        with pytest.raises(MtlsError):
            keys.load_private(str(key_file(door)), passphrase)

    for check_mode in (True, False):
        assert changing.create(previous_passphrase=OLD, check_mode=check_mode).changes == []
        assert changing.create(check_mode=check_mode).changes == []
    assert key_file(door).read_bytes() == pem
    assert changing.actions(client()) == ["issued"]


def test_a_key_without_encryption_needs_an_empty_previous_one(door: Any) -> None:
    changing = replace(door, passphrase=NEW)
    with pytest.raises(MtlsError, match="is not encrypted, but a passphrase was given"):
        changing.create()
    assert changing.create(previous_passphrase=b"").changes
    assert changing.create(previous_passphrase=b"").changes == []


@pytest.mark.parametrize("check_mode", [True, False])
@pytest.mark.parametrize(
    ("passphrase", "previous", "says"),
    [
        (NEW, b"wrong", "opens neither with passphrase nor with previous_passphrase. Set previous_passphrase"),
        (NEW, b"", "opens neither with passphrase nor with previous_passphrase"),
        (None, OLD, "previous_passphrase was given without passphrase"),
        (NEW, None, "does not open with the passphrase that was given"),
    ],
)
def test_wrong_ones_are_explained_and_change_nothing(
    passphrase: bytes | None, previous: bytes | None, says: str, check_mode: bool, empty_door: Any
) -> None:
    empty_door.passphrase = OLD
    empty_door.create()
    before = empty_door.digest()
    with pytest.raises(MtlsError, match=says) as caught:
        replace(empty_door, passphrase=passphrase).create(previous_passphrase=previous, check_mode=check_mode)
    assert empty_door.digest() == before
    assert "old passphrase" not in str(caught.value)
    assert "neue" not in str(caught.value)


def test_a_key_of_another_certificate_is_not_encrypted(door: Any) -> None:
    key_file(door).write_bytes(keys.private_pem(keys.generate(keys.KeySpec("ecdsa", curve="P-256")), OLD))
    before = door.digest()
    with pytest.raises(MtlsError, match="is not the key of"):
        replace(door, passphrase=NEW).create(previous_passphrase=OLD)
    assert door.digest() == before


@pytest.mark.parametrize("cut", [0, 40, -40])
def test_a_damaged_key_is_never_made_again(cut: int, empty_door: Any) -> None:
    empty_door.passphrase = OLD
    empty_door.create()
    key_file(empty_door).write_bytes(key_file(empty_door).read_bytes()[:cut])
    before = empty_door.digest()
    with pytest.raises(MtlsError):
        replace(empty_door, passphrase=NEW).create(previous_passphrase=OLD)
    assert empty_door.digest() == before


def test_it_means_nothing_where_the_authority_is_yet_to_be_made(empty_door: Any) -> None:
    empty_door.passphrase = NEW
    assert empty_door.create(previous_passphrase=OLD).changes == ["created"]
    keys.load_private(str(key_file(empty_door)), NEW)
