# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard for the libraries that some modules need: one sentence instead of a traceback."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

from .errors import MtlsError

if TYPE_CHECKING:
    from collections.abc import Iterable

_LEAST = {"cryptography": (42,), "jmespath": (0,)}


def require(names: Iterable[str]) -> None:
    """Make sure that the libraries are there, and new enough.

    :raises MtlsError: otherwise, naming the interpreter that lacks them.
    """
    for name in names:
        try:
            found = getattr(importlib.import_module(name), "__version__", "0")
        except ImportError:
            raise _lacking(name, "is not installed") from None
        if tuple(int(part) for part in found.split(".")[:1]) < _LEAST[name]:
            raise _lacking(name, f"is too old ({found})")


def _lacking(name: str, why: str) -> MtlsError:
    least = ".".join(str(part) for part in _LEAST[name])
    return MtlsError(
        f"The Python library {name} {why} for {sys.executable}",
        f"Install it there (pip install '{name}>={least}'), or set ansible_python_interpreter to a Python that has it",
    )
