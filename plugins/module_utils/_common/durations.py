# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse durations such as ``90d``, ``12h`` and ``2w``."""

from __future__ import annotations

import re
from datetime import timedelta

from .errors import MtlsError, shown

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(r"([0-9]{1,8})([smhdw])")
_LONGEST = timedelta(days=100 * 366)


def parse_duration(text: str, option: str) -> timedelta:
    """Return the duration that ``text`` specifies: a whole number followed by one of s, m, h, d, w.

    :param text: for example ``90d`` or ``12h``; not negative, at most a hundred years.
    :param option: the name of the option, for the error.
    :raises MtlsError: if the text is not a valid duration.
    """
    match = _DURATION.fullmatch(str(text).strip())
    length = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else None
    if length is None or length > _LONGEST:
        raise MtlsError(
            f"{option}: {shown(text)} is not a duration of at most a hundred years",
            "Write a whole number and a unit: s, m, h, d or w, as in 90d",
        )
    return length
