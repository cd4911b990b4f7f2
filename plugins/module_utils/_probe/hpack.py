# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Encode and decode header fields of HTTP/2 (HPACK, RFC 7541) for one request and one answer.

Sent fields are never compressed, so the client keeps no table. SETTINGS_HEADER_TABLE_SIZE 0 makes the server keep none either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Fields = tuple[tuple[str, str], ...]

# RFC 7541 appendix A. Only the values that occur in answers are listed.
_TABLE = (
    ":authority :method=GET :method=POST :path=/ :path=/index.html :scheme=http :scheme=https :status=200 :status=204 "
    ":status=206 :status=304 :status=400 :status=404 :status=500 accept-charset accept-encoding "
    "accept-language accept-ranges accept access-control-allow-origin age allow authorization cache-control "
    "content-disposition content-encoding content-language content-length content-location content-range content-type "
    "cookie date etag expect expires from host if-match if-modified-since if-none-match if-range if-unmodified-since "
    "last-modified link location max-forwards proxy-authenticate proxy-authorization range referer refresh retry-after "
    "server set-cookie strict-transport-security transfer-encoding user-agent vary via www-authenticate"
)
_STATIC = _TABLE.split(" ")

# RFC 7541 appendix B: the code is canonical, so the lengths of the codes with the symbols in order define it. Symbols with
# codes longer than 15 bits do not occur in header fields of a gate, except the backslash.
_BY_LENGTH = {
    5: "012aceiost",
    6: " %-./3456789=A_bdfghlmnpru",
    7: ":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz",
    8: "&*,;XZ",
    10: '!"()?',
    11: "'+|",
    12: "#>",
    13: "\0$@[]~",
    14: "^}",
    15: "<`{",
    19: "\\",
}


def _codes() -> Iterator[tuple[tuple[int, int], str]]:
    code = length = 0
    for bits, symbols in _BY_LENGTH.items():
        code <<= bits - length
        length = bits
        for symbol in symbols:
            yield (bits, code), symbol
            code += 1


_SYMBOLS = dict(_codes())


def encode(fields: Iterable[tuple[str, str]]) -> bytes:
    """Return a header block of literal fields without indexing, each with a new name (RFC 7541 section 6.2.2)."""
    return b"".join(b"\x00" + _text(name.lower()) + _text(value) for name, value in fields)


def decode(block: bytes) -> Fields:
    """Return the fields of a header block.

    :raises ValueError: if the block is malformed, refers to a refused table, or contains an unknown symbol.
    """
    try:
        return tuple(_Reader(block).fields())
    except IndexError:
        raise ValueError("a header block ends early") from None


def _text(text: str) -> bytes:
    data = text.encode("latin-1")
    return _integer(len(data), 7) + data


def _integer(value: int, bits: int) -> bytes:
    """Return an integer with a prefix of ``bits`` bits (RFC 7541 section 5.1)."""
    limit = (1 << bits) - 1
    if value < limit:
        return bytes([value])
    data, value = bytearray([limit]), value - limit
    while value >= 128:
        data.append(value % 128 + 128)
        value //= 128
    return bytes([*data, value])


class _Reader:
    def __init__(self, block: bytes) -> None:
        self._block = block
        self._at = 0

    def fields(self) -> Iterator[tuple[str, str]]:
        while self._at < len(self._block):
            first = self._block[self._at]
            if first & 0x80:
                yield self._static(self._number(7))
            elif first & 0xE0 == 0x20:
                self._number(5)  # size of a table, section 6.3
            else:
                index = self._number(6 if first & 0x40 else 4)
                name = self._static(index)[0] if index else self._string()
                yield name, self._string()

    def _number(self, bits: int) -> int:
        limit = (1 << bits) - 1
        value = self._next() & limit
        shift = 0
        while value >= limit:
            octet = self._next()
            value += (octet & 0x7F) << shift
            shift += 7
            if octet < 128:
                break
        return value

    def _next(self) -> int:
        self._at += 1
        return self._block[self._at - 1]

    def _string(self) -> str:
        compressed = self._block[self._at] & 0x80
        length = self._number(7)
        data = self._block[self._at : self._at + length]
        if len(data) < length:
            raise ValueError("a header block ends early")
        self._at += length
        return unfold(data) if compressed else data.decode("latin-1")

    @staticmethod
    def _static(index: int) -> tuple[str, str]:
        if not 0 < index <= len(_STATIC):
            raise ValueError(f"a header field refers to number {index} of a table that was refused")
        name, _equals, value = _STATIC[index - 1].partition("=")
        return name, value


def unfold(data: bytes) -> str:
    """Return the text of a Huffman-coded string (RFC 7541 section 5.2).

    :raises ValueError: for an unknown symbol.
    """
    text = ""
    code = length = 0
    for bit in f"{int.from_bytes(data, 'big'):0{8 * len(data)}b}" if data else "":
        code, length = code << 1 | (bit == "1"), length + 1
        symbol = _SYMBOLS.get((length, code))
        if symbol is not None:
            text, code, length = text + symbol, 0, 0
    if length > 7 or code != (1 << length) - 1:
        raise ValueError("a header field holds a symbol that is not known here")
    return text
