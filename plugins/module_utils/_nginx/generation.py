# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which generation the running nginx tells. The exit code of a reload proves nothing; this does."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from .._ansible.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

PATH = "/.well-known/quietdoor"
HEADER = "X-Quietdoor-Generation"
# While workers are replaced, old and new ones take connections side by side: so many fresh ones in a row must agree.
_ROUNDS = 5
_PAUSE = 0.05
_ASK_TIMEOUT = 5.0
_PART = re.compile(r"\b(gate|trust)=([0-9]{1,18})\b")
_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_LOOPBACK = {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (where to connect, not what to bind)


@dataclass(frozen=True, order=True)
class Endpoint:
    """Where the running nginx tells its generation.

    :param address: an IP address, or ``*`` or ``::``, which are asked on the loopback address.
    """

    site: str
    address: str
    port: int
    server_name: str

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.server_name} on {host}:{self.port}"


@dataclass(frozen=True)
class Answer:
    """What an endpoint told: the two generations, each None if it told none, and why, if it told nothing."""

    gate: int | None = None
    trust: int | None = None
    failure: str = ""

    def of(self, kind: str) -> int | None:
        """Return the generation of ``gate`` or ``trust``."""
        return self.gate if kind == "gate" else self.trust


class Asks(Protocol):
    """Whoever can ask an endpoint."""

    def ask(self, endpoint: Endpoint) -> Answer:
        """Ask on a fresh connection."""


def endpoints_from(data: Any, where: str) -> tuple[Endpoint, ...]:
    """Return the endpoints that a list of mappings names, sorted.

    :param where: what the list is, for the error.
    :raises Problem: if it is not one.
    """
    mend = "Give every endpoint a site, an address, a port and a server_name"
    if not isinstance(data, list):
        raise Problem(f"{where} is not a list of endpoints", mend)
    return tuple(sorted({_endpoint(item, where, mend) for item in data}))


def _endpoint(item: Any, where: str, mend: str) -> Endpoint:
    try:
        site, address, server_name = (str(item[key]) for key in ("site", "address", "server_name"))
        port = int(item["port"])
    except (KeyError, TypeError, ValueError):
        raise Problem(f"{where}: {str(item)[:200]!r} is not an endpoint", mend) from None
    address = address.strip("[]")
    if not 0 < port < 65536 or not _HOST_NAME.fullmatch(server_name) or not _is_address(address):
        raise Problem(f"{where}: {str(item)[:200]!r} is not an endpoint", mend)
    return Endpoint(site, address, port, server_name)


def _is_address(text: str) -> bool:
    if text in _LOOPBACK:
        return True
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, text)
        except OSError:
            continue
        return True
    return False


def ask(endpoint: Endpoint) -> Answer:
    """Ask the nginx on this host for its generations, on a fresh TLS connection. Never raises.

    The server's certificate is not checked: a local server is asked for two numbers, and nothing is sent to it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    address = (_LOOPBACK.get(endpoint.address, endpoint.address), endpoint.port)
    try:
        with socket.create_connection(address, timeout=_ASK_TIMEOUT) as plain:
            return _ask_on(plain, context, endpoint.server_name)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Answer(failure=str(error) or type(error).__name__)


def _ask_on(plain: socket.socket, context: ssl.SSLContext, server_name: str) -> Answer:
    with context.wrap_socket(plain, server_hostname=server_name) as tls:
        lines = [f"GET {PATH} HTTP/1.1", f"Host: {server_name}", "Connection: close", "", ""]
        tls.sendall("\r\n".join(lines).encode("ascii"))
        response = http.client.HTTPResponse(tls)
        try:
            response.begin()
            value = response.getheader(HEADER)
        finally:
            response.close()
    if value is None:
        return Answer(failure=f"status {response.status} without {HEADER}")
    told = {kind: int(number) for kind, number in _PART.findall(value)}
    return Answer(told.get("gate"), told.get("trust"))


def tells(nginx: Asks, endpoints: Iterable[Endpoint], kind: str, generation: int | None) -> bool:
    """Return whether every endpoint tells ``generation`` (None: tells none), several times in a row."""
    return not any(_first_wrong(nginx, endpoints, kind, generation) for _round in range(_ROUNDS))


def prove(
    nginx: Asks,
    endpoints: Sequence[Endpoint],
    kind: str,
    generation: int | None,
    timeout: float,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Wait until every endpoint tells ``generation`` (None: tells none) several times in a row on fresh connections.

    :param timeout: seconds.
    :raises Problem: if that does not come about; it says what was told instead.
    """
    deadline = clock() + timeout
    agreed = 0
    while True:
        wrong = _first_wrong(nginx, endpoints, kind, generation)
        agreed = 0 if wrong else agreed + 1
        if agreed >= _ROUNDS:
            return
        if wrong and clock() >= deadline:
            raise Problem(
                f"The running nginx does not serve {_named(kind, generation)}: after {timeout:g} s {wrong}",
                "Look into nginx's error log; an address or a shared zone that it cannot change in a reload needs a restart",
            )
        time.sleep(_PAUSE)


def _first_wrong(nginx: Asks, endpoints: Iterable[Endpoint], kind: str, generation: int | None) -> str:
    for endpoint in endpoints:
        answer = nginx.ask(endpoint)
        if answer.of(kind) != generation:
            return f"{endpoint} tells {_told(answer, kind)}"
    return ""


def _told(answer: Answer, kind: str) -> str:
    number = answer.of(kind)
    return _named(kind, number) if number is not None else f"none ({answer.failure or 'no ' + kind + ' generation'})"


def _named(kind: str, generation: int | None) -> str:
    return f"no {kind} generation" if generation is None else f"{kind} generation {generation}"
