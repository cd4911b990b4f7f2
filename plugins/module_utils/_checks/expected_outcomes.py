# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Derive the possible outcomes for a client without a valid certificate from the stage of a gate."""

from __future__ import annotations

from .._contracts.stages import ENFORCE, FALLBACK, OBSERVE

# The stages of a gate that exists.
STAGES = (OBSERVE, FALLBACK, ENFORCE)
LISTED, OUTSIDE, UNKNOWN = WINDOWS = ("listed", "outside", "unknown")

CERT = "cert"

# The outcomes: refused, prompted for a password, let in by the fallback window, or let in because the stage refuses nothing yet.
# The last two are also the verdicts at the status location.
DENY, ASK, THROUGH, WOULD_DENY = "deny", "ask", "fallback", "would-deny"
LETTING_IN = frozenset({THROUGH, WOULD_DENY})

_REVOKED, _OTHER = "revoked", "other"  # kinds of clients


def possible_outcomes(stage: str, window: str, side_door: bool, kind: str) -> frozenset[str]:
    """Return every correct outcome; there are several if it is unknown whether the window is open to the client.

    :param kind: kind of the client that must not be let in by its certificate; empty for no or a forged certificate.
    """
    if stage == ENFORCE:
        return frozenset({DENY})
    if stage == OBSERVE:
        return frozenset({WOULD_DENY})
    if kind == _REVOKED:  # neither the fallback window nor fallback basic auth lets a revoked client in
        return frozenset({DENY})
    outside = ASK if side_door else DENY
    found = {LISTED: {THROUGH}, OUTSIDE: {outside}, UNKNOWN: {THROUGH, outside}}[window]
    # A client of kind other may have been revoked, so it may be refused inside the window too.
    return frozenset(found | ({DENY} if kind == _OTHER else set()))
