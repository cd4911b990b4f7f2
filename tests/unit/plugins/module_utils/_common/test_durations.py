# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the parser of durations."""

from __future__ import annotations

from datetime import timedelta

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.durations import parse_duration
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("0s", timedelta(0)),
        ("90s", timedelta(seconds=90)),
        ("5m", timedelta(minutes=5)),
        ("12h", timedelta(hours=12)),
        ("90d", timedelta(days=90)),
        ("2w", timedelta(weeks=2)),
        (" 30d ", timedelta(days=30)),
        ("36600d", timedelta(days=36600)),
    ],
)
def test_durations(text: str, length: timedelta) -> None:
    assert parse_duration(text, "valid_for") == length


@pytest.mark.parametrize(
    "text", ["", "90", "d", "-1d", "+1d", "1.5d", "1 d", "1y", "1D", "1d1h", "٣d", "99999999w", "36601d", "1" * 10_000]
)  # fmt: skip
def test_invalid_duration_is_rejected_with_its_option(text: str) -> None:
    with pytest.raises(MtlsError, match="valid_for: ") as caught:
        parse_duration(text, "valid_for")
    assert "90d" in caught.value.hint
    assert len(str(caught.value)) < 300
