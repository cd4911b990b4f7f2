# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the publication: the public data that web hosts install as their trust."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from .._common.errors import MtlsError
from .._common.files import (
    PUBLIC_DIR,
    PUBLIC_FILE,
    lock,
    make_directory,
    make_parents,
    remove_leftovers,
    require_writable,
    write_atomic,
)
from .._contracts.publication_format import DATA_FILES, MANIFEST
from .authority import open_authority, refuse_other_contents
from .layout import check_path, is_away, require_authority
from .predecessors import check_predecessors
from .publication_contents import (
    DUE,
    HINT_AWAY,
    Contents,
    as_json,
    collect_cas,
    contents,
    find_ca,
    parse_identities,
    published_certificates,
    read_published,
    read_published_file,
)
from .verify_publication import rejected_certificates

if TYPE_CHECKING:
    from collections.abc import Container
    from datetime import datetime

    from .authority import Authority


@dataclass(frozen=True)
class Outcome:
    """Whether anything changed, the changed files, the generation that web hosts will report, and warnings."""

    generation: int | None
    changes: list[str]
    before: dict[str, str]
    after: dict[str, str]
    warnings: list[str] = field(default_factory=list)
    lapsing: list[str] = field(default_factory=list)
    """Warnings about CRLs that are published with a problem, because a revocation must not wait for them."""


@dataclass(frozen=True)
class Request:
    """The authorities to publish.

    :param path: the authority that issues to clients.
    :param predecessors: directories of authorities whose certificates are still good.
    :param min_remaining: a CRL with less time left is not published, unless something else has to be.
    """

    path: str
    predecessors: tuple[str, ...]
    min_remaining: timedelta


def publish(request: Request, directory: str, now: datetime, *, check_mode: bool) -> Outcome:
    """Write the publication of an authority, its issuers and its predecessors into ``directory``.

    In check mode nothing is written, and a due CRL counts as written, because module crl would have written it before.

    Problems of other CAs or clients do not delay a revocation: if something is newly denied, a CRL of another CA that ends soon
    is published, and a client that would be rejected is left out.

    :raises MtlsError: if the CRL of a CA is missing or expired, lacks a revocation, or ends too soon; or if a valid certificate
        would be rejected.
    """
    layout = check_path(request.path)
    for path in (request.path, *request.predecessors):
        _refuse_overlap(check_path(path).root, directory)
    require_writable(directory)
    away = [path for path in request.predecessors if is_away(path)]
    former = check_predecessors(request.path, [path for path in request.predecessors if path not in away])
    if check_mode and not os.path.exists(layout.certificate):
        refuse_other_contents(layout)
        return Outcome(None, list(DATA_FILES), {}, {})
    authorities = [open_authority(request.path), *(open_authority(path) for path in former)]
    warnings = _warnings(authorities[1:], now)
    # No certificate of an expired CA verifies any more, and web hosts refuse to trust such a CA.
    authorities = authorities[:1] + [one for one in authorities[1:] if one.certificate.not_valid_after_utc > now]
    kept = read_published(directory) if away else None
    known = published_certificates(directory)
    drafted = contents(authorities, request.min_remaining, now, kept, known, check_mode=check_mode)
    drafted = replace(drafted, away=tuple(away))
    if check_mode:
        return _with_warnings(_judged(directory, authorities, drafted, now), warnings)
    _make_public(directory)
    with lock(os.path.join(directory, ".lock")):
        remove_leftovers(directory)
        outcome = _judged(directory, authorities, drafted, now)
        if outcome.changes:
            for name, after in outcome.after.items():
                write_atomic(os.path.join(directory, name), after.encode(), PUBLIC_FILE)
        return _with_warnings(outcome, warnings)


def _warnings(predecessors: list[Authority], now: datetime) -> list[str]:
    ended = [
        authority.layout.root
        for authority in predecessors
        if not any(not row.is_revoked and row.not_after > now for row in authority.rows)
    ]
    return [
        f"The predecessor {root} has no valid certificates any more. Remove it from predecessors." for root in ended
    ]


def _with_warnings(outcome: Outcome, warnings: list[str]) -> Outcome:
    return replace(outcome, warnings=[*warnings, *outcome.warnings])


def _judged(directory: str, authorities: list[Authority], drafted: Contents, now: datetime) -> Outcome:
    """Return the files to write, with warnings about problems that must not delay a revocation.

    :raises MtlsError: if there is a problem and nothing is newly denied.
    """
    files = drafted.files
    outcome = _outcome(directory, files, now)
    if outcome.changes and not _newly_denied(outcome.before, files):
        for path in drafted.away:
            require_authority(path)
    for one in drafted.lapsing:
        # Problems that are published already do not refuse an unchanged publication.
        if one.pem not in outcome.before["crl.pem"] and not _newly_denied(outcome.before, files):
            raise one.problem
    refused = {}
    if outcome.changes and DUE not in files["crl.pem"]:
        refused = _turned_away(authorities, files, now)
    if refused:
        files = {**files, "identities.json": _without(files["identities.json"], refused)}
        outcome = _outcome(directory, files, now)
        if outcome.changes and not _newly_denied(outcome.before, files):
            first = next(iter(refused.values()))
            raise MtlsError(f"{first.what}; nothing was published", first.hint)
    return replace(
        outcome,
        warnings=[f"{one.what}: left out of identities.json. {one.hint}." for one in refused.values()],
        lapsing=[
            f"The predecessor {path} is not here: its former publication stays. {HINT_AWAY}." for path in drafted.away
        ]
        + [
            f"{one.problem.what}; it is published nevertheless, because of a revocation. {one.problem.hint}."
            for one in drafted.lapsing
        ],
    )


def _turned_away(
    authorities: list[Authority], files: dict[str, str], now: datetime
) -> dict[tuple[int, str], MtlsError]:
    cas = collect_cas(authorities)
    issuers = {find_ca(cas, authority.certificate).id: authority for authority in authorities}
    # An absent authority has no certificates to verify, and nothing new is published for it.
    judged = [one for one in json.loads(files["identities.json"])["identities"] if one["issuer"] in issuers]
    files = {**files, "identities.json": json.dumps({"identities": judged})}
    return rejected_certificates(files, lambda issuer, serial: issuers[issuer].issued(serial), now)


def _without(identities: str, refused: Container[tuple[int, str]]) -> str:
    data = json.loads(identities)
    kept = [one for one in data["identities"] if (one["issuer"], one["serial"]) not in refused]
    return as_json({**data, "identities": kept})


def _newly_denied(before: dict[str, str], files: dict[str, str]) -> bool:
    """Return whether the publication has new revocations. Without a former publication, web hosts admit no client."""
    return any(before.values()) and not _denied_in(files) <= _denied_in(before)


def _denied_in(files: dict[str, str]) -> set[tuple[str, str]]:
    """Return CA name and serial of each denied certificate of a publication; nothing if it is damaged."""
    try:
        names, _identities_there = parse_identities(files["identities.json"])
        return {(names[one["issuer"]], one["serial"]) for one in json.loads(files["denied.json"])["denied"]}
    except (ValueError, KeyError, TypeError, RecursionError):
        return set()


def _refuse_overlap(authority: str, directory: str) -> None:
    paths = [os.path.realpath(authority), os.path.realpath(directory)]
    if os.path.commonpath(paths) in paths:
        raise MtlsError(
            f"publish_path {directory} and the authority {authority} are one inside the other",
            "Choose a directory for public data that is outside the authority's, beside it rather than above",
        )


def _make_public(directory: str) -> None:
    # An existing directory keeps its mode, because it may be a home directory.
    if not os.path.lexists(directory):
        make_parents(directory)
        make_directory(directory, PUBLIC_DIR)
    if not os.path.isdir(directory):
        raise MtlsError(f"publish_path {directory} is not a directory", "Move it away or choose another path")


def _outcome(directory: str, files: dict[str, str], now: datetime) -> Outcome:
    before = {name: read_published_file(os.path.join(directory, name)) for name in [*files, MANIFEST]}
    manifest = _manifest(before[MANIFEST], os.path.join(directory, MANIFEST))
    digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}
    changed = [name for name, text in files.items() if before[name] != text]
    if not changed and manifest.get("files") == digests:
        return Outcome(manifest["generation"], [], before, before)
    # Seconds since 1970: the number rises even if the directory with the last number was lost.
    generation = max(manifest.get("generation", 0) + 1, int(now.timestamp()))
    # The manifest is written last, so a concurrent reader detects by the digests that files are being replaced.
    after = {**files, MANIFEST: as_json({"format": 1, "generation": generation, "files": digests})}
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
        raise MtlsError(f"{path} is damaged", "Remove it: the next run writes it with a higher generation")
    return dict(data)
