# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provide files, errors, commands, times and encodings to all packages.

Runs on: the control node, the CA host and web hosts. Standard library only. May import: nothing.
"""
