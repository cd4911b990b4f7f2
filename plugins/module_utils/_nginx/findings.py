# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a look through a configuration works with: panels, servers with their blocks, and findings."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .config import Configuration, Directive, Listen, Server

PASSES = ("proxy_pass", "fastcgi_pass", "grpc_pass", "uwsgi_pass", "scgi_pass", "memcached_pass")
_SCHEME = re.compile(r"(?P<scheme>[a-z]+)://")
_PORTS = {"http": "80", "https": "443", "": "80"}


@dataclass(frozen=True)
class Panel:
    """What a site guards.

    :param manage: ``vhost`` or ``snippets``.
    :param listens: addresses and ports, as :class:`.config.Listen` has them.
    :param upstreams: the addresses of the applications behind the gate; a path is a directory of files.
    :param enforced: whether nobody else should get in; in the stages before, and where the gate is only tried on another port,
        the panel is open anyway.
    """

    site: str
    manage: str
    server_names: tuple[str, ...]
    listens: tuple[tuple[str, int], ...]
    upstreams: tuple[str, ...]
    enforced: bool = True


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    :param opens: whether the panel is open through it; else it is only worth knowing.
    :param unguarded: whether it says that nothing guards the site at all, yet.
    """

    site: str
    opens: bool
    file: str
    line: int
    what: str
    mend: str
    unguarded: bool = False

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " if self.file else ""
        return f"site {self.site}: {where}{self.what}"

    def as_warning(self) -> Finding:
        """The same as a warning."""
        return replace(self, opens=False)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for a module to return."""
        values = {key: value for key, value in asdict(self).items() if key not in ("opens", "unguarded")}
        return {**values, "severity": "error" if self.opens else "warning"}


@dataclass(frozen=True)
class Block:
    """A server of http as it is written, and what it amounts to."""

    directive: Directive
    server: Server

    @property
    def inner(self) -> tuple[Directive, ...]:
        """What stands in it."""
        return self.directive.block or ()

    @property
    def names(self) -> tuple[str, ...]:
        """Its server names, in lower case."""
        return tuple(name.lower() for name in self.server.server_names)

    @property
    def tcp(self) -> list[Listen]:
        """Its listens but for QUIC."""
        return [listen for listen in self.server.listens if not listen.udp]

    @property
    def place(self) -> str:
        """File and line."""
        return f"{self.directive.file}:{self.directive.line}"


def servers_of(configuration: Configuration) -> list[Block]:
    """Return every server of http."""
    blocks = [
        directive
        for context, directive in configuration.walk()
        if context == ("http",) and directive.name == "server" and directive.block is not None
    ]
    servers = [server for server in configuration.servers() if server.protocol == "http"]
    return [Block(directive, server) for directive, server in zip(blocks, servers)]


def levels(directive: Directive, above: tuple[Directive, ...] = ()) -> Iterator[tuple[Directive, ...]]:
    """Yield every block in ``directive``, itself included, each with the blocks around it, outermost first."""
    here = (*above, directive)
    yield here
    for inner in directive.block or ():
        if inner.block is not None and inner.name in ("location", "if", "limit_except"):
            yield from levels(inner, here)


def named(level: tuple[Directive, ...], *names: str) -> list[Directive]:
    """Return the directives of these names that stand in the innermost block itself."""
    return [inner for inner in level[-1].block or () if inner.name in names]


def pools_of(configuration: Configuration) -> dict[str, tuple[str, ...]]:
    """Return the addresses of the servers of every ``upstream`` block, by its name."""
    return {
        upstream.args[0].lower(): tuple(
            inner.args[0] for inner in upstream.block or () if inner.name == "server" and inner.args
        )
        for outer in configuration.directives
        for upstream in outer.block or ()
        if upstream.name == "upstream" and upstream.args
    }


def targets(pools: Mapping[str, tuple[str, ...]], address: str) -> frozenset[str] | None:
    """Return what ``address``, the argument of a directive like proxy_pass, leads to: ``host:port`` or ``unix:PATH``.

    :param pools: see :func:`pools_of`; a name among them stands for its servers.
    :returns: None if the address holds a variable.
    """
    if "$" in address:
        return None
    match = _SCHEME.match(address)
    scheme = match["scheme"] if match else ""
    rest = address[match.end() :] if match else address
    if rest.startswith("unix:"):
        return frozenset({_socket(rest)})
    authority = rest.partition("/")[0].lower()
    if pools.get(authority):
        return frozenset(map(_member, pools[authority]))
    return frozenset({_with_port(authority, _PORTS.get(scheme, ""))})


def _member(text: str) -> str:
    return _socket(text) if text.startswith("unix:") else _with_port(text.lower(), "80")


def _socket(text: str) -> str:
    return "unix:" + text[len("unix:") :].partition(":")[0]


def _with_port(authority: str, port: str) -> str:
    host, _colon, given = authority.rpartition(":") if re.search(r":[0-9]+\Z", authority) else (authority, "", "")
    host = "127.0.0.1" if host == "localhost" else host
    return f"{host}:{given or port}"
