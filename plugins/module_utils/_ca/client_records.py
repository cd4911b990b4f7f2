# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""clients/NAME/client.json: what this collection remembers of a client beside the database of openssl.

It holds what every certificate was issued for. It is written before a certificate is signed (``issuing``) and again when all its
files are there (``current``), so that a run that was killed in between is completed by the next one.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from .._common.errors import MtlsError
from .._common.files import PRIVATE_FILE, NewFile, read_file

if TYPE_CHECKING:
    from .index_database import Row

_FORMAT = 1
_FILE = "client.json"
# Bytes: some ten thousand certificates of one client.
_LARGEST = 1 << 24


@dataclass(frozen=True)
class Request:
    """What a certificate was issued for. When the roster says otherwise, it is reissued."""

    common_name: str
    organization: str | None
    email: tuple[str, ...]
    roles: tuple[str, ...]
    key: str
    valid_for: int
    """Seconds."""


@dataclass(frozen=True)
class Bundle:
    """A bundle as it was last written."""

    serial: str
    digest: str
    passphrase_tag: str
    chain: str = ""
    """A digest of the CAs in it (Authority.chain_digest)."""


@dataclass(frozen=True)
class Issue:
    """One certificate of a client: its serial (hex), the start of its files' names, when it was issued (ISO), and for what."""

    serial: str
    stem: str
    issued_at: str
    request: Request


@dataclass(frozen=True)
class Record:
    """All that is remembered of one client. ``issues`` are in the order of issuing; the last is the current one."""

    name: str
    issues: tuple[Issue, ...] = ()
    issuing: bool = False
    roles: tuple[str, ...] = ()
    bundles: dict[str, Bundle] = field(default_factory=dict)
    chain: str = ""
    """A digest of the CAs in the chain file of the current certificate (Authority.chain_digest)."""

    @property
    def serials(self) -> list[str]:
        """All serials this client ever had."""
        return [issue.serial for issue in self.issues]

    @property
    def latest(self) -> Issue | None:
        """The last certificate issued, or being issued."""
        return self.issues[-1] if self.issues else None

    def without_latest(self) -> Record:
        """The record as it was before the last certificate."""
        return replace(self, issues=self.issues[:-1], issuing=False)


def load(directory: str) -> Record | None:
    """Return the record in a client's directory, or None if there is none.

    :raises MtlsError: if it is damaged.
    """
    path = os.path.join(directory, _FILE)
    try:
        record = _from_json(json.loads(read_file(path, _LARGEST)))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise MtlsError(
            f"{path} is damaged", "Restore it from the backup, or remove it: the client then gets a new certificate"
        ) from None
    if record.name != os.path.basename(directory):
        raise MtlsError(f"{path} belongs to the client {record.name}", f"Move {directory} to a place outside clients/")
    return record


def load_all(clients: str) -> dict[str, Record]:
    """Return the records of all clients by name; ``clients`` is the directory that holds theirs."""
    if not os.path.isdir(clients):
        return {}
    found = [load(entry.path) for entry in sorted(os.scandir(clients), key=lambda entry: entry.name) if entry.is_dir()]
    return {record.name: record for record in found if record}


def owners(known: dict[str, Record], rows: list[Row]) -> dict[str, str]:
    """Return the names of clients by serial, as the database tells them, and the records where it does not."""
    told = {serial: record.name for record in known.values() for serial in record.serials}
    told.update({row.serial: row.client for row in rows if row.client})
    return told


def as_file(directory: str, record: Record) -> NewFile:
    """Return the record as the file to be written into a client's directory."""
    text = json.dumps({"format": _FORMAT, **vars(record)}, indent=1, sort_keys=True, default=vars) + "\n"
    return NewFile(os.path.join(directory, _FILE), text.encode(), PRIVATE_FILE)


def _from_json(data: dict[str, object]) -> Record:
    if data["format"] != _FORMAT:
        raise ValueError(data["format"])
    issues = tuple(_issue(item) for item in data["issues"])  # type: ignore[attr-defined]
    bundles = {profile: Bundle(**item) for profile, item in data["bundles"].items()}  # type: ignore[attr-defined]
    chain = str(data.get("chain", ""))
    return Record(str(data["name"]), issues, bool(data["issuing"]), tuple(data["roles"]), bundles, chain)  # type: ignore[arg-type]


def _issue(item: dict[str, object]) -> Issue:
    request = dict(item["request"])  # type: ignore[call-overload]
    request["email"] = tuple(request["email"])
    request["roles"] = tuple(request["roles"])
    return Issue(str(item["serial"]), str(item["stem"]), str(item["issued_at"]), Request(**request))
