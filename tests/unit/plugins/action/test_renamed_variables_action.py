# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which hosts and variables action renamed_variables checks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail, AnsibleParserError
from ansible.parsing.vault import AnsibleVaultError
from ansible_collections.quietdoor.mtls.plugins.action import renamed_variables as action

RAW = {"ca": {}, "web1": {}, "web2": {}, "localhost": {}}
FORMER = {"rollout_canary": "{{ nothing_of_that_name }}"}


def raw_get(found: dict[str, Any] | Exception) -> dict[str, Any]:
    """Return the variables of a host, or raise an error as plugin host_group_vars does for a file that it cannot read."""
    try:
        if isinstance(found, Exception):
            raise found
    except Exception as error:
        raise AnsibleParserError(str(error)) from error
    return found


def run(monkeypatch: pytest.MonkeyPatch, hosts: dict[str, Any], **variables: Any) -> dict[str, Any]:
    """Return the result of the action on host ca, of which ``variables`` are those of the task."""
    module = object.__new__(action.ActionModule)
    module._task = SimpleNamespace(args={}, async_val=0)
    monkeypatch.setattr(action.ActionBase, "run", lambda *_given: {})
    given = {
        "inventory_hostname": "ca",
        "groups": {"mtls_ca": ["ca"], "mtls_web": ["web1", "web2"], "all": list(RAW)},
        "ansible_play_hosts_all": ["ca"],
        "hostvars": SimpleNamespace(raw_get=lambda host: raw_get({**RAW, **hosts}[host])),
    }
    result: dict[str, Any] = module.run(None, {**given, **variables})
    return result


@pytest.mark.parametrize("host", ["ca", "web1", "web2"])
def test_every_host_of_the_groups_is_looked_at_without_templating(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    with pytest.raises(AnsibleActionFail, match=rf"rollout_canary is now rollout_probe_client \(set for {host}\)"):
        run(monkeypatch, {host: FORMER} if host != "ca" else {}, **(FORMER if host == "ca" else {}))


def test_hosts_of_the_play_are_looked_at_whatever_their_group(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = {"localhost": FORMER}
    assert run(monkeypatch, hosts) == {"changed": False}, "it has nothing to do with this collection"
    with pytest.raises(AnsibleActionFail, match="set for localhost"):
        run(monkeypatch, hosts, ansible_play_hosts_all=["ca", "localhost"], groups={})


def test_present_names_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, {"web1": {"rollout_probe_client": "x"}}) == {"changed": False}


LOCKED = {"web1": AnsibleVaultError("Decryption failed (no vault secrets were found that could decrypt).")}


def test_host_outside_the_play_is_left_out_when_its_vault_has_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, LOCKED) == {"changed": False}
    with pytest.raises(AnsibleActionFail, match="set for web2"):
        run(monkeypatch, {**LOCKED, "web2": FORMER})


def test_host_of_the_play_without_a_vault_password_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AnsibleParserError, match="Decryption failed"):
        run(monkeypatch, LOCKED, ansible_play_hosts_all=["ca", "web1"])


def test_host_outside_the_play_with_another_error_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AnsibleParserError, match="YAML"):
        run(monkeypatch, {"web1": ValueError("YAML parsing failed")})


def test_message_appears_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AnsibleActionFail) as raised:
        run(monkeypatch, {"web1": FORMER})
    assert raised.value.omit_exception_key, "Ansible prints an exception beside the message"
