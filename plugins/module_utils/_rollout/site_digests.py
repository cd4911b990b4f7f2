# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute the digest of each site, which receipts refer to."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from .._sites.access_rules import Allow
from .._sites.fallback_window import Window
from .._sites.parser import parse_sites
from .receipts import RolledOutSite

if TYPE_CHECKING:
    from .._sites.models import Site
    from .._sites.upstreams import Upstream


def digests_of_sites(raw_sites: object, version: str) -> tuple[RolledOutSite, ...]:
    """Return the digests of a list ``gate_sites``, without the settings that belong to one environment.

    Names, addresses, certificates, applications, networks, deadlines and people differ from one environment to the next; all
    other settings have to be the same.

    :param version: the version of this collection.
    :raises MtlsError: if the list is not valid.
    """
    return tuple(
        RolledOutSite(site.name, site.stage, _digest(site, version))
        for site in parse_sites(raw_sites)
        if not site.rehearsal
    )


def _digest(site: Site, version: str) -> str:
    text = json.dumps([version, _settings(site)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _settings(site: Site) -> dict[str, Any]:
    """Return the settings that have to be the same in every environment."""
    neutral = replace(
        site,
        server_names=(),
        listen=(),
        staging_listen=(),
        certificate="",
        certificate_key="",
        upstream=_without_address(site.upstream),
        paths=tuple(replace(path, upstream=_without_address(path.upstream)) for path in site.paths),
        allow=Allow((), (), ()),
        window=Window((), 0, site.window.basic_auth),
        auth_request="somewhere" if site.auth_request else "",
        edge=None,
    )
    return {**asdict(neutral), "restricted": site.allow.restricted, "edge": _edge(site)}


def _without_address(upstream: Upstream) -> Upstream:
    """Return an application of the same kind, without its address."""
    return replace(upstream, address="", name="", ca="given" if upstream.ca else "")


def _edge(site: Site) -> dict[str, Any]:
    """Return the headers of an edge, without its addresses and certificates."""
    if site.edge is None:
        return {}
    own = ("networks", "certificate_authority", "crl", "fingerprints", "subjects")
    return {key: str(value) for key, value in vars(site.edge).items() if key not in own}
