# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse and validate ``gate_sites`` and prepare what the templates render.

Runs on: the control node. Needs Jinja2. May import: _common, _contracts, _nginx.
"""
