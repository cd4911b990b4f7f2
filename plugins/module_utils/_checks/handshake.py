# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the ciphers and the CA names that a gate offers in the handshake."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._common.files import opened
from .._common.pem import CERTIFICATE, decode_pem, split_pem
from .._probe.messages import CLOSED, HTTP, NO_ANSWER, NOBODY, REJECTED, Answer
from .._probe.raw_client_hello import offer_weak_ciphers, read_ca_names, subject_of
from .check import Check, Finding, Step, describe, judge
from .expectations import Expectation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .session import ProbeSession


def _ciphers(session: ProbeSession) -> Iterator[Finding]:
    answer = offer_weak_ciphers(session.gate.target, session.gate.server_name)
    yield judge(NOBODY.name, [Step("weak ciphers", answer, Expectation("weak ciphers refused", _check_weak_refused))])


def _check_weak_refused(answer: Answer) -> str:
    hung_up = answer.outcome == NO_ANSWER and answer.reason in (CLOSED, "connection reset by peer")
    if answer.outcome == REJECTED or hung_up:
        return ""
    return "the server would go on" if answer.outcome == HTTP else describe(answer)


def _ca_names(session: ProbeSession) -> Iterator[Finding]:
    names = read_ca_names(session.gate.target, session.gate.server_name)
    expected = "the names of the clients' CAs, no others"
    if isinstance(names, Answer):
        yield Finding(NOBODY.name, expected, describe(names), ok=False, detail=describe(names))
        return
    own = {subject_of(certificate) for certificate in _certificates(session.gate.client_ca)}
    missing, strange = own - set(names), set(names) - own
    wrong = (
        [f"{len(missing)} of the CAs in client_ca is not named: a browser may not offer its certificates"]
        if missing
        else []
    )
    wrong += [f"{len(strange)} CA is named that is not in client_ca"] if strange else []
    yield Finding(NOBODY.name, expected, f"{len(names)} named", not wrong, "; ".join(wrong))


def _certificates(path: str) -> list[bytes]:
    with opened(path, encoding="utf-8", errors="replace") as file:
        return [decode_pem(block) for block in split_pem(file.read(), CERTIFICATE)]


def _needs_client_ca(session: ProbeSession) -> str:
    return "" if session.gate.client_ca else "client_ca was not given"


CHECKS = (
    Check("ciphers", "ciphers without encryption or authentication, RC4, DES and 3DES are refused", _ciphers),
    Check(
        "ca_names", "the handshake names the CAs whose certificates the browser may offer", _ca_names, _needs_client_ca
    ),
)
