# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which timeout for request headers is found in a configuration."""

from __future__ import annotations

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.config_model import read_dump
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.request_timeouts import parse_time, request_timeouts

CONF = "/etc/nginx/nginx.conf"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("60", 60),
        ("60s", 60),
        ("1m30s", 90),
        ("1m 30s", 90),
        ("500ms", 0.5),
        ("2h", 7200),
        ("1d", 86400),
        ("1M", 30 * 86400),
        ("1y", 365 * 86400),
        ("0", 0),
        ("", 0),
        ("soon", float("inf")),
        ("5x", float("inf")),
        ("-1", float("inf")),
        ("5s,", float("inf")),
    ],
)
def test_times_are_read_as_nginx_reads_them(text: str, seconds: float) -> None:
    assert parse_time(text) == pytest.approx(seconds)


def found(http: str, version: tuple[int, ...] = (1, 22, 1)) -> list[tuple[str, float, int, bool]]:
    text = f"events {{ }}\nhttp {{\n{http}\n}}\n"
    configuration = read_dump(f"# configuration file {CONF}:\n{text}\n")
    timeouts = request_timeouts(configuration, {443}, version)
    return [(one.directive, one.seconds, one.line, one.is_set) for one in timeouts]


def test_each_server_on_a_port_of_a_gate_counts() -> None:
    servers = [
        "server { listen 443 ssl; client_header_timeout 20s; }",
        "server { listen 10.0.0.1:443 ssl default_server; client_header_timeout 2m; }",
        "server { listen 8443 ssl; client_header_timeout 1h; }",
        "server { listen 443 quic; client_header_timeout 1h; }",
    ]
    assert found("\n".join(servers)) == [
        ("client_header_timeout", 20, 3, True),
        ("client_header_timeout", 120, 4, True),
    ]


def test_value_is_inherited_from_http_and_else_the_default_of_nginx() -> None:
    server = "server { listen 443 ssl; }"
    assert found(server) == [("client_header_timeout", 60, 3, False)]
    assert found(f"client_header_timeout 45s;\n{server}") == [("client_header_timeout", 45, 3, True)]
    assert found(f"{server}\nclient_header_timeout 45s;") == [("client_header_timeout", 45, 4, True)]


def test_http2_of_an_old_nginx_has_a_timeout_of_its_own() -> None:
    server = "server { listen 443 ssl http2; client_header_timeout 20s; }"
    assert found(server, (1, 18, 0)) == [
        ("client_header_timeout", 20, 3, True),
        ("http2_recv_timeout", 30, 3, False),
    ]
    assert found(f"http2_recv_timeout 5s;\n{server}", (1, 18, 0)) == [
        ("client_header_timeout", 20, 4, True),
        ("http2_recv_timeout", 5, 3, True),
    ]
