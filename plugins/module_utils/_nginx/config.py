# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading an nginx configuration: the files as nginx prints them with ``nginx -T``, and what they amount to together."""

from __future__ import annotations

import fnmatch
import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from .quoting import quote_verbatim

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

_MARKER = re.compile(r"^# configuration file (/.*):$", re.MULTILINE)
# As ngx_conf_read_token(): inside a word, quotes, # and } are ordinary, and so is a { after a $.
_TOKEN = re.compile(
    r"""[ \t\r\n]+ | \#[^\n]* | (?P<mark>[{};])
    | (?P<quoted>"(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*')
    | (?P<word>(?:\\.|\$\{|[^ \t\r\n;{}\\"'\#])(?:\\.|\$\{|[^ \t\r\n;{\\])*)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\([\"'\\trn])")
_ESCAPED = {"t": "\t", "r": "\r", "n": "\n"}
# The pieces of Lua in which a brace is not a brace: comments and strings, long and short.
_LUA = re.compile(
    r"""(?:--)?\[(?P<level>=*)\[.*?\](?P=level)\] | --[^\n]* | "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' | (?P<brace>[{}])""",
    re.VERBOSE | re.DOTALL,
)
_DEEPEST = 200


class Unreadable(ValueError):
    """The text is no nginx configuration; the message names file and line."""


class Token(NamedTuple):
    """One word or mark. ``start`` and ``end`` are where it stands in the text."""

    text: str
    mark: bool
    start: int
    end: int


@dataclass(frozen=True)
class Directive:
    """One directive as it is written. ``block`` is None if it ends in a semicolon."""

    name: str
    args: tuple[str, ...]
    file: str
    line: int
    block: tuple[Directive, ...] | None = None


@dataclass(frozen=True)
class Listen:
    """One address that a server listens on.

    :param address: ``*`` for every IPv4 address, ``::`` for every IPv6 one, an address, a host name, or ``unix:PATH``.
    :param port: None for a unix socket.
    :param default_server: whether the listen says so; without any, nginx takes the first server of an address.
    :param udp: QUIC, or a stream server of datagrams.
    """

    address: str
    port: int | None
    ssl: bool
    default_server: bool
    http2: bool
    udp: bool
    file: str
    line: int


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
    """What nginx would run: the files in the order it opened them, and the directives with every include followed."""

    main_file: str
    files: tuple[str, ...]
    directives: tuple[Directive, ...]

    def walk(self) -> Iterator[tuple[tuple[str, ...], Directive]]:
        """Yield every directive with the names of the blocks around it."""
        yield from _walk(self.directives, ())

    def main(self, name: str) -> tuple[str, ...] | None:
        """Return the arguments of the last directive ``name`` outside every block."""
        found = [directive.args for directive in self.directives if directive.name == name]
        return found[-1] if found else None

    def includes(self) -> list[tuple[Directive, list[str]]]:
        """Return every include with the files it brought."""
        pairs: dict[tuple[str, int, tuple[str, ...]], tuple[Directive, list[str]]] = {}
        for _context, directive in self.walk():
            if directive.name == "include" and directive.args:
                pairs[directive.file, directive.line, directive.args] = (directive, self.matches(directive.args[0]))
        return list(pairs.values())

    def matches(self, pattern: str) -> list[str]:
        """Return the files that ``include pattern`` brings."""
        return _included(pattern, self.main_file, self.files)

    def servers(self, default_port: int = 80) -> list[Server]:
        """Return every server.

        :param default_port: where a server of http without ``listen`` listens: 80 for root, 8000 for anybody else.
        """
        found = []
        for context, directive in self.walk():
            if directive.name == "server" and directive.block is not None and context in _SERVERS_STAND_IN:
                inherited = _last_flag(self._block(context[0]), "http2")
                found.append(_server(context[0], directive, directive.block, inherited, default_port))
        return found

    def _block(self, name: str) -> tuple[Directive, ...]:
        return tuple(inner for outer in self.directives if outer.name == name for inner in outer.block or ())


_SERVERS_STAND_IN = (("http",), ("stream",), ("mail",))


def tokens(text: str, file: str) -> Iterator[Token]:
    """Yield the words and marks of a configuration.

    :raises Unreadable: where nginx, too, would find no word.
    """
    position, previous = 0, ""
    while position < len(text):
        if previous.endswith("_by_lua_block") and text[position] == "{":
            end = _end_of_lua(text, position, file)
            yield Token("{", True, position, position + 1)
            yield Token("}", True, end - 1, end)
            position, previous = end, ""
            continue
        match = _TOKEN.match(text, position)
        if match is None:
            raise Unreadable(f"{file}:{_line(text, position)}: a quote is not closed")
        position = match.end()
        kind = match.lastgroup
        if kind == "mark":
            previous = ""
            yield Token(match[0], True, match.start(), position)
        elif kind is not None:
            raw = match[0][1:-1] if kind == "quoted" else match[0]
            previous = previous or raw
            yield Token(unescape(raw), False, match.start(), position)


def parse(text: str, file: str) -> tuple[Directive, ...]:
    """Return the directives of one file, includes not followed.

    :raises Unreadable: if braces or semicolons are missing.
    """
    stack: list[tuple[str, tuple[str, ...], int, list[Directive]]] = [("", (), 0, [])]
    words: list[str] = []
    line, counted, begun = 1, 0, 1
    for token in tokens(text, file):
        line += text.count("\n", counted, token.start)
        counted = token.start
        if not token.mark:
            begun = begun if words else line
            words.append(token.text)
        elif token.text == "}":
            if words or len(stack) == 1:
                raise Unreadable(f"{file}:{line}: unexpected }}")
            name, args, started, inner = stack.pop()
            stack[-1][3].append(Directive(name, args, file, started, tuple(inner)))
        elif not words:
            raise Unreadable(f"{file}:{line}: unexpected {token.text}")
        elif token.text == "{":
            stack.append((words[0], tuple(words[1:]), begun, []))
            words = []
        else:
            stack[-1][3].append(Directive(words[0], tuple(words[1:]), file, begun))
            words = []
    if words or len(stack) > 1:
        raise Unreadable(f"{file}:{line}: the file ends inside a directive")
    return tuple(stack[0][3])


def split_dump(dump: str) -> dict[str, str]:
    """Return the files that ``nginx -T`` printed, by path, in the order nginx opened them.

    :raises Unreadable: if there is none, or one twice.
    """
    markers = list(_MARKER.finditer(dump))
    if not markers:
        raise Unreadable("nginx -T printed no configuration file")
    ends = [marker.start() for marker in markers[1:]] + [len(dump)]
    found: dict[str, str] = {}
    for marker, end in zip(markers, ends):
        if marker[1] in found:
            # nginx prints every file once.
            raise Unreadable(f"a comment reads '# configuration file {marker[1]}:'; take it out")
        found[marker[1]] = dump[marker.end() + 1 : end]
    return found


def read_dump(dump: str, opaque: Collection[str] = ()) -> Configuration:
    """Return the configuration that ``nginx -T`` printed.

    :param opaque: files that need no reading: large ones that are known to hold no server.
    :raises Unreadable: if it cannot be read.
    """
    texts = split_dump(dump)
    return assemble({file: () if file in opaque else parse(text, file) for file, text in texts.items()})


def assemble(files: Mapping[str, tuple[Directive, ...]]) -> Configuration:
    """Return what files amount to together.

    :param files: their directives by path, in the order nginx opened them, the main file first.
    :raises Unreadable: if a file is there that no include brings. nginx opens no other, so its name is a comment in the text of
        another one, whose end would go unread.
    """
    main_file = next(iter(files))
    opened = {main_file}

    def follow(directives: tuple[Directive, ...], depth: int) -> Iterator[Directive]:
        if depth > _DEEPEST:
            raise Unreadable(f"{main_file}: includes are nested too deep")
        for directive in directives:
            block = None if directive.block is None else tuple(follow(directive.block, depth + 1))
            yield replace(directive, block=block)
            if directive.name == "include" and directive.args:
                for file in _included(directive.args[0], main_file, tuple(files)):
                    opened.add(file)
                    yield from follow(files[file], depth + 1)

    configuration = Configuration(main_file, tuple(files), tuple(follow(files[main_file], 0)))
    stray = [file for file in files if file not in opened]
    if stray:
        raise Unreadable(
            f"nothing includes {stray[0]}; if a comment in another file reads '# configuration file {stray[0]}:', take it out"
        )
    return configuration


def rewrite_includes(text: str, file: str, place: Callable[[str], str]) -> tuple[str, list[str]]:
    """Return ``text`` with the absolute path of every include passed through ``place``, and all paths as they now read.

    Only the argument of an include directive is touched, never a comment or a string that looks like one.

    :raises Unreadable: if the text is no configuration.
    """
    pieces: list[str] = []
    paths: list[str] = []
    copied = 0
    words: list[Token] = []
    for token in tokens(text, file):
        if not token.mark:
            words.append(token)
            continue
        if token.text == ";" and len(words) == 2 and words[0].text == "include":
            path = words[1].text
            if path.startswith("/") and place(path) != path:
                path = place(path)
                pieces += [text[copied : words[1].start], quote_verbatim(path)]
                copied = words[1].end
            paths.append(path)
        words = []
    return "".join(pieces) + text[copied:], paths


def _walk(directives: tuple[Directive, ...], context: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Directive]]:
    for directive in directives:
        yield context, directive
        if directive.block:
            yield from _walk(directive.block, (*context, directive.name))


def _included(pattern: str, main_file: str, files: tuple[str, ...]) -> list[str]:
    # Relative to the directory of the main file: NGX_CONF_PREFIX in ngx_conf_include().
    wanted = os.path.join(os.path.dirname(main_file), pattern).split("/")
    return [file for file in files if _glob_matches(wanted, file.split("/"))]


def _glob_matches(wanted: list[str], path: list[str]) -> bool:
    return len(wanted) == len(path) and all(
        fnmatch.fnmatchcase(part, pattern) and (pattern.startswith(".") or not part.startswith("."))
        for pattern, part in zip(wanted, path)
    )


def _server(
    protocol: str, server: Directive, block: tuple[Directive, ...], http2_inherited: bool, default_port: int
) -> Server:
    http2 = _last_flag(block, "http2", http2_inherited)
    every_ssl = _last_flag(block, "ssl")
    listens = [listen for inner in block if inner.name == "listen" for listen in _listens(inner, every_ssl, http2)]
    if not listens and protocol == "http":
        listens = [Listen("*", default_port, every_ssl, False, http2, False, server.file, server.line)]
    names = tuple(name for inner in block if inner.name == "server_name" for name in inner.args)
    return Server(
        protocol, names, http2 or any(listen.http2 for listen in listens), tuple(listens), server.file, server.line
    )


def _listens(directive: Directive, every_ssl: bool, http2: bool) -> Iterator[Listen]:
    if not directive.args:
        return
    flags = directive.args[1:]
    udp = "udp" in flags or "quic" in flags
    address, ports = _address(directive.args[0])
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
        )


def _address(text: str) -> tuple[str, list[int | None]]:
    if text.startswith("unix:"):
        return text, [None]
    bracketed = re.fullmatch(r"\[([^]]*)\](?::([0-9-]+))?", text)
    if bracketed:
        return bracketed[1], _ports(bracketed[2])
    if re.fullmatch(r"[0-9]+(?:-[0-9]+)?", text):
        return "*", _ports(text)
    host, _colon, ports = text.partition(":")
    return ("*" if host == "0.0.0.0" else host), _ports(ports)  # noqa: S104  (nginx's word for it is *)


def _ports(text: str | None) -> list[int | None]:
    if not text:
        return [80]
    first, _dash, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


def _last_flag(block: tuple[Directive, ...], name: str, default: bool = False) -> bool:
    values = [inner.args[0] == "on" for inner in block if inner.name == name and inner.args]
    return values[-1] if values else default


def unescape(raw: str) -> str:
    """Return a word as nginx takes it."""
    return _ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[1]), raw) if "\\" in raw else raw


def _end_of_lua(text: str, start: int, file: str) -> int:
    depth = 0
    for match in _LUA.finditer(text, start):
        if match["brace"]:
            depth += 1 if match["brace"] == "{" else -1
            if depth == 0:
                return match.end()
    raise Unreadable(f"{file}:{_line(text, start)}: the Lua block is not closed")


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
