# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the reader of certificate fields against a library and against damaged data."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.certificate_fields import (
    read_certificate,
    same_name,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from support.made_der import PRINTABLE, certificate, name, value

NOW = datetime.now(timezone.utc)


def _name(*texts: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, text) for text in texts])


@pytest.mark.parametrize("serial", [1, 0x7F, 0x80, 0xFF, 0x0A1B, (1 << 159) - 1])
@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)])
def test_fields_equal_those_of_a_library(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, serial: int) -> None:
    issuer, subject = _name("Ops", "b\u00e4r" * 60), _name("x")
    builder = x509.CertificateBuilder().issuer_name(issuer).subject_name(subject).public_key(key.public_key())
    builder = builder.serial_number(serial).not_valid_before(NOW).not_valid_after(NOW + timedelta(days=1))
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    found = read_certificate(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER))
    assert (found.issuer, found.subject) == (issuer.public_bytes(), subject.public_bytes())
    assert (int(found.serial, 16), len(found.serial) % 2) == (serial, 0)


@pytest.mark.parametrize("serial", [0, 0x80, (1 << 160) - 1])
def test_serial_has_the_form_of_nginx(serial: int) -> None:
    text = f"{serial:X}"
    found = read_certificate(certificate(name("a"), serial, version=b""))
    assert found.serial == text.zfill(len(text) + len(text) % 2)


WHOLE = certificate(name("a"), 0x0A1B)


@pytest.mark.parametrize(
    "der",
    [
        b"",
        b"0",
        b"\x30\x00",
        WHOLE[:-1],
        WHOLE + b"\0",
        b"\x31" + WHOLE[1:],
        b"\x30\x80" + WHOLE[2:] + b"\0\0",  # the indefinite form
        b"\x30\x81" + WHOLE[1:],  # a length in more bytes than it needs
        b"\x30\x82\0" + WHOLE[1:],
        b"\x30\x85\0\0\0\0" + WHOLE[1:],
        certificate(name("a"), -1),
        certificate(b"\x31\x00", 1),
        certificate(name("a"), 1, version=b"\xa0\x00"),
        certificate(name("a"), 1, version=b"\xa0\x06\x02\x01\x02\x02\x01\x02"),
        value(0x30, value(0x30), value(0x30), value(3, b"\0")),
        WHOLE.replace(bytes.fromhex("02020a1b"), bytes.fromhex("0203000a1b")),
        WHOLE.replace(bytes.fromhex("02020a1b"), bytes.fromhex("02000a1b")),
    ],
)
def test_data_that_are_not_a_certificate_are_rejected(der: bytes) -> None:
    with pytest.raises(ValueError, match="not the DER"):
        read_certificate(der)


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
def test_changed_byte_is_rejected_or_returned_or_in_a_part_that_is_not_read(place: int, byte: int) -> None:
    """A change is rejected, visible in the result, or in a part that is not read."""
    try:
        found = read_certificate(WHOLE[:place] + bytes([byte]) + WHOLE[place + 1 :])
    except ValueError:
        return
    assert len(found.issuer) + len(found.subject) + len(found.serial) < len(WHOLE)


def test_names_are_equal_whatever_their_string_type() -> None:
    two = value(0x30, name("a")[2:], name("b")[2:])
    assert same_name(name("a"), name("a", PRINTABLE))
    assert same_name(two, value(0x30, name("a", PRINTABLE)[2:], name("b")[2:]))
    for other in (
        name("A"),
        name("a "),
        name("b"),
        two,
        value(0x30),
        b"",
        name("a", 0x1E),
        name("a") + b"\0",
        b"\x30\x01",
    ):
        assert not same_name(name("a"), other)
