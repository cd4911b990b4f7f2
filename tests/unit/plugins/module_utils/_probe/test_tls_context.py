# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the files of a client, the hand-made ClientHello and the forged certificates."""

from __future__ import annotations

import pathlib
import ssl
import stat
import subprocess

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._probe.forged_certificates import ForgedCertificateFactory
from ansible_collections.quietdoor.mtls.plugins.module_utils._probe.messages import (
    HTTP,
    NO_ANSWER,
    REJECTED,
    Connection,
    Identity,
    Target,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._probe.raw_client_hello import client_hello, read_record
from ansible_collections.quietdoor.mtls.plugins.module_utils._probe.tls_context import make_context
from cryptography import x509
from cryptography.exceptions import InvalidSignature

SUBJECT = '/O=Kürsch \\/ Söhne/CN=Alex, the "first"'


def openssl(directory: pathlib.Path, *arguments: str) -> str:
    done = subprocess.run(["openssl", *arguments], cwd=directory, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Return a directory with a real CA and one of its clients."""
    directory = tmp_path_factory.mktemp("real")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl(directory, "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-utf8", "-subj", "/O=Ö/CN=The CA")
    openssl(directory, "req", "-new", *key, "-keyout", "alex.key", "-out", "alex.csr", "-utf8", "-subj", SUBJECT)
    # Real certificates have an authority key identifier: openssl does not accept a copy of one as self-signed.
    (directory / "alex.ext").write_text("authorityKeyIdentifier=keyid:always,issuer:always\n")
    sign = ("-CA", "ca.crt", "-CAkey", "ca.key", "-set_serial", "0x0A1B", "-extfile", "alex.ext")
    openssl(directory, "x509", "-req", "-in", "alex.csr", *sign, "-out", "alex.crt")
    return directory


def alex(real: pathlib.Path, certificate: str = "alex.crt", key: str = "alex.key") -> Identity:
    return Identity("alex", str(real / certificate), str(real / key))


def complaint(identity: Identity, server_ca: str = "") -> str:
    with pytest.raises(MtlsError) as caught:
        make_context(Target("192.0.2.7", 443, server_ca), Connection("a.example.org", identity))
    return str(caught.value)


# --- files -----------------------------------------------------------------------------------------------------------


def test_good_files_make_a_context(real: pathlib.Path) -> None:
    target = Target("192.0.2.7", 443, str(real / "ca.crt"))
    context = make_context(target, Connection("a.example.org", alex(real), tls="1.2"))
    assert context.maximum_version == ssl.TLSVersion.TLSv1_2
    assert (context.check_hostname, context.verify_mode) == (True, ssl.CERT_REQUIRED)


def test_files_that_cannot_be_used_are_named(real: pathlib.Path) -> None:
    openssl(real, "ec", "-in", "alex.key", "-aes128", "-passout", "pass:geheim", "-out", "locked.key")
    (real / "empty.pem").write_text("")
    assert f"The certificate {real}/none.crt of client 'alex' cannot be read: No such file" in complaint(
        alex(real, "none.crt")
    )
    assert f"The key {real}/none.key of client 'alex' cannot be read" in complaint(alex(real, key="none.key"))
    assert f"The key {real}/ca.key of client 'alex' is not that of the certificate" in complaint(
        alex(real, key="ca.key")
    )
    assert f"The key {real}/locked.key of client 'alex' is encrypted" in complaint(alex(real, key="locked.key"))
    assert f"{real}/empty.pem or the key" in complaint(alex(real, "empty.pem"))
    assert f"or the key {real}/alex.crt" in complaint(alex(real, key="alex.crt"))
    assert f"server_ca {real}/empty.pem holds no usable PEM" in complaint(alex(real), str(real / "empty.pem"))
    assert f"server_ca {real}/none.pem cannot be read" in complaint(alex(real), str(real / "none.pem"))


# --- TLS 1.0 and 1.1 -------------------------------------------------------------------------------------------------


def test_openssl_understands_the_hello() -> None:
    """Python's TLS server reads the whole hello: it rejects only the version, and the name is in the message."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    server = context.wrap_bio(incoming, outgoing, server_side=True)
    incoming.write(client_hello("gate.test", 0x0302))
    with pytest.raises(ssl.SSLError, match=r"(?i)unsupported.protocol|version"):
        server.do_handshake()
    assert read_record(outgoing.read()).outcome == REJECTED
    assert b"gate.test" in client_hello("gate.test", 0x0301)


@pytest.mark.parametrize(
    ("record", "outcome", "text"),
    [
        (bytes.fromhex("15030100020246"), REJECTED, "protocol version"),
        (bytes.fromhex("150301000202ff"), REJECTED, "alert 255"),
        (bytes.fromhex("160301003a02000036") + b"\x03\x02", HTTP, "1.1"),
        (b"", NO_ANSWER, "closed without an answer"),
        (b"HTTP/1.1 400", NO_ANSWER, "does not speak TLS"),
        (bytes.fromhex("1603"), NO_ANSWER, "does not speak TLS"),
    ],
)
def test_first_record_decides(record: bytes, outcome: str, text: str) -> None:
    answer = read_record(record)
    assert (answer.outcome, answer.reason or answer.tls) == (outcome, text)


# --- forged certificates ---------------------------------------------------------------------------------------------


def load(identity: Identity) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pathlib.Path(identity.certificate).read_bytes())


def is_issued_by(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(ca)
    except (ValueError, InvalidSignature):
        return False
    return True


def test_false_certificates_look_right_and_are_not(real: pathlib.Path, tmp_path: pathlib.Path) -> None:
    model = alex(real)
    forged_certificates = ForgedCertificateFactory(str(tmp_path)).make(model, str(real / "ca.crt"))
    true, ca = load(model), x509.load_pem_x509_certificate((real / "ca.crt").read_bytes())
    assert forged_certificates.look_alike

    look_alike, self_signed, foreign = (
        load(one)
        for one in (forged_certificates.look_alike, forged_certificates.self_signed, forged_certificates.foreign)
    )

    assert {one.serial_number for one in (look_alike, self_signed, foreign)} == {true.serial_number}
    assert look_alike.subject.public_bytes() == self_signed.subject.public_bytes() == true.subject.public_bytes()
    assert look_alike.issuer.public_bytes() == ca.subject.public_bytes()
    assert self_signed.issuer == self_signed.subject
    assert foreign.issuer not in (ca.subject, foreign.subject)
    for identity in (forged_certificates.look_alike, forged_certificates.self_signed, forged_certificates.foreign):
        make_context(Target("192.0.2.7", 443), Connection("a.example.org", identity, verify=False))
        assert not is_issued_by(load(identity), ca)
    assert is_issued_by(true, ca)


def test_without_a_model_and_a_ca_there_are_still_two(tmp_path: pathlib.Path) -> None:
    forged_certificates = ForgedCertificateFactory(str(tmp_path)).make(None, "")
    assert forged_certificates.look_alike is None
    assert load(forged_certificates.self_signed).issuer == load(forged_certificates.self_signed).subject
    assert [stat.S_IMODE(path.stat().st_mode) & 0o077 for path in tmp_path.glob("*.key")] == [0] * 4


def test_subject_and_serial_have_the_form_of_nginx(real: pathlib.Path, tmp_path: pathlib.Path) -> None:
    described = ForgedCertificateFactory(str(tmp_path)).describe(str(real / "alex.crt"))
    assert described.serial == "0A1B"
    assert described.subject == 'CN=Alex\\, the \\"first\\",O=K\\C3\\BCrsch / S\\C3\\B6hne'


def test_invalid_ca_is_named(real: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with pytest.raises(MtlsError, match=f"openssl x509 -in {real}/ca.key ended with 1"):
        ForgedCertificateFactory(str(tmp_path)).make(alex(real), str(real / "ca.key"))
