# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send hand-made ClientHello messages that a modern TLS library cannot send, and read the reply.

The first record of the server decides: a ServerHello means that it accepts, an alert that it refuses. In TLS 1.2 the whole
first flight of the server is readable, the names of the accepted CAs included.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING

from .._common import asn1
from .messages import CLOSED, HTTP, NO_ANSWER, NOT_TLS, REJECTED, TIMED_OUT, Answer, Target

if TYPE_CHECKING:
    from collections.abc import Iterator

OLD_VERSIONS = {"1.0": 0x0301, "1.1": 0x0302}  # RFC 2246, RFC 4346

TLS12 = 0x0303  # RFC 5246

_ALERT, _HANDSHAKE, _SERVER_HELLO = 21, 22, 2
_CERTIFICATE_REQUEST, _SERVER_HELLO_DONE = 13, 14
# ECDHE and RSA key exchange with AES-CBC and SHA-1: every server that still supports these versions has one of them.
_CIPHERS = (0xC013, 0xC014, 0xC009, 0xC00A, 0x002F, 0x0035, 0x000A)
# Without encryption, without authentication, with RC4, DES, 3DES or export keys; names in the registry of RFC 8447.
_WEAK = (0x0001, 0x0002, 0x003B, 0xC006, 0xC010, 0xC015, 0x0004, 0x0005, 0xC007, 0xC011, 0x000A, 0xC008, 0xC012, 0x0003, 0x0008,
         0x0009, 0x0034, 0x003A, 0x006C, 0x006D, 0x00A6, 0x00A7, 0xC018, 0xC019)  # fmt: skip
_SOUND = (0xC02B, 0xC02C, 0xC02F, 0xC030, 0xCCA9, 0xCCA8)  # ECDHE with AES-GCM or ChaCha20
_SIGNATURES = (0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601)  # RFC 8446 section 4.2.3
_LONGEST = 1 << 18  # bytes; longer handshakes are not read to their end
_GROUPS = (0x001D, 0x0017, 0x0018)  # x25519, P-256, P-384
_ALERTS = {40: "handshake failure", 47: "illegal parameter", 70: "protocol version", 71: "insufficient security",
           80: "internal error", 86: "inappropriate fallback", 112: "unrecognized name"}  # fmt: skip


def offer_old_tls(target: Target, sni: str, version: str) -> Answer:
    """Offer only TLS ``version`` and return the answer: HTTP if the server accepts, REJECTED for an alert."""
    return _offer(target, client_hello(sni, OLD_VERSIONS[version]))


def offer_weak_ciphers(target: Target, sni: str) -> Answer:
    """Offer TLS 1.2 with only weak ciphers, and return the answer as :func:`offer_old_tls` does."""
    return _offer(target, client_hello(sni, TLS12, _WEAK))


def read_ca_names(target: Target, sni: str) -> list[bytes] | Answer:
    """Return the CA names of the server's CertificateRequest (RFC 5246 section 7.4.4), each as DER.

    The list is empty if the server requests no certificate. A failed handshake returns an answer with the reason.
    """
    try:
        with socket.create_connection((target.address, target.port), timeout=target.timeout) as sock:
            sock.sendall(client_hello(sni, TLS12, _SOUND))
            messages = dict(_messages(sock))
    except socket.timeout:
        return Answer(NO_ANSWER, TIMED_OUT)
    except OSError as error:
        return Answer(NO_ANSWER, (error.strerror or str(error)).lower())
    if _SERVER_HELLO_DONE not in messages:
        return Answer(NO_ANSWER, "no TLS 1.2 handshake")
    return _names(messages[_CERTIFICATE_REQUEST]) if _CERTIFICATE_REQUEST in messages else []


def _messages(sock: socket.socket) -> Iterator[tuple[int, bytes]]:
    """Yield type and content of each message in the first flight of the server, joined across records."""
    data, total = b"", 0
    while total < _LONGEST:
        head = _read(sock, 5)
        if len(head) < 5 or head[0] != _HANDSHAKE:
            return
        data += _read(sock, int.from_bytes(head[3:5], "big"))
        total += len(data)
        while len(data) >= 4 and len(data) >= 4 + int.from_bytes(data[1:4], "big"):
            end = 4 + int.from_bytes(data[1:4], "big")
            yield data[0], data[4:end]
            if data[0] == _SERVER_HELLO_DONE:
                return
            data = data[end:]


def _names(request: bytes) -> list[bytes]:
    at = 1 + request[0]  # certificate_types
    at += 2 + int.from_bytes(request[at : at + 2], "big")  # supported_signature_algorithms
    at += 2
    names = []
    while at + 2 <= len(request):
        end = at + 2 + int.from_bytes(request[at : at + 2], "big")
        names.append(request[at + 2 : end])
        at = end
    return names


def subject_of(certificate: bytes) -> bytes:
    """Return the subject of a certificate (RFC 5280 section 4.1), both as DER.

    :raises ValueError: if the bytes are not a certificate.
    """
    try:
        fields = _elements(_elements(_elements(certificate)[0][1])[0][1])
        without_version = fields[1:] if fields[0][0][0] == 0xA0 else fields
        return without_version[4][0]  # after serialNumber, signature, issuer and validity
    except IndexError:
        raise ValueError("not a certificate") from None


def _elements(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return the elements of a DER value, each as its encoding and its content (X.690 section 8.1)."""
    return [(data[start:end], data[contents:end]) for start, contents, end in asn1.values(data, 0, len(data))]


def _offer(target: Target, hello: bytes) -> Answer:
    try:
        with socket.create_connection((target.address, target.port), timeout=target.timeout) as sock:
            sock.sendall(hello)
            record = _read(sock, 11)
    except socket.timeout:
        return Answer(NO_ANSWER, TIMED_OUT)
    except OSError as error:
        return Answer(NO_ANSWER, (error.strerror or str(error)).lower())
    return read_record(record)


def read_record(record: bytes) -> Answer:
    """Return the answer for the server's first bytes (RFC 5246 section 6.2.1): record header, then alert or ServerHello."""
    if not record:
        return Answer(NO_ANSWER, CLOSED)
    if len(record) >= 7 and record[0] == _ALERT:
        return Answer(REJECTED, _ALERTS.get(record[6], f"alert {record[6]}"))
    if len(record) >= 11 and record[0] == _HANDSHAKE and record[5] == _SERVER_HELLO:
        chosen = struct.unpack(">H", record[9:11])[0]
        names = {TLS12: "1.2", **{number: name for name, number in OLD_VERSIONS.items()}}
        return Answer(HTTP, handshake=True, tls=names.get(chosen, hex(chosen)))
    return Answer(NO_ANSWER, NOT_TLS)


def client_hello(sni: str, version: int, offered: tuple[int, ...] = _CIPHERS) -> bytes:
    """Return a ClientHello record that offers at most ``version`` (RFC 5246 section 7.4.1.2).

    :param offered: numbers of cipher suites.
    """
    name = sni.encode("ascii")
    extensions = b"".join(
        (
            _extension(0, _vector(2, b"\x00" + _vector(2, name))),  # server_name, RFC 6066
            _extension(10, _vector(2, struct.pack(f">{len(_GROUPS)}H", *_GROUPS))),  # supported_groups, RFC 8422
            _extension(11, _vector(1, b"\x00")),  # ec_point_formats, RFC 8422
            _extension(0xFF01, b"\x00"),  # renegotiation_info, RFC 5746
            # signature_algorithms, RFC 5246 section 7.4.1.4.1: not for older versions
            _extension(13, _vector(2, struct.pack(f">{len(_SIGNATURES)}H", *_SIGNATURES))) if version >= TLS12 else b"",
        )
    )
    ciphers = struct.pack(f">{len(offered)}H", *offered)
    no_session, no_compression = b"\x00", b"\x01\x00"
    hello = struct.pack(">H", version) + os.urandom(32) + no_session
    hello += _vector(2, ciphers) + no_compression + _vector(2, extensions)
    message = b"\x01" + struct.pack(">I", len(hello))[1:] + hello
    return b"\x16\x03\x01" + _vector(2, message)


def _vector(width: int, data: bytes) -> bytes:
    return len(data).to_bytes(width, "big") + data


def _extension(number: int, data: bytes) -> bytes:
    return struct.pack(">H", number) + _vector(2, data)


def _read(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            break
        data += piece
    return data
