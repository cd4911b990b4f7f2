# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find inherited access rules that refuse clients with a valid certificate, or that the gate replaces.

Servers and locations inherit ``auth_basic``, ``auth_request``, ``allow`` and ``deny``. The gate never resets a rule of others.
With its ``satisfy all`` each of them has to admit a request, so a client with a valid certificate gets status 401 from an
inherited ``auth_basic``. An inherited ``auth_request`` has no effect, because the server of a gate has its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._contracts.gate_manifest import ProtectedSite
from .findings import Block, Finding, error, in_force, levels, named, warning
from .snippet_locations import guard_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .._nginx.config_model import Configuration
    from .._nginx.config_parser import Directive

# Each takes a realm, a name or "on", and "off" ends its inheritance. Only the first is in the package nginx of Debian.
_LOGINS = ("auth_basic", "auth_jwt", "auth_pam", "auth_digest", "auth_gss", "auth_ldap")


def audit_inherited_access(
    configuration: Configuration, guarded: Sequence[Block], protected: ProtectedSite, home: str
) -> Iterator[Finding]:
    """Yield the findings about access rules around the gate of a site.

    :param guarded: the operator's servers with the snippets of the site; empty for a site with ``manage: vhost``.
    """
    outer = tuple(one for one in configuration.directives if one.name == "http")
    yield from _replaced_questions(outer, protected)
    for block in outer if protected.manage == "vhost" else ():
        # The server of a gate with fallback basic auth has a realm of its own, which is off for clients with a certificate.
        inherited = [name for name in _LOGINS if name != "auth_basic" or not protected.basic_auth]
        for directive in named((block,), *inherited):
            yield from _login(directive, protected, _hint_for_vhost(directive, protected))
    for name in _LOGINS:
        for directive, places in _inherited_logins(outer, guarded, name, home).items():
            yield from _login(directive, protected, _hint_for_snippets(directive, places))
    for block in outer:
        for directive in [one for one in named((block,), "deny") if one.args == ("all",)]:
            what = (
                "deny all applies to clients with a valid certificate too, except at the addresses that its allow names"
            )
            hint = f"Move line {directive.line} of {directive.file} and its allow into the servers that need it"
            yield warning(protected, directive, what, hint)


def _replaced_questions(outer: Sequence[Directive], protected: ProtectedSite) -> Iterator[Finding]:
    for block in outer:
        for directive in named((block,), "auth_request"):
            if directive.args[:1] != ("off",):
                written = f"auth_request {' '.join(directive.args)}"
                what = f"{written} of http has no effect for this site, because the gate has an auth_request of its own"
                hint = (
                    f"Write {written}; in the servers that need it instead of line {directive.line} of {directive.file}, or "
                    f"name the service in auth_request of site {protected.site} too"
                )
                yield error(protected, directive, what, hint)


def _login(directive: Directive, protected: ProtectedSite, hint: str) -> Iterator[Finding]:
    """Yield the finding about a rule such as ``auth_basic``, none if it is off.

    It is a warning in stage ``observe``, where it can be the only protection of the application, and if its value is a variable.
    """
    if directive.args[:1] == ("off",):
        return
    what = f"{_written(directive)} refuses clients with a valid certificate too, because it is inherited"
    open_ended = protected.observed or "$" in " ".join(directive.args)
    yield (warning if open_ended else error)(protected, directive, what, hint)


def _written(directive: Directive) -> str:
    return " ".join((directive.name, *(f'"{one}"' if " " in one else one for one in directive.args)))


def _hint_for_vhost(directive: Directive, protected: ProtectedSite) -> str:
    return (
        f"Write {_written(directive)}; in the servers that need it instead of line {directive.line} of {directive.file}, or "
        f"manage: snippets for site {protected.site} with {directive.name} off; in its locations"
    )


def _hint_for_snippets(directive: Directive, places: Sequence[str]) -> str:
    return (
        f"Write {directive.name} off; (a certificate is enough) or {_written(directive)}; (a password is needed as well) in the "
        f"locations at {', '.join(places)}"
    )


def _inherited_logins(
    outer: tuple[Directive, ...], guarded: Sequence[Block], name: str, home: str
) -> dict[Directive, list[str]]:
    """Return the rules that guarded locations inherit, each with these locations. A rule in a location itself is intended."""
    found: dict[Directive, list[str]] = {}
    for block in guarded:
        for level in levels(block.directive):
            location = level[-1]
            if location.name != "location" or location.file.startswith(home) or _is_public(level, home):
                continue
            for directive in in_force((*outer, *level), name)[-1:]:
                if directive not in (location.block or ()) and not directive.file.startswith(home):
                    found.setdefault(directive, []).append(f"{location.file}:{location.line}")
    return found


def _is_public(level: tuple[Directive, ...], home: str) -> bool:
    """Return whether a location serves the public part, or answers before nginx asks for a password."""
    return guard_of(level, home) == "public" or any(inner.name == "return" for inner in level[-1].block or ())
