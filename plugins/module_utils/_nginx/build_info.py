# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse the output of ``nginx -V``: version, paths, modules and capabilities."""

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
# Modules that a gate needs and that every build contains unless excluded (auto/options in the sources of nginx).
_BUILT_IN = (
    "http_rewrite_module",
    "http_map_module",
    "http_limit_req_module",
    "http_proxy_module",
    "http_access_module",
)


@dataclass(frozen=True)
class Capabilities:
    """The features of nginx that a gate can use.

    :param http2_directive: ``http2 on;`` instead of ``listen ... http2`` (since 1.25.1).
    :param ssl_reject_handshake: a default server can reject handshakes (since 1.19.4).
    :param ssl_conf_command: settings can be passed to OpenSSL (since 1.19.4).
    :param tls13: TLS 1.3 (nginx 1.13.0, OpenSSL 1.1.1).
    :param regex: regular expressions in maps and locations; they need PCRE and the rewrite module.
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
    :param tls_built: the TLS library that nginx was built with, None without TLS.
    :param tls_running: the TLS library that nginx runs with; equal to ``tls_built`` unless nginx reports another one.
    :param static_modules: optional modules that are built in, such as ``http_realip_module``.
    :param dynamic_modules: modules that ``load_module`` can load.
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
    """Return the build that the output of ``nginx -V`` describes.

    :raises MtlsError: if the text is not the output of nginx.
    """
    version = _VERSION.search(text)
    if not version:
        raise MtlsError(
            f"nginx -V printed no version, but {text.strip()[:120]!r}", "Set gate_nginx_binary to the nginx binary"
        )
    tls = _TLS.search(text)
    found = _ARGUMENTS.search(text)
    arguments = _split_arguments(found["arguments"]) if found else ()
    optional = [match for match in map(_MODULE.fullmatch, arguments) if match]
    static = {match["name"] for match in optional if not match["dynamic"]}
    static |= {name for name in _BUILT_IN if f"--without-{name}" not in arguments}
    dynamic = {match["name"] for match in optional if match["dynamic"]}
    dynamic |= {os.path.basename(value) for value in _option_values(arguments, "--add-dynamic-module")}
    prefix = _option_value(arguments, "--prefix", "/usr/local/nginx")

    def path(option: str, default: str) -> str:
        return os.path.join(prefix, _option_value(arguments, option, default))

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
        tls13=ssl and number >= (1, 13, 0) and _supports_tls13(tls),
        ssl_reject_handshake=ssl and number >= (1, 19, 4),
        ssl_conf_command=ssl and number >= (1, 19, 4) and tls.startswith("OpenSSL"),
        auth_request="http_auth_request_module" in static,
        realip="http_realip_module" in static,
        limit_req="http_limit_req_module" in static,
        regex="http_rewrite_module" in static and "--without-pcre" not in arguments,
    )


def _supports_tls13(tls: str) -> bool:
    openssl = re.match(r"OpenSSL ([0-9]+)\.([0-9]+)\.([0-9]+)", tls)
    # Every release of BoringSSL and LibreSSL with which a supported nginx can be built has TLS 1.3.
    return bool(tls) and (not openssl or tuple(int(part) for part in openssl.groups()) >= (1, 1, 1))


def _split_arguments(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError:  # nginx -V does not escape quotes inside quoted arguments
        return tuple(text.split())


def _option_values(arguments: tuple[str, ...], option: str) -> list[str]:
    return [argument[len(option) + 1 :] for argument in arguments if argument.startswith(f"{option}=")]


def _option_value(arguments: tuple[str, ...], option: str, default: str) -> str:
    values = _option_values(arguments, option)
    return values[-1] if values else default
