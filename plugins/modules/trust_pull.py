#!/usr/bin/python
# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: trust_pull
short_description: Install the program with which a web host pulls its trust
version_added: 0.1.0
description:
  - Writes a program and its settings to a web host. Each run of the program, by a timer or by cron, fetches the
    publication of M(quietdoor.mtls.publication) and installs it like M(quietdoor.mtls.trust_install). If that fails, it reports
    the reason and keeps the live trust.
  - The program is one file, an archive of the same Python files that M(quietdoor.mtls.trust_install) uses. It needs python3
    and the C(openssl) command.
  - It runs as C(python3 -I PROGRAM SETTINGS), prints one line and exits with 1 if it could not install the publication. A
    manual run does the same.
  - A pulled publication is verified like a pushed one, and its root must be known, either by O(roots) or as the root
    of the installed trust. An attacker who controls the server therefore cannot introduce another CA.
options:
  program:
    description: The path of the program. Its directory is created if missing.
    type: path
    default: /usr/local/lib/quietdoor/trust-pull.pyz
  settings:
    description: The path of its settings.
    type: path
    default: /usr/local/lib/quietdoor/trust-pull.json
  url:
    description:
      - The location of the publication, an https URL or the absolute path of a directory (a mounted share).
      - Redirects are not followed. Plain http is refused, because the identities and roles are not signed.
    type: str
    required: true
  url_ca:
    description: PEM file on the host, of the CA that signed the server's certificate. By default the CAs of the system.
    type: str
    default: ""
  timeout:
    description: The time limit for one file.
    type: str
    default: 30s
  roots:
    description:
      - SHA-256 fingerprints of the trusted root certificates. By default only the installed one, including its renewals with the
        same key.
      - A publication without any installed root is refused anyway; see
        O(quietdoor.mtls.trust_install#module:replace_anchor).
    type: list
    elements: str
    default: []
  min_remaining:
    description: A CRL that expires sooner is refused, even if installed already, so that it is noticed in time. As in V(7d).
    type: str
    default: 7d
  metrics_path:
    description: A file for metrics in the text format of Prometheus, written at each run; empty for none.
    type: str
    default: ""
  worker_shutdown_timeout:
    description: See M(quietdoor.mtls.trust_install).
    type: str
    default: ""
  main_file:
    description: See M(quietdoor.mtls.trust_install).
    type: str
    default: modules-enabled/quietdoor.conf
extends_documentation_fragment:
  - quietdoor.mtls.nginx
  - quietdoor.mtls.nginx.change
  - quietdoor.mtls.attributes
seealso:
  - module: quietdoor.mtls.trust_install
  - module: quietdoor.mtls.publication
author:
  - quietdoor.mtls authors (@quietdoor)
"""

EXAMPLES = r"""
- name: Install the pull program
  quietdoor.mtls.trust_pull:
    url: https://ca.example.org/quietdoor
    metrics_path: /var/lib/prometheus/node-exporter/quietdoor.prom
"""

RETURN = r"""
program:
  description: Path of the program.
  returned: success
  type: str
  sample: /usr/local/lib/quietdoor/trust-pull.pyz
settings:
  description: Path of its settings.
  returned: success
  type: str
  sample: /usr/local/lib/quietdoor/trust-pull.json
changes:
  description: The files that were, or in check mode would be, written.
  returned: success
  type: list
  elements: str
  sample: [/usr/local/lib/quietdoor/trust-pull.json]
"""

import hashlib
import json
import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.files import (
    PUBLIC_DIR,
    PUBLIC_FILE,
    make_directory,
    opened,
    write_atomic,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.module_runner import run
from ansible_collections.quietdoor.mtls.plugins.module_utils._deploy.module_options import CHANGE, NGINX
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.pull_program import build_program, check_settings

_FILES = {
    "program": {"type": "path", "default": "/usr/local/lib/quietdoor/trust-pull.pyz"},
    "settings": {"type": "path", "default": "/usr/local/lib/quietdoor/trust-pull.json"},
}
_SETTINGS = {
    **NGINX,
    **CHANGE,
    "url": {"type": "str", "required": True},
    "url_ca": {"type": "str", "default": ""},
    "timeout": {"type": "str", "default": "30s"},
    "roots": {"type": "list", "elements": "str", "default": []},
    "min_remaining": {"type": "str", "default": "7d"},
    "metrics_path": {"type": "str", "default": ""},
    "worker_shutdown_timeout": {"type": "str", "default": ""},
    "main_file": {"type": "str", "default": "modules-enabled/quietdoor.conf"},
}


def _work(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    settings = {name: params[name] for name in _SETTINGS}
    check_settings(settings)
    wanted = {
        params["program"]: build_program(),
        params["settings"]: (json.dumps(settings, indent=1, sort_keys=True) + "\n").encode(),
    }
    before = {path: _read(path) for path in wanted}
    changes = [path for path, data in wanted.items() if before[path] != data]
    if not module.check_mode:
        for path in changes:
            _make_parents(os.path.dirname(path))
            write_atomic(path, wanted[path], PUBLIC_FILE)
    return {
        "changed": bool(changes),
        "changes": changes,
        "program": params["program"],
        "settings": params["settings"],
        "diff": [_diff(path, before[path], wanted[path]) for path in changes],
    }


def _diff(path: str, before: bytes, after: bytes) -> dict[str, str]:
    header = {"before_header": path, "after_header": path}
    if path.endswith(".json"):
        return {**header, "before": before.decode("utf-8", "replace"), "after": after.decode()}
    return {**header, "before": _digest(before), "after": _digest(after)}


def _digest(data: bytes) -> str:
    return f"sha256 {hashlib.sha256(data).hexdigest()}\n" if data else ""


def _make_parents(directory: str) -> None:
    if not os.path.isdir(directory):
        _make_parents(os.path.dirname(directory))
        make_directory(directory, PUBLIC_DIR)


def _read(path: str) -> bytes:
    try:
        with opened(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def main() -> None:
    """Run the module."""
    run(AnsibleModule(argument_spec={**_FILES, **_SETTINGS}, supports_check_mode=True), _work)


if __name__ == "__main__":
    main()
