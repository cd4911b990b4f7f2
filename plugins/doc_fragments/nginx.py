# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options by which modules know an nginx."""

from __future__ import annotations


class ModuleDocFragment:
    """The options of C(module_utils/_deploy/module_options.py) in words."""

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
      - The command that tests the configuration, as a list of words; V(-t) has to be one of them.
      - Where the effective configuration is wanted, V(-t) is replaced by V(-T), and the argument of C(-c) by the file to test;
        C(-c) is appended if it is not there.
    type: list
    elements: str
    default: [nginx, -t]
"""

    CHANGE = r"""
options:
  reload_argv:
    description: The command that makes the running nginx take the configuration, as a list of words.
    type: list
    elements: str
    default: [nginx, -s, reload]
  prove_timeout:
    description:
      - How long to wait until the running nginx tells the new generation, as in V(15s).
      - A reload whose generation is not seen by then is taken back.
    type: str
    default: 15s
  keep:
    description: How many generations to keep on disk, the live one included.
    type: int
    default: 5
"""
