# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Switch generations of configuration files atomically and prove what the running nginx serves.

Runs on: web hosts. Standard library only. May import: _common, _contracts, _nginx.
"""
