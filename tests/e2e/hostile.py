# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests that try to reach a panel below /admin/ without being let in, and a judge that says whether one did.

NAME and PORT in a request are replaced by the site's own; SNI None is no server name at all.
"""

from __future__ import annotations

import posixpath
import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes


@dataclass(frozen=True)
class Hostile:
    """What is sent on a connection of its own. ``sni`` is the site's own name where it says NAME."""

    label: str
    data: bytes
    sni: str | None = "NAME"


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
    ]


# --- the judge: an application that is as lenient as any ---


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
