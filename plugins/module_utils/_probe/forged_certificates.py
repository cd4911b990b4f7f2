# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create temporary forged client certificates with the openssl command (1.1.1 or newer).

Copies are made with ``openssl x509 -signkey``: subject and serial stay the same, only the key differs. The extensions are
written anew, because openssl refuses to sign a copy whose authority key identifier (AKI) still names the key of its issuer.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass

from .._common.errors import MtlsError
from .._common.files import opened
from .messages import Identity

FOREIGN = "foreign CA"
LOOK_ALIKE = "look-alike CA"
SELF_SIGNED = "self-signed"

_TIMEOUT = 60  # seconds for one openssl command
_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-sha256")
_CLIENT_EXTENSIONS = (
    "basicConstraints=critical,CA:false\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\n"
)
_CA_EXTENSIONS = "basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign,cRLSign\n"


@dataclass(frozen=True)
class Described:
    """Subject as nginx prints it (RFC 2253) and serial (upper-case hex, whole bytes) of a certificate."""

    subject: str
    serial: str


@dataclass(frozen=True)
class ForgedCertificates:
    """The forged certificates of one probe run.

    :param look_alike: None when the certificate of the real CA was not given.
    """

    foreign: Identity
    self_signed: Identity
    look_alike: Identity | None = None


class ForgedCertificateFactory:
    """Create forged certificates in ``directory``, which must be private; its owner removes it."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._openssl = shutil.which("openssl")

    def make(self, model: Identity | None, client_ca: str) -> ForgedCertificates:
        """Return forged certificates that resemble the client ``model``.

        :param client_ca: PEM file of the real CA, for a look-alike of that CA; empty for none.
        :raises MtlsError: if openssl is absent or cannot read the model or the CA.
        """
        source = model.certificate if model else self._authority("template", "/O=quietdoor probe/CN=Nobody")
        serial = self.describe(source).serial
        self_signed = self._copy("self-signed", source, _CLIENT_EXTENSIONS)
        unrelated = self._authority("foreign-ca", "/O=quietdoor probe/CN=Foreign CA")
        foreign = self._issue("foreign", unrelated, serial)
        look_alike = self._look_alike(self_signed, client_ca, serial) if client_ca else None
        return ForgedCertificates(
            self._identity(FOREIGN, foreign),
            self._identity(SELF_SIGNED, self_signed),
            self._identity(LOOK_ALIKE, look_alike, "self-signed") if look_alike else None,
        )

    def describe(self, certificate: str) -> Described:
        """Return subject and serial of the first certificate in a PEM file.

        :raises MtlsError: if openssl cannot read it.
        """
        text = self._run("x509", "-in", certificate, "-noout", "-serial", "-subject", "-nameopt", "RFC2253")
        found = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        return Described(subject=found.get("subject", "").strip(), serial=found.get("serial", "").strip())

    def _authority(self, name: str, subject: str) -> str:
        certificate = self._path(name, "crt")
        self._run(
            "req",
            "-x509",
            *_NEW_KEY,
            "-keyout",
            self._path(name, "key"),
            "-subj",
            subject,
            "-days",
            "2",
            "-out",
            certificate,
        )
        return certificate

    def _issue(self, name: str, authority: str, serial: str) -> str:
        request, certificate, extensions = (self._path(name, kind) for kind in ("csr", "crt", "ext"))
        self._run(
            "req", "-new", *_NEW_KEY, "-keyout", self._path(name, "key"), "-subj", "/CN=Stranger", "-out", request
        )
        _write(extensions, _CLIENT_EXTENSIONS)
        self._sign(
            "-req", "-in", request, "-extfile", extensions, "-out", certificate, authority=authority, serial=serial
        )
        return certificate

    def _copy(self, name: str, original: str, extensions: str) -> str:
        """Return a self-signed copy of ``original`` with a new key."""
        key, certificate, file = (self._path(name, kind) for kind in ("key", "crt", "ext"))
        self._run("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)
        _write(file, extensions)
        renewed = ("-signkey", key, "-clrext", "-extfile", file, "-sha256", "-days", "2", "-out", certificate)
        self._run("x509", "-in", original, *renewed)
        return certificate

    def _look_alike(self, self_signed: str, client_ca: str, serial: str) -> str:
        authority = self._copy("look-alike-ca", client_ca, _CA_EXTENSIONS)
        certificate = self._path("look-alike", "crt")
        self._sign("-in", self_signed, "-out", certificate, authority=authority, serial=serial)
        return certificate

    def _sign(self, *arguments: str, authority: str, serial: str) -> None:
        key = os.path.splitext(authority)[0] + ".key"
        self._run(
            "x509", *arguments, "-CA", authority, "-CAkey", key, "-set_serial", f"0x{serial}", "-sha256", "-days", "2"
        )

    def _identity(self, name: str, certificate: str, key_of: str = "") -> Identity:
        key = self._path(key_of, "key") if key_of else os.path.splitext(certificate)[0] + ".key"
        return Identity(name, certificate, key)

    def _path(self, name: str, kind: str) -> str:
        return os.path.join(self._directory, f"{name}.{kind}")

    def _run(self, *arguments: str) -> str:
        if self._openssl is None:
            raise MtlsError(
                "The openssl command is missing; the probe creates its forged certificates with it",
                "Install openssl where gate_probe runs, or select checks that need no forged certificates with option checks",
            )
        done = subprocess.run(
            [self._openssl, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
            check=False,
        )
        if done.returncode != 0:
            message = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise MtlsError(
                f"openssl {arguments[0]} {_input_of(arguments)}ended with {done.returncode}: {message}",
                "Check that the clients' certificates and client_ca are PEM certificates that openssl can read",
            )
        return done.stdout


def _write(path: str, text: str) -> None:
    with opened(path, "w", encoding="ascii") as file:
        file.write(text)


def _input_of(arguments: tuple[str, ...]) -> str:
    return f"-in {arguments[arguments.index('-in') + 1]} " if "-in" in arguments else ""
