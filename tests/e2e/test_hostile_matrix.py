# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every hostile request, by everybody, to either kind of gate, on every nginx: nobody but the valid and listed reaches the panel.

The requests that reach the application count, never the answers of nginx.
"""

from __future__ import annotations

import contextlib
import http.client
import shutil
import socket
import ssl
from typing import TYPE_CHECKING

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID as Usage
from support import hostile
from support.app import Application
from support.ca import make_pair
from support.client import exchange
from support.nginx import RELEASES, NginxInstance, free_port
from support.path_world import PathWorld

if TYPE_CHECKING:
    from collections.abc import Iterator

UNAUTHENTICATED_CLIENTS = ("none", "unlisted", "revoked", "foreign", "expired")
SITES = {"host": "lister.test", "path": "shop.test"}
# On the second address another operator has the default server, takes any certificate and resumes sessions.
PLACES = [("host", "own"), ("host", "shared"), ("path", "own"), ("path", "shared")]
# Requests without a certificate that the gate of many articles passes to the panel.
HOLES = {
    "GET /ADMIN/",
    "GET /Admin/",
    "GET /admin;x/",
    "GET /;/admin/",
    "GET /admin%20/",
    "GET /%2561dmin/",
    "GET /\\admin/",
    "GET /index.php/admin/",
    "GET /admin/index.php",
    "GET /x/..;/admin/",
    "GET /admin/../x",
}


@pytest.fixture(scope="module", params=RELEASES)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PathWorld]:
    """One application behind a site guarded whole, one guarded in part, and the gate of many articles; a difficult neighbour."""
    root = tmp_path_factory.mktemp("matrix")
    ranges = {"own": 24000, "shared": 24040, "article": 24080}
    ports = {name: free_port(first, first + 39) for name, first in ranges.items()}
    application, idle = Application(free_port(24120, 24159)), free_port(24160, 24199)
    foreign = make_pair(root / "foreign-ca", "Foreign", is_ca=True)
    make_pair(root / "neighbour", "neighbour", usage=Usage.SERVER_AUTH, dns=("public.test",))
    tls = f"ssl_certificate {root}/neighbour.crt; ssl_certificate_key {root}/neighbour.key;"
    proxy = f"proxy_pass http://127.0.0.1:{application.port};"
    http = f"""
        underscores_in_headers on;
        satisfy any;
        server {{
            listen 127.0.0.1:{ports["shared"]} ssl http2 default_server;
            server_name public.test;
            {tls}
            ssl_protocols TLSv1.2 TLSv1.3;
            ssl_early_data on;
            ssl_session_cache shared:neighbour:1m;
            ssl_verify_client optional_no_ca;
            location / {{ return 200 "the neighbour"; }}
        }}
        server {{
            listen 127.0.0.1:{ports["article"]} ssl http2;
            server_name panel.test;
            {tls}
            ssl_client_certificate {root}/ca.crt;
            ssl_verify_client optional;
            location / {{ {proxy} }}
            location ~ \\.php {{ {proxy} }}
            location /admin/ {{
                if ($ssl_client_verify != SUCCESS) {{ return 403; }}
                {proxy}
            }}
        }}"""
    try:
        start = f"server {{ listen 127.0.0.1:{idle}; }}"
        with NginxInstance(root / "nginx", http=start, version=request.param) as nginx:
            world = PathWorld(root, nginx, ports, application, foreign)
            nginx.configure(http=http)
            nginx.reload()
            listed = {"allow": {"names": ["alex"]}}
            world.sites = [
                world.site("lister", [SITES["host"]], 0, **listed),
                world.site("shop", [SITES["path"]], 0, mode="path", paths=["/admin/"], **listed),
            ]
            for site in world.sites:
                site["listen"] = [f"127.0.0.1:{ports['own']}", f"127.0.0.1:{ports['shared']}"]
            world.authority.publish()
            done = world.play()
            assert done.code == 0, done.output
            yield world
    finally:
        application.stop()
        shutil.rmtree(root / "ansible", ignore_errors=True)


def attack(world: PathWorld, who: str, name: str, port: str) -> list[str]:
    """Send everything there is and return what the application got meanwhile."""
    pair, reached = world.people()[who], world.application.reached
    before = len(reached)
    answered = hostile.send_all(name, world.ports[port], lambda: world.context(pair))
    assert answered > 200, "who is not answered has not asked"
    targets = len(set(hostile.TARGETS))
    assert hostile.send_targets_by_http2(name, world.ports[port], world.context(pair)) == targets
    resume(world, who, name, port)
    hostile.settled(reached)
    return reached[before:]


def resume(world: PathWorld, who: str, name: str, port: str) -> None:
    """Ask on sessions that were begun for the neighbour, for the site, or for nobody."""
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        for first in ("public.test", name, None):
            context = world.context(world.people()[who], version)
            session = None
            for sni in (first, name, name, first):
                with (
                    contextlib.suppress(OSError, http.client.HTTPException),
                    socket.create_connection(("127.0.0.1", world.ports[port]), 10) as plain,
                    context.wrap_socket(plain, server_hostname=sni, session=session) as tls,
                ):
                    exchange(tls, "GET", "/admin/", {"Host": name})
                    session = tls.session


@pytest.mark.parametrize("who", UNAUTHENTICATED_CLIENTS)
@pytest.mark.parametrize(("mode", "port"), PLACES)
def test_nothing_hostile_reaches_the_panel(world: PathWorld, mode: str, port: str, who: str) -> None:
    assert len(hostile.requests()) >= 120
    reached = attack(world, who, SITES[mode], port)
    assert hostile.panels(reached) == set()
    if mode == "host":
        assert reached == []
    else:
        assert {"GET /", "POST /"} <= set(reached), "the public part is there"


@pytest.mark.parametrize(("mode", "port"), PLACES)
def test_valid_and_listed_client_reaches_the_application(world: PathWorld, mode: str, port: str) -> None:
    assert len(hostile.panels(attack(world, "valid", SITES[mode], port))) >= 10


def test_gate_of_many_tutorials_admits_these_attacks(world: PathWorld) -> None:
    """``location /admin/`` with an ``if``, and ``ssl_verify_client optional``: so the list has teeth."""
    through = hostile.panels(attack(world, "none", "panel.test", "article"))
    assert through >= HOLES, HOLES - through
    assert len(HOLES) >= 10
