# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Format and parse times of certificates, index.txt, logs, JSON files and messages. All are UTC."""

from __future__ import annotations

import re
import ssl
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


def from_epoch(seconds: float) -> datetime:
    """Return the time of a number of seconds since 1970."""
    return datetime.fromtimestamp(seconds, timezone.utc)


def iso(when: datetime) -> str:
    """Return ``2026-11-23T11:39:07Z`` (RFC 3339)."""
    return when.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_iso(text: str) -> datetime:
    """Return the time of a text such as ``2026-11-23T11:39:07Z`` or ``2026-11-23T12:39:07+01:00``.

    :raises ValueError: if it is not such a text, or has no time zone.
    """
    # strptime is ten times slower. fromisoformat accepts the letter Z only since Python 3.11.
    when = datetime.fromisoformat(f"{text[:-1]}+00:00" if text[-1:] in ("Z", "z") else text)
    if when.tzinfo is None:
        raise ValueError(text)
    try:
        return when.astimezone(timezone.utc)
    except OverflowError:  # the year 1 or 9999, outside the range of datetime in UTC
        raise ValueError(text) from None


def in_words(when: datetime) -> str:
    """Return ``2026-11-23 11:39:07 UTC``, for messages."""
    return when.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def in_words_to_the_minute(when: datetime) -> str:
    """Return ``2026-11-23 11:39 UTC``, for messages."""
    return when.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def date_digits(when: datetime) -> str:
    """Return ``20261123``, for file names."""
    return when.astimezone(timezone.utc).strftime("%Y%m%d")


def systemd_calendar(when: datetime) -> str:
    """Return the time as OnCalendar of a timer expects it (systemd.time(7))."""
    return when.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def parse_openssl(text: str) -> datetime:
    """Return the time that openssl prints, such as ``Nov 23 11:39:07 2026 GMT``.

    :raises ValueError: if the text is not such a time.
    """
    # The month names of strptime depend on the locale.
    return from_epoch(ssl.cert_time_to_seconds(text))


def asn1(when: datetime) -> str:
    """Return the time in the form of index.txt: UTCTime through 2049, otherwise GeneralizedTime (RFC 5280 section 4.1.2.5)."""
    return when.strftime("%y%m%d%H%M%SZ") if 1950 <= when.year < 2050 else generalized_time(when)


def generalized_time(when: datetime) -> str:
    """Return the time as GeneralizedTime, which has a year of four digits."""
    return f"{when.year:04d}{when:%m%d%H%M%S}Z"


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
