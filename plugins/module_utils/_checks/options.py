# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse and validate the options of module `gate_probe` before the first request."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from .._common.errors import MtlsError
from .._contracts.stages import ENFORCE
from .._probe.addresses import LAST_PORT, address_from, is_address, resolve
from .._probe.forged_certificates import FOREIGN, LOOK_ALIKE, SELF_SIGNED
from .._probe.messages import NOBODY, Identity, Target
from .expected_outcomes import CERT, DENY, UNKNOWN
from .guarded_paths import STRICT
from .session import Client, Gate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KINDS = ("valid", "revoked", "expired", "server_auth", "foreign", "other")

_HTTPS_PORT = 443
_LONGEST_TIMEOUT = 300  # seconds
_LARGEST_BURST = 1000
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*")
_REQUEST_TARGET = re.compile(r"/[!-~]*")  # RFC 9112 section 3.2.1, visible ASCII
_RESERVED_NAMES = {NOBODY.name, FOREIGN, LOOK_ALIKE, SELF_SIGNED}


def gate_from(options: Mapping[str, Any]) -> Gate:
    """Return the gate that the options of module ``gate_probe`` describe.

    :param options: as in the module's argument spec, absent ones None.
    :raises MtlsError: for an invalid option, or a name that does not resolve.
    """
    url = _url(options["url"])
    port = url.port or _HTTPS_PORT
    server_name = _server_name(options.get("server_name") or url.hostname or "")
    clients = _clients(options.get("clients") or [])
    timeout = float(options["timeout"])
    if not 0 < timeout <= _LONGEST_TIMEOUT:
        raise MtlsError(
            f"timeout: {timeout:g} s is out of range", f"Choose more than 0 and at most {_LONGEST_TIMEOUT} s"
        )
    expected = options.get("generation") or {}
    host, connect_port = address_from(options.get("address") or "", url.hostname or "", port)
    return Gate(
        target=Target(resolve(host, connect_port), connect_port, options.get("server_ca") or "", timeout),
        server_name=server_name,
        port=port,
        path=_request_target("url", (url.path or "/") + (f"?{url.query}" if url.query else "")),
        other_name=_other_name(options.get("other_server_name") or "", server_name),
        echo_path=_path_option(options, "echo_path"),
        client_ca=options.get("client_ca") or "",
        contact=options.get("contact") or "",
        generation=expected.get("gate"),
        trust=expected.get("trust"),
        expect_http2=options.get("expect_http2"),
        plain_ports=_ports(options.get("plain_ports") or []),
        guarded_paths=_guarded(options.get("guarded_paths") or [], url.path or "/"),
        path_spelling=options.get("path_spelling") or STRICT,
        public_path=_path_option(options, "public_path") or _path_option(options, "public_echo_path"),
        public_echo_path=_path_option(options, "public_echo_path"),
        websocket_path=_path_option(options, "websocket_path"),
        expect_hsts=options.get("expect_hsts") or "",
        rate_limit_burst=_burst(options.get("rate_limit_burst")),
        stage=options.get("stage") or ENFORCE,
        window=options.get("window") or UNKNOWN,
        side_door=bool(options.get("side_door")),
        expect_application=options.get("expect_application") is not False,
        clients=clients,
    )


def _url(text: str) -> SplitResult:
    hint = "Give the https URL of a page behind the gate, for example https://admin.example.org/"
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        raise MtlsError(f"url: {text!r} is not a URL ({error})", hint) from None
    if url.scheme != "https" or not url.hostname or "@" in url.netloc or port == 0:
        raise MtlsError(f"url: {text!r} is not an https URL without user name", hint)
    return url


def _server_name(text: str) -> str:
    if is_address(text):
        raise MtlsError(
            f"{text} is an address, and the TLS handshake carries only names (RFC 6066)",
            "Set server_name to the name of the gate",
        )
    try:
        name = text.encode("idna").decode("ascii").lower().rstrip(".")
    except UnicodeError:
        name = ""
    if not _NAME.fullmatch(name):
        raise MtlsError(f"{text!r} is not the name of a server", "Give a host name such as admin.example.org")
    return name


def _other_name(text: str, server_name: str) -> str:
    """Return another name at the same address; by default a sibling, which a wildcard server would match."""
    if not text:
        parent = server_name.partition(".")[2]
        return _server_name(f"quietdoor-probe.{parent or server_name}")
    other = _server_name(text)
    if other == server_name:
        raise MtlsError(
            f"other_server_name {other} is the gate's own name", "Set it to another site at the same address"
        )
    return other


def _request_target(option: str, text: str) -> str:
    if not _REQUEST_TARGET.fullmatch(text):
        raise MtlsError(
            f"{option}: the path {text!r} is not valid in a request",
            "Begin it with / and percent-encode blanks and non-ASCII characters",
        )
    return text


def _path_option(options: Mapping[str, Any], name: str) -> str:
    return _request_target(name, options[name]) if options.get(name) else ""


def _guarded(paths: Sequence[str], default: str) -> tuple[str, ...]:
    """Return the guarded paths, or the path of the URL if none was given."""
    for path in paths:
        if "?" in path or "%" in path:
            raise MtlsError(
                f"guarded_paths: {path!r} has a query or a percent sign",
                "Write paths as in gate_sites, for example /admin",
            )
    return tuple(_request_target("guarded_paths", path) for path in paths or [default])


def _burst(number: int | None) -> int | None:
    if number is not None and not 0 <= number <= _LARGEST_BURST:
        raise MtlsError(
            f"rate_limit_burst: {number} is out of range",
            f"Choose from 0 to {_LARGEST_BURST}, or omit it: the probe sends a few more requests than that",
        )
    return number


def _ports(numbers: Sequence[int]) -> tuple[int, ...]:
    for number in numbers:
        if not 0 < number <= LAST_PORT:
            raise MtlsError(f"plain_ports: {number} is not a TCP port", f"Choose from 1 to {LAST_PORT}")
    return tuple(numbers)


def _clients(entries: Sequence[Mapping[str, Any]]) -> tuple[Client, ...]:
    names = [entry["name"] for entry in entries]
    for name in names:
        if not name.strip() or not name.isprintable() or name in _RESERVED_NAMES:
            raise MtlsError(f"clients: {name!r} cannot be the name of a client in the report", "Choose another name")
        if names.count(name) > 1:
            raise MtlsError(f"clients: the name {name!r} is used more than once", "Give each client a different name")
    return tuple(_client(entry) for entry in entries)


def _client(entry: Mapping[str, Any]) -> Client:
    expect = entry.get("expect") or CERT
    kind = entry.get("kind") or ("valid" if expect == CERT else "other")
    if expect == CERT and kind not in ("valid", "other"):
        raise MtlsError(
            f"clients: {entry['name']!r} is of kind {kind}, but expected to get in",
            f"Set expect to {DENY}, or correct kind",
        )
    return Client(Identity(entry["name"], entry["certificate"], entry["key"]), expect, kind, entry.get("reason") or "")
