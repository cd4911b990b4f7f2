# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Apply, commit, revert and roll back the gate as a transaction, and read its log.

Runs on: web hosts. Standard library only. May import: _common, _contracts, _nginx, _deploy, _audit.
"""
