# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Apply the roles trust and gate to an nginx for sites in every stage."""

from __future__ import annotations

import base64
import socket
import ssl
from typing import Any

from support.client import Answer, eventually, exchange
from support.world import World

LISTED, ELSEWHERE = "127.0.0.9", "127.0.0.1"


PASSWORD = "correct horse"


class StagesWorld(World):
    """One nginx with a site for each stage: see ``_sites``."""

    def people(self) -> dict[str, Any]:
        """Clients by the state of their certificate."""
        clients = {"valid": self.authority.clients["alex"], "unlisted": self.authority.clients["dora"]}
        return {**self.strangers, **clients}

    def ask(
        self,
        who: str,
        path: str = "/",
        *,
        host: str,
        source: str = ELSEWHERE,
        method: str = "GET",
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        version: ssl.TLSVersion | None = None,
    ) -> Answer:
        """Ask over a fresh connection that comes from ``source``."""
        address = ("127.0.0.1", self.ports["own"])
        with (
            socket.create_connection(address, 10, source_address=(source, 0)) as plain,
            self.context(self.people()[who], version).wrap_socket(plain, server_hostname=host) as tls,
        ):
            return exchange(tls, method, path, {"Host": f"{host}:{address[1]}", **(headers or {})}, body)

    def last(self, site: str, path: str) -> dict[str, Any]:
        """Return the entry of the log about a path that was asked for once."""
        return eventually(lambda: next((line for line in self.log(site) if line["uri"] == path), None))


def basic_auth(text: str = PASSWORD) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"guest:{text}".encode()).decode()}
