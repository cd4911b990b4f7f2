# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute the data of the templates of applications and decision services."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._contracts.identity_headers import without

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# The decision service gets these from the gate, so they are not blanked.
_DECISION_HEADERS = ("X-Original-Method", "X-Original-URI", "X-Original-Host")
_PUBLIC_REFUSED = '!~ "^(?:public|cert)\\z"'
_VISITOR = "X-Quietdoor-Visitor"


def upstream_context(site: Mapping[str, Any], handler: Mapping[str, Any]) -> dict[str, Any]:
    """Return the context of the template of one application, in a server of the gate.

    :param site: as :func:`.template_context.describe_site` returns it.
    :param handler: one of its handlers.
    """
    identity = handler["identity"]
    is_cgi = handler["kind"] == "fastcgi"
    headers = [(header["name"], header["value"] if identity else '""') for header in site["identity_headers"]]
    return {
        "site": site,
        "handler": handler,
        "headers": _header_entries(headers, is_cgi=is_cgi),
        "blanked": _blanked_headers(site, is_cgi=is_cgi),
        "remote_user": site["user"] if identity else '""',
        "document_root": handler["script"].rpartition("/")[0] or "/",
        "basic_auth": site["window"].get("basic_auth", {}),
    }


def location_context(site: Mapping[str, Any], handler: Mapping[str, Any]) -> dict[str, Any]:
    """Return the context of the snippet for locations of the operator's server.

    :param site: as :func:`.template_context.describe_site` returns it.
    :param handler: one of its handlers.
    """
    by_path = site["mode"] == "path"
    public = by_path and not handler["identity"]
    handlers = site["handlers"] if public else [handler]
    kinds = dict.fromkeys(one["kind"] for one in handlers if one["kind"] != "static")
    return {
        "site": site,
        "handler": handler,
        "own": (own := f"$quietdoor_site_{site['slug']}"),
        "by_path": by_path,
        "public": public,
        "refused": f"{own}_verdict_now {_PUBLIC_REFUSED if public else '!= cert'}",
        "question": "public" if public else "verdict",
        "modules": [_module(site, kind, own if public else "") for kind in kinds],
    }


def decision_context(site: Mapping[str, Any]) -> dict[str, Any]:
    """Return the context of the template of a decision service.

    :param site: as :func:`.template_context.describe_site` returns it.
    """
    headers = [(header["name"], header["value"]) for header in site["identity_headers"]]
    return {
        "site": site,
        "headers": _header_entries(headers),
        "blanked": _blanked_headers(site, used=_DECISION_HEADERS),
    }


def reproxy_context(site: Mapping[str, Any], log_path: str) -> dict[str, Any]:
    """Return the context of the template of the second, internal request of a client with an invalid certificate.

    :param site: as :func:`.template_context.describe_site` returns it.
    :param log_path: the directory of the access logs.
    """
    here = site["endpoints"][0]
    address = f"[{here['address']}]" if ":" in here["address"] else here["address"]
    return {
        "site": site,
        "access_log": f"{log_path}/quietdoor-{site['name']}.log",
        "url": f"https://{address}:{here['port']}",
    }


def _module(site: Mapping[str, Any], kind: str, public_of: str) -> dict[str, Any]:
    """Return the lines of one nginx module; ``public_of`` is the prefix of the site's variables where its part is public."""
    is_cgi = kind == "fastcgi"
    values = [
        (header["name"], f"{public_of}_identity_{number}" if public_of else header["value"])
        for number, header in enumerate(site["identity_headers"], start=1)
    ]
    more = [_VISITOR] if site["comes_again"] else []
    return {
        "name": kind,
        "directive": "fastcgi_param" if is_cgi else f"{kind}_set_header",
        "remote_user": site["user"] if is_cgi and not public_of else "",
        "headers": _header_entries(values, is_cgi=is_cgi),
        "blanked": _blanked_headers(site, more, is_cgi=is_cgi),
    }


def _header_entries(headers: Iterable[tuple[str, str]], *, is_cgi: bool = False) -> list[dict[str, str]]:
    return [{"name": _cgi_parameter(name) if is_cgi else name, "value": value} for name, value in headers]


def _blanked_headers(
    site: Mapping[str, Any], more: Iterable[str] = (), *, used: Iterable[str] = (), is_cgi: bool = False
) -> list[str]:
    """Return the headers that no application gets, without those that the site itself uses."""
    own = [header["name"] for header in site["identity_headers"]]
    names = without([*site["dropped_headers"], *site["edge_headers"], *more], [*own, *used])
    return [_cgi_parameter(name) if is_cgi else name for name in names]


def _cgi_parameter(name: str) -> str:
    """Return the CGI parameter of a header (RFC 3875 section 4.1.18)."""
    return f"HTTP_{name.upper().replace('-', '_')}"
