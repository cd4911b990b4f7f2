# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring the clients of a roster to their desired state: issue, renew, revoke, list.

Runs on: the CA host. Needs cryptography. May import: _common, _x509, _ca.
"""
