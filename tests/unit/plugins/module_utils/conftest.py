# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provide fixtures for the tests of authorities: an authority on disk, a roster, the openssl command."""

from __future__ import annotations

import hashlib
import os
import subprocess
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca import adoption, crl
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca import publish as publication
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca.authority import Authority, open_authority
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca.authority_spec import AuthoritySpec
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca.create import establish
from ansible_collections.quietdoor.mtls.plugins.module_utils._clients import enrol, listing, revoke
from ansible_collections.quietdoor.mtls.plugins.module_utils._clients.roster import Client, Rules
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509 import names
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509.keys import KeySpec
from cryptography import x509

P256 = KeySpec("ecdsa", curve="P-256")
CRL_RULES = crl.Rules(timedelta(days=30), timedelta(days=15), timedelta(days=7))


def openssl(*arguments: str, fails: bool = False, **environment: str) -> str:
    """Return what the command wrote to both streams; its exit status has to be the expected one."""
    return command("openssl", *arguments, fails=fails, **environment)


def command(*arguments: str, fails: bool = False, directory: Path | None = None, **environment: str) -> str:
    """Return the output of any command, run in a directory."""
    done = subprocess.run(
        arguments,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        env={**os.environ, **environment},
    )
    output = done.stdout.decode("utf-8", "replace")
    assert (done.returncode != 0) == fails, output
    return output


@dataclass
class Door:
    """An authority in a directory, at a moment of the test's choosing."""

    path: str
    passphrase: bytes | None = None
    now: datetime = field(default_factory=lambda: datetime.now(timezone.utc).replace(microsecond=0))
    rules: Rules = field(default_factory=lambda: Rules(timedelta(days=30), timedelta(days=14)))

    def create(self, common_name: str = "Test CA", key: KeySpec = P256, days: int = 3650, **options: Any) -> Any:
        """Make the authority, or keep it."""
        apart = {name: options.pop(name) for name in ("check_mode", "previous_passphrase") if name in options}
        spec = AuthoritySpec(names.build_name(common_name), key, timedelta(days=days), **options)
        return establish(self.path, spec, self.passphrase, self.now, **{"check_mode": False, **apart})

    def enrol(self, *clients: Client, check_mode: bool = False) -> list[enrol.Result]:
        """Bring the clients to their desired state."""
        return self.enrolment(*clients, check_mode=check_mode).results

    def enrolment(self, *clients: Client, check_mode: bool = False) -> enrol.Enrolment:
        """Bring the clients to their desired state and return the whole result."""
        act = enrol.predict if check_mode else enrol.bring_to_desired_state
        return act(self.path, list(clients), self.rules, self.passphrase, self.now)

    def actions(self, *clients: Client, check_mode: bool = False) -> list[str]:
        """Return the actions of enrol()."""
        return [result.action for result in self.enrol(*clients, check_mode=check_mode)]

    def revoke(self, reason: str = "unspecified", *, check_mode: bool = False, **target: str) -> list[revoke.Revoked]:
        """Revoke what target names."""
        return revoke.revoke(self.path, revoke.Target(**target), reason, self.now, check_mode=check_mode)

    def crl(self, rules: crl.Rules = CRL_RULES, *, check_mode: bool = False) -> crl.Outcome:
        """Keep the CRL."""
        return crl.keep(self.path, rules, self.passphrase, self.now, check_mode=check_mode)

    def publish(self, directory: Path, *former: Door, check_mode: bool = False) -> publication.Outcome:
        """Publish, with seven days as the least that a CRL may have left."""
        request = publication.Request(self.path, tuple(door.path for door in former), timedelta(days=7))
        return publication.publish(request, str(directory), self.now, check_mode=check_mode)

    def later(self, **delta: float) -> Door:
        """The same directory, later."""
        return replace(self, now=self.now + timedelta(**delta))

    def file(self, *parts: str) -> Path:
        """Return the path of a file of the authority."""
        return Path(self.path, *parts)

    @property
    def authority(self) -> Authority:
        """Return the authority in its state on disk."""
        return open_authority(self.path)

    def openssl_ca(self, *arguments: str, fails: bool = False) -> str:
        """Work on the directory with the plain openssl command."""
        passphrase = (self.passphrase or b"").decode()
        secret = ("-passin", "env:AUTHORITY_PASSPHRASE") if passphrase else ()
        return openssl(
            "ca", "-batch", "-config", f"{self.path}/openssl.cnf", *secret, *arguments, fails=fails,
            AUTHORITY_PASSPHRASE=passphrase,
        )  # fmt: skip

    def adopt(self, *, check_mode: bool = False, **claim: str) -> list[str]:
        """Adopt the authority and return what that changed."""
        reported = adoption.Claim(**claim)
        return adoption.adopt(self.path, reported, self.passphrase, self.now, check_mode=check_mode).changes

    def listed(self) -> dict[str, dict[str, Any]]:
        """Return the result of module certs_info, by serial."""
        return {entry["serial"]: entry for entry in listing.listing(self.path, self.now)}

    def digest(self) -> dict[str, str]:
        """Return every file except the lock with its mode and contents, for comparisons."""
        return tree(Path(self.path))


_BY_HAND = """\
[ ca ]
default_ca = CA_default

[ CA_default ]
dir = {directory}
certs = $dir/certs
new_certs_dir = $dir/{new_certificates}
database = $dir/index.txt
serial = $dir/serial
{crl_number}
private_key = $dir/{key}
certificate = $dir/{certificate}
crl_extensions = crl_ext
default_md = sha256
default_days = 375
default_crl_days = 30
preserve = no
policy = policy_loose
copy_extensions = copy
x509_extensions = usr_cert
{unique_subject}

[ policy_loose ]
countryName = optional
stateOrProvinceName = optional
localityName = optional
organizationName = optional
organizationalUnitName = optional
commonName = optional
emailAddress = optional

[ req ]
distinguished_name = req_distinguished_name
x509_extensions = v3_ca
string_mask = {string_mask}

[ req_distinguished_name ]
commonName = Common Name

[ v3_ca ]
{extensions}

[ usr_cert ]
basicConstraints = CA:FALSE
keyUsage = digitalSignature
extendedKeyUsage = clientAuth

[ crl_ext ]
{crl_extensions}
"""
_FULL = """\
basicConstraints = CA:true
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
keyUsage = cRLSign, keyCertSign
"""


@dataclass
class ByHand:
    """An authority made by hand with the openssl command."""

    path: Path
    certificate: str = "certs/ca.cert.pem"
    key: str = "private/ca.key.pem"
    new_certificates: str = "newcerts"
    directory: str = "."
    extensions: str = _FULL
    crl_extensions: str = "authorityKeyIdentifier = keyid:always"
    crl_number: str | None = None
    unique_subject: str = ""
    string_mask: str = "utf8only"
    rsa: int | None = None
    passphrase: str | None = None
    traditional: bool = False
    subject: str = "/C=DE/O=Example/CN=Hand Made CA"

    def make(self) -> ByHand:
        """Make it."""
        for name in (self.new_certificates, os.path.dirname(self.certificate), os.path.dirname(self.key)):
            (self.path / name).mkdir(parents=True, exist_ok=True)
        (self.path / "index.txt").touch()
        (self.path / "serial").write_text("1000\n")
        if self.crl_number:
            (self.path / "crlnumber").write_text(f"{self.crl_number}\n")
        (self.path / "openssl.cnf").write_text(self.configuration(self.directory))
        self._make_key()
        self.run(
            "req", "-new", "-x509", "-key", self.key, "-out", self.certificate, "-subj", self.subject, "-days", "3650"
        )
        return self

    def configuration(self, directory: str) -> str:
        """Return an operator's openssl.cnf for this directory."""
        unique = f"unique_subject = {self.unique_subject}" if self.unique_subject else ""
        number = "crlnumber = $dir/crlnumber" if self.crl_number else ""
        values = {**vars(self), "directory": directory, "unique_subject": unique, "crl_number": number}
        return _BY_HAND.format(**values)

    def _make_key(self) -> None:
        path, secret = str(self.path / self.key), ("-aes256", "-passout", f"pass:{self.passphrase}")
        options = secret if self.passphrase else ()
        if self.traditional:
            openssl("genrsa", "-traditional", *options, "-out", path, str(self.rsa or 2048))
        elif self.rsa:
            openssl(
                "genpkey",
                "-algorithm",
                "RSA",
                "-pkeyopt",
                f"rsa_keygen_bits:{self.rsa}",
                *self._pass("out"),
                "-out",
                path,
            )
        else:
            openssl(
                "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", *self._pass("out"), "-out", path
            )
        os.chmod(path, 0o600)

    def _pass(self, way: str) -> tuple[str, ...]:
        cipher = ("-aes-256-cbc",) if way == "out" else ()
        return (*cipher, f"-pass{'' if way == 'out' else way}", f"pass:{self.passphrase}") if self.passphrase else ()

    def run(self, what: str, *arguments: str, fails: bool = False) -> str:
        """Run one of openssl's commands in the directory, with the operator's configuration."""
        configuration = self.path.with_name(f"{self.path.name}.cnf")
        configuration.write_text(self.configuration("."))
        argv = ("openssl", what, "-config", str(configuration), *self._pass("in"), *arguments)
        return command(*argv, fails=fails, directory=self.path)

    def sign(self, subject: str, *emails: str, options: tuple[str, ...] = ()) -> str:
        """Sign a client's request with these e-mail addresses as subjectAltName; return the serial."""
        base = str(self.path.with_name(f"{self.path.name}-request"))
        names = ("-addext", "subjectAltName=" + ",".join(f"email:{email}" for email in emails)) if emails else ()
        openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-utf8", "-subj", subject,
                "-keyout", f"{base}.key", "-out", f"{base}.csr", *names)  # fmt: skip
        serial = (self.path / "serial").read_text().strip()
        self.run("ca", "-batch", "-notext", "-utf8", "-in", f"{base}.csr", "-out", f"{base}.crt", *options)
        return serial

    def revoke(self, serial: str, *reason: str) -> None:
        """Revoke a certificate."""
        self.run("ca", "-revoke", self.file(serial), *(reason and ("-crl_reason", *reason)))

    def file(self, serial: str) -> str:
        """Return the path of an issued certificate."""
        return str(self.path / self.new_certificates / f"{serial}.pem")

    def updatedb(self) -> None:
        """Mark expired certificates."""
        self.run("ca", "-updatedb")

    def gencrl(self, name: str = "crl.pem") -> x509.CertificateRevocationList:
        """Make a CRL in the directory."""
        self.run("ca", "-gencrl", "-out", name)
        return x509.load_pem_x509_crl((self.path / name).read_bytes())


@dataclass
class EasyRsa:
    """An authority made with easy-rsa 3."""

    path: Path

    def make(self) -> EasyRsa:
        """Make it."""
        self.run("init-pki")
        self.run("--req-cn=Easy CA", "build-ca", "nopass")
        return self

    def run(self, *arguments: str) -> str:
        """Run easyrsa on the directory."""
        environment = {"EASYRSA_PKI": str(self.path), "EASYRSA_ALGO": "ec", "EASYRSA_CURVE": "prime256v1"}
        argv = ("/usr/share/easy-rsa/easyrsa", "--batch", *arguments)
        return command(*argv, directory=self.path.parent, **environment)

    def sign(self, name: str) -> str:
        """Make a client's key and certificate; return the serial."""
        self.run("build-client-full", name, "nopass")
        return openssl("x509", "-in", str(self.path / "issued" / f"{name}.crt"), "-noout", "-serial").strip()[7:]

    def revoke(self, name: str, *reason: str) -> None:
        """Revoke a client's certificate."""
        self.run("revoke", name, *reason)

    def gencrl(self) -> x509.CertificateRevocationList:
        """Write a CRL with easy-rsa."""
        self.run("gen-crl")
        return x509.load_pem_x509_crl((self.path / "crl.pem").read_bytes())


def tree(directory: Path) -> dict[str, str]:
    """Return every file below a directory, except locks, with its mode and a digest of its contents."""
    found = {}
    for path in sorted(directory.rglob("*")):
        if path.name == ".lock":
            continue
        what = "link " + os.readlink(path) if path.is_symlink() else "directory"
        if path.is_file() and not path.is_symlink():
            what = hashlib.sha256(path.read_bytes()).hexdigest()
        found[str(path.relative_to(directory))] = f"{path.lstat().st_mode:o} {what}"
    return found


def client(name: str = "alex", **changes: Any) -> Client:
    """Return a client of the roster."""
    defaults: dict[str, Any] = {
        "common_name": name.title(),
        "organization": None,
        "email": (f"{name}@example.org",),
        "roles": ("admin",),
        "key": P256,
        "valid_for": timedelta(days=365),
        "present": True,
        "reason": "cessationOfOperation",
        "bundle_profiles": (),
    }
    return Client(name=name, **{**defaults, **changes})


@pytest.fixture
def door(tmp_path: Path) -> Door:
    """Return an authority for one test, with an unencrypted P-256 key."""
    made = Door(str(tmp_path / "ca"))
    made.create()
    return made


@pytest.fixture
def empty_door(tmp_path: Path) -> Door:
    """Return the place of an authority that does not exist yet."""
    return Door(str(tmp_path / "ca"))


@pytest.fixture(name="client")
def client_fixture() -> Any:
    """Return the function that makes a client."""
    return client


@pytest.fixture(name="openssl")
def openssl_fixture() -> Any:
    """Return the function that runs openssl."""
    return openssl


@pytest.fixture(name="command")
def command_fixture() -> Any:
    """Return the function that runs any command."""
    return command


@pytest.fixture(name="tree")
def tree_fixture() -> Any:
    """Return the function that digests a directory."""
    return tree


@pytest.fixture
def by_hand(tmp_path: Path) -> Any:
    """Return a function that makes an authority with the openssl command."""
    return lambda **options: ByHand(options.pop("path", tmp_path / "theirs"), **options).make()


@pytest.fixture
def easy_rsa(tmp_path: Path) -> Any:
    """Return a function that makes an authority with easy-rsa."""
    return lambda path=tmp_path / "pki": EasyRsa(path).make()
