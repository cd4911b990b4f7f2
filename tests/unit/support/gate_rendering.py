# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render the templates of role gate for a site definition and an nginx version, without nginx."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jinja2
import yaml
from ansible.plugins.filter.core import FilterModule
from ansible_collections.quietdoor.mtls.plugins.filter.gate_sites import gate_sites
from ansible_collections.quietdoor.mtls.plugins.filter.nginx_quote import nginx_quote
from ansible_collections.quietdoor.mtls.plugins.module_utils._ansible import errors
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.config import parse

ROLE = Path(errors.__file__).parents[3] / "roles" / "gate"
VARIABLES = yaml.safe_load((ROLE / "vars" / "main.yml").read_text(encoding="utf-8"))
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
    """Render a template for SITE with changes."""
    site = gate_sites([{**SITE, **changes}])[0]
    return render_site(template, site, version, http2, handler, part, log_format)


def render_site(
    template: str,
    site: dict[str, Any],
    version: str = "1.22.1",
    http2: bool = True,
    handler: int = 0,
    part: str = "whole",
    log_format: str = "json",
) -> str:
    """Render a template as the role does, for an nginx of that version. Role trust and the lookups take no part in it."""
    environment = _environment()
    tokens = [listen["token"] for listen in site["listen"]]
    release = tuple(map(int, version.split(".")))
    capabilities = {"http2": http2, "http2_directive": http2 and release >= (1, 25, 1)}
    capabilities |= dict.fromkeys(("ssl_conf_command", "ssl_reject_handshake"), release >= (1, 19, 4))
    values: dict[str, Any] = {
        **VARIABLES,
        "gate__site": site,
        "gate__part": part,
        "gate__handler": site["handlers"][handler],
        "gate__sites": [site],
        "gate__nginx": {"capabilities": capabilities},
        "gate__default": {"owned": tokens, "http2": tokens},
        "gate_log_format": log_format,
        "gate_nginx_log_path": "/var/log/nginx",
    }
    expression = VARIABLES["gate__http2_by_listen"].strip("{} ")
    values["gate__http2_by_listen"] = environment.compile_expression(expression)(**values)
    text = environment.get_template(template).render(**values)
    assert template.endswith(".json.j2") or parse(text, template), "the result is not an nginx configuration"
    return text


@functools.cache
def _environment() -> jinja2.Environment:
    # keep_trailing_newline and trim_blocks as in ansible.builtin.template
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROLE / "templates"),
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    filters = FilterModule().filters()
    environment.filters |= {name: filters[name] for name in ("combine", "flatten", "to_nice_json")}
    environment.filters["quietdoor.mtls.nginx_quote"] = nginx_quote
    return environment


def render_gate(
    definition: dict[str, Any], version: str = "1.22.1", http2: bool = True, log_format: str = "json"
) -> dict[str, str]:
    """Return every file of a gate with one site, as roles/gate/tasks/render.yml names them."""
    site = gate_sites([definition])[0]
    name, snippets = site["name"], site["manage"] == "snippets"

    def one(template: str, part: str = "whole", handler: int = 0) -> str:
        return render_site(template, site, version, http2, handler, part, log_format)

    files = {
        "http.conf": one("http.conf.j2"),
        "manifest.json": one("manifest.json.j2"),
        f"sites/{name}.conf": one("site.conf.j2", "http" if snippets else "whole"),
    }
    if snippets:
        files[f"snippets/{name}-server.conf"] = one("site.conf.j2", "server")
    if site["comes_again"]:
        files[f"snippets/{name}-again.conf"] = one("again.conf.j2")
    for number, handler in enumerate(site["handlers"]):
        template = "location" if snippets else handler["kind"]
        files[f"snippets/{name}-{handler['key']}.conf"] = one(f"{template}.conf.j2", handler=number)
    if site["auth_request"]:
        files[f"snippets/{name}-decision.conf"] = one("decision.conf.j2")
    return files
