# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter gate_default_servers."""

from __future__ import annotations

DOCUMENTATION = r"""
name: gate_default_servers
short_description: Decide where the default server of an address belongs to the gate
version_added: 0.1.0
author:
  - quietdoor.mtls authors (@quietdoor)
description:
  - The default server of an address answers connections that name no site, or an unknown one. Where it belongs to the gate, it
    rejects the handshake.
  - With O(policy=auto) the gate takes it only on addresses where the effective configuration of nginx has no other server.
  - Fails where a site cannot share an address with what is there. That is plain HTTP on the same address, or a server of the
    same name.
positional: _input
options:
  _input:
    description: The variable C(gate_sites) of role P(quietdoor.mtls.gate#role).
    type: list
    elements: dict
    required: true
  nginx:
    description:
      - What module M(quietdoor.mtls.nginx_info) returned. Servers in files of the gate itself (C(quietdoor/gate/)) are left out.
    type: dict
    required: true
  policy:
    description:
      - V(auto) takes the default server where nobody else listens, V(always) fails where that cannot be had, V(never) leaves it
        alone.
    type: str
    choices: [auto, always, never]
    default: auto
seealso:
  - plugin: quietdoor.mtls.gate_sites
    plugin_type: filter
  - module: quietdoor.mtls.nginx_info
"""

EXAMPLES = r"""
- name: Look at the nginx of this host
  quietdoor.mtls.nginx_info:
  register: nginx

- name: Show where the default server would belong to the gate
  ansible.builtin.debug:
    msg: "{{ gate_sites | quietdoor.mtls.gate_default_servers(nginx) }}"
"""

RETURN = r"""
_value:
  description:
    - C(owned) is the list of addresses whose default server is the gate's, each as the directive C(listen) takes it.
    - C(http2) is the list of addresses where C(listen ... http2) changes no other server, likewise.
    - C(reasons) is a list with one sentence for each address, saying what was decided and why.
  type: dict
"""

from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleFilterError
from ansible_collections.quietdoor.mtls.plugins.module_utils._ansible.errors import Problem
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.neighbours import (
    POLICIES,
    neighbours_from,
    plan_default_servers,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.sites import parse_sites

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def gate_default_servers(value: object, nginx: Mapping[str, Any], policy: str = "auto") -> dict[str, list[str]]:
    """Return the plan as plain data."""
    if policy not in POLICIES:
        raise AnsibleFilterError(f"gate_default_server: {policy!r} is unknown. Write one of: {', '.join(POLICIES)}.")
    try:
        plan = plan_default_servers(
            parse_sites(value),
            None if nginx["configuration_error"] else neighbours_from(nginx["listens"]),
            policy,
            can_reject=bool(nginx["capabilities"]["ssl_reject_handshake"]),
        )
    except Problem as problem:
        raise AnsibleFilterError(str(problem)) from problem
    return {
        "owned": [listen.token for listen in plan.owned],
        "http2": [listen.token for listen in plan.http2],
        "reasons": list(plan.reasons),
    }


class FilterModule:
    """Tells Ansible about the filter."""

    def filters(self) -> dict[str, Callable[..., object]]:
        return {"gate_default_servers": gate_default_servers}
