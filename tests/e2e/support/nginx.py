# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A throw-away nginx of its own prefix, for tests.

    with NginxInstance(tmp_path / "nginx", http="server { listen 127.0.0.1:20010; return 204; }") as nginx:
        ...                        # conf.d/*.conf is included in http
        nginx.reload_argv          # what a module takes: nginx.options() gives all of them

It listens on nothing but what ``http`` and conf.d/ say, and is ended by the process id of the child that was started here.
It is this machine's own nginx, or with ``version`` that of a Debian release.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

_MAIN = """\
{user}worker_processes 2;
pid {prefix}/nginx.pid;
error_log {prefix}/error.log notice;
{main}
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {prefix}/body;
    proxy_temp_path {prefix}/proxy;
    fastcgi_temp_path {prefix}/fastcgi;
    uwsgi_temp_path {prefix}/uwsgi;
    scgi_temp_path {prefix}/scgi;
    {include}
    {http}
}}
"""


# nginx as Debian has it: version -> release. tools/nginx.sh puts them where they are looked for. The first is the one that tests
# use whose answer no release of nginx changes.
RELEASES = {"1.26": "trixie", "1.22": "bookworm"}
# The oldest and the newest nginx of Debian, for test_smoke.py.
SMOKE_RELEASES = {"1.18": "bullseye", "1.30": "sid"}


def nginx_binary(version: str = "") -> str:
    """Return the path of this machine's nginx, or of one of RELEASES and SMOKE_RELEASES."""
    if version:
        suite = {**RELEASES, **SMOKE_RELEASES}[version]
        binary = Path(__file__).parents[3] / ".cache" / "nginx" / suite / "usr" / "sbin" / "nginx"
        assert binary.exists(), f"{binary} is not here. tools/nginx.sh puts it there"
        return str(binary)
    found = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    assert found, "nginx is not installed"
    return found


class NginxInstance:
    """One nginx: ``prefix`` is its directory and the directory of its nginx.conf."""

    def __init__(
        self,
        prefix: Path,
        http: str = "",
        main: str = "",
        include: str = "include conf.d/*.conf;",
        version: str = "",
    ) -> None:
        self.prefix = prefix
        self.binary = nginx_binary(version)
        self.conf_file = prefix / "nginx.conf"
        self.error_log = prefix / "error.log"
        self.test_argv = [self.binary, "-p", str(prefix), "-c", str(self.conf_file), "-t"]
        self.reload_argv = [self.binary, "-p", str(prefix), "-c", str(self.conf_file), "-s", "reload"]
        self._process: subprocess.Popen[bytes] | None = None
        (prefix / "conf.d").mkdir(parents=True)
        self.configure(http, main, include)

    def configure(self, http: str = "", main: str = "", include: str = "include conf.d/*.conf;") -> None:
        """Write nginx.conf."""
        # Workers that could not read the test's private directory would be a test of that only.
        user = "user root;\n" if os.geteuid() == 0 else ""
        self.conf_file.write_text(_MAIN.format(user=user, prefix=self.prefix, main=main, include=include, http=http))

    def options(self) -> dict[str, Any]:
        """Return the options by which modules know this nginx."""
        return {
            "conf_path": str(self.prefix),
            "nginx_binary": self.binary,
            "test_argv": self.test_argv,
            "reload_argv": self.reload_argv,
        }

    def start(self) -> None:
        """Start it in the foreground as a child and wait until it has written its pid file."""
        argv = [self.binary, "-p", str(self.prefix), "-c", str(self.conf_file), "-g", "daemon off;"]
        self._process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        pid_file = self.prefix / "nginx.pid"
        _wait(lambda: pid_file.exists() and pid_file.read_text().strip() == str(self.pid), self._words)

    @property
    def pid(self) -> int:
        """The process id of the master."""
        assert self._process, "it was not started"
        return self._process.pid

    def reload(self) -> None:
        """Reload, without waiting for anything."""
        subprocess.run(self.reload_argv, check=True, capture_output=True)

    def serve(self, texts: dict[Path, str]) -> None:
        """Write files, and reload; no old worker is left then."""
        for path, text in texts.items():
            path.write_text(text)
        subprocess.run(self.test_argv, check=True, capture_output=True)
        old = set(children(self.pid))
        self.reload()
        _wait(lambda: old.isdisjoint(children(self.pid)), lambda: "an old worker does not end", 20.0)

    def stop(self) -> None:
        """End it; connections that are open are cut."""
        if self._process is None:
            return
        workers = children(self.pid)
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:  # on a very busy machine; nothing of it may stay
            for pid in [self.pid, *workers]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait(timeout=10)
        self._process = None

    def _words(self) -> str:
        return self.error_log.read_text() if self.error_log.exists() else "it logged nothing"

    def __enter__(self) -> NginxInstance:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def free_port(first: int, last: int, never_given: bool = False) -> int:
    """Return a port of the range that nobody holds on any address now, and that no other test process has been given.

    Another worker of pytest, or the tests of another checkout, looks for a port at the same time, so a port without a listener
    is not yet free. A process keeps its ports until it ends and gets them again, unless ``never_given`` excludes them.
    """
    start = first + (os.getpid() * 37) % (last - first)
    ports = [*range(start, last), *range(first, start)]
    for port in ports:
        if not (never_given and port in _RESERVED) and _bindable(port) and _reserved(port):
            return port
    for port in ports:  # a small range, and many processes
        if not (never_given and port in _RESERVED) and _bindable(port):
            return port
    raise AssertionError(f"no port is free between {first} and {last}")


_RESERVED: dict[int, socket.socket] = {}


def _reserved(port: int) -> bool:
    """Put this process's name on a port; the kernel takes it off when the process ends."""
    if port not in _RESERVED:
        name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            name.bind(f"\0quietdoor.mtls test port {port}")
        except OSError:
            name.close()
            return False
        _RESERVED[port] = name
    return True


def _bindable(port: int) -> bool:
    with socket.socket() as probe:
        # A port that was just closed is free for nginx too.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True


def children(parent: int) -> list[int]:
    """Return the process ids of a master's workers."""
    children = Path(f"/proc/{parent}/task/{parent}/children")
    try:
        return [int(pid) for pid in children.read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _wait(condition: Any, words: Any, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"nginx did not start: {words()}"
        time.sleep(0.02)
