# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan the probes of a rollout: the options of module gate_probe for every gate of a host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .probe_targets import probe_targets_from

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from .plan import ProbeClient
    from .probe_targets import ProbeTarget

# These belong to every probe, with any value of rollout_probe_checks.
_ALWAYS = ("generation", "valid")


@dataclass(frozen=True)
class ProbePolicy:
    """The scope of the probes of a host.

    :param checks: ``rollout_probe_checks``.
    :param generation_only: whether only the generation counts, as for a gate that was reverted.
    :param only_back: whether this is a rollback. It is not stopped by a probe client without its files: such probes ask for the
        generation alone.
    """

    checks: Sequence[str]
    generation_only: bool = False
    only_back: bool = False


def probe_address(given: str, connection: str, ansible_host: str) -> str:
    """Return the address of a host; empty for the addresses that its sites listen on.

    :param given: ``rollout_probe_address``.
    :param connection: the connection plugin of Ansible.
    """
    return given or ("" if connection == "local" else ansible_host)


def plan_probes(
    manifest: Mapping[str, Any],
    address: str,
    ports: Mapping[str, Any],
    client: ProbeClient,
    policy: ProbePolicy,
    *,
    skip: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Return the options of module gate_probe for each gate, with ``site`` and ``label`` for the task.

    :param manifest: the manifest of the live gate.
    :param ports: port of a site -> port to connect to.
    :param skip: the sites that no server includes yet.
    :raises MtlsError: if the manifest does not name the sites.
    """
    found = probe_targets_from(manifest, address, {str(port): to for port, to in ports.items()}, skip=skip)
    return [_options(one, client, policy) for one in found]


def _options(target: ProbeTarget, client: ProbeClient, policy: ProbePolicy) -> dict[str, Any]:
    usable = not policy.only_back or client.found == (True, True)
    with_client = usable and not target.edge and not policy.generation_only
    return {
        "site": target.site,
        "label": f"{target.site} at {target.address}",
        "url": target.url,
        "address": target.address,
        "server_name": target.server_name,
        "stage": target.stage,
        "side_door": target.side_door,
        "guarded_paths": list(target.guarded_paths),
        "clients": [_client(client)] if with_client else [],
        "checks": _checks(target, policy) if with_client else ["generation"],
    }


def _checks(target: ProbeTarget, policy: ProbePolicy) -> list[str]:
    """Return all checks once for each port; for its other names and paths only those that belong to every probe."""
    return list(dict.fromkeys((*_ALWAYS, *policy.checks))) if target.first else list(_ALWAYS)


def _client(client: ProbeClient) -> dict[str, str]:
    return {"name": client.name, "certificate": client.certificate, "key": client.key}
