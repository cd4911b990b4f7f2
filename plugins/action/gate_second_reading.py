# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action gate_second_reading: the module of the same name fetches the configuration, the control node judges it."""

from __future__ import annotations

import sys
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.quietdoor.mtls.plugins.module_utils._ansible.errors import Problem
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.options import NGINX, SECOND_READING
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.parcel import unpack
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.second import CROSSPLANE, read_again

_NOT_MADE = "The configuration of nginx was not read a second time, by crossplane: this check was not made, because"


class ActionModule(ActionBase):
    """The action."""

    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Make the check, or say why it was not made."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        options = self.validate_argument_spec(argument_spec={**NGINX, **SECOND_READING})[1]
        if not CROSSPLANE:
            return {**result, **_not_made(f"crossplane is not installed for {sys.executable}")}
        sent = self._fetch(task_vars)
        if sent.get("failed"):
            return {**result, "failed": True, "msg": sent.get("msg", "The module failed")}
        if sent["refusal"]:
            return {**result, **_not_made(str(sent["refusal"]))}
        try:
            reading = read_again(unpack(sent["parcel"]), options["manifest"], lenient=options["other_ways"] == "warn")
        except Problem as problem:
            raise AnsibleActionFail(str(problem)) from None
        findings = [finding.as_dict() for finding in reading.findings]
        return {**result, "changed": False, "made": True, "reason": "", "files": reading.files, "findings": findings}

    def _fetch(self, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        """Run the module. At -vvv connections show what a module returns, unless they are told not to."""
        before = self._play_context.no_log
        self._play_context.no_log = True
        try:
            sent: dict[str, Any] = self._execute_module(module_args=dict(self._task.args), task_vars=task_vars)
        finally:
            self._play_context.no_log = before
        return sent


def _not_made(reason: str) -> dict[str, Any]:
    told = {"made": False, "reason": reason, "files": 0, "findings": []}
    return {"changed": False, **told, "warnings": [f"{_NOT_MADE} {reason}."]}
