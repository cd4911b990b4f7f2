# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Document the options that all modules of an authority share."""

from __future__ import annotations


class ModuleDocFragment:
    """Options path and passphrase with their requirements."""

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
  - module: quietdoor.mtls.ca_backup
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
      - The passphrase of the authority's private key, one line of text. Keep it in a vault.
      - It is needed for signing, in check mode too.
      - Without it the key is not encrypted, and M(quietdoor.mtls.ca) warns. An empty passphrase is refused.
    type: str
"""
