# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read certificate signing requests (PKCS #10, RFC 2986) and refuse keys that are in use elsewhere.

Only the public key of a request is used, and its signature, which proves the possession of the private key. Its subject and its
extensions are ignored: the roster defines them.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from .._common.errors import MtlsError, shown
from .._common.files import opened
from .._common.pem import pem_labels
from .._common.timestamps import BACKDATE
from .._x509.key_checks import check_client_key
from .._x509.keys import public_der
from .._x509.names import rfc2253

try:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
except ImportError:  # the modules report it (_common.requirements) before anything here is called
    pass

if TYPE_CHECKING:
    from datetime import datetime

    from .._ca.authority import Authority
    from .._ca.index_database import Row
    from .._x509.keys import KeySpec
    from .adopted_clients import Holdings
    from .roster import Step

_LONGEST = 1 << 16


def requested_key(value: str, client: str) -> tuple[KeySpec, bytes]:
    """Return the kind of the key of a CSR, and the key itself (SubjectPublicKeyInfo in DER).

    :param value: the CSR in PEM, or the full path of a file with it.
    :raises MtlsError: if it cannot be read, is not a CSR, has no valid signature, or its key is not allowed for clients.
    """
    text = value.encode("utf-8", "replace") if pem_labels(value) else _read(value, client)
    request = _parse(text, client)
    try:
        key, is_proven = request.public_key(), request.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise MtlsError(
            f"client {client}: the key or the signature of its csr is of an unsupported kind",
            "Create a P-256 key or an RSA key of 2048 to 4096 bits, and a CSR signed with SHA-256",
        ) from None
    spec = check_client_key(key, f"client {client}: the key of its csr")
    if not is_proven:
        raise MtlsError(
            f"client {client}: the signature of its csr is not valid, so it does not prove that its sender has the key",
            "Create the CSR again: openssl req -new -key NAME.key -subj /CN=NAME",
        )
    return spec, public_der(key)


def _read(path: str, client: str) -> bytes:
    if not os.path.isabs(path) or "\x00" in path:
        raise MtlsError(
            f"client {client}: csr {shown(path)} is neither a CSR in PEM nor a full path", "Give one of the two"
        )
    try:
        with opened(path, "rb") as file:
            return file.read(_LONGEST + 1)
    except OSError as error:
        raise MtlsError(
            f"client {client}: csr {shown(path)} cannot be read ({error.strerror})",
            "Give the full path of a file on the CA host",
        ) from None


def _parse(text: bytes, client: str) -> x509.CertificateSigningRequest:
    if any(label.endswith("PRIVATE KEY") for label in pem_labels(text)):
        raise MtlsError(
            f"client {client}: csr has a private key in it",
            "Give a CSR only, made with a new key: this key is no longer private",
        )
    try:
        if len(text) > _LONGEST or len(pem_labels(text)) != 1:
            raise ValueError
        return x509.load_pem_x509_csr(text)
    except ValueError:
        raise MtlsError(
            f"client {client}: csr is not one CSR in PEM",
            "Give the output of openssl req -new, from BEGIN CERTIFICATE REQUEST to its END",
        ) from None


def exclude_used_keys(holdings: list[Holdings], steps: list[Step]) -> list[Step]:
    """Return the plan without certificates for revoked keys, and refuse keys that belong to others.

    A client may keep the key of its own certificates, as a renewal with the same CSR does. A client whose certificate was revoked
    gets no new one until it has another CSR. This can happen without a change of the roster, so it does not stop the others.

    :param holdings: the owners of certificates at the authority and at its predecessors: a key used at one is used for all.
    :raises MtlsError: if the key of a CSR is that of a CA or of another owner's certificate: each could impersonate the other.
    """
    wanted = {step.client.public_key: step.client.name for step in steps if step.issues and step.client.public_key}
    if not wanted:
        return steps
    given_up: dict[str, str] = {}
    for certificate in (certificate for one in holdings for certificate in one.authority.chain):
        client = wanted.get(_certified_key(certificate))
        if client is not None:
            raise _used_key_error(client, f"the CA {rfc2253(certificate.subject)}")
    for at, row in ((one, row) for one in holdings for row in one.authority.rows):
        client, owner = wanted.get(_issued_key(at.authority, row)), at.owners.get(row.serial)
        if client is not None and owner != client:
            raise _used_key_error(client, _describe_holder(row, owner))
        if client is not None and _was_given_up(at, row, holdings):
            given_up[client] = (
                f"the key of its csr is that of {_describe_holder(row, client)}: it needs a new key, and a CSR with it"
            )
    return [_refuse_given_up(step, given_up) for step in steps]


def _refuse_given_up(step: Step, given_up: dict[str, str]) -> Step:
    why = given_up.get(step.client.name)
    return replace(step, action="unchanged", reason=f"it gets no new certificate: {why}", refused=True) if why else step


def _issued_key(authority: Authority, row: Row) -> bytes:
    is_there = os.path.exists(authority.layout.new_certificate(row.serial))
    return _certified_key(authority.issued(row.serial)) if is_there else b""


def _certified_key(certificate: x509.Certificate) -> bytes:
    """Return the certificate's key in DER, or nothing if it is of a kind that no accepted CSR has."""
    try:
        return public_der(certificate.public_key())
    except (ValueError, UnsupportedAlgorithm):
        return b""


def _was_given_up(at: Holdings, row: Row, holdings: list[Holdings]) -> bool:
    """Return whether a client's own certificate was revoked without a successor that may have the same key."""
    if row.revocation is None:
        return False
    return row.revocation.reason != "superseded" or not _was_succeeded(at, row, row.revocation.at, holdings)


def _was_succeeded(at: Holdings, row: Row, revoked_at: datetime, holdings: list[Holdings]) -> bool:
    """Return whether the client had a newer certificate that was good when this one was revoked.

    The reason alone is not enough: the roster may give it for a client that left and got another certificate later.
    """
    owner, since = at.owners[row.serial], _issued_at(at.authority, row)
    others = [
        (one.authority, other)
        for one in holdings
        for other in one.authority.rows
        if one.owners.get(other.serial) == owner and os.path.exists(one.authority.layout.new_certificate(other.serial))
    ]
    return any(
        since < _issued_at(authority, other) < revoked_at
        for authority, other in others
        if other.revocation is None or other.revocation.at > revoked_at
    )


def _issued_at(authority: Authority, row: Row) -> datetime:
    return authority.issued(row.serial).not_valid_before_utc + BACKDATE


def _describe_holder(row: Row, owner: str | None) -> str:
    name = f"client {owner}" if owner else shown(row.subject)
    reason = f", revoked ({row.revocation.reason or 'unspecified'})" if row.revocation else ""
    return f"certificate {row.serial} of {name}{reason}"


def _used_key_error(client: str, holder: str) -> MtlsError:
    return MtlsError(
        f"client {client}: the key of its csr is that of {holder}",
        f"Create a new key for {client} and a CSR with it, or set its state to revoked until then",
    )
