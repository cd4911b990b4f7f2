# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Document the options that describe an nginx."""

from __future__ import annotations


class ModuleDocFragment:
    """The documentation of the options in C(module_utils/_deploy/module_options.py)."""

    DOCUMENTATION = r"""
options:
  conf_path:
    description: The directory of C(nginx.conf).
    type: path
    default: /etc/nginx
  nginx_binary:
    description: The nginx binary, a path or a name to look for in E(PATH) and the sbin directories.
    type: str
    default: nginx
  test_argv:
    description:
      - The command that tests the configuration, as a list of words; V(-t) must be one of them.
      - To print the effective configuration, V(-t) is replaced by V(-T), and the argument of C(-c) by the file to test;
        C(-c) is appended if it is missing.
    type: list
    elements: str
    default: [nginx, -t]
"""

    CHANGE = r"""
options:
  reload_argv:
    description: The command that makes the running nginx load the configuration, as a list of words.
    type: list
    elements: str
    default: [nginx, -s, reload]
  prove_timeout:
    description:
      - The time to wait until the running nginx reports the new generation, as in V(15s).
      - A change whose generation is not reported in time is reverted.
    type: str
    default: 15s
  keep:
    description: The number of generations to keep on disk, the live one included.
    type: int
    default: 5
"""
