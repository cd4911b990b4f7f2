# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the specification of an authority."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

try:
    from cryptography import x509
except ImportError:  # the modules report it (_common.requirements) before anything here is called
    pass

if TYPE_CHECKING:
    from .._x509.keys import KeySpec
    from .issuer import Issuer


@dataclass(frozen=True)
class AuthoritySpec:
    """The desired properties of an authority.

    :param path_length: how many CAs may follow below it (RFC 5280 section 4.2.1.9); None: 0 for a new one, any if it exists.
    :param issuer: the authority that signs it; None for a self-signed one.
    :param renew: whether its certificate is renewed with the same key, ``renew_before`` its end or when it differs.
    """

    subject: x509.Name
    key: KeySpec
    valid_for: timedelta
    path_length: int | None = None
    issuer: Issuer | None = None
    renew: bool = False
    renew_before: timedelta = timedelta(0)
