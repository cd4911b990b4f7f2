# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render the maps from the headers of a TLS-terminating proxy to an identity.

Only gates with a site behind such a proxy include them; role gate defines the variables ``$quietdoor_edge_...`` that they use.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from .._nginx.quoting import quote, regex_exact

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .publication_reader import Publication

# String keys of a map have at most 46 bytes and ignore case, so they select an entry, which is then compared as a whole.
_HEAD = 40
_SHA256_HEAD = rf'"~^(?<quietdoor_edge_head>[0-9A-Fa-f]{{{_HEAD}}})[0-9A-Fa-f]{{{64 - _HEAD}}}\\z" $quietdoor_edge_head'
_KEY = "[0-9]+:[0-9A-F]+"
_SAME_HEX = (
    r'"~*^(?<quietdoor_edge_hex>[0-9a-f]{64})=\\k<quietdoor_edge_hex>='
    rf'(?<quietdoor_edge_of_hex>{_KEY})\\z" $quietdoor_edge_of_hex'
)
_SAME_BASE64 = (
    r'"~^(?<quietdoor_edge_text>[A-Za-z0-9+/]{43})=\\k<quietdoor_edge_text>='
    rf'(?<quietdoor_edge_of_text>{_KEY})\\z" $quietdoor_edge_of_text'
)
# A map returns its default if nginx cannot evaluate an expression, so "never revoked" is a match and not the default.
_NOT_DENIED = '"~^[0-9]+:" 0'
_FOUND = rf'"~^(?<quietdoor_edge_found>{_KEY})\\z" $quietdoor_edge_found'


def render_edge_maps(publication: Publication, revoked: Iterable[str] = ()) -> str:
    """Return the text of ``edge.conf`` of the installed trust.

    ``$quietdoor_edge_presented`` is issuer id, colon, serial of the certificate, with issuer 0 if there is none;
    ``$quietdoor_edge_denied`` is whether it was ever revoked. The others are as in :func:`.identity_maps.render_maps`.

    :param revoked: keys of the deny map in addition to those of denied.json.
    """
    identities = publication.identities
    digests = [(one.key, one.sha256, _encode_digest(one.sha256)) for one in identities if one.sha256]
    issuers = [f"{regex_exact(issuer.subject)} {issuer.id}" for issuer in publication.issuers]
    names = [(f'"~^{issuer.id}:"', issuer.subject) for issuer in publication.issuers]
    return "".join(
        (
            "# Written by module quietdoor.mtls.trust_install from a publication; it is replaced as a whole.\n",
            "# Included by a gate that has a site behind an edge.\n",
            _render_map("$quietdoor_edge_issuer_dn", "issuer", "0", issuers),
            _render_map("$quietdoor_edge_sha256", "sha256_head", '""', [_SHA256_HEAD]),
            _render_map(
                "$quietdoor_edge_sha256_head",
                "sha256_entry",
                '""',
                [f"{digest[:_HEAD]} {digest}={key}" for key, digest, _text in digests],
            ),
            _render_map(
                '"$quietdoor_edge_sha256=$quietdoor_edge_sha256_entry"',
                "by_sha256",
                '""',
                [_SAME_HEX],
            ),
            _render_map(
                "$quietdoor_edge_sha256_base64",
                "base64_entry",
                '""',
                [f"{text} {text}={key}" for key, _digest, text in digests],
            ),
            _render_map(
                '"$quietdoor_edge_sha256_base64=$quietdoor_edge_base64_entry"',
                "by_base64",
                '""',
                [_SAME_BASE64],
            ),
            _render_map(
                "$quietdoor_edge_sha1", "by_sha1", '""', [f"{one.sha1} {one.key}" for one in identities if one.sha1]
            ),
            _render_map(
                '"$quietdoor_edge_by_sha256$quietdoor_edge_by_base64$quietdoor_edge_by_sha1"',
                "presented",
                '"$quietdoor_edge_issuer:$quietdoor_edge_serial"',
                [_FOUND],
            ),
            _render_attribute(
                "denied", "1", [*(f"{key} 1" for key in dict.fromkeys((*publication.denied, *revoked))), _NOT_DENIED]
            ),
            _render_attribute("name", '""', [f"{one.key} {quote(one.name)}" for one in identities]),
            _render_attribute(
                "email", '""', [f"{one.key} {quote(','.join(one.email))}" for one in identities if one.email]
            ),
            _render_attribute(
                "roles", '""', [f"{one.key} {quote(','.join(one.roles))}" for one in identities if one.roles]
            ),
            _render_attribute("client_serial", '""', [f"{one.key} {one.key.partition(':')[2]}" for one in identities]),
            _render_attribute("client_sha1", '""', [f"{one.key} {one.sha1}" for one in identities if one.sha1]),
            _render_attribute("dn", '""', _name_entries((one.key, one.subject) for one in identities)),
            _render_attribute("client_issuer_dn", '""', _name_entries(names)),
        )
    )


def _encode_digest(digest: str) -> str:
    return base64.b64encode(bytes.fromhex(digest)).decode().rstrip("=")


def _name_entries(names: Iterable[tuple[str, str]]) -> list[str]:
    """Return the entries of a map of names. Omit names with a $, which nginx cannot escape."""
    return [f"{key} {quote(name)}" for key, name in names if name and "$" not in name]


def _render_attribute(name: str, default: str, entries: Iterable[str]) -> str:
    return _render_map("$quietdoor_edge_presented", name, default, entries)


def _render_map(source: str, name: str, default: str, entries: Iterable[str]) -> str:
    body = "".join(f"    {entry};\n" for entry in entries)
    return f"\nmap {source} $quietdoor_edge_{name} {{\n    default {default};\n{body}}}\n"
