# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define each format that two machines or two languages share, once.

Runs on: the control node, the CA host and web hosts. Standard library only. May import: _common.
"""
