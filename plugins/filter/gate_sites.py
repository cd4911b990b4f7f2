# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Validate and complete `gate_sites` as a filter."""

from __future__ import annotations

DOCUMENTATION = r"""
name: gate_sites
short_description: Validate and complete the list of sites behind a gate
version_added: 0.1.0
author:
  - quietdoor.mtls authors (@quietdoor)
description:
  - Reads the variable C(gate_sites) of role P(quietdoor.mtls.gate#role), fills in every default, and fails on the first mistake
    with the name of the site and the key.
  - The templates of the role use only the result of this filter.
positional: _input
options:
  _input:
    description: The list of sites. The keys of a site are documented with role P(quietdoor.mtls.gate#role).
    type: list
    elements: dict
    required: true
  manifest:
    description:
      - The manifest of the live gate on the host, C(quietdoor/gate/manifest.json). A window without a deadline in C(gate_sites)
        keeps its deadline in the manifest; if it has none there, it ends a week from now.
      - Without this option deadlines are not checked, which is useful to list the endpoints of the sites.
    type: dict
seealso:
  - module: quietdoor.mtls.gate_render
"""

EXAMPLES = r"""
- name: Complete a list of sites
  ansible.builtin.debug:
    msg: "{{ sites | quietdoor.mtls.gate_sites }}"
  vars:
    sites:
      - name: panel
        stage: enforce
        server_names: [panel.example.org]
        upstream: http://127.0.0.1:3000
        certificate: /etc/ssl/panel.pem
        certificate_key: /etc/ssl/private/panel.key
"""

RETURN = r"""
_value:
  description:
    - The sites, each with C(name), C(stage), C(mode), C(server_names), C(paths), C(certificate), C(certificate_key), C(contact),
      C(auth_request), C(client_max_body_size) and C(websocket) as given or by default.
    - In stage V(fallback) C(window) holds C(networks), C(until) (seconds since 1970), C(before) (a quoted key for C(map $msec))
      and C(basic_auth) (C(user_file), C(realm), C(rate), C(burst), or empty); it is empty in others.
    - "Derived keys are C(slug) (the name with C(_) for C(-), shortened if it is long),
      C(listen) (a list of C(address), C(port) and C(token)), C(endpoints) (the addresses at which the host itself can reach the
      site: C(site), C(address), C(port), C(server_name)), C(handlers) (the handler of each path: C(key), C(path), C(identity),
      C(kind), C(address), C(name), C(tls), C(ca), C(script)),
      C(path_keys), C(allow) and C(larger_body_key) (quoted keys for C(map)), C(identity_headers) (a list of C(name), C(key),
      C(value) and C(source)), C(user) (the variable with the client's name), C(hsts) (the value of the header), C(rate_limit)
      (C(rate) and C(burst), or empty), C(contact_html) (C(contact) as HTML, without a dollar sign), C(edge) (the identity of the
      edge and the headers that are read from it, or empty), C(edge_headers) (the headers that no application receives) and
      C(visitor) (the nginx variables that describe the visitor)."
  type: list
  elements: dict
"""

import time
from typing import TYPE_CHECKING

from ansible.errors import AnsibleFilterError
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.parser import parse_sites, settle_windows
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.template_context import describe_site

if TYPE_CHECKING:
    from collections.abc import Callable


def gate_sites(value: object, manifest: object = None) -> list[dict[str, object]]:
    """Return the validated and completed sites as plain data.

    :raises AnsibleFilterError: for a mistake in the list.
    """
    try:
        sites = parse_sites(value)
        judged = sites if manifest is None else settle_windows(sites, manifest, time.time())
        return [describe_site(site) for site in judged]
    except MtlsError as problem:
        raise AnsibleFilterError(str(problem)) from problem


class FilterModule:
    """The filter for Ansible."""

    def filters(self) -> dict[str, Callable[..., object]]:
        return {"gate_sites": gate_sites}
