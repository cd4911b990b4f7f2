#!/usr/bin/python
# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rollout_receipt
short_description: Write, require or withdraw receipts of rollouts
version_added: 0.1.0
description:
  - Stores receipts in a directory, one small file for each site, stage, settings and version of this collection that were rolled
    out. Receipts contain no secret.
  - With O(state=required) it fails unless each of O(things) has a receipt, so that a change reaches production only after
    staging.
  - With O(state=absent) it withdraws the receipts of a rollout that turned out to be wrong.
options:
  path:
    description: The directory of the receipts. It is created with the first receipt.
    type: path
    required: true
  environment:
    description: The environment of the receipts. Lower-case letters, digits and C(_), as in V(staging).
    type: str
    required: true
  things:
    description:
      - The subjects of the receipts, as action M(quietdoor.mtls.rollout_plan) returns them with C(step=rollout).
      - Required for O(state=present) and O(state=required), and without effect in O(state=absent).
    type: list
    elements: dict
    suboptions:
      site:
        description: The name of the site.
        type: str
        required: true
      stage:
        description: The stage of the site.
        type: str
        required: true
      digest:
        description: SHA-256 over the version of the collection and the settings of the site, hex.
        type: str
        required: true
  sites:
    description: The names of the sites whose receipts are withdrawn. Required for O(state=absent), and without effect in others.
    type: list
    elements: str
  state:
    description:
      - V(present) writes the missing receipts. The newest 100 of each site and environment are kept.
      - V(required) fails and names the sites without a receipt.
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
- name: Fail unless staging has a receipt
  quietdoor.mtls.rollout_receipt:
    path: /srv/quietdoor/receipts
    environment: staging
    state: required
    things: "{{ my_plan.required_receipts }}"

- name: Write receipts for production
  quietdoor.mtls.rollout_receipt:
    path: /srv/quietdoor/receipts
    environment: production
    things: "{{ my_plan.provable }}"

- name: Withdraw the receipts of a site that staging rolled back
  quietdoor.mtls.rollout_receipt:
    path: /srv/quietdoor/receipts
    environment: staging
    state: absent
    sites: [panel]
"""

RETURN = r"""
written:
  description: The subjects of new receipts, as C(site) and C(stage).
  returned: success
  type: list
  elements: dict
  sample: [{"site": "panel", "stage": "enforce"}]
withdrawn:
  description: The sites whose receipts were withdrawn.
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
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.timestamps import iso
from ansible_collections.quietdoor.mtls.plugins.module_utils._rollout import receipts

_THING = {name: {"type": "str", "required": True} for name in ("site", "stage", "digest")}


def work(module: Any) -> dict[str, Any]:
    """Write, withdraw or require receipts."""
    params = module.params
    directory, environment = params["path"], params["environment"]
    if not os.path.isabs(directory or ""):
        raise MtlsError(f"path: {directory!r} is not an absolute path", "Set rollout_receipts_path to an absolute path")
    directory = os.path.normpath(directory)
    if params["state"] == "absent":
        gone = receipts.withdraw(directory, environment, params["sites"], check_mode=module.check_mode)
        shown = "".join(f"{environment}: {site}\n" for site in gone)
        return {"changed": bool(gone), "written": [], "withdrawn": list(gone), "diff": _diff(directory, shown, "")}
    things = tuple(receipts.rolled_out_site_from(item) for item in params["things"])
    if params["state"] == "required":
        refuse_missing(receipts.missing(directory, environment, things), directory, environment)
        return {"changed": False, "written": [], "withdrawn": []}
    when = iso(datetime.now(timezone.utc))
    new = receipts.write(directory, environment, things, when, check_mode=module.check_mode)
    written = [{"site": thing.site, "stage": thing.stage} for thing in new]
    shown = "".join(f"{environment}: {thing.site} in stage {thing.stage}\n" for thing in new)
    return {
        "changed": bool(new),
        "written": written,
        "withdrawn": [],
        "diff": _diff(directory, "", shown),
    }


def _diff(directory: str, before: str, after: str) -> dict[str, str]:
    return {"before_header": directory, "after_header": directory, "before": before, "after": after}


def refuse_missing(absent: tuple[receipts.RolledOutSite, ...], directory: str, environment: str) -> None:
    """Fail if a receipt is missing.

    :raises MtlsError: naming the sites without a receipt.
    """
    if absent:
        names = ", ".join(f"{thing.site} in stage {thing.stage}" for thing in absent)
        raise MtlsError(
            f"{environment} has not had this yet with the same settings and this version of the collection: {names} "
            f"(no receipt in {directory})",
            f"Roll it out in {environment} first, with the same settings; or say -e rollout_force=true",
        )


def main() -> None:
    """Run the module."""
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
