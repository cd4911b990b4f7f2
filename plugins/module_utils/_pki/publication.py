# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The publication: the public data that web hosts take over as their trust. Nothing secret is in it."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._ansible.errors import Problem
from .._ansible.files import (
    PUBLIC_DIR,
    PUBLIC_FILE,
    lock,
    make_directory,
    read_file,
    remove_leftovers,
    require_writable,
    write_atomic,
)
from . import crl, records
from .authority import open_authority, refuse_other_contents
from .clock import iso
from .layout import check_path
from .names import rfc2253

try:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding
except ImportError:  # the modules report it (_ansible.dependencies) before anything here is called
    pass

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from .authority import Authority

FILES = ("ca.pem", "crl.pem", "identities.json", "denied.json")
MANIFEST = "trust.json"
_DUE = "the CRL that module crl is going to write\n"
_ISSUER = 1
# Bytes of one file: some million clients, or some million revocations.
_LARGEST = 1 << 29


@dataclass(frozen=True)
class Outcome:
    """Whether anything changed, what files, and the generation that web hosts will tell."""

    generation: int | None
    changes: list[str]
    before: dict[str, str]
    after: dict[str, str]


def publish(path: str, directory: str, min_remaining: timedelta, now: datetime, *, check_mode: bool) -> Outcome:
    """Write the publication of the authority at ``path`` into ``directory``.

    In check mode nothing is written, and a CRL that is due is taken for written: module crl, run before, would have done it.

    :param min_remaining: a CRL with less time left is not published.
    :raises Problem: if the CRL is missing, does not hold every revocation, or ends too soon.
    """
    layout = check_path(path)
    _refuse_overlap(layout.root, directory)
    require_writable(directory)
    if check_mode and not os.path.exists(layout.certificate):
        refuse_other_contents(layout)
        return Outcome(None, list(FILES), {}, {})
    authority = open_authority(path)
    if check_mode:
        return _outcome(directory, contents(authority, _crl(authority, min_remaining, now) or _DUE, now), now)
    text = _crl(authority, min_remaining, now)
    if text is None:
        reason = crl.why_due(authority, crl.current(authority), min_remaining, now)
        raise Problem(
            f"The CRL {authority.layout.crl} cannot be published: {reason}", "Write a new one with module crl first"
        )
    files = contents(authority, text, now)
    _make_public(directory)
    with lock(os.path.join(directory, ".lock")):
        remove_leftovers(directory)
        outcome = _outcome(directory, files, now)
        if outcome.changes:
            for name, after in outcome.after.items():
                write_atomic(os.path.join(directory, name), after.encode(), PUBLIC_FILE)
        return outcome


def _refuse_overlap(authority: str, directory: str) -> None:
    paths = [os.path.realpath(authority), os.path.realpath(directory)]
    if os.path.commonpath(paths) in paths:
        raise Problem(
            f"publish_path {directory} and the authority {authority} lie one inside the other",
            "Choose a directory for public data outside the authority's, and beside it rather than above",
        )


def _make_public(directory: str) -> None:
    # A directory that is there already keeps its mode: it may be somebody's home.
    if not os.path.lexists(directory):
        os.makedirs(os.path.dirname(directory), exist_ok=True)
        make_directory(directory, PUBLIC_DIR)
    if not os.path.isdir(directory):
        raise Problem(f"publish_path {directory} is not a directory", "Move it out of the way or choose another path")


def contents(authority: Authority, crl_text: str, now: datetime) -> dict[str, str]:
    """Return the files of the publication, without its manifest."""
    texts = (
        authority.certificate.public_bytes(Encoding.PEM).decode(),
        crl_text,
        _json({"format": 1, "issuers": [_issuer(authority)], "identities": _identities(authority, now)}),
        _json({"format": 1, "denied": _denied(authority)}),
    )
    return dict(zip(FILES, texts))


def _crl(authority: Authority, min_remaining: timedelta, now: datetime) -> str | None:
    found = crl.load(authority)
    reason = crl.why_due(authority, crl.current(authority), min_remaining, now)
    return found.public_bytes(Encoding.PEM).decode() if found is not None and not reason else None


def _issuer(authority: Authority) -> dict[str, Any]:
    return {
        "id": _ISSUER,
        "subject": rfc2253(authority.certificate.subject),
        "sha256": authority.certificate.fingerprint(hashes.SHA256()).hex(),
    }


def _identities(authority: Authority, now: datetime) -> list[dict[str, Any]]:
    rows = {row.serial: row for row in authority.rows}
    found = []
    for record in records.load_all(authority.layout.clients).values():
        for issue in record.issues:
            row = rows.get(issue.serial)
            if row and not row.is_revoked and row.not_after > now:
                found.append(
                    {
                        "issuer": _ISSUER,
                        "serial": row.serial,
                        "name": record.name,
                        "common_name": issue.request.common_name,
                        "email": list(issue.request.email),
                        "roles": list(record.roles),
                        "not_after": iso(row.not_after),
                    }
                )
    return found


def _denied(authority: Authority) -> list[dict[str, Any]]:
    pairs = [(row, row.revocation) for row in authority.rows]
    return [
        {
            "issuer": _ISSUER,
            "serial": row.serial,
            "reason": revocation.reason or "unspecified",
            "revoked_at": iso(revocation.at),
        }
        for row, revocation in pairs
        if revocation
    ]


def _outcome(directory: str, files: dict[str, str], now: datetime) -> Outcome:
    before = {name: _read(os.path.join(directory, name)) for name in [*files, MANIFEST]}
    manifest = _manifest(before[MANIFEST], os.path.join(directory, MANIFEST))
    digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}
    changed = [name for name, text in files.items() if before[name] != text]
    if not changed and manifest.get("files") == digests:
        return Outcome(manifest["generation"], [], before, before)
    # Seconds since 1970: it rises even where the directory, and with it the last number, was lost.
    generation = max(manifest.get("generation", 0) + 1, int(now.timestamp()))
    # The manifest comes last: who reads while files are being replaced sees that the digests do not match.
    after = {**files, MANIFEST: _json({"format": 1, "generation": generation, "files": digests})}
    return Outcome(generation, changed or [MANIFEST], before, after)


def _manifest(text: str, path: str) -> dict[str, Any]:
    if not text:
        return {}
    try:
        data = json.loads(text)
        sound = isinstance(data["generation"], int) and data["generation"] is not True and data["generation"] > 0
    except (ValueError, KeyError, TypeError, RecursionError):
        sound = False
    if not sound:
        raise Problem(f"{path} is damaged", "Remove it: it is made anew with a higher generation")
    return dict(data)


def _read(path: str) -> str:
    try:
        return read_file(path, _LARGEST).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def _json(data: dict[str, Any]) -> str:
    return json.dumps(data, indent=1, sort_keys=True) + "\n"
