# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter gate_knocks."""

from __future__ import annotations

DOCUMENTATION = r"""
name: gate_knocks
short_description: Where the gates of a host are asked from outside
version_added: 0.1.0
author:
  - quietdoor.mtls authors (@quietdoor)
description:
  - Reads the manifest of a gate and returns what module M(quietdoor.mtls.gate_probe) has to be told to ask each of its sites.
  - A site is asked on every port, by every server name, and in mode C(path) for every guarded path.
positional: _input
options:
  _input:
    description: The manifest of a gate, empty if there is none.
    type: dict
    required: true
  address:
    description: Where the host is reached; empty if that is the address that a site listens on, as on the host itself.
    type: str
    default: ""
  ports:
    description: For each port of a site the one to connect to, where ports are translated on the way.
    type: dict
    default: {}
  skip:
    description: Names of sites to leave out.
    type: list
    elements: str
    default: []
seealso:
  - module: quietdoor.mtls.gate_probe
"""

EXAMPLES = r"""
- name: Say where to ask
  ansible.builtin.debug:
    msg: "{{ my_manifest | quietdoor.mtls.gate_knocks('192.0.2.7') }}"
"""

RETURN = r"""
_value:
  description:
    - Each with C(site), C(url), C(server_name), C(address) (host and port), C(stage), C(side_door), C(edge), C(guarded_paths) and
      C(first), whether it is the first of this site and port. The others ask the same gate by another name or for another path,
      so what takes many questions, and would run into a rate limit, can be left to the first.
  type: list
  elements: dict
"""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleFilterError
from ansible_collections.quietdoor.mtls.plugins.module_utils._ansible.errors import Problem
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.knocks import knocks_from

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping


def gate_knocks(
    value: Mapping[str, Any], address: str = "", ports: Mapping[str, Any] | None = None, skip: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Return the questions."""
    try:
        found = knocks_from(value, address, {str(port): to for port, to in (ports or {}).items()}, skip=skip)
    except Problem as problem:
        raise AnsibleFilterError(str(problem)) from problem
    return [{**asdict(knock), "guarded_paths": list(knock.guarded_paths)} for knock in found]


class FilterModule:
    """Tells Ansible about the filter."""

    def filters(self) -> dict[str, Callable[..., object]]:
        return {"gate_knocks": gate_knocks}
