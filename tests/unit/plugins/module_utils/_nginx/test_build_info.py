# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the parser of ``nginx -V`` with the output of several builds."""

from __future__ import annotations

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.build_info import parse_build

BOOKWORM = """\
nginx version: nginx/1.22.1
built with OpenSSL 3.0.8 7 Feb 2023 (running with OpenSSL 3.0.11 19 Sep 2023)
TLS SNI support enabled
configure arguments: --with-cc-opt='-g -O2 -fPIC' --prefix=/usr/share/nginx --conf-path=/etc/nginx/nginx.conf \
--error-log-path=stderr --pid-path=/run/nginx.pid --modules-path=/usr/lib/nginx/modules --with-http_ssl_module \
--with-http_realip_module --with-http_auth_request_module --with-http_v2_module --with-mail=dynamic --with-stream=dynamic \
--with-http_geoip_module=dynamic --add-dynamic-module=/build/modules/http-echo
"""
MAINLINE = """\
nginx version: nginx/1.27.4 (with a name)
built by gcc 12.2.0 (Debian 12.2.0-14)
built with OpenSSL 3.5.0 8 Apr 2025
TLS SNI support enabled
configure arguments: --prefix=/etc/nginx --conf-path=/etc/nginx/nginx.conf --with-http_ssl_module --with-http_v2_module \
--with-http_v3_module --with-stream
"""
OLD = """\
nginx version: nginx/1.18.0
built with OpenSSL 1.0.2k  26 Jan 2017
configure arguments: --with-http_ssl_module --without-http_rewrite_module --without-http_limit_req_module
"""
FORK = "nginx version: openresty/1.21.4.1\nconfigure arguments: --prefix=/usr/local/openresty/nginx\n"


def test_build_of_debian() -> None:
    """Read paths, modules and TLS library."""
    build = parse_build(BOOKWORM)
    assert (build.product, build.version) == ("nginx", "1.22.1")
    assert (build.tls_built, build.tls_running) == ("OpenSSL 3.0.8 7 Feb 2023", "OpenSSL 3.0.11 19 Sep 2023")
    assert build.arguments[0] == "--with-cc-opt=-g -O2 -fPIC"
    assert (build.conf_file, build.pid_file, build.prefix) == (
        "/etc/nginx/nginx.conf",
        "/run/nginx.pid",
        "/usr/share/nginx",
    )
    assert build.error_log == "/usr/share/nginx/stderr"
    assert build.dynamic_modules == ("http-echo", "http_geoip_module", "mail", "stream")
    assert "http_realip_module" in build.static_modules
    assert "http_map_module" in build.static_modules
    can = build.capabilities
    assert (can.ssl, can.http2, can.tls13, can.auth_request, can.realip, can.regex, can.limit_req) == (True,) * 7
    assert (can.ssl_reject_handshake, can.ssl_conf_command) == (True, True)
    assert (can.http2_directive, can.http3) == (False, False)


def test_build_of_mainline() -> None:
    """Report new directives; excluded modules are missing."""
    build = parse_build(MAINLINE)
    assert build.version == "1.27.4"
    assert build.tls_running == build.tls_built == "OpenSSL 3.5.0 8 Apr 2025"
    assert build.pid_file == "/etc/nginx/logs/nginx.pid"
    assert (build.capabilities.http2_directive, build.capabilities.http3) == (True, True)
    assert (build.capabilities.auth_request, build.capabilities.realip) == (False, False)


def test_old_build_without_modules() -> None:
    """Report no feature that the build lacks."""
    can = parse_build(OLD).capabilities
    assert can.ssl
    absent = (can.tls13, can.ssl_reject_handshake, can.ssl_conf_command, can.regex, can.limit_req, can.http2)
    assert not any(absent)
    build = parse_build(FORK)
    assert (build.product, build.tls_built, build.capabilities.ssl) == ("openresty", None, False)
    assert build.conf_file == "/usr/local/openresty/nginx/conf/nginx.conf"


@pytest.mark.parametrize(
    ("version", "expected"), [("1.25.0", False), ("1.25.1", True), ("1.9.15", False), ("1.30.0", True)]
)
def test_numbers_are_compared_as_numbers(version: str, expected: bool) -> None:
    """Compare versions by number: 1.9 is older than 1.25."""
    assert parse_build(MAINLINE.replace("1.27.4", version)).capabilities.http2_directive is expected


def test_output_of_another_program_is_rejected() -> None:
    """Reject the output of another program."""
    with pytest.raises(MtlsError, match="printed no version"):
        parse_build("Apache/2.4")
