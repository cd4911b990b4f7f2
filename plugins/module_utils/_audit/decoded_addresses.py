# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the lines of a server with snippets that pass on the decoded address or an unchecked user name.

nginx encodes neither the variables of ``proxy_pass`` (ngx_http_proxy_eval()) nor those of ``proxy_set_header``. ``$uri`` is
decoded, and so are the captures of an expression that is matched against it. So ``%0d%0a`` in an address becomes a line break
in the request to the application, and the client writes headers of it, those of the identity too.

nginx does encode the path that ``rewrite`` sets, and positional captures (``$1``) in the query of ``rewrite`` and in ``set``. In
``set`` it does not after a ``rewrite`` that matched (``e->quote`` in ngx_http_script.c). Named captures are encoded nowhere.
In the last argument of ``try_files`` and ``error_page`` nginx encodes nothing, and looks for the query only in the value
(ngx_http_split_args()), so a decoded question mark begins it too.

``$remote_user`` is decoded as well, from the header Authorization (RFC 7617). It ends at the first colon, so a client cannot
write a header with it, but can end the request and begin another one. Only ``auth_basic`` compares it with known users.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from .._contracts.gate_manifest import ProtectedSite
from .._nginx.proxy_targets import NAMED_CAPTURE, values_of
from .._nginx.quoting import quote_pattern
from .findings import Block, Finding, error, in_force, levels, named, warning
from .snippet_locations import matched, reaches_application

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from .._nginx.config_model import Configuration
    from .._nginx.config_parser import Directive

_VARIABLE = re.compile(r"\$\{?([A-Za-z0-9_]+)")
_DECODED = frozenset(("uri", "document_uri", "request_filename", "fastcgi_script_name", "fastcgi_path_info"))
# nginx decodes it (ngx_http_auth_basic_user()). Only these directives admit no unknown name, each with the one without which it
# has no effect.
_USER = "remote_user"
_LOGINS = {"auth_basic": "auth_basic_user_file", "auth_pam": "auth_pam"}
_ADDRESS = "$uri"
_QUERY = frozenset(("args", "query_string"))
# The beginning of an address to which the client is redirected.
_TO_CLIENT = ("http://", "https://", "$scheme")
_REDIRECTS = ("redirect", "permanent")
# An expression that matches no control character: no dot, no negated class, no escape but \w, \d and escaped punctuation.
_WITHOUT_LINE_BREAKS = re.compile(
    r"""(?: [^\\\[(.\x00-\x1f] | \\[wd] | \\[^\w\s]
          | \[(?!\^)(?:[^\\\[\]\x00-\x1f]|\\[wd]|\\[^\w\s])+\]
          | \((?![?*]) | \(\?(?::|P?<[A-Za-z_]\w*>) )*""",
    re.VERBOSE,
)


class _Expression(NamedTuple):
    """A regular expression that nginx matches against the value of ``text``."""

    pattern: str
    text: str


def audit_decoded_addresses(
    configuration: Configuration, block: Block, protected: ProtectedSite, home: str
) -> Iterator[Finding]:
    """Yield a finding for each line that passes on the decoded address, also through other variables and captures.

    It is an error where the request can reach the protected application, else a warning.
    """
    outer = tuple(one for one in configuration.directives if one.name == "http")
    decoded = _DecodedText(configuration, block, outer)
    is_passed = any(_passes(level, home) for level in levels(block.directive))
    for level in levels(block.directive):
        passes = _passes(level, home)
        for directive in passes:
            if directive.args and decoded.is_in(directive.args[0], level):
                user = decoded.is_user_in(directive.args[0], level)
                hint = _instead_of_user(directive) if user else _instead_of_pass(directive, level)
                what = _what(directive, directive.args[0], user=user)
                yield _finding(configuration, level, directive, protected, what, hint)
        for line in in_force((*outer, *level), "proxy_set_header") if passes else ():
            if len(line.args) > 1 and not line.file.startswith(home) and decoded.is_in(line.args[1], level):
                user = decoded.is_user_in(line.args[1], level)
                hint = f"Write proxy_set_header {line.args[0]} $request_uri; in line {line.line} of {line.file}"
                hint = _instead_of_user(line, passes[0]) if user else hint
                what = _what(line, " ".join(line.args), user=user)
                yield _finding(configuration, level, passes[0], protected, what, hint, line)
        for line in named(level, "rewrite", "set"):
            if not line.file.startswith(home) and decoded.is_in_query(line, level):
                yield _error_in_query(protected, line, user=decoded.is_user_in(line.args[1], level))
        # An application that another protocol reaches, such as FastCGI, gets the query as one value.
        for line in named(level, "try_files", "error_page") if is_passed else ():
            if not line.file.startswith(home) and decoded.is_in_redirect(line, level):
                yield _error_in_query(protected, line, user=decoded.is_user_in(line.args[-1], level))


def _passes(level: tuple[Directive, ...], home: str) -> list[Directive]:
    return [one for one in named(level, "proxy_pass") if not one.file.startswith(home)]


def _error_in_query(protected: ProtectedSite, line: Directive, *, user: bool) -> Finding:
    hint = f"Write $request_uri instead of the decoded variable in line {line.line} of {line.file}"
    return error(protected, line, _what(line, " ".join(line.args), user=user), _instead_of_user(line) if user else hint)


def _finding(
    configuration: Configuration,
    level: tuple[Directive, ...],
    directive: Directive,
    protected: ProtectedSite,
    what: str,
    hint: str,
    line: Directive | None = None,
) -> Finding:
    """Return the finding about ``line``, which has an effect on the requests that ``directive`` passes on."""
    report = error if reaches_application(configuration, level, directive, protected) else warning
    return report(protected, line or directive, what, hint)


def _what(line: Directive, written: str, *, user: bool) -> str:
    if user:
        return (
            f"{line.name} {written} passes on a user name that no auth_basic checks, so line breaks in it end the request, and "
            "the client writes another one, also with forged identity headers"
        )
    return (
        f"{line.name} {written} passes on the decoded address, so line breaks in an address (%0d, %0a) become headers of the "
        "request, also forged identity headers"
    )


def _instead_of_user(line: Directive, passes: Directive | None = None) -> str:
    """Return the line to write instead of ``line``, which contains ``$remote_user``.

    :param passes: the ``proxy_pass`` on whose requests a ``proxy_set_header`` has an effect.
    """
    where = f"line {line.line} of {line.file}"
    if passes is None:
        return f"Remove $remote_user from {where}, or write auth_basic and auth_basic_user_file beside it"
    return (
        f'Write proxy_set_header {line.args[0]} ""; in {where}, or auth_basic and auth_basic_user_file in the location of '
        f"line {passes.line} of {passes.file}"
    )


def _instead_of_pass(directive: Directive, level: tuple[Directive, ...]) -> str:
    """Return the line to write instead: nginx encodes what ``rewrite`` makes of an address."""
    where = f"in line {directive.line} of {directive.file}"
    modifier, pattern = next((matched(one) for one in reversed(level) if one.name == "location"), ("", ""))
    application, slash, rest = directive.args[0].partition("://")[2].partition("/")
    if modifier != "~" or not slash or "$" in application or not set(_VARIABLE.findall(rest)) <= set("123456789"):
        return f"Write $request_uri, or no address behind the application, {where}"
    scheme = directive.args[0].partition("://")[0]
    expression = quote_pattern(pattern) if set(pattern) & set(" ;{}\"'") else pattern
    return f"Write rewrite {expression} /{rest} break; proxy_pass {scheme}://{application}; {where}"


class _DecodedText:
    """The variables of a server that contain the decoded address or a part of it."""

    def __init__(self, configuration: Configuration, block: Block, outer: tuple[Directive, ...]) -> None:
        self.outer = outer
        # Each name with a text that its value contains.
        self.sources = [(name, text) for name, texts in values_of(configuration).items() for text in texts]
        self.sources += _captures_of_maps(configuration)
        for level in levels(block.directive):
            for expression in _expressions(level[-1]):
                self.sources += _named_captures(expression)
            if _rewrites(level):
                self.sources += _positions_in_set(level)
        self.addresses = self._followed(_DECODED)
        self.all = self._followed({*_DECODED, _USER})

    def _followed(self, names: Collection[str]) -> set[str]:
        """Return variables, and those whose values contain them, also through others."""
        found, before = set(names), 0
        while len(found) > before:
            before = len(found)
            found |= {name for name, text in self.sources if _variables(text) & found}
        return found

    def _names(self, level: tuple[Directive, ...]) -> set[str]:
        """Return the variables that contain decoded text in a block."""
        return self.addresses if _checks_user((*self.outer, *level)) else self.all

    def is_in(self, text: str, level: tuple[Directive, ...]) -> bool:
        """Return whether a text in a block contains decoded text."""
        return self._is_in(text, level, self._names(level))

    def is_user_in(self, text: str, level: tuple[Directive, ...]) -> bool:
        """Return whether decoded text in a block is a user name, and no address."""
        return not self._is_in(text, level, self.addresses)

    def _is_in(self, text: str, level: tuple[Directive, ...], decoded: set[str]) -> bool:
        names = _variables(text)
        return bool(names & decoded) or (any(map(str.isdigit, names)) and self._has_captures(level, decoded))

    def is_in_query(self, line: Directive, level: tuple[Directive, ...]) -> bool:
        """Return whether ``rewrite`` or ``set`` makes the decoded address the query of the request."""
        if len(line.args) < 2:
            return False
        if line.name == "set":
            decoded = self._names(level)
            in_set = any(map(str.isdigit, _variables(line.args[1]))) and self._has_captures(level, decoded)
            return line.args[0].lower().lstrip("$") in _QUERY and (
                bool(_variables(line.args[1]) & decoded) or bool(in_set and _rewrites(level))
            )
        if line.args[-1] in _REDIRECTS or line.args[1].startswith(_TO_CLIENT):
            return False
        return bool(_variables(line.args[1].partition("?")[2]) & self._names(level))

    def is_in_redirect(self, line: Directive, level: tuple[Directive, ...]) -> bool:
        """Return whether the address to which ``try_files`` or ``error_page`` redirects in nginx contains the decoded address."""
        return len(line.args) > 1 and not line.args[-1].startswith(_TO_CLIENT) and self.is_in(line.args[-1], level)

    def _has_captures(self, level: tuple[Directive, ...], decoded: set[str]) -> bool:
        """Return whether ``$1`` in a block can be a part of decoded text."""
        return any(_variables(one.text) & decoded and _can_hold_line_breaks(one.pattern) for one in _positional(level))


def _checks_user(level: tuple[Directive, ...]) -> bool:
    """Return whether nginx admits only known users to a block. ``satisfy any`` can admit a client without a password."""
    logins = [line for name, needs in _LOGINS.items() if in_force(level, needs) for line in in_force(level, name)[-1:]]
    any_of = [line.args for line in in_force(level, "satisfy")] == [("any",)]
    return not any_of and any(line.args and line.args[0] != "off" and "$" not in line.args[0] for line in logins)


def _variables(text: str) -> set[str]:
    return {match[1].lower() for match in _VARIABLE.finditer(text)}


def _can_hold_line_breaks(pattern: str) -> bool:
    return "(" in pattern and not _WITHOUT_LINE_BREAKS.fullmatch(pattern)


def _expressions(block: Directive) -> Iterator[_Expression]:
    """Yield the expressions of a block and of the directives in it."""
    if block.name == "location" and matched(block)[0] in ("~", "~*"):
        yield _Expression(matched(block)[1], _ADDRESS)
    yield from _expressions_in(block)


def _expressions_in(block: Directive) -> Iterator[_Expression]:
    for inner in block.block or ():
        if inner.name == "rewrite" and inner.args:
            yield _Expression(inner.args[0], _ADDRESS)
        elif inner.name == "if":
            yield from _condition(inner)


def _positional(level: tuple[Directive, ...]) -> list[_Expression]:
    """Return the expressions that ``$1`` in a block can refer to: nginx keeps the captures of the last one that matched."""
    own = _condition(level[-1]) if level[-1].name == "if" else ()
    if any("(" in one.pattern for one in own):
        # The condition matched after the expressions of the locations around it.
        return [one for block in level for one in _expressions_in(block)]
    return [one for block in level for one in _expressions(block)]


def _condition(directive: Directive) -> Iterator[_Expression]:
    """Yield the expression of ``if ($variable ~ expression)``."""
    words = " ".join(directive.args).strip()[1:-1].split(None, 2)
    if len(words) == 3 and words[1] in ("~", "~*"):
        yield _Expression(words[2].strip(), words[0])


def _named_captures(expression: _Expression) -> list[tuple[str, str]]:
    if not _can_hold_line_breaks(expression.pattern):
        return []
    return [(match["name"].lower(), expression.text) for match in NAMED_CAPTURE.finditer(expression.pattern)]


def _captures_of_maps(configuration: Configuration) -> Iterator[tuple[str, str]]:
    for _context, directive in configuration.walk():
        if directive.name != "map" or len(directive.args) != 2:
            continue
        source, target = directive.args[0], directive.args[1].lstrip("$").lower()
        for inner in directive.block or ():
            if inner.name.startswith("~") and _can_hold_line_breaks(inner.name.lstrip("~*")):
                yield from _named_captures(_Expression(inner.name.lstrip("~*"), source))
                if inner.args and any(map(str.isdigit, _variables(inner.args[-1]))):
                    yield target, source


def _rewrites(level: tuple[Directive, ...]) -> list[Directive]:
    return [inner for block in level for inner in block.block or () if inner.name == "rewrite"]


def _positions_in_set(level: tuple[Directive, ...]) -> Iterator[tuple[str, str]]:
    """Yield the variables that ``set`` gives a positional capture, each with the text that the expression is matched against."""
    for line in named(level, "set"):
        if len(line.args) > 1 and any(map(str.isdigit, _variables(line.args[1]))):
            name = line.args[0].lstrip("$").lower()
            yield from ((name, one.text) for one in _positional(level) if _can_hold_line_breaks(one.pattern))
