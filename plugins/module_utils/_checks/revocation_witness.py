# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prove from outside that one gate refuses one revoked certificate.

A witness opens before the revocation what a client can hold open: TLS sessions to resume, a kept-alive connection, a connection
past the handshake, half a request header, a WebSocket. After the revocation it tries all of them again, and new connections.
Without the private key the proof is the trust generation that the gate reports, and the result of openssl for the certificate
with that trust.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._common.errors import MtlsError
from .._common.files import opened
from .._contracts.status_protocol import GENERATION_HEADER, STATUS_PATH, VERDICT_HEADER
from .._probe.http_client import ask, ask_resumed, take_session
from .._probe.messages import CLOSED, HTTP, NO_ANSWER, REJECTED, Connection, Identity, Request, Target
from .._probe.persistent_connection import PersistentConnection
from .expected_outcomes import DENY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .._probe.http_client import HeldSession
    from .._probe.messages import Answer

_SESSIONS = (("TLS 1.2 session id", "1.2", False), ("TLS 1.2 ticket", "1.2", True), ("TLS 1.3 ticket", "1.3", True))
_TRUST = re.compile(r"\btrust=([0-9]{1,18})\b")
_MARGIN = 10.0  # seconds that nginx may take beyond worker_shutdown_timeout
_OPENSSL_TIMEOUT = 60


@dataclass(frozen=True)
class GateEndpoint:
    """One gate and the address at which the witness reaches it.

    :param port: the port that browsers use, part of the Host header.
    :param websocket_path: the path at which the application accepts WebSockets, empty if unknown.
    :param cut_after: seconds after which open connections are cut at a reload, None if they are not cut.
    :param closed: whether the former workers of nginx were ended after the revocation.
    """

    host: str
    site: str
    target: Target
    server_name: str
    port: int
    websocket_path: str = ""
    cut_after: float | None = None
    closed: bool = False

    @property
    def authority(self) -> str:
        """The Host header."""
        return self.server_name + ("" if self.port == 443 else f":{self.port}")

    def __str__(self) -> str:
        return f"{self.site} on {self.target.address} port {self.target.port}"


@dataclass(frozen=True)
class Proof:
    """One attempt and its result. ``ok`` is None if the result proves nothing but must be reported."""

    host: str
    gate: str
    client: str
    tried: str
    seen: str
    ok: bool | None


class Witness:
    """One certificate with its key at one gate."""

    def __init__(self, endpoint: GateEndpoint, identity: Identity) -> None:
        self.endpoint = endpoint
        self.identity = identity
        self._sessions: list[tuple[str, HeldSession]] = []
        self._kept: PersistentConnection | None = None
        self._websocket: PersistentConnection | None = None
        self._past_handshake: PersistentConnection | None = None
        self._in_header: PersistentConnection | None = None
        self._before = ""
        self._unusable = ""

    def open(self) -> None:
        """Open every connection that is tried again later. Failures are reported by :meth:`judge`."""
        try:
            self._before = _seen(ask(self.endpoint.target, self._connection(), self._request(STATUS_PATH)))
            for label, version, tickets in _SESSIONS:
                held = take_session(
                    self.endpoint.target, self._connection(version), self._request(STATUS_PATH), tickets
                )
                self._sessions.append((label, held))
            self._kept = self._open_connection()
            if self._kept:
                self._kept.ask(STATUS_PATH, self.endpoint.authority)
            self._websocket = self._opened_websocket()
            self._past_handshake = self._open_connection()
            self._in_header = self._begun_request()
        except MtlsError as problem:
            self._unusable = str(problem)

    def judge(self, trust: int) -> Iterator[Proof]:
        """Try every connection again, yield the results, and close all connections.

        :param trust: the trust generation with which the certificate must be refused.
        """
        if self._unusable:
            yield self._proof("open connections", self._unusable, ok=False)
            return
        for version in ("1.2", "1.3"):
            answer = ask(self.endpoint.target, self._connection(version), self._request(STATUS_PATH))
            yield self._refusal(f"fresh, TLS {version}", answer, trust)
        for label, held in self._sessions:
            answer = ask_resumed(self.endpoint.target, held, self._request(STATUS_PATH))
            tried = f"session from before, {label}{'' if answer.resumed else ' (not resumed: a full handshake)'}"
            yield self._refusal(tried, answer, trust)
        yield self._kept_alive(trust)
        yield from self._begun(trust)
        if self.endpoint.websocket_path:
            yield self._open_websocket()
        for connection in (self._kept, self._websocket, self._past_handshake, self._in_header):
            if connection:
                connection.close()

    def _connection(self, version: str = "") -> Connection:
        return Connection(sni=self.endpoint.server_name, identity=self.identity, tls=version)

    def _request(self, path: str) -> Request:
        return Request("GET", path, self.endpoint.authority)

    def _open_connection(self) -> PersistentConnection | None:
        with contextlib.suppress(OSError):
            return PersistentConnection(self.endpoint.target, self._connection())
        return None

    def _opened_websocket(self) -> PersistentConnection | None:
        connection = self._open_connection() if self.endpoint.websocket_path else None
        if connection and connection.upgrade(self.endpoint.websocket_path, self.endpoint.authority).status != 101:
            connection.close()
            return None
        return connection

    def _begun_request(self) -> PersistentConnection | None:
        connection = self._open_connection()
        if connection:
            with contextlib.suppress(OSError):
                connection.begin(STATUS_PATH, self.endpoint.authority)
        return connection

    def _proof(self, tried: str, seen: str, ok: bool | None) -> Proof:
        return Proof(self.endpoint.host, str(self.endpoint), self.identity.name, tried, seen, ok)

    def _refusal(self, tried: str, answer: Answer, trust: int) -> Proof:
        refused = answer.outcome == HTTP and answer.header(VERDICT_HEADER) == DENY and read_trust(answer) == trust
        return self._proof(tried, f"{_seen(answer)}; before: {self._before}", refused or answer.outcome == REJECTED)

    def _kept_alive(self, trust: int) -> Proof:
        if self._kept is None:
            return self._proof("connection kept alive", "none could be opened before", ok=None)
        answer = self._kept.ask(STATUS_PATH, self.endpoint.authority)
        if answer.outcome == NO_ANSWER and answer.reason == CLOSED:
            return self._proof("connection kept alive", "closed by nginx", ok=True)
        return self._refusal("connection kept alive", answer, trust)

    def _begun(self, trust: int) -> Iterator[Proof]:
        """Complete the requests that had begun. A former worker of nginx may answer them with the former trust."""
        if self._past_handshake:
            answer = self._past_handshake.ask(STATUS_PATH, self.endpoint.authority)
            yield self._former("connection past the handshake", answer, trust)
        if self._in_header:
            yield self._former("half a request header", self._in_header.finish(), trust)

    def _former(self, tried: str, answer: Answer, trust: int) -> Proof:
        if answer.outcome == NO_ANSWER and answer.reason == CLOSED:
            return self._proof(tried, "closed by nginx", ok=True)
        proof = self._refusal(tried, answer, trust)
        if proof.ok or self.endpoint.closed:
            return proof
        words = "a former worker of nginx answered, since the connection began before the revocation"
        return self._proof(tried, f"{_seen(answer)}: {words}" if answer.outcome == HTTP else _seen(answer), ok=None)

    def _open_websocket(self) -> Proof:
        tried = f"open WebSocket, {self.endpoint.websocket_path}"
        if self._websocket is None:
            return self._proof(tried, "none could be opened before", ok=None)
        if self.endpoint.cut_after is None:
            gone = self._websocket.ends_within(1)
            seen = (
                "closed"
                if gone
                else "lives on until it is closed by either side: no trust_worker_shutdown_timeout is set"
            )
            return self._proof(tried, seen, ok=True if gone else None)
        gone = self._websocket.ends_within(self.endpoint.cut_after + _MARGIN)
        return self._proof(tried, "cut" if gone else "still open", ok=gone)


def ask_trust(endpoint: GateEndpoint, client: str, trust: int) -> Proof:
    """Request the trust generation of a gate without a certificate, and return it as a proof."""
    tried = f"serves trust generation {trust}"
    try:
        answer = ask(
            endpoint.target, Connection(sni=endpoint.server_name), Request("GET", STATUS_PATH, endpoint.authority)
        )
    except MtlsError as problem:
        return Proof(endpoint.host, str(endpoint), client, tried, str(problem), ok=False)
    return Proof(endpoint.host, str(endpoint), client, tried, _seen(answer), read_trust(answer) == trust)


def judge_bundle(publication: str, certificate: str, client: str, serial: str) -> Iterator[Proof]:
    """Yield the result of the openssl command for a certificate with the published trust.

    :param publication: the directory of the publication.
    """
    done = _openssl_verify(publication, certificate)
    revoked = "certificate revoked" in done
    yield Proof(
        "", "", client, "openssl verify with the published bundle", "certificate revoked" if revoked else done, revoked
    )
    issuer = _issuer_of(publication, certificate)
    denied = any(
        (entry["issuer"], entry["serial"]) == (issuer, serial) for entry in _read(publication, "denied.json")["denied"]
    )
    yield Proof("", "", client, "on the published list of denied serials", "yes" if denied else "no", denied)


def published_generation(publication: str) -> int:
    """Return the generation of the publication."""
    return int(_read(publication, "trust.json")["generation"])


def _read(publication: str, name: str) -> dict[str, Any]:
    with opened(os.path.join(publication, name), encoding="utf-8") as file:
        return dict(json.load(file))


def _issuer_of(publication: str, certificate: str) -> int | None:
    """Return the number of the certificate's issuer in the publication, because two CAs may have issued the same serial."""
    printed = _openssl("x509", "-noout", "-issuer", "-nameopt", "RFC2253", "-in", certificate)
    issuers = _read(publication, "identities.json")["issuers"]
    return next((issuer["id"] for issuer in issuers if printed == f"issuer={issuer['subject']}"), None)


def read_trust(answer: Answer) -> int | None:
    """Return the trust generation in an answer, None if there is none."""
    match = _TRUST.search(answer.header(GENERATION_HEADER) or "")
    return int(match[1]) if match else None


def _seen(answer: Answer) -> str:
    if answer.outcome != HTTP:
        return f"{answer.outcome} ({answer.reason})"
    verdict, trust = answer.header(VERDICT_HEADER), read_trust(answer)
    return f"{answer.status} {verdict or 'without a verdict'}{f' trust={trust}' if trust else ''}"


def _openssl_verify(publication: str, certificate: str) -> str:
    trust = ["-CAfile", os.path.join(publication, "ca.pem"), "-CRLfile", os.path.join(publication, "crl.pem")]
    return _openssl("verify", "-crl_check_all", "-purpose", "sslclient", *trust, certificate)


def _openssl(*arguments: str) -> str:
    argv = ["openssl", *arguments]
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_OPENSSL_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"openssl could not be run: {error}"
    return " / ".join((done.stdout + done.stderr).split("\n")).strip(" /")


def unproven_hosts(proofs: Sequence[Proof], hosts: Sequence[str]) -> list[str]:
    """Return the hosts with a failed proof or without any proof."""
    proven = {proof.host for proof in proofs if proof.ok}
    failed = {proof.host for proof in proofs if proof.ok is False}
    everywhere = any(proof.ok is False for proof in proofs if not proof.host)
    return [host for host in hosts if everywhere or host in failed or host not in proven]
