# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The maps of trust for edges that hand a visitor's certificate over whole: from its text to the digest of the same one here.

nginx cannot compute a digest of a header. So the end of the text, which is of the signature, finds an entry, and then the text
is compared with the one that trust has, from the first character to the last. Every spelling has a file of its own, since these
are the largest maps of all; a gate reads only what its sites need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._contracts.publication_format import CERTIFICATE_ENCODINGS, edge_file_of
from .._nginx.quoting import LONGEST_TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .publication_reader import Identity, Publication

# Of a string key of a map 46 bytes fit into the default bucket; there it has no upper and lower case.
_TAIL = 42


def render_certificate_maps(publication: Publication) -> dict[str, str]:
    """Return the files of trust for edges that hand certificates over.

    Each makes of ``$quietdoor_edge_SPELLING``, which role gate defines, ``$quietdoor_edge_SPELLING_sha256``: the digest of the
    certificate if it is, character by character, one that is known here, and else nothing.

    :returns: the name of a file -> its text.
    """
    people = [one for one in publication.identities if one.der]
    return {
        edge_file_of(spelling): _render(spelling, text_of, people)
        for spelling, text_of in CERTIFICATE_ENCODINGS.items()
    }


def _render(spelling: str, text_of: Callable[[str], str], people: Iterable[Identity]) -> str:
    name = f"$quietdoor_edge_{spelling}"
    return "".join(
        (
            "# Written by module quietdoor.mtls.trust_install from a publication; it is replaced as a whole.\n",
            "# Included by a gate that has a site behind an edge which hands certificates over in this spelling.\n",
            _map(name, f"{name}_tail", [rf'"~^.*(?<quietdoor_edge_tail>.{{{_TAIL}}})\\z" $quietdoor_edge_tail']),
            _map(f"{name}_tail", f"{name}_entry", _entries([(text_of(one.der), one.sha256) for one in people])),
            _map(f'"{name}:{name}_entry"', f"{name}_sha256", [_SAME]),
        )
    )


# Regular expressions tell upper and lower case apart, as Base64 does.
_SAME = (
    r'"~^(?<quietdoor_edge_own>[^:]++):\\k<quietdoor_edge_own>:(?<quietdoor_edge_of_own>[0-9a-f]{64})\\z" '
    "$quietdoor_edge_of_own"
)


def _entries(certificates: Iterable[tuple[str, str]]) -> list[str]:
    """Return what the ends of the texts lead to. An end that two of them share leads nowhere, for nginx takes no key twice."""
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


def _map(source: str, variable: str, entries: Iterable[str]) -> str:
    body = "".join(f"    {entry};\n" for entry in entries)
    return f'\nmap {source} {variable} {{\n    default "";\n{body}}}\n'
