# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files on their way from a web host to the control node, small and not to be read by accident. It keeps no secret."""

from __future__ import annotations

import base64
import json
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def pack(files: Mapping[str, str]) -> str:
    """Return files, path -> text, as one word of ASCII. The order is kept."""
    return base64.b64encode(zlib.compress(json.dumps(list(files.items())).encode())).decode()


def unpack(parcel: str) -> dict[str, str]:
    """Return what :func:`pack` was given.

    :raises ValueError: if it is no such parcel.
    """
    try:
        return {str(path): str(text) for path, text in json.loads(zlib.decompress(base64.b64decode(parcel)))}
    except zlib.error as error:
        raise ValueError(str(error)) from None
