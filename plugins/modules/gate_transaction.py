#!/usr/bin/python
# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gate_transaction
short_description: Make a rendered gate live in nginx as a transaction
version_added: 0.1.0
description:
  - Takes a candidate, the rendered configuration of all gates of this host, and makes it live as a transaction.
  - The candidate is tested in a scratch copy of the whole nginx configuration. Then a new generation is written beside the live
    one, one symbolic link is switched, nginx is tested and reloaded, and every endpoint is requested on new connections until
    the I(running) nginx reports the new generation. If anything fails, the link is switched back, nginx is reloaded, and the old
    generation is proven in the same way.
  - With O(step=apply) that is all, in one call. With O(step=begin) a revert is armed before anything changes, and the gate
    reverts by itself unless O(step=commit) follows within O(revert_after). In between the gate can be probed from outside. If
    the control node, the network or the access is lost, the gate is back after the deadline.
  - The armed revert is a unit and a timer of systemd, which survive a reboot, or a separate process where systemd does not run.
    It needs only python3 and nginx. It never changes trust, so a revocation stays.
  - Commit, revert and the armed revert are decided by one step under one lock. Exactly one of them wins, and the others report
    it. After the deadline no commit is possible.
  - While a transaction is armed, every other change of the gate on this host is refused. It holds the host until its deadline,
    even if the process that began it has ended.
  - The sites in the candidate's C(manifest.json) are compared with the effective configuration. The snippets of a site
    (C(manage) is V(snippets)) must be included in the operator's server, no directive there may undo them, and no other server
    may open a bypass to the application. Snippets that no server includes yet are put in place with a warning; once they were
    included, they must stay. A snippet that is still included is not removed.
  - The exit code of a reload proves nothing. If a port is in use, nginx keeps its old configuration without a message.
  - A run that was killed at any moment is finished or undone by the next one, or by the armed revert.
options:
  step:
    description:
      - The step of the transaction.
      - V(apply) makes the candidate live, and commits it as soon as it is proven. Manual changes of the live gate are lost.
      - V(test) does the same as V(begin) in check mode, whether in check mode or not. It changes nothing; C(changed) reports
        whether V(begin) would. It also checks the server certificates that the candidate uses, see RV(server_certificates).
      - V(begin) fails if the live gate was changed by hand. Otherwise it arms the revert and makes the candidate live. If nothing
        differs, nothing is armed.
      - V(commit) disarms the revert; the gate stays. It fails if the gate was reverted, or if nginx serves anything else.
      - V(revert) reverts the gate now, and proves the former generation.
      - V(rollback) is V(begin) with the kept generation O(generation) in place of a candidate; it needs a V(commit), too.
      - V(status) reports the state, and changes nothing.
    type: str
    choices: [apply, test, begin, commit, revert, rollback, status]
    default: apply
  candidate:
    description:
      - The files of the gate, path relative to C(quietdoor/gate/) to text. C(http.conf) and C(manifest.json) are required.
      - C(http.conf) must include C(quietdoor/gate/generation.conf), which this module writes; it sets
        C($quietdoor_gate_generation).
      - Empty to remove the gate from nginx.
      - Required for O(step=apply), O(step=test) and O(step=begin).
    type: dict
  endpoints:
    description:
      - The endpoints at which the running nginx reports its generation, at C(/.well-known/quietdoor) in the header
        C(X-Quietdoor-Generation).
      - The same as C(endpoints) in the candidate's C(manifest.json). Required unless O(candidate) is empty.
    type: list
    elements: dict
    default: []
    suboptions:
      site:
        description: The name of the site.
        type: str
        required: true
      address:
        description: An IP address that nginx listens on. V(*) and V(::) are requested on the loopback address.
        type: str
        required: true
      port:
        description: The TLS port.
        type: int
        required: true
      server_name:
        description: The name to request, in SNI and in the header C(Host).
        type: str
        required: true
  on_bypass:
    description:
      - The reaction to a bypass, which is another server of this nginx that passes requests to the same application, serves the
        same files, or has the same name on the same address.
      - V(fail) fails and changes nothing, V(warn) only warns.
    type: str
    choices: [fail, warn]
    default: fail
  transaction:
    description:
      - The id that O(step=begin) or O(step=rollback) returned as RV(transaction). Required for O(step=commit).
      - For O(step=revert) empty means the transaction that holds this host.
    type: str
    default: ""
  generation:
    description: The kept generation to restore, one of RV(snapshots); V(0) for no gate. Required for O(step=rollback).
    type: int
  revert_after:
    description:
      - The time from O(step=begin) or O(step=rollback) until the gate reverts by itself, as in V(5m); from V(10s) to V(1h).
      - It must be long enough for the probes from outside, and short enough to wait for after a lockout.
    type: str
    default: 5m
  revert_mechanism:
    description:
      - The mechanism of the armed revert. V(systemd) is a unit and a timer, and survives a reboot. V(process) is a separate
        process and does not; after a reboot the next run of this module ends the transaction.
      - V(auto) is V(systemd) where systemd runs.
    type: str
    choices: [auto, systemd, process]
    default: auto
  operator:
    description: The name of the operator, reported while the transaction holds the host. By default the user on the host.
    type: str
    default: ""
  force:
    description: Whether to overwrite manual changes of the live gate.
    type: bool
    default: false
extends_documentation_fragment:
  - quietdoor.mtls.nginx
  - quietdoor.mtls.nginx.change
  - quietdoor.mtls.attributes
notes:
  - Check mode does everything up to the test in the scratch copy and leaves no trace. Nothing is armed in check mode.
  - The candidate is public, and its text is shown in diff mode. Never put a secret into it.
seealso:
  - module: quietdoor.mtls.trust_install
  - module: quietdoor.mtls.nginx_info
author:
  - quietdoor.mtls authors (@quietdoor)
"""

EXAMPLES = r"""
- name: Render the gates
  quietdoor.mtls.gate_render:
    sites: "{{ gate_sites }}"
  register: rendered

- name: Make the rendered gate live
  quietdoor.mtls.gate_transaction:
    candidate: "{{ rendered.candidate }}"
    endpoints: "{{ rendered.endpoints }}"

- name: Begin an armed transaction
  quietdoor.mtls.gate_transaction:
    step: begin
    candidate: "{{ my_candidate }}"
    endpoints: "{{ my_endpoints }}"
    revert_after: 5m
    operator: kim@laptop
  register: begun

# ... here the control node probes the gate as a client does; if that fails, run step revert, or wait for the armed revert ...

- name: Commit the transaction
  quietdoor.mtls.gate_transaction:
    step: commit
    transaction: "{{ begun.transaction }}"
  when: begun.armed

- name: List the kept generations
  quietdoor.mtls.gate_transaction:
    step: status
  register: status

- name: Roll back to the previous generation
  quietdoor.mtls.gate_transaction:
    step: rollback
    generation: "{{ status.snapshots[1].generation }}"

- name: Remove the gate from nginx
  quietdoor.mtls.gate_transaction:
    candidate: {}

- name: Make a gate live in an nginx with another prefix
  quietdoor.mtls.gate_transaction:
    conf_path: /opt/nginx/conf
    nginx_binary: /opt/nginx/sbin/nginx
    test_argv: [/opt/nginx/sbin/nginx, -t]
    reload_argv: [systemctl, reload, nginx-opt]
    candidate: "{{ my_candidate }}"
    endpoints: "{{ my_endpoints }}"
"""

RETURN = r"""
generation:
  description: The generation that nginx serves now, or would serve after the change; none without a gate.
  returned: success
  type: int
  sample: 12
previous_generation:
  description: The last committed generation before, none if there was no gate.
  returned: success
  type: int
  sample: 11
action:
  description:
    - V(applied) if the candidate is new, V(removed) if the gate was removed, V(unchanged) if there was no change.
    - V(resumed) if the files existed already but an earlier run had not made them live in the running nginx, or not proven it.
    - V(committed) and V(reverted) after these steps.
  returned: success
  type: str
  sample: applied
reason:
  description: The reason of the change; empty if there was none. For a reverted transaction, the reason of the revert.
  returned: success
  type: str
  sample: quietdoor/gate/sites/admin.conf differs
armed:
  description: Whether a transaction holds this host and waits for O(step=commit).
  returned: success
  type: bool
  sample: false
transaction:
  description: The id of that transaction, or of the one that was committed or reverted; empty if there is none.
  returned: success
  type: str
  sample: 6b2f0c9d8e7a4153
deadline:
  description: The time at which the gate reverts by itself, in the format of RFC 3339; empty if nothing is armed.
  returned: success
  type: str
  sample: "2026-11-24T10:05:00Z"
tested:
  description: Whether nginx tested the candidate in a scratch copy in this run.
  returned: success
  type: bool
  sample: true
guarded:
  description:
    - Whether every site of the candidate is guarded. V(false) if no server includes the snippets of a site.
  returned: O(step) is V(apply), V(test), V(begin) or V(rollback)
  type: bool
  sample: true
unguarded:
  description: The names of the sites that are not guarded yet.
  returned: O(step) is V(apply), V(test), V(begin) or V(rollback)
  type: list
  elements: str
  sample: []
differing:
  description: The files that were, or in check mode would be, changed, relative to O(conf_path).
  returned: O(step) is V(apply), V(test), V(begin) or V(rollback)
  type: list
  elements: str
  sample: [quietdoor/gate/sites/admin.conf]
open_elsewhere:
  description:
    - The names of the sites with a bypass through another server of this nginx. Such an application stays open until the bypass
      is removed.
  returned: O(step) is V(apply), V(test), V(begin) or V(rollback)
  type: list
  elements: str
  sample: []
findings:
  description:
    - The findings in the effective configuration beside the gate, bypasses first.
    - Each has C(site), C(severity) (V(warning) here, because an error fails the module), C(file), C(line), C(what) and C(hint).
  returned: O(step) is V(apply), V(test), V(begin) or V(rollback)
  type: list
  elements: dict
  sample:
    - site: admin
      severity: warning
      file: /etc/nginx/sites-enabled/admin
      line: 3
      what: this server also listens without TLS, where every request is refused
      hint: Add a separate server for plain HTTP that redirects
sites:
  description: The names of the sites of the candidate.
  returned: O(step) is V(apply), V(test), V(begin) or V(rollback)
  type: list
  elements: str
  sample: [admin]
manifest:
  description:
    - The parsed C(manifest.json) of the gate that is live when the module ends. An empty dictionary without a gate, none if the
      file is not valid JSON.
  returned: O(step) is not V(status)
  type: dict
  sample: {"format": 1, "sites": {"admin": {"stage": "enforce"}}}
server_certificates:
  description:
    - The server certificates that the candidate uses, each with C(file), C(server_name), C(problem) and C(detail).
    - C(problem) is V(name) if the certificate is not for this name, V(end) if it has expired, V(unreadable) if C(openssl) cannot
      read it, and empty if browsers accept it.
  returned: O(step=test)
  type: list
  elements: dict
  sample:
    - file: /etc/ssl/admin.pem
      server_name: admin.example.com
      problem: ""
      detail: ""
snapshots:
  description:
    - The kept generations, the newest first.
    - Each has C(generation), C(live), C(stages) (site to stage), C(written) (RFC 3339), C(sha256) of its files as they were
      written, C(closed), the sites whose window has closed, C(intact), whether the files are still as they were written, and
      C(restores), the generation that it restored, null if it was a new one.
  returned: O(step) is V(status), V(commit) or V(revert)
  type: list
  elements: dict
  sample:
    - generation: 12
      live: true
      stages: {admin: enforce}
      written: "2026-11-24T10:00:00Z"
      sha256: 5f0c1c4d5d0c3f3bb8a1f1f0c2f7e6d0a9b8c7d6e5f4a3b2c1d0e9f8a7b6c5d4
      closed: []
      intact: true
      restores: 10
drift:
  description:
    - The files of the live gate that differ from those of the last transaction, relative to O(conf_path).
    - If the module fails because of them, the difference is part of its message.
  returned: O(step=status), or if the module fails because of them
  type: list
  elements: str
  sample: [quietdoor/gate/sites/admin.conf]
told:
  description:
    - The generation that the running nginx reports at each endpoint, with C(generation) none and a C(failure) if it reports none.
  returned: O(step=status)
  type: list
  elements: dict
  sample:
    - site: admin
      endpoint: admin.example.com on 127.0.0.1:443
      generation: 12
      failure: ""
held_by:
  description:
    - The transaction that holds this host, or the last one that did; empty if there was none.
    - It has C(id), C(phase) (V(armed), V(committing), V(committed), V(reverting) or V(reverted)), C(operator), C(since),
      C(deadline), C(base) and C(target) (generations), C(why) (the reason of a revert), C(revert_mechanism), and C(triggered),
      whether the mechanism of the revert is in place.
  returned: O(step=status)
  type: dict
  sample: {}
"""

import difflib
import getpass
import json
import os
from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.module_runner import run
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.timestamps import from_epoch, iso
from ansible_collections.quietdoor.mtls.plugins.module_utils._contracts.paths import LIVE_MANIFEST
from ansible_collections.quietdoor.mtls.plugins.module_utils._contracts.status_protocol import endpoints_from
from ansible_collections.quietdoor.mtls.plugins.module_utils._deploy.deadline import read_clocks
from ansible_collections.quietdoor.mtls.plugins.module_utils._deploy.entry_point import read_text
from ansible_collections.quietdoor.mtls.plugins.module_utils._deploy.module_options import (
    CHANGE,
    NGINX,
    kept,
    nginx_from,
    seconds,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._gate import operations, revert_timer
from ansible_collections.quietdoor.mtls.plugins.module_utils._gate.apply import Outcome, Request, apply_gate
from ansible_collections.quietdoor.mtls.plugins.module_utils._gate.arm import Arming, term_from
from ansible_collections.quietdoor.mtls.plugins.module_utils._gate.auto_revert import Rules
from ansible_collections.quietdoor.mtls.plugins.module_utils._gate.history import Drifted
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.server_certificates import check_server_certificates

ENDPOINT = {
    "site": {"type": "str", "required": True},
    "address": {"type": "str", "required": True},
    "port": {"type": "int", "required": True},
    "server_name": {"type": "str", "required": True},
}
_SHOWN_LINES = 200


def work(module: Any) -> dict[str, Any]:
    """Run the step."""
    step = module.params["step"]
    try:
        if step == "status":
            return status(module)
        if step in ("commit", "revert"):
            return end(module, step)
        return change(module, step)
    except Drifted as drifted:
        shown = operations.difference(drifted.drift.written, drifted.drift.found)
        module.fail_json(msg=f"{drifted}\n{in_text(shown)}", drift=drifted.drift.paths, diff=shown)
        raise


def change(module: Any, step: str) -> dict[str, Any]:
    """Make the candidate, or a kept generation, live."""
    nginx = nginx_from(module.params)
    outcome = apply_gate(
        nginx,
        request_from(module.params, nginx.conf_path, step),
        check_mode=module.check_mode or step == "test",
        arming=None if step == "apply" else arming_from(module.params),
    )
    for warning in outcome.result.warnings:
        module.warn(warning)
    for finding in outcome.survey.findings:
        module.warn(f"{finding}. {finding.hint}.")
    checked = check_server_certificates(module.params["candidate"], nginx.conf_path) if step == "test" else None
    return {
        **outcome_as_dict(outcome),
        "manifest": live_manifest(nginx.conf_path),
        **({} if checked is None else {"server_certificates": [asdict(one) for one in checked]}),
    }


def live_manifest(conf_path: str) -> Any:
    """Return the manifest of the live gate: an empty dictionary without a gate, None if it is not valid JSON."""
    text = read_text(os.path.join(conf_path, LIVE_MANIFEST))
    try:
        return {} if text is None else json.loads(text)
    except ValueError:
        return None


def request_from(params: dict[str, Any], conf_path: str, step: str) -> Request:
    """Return the request for the candidate or the kept generation.

    :raises MtlsError: if the candidate is null.
    """
    if step == "rollback":
        candidate, endpoints = operations.candidate_of(conf_path, params["generation"])
    else:
        candidate, endpoints = params["candidate"], endpoints_from(params["endpoints"], "endpoints")
    if candidate is None:
        raise MtlsError(
            "candidate is null", "Set it to the files of the gate, or to an empty dictionary to remove the gate"
        )
    return Request(
        candidate=candidate,
        endpoints=endpoints,
        prove_timeout=seconds(params, "prove_timeout"),
        keep=kept(params),
        lenient=params["on_bypass"] == "warn",
        restores=params["generation"] if step == "rollback" else None,
    )


def arming_from(params: dict[str, Any]) -> Arming:
    """Return the parameters of the armed revert."""
    return Arming(
        operator=operator_from(params),
        term=term_from(params["revert_after"], "revert_after"),
        kind=revert_timer.choose(params["revert_mechanism"]),
        settings={name: params[name] for name in (*NGINX, *CHANGE)},
        clock=read_clocks,
        force=params["force"],
    )


def operator_from(params: dict[str, Any]) -> str:
    """Return the name of the operator."""
    try:
        user = os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # a user without an entry in the user database
        user = str(os.getuid())
    return str(params["operator"] or user)


def outcome_as_dict(outcome: Outcome) -> dict[str, Any]:
    """Return the outcome of a change as plain data."""
    transaction = outcome.armed
    return {
        "changed": outcome.result.action != "unchanged",
        "generation": outcome.generation,
        "previous_generation": outcome.previous_generation,
        "action": outcome.result.action,
        "reason": outcome.result.reason,
        "armed": transaction is not None,
        "transaction": transaction.id if transaction else "",
        "deadline": iso(from_epoch(transaction.deadline.wall)) if transaction else "",
        "tested": outcome.result.tested,
        "guarded": not outcome.survey.unguarded,
        "unguarded": list(outcome.survey.unguarded),
        "differing": sorted({*outcome.before, *outcome.after}),
        "open_elsewhere": list(outcome.survey.open_elsewhere),
        "findings": [finding.as_dict() for finding in outcome.survey.findings],
        "sites": outcome.sites,
        "diff": operations.difference(outcome.before, outcome.after),
    }


def end(module: Any, step: str) -> dict[str, Any]:
    """Commit or revert a transaction."""
    params = module.params
    nginx, now = nginx_from(params), read_clocks()
    rules = Rules(seconds(params, "prove_timeout"), kept(params))
    if step == "commit":
        ended = operations.commit(nginx, params["transaction"], now, rules, check_mode=module.check_mode)
    else:
        operator = operator_from(params)
        ended = operations.revert(nginx, params["transaction"], operator, now, rules, check_mode=module.check_mode)
    seen = operations.status(nginx)
    return {
        "changed": ended.action != "unchanged",
        "generation": seen.live,
        "previous_generation": ended.transaction.base if ended.transaction else seen.committed,
        "action": ended.action,
        "reason": ended.reason,
        "armed": seen.held,
        "transaction": ended.transaction.id if ended.transaction else "",
        "deadline": iso(from_epoch(ended.transaction.deadline.wall)) if ended.transaction and seen.held else "",
        "tested": False,
        "snapshots": [asdict(one) for one in seen.kept],
        "manifest": live_manifest(nginx.conf_path),
    }


def status(module: Any) -> dict[str, Any]:
    """Return the state of the gate and of its transaction."""
    nginx = nginx_from(module.params)
    nginx.check()
    seen = operations.status(nginx)
    transaction = seen.transaction
    deadline = iso(from_epoch(transaction.deadline.wall)) if transaction else ""
    return {
        "changed": False,
        "generation": seen.live,
        "previous_generation": seen.committed,
        "action": "unchanged",
        "reason": "",
        "armed": seen.held,
        "transaction": transaction.id if transaction and seen.held else "",
        "deadline": deadline if seen.held else "",
        "tested": False,
        "snapshots": [asdict(one) for one in seen.kept],
        "drift": seen.drift.paths,
        "told": [
            {
                "site": endpoint.site,
                "endpoint": str(endpoint),
                "generation": answer.gate,
                "failure": answer.failure,
            }
            for endpoint, answer in seen.told
        ],
        "held_by": transaction_as_dict(seen),
        "diff": operations.difference(seen.drift.written, seen.drift.found),
    }


def transaction_as_dict(seen: operations.Status) -> dict[str, Any]:
    """Return the transaction that holds this host, or the last one that did."""
    transaction = seen.transaction
    if transaction is None:
        return {}
    return {
        "id": transaction.id,
        "phase": transaction.phase,
        "operator": transaction.operator,
        "since": iso(from_epoch(transaction.deadline.since.wall)),
        "deadline": iso(from_epoch(transaction.deadline.wall)),
        "base": transaction.base,
        "target": transaction.target,
        "why": transaction.why,
        "revert_mechanism": transaction.trigger.kind,
        "triggered": seen.triggered,
    }


def in_text(differences: list[dict[str, str]]) -> str:
    """Return the difference between the files of the last transaction and the present ones, for a message."""
    lines: list[str] = []
    for one in differences:
        texts = (one["before"].splitlines(), one["after"].splitlines())
        lines += difflib.unified_diff(
            *texts, f"as written: {one['before_header']}", f"by hand: {one['after_header']}", lineterm=""
        )
    return "\n".join(lines[:_SHOWN_LINES])


def main() -> None:
    """Run the module."""
    spec = {
        **NGINX,
        **CHANGE,
        "step": {
            "type": "str",
            "choices": ["apply", "test", "begin", "commit", "revert", "rollback", "status"],
            "default": "apply",
        },
        "candidate": {"type": "dict"},
        "endpoints": {"type": "list", "elements": "dict", "default": [], "options": ENDPOINT},
        "on_bypass": {"type": "str", "choices": ["fail", "warn"], "default": "fail"},
        "transaction": {"type": "str", "default": ""},
        "generation": {"type": "int"},
        "revert_after": {"type": "str", "default": "5m"},
        "revert_mechanism": {"type": "str", "choices": ["auto", "systemd", "process"], "default": "auto"},
        "operator": {"type": "str", "default": ""},
        "force": {"type": "bool", "default": False},
    }
    module = AnsibleModule(
        argument_spec=spec,
        required_if=[
            ("step", "apply", ["candidate"]),
            ("step", "test", ["candidate"]),
            ("step", "begin", ["candidate"]),
            ("step", "rollback", ["generation"]),
            ("step", "commit", ["transaction"]),
        ],
        supports_check_mode=True,
    )
    run(module, work)


if __name__ == "__main__":
    main()
