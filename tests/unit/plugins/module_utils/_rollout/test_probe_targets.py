# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the probe targets of a host."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._rollout.probe_targets import probe_targets_from


def manifest(**more: Any) -> dict[str, Any]:
    """Return the manifest of a gate with one site."""
    listen = [{"address": "*", "port": 443, "token": "443"}, {"address": "::", "port": 443, "token": "[::]:443"}]
    site = {"stage": "enforce", "server_names": ["panel.example"], "listen": listen, **more}
    return {"format": 1, "sites": {"panel": site}}


def test_one_question_for_each_port() -> None:
    [knock] = probe_targets_from(manifest(), "192.0.2.7", {})
    assert (knock.url, knock.address, knock.server_name) == ("https://panel.example/", "192.0.2.7:443", "panel.example")


def test_one_question_for_each_name_too() -> None:
    """Every name is a target, because its certificate or DNS may differ. Of each site and port one is the first."""
    listen = [{"address": "*", "port": 443}, {"address": "::", "port": 443}, {"address": "*", "port": 8443}]
    found = probe_targets_from(manifest(server_names=["panel.example", "other.example"], listen=listen), "h", {})
    assert [(knock.server_name, knock.url, knock.address, knock.first) for knock in found] == [
        ("panel.example", "https://panel.example/", "h:443", True),
        ("other.example", "https://other.example/", "h:443", False),
        ("panel.example", "https://panel.example:8443/", "h:8443", True),
        ("other.example", "https://other.example:8443/", "h:8443", False),
    ]


@pytest.mark.parametrize(
    ("listen", "address", "ports", "url", "asked"),
    [
        ("*", "", {}, "https://panel.example:8443/", "127.0.0.1:8443"),
        ("::", "", {}, "https://panel.example:8443/", "[::1]:8443"),
        ("127.0.0.9", "", {}, "https://panel.example:8443/", "127.0.0.9:8443"),
        ("*", "2001:db8::7", {}, "https://panel.example:8443/", "[2001:db8::7]:8443"),
        ("*", "[2001:db8::7]", {}, "https://panel.example:8443/", "[2001:db8::7]:8443"),
        ("*", "127.0.0.1", {"8443": "33001"}, "https://panel.example:8443/", "127.0.0.1:33001"),
    ],
)
def test_addresses(listen: str, address: str, ports: dict[str, Any], url: str, asked: str) -> None:
    [knock] = probe_targets_from(manifest(listen=[{"address": listen, "port": 8443}]), address, ports)
    assert (knock.url, knock.address) == (url, asked)


def test_every_guarded_path_is_asked_for() -> None:
    names = ["panel.example", "other.example"]
    found = probe_targets_from(manifest(server_names=names, paths=["/admin", "/x"], side_door=True, edge=True), "h", {})
    assert [(knock.url, knock.first) for knock in found] == [
        ("https://panel.example/admin/", True),
        ("https://panel.example/x/", False),
        ("https://other.example/admin/", False),
        ("https://other.example/x/", False),
    ]
    for knock in found:
        assert (knock.guarded_paths, knock.side_door, knock.edge) == (("/admin/", "/x/"), True, True)


def test_nothing_is_asked_where_no_gate_is() -> None:
    assert probe_targets_from({}, "", {}) == ()
    assert probe_targets_from(manifest(), "", {}, skip=["panel"]) == ()


@pytest.mark.parametrize(
    "strange",
    [
        {"format": 1},
        {"sites": []},
        {"sites": {"panel": {}}},
        {"sites": {"panel": None}},
        manifest(server_names=[]),
        manifest(server_names="panel.example"),
        manifest(listen=[]),
    ],
)
def test_a_strange_manifest(strange: object) -> None:
    with pytest.raises(MtlsError, match="does not contain the stage and addresses"):
        probe_targets_from(strange, "", {})
