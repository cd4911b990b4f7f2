# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render the maps from a whole certificate in a proxy's header to its digest.

nginx cannot compute the digest of a header. So the end of the text, which is part of the signature, selects an entry, and then
the whole text is compared with that of the installed trust. Each encoding has its own file, because these are the largest maps;
a gate includes only the files that its sites need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._contracts.publication_format import CERTIFICATE_ENCODINGS, edge_file_of
from .._nginx.quoting import LONGEST_TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .publication_reader import Identity, Publication

# A string key of a map has at most 46 bytes in the default bucket, and it ignores case.
_TAIL = 42


def render_certificate_maps(publication: Publication) -> dict[str, str]:
    """Return the files with the maps for proxies that forward whole certificates.

    Each file maps ``$quietdoor_edge_ENCODING``, which role gate defines, to ``$quietdoor_edge_ENCODING_sha256``: the digest of
    the certificate if its text is equal to that of a published one, else empty.

    :returns: file name -> text.
    """
    identities = [one for one in publication.identities if one.der]
    return {
        edge_file_of(encoding): _render_file(encoding, text_of, identities)
        for encoding, text_of in CERTIFICATE_ENCODINGS.items()
    }


def _render_file(encoding: str, text_of: Callable[[str], str], identities: Iterable[Identity]) -> str:
    name = f"$quietdoor_edge_{encoding}"
    return "".join(
        (
            "# Written by module quietdoor.mtls.trust_install from a publication; it is replaced as a whole.\n",
            "# Included by a gate that has a site behind an edge which hands certificates over in this spelling.\n",
            _render_map(name, f"{name}_tail", [rf'"~^.*(?<quietdoor_edge_tail>.{{{_TAIL}}})\\z" $quietdoor_edge_tail']),
            _render_map(
                f"{name}_tail", f"{name}_entry", _render_entries([(text_of(one.der), one.sha256) for one in identities])
            ),
            _render_map(f'"{name}:{name}_entry"', f"{name}_sha256", [_SAME]),
        )
    )


# Regular expressions are case-sensitive, as Base64 is.
_SAME = (
    r'"~^(?<quietdoor_edge_own>[^:]++):\\k<quietdoor_edge_own>:(?<quietdoor_edge_of_own>[0-9a-f]{64})\\z" '
    "$quietdoor_edge_of_own"
)


def _render_entries(certificates: Iterable[tuple[str, str]]) -> list[str]:
    """Return the entries that map the end of a text to the text. Omit ends that are not unique: nginx rejects duplicates."""
    found: dict[str, str] = {}
    shared = set()
    for text, digest in certificates:
        tail = text[-_TAIL:].lower()
        if tail in found:
            shared.add(tail)
        found[tail] = f"{text[-_TAIL:]} {text}:{digest}"
    return [
        entry
        for tail, entry in found.items()
        if tail not in shared and len(tail) == _TAIL and len(entry) - _TAIL - 1 <= LONGEST_TOKEN
    ]


def _render_map(source: str, variable: str, entries: Iterable[str]) -> str:
    body = "".join(f"    {entry};\n" for entry in entries)
    return f'\nmap {source} {variable} {{\n    default "";\n{body}}}\n'
