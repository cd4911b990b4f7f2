# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways to a panel that do not lead through the gate in front of it, as far as the list of sites shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .models import GuardedPath, Site


def shared_upstreams(sites: Sequence[Site]) -> tuple[str, ...]:
    """Return one sentence for each way, naming the site and the path it starts from.

    What an application does with an address is not known here, so these are warnings and no mistakes.
    """
    live = [site for site in sites if site.stage != "absent"]
    return tuple(sentence for site in live for sentence in _into(site, live))


def _into(site: Site, live: Sequence[Site]) -> list[str]:
    found = []
    for guarded in site.paths:
        if guarded.upstream.address == site.upstream.address:
            found.append(_from_public_part(site, guarded))
        found += [_through(site, guarded, other) for other in live if other is not site and _leads_to(other, guarded)]
    return found


def _from_public_part(site: Site, guarded: GuardedPath) -> str:
    loose = "" if site.path_spelling == "strict" else ", and path_spelling: loose lets other spellings of them through"
    return (
        f"site {site.name}: {guarded.path} and the public part are answered by the same {site.upstream.address}: "
        f"every address at which it shows the panel has to be among the paths{loose}"
    )


def _leads_to(other: Site, guarded: GuardedPath) -> bool:
    return other.mode == "path" and other.upstream.address == guarded.upstream.address


def _through(site: Site, guarded: GuardedPath, other: Site) -> str:
    shut = any(f"{guarded.path}/".startswith(f"{path.path}/") for path in other.paths)
    open_there = f"without a certificate, because {guarded.path} is not guarded there"
    how = "at other addresses than its own guarded paths" if shut else open_there
    answered = f"site {site.name}: {guarded.path} is answered by {guarded.upstream.address}"
    return f"{answered}, which site {other.name} reaches too, {how}"
