# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A sealed file: any length, encrypted and authenticated with a passphrase, read and written in one pass with little memory.

It is a header and then chunks. The header: magic, version, cost of scrypt (RFC 7914: log2 N, r, p), salt; and what is told
without opening the chunks: their length, and two tags, keyed digests of what the caller wants to recognise later. An HMAC closes
it. scrypt makes three keys of the passphrase: for the chunks, the header's HMAC and the tags.

A chunk is AES-256-GCM of 256 KiB, the last one of what is left. Its nonce is its number and whether it is the last one (the
STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár, 2015), so chunks that are exchanged, repeated or cut off do not
open. A key seals one file only: the salt is new each time.
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
_TOLD = struct.Struct(">Q32s32s")
_TAG = 32
_SIZE = _PREAMBLE.size + _TOLD.size + _TAG
_CHUNK = 256 * 1024
_GCM_TAG = 16
_LEAST_PASSPHRASE = 12


@dataclass(frozen=True)
class Cost:
    """Cost parameters of scrypt; it takes 128 * 2**log_n * r bytes of memory."""

    log_n: int
    r: int
    p: int


# OWASP's figure: 128 MiB and some 0.4 s for every guess.
COST = Cost(17, 8, 1)
# What a file may ask for: 16 to 256 MiB. Who hands us a file must not be able to take all memory.
_LOG_N, _R, _P = range(14, 19), range(8, 9), range(1, 5)


@dataclass(frozen=True)
class PublicHeader:
    """What a sealed file tells whoever has the passphrase, before it is opened: two tags, as ``Keys.tag`` makes them."""

    owner: bytes
    state: bytes


@dataclass(frozen=True)
class Keys:
    """The keys of one file, 32 bytes each."""

    chunks: bytes
    header: bytes
    tags: bytes

    def tag(self, what: bytes) -> bytes:
        """Return a keyed digest of ``what``: it tells nothing of it to whoever lacks the passphrase."""
        return hmac.digest(self.tags, what, "sha256")


class Sealed:
    """A sealed file whose header has been read and found authentic."""

    def __init__(self, path: str, file: BinaryIO, keys: Keys, preamble: bytes, length: int, told: PublicHeader) -> None:
        self.path = path
        self.keys = keys
        self.told = told
        self._file = file
        self._preamble = preamble
        self._left = length
        self._number = 0
        self._buffer = b""
        self.is_whole = os.fstat(file.fileno()).st_size == _SIZE + length

    def require_whole(self) -> None:
        """Make sure that the file is as long as it was made.

        :raises MtlsError: if it was cut off, or something was added.
        """
        if not self.is_whole:
            raise MtlsError(
                f"{self.path} has {os.fstat(self._file.fileno()).st_size} bytes instead of {_SIZE + self._left}",
                "It was cut off or added to: use another copy of it",
            )

    def read(self, size: int) -> bytes:
        """Return the next ``size`` bytes of what was sealed, fewer only at its end.

        :raises MtlsError: if a chunk is not the one that was sealed.
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
    """What is written to it is sealed, chunk by chunk."""

    def __init__(self, file: BinaryIO, key: bytes, preamble: bytes) -> None:
        self._file = file
        self._cipher = AESGCM(key)
        self._preamble = preamble
        self._buffer = bytearray()
        self._number = 0
        self.length = 0

    def write(self, data: bytes) -> int:
        """Take some of what is to be sealed."""
        self._buffer += data
        # A chunk is written only when more is known to follow: the last one is marked.
        while len(self._buffer) > _CHUNK:
            self._seal(bytes(self._buffer[:_CHUNK]), last=False)
            del self._buffer[:_CHUNK]
        return len(data)

    def finish(self) -> None:
        """Seal what is left, as the last chunk."""
        self._seal(bytes(self._buffer), last=True)

    def _seal(self, chunk: bytes, *, last: bool) -> None:
        sealed = self._cipher.encrypt(_nonce(self._number, last=last), chunk, self._preamble)
        self._file.write(sealed)
        self._number += 1
        self.length += len(sealed)


def check_new_passphrase(passphrase: str | None) -> bytes:
    """Return the passphrase for a new file as bytes.

    :raises MtlsError: if it is too short to withstand somebody who holds the file and guesses.
    """
    if passphrase is None or len(passphrase) < _LEAST_PASSPHRASE:
        raise MtlsError(
            f"archive_passphrase is shorter than {_LEAST_PASSPHRASE} characters",
            "Give a long one, from a vault: whoever holds the archive can guess at it for ever",
        )
    return encoded(passphrase)


def encoded(passphrase: str) -> bytes:
    """Return the passphrase as the bytes that scrypt takes."""
    return passphrase.encode("utf-8", "surrogatepass")


def seal(path: str, passphrase: bytes, fill: Callable[[Writer], None], tell: Callable[[Keys], PublicHeader]) -> int:
    """Write a sealed file to ``path`` (0600), atomically, and return its length in bytes.

    :param fill: writes what is to be sealed.
    :param tell: makes the tags.
    """
    preamble = _PREAMBLE.pack(MAGIC, _VERSION, COST.log_n, COST.r, COST.p, os.urandom(32))
    keys = _derive(passphrase, preamble)
    with writing(path, PRIVATE_FILE) as file:
        file.write(bytes(_SIZE))
        writer = Writer(file, keys.chunks, preamble)
        fill(writer)
        writer.finish()
        told = tell(keys)
        header = preamble + _TOLD.pack(writer.length, told.owner, told.state)
        file.seek(0)
        file.write(header + hmac.digest(keys.header, header, "sha256"))
    return _SIZE + writer.length


def unseal(path: str, file: BinaryIO, passphrase: bytes) -> Sealed:
    """Return the sealed file, its header read. ``file`` stands at its start and stays open for as long as it is read.

    :param path: its name, for errors.
    :raises MtlsError: if it is no sealed file, asks for more than scrypt may take, or does not open with the passphrase.
    """
    header = file.read(_SIZE)
    if len(header) < _SIZE or not header.startswith(MAGIC):
        raise MtlsError(f"{path} is not an archive of module ca_backup", "Give the path of one")
    preamble, told = header[: _PREAMBLE.size], header[_PREAMBLE.size : -_TAG]
    _check_preamble(path, preamble)
    keys = _derive(passphrase, preamble)
    if not hmac.compare_digest(hmac.digest(keys.header, header[:-_TAG], "sha256"), header[-_TAG:]):
        raise MtlsError(
            f"{path} does not open with archive_passphrase, or its header is damaged",
            "Give the passphrase that it was made with, or use another copy of it",
        )
    length, owner, state = _TOLD.unpack(told)
    return Sealed(path, file, keys, preamble, length, PublicHeader(owner, state))


def _check_preamble(path: str, preamble: bytes) -> None:
    _magic, version, log_n, r, p, _salt = _PREAMBLE.unpack(preamble)
    if version != _VERSION:
        raise MtlsError(
            f"{path} is an archive of format {version}, and this release knows {_VERSION}",
            "Use the release of the collection that made it, or another copy of it",
        )
    if log_n not in _LOG_N or r not in _R or p not in _P:
        raise MtlsError(
            f"{path} asks scrypt for log2 N = {log_n}, r = {r}, p = {p}, which no archive of ours does",
            "It is damaged or was tampered with: use another copy of it",
        )


def _derive(passphrase: bytes, preamble: bytes) -> Keys:
    _magic, _version, log_n, r, p, salt = _PREAMBLE.unpack(preamble)
    keys = Scrypt(salt=salt, length=96, n=1 << log_n, r=r, p=p).derive(passphrase)
    return Keys(keys[:32], keys[32:64], keys[64:])


def _nonce(number: int, *, last: bool) -> bytes:
    return (number << 8 | last).to_bytes(12, "big")
