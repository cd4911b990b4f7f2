# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the action that renders gates on the control node."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.quietdoor.mtls.plugins.action import gate_render as action

SITE = {
    "name": "panel",
    "stage": "enforce",
    "server_names": ["panel.example"],
    "upstream": "http://127.0.0.1:3000",
    "certificate": "a",
    "certificate_key": "b",
}
PRESENT = ("ssl", "tls13", "auth_request", "realip", "regex", "ssl_reject_handshake", "ssl_conf_command", "http2")
NGINX = {
    "version": "1.22.1",
    "capabilities": {**dict.fromkeys(PRESENT, True), "http2_directive": False, "limit_req": False},
    "configuration_error": None,
    "listens": [],
    "hash_sizes": [],
    "running": True,
    "gate_manifest": {},
}


def run(
    monkeypatch: pytest.MonkeyPatch, sites: Any, found: dict[str, Any] | None = None, **options: Any
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the result, and the arguments with which the module was run on the host."""
    calls: list[dict[str, Any]] = []
    module = object.__new__(action.ActionModule)
    module._task = SimpleNamespace(args={"sites": sites, **options}, async_val=0)

    def execute(**call: Any) -> dict[str, Any]:
        calls.append(call)
        return NGINX if found is None else found

    module._execute_module = execute
    monkeypatch.setattr(action.ActionBase, "run", lambda *_given: {})
    return module.run(), calls


def test_the_host_is_asked_once_and_the_gate_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    result, calls = run(monkeypatch, [SITE, {**SITE, "name": "gone", "stage": "absent"}], conf_path="/opt/nginx")
    assert [(call["module_name"], call["module_args"]) for call in calls] == [
        ("quietdoor.mtls.nginx_info", {"conf_path": "/opt/nginx"})
    ]
    assert sorted(result["candidate"]) == [
        "http.conf",
        "manifest.json",
        "sites/panel.conf",
        "snippets/panel-proxy.conf",
    ]
    assert result["endpoints"] == [
        {"site": "panel", "address": "127.0.0.1", "port": 443, "server_name": "panel.example"}
    ]
    assert [site["name"] for site in result["sites"]] == ["panel"]
    assert (result["default_servers"]["owned"], result["default_servers"]["http2"]) == (["443"], ["443"])
    assert (result["changed"], result["bypasses"], result["live_manifest"]) == (False, [], {})


def test_a_mistake_in_the_list_is_one_sentence_and_asks_nothing_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(action.ActionModule, "_nginx_info", lambda *given: calls.append(given))
    with pytest.raises(AnsibleActionFail) as error:
        run(monkeypatch, [{**SITE, "stage": "of"}])
    assert str(error.value).startswith("gate_sites: site panel: stage: ")
    # Without this Ansible prints the sentence more than once, with lines of the role.
    assert error.value.omit_exception_key
    assert error.value.result_contribution == {"failed": True, "msg": str(error.value)}
    assert calls == []


@pytest.mark.parametrize("sites", ["panel", {"name": "panel"}, None, 7])
def test_a_value_that_is_not_a_list_is_named(monkeypatch: pytest.MonkeyPatch, sites: Any) -> None:
    with pytest.raises(AnsibleActionFail, match=r"gate_sites is .*, not a list|sites"):
        run(monkeypatch, sites)


def test_an_nginx_without_a_module_that_a_site_needs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AnsibleActionFail, match=r"The nginx nginx \(1\.22\.1\) cannot serve a gate.*limit_req"):
        run(monkeypatch, [{**SITE, "rate_limit": {"rate": "1r/s"}}])


def test_a_window_without_a_deadline_keeps_that_of_the_live_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    site = {**SITE, "stage": "fallback", "window": {"networks": ["192.0.2.0/24"], "until": "2026-01-01T00:00:00Z"}}
    with pytest.raises(AnsibleActionFail, match=r"window: until: 2026-01-01 00:00:00 UTC is in the past"):
        run(monkeypatch, [site])
    live = {"sites": {"panel": {"stage": "fallback", "until": 1767225600}}}
    result, _calls = run(monkeypatch, [site], {**NGINX, "gate_manifest": live})
    assert result["sites"][0]["window"]["until"] == 1767225600
    # An unreadable manifest provides no deadline.
    with pytest.raises(AnsibleActionFail, match=r"window: until: 2026-01-01 00:00:00 UTC is in the past"):
        run(monkeypatch, [site], {**NGINX, "gate_manifest": None})


def test_a_module_that_fails_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    result, _calls = run(monkeypatch, [SITE], {"failed": True, "msg": "nginx is not installed"})
    assert (result["failed"], result["msg"]) == (True, "nginx is not installed")
