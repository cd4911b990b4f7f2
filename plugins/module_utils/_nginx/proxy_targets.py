# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resolve the addresses to which the directives of a configuration pass requests."""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from .config_model import Configuration


PASSES = ("proxy_pass", "fastcgi_pass", "grpc_pass", "uwsgi_pass", "scgi_pass", "memcached_pass")


_SCHEME = re.compile(r"(?P<scheme>[a-z]+)://")
# nginx compares schemes and unix: without case (ngx_strncasecmp() in ngx_http_proxy_pass(), ngx_parse_url()).
_WITHOUT_CASE = re.compile(r"(?:[A-Za-z]+://)?(?:unix:)?", re.IGNORECASE)


# Only the directives of these names list the values of a variable in their block.
TABLES = ("map", "geo", "split_clients")


_PORTS = {"http": "80", "https": "443", "grpc": "80", "grpcs": "443", "": "80"}


VARIABLE = re.compile(r"\$(?:\{(?P<braced>[A-Za-z0-9_]+)\}|(?P<bare>[A-Za-z0-9_]+))")


# A literal host and port, followed by a variable: http://127.0.0.1:3000$request_uri
_HOST_PORT = re.compile(
    r"[a-z]+://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?(?=\$(?:request_)?(?:uri|document_uri)\b)"
)


# An IPv4 address for inet_aton(): one to four numbers, decimal, octal or hexadecimal.
_NUMBERS = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)(?:\.(?:0x[0-9a-f]*|[0-9]+)){0,3}")
_LOCAL = "127.0.0.1"


NAMED_CAPTURE = re.compile(r"\(\?P?[<'](?P<name>[A-Za-z_][A-Za-z0-9_]*)[>']")
# Directives of modules other than rewrite that set the variable in their first argument: auth_request_set, js_set, set_by_lua ...
_SETTERS = re.compile(r"set_\w+|\w+_set|js_var")
# Directives that run code with a request before nginx selects the application. Such code can write every variable of ``set``.
_CODE = re.compile(r"(?!init_|exit_|ssl_|log_)\w+_by_lua(?:_file|_block)?|js_(?:access|content|\w*filter|preread)|perl")


_ROUNDS = 5


_MAX_EXPANSIONS = 200


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


def values_of(configuration: Configuration) -> dict[str, tuple[str, ...]]:
    """Return the values that ``set``, ``map``, ``geo`` and ``split_clients`` assign.

    The keys are names in lower case, as nginx compares them, without the dollar sign. A variable that a capture, another
    module or code of Lua, njs or Perl can set as well has itself as an additional value, so it is never completely known.
    """
    found: dict[str, list[str]] = {}
    made_by_set: set[str] = set()
    has_code = False
    for _context, directive in configuration.walk():
        has_code = has_code or bool(_CODE.fullmatch(directive.name))
        if directive.name == "set" and len(directive.args) == 2:
            found.setdefault(_variable_name(directive.args[0]), []).append(directive.args[1])
            made_by_set.add(_variable_name(directive.args[0]))
        elif directive.name in TABLES and directive.args and directive.block is not None:
            values = [inner.args[-1] for inner in directive.block if inner.args and inner.name != "include"]
            found.setdefault(_variable_name(directive.args[-1]), []).extend(values)
    for name in (*set_otherwise(configuration), *(sorted(made_by_set) if has_code else ())):
        if name in found:
            found[name].append(f"${name}")
    return {name: tuple(dict.fromkeys(values)) for name, values in found.items()}


def set_otherwise(configuration: Configuration) -> Iterator[str]:
    """Yield the names of variables that a named capture or another module sets."""
    for context, directive in configuration.walk():
        for word in (directive.name, *directive.args):
            yield from (match["name"].lower() for match in NAMED_CAPTURE.finditer(word))
        if directive.name.startswith("$") and context[-1] not in TABLES:
            yield _variable_name(directive.name)  # a line of geoip2
        elif directive.args and _SETTERS.fullmatch(directive.name):
            yield _variable_name(directive.args[0])
        elif directive.name == "keyval":
            yield from map(_variable_name, directive.args[1:2])


def _variable_name(word: str) -> str:
    return word.lstrip("$").lower()


def where(
    pools: Mapping[str, tuple[str, ...]], values: Mapping[str, tuple[str, ...]], address: str
) -> tuple[frozenset[str], bool]:
    """Return the targets of ``address`` with all values of its variables, and whether all of them are known.

    :param values: see :func:`values_of`.
    """
    reached: set[str] = set()
    known = True
    for text in with_values(values, address):
        one = targets(pools, text)
        reached |= one or set()
        known = known and one is not None
    return frozenset(reached), known


def can_reach(
    pools: Mapping[str, tuple[str, ...]], values: Mapping[str, tuple[str, ...]], address: str, wanted: Collection[str]
) -> bool:
    """Return whether ``address`` has a target that is not known before a request and can be one of ``wanted``."""
    sockets = any(one.startswith("unix:") for one in wanted)
    unknown = [text for text in with_values(values, address) if targets(pools, text) is None]
    return bool(wanted) and any(sockets or not _leads_to_socket(text) for text in unknown)


def in_lower_case(address: str) -> str:
    """Return an address with its scheme and ``unix:`` in lower case; the rest, such as the path of a socket, stays as it is."""
    return _WITHOUT_CASE.sub(lambda match: match[0].lower(), address, count=1)


def _leads_to_socket(address: str) -> bool:
    address = in_lower_case(address)
    match = _SCHEME.match(address)
    return address[match.end() if match else 0 :].startswith("unix:")


def with_values(values: Mapping[str, tuple[str, ...]], text: str) -> list[str]:
    """Return ``text`` with each variable of its authority replaced by each of its known values, up to a limit.

    :param values: see :func:`values_of`.
    """
    texts = [text]
    for _round in range(_ROUNDS):
        expanded = list(dict.fromkeys(other for one in texts for other in _replace_variable(values, one)))
        if expanded == texts or len(expanded) > _MAX_EXPANSIONS:
            break
        texts = expanded
    return texts


def _replace_variable(values: Mapping[str, tuple[str, ...]], text: str) -> list[str]:
    for match in VARIABLE.finditer(_authority(text)):
        name = (match["braced"] or match["bare"]).lower()
        if name in values:
            return [text[: match.start()] + value + text[match.end() :] for value in values[name]]
    return [text]


def _authority(text: str) -> str:
    """Return the part of an address that selects the application: scheme, host and port, or the path of a socket."""
    text = in_lower_case(text)
    match = _SCHEME.match(text)
    start = match.end() if match else 0
    if text[start:].startswith("unix:"):
        return text[: start + len("unix:")] + text[start + len("unix:") :].partition(":")[0]
    return text[:start] + text[start:].partition("/")[0]


def uri_of(address: str) -> str:
    """Return the part of a ``proxy_pass`` argument after host and port, or after a socket's path; empty if there is none."""
    authority = _authority(address)
    rest = address[len(authority) :].lstrip(":")
    bare = _HOST_PORT.match(authority)
    return authority[bare.end() :] + rest if bare else rest


def targets(pools: Mapping[str, tuple[str, ...]], address: str) -> frozenset[str] | None:
    """Return the targets of ``address``, the argument of a directive such as proxy_pass: ``host:port`` or ``unix:PATH``.

    :param pools: see :func:`pools_of`; the name of a pool is replaced by its servers.
    :returns: None if the target depends on a variable.
    """
    address = in_lower_case(address)
    bare = _HOST_PORT.match(_authority(address))
    address = address[: bare.end()] if bare else address
    if "$" in _authority(address):
        return None
    match = _SCHEME.match(address)
    scheme = match["scheme"] if match else ""
    rest = address[match.end() :] if match else address
    if rest.startswith("unix:"):
        return frozenset({_socket_path(rest)})
    authority = rest.partition("/")[0].lower()
    if pools.get(authority):
        return frozenset(map(_pool_member, pools[authority]))
    return frozenset({_with_port(authority, _PORTS.get(scheme, ""))})


def _pool_member(text: str) -> str:
    text = in_lower_case(text)
    return _socket_path(text) if text.startswith("unix:") else _with_port(text.lower(), "80")


def _socket_path(text: str) -> str:
    return "unix:" + text[len("unix:") :].partition(":")[0]


def _with_port(authority: str, port: str) -> str:
    host, _colon, given = authority.rpartition(":") if re.search(r":[0-9]+\Z", authority) else (authority, "", "")
    return f"{_comparable(host)}:{given or port}"


def _comparable(host: str) -> str:
    """Return a host in one spelling for each address: nginx lets getaddrinfo() read numbers as inet_aton() does."""
    if host == "localhost":
        return _LOCAL
    if _NUMBERS.fullmatch(host):
        try:
            address: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.IPv4Address(socket.inet_aton(host))
        except OSError:
            return host
    else:
        try:
            address = ipaddress.IPv6Address(host[1:-1] if host.startswith("[") else host)
        except ValueError:
            return host
        address = address.ipv4_mapped or address
    # A server that listens on all addresses is reachable by each of these.
    if address.is_loopback or address.is_unspecified:
        return _LOCAL
    return str(address) if address.version == 4 else f"[{address}]"
