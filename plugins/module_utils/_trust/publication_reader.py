# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and validate a publication: the five files that the CA host publishes for web hosts."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._common.certificate_fields import read_certificate, same_name, subjects_in
from .._common.errors import MtlsError
from .._contracts.publication_format import DATA_FILES, MANIFEST

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FILES = (*DATA_FILES, MANIFEST)

# $ssl_client_serial: i2a_ASN1_INTEGER(), upper-case hex in whole bytes without leading zero bytes; RFC 5280 allows 20 bytes.
SERIAL = re.compile(r"00|(?!00)(?:[0-9A-F]{2}){1,20}")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_SHA1 = re.compile(r"[0-9a-fA-F]{40}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
_ROLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,63}")
_EMAIL = re.compile(r"(?=.{3,254}\Z)[A-Za-z0-9.!#%&'*+/=?^_~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_DN = re.compile(r"[\x20-\x7e]{1,2000}")
# RFC 4648 section 4, for at most 3000 bytes, the limit of a map in nginx.
_DER = re.compile(r"(?=.{4,4000}\Z)(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_HIGHEST_ISSUER = 999
_HINT = "Publish again with role authority, and copy the files unchanged"


@dataclass(frozen=True)
class Issuer:
    """A CA of clients. ``subject`` is its name as nginx prints it, ``sha256`` the digest of its certificate, lower-case hex."""

    id: int
    subject: str
    sha256: str


@dataclass(frozen=True)
class Identity:
    """The client of a certificate. ``key`` is issuer id, colon, serial.

    The fields after the roles describe the certificate and are empty if not published. The digests are lower-case hex, ``der`` is
    the certificate in Base64, ``subject`` its name as nginx prints it. With ``der``, the digests, issuer and serial were verified
    to be those of the certificate; without it they are not verified.
    """

    key: str
    name: str
    email: tuple[str, ...]
    roles: tuple[str, ...]
    sha256: str = ""
    sha1: str = ""
    der: str = ""
    subject: str = ""

    @property
    def issuer(self) -> str:
        """The id of the issuer, as text."""
        return self.key.partition(":")[0]

    @property
    def serial(self) -> str:
        """The serial."""
        return self.key.partition(":")[2]


@dataclass(frozen=True)
class Publication:
    """A complete and consistent publication. Of its PEM files only the names of the CAs were checked."""

    generation: int
    texts: dict[str, str]
    issuers: tuple[Issuer, ...]
    identities: tuple[Identity, ...]
    denied: tuple[str, ...]


def read_publication(texts: Mapping[str, object]) -> Publication:
    """Return the publication in the files.

    :param texts: file name -> text.
    :raises MtlsError: if a file is missing, does not match its digest, or contains an invalid value.
    """
    files = _check_texts(texts)
    generation = _check_manifest(files)
    identities = _parse_json(files, "identities.json")
    issuers = _parse_issuers(_get_list(identities, "issuers", "identities.json"))
    ids = frozenset(issuer.id for issuer in issuers)
    people = [_parse_identity(item, ids) for item in _get_list(identities, "identities", "identities.json")]
    _check_unique([person.key for person in people], "identities.json: more than one identity has issuer and serial")
    for digests in ([one.sha256 for one in people], [one.sha1 for one in people]):
        _check_unique(
            [digest for digest in digests if digest], "identities.json: more than one identity has the digest"
        )
    _check_certificates(people, issuers, files["ca.pem"])
    denied = [
        _parse_key(item, ids, "denied.json")
        for item in _get_list(_parse_json(files, "denied.json"), "denied", "denied.json")
    ]
    return Publication(generation, files, issuers, tuple(people), tuple(dict.fromkeys(denied)))


def read_generation(text: str) -> int:
    """Return the generation in the text of a trust.json.

    :raises MtlsError: if it contains none.
    """
    return _parse_generation(_parse_json({MANIFEST: text}, MANIFEST))


def _check_texts(texts: Mapping[str, object]) -> dict[str, str]:
    if set(texts) != set(FILES):
        missing, unknown = sorted(set(FILES) - set(texts)), sorted(set(texts) - set(FILES))
        parts = [f"{', '.join(missing)} missing"] if missing else []
        parts += [f"{', '.join(map(repr, unknown))} unknown"] if unknown else []
        raise MtlsError(f"publication: {'; '.join(parts)}", f"Provide exactly {', '.join(FILES)}")
    checked = {}
    for name in FILES:
        text = texts[name]
        if not isinstance(text, str):
            raise MtlsError(f"publication: {name} is not text", "Provide the text of the file as a string")
        checked[name] = text
    return checked


def read_digests(text: str) -> dict[str, str]:
    """Return the SHA-256 (hex) of the other files from the text of a trust.json.

    :raises MtlsError: if it does not list exactly these files.
    """
    digests = _parse_json({MANIFEST: text}, MANIFEST).get("files")
    if not isinstance(digests, dict) or set(digests) != set(DATA_FILES):
        raise MtlsError(f"publication: {MANIFEST} does not list the files {', '.join(DATA_FILES)}", _HINT)
    return digests


def _check_manifest(files: Mapping[str, str]) -> int:
    digests = read_digests(files[MANIFEST])
    for name in DATA_FILES:
        if hashlib.sha256(files[name].encode("utf-8", "surrogatepass")).hexdigest() != digests[name]:
            raise MtlsError(
                f"publication: {name} does not have the digest in {MANIFEST}",
                "Read the publication again after the CA host has finished writing, and copy all bytes, a final newline included",
            )
    return read_generation(files[MANIFEST])


def _parse_generation(manifest: Mapping[str, Any]) -> int:
    generation = manifest.get("generation")
    if not isinstance(generation, int) or isinstance(generation, bool) or not 0 < generation < 10**18:
        raise MtlsError(f"publication: {MANIFEST} has no generation", _HINT)
    return generation


def _parse_json(files: Mapping[str, str], name: str) -> dict[str, Any]:
    try:
        data = json.loads(files[name])
    except ValueError:
        raise MtlsError(f"publication: {name} is not JSON", _HINT) from None
    if not isinstance(data, dict) or data.get("format") != 1:
        raise MtlsError(f"publication: {name} does not have format 1, the one that this version supports", _HINT)
    return data


def _get_list(data: Mapping[str, Any], key: str, name: str) -> list[dict[str, Any]]:
    items = data.get(key)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise MtlsError(f"publication: {name} has no list {key}", _HINT)
    return items


def _parse_issuers(items: list[dict[str, Any]]) -> tuple[Issuer, ...]:
    issuers = tuple(_parse_issuer(item) for item in items)
    _check_unique([issuer.id for issuer in issuers], "identities.json: more than one issuer has the id")
    _check_unique([issuer.subject for issuer in issuers], "identities.json: more than one issuer has the subject")
    return issuers


def _parse_issuer(item: dict[str, Any]) -> Issuer:
    number, subject, digest = item.get("id"), item.get("subject"), item.get("sha256")
    if not isinstance(number, int) or isinstance(number, bool) or not 0 < number <= _HIGHEST_ISSUER:
        raise _invalid_value("identities.json", "an issuer's id", number)
    return Issuer(
        number,
        _match(_DN, subject, "identities.json", "an issuer's subject"),
        _match(_SHA256, digest, "identities.json", "an issuer's sha256").lower(),
    )


def _parse_identity(item: dict[str, Any], ids: frozenset[int]) -> Identity:
    where = "identities.json"
    der, sha256, sha1 = _parse_certificate(item)
    return Identity(
        key=_parse_key(item, ids, where),
        name=_match(_NAME, item.get("name"), where, "a name"),
        email=_match_all(_EMAIL, item.get("email"), where, "an e-mail address"),
        roles=_match_all(_ROLE, item.get("roles"), where, "a role"),
        sha256=sha256,
        sha1=sha1,
        der=der,
        subject=_match_optional(_DN, item, "subject"),
    )


def _parse_certificate(item: dict[str, Any]) -> tuple[str, str, str]:
    """Return the certificate in Base64, its SHA-256 and its SHA-1, each empty if not published."""
    text, sha256 = _match_optional(_DER, item, "der"), _match_optional(_SHA256, item, "sha256").lower()
    sha1 = _match_optional(_SHA1, item, "sha1").lower()
    if not text:
        return "", sha256, sha1
    der = base64.b64decode(text)
    own = hashlib.sha256(der).hexdigest()
    if base64.b64encode(der).decode() != text or sha256 not in ("", own):
        raise _invalid_value("identities.json", f"the certificate with the sha256 {sha256 or own}", text)
    # $ssl_client_fingerprint of nginx is the SHA-1.
    fingerprint = hashlib.sha1(der, usedforsecurity=False).hexdigest()
    if sha1 not in ("", fingerprint):
        raise _invalid_value("identities.json", f"the certificate with the sha1 {sha1}", text)
    return text, own, fingerprint


def _check_certificates(people: Sequence[Identity], issuers: Sequence[Issuer], chain: str) -> None:
    """Reject a certificate that is listed with issuer and serial of another one.

    identities.json is not signed. The signed CRLs identify certificates by issuer and serial, so a wrong pair could hide a
    revocation.
    """
    if not any(one.der for one in people):
        return
    subjects = subjects_in(chain)
    names = {str(issuer.id): subjects.get(issuer.sha256) for issuer in issuers}
    for one in people:
        if one.der:
            _check_certificate(one, names[one.issuer])


def _check_certificate(one: Identity, issuer: bytes | None) -> None:
    if issuer is None:
        raise MtlsError(f"publication: ca.pem does not contain issuer {one.issuer} of identities.json", _HINT)
    try:
        found = read_certificate(base64.b64decode(one.der))
    except ValueError:
        raise _invalid_value("identities.json", "a certificate", one.der) from None
    if found.serial != one.serial or not same_name(found.issuer, issuer):
        raise _invalid_value(
            "identities.json", f"the certificate with issuer and serial {one.key} of {one.name}", one.der
        )


def _match_optional(pattern: re.Pattern[str], item: dict[str, Any], key: str) -> str:
    value = item.get(key)
    return "" if value is None else _match(pattern, value, "identities.json", f"a certificate's {key}")


def _parse_key(item: dict[str, Any], ids: frozenset[int], where: str) -> str:
    issuer = item.get("issuer")
    if not isinstance(issuer, int) or isinstance(issuer, bool) or issuer not in ids:
        raise _invalid_value(where, "an issuer of identities.json", issuer)
    return f"{issuer}:{_match(SERIAL, item.get('serial'), where, 'a serial')}"


def _match_all(pattern: re.Pattern[str], values: object, where: str, what: str) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise _invalid_value(where, f"a list in which each entry is {what}", values)
    return tuple(_match(pattern, value, where, what) for value in values)


def _match(pattern: re.Pattern[str], value: object, where: str, what: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise _invalid_value(where, what, value)
    return value


def _invalid_value(where: str, what: str, value: object) -> MtlsError:
    shown = ascii(value)
    return MtlsError(f"publication: {where}: {shown if len(shown) <= 80 else shown[:77] + '...'} is not {what}", _HINT)


def _check_unique(values: list[Any], what: str) -> None:
    if len(set(values)) == len(values):
        return
    seen = set()
    for value in values:
        if value in seen:
            raise MtlsError(f"publication: {what} {value}", _HINT)
        seen.add(value)
