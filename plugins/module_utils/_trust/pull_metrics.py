# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the metrics of the trust pull, for the textfile collector of Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from .chain_verification import Crl


def render_metrics(code: str, generation: int, crls: tuple[Crl, ...], now: datetime) -> str:
    """Return the metrics in the text format of Prometheus.

    :param code: the code of the error, empty if there is none.
    :param crls: the live CRLs.
    """
    labels = {crl: crl.issuer.replace("\\", "\\\\").replace('"', '\\"') for crl in crls}
    ends = {crl: int(crl.next_update.timestamp()) for crl in crls}
    families = [
        ("trust_pull_success", "Whether the last pull succeeded, with or without a change.", [("", int(not code))]),
        ("trust_pull_timestamp_seconds", "When the last pull was.", [("", int(now.timestamp()))]),
        ("trust_pull_error", "Why the last pull failed.", [(f'{{code="{code}"}}', 1)] if code else []),
        ("trust_generation", "The generation of the installed trust.", [("", generation)]),
        (
            "trust_crl_end_timestamp_seconds",
            "When the installed CRL expires; nginx then rejects every client.",
            [(f'{{issuer="{labels[crl]}"}}', ends[crl]) for crl in crls],
        ),
        (
            "trust_crl_remaining_seconds",
            "Seconds until the installed CRL expires, at the last pull.",
            [(f'{{issuer="{labels[crl]}"}}', ends[crl] - int(now.timestamp())) for crl in crls],
        ),
    ]
    lines = []
    for name, words, samples in families:
        lines += [f"# HELP quietdoor_{name} {words}", f"# TYPE quietdoor_{name} gauge"]
        lines += [f"quietdoor_{name}{label} {value}" for label, value in samples]
    return "\n".join(lines) + "\n"
