# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test how the manifest of a gate is written and read."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._contracts.gate_manifest import (
    GateManifest,
    ListenAddress,
    ManifestSite,
    deadlines_of,
    manifest_endpoints,
    manifest_from,
    protected_sites,
    read_manifest,
    with_targets_of,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._contracts.status_protocol import Endpoint

DEADLINE = 1893456000
SITES = (
    ManifestSite(
        name="panel",
        stage="fallback",
        server_names=("panel.example", "alias.example"),
        listen=(ListenAddress("*", 443, "443"), ListenAddress("::", 443, "[::]:443")),
        upstreams=("http://127.0.0.1:3000",),
        until=DEADLINE,
        basic_auth=True,
    ),
    ManifestSite(
        name="shop",
        stage="enforce",
        manage="snippets",
        mode="path",
        server_names=("shop.example",),
        listen=(ListenAddress("192.0.2.1", 8443, "192.0.2.1:8443"),),
        upstreams=("http://a", "unix:/run/b"),
        paths=("/admin",),
        public="http://c",
        rehearsal=True,
        edge=True,
        accepted_variable_targets=("proxy_pass http://$backend",),
    ),
)
MANIFEST = GateManifest(SITES, (Endpoint("panel", "127.0.0.1", 443, "panel.example"),))


def test_a_manifest_that_is_written_is_read_as_it_was() -> None:
    text = MANIFEST.render()
    assert read_manifest(text).sites == SITES
    assert manifest_endpoints(text) == MANIFEST.endpoints
    assert deadlines_of(json.loads(text)) == {"panel": DEADLINE}


def test_the_audit_gets_to_know_which_window_has_basic_auth() -> None:
    assert [site.basic_auth for site in protected_sites(MANIFEST.render())] == [True, False]


def test_a_restored_generation_accepts_the_variable_targets_of_the_live_one() -> None:
    sites = protected_sites(MANIFEST.render())
    live = [
        replace(site, accepted_variable_targets=("grpc_pass $a", "proxy_pass http://$backend")) for site in SITES[1:]
    ]
    merged = with_targets_of(sites, GateManifest(tuple(live)).render())
    assert [site.accepted_variable_targets for site in merged] == [(), ("proxy_pass http://$backend", "grpc_pass $a")]
    assert with_targets_of(sites, "") == with_targets_of(sites, "[") == sites


def test_the_bytes_of_a_manifest_are_those_of_earlier_releases() -> None:
    site = ManifestSite(
        "panel",
        "enforce",
        server_names=("panel.example",),
        listen=(ListenAddress("*", 443, "443"),),
        upstreams=("http://h",),
    )
    assert GateManifest((site,), (Endpoint("panel", "127.0.0.1", 443, "panel.example"),)).render() == (
        "{\n"
        '  "endpoints": [\n'
        "    {\n"
        '      "address": "127.0.0.1",\n'
        '      "port": 443,\n'
        '      "server_name": "panel.example",\n'
        '      "site": "panel"\n'
        "    }\n"
        "  ],\n"
        '  "format": 1,\n'
        '  "sites": {\n'
        '    "panel": {\n'
        '      "listen": [\n'
        "        {\n"
        '          "address": "*",\n'
        '          "port": 443,\n'
        '          "token": "443"\n'
        "        }\n"
        "      ],\n"
        '      "manage": "vhost",\n'
        '      "mode": "host",\n'
        '      "server_names": [\n'
        '        "panel.example"\n'
        "      ],\n"
        '      "stage": "enforce",\n'
        '      "upstreams": [\n'
        '        "http://h"\n'
        "      ]\n"
        "    }\n"
        "  }\n"
        "}\n"
    )


def test_keys_that_are_missing_have_defaults_and_unknown_ones_are_ignored() -> None:
    [site] = manifest_from({"format": 1, "later": [], "sites": {"panel": {"stage": "enforce", "later": 1}}}).sites
    assert site == ManifestSite("panel", "enforce")
    assert manifest_from({}) == GateManifest(())


@pytest.mark.parametrize(
    "site", [[], None, "enforce", {"stage": []}, {"listen": 1}, {"listen": [{}]}, {"listen": [7]}, {"paths": "/a"}]
)
def test_sites_that_cannot_be_read_are_left_out_and_counted(site: Any) -> None:
    found = manifest_from({"sites": {"a": site, "b": {"stage": "enforce"}}})
    assert (found.sites, found.damaged) == ((ManifestSite("b", "enforce"),), True)
    with pytest.raises(MtlsError, match=r"manifest\.json: the list of sites is not valid"):
        found.checked()


@pytest.mark.parametrize("text", ["", "x", "[]", '"x"', "null", '{"sites": []}'])
def test_text_that_is_not_a_manifest_is_damaged(text: str) -> None:
    assert read_manifest(text) == GateManifest((), damaged=True)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2, "endpoints": []}', '{"format": 1}'])
def test_endpoints_are_read_from_this_format_only(text: str) -> None:
    with pytest.raises(MtlsError, match=r"manifest\.json is not a list of endpoints"):
        manifest_endpoints(text)


def test_a_deadline_that_is_not_one_is_left_out() -> None:
    good = {
        "sites": {"a": {"until": DEADLINE}, "b": {"until": "x"}, "c": [], "d": {"until": 5}, "e": {}, "f": {"until": 1}}
    }
    assert deadlines_of(good) == {"a": DEADLINE}
    for bad in (None, [], {}, {"sites": []}, "x"):
        assert deadlines_of(bad) == {}
