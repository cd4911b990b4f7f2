# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make certificates, and a CA whose publication is written as docs/architecture/trust.md says."""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.oid import ExtendedKeyUsageOID as Usage

NOW = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, and where they lie."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    crt: Path
    pem: Path


def make_pair(
    stem: Path,
    name: str,
    issuer: Pair | None = None,
    usage: x509.ObjectIdentifier | None = Usage.CLIENT_AUTH,
    days: tuple[int, int] = (-1, 30),
    dns: tuple[str, ...] = (),
    serial: int | None = None,
    is_ca: bool = False,
) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Door, Test"), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(NOW + days[0] * DAY)
        .not_valid_after(NOW + days[1] * DAY)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    )
    if is_ca:
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        builder = builder.add_extension(
            x509.KeyUsage(False, False, False, False, False, True, True, False, False), critical=True
        )
    elif usage:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    if dns:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(one) for one in dns]), critical=False)
    certificate = builder.sign(issuer.key if issuer else key, hashes.SHA256())
    crt, pem = stem.with_suffix(".crt"), stem.with_suffix(".key")
    crt.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return Pair(certificate, key, crt, pem)


def serial_of(pair: Pair) -> str:
    text = f"{pair.certificate.serial_number:X}"
    return text.zfill(len(text) + len(text) % 2)


def subject_of(pair: Pair) -> str:
    argv = ["openssl", "x509", "-in", str(pair.crt), "-noout", "-subject", "-nameopt", "RFC2253"]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip().partition("=")[2]


@dataclass
class Authority:
    """A CA whose publication is written as docs/architecture/trust.md says."""

    path: Path
    ca: Pair
    clients: dict[str, Pair]
    revoked: list[str] = field(default_factory=list)
    denied: list[str] = field(default_factory=list)
    generation: int = 0
    untold: tuple[str, ...] = ()

    def publish(self) -> None:
        """Write the next generation. The CRL lacks a name that is in ``denied`` and not in ``revoked``.

        The identities of identities.json lack the keys in ``untold``, as those of a CA host of an earlier release do.
        """
        self.generation += 1
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.ca.certificate.subject)
            .last_update(NOW - DAY)
            .next_update(NOW + 30 * DAY)
            .add_extension(x509.CRLNumber(self.generation), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.ca.key.public_key()), critical=False)
        )
        for name in self.revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(self.clients[name].certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(NOW - DAY).build())
        crl = builder.sign(self.ca.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        issuer = {
            "id": 1,
            "subject": subject_of(self.ca),
            "sha256": self.ca.certificate.fingerprint(hashes.SHA256()).hex(),
        }
        identities = [
            {
                "issuer": 1,
                "serial": serial_of(pair),
                "name": name,
                "common_name": name,
                "email": [f"{name}@example.org"],
                "roles": ["admin", "ops"],
                "not_after": (NOW + 30 * DAY).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "sha256": pair.certificate.fingerprint(hashes.SHA256()).hex(),
                "sha1": pair.certificate.fingerprint(hashes.SHA1()).hex(),
                "der": base64.b64encode(pair.certificate.public_bytes(serialization.Encoding.DER)).decode(),
                "subject": subject_of(pair),
            }
            for name, pair in self.clients.items()
        ]
        identities = [{key: value for key, value in one.items() if key not in self.untold} for one in identities]
        denied = [
            {
                "issuer": 1,
                "serial": serial_of(self.clients[name]),
                "reason": "keyCompromise",
                "revoked_at": "2026-01-01T00:00:00Z",
            }
            for name in [*self.revoked, *self.denied]
        ]
        files = {
            "ca.pem": self.ca.crt.read_text(),
            "crl.pem": crl.decode(),
            "identities.json": json.dumps({"format": 1, "issuers": [issuer], "identities": identities}),
            "denied.json": json.dumps({"format": 1, "denied": denied}),
        }
        digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}
        files["trust.json"] = json.dumps({"format": 1, "generation": self.generation, "files": digests})
        self.path.mkdir(exist_ok=True)
        for name, text in files.items():
            (self.path / name).write_text(text)


def make_authority(root: Path) -> Authority:
    ca = make_pair(root / "ca", "Test, CA", days=(-20, 90), is_ca=True)
    clients = {name: make_pair(root / name, name, ca) for name in ("alex", "bea", "carl", "dora", "emil")}
    clients["fred"] = make_pair(root / "fred", "fred", ca, days=(-10, -2))
    return Authority(root / "publication", ca, clients, revoked=["carl", "fred"], denied=["emil"])


def make_unauthenticated_clients(root: Path, authority: Authority, foreign: Pair) -> dict[str, Pair | None]:
    """Clients that must be refused: name of the reason -> pair."""
    ca, alex = authority.ca, authority.clients["alex"]
    double = make_pair(root / "double-ca", "Test, CA", is_ca=True)
    serial = alex.certificate.serial_number
    return {
        "none": None,
        "foreign": make_pair(root / "foreign", "alex", foreign),
        "look-alike": make_pair(root / "look-alike", "alex", double, serial=serial),
        "self-signed": make_pair(root / "self-signed", "alex", serial=serial),
        "expired": make_pair(root / "expired", "old", ca, days=(-10, -2)),
        "not-yet-valid": make_pair(root / "not-yet-valid", "young", ca, days=(2, 10)),
        "server-only": make_pair(root / "server-only", "server", ca, usage=Usage.SERVER_AUTH),
        "revoked": authority.clients["carl"],
        "denied": authority.clients["emil"],
        "revoked-and-expired": authority.clients["fred"],
    }


def make_certificate(
    common_name: str,
    *,
    issuer: tuple[x509.Certificate, object] | None = None,
    eku: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.CLIENT_AUTH,
    dns: tuple[str, ...] = (),
    subject: x509.Name | None = None,
    serial: int | None = None,
    expired: bool = False,
    is_ca: bool = False,
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """Make a certificate that the authority under test knows nothing of (unless its own key is given as issuer)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = subject or x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    start, end = (
        (now - datetime.timedelta(days=9), now - datetime.timedelta(days=1))
        if expired
        else (now - datetime.timedelta(minutes=5), now + datetime.timedelta(days=2))
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer[0].subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    )
    if eku:
        builder = builder.add_extension(x509.ExtendedKeyUsage([eku]), critical=False)
    if dns:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(one) for one in dns]), critical=False)
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key


def write_pair(stem: Path, certificate: x509.Certificate, key: object) -> tuple[Path, Path]:
    """Write STEM.crt and STEM.key."""
    crt, pem = stem.with_name(f"{stem.name}.crt"), stem.with_name(f"{stem.name}.key")
    crt.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return crt, pem
