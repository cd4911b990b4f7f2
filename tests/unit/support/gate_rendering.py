# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render the gate of a site definition for an nginx version, without nginx."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible_collections.quietdoor.mtls.plugins.module_utils._common import errors
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.config_parser import parse
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites import gate_renderer
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.parser import parse_sites
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.template_context import handlers_of

ROLE = Path(errors.__file__).parents[3] / "roles" / "gate"
SITE = {
    "name": "panel",
    "stage": "enforce",
    "server_names": ["panel.example", "alias.example"],
    "listen": ["443", "[::]:443"],
    "upstream": "http://127.0.0.1:3000",
    "certificate": "a",
    "certificate_key": "b",
}


def render(
    template: str,
    version: str = "1.22.1",
    http2: bool = True,
    handler: int = 0,
    part: str = "whole",
    log_format: str = "json",
    **changes: Any,
) -> str:
    """Return the text that a template renders for SITE with changes; ``handler`` is its number."""
    definition = {**SITE, **changes}
    files = render_gate(definition, version, http2, log_format)
    site = parse_sites([definition])[0]
    kind = template.partition(".")[0]
    if kind == "http":
        return files["http.conf"]
    if kind == "site" and part != "server":
        return files[f"sites/{site.name}.conf"]
    key = {"site": "server", "again": "again", "decision": "decision"}.get(kind) or handlers_of(site)[handler]["key"]
    return files[f"snippets/{site.name}-{key}.conf"]


def render_gate(
    definition: dict[str, Any], version: str = "1.22.1", http2: bool = True, log_format: str = "json"
) -> dict[str, str]:
    """Return every file of a gate with one site, by path, for an nginx of that version."""
    release = tuple(map(int, version.split(".")))
    capabilities = {"http2": http2, "http2_directive": http2 and release >= (1, 25, 1)}
    capabilities |= dict.fromkeys(("ssl_conf_command", "ssl_reject_handshake"), release >= (1, 19, 4))
    nginx = {"configuration_error": None, "listens": [], "hash_sizes": [], "capabilities": capabilities}
    settings = gate_renderer.GateSettings("/var/log/nginx", log_format)
    sites = parse_sites([definition])[:1]
    files = gate_renderer.render_gate(sites, nginx, settings).candidate
    for path, text in files.items():
        assert path.endswith(".json") or parse(text, path), f"{path} is not an nginx configuration"
    return files
