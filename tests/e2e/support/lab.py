# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small world for a test: an inventory made up at random, applications that remember what reached them, an nginx, clients."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import random
import re
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from cryptography.x509.oid import ExtendedKeyUsageOID

from support import programs
from support.ca import make_certificate, write_pair
from support.nginx import NginxInstance, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COLLECTION = Path(importlib.util.find_spec("ansible_collections.quietdoor.mtls").submodule_search_locations[0])
COLLECTIONS = COLLECTION.parents[2]
PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
PANEL = COLLECTION / "playbooks" / "files" / "panel.py"
_RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)


def free_ports(count: int) -> list[int]:
    """Return ports on loopback that nobody listens on.

    They lie below the ones that the kernel gives to outgoing connections: curl would be given one of those while nginx is away.
    """
    return [free_port(25000, 31999, never_given=True) for _ in range(count)]


def _panel_class() -> type:
    spec = importlib.util.spec_from_file_location("panel", PANEL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Panel


class Application:
    """The toy panel in a thread; ``reached`` is what came through the gate."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.reached: list[str] = []
        application = self

        class Handler(_panel_class()):
            def answer(self) -> None:
                application.reached.append(f"{self.command} {self.path}")
                super().answer()

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Run:
    """One run of ansible-playbook."""

    code: int
    output: str

    @property
    def changed(self) -> int:
        """How many tasks changed something, over all hosts."""
        return sum(int(match[3]) for match in _RECAP.finditer(self.output))

    @property
    def failed(self) -> int:
        """How many tasks failed."""
        return sum(int(match[5]) for match in _RECAP.finditer(self.output))


@dataclass
class Site:
    """One entry of gate_sites and the application behind it."""

    name: str
    server_name: str
    port: int
    application: Application
    entry: dict = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The address of the site."""
        return f"https://{self.server_name}:{self.port}/"


class Lab:
    """An inventory, an nginx and applications below one directory."""

    def __init__(self, root: Path, seed: int, clients: int = 10, sites: int = 2) -> None:
        self.root = root
        self.seed = seed
        self.random = random.Random(seed)
        self.nginx = NginxInstance(root / "nginx")
        self.authority = root / "authority"
        ports = free_ports(sites + sites)
        self.sites = [self._site(index, ports[index], ports[sites + index]) for index in range(sites)]
        self.roster = [self._client(index) for index in range(clients)]
        self.variables = self._variables()

    # --- what is made up ---

    def _word(self) -> str:
        return "".join(self.random.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(self.random.randint(3, 12)))

    def _site(self, index: int, port: int, upstream: int) -> Site:
        name = f"{self._word()}{index}"
        server_name = f"{self._word()}.{self._word()}.example"
        self.make_server_certificate(name, server_name)
        entry = {
            "name": name,
            "server_names": [server_name],
            "listen": [f"127.0.0.1:{port}"],
            "upstream": f"http://127.0.0.1:{upstream}",
            "certificate": str(self.root / "tls" / f"{name}.crt"),
            "certificate_key": str(self.root / "tls" / f"{name}.key"),
            "stage": "enforce",
            "contact": f"{self._word()} <{self._word()}@example.org> & the $team",
        }
        return Site(name, server_name, port, Application(upstream), entry)

    def _client(self, index: int) -> dict:
        name = f"{self._word()}{self.random.choice('._-+@')}{index}"
        client = {
            "name": name,
            "common_name": self.random.choice([name, f"Zoë {name}", f'{name}, "the {index}th"', f"O'{name}/CN=admin"]),
            "email": [f"{self._word()}{index}@example.org"],
            "roles": self.random.sample(["admin", "ops", "db:read", "guest"], self.random.randint(0, 3)),
            "valid_for": self.random.choice(["30d", "365d", "52w"]),
        }
        if self.random.random() < 0.4:
            client["key"] = {"type": "rsa", "size": 2048}
        return client

    def _variables(self) -> dict:
        return {
            "ansible_connection": "local",
            "ansible_python_interpreter": programs.module_interpreter(),
            "ansible_become": False,
            "authority_path": str(self.authority),
            "authority_passphrase": self._word() * 2,
            "authority_root": {
                "common_name": f'{self._word()} "CA", {self._word()}',
                "organization": self._word(),
                "key": self.random.choice(
                    [
                        {"type": "ecdsa", "curve": "P-256"},
                        {"type": "ecdsa", "curve": "P-384"},
                        {"type": "rsa", "size": 2048},
                    ]
                ),
            },
            "gate_nginx_conf_path": str(self.nginx.prefix),
            "gate_nginx_log_path": str(self.nginx.prefix),
            "gate_nginx_test_argv": self.nginx.test_argv,
            "gate_nginx_reload_argv": self.nginx.reload_argv,
        }

    def make_server_certificate(self, name: str, *server_names: str) -> None:
        """Make a self-signed server certificate; clients are told to trust it."""
        directory = self.root / "tls"
        directory.mkdir(parents=True, exist_ok=True)
        certificate, key = make_certificate(server_names[0], eku=ExtendedKeyUsageOID.SERVER_AUTH, dns=server_names)
        write_pair(directory / name, certificate, key)

    # --- running ---

    def write_inventory(self, **overrides: object) -> Path:
        """Write the inventory as it stands, with some variables replaced."""
        variables = {
            **self.variables,
            "authority_roster": self.roster,
            "gate_sites": [site.entry for site in self.sites],
            **overrides,
        }
        inventory = {group: {"hosts": {"localhost": {}}} for group in ("mtls_ca", "mtls_web")}
        inventory["all"] = {"vars": variables}
        path = self.root / "inventory.yml"
        path.write_text(yaml.safe_dump(inventory, allow_unicode=True), encoding="utf-8")
        return path

    def stop(self) -> None:
        """End nginx and the applications."""
        for site in self.sites:
            site.application.stop()
        self.nginx.stop()

    def play(self, *arguments: str, playbook: str = "quietdoor.mtls.site", **overrides: object) -> Run:
        """Run a playbook on the inventory."""
        done = programs.ansible_playbook(*self.arguments(playbook, *arguments, **overrides))
        return Run(done.returncode, done.stdout + done.stderr)

    def arguments(self, playbook: str, *arguments: str, **overrides: object) -> list[str]:
        """Write the inventory; return the arguments of ansible-playbook that run a playbook on it."""
        return ["-i", str(self.write_inventory(**overrides)), playbook, *arguments]

    # --- looking ---

    def client(self, name: str, ending: str) -> Path:
        """A client's file."""
        return self.authority / "clients" / name / f"{name}.{ending}"

    def reached(self) -> int:
        """How many requests have reached any application."""
        return sum(len(site.application.reached) for site in self.sites)

    def digest(self) -> str:
        """A digest over every file of authority, publication and nginx configuration."""
        total = hashlib.sha256()
        for top in (
            self.authority,
            Path(f"{self.authority}-publication"),
            self.nginx.prefix / "conf.d",
            self.nginx.prefix / "quietdoor",
        ):
            for path in sorted(top.rglob("*")) if top.exists() else []:
                state = path.lstat()
                content = (
                    os.readlink(path).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
                )
                if path.name not in (".lock", "lock"):
                    total.update(f"{path} {state.st_mode}".encode() + content)
        return total.hexdigest()


def curl(site: Site, lab: Lab, *arguments: str) -> tuple[int, str]:
    """Ask a site with the curl command; return the status (0: no answer) and the body."""
    argv = ["curl", "-sS", "--max-time", "10", "--cacert", str(lab.root / "tls" / f"{site.name}.crt")]
    argv += ["--resolve", f"{site.server_name}:{site.port}:127.0.0.1", "-w", "\n%{http_code}", *arguments]
    done = subprocess.run([*argv, site.url], capture_output=True, text=True, check=False)
    body, _newline, status = done.stdout.rpartition("\n")
    return int(status or 0), body or done.stderr


def seen(body: str) -> dict:
    """Return the headers that the application saw."""
    return json.loads(body)["headers"]


@contextlib.contextmanager
def built(root: Path, seed: int, http: Callable[[Lab], str] = lambda _lab: "", **sizes: int) -> Iterator[Lab]:
    """A lab with its nginx running; ``http`` says what that nginx has besides the gate, at http level."""
    lab = Lab(root, seed, **sizes)
    lab.nginx.configure(http=http(lab))
    try:
        lab.nginx.start()
        yield lab
    finally:
        lab.stop()
        shutil.rmtree(root / "ansible", ignore_errors=True)
