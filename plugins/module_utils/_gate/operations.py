# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a transaction that come in calls of their own: commit, revert, going back to a kept generation, looking."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._common.errors import MtlsError
from .._contracts.gate_manifest import deadlines_of, manifest_endpoints
from .._deploy.deadline import in_words
from .._deploy.entry_point import GENERATION
from .._deploy.generation_store import HOME, GenerationStore, locked
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
    """How a transaction ended: ``action`` is committed, reverted or unchanged."""

    action: str
    reason: str
    transaction: Transaction | None


@dataclass(frozen=True)
class Kept:
    """A generation that is kept on disk.

    :param stages: site -> stage.
    :param written: RFC 3339; empty where nothing is known of it.
    :param closed: the sites whose window has closed.
    :param intact: whether its files are as they were written.
    :param restores: the generation that it brought back, None if it is a new one.
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
    """What there is to see on a host.

    :param live: the generation that the link names.
    :param committed: the generation that was last committed.
    :param transaction: the one that holds this host, or the last one that did.
    :param held: whether it still holds it.
    :param triggered: whether what takes it back by itself is there.
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
    """Let a transaction stay.

    :param name: its id.
    :raises MtlsError: if it went back, its time is up, or nginx does not serve what it brought.
    """
    with _at_work(nginx, check_mode=check_mode):
        transaction = _known(nginx, name)
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
        raise _went_back(transaction)


def revert(nginx: LiveNginx, name: str, operator: str, now: Moment, rules: Rules, *, check_mode: bool) -> End:
    """Take a transaction back now.

    :param name: its id; empty for whichever holds this host.
    :param operator: who wants it.
    :raises MtlsError: if it was committed, or nginx does not take the old gate.
    """
    with _at_work(nginx, check_mode=check_mode):
        transaction = _known(nginx, name) if name else read_transaction(nginx.conf_path)
        if transaction is None:
            return End("unchanged", "no transaction holds this host", None)
        if transaction.over and not check_mode:
            transaction = _settled(nginx, transaction, now, rules)
        if transaction.phase in (COMMITTING, COMMITTED):
            if name:
                raise MtlsError(f"{_sentence(transaction)} was committed", "Go back with step rollback")
            return End("unchanged", "no transaction holds this host", transaction)
        if transaction.over:
            return End("unchanged", f"it went back before: {transaction.why}", transaction)
        if not check_mode:
            _take_back(nginx, transaction, now, f"{operator} asked for it", rules)
            transaction = _known(nginx, transaction.id)
        return End("reverted", transaction.why or f"{operator} asked for it", transaction)


def _settled(nginx: LiveNginx, transaction: Transaction, now: Moment, rules: Rules) -> Transaction:
    """Complete what a killed run left of an end that was decided, and return the transaction as it is then."""
    settle(nginx, now, rules)
    return _known(nginx, transaction.id)


def _take_back(nginx: LiveNginx, transaction: Transaction, now: Moment, why: str, rules: Rules) -> None:
    try:
        take_back(nginx, transaction, now, why, rules)
    except MtlsError as problem:
        raise MtlsError(
            f"{problem.what}. The armed revert keeps trying to bring {_base(transaction)} back", problem.hint
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
        raise MtlsError(
            f"Gate generation {generation} is not kept on this host (kept are: {kept})", "Choose one of those"
        )
    files = {path: text for path, text in record.files.items() if path != GENERATION}
    return files, manifest_endpoints(files.get("manifest.json", ""))


def status(nginx: LiveNginx) -> Status:
    """Return what there is to see. Nothing is changed or waited for."""
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
        told=tuple((endpoint, nginx.ask(endpoint)) for endpoint in _asked(nginx, transaction if held else None)),
    )


def _asked(nginx: LiveNginx, transaction: Transaction | None) -> Sequence[Endpoint]:
    try:
        live = endpoints_of_live_gate(nginx.conf_path) or ()
    except MtlsError:
        live = ()  # edited by hand; that is shown as such
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
        closed=_closed(files.get("manifest.json", ""), time.time()),
        intact=record is not None and record.sha256 == sha256,
        restores=record.restores if record else None,
    )


def _closed(manifest: str, now: float) -> tuple[str, ...]:
    """Return the sites whose window has closed, as the text of a manifest.json tells."""
    try:
        deadlines = deadlines_of(json.loads(manifest))
    except ValueError:
        return ()
    return tuple(sorted(site for site, deadline in deadlines.items() if deadline <= now))


def difference(before: Mapping[str, str], after: Mapping[str, str]) -> list[dict[str, str]]:
    """Return files before and after as Ansible shows them."""
    return [
        {"before_header": path, "after_header": path, "before": before.get(path, ""), "after": after.get(path, "")}
        for path in sorted({*before, *after})
    ]


def _at_work(nginx: LiveNginx, *, check_mode: bool) -> contextlib.AbstractContextManager[None]:
    nginx.check()
    if check_mode or not os.path.isdir(os.path.join(nginx.conf_path, HOME)):
        return locked(nginx.conf_path, check_mode=True)
    return locked_with_room(nginx.conf_path)


def _known(nginx: LiveNginx, name: str) -> Transaction:
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
            f"The running nginx does not serve what {transaction} brought, so it cannot be committed; the gate goes back at "
            f"{in_words(transaction.deadline.wall)}",
            "Look into nginx's error log; begin again afterwards",
        )


def _went_back(transaction: Transaction) -> MtlsError:
    why = f": {transaction.why}" if transaction.why else ""
    return MtlsError(
        f"{_sentence(transaction)} cannot be committed any more, the gate went back to {_base(transaction)}{why}",
        "Begin again, and commit in time",
    )


def _sentence(transaction: Transaction) -> str:
    text = str(transaction)
    return text[0].upper() + text[1:]


def _base(transaction: Transaction) -> str:
    return "no gate" if transaction.base is None else f"generation {transaction.base}"
