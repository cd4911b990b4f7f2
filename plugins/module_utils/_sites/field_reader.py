# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read typed fields of a raw entry of `gate_sites` and report mistakes in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from .._common.errors import MtlsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")


class FieldReader:
    """A mapping as it was written, and the beginning of its errors."""

    def __init__(self, values: Mapping[str, Any], called: str, within: str = "") -> None:
        self._values = values
        self._within = within
        self.called = called

    def problem(self, key: str, what: str, hint: str) -> MtlsError:
        """Return the error about one key."""
        return MtlsError(f"gate_sites: {self.called}: {self._within}{key}: {what}", hint)

    def given(self, key: str) -> bool:
        """Return whether the key has a value; null and the empty string count as not given."""
        value = self._values.get(key)
        return value is not None and value != ""

    def value(self, key: str) -> Any:
        """Return the value of ``key`` as it was written, None if there is none."""
        return self._values.get(key)

    def text(self, key: str, hint: str, default: str | None = None) -> str:
        """Return the string of ``key``.

        :raises MtlsError: if it is missing without a default, or if it is not a string.
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
        """Return the strings of ``key``: a list, or a single one. Whole numbers are accepted, for ports.

        :raises MtlsError: if an item is neither.
        """
        value = self._values.get(key)
        items = list(value) if isinstance(value, (list, tuple)) else [value]
        for item in items:
            if isinstance(item, bool) or not isinstance(item, (str, int)):
                raise self.problem(key, f"{item!r} is {kind(item)}, not a string", hint)
        return [str(item) for item in items]

    def choice(self, key: str, choices: Sequence[str], default: str | None = None, what: str = "is unknown") -> str:
        """Return the string of ``key``, which is one of ``choices``.

        :param what: the predicate of the error about any other value.
        :raises MtlsError: if it is missing without a default, or if it is not one of them.
        """
        hint = f"Write one of: {', '.join(choices)}"
        text = self.text(key, hint, default)
        if text not in choices:
            raise self.problem(key, f"{text!r} {what}", hint)
        return text

    def each(self, key: str, hint: str, read: Callable[[str], T], called: Callable[[T], str] = str) -> tuple[T, ...]:
        """Return the results of ``read`` for the strings of ``key``: at least one, and no duplicates.

        :param called: returns the name of a result, for errors and for the comparison.
        :raises MtlsError: if there is none, or one is listed more than once; else any error of ``read``.
        """
        if not self.given(key):
            raise self.problem(key, "missing", hint)
        found = tuple(read(text) for text in self.texts(key, hint))
        if not found:
            raise self.problem(key, "an empty list", hint)
        duplicate = first_duplicate([called(one) for one in found])
        if duplicate:
            raise self.problem(key, f"{duplicate} is listed more than once", "Remove the duplicate")
        return found

    def flag(self, key: str) -> bool:
        """Return the boolean of ``key``, false if there is none.

        :raises MtlsError: if it is not a boolean.
        """
        value = self._values.get(key)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise self.problem(key, f"{value!r} is {kind(value)}, not a boolean", "Write true or false")
        return value

    def part(self, key: str, keys: Sequence[str], hint: str) -> FieldReader:
        """Return the mapping of ``key`` as a reader of its own; empty if there is none.

        :raises MtlsError: if it is not a mapping, or contains other keys than ``keys``.
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
        """Refuse unknown keys.

        :raises MtlsError: if there are any.
        """
        unknown = sorted(str(key) for key in self._values if key not in keys)
        if unknown:
            raise self.problem(", ".join(unknown), "unknown key", f"Write only these keys here: {', '.join(keys)}")


def kind(value: object) -> str:
    """Return the type of the value in the words of YAML."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    names = {str: "a string", int: "a number", float: "a number", list: "a list", tuple: "a list", dict: "a mapping"}
    return next((words for kind, words in names.items() if isinstance(value, kind)), type(value).__name__)


def first_duplicate(items: Sequence[str]) -> str | None:
    """Return the first item that is listed more than once, None if all differ."""
    return next((item for index, item in enumerate(items) if item in items[:index]), None)
