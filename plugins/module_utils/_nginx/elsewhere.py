# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers beside the gate that open a panel, or stand in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .findings import PASSES, Block, Finding, Panel, levels, named, pools_of, targets

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .config import Configuration, Directive

_ACME = "/.well-known/acme-challenge"


def look_elsewhere(configuration: Configuration, servers: Sequence[Block], panel: Panel, home: str) -> list[Finding]:
    """Return what other servers do with the names and the upstreams of a panel.

    Servers of the gate, and those with a server snippet of any site, are guarded and left out.
    """
    others = [block for block in servers if not is_guarded(block, home)]
    pools = pools_of(configuration)
    wanted = _wanted(pools, panel)
    found = [finding for block in others for finding in _ways_in(pools, block, panel, wanted)]
    found += [finding for block in others for finding in _same_names(block, panel, reported=found)]
    return [*found, *_streams(configuration, pools, panel, wanted)]


def is_guarded(block: Block, home: str) -> bool:
    """Whether a gate stands in front of everything in a server."""
    if block.directive.file.startswith(home):
        return True
    return any(
        inner.file.startswith(f"{home}snippets/") and inner.file.endswith("-server.conf") for inner in block.inner
    )


def _wanted(pools: Mapping[str, tuple[str, ...]], panel: Panel) -> frozenset[str]:
    reached = [targets(pools, upstream) for upstream in panel.upstreams if not upstream.startswith("/")]
    return frozenset().union(*(one for one in reached if one))


def _ways_in(
    pools: Mapping[str, tuple[str, ...]], block: Block, panel: Panel, wanted: frozenset[str]
) -> Iterator[Finding]:
    for level in levels(block.directive):
        for directive in named(level, *PASSES):
            reached = targets(pools, directive.args[0]) if directive.args else frozenset()
            if reached is None:
                what = f"where {directive.name} {directive.args[0]} leads is not known before a request comes"
                mend = f"Make sure that it never leads to the panel of site {panel.site}"
                yield Finding(panel.site, False, directive.file, directive.line, what, mend)
            elif reached & wanted:
                yield _way_in(block, level, directive, panel, f"hands requests on to {sorted(reached & wanted)[0]}")
        for directive in named(level, "root", "alias"):
            directory = next((path for path in panel.upstreams if _holds(directive, path)), "")
            if directory:
                yield _way_in(block, level, directive, panel, f"serves files of {directory}")


def _way_in(block: Block, level: tuple[Directive, ...], directive: Directive, panel: Panel, does: str) -> Finding:
    limits = _limits(block, level, panel)
    names = " ".join(block.server.server_names) or "without a name"
    what = (
        f"the server {names} {does}, where the panel of site {panel.site} is, and asks for no certificate of the gate"
    )
    mend = f"Take line {directive.line} out of {directive.file}, or put a gate in front of that server too"
    return Finding(panel.site, not limits, directive.file, directive.line, f"{what}{limits}", mend)


def _holds(directive: Directive, directory: str) -> bool:
    top = directive.args[0].rstrip("/") if directive.args else ""
    return directory.startswith("/") and bool(top) and f"{directory.rstrip('/')}/".startswith(f"{top}/")


def _limits(block: Block, level: tuple[Directive, ...], panel: Panel) -> str:
    """What keeps strangers out there, in words; empty if nothing does that is known here."""
    if any(inner.name == "internal" for one in level for inner in one.block or ()):
        return "; it is internal, so only another location leads there"
    if any(_denies_all(one) for one in level):
        return "; it is open to the addresses that its allow names"
    if all(map(_private, (listen.address for listen in block.tcp))) and not all(
        _private(address) for address, _port in panel.listens
    ):
        return "; it listens on this host alone"
    return ""


def _denies_all(block: Directive) -> bool:
    inner = block.block or ()
    any_of = any(one.name == "satisfy" and one.args == ("any",) for one in inner)
    return not any_of and any(one.name == "deny" and one.args == ("all",) for one in inner)


def _private(address: str) -> bool:
    return address.startswith(("127.", "unix:")) or address in ("::1", "localhost")


def _same_names(block: Block, panel: Panel, reported: Sequence[Finding]) -> Iterator[Finding]:
    shared = [name for name in panel.server_names if any(_matches(pattern, name) for pattern in block.names)]
    if not shared:
        return
    directive = block.directive
    here = {(listen.address, listen.port) for listen in block.tcp} & set(panel.listens)
    exact = [name for name in shared if name in block.names]
    if here and exact:
        address, port = sorted(here)[0]
        what = f"another server for {exact[0]} on {address}:{port}; of two, nginx takes the one that it reads first"
        mend = f"Take that name out of the server at {block.place}"
        yield Finding(panel.site, True, directive.file, directive.line, what, mend)
    elif _serves(block) and not any((one.file, one.site) == (directive.file, panel.site) for one in reported):
        ports = ", ".join(sorted({f"{listen.address}:{listen.port}" for listen in block.tcp}))
        what = f"a server without the gate answers for {shared[0]} on {ports}"
        mend = "Make sure that nothing of the panel is there, or let it redirect only"
        yield Finding(panel.site, False, directive.file, directive.line, what, mend)


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


def _streams(
    configuration: Configuration, pools: Mapping[str, tuple[str, ...]], panel: Panel, wanted: frozenset[str]
) -> Iterator[Finding]:
    for context, directive in configuration.walk():
        if context[:1] != ("stream",) or directive.name != "proxy_pass" or not directive.args:
            continue
        reached = targets(pools, directive.args[0])
        if reached and reached & wanted:
            what = f"a stream server hands connections on to {sorted(reached & wanted)[0]}, past every gate"
            mend = f"Take line {directive.line} out of {directive.file}"
            yield Finding(panel.site, True, directive.file, directive.line, what, mend)
