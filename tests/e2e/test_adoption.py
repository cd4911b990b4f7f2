# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An authority that was made by hand ends up behind a real nginx: who had a certificate gets in with it, until it is revoked."""

from __future__ import annotations

import hashlib
import secrets
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.lab import Lab, built, curl, seen

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSPHRASE = "made by hand"
# As a person wrote it: openssl does not expand the ~, and is started in the directory with another copy.
CONFIGURATION = """\
[ ca ]
default_ca = CA_default
[ CA_default ]
dir = {directory}
database = $dir/index.txt
new_certs_dir = $dir/newcerts
certificate = $dir/certs/ca.crt
private_key = $dir/private/ca.key
serial = $dir/serial
default_md = sha256
default_days = 375
policy = policy_loose
copy_extensions = copy
x509_extensions = usr_cert
[ policy_loose ]
commonName = supplied
emailAddress = optional
[ usr_cert ]
basicConstraints = CA:FALSE
extendedKeyUsage = clientAuth
[ req ]
distinguished_name = name
x509_extensions = v3_ca
[ name ]
commonName = Common Name
[ v3_ca ]
basicConstraints = CA:true
subjectKeyIdentifier = none
authorityKeyIdentifier = none
"""


def make_by_hand(directory: Path) -> None:
    """Make an authority, and certificates of three people who share one e-mail address."""
    for name in ("private", "certs", "newcerts"):
        (directory / name).mkdir(parents=True)
    (directory / "index.txt").touch()
    (directory / "serial").write_text("1000\n")
    (directory / "openssl.cnf").write_text(CONFIGURATION.format(directory="~/ca"))
    other = directory.with_name("by-hand.cnf")
    other.write_text(CONFIGURATION.format(directory="."))

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)

    secret = ("-passin", f"pass:{PASSPHRASE}", "-config", str(other))
    openssl("genrsa", "-aes256", "-passout", f"pass:{PASSPHRASE}", "-out", "private/ca.key", "4096")
    openssl(
        "req",
        "-x509",
        "-new",
        *secret,
        "-key",
        "private/ca.key",
        "-subj",
        "/CN=Our CA",
        "-days",
        "3650",
        "-out",
        "certs/ca.crt",
    )
    for name in ("alex", "bea", "carl"):
        stem = str(directory.with_name(name))
        openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{stem}.key", "-out", f"{stem}.csr",
                "-subj", f"/CN={name}/emailAddress=team@example.org",
                "-addext", "subjectAltName=email:team@example.org")  # fmt: skip
        openssl("ca", "-batch", "-notext", *secret, "-in", f"{stem}.csr", "-out", f"{stem}.crt")


def digests(lab: Lab) -> dict[str, str]:
    """Files that must not change: keys, certificates, their configuration and serial."""
    names = ["private/ca.key", "certs/ca.crt", "openssl.cnf", "serial", "newcerts/1000.pem", "newcerts/1001.pem"]
    return {name: hashlib.sha256((lab.authority / name).read_bytes()).hexdigest() for name in names}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab whose authority was made by hand; its roster has alex, with another e-mail address."""
    with built(tmp_path_factory.mktemp("adoption"), secrets.randbelow(10**9), clients=0, sites=1) as lab:
        make_by_hand(lab.authority)
        lab.roster = [{"name": "alex", "email": ["alex@example.org"]}]
        lab.variables["authority_passphrase"] = PASSPHRASE
        lab.variables["authority_root"] = {"adopt": True}
        yield lab


def ask(lab: Lab, stem: Path) -> tuple[int, str]:
    """Ask the site with a certificate and its key."""
    return curl(lab.sites[0], lab, "--cert", f"{stem}.crt", "--key", f"{stem}.key")


def test_authority_made_by_hand_is_adopted_published_and_installed(lab: Lab) -> None:
    before, rows = digests(lab), (lab.authority / "index.txt").read_text()
    refused = lab.play(authority_root={"common_name": "Our CA"})
    assert refused.code != 0
    assert "Set adopt to true to take it over as it is" in refused.output
    predicted = lab.play("--check")
    assert (predicted.code, predicted.failed) == (0, 0), predicted.output[-6000:]
    assert not (lab.authority / "quietdoor.json").exists()
    assert lab.play().code == 0
    again = lab.play()
    assert (again.code, again.changed) == (0, 0), again.output[-6000:]
    assert digests(lab) == before
    assert (lab.authority / "index.txt").read_text().startswith(rows)

    for name in ("alex", "bea", "carl"):
        status, body = ask(lab, lab.root / name)
        assert status == 200, body
        assert "X-Client-Name" not in seen(body)
    status, body = ask(lab, lab.authority / "clients" / "alex" / "alex")
    assert status == 200, body
    assert seen(body)["X-Client-Name"] == "alex"

    lab.roster.append({"name": "carl", "state": "revoked", "reason": "keyCompromise"})
    run = lab.play()
    assert run.code == 0, run.output[-6000:]
    assert (ask(lab, lab.root / "carl")[0], ask(lab, lab.root / "bea")[0]) == (403, 200)
    listed = subprocess.run(
        ["openssl", "crl", "-in", f"{lab.authority}-publication/crl.pem", "-noout", "-text"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert "Serial Number: 1002" in listed
    assert "keyid" in listed or "X509v3 Authority Key Identifier" in listed
    assert digests(lab) == before
