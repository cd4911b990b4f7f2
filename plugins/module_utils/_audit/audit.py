# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Audit the effective configuration for bypasses of the gate.

It checks the operator's servers that include the snippets of a site (``snippet_server``, ``snippet_locations``,
``decoded_addresses``, ``upgrade_header``), the rules that servers inherit (``inherited_access``), and every other server of that
nginx (``other_servers``).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._common.errors import MtlsError
from .._contracts.gate_manifest import ProtectedSite
from .._contracts.identity_headers import CLIENT, header_names
from .._contracts.paths import SNIPPETS
from .findings import Finding, servers_of
from .inherited_access import audit_inherited_access
from .other_servers import audit_other_servers
from .shared_addresses import audit_shared_addresses
from .snippet_server import audit_snippet_server, guarded_servers, intended_servers, is_included, missing_lines

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from .._nginx.config_model import Configuration


@dataclass(frozen=True)
class Audit:
    """The result of an audit.

    :param included: the sites of snippets whose server snippet a server includes.
    :param unguarded: the sites of snippets that nothing guards yet.
    :param findings: errors first.
    :param open_elsewhere: the sites with a bypass through another server of this nginx, in any stage.
    """

    included: tuple[str, ...]
    unguarded: tuple[str, ...]
    findings: tuple[Finding, ...]
    open_elsewhere: tuple[str, ...] = ()

    def errors(self) -> list[Finding]:
        """Return the findings that open a protected application."""
        return [finding for finding in self.findings if finding.opens]


def audit_configuration(
    configuration: Configuration, protected_sites: Sequence[ProtectedSite], home: str, *, lenient: bool
) -> Audit:
    """Find bypasses to the protected applications.

    :param home: the directory of the live gate as nginx names its files, with a final slash.
    :param lenient: whether a bypass through another server is only a warning.
    """
    servers = servers_of(configuration)
    included: list[str] = []
    unguarded: list[str] = []
    findings: list[Finding] = []
    open_elsewhere: list[str] = []
    for protected in protected_sites:
        guarded = protected.manage == "vhost" or is_included(servers, protected, home)
        others = (
            servers if guarded else [block for block in servers if block not in intended_servers(servers, protected)]
        )
        elsewhere = audit_other_servers(configuration, others, protected, home)
        open_elsewhere += [protected.site] if any(finding.opens for finding in elsewhere) else []
        serious = guarded and protected.enforced and not lenient
        findings += elsewhere if serious else [finding.as_warning() for finding in elsewhere]
        if not guarded:
            unguarded.append(protected.site)
            findings.append(missing_lines(configuration, servers, protected))
        elif protected.manage == "snippets":
            included.append(protected.site)
            findings += audit_snippet_server(configuration, servers, protected, home)
        if guarded:
            findings += audit_shared_addresses(servers, protected, home)
            own = guarded_servers(servers, protected, home)
            findings += audit_inherited_access(configuration, own, protected, home)
    findings += _name_client_headers(protected_sites)
    ordered = sorted(dict.fromkeys(findings), key=lambda finding: not finding.opens)
    return Audit(tuple(included), tuple(unguarded), tuple(ordered), tuple(open_elsewhere))


def _name_client_headers(protected_sites: Sequence[ProtectedSite]) -> list[Finding]:
    """Return one warning for all sites that do not say whether they drop headers that clients of applications send too."""
    sites = [protected.site for protected in protected_sites if protected.client_headers_undecided]
    if not sites:
        return []
    names = ", ".join(header_names(CLIENT))
    what = f"the application gets these headers from clients, unless the gate or your server sets them: {names}"
    hint = "Write drop_client_headers: true if the application trusts one of them, else drop_client_headers: false"
    return [Finding(", ".join(sites), False, "", 0, what, hint)]


def refuse(found: Audit, formerly_included: Collection[str]) -> None:
    """Fail if a bypass opens a protected application.

    :param formerly_included: the sites whose snippets were included when the gate was last proven.
    :raises MtlsError: if so, with every error, file and line.
    """
    lost = [finding for finding in found.findings if finding.unguarded and finding.site in formerly_included]
    if lost:
        raise MtlsError(
            "; ".join(f"site {finding.site} was guarded and is not any more: {finding.what}" for finding in lost),
            "; ".join(dict.fromkeys(finding.hint for finding in lost)) + ". Or remove the gate with stage: absent",
        )
    errors = found.errors()
    if errors:
        raise MtlsError(
            "; ".join(map(str, errors)),
            "; ".join(dict.fromkeys(finding.hint for finding in errors)),
        )


def refuse_orphans(configuration: Configuration, wanted: Collection[str], home: str) -> None:
    """Fail if a snippet that is to be removed is still included: nginx would not start, or, with a pattern, run without it.

    :param wanted: the paths of the snippets that stay, relative to ``home``.
    :raises MtlsError: if so; it names file and line.
    """
    places = [
        f"{directive.file}:{directive.line} includes {file[len(home) :]}"
        for directive, files in configuration.includes()
        for file in files
        if file.startswith(f"{home}{SNIPPETS}") and not directive.file.startswith(home)
        if os.path.relpath(file, home) not in wanted
    ]
    if places:
        raise MtlsError(
            "Snippets that are to be removed are still included, and without them nginx would reject its configuration: "
            f"{'; '.join(places)}",
            "Remove those lines from your server first (nothing guards the application then), and run this again",
        )
