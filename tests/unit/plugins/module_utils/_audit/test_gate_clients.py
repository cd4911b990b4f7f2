# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which servers with a client certificate of nginx the audit finds in front of a gate."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._audit.audit import audit_configuration
from ansible_collections.quietdoor.mtls.plugins.module_utils._audit.findings import Finding
from ansible_collections.quietdoor.mtls.plugins.module_utils._contracts.gate_manifest import ProtectedSite
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.config_model import read_dump

HOME = "/etc/nginx/quietdoor/gate/"
APP = "http://127.0.0.1:3000"
SITE = ProtectedSite("app", "vhost", ("app.test", "alias.test"), (("*", 443),), (APP,))
GATE = (
    f"server {{ listen 443 ssl; server_name app.test alias.test; auth_request /v; location / {{ proxy_pass {APP}; }} }}"
)
CERTIFICATE = "proxy_ssl_certificate c.crt; proxy_ssl_certificate_key c.key;"
SENT = f"{CERTIFICATE} proxy_ssl_server_name on;"


def found(own: str, stream: str = "", site: ProtectedSite = SITE) -> list[Finding]:
    """Return the findings about ``own`` in the http block, beside the gate."""
    main = "http { include sites/own; } stream { include sites/stream; }"
    texts = {"/etc/nginx/nginx.conf": main, "/etc/nginx/sites/own": f"{own}\ninclude {HOME}sites/app.conf;"}
    texts |= {f"{HOME}sites/app.conf": GATE, "/etc/nginx/sites/stream": stream}
    dump = "".join(f"# configuration file {path}:\n{text}\n" for path, text in texts.items())
    return list(audit_configuration(read_dump(dump), [site], HOME, lenient=False).findings)


def server(content: str, listen: str = "8080") -> str:
    """Return a server beside the gate whose ``content`` begins in line 2."""
    return f"server {{ listen {listen}; server_name old.test;\n{content} }}"


@pytest.mark.parametrize(
    "own",
    [
        server(f"location / {{ {SENT} proxy_pass https://app.test; }}"),
        server(f"location / {{ {SENT} proxy_pass https://ALIAS.test:443/x; }}"),
        server(f"location / {{ {SENT} proxy_pass HTTPS://app.test; }}"),
        server(f"location / {{ {SENT} proxy_ssl_name app.test; proxy_pass https://127.0.0.1; }}"),
        server(f"location / {{ {SENT} proxy_ssl_name app.test; proxy_pass https://192.0.2.1; }}"),
        server(f"location / {{ {SENT} proxy_ssl_name $host; proxy_pass https://127.0.0.1; }}"),
        server(f"location / {{ {SENT} set $to app.test; proxy_pass https://$to; }}"),
        server(f"location / {{ if ($arg_x) {{ proxy_pass https://app.test; }} }} {SENT}"),
        f"upstream app.test {{ server 127.0.0.1:443; }} {SENT} {server('location / { proxy_pass https://app.test; }')}",
        f"{CERTIFICATE} {server('location / { proxy_ssl_server_name on; proxy_pass https://app.test; }')}",
        server(f"location / {{ {SENT.replace('proxy', 'grpc')} grpc_pass grpcs://app.test; }}"),
        server(f"location / {{ {SENT.replace('proxy', 'uwsgi')} uwsgi_pass suwsgi://app.test:443; }}"),
    ],
)
def test_server_that_passes_the_gate_with_a_certificate_is_an_error_with_its_line(own: str) -> None:
    (finding,) = found(own)
    assert (finding.opens, finding.file, finding.line) == (True, "/etc/nginx/sites/own", 2)
    assert "passes requests through the gate of site app with the" in finding.what
    assert finding.hint.startswith("Remove line 2 of /etc/nginx/sites/own")


@pytest.mark.parametrize(
    "location",
    [
        "proxy_ssl_server_name on; proxy_pass https://app.test;",
        f"{CERTIFICATE} proxy_pass https://app.test;",
        f"{SENT} proxy_pass http://app.test:443;",
        f"{SENT} proxy_pass https://app.test:8443;",
        f"{SENT} proxy_pass https://other.test;",
        f"{SENT} proxy_ssl_name other.test; proxy_pass https://127.0.0.1;",
        f"{SENT} proxy_ssl_name $host; proxy_pass https://192.0.2.1;",
        f"{SENT} proxy_pass https://unix:/run/x;",
        f'{SENT} proxy_ssl_certificate ""; proxy_pass https://app.test;'.replace(CERTIFICATE, ""),
    ],
)
def test_server_that_does_not_pass_the_gate_is_not_mentioned(location: str) -> None:
    assert found(server(f"location / {{ {location} }}")) == []


def test_limited_server_and_early_stage_are_warnings() -> None:
    location = f"location / {{ {SENT} proxy_pass https://app.test; }}"
    assert [one.opens for one in found(server(location, "127.0.0.1:8080"))] == [False]
    assert [one.opens for one in found(server(f"internal; {location}"))] == [False]
    assert [one.opens for one in found(server(location), site=replace(SITE, enforced=False))] == [False]


def test_gate_itself_is_not_mentioned() -> None:
    assert found(SENT) == []


def test_server_of_stream_is_an_error() -> None:
    own = f"server {{ listen 99; proxy_ssl on; {SENT} proxy_ssl_name app.test;\nproxy_pass 127.0.0.1:443; }}"
    (finding,) = found("", own)
    assert (finding.opens, finding.file, finding.line) == (True, "/etc/nginx/sites/stream", 2)
    assert found("", own.replace("proxy_ssl on;", "")) == []
