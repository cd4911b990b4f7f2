# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the status of the installed trust, verified by openssl with the live files."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.status import trust_status
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime.now(timezone.utc).replace(microsecond=0)
DAY = timedelta(days=1)
SHA256 = hashes.SHA256()


def name(text: str) -> x509.Name:
    """Return a name with a common name only."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Ca:
    """A root that signs clients and CRLs."""

    def __init__(self, called: str = "Root") -> None:
        self.key, self.name = ec.generate_private_key(ec.SECP256R1()), name(called)
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        self.certificate = (
            self._dated(self.name, self.key, NOW + 90 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(self.key, SHA256)
        )

    def _dated(self, subject: x509.Name, key: Any, end: datetime) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(key.public_key())
        return builder.serial_number(x509.random_serial_number()).not_valid_before(NOW - 30 * DAY).not_valid_after(end)

    def client(
        self, called: str, end: datetime = NOW + 30 * DAY, usage: Any = ExtendedKeyUsageOID.CLIENT_AUTH
    ) -> x509.Certificate:
        """Return a client certificate."""
        builder = self._dated(name(called), ec.generate_private_key(ec.SECP256R1()), end)
        return builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False).sign(self.key, SHA256)

    def crl(self, *revoked: x509.Certificate, end: datetime = NOW + 7 * DAY) -> str:
        """Return a CRL as PEM."""
        builder = (
            x509.CertificateRevocationListBuilder().issuer_name(self.name).last_update(NOW - 20 * DAY).next_update(end)
        )
        builder = builder.add_extension(x509.CRLNumber(1), critical=False)
        for one in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(one.serial_number).revocation_date(NOW - DAY)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self.key, SHA256).public_bytes(Encoding.PEM).decode()


def serial(certificate: x509.Certificate) -> str:
    """Return the serial in the form of nginx."""
    return certificate.serial_number.to_bytes((certificate.serial_number.bit_length() + 7) // 8, "big").hex().upper()


def identity(certificate: x509.Certificate, called: str, *, whole: bool = True) -> dict[str, Any]:
    """Return an entry of identities.json."""
    der = certificate.public_bytes(Encoding.DER)
    digests = {"sha256": hashlib.sha256(der).hexdigest(), "sha1": hashlib.sha1(der).hexdigest()}
    end = certificate.not_valid_after_utc
    return {
        "issuer": 1,
        "serial": serial(certificate),
        "name": called,
        "common_name": called,
        "email": [f"{called}@example.org"],
        "roles": [],
        "not_after": f"{end:%Y-%m-%dT%H:%M:%SZ}",
        **digests,
        **({"der": base64.b64encode(der).decode()} if whole else {}),
    }


def install(
    conf: Path, ca: Ca, crl: str, identities: list[dict[str, Any]], denied: list[x509.Certificate] = ()
) -> None:
    """Install trust as a host has it."""
    digest = ca.certificate.fingerprint(SHA256).hex()
    reported = {"format": 1, "issuers": [{"id": 1, "subject": "CN=Root", "sha256": digest}], "identities": identities}
    rows = [
        {"issuer": 1, "serial": serial(one), "reason": None, "revoked_at": "2026-01-01T00:00:00Z"} for one in denied
    ]
    texts = {
        "ca.pem": ca.certificate.public_bytes(Encoding.PEM).decode(),
        "crl.pem": crl,
        "identities.json": json.dumps(reported),
        "denied.json": json.dumps({"format": 1, "denied": rows}),
    }
    digests = {file: hashlib.sha256(text.encode()).hexdigest() for file, text in texts.items()}
    directory = conf / "quietdoor" / "trusts" / "7"
    directory.mkdir(parents=True)
    (conf / "quietdoor" / "trust").symlink_to("trusts/7")
    for file, text in {**texts, "trust.json": json.dumps({"format": 1, "generation": 7, "files": digests})}.items():
        (directory / file).write_text(text)


@pytest.fixture(scope="module")
def ca() -> Ca:
    """Return one CA for all tests."""
    return Ca()


def test_clients_with_valid_certificates(tmp_path: Path, ca: Ca) -> None:
    former, alex, bea = ca.client("alex", NOW + 9 * DAY), ca.client("alex"), ca.client("bea", NOW - DAY)
    install(tmp_path, ca, ca.crl(), [identity(former, "alex"), identity(alex, "alex"), identity(bea, "bea")])
    found = trust_status(str(tmp_path), NOW)
    assert (found.generation, found.problems, found.unverifiable) == (7, (), ())
    [person] = found.people
    assert person.serials == (serial(former), serial(alex))
    assert (person.name, person.verified, person.not_after) == ("alex", True, f"{NOW + 30 * DAY:%Y-%m-%dT%H:%M:%SZ}")
    assert [crl.number for crl in found.crls] == [1]


@pytest.mark.parametrize("how", ["crl", "denied"])
def test_a_revoked_certificate_that_is_still_named(tmp_path: Path, ca: Ca, how: str) -> None:
    alex = ca.client("alex")
    crl, denied = (ca.crl(alex), []) if how == "crl" else (ca.crl(), [alex])
    install(tmp_path, ca, crl, [identity(alex, "alex")], denied)
    [problem] = trust_status(str(tmp_path), NOW).problems
    assert problem == f"the certificate {serial(alex)} of alex is revoked, but identities.json still lists it"


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (lambda ca: ca.client("alex", usage=ExtendedKeyUsageOID.SERVER_AUTH), "purpose"),
        (lambda _ca: Ca("Root").client("alex"), "certificate signature failure"),
    ],
)
def test_a_certificate_that_does_not_verify(tmp_path: Path, ca: Ca, made: Any, why: str) -> None:
    install(tmp_path, ca, ca.crl(), [identity(ca.client("bea"), "bea"), identity(made(ca), "alex")])
    found = trust_status(str(tmp_path), NOW)
    [problem] = found.problems
    assert "of alex does not verify" in problem
    assert why in problem
    assert [person.name for person in found.people] == ["bea"]


def test_a_certificate_of_another_ca(tmp_path: Path, ca: Ca) -> None:
    install(tmp_path, ca, ca.crl(), [identity(Ca("Other").client("alex"), "alex")])
    with pytest.raises(MtlsError, match="is not the certificate with issuer and serial"):
        trust_status(str(tmp_path), NOW)


def test_more_certificates_than_one_command_takes(tmp_path: Path, ca: Ca) -> None:
    people = [identity(ca.client(f"p{number}"), f"p{number}") for number in range(205)]
    install(tmp_path, ca, ca.crl(), people)
    found = trust_status(str(tmp_path), NOW)
    assert (len(found.people), found.problems) == (205, ())
    assert all(person.verified for person in found.people)


def test_a_certificate_that_is_not_published_is_named(tmp_path: Path, ca: Ca) -> None:
    install(tmp_path, ca, ca.crl(), [identity(ca.client("alex"), "alex", whole=False)])
    found = trust_status(str(tmp_path), NOW)
    assert (found.unverifiable, found.problems) == (("alex",), ())
    assert [person.verified for person in found.people] == [False]


def test_expired_crl_is_an_error(tmp_path: Path, ca: Ca) -> None:
    install(tmp_path, ca, ca.crl(end=NOW - DAY), [identity(ca.client("alex"), "alex")])
    with pytest.raises(MtlsError, match="CRL of CN=Root"):
        trust_status(str(tmp_path), NOW)


def test_a_crl_of_another_ca(tmp_path: Path, ca: Ca) -> None:
    install(tmp_path, ca, Ca("Root").crl(), [identity(ca.client("alex"), "alex")])
    with pytest.raises(MtlsError, match="CRL"):
        trust_status(str(tmp_path), NOW)


def test_changed_file_is_an_error(tmp_path: Path, ca: Ca) -> None:
    install(tmp_path, ca, ca.crl(), [identity(ca.client("alex"), "alex")])
    path = tmp_path / "quietdoor" / "trust" / "denied.json"
    path.write_text(path.read_text() + "\n")
    with pytest.raises(MtlsError, match=r"denied\.json does not have the digest"):
        trust_status(str(tmp_path), NOW)


def test_missing_trust_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MtlsError, match="no trust is installed on this host"):
        trust_status(str(tmp_path), NOW)


def test_crl_that_expires_soon_is_a_problem(tmp_path: Path, ca: Ca) -> None:
    install(tmp_path, ca, ca.crl(end=NOW + DAY), [identity(ca.client("alex"), "alex")])
    assert trust_status(str(tmp_path), NOW, DAY).problems == ()
    [problem] = trust_status(str(tmp_path), NOW, 2 * DAY).problems
    assert problem.startswith("the CRL of CN=Root expires at ")
