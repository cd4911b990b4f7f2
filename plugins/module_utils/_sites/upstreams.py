# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse upstreams: the application, or the directory of files, behind a gate."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .field_reader import FieldReader

_HOST = r"(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])"
_SOCKET_PATH = r"/[A-Za-z0-9._/@+-]+"
_NETWORK = re.compile(rf"(?P<scheme>https?|grpcs?|fastcgi)://{_HOST}(?::(?P<port>[0-9]+))?/?")
_SOCKET = re.compile(rf"(?P<scheme>http|grpc|fastcgi)://unix:(?P<path>{_SOCKET_PATH})")
_DECISION = re.compile(
    rf"http://(?:{_HOST}(?::(?P<port>[0-9]+))?|unix:{_SOCKET_PATH}(?=:))(?P<path>:?/[A-Za-z0-9._~/-]*)?"
)
_KINDS = {"http": "proxy", "https": "proxy", "grpc": "grpc", "grpcs": "grpc", "fastcgi": "fastcgi"}
_PORT = re.compile(r"[0-9]{1,5}")
# A dollar sign would start a variable; engine:, store: and data: are not names of files.
_PATH = re.compile(r"(?![A-Za-z][A-Za-z0-9+.-]*:)[^$]{1,1000}")
_DIRECTORY = re.compile(r"/[^$]{0,1000}")


@dataclass(frozen=True)
class Upstream:
    """The application, or the directory of files, that answers a request.

    :param kind: ``proxy``, ``grpc``, ``fastcgi`` or ``static``.
    :param address: the argument of the directive of that kind; the directory for ``static``.
    :param name: the host in it, empty for a socket or a directory.
    :param tls: whether nginx connects with TLS.
    :param ca: the file of the CA that must have issued its certificate, empty if that is not checked.
    :param script: the absolute path of the script that a FastCGI server runs.
    """

    kind: str
    address: str
    name: str
    tls: bool
    ca: str
    script: str

    def as_dict(self) -> dict[str, Any]:
        """Return all fields as plain data."""
        return asdict(self)


def parse_upstream(entry: FieldReader, *, answers: bool = True) -> Upstream:
    """Read ``upstream`` and its other keys.

    A path is refused: with one, nginx would rewrite every URI instead of passing it on unchanged.

    :param answers: whether the gate itself passes requests to it; else the operator's server does, with its own settings.
    :raises MtlsError: if it is not a valid upstream, or ``upstream_ca`` or ``fastcgi_script`` does not fit it.
    """
    hint = (
        "Write http://host:port, https://host:port, grpc://host:port, grpcs://host:port, fastcgi://host:port, "
        "unix:/path/of/socket in place of host:port, or the absolute path of a directory; without a path behind host and port"
    )
    text = entry.text("upstream", hint)
    kind, address, name, tls = _parse_address(entry, text, hint)
    return Upstream(kind, address, name, tls, _parse_ca(entry, tls), _parse_script(entry, kind) if answers else "")


def parse_decision_service(entry: FieldReader) -> str:
    """Return the URL of ``auth_request`` for ``proxy_pass``, always with a path; empty if there is none.

    :raises MtlsError: if it is not a valid URL of a decision service.
    """
    hint = "Write http://host:port/path or http://unix:/path/of/socket:/path; the service should be on this host"
    text = entry.text("auth_request", hint, default="")
    match = _DECISION.fullmatch(text)
    if text and not match:
        raise entry.problem("auth_request", f"{text!r} is not a valid address of a decision service", hint)
    if not match:
        return ""
    if match["host"] and (match["path"] or "").startswith(":"):
        raise entry.problem("auth_request", f"{text!r} is not a valid address of a decision service", hint)
    if match["port"]:
        parse_port(entry, "auth_request", match["port"])
    return text if match["path"] else f"{text}/"


def parse_port(entry: FieldReader, key: str, text: str) -> int:
    """Return a TCP port.

    :raises MtlsError: if it is not valid.
    """
    if not _PORT.fullmatch(text) or not 1 <= int(text) <= 65535:
        raise entry.problem(key, f"{text} is not a valid port", "Write a port from 1 to 65535")
    return int(text)


def parse_path(entry: FieldReader, key: str) -> str:
    """Return the path of a file, for a directive.

    :raises MtlsError: if it is missing, or nginx would not read it as the path of a file.
    """
    hint = "Write the path of a PEM file on the web host, absolute or relative to the directory of nginx.conf"
    path = entry.text(key, hint)
    if not _PATH.fullmatch(path) or not path.isprintable():
        raise entry.problem(key, f"{path!r} is not a valid path of a file", hint)
    return path


def _parse_address(entry: FieldReader, text: str, hint: str) -> tuple[str, str, str, bool]:
    if text.startswith("/"):
        if not _DIRECTORY.fullmatch(text) or not text.isprintable() or ".." in text.split("/"):
            raise entry.problem("upstream", f"{text!r} is not a valid path of a directory", hint)
        return "static", text.rstrip("/") or "/", "", False
    socket = _SOCKET.fullmatch(text)
    if socket:
        scheme = socket["scheme"]
        return _KINDS[scheme], f"unix:{socket['path']}" if scheme == "fastcgi" else text, "", False
    match = _NETWORK.fullmatch(text)
    if not match:
        raise entry.problem("upstream", f"{text!r} is not a valid address of an application", hint)
    scheme = match["scheme"]
    if match["port"]:
        parse_port(entry, "upstream", match["port"])
    elif scheme in ("grpc", "grpcs", "fastcgi"):
        raise entry.problem("upstream", f"{text!r} has no port, and {scheme} has no default port", hint)
    address = text.rstrip("/")
    if scheme == "fastcgi":
        address = address[len("fastcgi://") :]
    return _KINDS[scheme], address, match["host"].strip("[]"), scheme in ("https", "grpcs")


def _parse_ca(entry: FieldReader, tls: bool) -> str:
    if not entry.given("upstream_ca"):
        return ""
    if not tls:
        raise entry.problem(
            "upstream_ca", "has no effect, because upstream is not https", "Remove it, or write upstream as https://"
        )
    return parse_path(entry, "upstream_ca")


def _parse_script(entry: FieldReader, kind: str) -> str:
    if kind == "fastcgi":
        hint = (
            "Write the absolute path of the script that answers every request, for example /srv/panel/public/index.php"
        )
        script = entry.text("fastcgi_script", hint)
        if not _DIRECTORY.fullmatch(script) or not script.isprintable() or script.endswith("/"):
            raise entry.problem("fastcgi_script", f"{script!r} is not a valid path of a script", hint)
        return script
    if entry.given("fastcgi_script"):
        raise entry.problem("fastcgi_script", "has no effect, because upstream is not fastcgi", "Remove it")
    return ""
