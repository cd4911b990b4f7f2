# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the stages of a site, in their order."""

from __future__ import annotations

ABSENT, OBSERVE, FALLBACK, ENFORCE = STAGES = ("absent", "observe", "fallback", "enforce")
# Stages in which a request can pass without a valid certificate.
OPEN = (OBSERVE, FALLBACK)
# Stages in which a client without a valid certificate can be refused.
REFUSING = (FALLBACK, ENFORCE)
