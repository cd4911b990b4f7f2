# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an nginx binary can do, from what ``nginx -V`` says of it."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass

from .._common.errors import MtlsError

_VERSION = re.compile(r"^[\w-]+ version: (?P<product>[\w-]+)/(?P<version>[0-9]+(?:\.[0-9]+){1,3})", re.MULTILINE)
_TLS = re.compile(r"^built with (?P<built>.+?)(?: \(running with (?P<running>.+)\))?$", re.MULTILINE)
_ARGUMENTS = re.compile(r"^configure arguments:(?P<arguments>.*)$", re.MULTILINE)
_MODULE = re.compile(r"--with-(?P<name>(?:http|stream|mail)(?:_[a-z0-9_]+_module)?)(?P<dynamic>=dynamic)?")
# Modules that are in unless left out, and that a gate needs (auto/options of nginx's sources).
_BUILT_IN = (
    "http_rewrite_module",
    "http_map_module",
    "http_limit_req_module",
    "http_proxy_module",
    "http_access_module",
)


@dataclass(frozen=True)
class Capabilities:
    """What a gate may use.

    :param http2_directive: ``http2 on;`` instead of ``listen ... http2`` (since 1.25.1).
    :param ssl_reject_handshake: a default server that ends the handshake (since 1.19.4).
    :param ssl_conf_command: passing a setting on to OpenSSL (since 1.19.4).
    :param tls13: TLS 1.3 (nginx 1.13.0, OpenSSL 1.1.1).
    :param regex: regular expressions in maps and locations, which need PCRE and the rewrite module.
    """

    ssl: bool
    http2: bool
    http2_directive: bool
    http3: bool
    tls13: bool
    ssl_reject_handshake: bool
    ssl_conf_command: bool
    auth_request: bool
    realip: bool
    limit_req: bool
    regex: bool


@dataclass(frozen=True)
class Build:
    """One nginx binary. Paths are absolute.

    :param product: nginx, or the name of a fork.
    :param tls_built: the TLS library it was built with, None without TLS.
    :param tls_running: the one it runs with; the same unless nginx says otherwise.
    :param static_modules: built in and optional, as ``http_realip_module``.
    :param dynamic_modules: built to be loaded; whether they are is up to ``load_module``.
    """

    product: str
    version: str
    tls_built: str | None
    tls_running: str | None
    arguments: tuple[str, ...]
    static_modules: tuple[str, ...]
    dynamic_modules: tuple[str, ...]
    prefix: str
    conf_file: str
    pid_file: str
    error_log: str
    modules_path: str
    capabilities: Capabilities


def parse_build(text: str) -> Build:
    """Return what ``nginx -V`` printed.

    :raises MtlsError: if this is not the output of an nginx.
    """
    version = _VERSION.search(text)
    if not version:
        raise MtlsError(
            f"nginx -V printed no version but {text.strip()[:120]!r}", "Set gate_nginx_binary to the nginx binary"
        )
    tls = _TLS.search(text)
    found = _ARGUMENTS.search(text)
    arguments = _split(found["arguments"]) if found else ()
    optional = [match for match in map(_MODULE.fullmatch, arguments) if match]
    static = {match["name"] for match in optional if not match["dynamic"]}
    static |= {name for name in _BUILT_IN if f"--without-{name}" not in arguments}
    dynamic = {match["name"] for match in optional if match["dynamic"]}
    dynamic |= {os.path.basename(value) for value in _values(arguments, "--add-dynamic-module")}
    prefix = _value(arguments, "--prefix", "/usr/local/nginx")

    def path(option: str, default: str) -> str:
        return os.path.join(prefix, _value(arguments, option, default))

    conf_file = path("--conf-path", "conf/nginx.conf")
    tls_built = tls["built"] if tls else None
    tls_running = (tls["running"] or tls["built"]) if tls else None
    return Build(
        product=version["product"],
        version=version["version"],
        tls_built=tls_built,
        tls_running=tls_running,
        arguments=arguments,
        static_modules=tuple(sorted(static)),
        dynamic_modules=tuple(sorted(dynamic)),
        prefix=prefix,
        conf_file=conf_file,
        pid_file=path("--pid-path", "logs/nginx.pid"),
        error_log=path("--error-log-path", "logs/error.log"),
        modules_path=path("--modules-path", "modules"),
        capabilities=_capabilities(version["version"], static, arguments, tls_running or ""),
    )


def _capabilities(version: str, static: set[str], arguments: tuple[str, ...], tls: str) -> Capabilities:
    number = tuple(int(part) for part in version.split("."))
    ssl = "http_ssl_module" in static
    http2 = "http_v2_module" in static
    return Capabilities(
        ssl=ssl,
        http2=http2,
        http2_directive=http2 and number >= (1, 25, 1),
        http3="http_v3_module" in static and number >= (1, 25, 0),
        tls13=ssl and number >= (1, 13, 0) and _knows_tls13(tls),
        ssl_reject_handshake=ssl and number >= (1, 19, 4),
        ssl_conf_command=ssl and number >= (1, 19, 4) and tls.startswith("OpenSSL"),
        auth_request="http_auth_request_module" in static,
        realip="http_realip_module" in static,
        limit_req="http_limit_req_module" in static,
        regex="http_rewrite_module" in static and "--without-pcre" not in arguments,
    )


def _knows_tls13(tls: str) -> bool:
    openssl = re.match(r"OpenSSL ([0-9]+)\.([0-9]+)\.([0-9]+)", tls)
    # BoringSSL, LibreSSL and their kin: every release that a supported nginx builds with has it.
    return bool(tls) and (not openssl or tuple(int(part) for part in openssl.groups()) >= (1, 1, 1))


def _split(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError:  # nginx does not escape a quote inside a quoted argument
        return tuple(text.split())


def _values(arguments: tuple[str, ...], option: str) -> list[str]:
    return [argument[len(option) + 1 :] for argument in arguments if argument.startswith(f"{option}=")]


def _value(arguments: tuple[str, ...], option: str, default: str) -> str:
    values = _values(arguments, option)
    return values[-1] if values else default
