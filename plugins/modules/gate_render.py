#!/usr/bin/python
# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gate_render
short_description: Render the gates of a host from its list of sites
version_added: 0.1.0
description:
  - Checks the variable C(gate_sites) of role P(quietdoor.mtls.gate#role), fills in every default, reads the nginx and the live
    gate of the host, and renders the files of the gate on the control node. Changes nothing.
  - Module M(quietdoor.mtls.gate_transaction) makes the result live.
options:
  sites:
    description: The list of sites. The keys of a site are documented with role P(quietdoor.mtls.gate#role).
    type: raw
    required: true
  log_path:
    description: The directory of the access logs.
    type: str
    default: /var/log/nginx
  log_format:
    description: The format of the access logs.
    type: str
    choices: [json, combined]
    default: json
  default_server:
    description:
      - V(auto) adds a default server to each address on which no other server listens, V(always) fails if that is not possible,
        V(never) adds none.
    type: str
    choices: [auto, always, never]
    default: auto
extends_documentation_fragment:
  - quietdoor.mtls.nginx
  - quietdoor.mtls.attributes.info
notes:
  - An action of the same name runs on the control node. It runs module M(quietdoor.mtls.nginx_info) on the host.
seealso:
  - module: quietdoor.mtls.gate_transaction
  - module: quietdoor.mtls.nginx_info
author:
  - quietdoor.mtls authors (@quietdoor)
"""

EXAMPLES = r"""
- name: Render the gates
  quietdoor.mtls.gate_render:
    sites: "{{ gate_sites }}"
  register: rendered

- name: Make them live
  quietdoor.mtls.gate_transaction:
    candidate: "{{ rendered.candidate }}"
    endpoints: "{{ rendered.endpoints }}"
"""

RETURN = r"""
candidate:
  description: The files of the gate, path relative to C(quietdoor/gate/) to text. Empty without a site, which removes the gate.
  returned: success
  type: dict
  sample: {"http.conf": "...", "manifest.json": "...", "sites/admin.conf": "..."}
endpoints:
  description: The addresses at which the host itself can reach the sites, for module M(quietdoor.mtls.gate_transaction).
  returned: success
  type: list
  elements: dict
  sample: [{"site": "admin", "address": "127.0.0.1", "port": 443, "server_name": "admin.example.com"}]
sites:
  description: The sites that have a gate, as filter P(quietdoor.mtls.gate_sites#filter) returns them.
  returned: success
  type: list
  elements: dict
default_servers:
  description:
    - C(owned) is the list of addresses whose default server belongs to the gate, each as the directive C(listen) takes it.
    - C(http2) is the list of addresses where C(listen ... http2) changes no other server, likewise.
    - C(reasons) is a list with the decision and its reason for each address.
  returned: success
  type: dict
  sample: {"owned": ["443"], "http2": ["443"], "reasons": ["443: the gate owns the default server and rejects unknown names"]}
bypasses:
  description:
    - One sentence for each application behind a guarded path that a public part of the same or of another site passes requests to
      as well. Only the list of sites is checked.
  returned: success
  type: list
  elements: str
  sample: []
live_manifest:
  description: The manifest of the live gate, RV(quietdoor.mtls.nginx_info#module:gate_manifest).
  returned: success
  type: dict
  sample: {}
nginx:
  description:
    - C(version), C(capabilities), C(configuration_error) and C(running) as module M(quietdoor.mtls.nginx_info) returns them.
  returned: success
  type: dict
  sample: {"version": "1.22.1", "capabilities": {"ssl": true}, "configuration_error": null, "running": true}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.module_runner import run
from ansible_collections.quietdoor.mtls.plugins.module_utils._deploy.module_options import NGINX, RENDER


def work(_module: Any) -> dict[str, Any]:
    """Refuse to run on a host."""
    raise MtlsError("gate_render runs on the control node, by an action of the same name", "Use it as a task of a play")


def main() -> None:
    """Run the module."""
    run(AnsibleModule(argument_spec={**NGINX, **RENDER}, supports_check_mode=True), work)


if __name__ == "__main__":
    main()
