# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the verdict for each kind of client certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._contracts.status_protocol import STATUS_PATH
from .._probe.messages import NOBODY, Identity
from .check import Check, Finding, Step, judge
from .expectations import CONFIRMED, SERVED, allow_down, expected_answer, expected_status
from .expected_outcomes import CERT, DENY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .session import Client, ProbeSession

# name of the check -> kind of the clients whose certificates it presents
_REFUSED_KINDS = {
    "expired": "expired",
    "revoked": "revoked",
    "server_auth_only": "server_auth",
    "not_allowed": "valid",
    "other": "other",
}


def judge_refused(session: ProbeSession, identity: Identity) -> Finding:
    """Request the status location, the page and the echo without a valid certificate, and judge the answers."""
    status = session.ask(session.get(STATUS_PATH), identity)
    expected = expected_answer(session, identity, status=status)
    paths = dict.fromkeys([session.gate.path, session.gate.app_path])
    steps = [Step(f"GET {path}", session.ask(session.get(path), identity), expected) for path in paths]
    return judge(identity.name, [*steps, Step(f"GET {STATUS_PATH}", status, expected_status(session, identity))])


def judge_admitted(session: ProbeSession, identity: Identity, tls: str = "") -> Finding:
    """Request the status location and the page; both must show that this identity is let in."""
    path = session.gate.path
    status = session.ask(session.get(STATUS_PATH), identity, tls=tls)
    page = session.ask(session.get(path), identity, tls=tls)
    served = allow_down(session, SERVED)
    return judge(identity.name, [Step(f"GET {STATUS_PATH}", status, CONFIRMED), Step(f"GET {path}", page, served)])


def _of_kind(session: ProbeSession, kind: str) -> list[Client]:
    return [client for client in session.gate.clients if client.expect == DENY and client.kind == kind]


def _no_certificate(session: ProbeSession) -> Iterator[Finding]:
    yield judge_refused(session, NOBODY)


def _valid(session: ProbeSession) -> Iterator[Finding]:
    for identity in session.authorized:
        yield judge_admitted(session, identity)


def _foreign(session: ProbeSession) -> Iterator[Finding]:
    yield judge_refused(session, session.forged_certificates.foreign)
    for client in _of_kind(session, "foreign"):
        yield judge_refused(session, client.identity)


def _look_alike(session: ProbeSession) -> Iterator[Finding]:
    if session.forged_certificates.look_alike:
        yield judge_refused(session, session.forged_certificates.look_alike)


def _self_signed(session: ProbeSession) -> Iterator[Finding]:
    yield judge_refused(session, session.forged_certificates.self_signed)


def _refused_kind(name: str, kind: str) -> Check:
    def run(session: ProbeSession) -> Iterator[Finding]:
        for client in _of_kind(session, kind):
            yield judge_refused(session, client.identity)

    def lacks(session: ProbeSession) -> str:
        return "" if _of_kind(session, kind) else f"no client with expect={DENY} and kind={kind} was given"

    return Check(
        name, f"a client of kind {kind} that is expected to be refused is, as far as the stage goes", run, lacks
    )


def needs_authorized_client(session: ProbeSession) -> str:
    """Return what is missing if no client is known that the gate lets in."""
    return "" if session.authorized else f"no client with expect={CERT} was given"


def _needs_client_ca(session: ProbeSession) -> str:
    return "" if session.gate.client_ca else "client_ca was not given"


CHECKS = (
    Check("no_certificate", "without a certificate the client is refused, or gets the answer of the stage", _no_certificate),
    Check("valid", "each authorized client is confirmed by the gate and reaches the application", _valid,
          needs_authorized_client),
    Check("foreign", "a certificate of another CA, with the serial of a valid client, is refused", _foreign,
          needs_openssl=True),
    Check("look_alike", "a certificate with the names of a valid client, signed by a CA that copies the name of the real one, "
          "is refused", _look_alike, _needs_client_ca, needs_openssl=True),
    Check("self_signed", "a self-signed certificate with the subject of a valid client is refused", _self_signed,
          needs_openssl=True),
    *(_refused_kind(name, kind) for name, kind in _REFUSED_KINDS.items()),
)  # fmt: skip
