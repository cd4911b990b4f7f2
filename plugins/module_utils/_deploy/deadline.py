# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When something is due, whatever becomes of the clock.

As long as the machine runs, the time since it started decides (CLOCK_BOOTTIME of clock_gettime(2), which counts while it sleeps
and which nobody sets). After a reboot that count is a new one, and the wall clock decides; a wall clock that was set back
meanwhile puts it off by no more than the whole term.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from .._common.files import opened

_BOOT_ID = "/proc/sys/kernel/random/boot_id"


@dataclass(frozen=True)
class Moment:
    """What the clocks of this machine say.

    :param wall: seconds since 1970.
    :param uptime: seconds since the machine started.
    :param boot: what tells this start of the machine from every other; empty where nothing does.
    """

    wall: float
    uptime: float
    boot: str


def read_clocks() -> Moment:
    """Return what the clocks say now."""
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
        """What the wall clock says then, in seconds since 1970."""
        return self.since.wall + self.term

    def remaining(self, now: Moment) -> float:
        """Return the seconds that are left; none or less when it is due."""
        elapsed = now.uptime - self.since.uptime
        if self.since.boot and now.boot == self.since.boot:
            return self.term - elapsed
        left = self.wall - now.wall
        # Not in a container of a new boot id on a machine that never stopped: there the count is that of the machine.
        return min(left, self.term - now.uptime) if elapsed < 0 else left

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return {"wall": self.since.wall, "uptime": self.since.uptime, "boot": self.since.boot, "term": self.term}


def deadline_from(data: Any) -> Deadline:
    """Return the deadline that as_dict() described.

    :raises KeyError, TypeError, ValueError: if it is none.
    """
    since = Moment(float(data["wall"]), float(data["uptime"]), str(data["boot"]))
    return Deadline(since, float(data["term"]))


def in_words(wall: float) -> str:
    """Return a moment of the wall clock for people."""
    return datetime.fromtimestamp(wall, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def in_iso(wall: float) -> str:
    """Return a moment of the wall clock as RFC 3339 writes it."""
    return datetime.fromtimestamp(wall, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
