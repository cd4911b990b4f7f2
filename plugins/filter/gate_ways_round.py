# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter gate_ways_round."""

from __future__ import annotations

DOCUMENTATION = r"""
name: gate_ways_round
short_description: Say how a guarded path could be reached round its gate
version_added: 0.1.0
author:
  - quietdoor.mtls authors (@quietdoor)
description:
  - Looks through the variable C(gate_sites) of role P(quietdoor.mtls.gate#role) for applications behind a guarded path that a
    public part of the same or of another site passes requests to as well.
  - Only the list of sites is looked at. What else the machine's nginx serves, and what an application does with an address, it
    does not see.
positional: _input
options:
  _input:
    description: The variable C(gate_sites) of role P(quietdoor.mtls.gate#role).
    type: list
    elements: dict
    required: true
seealso:
  - plugin: quietdoor.mtls.gate_sites
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Say what could be reached round a gate
  ansible.builtin.debug:
    msg: "{{ gate_sites | quietdoor.mtls.gate_ways_round }}"
"""

RETURN = r"""
_value:
  description: One sentence for each way, naming the site and the path.
  type: list
  elements: str
"""

from typing import TYPE_CHECKING

from ansible.errors import AnsibleFilterError
from ansible_collections.quietdoor.mtls.plugins.module_utils._ansible.errors import Problem
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.sites import parse_sites
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.ways import ways_round

if TYPE_CHECKING:
    from collections.abc import Callable


def gate_ways_round(value: object) -> list[str]:
    """Return the sentences."""
    try:
        return list(ways_round(parse_sites(value)))
    except Problem as problem:
        raise AnsibleFilterError(str(problem)) from problem


class FilterModule:
    """Tells Ansible about the filter."""

    def filters(self) -> dict[str, Callable[..., object]]:
        return {"gate_ways_round": gate_ways_round}
