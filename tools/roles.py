# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the argument specs and defaults of roles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Role:
    """A role of the collection.

    :param entry: the entry point ``main`` of its argument specs.
    :param defaults: the variables of ``defaults/main.yml``.
    """

    path: Path
    entry: dict[str, Any]
    defaults: dict[str, Any]

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def options(self) -> dict[str, dict[str, Any]]:
        return self.entry.get("options", {})


def _read(path: Path) -> dict[str, Any]:
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.exists() else {}


def all_roles(root: Path = ROOT) -> list[Role]:
    """Return every role by name. Raise :class:`FileNotFoundError` for a role without argument specs."""
    roles = []
    for path in sorted((root / "roles").iterdir()):
        if not path.is_dir():
            continue
        specs = path / "meta" / "argument_specs.yml"
        if not specs.exists():
            raise FileNotFoundError(f"{specs}: every role needs argument specs")
        roles.append(Role(path, _read(specs)["argument_specs"]["main"], _read(path / "defaults" / "main.yml")))
    return roles
