#!/usr/bin/python
# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Publish the public data of an authority for web hosts."""

from __future__ import annotations

DOCUMENTATION = r"""
module: publication
short_description: Publish the public data of an authority for web hosts
version_added: 0.1.0
description:
  - Writes the authority's chain, its CRL, the certificates of all clients, and every serial that was ever revoked into a
    directory of public data. Web hosts install it with M(quietdoor.mtls.trust_install).
  - The chain contains every CA up to the root, and the publication has a CRL of each. The data of the CAs above an issuing CA
    comes from the copies in its directory; the root's directory may be unavailable.
  - A change is published only if every active certificate of a client verifies against exactly that chain and that CRL;
    otherwise the module fails with the names of the clients that would be refused.
  - A revocation never waits for other clients or CAs. If the change denies a new serial, a client that would be refused is left
    out of C(identities.json) with a warning. The CRL of another CA, one above or a predecessor, that is still valid but expires
    too soon or lacks a revocation is published anyway, see RV(lapsing).
  - The publication contains no secret. The private key is not needed.
  - Each change raises the generation, a number that every web host reports after it has installed the change.
author:
  - quietdoor.mtls authors (@quietdoor)
options:
  publish_path:
    description:
      - The directory to publish into, created if missing. Neither this nor the authority's directory may contain the other.
    type: path
    required: true
  min_remaining:
    description:
      - A CRL that expires sooner than this is not published. The exception is a still valid CRL of another CA than that of
        O(path) that is published already or must not delay a revocation. See RV(lapsing).
      - In check mode a CRL that is due counts as written, because M(quietdoor.mtls.crl) would have written it before in the
        play.
    type: str
    default: 7d
  predecessors:
    description:
      - Directories of the authorities before O(path) whose certificates are still valid. All are trusted, and CRL, identities and
        revoked serials of all are published.
      - If the last certificate of a predecessor has expired or is revoked, the module warns that it can be removed from the list.
        A predecessor whose CA certificate has expired is left out.
      - If the directory of a predecessor is missing or empty, for example because its medium is not mounted, its published data
        stays. It is published again only with a revocation; see RV(lapsing).
    type: list
    elements: path
    default: []
extends_documentation_fragment:
  - quietdoor.mtls.authority
  - quietdoor.mtls.attributes
"""

EXAMPLES = r"""
- name: Publish the authority
  quietdoor.mtls.publication:
    path: /srv/quietdoor/authority
    publish_path: /srv/quietdoor/publication

- name: Publish while the certificates of the former authority are still valid
  quietdoor.mtls.publication:
    path: /srv/quietdoor/authority-2036
    predecessors: [/srv/quietdoor/authority]
    publish_path: /srv/quietdoor/publication
"""

RETURN = r"""
publish_path:
  description: The directory.
  returned: success
  type: str
  sample: /srv/quietdoor/publication
generation:
  description: The generation of the publication, or in check mode the least that it would have.
  returned: when the authority exists
  type: int
  sample: 1763897947
changes:
  description: The files that were, or in check mode would be, written.
  returned: success
  type: list
  elements: str
  sample: [crl.pem, denied.json]
lapsing:
  description:
    - The faults of CRLs of other CAs that are, or in check mode would be, published although they expire too soon or lack a
      revocation, and the unavailable predecessors.
    - Each is a warning, too. After such a CRL expires, no client gets in, so a play should fail at its end if there are any.
  returned: success
  type: list
  elements: str
  sample: []
"""

import hashlib
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca.layout import check_path
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca.publish import Request, publish
from ansible_collections.quietdoor.mtls.plugins.module_utils._common import argument_specs
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.durations import parse_duration
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.module_runner import run
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.timestamps import now


def _diff(name: str, before: str, after: str) -> dict[str, str]:
    return {"before_header": name, "after_header": name, "before": _shown(name, before), "after": _shown(name, after)}


def _shown(name: str, text: str) -> str:
    # A digest shows that a PEM file changed, its text is not readable. Certificates in JSON have their digests beside them.
    if name.endswith(".pem") and text:
        return f"sha256 {hashlib.sha256(text.encode()).hexdigest()}\n"
    return "".join(line for line in text.splitlines(keepends=True) if not line.lstrip().startswith('"der": '))


def _work(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    directory = check_path(params["publish_path"], "publish_path").root
    min_remaining = parse_duration(params["min_remaining"], "min_remaining")
    request = Request(params["path"], tuple(params["predecessors"]), min_remaining)
    outcome = publish(request, directory, now(), check_mode=module.check_mode)
    for warning in (*outcome.warnings, *outcome.lapsing):
        module.warn(warning)
    result = {
        "changed": bool(outcome.changes),
        "changes": outcome.changes,
        "publish_path": directory,
        "lapsing": outcome.lapsing,
        "diff": [_diff(name, outcome.before.get(name, ""), text) for name, text in outcome.after.items()],
    }
    if outcome.generation is not None:
        result["generation"] = outcome.generation
    return result


def main() -> None:
    """Run the module."""
    spec = {
        "path": argument_specs.PATH,
        "publish_path": {"type": "path", "required": True},
        "predecessors": {"type": "list", "elements": "path", "default": []},
        "min_remaining": {"type": "str", "default": "7d"},
    }
    run(AnsibleModule(argument_spec=spec, supports_check_mode=True), _work, needs=["cryptography"])


if __name__ == "__main__":
    main()
