# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check that an nginx has the modules that a gate needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._common.errors import MtlsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .models import Site

_ALWAYS = ("ssl", "tls13", "auth_request", "realip", "regex")


def needed_capabilities(sites: Sequence[Site]) -> tuple[str, ...]:
    """Return the capabilities, as module nginx_info names them, that a gate for these sites needs."""
    upstreams = [upstream for site in sites for upstream in (site.upstream, *(path.upstream for path in site.paths))]
    limited = ("limit_req",) if any(site.rate_limit for site in sites) else ()
    grpc = ("http2",) if any(upstream.kind == "grpc" for upstream in upstreams) else ()
    return (*_ALWAYS, *limited, *grpc)


def require_capabilities(sites: Sequence[Site], binary: str, version: str, capabilities: Mapping[str, object]) -> None:
    """Check that nginx can serve a gate for these sites.

    :param binary: the command of nginx, for the error.
    :raises MtlsError: if it was built without a module that the gate needs.
    """
    missing = [one for one in needed_capabilities(sites) if not capabilities.get(one)]
    if missing:
        raise MtlsError(
            f"The nginx {binary} ({version}) cannot serve a gate. It was built without {', '.join(missing)}",
            "Install the package nginx of your distribution, or build nginx with http_ssl_module, http_auth_request_module, "
            "http_realip_module, http_limit_req_module and http_v2_module where sites have a rate limit or gRPC, PCRE, and "
            "OpenSSL 1.1.1 or newer",
        )
