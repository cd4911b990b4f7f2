# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
r"""Write sets of byte sequences as PCRE expressions.

The expressions are for caseless matching of bytes, without the option UTF. No two alternatives of one begin alike, so a match
takes time in proportion to the text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_HEX = "0123456789abcdef"


def match_raw(sequences: Iterable[bytes]) -> str:
    """Return an expression for exactly these byte sequences, none of which is the beginning of another."""
    return _match(sequences, raw_class)


def match_encoded(sequences: Iterable[bytes], deeply: bool = False) -> str:
    """Return the same for sequences of which each byte is percent-encoded, without the first percent sign.

    :param deeply: each byte but the first can be percent-encoded any number of times.
    """
    percent = "%(?:25)*+" if deeply else "%"
    return _match(sequences, _digits_of, lambda values: percent + _digits_of(values))


def match_any(sequences: Iterable[bytes]) -> str:
    """Return an expression for byte sequences beyond ASCII, unencoded or percent-encoded."""
    listed = list(sequences)
    return f"(?:{match_raw(listed)}|%{match_encoded(listed)})"


def raw_class(values: list[int]) -> str:
    """Return an expression for one of these bytes, which are in order."""
    runs = [_run(f"\\x{first:02x}", f"\\x{last:02x}", last - first) for first, last in _ranges(values)]
    return runs[0] if len(values) == 1 else f"[{''.join(runs)}]"


def _match(
    sequences: Iterable[bytes],
    match_one: Callable[[list[int]], str],
    match_next: Callable[[list[int]], str] | None = None,
) -> str:
    match_next = match_next or match_one
    by_first: dict[int, set[bytes]] = {}
    for sequence in sequences:
        by_first.setdefault(sequence[0], set()).add(sequence[1:])
    by_rest: dict[frozenset[bytes], list[int]] = {}
    for first, rests in sorted(by_first.items()):
        by_rest.setdefault(frozenset(rests), []).append(first)
    alternatives = [
        match_one(firsts) + ("" if rests == {b""} else _match(rests, match_next)) for rests, firsts in by_rest.items()
    ]
    return alternatives[0] if len(alternatives) == 1 else f"(?:{'|'.join(alternatives)})"


def _digits_of(values: list[int]) -> str:
    """Return an expression for the two hexadecimal digits of one of these bytes."""
    lows: dict[int, list[int]] = {}
    for value in values:
        lows.setdefault(value >> 4, []).append(value & 15)
    highs: dict[tuple[int, ...], list[int]] = {}
    for high, low in lows.items():
        highs.setdefault(tuple(low), []).append(high)
    pairs = [_digit_class(high) + _digit_class(list(low)) for low, high in highs.items()]
    return pairs[0] if len(pairs) == 1 else f"(?:{'|'.join(pairs)})"


def _digit_class(digits: list[int]) -> str:
    """Return a class for one of these hexadecimal digits, which are in order."""
    parts = ([digit for digit in digits if digit < 10], [digit for digit in digits if digit >= 10])
    runs = [_run(_HEX[first], _HEX[last], last - first) for part in parts for first, last in _ranges(part)]
    return runs[0] if len(digits) == 1 else f"[{''.join(runs)}]"


def _ranges(values: list[int]) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    for value in values:
        if ranges and ranges[-1][1] == value - 1:
            ranges[-1] = (ranges[-1][0], value)
        else:
            ranges.append((value, value))
    return ranges


def _run(first: str, last: str, more: int) -> str:
    return first if more == 0 else f"{first}{last}" if more == 1 else f"{first}-{last}"
