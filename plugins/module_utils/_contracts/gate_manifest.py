# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and render `manifest.json`, which describes the sites of a gate generation.

The control node writes it, web hosts and the control node read it. A reader accepts manifests of earlier releases: a missing
key has its default, and an unknown key is ignored.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .._common.errors import MtlsError
from .paths import MANIFEST
from .stages import OBSERVE
from .status_protocol import Endpoint, endpoints_from

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FORMAT = 1
# Deadlines of a fallback window are seconds since 1970 with ten digits.
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

    :param stage: empty if the manifest does not contain it.
    :param upstreams: the addresses of the applications behind the gate.
    :param paths: the protected paths of mode ``path``, without a final slash.
    :param public: the address of the application that serves the public part, in mode ``path``.
    :param until: the deadline of the fallback window in seconds since 1970, None without a window.
    :param rehearsal: whether the site is the copy that listens on ``staging_listen``.
    :param basic_auth: whether the fallback window has basic auth; the key is ``side_door``.
    :param edge: whether a proxy in front of nginx terminates TLS.
    :param accepted_variable_targets: directives such as ``proxy_pass http://$backend`` that never lead to the application.
    :param client_headers_undecided: whether the site has no ``drop_client_headers``.
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
    accepted_variable_targets: tuple[str, ...] = ()
    client_headers_undecided: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return the site in the form of the manifest. Keys without information are omitted."""
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
        if self.accepted_variable_targets:
            data["accepted_variable_targets"] = list(self.accepted_variable_targets)
        flags = {"rehearsal": self.rehearsal, "side_door": self.basic_auth, "edge": self.edge}
        flags["client_headers_undecided"] = self.client_headers_undecided
        return {**data, **{key: True for key, flag in flags.items() if flag}}


@dataclass(frozen=True)
class GateManifest:
    """The sites of a gate generation, and the endpoints at which the running nginx reports it.

    :param damaged: whether a part of the data could not be read; ``sites`` are the readable ones.
    """

    sites: tuple[ManifestSite, ...]
    endpoints: tuple[Endpoint, ...] = ()
    damaged: bool = False

    def checked(self) -> GateManifest:
        """Return the manifest itself.

        :raises MtlsError: if it is damaged.
        """
        if self.damaged:
            raise MtlsError(f"{MANIFEST}: the list of sites is not valid", "Render it with role gate")
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
    """Return the sites in the text of a ``manifest.json``. :func:`manifest_endpoints` reads the endpoints."""
    try:
        return manifest_from(json.loads(text))
    except ValueError:
        return GateManifest((), damaged=True)


def manifest_from(data: object) -> GateManifest:
    """Return the sites in the parsed data of a ``manifest.json``; an empty mapping has none."""
    listed = data.get("sites", {}) if isinstance(data, dict) else None
    if not isinstance(listed, dict):
        return GateManifest((), damaged=True)
    sites = []
    for name, site in sorted(listed.items()):
        try:
            sites.append(_read_site(str(name), site))
        except (KeyError, TypeError, AttributeError, ValueError):
            continue
    return GateManifest(tuple(sites), damaged=len(sites) != len(listed))


def manifest_endpoints(text: str) -> tuple[Endpoint, ...]:
    """Return the endpoints in the text of a ``manifest.json``.

    :raises MtlsError: if the text is not a manifest of this format.
    """
    try:
        data = json.loads(text)
        listed = data["endpoints"] if data["format"] == FORMAT else None
    except (ValueError, KeyError, TypeError):
        listed = None
    return endpoints_from(listed, MANIFEST)


def deadlines_of(manifest: object) -> Mapping[str, int]:
    """Return site name -> deadline of its fallback window from the data of a manifest. Skip sites that cannot be read."""
    return {site.name: site.until for site in manifest_from(manifest).sites if site.until is not None}


def _read_site(name: str, data: Mapping[str, Any]) -> ManifestSite:
    until = data.get("until")
    return ManifestSite(
        name=name,
        stage=_read_text(data, "stage", ""),
        manage=_read_text(data, "manage", "vhost"),
        mode=_read_text(data, "mode", "host"),
        server_names=_read_texts(data, "server_names"),
        listen=tuple(
            ListenAddress(str(one["address"]), int(one["port"]), str(one.get("token", "")))
            for one in _read_list(data, "listen")
        ),
        upstreams=_read_texts(data, "upstreams"),
        paths=_read_texts(data, "paths"),
        public=_read_text(data, "public", ""),
        until=until if isinstance(until, int) and until in _DEADLINES else None,
        rehearsal=bool(data.get("rehearsal", False)),
        basic_auth=bool(data.get("side_door", False)),
        edge=bool(data.get("edge", False)),
        accepted_variable_targets=_read_texts(data, "accepted_variable_targets"),
        client_headers_undecided=bool(data.get("client_headers_undecided", False)),
    )


def _read_text(data: Mapping[str, Any], key: str, default: str) -> str:
    value = data.get(key, default)
    if not isinstance(value, str):
        raise TypeError(key)
    return value


def _read_list(data: Mapping[str, Any], key: str) -> list[Any]:
    value = data.get(key, [])
    if not isinstance(value, list):
        raise TypeError(key)
    return value


def _read_texts(data: Mapping[str, Any], key: str) -> tuple[str, ...]:
    return tuple(map(str, _read_list(data, key)))


# The range of deadlines in seconds since 1970: ten digits, until the year 2286.
EARLIEST, LATEST = 10**9, 10**10 - 1


@dataclass(frozen=True)
class ProtectedSite:
    """The applications of a site, and how clients reach them.

    :param manage: ``vhost`` or ``snippets``.
    :param listens: addresses and ports, in the form of :class:`.config_model.Listen`.
    :param upstreams: the addresses of the applications behind the gate; a path is a directory of static files.
    :param enforced: whether the gate must admit authorized clients only. False in earlier stages and on the ports of
        ``staging_listen``, where the application is reachable anyway.
    :param mode: ``host`` or ``path``.
    :param paths: the protected paths of mode ``path``, without a final slash.
    :param public: the address of the application that serves the public part, in mode ``path``.
    :param accepted_variable_targets: directives with variables that never lead to the application, as the operator says.
    :param observed: whether the site is in stage ``observe``, in which the gate refuses no client.
    :param client_headers_undecided: whether the site has no ``drop_client_headers``.
    :param basic_auth: whether the fallback window has basic auth, with a realm of its own.
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
    accepted_variable_targets: tuple[str, ...] = ()
    observed: bool = False
    client_headers_undecided: bool = False
    basic_auth: bool = False


def protected_sites(manifest: str) -> tuple[ProtectedSite, ...]:
    """Return the protected sites in the text of a ``manifest.json``.

    :raises MtlsError: if the text is not a manifest.
    """
    return tuple(_protected_site(site) for site in read_manifest(manifest).checked().sites)


def with_targets_of(sites: Sequence[ProtectedSite], manifest: str) -> tuple[ProtectedSite, ...]:
    """Return the sites, which also accept the variable targets that they accept in another ``manifest.json``.

    :param manifest: the text of the live one, empty without a gate. A part that cannot be read accepts nothing.
    """
    known = {site.name: site.accepted_variable_targets for site in read_manifest(manifest).sites}
    return tuple(
        replace(
            site,
            accepted_variable_targets=tuple(
                dict.fromkeys((*site.accepted_variable_targets, *known.get(site.site, ())))
            ),
        )
        for site in sites
    )


def _protected_site(site: ManifestSite) -> ProtectedSite:
    return ProtectedSite(
        site=site.name,
        manage=site.manage,
        server_names=site.server_names,
        listens=tuple((listen.address, listen.port) for listen in site.listen),
        upstreams=site.upstreams,
        # A manifest without stages is from an earlier release, whose gates always enforced.
        enforced=site.stage in ("", "enforce") and not site.rehearsal,
        mode=site.mode,
        paths=site.paths,
        public=site.public,
        accepted_variable_targets=site.accepted_variable_targets,
        observed=site.stage == OBSERVE and not site.rehearsal,
        client_headers_undecided=site.client_headers_undecided and not site.rehearsal,
        basic_auth=site.basic_auth,
    )
