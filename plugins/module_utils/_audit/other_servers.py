# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers beside the gate that open a panel, or stand in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._contracts.gate_manifest import ProtectedSite
from .._nginx.proxy_targets import PASSES, pools_of, targets, values_of, where
from .findings import Block, Finding, denies_all, holds, levels, named
from .snippet_locations import guard_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .._nginx.config_model import Configuration
    from .._nginx.config_parser import Directive

_ACME = "/.well-known/acme-challenge"


def audit_other_servers(
    configuration: Configuration, servers: Sequence[Block], panel: ProtectedSite, home: str
) -> list[Finding]:
    """Return what other servers do with the names and the upstreams of a panel.

    Servers of the gate, and those with a server snippet of any site, are guarded and left out.
    """
    look = _Look(configuration, panel, home)
    others = [block for block in servers if not is_guarded(block, home)]
    found = [finding for block in others for finding in look.ways_in(block)]
    found += [finding for block in others for finding in _same_names(block, panel, reported=found)]
    guarded = [block for block in servers if is_guarded(block, home) and not _is_own(block, panel, home)]
    return [*found, *(finding for block in guarded for finding in look.ways_in(block, "public")), *look.streams()]


def _is_own(block: Block, panel: ProtectedSite, home: str) -> bool:
    return any(inner.file == f"{home}snippets/{panel.site}-server.conf" for inner in block.inner)


def is_guarded(block: Block, home: str) -> bool:
    """Whether a gate stands in front of everything in a server."""
    if block.directive.file.startswith(home):
        return True
    return any(
        inner.file.startswith(f"{home}snippets/") and inner.file.endswith("-server.conf") for inner in block.inner
    )


class _Look:
    """For what answers behind one gate."""

    def __init__(self, configuration: Configuration, panel: ProtectedSite, home: str) -> None:
        self.configuration = configuration
        self.panel = panel
        self.home = home
        self.pools = pools_of(configuration)
        self.values = values_of(configuration)
        reached = [targets(self.pools, upstream) for upstream in panel.upstreams if not upstream.startswith("/")]
        self.wanted = frozenset().union(*(one for one in reached if one))

    def ways_in(self, block: Block, part: str = "") -> Iterator[Finding]:
        """Yield how a server leads to the panel.

        :param part: of a server behind another gate, the part to look at; see :func:`.parts.guard_of`.
        """
        for level in levels(block.directive):
            if part and (guard_of(level, self.home) != part or level[-1].file.startswith(self.home)):
                continue
            for directive in named(level, *PASSES):
                yield from self._handed_on(block, level, directive)
            for directive in named(level, "root", "alias"):
                yield from self._shown(block, level, directive)
        if not part:
            for directive in self._inherited_root(block):
                yield from self._shown(block, (block.directive,), directive)

    def _handed_on(self, block: Block, level: tuple[Directive, ...], directive: Directive) -> Iterator[Finding]:
        reached, known = where(self.pools, self.values, directive.args[0] if directive.args else "")
        if reached & self.wanted:
            does = f"hands requests on to {sorted(reached & self.wanted)[0]}"
            yield _way_in(block, level, directive, self.panel, does)
        elif not known:
            yield self._unknown(directive)

    def _unknown(self, directive: Directive) -> Finding:
        what = f"where {directive.name} {directive.args[0]} leads is not known before a request comes"
        hint = f"Make sure that it never leads to the panel of site {self.panel.site}"
        return Finding(self.panel.site, False, directive.file, directive.line, what, hint)

    def _shown(self, block: Block, level: tuple[Directive, ...], directive: Directive) -> Iterator[Finding]:
        directory = next((path for path in self.panel.upstreams if holds(directive, path)), "")
        if directory:
            yield _way_in(block, level, directive, self.panel, f"serves files of {directory}")

    def _inherited_root(self, block: Block) -> list[Directive]:
        """The root of http, where a server neither has one nor answers without files."""
        if any(inner.name in ("root", "return") for inner in block.inner):
            return []
        outer = [inner for http in self.configuration.directives if http.name == "http" for inner in http.block or ()]
        return [inner for inner in outer if inner.name == "root"][-1:]

    def streams(self) -> Iterator[Finding]:
        """Yield how servers of stream lead to the panel, past everything that is said in http."""
        for context, directive in self.configuration.walk():
            if context[:1] != ("stream",) or directive.name != "proxy_pass" or not directive.args:
                continue
            reached, known = where(self.pools, self.values, directive.args[0])
            if reached & self.wanted:
                what = f"a stream server hands connections on to {sorted(reached & self.wanted)[0]}, past every gate"
                hint = f"Take line {directive.line} out of {directive.file}"
                yield Finding(self.panel.site, True, directive.file, directive.line, what, hint)
            elif not known:
                yield self._unknown(directive)


def _way_in(
    block: Block, level: tuple[Directive, ...], directive: Directive, panel: ProtectedSite, does: str
) -> Finding:
    limits = _limits(block, level, panel)
    names = " ".join(block.server.server_names) or "without a name"
    what = (
        f"the server {names} {does}, where the panel of site {panel.site} is, and asks for no certificate of the gate"
    )
    hint = f"Take line {directive.line} out of {directive.file}, or put a gate in front of that server too"
    return Finding(panel.site, not limits, directive.file, directive.line, f"{what}{limits}", hint)


def _limits(block: Block, level: tuple[Directive, ...], panel: ProtectedSite) -> str:
    """What keeps strangers out there, in words; empty if nothing does that is known here."""
    if any(inner.name == "internal" for one in level for inner in one.block or ()):
        return "; it is internal, so only another location leads there"
    if any(denies_all(one) for one in level):
        return "; it is open to the addresses that its allow names"
    if all(map(_private, (listen.address for listen in block.tcp))) and not all(
        _private(address) for address, _port in panel.listens
    ):
        return "; it listens on this host alone"
    return ""


def _private(address: str) -> bool:
    return address.startswith(("127.", "unix:")) or address in ("::1", "localhost")


def _same_names(block: Block, panel: ProtectedSite, reported: Sequence[Finding]) -> Iterator[Finding]:
    shared = [name for name in panel.server_names if any(_matches(pattern, name) for pattern in block.names)]
    if not shared:
        return
    directive = block.directive
    here = {(listen.address, listen.port) for listen in block.tcp} & set(panel.listens)
    exact = [name for name in shared if name in block.names]
    if here and exact:
        address, port = sorted(here)[0]
        what = f"another server for {exact[0]} on {address}:{port}; of two, nginx takes the one that it reads first"
        hint = f"Take that name out of the server at {block.place}"
        yield Finding(panel.site, True, directive.file, directive.line, what, hint)
    elif _serves(block) and not any((one.file, one.site) == (directive.file, panel.site) for one in reported):
        ports = ", ".join(sorted({f"{listen.address}:{listen.port}" for listen in block.tcp}))
        what = f"a server without the gate answers for {shared[0]} on {ports}"
        hint = "Make sure that nothing of the panel is there, or let it redirect only"
        yield Finding(panel.site, False, directive.file, directive.line, what, hint)


def _matches(pattern: str, name: str) -> bool:
    """How nginx compares server names; regular expressions are left to it."""
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
