# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the status location of a gate, and what it reports."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from typing import Any, Protocol

from .._common.errors import MtlsError

STATUS_PATH = "/.well-known/quietdoor"


GENERATION_HEADER = "X-Quietdoor-Generation"


GENERATIONS = re.compile(r"\b(gate|trust)=([0-9]{1,18})\b")


_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")


LOOPBACK = {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (where to connect, not what to bind)


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
    :raises MtlsError: if it is not one.
    """
    hint = "Give every endpoint a site, an address, a port and a server_name"
    if not isinstance(data, list):
        raise MtlsError(f"{where} is not a list of endpoints", hint)
    return tuple(sorted({_endpoint(item, where, hint) for item in data}))


def _endpoint(item: Any, where: str, hint: str) -> Endpoint:
    try:
        site, address, server_name = (str(item[key]) for key in ("site", "address", "server_name"))
        port = int(item["port"])
    except (KeyError, TypeError, ValueError):
        raise MtlsError(f"{where}: {str(item)[:200]!r} is not an endpoint", hint) from None
    address = address.strip("[]")
    if not 0 < port < 65536 or not _HOST_NAME.fullmatch(server_name) or not _is_address(address):
        raise MtlsError(f"{where}: {str(item)[:200]!r} is not an endpoint", hint)
    return Endpoint(site, address, port, server_name)


def _is_address(text: str) -> bool:
    if text in LOOPBACK:
        return True
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, text)
        except OSError:
            continue
        return True
    return False
