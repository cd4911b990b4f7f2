# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who gets in: each kind of certificate, asked for at the front door."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._probe.messages import NOBODY, Identity
from .check import Check, Finding, Step, judge
from .expectations import CONFIRMED, SERVED, reception, status_for, tolerant
from .expected_outcomes import CERT, DENY
from .session import STATUS_PATH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .session import Client, ProbeSession

# name of the check -> kind of the clients that it asks as
_REFUSED_KINDS = {
    "expired": "expired",
    "revoked": "revoked",
    "server_auth_only": "server_auth",
    "not_allowed": "valid",
    "other": "other",
}


def arrival(inquiry: ProbeSession, identity: Identity) -> Finding:
    """Ask for the status location, the page and the echo, without a good certificate."""
    told = inquiry.ask(inquiry.get(STATUS_PATH), identity)
    expected = reception(inquiry, identity, told=told)
    paths = dict.fromkeys([inquiry.gate.path, inquiry.gate.app_path])
    steps = [Step(f"GET {path}", inquiry.ask(inquiry.get(path), identity), expected) for path in paths]
    return judge(identity.name, [*steps, Step(f"GET {STATUS_PATH}", told, status_for(inquiry, identity))])


def admission(inquiry: ProbeSession, identity: Identity, tls: str = "") -> Finding:
    """Ask the status location and the page; both have to say that this identity was let in."""
    path = inquiry.gate.path
    status = inquiry.ask(inquiry.get(STATUS_PATH), identity, tls=tls)
    page = inquiry.ask(inquiry.get(path), identity, tls=tls)
    served = tolerant(inquiry, SERVED)
    return judge(identity.name, [Step(f"GET {STATUS_PATH}", status, CONFIRMED), Step(f"GET {path}", page, served)])


def _of_kind(inquiry: ProbeSession, kind: str) -> list[Client]:
    return [client for client in inquiry.gate.clients if client.expect == DENY and client.kind == kind]


def _no_certificate(inquiry: ProbeSession) -> Iterator[Finding]:
    yield arrival(inquiry, NOBODY)


def _valid(inquiry: ProbeSession) -> Iterator[Finding]:
    for identity in inquiry.authorized:
        yield admission(inquiry, identity)


def _foreign(inquiry: ProbeSession) -> Iterator[Finding]:
    yield arrival(inquiry, inquiry.specimens.foreign)
    for client in _of_kind(inquiry, "foreign"):
        yield arrival(inquiry, client.identity)


def _look_alike(inquiry: ProbeSession) -> Iterator[Finding]:
    if inquiry.specimens.look_alike:
        yield arrival(inquiry, inquiry.specimens.look_alike)


def _self_signed(inquiry: ProbeSession) -> Iterator[Finding]:
    yield arrival(inquiry, inquiry.specimens.self_signed)


def _refused_kind(name: str, kind: str) -> Check:
    def run(inquiry: ProbeSession) -> Iterator[Finding]:
        for client in _of_kind(inquiry, kind):
            yield arrival(inquiry, client.identity)

    def lacks(inquiry: ProbeSession) -> str:
        return "" if _of_kind(inquiry, kind) else f"no client with expect={DENY} and kind={kind} was given"

    return Check(
        name, f"a client of kind {kind} that is expected to be refused is, as far as the stage goes", run, lacks
    )


def needs_insider(inquiry: ProbeSession) -> str:
    """Say what is missing when no client is known that gets in."""
    return "" if inquiry.authorized else f"no client with expect={CERT} was given"


def _needs_client_ca(inquiry: ProbeSession) -> str:
    return "" if inquiry.gate.client_ca else "client_ca was not given"


CHECKS = (
    Check("no_certificate", "without a certificate there is only the refusal, or what the stage has instead", _no_certificate),
    Check("valid", "each client that should get in is confirmed by the gate and reaches the application", _valid,
          needs_insider),
    Check("foreign", "a certificate of another CA, with the serial of a valid client, is refused", _foreign,
          needs_openssl=True),
    Check("look_alike", "a certificate with all the names of a valid client's, by a CA that only has the real one's name, "
          "is refused", _look_alike, _needs_client_ca, needs_openssl=True),
    Check("self_signed", "a self-signed certificate with the subject of a valid client is refused", _self_signed,
          needs_openssl=True),
    *(_refused_kind(name, kind) for name, kind in _REFUSED_KINDS.items()),
)  # fmt: skip
