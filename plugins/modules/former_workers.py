#!/usr/bin/python
# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: former_workers
short_description: Wait for the former workers of nginx, or end them
version_added: 0.1.0
description:
  - After a reload the former workers of nginx go on with requests that had begun, and judge them with the CRL and the deny list
    from before the reload. So a client that was just revoked can still be admitted on a connection that was past the handshake,
    or inside a request header or a request body.
  - Waits until no former worker runs, or ends them. Reports how many connections they hold, and until when something can arrive.
  - Former workers are children of the master process in the pid file of this nginx whose title says that they shut down. Each is
    checked again by its start time before it is ended. A master is never ended.
options:
  timeout:
    description: The longest time to wait for former workers, as in V(10s). Without effect with O(close=true).
    type: str
    default: 10s
  close:
    description: Whether to end former workers at once. This closes the connections of all sites of that nginx that they hold.
    type: bool
    default: false
extends_documentation_fragment:
  - quietdoor.mtls.nginx
  - quietdoor.mtls.attributes
notes:
  - Without a live gate there is nothing to wait for.
seealso:
  - module: quietdoor.mtls.trust_install
author:
  - quietdoor.mtls authors (@quietdoor)
"""

EXAMPLES = r"""
- name: End what began before the revocation
  quietdoor.mtls.former_workers:
    close: true
"""

RETURN = r"""
visible:
  description: Whether the processes of nginx are visible. If not, for example with nginx in a container, nothing is known.
  returned: success
  type: bool
  sample: true
workers:
  description: The process ids of the former workers that still run.
  returned: success
  type: list
  elements: int
  sample: [4711]
connections:
  description: The number of connections to the ports of gates that they hold; none if that is not visible.
  returned: success
  type: int
  sample: 2
ended:
  description: The process ids of the workers that were ended.
  returned: success
  type: list
  elements: int
  sample: []
headers_until:
  description: When the last header of a request that began before the reload can arrive, UTC; empty if none can.
  returned: success
  type: str
  sample: "2026-11-24T10:01:00Z"
bodies_until:
  description: The same for a request body or a WebSocket. V(no limit) if nothing ends them.
  returned: success
  type: str
  sample: no limit
report:
  description: All of that in one sentence.
  returned: success
  type: str
  sample: "No former worker runs: no request can arrive that began before the reload"
"""

from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.module_runner import run
from ansible_collections.quietdoor.mtls.plugins.module_utils._deploy.former_connections import settle_former_connections
from ansible_collections.quietdoor.mtls.plugins.module_utils._deploy.live_generation import endpoints_of_live_gate
from ansible_collections.quietdoor.mtls.plugins.module_utils._deploy.module_options import NGINX, nginx_from, seconds


def work(module: Any) -> dict[str, Any]:
    """Wait for former workers, or end them. Check mode does neither."""
    nginx = nginx_from(module.params)
    nginx.check()
    endpoints = endpoints_of_live_gate(nginx.conf_path) or ()
    timeout = 0.0 if module.check_mode else seconds(module.params, "timeout")
    found = settle_former_connections(
        nginx,
        nginx.dump(nginx.conf_file),
        {endpoint.port for endpoint in endpoints},
        timeout,
        close=module.params["close"] and not module.check_mode,
    )
    predicted = module.check_mode and module.params["close"] and bool(found.workers)
    return {"changed": bool(found.ended) or predicted, **asdict(found)}


def main() -> None:
    """Run the module."""
    spec = {
        **NGINX,
        "timeout": {"type": "str", "default": "10s"},
        "close": {"type": "bool", "default": False},
    }
    run(AnsibleModule(argument_spec=spec, supports_check_mode=True), work)


if __name__ == "__main__":
    main()
