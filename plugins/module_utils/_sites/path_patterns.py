# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
r"""Render the spellings of guarded paths as regular expressions for `map`.

nginx decodes a path once, resolves its dot segments and merges its slashes (``$uri``), and passes to the application the text of
the client (``$request_uri``). An application may read that in another way: decode it again, ignore case, normalize Unicode
(NFKC), drop the text behind a semicolon, treat a backslash as a slash, keep dot segments (RFC 3986 section 6.2 has some of it).
So the maps check two things: whether nginx reads it as the path, and whether another program could.

An address without an oddity, which is a part that two programs can read differently, is the same in both variables but for one
decoding. So ``$uri`` is enough for it (:func:`spelled_patterns`), and only the others need an expression for the encoded text.

The expressions are for PCRE and PCRE2, for bytes and ignoring case. Clients choose the text, so no expression can match a text
in more than one way, and repetitions are possessive: the time is in proportion to the text, and no stack grows with it.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from .._common.errors import MtlsError
from .._nginx.quoting import quote_pattern
from .byte_patterns import match_any, match_encoded, match_raw
from .look_alikes import LOOK_ALIKES, SEPARATORS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

# Deeper encodings are refused for every path, so that the time of other expressions does not depend on the depth.
_DEEPEST_ENCODING = 8
# Characters beyond ASCII that a program could read as "." or "/" and so on, besides overlong encodings.
_ODD_POINTS = (
    *(0x37E, 0x2024, 0x2025, 0x2026, 0x2100, 0x2101, 0x2105, 0x2106, 0xFE52, 0xFE54, 0xFE56, 0xFE5F, 0xFE68, 0xFE6A),
    *(0xFF03, 0xFF05, 0xFF0E, 0xFF0F, 0xFF1B, 0xFF1F, 0xFF3C),
)
# Percent-encoded ASCII characters that are part of a word, and those that end one.
_CODED_WORD = "%(?:2d|3[0-9]|[46][1-9a-f]|[57][0-9a]|5f|7e)"
_CODED_SEPARATORS = "[01][0-9a-f]|2[0-46-9a-cef]|3[a-f]|40|5[b-e]|60|7[b-df]"
_SCRIPTS = "php[0-9]?|phtml|phar|f?cgi|pl|py|rb|aspx?|ashx|asmx|jspx?|jsf|do|action|cfm|exe|dll"
# Separators beside a slash, and the slash.
_RUN = re.compile(r"([.@+]*(?:/[.@+]*)+)")
_WITH_SLASH = [text for text in LOOK_ALIKES if "/" in text[1:]]
_SEPARATOR_SEQUENCES = [
    chr(point).encode() for first, last in SEPARATORS for point in range(int(first, 16), int(last, 16) + 1)
]
# Calls of groups: a character of another script, which is part of a word, and one that Unicode folds to ASCII characters.
_FOREIGN, _LOOK_ALIKE = "(?1)", "(?2)"


class _Notation:
    """The expressions for one of the two variables: with ``coded`` bytes can be percent-encoded."""

    def __init__(self, coded: bool) -> None:
        self.coded = coded
        self.match: Callable[[Iterable[bytes]], str] = match_any if coded else match_raw
        self.continuation = r"(?:[\x80-\xbf]|%[89ab][0-9a-f])" if coded else r"[\x80-\xbf]"
        foreign = (
            rf"(?!{match_raw(_SEPARATOR_SEQUENCES)})"
            r"(?:[\xc2-\xdf]|[\xe1-\xef][\x80-\xbf]|\xe0[\xa0-\xbf]|[\xf0-\xf4][\x80-\xbf]{2})[\x80-\xbf]"
        )
        once = "%[89ab][0-9a-f]"
        foreign_coded = (
            rf"%(?=[c-f])(?!{match_encoded(_SEPARATOR_SEQUENCES)})"
            rf"(?:c[2-9a-f]|d[0-9a-f]|e[1-9a-f]{once}|e0%[ab][0-9a-f]|f[0-4]{once}{once}){once}"
        )
        self.foreign = f"({foreign}|{foreign_coded})" if coded else f"({foreign})"
        # The end of a whole word.
        self.end = f"(?![a-z0-9_~-]|{_CODED_WORD}|{_FOREIGN})" if coded else f"(?![a-z0-9_~-]|{_FOREIGN})"
        # Separators, byte by byte: everything that is not part of a word.
        ascii_ones = r"[\x00-$&-,./:->@[-\x5e`{-}\x7f]" if coded else r"[\x00-,./:-@[-\x5e`{-}\x7f]"
        separator = rf"{ascii_ones}|(?!{_FOREIGN})[\x80-\xff]"
        if coded:
            hexadecimal = rf"{_CODED_SEPARATORS}|(?<=25)(?![0-9a-f][0-9a-f])"
            separator += rf"|(?!{_FOREIGN})%(?:(?:25)*+(?:{hexadecimal})|[89a-f][0-9a-f])"
        self.separator = f"(?:{separator})"

    def character(self, char: str) -> str:
        """Return an expression for a folded ASCII character. Letters are encoded once at most (:func:`refused_patterns`)."""
        if not self.coded:
            return re.escape(char) if char in ".+" else char
        if char.isalnum():
            codes = sorted({f"{ord(form):02x}" for form in (char, char.upper())})
            return f"{char}|%{codes[0]}" if len(codes) == 1 else f"{char}|%[{codes[0][0]}{codes[1][0]}]{codes[0][1]}"
        return f"{re.escape(char) if char in '.+' else char}|%(?:25)*+{ord(char):02x}"

    def any_look_alike(self, text: str) -> str:
        """Return the group of a character that Unicode folds to a part of the text, and of its neighbours in the tables."""
        words = {word for word in LOOK_ALIKES if word in text and word != "/"}
        sequences = {sequence for word in words for sequence in _sequences(word)}
        # The last byte of a long sequence is not compared.
        short = [sequence for sequence in sequences if len(sequence) == 2]
        long = self.match({sequence[:-1] for sequence in sequences if len(sequence) > 2}) + self.continuation
        return f"({self.match(short)}|{long})" if short else f"({long})"


_CODED, _DECODED = _Notation(coded=True), _Notation(coded=False)

# More separators than this at the beginning are refused for every path, so that the time of other expressions is short.
_LONGEST_RUN = 64
# Longer paths with an oddity are refused for the same reason.
_LONGEST_ODD = 1024
# Overlapping ligatures in longer parts are matched in any order: they can be split in too many ways.
_LONGEST_SPLIT = 5
_ODD_SEQUENCES = [chr(point).encode() for point in _ODD_POINTS]


def refused_patterns() -> list[str]:
    """Return keys for the path as the client wrote it: texts that are refused whatever the guarded paths are.

    ASCII letters and digits do not need encoding; encoded beside a double encoding they can become any text. The same holds for
    characters that Unicode folds to them. An encoding in more bytes than a character needs is never UTF-8, and careless programs
    decode it.
    """
    sequences = [sequence for text in LOOK_ALIKES if text.isalnum() for sequence in _sequences(text)]
    prefixes = {sequence if len(sequence) == 2 else sequence[:-1] for sequence in sequences}
    overlong = [b"\xc0", b"\xc1", *(bytes([0xE0, second]) for second in range(0x80, 0xA0))]
    letter = "3[0-9]|[46][1-9a-f]|[57][0-9a]"
    # A character that is partly encoded is refused too: no program writes one, and the other expressions need not know it.
    deeper = (
        rf"(?:25){{{_DEEPEST_ENCODING - 1}}}",
        rf"(?:25)*+(?:{letter}|{match_encoded([*prefixes, *overlong], deeply=True)})",
        r"(?<=[\x80-\xff]%25|%[89a-f][0-9a-f]%25)(?:25)*+[89ab][0-9a-f]",
    )
    plain = r"[^%\x80-\xff]*+"
    valid = (
        r"%(?!c[01]%[89ab]|e0%[89]|[89a-f][0-9a-f][\x80-\xbf])",
        r"[\x80-\xbf\xc2-\xdf\xe1-\xff]++(?!%[89ab])",
        r"[\xc0\xc1](?![\x80-\xbf]|%[89ab])",
        r"\xe0(?![\x80-\x9f]|%[89ab])",
    )
    return [
        _key(
            rf"^(?=[^%]*+(?:%(?!25)[^%]*+)*+%25)[^%]*+"
            rf"(?:%(?!25(?=[0-9a-f][0-9a-f])(?:{'|'.join(deeper)})|{letter})[^%]*+)*+%"
        ),
        _key(rf"^{plain}(?:(?:{'|'.join(valid)}){plain})*+[%\x80-\xff]"),
    ]


def odd_pattern() -> str:
    """Return a key for the path as the client wrote it: texts with an oddity, a part that two programs can read differently.

    Oddities are parameters, backslashes, dot segments, empty ones, encoded separators and control characters, double encoding,
    full-width separators, and a script with a path behind it.
    """
    even = (
        r"/(?!/|\.{1,2}(?:/|\z))",
        rf"%(?!25|[01][0-9a-f]|2[ef]|3b|5c|7f|{match_encoded(_ODD_SEQUENCES)})",
        rf"\.(?!(?=[a-z]{{2,6}}[0-9]?/)(?:{_SCRIPTS})/)",
        rf"(?!{match_any(_ODD_SEQUENCES)})[\xcd\xe2\xef]",
    )
    plain = r"[^;\\#/%.\xcd\xe2\xef]*+"
    return _key(rf"^{plain}(?:(?:{'|'.join(even)}){plain})*+[;\\#/%.\xcd\xe2\xef]")


def long_run_pattern() -> str:
    """Return a key for ``map $uri``: texts with more separators at the beginning than an address needs."""
    return _key(f"^/{_DECODED.separator}{{{_LONGEST_RUN}}}", _DECODED.foreign)


def exact_pattern(path: str) -> str:
    r"""Return a key for ``map $uri``: ``path`` itself and everything below it.

    :param path: without a final slash, of letters, digits and ``/ . _ ~ @ + -``.
    """
    return quote_pattern(rf"~^{_escape_literal(path)}(?:/|\z)")


def raw_prefix_pattern(path: str, strict: bool = True) -> str:
    """Return a key for the path as the client wrote it: ``path`` at the beginning.

    A program that does not resolve dot segments reads ``/admin/../x`` as a path below ``/admin``, where nginx reads ``/x``.

    :param path: as for :func:`exact_pattern`.
    :param strict: whether other expressions tell characters of another script, which continue a word, from separators.
    """
    beyond_ascii = r"|[\x80-\xff]|%[89A-Fa-f][0-9A-Fa-f]" if strict else ""
    return quote_pattern(f"~^{_escape_literal(path)}(?![A-Za-z0-9_~-]{beyond_ascii})")


@cache
def spelled_pattern(path: str) -> str:
    """Return a key for ``map $uri``: texts that another program could read as ``path`` or as a path below it.

    The look-alikes are those of each character, as far as there is room for them in an expression of nginx, and of all characters
    of the path for those that come later in it.

    :param path: as for :func:`exact_pattern`.
    :raises MtlsError: if the expression would be longer than nginx accepts.
    """
    text = path.lower()
    characters = [char for char in dict.fromkeys(text) if char != "/"]
    for count in range(len(characters), -1, -1):
        groups = [_DECODED.foreign, _DECODED.any_look_alike(text)]
        calls = {}
        for char in characters[:count]:
            groups.append(f"({_DECODED.character(char)}|{match_raw(_sequences(char))})")
            calls[char] = f"(?{len(groups)})"
        try:
            return _key(f"^{_match_text(text, calls, _DECODED)}", *groups)
        except MtlsError:
            if count == 0:
                raise
    raise AssertionError


def hidden_patterns(paths: Sequence[str]) -> list[str]:
    """Return keys for the path as the client wrote it, with an oddity: the last part of a path at any place, in any spelling.

    A program can drop everything before an oddity. All characters that Unicode folds to characters of the paths count as
    look-alikes here. The first key is for paths that are too long for the others.

    :param paths: as for :func:`exact_pattern`.
    :raises MtlsError: if an expression would be longer than nginx accepts.
    """
    last_parts = list(dict.fromkeys(_last_part(path.lower()) for path in paths))
    keys = [quote_pattern(f"~^.{{{_LONGEST_ODD}}}")]
    while last_parts:
        for count in range(len(last_parts), 0, -1):
            try:
                keys.append(_hidden(last_parts[:count]))
            except MtlsError:
                if count == 1:
                    raise
            else:
                last_parts = last_parts[count:]
                break
    return keys


def _last_part(path: str) -> str:
    """Return the last part of a path that has a word, with what follows, from its first word on."""
    parts = [part.lstrip(".@+") for part in path.split("/")]
    words = [number for number, part in enumerate(parts) if part]
    if not words:
        return path
    return "/".join([parts[words[-1]], *path.split("/")[words[-1] + 1 :]])


def _hidden(last_parts: Sequence[str]) -> str:
    """Return the key for these last parts: words and separators in turn, none of the parts behind any but the last separator."""
    marks = [_match_mark(part.strip("/")[0], _CODED) for part in last_parts if part[0] == "/"]
    words = [_match_text(part, {}, _CODED) for part in last_parts if part[0] != "/"]
    first = re.escape("".join(dict.fromkeys(part[0] for part in last_parts if part[0] != "/")))
    # Only letters and digits are encoded once at most.
    deep = "" if all(part[0].isalnum() for part in last_parts if part[0] != "/") else "25|"
    target = "|".join(
        [*marks, *([rf"(?=[{first}\xc2-\xf4]|%(?:{deep}2d|[3-7c-f]))(?:{'|'.join(words)})"] if words else [])]
    )
    word = rf"[a-z0-9_~-]*+(?:(?:{_CODED_WORD}|{_FOREIGN})[a-z0-9_~-]*+)*+"
    separator = (
        r"(?:[\x00-$&-,./:->@[-\x5e`{-}\x7f]++|%(?:(?:25)++(?=(?3))|(?:25)*+(?:[0-9a-f][0-9a-f])?+)|[\x80-\xff])"
    )
    look_alikes = _CODED.any_look_alike("".join(last_parts))
    return _key(f"^{word}(?:{separator}(?!(?3)){word})*+{separator}(?3)", _CODED.foreign, look_alikes, f"({target})")


def _key(pattern: str, *groups: str) -> str:
    """Return a key of a map, with groups that the pattern calls by number. At the beginning they would hide its anchor."""
    definitions = f"(?(DEFINE){''.join(groups)})" if groups else ""
    return quote_pattern(f"~*{pattern}{definitions}")


def _match_text(text: str, calls: Mapping[str, str], notation: _Notation) -> str:
    """Return an expression for a folded text as whole words.

    :param calls: characters -> the calls of their groups. Other characters are matched as :data:`_LOOK_ALIKE`.
    """
    pieces = _RUN.split(text)
    units = [unit for number, piece in enumerate(pieces) for unit in ([piece] if number % 2 else piece)]
    expressions = [_match_unit(unit, calls, notation) for unit in units]
    plain = "".join(unit if unit == "/" or len(unit) == 1 else "\0" for unit in units)
    found: list[str] = []
    rest = 0
    for start, end in [*_clusters(plain), (len(units), len(units))]:
        found += expressions[rest:start]
        if start < end:
            found.append(f"(?:{''.join(expressions[start:end])}|{_match_ligatures(plain[start:end], notation)})")
        rest = end
    below = [sequence for word in _WITH_SLASH if word[0] == plain[-1] for sequence in _sequences(word)]
    if not below:
        return "".join(found) + notation.end
    return f"(?:{''.join(found)}{notation.end}|{''.join(expressions[:-1])}{notation.match(below)})"


def _match_unit(unit: str, calls: Mapping[str, str], notation: _Notation) -> str:
    if "/" not in unit:
        return calls.get(unit) or _match_loosely(unit, notation)
    mark = unit.strip("/")[:1]
    if not mark:
        return f"{notation.separator}++"
    # The run has to contain this character; a match of its place among the separators could be made in many ways.
    own = _match_mark(mark, notation)
    return f"(?:(?!{own}){notation.separator})*+{own}{notation.separator}*+"


def _match_mark(char: str, notation: _Notation) -> str:
    return f"(?:{notation.character(char)}|{notation.match(_sequences(char))})"


def _match_loosely(chars: str, notation: _Notation) -> str:
    """Return an expression for one of these characters, or for what can look like some character of the path."""
    ascii_ones = "|".join(map(notation.character, dict.fromkeys(chars)))
    # The assertion is quicker than the call.
    return rf"(?:{ascii_ones}|(?=[%\x80-\xff]){_LOOK_ALIKE})"


def _clusters(plain: str) -> list[tuple[int, int]]:
    """Return the parts of a text that single characters beyond ASCII can stand for."""
    spans = [
        (start, start + len(word))
        for word in LOOK_ALIKES
        if len(word) > 1
        for start in range(len(plain))
        if plain.startswith(word, start)
    ]
    clusters: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if clusters and start < clusters[-1][1]:
            clusters[-1] = (clusters[-1][0], max(end, clusters[-1][1]))
        else:
            clusters.append((start, end))
    return clusters


def _match_ligatures(cluster: str, notation: _Notation) -> str:
    """Return an expression for a part of a text with at least one ligature, and other characters of the part around it."""
    ligatures = [word for word in LOOK_ALIKES if len(word) > 1 and word in cluster]
    if len(cluster) > _LONGEST_SPLIT:
        one = notation.match(sequence for word in ligatures for sequence in _sequences(word))
        other = _match_loosely(cluster.replace("/", ""), notation)
        around = f"{{0,{len(cluster) - 2}}}"
        return f"{other}{around}{one}(?:{one}|{other}){around}"
    return "|".join(
        "".join(
            notation.match(_sequences(word)) if len(word) > 1 else _match_unit(word, {}, notation) for word in words
        )
        for words in _splits(cluster, ligatures)
        if len(words) < len(cluster)
    )


def _splits(text: str, words: Sequence[str]) -> list[list[str]]:
    """Return the ways to split a text into these words and single characters."""
    if not text:
        return [[]]
    firsts = [text[0], *(word for word in words if text.startswith(word))]
    return [[first, *rest] for first in firsts for rest in _splits(text[len(first) :], words)]


def _escape_literal(text: str) -> str:
    return "".join(char if char.isalnum() or char in "/_~-@" else f"\\x{ord(char):02x}" for char in text)


def _sequences(text: str) -> list[bytes]:
    """Return the byte sequences beyond ASCII that Unicode folds to a text."""
    return [chr(int(point, 16)).encode() for point in LOOK_ALIKES.get(text, "").split()]
