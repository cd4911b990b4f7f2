# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the hand-made formats of the probe: HPACK, spellings of a path, HSTS, names in a certificate."""

from __future__ import annotations

import datetime

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks.guarded_paths import LOOSE, STRICT, spellings
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks.response_policies import hsts_wrong
from ansible_collections.quietdoor.mtls.plugins.module_utils._probe import hpack
from ansible_collections.quietdoor.mtls.plugins.module_utils._probe.messages import HTTP, Answer
from ansible_collections.quietdoor.mtls.plugins.module_utils._probe.raw_client_hello import subject_of
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

# --- HPACK; the vectors are those of RFC 7541 appendix C ---


@pytest.mark.parametrize(
    ("coded", "text"),
    [
        ("f1e3c2e5f23a6ba0ab90f4ff", "www.example.com"),
        ("a8eb10649cbf", "no-cache"),
        ("25a849e95ba97d7f", "custom-key"),
        ("25a849e95bb8e8b4bf", "custom-value"),
        ("6402", "302"),
        ("aec3771a4b", "private"),
        ("d07abe941054d444a8200595040b8166e082a62d1bff", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("9d29ad171863c78f0b97c8e9ae82ae43d3", "https://www.example.com"),
        ("", ""),
    ],
)
def test_a_compressed_text_is_read(coded: str, text: str) -> None:
    assert hpack.unfold(bytes.fromhex(coded)) == text


@pytest.mark.parametrize("coded", ["ffffffff", "f1e3c2e5f23a6ba0ab90f400"])
def test_a_text_that_is_padded_wrongly_is_not_made_up(coded: str) -> None:
    with pytest.raises(ValueError, match="not known here"):
        hpack.unfold(bytes.fromhex(coded))


def test_an_answer_is_read() -> None:
    block = bytes.fromhex("4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d54")
    block += bytes.fromhex("6e1768747470733a2f2f7777772e6578616d706c652e636f6d")
    assert hpack.decode(block) == (
        (":status", "302"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("location", "https://www.example.com"),
    )
    assert hpack.decode(b"\x20\x88\x89\x8e") == ((":status", "200"), (":status", "204"), (":status", "500"))


@pytest.mark.parametrize("length", [0, 1, 126, 127, 128, 254, 255, 256, 20000])
def test_what_is_written_can_be_read(length: int) -> None:
    fields = ((":path", "/" + "x" * length), ("x-client-name", "é" * length))
    assert hpack.decode(hpack.encode(fields)) == fields


@pytest.mark.parametrize("block", [b"\x00\x05ab", b"\x00", b"\x00\x01a", b"\xff"])
def test_half_a_block_is_no_block(block: bytes) -> None:
    with pytest.raises(ValueError, match="ends early"):
        hpack.decode(block)


@pytest.mark.parametrize("block", [b"\xbe", b"\x80"])
def test_a_table_that_was_refused_is_not_used(block: bytes) -> None:
    with pytest.raises(ValueError, match="table that was refused"):
        hpack.decode(block)


# --- paths ---


@pytest.mark.parametrize("path", ["/admin", "/admin/", "/app/panel", "/a", "/"])
def test_spellings_can_stand_in_a_request_and_differ(path: str) -> None:
    strict = spellings(path, STRICT)
    assert len(strict) == len(set(strict)) > 20
    assert all(text.startswith("/") and text.isascii() and " " not in text for text in strict)
    assert spellings(path, LOOSE) == strict[: len(spellings(path, LOOSE))]


def test_spellings_are_what_they_should_be() -> None:
    written = spellings("/app/panel", STRICT)
    for text in ("/app/panel", "//app/panel/", "/app/%70anel/", "/x/../app/panel/", "/APP/PANEL/", "/app/panel;x/",
                 "/app/%2570anel/", "/app/\\panel/", "/app/%5cpanel/", "/app%2fpanel/", "/x/..;/app/panel/"):  # fmt: skip
        assert text in written


# --- HSTS ---


@pytest.mark.parametrize(
    ("value", "good_for"),
    [
        (None, {"", "absent"}),
        ("max-age=60", {"", "present"}),
        ('Max-Age="60"; includeSubDomains', {"", "present"}),
        ("max-age=60; includeSubDomains; preload", {"", "preload"}),
        ("max-age=0", {""}),
        ("includeSubDomains", {""}),
        ("max-age=60, max-age=60", {""}),
        ("max-age=x", {""}),
    ],
)
def test_hsts_is_judged(value: str | None, good_for: set[str]) -> None:
    headers = (("strict-transport-security", value),) if value else ()
    answer = Answer(HTTP, status=403, headers=headers)
    assert {wanted for wanted in ("", "absent", "present", "preload") if not hsts_wrong(answer, wanted)} == good_for


# --- certificates ---


def test_the_subject_of_a_certificate_is_found() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject, issuer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "n" * size)]) for size in (5, 60))
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    assert subject_of(certificate) == subject.public_bytes()


@pytest.mark.parametrize("data", [b"", b"0", b"0\x03\x02\x01\x01", b"0\x82"])
def test_what_is_no_certificate_has_no_subject(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a certificate"):
        subject_of(data)
