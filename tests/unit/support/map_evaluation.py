# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evaluate the maps of rendered nginx files with PCRE2, without nginx."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.config_parser import parse
from pcre import compiled

if TYPE_CHECKING:
    from collections.abc import Iterator

_VARIABLE = re.compile(rb"\$\{?([a-z_0-9]+)\}?")


@dataclass
class Map:
    """A block ``map`` or ``geo``: ``strings`` in lower case, ``expressions`` in order, both with their values."""

    kind: str
    source: str
    name: str
    default: str = ""
    strings: dict[str, str] = field(default_factory=dict)
    expressions: list[tuple[str, str]] = field(default_factory=list)

    @property
    def values(self) -> list[str]:
        """Return all values but the default."""
        return [*self.strings.values(), *(value for _key, value in self.expressions)]


class Maps:
    """The maps of some files. ``site`` in a name stands for the prefix of the variables of the only site."""

    def __init__(self, *texts: str) -> None:
        self.maps = {one.name: one for text in texts for one in maps_of(text)}

    def value(self, name: str, variables: dict[str, bytes]) -> bytes:
        """Return the value of a variable, from these values of the variables of nginx.

        :raises AssertionError: if PCRE2 ends with an error.
        """
        if name in variables:
            return variables[name]
        one = self.maps[name]
        source = self._expand(one.source, variables)
        found = one.strings.get(source.decode("latin-1").lower())
        captured = b""
        if found is None:
            for key, value in one.expressions:
                if compiled(key).search(source):
                    found = value
                    captured = source.partition(b"?")[0]  # the only capture is the path of $request_uri
                    break
            else:
                found = one.default
        return self._expand(found.replace("$1", "$captured"), {**variables, "captured": captured})

    def _expand(self, text: str, variables: dict[str, bytes]) -> bytes:
        return _VARIABLE.sub(lambda match: self.value(match[1].decode(), variables), text.encode())


def maps_of(text: str) -> Iterator[Map]:
    """Yield the blocks ``map`` and ``geo`` of a file."""
    for directive in parse(text, "rendered"):
        if directive.name not in ("map", "geo"):
            continue
        one = Map(directive.name, directive.args[0], directive.args[1].lstrip("$"))
        for entry in directive.block or ():
            if entry.name == "default":
                one.default = entry.args[0]
            elif entry.name.startswith("~"):
                one.expressions.append((entry.name, entry.args[0]))
            elif entry.args:
                one.strings[entry.name.lower()] = entry.args[0]
        yield one
