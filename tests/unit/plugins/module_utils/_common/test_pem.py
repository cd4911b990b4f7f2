# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the PEM splitter on whole, damaged and mixed texts, and against the ssl module."""

from __future__ import annotations

import ssl

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.pem import (
    CERTIFICATE,
    CRL,
    decode_pem,
    encode_pem,
    pem_labels,
    remove_pem,
    split_pem,
    split_whole_pem,
)
from hypothesis import given
from hypothesis import strategies as st

ONE, TWO = encode_pem(b"one", CERTIFICATE), encode_pem(b"two" * 40, CERTIFICATE)
OTHER = encode_pem(b"other", CRL)
TRUNCATED = ONE.partition("-----END")[0]


@given(st.binary(max_size=200))
def test_encoding_equals_that_of_ssl(data: bytes) -> None:
    text = encode_pem(data, CERTIFICATE)
    assert data == b"" or text == ssl.DER_cert_to_PEM_cert(data)
    assert [decode_pem(block) for block in split_pem(text, CERTIFICATE)] == [data]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("convert", [str, str.encode])
def test_split_returns_blocks_of_one_label_in_order(line_end: str, convert: type[str]) -> None:
    text = f"# a comment\n{ONE}{OTHER}\n subject=/CN=a\n{TWO}".replace("\n", line_end)
    assert [decode_pem(block) for block in split_pem(convert(text), CERTIFICATE)] == [b"one", b"two" * 40]
    assert pem_labels(convert(text)) == [CERTIFICATE, CRL, CERTIFICATE]


def test_split_accepts_bytes_that_are_not_ascii() -> None:
    assert split_pem(b"Na\xefve \xff\x00" + ONE.encode(), CERTIFICATE) == [ONE.rstrip()]


def test_truncated_block_does_not_include_next_block() -> None:
    assert split_pem(TRUNCATED + TWO, CERTIFICATE) == [TWO.rstrip()]
    assert pem_labels(TRUNCATED + TWO) == [CERTIFICATE, CERTIFICATE]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "text only\n",
        OTHER,
        ONE + OTHER,
        TRUNCATED,
        TRUNCATED + TWO,
        TWO + TRUNCATED,
        ONE.replace("-----BEGIN", "----BEGIN") + TWO,
        ONE.replace("BEGIN", "BEGIM") + TWO,
        ONE.replace("END", "ENDE") + TWO,
    ],
)
def test_damaged_or_other_block_makes_text_incomplete(text: str) -> None:
    with pytest.raises(ValueError, match="whole blocks CERTIFICATE"):
        split_whole_pem(text, CERTIFICATE)


def test_whole_text_may_have_comments() -> None:
    assert split_whole_pem(f"subject=/CN=a\n{ONE}\n{TWO}", CERTIFICATE) == [ONE.rstrip(), TWO.rstrip()]


@pytest.mark.parametrize("inner", ["b25l!", "b25", "Proc: 4\n\nb25l", "b25l=b25l"])
def test_text_that_is_not_base64_is_refused(inner: str) -> None:
    with pytest.raises(ValueError, match=r"Non-base64|padding|Excess|Only base64|Discontinuous"):
        decode_pem(f"-----BEGIN CERTIFICATE-----\n{inner}\n-----END CERTIFICATE-----")


def test_remove_keeps_text_around_and_other_labels() -> None:
    assert remove_pem(f"a\n{ONE}b\n{OTHER}{TWO}c\n", CERTIFICATE) == f"a\n\nb\n{OTHER}\nc\n"
