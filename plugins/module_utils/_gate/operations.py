# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commit, revert or roll back a transaction, and report the status of the gate."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._common.errors import MtlsError
from .._common.timestamps import from_epoch, in_words
from .._contracts.gate_manifest import deadlines_of, manifest_endpoints
from .._contracts.paths import GENERATION, HOME, MANIFEST
from .._deploy.generation_store import GenerationStore, locked
from .._deploy.live_generation import endpoints_of_live_gate, is_live
from .armed_state import COMMITTED, COMMITTING, Transaction, locked_with_room, read_transaction
from .auto_revert import Rules, settle, take_back
from .auto_revert import commit as commit_transaction
from .history import Drift, digest, find_drift, read_record, refuse_drift
from .revert_timer import lives

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Mapping, Sequence

    from .._contracts.status_protocol import Answer, Endpoint
    from .._deploy.deadline import Moment
    from .._deploy.live_generation import LiveNginx


@dataclass(frozen=True)
class End:
    """The end of a transaction: ``action`` is committed, reverted or unchanged."""

    action: str
    reason: str
    transaction: Transaction | None


@dataclass(frozen=True)
class Kept:
    """A generation that is kept on disk.

    :param stages: site -> stage.
    :param written: RFC 3339; empty without a record.
    :param closed: the sites whose fallback window has closed.
    :param intact: whether its files are unchanged.
    :param restores: the generation that it restored, None if it is a new one.
    """

    generation: int
    live: bool
    stages: dict[str, str]
    written: str
    sha256: str
    closed: tuple[str, ...]
    intact: bool
    restores: int | None


@dataclass(frozen=True)
class Status:
    """The status of the gate on a host.

    :param live: the generation of the symlink.
    :param committed: the generation that was last committed.
    :param transaction: the transaction that holds this host, or the last one that did.
    :param held: whether it still holds the host.
    :param triggered: whether the armed revert is active.
    :param told: the answers of the running nginx.
    """

    live: int | None
    committed: int | None
    transaction: Transaction | None
    held: bool
    triggered: bool
    kept: tuple[Kept, ...]
    drift: Drift
    told: tuple[tuple[Endpoint, Answer], ...]


def commit(nginx: LiveNginx, name: str, now: Moment, rules: Rules, *, check_mode: bool) -> End:
    """Commit a transaction.

    :param name: its id.
    :raises MtlsError: if it was reverted, its deadline has passed, or nginx does not serve its generation.
    """
    with _lock(nginx, check_mode=check_mode):
        transaction = _find_transaction(nginx, name)
        if transaction.undecided and not transaction.due(now):
            _check_served(nginx, transaction)
            if not check_mode:
                commit_transaction(nginx, transaction, rules)
            return End("committed", "", transaction)
        phase = transaction.phase
        transaction = transaction if check_mode else _settled(nginx, transaction, now, rules)
        if phase == COMMITTED:
            return End("unchanged", "it was committed before", transaction)
        if phase == COMMITTING:
            return End("committed", "an earlier run had begun to commit it", transaction)
        raise _already_reverted(transaction)


def revert(nginx: LiveNginx, name: str, operator: str, now: Moment, rules: Rules, *, check_mode: bool) -> End:
    """Revert a transaction now.

    :param name: its id; empty for the one that holds this host.
    :param operator: the person or program that requests it.
    :raises MtlsError: if it was committed, or nginx rejects the old gate.
    """
    with _lock(nginx, check_mode=check_mode):
        transaction = _find_transaction(nginx, name) if name else read_transaction(nginx.conf_path)
        if transaction is None:
            return End("unchanged", "no transaction holds this host", None)
        if transaction.over and not check_mode:
            transaction = _settled(nginx, transaction, now, rules)
        if transaction.phase in (COMMITTING, COMMITTED):
            if name:
                raise MtlsError(f"{_sentence(transaction)} was committed", "Go back with step rollback")
            return End("unchanged", "no transaction holds this host", transaction)
        if transaction.over:
            return End("unchanged", f"it was reverted before: {transaction.why}", transaction)
        if not check_mode:
            _take_back(nginx, transaction, now, f"{operator} requested it", rules)
            transaction = _find_transaction(nginx, transaction.id)
        return End("reverted", transaction.why or f"{operator} requested it", transaction)


def _settled(nginx: LiveNginx, transaction: Transaction, now: Moment, rules: Rules) -> Transaction:
    """Complete the decided end that a killed run left, and return the transaction as it is then."""
    settle(nginx, now, rules)
    return _find_transaction(nginx, transaction.id)


def _take_back(nginx: LiveNginx, transaction: Transaction, now: Moment, why: str, rules: Rules) -> None:
    try:
        take_back(nginx, transaction, now, why, rules)
    except MtlsError as problem:
        raise MtlsError(
            f"{problem.what}. The armed revert keeps trying to restore {_describe_base(transaction)}", problem.hint
        ) from None


def candidate_of(conf_path: str, generation: int) -> tuple[dict[str, str], tuple[Endpoint, ...]]:
    """Return a kept generation as a candidate, with its endpoints.

    :param generation: 0 for no gate.
    :raises MtlsError: if it is not kept.
    """
    if generation == 0:
        return {}, ()
    record = read_record(conf_path, generation)
    if record is None or generation not in GenerationStore(conf_path, "gate").stored():
        kept = ", ".join(map(str, sorted(GenerationStore(conf_path, "gate").stored()))) or "none"
        raise MtlsError(f"Gate generation {generation} is not kept on this host (kept: {kept})", "Choose one of those")
    files = {path: text for path, text in record.files.items() if path != GENERATION}
    return files, manifest_endpoints(files.get(MANIFEST, ""))


def status(nginx: LiveNginx) -> Status:
    """Return the status. It changes nothing and waits for nothing."""
    shelf = GenerationStore(nginx.conf_path, "gate")
    transaction = read_transaction(nginx.conf_path)
    held = transaction is not None and not transaction.over
    return Status(
        live=shelf.live(),
        committed=shelf.committed(),
        transaction=transaction,
        held=held,
        triggered=transaction is not None and held and lives(transaction.trigger),
        kept=tuple(_kept(nginx.conf_path, shelf, number) for number in sorted(shelf.stored(), reverse=True)),
        drift=find_drift(nginx.conf_path, shelf),
        told=tuple(
            (endpoint, nginx.ask(endpoint)) for endpoint in _endpoints_to_ask(nginx, transaction if held else None)
        ),
    )


def _endpoints_to_ask(nginx: LiveNginx, transaction: Transaction | None) -> Sequence[Endpoint]:
    try:
        live = endpoints_of_live_gate(nginx.conf_path) or ()
    except MtlsError:
        live = ()  # changed manually; the drift shows that
    return sorted({*live, *(transaction.after if transaction else ())})


def _kept(conf_path: str, shelf: GenerationStore, generation: int) -> Kept:
    record, found = read_record(conf_path, generation), shelf.files(generation)
    files, sha256 = record.files if record else found, digest(found)
    return Kept(
        generation=generation,
        live=shelf.live() == generation,
        stages=record.stages if record else {},
        written=record.written if record else "",
        sha256=record.sha256 if record else sha256,
        closed=_closed_windows(files.get(MANIFEST, ""), time.time()),
        intact=record is not None and record.sha256 == sha256,
        restores=record.restores if record else None,
    )


def _closed_windows(manifest: str, now: float) -> tuple[str, ...]:
    """Return the sites of a manifest.json whose fallback window has closed."""
    try:
        deadlines = deadlines_of(json.loads(manifest))
    except ValueError:
        return ()
    return tuple(sorted(site for site, deadline in deadlines.items() if deadline <= now))


def difference(before: Mapping[str, str], after: Mapping[str, str]) -> list[dict[str, str]]:
    """Return files before and after in the format of Ansible's diff."""
    return [
        {"before_header": path, "after_header": path, "before": before.get(path, ""), "after": after.get(path, "")}
        for path in sorted({*before, *after})
    ]


def _lock(nginx: LiveNginx, *, check_mode: bool) -> contextlib.AbstractContextManager[None]:
    nginx.check()
    if check_mode or not os.path.isdir(os.path.join(nginx.conf_path, HOME)):
        return locked(nginx.conf_path, check_mode=True)
    return locked_with_room(nginx.conf_path)


def _find_transaction(nginx: LiveNginx, name: str) -> Transaction:
    transaction = read_transaction(nginx.conf_path)
    if transaction is not None and transaction.id == name:
        return transaction
    last = f"; the last one was {transaction}" if transaction else ""
    raise MtlsError(
        f"There is no transaction {name or 'without an id'} on this host{last}", "Use the id that step begin returned"
    )


def _check_served(nginx: LiveNginx, transaction: Transaction) -> None:
    shelf = GenerationStore(nginx.conf_path, "gate")
    refuse_drift(find_drift(nginx.conf_path, shelf))
    if shelf.live() != transaction.target or not is_live(nginx, transaction.after, shelf.kind, transaction.target):
        raise MtlsError(
            f"The running nginx does not serve the generation of {transaction}, so it cannot be committed; the gate is "
            f"reverted at {in_words(from_epoch(transaction.deadline.wall))}",
            "Read nginx's error log, and begin again afterwards",
        )


def _already_reverted(transaction: Transaction) -> MtlsError:
    why = f": {transaction.why}" if transaction.why else ""
    return MtlsError(
        f"{_sentence(transaction)} cannot be committed any more, because the gate was reverted to "
        f"{_describe_base(transaction)}{why}",
        "Begin again, and commit before the deadline",
    )


def _sentence(transaction: Transaction) -> str:
    text = str(transaction)
    return text[0].upper() + text[1:]


def _describe_base(transaction: Transaction) -> str:
    return "no gate" if transaction.base is None else f"generation {transaction.base}"
