#!/usr/bin/env python3
# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write roles/*/README.md from the argument specs of the roles. With --check only compare them.

The text of ``meta/readme.md`` of a role, if it exists, comes between the description and the variables.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

from roles import ROOT, Role, all_roles

# O(x), V(x), RV(x), E(x), C(x) are shown as code, M(x) and P(x#kind) as the name, B() and I() as emphasis.
_MARKUP = re.compile(r"\b(O|V|RV|E|C|M|P|B|I|U|L)\(((?:[^()\\]|\\.|\([^()]*\))*)\)")


def _markdown(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        kind, inner = match.group(1), re.sub(r"\\(.)", r"\1", match.group(2))
        if kind == "L":
            label, _comma, target = inner.rpartition(",")
            return f"[{label.strip()}]({target.strip()})"
        if kind in "BI":
            return f"**{inner}**" if kind == "B" else f"*{inner}*"
        if kind == "U":
            return f"<{inner}>"
        if kind == "P":
            inner = inner.partition("#")[0]
        return f"`{inner}`"

    return _MARKUP.sub(one, text.strip())


def _paragraphs(description: str | list[str]) -> list[str]:
    return [_markdown(text) for text in ([description] if isinstance(description, str) else description)]


def _value(value: Any) -> str:
    return f"`{value}`" if isinstance(value, str) and value else f"`{json.dumps(value, ensure_ascii=False)}`"


def _facts(option: dict[str, Any]) -> str:
    kind = option.get("type", "str")
    facts = [f"{kind} of {option['elements']}" if "elements" in option else kind]
    if option.get("required"):
        facts.append("**required**")
    if "default" in option:
        facts.append(f"default {_value(option['default'])}")
    if "choices" in option:
        facts.append("one of " + ", ".join(_value(choice) for choice in option["choices"]))
    return ", ".join(facts)


def _entries(options: dict[str, dict[str, Any]], depth: int = 0) -> Iterator[str]:
    indent = "  " * depth
    for name, option in options.items():
        text = " ".join(_paragraphs(option.get("description", "")))
        yield f"{indent}- `{name}` ({_facts(option)})  \n{indent}  {text}"
        yield from _entries(option.get("options", {}), depth + 1)


def readme(role: Role) -> str:
    """Return the text of README.md of a role."""
    hand_written = role.path / "meta" / "readme.md"
    parts = [
        f"# Role quietdoor.mtls.{role.name}",
        "<!-- Made by `make readmes` from meta/argument_specs.yml and meta/readme.md. Change those. -->",
        _markdown(role.entry["short_description"]).rstrip(".") + ".",
        *_paragraphs(role.entry.get("description", [])),
    ]
    if hand_written.exists():
        parts.append(hand_written.read_text(encoding="utf-8").strip())
    parts += ["## Variables", "\n".join(_entries(role.options)) or "None."]
    return "\n\n".join(parts) + "\n"


def main() -> int:
    """Write the READMEs, or with --check print the outdated ones. Return 1 if there is one."""
    stale = []
    for role in all_roles():
        path = role.path / "README.md"
        text = readme(role)
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(str(path.relative_to(ROOT)))
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
    if "--check" in sys.argv and stale:
        print(f"Not up to date: {', '.join(stale)}. Run: make readmes")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
