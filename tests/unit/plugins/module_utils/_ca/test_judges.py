# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check certificates and CRLs with openssl verify and with pkilint's linters for RFC 5280."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._clients import csr
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509.keys import KeySpec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

if TYPE_CHECKING:
    from collections.abc import Iterator

P256, P384, RSA = KeySpec("ecdsa", curve="P-256"), KeySpec("ecdsa", curve="P-384"), KeySpec("rsa", size=2048)
# Not a fault: it says that the identifier is the SHA-1 of the key, which is what RFC 5280 section 4.2.1.2 suggests first.
NO_FAULT = {"pkix.subject_key_identifier_method_1_identified"}


def findings(linter: str, *arguments: str) -> list[str]:
    """Return the findings of pkilint, from INFO upwards."""
    command = [str(Path(sys.executable).with_name(linter)), "lint", "-s", "INFO", "-f", "JSON", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    results = json.loads(done.stdout or f'"{done.stderr}"')["results"]
    found = {finding["code"] for result in results for finding in result["finding_descriptions"]}
    return sorted(found - NO_FAULT)


def brought(client: Any, name: str, key: Any) -> Any:
    """Return a client with a CSR."""
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    spec, public_key = csr.requested_key(request.public_bytes(Encoding.PEM).decode(), name)
    return client(name, key=spec, public_key=public_key)


@pytest.fixture(params=[P256, P384, RSA], ids=str)
def judged(request: Any, empty_door: Any, client: Any) -> Any:
    """Return an authority with clients of each kind, and a CRL with every kind of entry."""
    door = empty_door
    door.create('Zoë, "Ops" + CA', key=request.param)
    revoked = [client(f"r{number}") for number in range(5)]
    door.enrol(
        client("plain"),
        client("rsa", key=RSA, organization="Exämple; Ltd"),
        client("mails", email=tuple(f"{name}@example.org" for name in "abcdefgh")),
        client("nobody", email=()),
        client("brief", valid_for=timedelta(hours=1)),
        brought(client, "csr", ec.generate_private_key(ec.SECP256R1())),
        brought(client, "csr-rsa", rsa.generate_private_key(65537, 3072)),
        *revoked,
    )
    door.openssl_ca("-revoke", str(door.file("clients", "r0", "r0.crt")), "-crl_compromise", "20260102030405Z")
    door.openssl_ca("-revoke", str(door.file("clients", "r1", "r1.crt")))
    for name, reason in [("r2", "superseded"), ("r3", "affiliationChanged"), ("r4", "unspecified")]:
        door.revoke(reason, client=name)
    door.crl()
    return door


def clients(door: Any, revoked: bool) -> Iterator[tuple[str, str]]:
    for row in door.authority.rows:
        if row.is_revoked == revoked:
            yield row.client, str(door.file("newcerts", f"{row.serial}.pem"))


def test_openssl_accepts_all_that_is_valid_and_nothing_that_is_revoked(judged: Any, openssl: Any) -> None:
    trust = ("-CAfile", str(judged.file("certs", "ca.cert.pem")), "-CRLfile", str(judged.file("crl", "ca.crl.pem")))
    judge = ("verify", "-x509_strict", "-crl_check_all", *trust, "-purpose", "sslclient")
    valid = dict(clients(judged, revoked=False))
    assert set(valid) == {"plain", "rsa", "mails", "nobody", "brief", "csr", "csr-rsa"}
    assert openssl(*judge, *valid.values()).count(": OK") == 7
    gone = dict(clients(judged, revoked=True))
    assert len(gone) == 5
    for path in gone.values():
        assert "certificate revoked" in openssl(*judge, path, fails=True)


def test_pkilint_finds_nothing_in_the_certificates(judged: Any) -> None:
    ca = str(judged.file("certs", "ca.cert.pem"))
    assert findings("lint_pkix_cert", ca) == []
    for name, path in clients(judged, revoked=False):
        assert findings("lint_pkix_cert", path) == [], name
    assert findings("lint_pkix_signer_signee_cert_chain", ca, dict(clients(judged, revoked=False))["csr"]) == []


def test_pkilint_finds_nothing_in_the_crl(judged: Any) -> None:
    path = judged.file("crl", "ca.crl.pem")
    entries = list(x509.load_pem_x509_crl(path.read_bytes()))
    reasons = {
        entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.value
        for entry in entries
        if len(entry.extensions)
    }
    assert reasons == {"keyCompromise", "superseded", "affiliationChanged"}
    dates = [extension.value for entry in entries for extension in entry.extensions if not extension.critical]
    since = [date.invalidity_date_utc for date in dates if isinstance(date, x509.InvalidityDate)]
    assert since == [datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)]
    assert findings("lint_crl", "-t", "CRL", "-p", "PKIX", str(path)) == []


def test_the_judges_do_find_faults(tmp_path: Path, openssl: Any) -> None:
    """The checks must find faults in a faulty certificate."""
    ca, crl = str(tmp_path / "ca.pem"), str(tmp_path / "crl.pem")
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
            "-subj", "/CN=bad", "-addext", "basicConstraints=CA:true", "-keyout", f"{ca}.key", "-out", ca)  # fmt: skip
    assert findings("lint_pkix_cert", ca) != []
    key = ec.generate_private_key(ec.SECP256R1())
    begin = datetime(2026, 1, 1, tzinfo=timezone.utc)
    builder = x509.CertificateRevocationListBuilder(
        x509.load_pem_x509_certificate(Path(ca).read_bytes()).subject, begin, begin + timedelta(days=1)
    )
    Path(crl).write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    assert findings("lint_crl", "-t", "CRL", "-p", "PKIX", crl) != []
