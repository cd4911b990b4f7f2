# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carrying out what the roster asks for: keys, certificates, rows, files, in an order that a kill at any moment does not break.

Revocations come first. For every certificate: (1) record and key, (2) the certificate itself in newcerts/, (3) the row in
index.txt, (4) the client's files, (5) the record again. A certificate without a row is given one by authority.open_for_change;
a record that announces a certificate which was never signed is taken back by roster.settled; files that are missing are made
by client_files.complete.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from .._ansible.files import PRIVATE_DIR, PRIVATE_FILE, PUBLIC_FILE, make_directory, remove_leftovers, write_atomic
from . import client_files, records
from .authority import open_authority, open_for_change, refuse_other_contents
from .client_files import ClientFiles
from .clock import iso
from .database import revoked_row, serial_hex, valid_row
from .keys import generate, private_pem
from .layout import check_path, require_authority
from .names import build_name, oneline
from .profiles import client_certificate, random_serial
from .records import Issue, Record
from .roster import Situation, Step, plan

try:
    from cryptography.hazmat.primitives.serialization import Encoding
except ImportError:  # the modules report it (_ansible.dependencies) before anything here is called
    pass

if TYPE_CHECKING:
    from datetime import datetime

    from .authority import Authority
    from .database import Row
    from .profiles import Signer
    from .roster import Client, Rules


@dataclass(frozen=True)
class Result:
    """What happened, or in check mode would happen, to one client."""

    step: Step
    record: Record
    mended: list[str] = field(default_factory=list)
    """Files made or replaced although no certificate was issued."""
    not_after: str | None = None

    @property
    def action(self) -> str:
        """The step's action, or ``updated`` where only files or predecessors changed."""
        if self.step.action == "unchanged" and (self.mended or self.step.revoke):
            return "updated"
        return self.step.action

    @property
    def reason(self) -> str:
        """Why."""
        files = f"files made: {', '.join(self.mended)}" if self.mended else ""
        return "; ".join(part for part in (self.step.reason, files) if part)


def bring_to_desired_state(
    path: str, clients: list[Client], rules: Rules, passphrase: bytes | None, now: datetime
) -> list[Result]:
    """Bring all clients of the roster to their desired state and return what happened, in the roster's order.

    :raises Problem: before anything is changed, if the authority cannot be used.
    """
    with require_authority(path).locked():
        authority = open_for_change(path)
        steps = _plan(authority, clients, rules, now)
        due = [_due(authority, step) for step in steps]
        signer = authority.signer(passphrase, now) if any(step.issues for step in steps) else None
        for step in steps:
            _prepare(authority, step)
        _revoke(authority, steps, now)
        issued = _issue_all(authority, signer, steps, now) if signer else {}
        done = [
            _finish(authority, step, issued.get(step.client.name, step.record), files)
            for step, files in zip(steps, due)
        ]
        return _results(authority, steps, done, due)


def predict(path: str, clients: list[Client], rules: Rules, passphrase: bytes | None, now: datetime) -> list[Result]:
    """Return what ``bring_to_desired_state`` would do now. Without an authority, every present client would be issued.

    :raises Problem: where ``bring_to_desired_state`` would.
    """
    layout = check_path(path)
    layout.require_writable()
    if not os.path.exists(layout.certificate):
        refuse_other_contents(layout)
        return [Result(step, step.record) for step in plan(clients, Situation({}, [], now, now), rules)]
    authority = open_authority(path)
    authority.rows = authority.with_orphans()
    steps = _plan(authority, clients, rules, now)
    if any(step.issues for step in steps):
        authority.signer(passphrase, now)
    return _results(authority, steps, [step.record for step in steps], [_due(authority, step) for step in steps])


def _results(authority: Authority, steps: list[Step], done: list[Record], due: list[list[str]]) -> list[Result]:
    rows = {row.serial: row for row in authority.rows}
    ends = [rows.get(record.latest.serial) if record.latest else None for record in done]
    return [
        Result(step, record, files, iso(row.not_after) if row else None)
        for step, record, files, row in zip(steps, done, due, ends)
    ]


def _plan(authority: Authority, clients: list[Client], rules: Rules, now: datetime) -> list[Step]:
    known = records.load_all(authority.layout.clients)
    return plan(clients, Situation(known, authority.rows, authority.certificate.not_valid_after_utc, now), rules)


def _due(authority: Authority, step: Step) -> list[str]:
    """Return the names of files to make for a client that keeps its certificate."""
    files = _files(authority, step.record)
    if files is None or step.issues or not step.client.present:
        return []
    work = client_files.work(files, step.client, step.record)
    if work.profiles:
        client_files.open_key(authority, files)
    return work.names(files)


def _files(authority: Authority, record: Record) -> ClientFiles | None:
    return ClientFiles(authority.layout.client(record.name), record.name, record.latest) if record.latest else None


def _prepare(authority: Authority, step: Step) -> None:
    """Make the client's directory: if that is impossible, it has to be known before anything is signed or revoked."""
    if step.issues:
        directory = authority.layout.client(step.client.name)
        make_directory(directory, PRIVATE_DIR)
        remove_leftovers(directory)
    elif step.withdrawn:
        _withdraw(authority, step)


def _withdraw(authority: Authority, step: Step) -> None:
    """Take back what a killed run announced and never signed, where nothing is issued in its place."""
    directory = authority.layout.client(step.client.name)
    _remove_unsigned_keys(directory, step.record)
    records.save(directory, step.record)


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


def _issue_all(authority: Authority, signer: Signer, steps: list[Step], now: datetime) -> dict[str, Record]:
    """Issue what is to be issued and return the records by client; the database is written once, also if one fails."""
    issued: dict[str, Record] = {}
    rows = list(authority.rows)
    try:
        for step in steps:
            if step.issues:
                issued[step.client.name], row = _issue(authority, signer, step, now)
                rows.append(row)
    finally:
        authority.save(rows)
    return issued


def _issue(authority: Authority, signer: Signer, step: Step, now: datetime) -> tuple[Record, Row]:
    client, number = step.client, random_serial()
    end = min(now + client.valid_for, signer.certificate.not_valid_after_utc)
    serial = serial_hex(number)
    stem = f"{client.name}-{end:%Y%m%d}-{serial[:8]}"
    issue = Issue(serial, stem, iso(now), client.request)
    record = replace(step.record, issues=(*step.record.issues, issue), issuing=True, roles=client.roles)
    files = ClientFiles(authority.layout.client(client.name), client.name, issue)
    _remove_unsigned_keys(files.directory, record)
    records.save(files.directory, record)
    key = generate(client.key)
    write_atomic(files.file(client_files.KEY), private_pem(key), PRIVATE_FILE)
    subject = build_name(client.common_name, client.organization)
    certificate = client_certificate(signer, key.public_key(), subject, client.email, number, now, end)
    write_atomic(authority.layout.new_certificate(serial), certificate.public_bytes(Encoding.PEM), PUBLIC_FILE)
    return record, valid_row(number, certificate.not_valid_after_utc, oneline(subject), client.name, stem)


def _remove_unsigned_keys(directory: str, record: Record) -> None:
    """Remove keys that a killed run made without getting to sign them. Keys of other names are not ours."""
    ours = re.compile(re.escape(record.name) + r"-\d{8}-[0-9A-F]{8}")
    stems = {issue.stem for issue in record.issues}
    for entry in os.scandir(directory):
        stem, ending = os.path.splitext(entry.name)
        certificate = os.path.join(directory, f"{stem}.{client_files.CERTIFICATE}")
        if ending == ".key" and ours.fullmatch(stem) and stem not in stems and not os.path.exists(certificate):
            os.unlink(entry.path)


def _finish(authority: Authority, step: Step, record: Record, due: list[str]) -> Record:
    files = _files(authority, record)
    if files is None or not step.client.present or not (step.issues or due or record.issuing):
        return record
    remove_leftovers(files.directory)
    record = replace(
        client_files.complete(authority, files, step.client, record), issuing=False, roles=step.client.roles
    )
    records.save(files.directory, record)
    return record
