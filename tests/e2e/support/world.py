# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Apply the roles trust and gate to an nginx with an application and a CA."""

from __future__ import annotations

import json
import re
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from cryptography.x509.oid import ExtendedKeyUsageOID as Usage

from support import programs
from support.app import Application
from support.ca import Pair, make_authority, make_pair, make_unauthenticated_clients
from support.client import REJECTED, STATUS, Answer, exchange, log_lines
from support.nginx import RELEASES, NginxInstance

CONTACT = 'Zoë <ops@example.org> & "friends" \\ costs $host & ${ssl_client_s_dn} </p><script>alert(1)</script>'

# A header of clients that the site panel does not drop.
KEPT = "X-Pomerium-Claim-Sub"


class World:
    """An authority, an application, an nginx, and the variables of the play."""

    def __init__(
        self, root: Path, nginx: NginxInstance, ports: dict[str, int], application: Application, foreign: Pair
    ) -> None:
        self.root = root
        self.nginx = nginx
        self.ports = ports
        self.application = application
        self.authority = make_authority(root)
        self.strangers = make_unauthenticated_clients(root, self.authority, foreign)
        self.logs = root / "logs"
        self.logs.mkdir()
        self.server = make_pair(
            root / "server",
            "server",
            usage=Usage.SERVER_AUTH,
            dns=("panel.test", "alias.test", "wiki.test", "late.test"),
        )
        self.sites = [
            self.site(
                "panel",
                ["panel.test", "Alias.TEST"],
                ports["own"],
                websocket=True,
                client_max_body_size="2m",
                drop_client_headers=True,
                keep_headers=[{"name": KEPT, "reason": "the application tests it"}],
            ),
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
        return [json.loads(line) for line in log_lines(self.logs / f"quietdoor-{site}.log")]

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


# The output of the roles does not depend on the release of nginx; how nginx then behaves is asked of each.
on_one_release = pytest.mark.parametrize("world", list(RELEASES)[:1], indirect=True, scope="module")
