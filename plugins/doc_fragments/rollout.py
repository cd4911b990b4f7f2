# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Document the options that the actions of role rollout share."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of the host, the probe client and the receipts."""

    DOCUMENTATION = r"""
options:
  conf_path:
    description: The directory of nginx.conf on the host.
    type: str
    default: /etc/nginx
  min_remaining:
    description: The variable C(trust_min_remaining), for a host on which a site is enforced.
    type: str
    default: 7d
  client:
    description: The probe client, and the variable C(authority_path) from which the default paths of its files follow.
    type: dict
    default: {}
    suboptions:
      name:
        description: The variable C(rollout_probe_client).
        type: str
        default: ""
      host:
        description: The variable C(rollout_probe_from).
        type: str
        default: localhost
      certificate:
        description: The variable C(rollout_probe_certificate).
        type: str
        default: ""
      key:
        description: The variable C(rollout_probe_key).
        type: str
        default: ""
      authority_path:
        description: The variable C(authority_path) of the CA host.
        type: str
        default: ""
  probe_files:
    description: The result of module M(quietdoor.mtls.probe_client_info).
    type: dict
    default: {}
  receipts:
    description: The location of the receipts, and the environments that they belong to.
    type: dict
    default: {}
    suboptions:
      environment:
        description: The variable C(rollout_environment).
        type: str
        default: production
      previous_environment:
        description: The variable C(rollout_requires_environment).
        type: str
        default: ""
      host:
        description: The variable C(rollout_receipts_host).
        type: str
        default: localhost
      path:
        description: The variable C(rollout_receipts_path).
        type: str
        default: ""
      authority_path:
        description: The variable C(authority_path) of the host that stores the receipts, if it is the CA host.
        type: str
        default: ""
"""
