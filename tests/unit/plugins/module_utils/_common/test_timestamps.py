# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test every text form of a time, and that damaged texts raise ValueError."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common import timestamps
from hypothesis import given
from hypothesis import strategies as st

NOON = datetime(2026, 11, 23, 11, 39, 7, tzinfo=timezone.utc)
IN_VIENNA = NOON.astimezone(timezone(timedelta(hours=1)))


@pytest.mark.parametrize("when", [NOON, IN_VIENNA])
def test_texts_are_utc(when: datetime) -> None:
    assert timestamps.iso(when) == "2026-11-23T11:39:07Z"
    assert timestamps.in_words(when) == timestamps.systemd_calendar(when) == "2026-11-23 11:39:07 UTC"
    assert timestamps.in_words_to_the_minute(when) == "2026-11-23 11:39 UTC"
    assert timestamps.date_digits(when) == "20261123"


@pytest.mark.parametrize("text", ["2026-11-23T11:39:07Z", "2026-11-23T11:39:07z", "2026-11-23T12:39:07+01:00"])
def test_parse_iso_accepts_every_zone(text: str) -> None:
    assert timestamps.parse_iso(text) == NOON


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Z",
        "soon",
        "2026-11-23T11:39:07",
        "2026-13-23T11:39:07Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
    ],
)
def test_parse_iso_refuses_other_texts(text: str) -> None:
    with pytest.raises(ValueError, match=r"^"):
        timestamps.parse_iso(text)


@given(st.datetimes(timezones=st.just(timezone.utc)).map(lambda when: when.replace(microsecond=0)))
def test_parse_iso_reads_what_iso_writes(when: datetime) -> None:
    assert when.year < 1000 or timestamps.parse_iso(timestamps.iso(when)) == when


def test_parse_openssl_reads_its_form() -> None:
    assert timestamps.parse_openssl("Nov 23 11:39:07 2026 GMT") == NOON
    assert timestamps.parse_openssl("Jan  3 01:02:03 2050 GMT") == datetime(2050, 1, 3, 1, 2, 3, tzinfo=timezone.utc)
    with pytest.raises(ValueError, match=r"does not match format"):
        timestamps.parse_openssl("2026-11-23")


@pytest.mark.parametrize(
    ("year", "text"),
    [(1949, "19491123113907Z"), (1950, "501123113907Z"), (2049, "491123113907Z"), (2050, "20501123113907Z")],
)
def test_asn1_has_a_century_outside_1950_to_2049(year: int, text: str) -> None:
    assert timestamps.asn1(NOON.replace(year=year)) == text
    assert timestamps.parse_asn1(text) == NOON.replace(year=year)


def test_generalized_time_has_four_digits() -> None:
    assert timestamps.generalized_time(NOON.replace(year=33)) == "00331123113907Z"


def test_from_epoch_is_utc() -> None:
    assert timestamps.from_epoch(NOON.timestamp()) == NOON
    assert timestamps.from_epoch(0).tzinfo is timezone.utc
