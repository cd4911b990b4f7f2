# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide, without the expressions and the table of the gate, to which part of a site an address belongs, and generate addresses.

The model decodes an address, folds its characters with `unicodedata` as an application would, and compares words. The gate
compares bytes with expressions. The model answers EITHER for addresses that the gate may refuse in addition: in texts with an
oddity, for characters that fold to ASCII ones, for bytes that are not UTF-8, and for double encodings beyond ASCII.
"""

from __future__ import annotations

import functools
import posixpath
import random
import re
import string
import unicodedata
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

GUARDED, ODD, PUBLIC, EITHER, INVALID = "guarded", "odd", "public", "either", "invalid"
_WORD = frozenset(string.ascii_letters + string.digits + "_~-")
_IGNORABLE = {0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x1680, 0x17B4, 0x17B5, 0x3000, 0x3164, 0xFEFF, 0xFFA0}
_IGNORABLE_RANGES = ((0x80, 0xA0), (0x180B, 0x180F), (0x2000, 0x206F), (0xFE00, 0xFE0F), (0xFFF0, 0xFFF8))
_SCRIPT = r"\.(php[0-9]?|phtml|phar|f?cgi|pl|py|rb|aspx?|ashx|asmx|jspx?|jsf|do|action|cfm|exe|dll)/"
_ODDITY = re.compile(rf"[;\\#]|//|/\.{{1,2}}(/|$)|%25|%([01][0-9a-f]|2e|2f|3b|5c|7f)|{_SCRIPT}", re.IGNORECASE)
# Characters that an application can read as one of . / \ ; ? # %
_ODD_CHARACTERS = frozenset(
    "\u037e\u2024\u2025\u2026\u2100\u2101\u2105\u2106\ufe52\ufe54\ufe56\ufe5f\ufe68\ufe6a\uff03\uff05\uff0e\uff0f\uff1b\uff1f\uff3c"
)
_HIGH = r"(?:[\x80-\xff]|%[89a-fA-F][0-9a-fA-F])"


@functools.cache
def fold(char: str) -> frozenset[str]:
    """Return what a program can read in place of a character: with and without the mapping to upper case, normalized (NFKC)."""
    if char == "\u0130":
        return frozenset({"i"})
    text, before = char, ""
    while text != before:
        before = text
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold().upper().casefold())
    return frozenset({text, unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", char).casefold())})


def normalized(address: bytes) -> bytes | None:
    """Return ``$uri`` of nginx, None if nginx refuses the address."""
    path = re.split(rb"[?#]", address, maxsplit=1)[0]
    if re.search(rb"%(?![0-9a-fA-F]{2})|%00", path):
        return None
    decoded = re.sub(rb"/+", b"/", unquote_to_bytes(path))
    depth = 0
    for part in decoded.split(b"/")[1:]:
        depth += -1 if part == b".." else part not in (b"", b".")
        if depth < 0:
            return None
    slash = b"/" if decoded.endswith((b"/", b"/.", b"/..")) else b""
    resolved = posixpath.normpath(decoded.decode("latin-1")).encode("latin-1")
    return resolved if resolved == b"/" else resolved + slash


def part_of(address: bytes, paths: Sequence[str]) -> str:
    """Return the part of the site with these guarded paths, in path_spelling ``strict``. They begin with words."""
    uri = normalized(address)
    if uri is None:
        return INVALID
    if any(uri == path.encode() or uri.startswith(f"{path}/".encode()) for path in paths):
        return GUARDED
    written = address.partition(b"?")[0].decode("latin-1")
    tokens = _tokens(uri)
    answers = [_refused(written), ODD if _run(tokens, 0) > 64 else PUBLIC]
    for path in paths:
        answers.append(ODD if re.match(rf"{re.escape(path)}(?![A-Za-z0-9_~-]|{_HIGH})", written) else PUBLIC)
        answers.append(_begins(tokens, _run(tokens, 0), path.lower()[1:]))
    if _has_oddity(written):
        answers.append(ODD if len(written) >= 1024 else PUBLIC)
        answers.append(_hidden(written, [path.lower().rpartition("/")[2] for path in paths]))
    return ODD if ODD in answers else EITHER if EITHER in answers else PUBLIC


def _refused(written: str) -> str:
    """Judge what is refused whatever the paths are."""
    letters = r"%(25)*(3[0-9]|[46][1-9a-fA-F]|[57][0-9aA])"
    partly = r"[\x80-\xff]%[89abAB][0-9a-fA-F]|%[89a-fA-F][0-9a-fA-F][\x80-\xbf]"
    overlong = rb"[\xc0\xc1][\x80-\xbf]|\xe0[\x80-\x9f]"
    if (
        re.search(r"%(25){8}", written)
        or ("%25" in written and re.search(letters, written))
        or re.search(partly, written)
        or re.search(overlong, unquote_to_bytes(written.encode("latin-1")))
        or re.search(rf"{_HIGH}%(25)+[89abAB][0-9a-fA-F]", written)
    ):
        return ODD
    return EITHER if re.search(r"%(25)+[89a-fA-F][0-9a-fA-F]", written) else PUBLIC


def _has_oddity(written: str) -> bool:
    characters = unquote_to_bytes(written.encode("latin-1")).decode("utf-8", "surrogateescape")
    return bool(_ODDITY.search(written) or _ODD_CHARACTERS & set(characters))


def _tokens(text: bytes) -> list[tuple[str, str]]:
    """Return the characters of a decoded text with their kind."""
    return [(_kind(char), char) for char in text.decode("utf-8", "surrogateescape")]


@functools.cache
def _kind(char: str) -> str:
    if char in _WORD:
        return "word"
    code = ord(char)
    if code < 128 or 0xDC80 <= code <= 0xDCFF or code in _IGNORABLE:
        return "separator"
    if any(first <= code <= last for first, last in _IGNORABLE_RANGES):
        return "separator"
    return "separator" if any(text and set(text) <= set("./\\;?#% ") for text in fold(char)) else "foreign"


def _run(tokens: list[tuple[str, str]], start: int) -> int:
    """Return the place behind the separators at a place."""
    while start < len(tokens) and tokens[start][0] == "separator":
        start += 1
    return start


def _hidden(written: str, last_parts: Sequence[str]) -> str:
    """Judge whether the last part of a path is anywhere in a text."""
    text = written.encode("latin-1")
    while b"%25" in text:
        text = text.replace(b"%25", b"%")
    tokens = _tokens(unquote_to_bytes(text))
    starts = [number for number in range(1, len(tokens)) if tokens[number - 1][0] == "separator"]
    doubtful = re.search(r"%(25)+[89a-fA-F]", written) or any("\udc80" <= char <= "\udcff" for _kind, char in tokens)
    if not doubtful and any(_begins(tokens, start, last) == ODD for start in starts for last in last_parts):
        return ODD
    loose = any(ord(char) >> 6 in _neighbourhoods() for _kind, char in tokens)
    return EITHER if doubtful or loose else PUBLIC


def _begins(tokens: list[tuple[str, str]], start: int, text: str) -> str:
    """Judge whether the tokens from a place on are a folded text, as whole words."""
    reached = [(start, text)]
    while reached:
        place, rest = reached.pop()
        if not rest:
            if place == len(tokens) or tokens[place][0] == "separator":
                return ODD
            continue
        if rest[0] == "/" and _run(tokens, place) > place:
            reached.append((_run(tokens, place), rest[1:]))
        if place == len(tokens):
            continue
        char = tokens[place][1]
        for folded in {char.lower()} if ord(char) < 128 else fold(char):
            if folded and rest.startswith(folded):
                reached.append((place + 1, rest[len(folded) :]))
            elif folded.startswith(f"{rest}/"):
                return ODD
    return PUBLIC


# --- addresses ---

_PUBLIC_WORDS = (
    *(
        "x",
        "blog",
        "v1.2",
        "administrations",
        "admin-guide",
        "café",
        "новости",
        "产品中心",
        "الأخبار",
        "חדשות",
        "Νέα",
        "ข่าว",
    ),
    *(
        "🎉",
        "index.php",
        "が",
        "Việt",
        "größe",
        "łódź",
        "100%",
        "a b",
        "\u0441",
        "панель",
        "m²",
        "\ufb01le",
        "№1",
        "app",
        "api",
    ),
    *("\uff21\uff22\uff23\uff24\uff25", "\U0001d489\U0001d486\U0001d48d\U0001d48d\U0001d490", "v1", "sicherheit"),
)
_JUNK = (
    *("/", "//", "/./", "/../", "/x/../", ";", ";x=y", "/;/", "/..;/", "\\", "/..\\", "%2f", "%5c", "%2e%2e/", "%252f"),
    *(
        "%20",
        "%0a",
        "%c0%af",
        "%e0%80%af",
        "#",
        "?",
        "?x=/",
        "%3f",
        "%ff",
        "%e2%80%8b",
        "%ef%bc%8f",
        "%c2%a0",
        ".",
        "+",
        "@",
    ),
    *(
        "%25",
        "%25zz",
        ":",
        "-",
        "/index.php/",
        "/a.php",
        ".json",
        "x",
        "~",
        "_",
        "%2525",
        "é",
        "я",
        "中",
        "\u3000",
        "\ufeff",
    ),
    *("\u200d", "/x.cgi/", "%80", "\u0301"),
)


@functools.cache
def _look_alikes() -> dict[str, list[str]]:
    """Return the characters beyond ASCII that are folded to ASCII texts, by text."""
    found: dict[str, list[str]] = {}
    for point in range(0x80, 0x20000):
        if not 0xD800 <= point <= 0xDFFF:
            for text in fold(chr(point)):
                if text and text.isascii():
                    found.setdefault(text, []).append(chr(point))
    return found


@functools.cache
def _neighbourhoods() -> frozenset[int]:
    """Return the groups of 64 characters, which differ in the last byte of UTF-8 only, with one that is folded to ASCII."""
    return frozenset(ord(char) >> 6 for chars in _look_alikes().values() for char in chars)


def addresses(seed: int, count: int, paths: Sequence[str]) -> Iterator[bytes]:
    """Yield addresses without white space and control characters, most of them near to one of the paths."""
    generator = random.Random(seed)
    for _number in range(count):
        yield _address(generator, paths)


def _address(generator: random.Random, paths: Sequence[str]) -> bytes:
    words = [generator.choice(paths)[1:] if generator.random() < 0.75 else generator.choice(_PUBLIC_WORDS)]
    if generator.random() < 0.3:
        words.insert(generator.randrange(2), generator.choice(_PUBLIC_WORDS))
    text = generator.choice(("/", "/", "/", *_JUNK)).join(_spell(generator, word) for word in words)
    for _junk in range(generator.choice((0, 0, 0, 1, 1, 2, 3))):
        place = generator.choice((0, len(text), generator.randrange(len(text) + 1)))
        text = text[:place] + generator.choice(_JUNK) + text[place:]
    text = text if text.startswith("/") else f"/{text}"
    data = text.encode("utf-8", "surrogateescape")
    if generator.random() < 0.7:
        data = re.sub(rb"[^!-~]", lambda match: b"%%%02x" % match[0][0], data)
    return re.sub(rb"[\x00-\x20\x7f]", lambda match: b"%%%02X" % match[0][0], data)


def _spell(generator: random.Random, word: str) -> str:
    how = generator.choice(("plain", "plain", "case", "like", "code", "deep", "any", "near"))
    if how == "near":
        place = generator.randrange(len(word))
        return word[:place] + generator.choice(("", "x", word[place] * 2, "é", "\uff58")) + word[place + 1 :]
    spelled, place = "", 0
    while place < len(word):
        length = next((size for size in (3, 2) if word[place : place + size].lower() in _look_alikes()), 1)
        if how not in ("like", "any") or generator.random() < 0.5 or place + length > len(word):
            length = 1
        spelled += _write(generator, word[place : place + length], how)
        place += length
    return spelled


def _write(generator: random.Random, text: str, how: str) -> str:
    chosen = generator.choice(("plain", "case", "like", "code", "deep")) if how == "any" else how
    if generator.random() < 0.4 and len(text) == 1:
        return text
    if (chosen == "like" or len(text) > 1) and text.lower() in _look_alikes():
        return generator.choice(_look_alikes()[text.lower()])
    if chosen == "case":
        return text.upper()
    if chosen in ("code", "deep"):
        layers = "25" * (0 if chosen == "code" else generator.randrange(1, 4))
        return "".join(f"%{layers}{byte:02x}" for byte in text.encode())
    return text
