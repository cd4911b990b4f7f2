# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets a test stop ansible-playbook where it wants: at the beginning of a task, before any host has begun with it.

HOLD_AT is the task's name, HOLD_PATH a directory. There the file ``reached`` says that it waits, and ``go`` lets it go on.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    """See above."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "hold"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._held = False

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:  # noqa: ARG002
        """Wait, if this is where to."""
        if self._held or task.name != os.environ["HOLD_AT"]:
            return
        self._held = True
        place = Path(os.environ["HOLD_PATH"])
        (place / "reached").touch()
        while not (place / "go").exists():
            time.sleep(0.05)
