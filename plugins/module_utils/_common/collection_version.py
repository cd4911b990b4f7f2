# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the version of this collection on the control node."""

from __future__ import annotations

import json
import os
import re

from .errors import MtlsError
from .files import opened

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
_VERSION = re.compile(r"^version: (\S+)$", re.MULTILINE)


def collection_version(root: str = _ROOT) -> str:
    """Return the version from MANIFEST.json of an installed collection, or from galaxy.yml of a checkout.

    :raises MtlsError: if neither file contains a version.
    """
    try:
        with opened(os.path.join(root, "MANIFEST.json"), encoding="utf-8") as file:
            return str(json.load(file)["collection_info"]["version"])
    except FileNotFoundError:
        pass
    except (ValueError, KeyError, TypeError):
        raise _unknown_version(root) from None
    try:
        with opened(os.path.join(root, "galaxy.yml"), encoding="utf-8") as file:
            match = _VERSION.search(file.read())
    except FileNotFoundError:
        match = None
    if match is None:
        raise _unknown_version(root)
    return match[1]


def _unknown_version(root: str) -> MtlsError:
    return MtlsError(
        f"{root}: the version of the collection cannot be found", "Install the collection with ansible-galaxy"
    )
