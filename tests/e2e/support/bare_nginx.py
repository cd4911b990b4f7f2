# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nginx with the smallest configuration that shows something: no collection, no roles.

    with bare.serving("server { listen 127.0.0.1:<port>; return 204; }") as nginx:
        assert bare.get("/").status == 204

``<port>`` and ``<other>`` stand for two ports, ``<dir>`` for the directory of the papers, ``<tls>`` for a server certificate and
its key.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID as Usage
from cryptography.x509.oid import NameOID

from support.ca import DAY, NOW, Pair, make_pair
from support.client import Answer, exchange
from support.lab import make_certificate, write_pair
from support.nginx import NginxInstance, children, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Papers:
    """A CA with clients of every kind, a foreign one, and a root with two CAs below it, as files of one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.pairs: dict[str, Pair] = {}
        ca = self._add("ca", is_ca=True, days=(-20, 90))
        foreign = self._add("foreign-ca", is_ca=True)
        self._add("server", usage=Usage.SERVER_AUTH, dns=("panel.test",))
        self._add("alex", ca)
        self._add("carl", ca)
        self._add("small", ca, serial=0xABC)
        self._add("NotAdministrator", ca)
        self._add("Admin", ca)
        self._add("expired", ca, days=(-10, -2))
        self._add("server-only", ca, usage=Usage.SERVER_AUTH)
        self._add("any-use", ca, usage=None)
        self._add("foreign", foreign)
        self._named("comma", ca, (NameOID.ORGANIZATION_NAME, "x,CN=Admin"), (NameOID.COMMON_NAME, "eve"))
        self._named("twice", ca, (NameOID.COMMON_NAME, "Admin"), (NameOID.COMMON_NAME, "eve"))
        root = self._add("root", is_ca=True, days=(-20, 90))
        below = self._add("below", root, is_ca=True)
        beside = self._add("beside", root, is_ca=True)
        self._add("bea", below)
        sibling = self._add("sibling", beside)
        sibling.crt.write_text(sibling.crt.read_text() + beside.crt.read_text())
        (directory / "chain.crt").write_text(below.crt.read_text() + root.crt.read_text())
        self.write("below.crl", self.crl("below"))
        self.write("both.crl", self.crl("below") + self.crl("root"))
        self.write("ca.crl", self.crl("ca", "carl", "expired"))

    def _add(self, name: str, issuer: Pair | None = None, **more: object) -> Pair:
        self.pairs[name] = make_pair(self.directory / name, name, issuer, **more)
        return self.pairs[name]

    def _named(self, name: str, issuer: Pair, *attributes: tuple[x509.ObjectIdentifier, str]) -> None:
        subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])
        certificate, key = make_certificate(name, issuer=(issuer.certificate, issuer.key), subject=subject)
        self.pairs[name] = Pair(certificate, key, *write_pair(self.directory / name, certificate, key))

    def crl(self, issuer: str, *revoked: str, days: tuple[int, int] = (-1, 30), scope: bool = False) -> bytes:
        """Return a CRL as PEM; ``scope`` says in it that it is one of several, for other certificates than ours."""
        pair = self.pairs[issuer]
        builder = x509.CertificateRevocationListBuilder().issuer_name(pair.certificate.subject)
        builder = builder.last_update(NOW + days[0] * DAY).next_update(NOW + days[1] * DAY)
        for name in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(self.pairs[name].certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(NOW - DAY).build())
        if scope:
            place = [x509.UniformResourceIdentifier("http://crl.test/1.crl")]
            point = x509.IssuingDistributionPoint(place, None, False, False, None, False, False)
            builder = builder.add_extension(point, critical=True)
        return builder.sign(pair.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def write(self, name: str, content: bytes) -> None:
        """Put a file in the place of the one of that name, by a rename."""
        new = self.directory / f".{name}.new"
        new.write_bytes(content)
        new.rename(self.directory / name)


@dataclass
class Bare:
    """One version of nginx, and what is written for it."""

    version: str
    root: Path
    papers: Papers

    def __post_init__(self) -> None:
        self.port = free_port(23800, 23899)
        self.other = free_port(23900, 23999)
        self._count = 0

    @property
    def new(self) -> bool:
        """Whether it is the newer one."""
        return self.version != "1.22"

    def _text(self, text: str) -> str:
        directory = self.papers.directory
        tls = f"ssl_certificate {directory}/server.crt; ssl_certificate_key {directory}/server.key;"
        for name, value in {"port": self.port, "other": self.other, "tls": tls, "dir": directory}.items():
            text = text.replace(f"<{name}>", str(value))
        return text

    def _instance(self, http: str, main: str) -> NginxInstance:
        self._count += 1
        prefix = self.root / f"nginx-{self._count}"
        return NginxInstance(prefix, self._text(http), self._text(main), version=self.version)

    @contextlib.contextmanager
    def serving(self, http: str, main: str = "") -> Iterator[NginxInstance]:
        """Run nginx with this at http level (and this at main level) while the block lasts."""
        with self._instance(http, main) as nginx:
            yield nginx

    def change(self, nginx: NginxInstance, http: str) -> None:
        """Write another configuration for an nginx that runs; it is not told."""
        nginx.configure(http=self._text(http))

    def tested(self, http: str, main: str = "") -> tuple[bool, str]:
        """Return whether ``nginx -t`` passes, and what it says."""
        nginx = self._instance(http, main)
        done = subprocess.run(nginx.test_argv, capture_output=True, text=True, check=False)
        return done.returncode == 0, done.stderr

    def context(self, who: str | None, tls: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        """Return a TLS client with the certificate of a client."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if tls:
            context.minimum_version = context.maximum_version = tls
        if who:
            context.load_cert_chain(str(self.papers.pairs[who].crt), str(self.papers.pairs[who].pem))
        return context

    def connect(
        self,
        who: str | None = None,
        *,
        sni: str | None = "panel.test",
        context: ssl.SSLContext | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLSocket:
        """Return a connection with TLS."""
        plain = socket.create_connection(("127.0.0.1", self.port), 10)
        try:
            return (context or self.context(who)).wrap_socket(plain, server_hostname=sni, session=session)
        except BaseException:
            plain.close()
            raise

    def get(
        self,
        path: str = "/",
        who: str | None = None,
        *,
        host: str = "panel.test",
        sni: str | None = "panel.test",
        method: str = "GET",
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """Ask over TLS."""
        with self.connect(who, sni=sni) as tls:
            return exchange(tls, method, path, {"Host": host, **(headers or {})}, body)

    def plain(
        self, path: str = "/", headers: dict[str, str] | None = None, *, port: int = 0, host: str = "panel.test"
    ) -> Answer:
        """Ask without TLS."""
        with socket.create_connection(("127.0.0.1", port or self.port), 10) as connection:
            return exchange(connection, "GET", path, {"Host": host, **(headers or {})})

    def reload(self, nginx: NginxInstance) -> None:
        """Reload and wait until no former worker is left."""
        before = set(children(nginx.pid))
        nginx.reload()
        until(lambda: not before & set(children(nginx.pid)))

    def kept(self, context: ssl.SSLContext) -> tuple[Answer, ssl.SSLSession | None]:
        """Ask for / and return the answer and the session."""
        with self.connect(context=context) as tls:
            answer = exchange(tls, "GET", "/", {"Host": "panel.test"})
            return answer, tls.session

    def resumed(self, context: ssl.SSLContext, session: ssl.SSLSession | None) -> tuple[Answer, bool]:
        """Ask for / on a session and return the answer and whether the session was resumed."""
        with self.connect(context=context, session=session) as tls:
            return exchange(tls, "GET", "/", {"Host": "panel.test"}), bool(tls.session_reused)


def until(condition: object, seconds: float = 15.0) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not become so"
        time.sleep(0.02)
