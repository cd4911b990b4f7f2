# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse how a TLS-terminating proxy is authenticated and which of its headers are trusted."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .._contracts.publication_format import CERTIFICATE_ENCODINGS
from .._nginx.quoting import quote_verbatim, regex_exact
from .access_rules import header_name
from .edge_profiles import CUSTOM, HEADERS, PROFILES, WAYS, Profile, patterns
from .field_reader import first_duplicate
from .networks import parse_networks
from .upstreams import parse_path

if TYPE_CHECKING:
    from .field_reader import FieldReader

SOURCES = ("direct", "edge")
AUTHENTICATIONS = ("certificate", "network")
EDGE_KEYS = (
    "profile",
    "authentication",
    "certificate_authority",
    "crl",
    "certificates",
    "headers",
    "verified_value",
    "address_header",
)
_PEER_KEYS = ("certificate_authority", "crl", "certificates")
_FINGERPRINT = re.compile(r"[0-9A-Fa-f]{40}")
_DN = re.compile(r"(?=.{3,500}\Z)[A-Za-z][A-Za-z0-9.-]*=[\x20-\x7e]+")
_VERIFIED = re.compile(r"[A-Za-z0-9_.-]{1,32}")
# Headers that module realip reads, and that the gate itself sets.
_ADDRESS_HEADERS = ("x-forwarded-for", "x-real-ip")

# A variable that describes a direct client -> the variable that describes a client behind an edge.
_VARIABLES = {
    "$ssl_client_verify": "$quietdoor_edge_verify",
    "$quietdoor_subject_dn": "$quietdoor_edge_dn",
    "$quietdoor_serial": "$quietdoor_edge_client_serial",
    "$ssl_client_fingerprint": "$quietdoor_edge_client_sha1",
    "$quietdoor_issuer_dn": "$quietdoor_edge_client_issuer_dn",
    "$quietdoor_name": "$quietdoor_edge_name",
    "$quietdoor_email": "$quietdoor_edge_email",
    "$quietdoor_roles": "$quietdoor_edge_roles",
}


@dataclass(frozen=True)
class Edge:
    """A TLS-terminating proxy in front of a site.

    :param networks: the networks that it connects from.
    :param by_certificate: whether it also needs a client certificate of its own.
    :param certificate_authority: the file of the CA that issued this certificate.
    :param crl: the file of that CA's CRLs, empty for none.
    :param fingerprints: SHA-1 of its certificates, lower-case hex.
    :param subjects: subjects of its certificates as nginx prints them (RFC 2253).
    :param profile: the headers that it sets, and their values.
    """

    networks: tuple[str, ...]
    by_certificate: bool
    certificate_authority: str
    crl: str
    fingerprints: tuple[str, ...]
    subjects: tuple[str, ...]
    profile: Profile

    def as_dict(self) -> dict[str, Any]:
        """Return the data that a template needs."""
        headers = self.profile.headers
        said = {key: f"$http_{name.lower().replace('-', '_')}" for key, name in headers.items()}
        way = self.profile.way
        return {
            "networks": list(self.networks),
            "by_certificate": self.by_certificate,
            "certificate_authority": self.certificate_authority,
            "crl": self.crl,
            "fingerprints": list(self.fingerprints),
            "subject_keys": [regex_exact(subject) for subject in self.subjects],
            "said": said,
            "identifier": said[way],
            "whole": way if way in CERTIFICATE_ENCODINGS else "",
            "verified_key": quote_verbatim(rf"~^1:{self.profile.verified.replace('.', '[.]')}\z"),
            "patterns": {
                key: [{"key": one, "value": value} for one, value in pairs]
                for key, pairs in patterns(self.profile).items()
            },
            "address_header": self.profile.address,
            "recursive": self.profile.recursive,
        }

    def header_names(self) -> list[str]:
        """Return the headers that must not reach the application."""
        names = dict.fromkeys([*self.profile.headers.values(), self.profile.address])
        return [name for name in names if name.lower() not in _ADDRESS_HEADERS]


def variable(edge: Edge | None, direct: str) -> str:
    """Return the variable that replaces one that describes a direct client; without an edge that one itself."""
    return _VARIABLES[direct] if edge else direct


def parse_edge(entry: FieldReader) -> Edge | None:
    """Read ``source`` and its other keys. Return None if clients connect directly.

    :raises MtlsError: if a value is not valid; it names the key.
    """
    source = entry.choice("source", SOURCES, "direct")
    if source == "direct":
        for key in ("trusted_proxies", "edge"):
            if entry.value(key) is not None:
                raise entry.problem(key, "has no effect with source: direct", "Remove it, or write source: edge")
        return None
    if entry.text("manage", "", default="vhost") == "snippets":
        raise entry.problem(
            "source",
            "edge is not possible with manage: snippets, because the real_ip directives of your server decide too",
            "Write manage: vhost",
        )
    part = entry.part("edge", EDGE_KEYS, f"Write a mapping of profile and some of {', '.join(EDGE_KEYS[1:])}")
    if entry.value("edge") is None:
        raise entry.problem(
            "edge", "missing", f"Write at least profile, one of: {', '.join([*PROFILES, CUSTOM])}, and certificates"
        )
    by_certificate = _parse_authentication(part)
    fingerprints, subjects = _parse_certificates(part) if by_certificate else ((), ())
    return Edge(
        networks=parse_networks(
            entry,
            "trusted_proxies",
            "Write the addresses and networks that the edge connects from, as in [192.0.2.10, 198.51.100.0/24]",
        ),
        by_certificate=by_certificate,
        certificate_authority=parse_path(part, "certificate_authority") if by_certificate else "",
        crl=parse_path(part, "crl") if part.given("crl") else "",
        fingerprints=fingerprints,
        subjects=subjects,
        profile=_parse_profile(part),
    )


def _parse_authentication(part: FieldReader) -> bool:
    authentication = part.choice("authentication", AUTHENTICATIONS, "certificate")
    for key in _PEER_KEYS if authentication == "network" else ():
        if part.value(key) is not None:
            raise part.problem(
                key, "has no effect with authentication: network", "Remove it, or write authentication: certificate"
            )
    return authentication == "certificate"


def _parse_certificates(part: FieldReader) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the SHA-1 fingerprints and the subjects of the edge's own certificates."""
    hint = (
        "Write a list of SHA-1 fingerprints (40 hex digits, colons are ignored) or subjects as "
        "openssl x509 -noout -subject -nameopt RFC2253 prints them, or write authentication: network"
    )
    if not part.given("certificates"):
        raise part.problem(
            "certificates", "missing; a CA alone does not show which of its certificates is the edge's", hint
        )
    items = part.texts("certificates", hint)
    fingerprints, subjects = [], []
    for item in items:
        digits = item.replace(":", "")
        if _FINGERPRINT.fullmatch(digits):
            fingerprints.append(digits.lower())
        elif _DN.fullmatch(item):
            subjects.append(item)
        else:
            raise part.problem("certificates", f"{item!r} is not a valid SHA-1 fingerprint or subject", hint)
    if not items:
        raise part.problem("certificates", "an empty list", hint)
    duplicate = first_duplicate([*fingerprints, *subjects])
    if duplicate:
        raise part.problem("certificates", f"{duplicate} is listed more than once", "Remove the duplicate")
    return tuple(fingerprints), tuple(subjects)


def _parse_profile(part: FieldReader) -> Profile:
    name = part.choice("profile", [*PROFILES, CUSTOM])
    names = _parse_headers(part)
    profile = _custom_profile(part, names) if name == CUSTOM else _rename_headers(part, PROFILES[name], names)
    profile = replace(profile, address=_parse_address_header(part, profile))
    duplicate = first_duplicate([header.lower() for header in [*profile.headers.values(), profile.address]])
    if duplicate:
        raise part.problem("headers", f"{duplicate} is listed more than once", "Give every header a name of its own")
    return profile


def _parse_headers(part: FieldReader) -> dict[str, str]:
    headers = part.part("headers", HEADERS, f"Write a mapping of some of {', '.join(HEADERS)} to header names")
    return {key: header_name(headers, key, None) for key in HEADERS if headers.given(key)}


def _rename_headers(part: FieldReader, profile: Profile, names: dict[str, str]) -> Profile:
    for key in names:
        if key not in profile.headers:
            raise part.problem(
                "headers",
                f"{key} is not a header of this profile",
                f"Name some of {', '.join(profile.headers)}, or write profile: {CUSTOM}",
            )
    if part.value("verified_value") is not None:
        raise part.problem("verified_value", "is set by the profile", f"Remove it, or write profile: {CUSTOM}")
    return replace(profile, headers={**profile.headers, **names})


def _custom_profile(part: FieldReader, names: dict[str, str]) -> Profile:
    ways = [way for way, needed in WAYS.items() if set(needed) & set(names)]
    if not ways:
        raise part.problem(
            "headers",
            "no header identifies the certificate, so allow cannot admit a client and revocation cannot refuse one",
            f"Name the headers of one of: {', '.join(' + '.join(needed) for needed in WAYS.values())}",
        )
    missing = [header for header in WAYS[ways[0]] if header not in names]
    if missing:
        raise part.problem("headers", f"{missing[0]} is missing", f"Name {' and '.join(WAYS[ways[0]])}")
    if len(ways) > 1:
        raise part.problem("headers", f"{' and '.join(ways)} both identify the certificate", "Name one of them")
    hint = "Write the value of the verify header for a valid certificate, as in SUCCESS"
    verified = part.text("verified_value", hint, default="SUCCESS" if "verify" in names else "")
    if verified and "verify" not in names:
        raise part.problem("verified_value", "has no effect without headers: verify", "Name that header, or remove it")
    if verified and not _VERIFIED.fullmatch(verified):
        raise part.problem(
            "verified_value", f"{verified!r} is not a valid value", f"{hint}: letters, digits, - _ and ."
        )
    if "verify" not in names and ways[0] == "serial":
        raise part.problem(
            "headers",
            "verify is missing, and a serial number alone does not show that the certificate was verified",
            "Name the header that shows it, or let the edge send a SHA-256 digest of the certificate",
        )
    return Profile(way=ways[0], headers=names, verified=verified)


def _parse_address_header(part: FieldReader, profile: Profile) -> str:
    hint = "Write the name of the header in which the edge sends the client's address"
    name = part.text("address_header", hint, default=profile.address)
    if name.lower() in _ADDRESS_HEADERS or name == profile.address:
        return name
    return header_name(part, "address_header", None)
