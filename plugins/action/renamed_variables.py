# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fail on the control node if any host of the inventory has a variable with a former name."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleError
from ansible.parsing.vault import AnsibleVaultError
from ansible.plugins.action import ActionBase
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.renamed_variables import refuse_former_names
from ansible_collections.quietdoor.mtls.plugins.plugin_utils.variable_errors import VariablesError

_GROUPS = ("mtls_ca", "mtls_web")


class ActionModule(ActionBase):
    """Action renamed_variables."""

    _supports_check_mode = True
    _supports_diff = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Check every host of the collection's groups and of the play, including those that ``--limit`` excludes."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        self.validate_argument_spec(argument_spec={})
        given = task_vars or {}
        groups = given.get("groups", {})
        play = {str(host) for host in given.get("ansible_play_hosts_all", ())}
        hosts = {}
        for name in sorted({*play, *(str(host) for group in _GROUPS for host in groups.get(group, ()))}):
            try:
                # Raw access finds a variable with any value, and templates nothing.
                hosts[name] = given["hostvars"].raw_get(name)
            except AnsibleError as error:
                # CI has no password for the vault of the CA host, and does not use the variables of that host.
                if name in play or not _has_no_vault_password(error):
                    raise
        # Variables of the task, of roles and of blocks are not in hostvars.
        hosts[str(given["inventory_hostname"])] = given
        try:
            refuse_former_names(hosts)
        except MtlsError as problem:
            raise VariablesError(str(problem)) from None
        return {**result, "changed": False}


def _has_no_vault_password(error: BaseException | None) -> bool:
    """Return whether an error, or one that it was raised from, is that of a vault without its password."""
    while error is not None and not isinstance(error, AnsibleVaultError):
        error = error.__cause__ or error.__context__
    return error is not None
