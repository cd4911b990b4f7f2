# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define requests, connections, identities and answers of the probe."""

from __future__ import annotations

from dataclasses import dataclass

from .._contracts.status_protocol import PROBE_USER_AGENT

HTTP = "http"  # an HTTP answer was received
REJECTED = "rejected"  # the handshake was refused with a TLS alert (RFC 8446 section 6.2)
UNTRUSTED = "untrusted"  # the server certificate failed verification
NO_ANSWER = "no answer"  # anything else; it never counts as a refusal by itself

REFUSED_CONNECTION = "connection refused"
CLOSED = "closed without an answer"
TIMED_OUT = "timed out"
NOT_TLS = "does not speak TLS"
WRONG_NAME = "certificate is for another name"


@dataclass(frozen=True)
class Identity:
    """A certificate and key to present, as paths of PEM files; both are empty for an unauthenticated client.

    :param name: the name of the client in the report.
    """

    name: str
    certificate: str = ""
    key: str = ""


NOBODY = Identity("no certificate")


@dataclass(frozen=True)
class Target:
    """The address to connect to, and the CA that the server certificate is verified with.

    :param address: IP address; ``port`` its TCP port.
    :param server_ca: PEM file of the CA that signed the server's certificate; empty for the system's store.
    :param timeout: seconds for one whole call, connection to last byte.
    """

    address: str
    port: int
    server_ca: str = ""
    timeout: float = 5.0


@dataclass(frozen=True)
class Request:
    """One HTTP request as it is sent; only ``Connection: close`` and a Content-Length are added.

    :param host: the Host header; None omits it.
    """

    method: str
    target: str
    host: str | None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    version: str = "HTTP/1.1"

    def encode(self) -> bytes:
        """Return the bytes of the request (RFC 9112 section 3)."""
        fields = [("Host", self.host)] if self.host is not None else []
        fields += [("Connection", "close"), ("User-Agent", PROBE_USER_AGENT), *self.headers]
        if self.body:
            fields.append(("Content-Length", str(len(self.body))))
        lines = [f"{self.method} {self.target} {self.version}", *(f"{name}: {value}" for name, value in fields), "", ""]
        return "\r\n".join(lines).encode("latin-1") + self.body


@dataclass(frozen=True)
class Connection:
    """The TLS parameters of one connection.

    :param sni: server name in the handshake (RFC 6066 section 3); None omits it.
    :param tls: ``1.2`` or ``1.3`` pins the version; empty allows both.
    :param verify: whether the server certificate is verified; without SNI only its chain is.
    :param plain: use plain HTTP without TLS.
    :param alpn: protocols to offer (RFC 7301).
    """

    sni: str | None = None
    identity: Identity = NOBODY
    tls: str = ""
    verify: bool = True
    plain: bool = False
    alpn: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """The result of one request.

    :param outcome: HTTP, REJECTED, UNTRUSTED or NO_ANSWER.
    :param reason: why an HTTP answer is missing; empty if there is one.
    :param handshake: whether the TLS handshake was completed.
    :param resumed: whether the TLS session was resumed.
    :param down: whether it shows that the application behind the gate does not run (:meth:`ProbeSession.ask`).
    """

    outcome: str
    reason: str = ""
    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    handshake: bool = False
    tls: str = ""
    resumed: bool = False
    alpn: str = ""
    down: bool = False

    def header(self, name: str) -> str | None:
        """Return the value of a header, several of them joined by a comma, or None."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return ", ".join(values) if values else None
