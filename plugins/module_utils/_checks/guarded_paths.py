# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check guarded paths in other spellings, the public part of a site, and internal locations."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from .._contracts.status_protocol import STATUS_PATH, VERDICT_HEADER
from .._probe.messages import HTTP, NOBODY, Answer, Request
from .check import Check, Finding, Step, judge, needs_refusal
from .expectations import REFUSED, SERVED, Expectation, allow_down, expected_answer, expected_status, one_of, refused_or
from .expected_outcomes import DENY
from .identity_headers import forged, leaked, respellings
from .session import read_echo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._probe.messages import Identity
    from .session import ProbeSession

STRICT, LOOSE = "strict", "loose"  # the values of path_spelling in gate_sites

_INTERNAL = (f"{STATUS_PATH}/verdict", f"{STATUS_PATH}/public")
_NO_CONTENT, _NOT_FOUND = 204, 404
_EXAMPLE = "/admin"  # replaces "/" where the whole site is guarded


def spellings(guarded: str, spelling: str) -> list[str]:
    """Return spellings of a guarded path: those that nginx reads as the same, then those that another program may.

    :param guarded: begins with a slash; a slash at the end is ignored.
    :param spelling: LOOSE returns only the former, because the gate hands the latter to the application.
    """
    path = guarded.rstrip("/") or _EXAMPLE
    head, _slash, last = path.rpartition("/")
    coded = f"%{ord(last[0]):02x}"
    same = [
        path,
        f"{path}/",
        f"{path}/index.php",
        f"{path}?x=/public/",
        f"/{path}/",
        f"{head}//{last}//x",
        f"{head}/{coded}{last[1:]}/",
        f"{head or '/'}%2f{last}/",
        f"/x/..{path}/",
        f"/./{path[1:]}/",
        f"{head}/x/%2e%2e/{last}/",
    ]
    odd = [
        f"{path.swapcase()}/",
        f"{path};x/",
        f"{path};x=1",
        f"/;{path}/",
        f"/x/..;{path}/",
        f"{path}%3bx/",
        f"{path}%20/",
        f"{head}/%25{coded[1:]}{last[1:]}/",
        f"/x%252f..%252f{path[1:]}/",
        f"{head}/\\{last}/",
        f"{path}\\x",
        f"{head}/%5c{last}/",
        f"/x/..%5c{path[1:]}/",
        f"{path}/..%2fx",
        f"/index.php{path}/",
    ]
    return same + (odd if spelling == STRICT else [])


def _spellings(session: ProbeSession) -> Iterator[Finding]:
    gate = session.gate
    written = [text for path in gate.guarded_paths for text in spellings(path, gate.path_spelling)]
    for identity in session.refused:
        # nginx refuses some of them with 400 before it checks a certificate, and no password opens an odd one.
        expected = refused_or(400, refusal=one_of(REFUSED, expected_answer(session, identity)))
        steps = [Step(f"GET {text}", session.ask(session.get(text), identity), expected) for text in written]
        yield judge(identity.name, steps)


def _public_part(session: ProbeSession) -> Iterator[Finding]:
    gate, certificates, served = session.gate, session.forged_certificates, allow_down(session, SERVED)
    post = Request("POST", gate.public_path, gate.host(), body=b"quietdoor=probe")
    for identity in (
        NOBODY,
        certificates.foreign,
        certificates.self_signed,
        *session.refused_clients,
        *session.authorized[:1],
    ):
        steps = [
            Step(f"GET {gate.public_path}", session.ask(session.get(gate.public_path), identity), served),
            Step(f"POST {gate.public_path}", session.ask(post, identity), served),
        ]
        yield judge(identity.name, steps)


def _public_headers(session: ProbeSession) -> Iterator[Finding]:
    path = session.gate.public_echo_path
    for identity in (NOBODY, session.forged_certificates.foreign, *session.authorized[:1]):
        mark = f"forged{secrets.token_hex(6)}"
        expectation = allow_down(session, _no_forged_value(mark))
        steps = [
            Step(f"forged headers {label}", session.ask(session.get(path, fields), identity), expectation)
            for label, fields in respellings(forged(mark, mark))
        ]
        yield judge(identity.name, steps)


def _no_forged_value(mark: str) -> Expectation:
    def wrong(answer: Answer) -> str:
        headers = read_echo(answer) if answer.outcome == HTTP else None
        if headers is None:
            return "public_echo_path did not answer with the JSON {method, path, headers} of an echoing application"
        names = leaked(headers, mark)
        return f"the client's own {', '.join(names)} reached the application" if names else ""

    return Expectation("no forged value", wrong)


def _internal(session: ProbeSession) -> Iterator[Finding]:
    for identity in (NOBODY, session.forged_certificates.foreign):
        expected = _expect_hidden(session, identity)
        steps = [Step(f"GET {path}", session.ask(session.get(path), identity), expected) for path in _INTERNAL]
        yield judge(identity.name, steps)


def _expect_hidden(session: ProbeSession, identity: Identity) -> Expectation:
    """Return the expected answer of an internal location, which is hidden or answers like the rest of the site."""
    if session.possible_outcomes(identity) == {DENY}:
        return _HIDDEN
    expected = one_of(expected_status(session, identity), expected_answer(session, identity), _HIDDEN)

    def wrong(answer: Answer) -> str:
        decision = answer.status == _NO_CONTENT and answer.header(VERDICT_HEADER) is None
        return "204 without the gate's verdict: an internal location answers" if decision else expected.wrong(answer)

    return Expectation(expected.text, wrong)


_HIDDEN = refused_or(_NOT_FOUND)


def _needs_public(session: ProbeSession) -> str:
    return "" if session.gate.public_path else "public_path was not given"


def _needs_public_echo(session: ProbeSession) -> str:
    return "" if session.gate.public_echo_path else "public_echo_path was not given"


CHECKS = (
    Check("spellings", "other spellings of a guarded path are refused", _spellings, needs_refusal, needs_openssl=True),
    Check("public_part", "the public part of the site is served to every client, with any certificate or none",
          _public_part, _needs_public, needs_openssl=True),
    Check("public_headers", "forged identity headers do not reach the public part either", _public_headers,
          _needs_public_echo, needs_openssl=True),
    Check("internal_locations", "the internal locations of the gate do not answer from outside", _internal,
          needs_openssl=True),
)  # fmt: skip
