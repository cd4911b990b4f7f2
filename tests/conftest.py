# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of all tests."""

from __future__ import annotations

from hypothesis import settings

# The time of one example depends on the other work of the machine, so it proves nothing.
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")
