# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Apply the roles trust and gate to an nginx for sites in mode path."""

from __future__ import annotations

from support.ca import Pair
from support.world import Run, World


class PathWorld(World):
    """Sites of every kind on one nginx: see ``sites``."""

    def play(self, *arguments: str, **overrides: object) -> Run:
        """Apply roles, although the gate from an article on the same nginx leads to the same application."""
        return super().play(*arguments, **{"gate_on_bypass": "warn", **overrides})

    def people(self) -> dict[str, Pair | None]:
        """Clients by the state of their certificate."""
        clients = {"valid": self.authority.clients["alex"], "unlisted": self.authority.clients["dora"]}
        return {**self.strangers, **clients}
