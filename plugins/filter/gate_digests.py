# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter gate_digests."""

from __future__ import annotations

DOCUMENTATION = r"""
name: gate_digests
short_description: What a list of sites amounts to, wherever it runs
version_added: 0.1.0
author:
  - quietdoor.mtls authors (@quietdoor)
description:
  - Returns of each site a digest over the version of this collection and its settings, without what has to differ from one
    environment to the next, which are names, addresses, certificates, applications, networks, deadlines and people.
  - Module M(quietdoor.mtls.rollout_receipt) keeps receipts of them.
positional: _input
options:
  _input:
    description: The list of sites, as of role P(quietdoor.mtls.gate#role).
    type: list
    elements: dict
    required: true
seealso:
  - module: quietdoor.mtls.rollout_receipt
"""

EXAMPLES = r"""
- name: Show what receipts would be about
  ansible.builtin.debug:
    msg: "{{ gate_sites | quietdoor.mtls.gate_digests }}"
"""

RETURN = r"""
_value:
  description: Each with C(site), C(stage) and C(digest).
  type: list
  elements: dict
"""

from dataclasses import asdict
from typing import TYPE_CHECKING

from ansible.errors import AnsibleFilterError
from ansible_collections.quietdoor.mtls.plugins.module_utils._ansible.errors import Problem
from ansible_collections.quietdoor.mtls.plugins.module_utils._ansible.version import collection_version
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.receipts import things_of

if TYPE_CHECKING:
    from collections.abc import Callable


def gate_digests(value: object) -> list[dict[str, str]]:
    """Return the digests."""
    try:
        return [asdict(thing) for thing in things_of(value, collection_version())]
    except Problem as problem:
        raise AnsibleFilterError(str(problem)) from problem


class FilterModule:
    """Tells Ansible about the filter."""

    def filters(self) -> dict[str, Callable[..., object]]:
        return {"gate_digests": gate_digests}
