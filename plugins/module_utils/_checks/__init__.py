# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge the answers of a gate with the catalogue of checks, and prove a revocation.

Runs on: the control node and the CA host. Standard library only. May import: _common, _contracts, _probe.
"""
