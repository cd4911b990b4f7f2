# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server of the operator's of which some paths are guarded: which location is public, and what leads from there to the panel.

The server snippet shuts every location that says nothing. The snippet of the public part opens one to public addresses, that of a
panel leaves it shut to them, also where a rewrite makes another address of the one that came in. What no snippet sees is a
location that hands on another address than it was asked for.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from .._contracts.gate_manifest import ProtectedSite
from .._nginx.proxy_targets import PASSES, pools_of, uri_of, values_of, where
from .findings import Block, Finding, denies_all, error, holds, named, servers_of, warning

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .._nginx.config_model import Configuration
    from .._nginx.config_parser import Directive

_ELSEWHERE = ("redirect", "permanent", "last")
_SAME_ADDRESS = ("$uri", "$request_uri", "$document_uri")
_LOOPBACK = {"*": "127.0.0.1", "::": "::1"}


def snippets_of(panel: ProtectedSite) -> tuple[str, ...]:
    """The snippets that a location of a site can include, by the last part of their names."""
    if panel.mode == "host":
        return ("location",)
    return (*(f"panel-{number}" for number in range(1, len(panel.paths) + 1)), "public")


def guard_of(level: Sequence[Directive], home: str) -> str:
    """Return which snippet of ours asks in a block: ``public``, ``panel-N`` or ``server``; empty if none does."""
    for block in reversed(level):
        asked = [inner for inner in block.block or () if inner.name == "auth_request"]
        if asked:
            return _kind(asked[-1], home)
    return ""


def reach_of(level: Sequence[Directive], paths: Sequence[str]) -> str:
    """Return which addresses come to a block: guarded ones (``below``), others (``apart``), both (``above``), or any."""
    reaches = [_reach(block, paths) for block in level if block.name == "location"]
    for reach in ("below", "apart", "any"):
        if reach in reaches:
            return reach
    return "above"


def audit_locations(configuration: Configuration, block: Block, panel: ProtectedSite, home: str) -> Iterator[Finding]:
    """Yield what is wrong with the parts of a server in which the snippets of a site of mode ``path`` stand."""
    shared = _Applications(configuration, panel)
    for level in _locations(block.directive, home):
        yield from _parted(level, panel, home)
        if guard_of(level, home) == "public" and reach_of(level, panel.paths) != "below":
            yield from shared.led_to(level)


def _kind(directive: Directive, home: str) -> str:
    if not directive.file.startswith(f"{home}snippets/"):
        return ""
    name = directive.file.rpartition("/")[2][: -len(".conf")]
    kind = name.rpartition("-")[2]
    return f"panel-{kind}" if kind.isdigit() else kind


def _reach(location: Directive, paths: Sequence[str]) -> str:
    modifier, pattern = _matched(location)
    if modifier in ("~", "~*") or pattern.startswith("@"):
        return "any"
    if any(f"{pattern}/".startswith(f"{path}/") for path in paths):
        return "below"
    if modifier != "=" and any(f"{path}/".startswith(pattern) for path in paths):
        return "above"
    return "apart"


def _matched(location: Directive) -> tuple[str, str]:
    if len(location.args) > 1:
        return location.args[0], location.args[1]
    text = location.args[0] if location.args else ""
    modifier = next((one for one in ("^~", "~*", "~", "=") if text.startswith(one)), "")
    return modifier, text[len(modifier) :]


def _locations(directive: Directive, home: str, above: tuple[Directive, ...] = ()) -> Iterator[tuple[Directive, ...]]:
    here = (*above, directive)
    for inner in directive.block or ():
        if inner.name == "location" and inner.block is not None and not inner.file.startswith(home):
            yield (*here, inner)
            yield from _locations(inner, home, here)


def _path(panel: ProtectedSite, kind: str) -> str:
    return f"quietdoor/gate/snippets/{panel.site}-{kind}.conf"


def _parted(level: tuple[Directive, ...], panel: ProtectedSite, home: str) -> Iterator[Finding]:
    location = level[-1]
    guard, reach = guard_of(level, home), reach_of(level, panel.paths)
    own = next((one for one in location.block or () if one.file.startswith(f"{home}snippets/")), None)
    either = f"{_path(panel, 'public')}, or {_path(panel, 'panel-1')} if it belongs to {panel.paths[0]}"
    if guard == "server" and reach != "below" and _answers(location):
        what = "this location is shut to everybody, because no snippet of the site counts in it"
        yield error(panel, location, what, f"Include {either}, as its first line")
    if guard == "public" and reach == "below":
        what = "the snippet of the public part stands in a location of a guarded path"
        yield error(panel, location, what, f"Include {_panel_snippet(level, panel)} instead")
    if guard.startswith("panel-") and reach in ("apart", "above"):
        what = "the snippet of a guarded path stands in a location of the public part, which nobody reaches then"
        yield error(panel, location, what, f"Include {_path(panel, 'public')} instead")
    if guard == "public" and own is None and reach != "apart":
        what = "what a rewrite brings here is not looked at again, because nginx inherits no such line from the location around"
        yield error(panel, location, what, f"Include {_path(panel, 'public')} as the first line of this location too")
    if own is not None:
        for inner in itertools.takewhile(lambda each: not each.file.startswith(home), location.block or ()):
            if inner.name in ("rewrite", "break", "if"):
                what = f"{inner.name} stands before the snippet, so the gate is not asked first"
                yield error(panel, inner, what, "Make the include the first line of the location")


def _panel_snippet(level: Sequence[Directive], panel: ProtectedSite) -> str:
    pattern = _matched(level[-1])[1]
    numbers = [number for number, path in enumerate(panel.paths, start=1) if f"{pattern}/".startswith(f"{path}/")] or [
        1
    ]
    return _path(panel, f"panel-{numbers[0]}")


def _answers(location: Directive) -> bool:
    return not denies_all(location) and not any(inner.name == "return" for inner in location.block or ())


class _Applications:
    """What answers the guarded paths, and whether a public location leads there."""

    def __init__(self, configuration: Configuration, panel: ProtectedSite) -> None:
        self.panel = panel
        self.pools = pools_of(configuration)
        self.values = values_of(configuration)
        self.panels = self._reached(panel.upstreams)
        self.public = self._reached((panel.public,))

    def led_to(self, level: tuple[Directive, ...]) -> Iterator[Finding]:
        """Yield the ways from a public location to a panel."""
        for part in (
            level,
            *((*level, inner) for inner in level[-1].block or () if inner.name in ("if", "limit_except")),
        ):
            for directive in named(part, *PASSES):
                yield from self._handed_on(level, part, directive)
            for directive in named(part, "alias", "root"):
                if any(path.startswith("/") and self._exposes(directive, path) for path in self.panel.upstreams):
                    what = f"{directive.name} leads from the public part to files of a guarded path"
                    yield error(self.panel, directive, what, f"Take line {directive.line} out of {directive.file}")

    def _reached(self, addresses: Sequence[str]) -> frozenset[str]:
        found = [where(self.pools, {}, address)[0] for address in addresses if not address.startswith("/")]
        return frozenset().union(*found)

    def _exposes(self, directive: Directive, directory: str) -> bool:
        """Whether a public ``alias``, or a ``root`` other than that of the public part, shows what is below a guarded path."""
        if directive.name == "root" and self.panel.public == directory:
            return bool(directive.args) and directive.args[0].rstrip("/") != directory and holds(directive, directory)
        return any(holds(directive, f"{directory.rstrip('/')}{path}") for path in self.panel.paths)

    def _handed_on(
        self, level: tuple[Directive, ...], part: tuple[Directive, ...], directive: Directive
    ) -> Iterator[Finding]:
        address = directive.args[0] if directive.args else ""
        reached, known = where(self.pools, self.values, address)
        hint = f"Take line {directive.line} out of {directive.file}, or guard what it leads to with a site of mode host"
        if reached & (self.panels - self.public):
            leads = f"{directive.name} leads from the public part to {sorted(reached & (self.panels - self.public))[0]}"
            what = f"{leads}, which answers a guarded path"
            yield error(self.panel, directive, what, hint)
        elif reached & self.panels:
            yield from self._with_another_address(level, part, directive, uri_of(address))
        elif not known:
            what = f"where {directive.name} {address} leads is not known before a request comes"
            yield warning(
                self.panel, directive, what, f"Make sure that it never leads to the panel of site {self.panel.site}"
            )

    def _with_another_address(
        self, level: tuple[Directive, ...], part: tuple[Directive, ...], directive: Directive, uri: str
    ) -> Iterator[Finding]:
        same = uri == _matched(level[-1])[1] or uri.startswith(_SAME_ADDRESS)
        if uri and not same and self._could_be_guarded(uri, open_ended=True):
            what = f"{directive.name} makes other addresses of those of this public location, guarded ones among them"
            yield error(
                self.panel, directive, what, "Let the addresses be as they come, or give the panel another application"
            )
        for rewrite in named(part, "rewrite") if part is level else (*named(part, "rewrite"), *named(level, "rewrite")):
            if self._stays(rewrite, part) and self._could_be_guarded(
                rewrite.args[1], open_ended="$" in rewrite.args[1]
            ):
                what = "rewrite makes other addresses of those of this public location, guarded ones among them"
                yield error(
                    self.panel, rewrite, what, "Write last instead of break, so that nginx looks for the location anew"
                )

    def _stays(self, rewrite: Directive, part: tuple[Directive, ...]) -> bool:
        """Whether what was rewritten is answered in this very location."""
        if len(rewrite.args) < 2 or rewrite.args[1].startswith(("http://", "https://", "$scheme")):
            return False
        if len(rewrite.args) > 2:
            return rewrite.args[2] not in _ELSEWHERE
        return bool(named(part, "break"))

    def _could_be_guarded(self, uri: str, *, open_ended: bool) -> bool:
        """Whether an address that begins like ``uri`` can be a guarded one.

        :param open_ended: whether something follows that is not known here.
        """
        written = uri.partition("?")[0].partition("$")[0]
        for path in self.panel.paths:
            if f"{written.rstrip('/')}/".startswith(f"{path}/") or (open_ended and f"{path}/".startswith(written)):
                return True
        return False


def audit_reproxy(configuration: Configuration, block: Block, panel: ProtectedSite, home: str) -> Iterator[Finding]:
    """Yield what is in the way of visitors with a bad certificate, who come a second time, from this host."""
    outer = [inner for http in configuration.directives if http.name == "http" for inner in http.block or ()]
    for inner in (*outer, *block.inner):
        if inner.name in ("set_real_ip_from", "real_ip_header") and not inner.file.startswith(home):
            what = f"{inner.name} says where a visitor's address is found, which the server snippet has to say itself"
            hint = f"Take line {inner.line} out of {inner.file}, or move it into the servers that need it"
            yield error(panel, inner, what, hint)
    for inner in (*outer, *block.inner):
        if inner.name == "proxy_ssl_certificate":
            what = "nginx shows this certificate when visitors with a bad one come back, and refuses it"
            hint = f"Move line {inner.line} of {inner.file} into the locations that need it"
            yield error(panel, inner, what, hint)
    for inner in block.inner:
        if inner.name == "listen" and "proxy_protocol" in inner.args:
            what = "proxy_protocol is asked of everybody here, and visitors with a bad certificate come back without it"
            instead = "Give the panel a host name of its own and guard that with mode: host"
            yield error(panel, inner, what, instead if panel.mode == "path" else "Guard it with manage: vhost")
    address, port = panel.listens[0] if panel.listens else ("*", 443)
    back = _LOOPBACK.get(address, address), port
    own = {(listen.address, listen.port) for listen in block.tcp}
    others = [other for other in servers_of(configuration) if other.directive is not block.directive]
    for listen in (one for other in others for one in other.tcp):
        if (listen.address, listen.port) == back and back not in own:
            told = f"this server listens on {back[0]}:{port}"
            what = f"{told}, where visitors with a bad certificate come back to the site"
            hint = f"Let the server at {block.place} listen on {back[0]}:{port} as well"
            yield Finding(panel.site, True, listen.file, listen.line, what, hint)
