# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the status location of a gate and the generations that it reports."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from typing import Any, Protocol

from .._common.errors import MtlsError

STATUS_PATH = "/.well-known/quietdoor"
GENERATION_HEADER = "X-Quietdoor-Generation"
VERDICT_HEADER = "X-Quietdoor-Verdict"
# The User-Agent of module gate_probe, whose requests are not evidence.
PROBE_USER_AGENT = "quietdoor-probe"


GENERATIONS = re.compile(r"\b(gate|trust)=([0-9]{1,18})\b")


_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")


LOOPBACK = {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (where to connect, not what to bind)


@dataclass(frozen=True, order=True)
class Endpoint:
    """An address at which the running nginx reports its generations.

    :param address: an IP address, or ``*`` or ``::``, for which the loopback address is used.
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
    """The generations that an endpoint reported, each None if it was missing; ``failure`` is the reason if both are."""

    gate: int | None = None
    trust: int | None = None
    failure: str = ""

    def of(self, kind: str) -> int | None:
        """Return the generation of ``gate`` or ``trust``."""
        return self.gate if kind == "gate" else self.trust


class StatusClient(Protocol):
    """An object that queries endpoints."""

    def ask(self, endpoint: Endpoint) -> Answer:
        """Return what ``endpoint`` reports on a new connection."""


def endpoints_from(data: Any, where: str) -> tuple[Endpoint, ...]:
    """Return the endpoints in a list of mappings, sorted.

    :param where: the name of the list in errors.
    :raises MtlsError: if ``data`` is not a list of endpoints.
    """
    hint = "Set site, address, port and server_name for every endpoint"
    if not isinstance(data, list):
        raise MtlsError(f"{where} is not a list of endpoints", hint)
    return tuple(sorted({_read_endpoint(item, where, hint) for item in data}))


def _read_endpoint(item: Any, where: str, hint: str) -> Endpoint:
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
