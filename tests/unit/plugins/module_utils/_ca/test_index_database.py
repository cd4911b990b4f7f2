# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the parsed and written index.txt with openssl's."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca import index_database
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca.index_database import Row
from ansible_collections.quietdoor.mtls.plugins.module_utils._common import timestamps
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

# Made by openssl 3.0: valid, revoked in every way that openssl ca knows, expired; a tab and bytes above ASCII in a subject.
BY_OPENSSL = (
    "V\t271123113907Z\t\t01\tunknown\t/CN=alex\n"
    "R\t271123113907Z\t261123113907Z\t0A1B\tunknown\t/CN=no reason\n"
    "R\t271123113907Z\t261123113907Z,keyCompromise\t0A1C\tunknown\t/CN=reason\n"
    "R\t271123113907Z\t261123113907Z,keyTime,20261101000000Z\t0A1D\tunknown\t/CN=Zo\\xC3\\xAB\n"
    "R\t271123113907Z\t261123113907Z,holdInstruction,holdInstructionReject\t0A1E\tunknown\t/CN=held\n"
    "E\t251123113907Z\t\t0A1F\tunknown\t/O=a\\\tb/CN=tab\n"
    "V\t20541123113907Z\t\t02\tunknown\t/CN=after 2049\n"
)
FIELD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\\"), max_size=20)
MOMENT = st.datetimes(datetime(1950, 1, 1), datetime(9999, 12, 31), timezones=st.just(timezone.utc)).map(
    lambda moment: moment.replace(microsecond=0)
)


def parse(text: str) -> list[Row]:
    return index_database.parse(text, "/ca/index.txt")


def test_reading_and_writing_a_file_made_by_openssl_is_the_identity() -> None:
    assert index_database.render(parse(BY_OPENSSL)) == BY_OPENSSL


def test_what_openssl_wrote_is_understood() -> None:
    revocations = {row.serial: row.revocation for row in parse(BY_OPENSSL)}
    at = datetime(2026, 11, 23, 11, 39, 7, tzinfo=timezone.utc)
    assert revocations["01"] is None
    assert revocations["0A1B"] == index_database.Revocation(at)
    assert revocations["0A1C"] == index_database.Revocation(at, "keyCompromise")
    assert revocations["0A1D"] == index_database.Revocation(
        at, "keyCompromise", datetime(2026, 11, 1, tzinfo=timezone.utc)
    )
    assert revocations["0A1E"] == index_database.Revocation(at, "certificateHold")
    assert parse(BY_OPENSSL)[6].not_after.year == 2054
    assert parse(BY_OPENSSL)[5].subject == "/O=a\tb/CN=tab"


@given(
    st.tuples(
        st.sampled_from("VREX"),
        st.from_regex(r"(20)?\d\d[01]\d[0-3]\d[012]\d[0-5]\d[0-5]\dZ", fullmatch=True),
        st.sampled_from(["", "261123113907Z", "261123113907Z,superseded", "260230113907Z", "261123113907Z,why"]),
        st.from_regex(r"[0-9A-F]{1,4}", fullmatch=True),
        st.sampled_from(["unknown", "a\\", "clients/alex/x.crt"]),
        FIELD,
    ).map("\t".join)
)
def test_a_plain_row_is_read_as_any_other_would_be(line: str) -> None:
    def read() -> Any:
        try:
            return parse(f"{line}\n")
        except MtlsError as problem:
            return str(problem)

    short = read()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(index_database, "_PLAIN_ROW", re.compile("(?!)"))
        assert read() == short


@given(st.lists(st.tuples(MOMENT, st.integers(1, 2**159), FIELD), max_size=8, unique_by=lambda row: row[1]))
def test_whatever_is_written_is_read_back(rows: list[tuple[datetime, int, str]]) -> None:
    made = [index_database.valid_row(serial, moment, subject) for moment, serial, subject in rows]
    assert parse(index_database.render(made)) == made


@given(MOMENT)
def test_times_round_trip(moment: datetime) -> None:
    assert timestamps.parse_asn1(timestamps.asn1(moment)) == moment


def test_bytes_that_are_no_utf_8_survive(door: Any) -> None:
    door.file("index.txt").write_bytes(b"V\t271123113907Z\t\t01\tunknown\t/CN=Zo\xeb\n")
    authority = door.authority
    authority.save([index_database.revoked_row(authority.rows[0], door.now, "superseded")])
    assert door.file("index.txt").read_bytes().endswith(b"Zo\xeb\n")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("V\t271123113907Z\t\t01\tunknown\n", "5 fields"),
        ("V\t271123113907Z\t\t01\tunknown\t/CN=a\tb\n", "7 fields"),
        ("V\t271123113907Z\t\t01\tunknown\t/CN=cut of", "cut off"),
        ("X\t271123113907Z\t\t01\tunknown\t/CN=a\n", "line 1"),
        ("V\t271323113907Z\t\t01\tunknown\t/CN=a\n", "line 1"),
        ("V\t27112311390Z\t\t01\tunknown\t/CN=a\n", "line 1"),
        ("V\t\u0662\u06671123113907Z\t\t01\tunknown\t/CN=a\n", "line 1"),
        ("V\t271123113907Z\t\t0x1\tunknown\t/CN=a\n", "line 1"),
        ("V\t271123113907Z\t\t1\tunknown\t/CN=a\n", "line 1"),
        ("V\t271123113907Z\t\t-1\tunknown\t/CN=a\n", "line 1"),
        ("V\t271123113907Z\t\t0a\tunknown\t/CN=a\n", "line 1"),
        ("V\t271123113907Z\t\t0001\tunknown\t/CN=a\n", "line 1"),
        ("V\t271123113907Z\t\t\tunknown\t/CN=a\n", "line 1"),
        ("R\t271123113907Z\t\t01\tunknown\t/CN=a\n", "line 1"),
        ("R\t271123113907Z\tyesterday\t01\tunknown\t/CN=a\n", "line 1"),
        ("R\t271123113907Z\t261123113907Z,becauseISaidSo\t01\tunknown\t/CN=a\n", "line 1"),
        ("R\t271123113907Z\t261123113907Z,keyTime,now\t01\tunknown\t/CN=a\n", "line 1"),
        (
            "V\t271123113907Z\t\t01\tunknown\t/CN=a\nV\t271123113907Z\t\t01\tunknown\t/CN=b\n",
            "it lists serial .*01 more than once",
        ),
        ("\x00" * 512, "cut off"),
        ("<<<<<<< HEAD\n", "1 fields"),
    ],
)
def test_a_damaged_database_is_refused_with_the_place(damage: str, says: str) -> None:
    with pytest.raises(MtlsError, match=says) as caught:
        parse(damage)
    assert "/ca/index.txt is damaged" in str(caught.value)
    assert "backup" in caught.value.hint


def test_openssl_would_lose_the_last_row_of_a_file_that_is_cut_off(door: Any, client: Any) -> None:
    """openssl drops a last row without an end of line, and its revocation, so such a file is refused."""
    door.enrol(client())
    door.revoke(client="alex")
    index = door.file("index.txt")
    index.write_text(index.read_text()[:-1])
    door.openssl_ca("-gencrl", "-out", str(door.file("crl", "x.pem")))
    assert len(x509.load_pem_x509_crl(door.file("crl", "x.pem").read_bytes())) == 0
    with pytest.raises(MtlsError, match="damaged"):
        door.crl()


def test_names_of_clients_are_told_by_the_file_field() -> None:
    row = index_database.valid_row(
        0x0A, datetime(2027, 1, 1, tzinfo=timezone.utc), "/CN=Alex", "alex", "alex-20270101-0A"
    )
    assert row.file == "clients/alex/alex-20270101-0A.crt"
    assert row.client == "alex"
    assert all(row.client is None for row in parse(BY_OPENSSL))


@pytest.mark.parametrize(
    "file", ["unknown", "clients/alex.crt", "/etc/clients/alex/x.crt", "clients/../x.crt", "clients//.crt"]
)
def test_other_file_fields_name_no_client(file: str) -> None:
    assert Row("V", "271123113907Z", "", "01", file, "/CN=a").client is None
