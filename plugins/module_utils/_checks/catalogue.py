# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List the checks, plan those for one gate, and run them. A check is in the module of its subject, as in ``handshake``."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._common.errors import MtlsError
from . import (
    client_certificates,
    guarded_paths,
    handshake,
    identity_headers,
    malformed_requests,
    refusal_page,
    response_policies,
    server_names,
    transport,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .check import Check, Finding
    from .session import ProbeSession

CATALOGUE: tuple[Check, ...] = (
    *client_certificates.CHECKS,
    *identity_headers.CHECKS,
    *guarded_paths.CHECKS,
    *server_names.CHECKS,
    *transport.CHECKS,
    *handshake.CHECKS,
    *refusal_page.CHECKS,
    *response_policies.CHECKS,
    *malformed_requests.CHECKS,
    *response_policies.LAST,
)
NAMES = tuple(check.name for check in CATALOGUE)


@dataclass(frozen=True)
class Plan:
    """The checks for one gate.

    :param left_out: the checks that lack an input, each with the missing input.
    """

    checks: tuple[Check, ...]
    left_out: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Result:
    """A finding and the name of its check."""

    name: str
    finding: Finding


def plan(session: ProbeSession, wanted: Sequence[str]) -> Plan:
    """Return the checks to run.

    :param wanted: names of checks; empty for all that apply.
    :raises MtlsError: if a check in ``wanted`` is unknown or lacks an input.
    """
    unknown = sorted(set(wanted) - set(NAMES))
    if unknown:
        raise MtlsError(f"checks: {', '.join(unknown)} is not in the catalogue", f"Choose from {', '.join(NAMES)}")
    chosen = [check for check in CATALOGUE if not wanted or check.name in wanted]
    lacking = [(check.name, check.lacks(session)) for check in chosen if check.lacks(session)]
    if wanted and lacking:
        raise MtlsError(
            "; ".join(f"Check {name} cannot be made: {missing}" for name, missing in lacking),
            "Set the missing option, or remove the check from option checks",
        )
    impossible = dict(lacking)
    return Plan(tuple(check for check in chosen if check.name not in impossible), tuple(lacking))


def run(session: ProbeSession, chosen: Plan) -> list[Result]:
    """Run the checks and return their findings.

    :raises MtlsError: if forged certificates are needed and cannot be created; no request has been sent then.
    """
    if any(check.needs_openssl for check in chosen.checks):
        session.prepare()
    return [_with_reason(session, check.name, finding) for check in chosen.checks for finding in check.run(session)]


def _with_reason(session: ProbeSession, name: str, finding: Finding) -> Result:
    """Add the reason of the expectation to a deviation if the caller gave one for the client."""
    reasons = {client.identity.name: client.reason for client in session.gate.clients}
    reason = reasons.get(finding.client)
    if finding.ok or not reason:
        return Result(name, finding)
    return Result(name, dataclasses.replace(finding, detail=f"{finding.detail} ({finding.client}: {reason})"))
