# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Document action renamed_variables, which does the work on the control node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: renamed_variables
short_description: Fail if the inventory uses a former name of a variable
version_added: 0.1.0
description:
  - Checks the variables of every host in groups C(mtls_ca) and C(mtls_web) and of every host of the play.
  - Fails with each former name or value, the present one, and the hosts that have it. There are no aliases, so a variable with a
    former name would have no effect.
  - The playbooks of this collection and its roles C(gate), C(rollout) and C(trust) begin with it.
options: {}
extends_documentation_fragment:
  - quietdoor.mtls.attributes.info
notes:
  - This is an action. It runs on the control node and opens no connection.
author:
  - quietdoor.mtls authors (@quietdoor)
"""

EXAMPLES = r"""
- name: Fail if a variable has a former name
  quietdoor.mtls.renamed_variables:
  run_once: true
"""

RETURN = r"""
#
"""
