# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Playbook revoke: two web hosts, people who are in when it begins, and nobody else notices."""

from __future__ import annotations

import contextlib
import re
import secrets
import socket
import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from support.lab import Lab, Site, curl, free_ports
from support.nginx import NginxInstance

if TYPE_CHECKING:
    from collections.abc import Iterator

STATUS = "/.well-known/quietdoor"
REVOKE = "quietdoor.mtls.revoke"


class Chat:
    """An application that takes WebSockets and keeps them open; anything else gets 200."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.reached: list[str] = []
        chat = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                chat.reached.append(self.path)
                if self.headers.get("Upgrade", "").lower() != "websocket":
                    self.send_response(200)
                    self.send_header("Content-Length", "2")
                    self.end_headers()
                    self.wfile.write(b"in")
                    return
                self.send_response(101)
                self.send_header("Connection", "Upgrade")
                self.send_header("Upgrade", "websocket")
                self.end_headers()
                self.close_connection = True
                with contextlib.suppress(OSError):
                    while self.connection.recv(1024):
                        pass

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


class TwoHosts(Lab):
    """web1 and web2, each with an nginx and one site of its own; web2 cuts connections, web1 does not."""

    def __init__(self, root: Path, seed: int) -> None:
        super().__init__(root, seed, clients=3, sites=2)
        self.roster = [
            {"name": name, "common_name": name, "email": [f"{name}@example.org"], "roles": ["admin"]}
            for name in ("alex", "carl", "dora", "erin", "frank")
        ]
        self.second = NginxInstance(root / "nginx2")
        self.nginxes = [self.nginx, self.second]
        for site in self.sites:
            site.application.stop()
            site.application = Chat(site.application.port)
            site.entry["websocket"] = True
        # Each form of revocation once: web1 asks the CRL, web2 the deny map alone.
        self.sites[1].entry["revocation"] = "map"
        self.second.configure(main="include modules-enabled/*.conf;")
        (self.second.prefix / "modules-enabled").mkdir()
        self.more_hosts: dict[str, dict] = {}
        bundle = root / "tls" / "all.pem"
        bundle.write_text("".join((root / "tls" / f"{site.name}.crt").read_text() for site in self.sites))
        self.variables["rollout_probe_server_ca"] = str(bundle)
        self.variables["rollout_probe_websocket_path"] = "/chat"

    def write_inventory(self, **overrides: object) -> Path:
        """Write the inventory of the CA host and the web hosts."""
        web = {}
        for number, (nginx, site) in enumerate(zip(self.nginxes, self.sites), 1):
            web[f"web{number}"] = {
                "gate_sites": [site.entry],
                "gate_nginx_conf_path": str(nginx.prefix),
                "gate_nginx_log_path": str(nginx.prefix),
                "gate_nginx_test_argv": nginx.test_argv,
                "gate_nginx_reload_argv": nginx.reload_argv,
            }
        if "web2" in web:
            web["web2"]["trust_worker_shutdown_timeout"] = "1s"
        inventory = {
            "all": {"vars": {**self.variables, "authority_roster": self.roster, **overrides}},
            "mtls_ca": {"hosts": {"localhost": {}}},
            "mtls_web": {"hosts": {**web, **self.more_hosts}},
        }
        path = self.root / "inventory.yml"
        path.write_text(yaml.safe_dump(inventory), encoding="utf-8")
        return path

    def stop(self) -> None:
        """End both."""
        super().stop()
        self.second.stop()

    def pair(self, name: str, stem: str = "") -> tuple[Path, Path]:
        """Certificate and key of a client."""
        directory = self.authority / "clients" / name
        return directory / f"{stem or name}.crt", directory / f"{stem or name}.key"

    def status(self, site: Site, pair: tuple[Path, Path]) -> int:
        """Return the answer on a new connection."""
        return curl(site, self, "--cert", str(pair[0]), "--key", str(pair[1]))[0]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoHosts]:
    """Two hosts with live gates."""
    seed = secrets.randbelow(10**9)
    print(f"seed {seed}")
    made = TwoHosts(tmp_path_factory.mktemp("revoke"), seed)
    try:
        for nginx in made.nginxes:
            nginx.start()
        run = made.play()
        assert run.code == 0, run.output[-6000:]
        yield made
    finally:
        made.stop()


@dataclass
class Intruder:
    """The open connections of a client when the revocation begins."""

    lab: TwoHosts
    site: Site
    pair: tuple[Path, Path]
    sessions: list[tuple[ssl.SSLContext, ssl.SSLSession | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            for tickets in (True, False):
                context = self._context(version, tickets)
                answer, session = self._ask(context, None)
                assert answer.startswith(b"HTTP/1.1 200"), answer
                self.sessions.append((context, session))
        self.kept = self._connect(self._context())
        assert self._on(self.kept, "keep-alive").startswith(b"HTTP/1.1 200")
        self.websocket = self._connect(self._context())
        assert self._on(self.websocket, "Upgrade\r\nUpgrade: websocket").startswith(b"HTTP/1.1 101")

    def _context(self, version: ssl.TLSVersion | None = None, tickets: bool = True) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if version:
            context.minimum_version = context.maximum_version = version
        if not tickets:
            context.options |= ssl.OP_NO_TICKET
        context.load_cert_chain(*map(str, self.pair))
        return context

    def _connect(self, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> ssl.SSLSocket:
        raw = socket.create_connection(("127.0.0.1", self.site.port), 10)
        return context.wrap_socket(raw, server_hostname=self.site.server_name, session=session)

    def _on(self, tls: ssl.SSLSocket, connection: str) -> bytes:
        host = f"{self.site.server_name}:{self.site.port}"
        try:
            tls.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: {connection}\r\n\r\n".encode())
            return tls.recv(65536)
        except OSError:
            return b""

    def _ask(self, context: ssl.SSLContext, session: ssl.SSLSession | None) -> tuple[bytes, ssl.SSLSession | None]:
        with self._connect(context, session) as tls:
            return self._on(tls, "close"), tls.session

    def resumed(self) -> list[bytes]:
        """The status lines that the sessions from before get now."""
        return [self._ask(*pair)[0].split(b"\r\n")[0] for pair in self.sessions]

    def on_kept(self) -> bytes:
        """Return the answer on the kept-alive connection, or nothing if it was closed."""
        return self._on(self.kept, "close").split(b"\r\n")[0]

    def websocket_ends(self) -> bool:
        """Whether the WebSocket is closed."""
        self.websocket.settimeout(2)
        try:
            return not self.websocket.recv(1)
        except TimeoutError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        self.kept.close()
        self.websocket.close()


@contextlib.contextmanager
def somebody_works(lab: TwoHosts, name: str) -> Iterator[list[tuple[str, int]]]:
    """Send requests of an admitted client to both sites all the time; the list is what was not 200."""
    refused: list[tuple[str, int]] = []
    over = threading.Event()
    counted = [0]

    def work() -> None:
        while not over.is_set():
            for site in lab.sites:
                status = lab.status(site, lab.pair(name))
                counted[0] += 1
                if status != 200:
                    refused.append((site.name, status))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield refused
    finally:
        over.set()
        thread.join()
    assert counted[0] > 20


def one_line(output: str) -> str:
    """Return output without line breaks and repeated spaces."""
    return " ".join(output.split())


def proofs(output: str) -> list[str]:
    """The lines of the witness."""
    return re.findall(r'"((?:ok|note|WRONG) .*)"', output)


def test_revoked_client_is_refused_everywhere_and_no_other_is(lab: TwoHosts) -> None:
    inside = [Intruder(lab, site, lab.pair("carl")) for site in lab.sites]
    with somebody_works(lab, "alex") as refused:
        run = lab.play("-e", "revoke_client=carl", "-e", "revoke_wait_for_connections=1s", playbook=REVOKE)
    assert run.code == 0, run.output[-8000:]
    assert refused == []
    reached = lab.reached()
    for intruder in inside:
        assert lab.status(intruder.site, intruder.pair) == 403
        assert all(b" 403 " in line for line in intruder.resumed())
        assert intruder.on_kept() == b""
    assert lab.reached() == reached
    # web2 has trust_worker_shutdown_timeout, web1 does not, and the play says so.
    assert [intruder.websocket_ends() for intruder in inside] == [False, True]
    seen = proofs(run.output)
    assert not [line for line in seen if line.startswith("WRONG")]
    for host in ("web1", "web2"):
        for tried in (
            "fresh, TLS 1.2", "fresh, TLS 1.3", "TLS 1.2 session id", "TLS 1.2 ticket", "TLS 1.3 ticket", "kept alive"
        ):  # fmt: skip
            assert any(line.startswith("ok") and f" {host} " in line and tried in line for line in seen), (host, tried)
    assert any(line.startswith("note") and " web1 " in line and "lives on" in line for line in seen)
    assert any(line.startswith("ok") and " web2 " in line and "open WebSocket, /chat: cut" in line for line in seen)
    assert all("before: 204 cert" in line for line in seen if "fresh, TLS" in line)
    for tried in ("connection past the handshake", "half a request header"):
        line = next(line for line in seen if " web1 " in line and tried in line)
        # On a busy machine more than 20 s pass, and nginx has closed the connection.
        answered = line.startswith("note") and "204 cert" in line and "a former worker of nginx answered" in line
        assert answered or (line.startswith("ok") and line.endswith("closed by nginx")), line
    held = r'"web1": "[0-9]+ former workers? \(process [0-9, ]+\): 1 connection to the ports of gates\.'
    assert re.search(held, one_line(run.output)), one_line(run.output)[-3000:]
    assert "client_header_timeout 20s of" in one_line(run.output)
    assert "until no limit (worker_shutdown_timeout is not set for them)" in one_line(run.output)
    assert "With the private key, from outside" in run.output
    assert "carl is still on the roster" in run.output
    for intruder in inside:
        intruder.close()


def test_stolen_key_ends_what_had_begun(lab: TwoHosts) -> None:
    """The first run ends the former workers, the second changes nothing and proves the revocation again."""
    inside = [Intruder(lab, site, lab.pair("dora")) for site in lab.sites]
    run = lab.play("-e", "revoke_client=dora", "-e", "revoke_reason=keyCompromise", playbook=REVOKE)
    assert run.code == 0, run.output[-8000:]
    assert [intruder.websocket_ends() for intruder in inside] == [True, True]
    seen = proofs(run.output)
    for host in ("web1", "web2"):
        for tried in ("connection past the handshake", "half a request header", "open WebSocket"):
            line = next(line for line in seen if f" {host} " in line and tried in line)
            assert line.startswith("ok"), line
        assert f'"{host}": "No former worker runs' in one_line(run.output)
    for intruder in inside:
        intruder.close()
    before = lab.digest()
    again = lab.play("-e", "revoke_client=dora", playbook=REVOKE)
    assert (again.code, again.changed) == (0, 0), again.output[-6000:]
    assert lab.digest() == before
    assert [line for line in proofs(again.output) if line.startswith("ok") and "fresh, TLS 1.3" in line]


def test_check_mode_predicts_and_leaves_everything(lab: TwoHosts) -> None:
    before = lab.digest()
    run = lab.play("--check", "-e", "revoke_client=alex", playbook=REVOKE)
    assert run.code == 0, run.output[-6000:]
    assert run.changed == 5, "revocation, CRL, publication, trust on two hosts"
    assert lab.digest() == before


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ((), "exactly one"),
        (("revoke_client=alex", "revoke_serial=01"), "exactly one"),
        (("revoke_client=nobody",), "nobody"),
        (("revoke_serial=0BADC0DE",), "0BADC0DE"),
        (("revoke_fingerprint=" + "ab" * 32,), "abab"),
        (("revoke_client=alex", "revoke_reason=boredom"), "boredom"),
        (("revoke_client=alex", "revoke_close_connections=ja"), "Write true or false for the first"),
        (("revoke_client=alex", "revoke_wait_for_connections=60"), "a unit for the second, as in 30s"),
    ],
)
def test_invalid_target_is_refused_by_name_before_any_change(lab: TwoHosts, words: tuple[str, ...], named: str) -> None:
    before = lab.digest()
    run = lab.play(*(part for word in words for part in ("-e", word)), playbook=REVOKE)
    assert run.code != 0
    assert named in one_line(run.output)
    assert "Start the witness" not in run.output
    assert lab.digest() == before


def test_client_with_two_certificates_loses_both(lab: TwoHosts) -> None:
    first = lab.pair("erin", (lab.authority / "clients" / "erin" / "erin.crt").resolve().stem)
    lab.roster[3]["roles"] = ["admin", "ops"]  # another certificate; the former one stays valid for the overlap
    assert lab.play().code == 0
    second = lab.pair("erin", (lab.authority / "clients" / "erin" / "erin.crt").resolve().stem)
    assert first != second
    assert [lab.status(lab.sites[0], pair) for pair in (first, second)] == [200, 200]
    inside = [Intruder(lab, lab.sites[1], pair) for pair in (first, second)]
    fingerprint = x509.load_pem_x509_certificate(first[0].read_bytes()).fingerprint(hashes.SHA256()).hex(":")
    by_fingerprint = lab.play("-e", f"revoke_fingerprint={fingerprint}", playbook=REVOKE)
    assert by_fingerprint.code == 0, by_fingerprint.output[-6000:]
    assert [lab.status(lab.sites[0], pair) for pair in (first, second)] == [403, 200]
    run = lab.play("-e", "revoke_client=erin", playbook=REVOKE)
    assert run.code == 0, run.output[-6000:]
    for site in lab.sites:
        assert [lab.status(site, pair) for pair in (first, second)] == [403, 403]
    for intruder in inside:
        assert all(b" 403 " in line for line in intruder.resumed())
        intruder.close()


def test_host_that_is_down_is_named_and_others_are_revoked_by_serial(lab: TwoHosts) -> None:
    pair = lab.pair("frank")
    serial = f"{x509.load_pem_x509_certificate(pair[0].read_bytes()).serial_number:X}"
    lab.more_hosts = {
        "web3": {
            "ansible_connection": "ssh",
            "ansible_host": "127.0.0.1",
            "ansible_port": free_ports(1)[0],
            "gate_sites": [lab.sites[0].entry],
        }
    }
    try:
        run = lab.play("-e", f"revoke_serial={serial}", playbook=REVOKE)
    finally:
        lab.more_hosts = {}
    assert run.code != 0
    assert re.search(r"not proven that they are refused on web3\. web3: it could not be reached", run.output), (
        run.output[-6000:]
    )
    for site in lab.sites:
        assert lab.status(site, pair) == 403


def test_all_hosts_down_is_named_too(lab: TwoHosts) -> None:
    nginxes = lab.nginxes
    lab.nginxes = []
    lab.more_hosts = {
        "web3": {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": free_ports(1)[0]}
    }
    try:
        run = lab.play("-e", "revoke_client=frank", playbook=REVOKE)
    finally:
        lab.nginxes, lab.more_hosts = nginxes, {}
    assert run.code != 0
    assert "refused on web3. web3: it could not be reached" in run.output, run.output[-6000:]


def test_proof_without_the_key_is_described(lab: TwoHosts) -> None:
    lab.roster.append({"name": "gina", "common_name": "gina", "email": ["gina@example.org"]})
    assert lab.play().code == 0
    # Its owner took it along.
    key_file = lab.client("gina", "key").resolve().rename(lab.root / "gina.key")
    pair = (lab.client("gina", "crt"), key_file)
    assert lab.status(lab.sites[0], pair) == 200
    run = lab.play("-e", "revoke_client=gina", playbook=REVOKE)
    assert run.code == 0, run.output[-6000:]
    assert "Without the private key, which is not here" in run.output
    assert "openssl verify with the published bundle: certificate revoked" in run.output
    assert [lab.status(site, pair) for site in lab.sites] == [403, 403]


def test_witness_without_evidence_neither_delays_nor_proves(lab: TwoHosts) -> None:
    lab.roster.append({"name": "hugo", "common_name": "hugo", "email": ["hugo@example.org"]})
    assert lab.play().code == 0
    run = lab.play("-e", "revoke_client=hugo", "-e", "rollout_probe_server_ca=/nowhere.pem", playbook=REVOKE)
    assert run.code != 0
    assert "not proven that they are refused on web1, web2" in run.output, run.output[-6000:]
    assert "server_ca /nowhere.pem cannot be read" in run.output
    assert [lab.status(site, lab.pair("hugo")) for site in lab.sites] == [403, 403]


def test_a_witness_that_fails_delays_nothing_and_is_named(lab: TwoHosts) -> None:
    lab.roster.append({"name": "ines", "common_name": "ines", "email": ["ines@example.org"]})
    assert lab.play().code == 0
    run = lab.play("-e", "revoke_client=ines", "-e", "revoke__listings=nonsense", playbook=REVOKE)
    assert run.code != 0
    assert "nothing proves that they are refused: the witness failed" in run.output, run.output[-6000:]
    assert "nginx serves the new trust" in run.output
    assert [lab.status(site, lab.pair("ines")) for site in lab.sites] == [403, 403]
