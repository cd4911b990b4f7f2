# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The roles trust and gate on a real nginx: who gets in, who does not, and what each of them sees.

The authority is made here, with nothing of the collection: the gate is judged against certificates that it has no part in.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import hashlib
import http.client
import importlib.util
import json
import re
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest
import yaml
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.identity_headers import BLANKED_HEADERS
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID as Usage
from cryptography.x509.oid import NameOID
from nginx_instance import RELEASES, NginxInstance, free_port
from support import programs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COLLECTION = Path(importlib.util.find_spec("ansible_collections.quietdoor.mtls").submodule_search_locations[0])
STATUS = "/.well-known/quietdoor"
Found = TypeVar("Found")
NOW = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
DAY = datetime.timedelta(days=1)
CONTACT = 'Zoë <ops@example.org> & "friends" \\ costs $host & ${ssl_client_s_dn} </p><script>alert(1)</script>'


# --- an authority of the test's own ---


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, and where they lie."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    crt: Path
    pem: Path


def _pair(
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


def _serial(pair: Pair) -> str:
    text = f"{pair.certificate.serial_number:X}"
    return text.zfill(len(text) + len(text) % 2)


def _subject(pair: Pair) -> str:
    argv = ["openssl", "x509", "-in", str(pair.crt), "-noout", "-subject", "-nameopt", "RFC2253"]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip().partition("=")[2]


@dataclass
class Authority:
    """A CA whose publication is written as docs/architecture.md says."""

    path: Path
    ca: Pair
    clients: dict[str, Pair]
    revoked: list[str] = field(default_factory=list)
    denied: list[str] = field(default_factory=list)
    generation: int = 0
    untold: tuple[str, ...] = ()

    def publish(self) -> None:
        """Write the next generation. A name in ``denied`` and not in ``revoked`` has been left out of the CRL.

        What is ``untold`` is left out of identities.json, as by a CA host that does not know it yet.
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
            "subject": _subject(self.ca),
            "sha256": self.ca.certificate.fingerprint(hashes.SHA256()).hex(),
        }
        identities = [
            {
                "issuer": 1,
                "serial": _serial(pair),
                "name": name,
                "common_name": name,
                "email": [f"{name}@example.org"],
                "roles": ["admin", "ops"],
                "not_after": (NOW + 30 * DAY).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "sha256": pair.certificate.fingerprint(hashes.SHA256()).hex(),
                "sha1": pair.certificate.fingerprint(hashes.SHA1()).hex(),
                "der": base64.b64encode(pair.certificate.public_bytes(serialization.Encoding.DER)).decode(),
                "subject": _subject(pair),
            }
            for name, pair in self.clients.items()
        ]
        identities = [{key: value for key, value in one.items() if key not in self.untold} for one in identities]
        denied = [
            {
                "issuer": 1,
                "serial": _serial(self.clients[name]),
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


# --- an application that remembers ---


class _UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class _TcpServer(ThreadingHTTPServer):
    request_queue_size = 128  # nginx may bring all the streams of a connection at once


class Application:
    """Echoes requests as JSON; ``/status/NNN`` answers with that status and a body of its own."""

    def __init__(self, port: int = 0, tls: Pair | None = None, path: Path | None = None) -> None:
        self.port = port
        self.reached: list[str] = []
        application = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                application.reached.append(f"{self.command} {self.path}")
                if self.headers.get("Upgrade", "").lower() == "websocket":
                    self._echo_upgraded()
                    return
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                status = re.match(r"/status/(\d+)", self.path)
                seen = {"path": self.path, "method": self.command, "body": body, "headers": self.headers.items()}
                answer = (f"own page {status[1]}" if status else json.dumps(seen)).encode()
                self.send_response(int(status[1]) if status else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("X-Quietdoor-Verdict", "forged")
                self.send_header("X-Quietdoor-Generation", "gate=999 trust=999")
                if self.path == "/accel":
                    self.send_header("X-Accel-Redirect", "/.well-known/quietdoor/verdict")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer)

            def __getattr__(self, name: str) -> object:
                if name.startswith("do_"):
                    return self.do_GET
                raise AttributeError(name)

            def _echo_upgraded(self) -> None:
                self.send_response(101)
                self.send_header("Upgrade", "websocket")
                self.send_header("Connection", "Upgrade")
                self.end_headers()
                self.wfile.write(self.rfile.read(5)[::-1])
                self.close_connection = True

            def log_message(self, *args: object) -> None:
                pass

            def address_string(self) -> str:
                return "a socket has none"

        self._server = _UnixServer(str(path), Handler) if path else _TcpServer(("127.0.0.1", port), Handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls.crt, tls.pem)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


# --- the world of a test ---


@dataclass
class Answer:
    """What a client got; ``status`` 0 if the handshake was refused."""

    status: int
    headers: dict[str, str]
    body: str

    def seen(self) -> dict[str, str]:
        """Return the headers that the application saw, names in lower case."""
        return {name.lower(): value for name, value in json.loads(self.body)["headers"]}


REJECTED = Answer(0, {}, "")


class World:
    """An authority, an application, an nginx, and the variables of the play."""

    def __init__(
        self, root: Path, nginx: NginxInstance, ports: dict[str, int], application: Application, foreign: Pair
    ) -> None:
        self.root = root
        self.nginx = nginx
        self.ports = ports
        self.application = application
        self.authority = _authority(root)
        self.strangers = _strangers(root, self.authority, foreign)
        self.logs = root / "logs"
        self.logs.mkdir()
        self.server = _pair(
            root / "server",
            "server",
            usage=Usage.SERVER_AUTH,
            dns=("panel.test", "alias.test", "wiki.test", "late.test"),
        )
        self.sites = [
            self.site("panel", ["panel.test", "Alias.TEST"], ports["own"], websocket=True, client_max_body_size="2m"),
            self.site("wiki-2", ["wiki.test"], ports["own"], contact=""),
            self.site("late", ["late.test"], ports["shared"]),
        ]

    def site(self, name: str, server_names: list[str], port: int, **more: object) -> dict[str, object]:
        """Return an entry for gate_sites."""
        return {
            "name": name,
            "stage": "enforce",
            "server_names": server_names,
            "listen": [f"127.0.0.1:{port}"],
            "upstream": f"http://127.0.0.1:{self.application.port}",
            "certificate": str(self.server.crt),
            "certificate_key": str(self.server.pem),
            "contact": CONTACT,
            **more,
        }

    def play(self, *arguments: str, roles: tuple[str, ...] = ("trust", "gate"), **overrides: object) -> Run:
        """Apply roles to this nginx with ansible-playbook."""
        variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": programs.module_interpreter(),
            "authority_publish_path": str(self.authority.path),
            "gate_nginx_conf_path": str(self.nginx.prefix),
            "gate_nginx_binary": self.nginx.binary,
            "gate_nginx_test_argv": self.nginx.test_argv,
            "gate_nginx_reload_argv": self.nginx.reload_argv,
            "gate_nginx_log_path": str(self.logs),
            "gate_sites": self.sites,
            **overrides,
        }
        inventory = {group: {"hosts": {"door": {}}} for group in ("mtls_ca", "mtls_web")}
        inventory["all"] = {"vars": variables}
        (self.root / "inventory.yml").write_text(yaml.safe_dump(inventory))
        play = {
            "hosts": "mtls_web",
            "gather_facts": False,
            "roles": [{"role": f"quietdoor.mtls.{role}"} for role in roles],
        }
        (self.root / "play.yml").write_text(yaml.safe_dump([play]))
        done = programs.ansible_playbook(
            "-i", str(self.root / "inventory.yml"), str(self.root / "play.yml"), *arguments
        )
        return Run(done.returncode, done.stdout + done.stderr)

    def context(self, pair: Pair | None, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        """Return a TLS client that shows the pair. The server is not what is tested, so it is not checked."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if version:
            context.minimum_version = context.maximum_version = version
        if pair:
            context.load_cert_chain(str(pair.crt), str(pair.pem))
        return context

    def get(
        self,
        pair: Pair | None,
        path: str = "/",
        *,
        host: str = "panel.test",
        sni: str | None = "",
        port: str = "own",
        method: str = "GET",
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """Ask over a fresh connection; ``sni`` is that of ``host`` unless given, None for none at all."""
        server_name = host if sni == "" else sni
        with socket.create_connection(("127.0.0.1", self.ports[port]), 10) as plain:
            try:
                with self.context(pair).wrap_socket(plain, server_hostname=server_name) as tls:
                    return exchange(tls, method, path, {"Host": f"{host}:{self.ports[port]}", **(headers or {})}, body)
            except ssl.SSLError:
                return REJECTED

    def log(self, site: str) -> list[dict]:
        """Return the entries of a site's log."""
        return [
            json.loads(line)
            for line in (self.logs / f"quietdoor-{site}.log").read_text("utf-8", "replace").splitlines()
        ]

    def generations(self, host: str = "panel.test", port: str = "own") -> dict[str, int]:
        """Return what the running nginx tells."""
        told = self.get(None, STATUS, host=host, port=port).headers["x-quietdoor-generation"]
        return {name: int(number) for name, number in (part.split("=") for part in told.split())}


@dataclass
class Run:
    """One run of ansible-playbook."""

    code: int
    output: str

    @property
    def changed(self) -> int:
        """How many tasks changed something."""
        return sum(map(int, re.findall(r"changed=(\d+)", self.output)))


def exchange(tls: socket.socket, method: str, path: str, headers: dict[str, str], body: bytes | None = None) -> Answer:
    """Send one request and read the answer."""
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "Connection: close"]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    tls.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
    with contextlib.suppress(OSError):  # the gate may answer and hang up before the body is through
        tls.sendall(body or b"")
    response = http.client.HTTPResponse(tls, method=method)
    response.begin()
    text = response.read().decode()
    return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, text)


def _authority(root: Path) -> Authority:
    ca = _pair(root / "ca", "Test, CA", days=(-20, 90), is_ca=True)
    clients = {name: _pair(root / name, name, ca) for name in ("alex", "bea", "carl", "dora", "emil")}
    clients["fred"] = _pair(root / "fred", "fred", ca, days=(-10, -2))
    return Authority(root / "publication", ca, clients, revoked=["carl", "fred"], denied=["emil"])


def _strangers(root: Path, authority: Authority, foreign: Pair) -> dict[str, Pair | None]:
    """Who must not get in: name of the reason -> pair."""
    ca, alex = authority.ca, authority.clients["alex"]
    double = _pair(root / "double-ca", "Test, CA", is_ca=True)
    serial = alex.certificate.serial_number
    return {
        "none": None,
        "foreign": _pair(root / "foreign", "alex", foreign),
        "look-alike": _pair(root / "look-alike", "alex", double, serial=serial),
        "self-signed": _pair(root / "self-signed", "alex", serial=serial),
        "expired": _pair(root / "expired", "old", ca, days=(-10, -2)),
        "not-yet-valid": _pair(root / "not-yet-valid", "young", ca, days=(2, 10)),
        "server-only": _pair(root / "server-only", "server", ca, usage=Usage.SERVER_AUTH),
        "revoked": authority.clients["carl"],
        "denied": authority.clients["emil"],
        "revoked-and-expired": authority.clients["fred"],
    }


# What the roles render, refuse and report does not depend on the release of nginx; how nginx then behaves is asked of each.
on_one_release = pytest.mark.parametrize("world", list(RELEASES)[:1], indirect=True, scope="module")


@pytest.fixture(scope="module", params=RELEASES)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world to which both roles have been applied."""
    root = tmp_path_factory.mktemp("gate")
    ports = {"own": free_port(22300, 22499), "shared": free_port(22500, 22699)}
    application = Application(free_port(22700, 22899))
    foreign = _pair(root / "foreign-ca", "Foreign", is_ca=True)
    _pair(root / "neighbour", "neighbour", usage=Usage.SERVER_AUTH, dns=("public.test",))
    # A neighbour that makes it hard: default server of its port, resumes sessions, asks for certificates and takes any, trusts a
    # foreign CA for everything, and has habits at http level that sites inherit.
    neighbour = f"""
        ssl_trusted_certificate {root}/foreign-ca.crt;
        underscores_in_headers on;
        proxy_intercept_errors on;
        satisfy any;
        error_page 404 500 /inherited;
        server {{
            listen 127.0.0.1:{ports["shared"]} ssl default_server;
            server_name public.test;
            ssl_certificate {root}/neighbour.crt;
            ssl_certificate_key {root}/neighbour.key;
            ssl_protocols TLSv1.2 TLSv1.3;
            ssl_session_cache shared:neighbour:1m;
            ssl_session_tickets on;
            ssl_verify_client optional_no_ca;
            location / {{ return 200 "the neighbour"; }}
        }}"""
    try:
        with NginxInstance(root / "nginx", http=neighbour, version=request.param) as nginx:
            world = World(root, nginx, ports, application, foreign)
            world.authority.publish()
            world.first = world.play("--diff")
            assert world.first.code == 0, world.first.output
            yield world
    finally:
        application.stop()
        shutil.rmtree(root / "ansible", ignore_errors=True)


@pytest.fixture
def restored(world: World) -> Iterator[None]:
    """Brings the world back to its own sites after a test that changed them."""
    yield
    run = world.play(roles=("gate",))
    assert run.code == 0, run.output


# --- applying ---


def test_a_second_run_changes_nothing(world: World) -> None:
    for arguments in ([], ["--check", "--diff"]):
        again = world.play(*arguments)
        assert (again.code, again.changed) == (0, 0), again.output


def test_the_role_says_who_has_the_default_server(world: World) -> None:
    assert f"127.0.0.1:{world.ports['own']}: the default server is ours" in world.first.output
    assert re.search(rf"127.0.0.1:{world.ports['shared']}: .*nginx.conf:\d+ is the default server", world.first.output)


def test_nginx_has_nothing_to_complain_about(world: World) -> None:
    done = subprocess.run(world.nginx.test_argv, capture_output=True, text=True, check=True)
    assert not re.findall(r"\[(?:warn|error|emerg)\].*", done.stderr)


@on_one_release
def test_check_mode_predicts_what_the_run_then_does(world: World, restored: None) -> None:
    before = world.generations()
    sites = [{**world.sites[0], "contact": "somebody else"}, *world.sites[1:]]
    predicted = world.play("--check", "--diff", roles=("gate",), gate_sites=sites)
    assert (predicted.code, predicted.changed) == (0, 1)
    assert "+<p>somebody else</p>" in predicted.output
    assert world.generations() == before
    run = world.play(roles=("gate",), gate_sites=sites)
    assert (run.code, run.changed) == (0, 1), run.output
    assert world.generations()["gate"] > before["gate"]
    assert "somebody else" in world.get(None).body


# --- who gets in ---


@pytest.mark.parametrize(
    ("host", "port"), [("panel.test", "own"), ("wiki.test", "own"), ("late.test", "shared"), ("alias.test", "own")]
)
def test_a_good_certificate_gets_in_and_the_application_knows_whose_it_is(world: World, host: str, port: str) -> None:
    alex = world.authority.clients["alex"]
    answer = world.get(alex, "/a%2Fb//c/../d?x=1", host=host, port=port)
    assert answer.status == 200, answer
    assert json.loads(answer.body)["path"] == "/a%2Fb//c/../d?x=1"
    seen = answer.seen()
    expected = {
        "x-client-verify": "SUCCESS",
        "x-client-dn": _subject(alex),
        "x-client-serial": _serial(alex),
        "x-client-fingerprint": alex.certificate.fingerprint(hashes.SHA1()).hex(),
        "x-client-issuer-dn": _subject(world.authority.ca),
        "x-client-name": "alex",
        "x-client-email": "alex@example.org",
        "x-client-roles": "admin,ops",
        "host": f"{host}:{world.ports[port]}",
        "x-forwarded-host": f"{host}:{world.ports[port]}",
        "x-forwarded-port": str(world.ports[port]),
        "x-forwarded-proto": "https",
        "x-forwarded-for": "127.0.0.1",
        "x-real-ip": "127.0.0.1",
    }
    assert {name: seen.get(name) for name in expected} == expected


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
@pytest.mark.parametrize("tls", [["--tlsv1.2", "--tls-max", "1.2"], ["--tlsv1.3"]])
def test_curl_gets_in_by_every_protocol(world: World, version: str, tls: list[str]) -> None:
    alex, port = world.authority.clients["alex"], world.ports["own"]
    argv = ["curl", "-sS", "--max-time", "10", version, *tls, "--resolve", f"panel.test:{port}:127.0.0.1"]
    argv += ["--cacert", str(world.server.crt), "--cert", str(alex.crt), "--key", str(alex.pem)]
    argv += ["-w", "\n%{http_code} %{http_version}", f"https://panel.test:{port}/", "-d", "x=1"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    body, _newline, summary = done.stdout.rpartition("\n")
    assert summary == f"200 {'2' if version == '--http2' else '1.1'}"
    assert json.loads(body)["body"] == "x=1"


def test_s_client_gets_in(world: World) -> None:
    alex = world.authority.clients["alex"]
    argv = ["openssl", "s_client", "-connect", f"127.0.0.1:{world.ports['own']}", "-servername", "panel.test", "-quiet"]
    request = b"GET / HTTP/1.1\r\nHost: panel.test\r\nConnection: close\r\n\r\n"
    argv += ["-cert", str(alex.crt), "-key", str(alex.pem), "-ign_eof"]
    done = subprocess.run(argv, input=request, capture_output=True, timeout=20, check=False)
    assert b"HTTP/1.1 200" in done.stdout, done.stderr


def test_a_websocket_gets_through_and_nothing_else_is_upgraded(world: World) -> None:
    alex = world.authority.clients["alex"]
    with (
        socket.create_connection(("127.0.0.1", world.ports["own"]), 10) as plain,
        world.context(alex).wrap_socket(plain, server_hostname="panel.test") as tls,
    ):
        tls.sendall(b"GET /ws HTTP/1.1\r\nHost: panel.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n12345")
        answer = b""
        while b"54321" not in answer:
            part = tls.recv(4096)
            assert part, answer
            answer += part
    assert answer.startswith(b"HTTP/1.1 101")
    seen = world.get(alex, headers={"Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAoAAAAAIAAAAA"}).seen()
    assert "upgrade" not in seen
    assert seen["connection"] == "close"
    refused = world.get(alex, host="wiki.test", headers={"Upgrade": "websocket"})
    assert (refused.status, "upgrade" in refused.seen()) == (200, False)


def test_nothing_that_a_client_writes_counts_as_identity(world: World) -> None:
    own = ["Verify", "DN", "Serial", "Fingerprint", "Issuer-DN", "Name", "Email", "Roles"]
    names = [*BLANKED_HEADERS, *(f"X-Client-{name}" for name in own)]
    forged = dict.fromkeys(names, "forged") | {name.replace("-", "_"): "forged" for name in names if "-" in name}
    forged |= {
        "X-Forwarded-For": "forged",
        "X-Real-IP": "forged",
        "X-Forwarded-Proto": "forged",
        "X-Request-ID": "forged",
    }
    for host in ("panel.test", "wiki.test"):
        for path in ("/", STATUS + "/x", "/status/200"):
            answer = world.get(world.authority.clients["alex"], path, host=host, headers=forged)
            assert answer.status == 200
            assert "forged" not in answer.body, path


@pytest.mark.parametrize("status", [400, 401, 403, 404, 421, 500, 502])
def test_what_the_application_refuses_passes_through_untouched(world: World, status: int) -> None:
    answer = world.get(world.authority.clients["alex"], f"/status/{status}")
    assert (answer.status, answer.body) == (status, f"own page {status}")
    assert not [name for name in answer.headers if name.startswith("x-quietdoor")]


def test_the_application_cannot_speak_for_the_gate(world: World) -> None:
    answer = world.get(world.authority.clients["alex"], "/accel")
    assert answer.status == 200
    assert not [name for name in answer.headers if name.startswith("x-quietdoor")]


def test_large_bodies_are_limited_as_the_site_says(world: World) -> None:
    alex = world.authority.clients["alex"]
    assert world.get(alex, method="POST", body=b"x" * 1_900_000).status == 200
    assert world.get(alex, method="POST", body=b"x" * 2_200_000).status == 413


@on_one_release
def test_applications_behind_tls_and_behind_a_socket(world: World, restored: None) -> None:
    alex, tls_port = world.authority.clients["alex"], free_port(22000, 22199)
    server = _pair(world.root / "upstream", "upstream", usage=Usage.SERVER_AUTH, dns=("localhost",))
    socket_path = world.root / "application.sock"
    applications = [Application(tls_port, tls=server), Application(path=socket_path)]
    tls = {"upstream": f"https://localhost:{tls_port}"}
    own = world.ports["own"]
    try:
        sites = [
            world.site("checked", ["panel.test"], own, **tls, upstream_ca=str(server.crt)),
            world.site("unchecked", ["alias.test"], own, **tls),
            world.site("distrusted", ["wiki.test"], own, **tls, upstream_ca=str(world.server.crt)),
            world.site("by-socket", ["late.test"], own, upstream=f"http://unix:{socket_path}"),
        ]
        run = world.play(roles=("gate",), gate_sites=sites)
        assert run.code == 0, run.output
        for host, status in (("panel.test", 200), ("alias.test", 200), ("wiki.test", 502), ("late.test", 200)):
            answer = world.get(alex, "/a%2Fb//c", host=host)
            assert answer.status == status, host
            assert status != 200 or json.loads(answer.body)["path"] == "/a%2Fb//c"
    finally:
        for application in applications:
            application.stop()


# --- who does not get in ---

_SENTENCES = {
    "none": "did not show a certificate",
    "foreign": "was not issued for this site",
    "look-alike": "was not issued for this site",
    "self-signed": "was not issued for this site",
    "expired": "has expired",
    "not-yet-valid": "is not valid yet",
    "server-only": "was made for another purpose",
    "revoked": "has been revoked",
    "denied": "has been revoked",
    "revoked-and-expired": "has been revoked",
}


@pytest.mark.parametrize("who", _SENTENCES)
@pytest.mark.parametrize(("host", "port"), [("panel.test", "own"), ("late.test", "shared")])
def test_strangers_get_the_page_with_their_reason_and_never_reach_the_application(
    world: World, who: str, host: str, port: str
) -> None:
    before = len(world.application.reached)
    requests = [
        ("GET", "/", None),
        ("GET", STATUS, None),
        ("GET", STATUS + "/verdict", None),
        ("GET", "/x/%2e%2e//y;z", None),
        ("POST", "/", b"x" * 300_000),
        ("PUT", "/x", b"1"),
        ("DELETE", "/x", None),
        ("OPTIONS", "/", None),
    ]
    for method, path, body in requests:
        answer = world.get(world.strangers[who], path, host=host, port=port, method=method, body=body)
        assert (answer.status, answer.headers["x-quietdoor-verdict"]) == (403, "deny"), (method, path)
        assert _SENTENCES[who] in answer.body
        assert re.fullmatch(r"gate=\d+ trust=\d+", answer.headers["x-quietdoor-generation"])
    head = world.get(world.strangers[who], host=host, port=port, method="HEAD")
    assert (head.status, head.body) == (403, "")
    assert len(world.application.reached) == before


def test_the_page_is_whole_safe_and_not_kept(world: World) -> None:
    answer = world.get(None)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert not re.findall(r"(?:src|href)=|url\(|@import", answer.body)
    assert answer.body.count("<script") == 0
    assert (
        "Zoë &lt;ops@example.org&gt; &amp; &quot;friends&quot; &#92; costs &#36;host &amp; &#36;{ssl_client_s_dn}"
        in answer.body
    )
    assert "The people who gave you" in world.get(None, host="wiki.test").body
    reference = re.search(r"reference ([0-9a-f]{32})", answer.body)
    assert reference
    assert eventually(lambda: [entry for entry in world.log("panel") if entry["request_id"] == reference[1]])


def test_the_status_location_tells_generations_to_everyone_and_lets_in_who_gets_in(world: World) -> None:
    answer = world.get(world.authority.clients["bea"], STATUS)
    assert (answer.status, answer.headers["x-quietdoor-verdict"]) == (204, "cert")
    assert answer.headers["cache-control"] == "no-store"
    assert world.generations() == world.generations("late.test", "shared")
    assert world.get(world.authority.clients["bea"], STATUS + "/verdict").status == 403


@pytest.mark.parametrize("who", ["alex", "none", "foreign", "look-alike", "revoked", "denied"])
def test_connections_for_another_name_never_reach_the_application(world: World, who: str) -> None:
    pair = world.authority.clients["alex"] if who == "alex" else world.strangers[who]
    before = len(world.application.reached)
    for sni in (None, "unknown.test"):
        for host in ("panel.test", "wiki.test", "unknown.test"):
            assert world.get(pair, host=host, sni=sni) == REJECTED
        answer = world.get(pair, host="late.test", sni=sni, port="shared")
        assert answer.status in (403, 421), answer
        assert answer.headers["x-quietdoor-verdict"] == "deny"
        assert answer.status == 421
    for sni, host, port in [
        ("panel.test", "wiki.test", "own"),
        ("wiki.test", "panel.test", "own"),
        ("panel.test", "unknown.test", "own"),
        ("public.test", "late.test", "shared"),
    ]:
        assert world.get(pair, host=host, sni=sni, port=port).status in (403, 421)
    neighbour = world.get(pair, host="public.test", sni="late.test", port="shared")
    assert "headers" not in neighbour.body
    assert len(world.application.reached) == before


def test_plain_http_is_sent_to_https(world: World) -> None:
    for host, port in (("panel.test", "own"), ("late.test", "shared")):
        with socket.create_connection(("127.0.0.1", world.ports[port]), 10) as plain:
            answer = exchange(plain, "GET", "/a?b=c", {"Host": host})
        assert (answer.status, answer.headers["location"]) == (301, f"https://{host}:{world.ports[port]}/a?b=c")


# --- revoking ---


def _resume(
    world: World, host: str, port: str, context: ssl.SSLContext, session: ssl.SSLSession | None
) -> tuple[Answer, ssl.SSLSession | None, bool]:
    with (
        socket.create_connection(("127.0.0.1", world.ports[port]), 10) as plain,
        context.wrap_socket(plain, server_hostname=host, session=session) as tls,
    ):
        answer = exchange(tls, "GET", "/", {"Host": host})
        return answer, tls.session, bool(tls.session_reused)


def test_a_revocation_by_trust_alone_is_effective_at_once_for_old_sessions_too(world: World) -> None:
    dora, before = world.authority.clients["dora"], world.generations()
    places = [("panel.test", "own"), ("late.test", "shared")]
    versions = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
    taken = []
    for host, port in places:
        for version in versions:
            context = world.context(dora, version)
            answer, session, _reused = _resume(world, host, port, context, None)
            assert answer.status == 200
            taken.append((host, port, version, context, session))
    world.authority.revoked.append("dora")
    world.authority.publish()
    predicted = world.play("--check", roles=("trust",))
    assert (predicted.code, predicted.changed) == (0, 1), predicted.output
    run = world.play(roles=("trust",))
    assert (run.code, run.changed) == (0, 1), run.output
    reached = len(world.application.reached)
    for host, port, _version, context, session in taken:
        answer, _session, again = _resume(world, host, port, context, session)
        assert (answer.status, "has been revoked" in answer.body) == (403, True)
        assert not (again and port == "own"), "our own addresses resume nothing"
    assert len(world.application.reached) == reached
    after = world.generations()
    assert (after["gate"], after["trust"]) == (before["gate"], before["trust"] + 1)
    assert world.play().changed == 0


@pytest.mark.parametrize(
    "removed",
    [
        r"    if \(\$quietdoor_verdict != cert\) \{\n        return 403;\n    \}\n",
        r"    auth_request /\.well-known/quietdoor/verdict;\n",
        r"    if \(\$quietdoor_sni = 0\) \{\n        return 403;\n    \}\n    if",
        r"ssl_verify_client on;",
    ],
)
def test_either_layer_alone_keeps_strangers_out(world: World, tmp_path: Path, removed: str) -> None:
    """Takes one line of defence out of what the role rendered and asks again."""
    prefix = tmp_path / "nginx"
    shutil.copytree(world.nginx.prefix, prefix, ignore=shutil.ignore_patterns("*.pid", "*.log"), symlinks=True)
    port = free_port(22900, 22999)
    site = prefix / "quietdoor" / "gate" / "sites" / "late.conf"
    replacement = (
        "ssl_verify_client optional_no_ca;" if "verify_client" in removed else "    if" if "sni" in removed else ""
    )
    text, count = re.subn(removed, replacement, site.read_text(), count=1)
    assert count == 1, "the line is not there, so this would test nothing"
    site.write_text(text)
    for path in prefix.rglob("*.conf"):
        text = path.read_text().replace(str(world.nginx.prefix), str(prefix))
        text = text.replace(str(world.ports["shared"]), str(port)).replace(str(world.ports["own"]), str(port + 1))
        path.write_text(text)
    argv = [world.nginx.binary, "-p", str(prefix), "-c", str(prefix / "nginx.conf"), "-g", "daemon off;"]
    process = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
    world.ports["layer"] = port
    try:
        _wait_for(port, process)
        reached = len(world.application.reached)
        for pair in world.strangers.values():
            answer = world.get(pair, host="late.test", port="layer")
            assert answer.status == 403
            assert world.get(pair, host="late.test", sni=None, port="layer").status in (403, 421)
        assert len(world.application.reached) == reached
        assert world.get(world.authority.clients["alex"], host="late.test", port="layer").status == 200
    finally:
        process.terminate()
        process.wait(10)


def eventually(look: Callable[[], Found | None]) -> Found:
    """Return what ``look`` finds; nginx writes its log a moment after the client has the answer."""
    for _attempt in range(100):
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it was not found within five seconds")


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _attempt in range(200):
        assert process.poll() is None, "nginx did not start"
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.05)
    raise AssertionError("nginx does not listen")


# --- the log ---


def _at_least(count: int, entries: list[dict]) -> list[dict]:
    return entries if len(entries) >= count else []


def test_the_log_says_who_and_why(world: World) -> None:
    alex = world.authority.clients["alex"]
    world.get(alex, "/log-in", headers={"User-Agent": 'a"b\\c\x01é'})
    for pair in world.strangers.values():
        world.get(pair, "/log-out")
    entries = eventually(
        lambda: _at_least(11, [entry for entry in world.log("panel") if entry["uri"].startswith("/log-")])
    )
    entry = next(entry for entry in entries if entry["uri"] == "/log-in")
    expected = {
        "site": "panel",
        "verdict": "cert",
        "reason": "accepted",
        "verify": "SUCCESS",
        "serial": _serial(alex),
        "subject": _subject(alex),
        "issuer": _subject(world.authority.ca),
        "name": "alex",
        "email": "alex@example.org",
        "status": "200",
        "host": "panel.test",
        "remote_addr": "127.0.0.1",
    }
    assert {name: entry[name] for name in expected} == expected
    refused = [
        (entry["verdict"], entry["reason"], entry["status"], entry["name"])
        for entry in entries
        if entry["uri"] == "/log-out"
    ]
    reasons = ["no-certificate", *["untrusted"] * 3, "expired", "not-yet-valid", "wrong-purpose", *["revoked"] * 3]
    # "denied" is verified by nginx and known to the deny map alone, so its name is known too.
    assert refused == [("deny", reason, "403", "emil" if index == 8 else "") for index, reason in enumerate(reasons)]


@on_one_release
def test_the_combined_log_begins_as_everywhere(world: World, restored: None) -> None:
    sites = [world.site("combi", ["wiki.test"], world.ports["own"])]
    run = world.play(roles=("gate",), gate_sites=sites, gate_log_format="combined")
    assert run.code == 0, run.output
    world.get(world.authority.clients["alex"], "/c", host="wiki.test")
    log = world.logs / "quietdoor-combi.log"
    line = eventually(lambda: [line for line in log.read_text().splitlines() if "GET /c " in line])[0]
    assert re.match(
        r'127\.0\.0\.1 - - \[[^]]+\] "GET /c HTTP/1\.1" 200 \d+ "-" "-" stage="enforce" verdict="cert" reason="accepted"',
        line,
    )
    assert 'name="alex" email="alex@example.org"' in line


# --- what a person gets wrong, and going away ---


@on_one_release
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"name": 'a; }"\n'}, "cannot be the name of a site"),
        ({"hst": True}, "hst"),
        ({"allow": {"names": []}}, "site panel: allow: names nobody"),
        ({"mode": "path", "paths": ["/adm in"]}, "is no path that can be guarded"),
        ({"identity_headers": {"name": "X-A;\n"}}, "cannot be the name of a header"),
        ({"stage": False}, "site panel: stage: False is a boolean"),
        ({"server_names": ["wiki.test"]}, "site wiki-2: server_names: wiki.test on port"),
        ({"certificate": "/nowhere/at/all.pem"}, "/nowhere/at/all.pem"),
    ],
)
def test_a_mistake_is_named_and_changes_nothing(world: World, change: dict, named: str) -> None:
    before = world.generations()
    run = world.play(roles=("gate",), gate_sites=[{**world.sites[0], **change}, *world.sites[1:]])
    assert run.code != 0
    assert named in run.output.replace("\\'", "'"), run.output
    assert world.generations() == before
    assert world.get(world.authority.clients["alex"]).status == 200


@on_one_release
def test_a_name_that_the_neighbour_serves_is_refused(world: World) -> None:
    run = world.play(roles=("gate",), gate_sites=[world.site("public", ["public.test"], world.ports["shared"])])
    assert run.code != 0
    assert re.search(r"site public: server_names: \S+/nginx.conf:\d+ serves public.test on", run.output), run.output


@on_one_release
def test_always_and_never_mean_what_they_say(world: World) -> None:
    always = world.play(roles=("gate",), gate_default_server="always")
    assert always.code != 0
    assert "gate_default_server: always cannot be had" in always.output
    assert world.play(roles=("gate",), gate_default_server="never").code == 0
    for sni in (None, "unknown.test"):
        answer = world.get(world.authority.clients["alex"], sni=sni)
        assert (answer.status, answer.headers["x-quietdoor-verdict"]) == (421, "deny")
    assert world.play(roles=("gate",)).code == 0
    assert world.get(world.authority.clients["alex"], sni=None) == REJECTED


@on_one_release
def test_a_log_directory_with_odd_characters_is_no_danger(world: World, restored: None) -> None:
    odd = world.root / 'odd "dir; } \\ #x'
    odd.mkdir()
    assert world.play(roles=("gate",), gate_nginx_log_path=str(odd)).code == 0
    world.get(world.authority.clients["alex"])
    assert eventually((odd / "quietdoor-panel.log").read_text)
    run = world.play(roles=("gate",), gate_nginx_log_path=str(world.root / "$host"))
    assert (run.code != 0, "holds a $" in run.output) == (True, True)


@on_one_release
def test_trust_says_what_is_missing(world: World, tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nothing")
    predicted = world.play("--check", roles=("trust",), authority_publish_path=nowhere)
    assert (predicted.code, predicted.changed) == (0, 0)
    assert f"Nothing is published in {nowhere}" in predicted.output
    run = world.play(roles=("trust",), authority_publish_path=nowhere)
    assert run.code != 0
    assert f"There is no publication in {nowhere} on door" in run.output
    unknown = world.play(roles=("trust",), trust_publication_path="", authority_publish_path="")
    assert unknown.code != 0
    assert "not known where the publication lies" in unknown.output


@on_one_release
def test_the_neighbour_is_as_it_was_and_absent_sites_leave_nothing(world: World) -> None:
    one = world.play(roles=("gate",), gate_sites=[{**world.sites[0], "stage": "absent"}, *world.sites[1:]])
    assert (one.code, one.changed) == (0, 1), one.output
    assert world.get(world.authority.clients["alex"]) == REJECTED
    assert world.get(world.authority.clients["alex"], host="wiki.test").status == 200
    sites = [{**site, "stage": "absent"} for site in world.sites]
    run = world.play(roles=("gate",), gate_sites=sites)
    assert (run.code, run.changed) == (0, 1), run.output
    assert not (world.nginx.prefix / "conf.d" / "quietdoor.conf").exists()
    assert world.get(None, host="public.test", port="shared").body == "the neighbour"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", world.ports["own"]), 2)
    again = world.play(roles=("gate",), gate_sites=sites)
    assert (again.code, again.changed) == (0, 0), again.output
