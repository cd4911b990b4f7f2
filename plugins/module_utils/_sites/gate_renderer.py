# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render the files of a gate from its sites, without Ansible."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._common.errors import MtlsError
from .._contracts.log_format import LOG_FORMATS
from .._contracts.paths import HTTP, MANIFEST, SERVER_SNIPPET, site_file, snippet_file
from .._nginx.quoting import quote
from .default_server import POLICIES, existing_servers_from, plan_default_servers
from .http_context import http_context
from .shared_upstreams import shared_upstreams
from .site_context import site_context
from .template_context import describe_site, manifest_of
from .upstream_context import decision_context, location_context, reproxy_context, upstream_context

try:
    import jinja2
except ImportError:  # only the control node renders, where ansible-core requires it
    pass

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .default_server import Plan
    from .models import Site

TEMPLATES = os.path.join(os.path.dirname(os.path.abspath(__file__)), *[os.pardir] * 3, "roles", "gate", "templates")


@dataclass(frozen=True)
class GateSettings:
    """Settings for all sites of a host.

    :param log_path: the directory of the access logs.
    :param log_format: ``json`` or ``combined``.
    :param default_server: ``auto``, ``always`` or ``never``.
    """

    log_path: str
    log_format: str = "json"
    default_server: str = "auto"


@dataclass(frozen=True)
class RenderedGate:
    """The files of a gate, and the decisions behind them.

    :param candidate: path relative to ``quietdoor/gate/`` -> text; empty without a site.
    :param default_servers: the addresses for which the gate owns the default server, and the reasons.
    :param bypasses: one sentence for each application behind a guarded path that a public part reaches as well.
    """

    sites: tuple[Site, ...]
    candidate: dict[str, str]
    default_servers: Plan
    bypasses: tuple[str, ...]


def render_gate(sites: Sequence[Site], nginx: Mapping[str, Any], settings: GateSettings) -> RenderedGate:
    """Return the files of a gate for these sites, without the absent ones.

    :param sites: with fallback windows that :func:`.parser.settle_windows` checked.
    :param nginx: the result of module nginx_info.
    :raises MtlsError: if the sites conflict with existing servers, or a setting is not valid.
    """
    _check_settings(settings)
    present = tuple(site for site in sites if site.stage != "absent")
    plan = plan_default_servers(
        present,
        None if nginx["configuration_error"] else existing_servers_from(nginx["listens"]),
        settings.default_server,
        can_reject=bool(nginx["capabilities"]["ssl_reject_handshake"]),
    )
    candidate = dict(_render_files(present, nginx, settings, plan)) if present else {}
    return RenderedGate(present, candidate, plan, shared_upstreams(sites))


@functools.cache
def template_environment() -> jinja2.Environment:
    """Return the environment of the templates; a name that is not defined is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["nginx_quote"] = quote
    return environment


def _check_settings(settings: GateSettings) -> None:
    for name, value, known in (
        ("gate_default_server", settings.default_server, POLICIES),
        ("gate_log_format", settings.log_format, LOG_FORMATS),
    ):
        if value not in known:
            raise MtlsError(f"{name}: {value!r} is unknown", f"Write one of: {', '.join(known)}")


def _render_files(
    sites: Sequence[Site], nginx: Mapping[str, Any], settings: GateSettings, plan: Plan
) -> Iterator[tuple[str, str]]:
    """Yield path and text of each file."""
    capabilities = nginx["capabilities"]
    described = [describe_site(site) for site in sites]
    # Before 1.25.1 HTTP/2 belongs to an address, since then to a server.
    by_listen = capabilities["http2"] and not capabilities["http2_directive"]
    http2_tokens = [listen.token for listen in plan.http2] if by_listen else []
    environment = template_environment()

    def render(template: str, **more: Any) -> str:
        return environment.get_template(f"{template}.conf.j2").render(capabilities=capabilities, **more)

    sizes = None if nginx["configuration_error"] else nginx["hash_sizes"]
    yield HTTP, render("http", **http_context(described, plan, http2_tokens=http2_tokens, hash_sizes=sizes))
    yield MANIFEST, manifest_of(sites).render()
    for one, site in zip(sites, described):
        name, snippets = site["name"], site["manage"] == "snippets"
        for part, path in _site_files(one):
            context = site_context(
                one,
                part,
                log_path=settings.log_path,
                log_format=settings.log_format,
                http2_tokens=http2_tokens,
            )
            yield path, render("site", **context)
        if site["comes_again"]:
            yield (
                snippet_file(name, "again"),
                render("upstream/reproxy", **reproxy_context(site, settings.log_path)),
            )
        for handler in site["handlers"]:
            if snippets:
                text = render("upstream/location", **location_context(site, handler))
            else:
                text = render(f"upstream/{handler['kind']}", **upstream_context(site, handler))
            yield snippet_file(name, handler["key"]), text
        if site["auth_request"]:
            yield snippet_file(name, "decision"), render("upstream/decision_service", **decision_context(site))


def _site_files(site: Site) -> list[tuple[str, str]]:
    """Return part and path of each file that template site.conf.j2 renders."""
    path = site_file(site.name)
    if site.manage == "vhost":
        return [("whole", path)]
    return [("http", path), ("server", snippet_file(site.name, SERVER_SNIPPET))]
