# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and write a file that is encrypted and authenticated with a passphrase, as a stream.

The file is a header, then chunks. The header holds: magic, version, cost of scrypt (RFC 7914: log2 N, r, p), salt; then the
public header, readable without the chunks: their length and two tags, keyed digests that the caller compares later; last an HMAC
of all that. scrypt derives three keys from the passphrase: for the chunks, for the HMAC of the header, and for the tags.

A chunk is AES-256-GCM over 256 KiB, the last one over the rest. The nonce is the number of the chunk and whether it is the last
one (the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár, 2015), so exchanged, repeated or missing chunks do not
open. A key encrypts one file only: the salt is random for each file.
"""

from __future__ import annotations

import hmac
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._common.errors import MtlsError
from .._common.files import PRIVATE_FILE, writing

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
except ImportError:  # the modules report it (_common.requirements) before anything here is called
    pass

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

MAGIC = b"quietdoor backup"
_VERSION = 1
_PREAMBLE = struct.Struct(">16sBBBB32s")
_PUBLIC = struct.Struct(">Q32s32s")
_TAG = 32
_SIZE = _PREAMBLE.size + _PUBLIC.size + _TAG
_CHUNK = 256 * 1024
_GCM_TAG = 16
_LEAST_PASSPHRASE = 12


@dataclass(frozen=True)
class Cost:
    """Cost parameters of scrypt, which needs 128 * 2**log_n * r bytes of memory."""

    log_n: int
    r: int
    p: int


# OWASP's figure: 128 MiB and about 0.4 s for every guess.
COST = Cost(17, 8, 1)
# The limits for a file that is read: 16 to 256 MiB. A hostile file must not be able to exhaust the memory.
_LOG_N, _R, _P = range(14, 19), range(8, 9), range(1, 5)


@dataclass(frozen=True)
class PublicHeader:
    """The part of a file that is readable with the passphrase before the chunks: two tags, see ``Keys.tag``."""

    owner: bytes
    state: bytes


@dataclass(frozen=True)
class Keys:
    """The keys of one file, 32 bytes each."""

    chunks: bytes
    header: bytes
    tags: bytes

    def tag(self, what: bytes) -> bytes:
        """Return a keyed digest of ``what``. Without the passphrase it reveals nothing about ``what``."""
        return hmac.digest(self.tags, what, "sha256")


class Sealed:
    """An encrypted file whose header has been read and is authentic."""

    def __init__(
        self, path: str, file: BinaryIO, keys: Keys, preamble: bytes, length: int, public: PublicHeader
    ) -> None:
        self.path = path
        self.keys = keys
        self.public = public
        self._file = file
        self._preamble = preamble
        self._left = length
        self._number = 0
        self._buffer = b""
        self.is_whole = os.fstat(file.fileno()).st_size == _SIZE + length

    def require_whole(self) -> None:
        """Check that the file has the length in its header.

        :raises MtlsError: if the file is shorter or longer.
        """
        if not self.is_whole:
            raise MtlsError(
                f"{self.path} has {os.fstat(self._file.fileno()).st_size} bytes instead of {_SIZE + self._left}",
                "Use another copy of it: this one is incomplete or was extended",
            )

    def read(self, size: int) -> bytes:
        """Return the next ``size`` bytes of the contents, fewer only at their end.

        :raises MtlsError: if a chunk is not authentic.
        """
        while len(self._buffer) < size and self._left:
            self._buffer += self._next_chunk()
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def _next_chunk(self) -> bytes:
        sealed = self._file.read(min(_CHUNK + _GCM_TAG, self._left))
        last = len(sealed) == self._left
        try:
            chunk = AESGCM(self.keys.chunks).decrypt(_nonce(self._number, last=last), sealed, self._preamble)
        except (InvalidTag, ValueError):
            at = _SIZE + self._number * (_CHUNK + _GCM_TAG)
            raise MtlsError(f"{self.path} is damaged at or after byte {at}", "Use another copy of it") from None
        self._number += 1
        self._left -= len(sealed)
        return chunk


class Writer:
    """A stream that encrypts, chunk by chunk."""

    def __init__(self, file: BinaryIO, key: bytes, preamble: bytes) -> None:
        self._file = file
        self._cipher = AESGCM(key)
        self._preamble = preamble
        self._buffer = bytearray()
        self._number = 0
        self.length = 0

    def write(self, data: bytes) -> int:
        """Encrypt ``data``, after what was written before."""
        self._buffer += data
        # A chunk is written only when more data follows, because the last chunk is marked.
        while len(self._buffer) > _CHUNK:
            self._seal(bytes(self._buffer[:_CHUNK]), last=False)
            del self._buffer[:_CHUNK]
        return len(data)

    def finish(self) -> None:
        """Encrypt the rest as the last chunk."""
        self._seal(bytes(self._buffer), last=True)

    def _seal(self, chunk: bytes, *, last: bool) -> None:
        sealed = self._cipher.encrypt(_nonce(self._number, last=last), chunk, self._preamble)
        self._file.write(sealed)
        self._number += 1
        self.length += len(sealed)


def check_new_passphrase(passphrase: str | None) -> bytes:
    """Return the passphrase for a new file as bytes.

    :raises MtlsError: if it is too short to withstand guessing.
    """
    if passphrase is None or len(passphrase) < _LEAST_PASSPHRASE:
        raise MtlsError(
            f"archive_passphrase is shorter than {_LEAST_PASSPHRASE} characters",
            "Set a long one, from a vault: a holder of the archive can guess without limit",
        )
    return encoded(passphrase)


def encoded(passphrase: str) -> bytes:
    """Return the passphrase as bytes for scrypt."""
    return passphrase.encode("utf-8", "surrogatepass")


def seal(path: str, passphrase: bytes, fill: Callable[[Writer], None], tag: Callable[[Keys], PublicHeader]) -> int:
    """Write an encrypted file to ``path`` (0600), atomically, and return its length in bytes.

    :param fill: writes the contents.
    :param tag: makes the tags of the public header.
    """
    preamble = _PREAMBLE.pack(MAGIC, _VERSION, COST.log_n, COST.r, COST.p, os.urandom(32))
    keys = _derive(passphrase, preamble)
    with writing(path, PRIVATE_FILE) as file:
        file.write(bytes(_SIZE))
        writer = Writer(file, keys.chunks, preamble)
        fill(writer)
        writer.finish()
        public = tag(keys)
        header = preamble + _PUBLIC.pack(writer.length, public.owner, public.state)
        file.seek(0)
        file.write(header + hmac.digest(keys.header, header, "sha256"))
    return _SIZE + writer.length


def unseal(path: str, file: BinaryIO, passphrase: bytes) -> Sealed:
    """Return the encrypted file after reading its header. ``file`` is at its start and stays open while it is read.

    :param path: names the file in errors.
    :raises MtlsError: if it is not such a file, its scrypt cost is out of the limits, or it does not open with the passphrase.
    """
    header = file.read(_SIZE)
    if len(header) < _SIZE or not header.startswith(MAGIC):
        raise MtlsError(f"{path} is not an archive of module ca_backup", "Correct the path")
    preamble, public = header[: _PREAMBLE.size], header[_PREAMBLE.size : -_TAG]
    _check_preamble(path, preamble)
    keys = _derive(passphrase, preamble)
    if not hmac.compare_digest(hmac.digest(keys.header, header[:-_TAG], "sha256"), header[-_TAG:]):
        raise MtlsError(
            f"{path} does not open with archive_passphrase, or its header is damaged",
            "Give the passphrase of this archive, or use another copy of it",
        )
    length, owner, state = _PUBLIC.unpack(public)
    return Sealed(path, file, keys, preamble, length, PublicHeader(owner, state))


def _check_preamble(path: str, preamble: bytes) -> None:
    _magic, version, log_n, r, p, _salt = _PREAMBLE.unpack(preamble)
    if version != _VERSION:
        raise MtlsError(
            f"{path} is an archive of format {version}, and this release reads format {_VERSION}",
            "Use the release of the collection that made it, or another copy of it",
        )
    if log_n not in _LOG_N or r not in _R or p not in _P:
        raise MtlsError(
            f"{path} asks scrypt for log2 N = {log_n}, r = {r}, p = {p}, which is outside the limits of this collection",
            "Use another copy of it: this one is damaged or was tampered with",
        )


def _derive(passphrase: bytes, preamble: bytes) -> Keys:
    _magic, _version, log_n, r, p, salt = _PREAMBLE.unpack(preamble)
    keys = Scrypt(salt=salt, length=96, n=1 << log_n, r=r, p=p).derive(passphrase)
    return Keys(keys[:32], keys[32:64], keys[64:])


def _nonce(number: int, *, last: bool) -> bytes:
    return (number << 8 | last).to_bytes(12, "big")
