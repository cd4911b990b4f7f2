# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Knock with TLS 1.0 or 1.1, which the TLS library of a modern system no longer speaks: a ClientHello made by hand.

The server's first record tells: a ServerHello of that version means that it would go on, an alert that it refuses.
"""

from __future__ import annotations

import os
import socket
import struct

from .wire import CLOSED, HTTP, NO_ANSWER, NOT_TLS, REJECTED, TIMED_OUT, Answer, Target

OLD_VERSIONS = {"1.0": 0x0301, "1.1": 0x0302}  # RFC 2246, RFC 4346

_ALERT, _HANDSHAKE, _SERVER_HELLO = 21, 22, 2
# ECDHE and RSA key exchange with AES-CBC and SHA-1: every server that still speaks these versions has one of them.
_CIPHERS = (0xC013, 0xC014, 0xC009, 0xC00A, 0x002F, 0x0035, 0x000A)
_GROUPS = (0x001D, 0x0017, 0x0018)  # x25519, P-256, P-384
_ALERTS = {40: "handshake failure", 47: "illegal parameter", 70: "protocol version", 71: "insufficient security",
           80: "internal error", 86: "inappropriate fallback", 112: "unrecognized name"}  # fmt: skip


def offer_old_tls(target: Target, sni: str, version: str) -> Answer:
    """Offer nothing but TLS ``version`` and return the answer: HTTP stands for "would go on", REJECTED for an alert."""
    try:
        with socket.create_connection((target.address, target.port), timeout=target.timeout) as sock:
            sock.sendall(client_hello(sni, OLD_VERSIONS[version]))
            record = _read(sock, 11)
    except socket.timeout:
        return Answer(NO_ANSWER, TIMED_OUT)
    except OSError as error:
        return Answer(NO_ANSWER, (error.strerror or str(error)).lower())
    return read_record(record)


def read_record(record: bytes) -> Answer:
    """Judge the first bytes of the server (RFC 5246 section 6.2.1): record header, then the alert or ServerHello."""
    if not record:
        return Answer(NO_ANSWER, CLOSED)
    if len(record) >= 7 and record[0] == _ALERT:
        return Answer(REJECTED, _ALERTS.get(record[6], f"alert {record[6]}"))
    if len(record) >= 11 and record[0] == _HANDSHAKE and record[5] == _SERVER_HELLO:
        chosen = struct.unpack(">H", record[9:11])[0]
        names = {number: name for name, number in OLD_VERSIONS.items()}
        return Answer(HTTP, handshake=True, tls=names.get(chosen, hex(chosen)))
    return Answer(NO_ANSWER, NOT_TLS)


def client_hello(sni: str, version: int) -> bytes:
    """Return a ClientHello record that offers ``version`` at most (RFC 5246 section 7.4.1.2)."""
    name = sni.encode("ascii")
    extensions = b"".join(
        (
            _extension(0, _vector(2, b"\x00" + _vector(2, name))),  # server_name, RFC 6066
            _extension(10, _vector(2, struct.pack(f">{len(_GROUPS)}H", *_GROUPS))),  # supported_groups, RFC 8422
            _extension(11, _vector(1, b"\x00")),  # ec_point_formats, RFC 8422
            _extension(0xFF01, b"\x00"),  # renegotiation_info, RFC 5746
        )
    )
    ciphers = struct.pack(f">{len(_CIPHERS)}H", *_CIPHERS)
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
