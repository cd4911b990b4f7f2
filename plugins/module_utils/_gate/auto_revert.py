# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""End an armed transaction by commit or revert, and run the revert program at the deadline.

A revert changes the gate only, never trust. Everything here can be repeated after a kill at any time.
"""

from __future__ import annotations

import contextlib
import os
import sys
import syslog
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._common.errors import MtlsError
from .._common.system_errors import problem_of
from .._common.timestamps import from_epoch, in_words
from .._contracts.paths import ENTRY, HTTP, TRUST
from .._deploy.deadline import deadline_from, read_clocks
from .._deploy.entry_point import ENTRY_TEXT, activate, write_included
from .._deploy.generation_store import GenerationStore
from .._deploy.live_generation import wait_until_live
from .._deploy.module_options import kept, nginx_from, seconds
from . import revert_timer
from .armed_state import (
    ARMED_PHASE,
    COMMITTED,
    COMMITTING,
    REVERTED,
    REVERTING,
    clear_away,
    laid_out,
    locked_with_room,
    make_room,
    moved,
    read_settings,
    read_snapshot,
    read_transaction,
)
from .history import prune_records

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .._deploy.deadline import Deadline, Moment
    from .._deploy.live_generation import LiveNginx
    from .armed_state import Transaction

_TICK = 1.0
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 60.0


@dataclass(frozen=True)
class Rules:
    """The parameters of the end of a transaction.

    :param prove_timeout: seconds until the running nginx has to report the generation.
    :param keep: the number of generations to keep on disk.
    :param own: whether this is the program that the trigger started.
    """

    prove_timeout: float
    keep: int
    own: bool = False


def settle(nginx: LiveNginx, now: Moment, rules: Rules) -> Transaction | None:
    """End a transaction that is decided or due, and remove the leftovers of a killed run. Call it under the lock.

    :return: the transaction that holds this host now, None if none does.
    :raises MtlsError: if a revert cannot be completed.
    """
    transaction = read_transaction(nginx.conf_path)
    if transaction is not None and transaction.phase == COMMITTING:
        finish_commit(nginx, transaction, rules)
    elif transaction is not None and (transaction.phase == REVERTING or _overdue(transaction, now)):
        why = f"it was not committed by {in_words(from_epoch(transaction.deadline.wall))}"
        take_back(nginx, transaction, now, why, rules)
    elif transaction is not None and transaction.undecided:
        return transaction
    elif laid_out(nginx.conf_path):
        _disarm(nginx.conf_path, transaction, rules)
    return None


def refuse_if_held(transaction: Transaction | None) -> None:
    """Check that no other transaction holds this host.

    :raises MtlsError: if one does; the message contains its operator, its beginning and its deadline.
    """
    if transaction is not None:
        raise MtlsError(
            f"This host is held by {transaction}; unless it is committed, the gate is reverted by itself at "
            f"{in_words(from_epoch(transaction.deadline.wall))}. Nothing was changed",
            "Wait for it, or revert it now with step revert",
        )


def commit(nginx: LiveNginx, transaction: Transaction, rules: Rules) -> None:
    """Commit a transaction and complete the commit. Call it under the lock, while it is undecided."""
    finish_commit(nginx, moved(nginx.conf_path, transaction, COMMITTING), rules)


def finish_commit(nginx: LiveNginx, transaction: Transaction, rules: Rules) -> None:
    """Complete a commit, which may have been done in part."""
    shelf = GenerationStore(nginx.conf_path, "gate")
    shelf.commit(transaction.target)
    write_included(nginx.conf_path, transaction.included)
    shelf.prune(rules.keep)
    prune_records(nginx.conf_path, shelf.stored())
    _disarm(nginx.conf_path, moved(nginx.conf_path, transaction, COMMITTED), rules)


def take_back(nginx: LiveNginx, transaction: Transaction, now: Moment, why: str, rules: Rules) -> None:
    """Revert a transaction and restore the snapshot. Call it under the lock, unless it was committed.

    :raises MtlsError: if nginx rejects it; the next call tries again.
    """
    make_room(nginx.conf_path)
    if transaction.phase == ARMED_PHASE:
        try:
            transaction = moved(nginx.conf_path, transaction, REVERTING, why)
        except OSError:
            # On a full disk: once it is due no run can commit it any more, so the gate is restored first.
            if not transaction.due(now):
                raise
    _restore_snapshot(nginx, transaction, rules)
    shelf = GenerationStore(nginx.conf_path, "gate")
    if transaction.target not in (None, transaction.base):
        shelf.discard(transaction.target or 0)
    prune_records(nginx.conf_path, shelf.stored())
    _disarm(nginx.conf_path, moved(nginx.conf_path, transaction, REVERTED, transaction.why or why), rules)


def release(nginx: LiveNginx, transaction: Transaction, why: str, rules: Rules) -> None:
    """Record that the run that armed a transaction has restored everything. Call it under the lock."""
    _disarm(nginx.conf_path, moved(nginx.conf_path, transaction, REVERTED, why), rules)


def _restore_snapshot(nginx: LiveNginx, transaction: Transaction, rules: Rules) -> None:
    snapshot = read_snapshot(nginx.conf_path, transaction.base)
    shelf, base = GenerationStore(nginx.conf_path, "gate"), transaction.base
    if base is not None and shelf.live() != base and shelf.files(base) != snapshot.files:
        shelf.restore(base, snapshot.files)
    activate(shelf, os.path.join(nginx.conf_path, ENTRY), base, snapshot.entry or ENTRY_TEXT)
    nginx.test()
    if _is_running(nginx, transaction):
        nginx.reload()
        wait_until_live(nginx, transaction.before, shelf.kind, base, rules.prove_timeout)
    if shelf.committed() != base:
        shelf.commit(base)


def _is_running(nginx: LiveNginx, transaction: Transaction) -> bool:
    """Return whether nginx is running and needs a reload; a stopped one starts with the files on disk."""
    configuration = nginx.dump(nginx.conf_file, (os.path.join(nginx.conf_path, TRUST, HTTP),))
    if nginx.master(configuration) is not None:
        return True
    asked = {*transaction.before, *transaction.after}
    return any(nginx.ask(endpoint).gate is not None for endpoint in asked)


def _overdue(transaction: Transaction, now: Moment) -> bool:
    return transaction.undecided and transaction.due(now)


def _disarm(conf_path: str, transaction: Transaction | None, rules: Rules) -> None:
    revert_timer.stop(conf_path, transaction.trigger if transaction else None, own=rules.own)
    clear_away(conf_path)


def main(arguments: list[str]) -> int:
    """Run ``act SETTINGS...``, or ``detach SETTINGS...``, which does the same in a separate process and prints its id."""
    if len(arguments) < 2 or arguments[0] not in ("act", "detach"):
        sys.stderr.write("This program is started by module quietdoor.mtls.gate_transaction alone.\n")
        return 2
    verb, *paths = arguments
    return _detach(paths) if verb == "detach" else act(*paths)


def act(*paths: str) -> int:
    """Wait until the revert is due, then end the transaction; repeat until that succeeds.

    It ends without a change as soon as there is nothing to revert.

    :param paths: the files with the settings, all with the same content. Once they were read, they may be removed.
    """
    settings = read_settings(paths)
    if settings is None:
        return _report_missing_settings(paths)
    pause = _FIRST_PAUSE
    while True:
        found = read_settings(paths)
        if found is not None and found["id"] == settings["id"]:
            settings = found
        deadline = _deadline(settings, found)
        if deadline is None:
            return 0
        left = deadline.remaining(read_clocks())
        if left > 0:
            time.sleep(min(left, _TICK))
            continue
        try:
            _log(fire(settings, read_clocks()))
        except Exception as error:  # after any error, because clients may be locked out until this succeeds
            reason = problem_of(error) if isinstance(error, OSError) else error
            _log(
                f"The gate in {settings['conf_path']} could not be reverted, and it is tried again: {reason}",
                failed=True,
            )
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            continue
        return 0


def fire(settings: Mapping[str, Any], now: Moment) -> str:
    """End the transaction, and return a message about its end.

    :raises MtlsError: if that is not possible yet.
    """
    nginx = nginx_from(settings)
    with locked_with_room(nginx.conf_path):
        settle(nginx, now, Rules(seconds(settings, "prove_timeout"), kept(settings), own=True))
        transaction = read_transaction(nginx.conf_path)
    if transaction is None or transaction.id != settings["id"]:
        return f"Transaction {settings['id']} never began; nothing was changed"
    return f"{transaction} is {transaction.phase}{': ' if transaction.why else ''}{transaction.why}"


def _deadline(settings: Mapping[str, Any], found: Mapping[str, Any] | None) -> Deadline | None:
    """Return when the revert of a transaction is due, None if there is nothing to revert.

    The file of the transaction decides, so settings that a cleaner removed disarm nothing. Before that file holds the
    transaction, the settings decide: they are removed where it could not be armed.

    :param found: the settings that are on disk now.
    """
    kept = found is not None and found["id"] == settings["id"]
    try:
        transaction = read_transaction(settings["conf_path"])
    except (MtlsError, OSError):
        return deadline_from(settings["deadline"])  # fire() reports it
    if transaction is not None and transaction.id == settings["id"]:
        # If a killed run has ended it, the leftovers of that run are removed at the deadline.
        return None if transaction.over and not kept else transaction.deadline
    return deadline_from(settings["deadline"]) if kept else None


def _report_missing_settings(paths: Sequence[str]) -> int:
    """Return 1 if the transaction needs the settings, so that the failure is seen and tried again."""
    conf_path = os.path.dirname(os.path.dirname(os.path.dirname(paths[0])))
    transaction = read_transaction(conf_path)
    if transaction is None or transaction.over:
        return 0
    _log(
        f"The settings of {transaction} are missing in {' and '.join(paths)}, so the gate in {conf_path} is not reverted by "
        "itself. Run module gate_transaction with step revert",
        failed=True,
    )
    return 1


def _detach(paths: list[str]) -> int:
    """Start act() in a process that survives the end of its parents: not a child of this one, in its own session."""
    read_end, write_end = os.pipe()
    middle = os.fork()
    if middle == 0:
        os.setsid()
        pid = os.fork()
        if pid:
            os.write(write_end, str(pid).encode())
            os._exit(0)
        _act_alone(paths)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        sys.stdout.write(f"{pipe.read().decode()}\n")
    os.waitpid(middle, 0)
    return 0


def _act_alone(paths: list[str]) -> None:
    try:
        os.chdir("/")
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        os.closerange(3, 256)
        act(*paths)
    finally:
        os._exit(0)


def _log(words: str, *, failed: bool = False) -> None:
    if "JOURNAL_STREAM" in os.environ:
        # sd-daemon(3): journald reads a level in front of a line.
        sys.stdout.write(f"{'<3>' if failed else '<5>'}{words}\n")
        sys.stdout.flush()
        return
    with contextlib.suppress(OSError):
        syslog.syslog(syslog.LOG_ERR if failed else syslog.LOG_NOTICE, f"quietdoor-gate-revert: {words}")
