# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter gate_moves."""

from __future__ import annotations

DOCUMENTATION = r"""
name: gate_moves
short_description: From which stage to which each site moves, and whether it may
version_added: 0.1.0
author:
  - quietdoor.mtls authors (@quietdoor)
description:
  - Compares the variable C(gate_sites) of role P(quietdoor.mtls.gate#role) with the gate that is live on a host.
  - A site goes from C(absent) to C(observe), C(fallback) and C(enforce) one step at a time, and back at once. A site that nobody
    could reach yesterday begins with C(fallback). Any other move fails, and is named.
positional: _input
options:
  _input:
    description: The list of sites.
    type: list
    elements: dict
    required: true
  manifest:
    description: The manifest of the gate that is live on the host, empty if there is none.
    type: dict
    default: {}
  open_elsewhere:
    description: The sites whose panel is open through another server, as module M(quietdoor.mtls.gate_transaction) returns them.
    type: list
    elements: str
    default: []
  differing:
    description: The paths of the files of the gate that would change. Without it every site counts as touched.
    type: list
    elements: str
  force:
    description:
      - Whether every move may be made.
      - A manifest that does not say in which stages its sites are is then taken for one with all of them in stage C(enforce).
    type: bool
    default: false
seealso:
  - module: quietdoor.mtls.gate_transaction
"""

EXAMPLES = r"""
- name: Say what would become of each site
  ansible.builtin.debug:
    msg: "{{ gate_sites | quietdoor.mtls.gate_moves(my_manifest) }}"
"""

RETURN = r"""
_value:
  description:
    - Each with C(site), C(told) (the move in words), C(now), C(wanted), C(kind) (V(stay), V(forward), V(back) or V(jump)),
      C(touched), whether anything of the site changes, C(shuts), whether people who come in without a certificate today will not
      any more, and C(rehearsal), whether it is a second port on which the gate is tried.
  type: list
  elements: dict
"""

from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleFilterError
from ansible_collections.quietdoor.mtls.plugins.module_utils._ansible.errors import Problem
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.moves import as_dicts, plan_moves, refuse_moves
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.sites import parse_sites

if TYPE_CHECKING:
    from collections.abc import Callable, Collection


def gate_moves(
    value: object,
    manifest: object = None,
    open_elsewhere: Collection[str] = (),
    force: bool = False,
    differing: Collection[str] | None = None,
) -> list[dict[str, Any]]:
    """Return the moves."""
    try:
        moves = plan_moves(parse_sites(value), manifest or {}, open_elsewhere, differing, force=force)
        if not force:
            refuse_moves(moves)
    except Problem as problem:
        raise AnsibleFilterError(str(problem)) from problem
    return as_dicts(moves)


class FilterModule:
    """Tells Ansible about the filter."""

    def filters(self) -> dict[str, Callable[..., object]]:
        return {"gate_moves": gate_moves}
