#!/usr/bin/env python3
# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the defaults of each role with its argument specs: names, values and prefix."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from roles import Role, all_roles


def disagreements(role: Role) -> Iterator[str]:
    """Yield one message for each difference."""
    for name in sorted(set(role.options) | set(role.defaults)):
        option = role.options.get(name)
        if not name.startswith(f"{role.name}_"):
            yield f"{name} does not begin with {role.name}_"
        if option is None:
            yield f"{name} is in defaults/main.yml and not in the argument specs"
        elif name not in role.defaults:
            if "default" in option:
                yield f"{name} has a default in the argument specs and none in defaults/main.yml"
        elif option.get("required"):
            yield f"{name} is required in the argument specs and has a default in defaults/main.yml"
        elif "default" not in option:
            yield f"{name} has a default in defaults/main.yml and none in the argument specs"
        elif (type(option["default"]), option["default"]) != (type(role.defaults[name]), role.defaults[name]):
            yield f"{name}: {role.defaults[name]!r} in defaults/main.yml, {option['default']!r} in the argument specs"


def main() -> int:
    """Print every difference. Return 1 if there was one, else 0."""
    roles = all_roles()
    found = [f"roles/{role.name}: {what}" for role in roles for what in disagreements(role)]
    print("\n".join(found) if found else f"{len(roles)} roles agree with their argument specs")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
