#!/usr/bin/python
# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nginx_info
short_description: Report the version, capabilities and listening addresses of the nginx on a host
version_added: 0.1.0
description:
  - Reads the version, the build and the effective configuration of nginx. Changes nothing.
extends_documentation_fragment:
  - quietdoor.mtls.nginx
  - quietdoor.mtls.attributes.info
notes:
  - The effective configuration is that of C(nginx.conf) in O(conf_path), as nginx itself prints it.
seealso:
  - module: quietdoor.mtls.gate_transaction
author:
  - quietdoor.mtls authors (@quietdoor)
"""

EXAMPLES = r"""
- name: Read the facts about nginx
  quietdoor.mtls.nginx_info:
  register: my_nginx

- name: Show the servers that listen on port 443
  ansible.builtin.debug:
    msg: "{{ my_nginx.listens | selectattr('port', 'equalto', 443) }}"
"""

RETURN = r"""
version:
  description: The version number.
  returned: success
  type: str
  sample: 1.22.1
product:
  description: V(nginx), or the name of a fork.
  returned: success
  type: str
  sample: nginx
tls_library:
  description: The TLS library that nginx was built with, and the one that it uses; both none without TLS.
  returned: success
  type: dict
  sample: {"built": "OpenSSL 3.0.11 19 Sep 2023", "running": "OpenSSL 3.0.19 27 Jan 2026"}
configure_arguments:
  description: The arguments that nginx was configured with at build time.
  returned: success
  type: list
  elements: str
modules:
  description: Optional modules that are built in (C(static)), and those that were built to be loaded (C(dynamic)).
  returned: success
  type: dict
  sample: {"static": ["http_realip_module", "http_ssl_module"], "dynamic": ["http_geoip_module"]}
capabilities:
  description: The features of this nginx that a gate may use, each true or false.
  returned: success
  type: dict
  sample:
    ssl: true
    http2: true
    http2_directive: false
    http3: false
    tls13: true
    ssl_reject_handshake: true
    ssl_conf_command: true
    auth_request: true
    realip: true
    limit_req: true
    regex: true
configuration_error:
  description: The error of nginx in its configuration, none if it is valid. With one, RV(includes) and RV(listens) are empty.
  returned: success
  type: str
includes:
  description: Every C(include) with the files that it includes.
  returned: success
  type: list
  elements: dict
  sample: [{"pattern": "conf.d/*.conf", "file": "/etc/nginx/nginx.conf", "line": 59, "files": ["/etc/nginx/conf.d/a.conf"]}]
listens:
  description:
    - Every address that a server listens on.
    - C(address) is V(*) for every IPv4 address and V(::) for every IPv6 one; C(port) is none for a unix socket; C(default_server)
      is whether the C(listen) has that parameter; C(protocol) is V(http), V(stream) or V(mail).
  returned: success
  type: list
  elements: dict
  sample:
    - address: "*"
      port: 443
      ssl: true
      default_server: false
      http2: true
      udp: false
      protocol: http
      server_names: [admin.example.com]
      file: /etc/nginx/conf.d/admin.conf
      line: 3
      proxy_protocol: false
hash_sizes:
  description: The sizes of hash tables that the C(http) block sets. nginx accepts each of these directives once.
  returned: success
  type: list
  elements: dict
  sample: [{"name": "variables_hash_max_size", "value": "2048", "file": "/etc/nginx/nginx.conf", "line": 14}]
gate_manifest:
  description:
    - The content of C(quietdoor/gate/manifest.json), which describes the gate that is live on the host; an empty mapping without
      a gate, none if the file cannot be read as JSON.
  returned: success
  type: dict
  sample: {"format": 1, "endpoints": [], "sites": {}}
running:
  description: Whether a master process runs with this configuration, according to its pid file.
  returned: success
  type: bool
  sample: true
"""

import json
import os
from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.module_runner import run
from ansible_collections.quietdoor.mtls.plugins.module_utils._contracts.paths import LIVE_MANIFEST
from ansible_collections.quietdoor.mtls.plugins.module_utils._deploy.entry_point import read_text
from ansible_collections.quietdoor.mtls.plugins.module_utils._deploy.module_options import NGINX, nginx_from
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.config_model import Configuration


def work(module: Any) -> dict[str, Any]:
    """Return the facts about nginx."""
    nginx = nginx_from(module.params)
    build = nginx.build
    nginx.check()
    error = None
    try:
        configuration = nginx.dump(nginx.conf_file)
    except MtlsError as problem:
        error, configuration = problem.what, nginx.main_file_alone()
    return {
        "changed": False,
        "version": build.version,
        "product": build.product,
        "tls_library": {"built": build.tls_built, "running": build.tls_running},
        "configure_arguments": list(build.arguments),
        "modules": {"static": list(build.static_modules), "dynamic": list(build.dynamic_modules)},
        "capabilities": asdict(build.capabilities),
        "configuration_error": error,
        "includes": [] if error else includes(configuration),
        "listens": [] if error else listens(configuration),
        "hash_sizes": [] if error else hash_sizes(configuration),
        "gate_manifest": live_manifest(nginx.conf_path),
        "running": nginx.master(configuration) is not None,
    }


def live_manifest(conf_path: str) -> Any:
    """Return the manifest of the live gate, empty without a gate, None if it cannot be read."""
    text = read_text(os.path.join(conf_path, LIVE_MANIFEST))
    try:
        return {} if text is None else json.loads(text.encode())
    except ValueError:
        return None


def includes(configuration: Configuration) -> list[dict[str, Any]]:
    """Return every include with its files."""
    return [
        {"pattern": directive.args[0], "file": directive.file, "line": directive.line, "files": files}
        for directive, files in configuration.includes()
    ]


def listens(configuration: Configuration) -> list[dict[str, Any]]:
    """Return every address that a server listens on."""
    return [
        {**asdict(listen), "protocol": server.protocol, "server_names": list(server.server_names)}
        for server in configuration.servers(80 if os.geteuid() == 0 else 8000)
        for listen in server.listens
    ]


def hash_sizes(configuration: Configuration) -> list[dict[str, Any]]:
    """Return every directive of http that sets the size of a hash table."""
    return [
        {"name": one.name, "value": one.args[0], "file": one.file, "line": one.line}
        for context, one in configuration.walk()
        if context == ("http",) and one.name.endswith(("_hash_max_size", "_hash_bucket_size")) and one.args
    ]


def main() -> None:
    """Run the module."""
    run(AnsibleModule(argument_spec=NGINX, supports_check_mode=True), work)


if __name__ == "__main__":
    main()
