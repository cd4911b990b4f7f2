# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sign the certificate of an issuing CA with its issuer, usually the root CA.

All work is done under the issuer's lock. The lock of the other authority is always taken first.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .._common.errors import MtlsError
from .._common.files import PRIVATE_FILE, PUBLIC_FILE, write_atomic
from .._x509.certificate_profiles import CaProfile, issuing_ca, path_length_of
from .._x509.names import oneline, rfc2253
from .authority import Authority, open_for_change
from .index_database import serial_hex, valid_row
from .layout import check_path, require_authority

try:
    from cryptography.hazmat.primitives.serialization import Encoding
except ImportError:  # the modules report it (_common.requirements) before anything here is called
    pass

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography import x509

    from .._x509.keys import PublicKey
    from .chain import Chain


@dataclass(frozen=True)
class Issuer:
    """The issuer of an authority: its directory ``path`` and the passphrase of its key."""

    path: str
    passphrase: bytes | None = field(default=None, repr=False)

    @property
    def is_here(self) -> bool:
        """Return whether its directory is on this host. A root CA may be away while it has nothing to sign."""
        return os.path.exists(check_path(self.path).certificate)

    def chain(self) -> Chain:
        """Return its certificate and those of its issuers. Call it only if the issuer is here."""
        return self._open().chain

    def check(self, subject: x509.Name, directory: str, now: datetime) -> None:
        """Check that the issuer could sign an authority of this name in ``directory`` now.

        :raises MtlsError: if it cannot.
        """
        _refuse_same_place(check_path(self.path).root, directory)
        if not self.is_here:
            raise _away(self.path, subject)
        authority = self._open()
        self._check(authority, subject)
        authority.signer(self.passphrase, now)

    def certify(self, profile: CaProfile, known: frozenset[str], now: datetime) -> tuple[x509.Certificate, Chain]:
        """Return a certificate for the authority that ``profile`` describes, and the chain of its issuers.

        A certificate for the same key and name that the authority does not have is from a killed run. It is returned, so that one
        request never results in two certificates.

        :param known: serials (hex) of the certificates that the authority has.
        :raises MtlsError: if the issuer cannot sign, or has revoked this key.
        """
        with require_authority(self.path).locked():
            authority = open_for_change(self.path)
            self._check(authority, profile.subject)
            signed = self._signed(authority, profile, known, now)
            return signed or self._sign(authority, profile, now), authority.chain

    def _open(self) -> Authority:
        authority = Authority(require_authority(self.path))
        authority.rows = authority.with_orphans()
        return authority

    def _check(self, authority: Authority, subject: x509.Name) -> None:
        certificate = authority.certificate
        if certificate.subject == subject:
            raise MtlsError(
                f"{rfc2253(subject)} is also the name of its issuer in {authority.layout.root}, but the name identifies a CA",
                "Give the issuing CA another common_name",
            )
        if path_length_of(certificate) == 0:
            raise MtlsError(
                f"{rfc2253(certificate.subject)} in {authority.layout.root} may sign clients only, not a CA (path length 0)",
                "Renew it with path_length 1 and renew same_key, or create a root CA with path_length 1",
            )

    def _signed(
        self, authority: Authority, profile: CaProfile, known: frozenset[str], now: datetime
    ) -> x509.Certificate | None:
        _refuse_revoked(authority, profile.public_key, profile.subject)
        for certificate in _of_key(authority, profile.public_key, profile.subject):
            serial = serial_hex(certificate.serial_number)
            if serial not in known and certificate.not_valid_after_utc > now:
                return certificate
        return None

    def _sign(self, authority: Authority, profile: CaProfile, now: datetime) -> x509.Certificate:
        certificate = issuing_ca(authority.signer(self.passphrase, now), profile)
        number, end = certificate.serial_number, certificate.not_valid_after_utc
        layout, serial = authority.layout, serial_hex(number)
        # A certificate without a row is accepted as the work of a killed run only if it was announced.
        write_atomic(layout.announcement, f"{serial}\n".encode(), PRIVATE_FILE)
        write_atomic(layout.new_certificate(serial), certificate.public_bytes(Encoding.PEM), PUBLIC_FILE)
        authority.save([*authority.rows, valid_row(number, end, oneline(profile.subject))])
        layout.withdraw_announcement()
        return certificate


def _of_key(authority: Authority, public_key: PublicKey, subject: x509.Name) -> list[x509.Certificate]:
    """Return the certificates that the authority issued for this key, newest first."""
    name = oneline(subject)
    rows = [row for row in reversed(authority.rows) if row.subject == name]
    paths = [authority.layout.new_certificate(row.serial) for row in rows]
    issued = [authority.issued(row.serial) for row, path in zip(rows, paths) if os.path.exists(path)]
    return [certificate for certificate in issued if certificate.public_key() == public_key]


def _refuse_revoked(authority: Authority, public_key: PublicKey, subject: x509.Name) -> None:
    revoked = {row.serial for row in authority.rows if row.is_revoked}
    newest = next(iter(_of_key(authority, public_key, subject)), None)
    if newest is not None and serial_hex(newest.serial_number) in revoked:
        raise MtlsError(
            f"The certificate of {rfc2253(subject)} was revoked by {rfc2253(authority.certificate.subject)} in "
            f"{authority.layout.root}",
            "Create a new authority with its own name and directory: a revoked key is not certified again",
        )


def _refuse_same_place(issuer: str, directory: str) -> None:
    paths = [os.path.realpath(issuer), os.path.realpath(directory)]
    if os.path.commonpath(paths) in paths:
        raise MtlsError(
            f"issuer: {issuer} and {directory} are one inside the other",
            "Give every authority a directory of its own, side by side",
        )


def _away(path: str, subject: x509.Name) -> MtlsError:
    return MtlsError(
        f"{rfc2253(subject)} has to be signed by the authority in {path}, which is not on this host",
        "Bring that directory back and run again, or correct the path in issuer",
    )
