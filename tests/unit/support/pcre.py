# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Match the keys of nginx maps with PCRE2, the library of nginx, and count the steps that a match takes.

PCRE2 counts each point to which it may have to go back, and ends with an error at the match limit. So the lowest limit without
an error is the number of steps, on every machine the same.
"""

from __future__ import annotations

import ctypes
import functools
import re
import time

_CASELESS = 0x00000008
_NO_MATCH, _MATCH_LIMIT = -1, -47
# The default of PCRE2 (config.h: MATCH_LIMIT), which nginx does not change.
MATCH_LIMIT = 10_000_000


@functools.cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL("libpcre2-8.so.0")
    pointer, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint32
    for name, arguments, result in (
        ("compile", (ctypes.c_char_p, size, number, pointer, pointer, pointer), pointer),
        ("match", (pointer, ctypes.c_char_p, size, size, number, pointer, pointer), ctypes.c_int),
        ("match_data_create", (number, pointer), pointer),
        ("match_context_create", (pointer,), pointer),
        ("set_match_limit", (pointer, number), ctypes.c_int),
        ("code_free", (pointer,), None),
    ):
        function = getattr(library, f"pcre2_{name}_8")
        function.argtypes, function.restype = arguments, result
    return library


class Pattern:
    """A key of a map as nginx compiles it, without pcre_jit: for bytes, ignoring case if it begins with ``~*``."""

    def __init__(self, key: str) -> None:
        text = _unquoted(key).encode()
        caseless = text.startswith(b"~*")
        pattern = text[2 if caseless else 1 :]
        error, offset = ctypes.c_int(), ctypes.c_size_t()
        self._library = _library()
        self._code = self._library.pcre2_compile_8(
            pattern, len(pattern), _CASELESS if caseless else 0, ctypes.byref(error), ctypes.byref(offset), None
        )
        assert self._code, f"PCRE2 error {error.value} at {pattern[offset.value - 20 : offset.value + 20]!r}"
        self._data = self._library.pcre2_match_data_create_8(1, None)
        self._context = self._library.pcre2_match_context_create_8(None)

    def search(self, text: bytes) -> bool:
        """Return whether the expression matches.

        :raises AssertionError: if PCRE2 ends with an error.
        """
        code = self._match(text, MATCH_LIMIT)
        assert code >= _NO_MATCH, f"PCRE2 error {code}"
        return code > _NO_MATCH

    def steps(self, text: bytes, most: int = MATCH_LIMIT, exact: bool = True) -> int:
        """Return how many steps a match takes, ``most`` if there are more. Without ``exact`` it is a power of two."""
        low, high = 0, 1
        while high < most and self._match(text, high) == _MATCH_LIMIT:
            low, high = high, high * 2
        while exact and high - low > max(1, high // 100):
            middle = (low + high) // 2
            low, high = (middle, high) if self._match(text, middle) == _MATCH_LIMIT else (low, middle)
        return min(high, most)

    def seconds(self, text: bytes, repetitions: int = 20) -> float:
        """Return the processor time of a match, the least of three means."""
        times = []
        for _round in range(3):
            begin = time.process_time()
            for _repetition in range(repetitions):
                self._match(text, MATCH_LIMIT)
            times.append((time.process_time() - begin) / repetitions)
        return min(times)

    def _match(self, text: bytes, limit: int) -> int:
        self._library.pcre2_set_match_limit_8(self._context, limit)
        return int(self._library.pcre2_match_8(self._code, text, len(text), 0, 0, self._data, self._context))


@functools.cache
def compiled(key: str) -> Pattern:
    """Return a key of a map, compiled once."""
    return Pattern(key)


def _unquoted(key: str) -> str:
    """Return a token as nginx reads it (ngx_conf_read_token)."""
    return re.sub(r"""\\([\\'"])""", r"\1", key[1:-1]) if key[:1] == '"' else key
