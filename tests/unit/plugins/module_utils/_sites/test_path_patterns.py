# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the patterns of guarded paths and body sizes; tests/e2e/test_path.py runs them in nginx."""

from __future__ import annotations

import re

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.access_rules import Allow, larger_than
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.path_patterns import (
    ENCODED_IN_PIECES,
    exact_pattern,
    obfuscated_patterns,
    raw_prefix_pattern,
)
from hypothesis import given
from hypothesis import strategies as st


def compiled(key: str) -> re.Pattern[bytes]:
    """Return a key of a map as a regular expression of Python."""
    text = key.strip('"').replace("\\\\", "\\").replace("\\z", "\\Z")
    flags = re.IGNORECASE if text.startswith("~*") else 0
    return re.compile(text.lstrip("~*").encode(), flags)


def is_odd(written: str, path: str = "/admin") -> bool:
    """Return whether an address is refused although nginx does not read it as the path."""
    keys = [ENCODED_IN_PIECES, raw_prefix_pattern(path), *obfuscated_patterns(path)]
    return any(compiled(key).search(written.encode()) for key in keys)


def test_the_path_and_what_is_below_it_and_nothing_else() -> None:
    pattern = compiled(exact_pattern("/a.b/c-d~e"))
    assert all(pattern.search(text) for text in (b"/a.b/c-d~e", b"/a.b/c-d~e/", b"/a.b/c-d~e/x"))
    assert not any(
        pattern.search(text)
        for text in (b"/a.b/c-d~ef", b"/axb/c-d~e", b"/x/a.b/c-d~e", b"/A.b/c-d~e", b"/a.b/c-d~e\n")
    )


@pytest.mark.parametrize(
    "written",
    [
        "/ADMIN",
        "/Admin/x",
        "/admin;x",
        "/;/admin/",
        "/x/..;/admin/",
        "/admin%20/",
        "/%2561dmin/",
        "/%252561dmin/",
        "/%25%36%31dmin/",
        "/\\admin/",
        "/x\\..\\admin",
        "/index.php/admin/",
        "/app.cgi/admin",
        "/admin/../x",
        "/admin.json",
        "/admin:x",
        "/admin%c0%af",
        "/adm%C4%B1n/",
        "/%EF%BD%81dmin/",
        "/%ef%bc%8fadmin/",
        "/x/%2e%2e%5cadmin",
        "/%0aadmin",
        "/admin%3f",
        "/x#/../admin/",
        "/./ADMIN",
        "//ADMIN",
        "/%2fADMIN",
        "/x/./ADMIN",
    ],
)
def test_another_spelling_is_recognised(written: str) -> None:
    assert is_odd(written)


@pytest.mark.parametrize(
    "written",
    [
        "/",
        "/administration",
        "/admin-guide",
        "/admin_x",
        "/my-admin;x",
        "/blog/admin/",
        "/blog/ADMIN",
        "/v1.2/admin",
        "/x;y/z",
        "/a//b",
        "/a/../b",
        "/100%25",
        "/caf%C3%A9/x",
        "/?x=/admin/",
        "/x?y=;/admin/",
        "/admins/..;/x",
    ],
)
def test_what_is_no_spelling_of_it_stays_public(written: str) -> None:
    assert not is_odd(written)


@given(
    st.sampled_from(["admin", "wp-admin", "a.b", "~x"]),
    st.lists(st.sampled_from(["plain", "case", "once", "twice", "thrice"]), min_size=9, max_size=9),
)
def test_no_mixture_of_case_and_encoding_hides_a_word(word: str, forms: list[str]) -> None:
    encoded = "".join(_write(char, form) for char, form in zip(word, forms))
    written = f"/{encoded}/"
    if written != f"/{word}/":
        assert is_odd(written, f"/{word}")


def _write(char: str, form: str) -> str:
    if form in ("plain", "case"):
        return char if form == "plain" else char.upper()
    return f"%{'25' * (('once', 'twice', 'thrice').index(form))}{ord(char):02X}"


def test_several_parts_are_recognised_as_a_whole() -> None:
    assert is_odd("/App//Panel/x", "/app/panel")
    assert is_odd("/x/..;/panel", "/app/panel")
    assert not is_odd("/App/x", "/app/panel")


@pytest.mark.parametrize(
    ("size", "limit"),
    [("1", 1), ("9", 9), ("10", 10), ("300k", 307200), ("2m", 2097152), ("1G", 1073741824), ("999", 999)],
)
def test_a_larger_body_is_recognised(size: str, limit: int) -> None:
    pattern = compiled(larger_than(size))
    for number in (0, 1, limit - 1, limit):
        assert not pattern.search(str(number).encode()) or number > limit
    for number in (limit + 1, limit + 7, limit * 2, limit * 10, 10**20):
        assert pattern.search(str(number).encode()), number
        assert pattern.search(b"000%d" % number)


@given(st.integers(1, 10**9 - 1), st.integers(0, 10**12))
def test_every_size_is_compared_rightly(limit: int, number: int) -> None:
    assert bool(compiled(larger_than(str(limit))).search(str(number).encode())) == (number > limit)


def test_an_allowed_value_is_found_whole_and_nowhere_else() -> None:
    keys = Allow(names=("alex",), emails=("a.b@example.org",), roles=("db:read",)).as_keys()
    name, email, role = (compiled(keys[key][0]) for key in ("name", "email", "roles"))
    assert name.search(b"alex")
    assert not any(name.search(other) for other in (b"Alex", b"alexa", b"xalex", b"alex,bea", b"", b"alex\n"))
    assert all(email.search(held) for held in (b"a.b@example.org", b"x@y,a.b@example.org", b"a.b@example.org,x@y"))
    assert not any(
        email.search(other)
        for other in (b"aab@example.org", b"xa.b@example.org", b"a.b@example.org.evil", b"A.b@example.org")
    )
    assert role.search(b"ops,db:read,x")
    assert not any(role.search(other) for other in (b"db:reader", b"xdb:read", b"ops,db", b""))


def test_no_limit_has_no_key() -> None:
    assert larger_than("0") == ""
