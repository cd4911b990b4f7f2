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
  - With O(adopt), an authority that was made by hand with C(openssl ca), or by easy-rsa 3, is taken over as it is. Its keys,
    certificates, rows and configuration stay byte for byte; check mode lists what is written beside them.
  - With O(passphrase), the key is stored as PKCS#8, encrypted with AES-256 under PBKDF2 (HMAC-SHA-256, 600,000 rounds).
author:
  - quietdoor.mtls authors (@quietdoor)
options:
  common_name:
    description:
      - The authority's common name, as people will see it in their certificate stores.
      - Required unless O(adopt) is set.
    type: str
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
  adopt:
    description:
      - Whether the authority in O(path) was made by somebody else and is to be taken over; for easy-rsa, O(path) is its C(pki)
        directory. Leave it set afterwards.
      - The directory has to hold an C(index.txt), and the certificate and key of a self-signed authority that openssl accepts.
      - What is changed is C(unique_subject = no) in C(index.txt.attr), and the key's permissions where others can read it.
      - What is added, where it is missing, is C(crlnumber), the directories C(newcerts), C(crl) and C(clients), a configuration
        C(quietdoor.cnf), and C(quietdoor.json), which remembers where the files lie.
      - O(common_name), O(organization) and O(country) are compared with the certificate if they are given. O(key) and
        O(valid_for) play no part.
    type: bool
    default: false
  certificate_file:
    description:
      - With O(adopt), the CA certificate's path relative to O(path), where it has none of the usual names.
    type: str
  key_file:
    description:
      - With O(adopt), the private key's path relative to O(path), where it has none of the usual names.
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

- name: Create one with a small key
  quietdoor.mtls.ca:
    path: /srv/quietdoor/lab
    passphrase: "{{ vault_lab_passphrase }}"
    common_name: Lab Client CA
    key:
      type: ecdsa
      curve: P-256

- name: Take over what easy-rsa made
  quietdoor.mtls.ca:
    path: /srv/easy-rsa/pki
    passphrase: "{{ vault_authority_passphrase }}"
    adopt: true
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
from ansible_collections.quietdoor.mtls.plugins.module_utils._pki.adoption import Claim, adopt, refuse_unasked
from ansible_collections.quietdoor.mtls.plugins.module_utils._pki.authority import AuthoritySpec, Outcome, establish
from ansible_collections.quietdoor.mtls.plugins.module_utils._pki.clock import iso, now
from ansible_collections.quietdoor.mtls.plugins.module_utils._pki.layout import check_path

try:
    from cryptography.hazmat.primitives import hashes
except ImportError:  # reported by run()
    pass

_CLAIM = ("common_name", "organization", "country", "certificate_file", "key_file")


def _spec(params: dict[str, Any]) -> AuthoritySpec:
    common_name = names.check_subject_text(params["common_name"], "common_name")
    organization = params["organization"] and names.check_subject_text(params["organization"], "organization")
    country = params["country"] and names.check_country(params["country"])
    subject = names.build_name(common_name, organization, country)
    key = keys.complete_spec(**params["key"], default_size=4096)
    return AuthoritySpec(subject, key, parse_duration(params["valid_for"], "valid_for"))


def _adopt(params: dict[str, Any], passphrase: bytes | None, *, check_mode: bool) -> Outcome:
    claim = Claim(**{name: params[name] for name in _CLAIM})
    return adopt(params["path"], claim, passphrase, now(), check_mode=check_mode)


def _keep(params: dict[str, Any], passphrase: bytes | None, *, check_mode: bool) -> Outcome:
    refuse_unasked(params["path"], passphrase, now())
    return establish(params["path"], _spec(params), passphrase, now(), check_mode=check_mode)


def _work(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    passphrase = keys.check_passphrase(params["passphrase"])
    work = _adopt if params["adopt"] or check_path(params["path"]).adopted else _keep
    outcome = work(params, passphrase, check_mode=module.check_mode)
    if passphrase is None:
        module.warn(f"The private key of {params['path']} is not encrypted: set passphrase before anyone relies on it.")
    certificate = outcome.certificate
    result = {
        "changed": bool(outcome.changes),
        "changes": outcome.changes,
        "certificate": check_path(params["path"]).certificate,
        "subject": names.rfc2253(certificate.subject if certificate else _spec(params).subject),
        "diff": {"before": outcome.before, "after": outcome.after},
    }
    if certificate is not None:
        result["not_after"] = iso(certificate.not_valid_after_utc)
        result["fingerprint"] = certificate.fingerprint(hashes.SHA256()).hex()
    return result


def main() -> None:
    """Run the module."""
    spec = {
        "path": arguments.PATH,
        "passphrase": arguments.PASSPHRASE,
        "common_name": {"type": "str"},
        "organization": {"type": "str"},
        "country": {"type": "str"},
        "key": arguments.key(keys.RSA_SIZES_CA, keys.CURVES_CA, {"type": "rsa", "size": 4096}),
        "valid_for": {"type": "str", "default": "3650d"},
        "adopt": {"type": "bool", "default": False},
        "certificate_file": {"type": "str"},
        "key_file": {"type": "str", "no_log": False},
    }
    required = [("adopt", False, ("common_name",))]
    run(
        AnsibleModule(argument_spec=spec, supports_check_mode=True, required_if=required), _work, needs=["cryptography"]
    )


if __name__ == "__main__":
    main()
