# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that all modules of an authority share."""

from __future__ import annotations


class ModuleDocFragment:
    """Options path and passphrase, and what they need."""

    DOCUMENTATION = r"""
options:
  path:
    description:
      - The authority's directory, in the layout of C(openssl ca).
    type: path
    required: true
requirements:
  - cryptography >= 42 for the Python that runs the module
seealso:
  - module: quietdoor.mtls.ca
  - module: quietdoor.mtls.client_certs
  - module: quietdoor.mtls.crl
  - module: quietdoor.mtls.revocation
  - module: quietdoor.mtls.certs_info
  - module: quietdoor.mtls.publication
"""

    PASSPHRASE = r"""
options:
  passphrase:
    description:
      - The passphrase of the authority's private key. Keep it in a vault.
      - Without it the key is stored unencrypted, and the module warns.
    type: str
"""
