# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the filters as Ansible calls them."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.quietdoor.mtls.plugins.filter import (
    gate_sites,
    nginx_quote,
)

SITE = {
    "name": "panel",
    "stage": "enforce",
    "server_names": ["panel.example"],
    "upstream": "http://app",
    "certificate": "a",
    "certificate_key": "b",
}


def test_each_file_holds_the_filter_of_its_name() -> None:
    for module in (gate_sites, nginx_quote):
        assert list(module.FilterModule().filters()) == [module.__name__.rpartition(".")[2]]


def test_nginx_quote() -> None:
    assert nginx_quote.nginx_quote('a "b" \\c;') == '"a \\"b\\" \\\\c;"'


@pytest.mark.parametrize("value", ["$host", "a\nb", "x" * 5000, 7, None])
def test_nginx_quote_refuses_what_nginx_cannot_carry(value: object) -> None:
    with pytest.raises(AnsibleFilterError, match=r"^nginx_quote: "):
        nginx_quote.nginx_quote(value)


def test_gate_sites_completes_and_refuses() -> None:
    assert gate_sites.gate_sites([SITE])[0]["listen"] == [{"address": "*", "port": 443, "token": "443"}]
    with pytest.raises(AnsibleFilterError, match="site panel: stage"):
        gate_sites.gate_sites([{**SITE, "stage": False}])


def test_deadlines_are_judged_only_with_the_manifest_of_the_live_gate() -> None:
    """A revocation lists the endpoints of the gates, and must not fail because a window has closed."""
    site = {**SITE, "stage": "fallback", "window": {"networks": ["192.0.2.0/24"], "until": "2026-01-01T00:00:00Z"}}
    assert gate_sites.gate_sites([site])[0]["window"]["until"] == 1767225600
    with pytest.raises(AnsibleFilterError, match="window: until: 2026-01-01 00:00:00 UTC is in the past"):
        gate_sites.gate_sites([site], {})
    live = {"sites": {site["name"]: {"until": 1767225600}}}
    assert gate_sites.gate_sites([site], live)[0]["window"]["until"] == 1767225600
