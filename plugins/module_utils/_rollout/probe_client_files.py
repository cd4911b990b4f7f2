# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read which files of the probe client exist, and the serial of its certificate."""

from __future__ import annotations

import os
from typing import Any

from .._common.certificate_fields import read_certificate
from .._common.errors import MtlsError
from .._common.files import opened
from .._common.pem import CERTIFICATE, decode_pem, split_pem


def read_probe_client_files(certificate: str, key: str) -> dict[str, Any]:
    """Return ``certificate_found``, ``key_found`` and ``serial`` in the format of nginx. The key is not read.

    :param certificate: the path of the certificate with its chain; empty if it is not known.
    :raises MtlsError: if the file does not begin with a certificate.
    """
    found = os.path.exists(certificate)
    return {
        "certificate_found": found,
        "key_found": os.path.exists(key),
        "serial": _serial(certificate) if found else "",
    }


def _serial(path: str) -> str:
    with opened(path, encoding="utf-8", errors="replace") as file:
        blocks = split_pem(file.read(), CERTIFICATE)
    try:
        if blocks:
            return read_certificate(decode_pem(blocks[0])).serial
    except (ValueError, IndexError):
        pass
    raise MtlsError(f"{path} does not begin with a certificate in PEM", "Give the certificate with its chain")
