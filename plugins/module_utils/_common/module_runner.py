# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How every module of this collection runs: one place turns what went wrong into a message that a person can act on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from .errors import MtlsError
from .requirements import require
from .system_errors import problem_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class _Module(Protocol):
    """What is used of AnsibleModule."""

    check_mode: bool
    params: dict[str, Any]

    def fail_json(self, msg: str, **kwargs: Any) -> NoReturn:
        """Fail."""

    def exit_json(self, **kwargs: Any) -> NoReturn:
        """Succeed."""


def run(module: _Module, work: Callable[[Any], dict[str, Any]], needs: Iterable[str] = ()) -> NoReturn:
    """Exit the module with what ``work`` returns, or fail with one sentence and its mend.

    :param needs: the libraries that ``work`` cannot do without.
    """
    try:
        require(needs)
        result = work(module)
    except MtlsError as problem:
        module.fail_json(msg=str(problem))
    except OSError as error:
        module.fail_json(msg=str(problem_of(error)))
    module.exit_json(**result)
