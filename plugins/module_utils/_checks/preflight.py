# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verify before the checks that all files are usable and that the gate answers."""

from __future__ import annotations

from .._common.errors import MtlsError
from .._contracts.status_protocol import STATUS_PATH
from .._probe.messages import HTTP, NOBODY, NOT_TLS, REFUSED_CONNECTION, REJECTED, UNTRUSTED, WRONG_NAME, Answer
from .._probe.tls_context import make_context, require_readable
from .refusal_page import read_generation
from .session import Gate, ProbeSession


def check_files(session: ProbeSession) -> None:
    """Load the server's CA and each client's certificate and key, and verify that the clients' CA is readable.

    :raises MtlsError: naming the first unusable file. No request has been sent then.
    """
    gate = session.gate
    for identity in (NOBODY, *(client.identity for client in gate.clients)):
        make_context(gate.target, session.connection(identity))
    if gate.client_ca:
        require_readable(f"client_ca {gate.client_ca}", gate.client_ca)


def reach(session: ProbeSession) -> tuple[int, int] | None:
    """Send one request without a certificate, and return the reported generations of gate and trust, if any.

    A gate that is down must not be taken for one that refuses.

    :raises MtlsError: if the gate cannot be reached: no connection, no TLS, an untrusted server.
    """
    answer = session.ask(session.get(STATUS_PATH))
    problem = None if answer.outcome == HTTP else _explain(session.gate, answer)
    if problem:
        raise problem
    return read_generation(answer)


def _explain(gate: Gate, answer: Answer) -> MtlsError:
    where = f"{gate.target.address} port {gate.target.port}"
    if answer.outcome == UNTRUSTED:
        return _untrusted(gate, answer.reason, where)
    if answer.outcome == REJECTED:
        return MtlsError(
            f"The server at {where} rejects the handshake for {gate.server_name} ({answer.reason})",
            "Check that the gate is live there under this name, or correct url, server_name or address",
        )
    if answer.reason == REFUSED_CONNECTION:
        return MtlsError(f"Nothing listens at {where}", "Start the gate's nginx, or correct url or address")
    if answer.reason == NOT_TLS:
        return MtlsError(f"The server at {where} does not speak TLS", "Set the gate's TLS port in url or address")
    return MtlsError(
        f"No answer from {gate.server_name} at {where}: {answer.reason} (time-out {gate.target.timeout:g} s)",
        "Check that its nginx runs and that no firewall is in between",
    )


def _untrusted(gate: Gate, reason: str, where: str) -> MtlsError:
    if reason == WRONG_NAME:
        return MtlsError(
            f"The server at {where} shows a certificate that is not for {gate.server_name}",
            "Correct server_name or address, or give that web server a certificate for this name",
        )
    store = f"server_ca {gate.target.server_ca}" if gate.target.server_ca else "the system's store"
    return MtlsError(
        f"The certificate of the server at {where} is not trusted by {store}: {reason}",
        "Set server_ca to the PEM file of the CA that signed the web server's certificate",
    )
