# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The effective configuration, looked through for whatever opens a panel without the gate in front of it.

Two places are looked at: the operator's server in which the snippets of a site stand, and every other server of that nginx.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._common.errors import MtlsError
from .._contracts.gate_manifest import ProtectedSite
from .findings import Finding, servers_of
from .other_servers import audit_other_servers
from .snippet_server import audit_snippet_server, is_included, meant_servers, missing_lines

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from .._nginx.config_model import Configuration


@dataclass(frozen=True)
class Audit:
    """What was found.

    :param included: the sites of snippets whose server snippet stands in a server.
    :param unguarded: the sites of snippets that nothing guards yet.
    :param findings: errors first.
    :param open_elsewhere: the sites whose panel another server of this nginx opens, in whatever stage they are.
    """

    included: tuple[str, ...]
    unguarded: tuple[str, ...]
    findings: tuple[Finding, ...]
    open_elsewhere: tuple[str, ...] = ()

    def errors(self) -> list[Finding]:
        """Those through which a panel is open."""
        return [finding for finding in self.findings if finding.opens]


def audit_configuration(
    configuration: Configuration, panels: Sequence[ProtectedSite], home: str, *, lenient: bool
) -> Audit:
    """Look for ways to the panels.

    :param home: the directory of the live gate as nginx names its files, with a final slash.
    :param lenient: whether a way through another server is a warning too.
    """
    servers = servers_of(configuration)
    included: list[str] = []
    unguarded: list[str] = []
    findings: list[Finding] = []
    open_elsewhere: list[str] = []
    for panel in panels:
        guarded = panel.manage == "vhost" or is_included(servers, panel, home)
        others = servers if guarded else [block for block in servers if block not in meant_servers(servers, panel)]
        elsewhere = audit_other_servers(configuration, others, panel, home)
        open_elsewhere += [panel.site] if any(finding.opens for finding in elsewhere) else []
        serious = guarded and panel.enforced and not lenient
        findings += elsewhere if serious else [finding.as_warning() for finding in elsewhere]
        if not guarded:
            unguarded.append(panel.site)
            findings.append(missing_lines(configuration, servers, panel))
        elif panel.manage == "snippets":
            included.append(panel.site)
            findings += audit_snippet_server(configuration, servers, panel, home)
    ordered = sorted(dict.fromkeys(findings), key=lambda finding: not finding.opens)
    return Audit(tuple(included), tuple(unguarded), tuple(ordered), tuple(open_elsewhere))


def refuse(found: Audit, formerly_included: Collection[str]) -> None:
    """Fail where a panel is open that should be shut.

    :param formerly_included: the sites whose snippets were included when the gate was last proven.
    :raises MtlsError: with every error, file and line.
    """
    lost = [finding for finding in found.findings if finding.unguarded and finding.site in formerly_included]
    if lost:
        raise MtlsError(
            "; ".join(f"site {finding.site} was guarded and is not any more: {finding.what}" for finding in lost),
            "; ".join(dict.fromkeys(finding.hint for finding in lost))
            + ". Or take the site away with stage: absent, if that is what you want",
        )
    errors = found.errors()
    if errors:
        raise MtlsError(
            "; ".join(map(str, errors)),
            "; ".join(dict.fromkeys(finding.hint for finding in errors)),
        )


def refuse_orphans(configuration: Configuration, wanted: Collection[str], home: str) -> None:
    """Fail where a snippet is included that is about to go: nginx would not start, or, where a pattern hides that, would not ask.

    :param wanted: the paths of the snippets that stay, relative to ``home``.
    :raises MtlsError: that names file and line.
    """
    places = [
        f"{directive.file}:{directive.line} includes {file[len(home) :]}"
        for directive, files in configuration.includes()
        for file in files
        if file.startswith(f"{home}snippets/") and not directive.file.startswith(home)
        if os.path.relpath(file, home) not in wanted
    ]
    if places:
        raise MtlsError(
            f"Snippets that are to be removed are still included, and without them nginx would refuse its configuration: "
            f"{'; '.join(places)}",
            "Take those lines out of your server first; what guards the panel then is your own business. Then run this again",
        )
