# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check that required Python libraries are installed and recent enough."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

from .errors import MtlsError

if TYPE_CHECKING:
    from collections.abc import Iterable

_PYTHON = (3, 9)
_MINIMUM = {"cryptography": (42,), "jmespath": (0,)}


def require(names: Iterable[str]) -> None:
    """Check that Python and the libraries are recent enough, and that the libraries are installed.

    :raises MtlsError: if one is not, with the name of the interpreter.
    """
    found_python = sys.version_info[:2]
    if found_python < _PYTHON:
        raise MtlsError(
            f"{sys.executable} is Python {_dotted(found_python)}, but this module needs Python {_dotted(_PYTHON)} or later",
            "Set ansible_python_interpreter to a newer Python of this host",
        )
    for name in names:
        try:
            found = getattr(importlib.import_module(name), "__version__", "0")
        except ImportError:
            raise _missing(name, "is not installed") from None
        if tuple(int(part) for part in found.split(".")[:1]) < _MINIMUM[name]:
            raise _missing(name, f"is too old ({found})")


def _missing(name: str, why: str) -> MtlsError:
    minimum = _dotted(_MINIMUM[name])
    return MtlsError(
        f"The Python library {name} {why} for {sys.executable}",
        f"Install it there (pip install '{name}>={minimum}'), or set ansible_python_interpreter to a Python that has it",
    )


def _dotted(version: Iterable[int]) -> str:
    return ".".join(str(part) for part in version)
