# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Store the state of the armed transaction; its phase in one file is the only authority.

A transaction is ``armed`` from before the switch until a process, under the lock, writes ``committing`` or ``reverting`` to the
file in one step. A second process reads the decision of the first. The work that follows can be repeated at any time, until the
phase is ``committed`` or ``reverted``.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from .._common.errors import MtlsError
from .._common.files import PUBLIC_DIR, PUBLIC_FILE, make_directory, sync_directory, write_atomic
from .._common.timestamps import from_epoch, in_words
from .._contracts.paths import ARMED, BALLAST, HOME, PROGRAM, SETTINGS, SNAPSHOT, SPARE, TRANSACTION
from .._contracts.status_protocol import Endpoint, endpoints_from
from .._deploy.deadline import Deadline, deadline_from
from .._deploy.entry_point import ENTRY_TEXT, read_text
from .._deploy.generation_store import GenerationStore, locked
from .history import read_record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .._deploy.deadline import Moment

_BALLAST_SIZE = 65536
_BLOCK = 4096
_FORMAT = 1

ARMED_PHASE, COMMITTING, COMMITTED, REVERTING, REVERTED = "armed", "committing", "committed", "reverting", "reverted"
_PHASES = (ARMED_PHASE, COMMITTING, COMMITTED, REVERTING, REVERTED)


@dataclass(frozen=True)
class Trigger:
    """The mechanism that starts the armed revert.

    :param kind: ``systemd`` or ``process``.
    :param unit: the name of the units without their ending, for systemd.
    :param pid: the process id, for a process.
    :param started: the start of that process in clock ticks since the boot; it distinguishes processes with the same id.
    """

    kind: str
    unit: str = ""
    pid: int = 0
    started: str = ""


@dataclass(frozen=True)
class Transaction:
    """One transaction.

    :param operator: the person or program that began it.
    :param base: the generation to revert to, None for no gate.
    :param target: the new generation, None for no gate.
    :param before: the endpoints that report ``base``; for None, those that must report nothing.
    :param after: likewise for ``target``.
    :param included: the sites whose snippets a server includes, once it is committed.
    :param why: the reason of the revert.
    """

    id: str
    phase: str
    operator: str
    deadline: Deadline
    base: int | None
    target: int | None
    before: tuple[Endpoint, ...]
    after: tuple[Endpoint, ...]
    included: tuple[str, ...]
    trigger: Trigger
    why: str = ""

    @property
    def undecided(self) -> bool:
        """Whether it may still be committed."""
        return self.phase == ARMED_PHASE

    @property
    def over(self) -> bool:
        """Whether it has ended, with no work left."""
        return self.phase in (COMMITTED, REVERTED)

    def due(self, now: Moment) -> bool:
        """Return whether its deadline has passed."""
        return self.deadline.remaining(now) <= 0

    def __str__(self) -> str:
        since = in_words(from_epoch(self.deadline.since.wall))
        change = f"{_describe_generation(self.target)} instead of {_describe_generation(self.base)}"
        return f"transaction {self.id}, begun by {self.operator} at {since} ({change})"


@dataclass(frozen=True)
class Snapshot:
    """The gate before the switch. It contains no trust: a certificate that was revoked meanwhile stays revoked."""

    files: dict[str, str]
    entry: str | None


def read_transaction(conf_path: str) -> Transaction | None:
    """Return the transaction that holds this host, or the last one that did; None if there was none.

    :raises MtlsError: if its file is damaged.
    """
    path = os.path.join(conf_path, TRANSACTION)
    text = read_text(path)
    if text is None:
        return None
    try:
        return _transaction_from(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, MtlsError):
        raise MtlsError(
            f"{path} is damaged: this collection did not write it so",
            "Check what nginx serves, move the file away, and run role gate again",
        ) from None


def write_transaction(conf_path: str, transaction: Transaction) -> None:
    """Write the state of a transaction in one step."""
    data = {"format": _FORMAT, **asdict(transaction), "deadline": transaction.deadline.as_dict()}
    path = os.path.join(conf_path, TRANSACTION)
    write_atomic(path, (json.dumps(data, indent=1, sort_keys=True) + "\n").encode(), PUBLIC_FILE)


def moved(conf_path: str, transaction: Transaction, phase: str, why: str = "") -> Transaction:
    """Write that a transaction has reached ``phase``, and return it so."""
    changed = replace(transaction, phase=phase, why=why or transaction.why)
    write_transaction(conf_path, changed)
    return changed


def lay_out(conf_path: str, program: bytes, settings: Mapping[str, Any], snapshot: Snapshot) -> None:
    """Write the files of the revert: its program, its settings, the snapshot, and reserved disk space."""
    for directory in (ARMED, SPARE):
        make_directory(os.path.join(conf_path, directory), PUBLIC_DIR)
    files = {
        PROGRAM: program,
        SNAPSHOT: (json.dumps(asdict(snapshot), indent=1) + "\n").encode(),
        (BALLAST,): bytes(_room_for(snapshot)),
        SETTINGS: (json.dumps(settings, indent=1, sort_keys=True) + "\n").encode(),
    }
    for places, data in files.items():
        for relative in places:
            write_atomic(os.path.join(conf_path, relative), data, PUBLIC_FILE)
    sync_directory(os.path.join(conf_path, HOME))


def read_snapshot(conf_path: str, base: int | None) -> Snapshot:
    """Return the snapshot; where it is lost, the recorded files of its generation.

    :param base: the generation to revert to, None for no gate.
    :raises MtlsError: if all of these are lost.
    """
    for relative in SNAPSHOT:
        try:
            data = json.loads(_read(os.path.join(conf_path, relative)) or "")
            return Snapshot({str(name): str(text) for name, text in data["files"].items()}, data["entry"])
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    if base is None:
        return Snapshot({}, None)
    record = read_record(conf_path, base)
    # The record contains the proven texts; the files may have been changed since, but are the last resort.
    files = record.files if record else GenerationStore(conf_path, "gate").files(base)
    if files:
        return Snapshot(files, ENTRY_TEXT)
    raise MtlsError(
        f"The snapshot of gate generation {base} in {conf_path}/{ARMED} is lost, and so are the generation and its record",
        f"Move {conf_path}/{TRANSACTION} away, and run step rollback with a kept generation, or role gate",
    )


def read_settings(paths: Sequence[str]) -> dict[str, Any] | None:
    """Return the settings of the first file that can be read; None if there is none."""
    for path in paths:
        with contextlib.suppress(ValueError, TypeError):
            text = _read(path)
            if text is not None:
                return dict(json.loads(text))
    return None


def _read(path: str) -> str | None:
    """Return a file's text; None if it cannot be read, because another file or record contains the same."""
    try:
        return read_text(path)
    except OSError:
        return None


@contextlib.contextmanager
def locked_with_room(conf_path: str) -> Iterator[None]:
    """Hold the lock, and release the space reserved for the end of a transaction; the lock may need it on a full disk.

    For a transaction that is still armed afterwards the space is reserved again, as far as the disk has it.
    """
    make_room(conf_path)
    with locked(conf_path, check_mode=False):
        try:
            yield
        finally:
            _reserve_room(conf_path)


def make_room(conf_path: str) -> None:
    """Release the space that is reserved for the end of a transaction on a full disk."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(conf_path, BALLAST))


def _reserve_room(conf_path: str) -> None:
    path = os.path.join(conf_path, BALLAST)
    if not laid_out(conf_path) or os.path.lexists(path):
        return
    with contextlib.suppress(OSError, MtlsError):
        transaction = read_transaction(conf_path)
        if transaction is not None and not transaction.over:
            snapshot = read_snapshot(conf_path, transaction.base)
            write_atomic(path, bytes(_room_for(snapshot)), PUBLIC_FILE)


def _room_for(snapshot: Snapshot) -> int:
    """Return the number of bytes to reserve: enough to write the whole snapshot and every state file."""
    sizes = [len(text.encode("utf-8", "surrogateescape")) for text in (*snapshot.files.values(), snapshot.entry or "")]
    return _BALLAST_SIZE + sum(size + 2 * _BLOCK for size in sizes)


def laid_out(conf_path: str) -> bool:
    """Return whether any file of lay_out() exists."""
    return any(os.path.isdir(os.path.join(conf_path, directory)) for directory in (ARMED, SPARE))


def clear_away(conf_path: str) -> None:
    """Remove the files of lay_out(), the settings first: a waiting program ends when they are gone."""
    for settings in SETTINGS:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(conf_path, settings))
    if laid_out(conf_path):
        for directory in (ARMED, SPARE):
            if os.path.isdir(os.path.join(conf_path, directory)):
                shutil.rmtree(os.path.join(conf_path, directory))
        sync_directory(os.path.join(conf_path, HOME))


def _transaction_from(data: Any) -> Transaction:
    if data["format"] != _FORMAT or data["phase"] not in _PHASES:
        raise ValueError
    trigger = data["trigger"]
    return Transaction(
        id=str(data["id"]),
        phase=data["phase"],
        operator=str(data["operator"]),
        deadline=deadline_from(data["deadline"]),
        base=_number(data["base"]),
        target=_number(data["target"]),
        before=endpoints_from(data["before"], TRANSACTION),
        after=endpoints_from(data["after"], TRANSACTION),
        included=tuple(str(site) for site in data["included"]),
        trigger=Trigger(str(trigger["kind"]), str(trigger["unit"]), int(trigger["pid"]), str(trigger["started"])),
        why=str(data["why"]),
    )


def _number(value: Any) -> int | None:
    return None if value is None else int(value)


def _describe_generation(generation: int | None) -> str:
    return "no gate" if generation is None else f"gate generation {generation}"
