# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that encoded CRL entries are byte for byte those of cryptography."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca import crl_encoding
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca.index_database import REASONS, Row, serial_hex
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.timestamps import asn1
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509 import keys
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509.names import build_name
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

FLAGS = {
    "keyCompromise": x509.ReasonFlags.key_compromise,
    "CACompromise": x509.ReasonFlags.ca_compromise,
    "affiliationChanged": x509.ReasonFlags.affiliation_changed,
    "superseded": x509.ReasonFlags.superseded,
    "cessationOfOperation": x509.ReasonFlags.cessation_of_operation,
    "certificateHold": x509.ReasonFlags.certificate_hold,
}
MOMENTS = st.datetimes(datetime(1950, 1, 1), datetime(2090, 12, 31)).map(lambda moment: moment.replace(microsecond=0))
ENTRIES = st.tuples(st.integers(1, 2**160 - 1), MOMENTS, st.none() | st.sampled_from(REASONS), st.none() | MOMENTS)
KEYS = [keys.generate(keys.KeySpec("ecdsa", curve="P-384")), keys.generate(keys.KeySpec("rsa", size=2048))]
NOW = datetime(2026, 11, 23)


def row_of(serial: int, at: datetime, reason: str | None, invalid_since: datetime | None) -> Row:
    revoked = asn1(at) + (f",{reason}" if reason else "")
    if invalid_since and reason in ("keyCompromise", "CACompromise"):
        word = {"keyCompromise": "keyTime", "CACompromise": "CAkeyTime"}[reason]
        revoked = f"{asn1(at)},{word},{invalid_since:%Y%m%d%H%M%S}Z"
    return Row("R", "271123113907Z", revoked, serial_hex(serial), "unknown", "/CN=x")


def entry_of(serial: int, at: datetime, reason: str | None, invalid_since: datetime | None) -> x509.RevokedCertificate:
    builder = x509.RevokedCertificateBuilder(serial, at)
    if reason in FLAGS:
        builder = builder.add_extension(x509.CRLReason(FLAGS[reason]), critical=False)
    if invalid_since and reason in ("keyCompromise", "CACompromise"):
        builder = builder.add_extension(x509.InvalidityDate(invalid_since), critical=False)
    return builder.build()


def made(key: keys.PrivateKey, entries: list[x509.RevokedCertificate]) -> x509.CertificateRevocationList:
    builder = x509.CertificateRevocationListBuilder(
        build_name("Test CA"),
        NOW,
        NOW + timedelta(days=30),
        [x509.Extension(x509.CRLNumber.oid, False, x509.CRLNumber(7))],
        entries,
    )
    return builder.sign(key, keys.signing_hash(key))


@pytest.mark.parametrize("key", KEYS, ids=["P-384", "RSA"])
@given(entries=st.lists(ENTRIES, max_size=6, unique_by=lambda entry: entry[0]))
def test_a_crl_is_byte_for_byte_what_cryptography_would_sign(key: keys.PrivateKey, entries: list[tuple]) -> None:
    rows = [row_of(*entry) for entry in entries]
    expected = made(key, [entry_of(*entry) for entry in entries])
    found = crl_encoding.with_entries(made(key, []).public_bytes(Encoding.DER), rows, lambda data: keys.sign(key, data))
    crl = x509.load_der_x509_crl(found)
    assert crl.tbs_certlist_bytes == expected.tbs_certlist_bytes
    assert crl.is_signature_valid(key.public_key())
    assert crl_encoding.serials(found) == [row.serial for row in rows]


def test_a_serial_longer_than_rfc_5280_allows_is_carried_all_the_same() -> None:
    rows = [Row("R", "271123113907Z", "261123113907Z,keyTime,20261101000000Z", "0A" * 90, "unknown", "/CN=x")]
    key = KEYS[0]
    found = crl_encoding.with_entries(made(key, []).public_bytes(Encoding.DER), rows, lambda data: keys.sign(key, data))
    assert crl_encoding.serials(found) == ["0A" * 90]
    assert next(iter(x509.load_der_x509_crl(found))).revocation_date_utc == datetime(
        2026, 11, 23, 11, 39, 7, tzinfo=timezone.utc
    )
