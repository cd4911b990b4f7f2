# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep an authority: its directory, key, database, CRLs and publication.

Runs on: the CA host. Needs cryptography. May import: _common, _contracts, _x509.
"""
