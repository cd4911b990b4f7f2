# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests that try to reach a panel below /admin/ without being let in, and a judge that says whether one did.

NAME in a request is replaced by the site's own; SNI None means that no server name is sent.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import posixpath
import re
import socket
import struct
import time
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

Fields = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Hostile:
    """A request for a separate connection. NAME in ``sni`` stands for the name of the site.

    With ``fields`` it is a request of HTTP/2 with these header fields and the body ``data``. ``tls`` False means a connection
    without TLS. ``alpn`` is the protocol that client and server agree on; the request need not follow it.
    """

    label: str
    data: bytes
    sni: str | None = "NAME"
    fields: Fields = ()
    tls: bool = True
    alpn: str | None = None


# As a client writes them. Some of them nginx takes for /admin/, some it does not.
TARGETS = [
    "/admin/",
    "/admin",
    "/admin/users",
    "/admin?x=1",
    "/admin/?x=1",
    "//admin/",
    "///admin//",
    "/./admin/",
    "/x/../admin/",
    "/x/%2e%2e/admin/",
    "/%2e/admin/",
    "/%61dmin/",
    "/%41dmin/",
    "/adm%69n/",
    "/%61%64%6d%69%6e/",
    "/admin%2f",
    "/admin%2fusers",
    "/%2fadmin/",
    "/%2f%2fadmin/",
    "/x%2f..%2fadmin/",
    "/ADMIN/",
    "/Admin/",
    "/aDmIn",
    "/ADMIN?x",
    "/%41DMIN/users",
    "/AdMiN/index.php",
    "/admin;x/",
    "/admin;x=y",
    "/admin;/users",
    "/;/admin/",
    "/;x=y/admin/",
    "/x;/../admin/",
    "/x/..;/admin/",
    "/..;/admin/",
    "/a/b/..;/..;/admin/",
    "/admin;jsessionid=1",
    "/.;/admin/",
    "/x/.;/..;/admin/",
    "/;admin/",
    "/%3b/admin/",
    "/admin%3bx/",
    "/admin%3Bx=1/users",
    "/admin%20/",
    "/admin%20",
    "/%20admin/",
    "/admin%09/",
    "/admin%0a/",
    "/%09/admin/",
    "/admin%0d%0a/",
    "/admin+/",
    "/admin%7f/",
    "/%0aadmin/",
    "/%2561dmin/",
    "/%252561dmin/",
    "/admin%252f",
    "/%252fadmin/",
    "/x/%252e%252e/admin/",
    "/%25%36%31dmin/",
    "/admin%253bx/",
    "/%2541DMIN/",
    "/x%252f..%252fadmin/",
    "/\\admin/",
    "/admin\\",
    "/admin\\users",
    "/x\\..\\admin/",
    "/%5cadmin/",
    "/admin%5c",
    "/x/..%5cadmin/",
    "/..\\admin/",
    "/%255cadmin/",
    "/x%5c..%5cadmin%5c",
    "/index.php/admin/",
    "/index.php/admin",
    "/index.php;/admin/",
    "/app.cgi/admin/",
    "/index.php%2fadmin/",
    "/index.php//admin/",
    "/INDEX.PHP/ADMIN/",
    "/admin/../public",
    "/admin/../x",
    "/admin/./../x",
    "/admin/%2e%2e/x",
    "/admin/..%2fx",
    "/admin/x/../../y",
    "/ADMIN/../x",
    "/admin/..;/x",
    "/admin/index.php",
    "/admin/x.php",
    "/admin/x.php/y",
    "/admin.php/../admin/",
    "/admin.json",
    "/admin.",
    "/admin./",
    "/admin.html/",
    "/admin:/",
    "/admin::$DATA",
    "/admin,/",
    "/admin%00/",
    "/admin%2500/",
    "/admin/%00",
    "/%00/admin/",
    "/admin%c0%afusers",
    "/%c0%afadmin/",
    "/x/..%c0%afadmin/",
    "/%ef%bc%8fadmin/",
    "/admin%ef%bc%8f",
    "/%EF%BD%81dmin/",
    "/adm%C4%B1n/",
    "/%ef%bd%81%ef%bd%84%ef%bd%8d%ef%bd%89%ef%bd%8e/",
    "/admin%23",
    "/admin%3f",
    "/admin%3fx",
    "/x#/../admin/",
    "/admin#x",
    "/.well-known/../admin/",
    "/.well-known/quietdoor/../../admin/",
    "/.well-known/quietdoor/verdict",
    "/.well-known/quietdoor/public",
    "/.well-known/quietdoor/certificate",
    "/.well-known/quietdoor/..;/..;/admin/",
    "/assets/../admin/",
    "/assets/..%2f..%2fadmin/",
    "/assets..%2fadmin/",
    "/@quietdoor_bad_certificate",
    "/@quietdoor_page",
    "/x/@/../admin/",
    "/x//../admin/",
    "/x/y/../..//admin/",
    "/admin//../admin/",
    "/%2e%2e/admin/",
    "/../admin/",
]

_METHODS = ["HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "MKCOL", "get", "FOO"]

_HEADERS = {
    "verify": "X-Client-Verify: SUCCESS",
    "verify with underscores": "X_Client_Verify: SUCCESS",
    "verify mixed": "X-Client_Verify: SUCCESS",
    "nginx's own name": "SSL-Client-Verify: SUCCESS",
    "a certificate in a header": "X-SSL-Client-Cert: -----BEGIN CERTIFICATE----- x",
    "envoy": 'X-Forwarded-Client-Cert: By=x;Hash=y;Subject="CN=alex"',
    "RFC 9440": "Client-Cert: :MIIB:",
    "remote user": "Remote-User: alex",
    "local address": "X-Forwarded-For: 127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\nForwarded: for=127.0.0.1",
    "rewrite to the panel": "X-Rewrite-URL: /admin/",
    "original URL": "X-Original-URL: /admin/",
    "prefix": "X-Forwarded-Prefix: /admin",
    "accel": "X-Accel-Redirect: /admin/",
    "method override": "X-HTTP-Method-Override: GET",
    "authorization": "Authorization: Basic YWxleDphbGV4",
    "h2c": "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\nConnection: Upgrade, HTTP2-Settings",
    "websocket": "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13",
    "connection removes": "Connection: X-Client-Verify, close",
    "expect": "Expect: 100-continue",
    "early data": "Early-Data: 1",
}

_POST = "POST / HTTP/1.1\r\nHost: NAME\r\n"
_SECOND = "GET /admin/second HTTP/1.1\r\nHost: NAME\r\n\r\n"
# Two programs could disagree where these end (RFC 9112 section 11.2).
_SHAPES = {
    "http/1.0": "GET /admin/ HTTP/1.0\r\nHost: NAME\r\n\r\n",
    "http/1.0 without host": "GET /admin/ HTTP/1.0\r\n\r\n",
    "http/0.9": "GET /admin/\r\n",
    "http/2.0 in text": "GET /admin/ HTTP/2.0\r\nHost: NAME\r\n\r\n",
    "http/1.9": "GET /admin/ HTTP/1.9\r\nHost: NAME\r\nConnection: close\r\n\r\n",
    "http/2 preface in text": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "absolute form": "GET https://NAME/admin/ HTTP/1.1\r\nHost: NAME\r\nConnection: close\r\n\r\n",
    "absolute form, capitals": "GET HTTPS://NAME/ADMIN/ HTTP/1.1\r\nHost: NAME\r\nConnection: close\r\n\r\n",
    "absolute form, plain": "GET http://NAME/admin/ HTTP/1.1\r\nHost: NAME\r\nConnection: close\r\n\r\n",
    "absolute form, other host line": "GET https://NAME/admin/ HTTP/1.1\r\nHost: public.test\r\nConnection: close\r\n\r\n",
    "absolute form, user": "GET https://alex@NAME/admin/ HTTP/1.1\r\nHost: NAME\r\nConnection: close\r\n\r\n",
    "asterisk": "OPTIONS * HTTP/1.1\r\nHost: NAME\r\nConnection: close\r\n\r\n",
    "no leading slash": "GET admin/ HTTP/1.1\r\nHost: NAME\r\nConnection: close\r\n\r\n",
    "two hosts": "GET /admin/ HTTP/1.1\r\nHost: NAME\r\nHost: public.test\r\nConnection: close\r\n\r\n",
    "host with a final dot": "GET /admin/ HTTP/1.1\r\nHost: NAME.\r\nConnection: close\r\n\r\n",
    "host in capitals": "GET /admin/ HTTP/1.1\r\nHost: PANEL.TEST\r\nConnection: close\r\n\r\n",
    "host with a path": "GET / HTTP/1.1\r\nHost: NAME/admin/\r\nConnection: close\r\n\r\n",
    "content length and chunked": f"{_POST}Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{_SECOND}",
    "two content lengths": f"{_POST}Content-Length: 0\r\nContent-Length: 50\r\n\r\n{_SECOND}",
    "chunked written oddly": f"{_POST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{_SECOND}",
    "chunked twice": f"{_POST}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n{_SECOND}",
    "chunked after a tab": f"{_POST}Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n{_SECOND}",
    "space before the colon": f"{_POST}Transfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{_SECOND}",
    "folded header": "GET /admin/ HTTP/1.1\r\nHost: NAME\r\nX-A: b\r\n X-Client-Verify: SUCCESS\r\nConnection: close\r\n\r\n",
    "bare line feeds": "GET /admin/ HTTP/1.1\nHost: NAME\nConnection: close\n\n",
    "negative content length": f"{_POST}Content-Length: -1\r\n\r\n{_SECOND}",
    "a request as a body": f"{_POST}Content-Length: 50\r\n\r\n{_SECOND}",
    "pipelined": f"GET /x HTTP/1.1\r\nHost: NAME\r\n\r\n{_SECOND}",
    "pipelined capitals": "GET /x HTTP/1.1\r\nHost: NAME\r\n\r\nGET /ADMIN/ HTTP/1.1\r\nHost: NAME\r\nConnection: close\r\n\r\n",
    "pipelined for another host": f"GET / HTTP/1.1\r\nHost: public.test\r\n\r\n{_SECOND}",
    "line break in the target": "GET /admin%0d%0aX-Client-Verify:%20SUCCESS HTTP/1.1\r\nHost: NAME\r\nConnection: close\r\n\r\n",
    "empty lines first": "\r\n\r\nGET /admin/ HTTP/1.1\r\nHost: NAME\r\nConnection: close\r\n\r\n",
    "tab after the method": "GET\t/admin/ HTTP/1.1\r\nHost: NAME\r\nConnection: close\r\n\r\n",
    "two spaces": "GET  /admin/  HTTP/1.1\r\nHost: NAME\r\nConnection: close\r\n\r\n",
    "very long": "GET /" + "a/../" * 1200 + "admin/ HTTP/1.1\r\nHost: NAME\r\nConnection: close\r\n\r\n",
    "very long and odd": "GET /" + "%2561/..;/" * 700 + "ADMIN/ HTTP/1.1\r\nHost: NAME\r\nConnection: close\r\n\r\n",
}

_NAMES = [
    (None, "NAME"),
    (None, "public.test"),
    (None, ""),
    ("unknown.test", "NAME"),
    ("public.test", "NAME"),
    ("NAME", "public.test"),
    ("NAME", "unknown.test"),
    ("NAME", ""),
    ("NAME", "127.0.0.1"),
    ("x.NAME", "NAME"),
    ("localhost", "NAME"),
]


# Without TLS, to the port where TLS is spoken.
_PLAIN = {
    "plain http/1.1": "GET /admin/ HTTP/1.1\r\nHost: NAME\r\nConnection: close\r\n\r\n",
    "plain http/1.0": "GET /admin/ HTTP/1.0\r\n\r\n",
    "plain http/0.9": "GET /admin/\r\n",
    "plain, said to be https": "GET https://NAME/admin/ HTTP/1.1\r\nHost: NAME\r\nX-Scheme: https\r\nConnection: close\r\n\r\n",
    "PROXY protocol": "PROXY TCP4 127.0.0.1 127.0.0.1 1 443\r\nGET /admin/ HTTP/1.1\r\nHost: NAME\r\nConnection: close\r\n\r\n",
    "plain http/2 preface": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
    "plain upgrade to h2c": f"GET /admin/ HTTP/1.1\r\nHost: NAME\r\n{_HEADERS['h2c']}\r\n\r\n",
}

_PSEUDO = {":method": "GET", ":scheme": "https", ":path": "/admin/", ":authority": "NAME"}


def _fields(*more: tuple[str, str], **pseudo: str | None) -> Fields:
    own = {**_PSEUDO, **{f":{name}": value for name, value in pseudo.items()}}
    return (*((name, value) for name, value in own.items() if value is not None), *more)


_BODY = b"0\r\n\r\nGET /admin/second HTTP/1.1\r\nHost: NAME\r\n\r\n"
# HTTP/2 that a proxy to HTTP/1 could turn into more, or other, than was asked (RFC 9113 sections 8.2, 8.3 and 10.3).
_HTTP2: dict[str, tuple[Fields, bytes]] = {
    "as it should be": (_fields(), b""),
    "post": (_fields(method="POST"), b"x=1"),
    "no authority but host": (_fields(("host", "NAME"), authority=None), b""),
    "neither authority nor host": (_fields(authority=None), b""),
    "another authority than host": (_fields(("host", "NAME"), authority="public.test"), b""),
    "another host than authority": (_fields(("host", "public.test")), b""),
    "authority with a user": (_fields(authority="alex@NAME"), b""),
    "authority with a path": (_fields(path="/", authority="NAME/admin"), b""),
    "scheme http": (_fields(scheme="http"), b""),
    "scheme with an address": (_fields(scheme="https://NAME/admin/?"), b""),
    "connect": (_fields(method="CONNECT", scheme=None, path=None), b""),
    "connect to a protocol": (_fields((":protocol", "websocket"), method="CONNECT"), b""),
    "two paths": (_fields((":path", "/admin/"), path="/"), b""),
    "a path at the end": ((*_fields(path=None), ("x-a", "b"), (":path", "/admin/")), b""),
    "no path": (_fields(path=None), b""),
    "empty path": (_fields(path=""), b""),
    "path without a slash": (_fields(path="admin/"), b""),
    "an address as a path": (_fields(path="https://NAME/admin/"), b""),
    "a space in the path": (_fields(path="/admin/ HTTP/1.1"), b""),
    "a request in the path": (_fields(path="/ HTTP/1.1\r\nHost: NAME\r\n\r\nGET /admin/second"), b""),
    "a request in the method": (_fields(method="GET /admin/ HTTP/1.1\r\nX-A: b\r\n\r\nGET", path="/"), b""),
    "a line break in a value": (_fields(("x-a", "b\r\nX-Client-Verify: SUCCESS")), b""),
    "a request in a value": (_fields(("x-a", "b\r\n\r\nGET /admin/second HTTP/1.1\r\nHost: NAME"), path="/"), b""),
    "a colon in a name": (_fields(("x-client-verify: SUCCESS\r\nx-a", "b")), b""),
    "a name in capitals": (_fields(("X-Client-Verify", "SUCCESS")), b""),
    "a forged name": (_fields(("x-client-verify", "SUCCESS"), ("x-client-name", "alex")), b""),
    "transfer-encoding": (_fields(("transfer-encoding", "chunked"), method="POST", path="/"), _BODY),
    "content-length too short": (_fields(("content-length", "0"), method="POST", path="/"), _BODY),
    "content-length too long": (_fields(("content-length", "500"), method="POST", path="/"), _BODY),
    "two content-lengths": (_fields(("content-length", "0"), ("content-length", "50"), method="POST", path="/"), _BODY),
    "connection": (_fields(("connection", "x-client-verify, upgrade"), ("upgrade", "h2c")), b""),
    "upgrade": (_fields(("upgrade", "websocket"), ("sec-websocket-version", "13")), b""),
}


def _get(target: str, more: str = "", method: str = "GET") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: NAME\r\n{more}Connection: close\r\n\r\n".encode("latin-1")


def requests() -> list[Hostile]:
    """Return the list."""
    return [
        *(Hostile(target, _get(target)) for target in dict.fromkeys(TARGETS)),
        *(Hostile(f"{method} /admin/", _get("/admin/", method=method)) for method in _METHODS),
        *(Hostile(f"{label}, /admin/", _get("/admin/", f"{lines}\r\n")) for label, lines in _HEADERS.items()),
        *(Hostile(f"{label}, /", _get("/", f"{lines}\r\n")) for label, lines in _HEADERS.items()),
        *(Hostile(label, text.encode("latin-1")) for label, text in _SHAPES.items()),
        *(
            Hostile(f"SNI {sni}, Host {host!r}", _get("/admin/").replace(b"Host: NAME", f"Host: {host}".encode()), sni)
            for sni, host in _NAMES
        ),
        *(Hostile(label, text.encode("latin-1"), tls=False) for label, text in _PLAIN.items()),
        *(Hostile(f"http/2: {label}", body, fields=fields, alpn="h2") for label, (fields, body) in _HTTP2.items()),
        Hostile("http/1.1 where h2 was agreed on", _get("/admin/"), alpn="h2"),
        Hostile("h2 where nothing was agreed on", b"", fields=_fields()),
        Hostile("h2 where nothing was agreed on, capitals", b"", fields=_fields(path="/ADMIN/")),
    ]


# --- sending them ---

_DATA, _HEADER, _RESET, _SETTINGS, _GOAWAY, _WINDOW = 0, 1, 3, 4, 7, 8
_END_STREAM, _END_HEADERS = 0x1, 0x4


def send_all(name: str, port: int, new_context: Callable[[], ssl.SSLContext]) -> int:
    """Send every request to a site, each on a connection of its own, and return how many were answered, whatever with.

    :param new_context: returns a TLS context that presents the certificate of the client.
    """
    contexts = {alpn: _agreeing(new_context(), alpn) for alpn in (None, "h2")}
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answered = pool.map(lambda one: _send(one, name, port, contexts[one.alpn]), requests())
        return sum(answered)


def send_targets_by_http2(name: str, port: int, context: ssl.SSLContext) -> int:
    """Send every target as a stream of one HTTP/2 connection and return how many streams were answered to their end."""
    blocks = [_block(_named(_fields(path=target), name)) for target in dict.fromkeys(TARGETS)]
    with _connected(name, port, _agreeing(context, "h2"), name) as tls:
        tls.sendall(_preface())
        ended = 0
        for first in range(0, len(blocks), 100):  # nginx takes 128 streams at once
            batch = blocks[first : first + 100]
            for number, block in enumerate(batch, first):
                tls.sendall(_frame(_HEADER, _END_STREAM | _END_HEADERS, 2 * number + 1, block))
            ended += _ended(tls, len(batch))
        return ended


def _agreeing(context: ssl.SSLContext, alpn: str | None) -> ssl.SSLContext:
    if alpn:
        context.set_alpn_protocols([alpn])
    return context


def _connected(name: str, port: int, context: ssl.SSLContext | None, sni: str | None) -> socket.socket:
    plain = socket.create_connection(("127.0.0.1", port), 10)
    if not context:
        return plain
    try:
        return context.wrap_socket(plain, server_hostname=sni)
    except BaseException:
        plain.close()
        raise


def _send(one: Hostile, name: str, port: int, context: ssl.SSLContext) -> bool:
    sni = one.sni.replace("NAME", name) if one.sni else None
    data = one.data.replace(b"NAME", name.encode()).replace(b"PANEL.TEST", name.upper().encode())
    answered = False
    with contextlib.suppress(OSError), _connected(name, port, context if one.tls else None, sni) as connection:
        if one.fields:
            connection.settimeout(2)
            connection.sendall(_preface() + _stream(_named(one.fields, name), data))
            return _ended(connection, 1) > 0
        ends = b"Connection: close" in data and b"websocket" not in data
        connection.settimeout(10 if ends else 0.3)
        connection.sendall(data)
        while connection.recv(65536):
            answered = True
    return answered


def _named(fields: Fields, name: str) -> Fields:
    return tuple((one, value.replace("NAME", name)) for one, value in fields)


def _preface() -> bytes:
    # Room for every answer, so that none has to be asked for.
    return (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + _frame(_SETTINGS, 0, 0, struct.pack(">HI", 0x4, 1 << 20))
        + _frame(_WINDOW, 0, 0, struct.pack(">I", 1 << 28))
    )


def _stream(fields: Fields, body: bytes) -> bytes:
    head = _frame(_HEADER, _END_HEADERS | (0 if body else _END_STREAM), 1, _block(fields))
    return head + (_frame(_DATA, _END_STREAM, 1, body) if body else b"")


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _block(fields: Fields) -> bytes:
    """Return a header block in the form of RFC 7541 section 6.2.2, without correcting the fields."""
    texts = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]
    return b"".join(b"\x00" + _text(name) + _text(value) for name, value in texts)


def _text(data: bytes) -> bytes:
    if len(data) < 127:
        return bytes([len(data)]) + data
    rest, length = len(data) - 127, b"\x7f"
    while rest >= 128:
        length, rest = length + bytes([rest % 128 + 128]), rest // 128
    return length + bytes([rest]) + data


def _ended(connection: socket.socket, streams: int) -> int:
    """Read until so many streams have ended, or the connection has; return how many were answered to their end."""
    ended, data = 0, b""
    while ended < streams:
        part = connection.recv(65536)
        if not part:
            break
        data += part
        while len(data) >= 9 and len(data) >= 9 + int.from_bytes(data[:3], "big"):
            kind, flags, length = data[3], data[4], int.from_bytes(data[:3], "big")
            data = data[9 + length :]
            if kind in (_DATA, _HEADER) and flags & _END_STREAM:
                ended += 1
            if kind == _RESET:
                streams -= 1
            if kind == _GOAWAY:
                return ended
    return ended


def settled(reached: list[str]) -> None:
    """Wait until nothing more arrives: what was cut off may be on its way still."""
    count = -1
    while count != len(reached):
        count = len(reached)
        time.sleep(0.2)


# --- the judge: an application that is as lenient as any ---


def panels(reached: list[str]) -> set[str]:
    """Return the requests, as METHOD TARGET, that some application could take for one for the panel."""
    return {request for request in reached if is_panel(request.partition(" ")[2])}


def is_panel(target: str) -> bool:
    """Whether some application could take the target of a request for the panel."""
    path = re.sub(r"^[A-Za-z]+://[^/]*", "", target).partition("?")[0].encode("latin-1", "replace")
    seen, waiting = set(), [path]
    while waiting and len(seen) < 400:
        one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        if _first_word(one) == "admin":
            return True
        waiting += _readings(one)
    return False


def _first_word(path: bytes) -> str:
    text = unicodedata.normalize("NFKC", path.decode("utf-8", "replace")).upper().lower()
    return re.split(r"[/.:,]", text.strip("/"))[0].strip(" \t\r\n\x7f+")


def _readings(path: bytes) -> list[bytes]:
    return [
        unquote_to_bytes(path),
        path.replace(b"\\", b"/"),
        path.replace("\uff0f".encode(), b"/").replace(b"\xc0\xaf", b"/"),
        re.sub(rb";[^/]*", b"", path),
        path.partition(b"\0")[0],
        path.partition(b"#")[0],
        path.partition(b"?")[0],
        posixpath.normpath(b"/" + path.lstrip(b"/")),
        re.sub(rb"/+", b"/", path),
        re.sub(rb"^/[^/]*\.(?:php|cgi)(?=/)", b"", path, flags=re.IGNORECASE),
        path.strip(b" \t\r\n"),
    ]
