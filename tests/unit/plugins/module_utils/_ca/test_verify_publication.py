# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that a publication which rejects a valid client is refused, and compare with openssl."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca import publication_contents
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca.authority import open_authority
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca.verify_publication import rejected_certificates
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID


@pytest.fixture
def shop(door: Any, client: Any) -> Any:
    """Return an authority with two clients, and a third one on the CRL."""
    door.enrol(client("alex"), client("bea"), client("carl"))
    door.revoke(client="carl")
    door.crl()
    return door


def files_of(door: Any) -> dict[str, str]:
    return publication_contents.contents(
        [open_authority(door.path)], timedelta(days=7), door.now, check_mode=False
    ).files


def check(door: Any, files: dict[str, str], certificates: Any = None) -> None:
    load = certificates or (lambda _issuer, serial: open_authority(door.path).issued(serial))
    for refused in rejected_certificates(files, load, door.now).values():
        raise refused


def by_openssl(openssl: Any, tmp_path: Path, files: dict[str, str], certificate: Path, fails: bool) -> str:
    for name in ("ca.pem", "crl.pem"):
        (tmp_path / name).write_text(files[name])
    options = ["-crl_check_all", "-purpose", "sslclient", "-CAfile", str(tmp_path / "ca.pem")]
    return openssl("verify", *options, "-CRLfile", str(tmp_path / "crl.pem"), str(certificate), fails=fails)


def test_what_is_sound_is_published_and_openssl_agrees(shop: Any, tmp_path: Path, openssl: Any) -> None:
    files = files_of(shop)
    check(shop, files)
    for name in ("alex", "bea"):
        by_openssl(openssl, tmp_path, files, shop.file("clients", name, f"{name}.crt"), fails=False)


def test_a_client_on_the_crl_is_named_and_nothing_is_published(shop: Any, tmp_path: Path, openssl: Any) -> None:
    before = files_of(shop)
    shop.revoke(client="bea")
    shop.crl()
    files = {**before, "crl.pem": files_of(shop)["crl.pem"]}
    with pytest.raises(MtlsError, match=r"client bea: .*it is on the CRL"):
        check(shop, files)
    assert "revoked" in by_openssl(openssl, tmp_path, files, shop.file("clients", "bea", "bea.crt"), fails=True)


def test_a_certificate_of_another_ca_is_named(shop: Any, tmp_path: Path, client: Any, empty_door: Any) -> None:
    other = replace(empty_door, path=str(tmp_path / "other"))
    other.create()  # of the same name, with another key
    other.enrol(client("alex"))
    stranger = open_authority(other.path).issued(other.authority.rows[0].serial)
    with pytest.raises(MtlsError, match=r"client alex: .*ca.pem holds no CN=Test CA that signed it"):
        check(shop, files_of(shop), lambda _issuer, _serial: stranger)


def test_a_certificate_that_is_not_for_clients_is_named(shop: Any) -> None:
    root = open_authority(shop.path).certificate
    with pytest.raises(MtlsError, match=r"client alex: .*not for clients"):
        check(shop, files_of(shop), lambda _issuer, _serial: _for_servers(shop, root))


def _for_servers(shop: Any, root: x509.Certificate) -> x509.Certificate:
    key = serialization.load_pem_private_key(shop.file("private", "ca.key.pem").read_bytes(), None)
    return (
        x509.CertificateBuilder(root.subject, root.subject, key.public_key(), 5, shop.now, shop.now + timedelta(days=9))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )


def test_a_missing_a_foreign_and_an_ended_crl_are_named(shop: Any, tmp_path: Path, empty_door: Any) -> None:
    files = files_of(shop)
    other = replace(empty_door, path=str(tmp_path / "other"))
    other.create()
    other.crl()
    foreign = other.file("crl", "ca.crl.pem").read_text()
    with pytest.raises(MtlsError, match=r"The CRL of CN=Test CA is missing"):
        check(shop, {**files, "crl.pem": foreign})
    check(shop, {**files, "crl.pem": foreign + files["crl.pem"]})
    with pytest.raises(MtlsError, match=r"The CRL of CN=Test CA is not valid at"):
        check(shop.later(days=31), files)


def test_a_certificate_that_ended_is_named(shop: Any) -> None:
    files = files_of(shop)
    shop.later(days=360).crl()
    files["crl.pem"] = files_of(shop.later(days=360))["crl.pem"]
    with pytest.raises(MtlsError, match=r"client alex: .*it ended at"):
        check(shop.later(days=366), files)


def test_leaf_certificate_is_not_a_ca(shop: Any) -> None:
    files = files_of(shop)
    leaf = shop.file("newcerts", f"{shop.authority.rows[0].serial}.pem").read_text()
    with pytest.raises(MtlsError, match="CN=Alex"):
        check(shop, {**files, "ca.pem": leaf + files["ca.pem"]})


def test_publishing_asks_it(shop: Any, tmp_path: Path, client: Any, empty_door: Any) -> None:
    """A file of newcerts/ that was exchanged: it is valid in the database, but web hosts would reject it."""
    other = replace(empty_door, path=str(tmp_path / "other"))
    other.create()
    other.enrol(client("alex"))
    serial = shop.authority.rows[0].serial
    shop.file("newcerts", f"{serial}.pem").write_text(
        other.file("newcerts", f"{other.authority.rows[0].serial}.pem").read_text()
    )
    public = tmp_path / "public"
    for check_mode in (True, False):
        with pytest.raises(
            MtlsError, match=f"client alex: web hosts with this publication would reject the certificate {serial}"
        ):
            shop.publish(public, check_mode=check_mode)
    assert [path.name for path in public.iterdir()] == [".lock"]


def test_a_publication_that_is_there_already_is_not_judged_again(shop: Any, tmp_path: Path) -> None:
    public = tmp_path / "public"
    shop.publish(public)
    shop.file("newcerts", f"{shop.authority.rows[0].serial}.pem").unlink()
    assert shop.publish(public).changes == []


def test_a_lost_file_of_one_client_does_not_hold_back_a_revocation(door: Any, client: Any, tmp_path: Path) -> None:
    door.enrol(client("alex"), client("bea"))
    door.crl()
    public = tmp_path / "public"
    door.publish(public)
    door.file("newcerts", f"{door.authority.rows[0].serial}.pem").unlink()
    door.enrol(client("carl"))
    with pytest.raises(MtlsError, match=r"client alex: .*cannot be read.*nothing was published"):
        door.publish(public)
    door.revoke("keyCompromise", client="bea")
    door.crl()
    outcome = door.publish(public)
    assert "denied.json" in outcome.changes
    assert [warning.startswith("client alex: ") for warning in outcome.warnings] == [True]
    identities = json.loads((public / "identities.json").read_text())["identities"]
    assert [one["name"] for one in identities] == ["carl"]
    again = door.publish(public)
    assert (again.changes, again.warnings) == ([], outcome.warnings)
