# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send requests as real clients do: HTTP/1.1, HTTP/2, raw TLS, client certificates.

Runs on: the control node and the CA host. Standard library only. May import: _common, _contracts.
"""
