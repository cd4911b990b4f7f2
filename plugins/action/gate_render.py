# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render the gates of a host on the control node."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ansible.plugins.action import ActionBase
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._deploy.module_options import NGINX, RENDER
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.gate_renderer import GateSettings, render_gate
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.nginx_requirements import require_capabilities
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.parser import parse_sites, settle_windows
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.template_context import describe_site, endpoints_of
from ansible_collections.quietdoor.mtls.plugins.plugin_utils.variable_errors import VariablesError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.models import Site


class ActionModule(ActionBase):
    """Action gate_render."""

    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Render the gates."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        options = self.validate_argument_spec(argument_spec={**NGINX, **RENDER})[1]
        try:
            # The list is checked first, because a mistake in it needs no connection to the host.
            sites = parse_sites(options["sites"])
            nginx = self._nginx_info(task_vars)
            if nginx.get("failed"):
                return {**result, **nginx}
            return {**result, **render(sites, nginx, options)}
        except MtlsError as problem:
            raise VariablesError(str(problem)) from None

    def _nginx_info(self, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        found: dict[str, Any] = self._execute_module(
            module_name="quietdoor.mtls.nginx_info",
            # The options are passed as written, because a path is a path of the host.
            module_args={name: self._task.args[name] for name in NGINX if name in self._task.args},
            task_vars=task_vars,
        )
        return found


def render(sites: tuple[Site, ...], nginx: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result of the action.

    :param nginx: the result of module nginx_info.
    :raises MtlsError: if the sites cannot be rendered for this nginx.
    """
    manifest = nginx["gate_manifest"]
    settled = settle_windows(sites, manifest, time.time())
    present = [site for site in settled if site.stage != "absent"]
    require_capabilities(present, options["nginx_binary"], nginx["version"], nginx["capabilities"])
    settings = GateSettings(options["log_path"], options["log_format"], options["default_server"])
    gate = render_gate(settled, nginx, settings)
    return {
        "changed": False,
        "candidate": gate.candidate,
        "endpoints": [asdict(endpoint) for site in gate.sites for endpoint in endpoints_of(site)],
        "sites": [describe_site(site) for site in gate.sites],
        "default_servers": {
            "owned": [listen.token for listen in gate.default_servers.owned],
            "http2": [listen.token for listen in gate.default_servers.http2],
            "reasons": list(gate.default_servers.reasons),
        },
        "bypasses": list(gate.bypasses),
        "live_manifest": manifest,
        "nginx": {key: nginx[key] for key in ("version", "capabilities", "configuration_error", "running")},
    }
