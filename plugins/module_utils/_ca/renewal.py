# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide when a CA certificate is renewed with the same name and key, and what the renewal changes.

Certificates issued before still verify, because a verifier finds a CA by name and key identifier (RFC 5280 section 6.1).
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING

from .._common.errors import MtlsError
from .._common.timestamps import BACKDATE, iso
from .._x509.certificate_profiles import path_length_of
from .index_database import serial_hex

try:
    from cryptography import x509
except ImportError:  # the modules report it (_common.requirements) before anything here is called
    pass

if TYPE_CHECKING:
    from datetime import datetime

    from .authority import Authority
    from .authority_spec import AuthoritySpec


def window(renew_before: timedelta, valid_for: timedelta) -> timedelta:
    """Return how long before its end a CA certificate is renewed: less than its validity, or every run would renew it."""
    return min(renew_before, valid_for / 3)


def differences(certificate: x509.Certificate, spec: AuthoritySpec) -> list[str]:
    """Return the differences between the certificate and ``spec`` that a renewal with the same key can correct."""
    found = []
    length = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    # The end of its issuer may have shortened the validity.
    least = timedelta(0) if spec.issuer else spec.valid_for
    if not least <= length <= spec.valid_for + BACKDATE:
        shown = f"{length.days} days" if length.days else str(length)
        found.append(f"valid_for is {shown} and should be {spec.valid_for}")
    path_length = path_length_of(certificate)
    if spec.path_length is not None and not _is_enough(path_length, spec.path_length):
        found.append(
            f"path_length is {'unlimited' if path_length is None else path_length} and should be {spec.path_length}"
        )
    return found


def _is_enough(found: int | None, wanted: int) -> bool:
    return found == wanted or (wanted > 0 and (found is None or found > wanted))


def why_due(certificate: x509.Certificate, spec: AuthoritySpec, latest: datetime | None, now: datetime) -> str | None:
    """Return why the certificate has to be renewed now, or None.

    :param latest: the end of the issuer's certificate, which limits a renewal; None for a self-signed authority.
    """
    if not spec.renew:
        return None
    different = differences(certificate, spec)
    if different:
        return "; ".join(different)
    end = certificate.not_valid_after_utc
    possible = now + spec.valid_for if latest is None else min(now + spec.valid_for, latest)
    if possible <= end:
        return None
    length = end - certificate.not_valid_before_utc
    if length < spec.valid_for and possible - end >= timedelta(days=1):
        return f"it ends at {iso(end)} and can live until {iso(possible)}"
    return f"it ends at {iso(end)}" if end - now <= window(spec.renew_before, spec.valid_for) else None


def refuse_bound_to_serial(authority: Authority, now: datetime) -> None:
    """Refuse a renewal if a certificate names the serial of its issuer (RFC 5280 section 4.2.1.1): it would fail to verify.

    Authorities made by hand and by easy-rsa issue such certificates.

    :raises MtlsError: for the first such certificate.
    """
    for row in authority.rows:
        path = authority.layout.new_certificate(row.serial)
        if row.is_revoked or row.not_after <= now or not os.path.exists(path):
            continue
        if _names_serial(authority.issued(row.serial), authority.certificate):
            raise MtlsError(
                f"{path} names the serial {serial_hex(authority.certificate.serial_number)} of its issuer and would not verify "
                "with a renewed one",
                "Replace or revoke such certificates first, or create a successor with its own key and name",
            )


def _names_serial(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        identifier = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    except x509.ExtensionNotFound:
        return False
    return identifier.authority_cert_serial_number == issuer.serial_number
