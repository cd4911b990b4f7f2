# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Report the installed CA chain, CRLs and identities, verified the way nginx verifies them.

This finds a CRL that expired after its installation, or a changed file, before nginx rejects clients.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from .._common.commands import run_command
from .._common.errors import MtlsError
from .._common.files import opened
from .._common.pem import CERTIFICATE, encode_pem
from .._common.timestamps import in_words_to_the_minute, parse_iso
from .._deploy.entry_point import read_text
from .._deploy.generation_store import GenerationStore
from .._nginx.config_sandbox import private_directory
from .chain_verification import read_chain, read_crls
from .publication_reader import FILES, read_publication

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .chain_verification import Crl
    from .publication_reader import Publication

# The number of files on one command line.
_BATCH = 200
_ERROR = re.compile(r"^error (?:\d+ at \d+ depth lookup: ?)?(?P<why>.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Person:
    """A client with at least one certificate that has not expired.

    :param not_after: when the latest certificate expires, RFC 3339.
    :param verified: whether openssl has verified one of the certificates against the live chain and CRLs.
    :param serials: the serials of the certificates in the form of nginx, sorted by expiry.
    """

    name: str
    email: tuple[str, ...]
    roles: tuple[str, ...]
    not_after: str
    verified: bool
    serials: tuple[str, ...]


@dataclass(frozen=True)
class TrustStatus:
    """The status of the installed trust.

    :param people: the clients with certificates that have not expired.
    :param problems: one sentence for each problem that makes nginx reject clients.
    :param unverifiable: the names of clients whose certificates are not published, so that they cannot be verified.
    """

    generation: int
    people: tuple[Person, ...]
    crls: tuple[Crl, ...]
    problems: tuple[str, ...]
    unverifiable: tuple[str, ...]


@dataclass(frozen=True)
class _Entry:
    """One identity of identities.json; ``certificate`` is its DER in Base64, empty if not published."""

    issuer: str
    serial: str
    name: str
    email: tuple[str, ...]
    roles: tuple[str, ...]
    not_after: str
    certificate: str


def trust_status(conf_path: str, now: datetime, min_remaining: timedelta = timedelta(0)) -> TrustStatus:
    """Return the status of the trust that is live on this host.

    :param conf_path: the directory of nginx.conf.
    :param min_remaining: a CRL that expires sooner is a problem.
    :raises MtlsError: if no trust is installed, or if it is damaged.
    """
    directory = GenerationStore(conf_path, "trust").link
    texts = {name: _read_file(directory, name) for name in FILES}
    publication = read_publication(texts)
    chain = read_chain(texts["ca.pem"], now)
    crls = read_crls(texts["crl.pem"], chain, now)
    current = [one for one in _read_entries(texts["identities.json"]) if _parse_time(one.not_after) > now]
    verdicts = _verify(current, texts) if current else {}
    return TrustStatus(
        publication.generation,
        _list_clients(current, verdicts),
        crls,
        (*_find_problems(current, verdicts, publication, crls), *_find_expiring_crls(crls, now + min_remaining)),
        tuple(sorted({one.name for one in current if not one.certificate})),
    )


def _read_file(directory: str, name: str) -> str:
    text = read_text(os.path.join(directory, name))
    if text is None:
        raise MtlsError(
            f"{directory} contains no {name}, so no trust is installed on this host", "Run role trust first"
        )
    return text


def _read_entries(text: str) -> list[_Entry]:
    data = json.loads(text)
    subjects = {one["id"]: one["subject"] for one in data["issuers"]}
    return [_read_entry(one, subjects) for one in data["identities"]]


def _read_entry(one: Mapping[str, Any], subjects: Mapping[int, str]) -> _Entry:
    return _Entry(
        issuer=subjects[one["issuer"]],
        serial=one["serial"],
        name=one["name"],
        email=tuple(one["email"]),
        roles=tuple(one["roles"]),
        not_after=str(one.get("not_after", "")),
        certificate=str(one.get("der") or ""),
    )


def _parse_time(text: str) -> datetime:
    """Return a time of identities.json; if it is missing, the latest possible time."""
    try:
        return parse_iso(text)
    except ValueError:
        return datetime.max.replace(tzinfo=timezone.utc)


def _verify(entries: Sequence[_Entry], texts: Mapping[str, str]) -> dict[tuple[str, str], str]:
    """Return the result of openssl for each published certificate: empty if it is valid, else the reason."""
    verdicts: dict[tuple[str, str], str] = {}
    published = [one for one in entries if one.certificate]
    with private_directory() as root:
        for name in ("ca.pem", "crl.pem"):
            with opened(os.path.join(root, name), "w", encoding="ascii", errors="replace") as file:
                file.write(texts[name])
        for start in range(0, len(published), _BATCH):
            verdicts.update(_verify_batch(published[start : start + _BATCH], root))
    return verdicts


def _verify_batch(entries: Sequence[_Entry], root: str) -> Iterator[tuple[tuple[str, str], str]]:
    paths = []
    for number, one in enumerate(entries):
        path = os.path.join(root, f"{number}.pem")
        with opened(path, "w", encoding="ascii") as file:
            file.write(_to_pem(one.certificate))
        paths.append(path)
    argv = ["openssl", "verify", "-CAfile", os.path.join(root, "ca.pem"), "-CRLfile", os.path.join(root, "crl.pem")]
    done = run_command([*argv, "-crl_check_all", "-purpose", "sslclient", *paths])
    good = set(done.out.splitlines())
    for path, one in zip(paths, entries):
        yield (one.issuer, one.serial), "" if f"{path}: OK" in good else _find_error(done.err, path)


def _to_pem(der: str) -> str:
    try:
        return encode_pem(base64.b64decode(der, validate=True), CERTIFICATE)
    except (binascii.Error, ValueError):
        return ""


def _find_error(words: str, path: str) -> str:
    """Return the error of openssl about one file: the last one before the line that names it."""
    before, _named, _rest = words.partition(f"error {path}: verification failed")
    errors = _ERROR.findall(before)
    return str(errors[-1]).strip() if errors else "openssl rejects it"


def _list_clients(entries: Sequence[_Entry], verdicts: Mapping[tuple[str, str], str]) -> tuple[Person, ...]:
    """Return one entry for each client, which can have two certificates during a renewal."""
    found: dict[str, Person] = {}
    for one in sorted(entries, key=lambda entry: entry.not_after):
        good = verdicts.get((one.issuer, one.serial)) == ""
        if one.certificate and not good:
            continue
        former = found.get(one.name)
        verified, serials = (former.verified, former.serials) if former else (False, ())
        found[one.name] = Person(
            one.name, one.email, one.roles, one.not_after, good or verified, (*serials, one.serial)
        )
    return tuple(found[name] for name in sorted(found))


def _find_expiring_crls(crls: Sequence[Crl], earliest: datetime) -> Iterator[str]:
    for crl in crls:
        if crl.next_update < earliest:
            until = in_words_to_the_minute(crl.next_update)
            yield f"the CRL of {crl.issuer} expires at {until}, and nginx then rejects every client"


def _find_problems(
    entries: Sequence[_Entry],
    verdicts: Mapping[tuple[str, str], str],
    publication: Publication,
    crls: Sequence[Crl],
) -> Iterator[str]:
    revoked = {(crl.issuer, serial) for crl in crls for serial in crl.serials}
    subjects = {str(issuer.id): issuer.subject for issuer in publication.issuers}
    denied = {
        (subjects[number], serial) for number, _colon, serial in (key.partition(":") for key in publication.denied)
    }
    for one in entries:
        key = (one.issuer, one.serial)
        if key in revoked | denied:
            yield f"the certificate {one.serial} of {one.name} is revoked, but identities.json still lists it"
        elif verdicts.get(key):
            yield f"the certificate {one.serial} of {one.name} does not verify: {verdicts[key]}"
