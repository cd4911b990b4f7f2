# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the addresses that the proof of a revocation connects to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks import revocation_proof as subject

if TYPE_CHECKING:
    from pathlib import Path

ENDPOINTS = [{"site": "app", "address": "*", "port": port, "server_name": "app.test"} for port in (443, 8443)]


def about(**host: Any) -> subject.ProofReport:
    """Return the proof report for one web host without any certificate."""
    return subject.ProofReport([], [{"name": "web1", "endpoints": ENDPOINTS, **host}], 1.0)


@pytest.mark.parametrize(
    ("host", "connected"),
    [
        ({}, [("127.0.0.1", 443), ("127.0.0.1", 8443)]),
        ({"ports": {}}, [("127.0.0.1", 443), ("127.0.0.1", 8443)]),
        ({"address": "127.0.0.7", "ports": {"443": 10443}}, [("127.0.0.7", 10443), ("127.0.0.7", 8443)]),
        ({"ports": {8443: "18443"}}, [("127.0.0.1", 443), ("127.0.0.1", 18443)]),
        ({"address": "127.0.0.7:9443", "ports": {"443": 10443}}, [("127.0.0.7", 9443)] * 2),
    ],
)
def test_ports_are_translated_as_for_a_rollout(host: dict[str, Any], connected: list[tuple[str, int]]) -> None:
    endpoints = about(**host)._endpoints
    assert [(endpoint.target.address, endpoint.target.port) for endpoint in endpoints] == connected
    assert [endpoint.port for endpoint in endpoints] == [443, 8443]


@pytest.mark.parametrize("port", ["https", 0, 65536, [1]])
def test_port_that_is_not_one_is_named_and_nothing_is_proven(tmp_path: Path, port: object) -> None:
    (tmp_path / "trust.json").write_text(json.dumps({"generation": 7}))
    result = about(ports={"443": port}).judge(str(tmp_path), {})
    assert result["unproven"] == ["web1"]
    assert f"ports: {str(port)!r} for port 443 is not a TCP port" in result["failures"][0]
    assert "rollout_probe_ports" in result["failures"][0]
