# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make an nginx with a configuration of its own that includes snippets of the gate."""

from __future__ import annotations

import contextlib
import shutil
import socket
from typing import TYPE_CHECKING

from cryptography.x509.oid import ExtendedKeyUsageOID as Usage

from support.app import Application
from support.audit import look
from support.ca import Pair, make_pair
from support.client import Answer, exchange
from support.nginx import NginxInstance, free_port
from support.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ansible_collections.quietdoor.mtls.plugins.module_utils._gate.apply import Outcome

IN_SERVER = "include quietdoor/gate/snippets/panel-server.conf;"
IN_LOCATION = "include quietdoor/gate/snippets/panel-location.conf;"


class Brownfield(World):
    """A world whose panel is in a server of the operator's own, in ``sites/panel.conf``."""

    def vhost(
        self, server: str = IN_SERVER, location: str = IN_LOCATION, first: str = "", more: str = "", beside: str = ""
    ) -> None:
        """Write the operator's server."""
        upstream = f"http://127.0.0.1:{self.application.port}"
        text = f"""
            server {{
                {first}
                {server}
                listen 127.0.0.1:{self.ports["own"]} ssl;
                server_name panel.test alias.test;
                ssl_certificate {self.server.crt};
                ssl_certificate_key {self.server.pem};
                ssl_protocols TLSv1.2 TLSv1.3;
                location / {{
                    {location}
                    proxy_set_header Host $host;
                    proxy_pass {upstream};
                }}
                location ~ \\.php$ {{
                    {location}
                    proxy_pass {upstream};
                }}
                location /fixed {{ return 200 "fixed"; }}
                {more}
            }}
            {beside}
        """
        (self.nginx.prefix / "sites" / "panel.conf").write_text(text)

    def look(self, **changes: object) -> Outcome:
        """Let the module look at what lies there, without a change."""
        return look(self.nginx, **changes)


@contextlib.contextmanager
def brownfield(root: Path, first: int, version: str, **entry: object) -> Iterator[Brownfield]:
    """A panel that is open to everybody; then its gate, and the lines; on ports from ``first`` on."""
    ports = {
        name: free_port(begin, begin + 19)
        for name, begin in {"own": first, "other": first + 20, "shared": first + 40}.items()
    }
    application = Application(free_port(first + 60, first + 79))
    foreign = make_pair(root / "foreign-ca", "Foreign", is_ca=True)
    make_pair(root / "neighbour", "neighbour", usage=Usage.SERVER_AUTH, dns=("public.test",))
    try:
        # nginx accepts the size of a hash once, so the gate must not set it again.
        sizes = "variables_hash_max_size 2048;"
        http = f"{sizes} satisfy any; underscores_in_headers on; include sites/*.conf;"
        nginx = NginxInstance(root / "nginx", http=http, version=version)
        (nginx.prefix / "sites").mkdir()
        world = Brownfield(root, nginx, ports, application, foreign)
        site = world.site("panel", ["panel.test", "alias.test"], ports["own"], manage="snippets", **entry)
        world.sites = [{key: site[key] for key in site if not key.startswith("certificate")}]
        world.sites[0]["allow"] = {"names": ["alex"]}
        world.vhost(server="", location="")
        with nginx:
            world.authority.publish()
            world.first = world.play("--diff")
            world.open_at_first = world.get(None, "/first").status
            world.vhost()
            world.second = world.play()
            world.third = world.play()
            yield world
    finally:
        application.stop()
        shutil.rmtree(root / "ansible", ignore_errors=True)


SNIPPET = "include quietdoor/gate/snippets/shop-{}.conf;"


SERVER, PUBLIC, PANEL, OTHER_PANEL = (SNIPPET.format(kind) for kind in ("server", "public", "panel-1", "panel-2"))


SERVER, PUBLIC, PANEL, OTHER_PANEL = (SNIPPET.format(kind) for kind in ("server", "public", "panel-1", "panel-2"))


SERVER, PUBLIC, PANEL, OTHER_PANEL = (SNIPPET.format(kind) for kind in ("server", "public", "panel-1", "panel-2"))


SERVER, PUBLIC, PANEL, OTHER_PANEL = (SNIPPET.format(kind) for kind in ("server", "public", "panel-1", "panel-2"))


UPGRADE = "proxy_set_header Upgrade $quietdoor_upgrade; proxy_set_header Connection $quietdoor_connection;"
OPEN_UPGRADE = "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;"
EVERY_CLIENT = ("valid", "unlisted", "none", "revoked", "denied", "foreign", "expired", "self-signed", "not-yet-valid")
ABROAD = "127.0.0.5"
SECRET = "c3dvcmRmaXNo"


class Shop(Brownfield):
    """A public site of the operator's, in ``sites/shop.conf``, with a panel below /admin/ and another below /app/panel."""

    def vhost(self, **parts: str) -> None:
        """Write the operator's server; each of the parts can be another."""
        lines = {"server": SERVER, "public": PUBLIC, "panel": PANEL, "other_panel": OTHER_PANEL}
        lines |= {"script": PUBLIC, "static": PUBLIC, "nested": PUBLIC}
        lines |= {"upgrade": UPGRADE if parts.get("server", SERVER) else OPEN_UPGRADE}
        part = {**dict.fromkeys(("first", "more", "beside", "in_public", "in_panel"), ""), **lines, **parts}
        application, panel = (f"http://127.0.0.1:{one.port}" for one in (self.application, self.panel))
        told = "proxy_set_header X-Real-IP $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;"
        text = f"""
            server {{
                {part["first"]}
                {part["server"]}
                listen 127.0.0.1:{self.ports["own"]} ssl;
                server_name shop.test alias.test;
                ssl_certificate {self.server.crt};
                ssl_certificate_key {self.server.pem};
                ssl_protocols TLSv1.2 TLSv1.3;
                client_max_body_size 300k;
                access_log {self.logs}/own.log;
                add_header X-Shop yes always;
                root {self.root}/files;
                error_page 404 /404.html;
                location / {{
                    {part["public"]}
                    {part["in_public"]}
                    {told}
                    proxy_pass {application};
                    location /blog/ {{ {part["nested"]} {told} proxy_pass {application}; }}
                }}
                location = /404.html {{ {PUBLIC if part["server"] else ""} }}
                location /files/ {{ {part["static"]} }}
                location /kept/ {{ internal; {part["static"]} alias {self.root}/files/; }}
                location ~ \\.php$ {{ {part["script"]} {told} proxy_pass {application}; }}
                location ^~ /moved/ {{ {part["public"]} rewrite ^/moved/(.*)$ /admin/$1 last; }}
                location /ws {{
                    {part["public"]}
                    proxy_http_version 1.1;
                    {part["upgrade"]}
                    proxy_set_header Authorization "Basic {SECRET}";
                    proxy_pass {application};
                }}
                location /admin/ {{ {part["panel"]} {part["in_panel"]} proxy_pass {application}; }}
                location /app/panel {{ {part["other_panel"]} proxy_pass {panel}; }}
                {part["more"]}
            }}
            {part["beside"]}
        """
        (self.nginx.prefix / "sites" / "shop.conf").write_text(text)

    def people(self) -> dict[str, Pair | None]:
        """Clients by the state of their certificate."""
        clients = {"valid": self.authority.clients["alex"], "unlisted": self.authority.clients["dora"]}
        return {**self.strangers, **clients}

    def ask(self, who: str, path: str, source: str = ABROAD, **more: object) -> Answer:
        """Ask as one of the people, from another address than that of the server."""
        method, headers, body = (more.get(key) for key in ("method", "headers", "body"))
        here = ("127.0.0.1", self.ports["own"])
        with (
            socket.create_connection(here, 10, (source, 0)) as plain,
            self.context(self.people()[who]).wrap_socket(plain, server_hostname="shop.test") as tls,
        ):
            told = {"Host": f"shop.test:{here[1]}", **(headers or {})}
            return exchange(tls, method or "GET", path, told, body)

    def reached(self) -> int:
        """How many requests have come to any application."""
        return len(self.application.reached) + len(self.panel.reached)


@contextlib.contextmanager
def shop(root: Path, first: int, **entry: object) -> Iterator[Shop]:
    """A public site that is open to everybody, its panel included; then its gate, and the lines; on ports from ``first`` on."""
    ports = {"own": free_port(first, first + 29), "other": free_port(first + 30, first + 49), "shared": 0}
    application, panel = Application(free_port(first + 50, first + 69)), Application(free_port(first + 70, first + 89))
    foreign = make_pair(root / "foreign-ca", "Foreign", is_ca=True)
    make_pair(root / "neighbour", "neighbour", usage=Usage.SERVER_AUTH, dns=("public.test",))
    for name in ("", "files/", "admin/"):
        (root / "files" / name).mkdir(parents=True, exist_ok=True)
        (root / "files" / name / "a.txt").write_text(f"file {name}")
    (root / "files" / "404.html").write_text("own page of the shop")
    try:
        # Habits that the server inherits: that bind would make every visitor with a bad certificate come from one address.
        habits = "proxy_bind 127.0.0.9; proxy_intercept_errors on; satisfy any; underscores_in_headers on;"
        nginx = NginxInstance(root / "nginx", http=f"{habits} include sites/*.conf;")
        (nginx.prefix / "sites").mkdir()
        world = Shop(root, nginx, ports, application, foreign)
        world.panel = panel
        site = world.site("shop", ["shop.test", "alias.test"], ports["own"], manage="snippets", mode="path", **entry)
        world.sites = [{key: site[key] for key in site if not key.startswith("certificate")}]
        world.sites[0]["allow"] = {"names": ["alex"]}
        world.sites[0]["paths"] = ["/admin/", {"path": "/app/panel", "upstream": f"http://127.0.0.1:{panel.port}"}]
        nothing = dict.fromkeys(("server", "public", "panel", "other_panel", "script", "static", "nested"), "")
        world.bare = lambda: world.vhost(**nothing)
        world.bare()
        with nginx:
            world.authority.publish()
            world.open_at_first = world.ask("none", "/admin/").status
            world.first = world.play("--diff")
            world.vhost()
            world.second = world.play()
            world.third = world.play()
            yield world
    finally:
        for one in (application, panel):
            one.stop()
        shutil.rmtree(root / "ansible", ignore_errors=True)
