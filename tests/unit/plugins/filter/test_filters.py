# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters as Ansible calls them; what they compute is tested with module_utils."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.quietdoor.mtls.plugins.filter import (
    gate_default_servers,
    gate_digests,
    gate_knocks,
    gate_moves,
    gate_readiness,
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
SERIALS = {"alex": "0A", "bea": "0B", "door-probe": "0C"}
PEOPLE = [{"name": name, "email": [], "roles": [], "serials": [serial]} for name, serial in SERIALS.items()]
NGINX = {"configuration_error": None, "listens": [], "capabilities": {"ssl_reject_handshake": True}}


def test_each_file_holds_the_filter_of_its_name() -> None:
    for module in (gate_default_servers, gate_sites, nginx_quote):
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


def test_gate_default_servers_decides_and_refuses() -> None:
    decided = gate_default_servers.gate_default_servers([SITE], NGINX)
    assert (decided["owned"], decided["http2"], len(decided["reasons"])) == (["443"], ["443"], 1)
    unknown = {**NGINX, "configuration_error": "unknown directive"}
    assert gate_default_servers.gate_default_servers([SITE], unknown)["owned"] == []
    with pytest.raises(AnsibleFilterError, match="'sometimes' is unknown"):
        gate_default_servers.gate_default_servers([SITE], NGINX, "sometimes")
    with pytest.raises(AnsibleFilterError, match="always cannot be had"):
        gate_default_servers.gate_default_servers(
            [SITE], {**NGINX, "capabilities": {"ssl_reject_handshake": False}}, "always"
        )


def test_deadlines_are_judged_only_with_the_manifest_of_the_live_gate() -> None:
    """A revocation finds out where the gates are, and must not fail because a window has closed."""
    site = {**SITE, "stage": "fallback", "window": {"networks": ["192.0.2.0/24"], "until": "2026-01-01T00:00:00Z"}}
    assert gate_sites.gate_sites([site])[0]["window"]["until"] == 1767225600
    with pytest.raises(AnsibleFilterError, match="window: until: 2026-01-01 00:00:00 UTC is past"):
        gate_sites.gate_sites([site], {})
    live = {"sites": {site["name"]: {"until": 1767225600}}}
    assert gate_sites.gate_sites([site], live)[0]["window"]["until"] == 1767225600


def test_the_filters_of_a_rollout() -> None:
    for module in (gate_digests, gate_knocks, gate_moves, gate_readiness):
        assert list(module.FilterModule().filters()) == [module.__name__.rpartition(".")[2]]
    with pytest.raises(AnsibleFilterError, match="leaves out observe and fallback"):
        gate_moves.gate_moves([SITE])
    assert gate_moves.gate_moves([SITE], {}, [], True)[0]["kind"] == "jump"
    strange = {"sites": {SITE["name"]: {"stage": "off"}}}
    with pytest.raises(AnsibleFilterError, match="does not say in which stages"):
        gate_moves.gate_moves([SITE], strange)
    assert gate_moves.gate_moves([SITE], strange, force=True)[0]["told"] == f"{SITE['name']}: enforce"
    with pytest.raises(AnsibleFilterError, match="does not say where"):
        gate_knocks.gate_knocks({"sites": 7})
    with pytest.raises(AnsibleFilterError, match="site panel: stage"):
        gate_digests.gate_digests([{**SITE, "stage": "off"}])
    with pytest.raises(AnsibleFilterError, match="rollout_quiet_for"):
        gate_readiness.gate_readiness([SITE], [], [], quiet_for="soon")
    [digest] = gate_digests.gate_digests([SITE])
    assert (digest["site"], digest["stage"], len(digest["digest"])) == ("panel", "enforce", 64)


def test_evidence_of_a_port_where_the_gate_is_tried_belongs_to_the_site() -> None:
    tried = {**SITE, "staging_listen": ["8443"]}
    logs = [_log("panel-staging", "alex"), _log("other", "bea")]
    [site] = gate_readiness.gate_readiness([tried], logs, PEOPLE, 1)
    assert ([one["name"] for one in site["ready"]], site["never"], site["allowed"]) == (["alex"], ["bea"], True)
    assert site["admitted"] == ["alex", "bea", "door-probe"]


def test_a_site_whose_name_ends_likewise_is_another_one() -> None:
    sites = [SITE, {**SITE, "name": "panel-staging", "server_names": ["staging.example"]}]
    found = gate_readiness.gate_readiness(sites, [_log("panel-staging", "alex")], PEOPLE, 1)
    assert {one["site"]: one["allowed"] for one in found} == {"panel": False, "panel-staging": True}


def test_machines_and_hosts_without_a_log_do_not_close_a_gate() -> None:
    logs = [_log("panel", "alex"), _log("panel", "bea"), {"site": "panel", "host": "web2", "log": None}]
    [site] = gate_readiness.gate_readiness([SITE], logs, PEOPLE, 2, exclude=["door-probe", "bea"])
    assert [one["name"] for one in site["ready"]] == ["alex"]
    assert [reason[:8] for reason in site["reasons"]] == ["1 of the", "web2 has"]


def _log(site: str, name: str) -> dict[str, object]:
    """What was read of a site, where one person got in."""
    row = {"name": name, "email": "", "count": 1, "serials": [SERIALS[name]]}
    row |= {"first_seen": "2026-11-28T10:00:00Z", "last_seen": "2026-11-28T10:00:00Z"}
    log = {"people": [row], "would_deny": [], "fallback": [], "beyond": 0, "lines": 1, "damaged": 0, "unread": []}
    return {"site": site, "host": "web1", "log": log}
