# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test how answers are judged, without a server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks import catalogue
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks.check import Finding, Step, judge
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks.expectations import (
    CONFIRMED,
    MISDIRECTED,
    REFUSED,
    SERVED,
    Expectation,
    refused_or,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks.identity_headers import check_echo, forged
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks.options import gate_from
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks.refusal_page import (
    external_resources,
    read_generation,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks.report import summary, table
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks.session import ProbeSession
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._probe.forged_certificates import (
    Described,
    ForgedCertificateFactory,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._probe.messages import (
    HTTP,
    NO_ANSWER,
    REJECTED,
    Answer,
    Request,
)


def http(status: int, verdict: str | None = None, body: bytes = b"", **headers: str) -> Answer:
    fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
    fields += [("X-Quietdoor-Verdict", verdict)] if verdict else []
    return Answer(HTTP, status=status, headers=tuple(fields), body=body, handshake=True)


SILENCE = [Answer(NO_ANSWER, reason) for reason in ("timed out", "connection refused", "closed without an answer")]
ALERT = Answer(REJECTED, "unrecognized name")
DENIED = http(403, "deny")


@pytest.mark.parametrize(
    ("expectation", "good", "bad"),
    [
        (
            REFUSED,
            [DENIED],
            [*SILENCE, ALERT, http(403), http(200), http(200, "deny"), http(403, "cert"), http(502), http(403, "deny, cert")],
        ),
        (CONFIRMED, [http(204, "cert")], [*SILENCE, ALERT, DENIED, http(204), http(200, "cert"), http(204, "fallback")]),
        (
            SERVED,
            [http(200), http(404), http(302), http(500)],
            [*SILENCE, ALERT, DENIED, http(200, "cert"), http(200, X_Quietdoor_Generation="gate=1 trust=1"), http(502),
             http(503), http(504), http(400), http(421)],
        ),
        (MISDIRECTED, [ALERT, DENIED, http(421), http(421, "deny")], [*SILENCE, http(200), http(404), http(204, "cert")]),
        (refused_or(405), [DENIED, http(405)], [*SILENCE, ALERT, http(200), http(403)]),
    ],
)  # fmt: skip
def test_what_counts(expectation: Expectation, good: list[Answer], bad: list[Answer]) -> None:
    assert [answer for answer in good if expectation.wrong(answer)] == []
    assert [answer for answer in bad if not expectation.wrong(answer)] == []


def test_one_bad_step_spoils_the_finding_and_is_named() -> None:
    finding = judge("alex", [Step("GET /a", DENIED, REFUSED), Step("GET /b", http(502), REFUSED)])
    assert (finding.ok, finding.expected, finding.seen) == (False, "403 deny", "403 deny, 502 without verdict")
    assert finding.detail.startswith("GET /b: 502 without the gate's verdict")


# --- the plan --------------------------------------------------------------------------------------------------------


def session(**options: Any) -> ProbeSession:
    return ProbeSession(
        gate_from({"url": "https://a.example.org", "address": "192.0.2.7", "timeout": 1, **options}),
        ForgedCertificateFactory(""),
    )


CLIENT = {"name": "alex", "certificate": "/c", "key": "/k"}


def test_without_anything_the_plan_says_what_is_left_out() -> None:
    plan = catalogue.plan(session(), ())
    left = set(dict(plan.left_out))
    assert left == {"valid", "look_alike", "expired", "revoked", "server_auth_only", "not_allowed", "other",
                    "identity_headers", "plain_ports", "public_part", "public_headers", "ca_names", "unlisted_page",
                    "websocket", "rate_limit"}  # fmt: skip
    assert [check.name for check in plan.checks] == [name for name in catalogue.NAMES if name not in left]


@pytest.mark.parametrize(
    ("kind", "check"),
    [("revoked", "revoked"), ("expired", "expired"), ("server_auth", "server_auth_only"), ("valid", "not_allowed"),
     ("other", "other")],
)  # fmt: skip
def test_each_kind_of_refused_client_brings_its_check(kind: str, check: str) -> None:
    plan = catalogue.plan(session(clients=[{**CLIENT, "expect": "deny", "kind": kind}]), (check,))
    assert [planned.name for planned in plan.checks] == [check]


def test_a_check_asked_for_by_name_must_be_possible() -> None:
    with pytest.raises(MtlsError, match="Check revoked cannot be made: no client with expect=deny and kind=revoked"):
        catalogue.plan(session(), ("generation", "revoked"))
    with pytest.raises(MtlsError, match="checks: nonsense is not in the catalogue"):
        catalogue.plan(session(), ("nonsense",))


def test_every_check_has_its_own_name_and_says_what_it_is_about() -> None:
    assert len(set(catalogue.NAMES)) == len(catalogue.NAMES)
    assert all(check.about for check in catalogue.CATALOGUE)


# --- headers ---------------------------------------------------------------------------------------------------------

ALEX = Described(subject="CN=Alex,O=Gate", serial="0A1B")
GOOD = {
    "X-Client-Verify": "SUCCESS",
    "X-Client-DN": "CN=Alex,O=Gate",
    "X-Client-Serial": "0A1B",
    "X-Forwarded-Proto": "https",
}


def echo(headers: Any) -> Answer:
    return http(200, body=json.dumps({"method": "GET", "path": "/", "headers": headers}).encode())


@pytest.mark.parametrize(
    "headers",
    [
        GOOD,
        {name: [value] for name, value in GOOD.items()},
        {name.lower(): value for name, value in GOOD.items()},
        {"X-Client-Verify": "SUCCESS", "X-Client-DN": "CN=Alex,O=Gate"},
    ],
)
def test_the_gates_own_headers_are_right(headers: Any) -> None:
    assert check_echo(echo(headers), ALEX, "mark") == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"X-Client-Name": "CN=mark"}, "the client's own X-Client-Name"),
        ({"X_Client_Verify": ["mark"]}, "the client's own X_Client_Verify"),
        ({"x-cLIENT-dn": "MARK"}, "the client's own x-cLIENT-dn"),
        ({"X-Forwarded-For": "203.0.113.199, 192.0.2.1"}, "the client's own X-Forwarded-For"),
        ({"X-Client-Verify": ["SUCCESS", "SUCCESS"]}, "X-Client-Verify is SUCCESS, SUCCESS, not SUCCESS"),
        ({"X-Client-Verify": "NONE"}, "X-Client-Verify is NONE"),
        ({"X-Client-DN": "CN=Bea,O=Gate"}, "X-Client-DN is CN=Bea,O=Gate"),
        ({"X-Client-Serial": "A1B"}, "X-Client-Serial is A1B"),
        ({"X-Forwarded-Proto": "http"}, "X-Forwarded-Proto is http"),
    ],
)
def test_wrong_headers_are_named(change: dict[str, Any], words: str) -> None:
    assert words in check_echo(echo({**GOOD, **change}), ALEX, "mark")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"x"', b'{"headers": 1}', b'{"headers": {}}', b"\xff"])
def test_invalid_echo_is_reported(body: bytes) -> None:
    assert "did not answer with the JSON" in check_echo(http(200, body=body), ALEX, "mark")


def test_every_forged_header_can_be_recognised_behind_the_gate() -> None:
    for name, value in forged("mark", "mark"):
        assert "the client's own" in check_echo(echo({**GOOD, f"Z-{name}": value}), ALEX, "mark")


# --- the page and the generation -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "page",
    [
        '<a href="https://help.example.org">help</a><a href="mailto:it@example.org">it</a>',
        '<link rel="icon" href="data:,"><img src="data:image/gif;base64,AA"><svg><use href="#x"/></svg>',
        "<style>body { background: url(data:image/gif;base64,AA) }</style><p>url(x) @import</p>",
        '<meta charset="utf-8"><form></form>',
    ],
)
def test_self_contained_pages(page: str) -> None:
    assert external_resources(page) == []


@pytest.mark.parametrize(
    "page",
    [
        '<link rel="stylesheet" href="/s.css">',
        "<LINK REL=icon HREF=favicon.ico>",
        '<script src="//cdn.example.org/x.js"></script>',
        '<img srcset="/a.png 2x">',
        "<style>@import 'x.css';</style>",
        "<style>p { background: url( '/x.png' ) }</style>",
        '<p style="background: url(/x.png)">',
        '<meta http-equiv="Refresh" content="0; url=https://example.org/">',
        '<form action="https://example.org/">',
        '<base href="https://example.org/">',
        '<video poster="/x.png">',
        '<object data="/x.svg">',
    ],
)
def test_pages_that_load_something(page: str) -> None:
    assert external_resources(page)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("gate=7 trust=1732362000", (7, 1732362000)),
        ("gate=7", None),
        ("gate= trust=1", None),
        ("gate=7 trust=8 ", None),
        ("gate=7 trust=8, gate=7 trust=8", None),
    ],
)
def test_generations(value: str, expected: tuple[int, int] | None) -> None:
    assert read_generation(http(204, X_Quietdoor_Generation=value)) == expected


# --- the wire and the report -----------------------------------------------------------------------------------------


def test_a_request_is_written_as_it_was_asked_for() -> None:
    request = Request("POST", "https://a/b", "a:8443", (("X_y", "1"),), b"body")
    assert request.encode() == (
        b"POST https://a/b HTTP/1.1\r\nHost: a:8443\r\nConnection: close\r\nUser-Agent: quietdoor-probe\r\n"
        b"X_y: 1\r\nContent-Length: 4\r\n\r\nbody"
    )
    assert b"Host" not in Request("GET", "/", None, version="HTTP/1.0").encode()


def test_the_table_shows_deviations_in_full_and_nothing_that_steers_a_terminal() -> None:
    plan = catalogue.Plan((), (("valid", "no client"),))
    long = "x" * 200
    results = [
        catalogue.Result("no_certificate", Finding("nobody", "403 deny", "403 deny", True)),
        catalogue.Result("revoked", Finding("carl", "403 deny", "200 \x1b[2J\r\n", False, long)),
    ]
    lines = table(results, plan).split("\n")
    assert lines[1:] == [
        "ok    no_certificate  nobody  403 deny  403 deny",
        "FAIL  revoked         carl    403 deny  200 ?[2J??",
        f"FAIL revoked (carl): {long}",
        "left out valid: no client",
    ]
    assert summary(results) == f"The gate deviates in 1 of 2 cases.\nrevoked (carl): {long}"
    assert summary(results[:1]) == "The gate did as expected in all 1 cases."
