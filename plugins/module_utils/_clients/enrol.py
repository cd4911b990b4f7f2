# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Issue, renew and revoke certificates as the roster requires, safely against a kill at any moment.

Revocations come first. Then certificates are issued in batches, each batch in this order: (1) records, and keys unless a CSR has
them, (2) the certificates in newcerts/, (3) the rows in index.txt. At the end, also in batches, come (4) the clients' files and
(5) the records again. Every step is on disk before the next one begins. After a kill, ``authority.open_for_change`` adds missing
rows, ``roster.without_unsigned`` corrects records that announce a certificate which was never signed, and
``client_files.completion`` builds missing files.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from .._ca import client_records
from .._ca.authority import open_authority, open_for_change, refuse_other_contents
from .._ca.client_records import Issue, Record
from .._ca.index_database import revoked_row, serial_hex, valid_row
from .._ca.layout import check_path, require_authority
from .._common.files import (
    PRIVATE_DIR,
    PRIVATE_FILE,
    PUBLIC_FILE,
    NewFile,
    make_directory,
    put_all,
    remove_leftovers,
    sync_directory,
)
from .._common.timestamps import date_digits, iso
from .._x509.certificate_profiles import client_certificate, random_serial
from .._x509.keys import generate, load_public, private_pem
from .._x509.names import build_name, oneline
from . import adopted_clients, client_files, process_pool
from .client_files import ClientFiles
from .csr import exclude_used_keys
from .predecessor_clients import NOWHERE
from .roster import Situation, Step, plan, unlisted

try:
    from cryptography.hazmat.primitives.serialization import Encoding
except ImportError:  # the modules report it (_common.requirements) before anything here is called
    pass

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from .._ca.authority import Authority
    from .._ca.index_database import Row
    from .._x509.certificate_profiles import Signer
    from .._x509.keys import PublicKey
    from .client_files import Completion
    from .predecessor_clients import Elsewhere
    from .roster import Client, Rules

    T = TypeVar("T")

# Clients that are written to disk together: enough to amortise the syncs, few enough that a killed run loses little work.
_BATCH = 256


@dataclass(frozen=True)
class Issued:
    """A signed certificate that is not written yet: the client's record and key, the certificate, and its row."""

    record: Record
    announced: tuple[NewFile, ...]
    certificate: NewFile
    row: Row


@dataclass(frozen=True)
class Result:
    """The result for one client; in check mode, the predicted result."""

    step: Step
    record: Record
    completed_files: list[str] = field(default_factory=list)
    """Files that were written although no certificate was issued."""
    not_after: str | None = None

    @property
    def action(self) -> str:
        """Return the action of the step, or ``updated`` if only files or predecessors changed."""
        if self.step.action == "unchanged" and (self.completed_files or self.step.revoke):
            return "updated"
        return self.step.action

    @property
    def reason(self) -> str:
        """Return why the client has this result."""
        files = f"files made: {', '.join(self.completed_files)}" if self.completed_files else ""
        return "; ".join(part for part in (self.step.reason, files) if part)


@dataclass(frozen=True)
class Enrolment:
    """The results for all clients; in check mode, the predicted results."""

    results: list[Result]
    """The results in the order of the roster, then those of purged clients."""
    unlisted: list[str]
    """The names of clients that hold a valid certificate, are not on the roster and were not purged."""


def bring_to_desired_state(
    path: str,
    clients: list[Client],
    rules: Rules,
    passphrase: bytes | None,
    now: datetime,
    elsewhere: Elsewhere = NOWHERE,
) -> Enrolment:
    """Bring all clients of the roster to their desired state and return the results.

    :param elsewhere: the state of the predecessors; see ``predecessor_clients.load_elsewhere``.
    :raises MtlsError: before anything is changed, if the authority cannot be used.
    """
    with require_authority(path).locked():
        authority = open_for_change(path)
        situation = _situation(authority, clients, now, elsewhere)
        steps = _plan(authority, clients, situation, rules, elsewhere)
        due = [_due(authority, step) for step in steps]
        signer = authority.signer(passphrase, now) if any(step.issues for step in steps) else None
        _prepare(authority, [step.client.name for step in steps if step.issues])
        for step in steps:
            if step.withdrawn and not step.issues:
                _withdraw(authority, step)
        _revoke(authority, steps, now)
        issued = _issue_all(authority, signer, steps, now) if signer else {}
        records = [issued.get(step.client.name, step.record) for step in steps]
        done = _complete_all(authority, steps, records, due)
        return Enrolment(_results(authority, steps, done, due), _unlisted(clients, situation, rules))


def predict(
    path: str,
    clients: list[Client],
    rules: Rules,
    passphrase: bytes | None,
    now: datetime,
    elsewhere: Elsewhere = NOWHERE,
) -> Enrolment:
    """Return the results that ``bring_to_desired_state`` would have now. Without an authority, all present clients are issued.

    :raises MtlsError: where ``bring_to_desired_state`` would.
    """
    layout = check_path(path)
    layout.require_writable()
    if not os.path.exists(layout.certificate):
        refuse_other_contents(layout)
        nothing = Situation({}, [], now, now, elsewhere.holders)
        steps = exclude_used_keys([*elsewhere.holdings], plan(clients, nothing, rules))
        return Enrolment([Result(step, step.record) for step in steps], _unlisted(clients, nothing, rules))
    authority = open_authority(path)
    authority.rows = authority.with_orphans()
    situation = _situation(authority, clients, now, elsewhere)
    steps = _plan(authority, clients, situation, rules, elsewhere)
    due = [_due(authority, step) for step in steps]
    if any(step.issues for step in steps):
        authority.signer(passphrase, now)
    results = _results(authority, steps, [step.record for step in steps], due)
    return Enrolment(results, _unlisted(clients, situation, rules))


def _results(authority: Authority, steps: list[Step], done: list[Record], due: list[list[str]]) -> list[Result]:
    rows = {row.serial: row for row in authority.rows}
    ends = [rows.get(record.latest.serial) if record.latest else None for record in done]
    return [
        Result(step, record, files, iso(row.not_after) if row else None)
        for step, record, files, row in zip(steps, done, due, ends)
    ]


def _situation(authority: Authority, clients: list[Client], now: datetime, elsewhere: Elsewhere) -> Situation:
    known = adopted_clients.with_predecessors(authority, clients, client_records.load_all(authority.layout.clients))
    return Situation(known, authority.rows, authority.certificate.not_valid_after_utc, now, elsewhere.holders)


def _plan(
    authority: Authority, clients: list[Client], situation: Situation, rules: Rules, elsewhere: Elsewhere
) -> list[Step]:
    holdings = [*elsewhere.holdings, adopted_clients.Holdings(authority, situation.records)]
    steps = exclude_used_keys(holdings, plan(clients, situation, rules))
    return adopted_clients.add_adopted(authority, steps, situation.records, situation.now)


def _unlisted(clients: list[Client], situation: Situation, rules: Rules) -> list[str]:
    return unlisted(clients, situation) if rules.purge_limit is None else []


def _due(authority: Authority, step: Step) -> list[str]:
    """Return the names of the files to write for a client that keeps its certificate."""
    files = _files(authority, step.record)
    if files is None or step.issues or step.refused or not step.client.present:
        return []
    work = client_files.work(files, step.client, step.record, authority.chain_digest)
    if work.profiles:
        client_files.open_key(authority, files)
    return work.names(files)


def _files(authority: Authority, record: Record) -> ClientFiles | None:
    return ClientFiles(authority.layout.client(record.name), record.name, record.latest) if record.latest else None


def _prepare(authority: Authority, names: list[str]) -> None:
    """Create the clients' directories, so that a failure comes before anything is signed or revoked."""
    for name in names:
        directory = authority.layout.client(name)
        make_directory(directory, PRIVATE_DIR)
        remove_leftovers(directory)
    if names:
        sync_directory(authority.layout.clients)


def _withdraw(authority: Authority, step: Step) -> None:
    """Correct the record of a client for which a killed run announced a certificate that is not issued now either."""
    directory = authority.layout.client(step.client.name)
    _remove_unsigned_keys(directory, step.record)
    put_all([client_records.as_file(directory, step.record)])


def _revoke(authority: Authority, steps: list[Step], now: datetime) -> None:
    reasons = {
        serial: step.client.reason if step.action == "revoked" else "superseded"
        for step in steps
        for serial in step.revoke
    }
    if reasons:
        authority.save(
            [revoked_row(row, now, reasons[row.serial]) if row.serial in reasons else row for row in authority.rows]
        )


def _batches(made: Iterator[T]) -> Iterator[list[T]]:
    return iter(lambda: list(itertools.islice(made, _BATCH)), [])


def _issue_all(authority: Authority, signer: Signer, steps: list[Step], now: datetime) -> dict[str, Record]:
    """Issue the planned certificates and return the records by client."""
    issued: dict[str, Record] = {}
    made = process_pool.each(lambda step: _issue(authority, signer, step, now), [step for step in steps if step.issues])
    for batch in _batches(made):
        _write_issued(authority, batch)
        issued.update({one.record.name: one.record for one in batch})
    return issued


def _issue(authority: Authority, signer: Signer, step: Step, now: datetime) -> Issued:
    client, number = step.client, random_serial()
    end = min(now + client.valid_for, signer.certificate.not_valid_after_utc)
    serial = serial_hex(number)
    stem = f"{client.name}-{date_digits(end)}-{serial[:8]}"
    issue = Issue(serial, stem, iso(now), client.request)
    record = replace(step.record, issues=(*step.record.issues, issue), issuing=True, roles=client.roles)
    files = ClientFiles(authority.layout.client(client.name), client.name, issue)
    key, made = _key(files, client)
    subject = build_name(client.common_name, client.organization)
    certificate = client_certificate(signer, key, subject, client.email, number, now, end)
    path, pem = authority.layout.new_certificate(serial), certificate.public_bytes(Encoding.PEM)
    return Issued(
        record,
        (client_records.as_file(files.directory, record), *made),
        NewFile(path, pem, PUBLIC_FILE),
        valid_row(number, certificate.not_valid_after_utc, oneline(subject), client.name, stem),
    )


def _key(files: ClientFiles, client: Client) -> tuple[PublicKey, tuple[NewFile, ...]]:
    """Return the key to certify, and the file to write for it: none if the key is that of the client's CSR."""
    if client.public_key is not None:
        return load_public(client.public_key), ()
    key = generate(client.key)
    return key.public_key(), (NewFile(files.file(client_files.KEY), private_pem(key), PRIVATE_FILE),)


def _write_issued(authority: Authority, batch: list[Issued]) -> None:
    for one in batch:
        _remove_unsigned_keys(authority.layout.client(one.record.name), one.record)
    put_all([file for one in batch for file in one.announced])
    try:
        put_all([one.certificate for one in batch])
    finally:
        # Every signed certificate needs a row in the database, also after a partial write to a full disk.
        signed = [one.row for one in batch if os.path.exists(one.certificate.path)]
        authority.save([*authority.rows, *signed])


def _remove_unsigned_keys(directory: str, record: Record) -> None:
    """Remove keys of a killed run that have no certificate. Keep keys with names that this collection does not make."""
    own_stem = re.compile(re.escape(record.name) + r"-\d{8}-[0-9A-F]{8}")
    stems = {issue.stem for issue in record.issues}
    for entry in os.scandir(directory):
        stem, ending = os.path.splitext(entry.name)
        certificate = os.path.join(directory, f"{stem}.{client_files.CERTIFICATE}")
        if ending == ".key" and own_stem.fullmatch(stem) and stem not in stems and not os.path.exists(certificate):
            os.unlink(entry.path)


def _complete_all(authority: Authority, steps: list[Step], records: list[Record], due: list[list[str]]) -> list[Record]:
    """Write the files that are missing or out of date and return the records, in the order of the steps."""
    tasks = [
        (files, step.client, record)
        for step, record, names in zip(steps, records, due)
        for files in [_files(authority, record)]
        if files and step.client.present and (step.issues or names or record.issuing)
    ]
    done = {record.name: record for record in records}
    for batch in _batches(process_pool.each(lambda task: client_files.completion(authority, *task), tasks)):
        _write_completed(authority, batch)
        done.update({one.record.name: one.record for one in batch})
    return [done[record.name] for record in records]


def _write_completed(authority: Authority, batch: list[Completion]) -> None:
    for one in batch:
        remove_leftovers(authority.layout.client(one.record.name))
    put_all([entry for one in batch for entry in one.entries])
    for path in [path for one in batch for path in one.outdated]:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    put_all([one.record_file for one in batch])
