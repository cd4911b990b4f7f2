# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install a publication on a web host, update it by pull, and report its status.

Runs on: web hosts. Standard library only. May import: _common, _contracts, _nginx, _deploy.
"""
