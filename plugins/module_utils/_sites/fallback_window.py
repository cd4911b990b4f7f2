# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse the fallback window: the clients that get in without a certificate, and until when.

nginx closes it by itself: for every request its clock (``$msec``, seconds since 1970 with three decimals) is matched against an
expression that means "earlier than the deadline". No reload, timer or run of Ansible is needed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from .._common.timestamps import from_epoch, in_words, parse_iso
from .._contracts.gate_manifest import EARLIEST, LATEST
from .field_reader import kind
from .networks import covered_share, parse_networks
from .upstreams import parse_path

if TYPE_CHECKING:
    from .field_reader import FieldReader

USUAL = timedelta(days=7)
LONGEST = timedelta(days=30)

# Networks are added up, because two halves are every address. Global unicast addresses of IPv6 are one eighth of all (RFC 4291).
_SPACES = (("IPv4", "0.0.0.0/0"), ("IPv6", "::/0"), ("global IPv6", "2000::/3"))
_LARGEST_SHARE = 0.25
_KEYS = ("networks", "until", "basic_auth")
_BASIC_AUTH_KEYS = ("user_file", "realm", "rate", "burst")
_TIMESTAMP = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(?::\d{2})?(?:[Zz]|[+-]\d{2}:\d{2})")
_REALM = re.compile(r"[A-Za-z0-9 .,:_-]{1,60}")
_RATE = re.compile(r"[1-9][0-9]{0,5}r/[sm]")


@dataclass(frozen=True)
class BasicAuth:
    """Fallback basic auth (RFC 7617). ``rate`` and ``burst``, as of ``limit_req``, limit the attempts of one address."""

    user_file: str
    realm: str
    rate: str
    burst: int


@dataclass(frozen=True)
class Window:
    """The fallback window: ``networks`` in CIDR notation, ``until`` in seconds since 1970, 0 if it was not given."""

    networks: tuple[str, ...]
    until: int
    basic_auth: BasicAuth | None

    @property
    def admits_clients(self) -> bool:
        """Whether it can admit any client."""
        return bool(self.networks or self.basic_auth)


def before(deadline: int) -> str:
    r"""Return a key for ``map $msec``: every time before ``deadline``, to the millisecond.

    It spells out the digits because nginx cannot compare numbers. Any other text than ten digits, a dot and three digits does
    not match, and the window counts as closed.

    :param deadline: seconds since 1970, ten digits.
    """
    if not EARLIEST <= deadline <= LATEST:
        raise ValueError(f"{deadline} does not have ten digits")
    digits = str(deadline)
    lower = [
        f"{digits[:place]}{_digits_up_to(int(digit) - 1)}{_any_digits(len(digits) - place - 1)}"
        for place, digit in enumerate(digits)
        if digit != "0"
    ]
    return f'"~^(?:{"|".join(lower)})\\\\.[0-9][0-9][0-9]\\\\z"'


def _digits_up_to(digit: int) -> str:
    return "0" if digit == 0 else f"[0-{digit}]"


def _any_digits(places: int) -> str:
    return "[0-9]" * places


def parse_window(entry: FieldReader) -> Window:
    """Read ``window``. :func:`settle` checks the deadline, because that depends on the current time.

    :raises MtlsError: if it is not valid, admits every address, or has an ambiguous deadline.
    """
    hint = "Write a mapping of networks, until and basic_auth"
    part = entry.part("window", _KEYS, hint)
    return Window(_networks(part), _until(part), _basic_auth(part))


def settle(entry: FieldReader, window: Window, known: int, now: float) -> Window:
    """Return the window with its deadline: the given one, else that of the live gate, else one week from now.

    :param known: the deadline of the window that is live on this host, seconds since 1970; 0 if there is none.
    :param now: seconds since 1970.
    :raises MtlsError: if it admits no client, or the deadline is in the past or too far ahead.
    """
    if not window.admits_clients:
        raise entry.problem(
            "window",
            "admits no client, so stage fallback would be enforce",
            "Write window: networks: with the networks from which clients get in without a certificate, or basic_auth",
        )
    # A live window may have closed by itself: a second run changes nothing and reports no error.
    if window.until and window.until == known:
        return window
    until = window.until or known or int(now + USUAL.total_seconds())
    if window.until and until <= now:
        raise entry.problem(
            "window: until", f"{in_words(from_epoch(until))} is in the past", "Write a later time, or stage: enforce"
        )
    if until > now + LONGEST.total_seconds():
        raise entry.problem(
            "window: until",
            f"{in_words(from_epoch(until))} is more than {LONGEST.days} days ahead",
            "Write an earlier time",
        )
    return Window(window.networks, until, window.basic_auth)


def _networks(part: FieldReader) -> tuple[str, ...]:
    hint = "Write a list of networks and addresses, as in [192.0.2.0/24, '2001:db8::/32', 198.51.100.7]"
    networks = parse_networks(part, "networks", hint) if part.value("networks") not in (None, []) else ()
    for version, space in _SPACES:
        share = covered_share(networks, space)
        if share > _LARGEST_SHARE:
            raise part.problem(
                "networks",
                f"the networks together contain {share:.1%} of all {version} addresses",
                f"Write networks that contain at most {_LARGEST_SHARE:.0%} of them",
            )
    return networks


def _until(part: FieldReader) -> int:
    hint = 'Write date, time and offset, as in "2026-12-01T18:00:00+01:00"'
    value = part.value("until")
    if value is None or value == "":
        return 0
    if isinstance(value, str):
        if not _TIMESTAMP.fullmatch(value):
            raise part.problem("until", f"{value!r} is not a valid time with a time zone", hint)
        try:
            value = parse_iso(value.replace(" ", "T").replace("t", "T"))
        except ValueError:
            raise part.problem("until", f"{value!r} is not a valid time", hint) from None
    if not isinstance(value, datetime):
        raise part.problem("until", f"{value!r} is {kind(value)}, not a time", hint)
    if value.tzinfo is None:
        raise part.problem("until", f"{value} has no time zone", hint)
    seconds = int(value.timestamp())
    if not EARLIEST <= seconds <= LATEST:
        raise part.problem("until", f"{value} is out of range", hint)
    return seconds


def _basic_auth(part: FieldReader) -> BasicAuth | None:
    hint = "Write a mapping of user_file (on the web host, as for auth_basic_user_file), and realm, rate and burst"
    if part.value("basic_auth") is None:
        return None
    fields = part.part("basic_auth", _BASIC_AUTH_KEYS, hint)
    realm = fields.text("realm", hint, default="Side door")
    if not _REALM.fullmatch(realm) or realm == "off":
        raise fields.problem(
            "realm",
            f"{realm!r} is not a valid realm",
            "Write letters, digits, spaces and . , : _ -, at most 60 characters",
        )
    rate = fields.text("rate", hint, default="2r/s")
    if not _RATE.fullmatch(rate):
        raise fields.problem("rate", f"{rate!r} is not a valid rate", "Write it as nginx does, 2r/s or 30r/m")
    burst = fields.value("burst") if fields.given("burst") else 200
    if isinstance(burst, bool) or not isinstance(burst, int) or not 0 <= burst <= 10000:
        raise fields.problem(
            "burst", f"{burst!r} is not a valid number of requests", "Write a whole number up to 10000"
        )
    return BasicAuth(parse_path(fields, "user_file"), realm, rate, burst)
