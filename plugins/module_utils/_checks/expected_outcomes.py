# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may become of somebody without a good certificate, by the stage of the gate."""

from __future__ import annotations

OBSERVE, FALLBACK, ENFORCE = STAGES = ("observe", "fallback", "enforce")
LISTED, OUTSIDE, UNKNOWN = WINDOWS = ("listed", "outside", "unknown")

CERT = "cert"

# A fate in the gate's own words: who is refused, asked for a password, let in through the window, or let in because nobody is
# refused yet. With the last two the gate says the same word at its status location.
DENY, ASK, THROUGH, WOULD_DENY = "deny", "ask", "fallback", "would-deny"
LETTING_IN = frozenset({THROUGH, WOULD_DENY})

_REVOKED, _OTHER = "revoked", "other"  # kinds of clients


def possible_outcomes(stage: str, window: str, side_door: bool, kind: str) -> frozenset[str]:
    """Return every fate that would be right; more than one where it is not known whether the window is open to who asks.

    :param kind: of the client that is not to be let in by its certificate; empty for nobody and for false certificates.
    """
    if stage == ENFORCE:
        return frozenset({DENY})
    if stage == OBSERVE:
        return frozenset({WOULD_DENY})
    if kind == _REVOKED:  # once revoked, out for ever: neither the window nor the side door opens
        return frozenset({DENY})
    outside = ASK if side_door else DENY
    found = {LISTED: {THROUGH}, OUTSIDE: {outside}, UNKNOWN: {THROUGH, outside}}[window]
    # Of a client without a kind nobody said that it was never revoked.
    return frozenset(found | ({DENY} if kind == _OTHER else set()))
