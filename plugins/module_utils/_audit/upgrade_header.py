# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the lines of a server with snippets that pass on other upgrades than `websocket`.

nginx forwards bytes unread after a response with status 101 (``u->upgrade`` in ngx_http_proxy_module.c). An application that
speaks h2c, HTTP/2 over plain TCP (RFC 7540 section 3.2), then answers requests on that connection that no gate checks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._contracts.gate_manifest import ProtectedSite
from .._nginx.proxy_targets import TABLES, VARIABLE, set_otherwise, values_of
from .findings import Block, Finding, error, in_force, levels, named

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .._nginx.config_model import Configuration
    from .._nginx.config_parser import Directive

_HEADER = "proxy_set_header"
_SAFE = frozenset(("", "websocket"))
_TEXTS = 200


def audit_upgrades(configuration: Configuration, block: Block, protected: ProtectedSite) -> Iterator[Finding]:
    """Yield an error for each ``Upgrade`` line in force whose value can be anything but ``websocket`` or empty."""
    values = _variables(configuration)
    outer = tuple(one for one in configuration.directives if one.name == "http")
    for level in levels(block.directive):
        if not named(level, "proxy_pass"):
            continue
        for line in in_force((*outer, *level), _HEADER):
            if _is_upgrade(line) and not _is_safe(values, line.args[1]):
                setting = f"{_HEADER} {' '.join(line.args)} can pass on other protocols than websocket"
                what = (
                    f"{setting}; after an upgrade to h2c an application answers requests that the gate does not check"
                )
                hint = f"Write {_HEADER} Upgrade $quietdoor_upgrade; in line {line.line} of {line.file}"
                yield error(protected, line, what, hint)


def _is_upgrade(line: Directive) -> bool:
    return len(line.args) > 1 and line.args[0].lower() == "upgrade"


def _variables(configuration: Configuration) -> dict[str, tuple[str, ...]]:
    """Return the possible values of each variable by its name in lower case, as nginx compares it.

    A variable that a directive of another kind can set, as ``auth_request_set`` or a named capture, is left out.
    """
    values = dict(values_of(configuration))
    for name in (*set_otherwise(configuration), *_named_first(configuration)):
        values.pop(name, None)
    return values


def _named_first(configuration: Configuration) -> Iterator[str]:
    """Yield the variables that a directive names first: one of a third-party module, that is not known here, can set it."""
    for context, directive in configuration.walk():
        if directive.name not in (*TABLES, "set") and context[-1:] not in [(table,) for table in TABLES]:
            yield from (word[1:].lower() for word in directive.args[:1] if word.startswith("$"))


def _is_safe(values: Mapping[str, tuple[str, ...]], text: str) -> bool:
    """Return whether ``text`` is ``websocket`` or empty whatever its variables are; one that is not known is not safe."""
    waiting, seen = [text], {text}
    while waiting:
        one = waiting.pop()
        match = VARIABLE.search(one)
        if not match:
            if "$" in one or one.lower() not in _SAFE:
                return False
            continue
        name = (match["braced"] or match["bare"]).lower()
        if name not in values or len(seen) > _TEXTS:
            return False
        # Every variable is empty where nothing set it, which also ends a circle of variables.
        spelled = {one[: match.start()] + value + one[match.end() :] for value in ("", *values[name])} - seen
        seen |= spelled
        waiting += spelled
    return True
