# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that NSS (Firefox, Chromium on Linux), Java and Python import the bundles.

test_client_files tests them with openssl.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509.keys import KeySpec
from cryptography.hazmat.primitives.serialization import pkcs12

P256, RSA = KeySpec("ecdsa", curve="P-256"), KeySpec("rsa", size=2048)
BUNDLES = [("p12", P256), ("compat.p12", RSA)]
ASCII = ["geheim", " two  spaces ", "a b$c\"d'e\\f%`|;", "x" * 64, "y" * 200]
UNICODE = ["sécret ñ €", "пароль", "密码" * 40]


def run(*arguments: str, **environment: str) -> str:
    """Run a command that must succeed, and return its output."""
    done = subprocess.run(
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        env={**os.environ, "LC_ALL": "C.UTF-8", **environment},
    )
    output = done.stdout.decode("utf-8", "replace")
    assert done.returncode == 0, output
    return output


@pytest.fixture
def enrolled(door: Any, client: Any) -> Any:
    """Return a function that makes bundles of both profiles for alex, and returns their directory."""

    def enrol(passphrase: str | None, key: KeySpec) -> Path:
        door.enrol(
            client(
                common_name='Zoë Q. "Ops" O\'Neill',
                key=key,
                bundle_profiles=("modern", "compat"),
                bundle_passphrase=passphrase,
            )
        )
        return Path(door.path, "clients", "alex")

    return enrol


def import_into_nss(tmp_path: Path, bundle: Path, passphrase_file: Path) -> None:
    database = f"sql:{tmp_path / 'nss'}"
    (tmp_path / "nss").mkdir()
    run("certutil", "-N", "-d", database, "--empty-password")
    run("pk12util", "-i", str(bundle), "-d", database, "-w", str(passphrase_file), "-K", "")
    listed = run("certutil", "-L", "-d", database)
    assert "Zoë Q." in listed, "the friendly name"
    assert "u,u,u" in listed, "a certificate whose key is there"
    assert "Test CA" in listed, "the chain"


def import_into_java(tmp_path: Path, bundle: Path, *passphrase: str, **environment: str) -> None:
    store = str(tmp_path / "store")
    run("keytool", "-importkeystore", "-noprompt", "-srckeystore", str(bundle), "-srcstoretype", "PKCS12", *passphrase,
        "-destkeystore", store, "-deststoretype", "PKCS12", "-deststorepass", "changeit", **environment)  # fmt: skip
    listed = run("keytool", "-list", "-v", "-keystore", store, "-storepass", "changeit")
    assert listed.count("Entry type: PrivateKeyEntry") == 1
    assert "Certificate chain length: 2" in listed
    assert "CN=Test CA" in listed


@pytest.mark.parametrize("passphrase", ASCII + UNICODE)
@pytest.mark.parametrize(("ending", "key"), BUNDLES, ids=str)
def test_nss_imports_it(passphrase: str, ending: str, key: KeySpec, enrolled: Any, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(passphrase)
    import_into_nss(tmp_path, enrolled(passphrase, key) / f"alex.{ending}", secret)


@pytest.mark.parametrize("passphrase", ASCII)
@pytest.mark.parametrize(("ending", "key"), BUNDLES, ids=str)
def test_java_imports_it(passphrase: str, ending: str, key: KeySpec, enrolled: Any, tmp_path: Path) -> None:
    """Java accepts only ASCII passphrases, for bundles of any origin ("Password is not ASCII")."""
    bundle = enrolled(passphrase, key) / f"alex.{ending}"
    import_into_java(tmp_path, bundle, "-srcstorepass:env", "SECRET", SECRET=passphrase)


@pytest.mark.parametrize("passphrase", ASCII + UNICODE)
@pytest.mark.parametrize("key", [P256, RSA], ids=str)
def test_python_imports_it(passphrase: str, key: KeySpec, enrolled: Any) -> None:
    directory = enrolled(passphrase, key)
    for ending, _key in BUNDLES:
        opened = pkcs12.load_pkcs12((directory / f"alex.{ending}").read_bytes(), passphrase.encode())
        assert opened.key is not None
        assert opened.cert is not None
        assert opened.key.public_key() == opened.cert.certificate.public_key()
        assert opened.cert.friendly_name == 'Zoë Q. "Ops" O\'Neill'.encode()
        assert len(opened.additional_certs) == 1


@pytest.mark.parametrize("ending", ["p12", "compat.p12"])
@pytest.mark.parametrize("key", [P256, RSA], ids=str)
def test_every_tool_takes_the_generated_passphrase_from_its_file(
    ending: str, key: KeySpec, enrolled: Any, openssl: Any, tmp_path: Path
) -> None:
    directory = enrolled(None, key)
    bundle, secret = directory / f"alex.{ending}", directory / "alex.passphrase"
    import_into_nss(tmp_path, bundle, secret)
    import_into_java(tmp_path, bundle, "-srcstorepass:file", str(secret))
    openssl("pkcs12", "-in", str(bundle), "-passin", f"file:{secret}", "-nodes")
