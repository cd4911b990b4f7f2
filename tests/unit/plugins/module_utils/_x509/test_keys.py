# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test how private keys are stored and loaded, and the errors for keys that do not open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509 import keys
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509.keys import KeySpec
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

P256 = KeySpec("ecdsa", curve="P-256")
SPECS = [P256, KeySpec("ecdsa", curve="P-384"), KeySpec("rsa", size=2048)]
PASSPHRASE = "sécret $(x) 'q\" \\"


def written(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("passphrase", [None, PASSPHRASE.encode()], ids=["plain", "encrypted"])
def test_key_is_read_by_the_modules_and_by_openssl(
    spec: KeySpec, passphrase: bytes | None, tmp_path: Path, openssl: Any
) -> None:
    key = keys.generate(spec)
    path = written(tmp_path / "ca.key", keys.private_pem(key, passphrase))
    assert keys.load_private(path, passphrase).public_key() == key.public_key()
    assert keys.spec_of(key) == spec
    printed = openssl("pkey", "-in", path, "-passin", "env:SECRET", "-noout", "-text", SECRET=PASSPHRASE)
    assert str(spec.size or spec.curve) in printed


def test_an_encrypted_key_is_pbes2_with_a_kdf_that_costs_an_attacker_something(tmp_path: Path, openssl: Any) -> None:
    path = written(tmp_path / "ca.key", keys.private_pem(keys.generate(P256), b"secret"))
    info = openssl("asn1parse", "-in", path)
    assert ":PBES2" in info
    assert ":PBKDF2" in info
    assert ":hmacWithSHA256" in info
    assert ":aes-256-cbc" in info
    rounds = [int(line.rpartition(":")[2], 16) for line in info.splitlines() if "INTEGER" in line]
    assert rounds == [keys.KDF_ROUNDS]
    assert keys.KDF_ROUNDS >= 600_000
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in Path(path).read_bytes()
    openssl("asn1parse", "-in", path, "-strictpem")


def test_two_encryptions_of_one_key_share_neither_salt_nor_iv() -> None:
    key = keys.generate(P256)
    assert keys.private_pem(key, b"secret")[60:200] != keys.private_pem(key, b"secret")[60:200]


def problem(path: str, passphrase: bytes | None) -> str:
    with pytest.raises(MtlsError) as caught:
        keys.load_private(path, passphrase)
    message = str(caught.value)
    assert path in message
    assert "secret" not in message
    return message


def test_a_key_that_does_not_open_is_explained(tmp_path: Path) -> None:
    path = written(tmp_path / "ca.key", keys.private_pem(keys.generate(P256), b"secret"))
    assert "no passphrase was given" in problem(path, None)
    assert "does not open with the passphrase" in problem(path, b"secrets")


def test_a_passphrase_for_a_key_without_one_is_explained(tmp_path: Path) -> None:
    path = written(tmp_path / "ca.key", keys.private_pem(keys.generate(P256)))
    assert "is not encrypted" in problem(path, b"secret")


def test_a_missing_key_is_explained(tmp_path: Path) -> None:
    assert "cannot be read" in problem(str(tmp_path / "ca.key"), None)


@pytest.mark.parametrize("passphrase", [None, b"secret"])
@pytest.mark.parametrize("cut", [0, 1, 30, 100, -30, -10])
def test_a_truncated_key_is_explained(cut: int, passphrase: bytes | None, tmp_path: Path) -> None:
    pem = keys.private_pem(keys.generate(P256), passphrase)
    problem(written(tmp_path / "ca.key", pem[:cut]), passphrase)


@pytest.mark.parametrize(
    "text", [b"", b"garbage", b"\x00" * 4096, b"-----BEGIN PRIVATE KEY-----\n!!!!\n-----END PRIVATE KEY-----\n"]
)
def test_garbage_is_explained(text: bytes, tmp_path: Path) -> None:
    assert "is not a PEM private key" in problem(written(tmp_path / "ca.key", text), None)


def test_ed25519_is_refused(tmp_path: Path) -> None:
    pem = ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert "neither RSA nor ECDSA" in problem(written(tmp_path / "ca.key", pem), None)


@pytest.mark.parametrize("options", [["-traditional", "-aes256"], ["-aes256"]])
def test_keys_that_openssl_encrypted_open(options: list[str], tmp_path: Path, openssl: Any) -> None:
    key = keys.generate(KeySpec("rsa", size=2048))
    plain = written(tmp_path / "plain.key", keys.private_pem(key))
    path = str(tmp_path / "ca.key")
    openssl("pkey", "-in", plain, *options, "-passout", "pass:secret", "-out", path)
    assert keys.load_private(path, b"secret").public_key() == key.public_key()
    problem(path, None)
    problem(path, b"wrong")


@pytest.mark.parametrize("passphrase", ["", "a\nb", "a\x00", "tab\t", "\x7f", "x" * 1024, "é" * 512, "\ud800"])
def test_passphrases_that_openssl_could_not_be_given_are_refused(passphrase: str) -> None:
    with pytest.raises(MtlsError, match="passphrase") as caught:
        keys.check_passphrase(passphrase)
    assert len(str(caught.value)) < 300
    assert "xxx" not in str(caught.value)


@pytest.mark.parametrize("passphrase", ["x", PASSPHRASE, "x" * 1023, " spaces "])
def test_other_passphrases_are_taken_as_they_are(passphrase: str) -> None:
    assert keys.check_passphrase(passphrase) == passphrase.encode()


def test_no_passphrase_is_no_passphrase() -> None:
    assert keys.check_passphrase(None) is None


@pytest.mark.parametrize(
    ("options", "spec"),
    [
        ({"type": "rsa", "size": None, "curve": None}, KeySpec("rsa", size=4096)),
        ({"type": "rsa", "size": 2048, "curve": None}, KeySpec("rsa", size=2048)),
        ({"type": "ecdsa", "size": None, "curve": None}, P256),
        ({"type": "ecdsa", "size": None, "curve": "P-384"}, KeySpec("ecdsa", curve="P-384")),
    ],
)
def test_what_options_leave_out_is_filled_in(options: dict[str, Any], spec: KeySpec) -> None:
    assert keys.complete_spec(**options, default_size=4096) == spec


@pytest.mark.parametrize(
    "options", [{"type": "rsa", "size": None, "curve": "P-256"}, {"type": "ecdsa", "size": 2048, "curve": None}]
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(MtlsError, match="key: "):
        keys.complete_spec(**options, default_size=4096)
