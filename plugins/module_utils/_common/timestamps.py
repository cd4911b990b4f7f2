# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Times as certificates, index.txt and people write them. All are UTC, with a resolution of one second."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from .errors import MtlsError

# A certificate or CRL made now has to be valid on a host whose clock is a little behind: one not yet valid locks everybody out.
BACKDATE = timedelta(minutes=10)
_ASN1_TIME = re.compile(r"(\d{2}|\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z", re.ASCII)


def now() -> datetime:
    """Return the present second.

    :raises MtlsError: if the clock stands before this software was written: then it is wrong.
    """
    present = datetime.now(timezone.utc).replace(microsecond=0)
    if present.year < 2026:
        raise MtlsError(f"The clock of this host says {iso(present)}", "Set the clock (NTP), then run again")
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
    if not _ASN1_TIME.fullmatch(text):
        raise ValueError(text)
    whole = sortable(text)
    year, month, day, hour, minute, second = whole[:4], whole[4:6], whole[6:8], whole[8:10], whole[10:12], whole[12:14]
    return datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), tzinfo=timezone.utc)


def sortable(text: str) -> str:
    """Return a time of index.txt with its century, so that the order of such texts is the order of the times."""
    if len(text) == 13:
        return ("19" if text >= "50" else "20") + text
    return text
