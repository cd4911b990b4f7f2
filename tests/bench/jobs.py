# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The work that is measured, each piece a process of its own: ``jobs.py NAME ARGUMENT...``.

``ours_*`` call what the modules call. ``floor_*`` is the least that any Python program has to do: the same keys, signatures and
bundles straight through cryptography, in a plain loop, without files, database or checks.
"""

from __future__ import annotations

import os
import secrets
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

from ansible_collections.quietdoor.mtls.plugins.module_utils._ca import authority_spec, create, crl
from ansible_collections.quietdoor.mtls.plugins.module_utils._clients import enrol
from ansible_collections.quietdoor.mtls.plugins.module_utils._clients.roster import Client, Rules, check_roster
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509 import names
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509 import pkcs12 as bundle
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509.keys import KeySpec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

P256 = KeySpec("ecdsa", curve="P-256")
KINDS = {"ecdsa": P256, "rsa": KeySpec("rsa", size=2048)}
PASSPHRASE = "a passphrase for bundles"
REASONS = ("keyCompromise", "superseded", "unspecified")


def now() -> datetime:
    return datetime.now(timezone.utc).replace(microsecond=0)


def ours_make(path: str) -> None:
    """Make an authority."""
    spec = authority_spec.AuthoritySpec(names.build_name("Bench CA"), P256, timedelta(days=3650))
    create.establish(path, spec, None, now(), check_mode=False)


def ours_enrol(path: str, kind: str, count: str) -> None:
    """Bring a roster of so many clients, each with a bundle, to its desired state."""
    clients = [
        Client(
            name=f"client-{index}",
            common_name=f"Client {index}",
            organization=None,
            email=(f"client-{index}@example.org",),
            roles=("admin",),
            key=KINDS[kind],
            valid_for=timedelta(days=365),
            present=True,
            reason="cessationOfOperation",
            bundle_profiles=("modern",),
            bundle_passphrase=PASSPHRASE,
        )
        for index in range(int(count))
    ]
    rules = Rules(timedelta(days=30), timedelta(days=14))
    enrol.bring_to_desired_state(path, check_roster(clients), rules, None, now())


def ours_revoked(path: str, count: str) -> None:
    """Fill the database with so many revoked certificates."""
    moment = now()
    with Path(path, "index.txt").open("w", encoding="ascii") as file:
        for index in range(int(count)):
            end = moment + timedelta(days=100, seconds=index * 37 % 10_000_000)
            revoked = moment - timedelta(seconds=index * 31 % 10_000_000)
            serial = f"{secrets.randbits(158) | 1 << 158:X}"
            reason = REASONS[index % len(REASONS)]
            file.write(
                f"R\t{end:%y%m%d%H%M%S}Z\t{revoked:%y%m%d%H%M%S}Z,{reason}\t{serial}\t"
                f"clients/client-{index}/client-{index}-20270101-{serial[:8]}.crt\t/CN=Client {index}\n"
            )


def ours_crl(path: str, days: str) -> None:
    """Keep the CRL, so many days from now."""
    rules = crl.Rules(timedelta(days=30), timedelta(days=15), timedelta(days=7))
    crl.keep(path, rules, None, now() + timedelta(days=int(days)), check_mode=False)


def floor_enrol(kind: str, count: str, processes: str) -> None:
    """Make keys, certificates and bundles."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Bench CA")])
    ca = _sign(issuer, key.public_key(), issuer, key)
    children = []
    for process in range(int(processes)):
        child = os.fork()
        if child == 0:
            for index in range(process, int(count), int(processes)):
                _floor_client(kind, index, ca, key)
            os._exit(0)
        children.append(child)
    if any(os.waitpid(child, 0)[1] for child in children):
        raise SystemExit(1)


def _sign(
    subject: x509.Name, public_key: object, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    builder = x509.CertificateBuilder(
        issuer, subject, public_key, x509.random_serial_number(), now(), now() + timedelta(days=365)
    )
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.RFC822Name("client@example.org")]), critical=False)
    )
    return builder.sign(key, hashes.SHA256())


def _floor_client(kind: str, index: int, ca: x509.Certificate, ca_key: ec.EllipticCurvePrivateKey) -> None:
    key = rsa.generate_private_key(65537, 2048) if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Client {index}")])
    certificate = _sign(subject, key.public_key(), ca.subject, ca_key)
    pem = serialization.Encoding.PEM
    key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    certificate.public_bytes(pem)
    encryption = serialization.PrivateFormat.PKCS12.encryption_builder().kdf_rounds(bundle.KDF_ROUNDS)
    encryption = encryption.key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC).hmac_hash(hashes.SHA256())
    pkcs12.serialize_key_and_certificates(b"Client", key, certificate, [ca], encryption.build(PASSPHRASE.encode()))


def floor_crl(path: str) -> None:
    """Read the database without looking, hand the entries over as one list, sign."""
    key = serialization.load_pem_private_key(Path(path, "private/ca.key.pem").read_bytes(), None)
    ca = x509.load_pem_x509_certificate(Path(path, "certs/ca.cert.pem").read_bytes())
    flags = {"keyCompromise": x509.ReasonFlags.key_compromise, "superseded": x509.ReasonFlags.superseded}
    entries = []
    for line in Path(path, "index.txt").read_text(encoding="ascii").splitlines():
        _status, _end, revoked, serial, _file, _subject = line.split("\t")
        at = datetime.fromisoformat(
            f"20{revoked[:2]}-{revoked[2:4]}-{revoked[4:6]}T{revoked[6:8]}:{revoked[8:10]}:{revoked[10:12]}"
        )
        builder = x509.RevokedCertificateBuilder(int(serial, 16), at)
        flag = flags.get(revoked[14:])
        entries.append((builder.add_extension(x509.CRLReason(flag), critical=False) if flag else builder).build())
    made = x509.CertificateRevocationListBuilder(
        ca.subject,
        datetime(2026, 1, 1),
        datetime(2026, 2, 1),
        [x509.Extension(x509.CRLNumber.oid, False, x509.CRLNumber(1))],
        entries,
    ).sign(key, hashes.SHA256())
    Path(path, "floor.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))


def nothing() -> None:
    """Start Python and import everything: what every other job pays before it begins."""


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
