# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter gate_way_back."""

from __future__ import annotations

DOCUMENTATION = r"""
name: gate_way_back
short_description: To which kept generation a gate goes back
version_added: 0.1.0
author:
  - quietdoor.mtls authors (@quietdoor)
description:
  - Chooses the generation before the live one, unless another one is asked for. It fails rather than shut people out.
  - Where the live generation is an earlier one that was brought back, there is nothing to be done.
positional: _input
options:
  _input:
    description: What is kept, C(snapshots) of module M(quietdoor.mtls.gate_transaction).
    type: list
    elements: dict
    required: true
  live:
    description: The live generation, none if there is no gate.
    type: int
  asked:
    description: The generation that somebody asks for, empty for the one before, V(0) for no gate.
    type: str
    default: ""
  force:
    description: Whether it may be stricter than the live one.
    type: bool
    default: false
seealso:
  - module: quietdoor.mtls.gate_transaction
"""

EXAMPLES = r"""
- name: Say where to go
  ansible.builtin.debug:
    msg: "{{ my_status.snapshots | quietdoor.mtls.gate_way_back(my_status.generation) }}"
"""

RETURN = r"""
_value:
  description:
    - C(generation), C(reason) (why there is nothing to be done, else empty), and C(closed), the sites whose window there has
      closed meanwhile.
  type: dict
"""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleFilterError
from ansible_collections.quietdoor.mtls.plugins.module_utils._ansible.errors import Problem
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.way_back import choose

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def gate_way_back(
    value: Sequence[Mapping[str, Any]], live: int | None = None, asked: object = "", force: bool = False
) -> dict[str, Any]:
    """Return where to go."""
    try:
        found = choose(value, live, str(asked), force=force)
    except Problem as problem:
        raise AnsibleFilterError(str(problem)) from problem
    return {**asdict(found), "closed": list(found.closed)}


class FilterModule:
    """Tells Ansible about the filter."""

    def filters(self) -> dict[str, Callable[..., object]]:
        return {"gate_way_back": gate_way_back}
