#!/usr/bin/python
# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gate_transaction
short_description: Make a gate's configuration what nginx serves, or change nothing
version_added: 0.1.0
description:
  - Takes a candidate, the rendered configuration of all gates of this host, and makes it live as a transaction.
  - The candidate is tested in a scratch copy of the whole nginx configuration. Then a new generation is written beside the live
    one, one symbolic link is switched, nginx is tested and reloaded, and every endpoint is asked on fresh connections until the
    I(running) nginx tells the new generation. If anything fails, the link goes back, nginx is reloaded, and the old generation is
    proven in the same way.
  - What the candidate's C(manifest.json) says of the sites is compared with the effective configuration. The snippets of a site
    (C(manage) is V(snippets)) have to be included in the operator's server, nothing there may undo them, and no other server may
    open the panel. Snippets that no server includes yet are put in place with a warning; once they were included, they have to
    stay. A snippet that is still included is not removed.
  - The exit code of a reload proves nothing. With a port that is taken, nginx keeps its old configuration without a word.
  - A run that was killed at any moment is finished or undone by the next one.
options:
  candidate:
    description:
      - The files of the gate, path relative to C(quietdoor/gate/) to text. C(http.conf) and C(manifest.json) are required.
      - C(http.conf) has to include C(quietdoor/gate/generation.conf), which this module writes; it sets
        C($quietdoor_gate_generation).
      - Empty to remove the gate from nginx.
    type: dict
    required: true
  endpoints:
    description:
      - Where the running nginx tells its generation, at C(/.well-known/quietdoor) in the header C(X-Quietdoor-Generation).
      - The same as C(endpoints) in the candidate's C(manifest.json). Required unless O(candidate) is empty.
    type: list
    elements: dict
    default: []
    suboptions:
      site:
        description: The name of the site.
        type: str
        required: true
      address:
        description: An IP address that nginx listens on. V(*) and V(::) are asked on the loopback address.
        type: str
        required: true
      port:
        description: The TLS port.
        type: int
        required: true
      server_name:
        description: The name to ask for, in SNI and in the header C(Host).
        type: str
        required: true
  other_ways:
    description:
      - What to do where the panel of a site is open through another server of this nginx, which hands requests on to the same
        application, serves the same files, or has the same name on the same address.
      - V(refuse) fails and changes nothing, V(warn) only says so.
    type: str
    choices: [refuse, warn]
    default: refuse
extends_documentation_fragment:
  - quietdoor.mtls.nginx
  - quietdoor.mtls.nginx.change
  - quietdoor.mtls.attributes
notes:
  - Check mode does everything up to the test in the scratch copy and leaves no trace.
  - The candidate is public, its text is shown in diff mode. Never put a secret into it.
seealso:
  - module: quietdoor.mtls.trust_install
  - module: quietdoor.mtls.nginx_info
author:
  - quietdoor.mtls authors (@quietdoor)
"""

EXAMPLES = r"""
- name: Make the rendered gate live
  quietdoor.mtls.gate_transaction:
    candidate:
      http.conf: "{{ lookup('template', 'http.conf.j2') }}"
      manifest.json: "{{ lookup('template', 'manifest.json.j2') }}"
      sites/admin.conf: "{{ lookup('template', 'site.conf.j2') }}"
    endpoints:
      - site: admin
        address: 127.0.0.1
        port: 443
        server_name: admin.example.com

- name: Take the gate out of nginx
  quietdoor.mtls.gate_transaction:
    candidate: {}

- name: The same for an nginx of its own prefix
  quietdoor.mtls.gate_transaction:
    conf_path: /opt/nginx/conf
    nginx_binary: /opt/nginx/sbin/nginx
    test_argv: [/opt/nginx/sbin/nginx, -t]
    reload_argv: [systemctl, reload, nginx-opt]
    candidate: "{{ my_candidate }}"
    endpoints: "{{ my_endpoints }}"
"""

RETURN = r"""
generation:
  description: The generation that nginx serves now, or would after the change; none if there is no gate.
  returned: success
  type: int
  sample: 12
previous_generation:
  description: The generation that was last proven before, none if there was no gate.
  returned: success
  type: int
  sample: 11
action:
  description:
    - V(applied) if the candidate is new, V(removed) if the gate is gone, V(unchanged) if nothing was to be done.
    - V(resumed) if the files were there already but an earlier run had not brought them into the running nginx, or not proven it.
  returned: success
  type: str
  sample: applied
reason:
  description: Why there was something to do; empty if there was not.
  returned: success
  type: str
  sample: quietdoor/gate/sites/admin.conf differs
tested:
  description: Whether nginx tested the candidate in a scratch copy in this run.
  returned: success
  type: bool
  sample: true
guarded:
  description:
    - Whether every site of the candidate is guarded. V(false) if the snippets of a site are in place and no server includes them.
  returned: success
  type: bool
  sample: true
unguarded:
  description: The names of the sites that nothing guards yet.
  returned: success
  type: list
  elements: str
  sample: []
findings:
  description:
    - What was found in the effective configuration beside the gate, those that open a panel first.
    - Each has C(site), C(severity) (V(warning) here, because an error fails the module), C(file), C(line), C(what) and C(mend).
  returned: success
  type: list
  elements: dict
  sample:
    - site: admin
      severity: warning
      file: /etc/nginx/sites-enabled/admin
      line: 3
      what: this server listens without TLS too; nobody gets in there, and everybody sees the refusal
      mend: Make a server of its own for plain HTTP that redirects
sites:
  description: The names of the sites of the candidate.
  returned: success
  type: list
  elements: str
  sample: [admin]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quietdoor.mtls.plugins.module_utils._ansible.running import run
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.gate import Outcome, Request, apply_gate
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.generation import endpoints_from
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.options import (
    CHANGE,
    NGINX,
    kept,
    nginx_from,
    seconds,
)

ENDPOINT = {
    "site": {"type": "str", "required": True},
    "address": {"type": "str", "required": True},
    "port": {"type": "int", "required": True},
    "server_name": {"type": "str", "required": True},
}


def work(module: Any) -> dict[str, Any]:
    """Make the candidate live."""
    params = module.params
    request = Request(
        candidate=params["candidate"],
        endpoints=endpoints_from(params["endpoints"], "endpoints"),
        prove_timeout=seconds(params, "prove_timeout"),
        keep=kept(params),
        lenient=params["other_ways"] == "warn",
    )
    outcome = apply_gate(nginx_from(params), request, check_mode=module.check_mode)
    for warning in outcome.result.warnings:
        module.warn(warning)
    for finding in outcome.survey.findings:
        module.warn(f"{finding}. {finding.mend}.")
    return {
        "changed": outcome.result.action != "unchanged",
        "generation": outcome.generation,
        "previous_generation": outcome.previous_generation,
        "action": outcome.result.action,
        "reason": outcome.result.reason,
        "tested": outcome.result.tested,
        "guarded": not outcome.survey.unguarded,
        "unguarded": list(outcome.survey.unguarded),
        "findings": [finding.as_dict() for finding in outcome.survey.findings],
        "sites": sorted({endpoint.site for endpoint in request.endpoints}),
        "diff": difference(outcome),
    }


def difference(outcome: Outcome) -> list[dict[str, str]]:
    """Return the files that differ, before and after."""
    return [
        {
            "before_header": path,
            "after_header": path,
            "before": outcome.before.get(path, ""),
            "after": outcome.after.get(path, ""),
        }
        for path in sorted({*outcome.before, *outcome.after})
    ]


def main() -> None:
    """Entry point."""
    spec = {
        **NGINX,
        **CHANGE,
        "candidate": {"type": "dict", "required": True},
        "endpoints": {"type": "list", "elements": "dict", "default": [], "options": ENDPOINT},
        "other_ways": {"type": "str", "choices": ["refuse", "warn"], "default": "refuse"},
    }
    run(AnsibleModule(argument_spec=spec, supports_check_mode=True), work)


if __name__ == "__main__":
    main()
