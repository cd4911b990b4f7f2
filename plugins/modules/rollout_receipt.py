#!/usr/bin/python
# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rollout_receipt
short_description: Note what was rolled out somewhere, make sure that it was, or take that back
version_added: 0.1.0
description:
  - Keeps receipts in a directory, one small file for a site in a stage, with the settings and the version of this collection with
    which it was rolled out. Receipts hold no secret.
  - With O(state=required) it fails unless there is a receipt for each thing, so that nothing reaches production that
    staging has not had.
  - With O(state=absent) it takes receipts back, because what they are about has turned out to be wrong.
options:
  path:
    description: The directory of the receipts. It is made with the first one.
    type: path
    required: true
  environment:
    description: From where the receipts are. Lower-case letters, digits and C(_), as in V(staging).
    type: str
    required: true
  things:
    description:
      - What they are about, as action M(quietdoor.mtls.rollout_plan) returns them with C(step=rollout).
      - Required for O(state=present) and O(state=required), and without effect in O(state=absent).
    type: list
    elements: dict
    suboptions:
      site:
        description: The name of the site.
        type: str
        required: true
      stage:
        description: Its stage.
        type: str
        required: true
      digest:
        description: SHA-256 over the version of the collection and the settings of the site, hex.
        type: str
        required: true
  sites:
    description: The names of the sites whose receipts are taken back. Required for O(state=absent), and without effect in others.
    type: list
    elements: str
  state:
    description:
      - V(present) writes those that are not there. Of one site in one environment the newest 100 are kept.
      - V(required) fails and names the sites of which there is none.
      - V(absent) removes all of O(sites) from this environment, whatever the stage and the settings.
    type: str
    choices: [present, required, absent]
    default: present
extends_documentation_fragment:
  - quietdoor.mtls.attributes
seealso:
  - module: quietdoor.mtls.rollout_plan
author:
  - quietdoor.mtls authors (@quietdoor)
"""

EXAMPLES = r"""
- name: Make sure that staging has had it
  quietdoor.mtls.rollout_receipt:
    path: /srv/quietdoor/receipts
    environment: staging
    state: required
    things: "{{ my_plan.required_receipts }}"

- name: Note that production has it
  quietdoor.mtls.rollout_receipt:
    path: /srv/quietdoor/receipts
    environment: production
    things: "{{ my_plan.provable }}"

- name: Let nothing follow what staging has gone back from
  quietdoor.mtls.rollout_receipt:
    path: /srv/quietdoor/receipts
    environment: staging
    state: absent
    sites: [panel]
"""

RETURN = r"""
written:
  description: What there was no receipt for before, as C(site) and C(stage).
  returned: success
  type: list
  elements: dict
  sample: [{"site": "panel", "stage": "enforce"}]
withdrawn:
  description: The sites of which there were receipts that are taken back.
  returned: success
  type: list
  elements: str
  sample: [panel]
"""

import os
from datetime import datetime, timezone
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.module_runner import run
from ansible_collections.quietdoor.mtls.plugins.module_utils._rollout import receipts

_THING = {name: {"type": "str", "required": True} for name in ("site", "stage", "digest")}


def work(module: Any) -> dict[str, Any]:
    """Write, take back, or look."""
    params = module.params
    directory, environment = params["path"], params["environment"]
    if not os.path.isabs(directory or ""):
        raise MtlsError(
            f"path: {directory!r} is not an absolute path", "Give the whole path of the directory of the receipts"
        )
    directory = os.path.normpath(directory)
    if params["state"] == "absent":
        gone = receipts.withdraw(directory, environment, params["sites"], check_mode=module.check_mode)
        shown = "".join(f"{environment}: {site}\n" for site in gone)
        return {"changed": bool(gone), "written": [], "withdrawn": list(gone), "diff": _diff(directory, shown, "")}
    things = tuple(receipts.rolled_out_site_from(item) for item in params["things"])
    if params["state"] == "required":
        refuse_missing(receipts.missing(directory, environment, things), directory, environment)
        return {"changed": False, "written": [], "withdrawn": []}
    when = f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
    new = receipts.write(directory, environment, things, when, check_mode=module.check_mode)
    told = [{"site": thing.site, "stage": thing.stage} for thing in new]
    shown = "".join(f"{environment}: {thing.site} in stage {thing.stage}\n" for thing in new)
    return {
        "changed": bool(new),
        "written": told,
        "withdrawn": [],
        "diff": _diff(directory, "", shown),
    }


def _diff(directory: str, before: str, after: str) -> dict[str, str]:
    return {"before_header": directory, "after_header": directory, "before": before, "after": after}


def refuse_missing(absent: tuple[receipts.RolledOutSite, ...], directory: str, environment: str) -> None:
    """Fail if something is missing.

    :raises MtlsError: that names it.
    """
    if absent:
        named = ", ".join(f"{thing.site} in stage {thing.stage}" for thing in absent)
        raise MtlsError(
            f"{environment} has not had this yet with the same settings and this version of the collection: {named} "
            f"(no receipt in {directory})",
            f"Roll it out in {environment} first, with the same settings; or say -e rollout_force=true",
        )


def main() -> None:
    """Entry point."""
    spec = {
        "path": {"type": "path", "required": True},
        "environment": {"type": "str", "required": True},
        "things": {"type": "list", "elements": "dict", "options": _THING},
        "sites": {"type": "list", "elements": "str"},
        "state": {"type": "str", "choices": ["present", "required", "absent"], "default": "present"},
    }
    needed = [("state", "present", ["things"]), ("state", "required", ["things"]), ("state", "absent", ["sites"])]
    run(AnsibleModule(argument_spec=spec, required_if=needed, supports_check_mode=True), work)


if __name__ == "__main__":
    main()
