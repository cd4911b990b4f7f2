# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse `client_max_body_size`, the upload size, of a site; its default is here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .field_reader import FieldReader

# The default of nginx. A site in mode path needs a value, because the gate compares it where nginx does not.
DEFAULT_OF_PATH = "1m"

_SIZE = re.compile(r"[0-9]{1,9}[kKmMgG]?")


def parse_body_size(entry: FieldReader, mode: str) -> str:
    """Return the size in the syntax of nginx. It is empty for the value at http level, and never empty in mode ``path``.

    :raises MtlsError: if it is not a valid size.
    """
    hint = "Write a size as nginx does: bytes, or a number and k, m or g, as in 20m; 0 means no limit"
    texts = entry.texts("client_max_body_size", hint) if entry.given("client_max_body_size") else [""]
    if len(texts) != 1 or not (texts[0] == "" or _SIZE.fullmatch(texts[0])):
        raise entry.problem(
            "client_max_body_size", f"{entry.value('client_max_body_size')!r} is not a valid size", hint
        )
    return texts[0] or (DEFAULT_OF_PATH if mode == "path" else "")
