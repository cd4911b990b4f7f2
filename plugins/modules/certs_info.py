#!/usr/bin/python
# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List the certificates that an authority issued."""

from __future__ import annotations

DOCUMENTATION = r"""
module: certs_info
short_description: List the certificates that an authority issued
version_added: 0.1.0
description:
  - Lists every certificate in the authority's database, including those that the plain openssl command issued or revoked.
  - In check mode the list is empty if M(quietdoor.mtls.ca) has not created the authority yet.
author:
  - quietdoor.mtls authors (@quietdoor)
options:
  query:
    description:
      - A JMESPath expression, applied to RV(certificates); its value is RV(result).
      - Needs the Python library jmespath where the module runs.
    type: str
extends_documentation_fragment:
  - quietdoor.mtls.authority
  - quietdoor.mtls.attributes.info
"""

EXAMPLES = r"""
- name: List the clients whose certificate expires within a month
  quietdoor.mtls.certs_info:
    path: /srv/quietdoor/authority
    query: "[?status=='valid' && current && days_left < `30`].{name: name, ends: not_after}"
  register: ending
"""

RETURN = r"""
path:
  description: The authority's directory, O(path) with links and variables resolved.
  returned: success
  type: str
  sample: /srv/quietdoor/authority
certificates:
  description: One entry per certificate, in the order of issuing.
  returned: success
  type: list
  elements: dict
  contains:
    serial:
      description: Serial in upper-case hex.
      type: str
      sample: 2B6C0DE1
    name:
      description:
        - The client of the certificate; null for one that was not issued from a roster.
        - For a certificate from before the adoption of an authority, its unchanged common name, or else its e-mail address.
      type: str
      sample: alex
    subject:
      description: Distinguished name, in openssl's one-line form.
      type: str
      sample: /CN=Alex Example
    email:
      description: E-mail addresses of the client.
      type: list
      elements: str
      sample: [alex@example.org]
    roles:
      description: The client's present roles.
      type: list
      elements: str
      sample: [admin]
    status:
      description: V(valid), V(revoked) or V(expired).
      type: str
      sample: valid
    current:
      description: Whether this is the latest certificate of its client.
      type: bool
      sample: true
    issued_at:
      description: The time of issue, if known.
      type: str
      sample: "2026-11-23T11:39:07Z"
    not_after:
      description: The expiry of the certificate.
      type: str
      sample: "2027-11-23T11:39:07Z"
    days_left:
      description: Whole days until it expires; negative afterwards.
      type: int
      sample: 364
    revoked_at:
      description: The time of revocation, or null.
      type: str
      sample: null
    revocation_reason:
      description: The reason of the revocation, or null.
      type: str
      sample: null
    files:
      description: Paths of the existing files of the certificate.
      type: dict
      sample: {certificate: /srv/quietdoor/authority/clients/alex/alex-20271123-2B6C0DE1.crt}
result:
  description: The value of O(query).
  returned: when O(query) is given
  type: raw
  sample: []
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca.layout import check_path
from ansible_collections.quietdoor.mtls.plugins.module_utils._clients.listing import listing
from ansible_collections.quietdoor.mtls.plugins.module_utils._common import argument_specs
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.module_runner import run
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.timestamps import now

try:
    import jmespath
except ImportError:  # reported by run()
    pass


def _search(query: str, certificates: list[dict[str, Any]]) -> Any:
    try:
        return jmespath.search(query, certificates)
    except jmespath.exceptions.JMESPathError as error:
        raise MtlsError(f"query: {error}", "Correct the JMESPath expression (https://jmespath.org)") from None


def _work(module: AnsibleModule) -> dict[str, Any]:
    certificates = listing(module.params["path"], now(), check_mode=module.check_mode)
    path = check_path(module.params["path"]).root
    result: dict[str, Any] = {"changed": False, "path": path, "certificates": certificates}
    if module.params["query"] is not None:
        result["result"] = _search(module.params["query"], certificates)
    return result


def main() -> None:
    """Run the module."""
    spec = {"path": argument_specs.PATH, "query": {"type": "str"}}
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    needs = ["cryptography", *(["jmespath"] if module.params["query"] is not None else [])]
    run(module, _work, needs=needs)


if __name__ == "__main__":
    main()
