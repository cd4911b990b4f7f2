# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test reading and summarizing a gate's log; tests/e2e/test_stages.py reads lines of a real nginx."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._gate import access_log, log_summary
from ansible_collections.quietdoor.mtls.plugins.module_utils._gate.access_log import Reading, parse, requests
from ansible_collections.quietdoor.mtls.plugins.module_utils._gate.log_summary import Source, summarize
from ansible_collections.quietdoor.mtls.plugins.modules.gate_log_info import beginning, evidence_as_dict
from hypothesis import given
from hypothesis import strategies as st

NOON = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)
ROOT = Path(access_log.__file__).parents[6]


def line(**changes: Any) -> str:
    """Return a line in the JSON format of the gate."""
    fields = {
        "time": "2026-11-24T13:00:00+01:00",
        "site": "panel",
        "stage": "fallback",
        "verdict": "cert",
        "reason": "accepted",
        "serial": "0A",
        "name": "alex",
        "email": "alex@example.org",
        "remote_addr": "192.0.2.1",
        "peer": "192.0.2.7",
        "uri": "/",
        "status": "200",
        "upstream_status": "200",
    }
    return json.dumps({**fields, **changes}) + "\n"


def combined(**changes: str) -> str:
    """Return the same in the other format."""
    fields = {
        "request": "GET / HTTP/1.1",
        "upstream_status": "200",
        "verdict": "cert",
        "name": "alex",
        "email": "alex@example.org",
        "peer": "192.0.2.7",
        "status": "200",
    } | changes
    return (
        f'192.0.2.1 - - [24/Nov/2026:13:00:00 +0100] "{fields["request"]}" {fields["status"]} 12 "-" "verdict=\\x22cert" '
        f'stage="fallback" verdict="{fields["verdict"]}" reason="accepted" verify="SUCCESS" serial="0A" subject="CN=x" '
        'issuer="CN=y" '
        f'name="{fields["name"]}" email="{fields["email"]}" peer="{fields["peer"]}" '
        f'upstream_status="{fields["upstream_status"]}" request_id="ff"\n'
    )


def test_both_formats_have_the_same_content() -> None:
    assert parse(line(user_agent='verdict="cert', uri='/"')) == parse(combined(request="GET /\\x22 HTTP/1.1"))
    found = parse(line())
    assert found
    assert (found.at, found.name, found.peer, found.status) == (NOON, "alex", "192.0.2.7", 200)
    nobody = parse(combined(verdict="deny", name="-", email="-", status="403"))
    assert nobody
    assert (nobody.verdict, nobody.name, nobody.email) == ("deny", "", "")


@pytest.mark.parametrize(
    "text", [line(edge="CN=edge"), f'{combined()[:-1]} edge="CN=edge"\n'], ids=["json", "combined"]
)
def test_behind_an_edge_the_client_address_counts(text: str) -> None:
    found = parse(text)
    assert found
    assert (found.peer, found.name) == ("192.0.2.1", "alex")


def test_probe_is_not_a_client() -> None:
    agents = [{"user_agent": "quietdoor-probe"}, {"user_agent": "Mozilla/5.0"}]
    verdicts = ("fallback", "would-deny", "deny")
    texts = [line(verdict=verdict, name="", **agent) for verdict in verdicts for agent in agents]
    found = summarize((one for text in texts if (one := parse(text))), None, ())
    tallies = (found.fallback, found.would_deny, found.denied)
    assert found.probed == 3
    assert [sum(one.count for one in tally.seen.values()) for tally in tallies] == [1, 1, 1]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "{}\n",
        "[]\n",
        "null\n",
        '{"time": 5}\n',
        line()[:-20] + "\n",
        line(time="yesterday"),
        line(time="2026-11-24T13:00:00"),
        line(status="many"),
        line(name=None),
        line(verdict=["cert"]),
        "{" * 5000 + "\n",
        "[" * 100_000 + "\n",
        '{"time":' + "[" * 100_000 + "\n",
        combined().replace("Nov", "Nop"),
        combined().replace("stage=", "age="),
        '1.2.3.4 - - [24/Nov/2026:13:00:00 +0100] "GET / HTTP/1.1" 200 1 "-" "-"\n',
    ],
)
def test_what_is_no_line_of_a_gate_is_counted_and_left_out(text: str, tmp_path: Path) -> None:
    assert parse(text) is None
    log = tmp_path / "quietdoor-panel.log"
    log.write_text(text + line())
    reading = Reading()
    assert len(list(requests(str(log), reading))) == 1
    assert (reading.lines, reading.damaged) == (2 if text else 1, 1 if text else 0)


@pytest.mark.parametrize("written", [1, 20, 150])
def test_a_line_that_nginx_is_writing_is_left_out_and_not_counted(written: int, tmp_path: Path) -> None:
    log = tmp_path / "quietdoor-panel.log"
    log.write_text(line(name="a") + line(name="b")[:written])
    reading = Reading()
    assert [one.name for one in requests(str(log), reading)] == ["a"]
    assert (reading.lines, reading.damaged) == (1, 0)
    log.write_text(line(name="a") + "x" * 300_000)
    reading = Reading()
    assert len(list(requests(str(log), reading))) == 1
    assert (reading.lines, reading.damaged) == (2, 1)


@given(st.text())
def test_no_text_makes_reading_fail(text: str) -> None:
    parse(text)
    parse("{" + text)


def test_rotated_and_compressed_files_are_read_and_others_are_not(tmp_path: Path) -> None:
    log = tmp_path / "quietdoor-panel.log"
    log.write_text(line(name="a"))
    (tmp_path / "quietdoor-panel.log.1").write_text(line(name="b"))
    (tmp_path / "quietdoor-panel.log.2.gz").write_bytes(gzip.compress(line(name="c").encode()))
    (tmp_path / "quietdoor-panel.log.3.bz2").write_bytes(bz2.compress(line(name="d").encode()))
    (tmp_path / "quietdoor-panel.log-20261101.xz").write_bytes(lzma.compress(line(name="e").encode()))
    (tmp_path / "quietdoor-panel.log.4.zst").write_bytes(b"?")
    (tmp_path / "quietdoor-panel.log.d").mkdir()
    (tmp_path / "quietdoor-panel.logger").write_text(line(name="x"))
    (tmp_path / "quietdoor-panel2.log").write_text(line(name="y"))
    # A file that is rotated while it is read exists under two names for a short time.
    os.link(log, tmp_path / "quietdoor-panel.log.0")
    reading = Reading()
    assert sorted(request.name for request in requests(str(log), reading)) == ["a", "b", "c", "d", "e"]
    assert (reading.files, reading.unread) == (5, ("quietdoor-panel.log.4.zst",))


def test_a_damaged_archive_and_a_wrong_path_are_named(tmp_path: Path) -> None:
    log = tmp_path / "quietdoor-panel.log"
    for name, content in (("quietdoor-panel.log.1.gz", b"no gzip"), ("quietdoor-panel.log.1.xz", b"\xfd7zXZ\x00cut")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(MtlsError, match=rf"{name} cannot be read"):
            list(requests(str(log), Reading()))
        (tmp_path / name).unlink()
    (tmp_path / "quietdoor-panel.log.1.gz").write_bytes(gzip.compress(line().encode() * 50)[:-20])
    with pytest.raises(MtlsError, match="cannot be read"):
        list(requests(str(log), Reading()))
    with pytest.raises(MtlsError, match="cannot be read"):
        list(requests(str(tmp_path / "no" / "x.log"), Reading()))


def test_a_line_that_never_ends_costs_no_memory(tmp_path: Path) -> None:
    log = tmp_path / "quietdoor-panel.log"
    with log.open("w") as file:
        file.write(line(name="before"))
        for _part in range(64):
            file.write("x" * (1 << 20))
        file.write("\n" + line(name="after"))
    code = (
        "import re, sys\n"
        "from ansible_collections.quietdoor.mtls.plugins.module_utils._gate.access_log import Reading, requests\n"
        "reading = Reading()\n"
        "print([one.name for one in requests(sys.argv[1], reading)], reading.lines, reading.damaged)\n"
        "print(int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) // 1024)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(log)], capture_output=True, text=True, check=True, env=environment
    )
    names, mebibytes = done.stdout.splitlines()
    assert names == "['before', 'after'] 3 1"
    assert int(mebibytes) < 60, "the 64 MiB of the line were held"


def weighed(
    *lines: str,
    since: datetime | None = None,
    exclude: tuple[str, ...] = ("door-probe",),
    from_files: bool = False,
) -> dict[str, Any]:
    """Return the summary of lines."""
    found = [parse(text) for text in lines]
    return evidence_as_dict(summarize([one for one in found if one], since, exclude, from_files=from_files))


def at(minutes: int) -> str:
    """Return the time that many minutes after noon, in the format of nginx."""
    return (NOON + timedelta(minutes=minutes)).isoformat()


def test_clients_are_counted_by_answers_with_a_certificate() -> None:
    seen = weighed(
        line(time=at(5)),
        line(time=at(1), status="404"),
        line(time=at(9), status="403"),
        line(time=at(3), name="bea", email="bea@example.org"),
        line(time=at(4), name="carl", status="502", upstream_status="502"),
        line(time=at(4), name="dora", status="400", upstream_status=""),
        line(time=at(4), name="door-probe"),
    )
    assert seen["people"] == [
        {
            "name": "alex",
            "email": "alex@example.org",
            "count": 3,
            "first_seen": "2026-11-24T12:01:00Z",
            "last_seen": "2026-11-24T12:09:00Z",
            "serials": ["0A"],
        },
        {
            "name": "bea",
            "email": "bea@example.org",
            "count": 1,
            "first_seen": "2026-11-24T12:03:00Z",
            "last_seen": "2026-11-24T12:03:00Z",
            "serials": ["0A"],
        },
    ]
    assert {one["name"] for one in seen["unanswered"]} == {"carl", "dora"}
    assert [one["name"] for one in seen["excluded"]] == ["door-probe"]


def test_sources_differ_by_address_reason_and_client() -> None:
    seen = weighed(
        line(verdict="would-deny", reason="no-certificate", name="", time=at(1)),
        line(verdict="would-deny", reason="no-certificate", name="", time=at(2)),
        line(verdict="would-deny", reason="unlisted", name="dora", time=at(3)),
        line(verdict="fallback", reason="expired", name="", time=at(4)),
        line(verdict="deny", reason="revoked", name="", time=at(5)),
        line(verdict="public", reason="public", name="", time=at(6)),
    )
    assert [(one["address"], one["reason"], one["name"], one["count"]) for one in seen["would_deny"]] == [
        ("192.0.2.7", "no-certificate", "", 2),
        ("192.0.2.7", "unlisted", "dora", 1),
    ]
    assert [one["reason"] for one in seen["fallback"]] == ["expired"]
    assert [one["reason"] for one in seen["denied"]] == ["revoked"]
    assert (seen["last_fallback"], seen["last_would_deny"]) == ("2026-11-24T12:04:00Z", "2026-11-24T12:03:00Z")
    assert seen["people"] == []
    nothing = weighed()
    assert (nothing["last_fallback"], nothing["last_would_deny"], nothing["beyond"]) == (None, None, 0)


@pytest.mark.parametrize(
    "uri",
    [
        "/.well-known/quietdoor",
        "/.well-known/quietdoor?x=/",
        "/.well-known/quietdoor#x",
        "/.well-known/quietdoor/verdict",
        "//.well-known/%71uietdoor",
        "/a/../.well-known/./quietdoor",
        "https://panel.example/.well-known/quietdoor",
    ],
)
@pytest.mark.parametrize("from_files", [False, True])
def test_the_answer_of_the_gate_itself_is_none_of_the_application(uri: str, from_files: bool) -> None:
    for text in (line(uri=uri, status="204"), combined(request=f"GET {uri} HTTP/2.0", status="204")):
        seen = weighed(text, from_files=from_files)
        assert (seen["people"], [one["name"] for one in seen["unanswered"]]) == ([], ["alex"])


def test_a_page_with_a_similar_address_is_the_application_s() -> None:
    assert weighed(line(uri="/.well-known/quietdoors"), line(uri="/?/.well-known/quietdoor"))["people"][0]["count"] == 2


@pytest.mark.parametrize("text", [line(upstream_status="", status="302"), combined(upstream_status="-")])
def test_what_nginx_answers_by_itself_counts_where_it_serves_files(text: str) -> None:
    seen = weighed(text)
    assert (seen["people"], len(seen["unanswered"])) == ([], 1)
    seen = weighed(text, from_files=True)
    assert (len(seen["people"]), seen["unanswered"]) == (1, [])


def test_latest_certificates_of_a_client_are_reported() -> None:
    seen = weighed(line(serial="0b", time=at(2)), line(serial="0A", time=at(1)), line(serial="", time=at(3)))
    assert seen["people"][0]["serials"] == ["0A", "0B"]
    many = weighed(*(line(serial=f"{number:04X}", time=at(number)) for number in range(100)))
    assert many["people"][0]["serials"] == [f"{number:04X}" for number in range(84, 100)]
    backwards = weighed(*(line(serial=f"{number:04X}", time=at(number)) for number in reversed(range(100))))
    assert backwards["people"][0]["serials"] == many["people"][0]["serials"]


def test_what_came_before_is_left_out() -> None:
    seen = weighed(line(time=at(-1)), line(time=at(0)), line(time=at(1)), since=NOON)
    assert seen["people"][0]["count"] == 2


@pytest.mark.parametrize(
    ("since", "hours"), [(["30d", "24h"], 720), (["1h", "2d"], 48), (["24h"], 24), ([], None), (["7d", ""], None)]
)
def test_a_log_is_read_back_as_far_as_the_longest_duration(since: list[str], hours: int | None) -> None:
    assert beginning(since, NOON) == (None if hours is None else NOON - timedelta(hours=hours))


def test_a_flood_of_addresses_is_counted_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_summary, "_MOST", 3)
    seen = weighed(
        *(line(verdict="fallback", reason="no-certificate", name="", peer=f"192.0.2.{n % 5}") for n in range(20))
    )
    assert len(seen["fallback"]) == 3
    assert seen["beyond"] == 8


def test_named_client_is_found_among_many_unauthenticated_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_summary, "_MOST", 3)
    lines = [
        line(verdict="would-deny", name="", email="", peer=f"192.0.2.{number}", status="200") for number in range(9)
    ]
    lines += [line(verdict="would-deny", reason="expired", name="carl", peer="192.0.2.99", status="200")]
    seen = weighed(*lines)
    assert seen["beyond"] == 0
    assert [one["name"] for one in seen["would_deny"] if one["name"]] == ["carl"]
    assert Source("a", "b", "c") == Source("a", "b", "c")
