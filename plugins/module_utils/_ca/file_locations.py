# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find and store the paths of an adopted authority's files: those of openssl, CA.pl and easy-rsa.

``quietdoor.json`` beside the database stores them, so that the path of the directory is enough to open the authority.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass

from .._common.errors import MtlsError, shown
from .._common.files import opened, read_file

FILE = "quietdoor.json"
INDEX = "index.txt"
_FORMAT = 1

CERTIFICATES = (
    "certs/ca.cert.pem",
    "ca.crt",
    "ca.cert.pem",
    "ca.pem",
    "cacert.pem",
    "ca-cert.pem",
    "certs/ca.crt",
    "certs/ca.pem",
    "certs/cacert.pem",
)
KEYS = (
    "private/ca.key.pem",
    "private/ca.key",
    "private/cakey.pem",
    "private/ca-key.pem",
    "private/ca.pem",
    "ca.key",
    "ca.key.pem",
    "cakey.pem",
    "ca-key.pem",
)
_NEW_CERTIFICATES = ("newcerts", "certs_by_serial", "certs", "signed", ".")
# The path is written into a configuration of openssl, where other characters are special.
_RELATIVE = re.compile(r"(?!(?:.*/)?\.\.?(?:/|\Z))[A-Za-z0-9._@+-]+(?:/[A-Za-z0-9._@+-]+)*")


@dataclass(frozen=True)
class Places:
    """Paths relative to the authority's directory. The defaults are those of an authority made by this collection."""

    certificate: str = CERTIFICATES[0]
    key: str = KEYS[0]
    new_certificates: str = _NEW_CERTIFICATES[0]
    configuration: str = "openssl.cnf"


def check_relative(value: str, option: str) -> str:
    """Return ``value`` if it is a plain path relative to the authority's directory.

    :raises MtlsError: otherwise.
    """
    if not _RELATIVE.fullmatch(value):
        raise MtlsError(
            f"{option}: {shown(value)} is not a path relative to the authority's directory, of A-Z a-z 0-9 . _ @ + - and /",
            "Write it as in private/ca.key, and rename the file if its name has other characters",
        )
    return value


def candidates(root: str, known: tuple[str, ...]) -> list[str]:
    """Return the known names that exist below ``root``; files with the same contents count once."""
    contents: dict[bytes, str] = {}
    for name in known:
        path = os.path.join(root, name)
        if os.path.isfile(path):
            with opened(path, "rb") as file:
                contents.setdefault(file.read(1 << 20), name)
    return list(contents.values())


def new_certificates(root: str) -> str:
    """Return the directory of the issued certificates, named by serial; the default one if there is none."""
    with opened(os.path.join(root, INDEX), "rb") as file:
        fields = [line.split(b"\t") for line in file]
    names = {f"{line[3].decode('ascii', 'replace')}.pem" for line in fields if len(line) > 3}
    for directory in _NEW_CERTIFICATES:
        path = os.path.join(root, directory)
        if os.path.isdir(path) and not names.isdisjoint(os.listdir(path)):
            return directory
    return _NEW_CERTIFICATES[0]


def detect(root: str) -> Places:
    """Return the paths of the files of an authority in ``root`` that was not made by this collection, as far as detected."""
    if not os.path.isfile(os.path.join(root, INDEX)):
        return Places()
    try:
        certificates, keys = candidates(root, CERTIFICATES), candidates(root, KEYS)
        directory = new_certificates(root)
    except OSError:
        return Places()
    return Places(
        certificates[0] if certificates else CERTIFICATES[0], keys[0] if len(keys) == 1 else KEYS[0], directory
    )


def remembered(root: str) -> Places | None:
    """Return the stored paths of an adopted authority in ``root``, or None if it was not adopted.

    :raises MtlsError: if the file is damaged.
    """
    path = os.path.join(root, FILE)
    try:
        data = json.loads(read_file(path))
        if data.pop("format") != _FORMAT:
            raise ValueError(path)
        return Places(**{name: _safe(value) for name, value in data.items()})
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise MtlsError(f"{path} cannot be read ({error.strerror})", "Run as the user who owns the authority") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise MtlsError(
            f"{path} is damaged", "Restore it from the backup, or remove it and adopt the authority again"
        ) from None


def _safe(value: str) -> str:
    if value != "." and not _RELATIVE.fullmatch(value):
        raise ValueError(value)
    return value


def render(places: Places) -> str:
    """Return the text of ``quietdoor.json``."""
    return json.dumps({"format": _FORMAT, **asdict(places)}, indent=1, sort_keys=True) + "\n"
