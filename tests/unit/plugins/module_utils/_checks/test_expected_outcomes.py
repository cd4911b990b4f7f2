# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the expected outcomes of each stage and the recognition of an application that is down."""

from __future__ import annotations

import itertools
import json
from typing import Any, Callable

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks import catalogue
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks import session as session_module
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks.check import Step, judge
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks.expectations import (
    ASKED,
    SERVED,
    allow_down,
    expected_answer,
    expected_status,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks.expected_outcomes import (
    LETTING_IN,
    STAGES,
    WINDOWS,
    possible_outcomes,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks.identity_headers import (
    check_echo_without_identity,
    forged,
    misdirected,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks.options import KINDS, gate_from
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks.report import report
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks.session import ProbeSession
from ansible_collections.quietdoor.mtls.plugins.module_utils._probe.forged_certificates import ForgedCertificateFactory
from ansible_collections.quietdoor.mtls.plugins.module_utils._probe.messages import (
    HTTP,
    NO_ANSWER,
    NOBODY,
    REJECTED,
    TIMED_OUT,
    Answer,
    Connection,
    Identity,
    Request,
)


def http(status: int, verdict: str | None = None, body: bytes = b"", down: bool = False, **headers: str) -> Answer:
    fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
    fields += [("X-Quietdoor-Verdict", verdict)] if verdict else []
    return Answer(HTTP, status=status, headers=tuple(fields), body=body, handshake=True, down=down)


def client(name: str, expect: str = "deny", kind: str | None = None) -> dict[str, Any]:
    return {"name": name, "certificate": f"/{name}", "key": "/k", "expect": expect, "kind": kind}


PEOPLE = [client("alex", "cert"), client("bea", "cert"), client("carl", kind="revoked"), client("nemo", kind="other")]


def asked(**options: Any) -> ProbeSession:
    given = {"url": "https://a.example.org", "address": "192.0.2.7", "timeout": 1, "clients": PEOPLE, **options}
    return ProbeSession(gate_from(given), ForgedCertificateFactory(""))


def identity(name: str) -> Identity:
    return Identity(name, f"/{name}", "/k")


DENIED = http(403, "deny")
LIMITED = http(429, "deny")
PAGE = http(200)
ASKING = http(401, "deny", WWW_Authenticate='Basic realm="Side door"')
WORDS = {"cert": http(204, "cert"), "fallback": http(204, "fallback"), "would-deny": http(204, "would-deny")}
NOTHING = [Answer(NO_ANSWER, TIMED_OUT), Answer(REJECTED, "unrecognized name")]
ANYTHING = [
    DENIED,
    LIMITED,
    PAGE,
    ASKING,
    *WORDS.values(),
    *NOTHING,
    http(403),
    http(401),
    http(502),
    http(502, down=True),
]


# --- outcomes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "nobody", "revoked"),
    [
        ({}, {"deny"}, {"deny"}),
        ({"stage": "observe"}, {"would-deny"}, {"would-deny"}),
        ({"stage": "fallback"}, {"fallback", "deny"}, {"deny"}),
        ({"stage": "fallback", "window": "listed"}, {"fallback"}, {"deny"}),
        ({"stage": "fallback", "window": "outside"}, {"deny"}, {"deny"}),
        ({"stage": "fallback", "window": "outside", "side_door": True}, {"ask"}, {"deny"}),
        ({"stage": "fallback", "window": "listed", "side_door": True}, {"fallback"}, {"deny"}),
        ({"stage": "fallback", "window": "unknown", "side_door": True}, {"fallback", "ask"}, {"deny"}),
        ({"stage": "enforce", "window": "listed", "side_door": True}, {"deny"}, {"deny"}),
    ],
)
def test_allowed_outcomes_of_each_client(options: dict[str, Any], nobody: set[str], revoked: set[str]) -> None:
    session = asked(**options)
    assert session.possible_outcomes() == session.possible_outcomes(Identity("foreign CA", "/x", "/x")) == nobody
    assert session.possible_outcomes(identity("carl")) == revoked
    assert session.possible_outcomes(identity("nemo")) == (
        nobody | {"deny"} if session.gate.stage == "fallback" else nobody
    )


def test_window_never_admits_a_revoked_certificate_and_enforce_has_none() -> None:
    for stage, window, side_door, kind in itertools.product(STAGES, WINDOWS, (False, True), ("", *KINDS)):
        found = possible_outcomes(stage, window, side_door, kind)
        assert found
        if stage == "enforce" or (stage == "fallback" and kind == "revoked"):
            assert found == {"deny"}
        assert "would-deny" not in found or stage == "observe"
        assert not (found & LETTING_IN) or stage == "observe" or window != "outside"


@pytest.mark.parametrize(
    ("options", "at_status", "elsewhere"),
    [
        ({}, [DENIED, LIMITED], [DENIED, LIMITED]),
        ({"stage": "observe"}, [WORDS["would-deny"]], [PAGE]),
        ({"stage": "fallback", "window": "listed"}, [WORDS["fallback"]], [PAGE]),
        ({"stage": "fallback", "window": "outside"}, [DENIED, LIMITED], [DENIED, LIMITED]),
        ({"stage": "fallback", "window": "outside", "side_door": True}, [DENIED, LIMITED], [ASKING]),
        ({"stage": "fallback"}, [DENIED, LIMITED, WORDS["fallback"]], [DENIED, LIMITED, PAGE]),
        ({"stage": "fallback", "side_door": True}, [DENIED, LIMITED, WORDS["fallback"]], [PAGE, ASKING]),
    ],
)
def test_what_counts_at_each_stage(options: dict[str, Any], at_status: list[Answer], elsewhere: list[Answer]) -> None:
    session = asked(**options)
    reported, page = expected_status(session), expected_answer(session)
    assert [answer for answer in ANYTHING if not reported.wrong(answer)] == [
        one for one in ANYTHING if one in at_status
    ]
    # Behind the gate a 401 or 403 without a verdict comes from the application.
    own = [http(403), http(401)] if PAGE in elsewhere else []
    right = [answer for answer in ANYTHING if not page.wrong(answer)]
    assert right == [one for one in ANYTHING if one in [*elsewhere, *own]]


def test_client_that_was_just_refused_is_not_admitted() -> None:
    session = asked(stage="fallback", window="unknown")
    assert not expected_answer(session, status=WORDS["fallback"]).wrong(PAGE)
    # The window may have closed between the two requests.
    assert not expected_answer(session, status=WORDS["fallback"]).wrong(DENIED)
    assert not expected_answer(session, status=DENIED).wrong(DENIED)
    assert expected_answer(session, status=DENIED).wrong(PAGE)


def test_request_for_a_password_is_of_the_gate() -> None:
    assert not ASKED.wrong(ASKING)
    assert not ASKED.wrong(http(401, "ask", WWW_Authenticate="Basic"))
    for answer in (
        http(401, WWW_Authenticate="Basic"),
        http(401, "deny"),
        DENIED,
        PAGE,
        *NOTHING,
        http(401, "fallback"),
    ):
        assert ASKED.wrong(answer)


# --- identity headers at the application -----------------------------------------------------------------------------


def echo(headers: dict[str, Any]) -> Answer:
    return http(200, body=json.dumps({"method": "GET", "path": "/", "headers": headers}).encode())


def test_application_gets_no_identity_without_a_valid_certificate() -> None:
    assert check_echo_without_identity(echo({"X-Client-Verify": "NONE"})) == ""
    assert check_echo_without_identity(echo({"x-client-verify": ["NONE"], "X-Client-DN": ""})) == ""


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({}, "X-Client-Verify is absent, not NONE"),
        ({"X-Client-Verify": "SUCCESS"}, "X-Client-Verify is SUCCESS"),
        ({"X-Client-Verify": "NONE", "X_CLIENT_VERIFY": "SUCCESS"}, "X-Client-Verify is NONE, SUCCESS"),
        ({"X-Client-Verify": "NONE", "X-Client-DN": "CN=Carl"}, "received X-Client-DN for a client"),
        ({"X-Client-Verify": "NONE", "X_Client_Roles": "admin"}, "received X-Client-Roles for a client"),
        ({"X-Client-Verify": "NONE", "X-Forwarded-For": "203.0.113.199"}, "the client's own X-Forwarded-For"),
    ],
)
def test_forbidden_identity_is_named(headers: dict[str, Any], words: str) -> None:
    assert words in check_echo_without_identity(echo(headers))


def test_every_forged_header_without_a_certificate_can_be_recognized() -> None:
    for name, value in forged("SUCCESS", "quietdoor-forged"):
        for spelling in (str, str.swapcase, lambda name: name.replace("-", "_")):
            assert check_echo_without_identity(echo({"X-Client-Verify": "NONE", spelling(name): value})), name


def test_a_connection_for_another_site_gets_through_a_gate_that_observes_and_counts_for_nothing() -> None:
    assert misdirected(asked()).wrong(PAGE)
    watching = misdirected(asked(stage="observe", echo_path="/echo"))
    assert not watching.wrong(http(421))
    assert not watching.wrong(echo({"X-Client-Verify": "NONE"}))
    assert watching.wrong(echo({"X-Client-Verify": "SUCCESS", "X-Client-DN": "CN=Alex"}))
    assert not misdirected(asked(stage="observe")).wrong(PAGE)


# --- an application that is down -------------------------------------------------------------------------------------


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Answer]], list[str]]:
    """Give each client, by name, a fixed answer; return the names of the clients that sent requests."""

    def set_up(by_name: dict[str, Answer]) -> list[str]:
        knocked: list[str] = []

        def ask(_target: object, connection: Connection, _request: object) -> Answer:
            knocked.append(connection.identity.name)
            return by_name.get(connection.identity.name, by_name["everybody"])

        monkeypatch.setattr(session_module, "ask", ask)
        return knocked

    return set_up


def ask(one: ProbeSession, name: str) -> Answer:
    return one.ask(one.get("/"), NOBODY if name == "nobody" else identity(name))


@pytest.mark.parametrize("status", [502, 503, 504])
def test_an_application_is_down_if_the_first_client_has_no_answer_either(answers: Any, status: int) -> None:
    one = asked(stage="observe", expect_application=False)
    knocked = answers({"everybody": http(status)})
    assert [ask(one, name).down for name in ("alex", "bea", "nobody", "carl")] == [True] * 4
    assert knocked == ["alex", "bea", "alex", "no certificate", "alex", "carl", "alex"]
    answers({"everybody": http(status), "alex": PAGE})
    assert not any(ask(one, name).down for name in ("bea", "nobody", "carl"))
    answers({"everybody": http(status), "alex": DENIED})
    assert not any(ask(one, name).down for name in ("bea", "nobody", "carl"))


@pytest.mark.parametrize(
    "answer",
    [
        http(500),
        http(403),
        http(200),
        DENIED,
        http(503, "deny"),
        http(502, X_Quietdoor_Generation="gate=1 trust=1"),
        *NOTHING,
    ],
)
def test_nothing_else_is_an_application_that_is_down(answers: Any, answer: Answer) -> None:
    knocked = answers({"everybody": answer})
    assert not ask(asked(), "alex").down
    assert knocked == ["alex"]


def test_an_application_hangs_if_the_gate_answers_and_nothing_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    silence = Answer(NO_ANSWER, TIMED_OUT, handshake=True)

    def hang(gate: Answer, alex: Answer) -> None:
        def ask(_target: object, connection: Connection, request: Request) -> Answer:
            if request.target == session_module.STATUS_PATH:
                return gate
            return alex if connection.identity.name == "alex" else silence

        monkeypatch.setattr(session_module, "ask", ask)

    hang(WORDS["cert"], silence)
    assert ask(asked(), "alex").down
    assert ask(asked(), "bea").down
    for gate, alex in ((silence, silence), (WORDS["cert"], PAGE), (WORDS["cert"], DENIED)):
        hang(gate, alex)
        assert not ask(asked(), "bea").down
    hang(silence, silence)
    one = asked()
    assert not one.ask(one.get(session_module.STATUS_PATH)).down


def test_without_an_admitted_client_the_answer_decides(answers: Any) -> None:
    answers({"everybody": http(502)})
    assert ask(asked(clients=[], stage="observe"), "nobody").down


def test_what_is_down_is_a_deviation_unless_the_application_may_be_so() -> None:
    down = http(502, down=True)
    strict, lenient = asked(), asked(expect_application=False)
    assert allow_down(strict, SERVED).wrong(down)
    assert not allow_down(lenient, SERVED).wrong(down)
    for answer in (http(502), DENIED, *NOTHING):
        assert allow_down(lenient, SERVED).wrong(answer)
    # If a client should be refused, an application that is down proves that the gate did not refuse it.
    assert expected_answer(lenient).wrong(down)
    watching = asked(stage="observe", expect_application=False)
    assert not expected_answer(watching).wrong(down)
    assert expected_status(watching).wrong(down)


def test_an_application_that_is_down_is_the_application_all_the_same(answers: Any) -> None:
    answers({"everybody": http(502)})
    assert asked(echo_path="/echo").is_application(http(502, down=True))
    assert not asked(echo_path="/echo").is_application(http(502))


def test_application_that_is_down_is_reported_once_in_the_table() -> None:
    finding = judge("alex", [Step("GET /", http(502, down=True), allow_down(asked(expect_application=False), SERVED))])
    assert (finding.ok, finding.seen) == (True, "502, the application is down")
    reported = report(asked().gate, catalogue.Plan((), ()), [catalogue.Result("valid", finding)], None)
    assert reported["application_down"] == ["valid (alex): GET /: 502, the application is down"]
    assert set(reported["checks"][0]) == {"name", "client", "expected", "seen", "ok", "detail"}
    assert report(asked().gate, catalogue.Plan((), ()), [], None)["application_down"] == []


# --- what is left out ------------------------------------------------------------------------------------------------

REFUSALS = ("spellings", "friendly_page", "hostile_requests", "smuggling")


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ({}, ""),
        ({"stage": "observe"}, "no client is refused at stage observe"),
        ({"stage": "fallback", "window": "listed"}, ""),
        ({"stage": "fallback", "window": "unknown"}, ""),
        ({"stage": "fallback", "window": "outside", "clients": PEOPLE[:1]}, ""),
        (
            {"stage": "fallback", "window": "listed", "clients": PEOPLE[:1]},
            "at stage fallback with window=listed only a revoked client is refused for certain, and none was given",
        ),
    ],
)
def test_refusals_are_checked_if_any_client_is_refused(options: dict[str, Any], missing: str) -> None:
    left_out = dict(catalogue.plan(asked(rate_limit_burst=3, **options), ()).left_out)
    assert {left_out.get(name, "") for name in (*REFUSALS, "rate_limit")} == {missing}


def test_request_for_a_password_does_not_use_the_limit() -> None:
    options = {"stage": "fallback", "window": "outside", "side_door": True, "rate_limit_burst": 3}
    assert "rate_limit" not in dict(catalogue.plan(asked(**options), ()).left_out)
    left_out = dict(catalogue.plan(asked(**options, clients=PEOPLE[:1]), ()).left_out)
    assert "no revoked client was given" in left_out["rate_limit"]
    assert not set(REFUSALS) & set(left_out)


def test_identity_is_unknown_without_an_echo() -> None:
    assert "header_spoofing" in dict(catalogue.plan(asked(stage="observe"), ()).left_out)
    for options in ({}, {"stage": "observe", "echo_path": "/echo"}, {"stage": "fallback", "window": "outside"}):
        assert "header_spoofing" not in dict(catalogue.plan(asked(**options), ()).left_out)
