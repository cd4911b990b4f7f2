# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that other servers and settings of the same nginx neither open nor close a gate."""

from __future__ import annotations

import re
import secrets
import socket
import ssl
import time
import urllib.request
from typing import TYPE_CHECKING

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from cryptography.hazmat.primitives.serialization import Encoding
from support.audit import look
from support.lab import Lab, built, curl, free_ports, make_certificate, write_pair
from support.nginx import children

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NEIGHBOUR = "neighbour.example"


def _settings(lab: Lab) -> str:
    """A neighbour on the first site's address that resumes sessions and trusts a CA of its own, and settings that leak."""
    foreign = lab.root / "tls" / "foreign-ca.pem"
    ca = make_certificate("Foreign CA", is_ca=True, eku=None)
    lab.make_server_certificate("neighbour", NEIGHBOUR)
    foreign.write_bytes(ca[0].public_bytes(Encoding.PEM))
    lab.foreigner = write_pair(lab.root / "tls" / "foreigner", *make_certificate("eve", issuer=ca))
    return f"""
        ssl_conf_command VerifyCAFile {foreign};
        ssl_trusted_certificate {foreign};
        ssl_ciphers ALL:@SECLEVEL=0;
        proxy_set_header X-Client-Name forged;
        underscores_in_headers on;
        server {{
            listen 127.0.0.1:{lab.sites[0].port} ssl default_server;
            server_name {NEIGHBOUR};
            ssl_certificate {lab.root}/tls/neighbour.crt;
            ssl_certificate_key {lab.root}/tls/neighbour.key;
            ssl_protocols TLSv1.1 TLSv1.2 TLSv1.3;
            ssl_session_cache shared:neighbour:1m;
            ssl_session_tickets on;
            ssl_verify_client on;
            ssl_client_certificate {foreign};
            location / {{ return 200 "neighbour"; }}
        }}
    """


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab whose second site shares the address of the first, and of the neighbour."""
    seed = secrets.randbelow(10**9)
    print(f"seed {seed}")
    with built(tmp_path_factory.mktemp("lab"), seed, http=_settings, clients=2) as lab:
        lab.sites[1].port = lab.sites[0].port
        lab.sites[1].entry["listen"] = lab.sites[0].entry["listen"]
        run = lab.play()
        assert run.code == 0, run.output
        yield lab


def _context(pair: tuple[Path, Path], version: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    context.load_cert_chain(*map(str, pair))
    return context


def _ask(
    lab: Lab, context: ssl.SSLContext, name: str, session: ssl.SSLSession | None
) -> tuple[bytes, ssl.SSLSession | None, bool]:
    address = ("127.0.0.1", lab.sites[0].port)
    with (
        socket.create_connection(address, 10) as raw,
        context.wrap_socket(raw, server_hostname=name, session=session) as tls,
    ):
        tls.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: tls.recv(65536), b""))
        return answer, tls.session, bool(tls.session_reused)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_session_verified_by_a_neighbour_admits_no_client(lab: Lab, version: ssl.TLSVersion) -> None:
    context = _context(lab.foreigner, version)
    answer, session, _reused = _ask(lab, context, NEIGHBOUR, None)
    assert answer.endswith(b"neighbour"), "the neighbour takes its own clients"
    assert _ask(lab, context, NEIGHBOUR, session)[2], "and resumes their sessions"
    before = lab.reached()
    try:
        answer = _ask(lab, context, lab.sites[0].server_name, session)[0]
    except ssl.SSLError:  # newer nginx ends the handshake
        answer = b"HTTP/1.1 421 "
    assert answer.split(b" ")[1] in (b"403", b"421"), answer
    assert lab.reached() == before


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_valid_client_is_admitted_on_every_connection(lab: Lab, version: ssl.TLSVersion) -> None:
    name = lab.roster[0]["name"]
    context, session = _context((lab.client(name, "crt"), lab.client(name, "key")), version), None
    for _time in range(4):
        answer, session, reused = _ask(lab, context, lab.sites[0].server_name, session)
        assert b" 200 " in answer.split(b"\r\n")[0]
        assert not reused


def test_http_level_settings_do_not_change_verdicts(lab: Lab) -> None:
    name = lab.roster[0]["name"]
    before = lab.reached()
    for site in lab.sites:
        for pair in (None, lab.foreigner):
            certificate = ["--cert", str(pair[0]), "--key", str(pair[1])] if pair else []
            assert curl(site, lab, *certificate)[0] == 403
    assert lab.reached() == before
    for site in lab.sites:
        status, body = curl(site, lab, "--cert", str(lab.client(name, "crt")), "--key", str(lab.client(name, "key")))
        assert status == 200
        assert "forged" not in body


@pytest.mark.parametrize("protocol", ["--http1.1", "--http2"])
def test_one_connection_for_two_sites_is_sent_back_to_make_another(lab: Lab, protocol: str) -> None:
    name, (one, other) = lab.roster[0]["name"], lab.sites
    before = lab.reached()
    pair = ["--cert", str(lab.client(name, "crt")), "--key", str(lab.client(name, "key"))]
    status, body = curl(one, lab, protocol, *pair, "-H", f"Host: {other.server_name}")
    assert status == 421, body
    assert lab.reached() == before


def _reload(lab: Lab) -> None:
    """Reload and wait until no former worker is left."""
    before = children(lab.nginx.pid)
    lab.nginx.reload()
    while set(before) & set(children(lab.nginx.pid)):
        time.sleep(0.02)


def test_old_tls_of_a_neighbour_admits_no_client(lab: Lab) -> None:
    name = lab.roster[0]["name"]
    before = lab.reached()
    old = ["--tlsv1.1", "--tls-max", "1.1", "--ciphers", "ALL:@SECLEVEL=0"]
    pair = ["--cert", str(lab.client(name, "crt")), "--key", str(lab.client(name, "key"))]
    # The neighbour's protocols are in force, but none of the site's ciphers is that old. The verdict asks for the protocol too.
    assert curl(lab.sites[0], lab, *old, *pair)[0] == 0
    site = lab.nginx.prefix / "quietdoor" / "gate" / "sites" / f"{lab.sites[0].name}.conf"
    text = site.read_text()
    site.write_text(re.sub(r"ssl_ciphers [^;]+;", "ssl_ciphers ALL:@SECLEVEL=0;", text))
    try:
        _reload(lab)
        status, body = curl(lab.sites[0], lab, *old, *pair)
        assert status == 403, body
    finally:
        site.write_text(text)
        _reload(lab)
    assert lab.reached() == before


@pytest.fixture
def stray(lab: Lab) -> Iterator[Path]:
    """A file of http beside the gate, which is gone afterwards."""
    path = lab.nginx.prefix / "conf.d" / "zz.conf"
    yield path
    path.unlink()
    _reload(lab)


def test_inherited_password_refuses_certificates_and_is_an_error(lab: Lab, stray: Path) -> None:
    stray.write_text('auth_basic "intern only"; auth_basic_user_file /dev/null;\n')
    _reload(lab)
    name = lab.roster[0]["name"]
    pair = ["--cert", str(lab.client(name, "crt")), "--key", str(lab.client(name, "key"))]
    assert [curl(site, lab, *pair)[0] for site in lab.sites] == [401, 401]
    with pytest.raises(MtlsError) as problem:
        look(lab.nginx)
    assert f'{stray}:1: auth_basic "intern only" refuses clients with a valid certificate too' in str(problem.value)
    hint = f'Write auth_basic "intern only"; in the servers that need it instead of line 1 of {stray}'
    assert hint in str(problem.value.hint)


def test_inherited_question_has_no_effect_and_is_an_error(lab: Lab, stray: Path) -> None:
    stray.write_text("auth_request /question; deny all;\n")
    with pytest.raises(MtlsError) as problem:
        look(lab.nginx)
    assert f"{stray}:1: auth_request /question of http has no effect for this site" in str(problem.value)
    stray.write_text("deny all;\n")
    found = [one for one in look(lab.nginx).survey.findings if one.file == str(stray)]
    assert {(one.opens, one.what.partition(" applies")[0]) for one in found} == {(False, "deny all")}


def test_server_with_a_client_certificate_reaches_the_application_and_is_an_error(lab: Lab, stray: Path) -> None:
    (port,), name, site = free_ports(1), lab.roster[0]["name"], lab.sites[0]
    certificate = (
        f"proxy_ssl_certificate {lab.client(name, 'crt')}; proxy_ssl_certificate_key {lab.client(name, 'key')};"
    )
    address = f"proxy_set_header Host {site.server_name}; proxy_ssl_server_name on; proxy_ssl_name {site.server_name};"
    to_gate = f"location / {{ {certificate} {address}\nproxy_pass https://127.0.0.1:{site.port}; }}"
    stray.write_text(f"server {{ listen 127.0.0.1:{port}; {to_gate} }}\n")
    _reload(lab)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
        assert answer.status == 200
    with pytest.raises(MtlsError, match="passes requests through the gate of site") as problem:
        look(lab.nginx)
    assert f"{stray}:2: proxy_pass https://127.0.0.1:{site.port}" in str(problem.value)


def test_neighbour_with_proxy_protocol_shuts_the_address_and_is_an_error(lab: Lab, stray: Path) -> None:
    site, name = lab.sites[0], lab.roster[0]["name"]
    listen = f"listen 127.0.0.1:{site.port} ssl proxy_protocol;"
    tls = f"ssl_certificate {lab.root}/tls/neighbour.crt; ssl_certificate_key {lab.root}/tls/neighbour.key;"
    stray.write_text(f"server {{ server_name late.example; {tls}\n{listen} }}\n")
    with pytest.raises(MtlsError) as problem:
        look(lab.nginx)
    assert f"{stray}:2: proxy_protocol is required of every connection to 127.0.0.1:{site.port}" in str(problem.value)
    assert f"Remove proxy_protocol from line 2 of {stray}" in str(problem.value.hint)
    _reload(lab)
    assert curl(site, lab, "--cert", str(lab.client(name, "crt")), "--key", str(lab.client(name, "key")))[0] == 0


def test_gate_variable_defined_elsewhere_is_refused_with_its_line(lab: Lab) -> None:
    stray = lab.nginx.prefix / "conf.d" / "zz.conf"
    stray.write_text('map "" $quietdoor_denied { default 0; }\n')
    try:
        lab.sites[0].entry["contact"] = "somebody else"
        run = lab.play()
    finally:
        stray.unlink()
    assert run.code != 0
    assert "conf.d/zz.conf line 1 defines $quietdoor_denied" in run.output
