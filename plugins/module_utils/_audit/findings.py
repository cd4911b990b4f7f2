# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the servers, blocks and findings of an audit."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from .._contracts.gate_manifest import ProtectedSite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._nginx.config_model import Configuration, Listen, Server
    from .._nginx.config_parser import Directive


@dataclass(frozen=True)
class Finding:
    """One finding of the audit.

    :param opens: whether it opens the protected application; else it is a warning.
    :param unguarded: whether it means that nothing guards the site yet.
    """

    site: str
    opens: bool
    file: str
    line: int
    what: str
    hint: str
    unguarded: bool = False

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " if self.file else ""
        return f"site {self.site}: {where}{self.what}"

    def as_warning(self) -> Finding:
        """Return the same finding as a warning."""
        return replace(self, opens=False)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data, for the result of a module."""
        values = {key: value for key, value in asdict(self).items() if key not in ("opens", "unguarded")}
        return {**values, "severity": "error" if self.opens else "warning"}


@dataclass(frozen=True)
class Block:
    """A server of http: its directive, and its values."""

    directive: Directive
    server: Server

    @property
    def inner(self) -> tuple[Directive, ...]:
        """The directives in it."""
        return self.directive.block or ()

    @property
    def names(self) -> tuple[str, ...]:
        """Its server names, in lower case."""
        return tuple(name.lower() for name in self.server.server_names)

    @property
    def tcp(self) -> list[Listen]:
        """Its listens without those of QUIC."""
        return [listen for listen in self.server.listens if not listen.udp]

    @property
    def place(self) -> str:
        """File and line."""
        return f"{self.directive.file}:{self.directive.line}"


def servers_of(configuration: Configuration) -> list[Block]:
    """Return every server of http."""
    return [Block(directive, server) for directive, server in configuration.http_servers()]


def levels(directive: Directive, above: tuple[Directive, ...] = ()) -> Iterator[tuple[Directive, ...]]:
    """Yield every block in ``directive``, itself included, each with the blocks around it, outermost first."""
    here = (*above, directive)
    yield here
    for inner in directive.block or ():
        if inner.block is not None and inner.name in ("location", "if", "limit_except"):
            yield from levels(inner, here)


def named(level: tuple[Directive, ...], *names: str) -> list[Directive]:
    """Return the directives of these names in the innermost block itself."""
    return [inner for inner in level[-1].block or () if inner.name in names]


def in_force(level: tuple[Directive, ...], *names: str) -> list[Directive]:
    """Return the directives of these names in force in a block: nginx inherits them only into blocks that have none."""
    holder = innermost_with(level, *names)
    return named(holder, *names) if holder else []


def innermost_with(level: tuple[Directive, ...], *names: str) -> tuple[Directive, ...]:
    """Return the innermost block with a directive of these names, and the blocks around it; empty if none has one."""
    depths = range(len(level), 0, -1)
    return next((level[:depth] for depth in depths if named(level[:depth], *names)), ())


def error(protected: ProtectedSite, directive: Directive, what: str, hint: str) -> Finding:
    """Return a finding at a directive that opens the protected application, or closes a public part."""
    return Finding(protected.site, True, directive.file, directive.line, what, hint)


def warning(protected: ProtectedSite, directive: Directive, what: str, hint: str) -> Finding:
    """Return a warning at a directive."""
    return Finding(protected.site, False, directive.file, directive.line, what, hint)


def unknown_target(protected: ProtectedSite, directive: Directive, limits: str = "") -> list[Finding]:
    """Return the finding about a directive such as proxy_pass whose target only a request decides; none if it is accepted.

    :param limits: what limits access to the directive, in words; it is a warning then.
    """
    written = " ".join((directive.name, *directive.args))
    if written in protected.accepted_variable_targets:
        return []
    what = f"the target of {written} is not known before a request, so it can be the protected application{limits}"
    hint = (
        f"Write a target in line {directive.line} of {directive.file} whose values a map or set lists, or, if it is never the "
        f"application of site {protected.site}, write accepted_variable_targets: ['{written}'] for that site in gate_sites"
    )
    return [Finding(protected.site, not limits, directive.file, directive.line, what, hint)]


def denies_all(level: tuple[Directive, ...]) -> bool:
    """Return whether a block admits only the addresses that it names.

    nginx takes the first rule that matches, and inherits ``allow`` and ``deny`` only into blocks that have neither.
    """
    if any(line.args == ("any",) for line in in_force(level, "satisfy")):
        return False
    for rule in in_force(level, "allow", "deny"):
        if rule.name == "deny" and rule.args == ("all",):
            return True
        if rule.name == "allow" and rule.args and _is_everything(rule.args[0]):
            return False
    return False


def _is_everything(network: str) -> bool:
    """Return whether a network is all, 0.0.0.0/0 or ::/0, in any spelling of the address."""
    _address, slash, prefix = network.partition("/")
    return network == "all" or (bool(slash) and not prefix.strip("0"))


def limits_of(block: Block, level: tuple[Directive, ...], protected: ProtectedSite) -> str:
    """Return what limits access to a block, in words; empty if no limit is found."""
    if any(inner.name == "internal" for one in level for inner in one.block or ()):
        return "; it is internal, so only another location can reach it"
    if denies_all(level):
        return "; it is open to the addresses that its allow names"
    if all(map(_private, (listen.address for listen in block.tcp))) and not all(
        _private(address) for address, _port in protected.listens
    ):
        return "; it listens on this host only"
    return ""


def _private(address: str) -> bool:
    return address.startswith(("127.", "unix:")) or address in ("::1", "localhost")


def holds(directive: Directive, directory: str) -> bool:
    """Return whether ``root`` or ``alias`` serves files of a directory: names it, one above it, or one in it."""
    top = directive.args[0] if directive.args else ""
    if not directory.startswith("/") or not top.startswith("/"):
        return False
    one, other = f"{directory.rstrip('/')}/", f"{top.rstrip('/')}/"
    return one.startswith(other) or other.startswith(one)
