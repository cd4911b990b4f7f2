# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send one request over HTTP/2 (RFC 9113) on a new connection and read the answer on stream 1."""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING

from .._contracts.status_protocol import PROBE_USER_AGENT
from . import hpack
from .http_client import failed, left, open_tls
from .messages import CLOSED, HTTP, NO_ANSWER, Answer

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from .messages import Connection, Request, Target

ALPN = "h2"  # RFC 9113 section 3.1

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
_ACK = _END_STREAM = 0x1
_END_HEADERS, _PADDED, _PRIORITY = 0x4, 0x8, 0x20
# No table of header fields, no push, and room for a page on the stream; RFC 9113 section 6.5.2.
_OUR_SETTINGS = struct.pack(">HIHIHI", 0x1, 0, 0x2, 0, 0x4, 1 << 20)
_FORBIDDEN = ("connection", "upgrade", "transfer-encoding", "host")  # RFC 9113 section 8.2.2; Host is :authority
_LONGEST_FRAME = 1 << 14
_BODY_LIMIT = 256 * 1024  # bytes of an answer's body that are kept


def ask_http2(target: Target, connection: Connection, request: Request) -> Answer:
    """Open one connection, send one request without a body by HTTP/2, and return the answer.

    :param connection: must offer only :data:`ALPN`; a server that does not accept it results in NO_ANSWER.
    :raises MtlsError: only for unusable files of the client (certificate, key, server CA).
    """
    deadline = time.monotonic() + target.timeout
    opened = open_tls(target, connection, deadline)
    if isinstance(opened, Answer):
        return opened
    with opened:
        if opened.selected_alpn_protocol() != ALPN:
            return Answer(NO_ANSWER, "HTTP/2 is not offered", handshake=True)
        try:
            opened.sendall(_opening(request))
            return _Stream(opened, deadline).answer()
        except (ValueError, struct.error) as error:
            return Answer(NO_ANSWER, f"not an HTTP/2 answer: {error}", handshake=True)
        except OSError as error:
            return failed(error, handshake=True)


def _opening(request: Request) -> bytes:
    authority = [(":authority", request.host)] if request.host is not None else []
    fields = [(":method", request.method), (":scheme", "https"), (":path", request.target), *authority]
    fields += [("user-agent", PROBE_USER_AGENT)]
    fields += [(name, value) for name, value in request.headers if name.lower() not in _FORBIDDEN]
    headers = _frame(_HEADERS, _END_STREAM | _END_HEADERS, 1, hpack.encode(fields))
    more = _frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 20))
    return _PREFACE + _frame(_SETTINGS, 0, 0, _OUR_SETTINGS) + more + headers


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


class _Stream:
    """Stream 1 of a connection, up to its end."""

    def __init__(self, sock: ssl.SSLSocket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline
        self._tls = (sock.version() or "").replace("TLSv", "")

    def answer(self) -> Answer:
        """Read until the stream ends, is reset, or the server closes the connection."""
        block, body, fields = b"", b"", ()  # type: tuple[bytes, bytes, hpack.Fields]
        for kind, flags, payload in self._frames():
            if kind in (_RST_STREAM, _GOAWAY):
                break
            if kind in (_HEADERS, _CONTINUATION):
                block += _content(kind, flags, payload)
            if kind in (_HEADERS, _CONTINUATION) and flags & _END_HEADERS:
                fields, block = fields or hpack.decode(block), b""
            if kind == _DATA:
                body += _content(kind, flags, payload)
            if len(body) > _BODY_LIMIT or (kind in (_HEADERS, _DATA) and flags & _END_STREAM):
                break
        values = dict(fields)
        if not values.get(":status", "").isdigit():
            return Answer(NO_ANSWER, CLOSED, handshake=True, alpn=ALPN)
        headers = tuple((name, value) for name, value in fields if not name.startswith(":"))
        return Answer(HTTP, "", int(values[":status"]), headers, body, handshake=True, tls=self._tls, alpn=ALPN)

    def _frames(self) -> Iterator[tuple[int, int, bytes]]:
        while True:
            head = self._read(9)
            length, kind, flags, stream = int.from_bytes(head[:3], "big"), head[3], head[4], head[5:]
            if length > _LONGEST_FRAME:
                raise ValueError(f"a frame of {length} bytes")
            payload = self._read(length)
            if kind in (_SETTINGS, _PING) and not flags & _ACK:
                self._sock.sendall(_frame(kind, _ACK, 0, payload if kind == _PING else b""))
            elif kind == _GOAWAY or int.from_bytes(stream, "big") == 1:
                yield kind, flags, payload

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            self._sock.settimeout(left(self._deadline))
            piece = self._sock.recv(size - len(data))
            if not piece:
                raise ConnectionResetError(CLOSED)
            data += piece
        return data


def _content(kind: int, flags: int, payload: bytes) -> bytes:
    """Return a frame's content without padding and priority (RFC 9113 sections 6.1 and 6.2)."""
    if kind == _CONTINUATION:
        return payload
    padding = 0
    if flags & _PADDED:
        padding, payload = payload[0], payload[1:]
    if kind == _HEADERS and flags & _PRIORITY:
        payload = payload[5:]
    return payload[: len(payload) - padding]
