# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The maps of trust: whose certificate it is that nginx was shown, and whether it was ever revoked.

Issuer and serial say exactly which certificate it is, and so does its fingerprint. nginx makes a variable anew for every request,
and to print a serial and two names takes it eight times as long as the fingerprint, which OpenSSL remembers. So a certificate
that is listed whole, so that fingerprint, issuer and serial were seen to be of one, and was not revoked is known by its
fingerprint, and all that is said of it stands in this file. Of any other one issuer and serial are looked at.
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
# A map takes its default if nginx cannot evaluate an expression, so what is not refused is a match: one of these, the last key.
# nginx compares no expression with an empty value.
_ANY_NUMBER = '"~^[1-9]"'
_ANY_ISSUER = '"~^[0-9]+:"'
_ANY_TEXT = '"~^"'


def render_maps(publication: Publication, revoked: Iterable[str] = ()) -> str:
    """Return the variables that trust gives to a gate, as docs/architecture.md lists them.

    String keys of a map ignore case, so an issuer's name is matched by a regular expression.

    :param revoked: keys of the deny map beyond those of denied.json, as :func:`.revoked.denied_keys` makes them.
    """
    denied = tuple(dict.fromkeys((*publication.denied, *revoked)))
    known, others = _sorted_out(publication, denied)
    return "".join(
        (
            "# Written by module quietdoor.mtls.trust_install from a publication; it is replaced as a whole.\n",
            _map('""', "trust_generation", str(publication.generation), {}),
            _map("$ssl_client_fingerprint", "known", '""', {one.sha1: number for number, one in known.items()}),
            *_about_issuers(publication, known),
            *_about_certificates(known),
            *_judging(known, denied),
            *_about_people("name", known, others, lambda one: one.name),
            *_about_people("email", known, others, lambda one: ",".join(one.email)),
            *_about_people("roles", known, others, lambda one: ",".join(one.roles)),
        )
    )


def _sorted_out(publication: Publication, denied: Iterable[str]) -> tuple[dict[str, Identity], list[Identity]]:
    """Return those who are known by their fingerprint, by a number of their own from 1 on, and the others."""
    gone = frozenset(denied)
    known: dict[str, Identity] = {}
    others: list[Identity] = []
    for one in publication.identities:
        # A CA that was revoked is denied as a whole, by an expression on its number.
        if one.der and one.key not in gone and f'"~^{one.issuer}:"' not in gone:
            known[str(len(known) + 1)] = one
        else:
            others.append(one)
    return known, others


def _about_issuers(publication: Publication, known: Mapping[str, Identity]) -> tuple[str, ...]:
    """Return the maps that say which CA it was: its number, the same of a verified certificate, and its name."""
    names = {str(issuer.id): _word(issuer.subject, "$ssl_client_i_dn") for issuer in publication.issuers}
    by_dn = {regex_exact(issuer.subject): str(issuer.id) for issuer in publication.issuers}
    # Nearly all certificates come from one CA. It needs one entry, and the others one for each certificate.
    usual = next((issuer for issuer, _count in Counter(one.issuer for one in known.values()).most_common(1)), "0")
    unusual = {number: one.issuer for number, one in known.items() if one.issuer != usual}
    named = {number: names[issuer] for number, issuer in unusual.items()}
    return (
        _map("$ssl_client_i_dn", "issuer_by_dn", '""', {'""': "0", **by_dn, _ANY_TEXT: "0"}),
        _map(_KNOWN, "presented_issuer", "0", {'""': "$quietdoor_issuer_by_dn", **unusual, _ANY_NUMBER: usual}),
        _map("$ssl_client_verify", "issuer", "0", {"SUCCESS": "$quietdoor_presented_issuer"}),
        _map(_KNOWN, "issuer_dn", names.get(usual, "$ssl_client_i_dn"), {'""': "$ssl_client_i_dn", **named}),
    )


def _about_certificates(known: Mapping[str, Identity]) -> tuple[str, str]:
    """Return the maps that say what stands in the certificate, verified or not."""
    subjects = {number: _word(one.subject, "$ssl_client_s_dn") for number, one in known.items() if one.subject}
    return (
        _map(_KNOWN, "serial", "$ssl_client_serial", {number: one.serial for number, one in known.items()}),
        _map(_KNOWN, "subject_dn", "$ssl_client_s_dn", subjects),
    )


def _judging(known: Iterable[str], denied: Iterable[str]) -> tuple[str, ...]:
    """Return the maps that say whether it was ever revoked, and whether it is good: verified, of a CA of ours, not revoked.

    The holder is 0 where it is not verified, a number where it is known, and empty where issuer and serial have to tell.
    """
    return (
        _map('"$quietdoor_issuer_by_dn:$ssl_client_serial"', "denied_by_serial", "1", _denied(denied)),
        _map(_KNOWN, "denied", "1", {'""': "$quietdoor_denied_by_serial", _ANY_NUMBER: "0"}),
        _map("$ssl_client_verify", "holder", "0", {"SUCCESS": _KNOWN}),
        _map(_HOLDER, "good", "0", {'""': "$quietdoor_good_by_serial", **dict.fromkeys(known, "1")}),
        _map('"$quietdoor_issuer:$quietdoor_denied"', "good_by_serial", "0", {r'"~^[1-9][0-9]*:0\z"': "1"}),
    )


def _denied(denied: Iterable[str]) -> dict[str, str]:
    return {**dict.fromkeys(denied, "1"), _ANY_ISSUER: "0"}


def _about_people(
    what: str, known: Mapping[str, Identity], others: Iterable[Identity], say: Callable[[Identity], str]
) -> tuple[str, str]:
    """Return the maps that say something of whoever holds a verified certificate."""
    slow = {one.key: quote(say(one)) for one in others if say(one)}
    quick = {number: quote(say(one)) for number, one in known.items() if say(one)}
    return (
        _map('"$quietdoor_issuer:$ssl_client_serial"', f"{what}_by_serial", '""', slow),
        _map(_HOLDER, what, '""', {'""': f"$quietdoor_{what}_by_serial", **quick}),
    )


def _word(text: str, otherwise: str) -> str:
    """Return the text as one word of nginx, or else a variable that says the same: nginx has no way to write a $."""
    return otherwise if "$" in text else quote(text)


def _map(source: str, name: str, default: str, entries: Mapping[str, str]) -> str:
    body = "".join(f"    {key} {value};\n" for key, value in entries.items())
    return f"\nmap {source} $quietdoor_{name} {{\n    default {default};\n{body}}}\n"
