# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the TLS context of one connection from certificate, key and CA files."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from .._common.errors import MtlsError
from .._common.files import opened

if TYPE_CHECKING:
    from .messages import Connection, Identity, Target

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def make_context(target: Target, connection: Connection) -> ssl.SSLContext:
    """Return the TLS settings of one connection.

    :raises MtlsError: for an unusable certificate, key or CA file, with its name.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = connection.verify and connection.sni is not None
    context.verify_mode = ssl.CERT_REQUIRED if connection.verify else ssl.CERT_NONE
    if connection.tls:
        context.minimum_version = context.maximum_version = _VERSIONS[connection.tls]
    if connection.alpn:
        context.set_alpn_protocols(list(connection.alpn))
    if connection.verify:
        _load_server_ca(context, target.server_ca)
    if connection.identity.certificate:
        _load_identity(context, connection.identity)
    return context


def _load_server_ca(context: ssl.SSLContext, path: str) -> None:
    if not path:
        context.load_default_certs()
        return
    try:
        context.load_verify_locations(cafile=path)
    except ssl.SSLError as error:
        raise MtlsError(
            f"server_ca {path} holds no usable PEM certificate ({error.reason or error})",
            "Set it to the PEM file of the CA that signed the certificate of the gate's web server",
        ) from error
    except OSError as error:
        raise _unreadable(f"server_ca {path}", error) from error


class _Encrypted(Exception):
    """OpenSSL asked for a passphrase."""


def _no_passphrase() -> str:
    raise _Encrypted


def _load_identity(context: ssl.SSLContext, identity: Identity) -> None:
    for what, path in (("certificate", identity.certificate), ("key", identity.key)):
        require_readable(f"The {what} {path} of client {identity.name!r}", path)
    try:
        context.load_cert_chain(identity.certificate, identity.key, password=_no_passphrase)
    except _Encrypted:
        raise MtlsError(
            f"The key {identity.key} of client {identity.name!r} is encrypted",
            "Use a key without a passphrase that only this user can read; the probe cannot ask for a passphrase",
        ) from None
    except ssl.SSLError as error:
        raise _unusable(identity, error.reason or "") from error


def _unusable(identity: Identity, reason: str) -> MtlsError:
    if "KEY_VALUES_MISMATCH" in reason or "KEY_TYPE_MISMATCH" in reason:
        return MtlsError(
            f"The key {identity.key} of client {identity.name!r} is not that of the certificate {identity.certificate}",
            "Use a certificate and a key that belong together",
        )
    return MtlsError(
        f"The certificate {identity.certificate} or the key {identity.key} of client {identity.name!r} "
        f"cannot be used ({reason or 'no PEM in it'})",
        "Use PEM files: the certificate first, then its chain; the key without a passphrase",
    )


def require_readable(what: str, path: str) -> None:
    """Open ``path`` for reading.

    :raises MtlsError: if that is not possible.
    """
    try:
        with opened(path, "rb"):
            pass
    except OSError as error:
        raise _unreadable(what, error) from error


def _unreadable(what: str, error: OSError) -> MtlsError:
    return MtlsError(
        f"{what} cannot be read: {error.strerror or error}", "Correct the path, or allow this user to read the file"
    )
