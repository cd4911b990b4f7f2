#!/usr/bin/python
# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rollout_verify
short_description: Judge the results of a rollout or rollback
version_added: 0.1.0
description:
  - Judges the result of a rollout of role P(quietdoor.mtls.rollout#role) on a host, from the results of other modules
    and from the variables of all hosts of the run. Fails if the gate must be reverted.
  - It is an action. It runs on the control node and changes nothing. Step V(trust) also reads from the host, with module
    M(quietdoor.mtls.trust_info).
  - The tasks of role P(quietdoor.mtls.rollout#role) use it. Its options are theirs, and may change with any release.
options:
  step:
    description:
      - The result to judge.
      - V(earlier_hosts) fails if the rollout of another host has begun and not finished.
      - V(trust) fails if the installed trust would refuse clients, or the probe client.
      - V(probes) fails if the probe results deviate, so that the armed gate must be reverted.
      - V(failure) returns why the rollout of the host failed, and the state of the host.
      - V(receipts) returns the subjects of the receipts to write, and V(withdrawals) the sites whose receipts are withdrawn.
      - V(unfinished) warns of the hosts whose rollout has not finished.
    type: str
    choices: [earlier_hosts, trust, probes, failure, receipts, withdrawals, unfinished]
    required: true
  sites:
    description: The variable C(gate_sites) of role P(quietdoor.mtls.gate#role).
    type: raw
  probes:
    description: The planned probes, from M(quietdoor.mtls.rollout_plan).
    type: list
    elements: dict
    default: []
  results:
    description: The results of module M(quietdoor.mtls.gate_probe), in the same order.
    type: list
    elements: dict
    default: []
  begun:
    description: The result of module M(quietdoor.mtls.gate_transaction) with C(step=begin) or C(step=rollback).
    type: dict
    default: {}
  reverted:
    description: The result of module M(quietdoor.mtls.gate_transaction) with C(step=revert).
    type: dict
    default: {}
  former_manifest:
    description: The manifest of the gate before the rollout.
    type: raw
  provable:
    description: The subjects for which receipts may be written, from M(quietdoor.mtls.rollout_plan).
    type: list
    elements: dict
    default: []
  only_back:
    description: Whether this is a rollback, which is judged by the generation alone.
    type: bool
    default: false
  force:
    description: The variable C(rollout_force).
    type: bool
    default: false
  target:
    description: The generation that a rollback restores.
    type: int
  revert_after:
    description: The time after which an armed gate reverts by itself, for a host without variable C(rollout_revert_after).
    type: str
    default: 5m
extends_documentation_fragment:
  - quietdoor.mtls.attributes.info
  - quietdoor.mtls.rollout
seealso:
  - module: quietdoor.mtls.rollout_plan
  - module: quietdoor.mtls.gate_probe
author:
  - quietdoor.mtls authors (@quietdoor)
"""

EXAMPLES = r"""
- name: Evaluate the probe results
  quietdoor.mtls.rollout_verify:
    step: probes
    probes: "{{ my_plan.probes }}"
    results: "{{ my_probes.results }}"
    begun: "{{ my_transaction }}"
"""

RETURN = r"""
messages:
  description: The deviations, as messages for the operator.
  returned: O(step=probes)
  type: list
  elements: str
proven:
  description: The subjects for which receipts may be written, with C(site), C(stage) and C(digest).
  returned: O(step=probes)
  type: list
  elements: dict
summary:
  description: The last message of a rollback.
  returned: O(step=probes) and O(target) is given
  type: str
text:
  description: The reason why the rollout of the host failed, and the state of the host.
  returned: O(step=failure)
  type: str
things:
  description: The subjects of the receipts to write. Empty unless every web host has finished.
  returned: O(step=receipts)
  type: list
  elements: dict
sites:
  description: The sites whose receipts are withdrawn.
  returned: O(step=withdrawals)
  type: list
  elements: str
path:
  description: The directory of the receipts, empty if unknown.
  returned: O(step=receipts) or O(step=withdrawals)
  type: str
failure:
  description: The message if the receipts cannot be withdrawn.
  returned: O(step=withdrawals)
  type: str
"""
