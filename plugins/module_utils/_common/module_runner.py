# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a module of this collection, and turn errors into a message with a hint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from .errors import MtlsError
from .requirements import require
from .system_errors import problem_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class _Module(Protocol):
    """The part of AnsibleModule that is used here."""

    check_mode: bool
    params: dict[str, Any]

    def fail_json(self, msg: str, **kwargs: Any) -> NoReturn:
        """Fail."""

    def exit_json(self, **kwargs: Any) -> NoReturn:
        """Succeed."""


def run(module: _Module, work: Callable[[Any], dict[str, Any]], needs: Iterable[str] = ()) -> NoReturn:
    """Exit the module with the result of ``work``, or fail with a message and its hint.

    :param needs: the Python libraries that ``work`` requires.
    """
    try:
        require(needs)
        result = work(module)
    except MtlsError as problem:
        module.fail_json(msg=str(problem))
    except OSError as error:
        module.fail_json(msg=str(problem_of(error)))
    module.exit_json(**result)
