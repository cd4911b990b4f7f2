# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Audit the live gate of an nginx without a playbook."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ansible_collections.quietdoor.mtls.plugins.module_utils._contracts.status_protocol import endpoints_from
from ansible_collections.quietdoor.mtls.plugins.module_utils._deploy.generation_store import GenerationStore
from ansible_collections.quietdoor.mtls.plugins.module_utils._deploy.live_generation import LiveNginx
from ansible_collections.quietdoor.mtls.plugins.module_utils._gate.apply import Outcome, Request, apply_gate

if TYPE_CHECKING:
    from support.nginx import NginxInstance


def look(nginx: NginxInstance, **changes: object) -> Outcome:
    """Apply the live gate again in check mode, which audits the configuration on disk."""
    shelf = GenerationStore(str(nginx.prefix), "gate")
    files = {path: text for path, text in shelf.files(shelf.live()).items() if path != "generation.conf"}
    listed = json.loads(files["manifest.json"])["endpoints"]
    request = Request(files, endpoints_from(listed, "manifest.json"), 10.0, 5, **changes)
    options = nginx.options()
    live = LiveNginx(
        options["nginx_binary"], options["conf_path"], tuple(options["test_argv"]), tuple(options["reload_argv"])
    )
    return apply_gate(live, request, check_mode=True)
