# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the predecessors of an authority, whose certificates remain valid for a time.

A successor has its own key, name and directory. The names must differ, because nginx and CRLs identify a CA by its name.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .._common.errors import MtlsError
from .._x509.names import rfc2253
from .authority import load_certificate
from .layout import check_path, require_authority

if TYPE_CHECKING:
    from cryptography import x509

    from .layout import Layout


def check_predecessors(path: str, predecessors: list[str]) -> list[str]:
    """Return the directories of the predecessors of the authority at ``path`` if they are valid.

    :raises MtlsError: if one is not an authority, is listed more than once, or has the name of another.
    """
    layouts = [check_path(one) for one in (path, *predecessors)]
    places = [os.path.realpath(layout.root) for layout in layouts]
    repeated = next((layout.root for index, layout in enumerate(layouts) if places[index] in places[:index]), None)
    if repeated:
        raise MtlsError(
            f"predecessors: {repeated} is the authority itself, or is listed more than once", "Remove that entry"
        )
    for layout in layouts[1:]:
        require_authority(layout.root)
    if predecessors and os.path.exists(layouts[0].certificate):
        _refuse_same_name(layouts)
    return [layout.root for layout in layouts[1:]]


def _refuse_same_name(layouts: list[Layout]) -> None:
    seen: dict[str, Layout] = {}
    for layout in layouts:
        name = rfc2253(load_certificate(layout.certificate).subject)
        other = seen.setdefault(name, layout)
        if other is not layout:
            raise _same_name(name, layout.root)


def _same_name(name: str, predecessor: str) -> MtlsError:
    return MtlsError(
        f"The authority and its predecessor in {predecessor} have the same name, {name}, by which nginx and CRLs identify a CA",
        "Give the successor another common_name, for instance with a year in it",
    )


def refuse_name_of(predecessors: list[str], subject: x509.Name) -> None:
    """Refuse the name of a predecessor for a new authority.

    :raises MtlsError: if a predecessor has this name.
    """
    for path in predecessors:
        layout = require_authority(path)
        if load_certificate(layout.certificate).subject == subject:
            raise _same_name(rfc2253(subject), layout.root)
