# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How every module of this collection runs: one place turns what went wrong into a message that a person can act on."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from .dependencies import require
from .errors import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


_MENDS = {
    errno.ENOSPC: "Make room on that file system",
    errno.EDQUOT: "Make room in that quota",
    errno.EROFS: "Mount that file system writable",
    errno.EACCES: "Become a user who may do that",
    errno.EPERM: "Become a user who may do that",
}


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
    except Problem as problem:
        module.fail_json(msg=str(problem))
    except OSError as error:
        mend = _MENDS.get(error.errno or 0, "Mend that")
        module.fail_json(msg=f"{error.filename or 'A system call'}: {error.strerror or error}. {mend} and run again.")
    module.exit_json(**result)
