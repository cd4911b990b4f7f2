# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define `Site` and the values that its fields may have."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256

from .._contracts.stages import OPEN, STAGES
from .access_rules import Allow, RateLimit
from .edge import Edge
from .fallback_window import Window
from .header_policy import HeaderPolicy
from .upstreams import Upstream

MODES = ("host", "path")


SPELLINGS = ("strict", "loose")


MANAGED = ("vhost", "snippets")


REVOCATIONS = ("crl", "map")


KEYS = (
    "accepted_variable_targets",
    "allow",
    "auth_request",
    "certificate",
    "certificate_key",
    "client_max_body_size",
    "contact",
    "drop_client_headers",
    "edge",
    "fastcgi_script",
    "hsts",
    "identity_headers",
    "keep_headers",
    "listen",
    "manage",
    "mode",
    "name",
    "path_spelling",
    "paths",
    "rate_limit",
    "refuse_forged_headers",
    "revocation",
    "server_names",
    "source",
    "stage",
    "staging_listen",
    "trusted_proxies",
    "upstream",
    "upstream_ca",
    "websocket",
    "window",
)


PATH_KEYS = ("path", "upstream", "upstream_ca", "fastcgi_script")


# Keys of settings that the operator's own server has where the gate only provides snippets.
VHOST_KEYS = ("certificate", "certificate_key", "client_max_body_size", "fastcgi_script", "upstream_ca", "websocket")


EVERY_ADDRESS = "*"


# Of the 46 bytes for the name of a variable (variables_hash_bucket_size, with cache lines of 64 bytes) "quietdoor_site_" and the
# longest ending, "_edge_fingerprint", leave these.
_LONGEST_SLUG = 14


@dataclass(frozen=True)
class Listen:
    """One address and port of a site. ``address`` is ``*``, an IPv4 address, or an IPv6 address without brackets."""

    address: str
    port: int

    @property
    def token(self) -> str:
        """The address in the syntax of the directive ``listen``."""
        if self.address == EVERY_ADDRESS:
            return str(self.port)
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    @property
    def reachable_at(self) -> str:
        """An address at which the host itself reaches this listener."""
        return {EVERY_ADDRESS: "127.0.0.1", "::": "::1"}.get(self.address, self.address)


@dataclass(frozen=True)
class GuardedPath:
    """A path of a site in mode ``path``, without a final slash; the gate guards it and everything below it."""

    path: str
    upstream: Upstream


@dataclass(frozen=True)
class Site:
    """One entry of ``gate_sites``, complete and valid. ``upstream`` answers the whole site, or its public part."""

    name: str
    stage: str
    manage: str
    mode: str
    edge: Edge | None
    server_names: tuple[str, ...]
    listen: tuple[Listen, ...]
    upstream: Upstream
    paths: tuple[GuardedPath, ...]
    path_spelling: str
    allow: Allow
    window: Window
    identity_headers: tuple[tuple[str, str, str], ...]
    auth_request: str
    hsts: str
    rate_limit: RateLimit | None
    revocation: str
    certificate: str
    certificate_key: str
    contact: str
    client_max_body_size: str
    websocket: bool
    refuse_forged_headers: bool = True
    headers: HeaderPolicy = field(default_factory=HeaderPolicy)
    staging_listen: tuple[Listen, ...] = ()
    rehearsal: bool = False
    accepted_variable_targets: tuple[str, ...] = ()

    @property
    def slug(self) -> str:
        """The name as part of an nginx variable name; a long one is cut, and a digest makes it unique."""
        name = self.name.replace("-", "_")
        return name if len(name) <= _LONGEST_SLUG else f"{name[:7]}_{sha256(name.encode()).hexdigest()[:6]}"

    @property
    def stages(self) -> tuple[str, ...]:
        """The possible stages, in order.

        A fallback window needs a server of the gate to which clients connect themselves: behind an edge the peer of every
        connection is the edge, and in the operator's server nginx re-proxies a request with an invalid certificate.
        """
        return STAGES if self.manage == "vhost" and not self.edge else tuple(one for one in STAGES if one != "fallback")

    @property
    def detects_forgery(self) -> bool:
        """Whether a location of the site can lack the snippet that replaces the identity headers of the client.

        In mode ``path`` the gate closes such a location, and a server of the gate has none.
        """
        return self.manage == "snippets" and self.mode == "host"

    @property
    def comes_again(self) -> bool:
        """Whether nginx re-proxies requests with an invalid certificate, without one, to the operator's locations."""
        return self.manage == "snippets" and (self.mode == "path" or self.stage in OPEN)
