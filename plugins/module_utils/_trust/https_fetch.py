# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetch a file over https or from a directory, with limits of size and time and no redirects."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .._common.errors import MtlsError
from .._common.files import opened

if TYPE_CHECKING:
    from collections.abc import Iterator

_PIECE = 65536
_OK = 200


@dataclass(frozen=True)
class Source:
    """The location of a publication.

    :param url: an https URL or a directory (absolute path or file URL), without a final slash.
    :param server_ca: PEM file of the CA that signed the https server's certificate; empty for the CAs of the system.
    :param timeout: seconds for one file, from the connection to the last byte.
    """

    url: str
    server_ca: str = ""
    timeout: float = 30.0

    def fetch(self, name: str, limit: int) -> bytes:
        """Return the file ``name``.

        :param limit: the maximum size in bytes.
        :raises MtlsError: if the file cannot be fetched, or is larger.
        """
        if self.url.startswith("/"):
            return _read_file(os.path.join(self.url, name), limit)
        return self._get(f"{self.url}/{name}", limit)

    def _get(self, url: str, limit: int) -> bytes:
        parts = urlsplit(url)
        context = self._context()
        try:
            with _connect(str(parts.hostname), parts.port or 443, context, self.timeout) as tls:
                return _request_file(tls, parts.netloc, parts.path, url, limit)
        except ssl.SSLCertVerificationError as error:
            raise MtlsError(
                f"{url}: the server's certificate is not trusted ({error.verify_message})",
                "Set trust_url_ca to the CA that signed it, or replace the server's certificate",
            ) from None
        except _TimeoutExpired:
            raise MtlsError(
                f"{url} was not received within {self.timeout:g} s", "Check the server, or increase trust_pull_timeout"
            ) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise MtlsError(
                f"{url} could not be fetched: {error or type(error).__name__}", "Check the server"
            ) from None

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if not self.server_ca:
            return context
        try:
            # Only this CA is trusted, and none of the system.
            context = ssl.create_default_context(cafile=self.server_ca)
        except (OSError, ssl.SSLError) as error:
            raise MtlsError(f"trust_url_ca {self.server_ca} cannot be used: {error}", "Set it to a PEM file") from None
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context


def source_from(url: str, server_ca: str, timeout: float) -> Source:
    """Return the source that the options describe.

    :raises MtlsError: if the URL is neither https nor a directory.
    """
    hint = "Set it to an https URL, or to the absolute path of a directory"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise MtlsError(f"trust_url: {url!r} is not a valid URL ({error})", hint) from None
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Source(os.path.normpath(parts.path), timeout=timeout)
    if url.startswith("/"):
        return Source(os.path.normpath(url), timeout=timeout)
    if parts.scheme == "http":
        raise MtlsError(
            f"trust_url: {url} is not https, and the roles of clients in a publication are not signed",
            "Serve the publication over https",
        )
    valid = parts.hostname and not (parts.query or parts.fragment or "@" in parts.netloc) and port != 0
    if parts.scheme != "https" or not valid or not url.isascii() or not url.isprintable() or " " in url:
        raise MtlsError(f"trust_url: {url!r} is not a valid https URL of a directory", hint)
    return Source(url.rstrip("/"), server_ca, timeout)


class _TimeoutExpired(Exception):
    """The timeout expired."""


def _read_file(path: str, limit: int) -> bytes:
    try:
        with opened(path, "rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise MtlsError(
            f"{path} cannot be read: {error.strerror}", "Check that the directory is mounted and readable"
        ) from None
    return _check_size(data, path, limit)


def _check_size(data: bytes, name: str, limit: int) -> bytes:
    if len(data) > limit:
        raise MtlsError(
            f"{name} is larger than {limit} bytes, the limit for this file", "Check the publication at trust_url"
        )
    return data


@contextlib.contextmanager
def _connect(host: str, port: int, context: ssl.SSLContext, timeout: float) -> Iterator[ssl.SSLSocket]:
    """Connect, and close the connection at the timeout, even if the server keeps sending data."""
    deadline = time.monotonic() + timeout
    with socket.create_connection((host, port), timeout=timeout) as raw:
        tls = context.wrap_socket(raw, server_hostname=host, do_handshake_on_connect=False)
    # The shutdown of the plain socket leaves the TLS state to the thread that reads.
    watch = threading.Timer(max(deadline - time.monotonic(), 0), _shut_down, [tls])
    watch.daemon = True
    watch.start()
    try:
        with tls:
            tls.do_handshake()
            yield tls
    except (OSError, http.client.HTTPException):
        if time.monotonic() >= deadline:
            raise _TimeoutExpired from None
        raise
    finally:
        watch.cancel()


def _shut_down(tls: ssl.SSLSocket) -> None:
    with contextlib.suppress(OSError):
        socket.socket.shutdown(tls, socket.SHUT_RDWR)


def _request_file(tls: ssl.SSLSocket, host: str, path: str, url: str, limit: int) -> bytes:
    headers = {"Host": host, "User-Agent": "quietdoor-trust-pull", "Accept-Encoding": "identity", "Connection": "close"}
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    tls.sendall("\r\n".join(lines).encode("ascii"))
    response = http.client.HTTPResponse(tls)
    try:
        response.begin()
        if response.status != _OK:
            raise _unexpected_status(response, url)
        data = b"".join(_read_pieces(response, limit))
        # A closed connection looks like the end of the file.
        if response.length and len(data) <= limit:
            raise http.client.IncompleteRead(data, response.length)
    finally:
        response.close()
    return _check_size(data, url, limit)


def _read_pieces(response: http.client.HTTPResponse, limit: int) -> Iterator[bytes]:
    room = limit + 1
    while room > 0:
        piece = response.read(min(room, _PIECE))
        if not piece:
            return
        room -= len(piece)
        yield piece


def _unexpected_status(response: Any, url: str) -> MtlsError:
    location = response.getheader("Location")
    if location is not None:
        return MtlsError(
            f"{url} is a redirect (status {response.status}, to {str(location)[:200]!r}), which is not followed",
            "Set trust_url to the final URL",
        )
    return MtlsError(f"{url} answered with status {response.status}", "Check that the publication is served there")
