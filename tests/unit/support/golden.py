# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render the golden files of tests/unit/golden; `make golden` writes them again."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.edge_profiles import PROFILES
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.edge_certificate_maps import render_certificate_maps
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.edge_maps import render_edge_maps
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.identity_maps import render_maps
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.publication_reader import (
    Identity,
    Issuer,
    Publication,
)
from gate_rendering import SITE, render_gate

GOLDEN = Path(__file__).parents[1] / "golden"
_ADMIN = {"mode": "path", "paths": ["/admin"]}
_PATHS = {
    "mode": "path",
    "paths": [{"path": "/admin/"}, {"path": "/files", "upstream": "/srv/files"}, "/api/v1.php"],
}
_SNIPPETS = {"manage": "snippets", "certificate": None, "certificate_key": None}
_DENY = {"upstream_ca": "ca.pem"}
_WINDOW = {"until": "2030-01-01T00:00:00Z", "networks": ["192.0.2.0/24", "2001:db8::/32"]}
_FALLBACK = {"stage": "fallback", "window": _WINDOW}
_BASIC = {"stage": "fallback", "window": {**_WINDOW, "basic_auth": {"user_file": "users", "rate": "1r/s"}}}
_OBSERVE = {"stage": "observe"}
_ALLOW = {"allow": {"names": ["alex"], "roles": ["ops"]}}
_LIMIT = {"rate_limit": {"rate": "1r/s"}}
_ASK = {"auth_request": "http://127.0.0.1:9000/check"}
_PEER = {"certificate_authority": "edge.pem", "certificates": ["CN=edge"]}
_EDGE = {"source": "edge", "trusted_proxies": ["192.0.2.0/24", "2001:db8::1"], "edge": {**_PEER, "profile": "nginx"}}
_CUSTOM = {
    **_PEER,
    "profile": "custom",
    "headers": {"sha256": "X-Edge-Digest"},
    "address_header": "X-Visitor",
    "crl": "edge-crl.pem",
}
_GRPC = {"upstream": "grpcs://app.internal:50051", **_DENY}
_FASTCGI = {"upstream": "fastcgi://unix:/run/php.sock", "fastcgi_script": "/srv/app/index.php"}

# The name of a golden file -> what the site differs in from SITE, and what is not about the site.
GATES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "host": ({}, {}),
    "host-nginx-1.18": ({}, {"version": "1.18.0"}),
    "host-nginx-1.26": ({}, {"version": "1.26.3"}),
    "host-without-http2": ({}, {"version": "1.26.3", "http2": False}),
    "host-log-combined": ({}, {"log_format": "combined"}),
    "host-observe": (_OBSERVE, {}),
    "host-fallback": (_FALLBACK, {}),
    "host-fallback-basic-auth": ({**_BASIC, **_LIMIT}, {}),
    "host-allow": (_ALLOW, {}),
    "host-rate-limit-hsts": ({**_LIMIT, "hsts": True}, {}),
    "host-auth-request": ({**_ASK, **_ALLOW}, {}),
    "host-revocation-map": ({"revocation": "map"}, {}),
    "host-websocket-contact": ({"websocket": True, "contact": 'ops & "others" <ops@example.org>'}, {}),
    "host-upstream-https": ({"upstream": "https://app.internal", **_DENY, "client_max_body_size": "20m"}, {}),
    "host-grpc": (_GRPC, {"version": "1.26.3"}),
    "host-fastcgi": (_FASTCGI, {}),
    "host-static": ({"upstream": "/srv/www"}, {}),
    "host-identity-headers": ({"identity_headers": {"name": "Remote-User", "email": "X-Mail"}}, {}),
    "host-staging-listen": ({"staging_listen": "127.0.0.1:8443"}, {}),
    "path": (_ADMIN, {}),
    "path-several-upstreams": (_PATHS, {}),
    "path-observe": ({**_ADMIN, **_OBSERVE}, {}),
    "path-fallback": ({**_ADMIN, **_FALLBACK}, {}),
    "path-fallback-basic-auth": ({**_ADMIN, **_BASIC}, {}),
    "path-auth-request": ({**_ADMIN, **_ASK, **_LIMIT, "hsts": True}, {}),
    "path-allow-revocation-map": ({**_ADMIN, **_ALLOW, "revocation": "map"}, {}),
    "path-fastcgi": ({**_ADMIN, **_FASTCGI}, {}),
    "snippets": (_SNIPPETS, {}),
    "snippets-observe": ({**_SNIPPETS, **_OBSERVE}, {}),
    "snippets-auth-request-hsts": ({**_SNIPPETS, **_ASK, "hsts": True}, {"version": "1.26.3"}),
    "snippets-path": ({**_SNIPPETS, **_ADMIN}, {}),
    "snippets-path-observe": ({**_SNIPPETS, **_ADMIN, **_OBSERVE}, {}),
    "snippets-path-allow": ({**_SNIPPETS, **_ADMIN, **_ALLOW}, {}),
    "edge-path": ({**_EDGE, **_ADMIN, **_ALLOW, **_LIMIT}, {}),
    "edge-path-observe": ({**_EDGE, **_ADMIN, **_OBSERVE}, {}),
    "edge-auth-request": ({**_EDGE, **_ASK}, {}),
    "edge-custom": ({**_EDGE, "edge": _CUSTOM}, {}),
    "edge-network": ({**_EDGE, "edge": {"profile": "google", "authentication": "network"}}, {}),
    **{f"edge-{name}": ({**_EDGE, "edge": {**_PEER, "profile": name}}, {}) for name in PROFILES},
}


def golden_files() -> dict[str, str]:
    """Return the path of every golden file, below GOLDEN, and its text."""
    files = {}
    first: dict[str, str] = {}
    for name, (changes, circumstances) in GATES.items():
        gate = render_gate({**SITE, **changes}, **circumstances)
        # A text that an earlier file contains is not repeated.
        parts = {path: first.get(text, text) for path, text in gate.items()}
        first = {**{text: f"(as {path} in {name}.txt)\n" for path, text in gate.items()}, **first}
        files[f"gates/{name}.txt"] = _joined(parts)
    files["trust/maps.txt"] = _joined(_trust())
    return files


def write_golden_files() -> None:
    """Replace the golden files."""
    files = golden_files()
    for path in GOLDEN.rglob("*.txt"):
        if str(path.relative_to(GOLDEN)) not in files:
            path.unlink()
    for name, text in files.items():
        path = GOLDEN / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _joined(parts: dict[str, str]) -> str:
    return "".join(f"==> {path} <==\n{text}" for path, text in parts.items())


def _trust() -> dict[str, str]:
    """Return the maps of a small publication: two CAs, unusual names, one certificate revoked, one known by serial only."""
    issuers = (Issuer(1, "CN=Issuing CA,O=Ops", "11" * 32), Issuer(2, 'CN=Odd "name" $x\\, y', "22" * 32))
    identities = (
        _identity(1, "0A", "alex", ("alex@example.org",), ("ops", "dev")),
        _identity(1, "0B", "sam", (), ()),
        _identity(1, "0C", "revoked", ("revoked@example.org",), ("ops",)),
        _identity(2, "0D", 'kim "k"', ("kim@example.org", "k@example.org"), ()),
        Identity("2:0E", "serial-only", (), ("ops",)),
        _identity(1, "0F", "large", (), (), size=1800),
    )
    publication = Publication(42, {}, issuers, identities, ("1:0C", "2:FF"))
    return {
        "trust.conf": render_maps(publication),
        "trust.conf with another revoked certificate and CA": render_maps(publication, ("1:0B", '"~^2:"')),
        "edge.conf": render_edge_maps(publication, ("1:0B",)),
        **render_certificate_maps(publication),
    }


def _identity(
    issuer: int, serial: str, name: str, email: tuple[str, ...], roles: tuple[str, ...], size: int = 120
) -> Identity:
    """Return an identity with a stand-in for the certificate: the maps do not parse it."""
    der = (hashlib.sha512(name.encode()).digest() * 30)[:size]
    return Identity(
        key=f"{issuer}:{serial}",
        name=name,
        email=email,
        roles=roles,
        sha256=hashlib.sha256(der).hexdigest(),
        sha1=hashlib.sha1(der, usedforsecurity=False).hexdigest(),
        der=base64.b64encode(der).decode(),
        subject=f"CN={name},OU=$x" if issuer > 1 else f"CN={name}",
    )


if __name__ == "__main__":
    write_golden_files()
