# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and write clients/NAME/client.json, the record of a client and its certificates.

It has the data for which every certificate was issued. It is written before a certificate is signed (``issuing`` is true) and
again when all files exist, so the next run can complete a run that was killed in between.
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
# The limit in bytes: about ten thousand certificates of one client.
_LARGEST = 1 << 24


@dataclass(frozen=True)
class Request:
    """The data for which a certificate was issued. If the roster differs, the certificate is reissued."""

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
    """One certificate of a client: serial (hex), start of its files' names, time of issue (ISO), and its data."""

    serial: str
    stem: str
    issued_at: str
    request: Request


@dataclass(frozen=True)
class Record:
    """The record of one client. ``issues`` are in the order of issuing; the last one is current."""

    name: str
    issues: tuple[Issue, ...] = ()
    issuing: bool = False
    roles: tuple[str, ...] = ()
    bundles: dict[str, Bundle] = field(default_factory=dict)
    chain: str = ""
    """A digest of the CAs in the chain file of the current certificate (Authority.chain_digest)."""

    @property
    def serials(self) -> list[str]:
        """Return all serials that this client ever had."""
        return [issue.serial for issue in self.issues]

    @property
    def latest(self) -> Issue | None:
        """Return the last certificate that was issued or is being issued."""
        return self.issues[-1] if self.issues else None

    def without_latest(self) -> Record:
        """Return the record without its last certificate."""
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
            f"{path} is damaged", "Restore it from the backup, or remove it: then the client gets a new certificate"
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
    """Return the names of clients by serial, from the database and, where it has none, from the records."""
    names = {serial: record.name for record in known.values() for serial in record.serials}
    names.update({row.serial: row.client for row in rows if row.client})
    return names


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
