# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Authorities that came before: while the last certificates of a predecessor live, its successor looks after them too.

A successor has a key, a name and a directory of its own. The name has to differ, because nginx and CRLs know a CA by it.
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
    """Return the directories of the predecessors of the authority at ``path`` if they can be that.

    :raises MtlsError: if one is no authority, stands there twice, or has the name of another.
    """
    layouts = [check_path(one) for one in (path, *predecessors)]
    places = [os.path.realpath(layout.root) for layout in layouts]
    twice = next((layout.root for index, layout in enumerate(layouts) if places[index] in places[:index]), None)
    if twice:
        raise MtlsError(f"predecessors: {twice} is the authority itself, or stands there twice", "Leave it out")
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
        f"The authority and its predecessor in {predecessor} have one name, {name}, by which nginx and CRLs know a CA",
        "Give the successor another common_name, with a year in it for instance",
    )


def refuse_name_of(predecessors: list[str], subject: x509.Name) -> None:
    """Refuse a name for a new authority that a predecessor has.

    :raises MtlsError: if so.
    """
    for path in predecessors:
        layout = require_authority(path)
        if load_certificate(layout.certificate).subject == subject:
            raise _same_name(rfc2253(subject), layout.root)
