# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute deadlines that survive clock changes and reboots.

While the machine runs, the time since its start decides (CLOCK_BOOTTIME of clock_gettime(2), which includes sleep and cannot be
set). After a reboot that count starts anew, and the wall clock decides; a wall clock that was set back meanwhile delays the
deadline by at most the whole term.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from .._common.files import opened

_BOOT_ID = "/proc/sys/kernel/random/boot_id"


@dataclass(frozen=True)
class Moment:
    """The times of all clocks of this machine at one moment.

    :param wall: seconds since 1970.
    :param uptime: seconds since the machine started.
    :param boot: the id of this boot of the machine; empty if it is not available.
    """

    wall: float
    uptime: float
    boot: str


def read_clocks() -> Moment:
    """Return the current times."""
    try:
        with opened(_BOOT_ID, encoding="ascii") as file:
            boot = file.read().strip()
    except OSError:
        boot = ""
    uptime = time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
    return Moment(time.time(), uptime, boot)


@dataclass(frozen=True)
class Deadline:
    """A moment ``term`` seconds after ``since``."""

    since: Moment
    term: float

    @property
    def wall(self) -> float:
        """The wall clock time of the deadline, in seconds since 1970."""
        return self.since.wall + self.term

    def remaining(self, now: Moment) -> float:
        """Return the remaining seconds; 0 or less when the deadline has passed."""
        elapsed = now.uptime - self.since.uptime
        if self.since.boot and now.boot == self.since.boot:
            return self.term - elapsed
        left = self.wall - now.wall
        # A new boot id without a restart of the count is a container on a machine that kept running.
        return min(left, self.term - now.uptime) if elapsed < 0 else left

    def as_dict(self) -> dict[str, Any]:
        """Return the deadline in the form of its JSON file."""
        return {"wall": self.since.wall, "uptime": self.since.uptime, "boot": self.since.boot, "term": self.term}


def deadline_from(data: Any) -> Deadline:
    """Return the deadline from the result of as_dict().

    :raises KeyError, TypeError, ValueError: if the data are not a deadline.
    """
    since = Moment(float(data["wall"]), float(data["uptime"]), str(data["boot"]))
    return Deadline(since, float(data["term"]))
