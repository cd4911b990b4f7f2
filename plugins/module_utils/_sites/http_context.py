# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute the data of template `http.conf.j2`, which all sites share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._nginx.quoting import quote
from .._nginx.request_timeouts import OF_GATES
from .default_server import GATE_FILE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from .default_server import Plan

# A longer key does not fit into the default map_hash_bucket_size.
_LONGEST_KEY = 46
# Buckets of the hash of variables: enough for the gates of some hundred sites. nginx uses the smallest size that fits.
_VARIABLES = 65536
# A value of a site behind a TLS-terminating proxy -> its default; the others are empty.
_EDGE_VALUES = {"peer": "0", "signal": "none"}
_EDGE_NAMES = ("peer", "signal", "serial", "issuer_dn", "sha256", "sha256_base64", "sha1")


def http_context(
    sites: Sequence[Mapping[str, Any]],
    plan: Plan,
    *,
    http2_tokens: Iterable[str],
    hash_sizes: Sequence[Mapping[str, Any]] | None,
) -> dict[str, Any]:
    """Return the context of template ``http.conf.j2``.

    :param sites: as :func:`.template_context.describe_site` returns them, none of which is absent.
    :param http2_tokens: the addresses whose ``listen`` switches HTTP/2 on.
    :param hash_sizes: the sizes of hash tables that http sets, as module nginx_info returns them; None if they are not known.
    """
    edges = [site for site in sites if site["edge"]]
    certificates = list(dict.fromkeys(site["edge"]["whole"] for site in edges if site["edge"]["whole"]))
    return {
        "sites": sites,
        "edges": edges,
        "sni_keys": list(_sni_keys(sites)),
        # With a site behind a proxy the verdict of the others is one of two.
        "direct": "$quietdoor_direct_" if edges else "$quietdoor_",
        "edge_sites": list(_edge_sites(edges)),
        "edge_maps": [_edge_map(what, edges) for what in (*_EDGE_NAMES, *certificates)],
        "edge_certificates": [what.replace("_", "-") for what in certificates],
        "usual_hosts": list(_usual_hosts(sites)),
        "owned": [listen.token for listen in plan.owned],
        "http2_by_listen": set(http2_tokens),
        "header_timeout": OF_GATES,
        "variables_hash_max_size": _VARIABLES if _may_set_size(hash_sizes, "variables_hash_max_size") else 0,
    }


def _may_set_size(hash_sizes: Sequence[Mapping[str, Any]] | None, name: str) -> bool:
    """Return whether no file outside the gate sets this size: nginx rejects a second directive."""
    return hash_sizes is not None and not any(
        one["name"] == name and not GATE_FILE.fullmatch(str(one["file"])) for one in hash_sizes
    )


def _ports(site: Mapping[str, Any]) -> list[int]:
    return list(dict.fromkeys(listen["port"] for listen in site["listen"]))


def _sni_keys(sites: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a key for each server name and port: a full handshake (``.``), and the name of the server that answers."""
    for site in sites:
        for port in _ports(site):
            for name in site["server_names"]:
                place = f"{port}:{site['server_names'][0]}:{name}"
                short = len(place) + len(".:") <= _LONGEST_KEY
                yield quote(f".:{place}" if short else "~*^\\.:" + place.replace(".", "\\.") + "\\z")


def _edge_sites(edges: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, str]]:
    for site in edges:
        for port in _ports(site):
            place = f"{port}:{site['server_names'][0]}".replace(".", "\\.")
            yield {"key": quote(f"~^{place}\\z"), "slug": site["slug"]}


def _edge_map(what: str, edges: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the map of one value: for each site the variable that has it."""
    entries = []
    for site in edges:
        edge, own = site["edge"], f"$quietdoor_site_{site['slug']}_edge"
        if what in _EDGE_VALUES or what in edge["said"]:
            variable = f"{own}_{what if what in (*_EDGE_VALUES, 'issuer_dn') else 'whose'}"
            entries.append({"slug": site["slug"], "variable": variable})
        elif what == "sha256" and edge["whole"]:
            entries.append({"slug": site["slug"], "variable": f"$quietdoor_edge_{edge['whole']}_sha256"})
    return {"name": what, "default": _EDGE_VALUES.get(what, '""'), "entries": entries}


def _usual_hosts(sites: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, str]]:
    """Yield each value of the header ``Host`` that is short enough for a key, and the port in it."""
    found: dict[str, str] = {}
    for site in sites:
        for name in site["server_names"]:
            found[name] = ""
            found.update({f"{name}:{listen['port']}": f":{listen['port']}" for listen in site["listen"]})
    for host, port in found.items():
        if len(host) <= _LONGEST_KEY:
            yield {"key": quote(host), "port": port}
