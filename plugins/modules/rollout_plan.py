#!/usr/bin/python
# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rollout_plan
short_description: Plan the rollout or rollback of a host
version_added: 0.1.0
description:
  - Decides what a rollout of role P(quietdoor.mtls.rollout#role) does on a host, from the results of other modules and from the
    variables of all hosts of the run. Fails with the reason if the rollout is refused.
  - It is an action. It runs on the control node and changes nothing. Steps V(changes) and V(logs) also read from the host, with
    modules M(quietdoor.mtls.trust_info) and M(quietdoor.mtls.gate_log_info).
  - The tasks of role P(quietdoor.mtls.rollout#role) use it. Its options are theirs, and may change with any release.
options:
  step:
    description:
      - The decision to make.
      - V(changes) returns the stage changes of the host, the installed trust, and the evidence in the access logs.
      - V(enforced) returns only the sites that would refuse clients that they admit today.
      - V(logs) returns only the installed trust and the evidence in the access logs.
      - V(gates) returns the endpoints of the gates that refuse clients, for module M(quietdoor.mtls.revocation_proof).
      - V(readiness) returns the evidence in the access logs of all hosts about the sites of this host, and V(summary) merges that
        of all hosts.
      - V(rollout) returns messages, the required receipts, and the sites for which a receipt may be written. Fails if the rollout
        is refused.
      - V(probes) returns the options of module M(quietdoor.mtls.gate_probe) for each gate.
      - V(rollback) returns the generation to restore. Fails if clients that are admitted today would be refused.
    type: str
    choices: [changes, enforced, gates, logs, readiness, rollout, probes, rollback, summary]
    required: true
  sites:
    description: The variable C(gate_sites) of role P(quietdoor.mtls.gate#role).
    type: raw
  manifest:
    description: The manifest of the live gate, as module M(quietdoor.mtls.gate_transaction) returns it.
    type: raw
  test:
    description: The result of module M(quietdoor.mtls.gate_transaction) with C(step=test).
    type: dict
  trust:
    description: The result of module M(quietdoor.mtls.trust_info).
    type: dict
    default: {}
  force:
    description: The variable C(rollout_force).
    type: bool
    default: false
  log_path:
    description: The variable C(gate_nginx_log_path).
    type: str
    default: /var/log/nginx
  evidence:
    description: How the access logs are judged.
    type: dict
    default: {}
    suboptions:
      confirmations:
        description: The variable C(rollout_confirmations).
        type: int
        default: 2
      period:
        description: The variable C(rollout_evidence_period).
        type: str
        default: 30d
      quiet_for:
        description: The variable C(rollout_quiet_period).
        type: str
        default: 24h
      exclude:
        description: The names of clients that confirm nothing.
        type: list
        elements: str
        default: []
  probe_address:
    description: The variable C(rollout_probe_address).
    type: str
    default: ""
  connection:
    description: The connection plugin of the host.
    type: str
    default: ssh
  ansible_host:
    description: The address at which Ansible reaches the host. Default is its name in the inventory.
    type: str
    default: ""
  probe_ports:
    description: The variable C(rollout_probe_ports).
    type: dict
    default: {}
  probe_checks:
    description: The variable C(rollout_probe_checks).
    type: list
    elements: str
    default: []
  live:
    description: The result of module M(quietdoor.mtls.gate_transaction) that made the gate live, or reverted it.
    type: dict
    default: {}
  generation_only:
    description: Whether only the generation of the gates is checked.
    type: bool
    default: false
  only_back:
    description: Whether this is a rollback.
    type: bool
    default: false
  skip:
    description: The sites that no server includes yet.
    type: list
    elements: str
    default: []
  status:
    description: The result of module M(quietdoor.mtls.gate_transaction) with C(step=status).
    type: dict
  reverted:
    description: Whether an armed transaction has just been reverted.
    type: bool
    default: false
  generation:
    description: The generation that the operator requested. Empty for the previous one, V(0) for no gate.
    type: str
    default: ""
extends_documentation_fragment:
  - quietdoor.mtls.attributes.info
  - quietdoor.mtls.rollout
seealso:
  - module: quietdoor.mtls.rollout_verify
  - module: quietdoor.mtls.gate_transaction
author:
  - quietdoor.mtls authors (@quietdoor)
"""

EXAMPLES = r"""
- name: Plan the stage changes
  quietdoor.mtls.rollout_plan:
    step: changes
    sites: "{{ gate_sites }}"
    manifest: "{{ my_test.manifest }}"
    test: "{{ my_test }}"
    client:
      name: door-probe
"""

RETURN = r"""
changes:
  description: The stage change of each site, with C(site), C(from), C(to) and C(kind) (V(stay), V(forward), V(back) or V(jump)).
  returned: O(step=changes)
  type: list
  elements: dict
  sample: [{"site": "panel", "from": "observe", "to": "fallback", "kind": "forward"}]
enforced:
  description: The sites that will refuse clients that they admit without a certificate today.
  returned: O(step=changes) or O(step=enforced)
  type: list
  elements: str
only_back:
  description: Whether a stage changes, and every change goes back to an earlier stage.
  returned: O(step=changes) or O(step=rollback)
  type: bool
differs:
  description: Whether the candidate differs from the gate that the host serves.
  returned: O(step=changes)
  type: bool
guarded:
  description: Whether a site has a gate.
  returned: O(step=changes)
  type: bool
min_remaining:
  description: The option of the same name for module M(quietdoor.mtls.trust_info).
  returned: O(step=changes)
  type: str
read_probe_files:
  description: Whether module M(quietdoor.mtls.probe_client_info) must read the files of the probe client on another host.
  returned: O(step=changes) or O(step=rollback)
  type: bool
probe_files:
  description: The result of that module if the files are on the control node, else empty.
  returned: O(step=changes) or O(step=rollback)
  type: dict
probe_certificate:
  description: The certificate of the probe client, as given or as role P(quietdoor.mtls.authority#role) stores it.
  returned: O(step=changes) or O(step=rollback)
  type: str
probe_key:
  description: The private key of the probe client, likewise.
  returned: O(step=changes) or O(step=rollback)
  type: str
address:
  description: The address at which the host is reached; empty for the addresses that its sites listen on.
  returned: O(step=gates)
  type: str
endpoints:
  description: The endpoints of the gates that refuse clients, a list of C(site), C(address), C(port) and C(server_name).
  returned: O(step=gates)
  type: list
  elements: dict
observed:
  description: The sites that refuse no client yet.
  returned: O(step=gates)
  type: list
  elements: str
logs:
  description: The evidence in the access logs, as module M(quietdoor.mtls.gate_log_info) returns it.
  returned: O(step=changes) or O(step=logs)
  type: list
  elements: dict
trust:
  description: The result of module M(quietdoor.mtls.trust_info); empty for step V(changes) if no site has a gate.
  returned: O(step=changes) or O(step=logs)
  type: dict
check_trust:
  description: Whether the trust has to be verified again just before the activation.
  returned: O(step=changes) or O(step=rollback)
  type: bool
transaction_step:
  description: The step of module M(quietdoor.mtls.gate_transaction) that activates the gate, V(begin) or V(rollback).
  returned: O(step=changes) or O(step=rollback)
  type: str
sites:
  description:
    - Each with C(site), C(allowed) (whether the site may be enforced), C(reasons) (why not), C(ready), C(former), C(never),
      C(strangers), C(without), C(admitted) (the names of the clients that may be admitted) and C(table), lines of text.
  returned: O(step=readiness) or O(step=summary)
  type: list
  elements: dict
table:
  description: All sites as lines of text.
  returned: O(step=summary)
  type: list
  elements: str
messages:
  description: The messages for the operator.
  returned: O(step=rollout) or O(step=rollback)
  type: list
  elements: str
required_receipts:
  description: The receipts of the previous environment that must exist, with C(site), C(stage) and C(digest).
  returned: O(step=rollout)
  type: list
  elements: dict
provable:
  description: The sites for which receipts may be written after the rollout of this host, likewise.
  returned: O(step=rollout)
  type: list
  elements: dict
receipts_path:
  description: The directory of the receipts, empty if unknown.
  returned: O(step=rollout)
  type: str
probes:
  description: The options of module M(quietdoor.mtls.gate_probe) for each gate, with C(site) and C(label).
  returned: O(step=probes)
  type: list
  elements: dict
needed:
  description: Whether a generation must be restored.
  returned: O(step=rollback)
  type: bool
generation:
  description: The generation to restore, V(0) for no gate, or the one that the probes have to find.
  returned: O(step=rollback) or O(step=probes)
  type: int
"""
