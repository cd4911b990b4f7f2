#!/usr/bin/python
# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Publish what web hosts have to know of an authority."""

from __future__ import annotations

DOCUMENTATION = r"""
module: publication
short_description: Publish what web hosts have to know of an authority
version_added: 0.1.0
description:
  - Writes the authority's chain, its CRL, who holds which certificate, and every serial that was ever revoked into a
    directory of public data.
    Web hosts take it over with M(quietdoor.mtls.trust_install).
  - The chain has every CA up to the root, and every one has its CRL there. What stands above an issuing CA is published
    from the copies in its own directory; the root's may be away.
  - Whatever changes is published only if every active certificate of a client verifies against exactly that chain and that CRL;
    a client who would be turned away is named.
  - A revocation waits for nothing that is only about others. Where a serial is denied that was not before, a client who would be
    turned away is left out of C(identities.json) with a warning, and the CRL of another CA, one above or a predecessor, that is
    still valid but ends too soon or lacks a revocation is published all the same, see RV(lapsing).
  - Nothing secret is in it. The private key is not needed.
  - Each change raises the generation, a number that every web host tells once it has taken the change over.
author:
  - quietdoor.mtls authors (@quietdoor)
options:
  publish_path:
    description:
      - The directory to publish into, made if it is missing. It must neither lie inside the authority's nor around it.
    type: path
    required: true
  min_remaining:
    description:
      - A CRL with less time left than this is not published, except for one of another CA than that of O(path) that is still
        valid, and either is published already or must not keep a revocation back. See RV(lapsing).
      - In check mode a CRL that is due is taken for written, as M(quietdoor.mtls.crl) would have done before in the
        play.
    type: str
    default: 7d
  predecessors:
    description:
      - Directories of authorities that came before O(path) and whose certificates are still good. Both are trusted, with
        CRL, identities and revoked serials of both.
      - When the last certificate of one has ended or is revoked, the module warns that it can be taken out of the list.
        One whose CA certificate has ended is left out.
      - Of one whose directory is missing or empty, as when its medium is not mounted, everything that was published before stays,
        and is published anew only with a revocation; see RV(lapsing).
    type: list
    elements: path
    default: []
extends_documentation_fragment:
  - quietdoor.mtls.authority
  - quietdoor.mtls.attributes
"""

EXAMPLES = r"""
- name: Publish
  quietdoor.mtls.publication:
    path: /srv/quietdoor/authority
    publish_path: /srv/quietdoor/publication

- name: Publish while the certificates of the former authority are still good
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
    - What is wrong with CRLs of other CAs that are, or in check mode would be, published although they end too soon or lack a
      revocation, and which predecessors are not here.
    - Each is a warning, too. Once such a CRL has ended, nobody gets in, so a play should fail at its end if there are any.
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
    # PEM tells a reader nothing; that it changed does. So it is with certificates in JSON, whose digests stand beside them.
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
