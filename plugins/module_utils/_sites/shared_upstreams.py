# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find bypasses in `gate_sites`: applications behind a gate that a public part reaches as well."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .models import GuardedPath, Site


def shared_upstreams(sites: Sequence[Site]) -> tuple[str, ...]:
    """Return one sentence for each bypass, with the site and the guarded path.

    These are warnings, not errors, because the application decides which addresses it answers.
    """
    live = [site for site in sites if site.stage != "absent"]
    return tuple(sentence for site in live for sentence in _bypasses_of(site, live))


def _bypasses_of(site: Site, live: Sequence[Site]) -> list[str]:
    found = []
    for guarded in site.paths:
        if guarded.upstream.address == site.upstream.address:
            found.append(_describe_own_public_part(site, guarded))
        found += [
            _describe_other_site(site, guarded, other)
            for other in live
            if other is not site and _shares_upstream(other, guarded)
        ]
    return found


def _describe_own_public_part(site: Site, guarded: GuardedPath) -> str:
    loose = (
        "" if site.path_spelling == "strict" else ", and path_spelling: loose does not block other spellings of them"
    )
    return (
        f"site {site.name}: {guarded.path} and the public part have the same upstream {site.upstream.address}: "
        f"every address of the protected application has to be in paths{loose}"
    )


def _shares_upstream(other: Site, guarded: GuardedPath) -> bool:
    return other.mode == "path" and other.upstream.address == guarded.upstream.address


def _describe_other_site(site: Site, guarded: GuardedPath, other: Site) -> str:
    guarded_there = any(f"{guarded.path}/".startswith(f"{path.path}/") for path in other.paths)
    open_there = f"without a certificate, because {guarded.path} is not guarded there"
    how = "at other addresses than its own guarded paths" if guarded_there else open_there
    upstream = f"site {site.name}: {guarded.path} has the upstream {guarded.upstream.address}"
    return f"{upstream}, which site {other.name} reaches too, {how}"
