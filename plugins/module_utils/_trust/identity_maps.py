# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render the maps from a certificate to its client, and to whether it was ever revoked.

Issuer and serial identify a certificate, and so does its fingerprint. nginx computes its variables anew for every request, and
printing a serial and two names takes eight times as long as the fingerprint, which OpenSSL caches. So a certificate that is
published whole, with verified fingerprint, issuer and serial, and is not revoked is *known* by its fingerprint, and this file
contains all its data. For all other certificates issuer and serial are used.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from .._nginx.quoting import quote, regex_exact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from .publication_reader import Identity, Publication

_KNOWN = "$quietdoor_known"
_HOLDER = "$quietdoor_holder"
# A map returns its default if nginx cannot evaluate an expression, so admission needs a match of one of these as the last key.
# nginx does not compare expressions with empty values.
_ANY_NUMBER = '"~^[1-9]"'
_ANY_ISSUER = '"~^[0-9]+:"'
_ANY_TEXT = '"~^"'


def render_maps(publication: Publication, revoked: Iterable[str] = ()) -> str:
    """Return the maps of the variables that a gate uses, as listed in docs/architecture/trust.md.

    String keys of a map ignore case, so an issuer's name is matched by a regular expression.

    :param revoked: keys of the deny map in addition to those of denied.json, see :func:`.deny_list.deny_keys`.
    """
    denied = tuple(dict.fromkeys((*publication.denied, *revoked)))
    known, others = _split_identities(publication, denied)
    return "".join(
        (
            "# Written by module quietdoor.mtls.trust_install from a publication; it is replaced as a whole.\n",
            _render_map('""', "trust_generation", str(publication.generation), {}),
            _render_map("$ssl_client_fingerprint", "known", '""', {one.sha1: number for number, one in known.items()}),
            *_render_issuer_maps(publication, known),
            *_render_certificate_maps(known),
            *_render_verdict_maps(known, denied),
            *_render_attribute_maps("name", known, others, lambda one: one.name),
            *_render_attribute_maps("email", known, others, lambda one: ",".join(one.email)),
            *_render_attribute_maps("roles", known, others, lambda one: ",".join(one.roles)),
        )
    )


def _split_identities(publication: Publication, denied: Iterable[str]) -> tuple[dict[str, Identity], list[Identity]]:
    """Return the identities known by fingerprint, by their number (from 1 on), and the other identities."""
    revoked_keys = frozenset(denied)
    known: dict[str, Identity] = {}
    others: list[Identity] = []
    for one in publication.identities:
        # A revoked CA is denied as a whole, by an expression on its number.
        if one.der and one.key not in revoked_keys and f'"~^{one.issuer}:"' not in revoked_keys:
            known[str(len(known) + 1)] = one
        else:
            others.append(one)
    return known, others


def _render_issuer_maps(publication: Publication, known: Mapping[str, Identity]) -> tuple[str, ...]:
    """Return the maps of the CA: its number, its number if the certificate is verified, and its name."""
    names = {str(issuer.id): _quote_or_variable(issuer.subject, "$ssl_client_i_dn") for issuer in publication.issuers}
    by_dn = {regex_exact(issuer.subject): str(issuer.id) for issuer in publication.issuers}
    # Nearly all certificates come from one CA, which needs one entry. Other CAs need one for each certificate.
    usual = next((issuer for issuer, _count in Counter(one.issuer for one in known.values()).most_common(1)), "0")
    unusual = {number: one.issuer for number, one in known.items() if one.issuer != usual}
    named = {number: names[issuer] for number, issuer in unusual.items()}
    return (
        _render_map("$ssl_client_i_dn", "issuer_by_dn", '""', {'""': "0", **by_dn, _ANY_TEXT: "0"}),
        _render_map(_KNOWN, "presented_issuer", "0", {'""': "$quietdoor_issuer_by_dn", **unusual, _ANY_NUMBER: usual}),
        _render_map("$ssl_client_verify", "issuer", "0", {"SUCCESS": "$quietdoor_presented_issuer"}),
        _render_map(_KNOWN, "issuer_dn", names.get(usual, "$ssl_client_i_dn"), {'""': "$ssl_client_i_dn", **named}),
    )


def _render_certificate_maps(known: Mapping[str, Identity]) -> tuple[str, str]:
    """Return the maps of the contents of the certificate, verified or not."""
    subjects = {
        number: _quote_or_variable(one.subject, "$ssl_client_s_dn") for number, one in known.items() if one.subject
    }
    return (
        _render_map(_KNOWN, "serial", "$ssl_client_serial", {number: one.serial for number, one in known.items()}),
        _render_map(_KNOWN, "subject_dn", "$ssl_client_s_dn", subjects),
    )


def _render_verdict_maps(known: Iterable[str], denied: Iterable[str]) -> tuple[str, ...]:
    """Return the maps of revocation, and of whether the certificate is good: verified, from a known CA, not revoked.

    The holder is 0 if it is not verified, a number if it is known, and empty if issuer and serial decide.
    """
    return (
        _render_map('"$quietdoor_issuer_by_dn:$ssl_client_serial"', "denied_by_serial", "1", _deny_entries(denied)),
        _render_map(_KNOWN, "denied", "1", {'""': "$quietdoor_denied_by_serial", _ANY_NUMBER: "0"}),
        _render_map("$ssl_client_verify", "holder", "0", {"SUCCESS": _KNOWN}),
        _render_map(_HOLDER, "good", "0", {'""': "$quietdoor_good_by_serial", **dict.fromkeys(known, "1")}),
        _render_map('"$quietdoor_issuer:$quietdoor_denied"', "good_by_serial", "0", {r'"~^[1-9][0-9]*:0\z"': "1"}),
    )


def _deny_entries(denied: Iterable[str]) -> dict[str, str]:
    return {**dict.fromkeys(denied, "1"), _ANY_ISSUER: "0"}


def _render_attribute_maps(
    attribute: str, known: Mapping[str, Identity], others: Iterable[Identity], value_of: Callable[[Identity], str]
) -> tuple[str, str]:
    """Return the maps of an attribute of the client that has a verified certificate."""
    slow = {one.key: quote(value_of(one)) for one in others if value_of(one)}
    quick = {number: quote(value_of(one)) for number, one in known.items() if value_of(one)}
    return (
        _render_map('"$quietdoor_issuer:$ssl_client_serial"', f"{attribute}_by_serial", '""', slow),
        _render_map(_HOLDER, attribute, '""', {'""': f"$quietdoor_{attribute}_by_serial", **quick}),
    )


def _quote_or_variable(text: str, fallback: str) -> str:
    """Return the text as one quoted token; if it contains a $, which nginx cannot escape, return the variable ``fallback``."""
    return fallback if "$" in text else quote(text)


def _render_map(source: str, name: str, default: str, entries: Mapping[str, str]) -> str:
    body = "".join(f"    {key} {value};\n" for key, value in entries.items())
    return f"\nmap {source} $quietdoor_{name} {{\n    default {default};\n{body}}}\n"
