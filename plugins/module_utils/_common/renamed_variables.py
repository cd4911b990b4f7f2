# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find variables with former names and name the present ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import MtlsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_RENAMED = {
    "gate_close_without_evidence": "gate_allow_unverified_enforce",
    "gate_other_ways": "gate_on_bypass",
    "revoke_probe_address": "rollout_probe_address",
    "revoke_server_ca": "rollout_probe_server_ca",
    "revoke_websocket_path": "rollout_probe_websocket_path",
    "rollout_after": "rollout_requires_environment",
    "rollout_canary": "rollout_probe_client",
    "rollout_evidence_for": "rollout_evidence_period",
    "rollout_not_people": "rollout_ignored_clients",
    "rollout_overwrite": "rollout_overwrite_manual_changes",
    "rollout_quiet_for": "rollout_quiet_period",
    "rollout_revert_by": "rollout_revert_mechanism",
    "trust_cut_connections_after": "trust_worker_shutdown_timeout",
}
# Former value -> present value, by the present name of the variable.
_VALUES = {"gate_on_bypass": {"refuse": "fail"}}
_HOSTS_SHOWN = 3


def refuse_former_names(hosts: Mapping[str, Mapping[str, object]]) -> None:
    """Reject former names and values of variables.

    :param hosts: the variables of each host by its name; they need not be templated.
    :raises MtlsError: with each former name or value, the present one, and the hosts that use it.
    """
    found: dict[str, list[str]] = {}
    for host, variables in hosts.items():
        for change in _find_changes(variables):
            found.setdefault(change, []).append(host)
    if found:
        what = "; ".join(f"{change} (set for {_format_hosts(names)})" for change, names in sorted(found.items()))
        raise MtlsError(
            f"Variables have former names or values: {what}",
            "Write the present ones in the inventory, in the playbook or with -e",
        )


def _find_changes(variables: Mapping[str, object]) -> Iterator[str]:
    for former, present in _RENAMED.items():
        if former in variables:
            value = _present_value(present, variables[former])
            yield f"{former}: {variables[former]} is now {present}: {value}" if value else f"{former} is now {present}"
    for name in _VALUES:
        value = _present_value(name, variables.get(name))
        if value:
            yield f"{name}: {variables[name]} is now {name}: {value}"


def _present_value(name: str, value: object) -> str:
    """Return the present value of a former one; empty if the value did not change."""
    return _VALUES.get(name, {}).get(value, "") if isinstance(value, str) else ""


def _format_hosts(hosts: list[str]) -> str:
    more = len(hosts) - _HOSTS_SHOWN
    return ", ".join(hosts[:_HOSTS_SHOWN]) + (f" and {more} more" if more > 0 else "")
