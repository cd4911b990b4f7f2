# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Collect the contents of a publication: CAs, CRLs, identities and denied serials."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from .._common.errors import MtlsError
from .._common.files import read_file
from .._common.pem import CRL, split_whole_pem
from .._common.timestamps import iso
from .._contracts.publication_format import DATA_FILES
from .._x509.names import is_plain, rfc2253
from . import client_records, crl, issuer_crls
from .index_database import serial_hex

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding
except ImportError:  # the modules report it (_common.requirements) before anything here is called
    pass

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from .authority import Authority


DUE = "the CRL that module crl is going to write\n"


# The limit of one file in bytes: about a million clients or revocations.
_LARGEST = 1 << 29


_NOTHING = timedelta(0)


# The fields of an entry that come from the certificate. The last two are omitted if they are too long for a map of nginx.
_OF_CERTIFICATE = ("sha256", "sha1", "der", "subject")


_LONGEST_DER = 3000


_LONGEST_SUBJECT = 2000


HINT_AWAY = "Bring its directory back, or remove it from predecessors, which invalidates its certificates"


@dataclass(frozen=True)
class Lapsing:
    """A CRL of another CA than the issuing one that is still valid but has a problem: its text and the problem."""

    pem: str
    problem: MtlsError


@dataclass(frozen=True)
class Contents:
    """The files of a publication, without its manifest, and the CRLs in it that are still valid but have a problem."""

    files: dict[str, str]
    lapsing: tuple[Lapsing, ...] = ()
    away: tuple[str, ...] = ()
    """The predecessors whose directory is not here."""


@dataclass(frozen=True)
class _Published:
    """The former publication, for predecessors whose directory is away: CAs, CRLs, and entries with the name of their CA."""

    certificates: list[x509.Certificate]
    crls: list[x509.CertificateRevocationList]
    identities: list[tuple[str, dict[str, Any]]]
    denied: list[tuple[str, dict[str, Any]]]


@dataclass
class _Ca:
    """A CA of the publication: its number, its certificate, and its newest CRL."""

    id: int
    certificate: x509.Certificate
    crl: x509.CertificateRevocationList | None = None
    away: bool = False

    def offer(self, found: x509.CertificateRevocationList | None) -> None:
        """Replace the CRL if the offered one is newer."""
        if found is not None and (self.crl is None or issuer_crls.number_of(found) > issuer_crls.number_of(self.crl)):
            self.crl = found


def contents(
    authorities: list[Authority],
    min_remaining: timedelta,
    now: datetime,
    kept: _Published | None = None,
    known: Mapping[tuple[str, str], dict[str, str]] | None = None,
    *,
    check_mode: bool,
) -> Contents:
    """Return the files of the publication, without its manifest. The first authority is the issuing one.

    :param kept: the former publication, if predecessors are away.
    :param known: the formerly published fields of certificates, by CA name and serial, for certificates whose file is lost.
    :raises MtlsError: if the CRL of a CA cannot be published; in check mode a due CRL counts as written.
    """
    cas = collect_cas(authorities)
    _add_kept(cas, kept, now)
    crls, lapsing = _crls(cas, authorities, min_remaining, now, check_mode=check_mode)
    numbered = [(authority, find_ca(cas, authority.certificate).id) for authority in authorities]
    identities = [entry for authority, issuer in numbered for entry in _identities(authority, issuer, now, known or {})]
    identities += _kept_entries(cas, kept.identities if kept else [])
    denied = _denied(numbered, cas) + _kept_entries(cas, kept.denied if kept else [])
    texts = (
        "".join(ca.certificate.public_bytes(Encoding.PEM).decode() for ca in cas),
        crls,
        as_json({"format": 1, "issuers": [_issuer(ca) for ca in cas], "identities": identities}),
        as_json({"format": 1, "denied": denied}),
    )
    return Contents(dict(zip(DATA_FILES, texts)), lapsing)


def collect_cas(authorities: list[Authority]) -> list[_Ca]:
    """Return every CA once, each chain with its root CA last, and with the newest certificate of each CA.

    One certificate of a CA that was renewed with the same key is enough: verifiers identify it by name and key.
    """
    cas: list[_Ca] = []
    for certificate in (one for authority in authorities for one in authority.chain):
        same = next((ca for ca in cas if ca.certificate.subject == certificate.subject), None)
        if same is None:
            cas.append(_Ca(len(cas) + 1, certificate))
        elif same.certificate.public_key() != certificate.public_key():
            raise MtlsError(
                f"Two CAs with different keys have the same name, {rfc2253(certificate.subject)}, which identifies a CA",
                "Give the successor another common_name, for instance with a year in it",
            )
        elif certificate.not_valid_before_utc > same.certificate.not_valid_before_utc:
            same.certificate = certificate
    return cas


def read_published(directory: str) -> _Published:
    files = {name: read_published_file(os.path.join(directory, name)) for name in DATA_FILES}
    try:
        certificates = x509.load_pem_x509_certificates(files["ca.pem"].encode())
        crls = [x509.load_pem_x509_crl(block.encode()) for block in split_whole_pem(files["crl.pem"], CRL)]
        names, identities = parse_identities(files["identities.json"])
        denied = [(names[one["issuer"]], one) for one in json.loads(files["denied.json"])["denied"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise MtlsError(
            f"A predecessor is not here, and its former publication in {directory} is missing or damaged", HINT_AWAY
        ) from None
    return _Published(certificates, crls, identities, denied)


def parse_identities(text: str) -> tuple[dict[int, str], list[tuple[str, dict[str, Any]]]]:
    """Return the names of the CAs in an identities.json by number, and each entry with the name of its CA."""
    data = json.loads(text)
    names = {one["id"]: one["subject"] for one in data["issuers"]}
    return names, [(names[one["issuer"]], one) for one in data["identities"]]


def _add_kept(cas: list[_Ca], kept: _Published | None, now: datetime) -> None:
    """Add the CAs that only absent authorities have."""
    for certificate in kept.certificates if kept else []:
        known = any(ca.certificate.subject == certificate.subject for ca in cas)
        if kept and not known and certificate.not_valid_after_utc > now:
            crl = next((one for one in kept.crls if one.issuer == certificate.subject), None)
            cas.append(_Ca(len(cas) + 1, certificate, crl, away=True))


def _kept_entries(cas: list[_Ca], entries: list[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    numbers = {rfc2253(ca.certificate.subject): ca.id for ca in cas if ca.away}
    return [{**entry, "issuer": numbers[name]} for name, entry in entries if name in numbers]


def find_ca(cas: list[_Ca], certificate: x509.Certificate) -> _Ca:
    return next(ca for ca in cas if ca.certificate.subject == certificate.subject)


def _crls(
    cas: list[_Ca], authorities: list[Authority], min_remaining: timedelta, now: datetime, *, check_mode: bool
) -> tuple[str, tuple[Lapsing, ...]]:
    """Set the newest CRL of every CA; return the CRLs in the order of the CAs, and those with a problem that are still valid."""
    unfit: dict[int, MtlsError] = {}
    for authority in authorities:
        own = find_ca(cas, authority.certificate)
        own.offer(crl.load(authority))
        reason = crl.why_due(authority, crl.current(authority), min_remaining, now)
        if reason:
            unfit[own.id] = MtlsError(
                f"The CRL {authority.layout.crl} cannot be published: {reason}", "Write a new one with module crl first"
            )
        for above, copy in zip(authority.chain[1:], issuer_crls.copies(authority.layout, authority.chain)):
            find_ca(cas, above).offer(copy.crl)
    own_ids = {find_ca(cas, authority.certificate).id for authority in authorities}
    for ca in cas:
        reason = issuer_crls.why_unfit(ca.crl, min_remaining, now)
        if reason and ca.id not in own_ids:
            unfit[ca.id] = MtlsError(
                f"The CRL of {rfc2253(ca.certificate.subject)} cannot be published: {reason}", issuer_crls.HINT
            )
    if check_mode:
        return "".join(DUE if ca.id in unfit or ca.crl is None else _pem(ca.crl) for ca in cas), ()
    texts, lapsing = [], []
    for ca in cas:
        # The authority's own CRL was written just before. With an expired CRL, a web host refuses every client.
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
    for record in client_records.load_all(authority.layout.clients).values():
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
    """Return the fields of ``_OF_CERTIFICATE``: digests in hex, the certificate in Base64, the subject as nginx prints it.

    A proxy and nginx identify a certificate by its digests; they call the SHA-1 digest the fingerprint. The fields are empty if
    the file is lost or holds another certificate, because a digest must belong to its serial; the certificate is rejected later.
    """
    try:
        certificate = authority.issued(serial)
    except MtlsError:
        return {}
    if serial_hex(certificate.serial_number) != serial:
        return {}
    der = certificate.public_bytes(Encoding.DER)
    subject = rfc2253(certificate.subject)
    shown = is_plain(certificate.subject) and 0 < len(subject) <= _LONGEST_SUBJECT
    return {
        "sha256": hashlib.sha256(der).hexdigest(),
        "sha1": hashlib.sha1(der, usedforsecurity=False).hexdigest(),
        **({"der": base64.b64encode(der).decode()} if len(der) <= _LONGEST_DER else {}),
        **({"subject": subject} if shown else {}),
    }


def published_certificates(directory: str) -> dict[tuple[str, str], dict[str, str]]:
    try:
        _names, identities = parse_identities(read_published_file(os.path.join(directory, "identities.json")))
        return {
            (name, one["serial"]): {key: one[key] for key in _OF_CERTIFICATE if key in one}
            for name, one in identities
            if "sha256" in one and "sha1" in one
        }
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}


def _denied(authorities: list[tuple[Authority, int]], cas: list[_Ca]) -> list[dict[str, Any]]:
    """Return all revocations: from the databases, and for issuers, whose database may be away, from their CRLs."""
    found = [
        _denial(issuer, row.serial, revocation.reason, revocation.at)
        for authority, issuer in authorities
        for row, revocation in ((row, row.revocation) for row in authority.rows)
        if revocation
    ]
    own = {issuer for _authority, issuer in authorities}
    for ca in cas:
        if ca.crl is not None and ca.id not in own and not ca.away:
            found += [
                _denial(ca.id, serial_hex(entry.serial_number), crl.reason_of(entry), entry.revocation_date_utc)
                for entry in ca.crl
            ]
    return found


def _denial(issuer: int, serial: str, reason: str | None, at: datetime) -> dict[str, Any]:
    return {"issuer": issuer, "serial": serial, "reason": reason or "unspecified", "revoked_at": iso(at)}


def read_published_file(path: str) -> str:
    try:
        return read_file(path, _LARGEST).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def as_json(data: dict[str, Any]) -> str:
    return json.dumps(data, indent=1, sort_keys=True) + "\n"
