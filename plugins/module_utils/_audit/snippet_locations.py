# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find public locations of an operator's server that can reach a guarded path (`mode: path`).

The server snippet closes every location without a snippet. The snippet of the public part opens a location to public addresses,
that of a guarded path keeps it closed to them, also after a rewrite. No snippet detects a location that passes on another
address than the requested one, so the audit does.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from .._contracts.gate_manifest import ProtectedSite
from .._contracts.paths import GATE, SNIPPETS, snippet_file
from .._nginx.proxy_targets import PASSES, can_reach, pools_of, targets, uri_of, values_of, where, with_values
from .findings import Block, Finding, denies_all, error, holds, named, servers_of, unknown_target

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .._nginx.config_model import Configuration
    from .._nginx.config_parser import Directive

_ELSEWHERE = ("redirect", "permanent", "last")
_SAME_ADDRESS = ("$uri", "$request_uri", "$document_uri")
_LOOPBACK = {"*": "127.0.0.1", "::": "::1"}


def snippets_of(protected: ProtectedSite) -> tuple[str, ...]:
    """Return the snippets that a location of a site can include, by the last part of their names."""
    if protected.mode == "host":
        return ("location",)
    return (*(f"panel-{number}" for number in range(1, len(protected.paths) + 1)), "public")


def guard_of(level: Sequence[Directive], home: str) -> str:
    """Return the snippet of the gate in force in a block: ``public``, ``panel-N`` or ``server``; empty if there is none."""
    for block in reversed(level):
        asked = [inner for inner in block.block or () if inner.name == "auth_request"]
        if asked:
            return _kind(asked[-1], home)
    return ""


def reach_of(level: Sequence[Directive], paths: Sequence[str]) -> str:
    """Return the addresses that reach a block: guarded ones (``below``), others (``apart``), both (``above``), or any."""
    reaches = [_reach(block, paths) for block in level if block.name == "location"]
    for reach in ("below", "apart", "any"):
        if reach in reaches:
            return reach
    return "above"


def reaches_application(
    configuration: Configuration, level: tuple[Directive, ...], directive: Directive, protected: ProtectedSite
) -> bool:
    """Return whether a directive such as proxy_pass can reach the protected application, not only the public one."""
    if protected.mode == "host" or reach_of(level, protected.paths) != "apart":
        return True
    pools = pools_of(configuration)
    wanted = {target for upstream in protected.upstreams for target in targets(pools, upstream) or ()}
    reached, known = where(pools, values_of(configuration), directive.args[0])
    return not known or bool(reached & wanted)


def audit_locations(
    configuration: Configuration, block: Block, protected: ProtectedSite, home: str
) -> Iterator[Finding]:
    """Yield the findings about the locations of a server with the snippets of a site in mode ``path``."""
    shared = _Applications(configuration, protected)
    for level in _locations(block.directive, home):
        yield from _misplaced_snippets(level, protected, home)
        if guard_of(level, home) == "public" and reach_of(level, protected.paths) != "below":
            yield from shared.reached_from(level)


def _kind(directive: Directive, home: str) -> str:
    if not directive.file.startswith(f"{home}{SNIPPETS}"):
        return ""
    name = directive.file.rpartition("/")[2][: -len(".conf")]
    kind = name.rpartition("-")[2]
    return f"panel-{kind}" if kind.isdigit() else kind


def _reach(location: Directive, paths: Sequence[str]) -> str:
    modifier, pattern = matched(location)
    if modifier in ("~", "~*") or pattern.startswith("@"):
        return "any"
    if any(f"{pattern}/".startswith(f"{path}/") for path in paths):
        return "below"
    if modifier != "=" and any(f"{path}/".startswith(pattern) for path in paths):
        return "above"
    return "apart"


def matched(location: Directive) -> tuple[str, str]:
    """Return the modifier of a location, empty if it has none, and its path, expression or name."""
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


def _path(protected: ProtectedSite, kind: str) -> str:
    return f"{GATE}/{snippet_file(protected.site, kind)}"


def _misplaced_snippets(level: tuple[Directive, ...], protected: ProtectedSite, home: str) -> Iterator[Finding]:
    location = level[-1]
    guard, reach = guard_of(level, home), reach_of(level, protected.paths)
    own = next((one for one in location.block or () if one.file.startswith(f"{home}{SNIPPETS}")), None)
    either = f"{_path(protected, 'public')}, or {_path(protected, 'panel-1')} if it belongs to {protected.paths[0]}"
    if guard == "server" and reach != "below" and _answers(location):
        what = "this location is closed to every client, because no snippet of the site applies in it"
        yield error(protected, location, what, f"Include {either}, as its first line")
    if guard == "public" and reach == "below":
        what = "the snippet of the public part is included in a location of a guarded path"
        yield error(protected, location, what, f"Include {_panel_snippet(level, protected)} instead")
    if guard.startswith("panel-") and reach in ("apart", "above"):
        what = "the snippet of a guarded path is included in a location of the public part, which is closed then"
        yield error(protected, location, what, f"Include {_path(protected, 'public')} instead")
    if guard == "public" and own is None and reach != "apart":
        what = "rewritten requests are not checked again here, because nginx does not inherit that line from the outer location"
        yield error(
            protected, location, what, f"Include {_path(protected, 'public')} as the first line of this location too"
        )
    if own is not None:
        for inner in itertools.takewhile(lambda each: not each.file.startswith(home), location.block or ()):
            if inner.name in ("rewrite", "break", "if"):
                what = f"{inner.name} precedes the snippet, so the gate is not asked first"
                yield error(protected, inner, what, "Make the include the first line of the location")


def _panel_snippet(level: Sequence[Directive], protected: ProtectedSite) -> str:
    pattern = matched(level[-1])[1]
    numbers = [
        number for number, path in enumerate(protected.paths, start=1) if f"{pattern}/".startswith(f"{path}/")
    ] or [1]
    return _path(protected, f"panel-{numbers[0]}")


def _answers(location: Directive) -> bool:
    return not denies_all((location,)) and not any(inner.name == "return" for inner in location.block or ())


class _Applications:
    """The applications of the guarded paths, and the public locations that reach them."""

    def __init__(self, configuration: Configuration, protected: ProtectedSite) -> None:
        self.protected = protected
        self.pools = pools_of(configuration)
        self.values = values_of(configuration)
        self.guarded = self._reached(protected.upstreams)
        self.public = self._reached((protected.public,))

    def reached_from(self, level: tuple[Directive, ...]) -> Iterator[Finding]:
        """Yield the bypasses from a public location to a guarded path."""
        for part in (
            level,
            *((*level, inner) for inner in level[-1].block or () if inner.name in ("if", "limit_except")),
        ):
            for directive in named(part, *PASSES):
                yield from self._passed_requests(level, part, directive)
            for directive in named(part, "alias", "root"):
                if any(path.startswith("/") and self._exposes(directive, path) for path in self.protected.upstreams):
                    what = f"{directive.name} serves files of a guarded path in the public part"
                    yield error(self.protected, directive, what, f"Remove line {directive.line} of {directive.file}")

    def _reached(self, addresses: Sequence[str]) -> frozenset[str]:
        found = [where(self.pools, {}, address)[0] for address in addresses if not address.startswith("/")]
        return frozenset().union(*found)

    def _exposes(self, directive: Directive, directory: str) -> bool:
        """Return whether a public ``alias``, or a ``root`` other than that of the public part, serves a guarded path."""
        if directive.name == "root" and self.protected.public == directory:
            return bool(directive.args) and directive.args[0].rstrip("/") != directory and holds(directive, directory)
        return any(holds(directive, f"{directory.rstrip('/')}{path}") for path in self.protected.paths)

    def _passed_requests(
        self, level: tuple[Directive, ...], part: tuple[Directive, ...], directive: Directive
    ) -> Iterator[Finding]:
        address = directive.args[0] if directive.args else ""
        reached, _known = where(self.pools, self.values, address)
        hint = f"Remove line {directive.line} of {directive.file}, or guard its target with a site in mode host"
        if reached & (self.guarded - self.public):
            target = sorted(reached & (self.guarded - self.public))[0]
            what = f"{directive.name} passes requests of the public part to {target}, the application of a guarded path"
            yield error(self.protected, directive, what, hint)
        elif reached & self.guarded:
            uris = dict.fromkeys(map(uri_of, with_values(self.values, address)))
            yield from self._changed_addresses(level, part, directive, tuple(uris))
        elif can_reach(self.pools, self.values, address, self.guarded):
            yield from unknown_target(self.protected, directive)

    def _changed_addresses(
        self, level: tuple[Directive, ...], part: tuple[Directive, ...], directive: Directive, uris: Sequence[str]
    ) -> Iterator[Finding]:
        other = [uri for uri in uris if uri != matched(level[-1])[1] and not uri.startswith(_SAME_ADDRESS)]
        if any(uri and self._could_be_guarded(uri, open_ended=True) for uri in other):
            what = f"{directive.name} changes addresses of this public location, also to guarded ones"
            yield error(
                self.protected,
                directive,
                what,
                "Pass the addresses unchanged, or use another application for the guarded path",
            )
        for rewrite in named(part, "rewrite") if part is level else (*named(part, "rewrite"), *named(level, "rewrite")):
            if self._stays(rewrite, part) and self._could_be_guarded(
                rewrite.args[1], open_ended="$" in rewrite.args[1]
            ):
                what = "rewrite changes addresses of this public location, also to guarded ones"
                yield error(
                    self.protected,
                    rewrite,
                    what,
                    "Write last instead of break, so that nginx selects the location again",
                )

    def _stays(self, rewrite: Directive, part: tuple[Directive, ...]) -> bool:
        """Return whether a rewritten request is answered in the same location."""
        if len(rewrite.args) < 2 or rewrite.args[1].startswith(("http://", "https://", "$scheme")):
            return False
        if len(rewrite.args) > 2:
            return rewrite.args[2] not in _ELSEWHERE
        return bool(named(part, "break"))

    def _could_be_guarded(self, uri: str, *, open_ended: bool) -> bool:
        """Return whether an address that begins like ``uri`` can be a guarded one.

        :param open_ended: whether an unknown part follows.
        """
        written = uri.partition("?")[0].partition("$")[0]
        for path in self.protected.paths:
            if f"{written.rstrip('/')}/".startswith(f"{path}/") or (open_ended and f"{path}/".startswith(written)):
                return True
        return False


def audit_reproxy(configuration: Configuration, block: Block, protected: ProtectedSite, home: str) -> Iterator[Finding]:
    """Yield the findings that break re-proxied requests, which come from this host."""
    outer = [inner for http in configuration.directives if http.name == "http" for inner in http.block or ()]
    for inner in (*outer, *block.inner):
        if inner.name in ("set_real_ip_from", "real_ip_header") and not inner.file.startswith(home):
            what = f"{inner.name} sets the source of the client's address, which the server snippet has to set itself"
            hint = f"Remove line {inner.line} of {inner.file}, or move it into the servers that need it"
            yield error(protected, inner, what, hint)
    for inner in (*outer, *block.inner):
        if inner.name == "proxy_ssl_certificate":
            what = "nginx presents this certificate in re-proxied requests, and refuses it"
            hint = f"Move line {inner.line} of {inner.file} into the locations that need it"
            yield error(protected, inner, what, hint)
    address, port = protected.listens[0] if protected.listens else ("*", 443)
    back = _LOOPBACK.get(address, address), port
    own = {(listen.address, listen.port) for listen in block.tcp}
    others = [other for other in servers_of(configuration) if other.directive is not block.directive]
    for listen in (one for other in others for one in other.tcp):
        if (listen.address, listen.port) == back and back not in own:
            what = f"this server listens on {back[0]}:{port}, the address of re-proxied requests to the site"
            hint = f"Let the server at {block.place} listen on {back[0]}:{port} as well"
            yield Finding(protected.site, True, listen.file, listen.line, what, hint)
