# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What role gate renders, for nginx versions that are not here to be run. The real ones are in tests/e2e/test_gate.py."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from ansible_collections.quietdoor.mtls.plugins.filter.gate_sites import gate_sites
from ansible_collections.quietdoor.mtls.plugins.filter.nginx_quote import nginx_quote
from ansible_collections.quietdoor.mtls.plugins.module_utils._ansible import errors
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.config import parse

ROLE = Path(errors.__file__).parents[3] / "roles" / "gate"
VARIABLES = yaml.safe_load((ROLE / "vars" / "main.yml").read_text(encoding="utf-8"))
SITE = {
    "name": "panel",
    "stage": "enforce",
    "server_names": ["panel.example", "alias.example"],
    "listen": ["443", "[::]:443"],
    "upstream": "http://127.0.0.1:3000",
    "certificate": "a",
    "certificate_key": "b",
}


def render(template: str, version: str = "1.22.1", http2: bool = True, **changes: Any) -> str:
    """Render a template as the role does, for an nginx of that version; role trust and the lookups take no part in it."""
    # keep_trailing_newline and trim_blocks as in ansible.builtin.template
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROLE / "templates"),
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["quietdoor.mtls.nginx_quote"] = nginx_quote
    site = gate_sites([{**SITE, **changes}])[0]
    tokens = [listen["token"] for listen in site["listen"]]
    directive = tuple(map(int, version.split("."))) >= (1, 25, 1)
    capabilities = {"http2": http2, "http2_directive": http2 and directive}
    capabilities |= {"ssl_conf_command": True, "ssl_reject_handshake": True}
    values: dict[str, Any] = {
        **VARIABLES,
        "gate__site": site,
        "gate__handler": site["handlers"][0],
        "gate__sites": [site],
        "gate__nginx": {"capabilities": capabilities},
        "gate__default": {"owned": tokens, "http2": tokens},
        "gate_log_format": "json",
        "gate_nginx_log_path": "/var/log/nginx",
    }
    expression = VARIABLES["gate__http2_by_listen"].strip("{} ")
    values["gate__http2_by_listen"] = environment.compile_expression(expression)(**values)
    text = environment.get_template(template).render(**values)
    assert parse(text, template), "it is no nginx configuration"
    return text


@pytest.mark.parametrize("template", ["http.conf.j2", "site.conf.j2"])
@pytest.mark.parametrize(
    ("version", "http2", "by_listen", "by_directive"),
    [
        ("1.18.0", True, 2, 0),
        ("1.25.0", True, 2, 0),
        ("1.25.1", True, 0, 1),
        ("1.26.3", True, 0, 1),
        ("1.26.3", False, 0, 0),
        ("1.22.1", False, 0, 0),
    ],
)
def test_http2_is_written_for_the_nginx_at_hand(
    template: str, version: str, http2: bool, by_listen: int, by_directive: int
) -> None:
    text = render(template, version, http2)
    servers = text.count("server {")
    assert len(re.findall(r"listen \S+ ssl http2", text)) == by_listen
    assert text.count("http2 on;") == by_directive * servers
    assert len(re.findall(r"^    listen \S+ ssl", text, re.MULTILINE)) == 2


def test_every_server_ends_resumption_and_has_the_same_protocols() -> None:
    for template in ("http.conf.j2", "site.conf.j2"):
        text = render(template)
        servers = text.count("server {")
        for line in ("ssl_protocols TLSv1.2 TLSv1.3;", "ssl_session_cache off;", "ssl_session_tickets off;"):
            assert text.count(line) == servers, line


def test_everything_of_ours_is_included_by_a_relative_path() -> None:
    for template in ("http.conf.j2", "site.conf.j2", "proxy.conf.j2"):
        text = render(template)
        assert not re.findall(r"include /|/etc/nginx", text)
    assert "include quietdoor/gate/generation.conf;" in render("http.conf.j2")


def test_names_are_matched_whole() -> None:
    text = render("http.conf.j2")
    keys = re.findall(r'^    "~\*(\^\\\\\.:443:[^"]+)" 1;$', text, re.MULTILINE)
    assert len(keys) == 2, "one for each name, and one port for two addresses"
    patterns = [re.compile(key.replace("\\\\", "\\").replace("\\z", "\\Z"), re.IGNORECASE) for key in keys]

    def made_for_us(text: str) -> bool:
        return any(pattern.search(text) for pattern in patterns)

    assert made_for_us(".:443:panel.example:panel.example")
    assert made_for_us(".:443:panel.example:ALIAS.example")
    for other in (
        ".:443:panel.example:",
        ".:443:panel.example:panelxexample",
        ".:443:panel.example:panel.example.evil",
    ):
        assert not made_for_us(other)
    for other in (
        ".:8443:panel.example:panel.example",
        ".:443:other:panel.example",
        ".:443:panel.example:x.panel.example",
    ):
        assert not made_for_us(other)
    assert not made_for_us("r:443:panel.example:panel.example"), "a resumed session was not made for us"


def test_no_header_is_written_twice() -> None:
    names = [name.lower() for name in re.findall(r"proxy_set_header (\S+)", render("proxy.conf.j2", websocket=True))]
    assert len(names) == len(set(names))


def test_no_token_is_too_long_for_nginx_whatever_the_contact() -> None:
    text = render("site.conf.j2", contact="&" * 200) + render("http.conf.j2")
    assert all(len(token.encode()) <= 4094 for token in re.findall(r'"(?:[^"\\]|\\.)*"', text))


def test_an_upstream_is_checked_against_its_ca_and_only_then() -> None:
    assert "proxy_ssl" not in render("proxy.conf.j2")
    unchecked = render("proxy.conf.j2", upstream="https://app.internal")
    assert 'proxy_ssl_name "app.internal";' in unchecked
    assert "proxy_ssl_verify" not in unchecked
    checked = render("proxy.conf.j2", upstream="https://app.internal", upstream_ca="ca.pem")
    assert "proxy_ssl_verify on;" in checked
    assert 'proxy_ssl_trusted_certificate "ca.pem";' in checked
