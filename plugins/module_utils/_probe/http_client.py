# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send HTTP/1.1 requests with any SNI, Host, header and certificate, as an attacker can.

One call opens one new connection for one request. The behaviour of the server never raises an exception: each outcome is
returned as an :class:`Answer`.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import io
import socket
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from .messages import (
    CLOSED,
    HTTP,
    NO_ANSWER,
    NOT_TLS,
    REFUSED_CONNECTION,
    REJECTED,
    TIMED_OUT,
    UNTRUSTED,
    WRONG_NAME,
    Answer,
)
from .tls_context import make_context

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .messages import Connection, Request, Target

_BODY_LIMIT = 256 * 1024  # bytes of an answer's body that are kept
_MOST_ANSWERS = 10  # on one connection
_HOSTNAME_MISMATCH = 62  # X509_V_ERR_HOSTNAME_MISMATCH


@dataclass(frozen=True)
class HeldSession:
    """A TLS session kept for later. It can only be resumed in the context in which it was established."""

    connection: Connection
    context: ssl.SSLContext
    session: ssl.SSLSession | None


def ask(target: Target, connection: Connection, request: Request) -> Answer:
    """Open one connection, send one request, and return the answer.

    :raises MtlsError: only for unusable files of the client (certificate, key, server CA).
    """
    return _ask_plain(target, request) if connection.plain else _ask_tls(target, connection, request)[0]


def take_session(target: Target, connection: Connection, request: Request, tickets: bool = True) -> HeldSession:
    """Send one request and keep the TLS session for :func:`ask_resumed`, for example after a revocation.

    :param tickets: False has TLS 1.2 use session ids (RFC 5246 section 7.4.1.2) instead of tickets (RFC 5077).
    """
    context = make_context(target, connection)
    if not tickets:
        context.options |= ssl.OP_NO_TICKET
    session = _ask_tls(target, connection, request, HeldSession(connection, context, None))[1]
    return HeldSession(connection, context, session)


def ask_resumed(target: Target, held: HeldSession, request: Request) -> Answer:
    """Send the request again with the held session; ``resumed`` of the answer is set if the server accepted it."""
    return _ask_tls(target, held.connection, request, held)[0]


def ask_stream(target: Target, connection: Connection, data: bytes) -> list[Answer]:
    """Open one connection, send ``data`` unchanged, and return every answer until the server closes the connection.

    The last entry is not an HTTP answer; its reason is why no further answer followed.
    """
    deadline = time.monotonic() + target.timeout
    opened = open_tls(target, connection, deadline)
    if isinstance(opened, Answer):
        return [opened]
    with opened:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            opened.sendall(data)
        stream, handshake = _Stream(opened, deadline), agreed(opened)
        answers = [_receive(stream, "GET", handshake)]
        while answers[-1].outcome == HTTP and len(answers) < _MOST_ANSWERS:
            answers.append(_receive(stream, "GET", handshake))
        return answers


def open_tls(
    target: Target, connection: Connection, deadline: float, held: HeldSession | None = None
) -> ssl.SSLSocket | Answer:
    """Return a TLS connection, or an answer with the reason why it failed.

    :param deadline: on the monotonic clock, in seconds.
    :param held: a session to offer.
    """
    context = held.context if held else make_context(target, connection)
    try:
        raw = socket.create_connection((target.address, target.port), timeout=target.timeout)
    except OSError as error:
        return failed(error, handshake=False)
    try:
        raw.settimeout(left(deadline))
        return context.wrap_socket(raw, server_hostname=connection.sni, session=held.session if held else None)
    except OSError as error:
        raw.close()
        return failed(error, handshake=False)


def _ask_plain(target: Target, request: Request) -> Answer:
    deadline = time.monotonic() + target.timeout
    try:
        raw = socket.create_connection((target.address, target.port), timeout=target.timeout)
    except OSError as error:
        return failed(error, handshake=False)
    with raw:
        return _exchange(raw, request, deadline, Answer(HTTP))


def _ask_tls(
    target: Target, connection: Connection, request: Request, held: HeldSession | None = None
) -> tuple[Answer, ssl.SSLSession | None]:
    deadline = time.monotonic() + target.timeout
    opened = open_tls(target, connection, deadline, held)
    if isinstance(opened, Answer):
        return opened, None
    with opened:
        answer = _exchange(opened, request, deadline, agreed(opened))
        # With TLS 1.3 the session ticket arrives with the first data (RFC 8446 section 4.6.1).
        return answer, opened.session


def agreed(wrapped: ssl.SSLSocket) -> Answer:
    """Return the result of a handshake as the beginning of an answer."""
    return Answer(
        HTTP,
        handshake=True,
        tls=(wrapped.version() or "").replace("TLSv", ""),
        resumed=bool(wrapped.session_reused),
        alpn=wrapped.selected_alpn_protocol() or "",
    )


def _exchange(sock: socket.socket, request: Request, deadline: float, handshake: Answer) -> Answer:
    # A server may answer and close the connection before it has read everything: its answer still counts.
    with contextlib.suppress(OSError):
        sock.settimeout(left(deadline))
        sock.sendall(request.encode())
    return _receive(_Stream(sock, deadline), request.method, handshake)


def _receive(stream: _Stream, method: str, handshake: Answer) -> Answer:
    try:
        response = http.client.HTTPResponse(cast("Any", stream), method=method)
        response.begin()
        body = b"".join(_read(response))
    except http.client.HTTPException as error:
        text = CLOSED if isinstance(error, http.client.RemoteDisconnected) else "not an HTTP answer"
        return _with(handshake, outcome=NO_ANSWER, reason=text)
    except OSError as error:
        why = failed(error, handshake=handshake.handshake)
        return _with(handshake, outcome=why.outcome, reason=why.reason)
    return _with(handshake, status=response.status, headers=tuple(response.getheaders()), body=body)


def _with(answer: Answer, **changes: Any) -> Answer:
    return Answer(**{**answer.__dict__, **changes})


def _read(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yield the body; an incomplete body ends the iteration without an error."""
    room = _BODY_LIMIT
    with contextlib.suppress(http.client.HTTPException, OSError):
        while room > 0:
            piece = response.read(min(room, 16384))
            if not piece:
                return
            room -= len(piece)
            yield piece


class _Reader(io.BufferedReader):
    """A file that stays open when http.client has read an answer."""

    def close(self) -> None:
        """Do nothing: the owner of the socket closes it."""


class _Stream(io.RawIOBase):
    """A socket for http.client with one deadline for all reads, so that a slow answer cannot extend it."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        super().__init__()
        self._sock = sock
        self._deadline = deadline
        # All answers share one file, because its buffer may already hold the beginning of the next answer.
        self._reader = _Reader(self)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return self._reader

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(left(self._deadline))
        return self._sock.recv_into(buffer)


def left(deadline: float) -> float:
    """Return the seconds until ``deadline``.

    :raises TimeoutError: if the deadline has passed (``socket.timeout`` before Python 3.10).
    """
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise socket.timeout(TIMED_OUT)
    return seconds


def failed(error: OSError, handshake: bool) -> Answer:
    """Return an answer with the reason why no HTTP answer was received."""
    outcome, reason = _classify(error)
    return Answer(outcome, reason, handshake=handshake)


def _classify(error: OSError) -> tuple[str, str]:
    if isinstance(error, ssl.SSLCertVerificationError):
        wrong_name = error.verify_code == _HOSTNAME_MISMATCH
        return UNTRUSTED, WRONG_NAME if wrong_name else str(error.verify_message)
    if isinstance(error, socket.timeout):
        return NO_ANSWER, TIMED_OUT
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return NO_ANSWER, CLOSED
    if isinstance(error, ssl.SSLError):
        return _classify_tls(error.reason or str(error))
    if error.errno == errno.ECONNREFUSED:
        return NO_ANSWER, REFUSED_CONNECTION
    return NO_ANSWER, (error.strerror or str(error)).lower()


def _classify_tls(reason: str) -> tuple[str, str]:
    # OpenSSL names received alerts like TLSV1_ALERT_PROTOCOL_VERSION; one name has no ALERT in it.
    if "ALERT" in reason or "UNRECOGNIZED_NAME" in reason:
        words = reason.rsplit("ALERT_", maxsplit=1)[-1].replace("TLSV1_", "")
        return REJECTED, words.replace("_", " ").lower()
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"):
        return NO_ANSWER, NOT_TLS
    return NO_ANSWER, reason.replace("_", " ").lower()
