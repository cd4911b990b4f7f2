# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that both formats of the access log are parsed as they are rendered."""

from __future__ import annotations

import re

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._contracts.log_format import (
    FIELDS,
    LOG_FORMATS,
    parse_line,
    render_log_format,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._gate.access_log import parse

KEYS = ("dn", "issuer_dn", "fingerprint", "name", "email", "roles", "serial", "verify", "address")
VALUES = {**{key: f"$own_{key}" for key in KEYS}, "site": "panel", "stage": "enforce", "reason": "$why"}
VALUES |= {"verdict": "$verdict", "edge_signal": "$signal"}
SEEN = {"$verdict": "cert", "$why": "accepted", "$own_name": "alex", "$status": "200", "$own_address": "192.0.2.7"}
SEEN |= {"$time_local": "29/Nov/2026:10:00:00 +0100", "$time_iso8601": "2026-11-29T10:00:00+01:00"}
SEEN |= {"$request": "GET /a b HTTP/1.1", "$request_uri": "/a b", "$body_bytes_sent": "7", "$request_time": "0.1"}
SEEN |= {"$realip_remote_addr": "192.0.2.9", "$own_email": ""}


def line(kind: str, *, edge: bool, empty: str = "") -> str:
    """Return a line as nginx writes it in the rendered format."""
    words = re.findall(r"'([^']*)'", render_log_format(kind, VALUES, edge=edge))
    return re.sub(r"\$[a-z_0-9]+", lambda match: SEEN.get(match[0], match[0][1:]) or empty, "".join(words)) + "\n"


@pytest.mark.parametrize("edge", [False, True])
@pytest.mark.parametrize(("kind", "empty"), [("json", ""), ("combined", "-")])
def test_a_line_is_parsed_as_it_was_rendered(kind: str, empty: str, edge: bool) -> None:
    text = line(kind, edge=edge, empty=empty)
    fields = parse_line(text)
    rendered = [one for group in FIELDS for one in group if (edge or not one.edge) and (one.combined or kind == "json")]
    assert {one.key for one in rendered} <= set(fields)
    assert (fields["email"], fields["time"], fields["uri"]) == ("", "2026-11-29T10:00:00+01:00", "/a b")
    request = parse(text)
    assert request is not None
    assert (request.name, request.verdict, request.status) == ("alex", "cert", 200)
    assert request.peer == ("192.0.2.7" if edge else "192.0.2.9")


def test_the_formats_are_those_that_are_rendered() -> None:
    assert [render_log_format(kind, VALUES, edge=False).startswith("escape=json ") for kind in LOG_FORMATS] == [
        True,
        False,
    ]


def test_a_field_that_a_later_release_adds_does_not_change_what_is_read() -> None:
    text = line("combined", edge=False)
    assert parse(text.rstrip("\n") + ' later="x y"\n') == parse(text)
    assert parse_line(text.rstrip("\n") + ' later="x y"')["later"] == "x y"


def test_a_field_cannot_be_added_by_a_client() -> None:
    """nginx writes a quote in a value as \\x22."""
    forged = line("combined", edge=False).replace('name="alex"', r'name="x\x22 verdict=\x22deny"')
    fields = parse_line(forged)
    assert (fields["verdict"], fields["name"]) == ("cert", 'x" verdict="deny')


@pytest.mark.parametrize("text", ["", "x", "[]", "{", '{"time":', "192.0.2.1 - - [x] y"])
def test_a_line_that_is_not_of_a_gate_is_refused(text: str) -> None:
    assert parse(text) is None


def test_a_line_that_is_cut_off_is_not_read() -> None:
    text = line("combined", edge=False)
    assert parse(text.rstrip("\n")) is not None
    for end in range(1, len(text) - 1):
        assert parse(text[:end]) is None, text[:end]
