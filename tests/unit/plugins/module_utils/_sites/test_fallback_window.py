# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the fallback window, its deadline, and the expression with which nginx closes it."""

from __future__ import annotations

import datetime
import re
from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.fallback_window import (
    Window,
    before,
    parse_window,
    settle,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.field_reader import FieldReader
from hypothesis import example, given
from hypothesis import strategies as st

NOW = 1_795_000_000
DAY = 86_400
SECONDS = st.integers(10**9, 10**10 - 1)


def matches(key: str, msec: str) -> bool:
    """Return whether nginx would match the key; it removes one backslash of two, and its ``\\z`` is Python's ``\\Z``."""
    assert key[:2] == '"~'
    return re.search(key[2:-1].replace("\\\\", "\\").replace("\\z", "\\Z"), msec) is not None


@given(SECONDS, SECONDS, st.integers(0, 999))
@example(NOW, NOW, 0)
@example(NOW, NOW - 1, 999)
@example(10**9, 10**9, 0)
@example(10**10 - 1, 10**10 - 1, 999)
def test_the_expression_means_earlier_than_the_deadline(deadline: int, second: int, millis: int) -> None:
    assert matches(before(deadline), f"{second}.{millis:03d}") == (second < deadline)


@given(SECONDS, st.integers(-50, 50), st.integers(0, 999))
def test_it_is_exact_near_the_deadline(deadline: int, off: int, millis: int) -> None:
    second = min(max(deadline + off, 10**9), 10**10 - 1)
    assert matches(before(deadline), f"{second}.{millis:03d}") == (second < deadline)


@pytest.mark.parametrize(
    "text", ["", "0", "999999999.000", "10000000000.000", "1000000000", "1000000000.00", "x1000000000.000"]
)
def test_what_is_no_clock_of_nginx_counts_as_closed(text: str) -> None:
    assert not matches(before(10**10 - 1), text)
    assert not matches(before(10**10 - 1), f"{NOW}.000\n")


@pytest.mark.parametrize("deadline", [0, -1, 10**9 - 1, 10**10])
def test_a_deadline_out_of_range_is_no_expression(deadline: int) -> None:
    with pytest.raises(ValueError, match="ten digits"):
        before(deadline)


def window(**values: Any) -> Window:
    """Parse the window of a site."""
    return parse_window(FieldReader({"window": values}, "site panel"))


@pytest.mark.parametrize(
    "text",
    [
        "2026-12-01T18:00:00+01:00",
        "2026-12-01T17:00:00Z",
        "2026-12-01 17:00z",
        "2026-12-01T12:00:00-05:00",
        datetime.datetime(2026, 12, 1, 17, tzinfo=datetime.timezone.utc),
    ],
)
def test_a_moment_in_any_zone(text: object) -> None:
    assert window(until=text).until == 1_796_144_400


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"until": "2026-12-01T18:00:00"}, "until: '2026-12-01T18:00:00' is not a valid time with a time zone"),
        ({"until": datetime.datetime(2026, 12, 1)}, "has no time zone"),
        ({"until": datetime.date(2026, 12, 1)}, "not a time"),
        ({"until": "tomorrow"}, "is not a valid time"),
        ({"until": "2026-02-30T18:00:00Z"}, "is not a valid time"),
        ({"until": 1796144400}, "is a number, not a time"),
        ({"until": True}, "is a boolean, not a time"),
        ({"until": "1970-01-01T00:00:01Z"}, "is out of range"),
        ({"networks": "0.0.0.0/0"}, "contains every address"),
        ({"networks": ["::/0"]}, "contains every address"),
        ({"networks": ["0.0.0.0/1", "128.0.0.0/1"]}, "the networks together contain 100.0% of all IPv4 addresses"),
        ({"networks": ["0.0.0.0/2", "64.0.0.0/128.0.0.0"]}, "has host bits set"),
        (
            {"networks": ["0.0.0.0/2", "64.0.0.0/255.0.0.0"]},
            "the networks together contain 25.4% of all IPv4 addresses",
        ),
        ({"networks": ["::/2", "4000::/16"]}, "the networks together contain 25.0% of all IPv6 addresses"),
        ({"networks": ["2000::/3"]}, "the networks together contain 100.0% of all global IPv6 addresses"),
        ({"networks": ["2000::/5", "3000::/5"]}, "the networks together contain 50.0% of all global IPv6 addresses"),
        ({"networks": ["10.0.0.1/8"]}, "has host bits set"),
        ({"networks": ["10.0.0.0/8; }"]}, "is not a valid address or network"),
        ({"networks": ["example.org"]}, "is not a valid address or network"),
        ({"networks": ["::ffff:10.0.0.0/104"]}, "IPv4 addresses written as IPv6"),
        ({"networks": ["fe80::1%eth0"]}, "is not a valid address or network"),
        ({"networks": ["10.0.0.0/8", "10.0.0.0/255.0.0.0"]}, "10.0.0.0/8 is listed more than once"),
        ({"networks": [7]}, "is not a valid address or network"),
        ({"networks": {"a": 1}}, "is a mapping, not a string"),
        ({"basic_auth": True}, "basic_auth: True is a boolean, not a mapping"),
        ({"basic_auth": {}}, "user_file: missing"),
        ({"basic_auth": {"user_file": "/etc/$x"}}, "is not a valid path"),
        ({"basic_auth": {"user_file": "u", "realm": 'a"b'}}, "is not a valid realm"),
        ({"basic_auth": {"user_file": "u", "realm": "off"}}, "is not a valid realm"),
        ({"basic_auth": {"user_file": "u", "realm": "$host"}}, "is not a valid realm"),
        ({"basic_auth": {"user_file": "u", "rate": "1"}}, "is not a valid rate"),
        ({"basic_auth": {"user_file": "u", "burst": -1}}, "is not a valid number"),
        ({"basic_auth": {"user_file": "u", "burst": True}}, "is not a valid number"),
        ({"basic_auth": {"user_file": "u", "users": 1}}, "users: unknown key"),
        ({"for": "1d"}, "for: unknown key"),
    ],
)
def test_a_mistake_is_named(values: dict[str, Any], said: str) -> None:
    with pytest.raises(MtlsError, match=rf"^gate_sites: site panel: window: .*{re.escape(said)}"):
        window(**values)


def test_networks_of_a_quarter_of_all_addresses_are_accepted() -> None:
    halves = ["0.0.0.0/3", "32.0.0.0/3", "10.0.0.0/8", "2000::/5"]
    assert window(networks=halves).networks == tuple(halves)


def test_networks_are_written_as_nginx_takes_them() -> None:
    assert window(networks=["192.0.2.7", "2001:DB8::/32", "10.0.0.0/255.0.0.0"]).networks == (
        "192.0.2.7/32",
        "2001:db8::/32",
        "10.0.0.0/8",
    )


SITE = FieldReader({}, "site panel")
LAN = ("192.0.2.0/24",)


def test_default_deadline_is_a_week_and_a_live_one_stays() -> None:
    assert settle(SITE, Window(LAN, 0, None), 0, NOW + 0.5).until == NOW + 7 * DAY
    assert settle(SITE, Window(LAN, 0, None), NOW + DAY, NOW).until == NOW + DAY
    assert settle(SITE, Window(LAN, 0, None), NOW - DAY, NOW).until == NOW - DAY, "it has closed, and stays closed"
    assert settle(SITE, Window(LAN, NOW + 2 * DAY, None), NOW + DAY, NOW).until == NOW + 2 * DAY
    assert settle(SITE, Window(LAN, NOW - DAY, None), NOW - DAY, NOW).until == NOW - DAY


@pytest.mark.parametrize(
    ("given_window", "known", "said"),
    [
        (Window((), NOW + DAY, None), 0, "window: admits no client"),
        (Window(LAN, NOW, None), 0, "window: until: 2026-11-18 .* is in the past"),
        (Window(LAN, NOW - 1, None), NOW - 2, "is in the past"),
        (Window(LAN, NOW + 30 * DAY + 1, None), 0, "is more than 30 days ahead"),
    ],
)
def test_a_deadline_is_judged(given_window: Window, known: int, said: str) -> None:
    with pytest.raises(MtlsError, match=rf"^gate_sites: site panel: .*{said}"):
        settle(SITE, given_window, known, NOW)
