# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the argument specs of options that several modules share."""

from __future__ import annotations

from typing import Any

PATH: dict[str, Any] = {"type": "path", "required": True}
PASSPHRASE: dict[str, Any] = {"type": "str", "no_log": True}


def key(sizes: tuple[int, ...], curves: tuple[str, ...], default: dict[str, Any] | None) -> dict[str, Any]:
    """Return the spec of an option that selects the type and size or curve of a key."""
    options = {
        "type": {"type": "str", "choices": ["rsa", "ecdsa"], "required": True},
        "size": {"type": "int", "choices": list(sizes)},
        "curve": {"type": "str", "choices": list(curves)},
    }
    # Ansible treats an option with "key" in its name as a secret unless no_log is set.
    spec: dict[str, Any] = {"type": "dict", "no_log": False, "options": options}
    return {**spec, "default": default} if default else spec
