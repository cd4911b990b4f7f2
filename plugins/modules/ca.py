#!/usr/bin/python
# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create and keep a certificate authority."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ca
short_description: Create and keep a certificate authority
version_added: 0.1.0
description:
  - Creates a self-signed authority in a directory of its own, and keeps the files of an existing one in order.
  - The directory has the layout of C(openssl ca), with an C(openssl.cnf) in it with which the plain openssl command
    revokes and makes CRLs
    beside this collection; each sees the other's work.
  - A key or CA certificate that exists is never made again. When an option asks for something else, the module says
    what differs and fails.
  - An authority is refused inside a git work tree that does not ignore it.
  - With O(passphrase), the key is stored as PKCS#8, encrypted with AES-256 under PBKDF2 (HMAC-SHA-256, 600,000 rounds).
author:
  - quietdoor.mtls authors (@quietdoor)
options:
  common_name:
    description:
      - The authority's common name, as people will see it in their certificate stores.
    type: str
    required: true
  organization:
    description:
      - The authority's organization.
    type: str
  country:
    description:
      - The authority's country, two upper-case letters.
    type: str
  key:
    description:
      - The kind of the authority's key.
      - It is used when the authority is created; for an existing one it is compared.
    type: dict
    default:
      type: rsa
      size: 4096
    suboptions:
      type:
        description:
          - The key's algorithm.
        type: str
        choices: [rsa, ecdsa]
        required: true
      size:
        description:
          - For V(rsa), the modulus in bits.
          - The default is V(4096).
        type: int
        choices: [2048, 3072, 4096, 8192]
      curve:
        description:
          - For V(ecdsa), the curve.
          - The default is V(P-256).
        type: str
        choices: [P-256, P-384]
  valid_for:
    description:
      - How long the CA certificate is valid, as V(3650d).
    type: str
    default: 3650d
  previous_passphrase:
    description:
      - The passphrase that the key has had so far, when O(passphrase) is a new one. The same key is then encrypted anew,
        as PKCS#8, however it was encrypted before.
      - For a key that has not been encrypted so far it may be empty.
      - A key that opens with O(passphrase) already stays as it is, so this may stay set until every backup with the old
        passphrase is gone.
    type: str
extends_documentation_fragment:
  - quietdoor.mtls.authority
  - quietdoor.mtls.authority.passphrase
  - quietdoor.mtls.attributes
"""

EXAMPLES = r"""
- name: Create the authority
  quietdoor.mtls.ca:
    path: /srv/quietdoor/authority
    passphrase: "{{ vault_authority_passphrase }}"
    common_name: Example Ops Client CA
    organization: Example

- name: Change the passphrase of its key
  quietdoor.mtls.ca:
    path: /srv/quietdoor/authority
    passphrase: "{{ vault_authority_passphrase }}"
    previous_passphrase: "{{ vault_authority_previous_passphrase }}"
    common_name: Example Ops Client CA
    organization: Example

- name: Create one with a small key
  quietdoor.mtls.ca:
    path: /srv/quietdoor/lab
    passphrase: "{{ vault_lab_passphrase }}"
    common_name: Lab Client CA
    key:
      type: ecdsa
      curve: P-256
"""

RETURN = r"""
changes:
  description: What was done, or in check mode would be done.
  returned: success
  type: list
  elements: str
  sample: [created]
certificate:
  description: Path of the CA certificate.
  returned: success
  type: str
  sample: /srv/quietdoor/authority/certs/ca.cert.pem
passphrase_changed:
  description: Whether the key was, or in check mode would be, encrypted anew with another passphrase.
  returned: success
  type: bool
  sample: false
subject:
  description: The authority's distinguished name as nginx prints it (RFC 2253).
  returned: success
  type: str
  sample: CN=Example Ops Client CA,O=Example
not_after:
  description: When the CA certificate ends.
  returned: when the authority exists
  type: str
  sample: "2036-11-20T11:39:07Z"
fingerprint:
  description: SHA-256 fingerprint of the CA certificate.
  returned: when the authority exists
  type: str
  sample: 5f3a0c...
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quietdoor.mtls.plugins.module_utils._ansible import arguments
from ansible_collections.quietdoor.mtls.plugins.module_utils._ansible.durations import parse_duration
from ansible_collections.quietdoor.mtls.plugins.module_utils._ansible.running import run
from ansible_collections.quietdoor.mtls.plugins.module_utils._pki import keys, names
from ansible_collections.quietdoor.mtls.plugins.module_utils._pki.authority import AuthoritySpec, establish
from ansible_collections.quietdoor.mtls.plugins.module_utils._pki.clock import iso, now
from ansible_collections.quietdoor.mtls.plugins.module_utils._pki.layout import check_path

try:
    from cryptography.hazmat.primitives import hashes
except ImportError:  # reported by run()
    pass


def _spec(params: dict[str, Any]) -> AuthoritySpec:
    common_name = names.check_subject_text(params["common_name"], "common_name")
    organization = params["organization"] and names.check_subject_text(params["organization"], "organization")
    country = params["country"] and names.check_country(params["country"])
    subject = names.build_name(common_name, organization, country)
    key = keys.complete_spec(**params["key"], default_size=4096)
    return AuthoritySpec(subject, key, parse_duration(params["valid_for"], "valid_for"))


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode("utf-8", "surrogatepass")


def _work(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    spec = _spec(params)
    passphrase = keys.check_passphrase(params["passphrase"])
    outcome = establish(
        params["path"],
        spec,
        passphrase,
        now(),
        check_mode=module.check_mode,
        previous_passphrase=_bytes(params["previous_passphrase"]),
    )
    if passphrase is None:
        module.warn(f"The private key of {params['path']} is not encrypted: set passphrase before anyone relies on it.")
    result = {
        "changed": bool(outcome.changes),
        "changes": outcome.changes,
        "passphrase_changed": check_path(params["path"]).key in outcome.after,
        "certificate": check_path(params["path"]).certificate,
        "subject": names.rfc2253(spec.subject),
        "diff": {"before": outcome.before, "after": outcome.after},
    }
    if outcome.certificate is not None:
        result["not_after"] = iso(outcome.certificate.not_valid_after_utc)
        result["fingerprint"] = outcome.certificate.fingerprint(hashes.SHA256()).hex()
    return result


def main() -> None:
    """Run the module."""
    spec = {
        "path": arguments.PATH,
        "passphrase": arguments.PASSPHRASE,
        "previous_passphrase": arguments.PASSPHRASE,
        "common_name": {"type": "str", "required": True},
        "organization": {"type": "str"},
        "country": {"type": "str"},
        "key": arguments.key(keys.RSA_SIZES_CA, keys.CURVES_CA, {"type": "rsa", "size": 4096}),
        "valid_for": {"type": "str", "default": "3650d"},
    }
    run(AnsibleModule(argument_spec=spec, supports_check_mode=True), _work, needs=["cryptography"])


if __name__ == "__main__":
    main()
