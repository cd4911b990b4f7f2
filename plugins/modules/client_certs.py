#!/usr/bin/python
# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Issue, renew and revoke the certificates of a whole roster of clients."""

from __future__ import annotations

DOCUMENTATION = r"""
module: client_certs
short_description: Issue, renew and revoke the certificates of a whole roster of clients
version_added: 0.1.0
description:
  - Issues, renews, reissues and revokes client certificates in one call, so that every client has the certificate that the
    roster requires.
  - Every certificate has a different key (except with O(clients[].csr)), CA:FALSE, the extended key usage clientAuth, and the
    e-mail addresses of the client.
  - The files of a client are stored in C(clients/NAME/) of the authority's directory, named after client, end of validity
    and serial, with stable links such as C(NAME.p12) to the current ones.
  - A certificate is renewed before it expires. Its predecessor stays valid for O(overlap), so that there is time to hand
    over the new bundle, and is then revoked as superseded by the next run.
  - After a bundle has been handed over, the private key, the bundles and the file with their passphrase may be removed;
    they are not needed until the certificate is renewed. Without the key, a changed passphrase is not detected.
  - The database assigns every certificate to its client. A client whose files are lost can still be revoked; a client that is
    V(present) on the roster then gets a new certificate, and the old one is revoked after O(overlap).
  - Gates apply a revocation only after a CRL with it has been written (M(quietdoor.mtls.crl)) and shipped.
author:
  - quietdoor.mtls authors (@quietdoor)
options:
  clients:
    description:
      - The roster. Names that differ only in case are refused.
      - A client that is not on it is not changed, and a warning names it while it has a valid certificate. See O(purge).
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description:
          - The client's name, unique on the roster. It becomes part of file names, of the gate's log and of a header.
        type: str
        required: true
      common_name:
        description:
          - The name of the person or machine in the certificate, at most 64 bytes of visible text in UTF-8.
          - The default is O(clients[].name).
        type: str
      email:
        description:
          - E-mail addresses, put into the certificate as subject alternative names.
        type: list
        elements: str
        default: []
      roles:
        description:
          - Roles, published for the gates.
        type: list
        elements: str
        default: []
      organization:
        description:
          - The organization in the certificate's subject.
        type: str
      valid_for:
        description:
          - The validity of this client's certificates, as V(30d).
          - The default is the module's O(valid_for).
        type: str
      key:
        description:
          - The type of this client's keys.
          - The default is the module's O(key).
        type: dict
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
              - The default is V(2048).
            type: int
            choices: [2048, 3072, 4096]
          curve:
            description:
              - For V(ecdsa), the curve.
              - The default is V(P-256).
            type: str
            choices: [P-256]
      csr:
        description:
          - A certificate signing request (PKCS#10) in PEM, or the full path of a file with it on the host where the module
            runs, for a client that creates its own key. Then no key and no bundle are created here.
          - Only its public key is used. Its signature is verified, as proof that the sender has the private key. All other
            fields are ignored; the roster defines the content of the certificate.
          - The key must be P-256, or RSA of 2048 to 4096 bits. Ed25519 is refused, because browsers do not use it for client
            certificates; so are RSA keys with a bad exponent, with factors that are small or close to each other, or with the
            ROCA vulnerability.
          - A key that the CA or another client has or ever had is refused, including keys known to a CA in O(predecessors).
          - A client whose own key was revoked gets no new certificate until the roster has a CSR with another key; a warning
            names it. All other clients on the roster are processed.
          - A CSR with another key reissues the certificate. With the same CSR, a renewal keeps the key.
          - It cannot be combined with O(clients[].key), O(clients[].bundle_profiles) or O(clients[].bundle_passphrase). It is
            ignored for O(clients[].state=revoked).
        type: str
      bundle_profiles:
        description:
          - The bundles to write; V(modern) is C(NAME.p12), V(compat) is C(NAME.compat.p12) for macOS Keychain,
            Android and older Windows.
          - The default is the module's O(bundle_profiles).
        type: list
        elements: str
        choices: [modern, compat]
      bundle_passphrase:
        description:
          - The passphrase of this client's bundles. A change rewrites them.
          - By default one is generated and stored in C(NAME.passphrase), which only its owner can read.
          - Java (keytool and programs built on it) cannot open a bundle whose passphrase has non-ASCII characters.
            Choose an ASCII passphrase for such a bundle; generated ones are ASCII.
        type: str
      state:
        description:
          - With V(present) the client has a valid certificate; with V(revoked) all its certificates are revoked.
        type: str
        choices: [present, revoked]
        default: present
      reason:
        description:
          - The reason of the revocation (RFC 5280 section 5.3.1), for O(clients[].state=revoked).
        type: str
        choices: [unspecified, keyCompromise, affiliationChanged, superseded, cessationOfOperation]
        default: cessationOfOperation
  purge:
    description:
      - Whether to revoke (cessationOfOperation) all certificates of clients that are not on the roster. Certificates that belong
        to no client, such as those of CAs and those signed by hand, are not changed.
      - In an adopted authority in O(predecessors), certificates that were signed by hand are assigned by their common name (or
        else by their e-mail address), if all certificates of that name have the same subject.
      - It is refused with an empty roster.
    type: bool
    default: false
  purge_limit:
    description:
      - The number of clients that O(purge) may revoke in one run. If there are more, nothing is changed, and the module fails
        with their names.
    type: int
    default: 3
  valid_for:
    description:
      - The validity of certificates. No certificate outlives the CA certificate.
    type: str
    default: 365d
  renew_before:
    description:
      - The time before its expiry at which a certificate is renewed, limited to a third of its validity.
    type: str
    default: 30d
  overlap:
    description:
      - The time for which a predecessor stays valid beside its successor. The first run after that revokes it.
    type: str
    default: 14d
  predecessors:
    description:
      - Directories of the authorities before O(path) whose certificates are still valid, see C(docs/ca-end-of-life.md).
      - A client gets its certificate from O(path). Its certificates of a predecessor are revoked there as superseded by the
        first run after O(overlap), and at once if the client is V(revoked).
      - A warning names each client that has a valid certificate of a predecessor and is not on the roster.
      - In an adopted authority, certificates from before the adoption are assigned to clients by the rules in
        C(docs/adoption.md). A certificate without a certain client is not changed, and a warning names its serial.
      - The predecessors' keys are not needed for that; M(quietdoor.mtls.crl) needs them.
    type: list
    elements: path
    default: []
  key:
    description:
      - The type of the clients' keys.
    type: dict
    default:
      type: ecdsa
      curve: P-256
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
          - The default is V(2048).
        type: int
        choices: [2048, 3072, 4096]
      curve:
        description:
          - For V(ecdsa), the curve.
          - The default is V(P-256).
        type: str
        choices: [P-256]
  bundle_profiles:
    description:
      - The bundles to write for every client.
    type: list
    elements: str
    choices: [modern, compat]
    default: [modern]
extends_documentation_fragment:
  - quietdoor.mtls.authority
  - quietdoor.mtls.authority.passphrase
  - quietdoor.mtls.attributes
"""

EXAMPLES = r"""
- name: Issue a certificate to every client on the roster
  quietdoor.mtls.client_certs:
    path: /srv/quietdoor/authority
    passphrase: "{{ vault_authority_passphrase }}"
    clients:
      - name: alex
        common_name: Alex Example
        email: [alex@example.org]
        roles: [admin]
      - name: bea
        email: [bea@contractor.example]
        valid_for: 30d
        bundle_profiles: [modern, compat]
      - name: carl
        state: revoked
        reason: keyCompromise
      - name: door-probe
        csr: /srv/quietdoor/requests/door-probe.csr

- name: Revoke the certificates of all clients that are not on the roster
  quietdoor.mtls.client_certs:
    path: /srv/quietdoor/authority
    passphrase: "{{ vault_authority_passphrase }}"
    clients: "{{ roster }}"
    purge: true
    purge_limit: 5
"""

RETURN = r"""
clients:
  description:
    - The action for each client, or in check mode the predicted action, in the order of the roster.
    - Purged clients follow.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The client's name.
      type: str
      sample: alex
    action:
      description:
        - V(issued), V(renewed), V(reissued), V(revoked), V(unchanged), or V(updated) if only files were written or
          predecessors revoked.
      type: str
      sample: issued
    reason:
      description: The reason of the action.
      type: str
      sample: it has no certificate
    serial:
      description: The serial of the current certificate, upper-case hex.
      type: str
      sample: 2B6C0DE1
    not_after:
      description: The expiry of the current certificate.
      type: str
      sample: "2027-11-23T11:39:07Z"
    revoked_serials:
      description: Serials that this run revoked.
      type: list
      elements: str
      sample: []
    directory:
      description: The directory of the client's files.
      type: str
      sample: /srv/quietdoor/authority/clients/alex
retired:
  description: Certificates of predecessors that were, or in check mode would be, revoked.
  returned: success
  type: list
  elements: dict
  contains:
    path:
      description: The predecessor's directory.
      type: str
      sample: /srv/quietdoor/authority
    client:
      description: The client's name.
      type: str
      sample: alex
    serial:
      description: The certificate's serial.
      type: str
      sample: 2B6C0DE1
    reason:
      description: The reason of the revocation.
      type: str
      sample: superseded
unlisted:
  description: Clients that have a valid certificate, are not on the roster and were not purged.
  returned: success
  type: list
  elements: str
  sample: []
"""

from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca.layout import check_path, require_authority
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca.predecessors import check_predecessors
from ansible_collections.quietdoor.mtls.plugins.module_utils._clients.csr import requested_key
from ansible_collections.quietdoor.mtls.plugins.module_utils._clients.enrol import (
    Result,
    bring_to_desired_state,
    predict,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._clients.predecessor_clients import (
    Retired,
    load_elsewhere,
    retire,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._clients.roster import (
    Client,
    Rules,
    check_roster,
    enumerated,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._common import argument_specs
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.durations import parse_duration
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.module_runner import run
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.timestamps import now
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509 import keys, pkcs12
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509.names import check_client_name

_REASONS = ["unspecified", "keyCompromise", "affiliationChanged", "superseded", "cessationOfOperation"]
_PROFILES = list(pkcs12.SUFFIXES)


def _client(number: int, entry: dict[str, Any], params: dict[str, Any]) -> Client:
    name = check_client_name(entry["name"], f"clients: entry {number}")
    present = entry["state"] == "present"
    public_key = None
    key = keys.complete_spec(**(entry["key"] or params["key"]), default_size=2048, option=f"client {name}: key")
    if entry["csr"] is not None and present:
        _refuse_companions(entry)
        key, public_key = requested_key(entry["csr"], name)
    profiles = params["bundle_profiles"] if entry["bundle_profiles"] is None else entry["bundle_profiles"]
    passphrase = entry["bundle_passphrase"]
    return Client(
        name=name,
        common_name=entry["common_name"] or name,
        organization=entry["organization"],
        email=tuple(entry["email"]),
        roles=tuple(entry["roles"]),
        key=key,
        valid_for=parse_duration(entry["valid_for"] or params["valid_for"], f"client {name}: valid_for"),
        present=present,
        reason=entry["reason"],
        bundle_profiles=() if public_key else tuple(dict.fromkeys(profiles)),
        bundle_passphrase=passphrase if passphrase is None else pkcs12.check_passphrase(passphrase, name),
        public_key=public_key,
    )


def _refuse_companions(entry: dict[str, Any]) -> None:
    for option in ("key", "bundle_profiles", "bundle_passphrase"):
        if entry[option]:
            raise MtlsError(
                f"client {entry['name']}: csr and {option} cannot be combined, because only the client has the private key",
                "Remove one of them; with a csr, the client creates its own bundle",
            )


def _returned(result: Result, directory: str) -> dict[str, Any]:
    latest = result.record.latest
    return {
        "name": result.step.client.name,
        "action": result.action,
        "reason": result.reason,
        "serial": latest.serial if latest else None,
        "not_after": result.not_after,
        "revoked_serials": list(result.step.revoke),
        "directory": directory,
    }


def _diff(results: list[Result], retired: list[Retired]) -> dict[str, Any]:
    changed = [result for result in results if result.action != "unchanged"]
    before = {result.step.client.name: ", ".join(result.step.record.serials) or "no certificate" for result in changed}
    after = {result.step.client.name: f"{result.action}: {result.reason}" for result in changed}
    before.update({f"{one.path}: {one.serial}": "valid" for one in retired})
    after.update({f"{one.path}: {one.serial}": f"revoked ({one.reason}), {one.client}" for one in retired})
    return {"before": before, "after": after}


def _rules(params: dict[str, Any]) -> Rules:
    if params["purge_limit"] < 0:
        raise MtlsError(f"purge_limit: {params['purge_limit']} is negative", "Set it to a number of clients, 0 or more")
    return Rules(
        renew_before=parse_duration(params["renew_before"], "renew_before"),
        overlap=parse_duration(params["overlap"], "overlap"),
        purge_limit=params["purge_limit"] if params["purge"] else None,
    )


def _work(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    clients = check_roster([_client(number, entry, params) for number, entry in enumerate(params["clients"], 1)])
    rules, passphrase, at = _rules(params), keys.check_passphrase(params["passphrase"]), now()
    layout = check_path(params["path"])
    former = check_predecessors(layout.root, params["predecessors"])
    elsewhere = load_elsewhere(former, clients, at)
    if former and not module.check_mode:
        require_authority(layout.root)
    if former or module.check_mode:
        # A failure here must be known before a predecessor is changed.
        done = predict(layout.root, clients, rules, passphrase, at, elsewhere)
    purged = [result.step.client for result in done.results[len(clients) :]] if former else []
    before = retire(layout.root, former, [*clients, *purged], rules.overlap, at, check_mode=module.check_mode)
    if not module.check_mode:
        done = bring_to_desired_state(layout.root, clients, rules, passphrase, at, elsewhere)
    if done.unlisted:
        module.warn(
            f"Not on the roster, but with a valid certificate: {enumerated(done.unlisted)}. "
            "They get in until it expires. Set their state to revoked, or set purge (authority_purge of role authority)."
        )
    for doubt in before.doubts:
        module.warn(doubt)
    for result in done.results:
        if result.step.refused:
            module.warn(f"client {result.step.client.name}: {result.reason}.")
    return {
        "changed": bool(before.retired) or any(result.action != "unchanged" for result in done.results),
        "retired": [asdict(one) for one in before.retired],
        "clients": [_returned(result, layout.client(result.step.client.name)) for result in done.results],
        "unlisted": done.unlisted,
        "diff": _diff(done.results, before.retired),
    }


def main() -> None:
    """Run the module."""
    profiles = {"type": "list", "elements": "str", "choices": _PROFILES}
    client = {
        "name": {"type": "str", "required": True},
        "common_name": {"type": "str"},
        "email": {"type": "list", "elements": "str", "default": []},
        "roles": {"type": "list", "elements": "str", "default": []},
        "organization": {"type": "str"},
        "valid_for": {"type": "str"},
        "key": argument_specs.key(keys.RSA_SIZES_CLIENT, keys.CURVES_CLIENT, None),
        "csr": {"type": "str"},
        "bundle_profiles": profiles,
        "bundle_passphrase": {"type": "str", "no_log": True},
        "state": {"type": "str", "choices": ["present", "revoked"], "default": "present"},
        "reason": {"type": "str", "choices": _REASONS, "default": "cessationOfOperation"},
    }
    spec = {
        "path": argument_specs.PATH,
        "passphrase": argument_specs.PASSPHRASE,
        "clients": {"type": "list", "elements": "dict", "required": True, "options": client},
        "purge": {"type": "bool", "default": False},
        "purge_limit": {"type": "int", "default": 3},
        "valid_for": {"type": "str", "default": "365d"},
        "renew_before": {"type": "str", "default": "30d"},
        "overlap": {"type": "str", "default": "14d"},
        "predecessors": {"type": "list", "elements": "path", "default": []},
        "key": argument_specs.key(keys.RSA_SIZES_CLIENT, keys.CURVES_CLIENT, {"type": "ecdsa", "curve": "P-256"}),
        "bundle_profiles": {**profiles, "default": ["modern"]},
    }
    run(AnsibleModule(argument_spec=spec, supports_check_mode=True), _work, needs=["cryptography"])


if __name__ == "__main__":
    main()
