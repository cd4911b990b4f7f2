# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the files of a publication from its directory."""

from __future__ import annotations

import os

from .._common.errors import MtlsError
from .._common.files import read_file
from .._contracts.publication_format import DATA_FILES, MANIFEST

# Bytes of one file. A CRL of a million entries has 50 MB.
LIMIT = 1 << 28


def read_files(directory: str) -> dict[str, str]:
    """Return the texts of the files by name; empty if the directory has no trust.json.

    :raises MtlsError: if another file is missing, or a file is not UTF-8 text.
    :raises OSError: if a file cannot be read.
    """
    manifest = os.path.join(directory, MANIFEST)
    if not os.path.lexists(manifest):
        return {}
    return {name: _read_text(os.path.join(directory, name)) for name in (MANIFEST, *DATA_FILES)}


def _read_text(path: str) -> str:
    try:
        return read_file(path, LIMIT).decode()
    except FileNotFoundError:
        hint = "Publish again with role authority"
        raise MtlsError(f"publication: {path} does not exist, although trust.json does", hint) from None
    except UnicodeDecodeError:
        raise MtlsError(f"publication: {path} is not UTF-8 text", "Publish again with role authority") from None
