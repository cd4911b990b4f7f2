# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the patterns of guarded paths and body sizes; tests/e2e/test_path.py runs them in nginx."""

from __future__ import annotations

import functools
import re

import pytest
from address_model import EITHER, INVALID, ODD, PUBLIC, addresses, normalized, part_of
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.access_rules import Allow, larger_than
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.path_patterns import exact_pattern
from gate_rendering import SITE, render_gate
from hypothesis import given
from hypothesis import strategies as st
from map_evaluation import Maps

PATHS = ("/admin", "/administration", "/secret", "/app/panel", "/api/v1.php")


def compiled(key: str) -> re.Pattern[bytes]:
    """Return a key of a map as a regular expression of Python."""
    text = key.strip('"').replace("\\\\", "\\").replace("\\z", "\\Z")
    flags = re.IGNORECASE if text.startswith("~*") else 0
    return re.compile(text.lstrip("~*").encode(), flags)


@functools.cache
def maps_of(*paths: str) -> Maps:
    """Return the maps of a site with these guarded paths."""
    return Maps(render_gate({**SITE, "mode": "path", "paths": list(paths)})["sites/panel.conf"])


def gate_part_of(address: bytes, *paths: str) -> str:
    """Return the part of the site to which its maps count an address that nginx accepts."""
    uri = normalized(address)
    assert uri is not None, address
    return maps_of(*paths).value("quietdoor_site_panel_place", {"request_uri": address, "uri": uri}).decode()


def is_odd(written: str, path: str = "/admin") -> bool:
    """Return whether an address is refused although nginx does not read it as the path."""
    return gate_part_of(written.encode(), path) == "odd"


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
        "/./ADMIN/../x",
        "//ADMIN",
        "/%2fADMIN",
        "/x/./ADMIN",
        "/adm\u33cc",
        "/a\u3377in/x",
        "/\uff41\uff24m\u2148n",
        "/%f0%9d%90%9a%f0%9d%90%9dmin",
        "/%25EF%25BD%2581dmin",
        "/%EF%25BD%2581dmin",
        "/x;/\uff41dmin",
        "/;/%f0%9d%90%9adm%e3%8f%8c",
        "/%C1%A1dmin",
        "/\u00a0admin",
        "/\ufeffadmin",
        "/admin\u2028",
        "/%ffadmin",
        "/%20%20%20admin",
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
        "/новости/",
        "/%D0%BD%D0%BE%D0%B2%D0%BE%D1%81%D1%82%D0%B8/",
        "/产品中心/",
        "/الأخبار/",
        "/חדשות/",
        "/Νέα/",
        "/ข่าว/",
        "/🎉🎉🎉🎉🎉/",
        "/index.php/новос",
        "/x;/адмын",
        "/\u0430dmin/",
        "/\uff21\uff22\uff23\uff24\uff25/",
        "/\U0001d489\U0001d486\U0001d48d\U0001d48d\U0001d490/",
        "/admin\u043f\u0430\u043d\u0435\u043b\u044c",
        "/admin%C3%A9",
        "/admi",
        "/amin",
        "/x;/admin%73",
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
    if normalized(written.encode()) != f"/{word}/".encode():
        assert is_odd(written, f"/{word}")


def _write(char: str, form: str) -> str:
    if form in ("plain", "case"):
        return char if form == "plain" else char.upper()
    return f"%{'25' * (('once', 'twice', 'thrice').index(form))}{ord(char):02X}"


def test_spellings_are_refused_that_only_a_program_without_dot_segments_reads_as_the_path() -> None:
    assert is_odd("/admin/../x")
    assert is_odd("/ADMIN/%2e./x")
    assert not is_odd("/admins/../x")


@pytest.mark.parametrize(
    ("path", "odd", "public"),
    [
        ("/@admin", ("/@Admin", "/.@admin", "/;/@ADMIN", "/%40ADMIN", "/\uff20ADMIN"), ("/Admin", "/x@Admin")),
        ("/+", ("/%2b;", "/;+", "/;%2B/x"), ("/", "/x", "/;x")),
        ("/a/@/b", ("/A/@/b", "/a/@//B"), ("/A/b", "/a/b")),
        ("/-/x", ("/-/X", "/x/;/X"), ("/-", "/x", "/%2d")),
        ("/~x", ("/%257Ex/", "/;/%25257ex", "/~X"), ("/x", "/%257e")),
        ("/_x-y", ("/%255fx%252dy", "/_X-%59"), ("/x-y", "/_x")),
        ("/a", ("/\u2100", "/A", "/;/\u2101x"), ("/aa", "/\u2105")),
        ("/a/c", ("/\u2100", "/A//c"), ("/ac", "/a/s")),
        ("/viii", ("/\u2167", "/v\u2172", "/\u2165ii"), ("/vii", "/\u2166", "/viiii")),
        ("/office", ("/o\ufb03ce", "/o\ufb00ice", "/of\ufb01ce"), ("/oice", "/o\ufb02ce", "/ofice")),
    ],
)
def test_paths_of_separators_and_ligatures_are_recognised(
    path: str, odd: tuple[str, ...], public: tuple[str, ...]
) -> None:
    assert [one for one in odd if not is_odd(one, path)] == []
    assert [one for one in public if is_odd(one, path)] == []


def test_a_long_path_is_recognised_in_every_spelling() -> None:
    path = "/app/panel/administration/section/of/the/wholxyz"
    assert is_odd(path.upper(), path)
    assert is_odd(path.replace("wholxyz", "%2577holxyz"), path)
    assert is_odd(path.replace("xyz", "\uff58\uff59\uff5a"), path)
    assert not is_odd(path.replace("xyz", "xya").upper(), path)


def test_the_gate_and_the_model_agree_on_generated_addresses() -> None:
    """tests/e2e/test_addresses.py asks nginx itself, for more addresses."""
    differences, doubtful, count = [], 0, 4000
    for address in addresses(12, count, PATHS):
        expected = part_of(address, PATHS)
        if expected == INVALID:
            continue
        seen = gate_part_of(address, *PATHS)
        doubtful += expected == EITHER
        if seen != expected and not (expected == EITHER and seen in (ODD, PUBLIC)):
            differences.append((address, expected, seen))
    assert not differences
    assert doubtful < count / 8


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
