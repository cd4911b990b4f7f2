# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One raw entry of ``gate_sites``: reading its keys, and naming what is wrong with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from .._common.errors import MtlsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")


class FieldReader:
    """A mapping as a person wrote it, and how its errors begin."""

    def __init__(self, values: Mapping[str, Any], called: str, within: str = "") -> None:
        self._values = values
        self._within = within
        self.called = called

    def problem(self, key: str, what: str, hint: str) -> MtlsError:
        """The error about one key."""
        return MtlsError(f"gate_sites: {self.called}: {self._within}{key}: {what}", hint)

    def given(self, key: str) -> bool:
        """Whether the key is there with a value; null and the empty string count as not given."""
        value = self._values.get(key)
        return value is not None and value != ""

    def value(self, key: str) -> Any:
        """The value under ``key`` as it was written, None if there is none."""
        return self._values.get(key)

    def text(self, key: str, hint: str, default: str | None = None) -> str:
        """The string under ``key``.

        :raises MtlsError: if it is missing and there is no default, or if it is no string.
        """
        if not self.given(key):
            if default is None:
                raise self.problem(key, "missing", hint)
            return default
        value = self._values[key]
        if not isinstance(value, str):
            raise self.problem(key, f"{value!r} is {kind(value)}, not a string", hint)
        return str(value)

    def texts(self, key: str, hint: str) -> list[str]:
        """The strings under ``key``: a list, or one alone. Whole numbers count, for ports.

        :raises MtlsError: if one of them is neither.
        """
        value = self._values.get(key)
        items = list(value) if isinstance(value, (list, tuple)) else [value]
        for item in items:
            if isinstance(item, bool) or not isinstance(item, (str, int)):
                raise self.problem(key, f"{item!r} is {kind(item)}, not a string", hint)
        return [str(item) for item in items]

    def choice(self, key: str, choices: Sequence[str], default: str | None = None, what: str = "is unknown") -> str:
        """The string under ``key``, which is one of ``choices``.

        :param what: what is said of any other.
        :raises MtlsError: if it is missing and there is no default, or if it is none of them.
        """
        hint = f"Write one of: {', '.join(choices)}"
        text = self.text(key, hint, default)
        if text not in choices:
            raise self.problem(key, f"{text!r} {what}", hint)
        return text

    def each(self, key: str, hint: str, read: Callable[[str], T], called: Callable[[T], str] = str) -> tuple[T, ...]:
        """What ``read`` makes of the strings under ``key``: one at least, and none twice.

        :param called: what one is called in an error, and known by.
        :raises MtlsError: if there is none, or one stands there twice; else whatever ``read`` raises.
        """
        if not self.given(key):
            raise self.problem(key, "missing", hint)
        found = tuple(read(text) for text in self.texts(key, hint))
        if not found:
            raise self.problem(key, "an empty list", hint)
        double = first_duplicate([called(one) for one in found])
        if double:
            raise self.problem(key, f"{double} stands there twice", "Remove one of them")
        return found

    def flag(self, key: str) -> bool:
        """The boolean under ``key``, false if there is none.

        :raises MtlsError: if it is something else.
        """
        value = self._values.get(key)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise self.problem(key, f"{value!r} is {kind(value)}, not a boolean", "Write true or false")
        return value

    def part(self, key: str, keys: Sequence[str], hint: str) -> FieldReader:
        """The mapping under ``key``, as an entry of its own; empty if there is none.

        :raises MtlsError: if it is no mapping, or holds other keys than ``keys``.
        """
        value = self._values.get(key)
        if value is None:
            return FieldReader({}, self.called, f"{self._within}{key}: ")
        if not isinstance(value, dict):
            raise self.problem(key, f"{value!r} is {kind(value)}, not a mapping", hint)
        part = FieldReader(value, self.called, f"{self._within}{key}: ")
        part.refuse_unknown(keys)
        return part

    def refuse_unknown(self, keys: Sequence[str]) -> None:
        """Refuse keys that nobody reads.

        :raises MtlsError: if there are any.
        """
        unknown = sorted(str(key) for key in self._values if key not in keys)
        if unknown:
            raise self.problem(", ".join(unknown), "no such key", f"The keys here are: {', '.join(keys)}")


def kind(value: object) -> str:
    """The value's type in words for a person who writes YAML."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    names = {str: "a string", int: "a number", float: "a number", list: "a list", tuple: "a list", dict: "a mapping"}
    return next((words for kind, words in names.items() if isinstance(value, kind)), type(value).__name__)


def first_duplicate(items: Sequence[str]) -> str | None:
    """The first item that stands there a second time, None if all differ."""
    return next((item for index, item in enumerate(items) if item in items[:index]), None)
