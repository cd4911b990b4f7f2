# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that the witness of a revocation detects gates that keep a client connected."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks.revocation_witness import (
    GateEndpoint,
    Proof,
    Witness,
    ask_trust,
    unproven_hosts,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._probe.messages import Identity, Target
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID
from support.lab import free_ports, make_certificate, write_pair
from support.nginx import NginxInstance

NAME = "admin.test"
OFF = "ssl_session_cache off; ssl_session_tickets off;"

GATE = """
map $ssl_client_verify $verdict { default deny; SUCCESS cert; }
server {
    listen 127.0.0.1:%(port)d ssl;
    server_name admin.test;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_certificate %(tls)s/server.crt;
    ssl_certificate_key %(tls)s/server.key;
    ssl_client_certificate %(tls)s/ca.crt;
    ssl_crl %(tls)s/crl.pem;
    ssl_verify_client optional_no_ca;
    %(sessions)s
    add_header X-Quietdoor-Verdict $verdict always;
    add_header X-Quietdoor-Generation "gate=1 trust=%(trust)d" always;
    error_page 495 =403 /refused;
    location = /refused { internal; return 403; }
    location = /.well-known/quietdoor { if ($verdict = cert) { return 204; } return 403; }
    location /chat {
        proxy_pass http://127.0.0.1:%(upstream)d;
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection upgrade;
    }
}
"""


class Gate:
    """An nginx with a certificate authority of its own, and a certificate of carl's."""

    def __init__(self, root: Path, main: str = "") -> None:
        self.tls = root / "tls"
        self.tls.mkdir()
        self.port, self.upstream = free_ports(2)
        self.authority = make_certificate("Test CA", is_ca=True, eku=None)
        write_pair(self.tls / "ca", *self.authority)
        write_pair(self.tls / "server", *make_certificate(NAME, eku=ExtendedKeyUsageOID.SERVER_AUTH, dns=(NAME,)))
        self.carl = make_certificate("carl", issuer=self.authority)
        self.identity = Identity("carl", *map(str, write_pair(self.tls / "carl", *self.carl)))
        self.main = main
        self.write_crl()
        self.nginx = NginxInstance(root / "nginx")

    def write_crl(self, *revoked: x509.Certificate) -> None:
        now = datetime.now(timezone.utc).replace(tzinfo=None)
        builder = x509.CertificateRevocationListBuilder(
            self.authority[0].subject, now - timedelta(hours=1), now + timedelta(days=1)
        )
        for one in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(one.serial_number).revocation_date(now).build()
            builder = builder.add_revoked_certificate(entry)
        crl = builder.sign(self.authority[1], hashes.SHA256())
        (self.tls / "crl.new").write_bytes(crl.public_bytes(serialization.Encoding.PEM))
        (self.tls / "crl.new").rename(self.tls / "crl.pem")

    def configure(self, sessions: str, trust: int) -> None:
        values = {"port": self.port, "upstream": self.upstream, "tls": self.tls, "sessions": sessions, "trust": trust}
        self.nginx.configure(GATE % values, main=self.main)

    def door(self, **options: object) -> GateEndpoint:
        target = Target("127.0.0.1", self.port, str(self.tls / "server.crt"))
        return GateEndpoint("web1", "admin", target, NAME, self.port, **options)

    def serve(self, sessions: str, trust: int) -> None:
        self.configure(sessions, trust)
        self.nginx.reload()
        for _attempt in range(200):
            if all(ask_trust(self.door(), "nobody", trust).ok for _time in range(4)):
                return
        raise AssertionError("the reload did not take")


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    made = Gate(tmp_path)
    made.configure(OFF, 1)
    with made.nginx:
        yield made


# Requests that began before the revocation: a former worker answers them with the former trust.
BEGUN = {"connection past the handshake", "half a request header"}


def revoked(gate: Gate, sessions: str = OFF, reload: bool = True, **options: object) -> dict[str, Proof]:
    """Let carl be in, revoke, and return what the witness says, by what it tried."""
    gate.serve(sessions, 2)
    witness = Witness(gate.door(**options), gate.identity)
    witness.open()
    gate.write_crl(gate.carl[0])
    if reload:
        gate.serve(sessions, 3)
    return {proof.tried.removesuffix(" (not resumed: a full handshake)"): proof for proof in witness.judge(3)}


def test_a_sound_gate_is_proven(gate: Gate) -> None:
    proofs = revoked(gate)
    assert {tried for tried, proof in proofs.items() if proof.ok} == {
        "fresh, TLS 1.2", "fresh, TLS 1.3", "session from before, TLS 1.2 session id", "session from before, TLS 1.2 ticket",
        "session from before, TLS 1.3 ticket", "connection kept alive",
    }  # fmt: skip
    assert {tried for tried, proof in proofs.items() if not proof.ok} == BEGUN
    assert all(
        proofs[tried].ok is None and "a former worker of nginx answered" in proofs[tried].seen for tried in BEGUN
    )
    assert "before: 204 cert" in proofs["fresh, TLS 1.3"].seen
    assert unproven_hosts(list(proofs.values()), ["web1", "web2"]) == ["web2"]


def test_a_shared_session_cache_is_found_out(gate: Gate) -> None:
    """nginx-facts: after revoke and reload a resumed session still gets in with ssl_session_cache shared."""
    proofs = revoked(gate, "ssl_session_cache shared:gate:1m; ssl_session_tickets off;")
    assert proofs["fresh, TLS 1.2"].ok
    assert proofs["session from before, TLS 1.2 session id"].ok is False
    assert unproven_hosts(list(proofs.values()), ["web1"]) == ["web1"]


def test_a_fixed_ticket_key_is_found_out(gate: Gate) -> None:
    (gate.tls / "ticket.key").write_bytes(bytes(range(80)))
    proofs = revoked(gate, f"ssl_session_tickets on; ssl_session_ticket_key {gate.tls}/ticket.key;")
    assert proofs["fresh, TLS 1.2"].ok
    assert proofs["session from before, TLS 1.2 ticket"].ok is False
    assert proofs["session from before, TLS 1.3 ticket"].ok is False


def test_a_reload_that_did_not_take_is_found_out(gate: Gate) -> None:
    proofs = revoked(gate, reload=False)
    assert {proof.ok for tried, proof in proofs.items() if tried not in BEGUN} == {False}
    assert "204 cert" in proofs["connection kept alive"].seen


def test_refused_under_another_generation_is_no_proof(gate: Gate) -> None:
    gate.write_crl(gate.carl[0])
    gate.serve(OFF, 2)
    witness = Witness(gate.door(), gate.identity)
    witness.open()
    # nginx itself closes a connection on which it refused a certificate.
    proofs = [proof for proof in witness.judge(7) if proof.tried not in BEGUN]
    assert {proof.ok for proof in proofs if proof.seen != "closed by nginx"} == {False}


def test_a_websocket_that_is_not_cut_is_found_out(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "ansible_collections.quietdoor.mtls.plugins.module_utils._checks.revocation_witness._MARGIN", 0.5
    )
    with _chat(gate.upstream):
        proof = revoked(gate, websocket_path="/chat", cut_after=0.5)["open WebSocket, /chat"]
        assert (proof.ok, proof.seen) == (False, "still open")


def test_websocket_that_may_stay_open_is_reported(gate: Gate) -> None:
    with _chat(gate.upstream):
        proof = revoked(gate, websocket_path="/chat")["open WebSocket, /chat"]
        assert proof.ok is None
        assert "lives on" in proof.seen


def test_a_websocket_that_is_cut(tmp_path: Path) -> None:
    made = Gate(tmp_path, "worker_shutdown_timeout 1s;")
    made.configure(OFF, 1)
    with made.nginx, _chat(made.upstream):
        proof = revoked(made, websocket_path="/chat", cut_after=1.0)["open WebSocket, /chat"]
        assert (proof.ok, proof.seen) == (True, "cut")


def test_unreachable_gate_is_not_a_proof(gate: Gate) -> None:
    gate.nginx.stop()
    witness = Witness(gate.door(websocket_path="/chat"), gate.identity)
    witness.open()
    proofs = list(witness.judge(2))
    assert not [proof for proof in proofs if proof.ok]
    assert unproven_hosts(proofs, ["web1"]) == ["web1"]


def test_unreadable_key_is_reported(gate: Gate) -> None:
    witness = Witness(gate.door(), Identity("carl", gate.identity.certificate, "/nowhere/carl.key"))
    witness.open()
    (proof,) = witness.judge(2)
    assert (proof.ok, "/nowhere/carl.key" in proof.seen) == (False, True)


@contextlib.contextmanager
def _chat(port: int) -> Iterator[None]:
    """An application that switches protocols and then waits."""

    def serve(listener: socket.socket) -> None:
        kept = []
        with contextlib.suppress(OSError):
            while True:
                connection, _address = listener.accept()
                kept.append(connection)
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        for connection in kept:
            connection.close()

    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen()
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()
