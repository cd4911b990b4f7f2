# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""meta/runtime.yml against what is there."""

from __future__ import annotations

from pathlib import Path

import yaml
from ansible_collections.quietdoor.mtls.plugins.module_utils._common import errors

COLLECTION = Path(errors.__file__).parents[3]


def test_the_action_group_holds_every_module() -> None:
    runtime = yaml.safe_load((COLLECTION / "meta" / "runtime.yml").read_text(encoding="utf-8"))
    modules = sorted(path.stem for path in (COLLECTION / "plugins" / "modules").glob("[!_]*.py"))
    assert modules, "no module was installed"
    assert runtime["action_groups"]["mtls"] == modules
