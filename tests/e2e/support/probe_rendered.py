# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render a gate with a chain of CAs, change lines of it, and ask it with the probe."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http.server
import json
import re
import shutil
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from support import programs
from support.ca import DAY, NOW, Authority, Pair, make_pair
from support.probe import Echo
from support.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTACT = "it@gate.test"


@dataclass
class Chain(Authority):
    """An issuing CA below a root; nginx needs the CRL of both."""

    root: Pair | None = None

    def publish(self) -> None:
        """Write the next generation, with the CRL of the root behind that of the issuing CA."""
        super().publish()
        assert self.root
        name, key = self.root.certificate.subject, self.root.key
        builder = x509.CertificateRevocationListBuilder().issuer_name(name).last_update(NOW - DAY)
        builder = builder.next_update(NOW + 30 * DAY).add_extension(x509.CRLNumber(1), critical=False)
        aki = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
        crl = builder.add_extension(aki, critical=False).sign(key, hashes.SHA256())
        with (self.path / "crl.pem").open("ab") as file:
            file.write(crl.public_bytes(serialization.Encoding.PEM))
        trust = json.loads((self.path / "trust.json").read_text())
        trust["files"]["crl.pem"] = hashlib.sha256((self.path / "crl.pem").read_bytes()).hexdigest()
        (self.path / "trust.json").write_text(json.dumps(trust))


def chain(root: Path) -> Chain:
    """Return an authority with two CAs and five clients, one of them revoked."""
    root.mkdir()
    top = make_pair(root / "root", "Test Root", is_ca=True, days=(-20, 90))
    issuing = make_pair(root / "issuing", "Test Issuing", top, is_ca=True, days=(-20, 90))
    both = root / "both.crt"
    both.write_text(issuing.crt.read_text() + top.crt.read_text())
    clients = {name: make_pair(root / name, name, issuing) for name in ("alex", "bea", "carl", "dora")}
    make_pair(root / "eve", "eve", issuing, days=(-10, -2))
    ca = dataclasses.replace(issuing, crt=both)
    return Chain(root / "publication", ca, clients, revoked=["carl"], root=top)


class _Application(Echo):
    """Echoes, and takes WebSockets."""

    def do_GET(self) -> None:  # noqa: N802
        if self.headers.get("Upgrade", "").lower() != "websocket":
            self._answer()
            return
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.end_headers()
        self.close_connection = True


@contextlib.contextmanager
def application(root: Path, port: int) -> Iterator[http.server.ThreadingHTTPServer]:
    """The application behind every site, as long as the block lasts; then what Ansible left below ``root`` goes as well."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), _Application)
    server.port = port
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        shutil.rmtree(root / "ansible", ignore_errors=True)


class Rendered(World):
    """Three sites of one nginx: guarded whole, guarded in part, and one that limits refusals."""

    def go_live(self) -> None:
        """Publish, apply both roles, and remember what they wrote."""
        self.authority.publish()
        done = self.play()
        assert done.code == 0, done.output
        self.rendered = self.original()

    def original(self) -> dict[Path, str]:
        """Return the files that the role wrote."""
        files = [*(self.nginx.prefix / "quietdoor").rglob("*.conf"), self.nginx.prefix / "quietdoor/trust/crl.pem"]
        return {path.resolve(): path.read_text() for path in files}

    def serve(self, changes: tuple[Change, ...]) -> None:
        """Have nginx serve the gate with some changes, and nothing else."""
        texts = dict(self.rendered)
        for change in changes:
            change.apply(texts, self.ports)
        self.nginx.serve(texts)

    def options(self, site: str, **more: Any) -> dict[str, Any]:
        """Return the options of the probe for one of the sites."""
        host = {"door": "panel.test", "shop": "wiki.test", "limits": "late.test"}[site]
        names = {"alex": ("cert", "valid"), "carl": ("deny", "revoked"), "eve": ("deny", "expired")}
        if site != "limits":
            names["dora"] = ("deny", "valid")
        directory = self.root / "chain"
        return {
            "url": f"https://{host}:{self.ports['own']}/admin/",
            "address": "127.0.0.1",
            "server_ca": str(self.server.crt),
            "client_ca": str(self.authority.path / "ca.pem"),
            "other_server_name": "alias.test",
            "clients": [
                {
                    "name": name,
                    "certificate": str(directory / f"{name}.crt"),
                    "key": str(directory / f"{name}.key"),
                    "expect": expect,
                    "kind": kind,
                }
                for name, (expect, kind) in names.items()
            ],
            "echo_path": "/admin/echo.php" if site == "shop" else "/echo",
            "contact": CONTACT,
            "generation": {"gate": 1, "trust": self.authority.generation},
            "expect_http2": True,
            "timeout": 10,
            **_MORE[site],
            **more,
        }


_MORE: dict[str, dict[str, Any]] = {
    "door": {"websocket_path": "/socket", "expect_hsts": "present"},
    "shop": {"guarded_paths": ["/admin"], "public_echo_path": "/echo", "expect_hsts": "absent"},
    "limits": {"rate_limit_burst": 4},
}


@dataclass(frozen=True)
class Change:
    """One guard that is taken out of a rendered file; ``old`` is a regular expression."""

    file: str
    old: str
    new: str = ""

    def apply(self, texts: dict[Path, str], ports: dict[str, int]) -> None:
        """Change the text of every file of that name."""
        pattern = re.compile(self.old, re.DOTALL)
        found = [path for path, text in texts.items() if path.match(self.file) and pattern.search(text)]
        assert found, f"{self.old} is in no {self.file} any more"
        for path in found:
            new = self.new.replace("PLAIN", str(ports["plain"])).replace("APP", _upstream(texts))
            texts[path] = pattern.sub(lambda _match, new=new: new, texts[path])


def _upstream(texts: dict[Path, str]) -> str:
    return next(match[1] for text in texts.values() if (match := re.search(r"proxy_pass \"?(http://[^;\"]+)", text)))


DENIED = Change("trusts/*/http.conf", r"(?<=\[0-9\]\*:)0(?=\\z)", "[01]")


def play(world: Rendered, report: Path, *arguments: str, **variables: object) -> tuple[int, str]:
    """Run playbook probe as an operator does, and return its exit code and what it said."""
    own = world.options("door")
    known = {name: own[name] for name in ("url", "address", "server_ca", "client_ca", "contact")}
    known["json"] = str(report)
    for kind, name in {"": "alex", "revoked_": "carl", "unlisted_": "dora", "expired_": "eve"}.items():
        known |= {
            f"{kind}certificate": f"{world.root}/chain/{name}.crt",
            f"{kind}key": f"{world.root}/chain/{name}.key",
        }
    known |= variables
    extra = json.dumps({f"probe_{name}": value for name, value in known.items()})
    done = programs.ansible_playbook("quietdoor.mtls.probe", "-i", "localhost,", "-e", extra, *arguments)
    return done.returncode, done.stdout + done.stderr
