# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the files of a gate, and the decisions behind them."""

from __future__ import annotations

import json
from typing import Any

import jinja2
import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.gate_renderer import (
    GateSettings,
    RenderedGate,
    render_gate,
    template_environment,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.parser import parse_sites

SITE = {
    "name": "panel",
    "stage": "enforce",
    "server_names": ["panel.example"],
    "upstream": "http://127.0.0.1:3000",
    "certificate": "a",
    "certificate_key": "b",
}
WHOLE = {key: value for key, value in SITE.items() if not key.startswith("certificate")}
CAPABILITIES = {"http2": True, "http2_directive": False, "ssl_conf_command": True, "ssl_reject_handshake": True}
NGINX = {"configuration_error": None, "listens": [], "hash_sizes": [], "capabilities": CAPABILITIES}
SETTINGS = GateSettings("/var/log/nginx")


def render(*sites: dict[str, Any], settings: GateSettings = SETTINGS, **nginx: Any) -> RenderedGate:
    """Return the gate for these sites."""
    return render_gate(parse_sites(list(sites)), {**NGINX, **nginx}, settings)


def test_a_host_without_a_site_has_no_files() -> None:
    gate = render({**SITE, "stage": "absent"})
    assert (gate.sites, gate.candidate, gate.bypasses) == ((), {}, ())


@pytest.mark.parametrize(
    ("site", "names"),
    [
        (SITE, ["panel-proxy"]),
        ({**SITE, "auth_request": "http://127.0.0.1:9000"}, ["panel-decision", "panel-proxy"]),
        ({**SITE, "mode": "path", "paths": ["/a", "/b"]}, ["panel-panel-1", "panel-panel-2", "panel-public"]),
        ({**WHOLE, "manage": "snippets"}, ["panel-location", "panel-server"]),
        ({**WHOLE, "manage": "snippets", "stage": "observe"}, ["panel-again", "panel-location", "panel-server"]),
        (
            {**WHOLE, "manage": "snippets", "mode": "path", "paths": ["/a"]},
            ["panel-again", "panel-panel-1", "panel-public", "panel-server"],
        ),
    ],
)
def test_each_kind_of_site_has_its_snippets(site: dict[str, Any], names: list[str]) -> None:
    candidate = render(site).candidate
    assert sorted(candidate) == sorted(
        ["http.conf", "manifest.json", "sites/panel.conf", *(f"snippets/{name}.conf" for name in names)]
    )
    assert all(text.endswith("\n") and not text.endswith("\n\n\n") for text in candidate.values())


def test_a_rehearsal_is_a_site_of_its_own_and_an_absent_site_has_no_part_in_it() -> None:
    gate = render({**SITE, "stage": "absent", "staging_listen": ["8443"]})
    assert [site.name for site in gate.sites] == ["panel-staging"]
    assert list(json.loads(gate.candidate["manifest.json"])["sites"]) == ["panel-staging"]
    assert "sites/panel.conf" not in gate.candidate


def test_the_default_server_is_decided_for_the_nginx_at_hand() -> None:
    assert [listen.token for listen in render(SITE).default_servers.owned] == ["443"]
    assert "default_server;" in render(SITE).candidate["http.conf"]
    unknown = render(SITE, configuration_error="unknown directive")
    assert unknown.default_servers.owned == ()
    assert "default_server;" not in unknown.candidate["http.conf"]
    old = {**CAPABILITIES, "ssl_reject_handshake": False}
    with pytest.raises(MtlsError, match="gate_default_server: always is not possible on 443"):
        render(SITE, capabilities=old, settings=GateSettings("/var/log/nginx", default_server="always"))


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (GateSettings("/x", default_server="sometimes"), "gate_default_server: 'sometimes'"),
        (GateSettings("/x", log_format="xml"), "gate_log_format: 'xml'"),
    ],
)
def test_a_setting_that_is_not_known_is_refused(settings: GateSettings, name: str) -> None:
    with pytest.raises(MtlsError, match=f"^{name} is unknown"):
        render(SITE, settings=settings)


def test_an_application_that_a_public_part_reaches_as_well_is_named() -> None:
    [sentence] = render({**SITE, "mode": "path", "paths": ["/admin"]}).bypasses
    assert sentence.startswith("site panel: /admin and the public part have the same upstream http://127.0.0.1:3000")


def test_the_logs_are_where_the_settings_say() -> None:
    text = render(SITE, settings=GateSettings('/srv/my "logs"', "combined")).candidate["sites/panel.conf"]
    assert 'access_log "/srv/my \\"logs\\"/quietdoor-panel.log" quietdoor_panel;' in text
    assert "escape=json" not in text


def test_a_name_that_the_context_does_not_have_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError):
        template_environment().get_template("upstream/static.conf.j2").render()


@pytest.mark.parametrize(
    ("sizes", "error", "sets"),
    [
        ([], None, True),
        ([{"name": "map_hash_max_size", "file": "/etc/nginx/nginx.conf"}], None, True),
        ([{"name": "variables_hash_max_size", "file": "/etc/nginx/quietdoor/gate/http.conf"}], None, True),
        ([{"name": "variables_hash_max_size", "file": "/etc/nginx/nginx.conf"}], None, False),
        ([], "nginx refuses the configuration", False),
    ],
)
def test_gate_sets_the_hash_of_variables_unless_another_file_does(
    sizes: list[Any], error: str | None, sets: bool
) -> None:
    text = render(SITE, hash_sizes=sizes, configuration_error=error).candidate["http.conf"]
    assert ("\nvariables_hash_max_size 65536;\n" in text) == sets
