# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Times as certificates, index.txt and people write them. All are UTC, with a resolution of one second."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from .._ansible.errors import Problem

# A certificate or CRL made now has to be valid on a host whose clock is a little behind: one not yet valid locks everybody out.
BACKDATE = timedelta(minutes=10)
_ASN1_TIME = re.compile(r"(\d{2}|\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z", re.ASCII)


def now() -> datetime:
    """Return the present second.

    :raises Problem: if the clock stands before this software was written: then it is wrong.
    """
    present = datetime.now(timezone.utc).replace(microsecond=0)
    if present.year < 2026:
        raise Problem(f"The clock of this host says {iso(present)}", "Set the clock (NTP), then run again")
    return present


def iso(when: datetime) -> str:
    """Return ``2026-11-23T11:39:07Z``."""
    return when.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def asn1(when: datetime) -> str:
    """Return the time as in index.txt: UTCTime until 2049, GeneralizedTime from then on (RFC 5280 section 4.1.2.5)."""
    return when.strftime("%y%m%d%H%M%SZ" if when.year < 2050 else "%Y%m%d%H%M%SZ")


def parse_asn1(text: str) -> datetime:
    """Return the time that a UTCTime or GeneralizedTime of index.txt names.

    :raises ValueError: if it is none.
    """
    match = _ASN1_TIME.fullmatch(text)
    if not match:
        raise ValueError(text)
    year, month, day, hour, minute, second = (int(group) for group in match.groups())
    if len(match[1]) == 2:
        year += 1900 if year >= 50 else 2000
    return datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)
