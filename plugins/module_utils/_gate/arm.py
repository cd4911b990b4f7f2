# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Arm a transaction: its gate is reverted at the deadline unless it is committed before."""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._common.durations import parse_duration
from .._common.errors import MtlsError
from .._common.zipapp_builder import build_program
from .._deploy.deadline import Deadline
from . import revert_timer
from .armed_state import ARMED_PHASE, Transaction, clear_away, lay_out, write_transaction
from .auto_revert import Rules, main, release

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .._contracts.status_protocol import Endpoint
    from .._deploy.deadline import Moment
    from .._deploy.live_generation import LiveNginx
    from .armed_state import Snapshot

SHORTEST, LONGEST = 10, 3600  # seconds
_PROGRAM = main.__module__.split(".")[-2:]  # its package and its name


@dataclass(frozen=True)
class Change:
    """The change of a transaction, and the endpoints that prove each of its ends.

    :param before: the endpoints that report ``base``; for None, those that must report nothing.
    :param after: likewise for ``target``.
    :param included: the sites whose snippets a server includes.
    """

    base: int | None
    target: int | None
    before: Sequence[Endpoint]
    after: Sequence[Endpoint]
    included: Sequence[str]
    snapshot: Snapshot


@dataclass(frozen=True)
class Arming:
    """The parameters of an armed revert.

    :param term: seconds until the gate is reverted.
    :param kind: ``systemd`` or ``process``.
    :param settings: the module options that the revert needs for this nginx.
    :param force: whether manual changes are overwritten.
    """

    operator: str
    term: float
    kind: str
    settings: Mapping[str, Any]
    clock: Callable[[], Moment]
    force: bool = False

    def arm(self, nginx: LiveNginx, change: Change) -> Transaction:
        """Arm, and return the transaction. The gate does not change.

        :raises MtlsError: if it cannot be armed; every file of it is removed then.
        """
        deadline = Deadline(self.clock(), self.term)
        name = secrets.token_hex(8)
        settings = {**self.settings, "id": name, "deadline": deadline.as_dict()}
        try:
            lay_out(nginx.conf_path, build_program(*_PROGRAM), settings, change.snapshot)
            started = revert_timer.start(self.kind, nginx.conf_path, deadline)
            transaction = Transaction(
                id=name,
                phase=ARMED_PHASE,
                operator=self.operator,
                deadline=deadline,
                base=change.base,
                target=change.target,
                before=tuple(change.before),
                after=tuple(change.after),
                included=tuple(change.included),
                trigger=started,
            )
            write_transaction(nginx.conf_path, transaction)
        except (MtlsError, OSError):
            with contextlib.suppress(MtlsError, OSError):
                revert_timer.stop(nginx.conf_path, None, own=False)
            # A process that was started ends when its settings are gone.
            clear_away(nginx.conf_path)
            raise
        return transaction

    def release(self, nginx: LiveNginx, transaction: Transaction, why: str, prove_timeout: float, keep: int) -> None:
        """Record that the run that armed has reverted everything."""
        release(nginx, transaction, why, Rules(prove_timeout, keep))


def term_from(text: str, option: str) -> float:
    """Return the number of seconds until the gate is reverted.

    :raises MtlsError: if it is not a valid duration, too short to prove a change, or too long to be locked out.
    """
    term = parse_duration(text, option).total_seconds()
    if not SHORTEST <= term <= LONGEST:
        raise MtlsError(
            f"{option}: {text} is not between {SHORTEST}s and 1h",
            "Choose a time in which the probes can finish, as in 5m",
        )
    return term
