# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and render `manifest.json`, which describes the sites of a gate generation.

The control node writes it, web hosts and the control node read it. A reader accepts manifests of earlier releases: a key that
is missing has its default, and a key that is not known is ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

pass  # MOVED
pass  # MOVED
if TYPE_CHECKING:
    pass  # MOVED


import json
from typing import TYPE_CHECKING, Any

from .._common.errors import MtlsError
from .status_protocol import Endpoint, endpoints_from

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = 1
# Seconds since 1970 with ten digits: what a deadline of a fallback window can be.
_DEADLINES = range(10**9, 10**10)


@dataclass(frozen=True)
class ListenAddress:
    """An address and port of a site; ``token`` is both as the directive ``listen`` takes them."""

    address: str
    port: int
    token: str = ""


@dataclass(frozen=True)
class ManifestSite:
    """One site as the manifest describes it.

    :param stage: empty if the manifest does not say it.
    :param upstreams: the addresses of the applications behind the gate.
    :param paths: the guarded paths of mode ``path``, without a final slash.
    :param public: the address of the application that answers the public part, in mode ``path``.
    :param until: the deadline of the fallback window in seconds since 1970, None where there is no window.
    :param rehearsal: whether the site is the copy on the ports of ``staging_listen``.
    :param basic_auth: whether the fallback window has basic auth; the key is ``side_door``.
    :param edge: whether a proxy in front of nginx terminates TLS.
    """

    name: str
    stage: str
    manage: str = "vhost"
    mode: str = "host"
    server_names: tuple[str, ...] = ()
    listen: tuple[ListenAddress, ...] = ()
    upstreams: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    public: str = ""
    until: int | None = None
    rehearsal: bool = False
    basic_auth: bool = False
    edge: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return the site as the manifest writes it. A key without information is left out."""
        listen = [{"address": one.address, "port": one.port, "token": one.token} for one in self.listen]
        data: dict[str, Any] = {
            "stage": self.stage,
            "manage": self.manage,
            "mode": self.mode,
            "server_names": list(self.server_names),
            "listen": listen,
            "upstreams": list(self.upstreams),
        }
        if self.mode == "path":
            data.update(paths=list(self.paths), public=self.public)
        if self.until is not None:
            data["until"] = self.until
        flags = {"rehearsal": self.rehearsal, "side_door": self.basic_auth, "edge": self.edge}
        return {**data, **{key: True for key, flag in flags.items() if flag}}


@dataclass(frozen=True)
class GateManifest:
    """The sites of a gate generation, and the endpoints at which the running nginx reports it.

    :param damaged: whether a part of the data could not be read; the sites are those that could.
    """

    sites: tuple[ManifestSite, ...]
    endpoints: tuple[Endpoint, ...] = ()
    damaged: bool = False

    def checked(self) -> GateManifest:
        """Return the manifest itself.

        :raises MtlsError: if it is damaged.
        """
        if self.damaged:
            raise MtlsError("manifest.json does not say what the sites are", "Render it with role gate")
        return self

    def render(self) -> str:
        """Return the text of ``manifest.json``; equal manifests give equal bytes."""
        endpoints = [
            {"site": one.site, "address": one.address, "port": one.port, "server_name": one.server_name}
            for one in self.endpoints
        ]
        sites = {site.name: site.as_dict() for site in self.sites}
        data = {"format": FORMAT, "endpoints": endpoints, "sites": sites}
        return json.dumps(data, indent=2, sort_keys=True) + "\n"


def read_manifest(text: str) -> GateManifest:
    """Return what the text of a ``manifest.json`` says about the sites. The endpoints are left to :func:`manifest_endpoints`."""
    try:
        return manifest_from(json.loads(text))
    except ValueError:
        return GateManifest((), damaged=True)


def manifest_from(data: object) -> GateManifest:
    """Return what the parsed data of a ``manifest.json`` say about the sites; an empty mapping has none."""
    listed = data.get("sites", {}) if isinstance(data, dict) else None
    if not isinstance(listed, dict):
        return GateManifest((), damaged=True)
    sites = []
    for name, site in sorted(listed.items()):
        try:
            sites.append(_site(str(name), site))
        except (KeyError, TypeError, AttributeError, ValueError):
            continue
    return GateManifest(tuple(sites), damaged=len(sites) != len(listed))


def manifest_endpoints(text: str) -> tuple[Endpoint, ...]:
    """Return the endpoints that the text of a manifest.json names.

    :raises MtlsError: if it is not such a manifest.
    """
    try:
        data = json.loads(text)
        listed = data["endpoints"] if data["format"] == FORMAT else None
    except (ValueError, KeyError, TypeError):
        listed = None
    return endpoints_from(listed, "manifest.json")


def deadlines_of(manifest: object) -> Mapping[str, int]:
    """Return site name -> deadline of its window, from the data of a manifest; sites that cannot be read are left out."""
    return {site.name: site.until for site in manifest_from(manifest).sites if site.until is not None}


def _site(name: str, data: Mapping[str, Any]) -> ManifestSite:
    until = data.get("until")
    return ManifestSite(
        name=name,
        stage=_text(data, "stage", ""),
        manage=_text(data, "manage", "vhost"),
        mode=_text(data, "mode", "host"),
        server_names=_texts(data, "server_names"),
        listen=tuple(
            ListenAddress(str(one["address"]), int(one["port"]), str(one.get("token", "")))
            for one in _list(data, "listen")
        ),
        upstreams=_texts(data, "upstreams"),
        paths=_texts(data, "paths"),
        public=_text(data, "public", ""),
        until=until if isinstance(until, int) and until in _DEADLINES else None,
        rehearsal=bool(data.get("rehearsal", False)),
        basic_auth=bool(data.get("side_door", False)),
        edge=bool(data.get("edge", False)),
    )


def _text(data: Mapping[str, Any], key: str, default: str) -> str:
    value = data.get(key, default)
    if not isinstance(value, str):
        raise TypeError(key)
    return value


def _list(data: Mapping[str, Any], key: str) -> list[Any]:
    value = data.get(key, [])
    if not isinstance(value, list):
        raise TypeError(key)
    return value


def _texts(data: Mapping[str, Any], key: str) -> tuple[str, ...]:
    return tuple(map(str, _list(data, key)))


# Ten digits: until the year 2286.
EARLIEST, LATEST = 10**9, 10**10 - 1


@dataclass(frozen=True)
class ProtectedSite:
    """What a site guards.

    :param manage: ``vhost`` or ``snippets``.
    :param listens: addresses and ports, as :class:`.config.Listen` has them.
    :param upstreams: the addresses of the applications behind the gate; a path is a directory of files.
    :param enforced: whether nobody else should get in; in the stages before, and where the gate is only tried on another port,
        the panel is open anyway.
    :param mode: ``host`` or ``path``.
    :param paths: the guarded paths of mode ``path``, without a final slash.
    :param public: the address of what answers the public part, in mode ``path``.
    """

    site: str
    manage: str
    server_names: tuple[str, ...]
    listens: tuple[tuple[str, int], ...]
    upstreams: tuple[str, ...]
    mode: str = "host"
    paths: tuple[str, ...] = ()
    public: str = ""
    enforced: bool = True


def protected_sites(manifest: str) -> tuple[ProtectedSite, ...]:
    """Return the panels that the text of a manifest.json names; none if it names no upstreams.

    :raises MtlsError: if it is no such manifest.
    """
    return tuple(_panel(site) for site in read_manifest(manifest).checked().sites)


def _panel(site: ManifestSite) -> ProtectedSite:
    return ProtectedSite(
        site=site.name,
        manage=site.manage,
        server_names=site.server_names,
        listens=tuple((listen.address, listen.port) for listen in site.listen),
        upstreams=site.upstreams,
        # A manifest without stages is that of a gate that refuses everybody without a certificate.
        enforced=site.stage in ("", "enforce") and not site.rehearsal,
        mode=site.mode,
        paths=site.paths,
        public=site.public,
    )
