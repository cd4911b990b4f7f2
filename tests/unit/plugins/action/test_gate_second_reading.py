# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action on the control node: what it does with what the module sends, and that nobody else gets to see it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.quietdoor.mtls.plugins.action import gate_second_reading as action
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.parcel import pack

MANIFEST = '{"format": 1, "endpoints": [], "sites": {}}'


def run(monkeypatch: pytest.MonkeyPatch, sent: dict[str, Any]) -> tuple[dict[str, Any], list[bool]]:
    """Return the result, and whether connections were told not to log while the module ran."""
    censored: list[bool] = []
    module = object.__new__(action.ActionModule)
    module._task = SimpleNamespace(args={"manifest": MANIFEST}, async_val=0)
    module._play_context = SimpleNamespace(no_log=None)

    def execute(**options: Any) -> dict[str, Any]:
        censored.append(module._play_context.no_log)
        return sent

    module._execute_module = execute
    monkeypatch.setattr(action.ActionBase, "run", lambda *_given: {})
    result = module.run()
    assert module._play_context.no_log is None, "as it was before"
    return result, censored


def test_the_text_is_read_and_not_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    parcel = pack({"/etc/nginx/nginx.conf": "http { include x; }", "/etc/nginx/x": "server { set $a c3dvcmRmaXNo; }"})
    result, censored = run(monkeypatch, {"refusal": "", "parcel": parcel})
    assert (result["made"], result["files"], result["findings"], censored) == (True, 2, [], [True])
    assert parcel not in repr(result)
    assert "c3dvcmRmaXNo" not in repr(result)


def test_where_nginx_refuses_its_configuration_the_check_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    result, _censored = run(monkeypatch, {"refusal": "nginx refuses the configuration: x", "parcel": ""})
    assert (result["made"], result["changed"]) == (False, False)
    assert result["warnings"][0].endswith("this check was not made, because nginx refuses the configuration: x.")


def test_without_crossplane_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(action, "CROSSPLANE", "")
    result, censored = run(monkeypatch, {})
    assert (result["made"], censored) == (False, [])
    assert "crossplane is not installed for " in result["warnings"][0]


def test_a_module_that_fails_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    result, _censored = run(monkeypatch, {"failed": True, "msg": "nginx is not installed"})
    assert (result["failed"], result["msg"]) == (True, "nginx is not installed")


def test_what_the_two_do_not_read_alike_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    parcel = pack({"/etc/nginx/nginx.conf": "http {\nset $a b}c; }"})
    with pytest.raises(
        AnsibleActionFail, match=r"/etc/nginx/nginx\.conf:1: crossplane reads .* \(it stops at line 2\)"
    ):
        run(monkeypatch, {"refusal": "", "parcel": parcel})
