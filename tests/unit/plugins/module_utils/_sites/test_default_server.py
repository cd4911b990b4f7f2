# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test for which addresses the gate owns the default server, and which servers conflict."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.default_server import (
    Plan,
    existing_servers_from,
    plan_default_servers,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.parser import parse_sites


def listen(**changes: Any) -> dict[str, Any]:
    """Return one entry of nginx_info's listens."""
    return {
        "address": "*",
        "port": 443,
        "ssl": True,
        "http2": False,
        "default_server": False,
        "udp": False,
        "protocol": "http",
        "server_names": ["other.example"],
        "file": "/etc/nginx/sites-enabled/other",
        "line": 3,
        **changes,
    }


def plan(
    listens: list[dict[str, Any]] | None, policy: str = "auto", can_reject: bool = True, stage: str = "enforce"
) -> Plan:
    """Return the plan for one site on 443 and [::]:443."""
    sites = parse_sites(
        [
            {
                "name": "panel",
                "stage": stage,
                "server_names": ["panel.example"],
                "upstream": "http://app",
                "certificate": "a",
                "certificate_key": "b",
                "listen": ["443", "[::]:443"],
            }
        ]
    )
    neighbours = None if listens is None else existing_servers_from(listens)
    return plan_default_servers(sites, neighbours, policy, can_reject=can_reject)


def owned(result: Plan) -> list[str]:
    """Return the addresses whose default server the gate owns."""
    return [one.token for one in result.owned]


def test_auto_takes_a_free_default_server() -> None:
    result = plan([])
    assert owned(result) == ["443", "[::]:443"]
    assert result.reasons[0] == "443: the gate owns the default server and rejects unknown names"


@pytest.mark.parametrize("said", [True, False])
def test_auto_leaves_a_default_server_that_may_exist(said: bool) -> None:
    result = plan([listen(default_server=said)])
    assert owned(result) == ["[::]:443"]
    assert "/etc/nginx/sites-enabled/other:3" in result.reasons[0]


@pytest.mark.parametrize(
    "irrelevant",
    [
        {"port": 8443},
        {"address": "127.0.0.1"},
        {"protocol": "stream"},
        {"udp": True},
        {"address": "unix:/run/x", "port": None},
        {"file": "/srv/nginx/quietdoor/gate/http.conf", "default_server": True},
        {"file": "/srv/nginx/quietdoor/gate/sites/panel.conf", "server_names": ["panel.example"]},
    ],
)
def test_other_addresses_and_own_sites_do_not_count(irrelevant: dict[str, Any]) -> None:
    assert owned(plan([listen(**irrelevant)])) == ["443", "[::]:443"]


def test_never_takes_nothing() -> None:
    assert owned(plan([], "never")) == []


def test_always_takes_it_from_an_implicit_default_server() -> None:
    assert owned(plan([listen()], "always")) == ["443", "[::]:443"]


@pytest.mark.parametrize(("listens", "can_reject"), [([listen(default_server=True)], True), ([], False)])
def test_always_fails_where_it_cannot_be_had(listens: list[dict[str, Any]], can_reject: bool) -> None:
    with pytest.raises(MtlsError, match="gate_default_server: always is not possible on 443"):
        plan(listens, "always", can_reject)


def test_an_old_nginx_owns_nothing() -> None:
    result = plan([], can_reject=False)
    assert owned(result) == []
    assert "1.19.4" in result.reasons[0]


def test_a_configuration_that_nginx_refuses_tells_nothing_about_neighbours() -> None:
    assert owned(plan(None)) == []
    assert owned(plan(None, "always")) == ["443", "[::]:443"]


def test_http2_of_an_address_is_not_switched_on_for_others() -> None:
    assert [one.token for one in plan([listen()]).http2] == ["[::]:443"]
    assert [one.token for one in plan([listen(http2=True)]).http2] == ["443", "[::]:443"]


def test_plain_http_and_tls_cannot_share_an_address() -> None:
    with pytest.raises(MtlsError, match="site panel: listen: /etc/nginx/sites-enabled/other:3 serves 443 without TLS"):
        plan([listen(ssl=False)])


def test_a_name_has_one_server() -> None:
    with pytest.raises(MtlsError, match=r"site panel: server_names: .*/other:3 serves panel.example on 443 already"):
        plan([listen(server_names=["x.example", "PANEL.example"])])


def test_absent_sites_want_nothing() -> None:
    assert plan([listen(ssl=False, server_names=["panel.example"])], stage="absent") == Plan((), (), ())
