# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the gates of a host are asked from outside, and what they are expected to do, read from their manifest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._common.errors import MtlsError
from .._contracts.gate_manifest import manifest_from

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from .._contracts.gate_manifest import ManifestSite


@dataclass(frozen=True)
class ProbeTarget:
    """One question.

    :param first: whether it is the first one of its site and port; the others differ in server name or path.
    :param address: where to connect, ``host:port``.
    :param stage: that of the site.
    :param side_door: whether somebody outside the window is asked for a password.
    :param edge: whether visitors come through a proxy that terminates TLS, so that no certificate opens it directly.
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
    """Return one question for each port, server name and guarded path of every site. A port of several addresses is asked at one.

    :param manifest: the manifest.json of a gate, read; empty if there is none.
    :param address: where the host is reached; empty if that is the address that a site listens on, as on the host itself.
    :param ports: port of the site -> port to connect to, where they are translated on the way.
    :param skip: sites that nothing guards yet.
    :raises MtlsError: if it is no such manifest.
    """
    if not manifest:
        return ()
    found = manifest_from(manifest)
    if found.damaged or not found.sites or not all(map(_is_located, found.sites)):
        raise MtlsError(
            "The manifest of the gate does not say where its sites are",
            "Look at quietdoor/gate/manifest.json on that host",
        )
    return tuple(knock for site in found.sites if site.name not in skip for knock in _knocks(site, address, ports))


def _is_located(site: ManifestSite) -> bool:
    return bool(site.stage and site.server_names and site.listen)


def _knocks(site: ManifestSite, address: str, ports: Mapping[str, Any]) -> Iterator[ProbeTarget]:
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
                address=_joined(address or _here(here), int(ports.get(str(port), port))),
                stage=site.stage,
                side_door=site.basic_auth,
                edge=site.edge,
                guarded_paths=tuple(paths),
                first=number == 0,
            )


def _here(address: str) -> str:
    return {"*": "127.0.0.1", "::": "::1"}.get(address, address)


def _joined(host: str, port: int) -> str:
    bare = host.strip("[]")
    return f"[{bare}]:{port}" if ":" in bare else f"{bare}:{port}"
