# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find servers beside the gate that bypass it, or that answer for its server names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._contracts.gate_manifest import ProtectedSite
from .._contracts.paths import SERVER_SNIPPET, is_server_snippet, snippet_file
from .._nginx.proxy_targets import PASSES, can_reach, pools_of, targets, values_of, where
from .findings import Block, Finding, holds, levels, limits_of, named, unknown_target
from .gate_clients import audit_gate_clients
from .snippet_locations import guard_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .._nginx.config_model import Configuration
    from .._nginx.config_parser import Directive

_ACME = "/.well-known/acme-challenge"


def audit_other_servers(
    configuration: Configuration, servers: Sequence[Block], protected: ProtectedSite, home: str
) -> list[Finding]:
    """Return findings about other servers with the server names or the upstreams of a protected site.

    Servers of the gate, and those with a server snippet of any site, are guarded and left out.
    """
    bypasses = _BypassSearch(configuration, protected, home)
    others = [block for block in servers if not is_guarded(block, home)]
    found = [finding for block in others for finding in bypasses.find_in(block)]
    found += [finding for block in others for finding in _same_names(block, protected, reported=found)]
    guarded = [block for block in servers if is_guarded(block, home) and not _is_own(block, protected, home)]
    return [
        *found,
        *(finding for block in guarded for finding in bypasses.find_in(block, "public")),
        *bypasses.find_in_streams(),
        *audit_gate_clients(configuration, servers, protected, home),
    ]


def _is_own(block: Block, protected: ProtectedSite, home: str) -> bool:
    return any(inner.file == f"{home}{snippet_file(protected.site, SERVER_SNIPPET)}" for inner in block.inner)


def is_guarded(block: Block, home: str) -> bool:
    """Return whether a gate guards everything in a server."""
    if block.directive.file.startswith(home):
        return True
    return any(inner.file.startswith(home) and is_server_snippet(inner.file[len(home) :]) for inner in block.inner)


class _BypassSearch:
    """Search for bypasses to the upstreams of one gate."""

    def __init__(self, configuration: Configuration, protected: ProtectedSite, home: str) -> None:
        self.configuration = configuration
        self.protected = protected
        self.home = home
        self.pools = pools_of(configuration)
        self.values = values_of(configuration)
        reached = [targets(self.pools, upstream) for upstream in protected.upstreams if not upstream.startswith("/")]
        self.wanted = frozenset().union(*(one for one in reached if one))

    def find_in(self, block: Block, part: str = "") -> Iterator[Finding]:
        """Yield the bypasses of a server.

        :param part: the part to check of a server behind another gate; see :func:`.snippet_locations.guard_of`.
        """
        for level in levels(block.directive):
            if part and (guard_of(level, self.home) != part or level[-1].file.startswith(self.home)):
                continue
            for directive in named(level, *PASSES):
                yield from self._passed_requests(block, level, directive)
            for directive in named(level, "root", "alias"):
                yield from self._served_files(block, level, directive)
        if not part:
            for directive in self._inherited_root(block):
                yield from self._served_files(block, (block.directive,), directive)

    def _passed_requests(self, block: Block, level: tuple[Directive, ...], directive: Directive) -> Iterator[Finding]:
        address = directive.args[0] if directive.args else ""
        reached, _known = where(self.pools, self.values, address)
        if reached & self.wanted:
            does = f"passes requests to {sorted(reached & self.wanted)[0]}"
            yield _bypass(block, level, directive, self.protected, does)
        elif can_reach(self.pools, self.values, address, self.wanted):
            yield from unknown_target(self.protected, directive, limits_of(block, level, self.protected))

    def _served_files(self, block: Block, level: tuple[Directive, ...], directive: Directive) -> Iterator[Finding]:
        directory = next((path for path in self.protected.upstreams if holds(directive, path)), "")
        if directory:
            yield _bypass(block, level, directive, self.protected, f"serves files of {directory}")

    def _inherited_root(self, block: Block) -> list[Directive]:
        """Return the root of http, where a server has none of its own and does not answer without files."""
        if any(inner.name in ("root", "return") for inner in block.inner):
            return []
        outer = [inner for http in self.configuration.directives if http.name == "http" for inner in http.block or ()]
        return [inner for inner in outer if inner.name == "root"][-1:]

    def find_in_streams(self) -> Iterator[Finding]:
        """Yield the bypasses through servers of stream, which no directive of http guards."""
        for context, directive in self.configuration.walk():
            if context[:1] != ("stream",) or directive.name != "proxy_pass" or not directive.args:
                continue
            reached, _known = where(self.pools, self.values, directive.args[0])
            if reached & self.wanted:
                what = f"a stream server passes connections to {sorted(reached & self.wanted)[0]}, past every gate"
                hint = f"Remove line {directive.line} of {directive.file}"
                yield Finding(self.protected.site, True, directive.file, directive.line, what, hint)
            elif can_reach(self.pools, self.values, directive.args[0], self.wanted):
                yield from unknown_target(self.protected, directive)


def _bypass(
    block: Block, level: tuple[Directive, ...], directive: Directive, protected: ProtectedSite, does: str
) -> Finding:
    limits = limits_of(block, level, protected)
    names = " ".join(block.server.server_names) or "without a name"
    what = f"the server {names} {does}, the protected application of site {protected.site}, and does not require a certificate"
    hint = f"Remove line {directive.line} of {directive.file}, or put a gate in front of that server too"
    return Finding(protected.site, not limits, directive.file, directive.line, f"{what}{limits}", hint)


def _same_names(block: Block, protected: ProtectedSite, reported: Sequence[Finding]) -> Iterator[Finding]:
    shared = [name for name in protected.server_names if any(_matches(pattern, name) for pattern in block.names)]
    if not shared:
        return
    directive = block.directive
    here = {(listen.address, listen.port) for listen in block.tcp} & set(protected.listens)
    exact = [name for name in shared if name in block.names]
    if here and exact:
        address, port = sorted(here)[0]
        what = f"another server for {exact[0]} on {address}:{port}; of two, nginx uses the one that it reads first"
        hint = f"Remove that name from the server at {block.place}"
        yield Finding(protected.site, True, directive.file, directive.line, what, hint)
    elif _serves(block) and not any((one.file, one.site) == (directive.file, protected.site) for one in reported):
        ports = ", ".join(sorted({f"{listen.address}:{listen.port}" for listen in block.tcp}))
        what = f"a server without the gate answers for {shared[0]} on {ports}"
        hint = "Make sure that it does not serve the protected application, or let it redirect only"
        yield Finding(protected.site, False, directive.file, directive.line, what, hint)


def _matches(pattern: str, name: str) -> bool:
    """Return whether a server name matches as in nginx; regular expressions are not compared."""
    if pattern.startswith("*."):
        return name.endswith(pattern[1:])
    if pattern.startswith("."):
        return f".{name}".endswith(pattern)
    if pattern.endswith(".*"):
        return name.startswith(pattern[:-1])
    return pattern == name


def _serves(block: Block) -> bool:
    if any(inner.name == "return" for inner in block.inner):
        return False
    return any(
        named(level, *PASSES, "root", "alias", "try_files")
        for level in levels(block.directive)
        if not any(one.name == "location" and one.args[-1].startswith(_ACME) for one in level if one.args)
    )
