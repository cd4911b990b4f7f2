# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Format and parse times of certificates, index.txt and messages. All are UTC, in whole seconds."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from .errors import MtlsError

# A new certificate or CRL must be valid on hosts whose clock is slow: a CRL that is not valid yet rejects every client.
BACKDATE = timedelta(minutes=10)
_ASN1_TIME = re.compile(r"(\d{2}|\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z", re.ASCII)


def now() -> datetime:
    """Return the current time.

    :raises MtlsError: if the clock is wrong: it shows a time before this software was written.
    """
    present = datetime.now(timezone.utc).replace(microsecond=0)
    if present.year < 2026:
        raise MtlsError(
            f"The clock of this host is wrong: it shows {iso(present)}", "Set the clock (NTP), then run again"
        )
    return present


def iso(when: datetime) -> str:
    """Return ``2026-11-23T11:39:07Z``."""
    return when.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def asn1(when: datetime) -> str:
    """Return the time in the form of index.txt: UTCTime until 2049, GeneralizedTime from then on (RFC 5280 section 4.1.2.5)."""
    return when.strftime("%y%m%d%H%M%SZ" if when.year < 2050 else "%Y%m%d%H%M%SZ")


def parse_asn1(text: str) -> datetime:
    """Return the time of a UTCTime or GeneralizedTime in index.txt.

    :raises ValueError: if the text is neither.
    """
    if not _ASN1_TIME.fullmatch(text):
        raise ValueError(text)
    whole = sortable(text)
    year, month, day, hour, minute, second = whole[:4], whole[4:6], whole[6:8], whole[8:10], whole[10:12], whole[12:14]
    return datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), tzinfo=timezone.utc)


def sortable(text: str) -> str:
    """Return a time of index.txt with its century, so that texts sort by time."""
    if len(text) == 13:
        return ("19" if text >= "50" else "20") + text
    return text
