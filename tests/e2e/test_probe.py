# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The probe against real gates: one that is right passes everything, and each that is broken is caught by the matching check."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import http.server
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks import catalogue
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks.options import gate_from
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks.report import report
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks.session import ProbeSession
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._contracts.status_protocol import (
    STATUS_PATH,
    VERDICT_HEADER,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._probe.forged_certificates import ForgedCertificateFactory
from ansible_collections.quietdoor.mtls.plugins.module_utils._probe.http_client import ask_resumed, take_session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from support import programs
from support.nginx import RELEASES, nginx_binary
from support.nginx import free_port as free_port_of
from support.probe import Echo, probe, red

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GATES = pathlib.Path(__file__).parent / "probe_gates"
NAME, CONTACT = "gate.test", "it@gate.test"
_NOW = datetime.datetime.now(datetime.timezone.utc)
_DAY = datetime.timedelta(days=1)


# --- certificates ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Authority:
    """A CA made for these tests."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def make(cls, common_name: str) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("Kürsch & Söhne, GmbH", common_name)
        builder = _builder(name, name, key.public_key(), _NOW - _DAY, _NOW + 30 * _DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        return cls(key, builder.sign(key, hashes.SHA256()))

    def issue(
        self,
        directory: pathlib.Path,
        file: str,
        *,
        usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
        names: tuple[str, ...] = (),
        days: tuple[int, int] = (-1, 10),
        key: Any = None,
    ) -> x509.Certificate:
        """Write <file>.crt and <file>.key."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        subject = _name("Gate", f"{file.title()}, «the one»")
        builder = _builder(
            subject, self.certificate.subject, key.public_key(), _NOW + days[0] * _DAY, _NOW + days[1] * _DAY
        )
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        builder = builder.add_extension(issuer, critical=False)
        if names:
            alternative = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
            builder = builder.add_extension(alternative, critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        (directory / f"{file}.crt").write_bytes(_pem(certificate))
        (directory / f"{file}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return certificate

    def crl(self, *revoked: x509.Certificate) -> bytes:
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.certificate.subject)
        builder = builder.last_update(_NOW - _DAY).next_update(_NOW + 20 * _DAY)
        for certificate in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(_NOW).build())
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _name(organization: str, common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Any, begin: datetime.datetime, end: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True)
class Papers:
    """Everything the tests show or install, in one directory."""

    directory: pathlib.Path
    authority: Authority
    revoked: x509.Certificate
    bea: x509.Certificate

    def path(self, name: str) -> str:
        return str(self.directory / name)

    def client(self, name: str, **more: str) -> dict[str, str]:
        return {"name": name, "certificate": self.path(f"{name}.crt"), "key": self.path(f"{name}.key"), **more}

    @property
    def clients(self) -> list[dict[str, str]]:
        return [
            self.client("alex"),
            self.client("bea"),
            self.client("carl", expect="deny", kind="revoked"),
            self.client("eve", expect="deny", kind="expired"),
            self.client("server", expect="deny", kind="server_auth"),
            self.client("stranger", expect="deny", kind="foreign"),
        ]


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    directory = tmp_path_factory.mktemp("papers")
    authority, web, stranger = (Authority.make(name) for name in ("Door CA", "Web CA", "Stranger's CA"))
    web.issue(directory, "web", usage=ExtendedKeyUsageOID.SERVER_AUTH, names=(NAME, f"*.{NAME}"))
    authority.issue(directory, "alex", key=rsa.generate_private_key(65537, 2048))
    bea = authority.issue(directory, "bea")
    carl = authority.issue(directory, "carl")
    authority.issue(directory, "eve", days=(-9, -2))
    authority.issue(directory, "server", usage=ExtendedKeyUsageOID.SERVER_AUTH)
    stranger.issue(directory, "stranger")
    (directory / "ca.pem").write_bytes(_pem(authority.certificate))
    (directory / "web-ca.pem").write_bytes(_pem(web.certificate))
    (directory / "crl.pem").write_bytes(authority.crl(carl))
    return Papers(directory, authority, carl, bea)


# --- the application and nginx ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def app() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", free_port()), Echo)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def free_port() -> int:
    """Return a port of this test alone."""
    return free_port_of(19000, 19999, never_given=True)


@dataclass(frozen=True)
class Change:
    """One piece of a right gate that is made wrong."""

    old: str
    new: str
    file: str = "gate.conf"

    def apply(self, name: str, text: str) -> str:
        if name != self.file:
            return text
        assert self.old in text, f"{self.old!r} is not in {name} any more"
        return text.replace(self.old, self.new)


class Nginx:
    """A throw-away nginx in a directory of its own."""

    def __init__(self, directory: pathlib.Path, papers: Papers, app: int, binary: str) -> None:
        self.directory, self.port, self._app, self._binary = directory, free_port(), app, binary
        for name in ("web.crt", "web.key", "ca.pem", "crl.pem"):
            shutil.copy(papers.path(name), directory / name)
        (directory / "tmp").mkdir()

    def write(self, name: str, text: str) -> None:
        # As root nginx would drop to a user that cannot read a temporary directory of root's.
        values = {"PORT": str(self.port), "APP": str(self._app), "USER": "user root;" if os.geteuid() == 0 else ""}
        for word, value in values.items():
            text = text.replace(word, value)
        (self.directory / name).write_text(text)

    def run(self, *arguments: str) -> None:
        argv = [self._binary, "-p", f"{self.directory}/", "-c", str(self.directory / "gate.conf"), "-e", "error.log"]
        done = subprocess.run([*argv, *arguments], capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr

    def reload(self) -> None:
        """Reload, and wait until no old worker is left: they go on accepting connections for a moment."""
        old = self._workers()
        self.run("-s", "reload")
        for _time in range(500):
            if not old & self._workers():
                return
            time.sleep(0.02)
        raise AssertionError("an old worker does not end")

    def _workers(self) -> set[int]:
        master = (self.directory / "nginx.pid").read_text().strip()
        children = set()
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                pid, rest = stat.read_text().split(" ", 1)
                if rest.rpartition(")")[2].split()[1] == master:
                    children.add(int(pid))
        return children

    def await_answer(self, wanted: bool = True) -> None:
        for _time in range(200):
            with socket.socket() as trial:
                if (trial.connect_ex(("127.0.0.1", self.port)) == 0) == wanted:
                    return
            time.sleep(0.02)
        raise AssertionError(f"port {self.port}: listening is not {wanted}")


@pytest.fixture
def version() -> str:
    """This machine's own nginx, unless a test asks for each of RELEASES."""
    return ""


@pytest.fixture
def start(tmp_path: pathlib.Path, papers: Papers, app: int, version: str) -> Iterator[Callable[..., Nginx]]:
    running: list[Nginx] = []

    def run(*changes: Change) -> Nginx:
        nginx = Nginx(tmp_path, papers, app, nginx_binary(version))
        for name in ("gate.conf", "proxied.conf", "refused.html"):
            text = (GATES / name).read_text()
            for change in changes:
                text = change.apply(name, text)
            nginx.write(name, text)
        nginx.run()
        running.append(nginx)
        nginx.await_answer()
        return nginx

    yield run
    for nginx in running:
        nginx.run("-s", "stop")
        nginx.await_answer(wanted=False)


# --- asking ----------------------------------------------------------------------------------------------------------


def options(papers: Papers, port: int, **more: Any) -> dict[str, Any]:
    return {
        "url": f"https://{NAME}:{port}/panel/",
        "address": "127.0.0.1",
        "server_ca": papers.path("web-ca.pem"),
        "client_ca": papers.path("ca.pem"),
        "other_server_name": f"other.{NAME}",
        "clients": papers.clients,
        "echo_path": "/echo",
        "contact": CONTACT,
        "generation": {"gate": 7, "trust": 1732362000},
        "expect_http2": True,
        "timeout": 5,
        **more,
    }


# --- a right gate ----------------------------------------------------------------------------------------------------

OTHER_SITE = Change(
    "ssl_reject_handshake on;\n        return 421;", 'location / { return 200 "It works!\\n"; }'
)  # the default server is not part of the gate; the guards of the gate must suffice


PAGE_NAMES_THE_REQUEST = Change(
    'default_type "text/html; charset=utf-8";\n            alias refused.html;',
    'default_type text/html; return 403 "<p>Ask it@gate.test, and name $request_id.</p>";',
)


@pytest.mark.parametrize("version", RELEASES)
@pytest.mark.parametrize(
    "changes",
    [(), (OTHER_SITE,), (PAGE_NAMES_THE_REQUEST,)],
    ids=["own default server", "somebody else's default server", "page that names the request"],
)
def test_a_right_gate_passes_every_check(
    start: Callable[..., Nginx], papers: Papers, tmp_path: pathlib.Path, changes: tuple[Change, ...]
) -> None:
    nginx = start(*changes)
    clients = [*papers.clients, papers.client("nobody", expect="deny", kind="other")]
    shutil.copy(papers.path("stranger.crt"), papers.path("nobody.crt"))
    shutil.copy(papers.path("stranger.key"), papers.path("nobody.key"))

    outcome = probe(tmp_path, options(papers, nginx.port, clients=clients, plain_ports=[free_port()]))

    assert red(outcome) == set(), outcome["table"]
    # The tests with rendered gates cover the features that only some sites have.
    left_out = {"not_allowed", "unlisted_page", "public_part", "public_headers", "websocket", "rate_limit"}
    assert {entry["name"] for entry in outcome["checks"]} == set(catalogue.NAMES) - left_out
    assert {entry["name"] for entry in outcome["left_out"]} == left_out
    assert outcome["left_out"][0] == {
        "name": "not_allowed",
        "missing": "no client with expect=deny and kind=valid was given",
    }
    assert outcome["generation"] == {"gate": 7, "trust": 1732362000}
    assert (outcome["passed"], outcome["deviations"]) == (len(outcome["checks"]), 0)


def test_application_is_recognized_by_its_page_without_an_echo(
    start: Callable[..., Nginx], papers: Papers, tmp_path: pathlib.Path
) -> None:
    outcome = probe(tmp_path, options(papers, start(OTHER_SITE).port, echo_path=None))
    assert red(outcome) == set(), outcome["table"]
    assert {"name": "identity_headers", "missing": "echo_path was not given"} in outcome["left_out"]


def test_without_a_client_and_an_echo_what_cannot_be_told_apart_is_not_passed(
    start: Callable[..., Nginx], papers: Papers, tmp_path: pathlib.Path
) -> None:
    outcome = probe(tmp_path, options(papers, start().port, echo_path=None, clients=[], client_ca=None))
    assert red(outcome) == {"sni_other", "hostile_requests", "http2_requests"}, outcome["table"]
    assert {entry["name"] for entry in outcome["left_out"]} > {"valid", "look_alike", "revoked", "identity_headers"}


# --- broken gates ----------------------------------------------------------------------------------------------------

VERIFY = "ssl_verify_client on;"
REFUSAL = "error_page 495 496 403 405 =403 /.quietdoor/refused;"
SNI_GUARD = "if ($ssl_server_name != gate.test) { return 421; }"
HOST_GUARD = "if ($host != gate.test) { return 421; }"
GENERATION = 'X-Quietdoor-Generation "gate=7 trust=1732362000"'
DEFAULT_SERVER = "ssl_reject_handshake on;\n        return 421;"
BAD = "map $ssl_client_verify:$request_method:$http_x_client_verify $bad { ~^SUCCESS: 0; %s 0; default 1; }"


def home_grown(exception: str) -> tuple[Change, ...]:
    """A gate that verifies nothing in the handshake and judges by a map of its own, with a hole in it."""
    check = "if ($bad) { return 403; }"
    return (
        Change("http {", f"http {{ {BAD % exception}"),
        Change(VERIFY, "ssl_verify_client optional;"),
        Change("location / {\n            include", f"location / {{ {check} include"),
        Change("location = /.well-known/quietdoor {", f"location = /.well-known/quietdoor {{ {check}"),
    )


TO_APP = "location @app { include proxied.conf; }\n        location / {"
OTHER_SERVER = "server_name other.gate.test;"

# Checks without a certificate and with a foreign one. nginx's bare 400 to odd spellings and shapes does not count as a deviation.
EITHER = {"friendly_page", "hostile_requests", "internal_locations", "http2_requests"}
ODD = {"spellings", "smuggling"}
NO_CERTIFICATE = {"no_certificate", "header_spoofing", "tls_versions"} | EITHER | ODD
BARE_400 = {"foreign", "look_alike", "self_signed", "expired", "revoked", "server_auth_only"} | EITHER
BAD_CERTIFICATE = BARE_400 | ODD

BROKEN: dict[str, tuple[tuple[Change, ...], set[str]]] = {
    "a certificate is optional": ((Change(VERIFY, "ssl_verify_client optional;"),), NO_CERTIFICATE),
    "any CA will do": (
        (Change(VERIFY, "ssl_verify_client optional_no_ca;"), Change("ssl_crl crl.pem;", "")),
        NO_CERTIFICATE | {"foreign", "look_alike", "self_signed", "revoked"},
    ),
    "the CA is known by its name only": (
        (
            Change("http {", "http { map $ssl_client_i_dn $bad { '~^CN=Door CA,' 0; default 1; }"),
            *home_grown("~never")[2:],
            Change(VERIFY, "ssl_verify_client optional_no_ca;"),
            Change("ssl_client_certificate ca.pem;", "ssl_client_certificate web.crt;"),
            Change("ssl_crl crl.pem;", ""),
        ),
        {"look_alike", "revoked", "server_auth_only", "identity_headers", "friendly_page", "ca_names"},
    ),
    "no CRL": ((Change("ssl_crl crl.pem;", ""),), {"revoked", "friendly_page"}),
    "no SNI guard, and a default server that verifies less": (
        (
            Change(DEFAULT_SERVER, "ssl_verify_client optional; ssl_client_certificate ca.pem;"),
            Change(SNI_GUARD, ""),
        ),
        {"sni_none", "sni_unknown"},
    ),
    "another site proxies to the application": (
        (Change('return 200 "another site\\n";', "include proxied.conf;"),),
        {"sni_other", "hostile_requests", "http2_requests"},
    ),
    "the default server proxies to the application": (
        (
            Change(DEFAULT_SERVER, "location / { include proxied.conf; }"),
            Change(OTHER_SERVER, "server_name unused.test;"),
        ),
        {"sni_other", "hostile_requests", "http2_requests"},
    ),
    "the identity headers are not set": (
        (Change("proxy_set_header X-Client-", "# ", "proxied.conf"),),
        {"identity_headers"},
    ),
    "one identity header is left alone": (
        (Change('proxy_set_header X-Client-Roles "";', "", "proxied.conf"),),
        {"identity_headers"},
    ),
    "one proxy_set_header in the location drops the inherited ones": (
        (
            Change("include proxied.conf;", "proxy_pass http://127.0.0.1:APP; proxy_set_header X-A b;\n"
                   "proxy_hide_header X-Quietdoor-Verdict; proxy_hide_header X-Quietdoor-Generation;"),
        ),
        {"identity_headers"},
    ),
    "the wrong subject": (
        (Change("X-Client-DN $ssl_client_s_dn;", "X-Client-DN $ssl_client_s_dn_legacy;", "proxied.conf"),),
        {"identity_headers"},
    ),
    "headers with underscores": ((Change("server_tokens off;", "underscores_in_headers on;"),), {"identity_headers"}),
    "X-Forwarded-For is added to": (
        (Change("X-Forwarded-For $remote_addr", "X-Forwarded-For $proxy_add_x_forwarded_for", "proxied.conf"),),
        {"identity_headers"},
    ),
    "a forged header is believed": (
        home_grown("~:SUCCESS$"),
        {"header_spoofing"},
    ),
    "a method is forgotten": (
        home_grown("~:PUT:"),
        {"hostile_requests"},
    ),
    "tickets": ((Change("ssl_session_tickets off;", ""),), {"resumption"}),
    "a session cache": ((Change("ssl_session_cache off;", "ssl_session_cache shared:tls:1m;"),), {"resumption"}),
    "plain HTTP reaches the application": (
        (Change("error_page 497 =301 https://$host:PORT$request_uri;", "error_page 497 = @app;"),
         Change("location / {\n            include", f"{TO_APP}\n            include")),
        {"plain_http_on_tls_port"},
    ),
    "plain HTTP is sent elsewhere": (
        (Change("https://$host:PORT$request_uri", "https://www.gate.test$request_uri"),),
        {"plain_http_on_tls_port"},
    ),
    "old TLS": (
        (Change("ssl_protocols TLSv1.2", "ssl_ciphers DEFAULT:@SECLEVEL=0;\n ssl_protocols TLSv1 TLSv1.1 TLSv1.2"),),
        {"tls_versions"},
    ),
    "no TLS 1.3": ((Change("TLSv1.2 TLSv1.3", "TLSv1.2"),), {"tls_versions"}),
    "ciphers that encrypt nothing": (
        (Change("ssl_protocols TLSv1.2", "ssl_ciphers ALL:eNULL:@SECLEVEL=0;\n ssl_protocols TLSv1.2"),),
        {"ciphers"},
    ),
    "the CAs are not named": (
        (Change("ssl_client_certificate ca.pem;", "ssl_client_certificate web.crt; ssl_trusted_certificate ca.pem;"),),
        {"ca_names"},
    ),
    "an upgrade is believed": (
        (Change("http {", "http { map $ssl_client_verify:$http_upgrade $bad { ~^SUCCESS: 0; ~:h2c$ 0; default 1; }"),
         *home_grown("~never")[1:]),
        {"smuggling"},
    ),
    "HTTP/2 is believed": (
        (Change("http {", "http { map $ssl_client_verify:$server_protocol $bad { ~^SUCCESS: 0; ~:HTTP/2.0$ 0; default 1; }"),
         *home_grown("~never")[1:]),
        {"http2_requests"},
    ),
    "another spelling is open": (
        (Change("http {", "http { map $ssl_client_verify:$request_uri $bad { ~^SUCCESS: 0; ~:/PANEL 0; default 1; }"),
         *home_grown("~never")[1:]),
        {"spellings"},
    ),
    "HSTS on plain HTTP": (
        (Change("error_page 497", "add_header Strict-Transport-Security max-age=60 always; error_page 497"),),
        {"hsts"},
    ),
    "sessions of the default server": (
        (Change(DEFAULT_SERVER, "ssl_verify_client on; ssl_client_certificate ca.pem; return 204;"),
         Change("ssl_session_cache off;", "ssl_session_cache shared:tls:1m;"),
         Change(SNI_GUARD, "")),
        {"resumption", "resumption_elsewhere", "sni_none", "sni_unknown"},
    ),
    "no HTTP/2": ((Change(" http2", ""),), {"http2"}),
    "refused by an upstream, with 403": (
        (Change("495 496 403", "403"), Change(REFUSAL.replace("495 496 ", ""), REFUSAL.replace("495 496 ", "") +
                " error_page 495 496 =403 /.quietdoor/by-upstream;"),
         Change("location / {\n            include", 'location = /.quietdoor/by-upstream { return 403 "no"; }\n'
                "location / {\n            include")),
        NO_CERTIFICATE | BAD_CERTIFICATE | {"generation"},
    ),
    "refused by an upstream that is down": (
        (Change(REFUSAL, "error_page 495 496 = @down;"),
         Change("location / {\n            include", "location @down { proxy_pass http://127.0.0.1:9; }\n"
                "location / {\n            include")),
        NO_CERTIFICATE | BAD_CERTIFICATE | {"generation"},
    ),
    "bad certificates are proxied to the application": (
        (Change(REFUSAL, REFUSAL.replace("495 ", "") + " error_page 495 = @app;"),
         Change("location / {\n            include", f"{TO_APP}\n            include")),
        BAD_CERTIFICATE,
    ),
    "bad certificates get nginx's bare 400": ((Change("495 496", "496"),), BARE_400),
    "the application is down": (
        (Change("http://127.0.0.1:APP", "http://127.0.0.1:9", "proxied.conf"),),
        {"valid", "identity_headers", "http2_requests"},
    ),
    "the application speaks for the gate": (
        (Change("proxy_hide_header X-Quietdoor-Verdict;", "", "proxied.conf"),),
        {"valid", "http2_requests"},
    ),
    "nobody gets in": (
        (Change("ssl_client_certificate ca.pem;", "ssl_client_certificate web.crt;"),),
        {"valid", "identity_headers", "tls_versions", "ca_names", "http2_requests"},
    ),
    "no generation": ((Change(f"add_header {GENERATION} always;", ""),), {"generation"}),
    "an old generation": ((Change("gate=7 trust=1732362000", "gate=6 trust=1732362000"),), {"generation"}),
    "old trust": ((Change("gate=7 trust=1732362000", "gate=7 trust=1732300000"),), {"generation"}),
    "two generations at once": (
        (Change("http {", "http { map $connection $other { ~[02468]$ 6; default 7; }"), Change('"gate=7', '"gate=$other')),
        {"generation"},
    ),
    "a page that loads a style sheet": (
        (Change("</head>", '<link rel="stylesheet" href="/style.css"></head>', "refused.html"),),
        {"friendly_page"},
    ),
    "a page that loads a font": (
        (Change("<style>", "<style>@font-face { src: url(/x.woff) } ", "refused.html"),),
        {"friendly_page"},
    ),
    "a page that names nobody": ((Change(CONTACT, "somebody", "refused.html"),), {"friendly_page"}),
    "a page that is kept": ((Change("add_header Cache-Control no-store always;", ""),), {"friendly_page"}),
    "a page that is no HTML": ((Change("text/html; charset=utf-8", "text/plain"),), {"friendly_page"}),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_broken_gate_is_found_by_the_matching_checks(
    start: Callable[..., Nginx], papers: Papers, tmp_path: pathlib.Path, what: str
) -> None:
    changes, expected = BROKEN[what]
    outcome = probe(tmp_path, options(papers, start(*changes).port))
    assert red(outcome) == expected, outcome["table"]


def test_the_default_server_is_caught_without_an_echo_too(
    start: Callable[..., Nginx], papers: Papers, tmp_path: pathlib.Path
) -> None:
    changes, expected = BROKEN["the default server proxies to the application"]
    outcome = probe(tmp_path, options(papers, start(*changes).port, echo_path=None))
    assert red(outcome) == expected, outcome["table"]


def test_second_server_on_a_plain_port_is_found(
    start: Callable[..., Nginx], papers: Papers, tmp_path: pathlib.Path
) -> None:
    plain = free_port()
    listen = "listen 127.0.0.1:PORT ssl http2;\n        server_name gate.test;"
    changes = (
        Change(listen, f"{listen}\n listen 127.0.0.1:{plain};"),
        Change(VERIFY, "ssl_verify_client optional;"),
        Change(SNI_GUARD, ""),
    )
    outcome = probe(tmp_path, options(papers, start(*changes).port, plain_ports=[plain]), ("plain_ports",))
    assert red(outcome) == {"plain_ports"}, outcome["table"]


def test_gate_that_stops_during_the_probe_does_not_pass(
    start: Callable[..., Nginx], papers: Papers, tmp_path: pathlib.Path
) -> None:
    """Every check that expects a refusal has to fail when nothing answers."""
    gate = gate_from(options(papers, start().port))
    down = dataclasses.replace(gate, target=dataclasses.replace(gate.target, port=1))
    session = ProbeSession(down, ForgedCertificateFactory(str(tmp_path)))
    outcome = report(down, catalogue.plan(session, ()), catalogue.run(session, catalogue.plan(session, ())), None)
    assert outcome["passed"] == 0, outcome["table"]


def test_reason_of_a_client_is_reported_when_it_is_admitted(
    start: Callable[..., Nginx], papers: Papers, tmp_path: pathlib.Path
) -> None:
    clients = [papers.client("bea", expect="deny", kind="valid", reason="not in the admin role")]
    outcome = probe(tmp_path, options(papers, start().port, clients=clients), ("not_allowed",))
    assert red(outcome) == {"not_allowed"}
    assert "not in the admin role" in outcome["checks"][0]["detail"]


# --- sessions from before a revocation -------------------------------------------------------------------------------


@pytest.mark.parametrize(("tls", "tickets"), [("1.2", False), ("1.2", True), ("1.3", True)])
@pytest.mark.parametrize("sloppy", [False, True])
def test_a_session_taken_before_the_revocation(
    start: Callable[..., Nginx], papers: Papers, tls: str, tickets: bool, sloppy: bool
) -> None:
    """The held session is what shows the hole: a gate that resumes lets the revoked certificate in, a right one does not."""
    resuming = (
        Change("ssl_session_cache off;", "ssl_session_cache shared:tls:1m;"),
        Change(
            "ssl_session_tickets off;",
            f"ssl_session_ticket_key {papers.path('ticket.key')};" if tickets else "ssl_session_tickets off;",
        ),
    )
    (papers.directory / "ticket.key").write_bytes(b"k" * 80)
    nginx = start(*(resuming if sloppy else ()))
    gate = gate_from(options(papers, nginx.port))
    session = ProbeSession(gate, ForgedCertificateFactory(""))
    bea = next(identity for identity in session.authorized if identity.name == "bea")
    request = session.get(STATUS_PATH)
    held = take_session(gate.target, session.connection(bea, tls=tls), request, tickets)
    assert ask_resumed(gate.target, held, request).resumed is sloppy

    (nginx.directory / "crl.pem").write_bytes(papers.authority.crl(papers.revoked, papers.bea))
    nginx.reload()

    answer = ask_resumed(gate.target, held, request)
    assert (answer.resumed, answer.header(VERDICT_HEADER)) == ((True, "cert") if sloppy else (False, "deny"))


# --- faults that the operator can fix ---------------------------------------------------------------------------------


@contextlib.contextmanager
def listener(behave: Callable[[socket.socket], None]) -> Iterator[int]:
    """Listen on a port and treat each connection as told."""
    with socket.create_server(("127.0.0.1", free_port())) as server:
        ended = threading.Event()
        server.settimeout(0.1)

        def serve() -> None:
            while not ended.is_set():
                with contextlib.suppress(OSError):
                    connection, _ = server.accept()
                    with connection:
                        behave(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            ended.set()
            thread.join()


def complaint(tmp_path: pathlib.Path, wanted: dict[str, Any], names: tuple[str, ...] = ()) -> str:
    with pytest.raises(MtlsError) as caught:
        probe(tmp_path, wanted, names)
    return str(caught.value)


def test_nothing_listens(papers: Papers, tmp_path: pathlib.Path) -> None:
    port = free_port()
    text = complaint(tmp_path, options(papers, port))
    assert text.startswith(f"Nothing listens at 127.0.0.1 port {port}.")


@pytest.mark.parametrize(
    ("behave", "words"),
    [
        (lambda _connection: time.sleep(1), "timed out"),
        (lambda _connection: None, "connection reset by peer|closed without an answer"),
        (lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n"), "does not speak TLS"),
    ],
    ids=["silent", "hangs up", "another protocol"],
)
def test_something_else_listens(
    papers: Papers, tmp_path: pathlib.Path, behave: Callable[[socket.socket], None], words: str
) -> None:
    with listener(behave) as port:
        assert re.search(words, complaint(tmp_path, options(papers, port, timeout=0.5)))


def test_the_name_does_not_resolve(papers: Papers, tmp_path: pathlib.Path) -> None:
    text = complaint(tmp_path, options(papers, 21000, address="nowhere.invalid"))
    assert "'nowhere.invalid' does not resolve" in text


def test_the_server_is_not_trusted(start: Callable[..., Nginx], papers: Papers, tmp_path: pathlib.Path) -> None:
    port = start().port
    text = complaint(tmp_path, options(papers, port, server_ca=papers.path("ca.pem")))
    assert f"is not trusted by server_ca {papers.path('ca.pem')}" in text
    (tmp_path / "workshop").rmdir()
    assert "Set server_ca to the PEM file" in complaint(tmp_path, options(papers, port, server_ca=None))


def test_the_server_is_another_one(start: Callable[..., Nginx], papers: Papers, tmp_path: pathlib.Path) -> None:
    port = start(OTHER_SITE).port
    text = complaint(tmp_path, options(papers, port, server_name="elsewhere.test"))
    assert "shows a certificate that is not for elsewhere.test" in text


def test_the_server_rejects_the_name(start: Callable[..., Nginx], papers: Papers, tmp_path: pathlib.Path) -> None:
    text = complaint(tmp_path, options(papers, start().port, server_name="elsewhere.test"))
    assert "rejects the handshake for elsewhere.test (unrecognized name)" in text


def test_openssl_is_absent(
    start: Callable[..., Nginx], papers: Papers, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = start().port
    with monkeypatch.context() as without:
        without.setenv("PATH", str(tmp_path))
        assert "The openssl command is missing" in complaint(tmp_path, options(papers, port))
        (tmp_path / "workshop").rmdir()
        assert red(probe(tmp_path, options(papers, port), ("no_certificate", "revoked", "generation"))) == set()


# --- the module ------------------------------------------------------------------------------------------------------


def module(wanted: dict[str, Any], *arguments: str) -> dict[str, Any]:
    """Run the module through ansible on this machine, and return its result."""
    given = {name: value for name, value in wanted.items() if value is not None}
    argv = ["localhost", "-c", "local", "-i", "localhost,"]
    argv += ["-e", f"ansible_python_interpreter={programs.module_interpreter()}", "-m", "quietdoor.mtls.gate_probe"]
    done = programs.ansible(*argv, "-a", json.dumps(given), *arguments)
    assert "=>" in done.stdout, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout.split("=>", 1)[1])
    return result


def test_the_module_reports_and_changes_nothing(start: Callable[..., Nginx], papers: Papers) -> None:
    port = start().port
    result = module(options(papers, port))
    assert (result["changed"], result["deviations"]) == (False, 0), result
    assert result["msg"] == f"The gate did as expected in all {result['passed']} cases."
    assert result["address"] == f"127.0.0.1 port {port}"
    assert result["table"].count("\nok ") == result["passed"]
    assert result["application_down"] == []
    assert "PRIVATE KEY" not in json.dumps(result)
    checked = module(options(papers, port), "--check")
    assert checked["checks"] == result["checks"]


def test_the_module_fails_with_the_whole_report(start: Callable[..., Nginx], papers: Papers) -> None:
    port = start(*BROKEN["no CRL"][0]).port
    result = module(options(papers, port))
    assert result["msg"].startswith("The gate deviates in 2 of ")
    assert "revoked (carl): GET /panel/: 200 without the gate's verdict" in result["msg"]
    assert result["deviations"] == 2
    assert result["checks"]
    lenient = module(options(papers, port, fail_on_deviation=False))
    assert "failed" not in lenient
    assert lenient["checks"] == result["checks"]


def test_module_reports_an_error_in_one_sentence(papers: Papers) -> None:
    result = module(options(papers, free_port()))
    assert result["msg"].startswith("Nothing listens at 127.0.0.1")
    assert "checks" not in result
