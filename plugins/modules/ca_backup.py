#!/usr/bin/python
# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create, verify and restore encrypted backups of an authority."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ca_backup
short_description: Create, verify and restore encrypted backups of an authority
version_added: 0.1.0
description:
  - With O(state=created), writes the whole directory of an authority, as a consistent snapshot, to one encrypted file.
  - With O(state=verified), reads such a file completely, compares the digest of every file in it, and checks that the authority
    in it is intact. Nothing is written.
  - With O(state=restored), restores the authority into a directory that is missing or empty. Nothing is ever overwritten. A link
    to an empty directory is accepted; a mount point is not, because the restored directory is put in place in one step.
  - The archive is encrypted with AES-256-GCM under a key that scrypt (N = 2^17, r = 8, p = 1; 128 MiB of memory)
    derives from O(archive_passphrase). Changed, truncated or added data is detected.
  - Only an intact authority is backed up, so that a bad state never replaces a good backup. An authority is intact if its key
    exists and belongs to its certificate (an encrypted key is opened only with O(passphrase)), if its database
    parses and has a file in C(newcerts) for every valid certificate, and if its CRL, if there is one, is its own and
    revokes nothing that the database does not. The files of certificates of an adopted authority may be missing, see RV(missing).
author:
  - quietdoor.mtls authors (@quietdoor)
options:
  path:
    description:
      - The authority's directory. Required for O(state=created) and O(state=restored); not used for
        O(state=verified).
      - For O(state=restored) it is refused inside a git work tree that does not ignore it and the directory beside it,
        C(.NAME.restoring), in which the tree is built.
    type: path
  archive:
    description:
      - The backup, a file outside the authority. Its directory must exist; it is never created, so that a backup
        is not written to the wrong disk if a disk is not mounted.
      - It is refused inside a git work tree that does not ignore it.
      - With O(state=created), it is replaced only if it is a backup of the same authority that opens with the same
        passphrase.
    type: path
    required: true
  archive_passphrase:
    description:
      - The passphrase of the archive, from a vault. For a new archive at least 12 characters.
      - Without it a backup is useless. Keep a copy outside this host.
    type: str
    required: true
  passphrase:
    description:
      - The passphrase of the authority's private key. The key stays encrypted in the archive; with this option it is
        opened to verify that it belongs to the certificate. Without it an encrypted key is not verified.
    type: str
  state:
    description:
      - The desired state.
      - V(created) is unchanged if O(archive) contains exactly the present state. It compares a keyed digest in the
        archive's header and the archive's length; V(verified) reads the whole archive.
    type: str
    choices: [created, verified, restored]
    default: created
notes:
  - A restored authority has the state of the backup. Later certificates and revocations are missing in it, and the module warns
    about that. Before it writes a CRL, copy the newest published CRL (C(crl.pem) of a web host
    or of the publication, only this authority's part of it) to C(crl/ca.crl.pem). M(quietdoor.mtls.crl) then continues
    with a higher number, and refuses to lose a revocation. Without such a CRL, write a number into C(crlnumber) that is
    certainly higher than the last published one, in hex.
  - For a certificate that was issued after the backup, copy its file to C(newcerts) as C(SERIAL.pem), upper-case hex; the
    next run adds it to the database, and it can be revoked. If no copy exists but its serial is known
    (from a CRL, or the gate's log), add a line to C(index.txt) with V(R), its expiry, the time of revocation, the serial,
    V(unknown) and a subject, separated by tabs.
extends_documentation_fragment:
  - quietdoor.mtls.attributes
requirements:
  - cryptography >= 42 for the Python that runs the module
seealso:
  - module: quietdoor.mtls.ca
  - module: quietdoor.mtls.crl
"""

EXAMPLES = r"""
- name: Back the authority up
  quietdoor.mtls.ca_backup:
    path: /srv/quietdoor/authority
    archive: /mnt/backup/authority.quietdoor
    archive_passphrase: "{{ vault_backup_passphrase }}"

- name: Verify the backup
  quietdoor.mtls.ca_backup:
    archive: /mnt/backup/authority.quietdoor
    archive_passphrase: "{{ vault_backup_passphrase }}"
    passphrase: "{{ vault_authority_passphrase }}"
    state: verified

- name: Restore the authority on a new machine
  quietdoor.mtls.ca_backup:
    path: /srv/quietdoor/authority
    archive: /mnt/backup/authority.quietdoor
    archive_passphrase: "{{ vault_backup_passphrase }}"
    state: restored
"""

RETURN = r"""
archive:
  description: Path of the archive.
  returned: success
  type: str
  sample: /mnt/backup/authority.quietdoor
reason:
  description: The reason why an archive was, or in check mode would be, written; empty if none was.
  returned: with O(state=created)
  type: str
  sample: the authority changed
changes:
  description: The changes that were made, or in check mode would be made.
  returned: with O(state=restored)
  type: list
  elements: str
  sample: [restored]
size:
  description: Size of the archive in bytes.
  returned: when there is one
  type: int
  sample: 48303
created_at:
  description:
    - The time at which the state in the archive was read.
    - With O(state=created) and an unchanged archive, the time of the comparison.
  returned: when there is an authority
  type: str
  sample: "2026-11-23T11:39:07Z"
files:
  description: The number of files in it.
  returned: when there is an authority
  type: int
  sample: 31
subject:
  description: The authority's distinguished name as nginx prints it (RFC 2253).
  returned: when there is an authority
  type: str
  sample: CN=Example Ops Client CA,O=Example
certificates:
  description: The number of certificates in its database.
  returned: when there is an authority
  type: int
  sample: 4
revoked:
  description: The number of revoked certificates among them.
  returned: when there is an authority
  type: int
  sample: 1
crl_number:
  description: The number of the CRL in it, or null if there is none.
  returned: when there is an authority
  type: int
  sample: 7
key_opened:
  description: Whether the authority's key was opened and found to belong to its certificate.
  returned: when there is an authority
  type: bool
  sample: true
missing:
  description:
    - The serials of valid certificates whose file is missing, each with a warning. This occurs only in an adopted authority, as
      after C(easyrsa renew), which removes the file of the former certificate; in any other authority it is an error.
  returned: when there is an authority
  type: list
  elements: str
  sample: []
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quietdoor.mtls.plugins.module_utils._backup.create import Backup, Secrets, create, verify
from ansible_collections.quietdoor.mtls.plugins.module_utils._backup.restore import restore
from ansible_collections.quietdoor.mtls.plugins.module_utils._common import argument_specs
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.module_runner import run
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.timestamps import now
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509.keys import check_passphrase


def _created(module: AnsibleModule, secrets: Secrets) -> dict[str, Any]:
    params = module.params
    backup = create(params["path"], params["archive"], secrets, now(), check_mode=module.check_mode)
    _warn(module, backup)
    return {
        "changed": bool(backup.reason),
        "reason": backup.reason,
        "diff": {"before": {}, "after": {"archive": backup.reason} if backup.reason else {}},
        **_shown(backup),
    }


def _verified(module: AnsibleModule, secrets: Secrets) -> dict[str, Any]:
    backup = verify(module.params["archive"], secrets, now())
    _warn(module, backup)
    return {"changed": False, "diff": {"before": {}, "after": {}}, **_shown(backup)}


def _restored(module: AnsibleModule, secrets: Secrets) -> dict[str, Any]:
    params = module.params
    restored = restore(params["path"], params["archive"], secrets, now(), check_mode=module.check_mode)
    shown = _shown(restored.backup)
    _warn(module, restored.backup)
    if restored.changes:
        module.warn(
            f"{params['path']} stands as it did at {shown['created_at']}. Before module crl writes a CRL, copy the newest "
            "CRL that was published to crl/ca.crl.pem there, so that the CRL number rises and no revocation is lost; see "
            "the notes of module ca_backup."
        )
    return {
        "changed": bool(restored.changes),
        "changes": restored.changes,
        "diff": {"before": {}, "after": {"changes": restored.changes} if restored.changes else {}},
        **shown,
    }


def _warn(module: AnsibleModule, backup: Backup) -> None:
    for serial in backup.findings.missing if backup.findings else []:
        module.warn(
            f"The file of the valid certificate {serial} is missing: it was moved, as easyrsa renew does. "
            "The holder of the certificate gets in until it expires, or until that serial is revoked with module revocation."
        )


def _shown(backup: Backup) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    if backup.size is not None:
        shown["size"] = backup.size
    if backup.manifest is not None and backup.findings is not None:
        shown.update(created_at=backup.manifest.created_at, files=len(backup.manifest.files), **vars(backup.findings))
    return shown


def _work(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    secrets = Secrets(params["archive_passphrase"], check_passphrase(params["passphrase"]))
    act = {"created": _created, "verified": _verified, "restored": _restored}[params["state"]]
    return {**act(module, secrets), "archive": params["archive"]}


def main() -> None:
    """Run the module."""
    spec = {
        "path": {"type": "path"},
        "archive": {"type": "path", "required": True},
        "archive_passphrase": {"type": "str", "required": True, "no_log": True},
        "passphrase": argument_specs.PASSPHRASE,
        "state": {"type": "str", "choices": ["created", "verified", "restored"], "default": "created"},
    }
    module = AnsibleModule(
        argument_spec=spec,
        supports_check_mode=True,
        required_if=[("state", "created", ["path"]), ("state", "restored", ["path"])],
    )
    run(module, _work, needs=["cryptography"])


if __name__ == "__main__":
    main()
