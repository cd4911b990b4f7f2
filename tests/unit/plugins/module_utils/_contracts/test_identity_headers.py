# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the list of headers that applications trust."""

from __future__ import annotations

import re

from ansible_collections.quietdoor.mtls.plugins.module_utils._contracts.identity_headers import (
    CLIENT,
    IDENTITY,
    TRUSTED_HEADERS,
    header_names,
    without,
)

# Every proxy passes these on, and the gate sets them itself.
_SET_BY_GATE = ("Host", "X-Real-IP", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port")
_NEEDED = ("Authorization", "Cookie", "Content-Type", "Content-Length", "Origin", "Referer", "Upgrade", "X-Request-ID")


def test_each_name_is_valid_and_listed_once() -> None:
    names = [header.name.lower() for header in TRUSTED_HEADERS]
    assert [name for name in names if names.count(name) > 1] == []
    # nginx drops other names by itself (ignore_invalid_headers, underscores_in_headers).
    assert [name for name in names if not re.fullmatch(r"[a-z0-9]+(?:-[a-z0-9]+)*", name)] == []
    assert all(header.product for header in TRUSTED_HEADERS)


def test_headers_that_applications_need_are_not_listed() -> None:
    assert {name.lower() for name in (*_SET_BY_GATE, *_NEEDED)} & {one.name.lower() for one in TRUSTED_HEADERS} == set()


def test_kinds_are_those_of_the_products() -> None:
    proxies, clients = set(header_names(IDENTITY)), set(header_names(CLIENT))
    assert {"X-MS-Client-Principal", "Cf-Access-Jwt-Assertion", "Tailscale-User-Login", "X-Original-Path"} <= proxies
    assert {"X-User-Id", "X-Auth-Token", "X-HTTP-Method-Override", "X-Script-Name"} <= clients
    assert len(proxies) + len(clients) == len(TRUSTED_HEADERS)


def test_case_does_not_count() -> None:
    assert without(["A-b", "a-B", "C", "D"], ["c"]) == ("A-b", "D")
