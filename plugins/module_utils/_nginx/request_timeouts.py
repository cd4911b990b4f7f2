# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find how long nginx waits for the header of a request, in the effective configuration.

The default server of an address governs the handshake and the first request of a connection (its ``client_header_timeout``),
because nginx selects the server only with the server name. HTTP/2 up to nginx 1.19.6 has ``http2_recv_timeout`` instead.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from .config_model import Configuration
    from .config_parser import Directive

HEADER = "client_header_timeout"
# The value in the servers of gates. A request of a revoked client that began before the revocation can arrive that long after
# it, and a client with a slow connection has that long for a header.
OF_GATES = "20s"
_HTTP2 = "http2_recv_timeout"
# The defaults of nginx, in seconds.
DEFAULTS = {HEADER: 60.0, _HTTP2: 30.0}
_LAST_WITH_HTTP2_TIMEOUT = (1, 19, 6)
# ngx_parse_time(): the units of the syntax of nginx, in seconds. A number without a unit is seconds.
_UNITS = {"ms": 0.001, "": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "M": 30 * 86400, "y": 365 * 86400}
_PART = re.compile(r"\s*([0-9]+)(ms|[smhdwMy]?)")


@dataclass(frozen=True)
class Timeout:
    """How long a server waits for a request header.

    :param file: the file of the directive; if it is not set, that of the server.
    """

    directive: str
    seconds: float
    file: str
    line: int
    is_set: bool

    def __str__(self) -> str:
        origin = "of" if self.is_set else "is the default of nginx at the server or file"
        return f"{self.directive} {self.seconds:g}s {origin} {self.file}:{self.line}"


def request_timeouts(configuration: Configuration, ports: Collection[int], version: tuple[int, ...]) -> list[Timeout]:
    """Return the timeouts of every server of ``http`` that listens on one of the TCP ports.

    :param version: the version of nginx.
    """
    names = [HEADER, *([_HTTP2] if version <= _LAST_WITH_HTTP2_TIMEOUT else [])]
    return [
        timeout_of(configuration, block, name)
        for block, server in configuration.http_servers()
        if any(listen.port in ports and not listen.udp for listen in server.listens)
        for name in names
    ]


def timeout_of(configuration: Configuration, server: Directive, name: str = HEADER) -> Timeout:
    """Return the effective timeout of a server."""
    inherited = [one for one in configuration.directives if one.name == "http"]
    for block in (server, *reversed(inherited)):
        found = [one for one in block.block or () if one.name == name and one.args]
        if found:
            return Timeout(name, parse_time(found[-1].args[0]), found[-1].file, found[-1].line, is_set=True)
    return Timeout(name, DEFAULTS[name], server.file, server.line, is_set=False)


def parse_time(text: str) -> float:
    """Return a time of nginx, as in ``1m30s``, in seconds; infinite if nginx would not accept it."""
    seconds, at = 0.0, 0
    while at < len(text):
        part = _PART.match(text, at)
        if part is None:
            return float("inf")
        seconds += int(part[1]) * _UNITS[part[2]]
        at = part.end()
    return seconds
