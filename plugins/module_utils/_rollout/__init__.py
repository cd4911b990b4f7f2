# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan a rollout: stage changes, evidence, receipts, probe targets and the rollback target.

Runs on: the control node; receipts.py on the receipts host. Standard library only. May import: _common, _contracts, _sites.
"""
