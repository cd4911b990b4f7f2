# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check that forged identity headers of a client do not reach the application."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Callable

from .._contracts.stages import OBSERVE
from .._probe.messages import HTTP, NOBODY, Answer
from .check import Check, Finding, Step, describe, judge
from .client_certificates import needs_authorized_client
from .expectations import MISDIRECTED, SERVED, Expectation, allow_down, expected_answer, one_of
from .session import read_echo

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .._probe.forged_certificates import Described
    from .session import ProbeSession

VERIFY = "X-Client-Verify"
IDENTITY_HEADERS = (
    "DN",
    "Issuer",
    "Issuer-DN",
    "Serial",
    "Fingerprint",
    "Name",
    "Email",
    "Roles",
)  # each behind "X-Client-"
_FORGED_ADDRESS = "203.0.113.199"  # RFC 5737: reserved for documentation

_MARK = "quietdoor-forged"

# Spellings that nginx or the application may read as the same name; CGI, WSGI and PHP treat - and _ alike.
_SPELLINGS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("as they are", str),
    ("in odd case", str.swapcase),
    ("with underscores", lambda name: name.replace("-", "_")),
)


def forged(verify: str, mark: str) -> list[tuple[str, str]]:
    """Return forged headers; every value except that of X-Client-Verify contains ``mark`` or the forged address."""
    return [
        (VERIFY, verify),
        *((f"X-Client-{name}", f"CN={mark}") for name in IDENTITY_HEADERS),
        ("X-Real-IP", _FORGED_ADDRESS),
        ("X-Forwarded-For", _FORGED_ADDRESS),
        ("X-Forwarded-Proto", mark),
        ("X-Forwarded-Host", f"{mark}.invalid"),
        ("X-Forwarded-Port", mark),
        ("Forwarded", f"for={_FORGED_ADDRESS};host={mark}.invalid"),
    ]


def respellings(fields: list[tuple[str, str]]) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    """Return the headers in each spelling, with a label."""
    return [(label, tuple((spelling(name), value) for name, value in fields)) for label, spelling in _SPELLINGS]


def _spoofing(session: ProbeSession) -> Iterator[Finding]:
    fields = forged("SUCCESS", _MARK)
    # If bad certificates are not refused, nginx hands their requests to the application as re-proxied requests.
    others = [] if session.is_refused() else [session.forged_certificates.foreign, *session.refused_clients]
    for identity in (NOBODY, *others):
        expectation = expected_answer(session, identity, _WITHOUT_IDENTITY)
        steps = []
        for label, respelled in respellings(fields):
            request = session.get(session.gate.app_path, respelled)
            steps.append(Step(f"forged headers {label}", session.ask(request, identity), expectation))
        yield judge(identity.name, steps)


def _identity_headers(session: ProbeSession) -> Iterator[Finding]:
    for identity in session.authorized:
        mark = f"forged{secrets.token_hex(6)}"
        expectation = allow_down(session, _only_gate_values(session.describe(identity), mark))
        steps = []
        for label, respelled in respellings(forged(mark, mark)):
            request = session.get(session.gate.echo_path, respelled)
            steps.append(Step(f"forged headers {label}", session.ask(request, identity), expectation))
        yield judge(identity.name, steps)


def _only_gate_values(client: Described, mark: str) -> Expectation:
    return Expectation("the gate's values only", lambda answer: check_echo(answer, client, mark))


def check_echo(answer: Answer, client: Described, mark: str) -> str:
    """Return how the headers that reached the application deviate; empty if only the gate set them."""
    headers = read_echo(answer) if answer.outcome == HTTP else None
    if headers is None:
        return "echo_path did not answer with the JSON {method, path, headers} of an echoing application"
    names = leaked(headers, mark)
    if names:
        return f"the client's own {', '.join(names)} reached the application"
    seen = {name.lower(): values for name, values in headers.items()}
    wanted = {VERIFY: "SUCCESS", "X-Client-DN": client.subject}
    present = {"X-Client-Serial": client.serial, "X-Forwarded-Proto": "https"}
    wanted.update({name: value for name, value in present.items() if name.lower() in seen})
    wrong = [name for name, value in wanted.items() if seen.get(name.lower()) != [value]]
    found = {name: ", ".join(seen.get(name.lower(), [])) or "absent" for name in wrong}
    return "; ".join(f"{name} is {found[name]}, not {wanted[name]}" for name in wrong)


def check_echo_without_identity(answer: Answer) -> str:
    """Return the identity that the application received for a client without a valid certificate; empty if it is none."""
    headers = read_echo(answer) if answer.outcome == HTTP else None
    if headers is None:
        return f"{describe(answer)}: not the JSON {{method, path, headers}} with which echo_path should answer"
    names = leaked(headers, _MARK)
    if names:
        return f"the client's own {', '.join(names)} reached the application"
    seen: dict[str, list[str]] = {}
    for name, values in headers.items():
        seen.setdefault(name.lower().replace("_", "-"), []).extend(values)
    verified = seen.get(VERIFY.lower(), [])
    if verified != ["NONE"]:
        return f"{VERIFY} is {', '.join(verified) or 'absent'}, not NONE"
    present = [f"X-Client-{name}" for name in IDENTITY_HEADERS if any(seen.get(f"x-client-{name.lower()}", []))]
    return f"the application received {', '.join(present)} for a client without a valid certificate" if present else ""


def misdirected(session: ProbeSession) -> Expectation:
    """Return the expected answer for ``app_path`` on a connection whose server name is not the gate's.

    A gate in stage observe lets it through, but the certificate of that handshake must not count.
    """
    if session.gate.stage != OBSERVE:
        return MISDIRECTED
    return one_of(MISDIRECTED, allow_down(session, _WITHOUT_IDENTITY if session.gate.echo_path else SERVED))


def leaked(headers: Mapping[str, Sequence[str]], mark: str) -> list[str]:
    """Return the names of the headers that reached the application with a forged value."""
    return sorted(name for name, values in headers.items() if any(_is_forged(value, mark) for value in values))


def _is_forged(value: str, mark: str) -> bool:
    return mark in value.lower() or _FORGED_ADDRESS in value


def _needs_echo(session: ProbeSession) -> str:
    return needs_authorized_client(session) or ("" if session.gate.echo_path else "echo_path was not given")


_WITHOUT_IDENTITY = Expectation("the application, without an identity", check_echo_without_identity)


def _needs_echo_path(session: ProbeSession) -> str:
    missing = "echo_path was not given, and where every client may get in only that shows what the application receives"
    return "" if session.is_refused() or session.gate.echo_path else missing


CHECKS = (
    Check("header_spoofing", "forged identity headers grant nothing without a certificate and do not reach the application",
          _spoofing, _needs_echo_path, needs_openssl=True),
    Check("identity_headers", "with a certificate the application receives the gate's identity headers, never forged ones",
          _identity_headers, _needs_echo, needs_openssl=True),
)  # fmt: skip
