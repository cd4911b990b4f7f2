# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Switch configuration generations atomically, and verify which one the running nginx uses.

Runs on: web hosts. Standard library only. May import: _common, _contracts, _nginx.
"""
