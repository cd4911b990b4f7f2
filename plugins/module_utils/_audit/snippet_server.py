# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Audit the operator's servers that include the snippets of a site."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

from .._contracts.gate_manifest import ProtectedSite
from .._contracts.paths import ENTRY, GATE, SERVER_SNIPPET, snippet_file
from .._nginx.proxy_targets import PASSES, pools_of, targets, values_of, where
from .decoded_addresses import audit_decoded_addresses
from .findings import Block, Finding, error, in_force, innermost_with, levels, named, warning
from .snippet_locations import audit_locations, audit_reproxy, reaches_application, snippets_of
from .upgrade_header import audit_upgrades

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from .._nginx.config_model import Configuration
    from .._nginx.config_parser import Directive

_HEADERS = {"proxy_pass": "proxy_set_header", "grpc_pass": "grpc_set_header", "fastcgi_pass": "fastcgi_param"}
_REWRITES = ("return", "rewrite", "break", "if")
# Commands of SSL_CONF_cmd() that change neither the trusted CAs nor the certificate request.
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


def snippet(protected: ProtectedSite, kind: str) -> str:
    """Return the path of a snippet for an include; ``kind`` is ``server`` or of :func:`.snippet_locations.snippets_of`."""
    return f"{GATE}/{snippet_file(protected.site, kind)}"


def is_included(servers: Sequence[Block], protected: ProtectedSite, home: str) -> bool:
    """Return whether any server includes the server snippet of a site."""
    return bool(guarded_servers(servers, protected, home))


def audit_snippet_server(
    configuration: Configuration, servers: Sequence[Block], protected: ProtectedSite, home: str
) -> list[Finding]:
    """Return the findings about the servers that include the server snippet."""
    found = list(_patterns(configuration, protected, home))
    for block in guarded_servers(servers, protected, home):
        found += _names_and_addresses(block, protected)
        found += _server_level(block, protected, home)
        found += _tls_commands(block, protected, home)
        found += _default_server(block, servers, protected, home)
        for level in levels(block.directive):
            found += _overridden(level, protected, home)
            found += _unchecked_headers(configuration, level, protected, home)
        found += audit_upgrades(configuration, block, protected)
        found += audit_decoded_addresses(configuration, block, protected, home)
        found += _missing_upstream(configuration, block, protected)
        if protected.mode == "path":
            found += audit_locations(configuration, block, protected, home)
        # Requests that need no certificate pass with an invalid one too: in the public part, and in stage observe.
        if protected.mode == "path" or not protected.enforced:
            found += audit_reproxy(configuration, block, protected, home)
    return found


def intended_servers(servers: Sequence[Block], protected: ProtectedSite) -> list[Block]:
    """Return the servers that should include the snippets of a site, judged by server name and TLS."""
    return [
        block for block in servers if protected.server_names[0] in block.names and any(one.ssl for one in block.tcp)
    ]


def missing_lines(configuration: Configuration, servers: Sequence[Block], protected: ProtectedSite) -> Finding:
    """Return the finding that nothing guards a site, with the two missing lines and their places."""
    own = intended_servers(servers, protected)
    line = f"include {snippet(protected, 'server')};"
    what = f"nothing guards {protected.server_names[0]}: no server includes {snippet(protected, 'server')}"
    if not own:
        hint = (
            f"Add the line {line} at the top of your server for {protected.server_names[0]} (none with TLS was found), "
            f"and {_in_locations(protected)}; then run this again"
        )
        return Finding(protected.site, False, "", 0, what, hint, unguarded=True)
    block = own[0]
    handing = [
        f"{level[-1].file}:{level[-1].line}"
        for level in levels(block.directive)
        if level[-1].name == "location" and (protected.mode == "path" or named(level, *PASSES))
    ]
    hint = (
        f"Add the line {line} as the first of the server at {block.place}, and {_in_locations(protected)} "
        f"({', '.join(handing) or 'none was found'}); then run this again{_order(configuration, block)}"
    )
    return Finding(protected.site, False, block.directive.file, block.directive.line, what, hint, unguarded=True)


def _in_locations(protected: ProtectedSite) -> str:
    if protected.mode == "host":
        return f"include {snippet(protected, 'location')}; to every location of it that passes requests on"
    guarded = ", ".join(
        f"include {snippet(protected, f'panel-{number}')}; to those of {path}"
        for number, path in enumerate(protected.paths, start=1)
    )
    return f"as the first of its locations {guarded}, and include {snippet(protected, 'public')}; to every other one"


def _order(configuration: Configuration, block: Block) -> str:
    """Return a hint about the order of files: nginx needs a log_format before the access_log lines of the snippets."""
    entry = next((file for file in configuration.files if file.endswith(f"/{ENTRY}")), "")
    files = configuration.files
    if not entry or block.directive.file not in files or files.index(block.directive.file) > files.index(entry):
        return ""
    if block.directive.file == configuration.main_file:
        return f". Move the include of conf.d/*.conf before that server, because nginx has to read {ENTRY} first"
    return f". Let nginx read {block.directive.file} after {ENTRY}: give it a name that sorts later, or move it to sites-enabled"


def guarded_servers(servers: Sequence[Block], protected: ProtectedSite, home: str) -> list[Block]:
    """Return the servers that include the server snippet of a site."""
    path = f"{home}{snippet_file(protected.site, SERVER_SNIPPET)}"
    return [block for block in servers if any(inner.file == path for inner in block.inner)]


def _patterns(configuration: Configuration, protected: ProtectedSite, home: str) -> Iterator[Finding]:
    own = {f"{home}{snippet_file(protected.site, kind)}" for kind in (SERVER_SNIPPET, *snippets_of(protected))}
    for directive, files in configuration.includes():
        if own & set(files) and _PATTERN.search(directive.args[0]):
            what = (
                f"include {directive.args[0]} is a pattern, and if the file is missing, nginx starts without the gate"
            )
            yield error(protected, directive, what, "Write the path of the file in full")


def _names_and_addresses(block: Block, protected: ProtectedSite) -> Iterator[Finding]:
    first = block.names[0] if block.names else ""
    # The public part, if there is one, would be closed.
    public = protected.mode == "path"
    if first != protected.server_names[0]:
        names = (
            f"the first name of this server is {first or 'missing'}, that of the site is {protected.server_names[0]}"
        )
        what = f"{names}, so no client gets in"
        hint = f"Write server_names of site {protected.site} in the order of server_name at {block.place}"
        yield error(protected, block.directive, what, hint)
    strange = [name for name in block.names if name not in protected.server_names]
    if strange and first == protected.server_names[0]:
        what = f"no client gets in at {', '.join(strange)}, which is not among the site's server_names"
        hint = f"Add it to server_names of site {protected.site}, or remove it here"
        yield Finding(protected.site, public, block.directive.file, block.directive.line, what, hint)
    ports = {port for _address, port in protected.listens}
    for listen in block.tcp:
        if not listen.ssl:
            what = "this server listens without TLS too, where every client gets the refusal"
            hint = "Write a separate server for plain HTTP that redirects"
            yield Finding(protected.site, public, listen.file, listen.line, what, hint)
        elif listen.port not in ports:
            what = f"no client gets in on port {listen.port}, which is not among the site's listen"
            hint = f"Add it to listen of site {protected.site}, or remove it here"
            yield Finding(protected.site, False, listen.file, listen.line, what, hint)
    there = {(listen.address, listen.port) for listen in block.tcp if listen.ssl}
    for address, port in protected.listens:
        if (address, port) not in there:
            what = f"this server does not listen on {address}:{port} with TLS, which the site's listen names"
            yield error(
                protected,
                block.directive,
                what,
                f"Write in listen of site {protected.site} the addresses of this server",
            )


def _server_level(block: Block, protected: ProtectedSite, home: str) -> Iterator[Finding]:
    path = f"{home}{snippet_file(protected.site, SERVER_SNIPPET)}"
    for inner in itertools.takewhile(lambda each: each.file != path, block.inner):
        if inner.name in _REWRITES:
            what = f"{inner.name} precedes the server snippet, so the gate is not asked first"
            yield error(
                protected, inner, what, f"Make include {snippet(protected, 'server')} the first line of the server"
            )


def _tls_commands(block: Block, protected: ProtectedSite, home: str) -> Iterator[Finding]:
    for inner in block.inner:
        if inner.name != "ssl_conf_command" or inner.file.startswith(home):
            continue
        if inner.args and inner.args[0].lower() not in _HARMLESS:
            what = f"ssl_conf_command {' '.join(inner.args)} can change which certificates are valid"
            yield error(protected, inner, what, f"Remove line {inner.line} of {inner.file}")


def _default_server(block: Block, servers: Sequence[Block], protected: ProtectedSite, home: str) -> Iterator[Finding]:
    for address in {(listen.address, listen.port) for listen in block.tcp if listen.ssl}:
        there = [(other, one) for other in servers for one in other.tcp if (one.address, one.port) == address]
        default = next((other for other, one in there if one.default_server), there[0][0])
        if default.directive is block.directive or default.directive.file.startswith(home):
            continue
        if not any(one.name == "ssl_reject_handshake" and one.args == ("on",) for one in default.inner):
            where = f"{address[0]}:{address[1]}"
            what = (
                f"this server answers requests without a known name on {where}; none reaches the protected application"
            )
            hint = "Add ssl_reject_handshake on; to it if it has no other purpose"
            yield warning(protected, default.directive, what, hint)


def _overridden(level: tuple[Directive, ...], protected: ProtectedSite, home: str) -> Iterator[Finding]:
    for inner in level[-1].block or ():
        if inner.file.startswith(home):
            continue
        if inner.name == "auth_request":
            what = f"auth_request {' '.join(inner.args)} replaces the auth_request of the gate"
            hint = f"Remove line {inner.line} of {inner.file}, and name a decision service in auth_request of the site"
            yield error(protected, inner, what, hint)
        elif inner.name == "satisfy" and inner.args == ("any",):
            yield error(
                protected,
                inner,
                "satisfy any admits clients that pass another rule, without the gate",
                f"Write satisfy all, or remove line {inner.line} of {inner.file}",
            )
        elif inner.name == "error_page" and {"495", "496"} & {code for arg in inner.args for code in _codes(arg)}:
            what = (
                f"error_page {' '.join(inner.args)} replaces the gate's refusal of clients without a valid certificate"
            )
            yield error(protected, inner, what, "Remove 495 and 496 from it")
        elif inner.name == "return" and _is_named(level):
            what = "return in a named location can be reached before the gate is asked"
            yield warning(protected, inner, what, "Make sure that its text may be public")


def _codes(arg: str) -> tuple[str, ...]:
    return (arg,) if arg.isdigit() else ()


def _is_named(level: tuple[Directive, ...]) -> bool:
    return any(one.name == "location" and one.args[:1] and one.args[0].startswith("@") for one in level)


def _unchecked_headers(
    configuration: Configuration, level: tuple[Directive, ...], protected: ProtectedSite, home: str
) -> Iterator[Finding]:
    paths = {f"{home}{snippet_file(protected.site, kind)}" for kind in snippets_of(protected)}
    written = " or ".join(snippet(protected, kind) for kind in snippets_of(protected))
    for directive in named(level, *PASSES):
        if directive.file.startswith(home):
            continue
        header = _HEADERS.get(directive.name, "")
        mine = in_force(level, header)
        if not any(one.file in paths for one in mine):
            what = f"{directive.name} passes on identity headers of the client, because {written} does not apply here"
            hint = f"Include it beside line {directive.line} of {directive.file}"
            if not header or (mine == [] and _includes_snippet(level, paths)):
                hint = f"Name its target in upstream of site {protected.site}, which may have no snippet for {directive.name}"
            opens = reaches_application(configuration, level, directive, protected)
            yield Finding(protected.site, opens, directive.file, directive.line, what, hint)
            continue
        yield from _duplicate_headers(mine, paths, protected)
        if all(one.file in paths for one in mine):
            yield from _lost_headers(configuration, innermost_with(level, header), header, protected)


def _includes_snippet(level: tuple[Directive, ...], paths: Collection[str]) -> bool:
    return any(inner.file in paths for one in level for inner in one.block or ())


def _duplicate_headers(
    mine: Sequence[Directive], paths: Collection[str], protected: ProtectedSite
) -> Iterator[Finding]:
    own = {one.args[0].lower() for one in mine if one.file in paths and len(one.args) > 1 and one.args[1]}
    for one in mine:
        if one.file not in paths and one.args and one.args[0].lower() in own:
            what = f"{one.name} {one.args[0]} sets an identity header of the snippet again"
            yield error(protected, one, what, f"Remove line {one.line} of {one.file}")


def _lost_headers(
    configuration: Configuration, level: tuple[Directive, ...], header: str, protected: ProtectedSite
) -> Iterator[Finding]:
    """Yield a warning if header lines of an outer block are lost: nginx inherits them only into blocks without any."""
    outer = [one for one in configuration.directives if one.name == "http"]
    lost = in_force((*outer, *level[:-1]), header)
    if lost:
        what = f"the {header} lines at {lost[0].file}:{lost[0].line} do not apply in this location, because the snippet has some"
        yield warning(protected, level[-1], what, "Repeat those lines in the location")


def _missing_upstream(configuration: Configuration, block: Block, protected: ProtectedSite) -> Iterator[Finding]:
    pools, values = pools_of(configuration), values_of(configuration)
    wanted = {target for upstream in protected.upstreams for target in targets(pools, upstream) or ()}
    if any(upstream.startswith("/") for upstream in protected.upstreams):
        return
    for level in levels(block.directive):
        for directive in named(level, *PASSES):
            reached, known = where(pools, values, directive.args[0] if directive.args else "")
            if not known or reached & wanted:
                return
    what = (
        f"no directive of this server passes requests to {', '.join(protected.upstreams)}, so bypasses cannot be found"
    )
    yield warning(
        protected, block.directive, what, f"Write the target of its proxy_pass as upstream of site {protected.site}"
    )
