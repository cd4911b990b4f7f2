# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Call the modules of a web host for an nginx, with CAs made by openssl alone."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.quietdoor.mtls.plugins.module_utils._contracts.status_protocol import Answer, Endpoint
from ansible_collections.quietdoor.mtls.plugins.module_utils._deploy.live_generation import ask

from support import programs
from support.nginx import NginxInstance

PORTS = (20000, 20999)
NAME = "admin.test"
FILES = ("ca.pem", "crl.pem", "identities.json", "denied.json")
CA_CONF = """\
[ca]
default_ca = one
[one]
dir = {home}
database = $dir/index.txt
crlnumber = $dir/crlnumber
serial = $dir/serial
new_certs_dir = $dir
certificate = $dir/ca.pem
private_key = $dir/ca.key
default_md = sha256
default_crl_days = 30
default_days = 30
policy = any
crl_extensions = crl_ext
unique_subject = no
[any]
commonName = supplied
organizationName = optional
[crl_ext]
authorityKeyIdentifier = keyid
[idp]
authorityKeyIdentifier = keyid
issuingDistributionPoint = critical,@here
[here]
fullname = URI:http://ca.test/ca.crl
[v3_ca]
basicConstraints = critical,CA:true
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[v3_client]
basicConstraints = critical,CA:false
extendedKeyUsage = clientAuth
[req]
distinguished_name = dn
prompt = no
[dn]
CN = unused
"""


def openssl(*argv: str) -> str:
    """Run openssl and return what it printed."""
    done = subprocess.run(["openssl", *argv], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass
class Ca:
    """A CA made with the openssl command alone."""

    home: Path
    subject: str

    @property
    def conf(self) -> str:
        """Its openssl.cnf."""
        return str(self.home / "openssl.cnf")

    @property
    def certificate(self) -> Path:
        """Its certificate."""
        return self.home / "ca.pem"

    def make(self, issuer: Ca | None = None) -> Ca:
        """Make key, certificate and database."""
        self.home.mkdir()
        (self.home / "openssl.cnf").write_text(CA_CONF.format(home=self.home))
        (self.home / "index.txt").touch()
        (self.home / "crlnumber").write_text("1000\n")
        (self.home / "serial").write_text("1A\n")
        key, csr = str(self.home / "ca.key"), str(self.home / "ca.csr")
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
        subject = ["-subj", self.subject, "-config", self.conf]
        if issuer is None:
            openssl(
                "req",
                "-x509",
                "-key",
                key,
                "-days",
                "90",
                "-extensions",
                "v3_ca",
                "-out",
                str(self.certificate),
                *subject,
            )
            return self
        openssl("req", "-new", "-key", key, "-out", csr, *subject)
        issuer.sign(csr, self.certificate, "v3_ca")
        return self

    def sign(self, csr: str, certificate: Path, extensions: str) -> None:
        """Sign a CSR."""
        where = ["-config", self.conf, "-notext", "-batch", "-extensions", extensions]
        openssl("ca", *where, "-in", csr, "-out", str(certificate))

    def client(self, name: str) -> tuple[Path, str]:
        """Issue a client certificate; return certificate and key in one file, and the serial."""
        key, csr, certificate = (self.home / f"{name}.{end}" for end in ("key", "csr", "pem"))
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(key))
        openssl("req", "-new", "-key", str(key), "-out", str(csr), "-subj", f"/CN={name}", "-config", self.conf)
        self.sign(str(csr), certificate, "v3_client")
        serial = openssl("x509", "-noout", "-serial", "-in", str(certificate)).strip().partition("=")[2]
        both = self.home / f"{name}.both.pem"
        both.write_text(certificate.read_text() + key.read_text())
        return both, serial

    def revoke(self, name: str) -> None:
        """Revoke a client."""
        openssl("ca", "-config", self.conf, "-revoke", str(self.home / f"{name}.pem"))

    def crl(self, *options: str) -> str:
        """Write a CRL and return it."""
        return openssl("ca", "-config", self.conf, "-gencrl", *options)

    @property
    def anchor(self) -> str:
        """The SHA-256 of its public key."""
        key = openssl("x509", "-noout", "-pubkey", "-in", str(self.certificate))
        der = subprocess.run(
            ["openssl", "pkey", "-pubin", "-outform", "DER"], input=key.encode(), capture_output=True, check=True
        )
        return hashlib.sha256(der.stdout).hexdigest()

    @property
    def facts(self) -> dict[str, str]:
        """Subject and digest as identities.json names them."""
        options = ["-noout", "-subject", "-nameopt", "RFC2253", "-fingerprint", "-sha256"]
        lines = openssl("x509", *options, "-in", str(self.certificate)).splitlines()
        return {
            "subject": lines[0].partition("=")[2],
            "sha256": lines[1].partition("=")[2].replace(":", "").lower(),
        }


@dataclass
class Pki:
    """A root, an issuing CA under it, and what they publish."""

    home: Path
    root: Ca = field(init=False)
    issuing: Ca = field(init=False)
    people: list[dict[str, Any]] = field(default_factory=list)
    denied: list[dict[str, Any]] = field(default_factory=list)

    def make(self) -> Pki:
        """Make both CAs and the client alex."""
        self.home.mkdir()
        self.root = Ca(self.home / "root", "/O=Quiet Ops (Test)/CN=Root $1 {x}").make()
        self.issuing = Ca(self.home / "issuing", '/O=Quiet "Ops"/CN=Issuing\\+CA').make(self.root)
        return self

    def add(self, name: str, email: list[str], roles: list[str]) -> Path:
        """Add a person and return certificate and key in one file."""
        both, serial = self.issuing.client(name)
        identity = {
            "issuer": 1,
            "serial": serial,
            "name": name,
            "common_name": name,
            "not_after": "2030-01-01T00:00:00Z",
        }
        self.people.append({**identity, "email": email, "roles": roles})
        return both

    def revoke(self, name: str) -> None:
        """Revoke a person."""
        self.issuing.revoke(name)
        gone = next(person for person in self.people if person["name"] == name)
        self.people.remove(gone)
        row = {"issuer": 1, "serial": gone["serial"], "reason": "keyCompromise", "revoked_at": "2026-01-01T00:00:00Z"}
        self.denied.append(row)

    def publication(self, generation: int, **changed: str) -> dict[str, str]:
        """Return a publication; ``changed`` replaces files (ca_pem and so on), with digests that fit."""
        issuers = [{"id": 1, **self.issuing.facts}, {"id": 2, **self.root.facts}]
        texts = {
            "ca.pem": self.issuing.certificate.read_text() + self.root.certificate.read_text(),
            "identities.json": json.dumps({"format": 1, "issuers": issuers, "identities": self.people}),
            "denied.json": json.dumps({"format": 1, "denied": self.denied}),
        }
        texts["crl.pem"] = changed.get("crl_pem") or self.issuing.crl() + self.root.crl()
        texts.update({name: changed[key] for name in FILES if (key := name.replace(".", "_")) in changed})
        digests = {name: hashlib.sha256(texts[name].encode()).hexdigest() for name in FILES}
        return {**texts, "trust.json": json.dumps({"format": 1, "generation": generation, "files": digests})}


@dataclass
class World:
    """An nginx, a CA, and a gate with one site."""

    nginx: NginxInstance
    pki: Pki
    port: int
    server: Path

    @property
    def endpoint(self) -> dict[str, Any]:
        """The address at which the gate reports its generation."""
        return {"site": "admin", "address": "127.0.0.1", "port": self.port, "server_name": NAME}

    @property
    def quietdoor(self) -> Path:
        """The directory of the collection on the host."""
        return self.nginx.prefix / "quietdoor"

    def candidate(self, word: str = "one", listen: str = "", extra: str = "") -> dict[str, str]:
        """Return a gate whose panel says ``word``."""
        told = 'add_header X-Quietdoor-Generation "gate=$quietdoor_gate_generation trust=$quietdoor_trust_generation" always;'
        who = "$ssl_client_verify|$quietdoor_denied|$quietdoor_issuer|$quietdoor_name|$quietdoor_email|$quietdoor_roles"
        site = f"""
            server {{
                listen {listen or f"127.0.0.1:{self.port}"} ssl;
                server_name {NAME};
                ssl_certificate {self.server};
                ssl_certificate_key {self.server};
                ssl_client_certificate quietdoor/trust/ca.pem;
                ssl_crl quietdoor/trust/crl.pem;
                ssl_verify_client optional;
                ssl_verify_depth 3;
                ssl_session_cache off;
                ssl_session_tickets off;
                error_page 495 = /who;
                location = /.well-known/quietdoor {{ {told} return 204; }}
                location = /word {{ return 200 "{word}"; }}
                location = /who {{ return 200 "{who}"; }}
                {extra}
            }}
        """
        return {
            "http.conf": "include quietdoor/gate/generation.conf;\ninclude quietdoor/gate/sites/*.conf;\n",
            "sites/admin.conf": site,
            "manifest.json": json.dumps({"format": 1, "endpoints": [self.endpoint]}),
        }

    def gate(self, candidate: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
        """Call gate_transaction; None is the first candidate."""
        candidate = self.candidate() if candidate is None else candidate
        endpoints = [self.endpoint] if candidate else []
        options = {**self.nginx.options(), "prove_timeout": "4s", "candidate": candidate, "endpoints": endpoints}
        return call("gate_transaction", {**options, **more})

    def trust(self, publication: dict[str, str], **more: Any) -> dict[str, Any]:
        """Call trust_install."""
        return call(
            "trust_install", {**self.nginx.options(), "prove_timeout": "4s", "publication": publication, **more}
        )

    def told(self) -> Answer:
        """The generation that the running nginx reports."""
        return ask(Endpoint("admin", "127.0.0.1", self.port, NAME))

    def get(self, path: str, certificate: Path | None = None) -> str:
        """Fetch a page on a fresh connection, with a client certificate if one is given."""
        argv = ["curl", "-sk", "--resolve", f"{NAME}:{self.port}:127.0.0.1", f"https://{NAME}:{self.port}{path}"]
        argv += ["--cert", str(certificate)] if certificate else []
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout

    def tree(self) -> dict[str, Any]:
        """Everything below the prefix but logs and nginx's own work: names, links, contents, times."""
        found: dict[str, Any] = {}
        for path in sorted(self.nginx.prefix.rglob("*")):
            name = str(path.relative_to(self.nginx.prefix))
            if (
                name.partition("/")[0] in ("error.log", "body", "proxy", "fastcgi", "uwsgi", "scgi")
                or name == "quietdoor/lock"
            ):
                continue
            status = path.lstat()
            content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
            found[name] = (stat.S_IFMT(status.st_mode), content, status.st_mtime_ns)
        return found

    def generations(self, kind: str = "gate") -> list[int]:
        """The generation on disk."""
        return sorted(int(path.name) for path in (self.quietdoor / f"{kind}s").iterdir())

    def is_whole(self, generation: int) -> None:
        """Assert that link, proven generation and the running nginx agree."""
        assert os.readlink(self.quietdoor / "gate") == f"gates/{generation}"
        assert (self.quietdoor / "gate.committed").read_text() == f"{generation}\n"
        assert (self.nginx.prefix / "conf.d/quietdoor.conf").is_file()
        assert self.told().gate == generation


def call(module: str, options: dict[str, Any]) -> dict[str, Any]:
    """Run a module as a process of its own, with its options as Ansible hands them over; return what it returns."""
    return result(programs.module(module, options))


def result(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return what a module printed; of one that was killed, the signal."""
    if done.returncode < 0:
        return {"killed": -done.returncode}
    assert "Traceback" not in done.stderr, done.stderr
    return json.loads(done.stdout)


def start(module: str, options: dict[str, Any], directory: Path) -> subprocess.Popen[str]:
    """Start a module and do not wait."""
    file = directory / f"options-{time.monotonic_ns()}.json"
    file.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": options}))
    argv = [sys.executable, "-m", f"{programs.MODULES}.{module}", str(file)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def scratch_copies() -> list[str]:
    """Copies of this test's nginx that nobody removed."""
    return [name for name in os.listdir(tempfile.gettempdir()) if name.startswith("quietdoor-")]


def script(path: Path, body: str) -> Path:
    """Write a shell script."""
    path.write_text("#!/bin/sh\n" + "\n".join(line.strip() for line in body.strip().splitlines()) + "\n")
    path.chmod(0o755)
    return path


def deadly(world: World, directory: Path, moment: str) -> dict[str, list[str]]:
    """Return commands that kill the module that calls them, -9, at the given moment."""
    nginx, test = world.nginx, world.nginx.test_argv
    kill = "kill -9 $PPID; exit 1"
    if moment in ("scratch test", "live test"):
        fatal = "-T" if moment == "scratch test" else "-t"
        wrapper = script(directory / "test", f'case " $* " in *" {fatal} "*) {kill};; esac\nexec {nginx.binary} "$@"')
        return {"test_argv": [str(wrapper), *test[1:]]}
    words = " ".join(nginx.reload_argv)
    body = kill if moment == "before reload" else f"{words}\nsleep 0.3\n{kill}"
    return {"reload_argv": [str(script(directory / "reload", body))]}
