# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what former workers of a real nginx still hold after a reload, and how they end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._deploy.former_connections import (
    FormerConnections,
    settle_former_connections,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.former_workers import (
    FormerWorker,
    end,
    former_workers,
    started_at,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.nginx import Nginx
from support.ca import make_pair
from support.client import eventually
from support.nginx import RELEASES, NginxInstance, children, free_port

_SERVERS = """
server {{
    listen 127.0.0.1:{port} ssl default_server;
    server_name other.test;
    ssl_certificate {crt};
    ssl_certificate_key {key};
    client_header_timeout {default};
    return 204;
}}
server {{
    listen 127.0.0.1:{port} ssl;
    server_name gate.test;
    client_header_timeout 1s;
    return 204;
}}
"""


class Host:
    """An nginx with a default server that waits longer for a header than the server of the gate, and held connections."""

    def __init__(self, root: Path, version: str, default: str) -> None:
        root.mkdir()
        pair = make_pair(root / "server", "gate.test", usage=None)
        self.port = free_port(25000, 31999, never_given=True)
        self.instance = NginxInstance(root / "nginx", version=version)
        text = _SERVERS.format(port=self.port, crt=pair.crt, key=pair.pem, default=default)
        (self.instance.prefix / "conf.d" / "servers.conf").write_text(text)
        self.held: list[ssl.SSLSocket] = []

    @property
    def nginx(self) -> Nginx:
        return Nginx(
            self.instance.binary,
            str(self.instance.prefix),
            tuple(self.instance.test_argv),
            tuple(self.instance.reload_argv),
        )

    @property
    def pid(self) -> int:
        """The process id in the pid file, 0 if there is none."""
        path = self.instance.prefix / "nginx.pid"
        return int(path.read_text() or 0) if path.exists() else 0

    def hold(self) -> None:
        """Open a connection without a request, and one with half a header; then reload."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        for begun in (b"", b"GET / HTTP/1.1\r\nHost: ga"):
            plain = socket.create_connection(("127.0.0.1", self.port), 10)
            self.held.append(context.wrap_socket(plain, server_hostname="gate.test"))
            self.held[-1].sendall(begun)
        former = set(children(self.pid))
        self.instance.reload()
        eventually(lambda: set(children(self.pid)) - former)

    def settle(self, timeout: float = 0.0, close: bool = False) -> FormerConnections:
        configuration = self.nginx.dump(self.nginx.conf_file)
        return settle_former_connections(self.nginx, configuration, {self.port}, timeout, close=close)

    def is_open(self, number: int) -> bool:
        """Return whether nginx has not closed a held connection."""
        self.held[number].settimeout(0.2)
        try:
            return bool(self.held[number].recv(1))
        except TimeoutError:
            return True
        except OSError:
            return False


@contextlib.contextmanager
def running(root: Path, version: str, default: str) -> Iterator[Host]:
    host = Host(root, version, default)
    with host.instance:
        yield host
        for connection in host.held:
            connection.close()


@pytest.mark.parametrize("version", RELEASES)
def test_former_workers_are_reported_with_what_they_hold_and_end_in_time(tmp_path: Path, version: str) -> None:
    with running(tmp_path / "host", version, "4s") as host:
        assert host.settle().report == "No former worker runs: no request can arrive that began before the reload"
        host.hold()
        found = eventually(lambda: (seen := host.settle()).connections == 2 and seen)
        assert found.visible
        assert found.workers
        assert found.ended == ()
        assert found.bodies_until == "no limit"
        servers = host.instance.prefix / "conf.d" / "servers.conf"
        assert f"client_header_timeout 4s of {servers}:7" in found.report, "that of the default server is in force"
        assert "worker_shutdown_timeout is not set for them" in found.report
        assert host.is_open(0)
        later = host.settle(timeout=20.0)
        assert (later.workers, later.headers_until) == ((), "")
        assert not host.is_open(0)
        assert not host.is_open(1)


def test_former_workers_do_not_know_a_directive_that_came_later(tmp_path: Path) -> None:
    with running(tmp_path / "host", "1.22", "70s") as host:
        servers = host.instance.prefix / "conf.d" / "servers.conf"
        later = time.time() + 5
        servers.write_text(servers.read_text().replace("70s", "3s"))
        os.utime(servers, (later, later))
        host.hold()
        report = eventually(lambda: (found := host.settle()).connections == 2 and found.report)
        assert "client_header_timeout 60s is the default of nginx" in report, (
            "70 s is not known any more, 3 s is too short"
        )
        configuration = host.nginx.dump(host.nginx.conf_file)
        found = settle_former_connections(host.nginx, configuration, set(), 0.0, close=True)
        assert (found.report, found.ended) == ("No gate is live on this host", ())
        assert host.is_open(0)


def test_only_former_workers_of_this_nginx_are_ended(tmp_path: Path) -> None:
    with running(tmp_path / "one", "1.26", "60s") as one, running(tmp_path / "two", "1.26", "60s") as two:
        one.hold()
        two.hold()
        serving = set(children(one.instance.pid)) - set(one.settle().workers)
        found = one.settle(close=True)
        assert len(found.ended) >= 1
        assert found.workers == ()
        assert "Ended with the connections of every site" in found.report
        assert not one.is_open(0)
        assert not one.is_open(1)
        assert serving <= set(children(one.instance.pid)), "those that accept connections stay"
        assert two.is_open(0), "those of another nginx stay"
        assert two.settle().connections == 2


def test_master_and_other_processes_are_never_ended(tmp_path: Path) -> None:
    host = Host(tmp_path / "host", "1.26", "60s")
    # nginx replaces its binary only as a daemon.
    subprocess.run([word for word in host.instance.test_argv if word != "-t"], check=True)
    started = [host.pid]
    try:
        host.hold()
        os.kill(started[0], signal.SIGUSR2)
        started.append(eventually(lambda: host.pid not in (0, started[0]) and host.pid))
        old, new = started
        assert new in children(old), "it is a child of the old master"
        workers = eventually(lambda: former_workers(old))
        assert new not in {worker.pid for worker in workers}
        assert eventually(lambda: former_workers(new) is not None)
        assert former_workers(new) == ()
        upgrading = host.settle(close=True)
        assert (upgrading.ended, upgrading.bodies_until) == ((), "no limit")
        assert f"its former master (process {old})" in upgrading.report
        assert f"kill -QUIT {old}" in upgrading.report
        reused = [FormerWorker(worker.pid, worker.started + 1) for worker in workers]
        others = [FormerWorker(pid, started_at(pid)) for pid in (os.getpid(), *started)]
        assert end([*reused, *others]) == ()
        assert host.is_open(0)
    finally:
        for pid in started:
            os.kill(pid, signal.SIGTERM)
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started))
        for connection in host.held:
            connection.close()


def test_invisible_processes_are_reported_as_unknown(tmp_path: Path) -> None:
    with running(tmp_path / "host", "1.26", "60s") as host:
        (host.instance.prefix / "nginx.pid").write_text("1\n")
        found = host.settle()
        assert (found.visible, found.connections) == (False, None)
        assert "it does not run, or it runs in a container" in found.report
        (host.instance.prefix / "nginx.pid").write_text(f"{host.instance.pid}\n")
    assert former_workers(os.getpid()) is None
