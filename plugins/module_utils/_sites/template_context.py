# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute the data that the templates of a gate need."""

from __future__ import annotations

import html
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .._contracts.gate_manifest import GateManifest, ListenAddress, ManifestSite
from .._contracts.stages import OPEN
from .._contracts.status_protocol import Endpoint
from .access_rules import IDENTITY_HEADERS, larger_than
from .edge import variable
from .fallback_window import before
from .path_patterns import (
    exact_pattern,
    hidden_patterns,
    long_run_pattern,
    odd_pattern,
    raw_prefix_pattern,
    refused_patterns,
    spelled_pattern,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .models import Site


def describe_site(site: Site) -> dict[str, Any]:
    """Return a site as plain data, complete.

    ``contact_html`` is safe inside HTML and contains no dollar sign. ``endpoints`` are the addresses at which the host itself
    reaches the site.
    """
    return {
        "name": site.name,
        "slug": site.slug,
        "stage": site.stage,
        "manage": site.manage,
        "mode": site.mode,
        "comes_again": site.comes_again,
        "server_names": list(site.server_names),
        "listen": [{"address": listen.address, "port": listen.port, "token": listen.token} for listen in site.listen],
        "endpoints": [asdict(endpoint) for endpoint in endpoints_of(site)],
        "handlers": handlers_of(site),
        "paths": [path.path for path in site.paths],
        "path_keys": _path_keys(site),
        "allow": site.allow.as_keys() if site.allow.restricted else {},
        "identity_headers": _identity_headers(site),
        "user": f"{_own(site)}_told_name" if site.stage in OPEN else variable(site.edge, "$quietdoor_name"),
        "window": _window(site),
        "edge": site.edge.as_dict() if site.edge else {},
        "edge_headers": site.edge.header_names() if site.edge else [],
        "visitor": _client_variables(site),
        "auth_request": site.auth_request,
        "hsts": site.hsts,
        "rate_limit": asdict(site.rate_limit) if site.rate_limit else {},
        "revocation": site.revocation,
        "certificate": site.certificate,
        "certificate_key": site.certificate_key,
        "contact": site.contact,
        "contact_html": html.escape(site.contact).replace("$", "&#36;").replace("\\", "&#92;"),
        "client_max_body_size": site.client_max_body_size,
        "larger_body_key": larger_than(site.client_max_body_size) if site.client_max_body_size else "",
        "websocket": site.websocket,
        "rehearsal": site.rehearsal,
        "detects_forgery": site.detects_forgery,
        "dropped_headers": list(site.headers.dropped()),
        "kept_headers": [asdict(header) for header in site.headers.kept],
    }


def manifest_of(sites: Sequence[Site]) -> GateManifest:
    """Return the manifest of a gate for these sites, none of which is absent."""
    endpoints = tuple(endpoint for site in sites for endpoint in endpoints_of(site))
    return GateManifest(tuple(map(_manifest_site, sites)), endpoints)


def endpoints_of(site: Site) -> list[Endpoint]:
    """Return the addresses at which the host itself can request the generation of the site."""
    return [Endpoint(site.name, listen.reachable_at, listen.port, site.server_names[0]) for listen in site.listen]


def handlers_of(site: Site) -> list[dict[str, Any]]:
    """Return the applications of a site, the public part last.

    ``key`` is part of a file name; ``identity`` says whether the application learns who the client is.
    """
    whole = {"path": "/", **site.upstream.as_dict()}
    if site.mode == "host":
        return [{"key": "location" if site.manage == "snippets" else "proxy", "identity": True, **whole}]
    guarded_handlers = [
        {
            "key": f"panel-{number}",
            "identity": True,
            "path": guarded.path,
            "matches": exact_pattern(guarded.path),
            **guarded.upstream.as_dict(),
        }
        for number, guarded in enumerate(site.paths, start=1)
    ]
    return [*guarded_handlers, {"key": "public", "identity": False, **whole}]


def _manifest_site(site: Site) -> ManifestSite:
    by_path = site.mode == "path"
    upstreams = [guarded.upstream for guarded in site.paths] if by_path else [site.upstream]
    in_fallback = site.stage == "fallback"
    return ManifestSite(
        name=site.name,
        stage=site.stage,
        manage=site.manage,
        mode=site.mode,
        server_names=site.server_names,
        listen=tuple(ListenAddress(listen.address, listen.port, listen.token) for listen in site.listen),
        upstreams=tuple(dict.fromkeys(upstream.address for upstream in upstreams)),
        paths=tuple(guarded.path for guarded in site.paths),
        public=site.upstream.address if by_path else "",
        until=site.window.until if in_fallback else None,
        rehearsal=site.rehearsal,
        basic_auth=in_fallback and site.window.basic_auth is not None,
        edge=site.edge is not None,
        accepted_variable_targets=site.accepted_variable_targets,
        client_headers_undecided=site.headers.drop_client is None,
    )


def _own(site: Site) -> str:
    """Return the prefix of the nginx variables of the site."""
    return f"$quietdoor_site_{site.slug}"


def _client_variables(site: Site) -> dict[str, str]:
    """Return the variables that describe the client: those of the certificate, and ``address``."""
    described = {key: variable(site.edge, value) for key, (_header, value) in IDENTITY_HEADERS.items()}
    return {**described, "address": f"{_own(site)}_visitor" if site.edge else "$remote_addr"}


def _identity_headers(site: Site) -> list[dict[str, str]]:
    """Return each identity header with the variable ``value`` that it carries, and the ``source`` of that variable.

    In a stage that lets requests without a valid certificate through, a variable of the site is empty for them: nginx reports the
    subject of a certificate that it does not trust too.
    """
    checked = f"{_own(site)}_told_" if site.stage in OPEN else ""
    found = [(name, key, variable(site.edge, value)) for name, key, value in site.identity_headers]
    return [
        {"name": name, "key": key, "source": source, "value": f"{checked}{key}" if checked else source}
        for name, key, source in found
    ]


def _window(site: Site) -> dict[str, Any]:
    """Return the fallback window; ``before`` is a key for ``map $msec``. Empty in every stage but ``fallback``."""
    if site.stage != "fallback":
        return {}
    return {
        "networks": list(site.window.networks),
        "until": site.window.until,
        "before": before(site.window.until) if site.window.until else "",
        "basic_auth": asdict(site.window.basic_auth) if site.window.basic_auth else {},
    }


def _path_keys(site: Site) -> dict[str, list[str]]:
    """Return keys for maps: ``guarded`` and ``spelled`` on ``$uri``, the others on the path as the client wrote it.

    A path that matches one of ``refused`` is refused, and so is one that matches ``odd`` and one of ``hidden``. With
    path_spelling ``loose`` there are only ``guarded`` and ``refused``.
    """
    paths = [guarded.path for guarded in site.paths]
    strict = bool(paths) and site.path_spelling == "strict"
    raw = [raw_prefix_pattern(path, strict) for path in paths]
    return {
        "guarded": [exact_pattern(path) for path in paths],
        "spelled": [long_run_pattern(), *map(spelled_pattern, paths)] if strict else [],
        "refused": [*refused_patterns(), *raw] if strict else raw,
        "odd": [odd_pattern()] if strict else [],
        "hidden": hidden_patterns(paths) if strict else [],
    }
