# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build a model of an nginx configuration: servers, addresses, ports and includes."""

from __future__ import annotations

import fnmatch
import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .config_lexer import Unreadable
from .config_parser import DEEPEST, Directive, parse, split_dump

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping


@dataclass(frozen=True)
class Listen:
    """One address that a server listens on.

    :param address: ``*`` for every IPv4 address, ``::`` for every IPv6 one, an address, a host name, or ``unix:PATH``.
    :param port: None for a unix socket.
    :param default_server: whether the directive has this flag; if none has it, nginx uses the first server of an address.
    :param udp: whether it is QUIC or a UDP port of ``stream``.
    :param proxy_protocol: whether every connection begins with a PROXY header; nginx applies it to the whole address.
    """

    address: str
    port: int | None
    ssl: bool
    default_server: bool
    http2: bool
    udp: bool
    file: str
    line: int
    proxy_protocol: bool = False


@dataclass(frozen=True)
class Server:
    """One server block. ``protocol`` is http, stream or mail."""

    protocol: str
    server_names: tuple[str, ...]
    http2: bool
    listens: tuple[Listen, ...]
    file: str
    line: int


@dataclass(frozen=True)
class Configuration:
    """The files that nginx opens, in its order, and all directives with the includes replaced by their contents.

    :param small_hashes: the hash tables that nginx reported as not optimal, each with its maximum size in buckets.
    """

    main_file: str
    files: tuple[str, ...]
    directives: tuple[Directive, ...]
    small_hashes: tuple[tuple[str, int], ...] = ()

    def walk(self) -> Iterator[tuple[tuple[str, ...], Directive]]:
        """Yield every directive with the names of the blocks around it."""
        yield from _walk(self.directives, ())

    def main(self, name: str) -> tuple[str, ...] | None:
        """Return the arguments of the last directive ``name`` outside every block."""
        found = [directive.args for directive in self.directives if directive.name == name]
        return found[-1] if found else None

    def includes(self) -> list[tuple[Directive, list[str]]]:
        """Return every ``include`` directive with the files that it includes."""
        pairs: dict[tuple[str, int, tuple[str, ...]], tuple[Directive, list[str]]] = {}
        for _context, directive in self.walk():
            if directive.name == "include" and directive.args:
                pairs[directive.file, directive.line, directive.args] = (directive, self.matches(directive.args[0]))
        return list(pairs.values())

    def matches(self, pattern: str) -> list[str]:
        """Return the files that ``include pattern`` includes."""
        return _included_files(pattern, self.main_file, self.files)

    def servers(self, default_port: int = 80) -> list[Server]:
        """Return every server.

        :param default_port: the port of an http server without ``listen``: 80 if nginx runs as root, else 8000.
        """
        found = []
        for context, directive in self.walk():
            if directive.name == "server" and directive.block is not None and context in _SERVER_CONTEXTS:
                inherited = _last_flag(self._block(context[0]), "http2")
                found.append(_read_server(context[0], directive, directive.block, inherited, default_port))
        return found

    def http_servers(self) -> list[tuple[Directive, Server]]:
        """Return the directive and the values of every server of http."""
        blocks = [
            directive
            for context, directive in self.walk()
            if context == ("http",) and directive.name == "server" and directive.block is not None
        ]
        return list(zip(blocks, (server for server in self.servers() if server.protocol == "http")))

    def _block(self, name: str) -> tuple[Directive, ...]:
        return tuple(inner for outer in self.directives if outer.name == name for inner in outer.block or ())


_SERVER_CONTEXTS = (("http",), ("stream",), ("mail",))


def read_dump(dump: str, opaque: Collection[str] = ()) -> Configuration:
    """Return the configuration that ``nginx -T`` printed.

    :param opaque: large files without servers, which are not parsed.
    :raises Unreadable: if it cannot be read.
    """
    texts = split_dump(dump)
    return assemble({file: () if file in opaque else parse(text, file) for file, text in texts.items()})


def assemble(files: Mapping[str, tuple[Directive, ...]]) -> Configuration:
    """Return the configuration that files form together.

    :param files: their directives by path, in the order nginx opened them, the main file first.
    :raises Unreadable: if no directive includes one of the files. nginx opens included files only, so such a name comes from a
        comment in another file, and the rest of that file would be lost.
    """
    main_file = next(iter(files))
    opened = {main_file}

    def follow(directives: tuple[Directive, ...], depth: int) -> Iterator[Directive]:
        if depth > DEEPEST:
            raise Unreadable(f"{main_file}: includes are nested too deep")
        for directive in directives:
            block = None if directive.block is None else tuple(follow(directive.block, depth + 1))
            yield replace(directive, block=block)
            if directive.name == "include" and directive.args:
                for file in _included_files(directive.args[0], main_file, tuple(files)):
                    opened.add(file)
                    yield from follow(files[file], depth + 1)

    configuration = Configuration(main_file, tuple(files), tuple(follow(files[main_file], 0)))
    stray = [file for file in files if file not in opened]
    if stray:
        raise Unreadable(
            f"no file includes {stray[0]}; if another file contains the comment '# configuration file {stray[0]}:', remove it"
        )
    return configuration


def _walk(directives: tuple[Directive, ...], context: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Directive]]:
    for directive in directives:
        yield context, directive
        if directive.block:
            yield from _walk(directive.block, (*context, directive.name))


def _included_files(pattern: str, main_file: str, files: tuple[str, ...]) -> list[str]:
    # Patterns are relative to the directory of the main file: NGX_CONF_PREFIX in ngx_conf_include().
    wanted = os.path.join(os.path.dirname(main_file), pattern).split("/")
    return [file for file in files if _glob_matches(wanted, file.split("/"))]


def _glob_matches(wanted: list[str], path: list[str]) -> bool:
    return len(wanted) == len(path) and all(
        fnmatch.fnmatchcase(part, pattern) and (pattern.startswith(".") or not part.startswith("."))
        for pattern, part in zip(wanted, path)
    )


def _read_server(
    protocol: str, server: Directive, block: tuple[Directive, ...], http2_inherited: bool, default_port: int
) -> Server:
    http2 = _last_flag(block, "http2", http2_inherited)
    every_ssl = _last_flag(block, "ssl")
    listens = [listen for inner in block if inner.name == "listen" for listen in _read_listens(inner, every_ssl, http2)]
    if not listens and protocol == "http":
        listens = [Listen("*", default_port, every_ssl, False, http2, False, server.file, server.line)]
    names = tuple(name for inner in block if inner.name == "server_name" for name in inner.args)
    return Server(
        protocol, names, http2 or any(listen.http2 for listen in listens), tuple(listens), server.file, server.line
    )


def _read_listens(directive: Directive, every_ssl: bool, http2: bool) -> Iterator[Listen]:
    if not directive.args:
        return
    flags = directive.args[1:]
    udp = "udp" in flags or "quic" in flags
    address, ports = _parse_address(directive.args[0])
    for port in ports:
        yield Listen(
            address=address,
            port=port,
            ssl=every_ssl or "ssl" in flags or "quic" in flags,
            default_server="default_server" in flags or "default" in flags,
            http2=http2 or "http2" in flags,
            udp=udp,
            file=directive.file,
            line=directive.line,
            proxy_protocol="proxy_protocol" in flags,
        )


def _parse_address(text: str) -> tuple[str, list[int | None]]:
    if text.lower().startswith("unix:"):
        return f"unix:{text[len('unix:') :]}", [None]
    bracketed = re.fullmatch(r"\[([^]]*)\](?::([0-9-]+))?", text)
    if bracketed:
        return bracketed[1], _parse_ports(bracketed[2])
    if re.fullmatch(r"[0-9]+(?:-[0-9]+)?", text):
        return "*", _parse_ports(text)
    host, _colon, ports = text.partition(":")
    return ("*" if host == "0.0.0.0" else host), _parse_ports(ports)  # noqa: S104  (nginx writes it as *)


def _parse_ports(text: str | None) -> list[int | None]:
    if not text:
        return [80]
    first, _dash, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


def _last_flag(block: tuple[Directive, ...], name: str, default: bool = False) -> bool:
    values = [inner.args[0] == "on" for inner in block if inner.name == name and inner.args]
    return values[-1] if values else default
