# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Document the attributes and requirements of every module."""

from __future__ import annotations


class ModuleDocFragment:
    """The attributes of modules that change a host, and of those that only read."""

    DOCUMENTATION = r"""
options: {}
requirements:
  - Python 3.9 or later on the host on which the module runs
attributes:
  check_mode:
    support: full
    description: Can run in C(check_mode) and return the changed status prediction without modifying the target.
  diff_mode:
    support: full
    description: Returns details on what has changed (or possibly needs changing in C(check_mode)), when in diff mode.
  idempotent:
    support: full
    description: Running it a second time with the same options changes nothing.
"""

    INFO = r"""
options: {}
requirements:
  - Python 3.9 or later on the host on which the module runs
attributes:
  check_mode:
    support: full
    description: Can run in C(check_mode); it never changes anything.
  diff_mode:
    support: N/A
    description: Returns details on what has changed (or possibly needs changing in C(check_mode)), when in diff mode.
  idempotent:
    support: full
    description: Running it a second time with the same options changes nothing.
"""
