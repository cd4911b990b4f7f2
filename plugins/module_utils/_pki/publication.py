# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The publication: the public data that web hosts take over as their trust. Nothing secret is in it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from .._ansible.errors import Problem
from .._ansible.files import (
    PUBLIC_DIR,
    PUBLIC_FILE,
    lock,
    make_directory,
    make_parents,
    read_file,
    remove_leftovers,
    require_writable,
    write_atomic,
)
from . import crl, issuer_crls, records
from .admission import pem_blocks, turned_away
from .authority import open_authority, refuse_other_contents
from .clock import iso
from .database import serial_hex
from .layout import check_path, is_away, require_authority
from .names import rfc2253
from .predecessors import check_predecessors

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding
except ImportError:  # the modules report it (_ansible.dependencies) before anything here is called
    pass

if TYPE_CHECKING:
    from collections.abc import Container, Mapping
    from datetime import datetime

    from .authority import Authority

FILES = ("ca.pem", "crl.pem", "identities.json", "denied.json")
MANIFEST = "trust.json"
_DUE = "the CRL that module crl is going to write\n"
# Bytes of one file: some million clients, or some million revocations.
_LARGEST = 1 << 29
_NOTHING = timedelta(0)
# What an entry says of the certificate itself. The last two are left out where they are too long for a map of nginx.
_OF_CERTIFICATE = ("sha256", "sha1", "der", "subject")
_LONGEST_DER = 3000
_LONGEST_SUBJECT = 2000
_MEND_AWAY = "Bring its directory back, or take it out of predecessors, which ends its certificates"


@dataclass(frozen=True)
class Outcome:
    """Whether anything changed, what files, the generation that web hosts will tell, and what a person should know."""

    generation: int | None
    changes: list[str]
    before: dict[str, str]
    after: dict[str, str]
    warnings: list[str] = field(default_factory=list)
    lapsing: list[str] = field(default_factory=list)
    """What to say of CRLs that are published although they are too short or behind, because nothing may wait for them."""


@dataclass(frozen=True)
class Request:
    """What to publish.

    :param path: the authority that issues to clients.
    :param predecessors: directories of authorities whose certificates are still good.
    :param min_remaining: a CRL with less time left is not published, unless something else has to be.
    """

    path: str
    predecessors: tuple[str, ...]
    min_remaining: timedelta


@dataclass(frozen=True)
class Lapsing:
    """A CRL of another CA than the one that issues, still valid and yet not as it should be: its text and what is wrong."""

    pem: str
    problem: Problem


@dataclass(frozen=True)
class Contents:
    """The files of a publication, without its manifest, and the CRLs in it that are valid still but should not be shipped."""

    files: dict[str, str]
    lapsing: tuple[Lapsing, ...] = ()
    away: tuple[str, ...] = ()
    """Predecessors whose directory is not here."""


@dataclass(frozen=True)
class _Published:
    """What was published before, for predecessors whose directory is away: CAs and CRLs, and entries by the name of their CA."""

    certificates: list[x509.Certificate]
    crls: list[x509.CertificateRevocationList]
    identities: list[tuple[str, dict[str, Any]]]
    denied: list[tuple[str, dict[str, Any]]]


@dataclass
class _Ca:
    """A CA of the publication: its number there, its certificate, and its newest CRL."""

    id: int
    certificate: x509.Certificate
    crl: x509.CertificateRevocationList | None = None
    away: bool = False

    def offer(self, found: x509.CertificateRevocationList | None) -> None:
        """Take a CRL if it is newer than the one that is known."""
        if found is not None and (self.crl is None or issuer_crls.number_of(found) > issuer_crls.number_of(self.crl)):
            self.crl = found


def publish(request: Request, directory: str, now: datetime, *, check_mode: bool) -> Outcome:
    """Write the publication of an authority, the CAs above it, and its predecessors into ``directory``.

    In check mode nothing is written, and a CRL that is due is taken for written: module crl, run before, would have done it.

    A revocation waits for nothing that is only about others: where something is newly denied, a CRL of another CA that ends
    soon is published all the same, and a client who would be turned away is left out.

    :raises Problem: if the CRL of a CA is missing or ended, does not hold every revocation, or ends too soon; or if somebody with
        a valid certificate would be turned away.
    """
    layout = check_path(request.path)
    for path in (request.path, *request.predecessors):
        _refuse_overlap(check_path(path).root, directory)
    require_writable(directory)
    away = [path for path in request.predecessors if is_away(path)]
    former = check_predecessors(request.path, [path for path in request.predecessors if path not in away])
    if check_mode and not os.path.exists(layout.certificate):
        refuse_other_contents(layout)
        return Outcome(None, list(FILES), {}, {})
    authorities = [open_authority(request.path), *(open_authority(path) for path in former)]
    warnings = _warnings(authorities[1:], now)
    # Nothing that an ended CA issued verifies any more, and web hosts refuse to trust one.
    authorities = authorities[:1] + [one for one in authorities[1:] if one.certificate.not_valid_after_utc > now]
    kept = _read_published(directory) if away else None
    known = _published_certificates(directory)
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
    return [f"The predecessor {root} has no valid certificate any more: take it out of predecessors." for root in ended]


def _with_warnings(outcome: Outcome, warnings: list[str]) -> Outcome:
    return replace(outcome, warnings=[*warnings, *outcome.warnings])


def _judged(directory: str, authorities: list[Authority], drafted: Contents, now: datetime) -> Outcome:
    """Return what there is to write, with what a revocation must not wait for as warnings.

    :raises Problem: if it may not be published: nothing is newly denied, and something is not as it should be.
    """
    files = drafted.files
    outcome = _outcome(directory, files, now)
    if outcome.changes and not _newly_denied(outcome.before, files):
        for path in drafted.away:
            require_authority(path)
    for one in drafted.lapsing:
        # What is published already does no harm a second time.
        if one.pem not in outcome.before["crl.pem"] and not _newly_denied(outcome.before, files):
            raise one.problem
    refused = {}
    if outcome.changes and _DUE not in files["crl.pem"]:
        refused = _turned_away(authorities, files, now)
    if refused:
        files = {**files, "identities.json": _without(files["identities.json"], refused)}
        outcome = _outcome(directory, files, now)
        if outcome.changes and not _newly_denied(outcome.before, files):
            first = next(iter(refused.values()))
            raise Problem(f"{first.what}; nothing was published", first.mend)
    return replace(
        outcome,
        warnings=[f"{one.what}: left out of identities.json. {one.mend}." for one in refused.values()],
        lapsing=[
            f"The predecessor {path} is not here: what was published of it before stays. {_MEND_AWAY}."
            for path in drafted.away
        ]
        + [
            f"{one.problem.what}; it stays, or goes out with a revocation, all the same. {one.problem.mend}."
            for one in drafted.lapsing
        ],
    )


def _turned_away(authorities: list[Authority], files: dict[str, str], now: datetime) -> dict[tuple[int, str], Problem]:
    cas = _cas(authorities)
    issuers = {_find(cas, authority.certificate).id: authority for authority in authorities}
    # Of an authority that is away there is no certificate to look at, and nothing new is published.
    judged = [one for one in json.loads(files["identities.json"])["identities"] if one["issuer"] in issuers]
    files = {**files, "identities.json": json.dumps({"identities": judged})}
    return turned_away(files, lambda issuer, serial: issuers[issuer].issued(serial), now)


def _without(identities: str, refused: Container[tuple[int, str]]) -> str:
    data = json.loads(identities)
    kept = [one for one in data["identities"] if (one["issuer"], one["serial"]) not in refused]
    return _json({**data, "identities": kept})


def _newly_denied(before: dict[str, str], files: dict[str, str]) -> bool:
    """Tell whether web hosts are to hear of a revocation. Where nothing was ever published, none of them lets anybody in."""
    return any(before.values()) and not _denied_in(files) <= _denied_in(before)


def _denied_in(files: dict[str, str]) -> set[tuple[str, str]]:
    """Return the name of the CA and the serial of whatever a publication denies; of one that is damaged, nothing."""
    try:
        names, _identities_there = _told(files["identities.json"])
        return {(names[one["issuer"]], one["serial"]) for one in json.loads(files["denied.json"])["denied"]}
    except (ValueError, KeyError, TypeError, RecursionError):
        return set()


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
        make_parents(directory)
        make_directory(directory, PUBLIC_DIR)
    if not os.path.isdir(directory):
        raise Problem(f"publish_path {directory} is not a directory", "Move it out of the way or choose another path")


def contents(
    authorities: list[Authority],
    min_remaining: timedelta,
    now: datetime,
    kept: _Published | None = None,
    known: Mapping[tuple[str, str], dict[str, str]] | None = None,
    *,
    check_mode: bool,
) -> Contents:
    """Return the files of the publication, without its manifest. The first authority is the one that issues now.

    :param kept: what was published before, if there are predecessors that are away.
    :param known: what was published of certificates before, by the name of the CA and the serial, for those whose file is lost.
    :raises Problem: if the CRL of a CA cannot be published; in check mode it is taken for written.
    """
    cas = _cas(authorities)
    _add_kept(cas, kept, now)
    crls, lapsing = _crls(cas, authorities, min_remaining, now, check_mode=check_mode)
    numbered = [(authority, _find(cas, authority.certificate).id) for authority in authorities]
    identities = [entry for authority, issuer in numbered for entry in _identities(authority, issuer, now, known or {})]
    identities += _kept_entries(cas, kept.identities if kept else [])
    denied = _denied(numbered, cas) + _kept_entries(cas, kept.denied if kept else [])
    texts = (
        "".join(ca.certificate.public_bytes(Encoding.PEM).decode() for ca in cas),
        crls,
        _json({"format": 1, "issuers": [_issuer(ca) for ca in cas], "identities": identities}),
        _json({"format": 1, "denied": denied}),
    )
    return Contents(dict(zip(FILES, texts)), lapsing)


def _cas(authorities: list[Authority]) -> list[_Ca]:
    """Return every CA once, each chain with its root last. Of a CA that was renewed with the same key, the newest certificate.

    One certificate of it is enough: name and key, by which verifiers know it, are the same.
    """
    cas: list[_Ca] = []
    for certificate in (one for authority in authorities for one in authority.chain):
        same = next((ca for ca in cas if ca.certificate.subject == certificate.subject), None)
        if same is None:
            cas.append(_Ca(len(cas) + 1, certificate))
        elif same.certificate.public_key() != certificate.public_key():
            raise Problem(
                f"Two CAs with different keys have one name, {rfc2253(certificate.subject)}, by which nginx and CRLs know a CA",
                "Give the successor another common_name, with a year in it for instance",
            )
        elif certificate.not_valid_before_utc > same.certificate.not_valid_before_utc:
            same.certificate = certificate
    return cas


def _read_published(directory: str) -> _Published:
    files = {name: _read(os.path.join(directory, name)) for name in FILES}
    try:
        certificates = x509.load_pem_x509_certificates(files["ca.pem"].encode())
        crls = [x509.load_pem_x509_crl(block.encode()) for block in pem_blocks(files["crl.pem"])]
        names, identities = _told(files["identities.json"])
        denied = [(names[one["issuer"]], one) for one in json.loads(files["denied.json"])["denied"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Problem(
            f"A predecessor is not here, and what was published of it in {directory} is missing or damaged", _MEND_AWAY
        ) from None
    return _Published(certificates, crls, identities, denied)


def _told(identities: str) -> tuple[dict[int, str], list[tuple[str, dict[str, Any]]]]:
    """Return what an identities.json says: the names of the CAs by their numbers, and each entry with the name of its CA."""
    told = json.loads(identities)
    names = {one["id"]: one["subject"] for one in told["issuers"]}
    return names, [(names[one["issuer"]], one) for one in told["identities"]]


def _add_kept(cas: list[_Ca], kept: _Published | None, now: datetime) -> None:
    """Add the CAs that only authorities which are away would add."""
    for certificate in kept.certificates if kept else []:
        known = any(ca.certificate.subject == certificate.subject for ca in cas)
        if kept and not known and certificate.not_valid_after_utc > now:
            crl = next((one for one in kept.crls if one.issuer == certificate.subject), None)
            cas.append(_Ca(len(cas) + 1, certificate, crl, away=True))


def _kept_entries(cas: list[_Ca], entries: list[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    numbers = {rfc2253(ca.certificate.subject): ca.id for ca in cas if ca.away}
    return [{**entry, "issuer": numbers[name]} for name, entry in entries if name in numbers]


def _find(cas: list[_Ca], certificate: x509.Certificate) -> _Ca:
    return next(ca for ca in cas if ca.certificate.subject == certificate.subject)


def _crls(
    cas: list[_Ca], authorities: list[Authority], min_remaining: timedelta, now: datetime, *, check_mode: bool
) -> tuple[str, tuple[Lapsing, ...]]:
    """Give every CA its newest CRL, and return them in the order of the CAs, and those that should be better and may still do."""
    unfit: dict[int, Problem] = {}
    for authority in authorities:
        own = _find(cas, authority.certificate)
        own.offer(crl.load(authority))
        reason = crl.why_due(authority, crl.current(authority), min_remaining, now)
        if reason:
            unfit[own.id] = Problem(
                f"The CRL {authority.layout.crl} cannot be published: {reason}", "Write a new one with module crl first"
            )
        for above, copy in zip(authority.chain[1:], issuer_crls.copies(authority.layout, authority.chain)):
            _find(cas, above).offer(copy.crl)
    ours = {_find(cas, authority.certificate).id for authority in authorities}
    for ca in cas:
        reason = issuer_crls.why_unfit(ca.crl, min_remaining, now)
        if reason and ca.id not in ours:
            unfit[ca.id] = Problem(
                f"The CRL of {rfc2253(ca.certificate.subject)} cannot be published: {reason}", issuer_crls.MEND
            )
    if check_mode:
        return "".join(_DUE if ca.id in unfit or ca.crl is None else _pem(ca.crl) for ca in cas), ()
    texts, lapsing = [], []
    for ca in cas:
        # The CRL of the authority itself is written right before, and a web host refuses everybody with one that ended.
        if ca.crl is None or (ca.id in unfit and (ca is cas[0] or issuer_crls.why_unfit(ca.crl, _NOTHING, now))):
            raise unfit[ca.id]
        texts.append(_pem(ca.crl))
        if ca.id in unfit:
            lapsing.append(Lapsing(texts[-1], unfit[ca.id]))
    return "".join(texts), tuple(lapsing)


def _pem(found: x509.CertificateRevocationList) -> str:
    return found.public_bytes(Encoding.PEM).decode()


def _issuer(ca: _Ca) -> dict[str, Any]:
    return {
        "id": ca.id,
        "subject": rfc2253(ca.certificate.subject),
        "sha256": ca.certificate.fingerprint(hashes.SHA256()).hex(),
    }


def _identities(
    authority: Authority, issuer: int, now: datetime, known: Mapping[tuple[str, str], dict[str, str]]
) -> list[dict[str, Any]]:
    name = rfc2253(authority.certificate.subject)
    rows = {row.serial: row for row in authority.rows}
    found = []
    for record in records.load_all(authority.layout.clients).values():
        for issue in record.issues:
            row = rows.get(issue.serial)
            if row and not row.is_revoked and row.not_after > now:
                found.append(
                    {
                        "issuer": issuer,
                        "serial": row.serial,
                        "name": record.name,
                        "common_name": issue.request.common_name,
                        "email": list(issue.request.email),
                        "roles": list(record.roles),
                        "not_after": iso(row.not_after),
                        **(_certificate(authority, row.serial) or known.get((name, row.serial), {})),
                    }
                )
    return found


def _certificate(authority: Authority, serial: str) -> dict[str, str]:
    """By these an edge in front of a web host tells a certificate; SHA-1 is what nginx and its kin call the fingerprint.

    A certificate whose file is lost has none any more, and is turned away later, by name, if anything is published.

    :returns: what there is of ``_OF_CERTIFICATE``: digests in hex, the certificate in Base64, the subject as nginx prints it.
    """
    try:
        certificate = authority.issued(serial)
    except Problem:
        return {}
    der = certificate.public_bytes(Encoding.DER)
    subject = rfc2253(certificate.subject)
    return {
        "sha256": hashlib.sha256(der).hexdigest(),
        "sha1": hashlib.sha1(der, usedforsecurity=False).hexdigest(),
        **({"der": base64.b64encode(der).decode()} if len(der) <= _LONGEST_DER else {}),
        **({"subject": subject} if 0 < len(subject) <= _LONGEST_SUBJECT else {}),
    }


def _published_certificates(directory: str) -> dict[tuple[str, str], dict[str, str]]:
    try:
        _names, identities = _told(_read(os.path.join(directory, "identities.json")))
        return {
            (name, one["serial"]): {key: one[key] for key in _OF_CERTIFICATE if key in one}
            for name, one in identities
            if "sha256" in one and "sha1" in one
        }
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}


def _denied(authorities: list[tuple[Authority, int]], cas: list[_Ca]) -> list[dict[str, Any]]:
    """Return what was ever revoked; of the CAs above, whose database may be away, what their CRL says."""
    found = [
        _denial(issuer, row.serial, revocation.reason, revocation.at)
        for authority, issuer in authorities
        for row, revocation in ((row, row.revocation) for row in authority.rows)
        if revocation
    ]
    ours = {issuer for _authority, issuer in authorities}
    for ca in cas:
        if ca.crl is not None and ca.id not in ours and not ca.away:
            found += [
                _denial(ca.id, serial_hex(entry.serial_number), crl.reason_of(entry), entry.revocation_date_utc)
                for entry in ca.crl
            ]
    return found


def _denial(issuer: int, serial: str, reason: str | None, at: datetime) -> dict[str, Any]:
    return {"issuer": issuer, "serial": serial, "reason": reason or "unspecified", "revoked_at": iso(at)}


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
