# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create the trust of the benchmark: one P-256 CA, and publications with a given number of clients."""

from __future__ import annotations

import datetime
import hashlib
import json
import random
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID
from support.lab import make_certificate, write_pair
from support.made_der import certificate, described

SERVER_NAME = "panel.example.org"
NOW = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Person:
    """A client with a certificate and its files."""

    certificate: Path
    key: Path
    serial: int


class Material:
    """Certificates of one CA, and publications about them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        self.generation = 0
        self.random = random.Random(1)
        self.ca, self.key = make_certificate("Bench CA", eku=None, is_ca=True)
        self.server = self._server()
        self.good, self.revoked = self._person("good"), self._person("revoked")

    def _server(self) -> Person:
        made, key = make_certificate(SERVER_NAME, eku=ExtendedKeyUsageOID.SERVER_AUTH, dns=(SERVER_NAME,))
        return Person(*write_pair(self.root / "server", made, key), made.serial_number)

    def _person(self, name: str) -> Person:
        made, key = make_certificate(name, issuer=(self.ca, self.key))
        return Person(*write_pair(self.root / name, made, key), made.serial_number)

    def publication(self, identities: int, revoked: int) -> dict[str, str]:
        """Return the files of a publication as docs/architecture/trust.md has them, newer than all before.

        One of the identities is a real client, and also one of the revoked ones, if there are any.
        """
        self.generation += 1
        made_up = [self._made_up(self._serial()) for _number in range(identities - 1)]
        gone = [self.revoked.serial, *(self._serial() for _number in range(revoked - 1))][:revoked]
        files = {
            "ca.pem": self.ca.public_bytes(serialization.Encoding.PEM).decode(),
            "crl.pem": self._crl(gone),
            "identities.json": json.dumps(
                {"format": 1, "issuers": [self._issuer()], "identities": [_identity_of(self.good), *made_up]}
            ),
            "denied.json": json.dumps({"format": 1, "denied": [*map(_denial, gone)]}),
        }
        digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}
        return {**files, "trust.json": json.dumps({"format": 1, "generation": self.generation, "files": digests})}

    def _made_up(self, serial: int) -> dict[str, object]:
        # As long as a real one.
        return _identity(serial, certificate(self.ca.subject.public_bytes(), serial, more=self.random.randbytes(350)))

    def _serial(self) -> int:
        return self.random.getrandbits(158) | 1 << 158

    def _issuer(self) -> dict[str, object]:
        return {"id": 1, "subject": "CN=Bench CA", "sha256": self.ca.fingerprint(hashes.SHA256()).hex()}

    def _crl(self, serials: list[int]) -> str:
        entries = [x509.RevokedCertificateBuilder(serial, NOW.replace(tzinfo=None)).build() for serial in serials]
        number = x509.Extension(x509.CRLNumber.oid, False, x509.CRLNumber(self.generation))
        ends = ((NOW - DAY).replace(tzinfo=None), (NOW + 30 * DAY).replace(tzinfo=None))
        builder = x509.CertificateRevocationListBuilder(self.ca.subject, *ends, [number], entries)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def _hex(serial: int) -> str:
    text = f"{serial:X}"
    return text.zfill(len(text) + len(text) % 2)


def _identity_of(person: Person) -> dict[str, object]:
    found = x509.load_pem_x509_certificate(person.certificate.read_bytes())
    der = found.public_bytes(serialization.Encoding.DER)
    return {**_identity(person.serial, der), "subject": found.subject.rfc4514_string()}


def _identity(serial: int, der: bytes) -> dict[str, object]:
    name = f"person-{serial % 10**9}"
    return {
        "subject": f"CN={name}",
        **described(der),
        "issuer": 1,
        "serial": _hex(serial),
        "name": name,
        "common_name": name,
        "email": [f"{name}@example.org"],
        "roles": ["admin", "ops"],
        "not_after": "2030-01-01T00:00:00Z",
    }


def _denial(serial: int) -> dict[str, object]:
    return {"issuer": 1, "serial": _hex(serial), "reason": "keyCompromise", "revoked_at": "2026-01-01T00:00:00Z"}
