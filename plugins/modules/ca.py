#!/usr/bin/python
# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create and maintain a certificate authority."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ca
short_description: Create and maintain a certificate authority
version_added: 0.1.0
description:
  - Creates an authority in a separate directory, and maintains the files of an existing one.
  - It is self-signed, or with O(issuer) signed by another one. A root CA that signs an issuing CA can be removed from the host
    while it has nothing to sign, because the issuing CA keeps public copies of the certificates and CRLs of the CAs above it,
    C(certs/chain.pem) and C(crl/issuers.crl.pem).
  - The directory has the layout of C(openssl ca). It contains an C(openssl.cnf) for the plain openssl command, which can revoke
    and create CRLs beside this collection; both use the same database.
  - An existing key is never created again, and a CA certificate only with O(renew). If an option differs from the existing
    authority, the module fails and names the difference.
  - An authority is refused inside a git work tree that does not ignore it.
  - With O(adopt), an authority that was created with C(openssl ca), or by easy-rsa 3, is adopted unchanged. Its keys,
    certificates, rows and configuration stay byte for byte; check mode lists the files that are added.
  - With O(passphrase), the key is stored as PKCS#8, encrypted with AES-256 under PBKDF2 (HMAC-SHA-256, 600,000 rounds).
author:
  - quietdoor.mtls authors (@quietdoor)
options:
  common_name:
    description:
      - The authority's common name, which certificate stores display.
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
      - The type of the authority's key.
      - It is used when the authority is created; the key of an existing one is compared with it.
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
      - The validity of the CA certificate, as V(3650d). With O(issuer) it ends with the issuer's at the latest.
    type: str
    default: 3650d
  path_length:
    description:
      - The number of CAs below this one. V(0) signs clients only; a root that signs an issuing CA needs V(1).
      - By default a new authority gets V(0), and an existing one keeps its value.
    type: int
    choices: [0, 1]
  issuer:
    description:
      - The authority that signs this one. Its directory is needed only for signing.
      - The issuing CA signs clients only. The issuer's C(index.txt) has a row for it, so that it can be revoked.
    type: dict
    suboptions:
      path:
        description:
          - The issuer's directory. Neither directory may contain the other.
        type: path
        required: true
      passphrase:
        description:
          - The passphrase of the issuer's private key.
        type: str
  predecessors:
    description:
      - Directories of authorities that this one succeeds. Its name must differ from theirs.
    type: list
    elements: path
    default: []
  renew:
    description:
      - V(same_key) renews the CA certificate with the same key and name before it expires, or if O(valid_for) or O(path_length)
        changed. All certificates that were issued before still verify.
      - The former certificate is kept as C(certs/ca-SERIAL.cert.pem).
      - A certificate that names its issuer by serial, as other software issues them, would not verify any more. A renewal is
        refused while such a certificate is valid.
      - A new key needs an authority with another name in another directory, see C(docs/ca-end-of-life.md).
    type: str
    choices: [never, same_key]
    default: never
  renew_before:
    description:
      - The time before its expiry at which the CA certificate is renewed with O(renew=same_key), at most a third of
        O(valid_for).
      - With O(renew=never), the module warns from then on.
    type: str
    default: 365d
  adopt:
    description:
      - Whether to adopt an authority in O(path) that another tool created; for easy-rsa, O(path) is its C(pki) directory. Keep it
        set afterwards.
      - The directory must contain an C(index.txt), and the certificate and key of a self-signed authority that openssl accepts.
      - Only C(unique_subject = no) in C(index.txt.attr) is changed, and the permissions of a key that other users can read.
      - If missing, C(crlnumber), the directories C(newcerts), C(crl) and C(clients), a configuration C(quietdoor.cnf), and
        C(quietdoor.json), which records the locations of the files, are added.
      - O(common_name), O(organization) and O(country) are compared with the certificate if they are given. O(key),
        O(valid_for), O(path_length), O(issuer) and O(renew) have no effect.
    type: bool
    default: false
  certificate_file:
    description:
      - With O(adopt), the CA certificate's path relative to O(path), if it has none of the usual names.
    type: str
  key_file:
    description:
      - With O(adopt), the private key's path relative to O(path), if it has none of the usual names.
    type: str
  previous_passphrase:
    description:
      - The former passphrase of the key, if O(passphrase) is a new one. The same key is then encrypted again, always as PKCS#8.
      - For a key that was not encrypted before it may be empty.
      - A key that opens with O(passphrase) already is not changed, so this option may stay set until every backup with the old
        passphrase is deleted.
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

- name: Create an authority with a small key
  quietdoor.mtls.ca:
    path: /srv/quietdoor/lab
    passphrase: "{{ vault_lab_passphrase }}"
    common_name: Lab Client CA
    key:
      type: ecdsa
      curve: P-256

- name: Create a root CA
  quietdoor.mtls.ca:
    path: /media/offline/authority
    passphrase: "{{ vault_root_passphrase }}"
    common_name: Example Root CA
    path_length: 1
    valid_for: 7300d

- name: Create the issuing CA below the root CA, and renew it before it expires
  quietdoor.mtls.ca:
    path: /srv/quietdoor/authority
    passphrase: "{{ vault_authority_passphrase }}"
    common_name: Example Ops Client CA
    issuer:
      path: /media/offline/authority
      passphrase: "{{ vault_root_passphrase }}"
    renew: same_key

- name: Adopt an authority of easy-rsa
  quietdoor.mtls.ca:
    path: /srv/easy-rsa/pki
    passphrase: "{{ vault_authority_passphrase }}"
    adopt: true
"""

RETURN = r"""
changes:
  description: The changes that were made, or in check mode would be made.
  returned: success
  type: list
  elements: str
  sample: [created]
renewed:
  description: Whether the CA certificate was, or in check mode would be, renewed with the same key.
  returned: success
  type: bool
  sample: false
certificate:
  description: Path of the CA certificate.
  returned: success
  type: str
  sample: /srv/quietdoor/authority/certs/ca.cert.pem
chain:
  description: Path of the CA certificate with those of all CAs above it, PEM. For a self-signed authority, RV(certificate).
  returned: success
  type: str
  sample: /srv/quietdoor/authority/certs/chain.pem
passphrase_changed:
  description: Whether the key was, or in check mode would be, encrypted with another passphrase.
  returned: success
  type: bool
  sample: false
subject:
  description: The authority's distinguished name as nginx prints it (RFC 2253).
  returned: success
  type: str
  sample: CN=Example Ops Client CA,O=Example
not_after:
  description: The expiry of the CA certificate.
  returned: when the authority exists
  type: str
  sample: "2036-11-20T11:39:07Z"
days_left:
  description: The number of days that the CA certificate is still valid.
  returned: when the authority exists
  type: int
  sample: 3649
fingerprint:
  description: SHA-256 fingerprint of the CA certificate.
  returned: when the authority exists
  type: str
  sample: 5f3a0c...
"""

from datetime import datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca.adoption import Claim, adopt, refuse_unasked
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca.authority import Outcome
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca.authority_spec import AuthoritySpec
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca.create import establish
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca.issuer import Issuer
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca.layout import check_path
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca.predecessors import refuse_name_of
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca.renewal import window
from ansible_collections.quietdoor.mtls.plugins.module_utils._common import argument_specs
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.durations import parse_duration
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.module_runner import run
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.timestamps import iso, now
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509 import keys, names

try:
    from cryptography import x509
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
    issuer = params["issuer"]
    if issuer and params["path_length"]:
        raise MtlsError("path_length: an issuing CA signs clients only", "Omit it if there is an issuer")
    return AuthoritySpec(
        subject,
        key,
        parse_duration(params["valid_for"], "valid_for"),
        params["path_length"],
        Issuer(issuer["path"], keys.check_passphrase(issuer["passphrase"])) if issuer else None,
        params["renew"] == "same_key",
        parse_duration(params["renew_before"], "renew_before"),
    )


def _ending(params: dict[str, Any], certificate: x509.Certificate, at: datetime) -> str | None:
    """Return the warning for a CA certificate that is about to expire, because no client certificate can outlive it."""
    adopted = check_path(params["path"]).adopted
    renews = params["renew"] == "same_key" and not adopted
    left = certificate.not_valid_after_utc - at
    if left > window(*(parse_duration(params[name], name) for name in ("renew_before", "valid_for"))):
        return None
    ways = "Make a successor" if adopted else "Renew it with renew: same_key, or make a successor"
    hint = "Its issuer's end comes first" if renews else ways
    end = iso(certificate.not_valid_after_utc)
    return f"The CA certificate of {params['path']} ends in {left.days} days, at {end}. {hint}: see docs/ca-end-of-life.md."


def _described(outcome: Outcome, at: datetime) -> dict[str, Any]:
    certificate = outcome.certificate
    if certificate is None:
        return {}
    return {
        "not_after": iso(certificate.not_valid_after_utc),
        "days_left": (certificate.not_valid_after_utc - at).days,
        "fingerprint": certificate.fingerprint(hashes.SHA256()).hex(),
    }


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode("utf-8", "surrogatepass")


def _adopt(params: dict[str, Any], passphrase: bytes | None, *, check_mode: bool) -> Outcome:
    if params["previous_passphrase"] is not None:
        raise MtlsError(
            "previous_passphrase: the key of an adopted authority stays as it is",
            "Encrypt it with openssl pkcs8 -topk8, then set only passphrase",
        )
    claim = Claim(**{name: params[name] for name in _CLAIM})
    return adopt(params["path"], claim, passphrase, now(), check_mode=check_mode)


def _keep(params: dict[str, Any], passphrase: bytes | None, *, check_mode: bool) -> Outcome:
    refuse_unasked(params["path"], passphrase, now())
    previous = _bytes(params["previous_passphrase"])
    return establish(
        params["path"], _spec(params), passphrase, now(), check_mode=check_mode, previous_passphrase=previous
    )


def _work(module: AnsibleModule) -> dict[str, Any]:
    params, at = module.params, now()
    layout = check_path(params["path"])
    passphrase = keys.check_passphrase(params["passphrase"])
    if params["common_name"] is not None:
        refuse_name_of(params["predecessors"], _spec(params).subject)
    work = _adopt if params["adopt"] or layout.adopted else _keep
    outcome = work(params, passphrase, check_mode=module.check_mode)
    if passphrase is None:
        module.warn(f"The private key of {params['path']} is not encrypted: set passphrase before anyone relies on it.")
    certificate = outcome.certificate
    ending = certificate and _ending(params, certificate, at)
    if ending:
        module.warn(ending)
    layout = check_path(params["path"])
    return {
        "changed": bool(outcome.changes),
        "changes": outcome.changes,
        "passphrase_changed": layout.key in outcome.after,
        "renewed": outcome.renewed,
        "certificate": layout.certificate,
        "chain": layout.chain if params["issuer"] else layout.certificate,
        "subject": names.rfc2253(certificate.subject if certificate else _spec(params).subject),
        **_described(outcome, at),
        "diff": {"before": outcome.before, "after": outcome.after},
    }


def main() -> None:
    """Run the module."""
    spec = {
        "path": argument_specs.PATH,
        "passphrase": argument_specs.PASSPHRASE,
        "previous_passphrase": argument_specs.PASSPHRASE,
        "common_name": {"type": "str"},
        "organization": {"type": "str"},
        "country": {"type": "str"},
        "key": argument_specs.key(keys.RSA_SIZES_CA, keys.CURVES_CA, {"type": "rsa", "size": 4096}),
        "valid_for": {"type": "str", "default": "3650d"},
        "path_length": {"type": "int", "choices": [0, 1]},
        "issuer": {"type": "dict", "options": {"path": argument_specs.PATH, "passphrase": argument_specs.PASSPHRASE}},
        "predecessors": {"type": "list", "elements": "path", "default": []},
        "renew": {"type": "str", "choices": ["never", "same_key"], "default": "never"},
        "renew_before": {"type": "str", "default": "365d"},
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
