# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the probe targets of a host, and their expected behaviour, from the gate's manifest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._common.errors import MtlsError
from .._contracts.gate_manifest import manifest_from
from .._contracts.paths import LIVE_MANIFEST

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from .._contracts.gate_manifest import ManifestSite


@dataclass(frozen=True)
class ProbeTarget:
    """One probe target.

    :param first: whether it is the first one of its site and port; the others differ in server name or path.
    :param address: the address to connect to, ``host:port``.
    :param stage: the stage of the site.
    :param side_door: whether a client outside the window is asked for a password (fallback basic auth).
    :param edge: whether clients connect through a TLS-terminating proxy, so that no certificate opens it directly.
    """

    site: str
    url: str
    server_name: str
    address: str
    stage: str
    side_door: bool
    edge: bool
    guarded_paths: tuple[str, ...]
    first: bool


def probe_targets_from(
    manifest: Mapping[str, Any], address: str, ports: Mapping[str, Any], *, skip: Collection[str] = ()
) -> tuple[ProbeTarget, ...]:
    """Return one target for each port, server name and guarded path of every site. A port on several addresses is probed once.

    :param manifest: the parsed manifest.json of a gate; empty if there is none.
    :param address: the address of the host; empty for the addresses that the sites listen on, as on the host itself.
    :param ports: port of the site -> port to connect to, where ports are translated.
    :param skip: sites that nothing guards yet.
    :raises MtlsError: if the manifest is not valid.
    """
    if not manifest:
        return ()
    found = manifest_from(manifest)
    if found.damaged or not found.sites or not all(map(_is_located, found.sites)):
        raise MtlsError(
            "The manifest of the gate does not contain the stage and addresses of every site",
            f"Check {LIVE_MANIFEST} on that host",
        )
    return tuple(
        target for site in found.sites if site.name not in skip for target in _targets_of(site, address, ports)
    )


def _is_located(site: ManifestSite) -> bool:
    return bool(site.stage and site.server_names and site.listen)


def _targets_of(site: ManifestSite, address: str, ports: Mapping[str, Any]) -> Iterator[ProbeTarget]:
    paths = [f"{path}/" for path in site.paths]
    asked = [(server_name, page) for server_name in site.server_names for page in paths or ["/"]]
    listens: dict[int, str] = {}
    for listen in site.listen:
        listens.setdefault(listen.port, listen.address)
    for port, here in listens.items():
        for number, (server_name, page) in enumerate(asked):
            yield ProbeTarget(
                site=site.name,
                url=f"https://{server_name}{'' if port == 443 else f':{port}'}{page}",
                server_name=server_name,
                address=_join_host_port(address or _local_address(here), int(ports.get(str(port), port))),
                stage=site.stage,
                side_door=site.basic_auth,
                edge=site.edge,
                guarded_paths=tuple(paths),
                first=number == 0,
            )


def _local_address(address: str) -> str:
    return {"*": "127.0.0.1", "::": "::1"}.get(address, address)


def _join_host_port(host: str, port: int) -> str:
    bare = host.strip("[]")
    return f"[{bare}]:{port}" if ":" in bare else f"{bare}:{port}"
