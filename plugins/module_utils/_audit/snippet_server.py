# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operator's own server, in which the snippets of a site stand: whether they stand right, and what undoes them."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

from .._contracts.gate_manifest import ProtectedSite
from .._nginx.proxy_targets import PASSES, pools_of, targets, values_of, where
from .findings import Block, Finding, error, levels, named, warning
from .snippet_locations import audit_locations, audit_reproxy, reach_of, snippets_of
from .upgrade_header import look_at_upgrades

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from .._nginx.config_model import Configuration
    from .._nginx.config_parser import Directive

ENTRY = "conf.d/quietdoor.conf"
_HEADERS = {"proxy_pass": "proxy_set_header", "grpc_pass": "grpc_set_header", "fastcgi_pass": "fastcgi_param"}
_REWRITES = ("return", "rewrite", "break", "if")
# Commands of SSL_CONF_cmd() that touch neither who is trusted nor what is asked for.
_HARMLESS = frozenset(
    (
        "ciphersuites",
        "cipherstring",
        "groups",
        "curves",
        "ecdhparameters",
        "signaturealgorithms",
        "minprotocol",
        "maxprotocol",
    )
)
_PATTERN = re.compile(r"[*?\[]")


def snippet(panel: ProtectedSite, kind: str) -> str:
    """The path of a snippet, as an include names it. ``kind`` is ``server`` or one of :func:`.parts.snippets_of`."""
    return f"quietdoor/gate/snippets/{panel.site}-{kind}.conf"


def is_included(servers: Sequence[Block], panel: ProtectedSite, home: str) -> bool:
    """Whether the server snippet of a site stands in any server."""
    return bool(_guarded(servers, panel, home))


def audit_snippet_server(
    configuration: Configuration, servers: Sequence[Block], panel: ProtectedSite, home: str
) -> list[Finding]:
    """Return what is wrong in the servers that include the server snippet."""
    found = list(_patterns(configuration, panel, home))
    for block in _guarded(servers, panel, home):
        found += _names_and_addresses(block, panel)
        found += _server_level(block, panel, home)
        found += _tls_commands(block, panel, home)
        found += _default_server(block, servers, panel, home)
        for level in levels(block.directive):
            found += _undone(level, panel, home)
            found += _handed_on(configuration, level, panel, home)
        found += look_at_upgrades(configuration, block, panel)
        found += _upstream_not_there(configuration, block, panel)
        if panel.mode == "path":
            found += audit_locations(configuration, block, panel, home)
        # Who need not have a certificate is answered with a bad one, too: in the public part, and in stage observe.
        if panel.mode == "path" or not panel.enforced:
            found += audit_reproxy(configuration, block, panel, home)
    return found


def meant_servers(servers: Sequence[Block], panel: ProtectedSite) -> list[Block]:
    """The servers that look as if the snippets of a site belonged into them."""
    return [block for block in servers if panel.server_names[0] in block.names and any(one.ssl for one in block.tcp)]


def missing_lines(configuration: Configuration, servers: Sequence[Block], panel: ProtectedSite) -> Finding:
    """Return the finding that nothing guards a site, with the two lines that mend it and where they belong."""
    own = meant_servers(servers, panel)
    line = f"include {snippet(panel, 'server')};"
    what = f"nothing guards {panel.server_names[0]}: no server includes {snippet(panel, 'server')}"
    if not own:
        hint = (
            f"Add the line {line} at the top of your server for {panel.server_names[0]} (none with TLS was found), "
            f"and {_in_locations(panel)}; then run this again"
        )
        return Finding(panel.site, False, "", 0, what, hint, unguarded=True)
    block = own[0]
    handing = [
        f"{level[-1].file}:{level[-1].line}"
        for level in levels(block.directive)
        if level[-1].name == "location" and (panel.mode == "path" or named(level, *PASSES))
    ]
    hint = (
        f"Add the line {line} as the first of the server at {block.place}, and {_in_locations(panel)} "
        f"({', '.join(handing) or 'none was found'}); then run this again{_order(configuration, block)}"
    )
    return Finding(panel.site, False, block.directive.file, block.directive.line, what, hint, unguarded=True)


def _in_locations(panel: ProtectedSite) -> str:
    if panel.mode == "host":
        return f"include {snippet(panel, 'location')}; to every location of it that hands requests on"
    guarded = ", ".join(
        f"include {snippet(panel, f'panel-{number}')}; to those of {path}"
        for number, path in enumerate(panel.paths, start=1)
    )
    return f"as the first of its locations {guarded}, and include {snippet(panel, 'public')}; to every other one"


def _order(configuration: Configuration, block: Block) -> str:
    """nginx looks a log_format up when it reads the access_log, and every snippet has one."""
    entry = next((file for file in configuration.files if file.endswith(f"/{ENTRY}")), "")
    files = configuration.files
    if not entry or block.directive.file not in files or files.index(block.directive.file) > files.index(entry):
        return ""
    if block.directive.file == configuration.main_file:
        return (
            f". The include of conf.d/*.conf has to stand before that server, because nginx has to read {ENTRY} first"
        )
    return f". Let nginx read {block.directive.file} after {ENTRY}: give it a name that sorts behind, or move it to sites-enabled"


def _guarded(servers: Sequence[Block], panel: ProtectedSite, home: str) -> list[Block]:
    path = f"{home}snippets/{panel.site}-server.conf"
    return [block for block in servers if any(inner.file == path for inner in block.inner)]


def _patterns(configuration: Configuration, panel: ProtectedSite, home: str) -> Iterator[Finding]:
    ours = {f"{home}snippets/{panel.site}-{kind}.conf" for kind in ("server", *snippets_of(panel))}
    for directive, files in configuration.includes():
        if ours & set(files) and _PATTERN.search(directive.args[0]):
            what = (
                f"include {directive.args[0]} is a pattern: if the file is ever missing, nginx starts without the gate"
            )
            yield error(panel, directive, what, "Write the path of the file in full")


def _names_and_addresses(block: Block, panel: ProtectedSite) -> Iterator[Finding]:
    first = block.names[0] if block.names else ""
    # Where there is a public part, that would be shut.
    public = panel.mode == "path"
    if first != panel.server_names[0]:
        told = f"the first name of this server is {first or 'missing'}, that of the site is {panel.server_names[0]}"
        what = f"{told}, so nobody gets in"
        hint = f"Write server_names of site {panel.site} in the order of server_name at {block.place}"
        yield error(panel, block.directive, what, hint)
    strange = [name for name in block.names if name not in panel.server_names]
    if strange and first == panel.server_names[0]:
        what = f"nobody gets in at {', '.join(strange)}, which is not among the site's server_names"
        hint = f"Add it to server_names of site {panel.site}, or take it out"
        yield Finding(panel.site, public, block.directive.file, block.directive.line, what, hint)
    ports = {port for _address, port in panel.listens}
    for listen in block.tcp:
        if not listen.ssl:
            what = "this server listens without TLS too; nobody gets in there, and everybody sees the refusal"
            hint = "Make a server of its own for plain HTTP that redirects"
            yield Finding(panel.site, public, listen.file, listen.line, what, hint)
        elif listen.port not in ports:
            what = f"nobody gets in on port {listen.port}, which is not among the site's listen"
            hint = f"Add it to listen of site {panel.site}, or take it out"
            yield Finding(panel.site, False, listen.file, listen.line, what, hint)
    there = {(listen.address, listen.port) for listen in block.tcp if listen.ssl}
    for address, port in panel.listens:
        if (address, port) not in there:
            what = f"this server does not listen on {address}:{port} with TLS, as the site's listen says"
            yield error(panel, block.directive, what, f"Make listen of site {panel.site} the same as here")


def _server_level(block: Block, panel: ProtectedSite, home: str) -> Iterator[Finding]:
    path = f"{home}snippets/{panel.site}-server.conf"
    for inner in itertools.takewhile(lambda each: each.file != path, block.inner):
        if inner.name in _REWRITES:
            what = f"{inner.name} stands before the server snippet, so the gate is not asked first"
            yield error(panel, inner, what, f"Make include {snippet(panel, 'server')} the first line of the server")


def _tls_commands(block: Block, panel: ProtectedSite, home: str) -> Iterator[Finding]:
    for inner in block.inner:
        if inner.name != "ssl_conf_command" or inner.file.startswith(home):
            continue
        if inner.args and inner.args[0].lower() not in _HARMLESS:
            what = f"ssl_conf_command {' '.join(inner.args)} can change whose certificates are good"
            yield error(panel, inner, what, f"Take line {inner.line} out of {inner.file}")


def _default_server(block: Block, servers: Sequence[Block], panel: ProtectedSite, home: str) -> Iterator[Finding]:
    for address in {(listen.address, listen.port) for listen in block.tcp if listen.ssl}:
        there = [(other, one) for other in servers for one in other.tcp if (one.address, one.port) == address]
        default = next((other for other, one in there if one.default_server), there[0][0])
        if default.directive is block.directive or default.directive.file.startswith(home):
            continue
        if not any(one.name == "ssl_reject_handshake" and one.args == ("on",) for one in default.inner):
            where = f"{address[0]}:{address[1]}"
            what = (
                f"this server answers who names no site, or an unknown one, on {where}; none of that reaches the panel"
            )
            hint = "Add ssl_reject_handshake on; to it if it is there for no other purpose"
            yield warning(panel, default.directive, what, hint)


def _undone(level: tuple[Directive, ...], panel: ProtectedSite, home: str) -> Iterator[Finding]:
    for inner in level[-1].block or ():
        if inner.file.startswith(home):
            continue
        if inner.name == "auth_request":
            says = "off" if inner.args == ("off",) else f"a question of its own, {' '.join(inner.args)},"
            what = f"auth_request {says} takes the place of the gate's"
            hint = (
                f"Take line {inner.line} out of {inner.file}; a decision service belongs under auth_request of the site"
            )
            yield error(panel, inner, what, hint)
        elif inner.name == "satisfy" and inner.args == ("any",):
            yield error(
                panel,
                inner,
                "satisfy any lets in whoever passes another rule, without the gate",
                f"Write satisfy all, or take line {inner.line} out of {inner.file}",
            )
        elif inner.name == "error_page" and {"495", "496"} & {code for arg in inner.args for code in _codes(arg)}:
            told = f"error_page {' '.join(inner.args)}"
            what = f"{told} leads people with a bad certificate, or none, somewhere else than to the gate's refusal"
            yield error(panel, inner, what, "Take 495 and 496 out of it")
        elif inner.name == "return" and _is_named(level):
            what = "return in a named location can be reached before the gate is asked"
            yield warning(panel, inner, what, "Make sure that its text says nothing that is not for everybody")


def _codes(arg: str) -> tuple[str, ...]:
    return (arg,) if arg.isdigit() else ()


def _is_named(level: tuple[Directive, ...]) -> bool:
    return any(one.name == "location" and one.args[:1] and one.args[0].startswith("@") for one in level)


def _handed_on(
    configuration: Configuration, level: tuple[Directive, ...], panel: ProtectedSite, home: str
) -> Iterator[Finding]:
    paths = {f"{home}snippets/{panel.site}-{kind}.conf" for kind in snippets_of(panel)}
    written = " or ".join(snippet(panel, kind) for kind in snippets_of(panel))
    for directive in named(level, *PASSES):
        if directive.file.startswith(home):
            continue
        header = _HEADERS.get(directive.name, "")
        mine, depth = _in_force(level, header)
        if not any(one.file in paths for one in mine):
            told = f"{directive.name} hands on what a visitor says of himself"
            what = f"{told}, because {written} does not count here"
            hint = f"Include it beside line {directive.line} of {directive.file}"
            if not header or (mine == [] and _snippet_stands(level, paths)):
                hint = f"Make upstream of site {panel.site} what that line says; for {directive.name} there may be no snippet"
            opens = _asks_the_panel(configuration, level, directive, panel)
            yield Finding(panel.site, opens, directive.file, directive.line, what, hint)
            continue
        yield from _said_twice(mine, paths, panel)
        if all(one.file in paths for one in mine):
            yield from _dropped(configuration, level[: depth + 1], header, panel)


def _asks_the_panel(
    configuration: Configuration, level: tuple[Directive, ...], directive: Directive, panel: ProtectedSite
) -> bool:
    """Whether what a visitor says of himself can reach the panel. An application of the public part alone is another matter."""
    if panel.mode == "host" or reach_of(level, panel.paths) != "apart":
        return True
    pools = pools_of(configuration)
    wanted = {target for upstream in panel.upstreams for target in targets(pools, upstream) or ()}
    return bool(where(pools, values_of(configuration), directive.args[0])[0] & wanted)


def _in_force(level: tuple[Directive, ...], header: str) -> tuple[list[Directive], int]:
    """The directives of one name that count in a block: those of the innermost block that has any."""
    for depth in range(len(level) - 1, -1, -1):
        mine = named(level[: depth + 1], header)
        if mine:
            return mine, depth
    return [], 0


def _snippet_stands(level: tuple[Directive, ...], paths: Collection[str]) -> bool:
    return any(inner.file in paths for one in level for inner in one.block or ())


def _said_twice(mine: Sequence[Directive], paths: Collection[str], panel: ProtectedSite) -> Iterator[Finding]:
    ours = {one.args[0].lower() for one in mine if one.file in paths and len(one.args) > 1 and one.args[1]}
    for one in mine:
        if one.file not in paths and one.args and one.args[0].lower() in ours:
            what = f"{one.name} {one.args[0]} says a second time who the visitor is"
            yield error(panel, one, what, f"Take line {one.line} out of {one.file}; the snippet says it")


def _dropped(
    configuration: Configuration, level: tuple[Directive, ...], header: str, panel: ProtectedSite
) -> Iterator[Finding]:
    """nginx inherits headers from outside only where a block has none of its own, and the snippet has some."""
    outer = [one for one in configuration.directives if one.name == "http"]
    lost, _depth = _in_force((*outer, *level[:-1]), header)
    if lost:
        told = f"the {header} lines at {lost[0].file}:{lost[0].line} do not count in this location any more"
        what = f"{told}, because the snippet has some"
        yield warning(panel, level[-1], what, "Repeat those lines in the location")


def _upstream_not_there(configuration: Configuration, block: Block, panel: ProtectedSite) -> Iterator[Finding]:
    pools, values = pools_of(configuration), values_of(configuration)
    wanted = {target for upstream in panel.upstreams for target in targets(pools, upstream) or ()}
    if any(upstream.startswith("/") for upstream in panel.upstreams):
        return
    for level in levels(block.directive):
        for directive in named(level, *PASSES):
            reached, known = where(pools, values, directive.args[0] if directive.args else "")
            if not known or reached & wanted:
                return
    what = (
        f"nothing in this server leads to {', '.join(panel.upstreams)}, so ways round the gate were looked for in vain"
    )
    yield warning(panel, block.directive, what, f"Write as upstream of site {panel.site} what its proxy_pass says")
