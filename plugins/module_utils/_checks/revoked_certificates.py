# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the files of revoked certificates in the listings of their authorities."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .revocation_proof import Certificate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_NO_CLIENT = "a certificate of no client"


def find_certificates(
    revoked: Iterable[Mapping[str, Any]], listings: Iterable[Mapping[str, Any]]
) -> tuple[Certificate, ...]:
    """Return the revoked certificates that have not expired, with their files.

    Two authorities may have issued the same serial, so a certificate is identified by both.

    :param revoked: each with ``serial`` and ``path``, the directory of its authority.
    :param listings: the results of module certs_info, some of which may have failed.
    """
    wanted = {(str(one["serial"]), os.path.normpath(one["path"])) for one in revoked}
    return tuple(
        Certificate(
            str(one.get("name") or _NO_CLIENT),
            str(one["serial"]),
            str(one["files"]["certificate"]),
            str(one["files"].get("key") or ""),
        )
        for listing in listings
        for one in listing.get("certificates") or ()
        if (str(one["serial"]), os.path.normpath(listing["path"])) in wanted and one["days_left"] >= 0
    )


def unlisted_authorities(
    revoked: Iterable[Mapping[str, Any]], listings: Iterable[Mapping[str, Any]]
) -> tuple[str, ...]:
    """Return the directories of authorities that issued a revoked certificate and could not be listed."""
    listed = {os.path.normpath(one["path"]) for one in listings if one.get("certificates") is not None}
    return tuple(dict.fromkeys(path for one in revoked if (path := os.path.normpath(one["path"])) not in listed))
