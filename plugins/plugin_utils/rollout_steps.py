# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Share the frame of actions rollout_plan and rollout_verify: steps, errors and the probe client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ansible.plugins.action import ActionBase
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._deploy.module_options import NGINX
from ansible_collections.quietdoor.mtls.plugins.module_utils._rollout.plan import (
    ProbeClient,
    Receipts,
    default_receipts,
    with_default_files,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Options of both actions.
SHARED: dict[str, Any] = {
    # Not of type path, because it is a path of the host.
    "conf_path": {"type": "str", "default": NGINX["conf_path"]["default"]},
    "min_remaining": {"type": "str", "default": "7d"},
    "client": {
        "type": "dict",
        "default": {},
        "options": {
            "name": {"type": "str", "default": ""},
            "host": {"type": "str", "default": "localhost"},
            "certificate": {"type": "str", "default": ""},
            "key": {"type": "str", "default": "", "no_log": False},
            "authority_path": {"type": "str", "default": ""},
        },
    },
    "probe_files": {"type": "dict", "default": {}},
    "receipts": {
        "type": "dict",
        "default": {},
        "options": {
            "environment": {"type": "str", "default": "production"},
            "previous_environment": {"type": "str", "default": ""},
            "host": {"type": "str", "default": "localhost"},
            "path": {"type": "str", "default": ""},
            "authority_path": {"type": "str", "default": ""},
        },
    },
}


class Step:
    """One step, with its options as Ansible gives them.

    A method of a subclass with the name of the step returns its result.

    :param run_module: runs a module with options on the host and returns its result.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        variables: Mapping[str, Any],
        run_module: Callable[[str, dict[str, Any]], dict[str, Any]],
        *,
        check_mode: bool,
    ) -> None:
        self.options = options
        self.variables = variables
        self.run_module = run_module
        self.check_mode = check_mode
        self.host = str(variables["inventory_hostname"])

    def client(self) -> ProbeClient:
        """Return the probe client, with the state of its files if it is known."""
        given, files = self.options["client"], self.options["probe_files"]
        client = ProbeClient(
            name=given.get("name", ""),
            host=given.get("host", "localhost"),
            certificate=given.get("certificate", ""),
            key=given.get("key", ""),
            found=(bool(files.get("certificate_found")), bool(files.get("key_found"))),
            serial=str(files.get("serial", "")),
        )
        return with_default_files(client, given.get("authority_path", ""))

    def receipts_of(self) -> Receipts:
        """Return the location of the receipts."""
        given = self.options["receipts"]
        return Receipts(
            directory=default_receipts(given.get("path", ""), given.get("authority_path", "")),
            host=given.get("host", "localhost"),
            environment=given.get("environment", "production"),
            previous=given.get("previous_environment", ""),
        )

    def read_trust(self, min_remaining: str) -> dict[str, Any]:
        """Return the result of module trust_info. A failure is part of it, because each step judges it differently."""
        options = {"conf_path": self.options["conf_path"], "min_remaining": min_remaining}
        return self.run_module("quietdoor.mtls.trust_info", options)


class StepAction(ActionBase):
    """An action with steps, of which option ``step`` selects one."""

    _supports_check_mode = True
    _supports_diff = True

    SPEC: ClassVar[dict[str, Any]]
    STEP: ClassVar[type[Step]]

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of the step, or fail with its reason."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        options = self.validate_argument_spec(argument_spec=self.SPEC)[1]

        def run_module(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
            found: dict[str, Any] = self._execute_module(module_name=name, module_args=arguments, task_vars=task_vars)
            return found

        step = self.STEP(options, task_vars or {}, run_module, check_mode=self._task.check_mode)
        try:
            return {**result, "changed": False, **getattr(step, options["step"])()}
        except MtlsError as problem:
            return {**result, "changed": False, "failed": True, "msg": str(problem)}
