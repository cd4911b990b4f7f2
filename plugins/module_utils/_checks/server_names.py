# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check SNI and Host names that differ, which could bypass a gate through another server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._probe.messages import NOBODY, Identity
from .check import Check, Finding, Step, judge
from .expectations import not_application
from .identity_headers import misdirected

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .session import ProbeSession


def _everybody(session: ProbeSession) -> list[Identity]:
    return [NOBODY, session.forged_certificates.foreign, *session.refused_clients, *session.authorized[:1]]


def _wrong_sni(session: ProbeSession, identity: Identity, sni: str | None) -> Step:
    # The certificate of the server that answers here is not verified, because it is not the gate's.
    answer = session.ask(session.get(session.gate.app_path), identity, sni=sni, verify=False)
    return Step(f"SNI {sni or 'absent'}, Host {session.gate.server_name}", answer, misdirected(session))


def _sni_none(session: ProbeSession) -> Iterator[Finding]:
    for identity in _everybody(session):
        yield judge(identity.name, [_wrong_sni(session, identity, None)])


def _sni_unknown(session: ProbeSession) -> Iterator[Finding]:
    for identity in _everybody(session):
        yield judge(identity.name, [_wrong_sni(session, identity, session.unknown_name)])


def _sni_other(session: ProbeSession) -> Iterator[Finding]:
    other = session.gate.other_name
    for identity in _everybody(session):
        reverse = session.ask(session.get(session.gate.app_path, host=session.gate.host(other)), identity)
        yield judge(
            identity.name,
            [
                _wrong_sni(session, identity, other),
                Step(f"SNI {session.gate.server_name}, Host {other}", reverse, not_application(session)),
            ],
        )


CHECKS = (
    Check("sni_none", "without a server name in the handshake no client reaches the application", _sni_none,
          needs_openssl=True),
    Check("sni_unknown", "with an unknown server name no client reaches the application", _sni_unknown,
          needs_openssl=True),
    Check("sni_other", "with another site's server name or Host no client reaches the application",
          _sni_other, needs_openssl=True),
)  # fmt: skip
