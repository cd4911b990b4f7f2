# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the capabilities that a gate requires of nginx."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.models import Site
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.nginx_requirements import (
    needed_capabilities,
    require_capabilities,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.parser import parse_sites

ALWAYS = {"ssl", "tls13", "auth_request", "realip", "regex"}


def sites(**changes: Any) -> tuple[Site, ...]:
    """Return one site."""
    site = {"name": "panel", "stage": "enforce", "server_names": ["panel.example"], "upstream": "http://127.0.0.1:3000"}
    return parse_sites([{**site, "certificate": "a", "certificate_key": "b", **changes}])


@pytest.mark.parametrize(
    ("changes", "more"),
    [
        ({}, set()),
        ({"rate_limit": {"rate": "1r/s"}}, {"limit_req"}),
        ({"upstream": "grpc://127.0.0.1:50051"}, {"http2"}),
        ({"mode": "path", "paths": [{"path": "/a", "upstream": "grpc://127.0.0.1:50051"}]}, {"http2"}),
    ],
)
def test_a_module_is_needed_where_a_site_uses_it(changes: dict[str, Any], more: set[str]) -> None:
    assert set(needed_capabilities(sites(**changes))) == ALWAYS | more


def test_every_module_that_is_missing_is_named() -> None:
    present = dict.fromkeys(ALWAYS, True)
    require_capabilities(sites(), "nginx", "1.22.1", present)
    with pytest.raises(
        MtlsError, match=r"The nginx /opt/nginx \(1\.18\.0\) cannot serve a gate\. .* without realip, limit_req\."
    ):
        require_capabilities(
            sites(rate_limit={"rate": "1r/s"}), "/opt/nginx", "1.18.0", {**present, "realip": False, "limit_req": False}
        )
