# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find servers that pass requests through a gate with a client certificate of nginx itself.

Every client of such a server reaches the application with the identity of that certificate (``proxy_ssl_certificate``). The gate
admits only connections for its server names, so the name that nginx sends (``proxy_ssl_name``, RFC 6066 section 3) decides.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .._contracts.gate_manifest import ProtectedSite
from .._nginx.proxy_targets import in_lower_case, pools_of, targets, values_of, with_values
from .findings import Block, Finding, in_force, levels, limits_of, named
from .snippet_locations import guard_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .._nginx.config_model import Configuration
    from .._nginx.config_parser import Directive

# The directives that can use TLS, each with the beginning of the names of its TLS directives.
_TLS = {"proxy_pass": "proxy_ssl", "grpc_pass": "grpc_ssl", "uwsgi_pass": "uwsgi_ssl"}
_TLS_ADDRESS = re.compile(r"(?:https|grpcs|suwsgi)://|\$")
_HOST = re.compile(r"(?:[a-z]+://)?(?P<host>\[[^]]*\]|[^:/]*)")


def audit_gate_clients(
    configuration: Configuration, servers: Sequence[Block], protected: ProtectedSite, home: str
) -> Iterator[Finding]:
    """Yield the bypasses through servers and public locations of http, and through servers of stream."""
    gate = _Gate(configuration, protected)
    outer = tuple(one for one in configuration.directives if one.name == "http")
    for block in servers:
        for level in levels(block.directive):
            if level[-1].file.startswith(home) or guard_of(level, home) not in ("", "public"):
                continue
            for directive in named(level, *_TLS):
                if _TLS_ADDRESS.match(in_lower_case(" ".join(directive.args))):
                    yield from gate.findings_at((*outer, *level), directive, limits_of(block, level, protected))
    streams = tuple(one for one in configuration.directives if one.name == "stream")
    for server in (inner for one in streams for inner in one.block or () if inner.name == "server"):
        for directive in named((server,), "proxy_pass"):
            if _value((*streams, server), "proxy_ssl") == "on":
                yield from gate.findings_at((*streams, server), directive, "")


class _Gate:
    """The names and addresses of the gate of a site."""

    def __init__(self, configuration: Configuration, protected: ProtectedSite) -> None:
        self.protected = protected
        self.pools = pools_of(configuration)
        self.values = values_of(configuration)
        self.ports = {str(port) for _address, port in protected.listens}
        self.hosts = {"127.0.0.1", *protected.server_names, *(address for address, _port in protected.listens)}

    def findings_at(self, level: tuple[Directive, ...], directive: Directive, limits: str) -> Iterator[Finding]:
        """Yield the finding about a directive such as proxy_pass, if it can pass requests through the gate."""
        prefix = _TLS[directive.name]
        certificate = in_force(level, f"{prefix}_certificate")[-1:]
        if not certificate or certificate[0].args[:1] == ("",) or not directive.args:
            return
        if _value(level, f"{prefix}_server_name") != "on" or not self._is_reached(
            directive.args[0], _value(level, f"{prefix}_name")
        ):
            return
        line = certificate[0]
        what = (
            f"{directive.name} {directive.args[0]} passes requests through the gate of site {self.protected.site} with the "
            f"{line.name} at {line.file}:{line.line}, so every client of this server has the identity of that certificate{limits}"
        )
        hint = f"Remove line {directive.line} of {directive.file}, or put a gate in front of that server too"
        yield Finding(self.protected.site, not limits, directive.file, directive.line, what, hint)

    def _is_reached(self, address: str, name: str) -> bool:
        return any(self._is_reached_by(text, name) for text in with_values(self.values, address))

    def _is_reached_by(self, address: str, name: str) -> bool:
        """Return whether nginx can connect to the gate with a server name of the site; an unknown name can be one."""
        reached = targets(self.pools, address)
        if reached is not None and not {one.rpartition(":")[2] for one in reached} & self.ports:
            return False
        match = _HOST.match(in_lower_case(address))
        own = match["host"] if match else ""
        for sent in with_values(self.values, name or own):
            if sent.lower() in self.protected.server_names:
                return True
            if "$" in sent and (reached is None or {one.rpartition(":")[0] for one in reached} & self.hosts):
                return True
        return False


def _value(level: tuple[Directive, ...], name: str) -> str:
    """Return the first argument of a directive in force, empty if there is none."""
    found = in_force(level, name)[-1:]
    return found[0].args[0] if found and found[0].args else ""
