# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that pulls trust, alone with a Python and an nginx, against an https server that behaves well, badly, or worse."""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.pull_program import build_program
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.lab import Lab, built, curl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FILES = ("ca.pem", "crl.pem", "identities.json", "denied.json", "trust.json")


class Server:
    """Serves a directory over https; ``behave`` may answer a request in its own way."""

    def __init__(self, directory: Path, certificate: Path, key: Path) -> None:
        self.directory = directory
        self.asked: list[str] = []
        self.behave: Callable[[BaseHTTPRequestHandler, str], bool] | None = None
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.rpartition("/")[2]
                server.asked.append(name)
                if server.behave and server.behave(self, name):
                    return
                try:
                    server.send(self, (server.directory / name).read_bytes())
                except OSError:
                    self.send_error(404)

            def log_message(self, *args: object) -> None:
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_args: None  # the client may hang up on a server that misbehaves
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://localhost:{self._server.server_address[1]}/trust"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def send(self, request: BaseHTTPRequestHandler, data: bytes) -> None:
        """Answer with these bytes."""
        request.send_response(200)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        with contextlib.suppress(OSError):
            request.wfile.write(data)

    def stop(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Host:
    """A web host with a live gate, and the program installed on it."""

    lab: Lab
    server: Server
    settings: dict
    program: Path
    served: Path
    home: Path
    reached: list[str] = field(default_factory=list)

    def pull(self, **changes: object) -> subprocess.CompletedProcess[str]:
        """Run the program once."""
        file = self.home / "settings.json"
        file.write_text(json.dumps({**self.settings, **changes}))
        argv = [sys.executable, "-I", str(self.program), str(file)]
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120, cwd="/")

    def refused(self, code: str, words: str, **changes: object) -> str:
        """Run it; it has to keep what is live, and say why."""
        before, generation = self.tree(), self.serves()
        done = self.pull(**changes)
        assert done.returncode == 1, done.stdout
        assert "Traceback" not in done.stderr
        assert words in done.stderr, done.stderr
        assert f"Trust generation {generation} stays live" in done.stderr
        assert f'quietdoor_trust_pull_error{{code="{code}"}} 1' in self.metrics()
        assert "quietdoor_trust_pull_success 0" in self.metrics()
        assert (self.tree(), self.serves()) == (before, generation)
        return done.stderr

    def metrics(self) -> str:
        """Return the metrics for the textfile collector."""
        return (self.home / "quietdoor.prom").read_text()

    def serves(self) -> int:
        """The generation of trust that the running nginx tells."""
        argv = ["-o", "/dev/null", "-D", "-", "--request-target", "/.well-known/quietdoor"]
        headers = curl(self.lab.sites[0], self.lab, *argv)[1].lower()
        return int(headers.partition("trust=")[2].split()[0])

    def tree(self) -> dict[str, str]:
        """The live trust."""
        top = self.lab.nginx.prefix / "quietdoor" / "trust"
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in top.iterdir()}

    def status(self, name: str) -> int:
        """Return the answer to a client."""
        pair = ("--cert", str(self.lab.client(name, "crt")), "--key", str(self.lab.client(name, "key")))
        return curl(self.lab.sites[0], self.lab, *pair)[0]

    def publish(self) -> None:
        """Serve what the CA host has published last."""
        shutil.copytree(f"{self.lab.authority}-publication", self.served, dirs_exist_ok=True)

    def rewrite(self, name: str, text: str, generation: int = 1) -> None:
        """Serve other contents, with a manifest that fits."""
        (self.served / name).write_text(text)
        manifest = json.loads((self.served / "trust.json").read_text())
        digests = {one: hashlib.sha256((self.served / one).read_bytes()).hexdigest() for one in FILES[:-1]}
        manifest = {"format": 1, "generation": manifest["generation"] + generation, "files": digests}
        (self.served / "trust.json").write_text(json.dumps(manifest))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A lab with its trust installed by push, a client revoked since, and an https server."""
    root = tmp_path_factory.mktemp("pull")
    with built(root, secrets.randbelow(10**9), clients=3, sites=1) as lab:
        run = lab.play()
        assert run.code == 0, run.output[-4000:]
        lab.make_server_certificate("files", "localhost")
        crt, key = root / "tls" / "files.crt", root / "tls" / "files.key"
        home = root / "host"
        home.mkdir()
        program = home / "pull.pyz"
        program.write_bytes(build_program())
        server = Server(home / "served", crt, key)
        options = lab.nginx.options()
        settings = {
            **options, "url": server.url, "url_ca": str(crt), "timeout": "10s", "roots": [], "min_remaining": "7d",
            "prove_timeout": "15s", "keep": 5, "metrics_path": str(home / "quietdoor.prom"), "worker_shutdown_timeout": "",
            "main_file": "modules-enabled/quietdoor.conf",
        }  # fmt: skip
        host = Host(lab, server, settings, program, home / "served", home)
        yield host
        server.stop()


@pytest.fixture
def host(world: Host) -> Iterator[Host]:
    """The host, in sync with a server that behaves."""
    world.server.behave = None
    world.publish()
    if world.serves() > json.loads((world.served / "trust.json").read_text())["generation"]:
        _newer(world)
    world.server.asked.clear()
    yield world
    world.server.behave = None


def test_installed_files_are_not_fetched_again(host: Host) -> None:
    assert host.pull().returncode == 0
    host.server.asked.clear()
    again = host.pull()
    assert (again.returncode, again.stdout.split(":")[0]) == (0, "unchanged"), again.stderr
    assert host.server.asked == ["trust.json"]
    assert "quietdoor_trust_pull_success 1" in host.metrics()
    assert f"quietdoor_trust_generation {host.serves()}" in host.metrics()
    assert "quietdoor_trust_pull_error{" not in host.metrics()
    remaining = [
        line for line in host.metrics().splitlines() if line.startswith("quietdoor_trust_crl_remaining_seconds{")
    ]
    assert len(remaining) == 1
    assert 25 * 86400 < int(remaining[0].split()[-1]) < 31 * 86400


def test_revocation_arrives_and_an_older_publication_is_refused(host: Host) -> None:
    name = host.lab.roster[-1]["name"]
    assert host.status(name) == 200
    former = {file: (host.served / file).read_bytes() for file in FILES}
    host.lab.roster[-1]["state"] = "revoked"
    # The CA host publishes; nobody hands anything over.
    assert host.lab.play("--limit", "localhost", "--tags", "all", playbook=str(_ca_only(host.home))).code == 0
    host.publish()
    before = host.serves()
    done = host.pull()
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("applied: trust generation"), done.stdout
    assert host.serves() > before
    assert host.status(name) == 403
    for file, data in former.items():
        (host.served / file).write_bytes(data)
    host.refused("older", "is older")
    # Presented as a newer one, it would admit the revoked client again: it lacks the serial that was denied.
    host.publish()
    host.rewrite("denied.json", '{"format": 1, "denied": []}')
    host.refused("foreign", "does not deny the serial")
    host.publish()
    host.rewrite("crl.pem", former["crl.pem"].decode())
    host.refused("refused", "lower than the installed one")
    assert host.status(name) == 403


def _ca_only(home: Path) -> Path:
    book = home / "ca.yml"
    book.write_text("- hosts: mtls_ca\n  gather_facts: false\n  roles: [quietdoor.mtls.authority]\n")
    return book


def test_mounted_directory_is_accepted(host: Host) -> None:
    for url in (str(host.served), f"file://{host.served}"):
        done = host.pull(url=url)
        assert done.returncode == 0, done.stderr
    assert host.server.asked == []


def test_not_found(host: Host) -> None:
    (host.served / "trust.json").unlink()
    host.refused("fetch", "answered with status 404")


def test_a_server_that_is_down(host: Host) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        host.refused("fetch", "could not be fetched", url=f"https://localhost:{nobody.getsockname()[1]}/trust")


def test_a_server_with_another_certificate(host: Host) -> None:
    site = host.lab.sites[0]
    host.refused("fetch", "certificate is not trusted", url_ca=str(host.lab.root / "tls" / f"{site.name}.crt"))


def test_plain_http_is_refused(host: Host) -> None:
    host.refused("settings", "is not https", url=host.server.url.replace("https", "http"))


def test_read_while_it_is_being_published(host: Host) -> None:
    host.rewrite("identities.json", (host.served / "identities.json").read_text() + "\n")
    old = (host.lab.authority.with_name("authority-publication") / "trust.json").read_bytes()
    new = (host.served / "trust.json").read_bytes()
    (host.served / "trust.json").write_bytes(old)

    # The manifest of before, then the file of after: the digest does not fit. The second time the manifest is there, too.
    def behave(request: BaseHTTPRequestHandler, name: str) -> bool:
        if name == "trust.json" and host.server.asked.count("trust.json") == 1:
            stale = json.loads(old)
            stale["files"]["identities.json"] = "0" * 64
            host.server.send(request, json.dumps(stale).encode())
            (host.served / "trust.json").write_bytes(new)
            return True
        return False

    host.server.behave = behave
    done = host.pull()
    assert done.returncode == 0, done.stderr
    assert host.server.asked.count("trust.json") == 2
    assert host.serves() == json.loads(new)["generation"]


def test_incomplete_publication_is_refused(host: Host) -> None:
    _newer(host)
    (host.served / "identities.json").write_text("{}")
    host.refused("incomplete", "identities.json did not have the digest")


def _newer(host: Host) -> None:
    """Serve something newer than what is live."""
    generation = host.serves() - json.loads((host.served / "trust.json").read_text())["generation"]
    text = (host.served / "identities.json").read_text() + "\n" * (2 + generation)
    host.rewrite("identities.json", text, generation + 1)


def test_a_foreign_ca(host: Host, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        other = Lab(tmp_path, 5, clients=1, sites=1)
        stack.callback(other.stop)
        assert other.play(playbook=str(_ca_only(host.home))).code == 0
        shutil.copytree(f"{other.authority}-publication", host.served, dirs_exist_ok=True)
        text = (host.served / "identities.json").read_text()
        host.rewrite("identities.json", text, 1000)
        words = host.refused("foreign", "which this host does not trust")
        root = x509.load_pem_x509_certificate((host.served / "ca.pem").read_bytes())
    digest = root.fingerprint(hashes.SHA256()).hex()
    assert digest in words
    host.refused("foreign", "which this host does not trust", roots=["00" * 32])
    # A pin adds a root. Only a push replaces the installed one.
    words = host.refused("foreign", "set trust_replace_anchor", roots=[digest])
    key = root.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert hashlib.sha256(key).hexdigest() in words
    name = host.lab.roster[0]["name"]
    assert host.status(name) == 200


def test_a_root_that_was_renewed_with_the_same_key(host: Host) -> None:
    former = (host.served / "ca.pem").read_bytes()
    host.lab.roster[-1]["state"] = "revoked"
    root = {**host.lab.variables["authority_root"], "valid_for": "3700d", "renew": "same_key"}
    run = host.lab.play("--limit", "localhost", playbook=str(_ca_only(host.home)), authority_root=root)
    assert run.code == 0, run.output[-4000:]
    host.lab.variables["authority_root"] = root
    host.publish()
    if json.loads((host.served / "trust.json").read_text())["generation"] <= host.serves():
        _newer(host)
    assert (host.served / "ca.pem").read_bytes() != former
    done = host.pull()
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("applied: trust generation"), done.stdout
    assert host.status(host.lab.roster[0]["name"]) == 200
    # Serials that were denied under the former certificate of the root stay denied.
    _newer(host)
    host.rewrite("denied.json", '{"format": 1, "denied": []}')
    host.refused("foreign", "does not deny the serial")


def test_roots_may_be_pinned(host: Host) -> None:
    root = x509.load_pem_x509_certificate((host.served / "ca.pem").read_bytes())
    _newer(host)
    done = host.pull(roots=[root.fingerprint(hashes.SHA256()).hex(":").upper()])
    assert done.returncode == 0, done.stderr


def test_an_ended_and_a_damaged_crl(host: Host) -> None:
    host.refused("refused", "earlier than trust_min_remaining", min_remaining="60d")
    crl = (host.served / "crl.pem").read_text()
    _newer(host)
    host.rewrite("crl.pem", crl.replace("A", "B"))
    host.refused("refused", "CRL")


def test_huge_files(host: Host) -> None:
    def behave(request: BaseHTTPRequestHandler, name: str) -> bool:
        if name == "trust.json":
            host.server.send(request, b" " * (1 << 20))
        return name == "trust.json"

    host.server.behave = behave
    host.refused("fetch", "is larger than 65536 bytes")


@pytest.mark.parametrize("where", ["head", "body"])
def test_slow_server_is_an_error(host: Host, where: str) -> None:
    def behave(request: BaseHTTPRequestHandler, _name: str) -> bool:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n"
        request.wfile.write(head + (b"\r\n" if where == "body" else b""))
        with contextlib.suppress(OSError):
            for _drop in range(600):
                request.wfile.write(b"X: y\r\n" if where == "head" else b" ")
                request.wfile.flush()
                time.sleep(0.1)
        return True

    host.server.behave = behave
    host.refused("fetch", "was not received within 1 s", timeout="1s")


def test_interrupted_transfer_is_an_error(host: Host) -> None:
    def behave(request: BaseHTTPRequestHandler, _name: str) -> bool:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n{}")
        return True

    host.server.behave = behave
    host.refused("fetch", "could not be fetched: IncompleteRead")


def test_redirect_is_an_error(host: Host) -> None:
    def behave(request: BaseHTTPRequestHandler, _name: str) -> bool:
        request.send_response(302)
        request.send_header("Location", "https://elsewhere.example/trust.json")
        request.end_headers()
        return True

    host.server.behave = behave
    host.refused("fetch", "which is not followed")


def test_nginx_refuses_its_configuration(host: Host) -> None:
    _newer(host)
    bad = host.lab.nginx.prefix / "conf.d" / "zz.conf"
    bad.write_text("nonsense;\n")
    try:
        host.refused("refused", "nonsense")
    finally:
        bad.unlink()
    assert host.pull().returncode == 0


def test_a_reload_that_does_not_take(host: Host) -> None:
    _newer(host)
    host.refused("refused", "does not serve trust generation", reload_argv=["true"], prove_timeout="1s")
    assert host.pull().returncode == 0


def test_first_trust_needs_a_trust_anchor(host: Host, tmp_path: Path) -> None:
    (tmp_path / "nginx.conf").write_text("")
    options = {"conf_path": str(tmp_path), "test_argv": [*host.settings["test_argv"][:3], "-c", "x", "-t"]}
    done = host.pull(**options)
    assert done.returncode == 1
    assert "No trust is live. No trusted root" in done.stderr
    root = x509.load_pem_x509_certificate((host.served / "ca.pem").read_bytes())
    done = host.pull(**options, roots=[root.fingerprint(hashes.SHA256()).hex()])
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "quietdoor" / "trust" / "trust.json").exists()
