# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the validation of names, and compare formatted names with those of openssl."""

from __future__ import annotations

import string
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509 import names
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

SLOW = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
KEY = ec.generate_private_key(ec.SECP256R1())
NASTY = st.sampled_from(list(" #,+\"\\<>;=/\t\n\r\x00\x01\x1b\x7f\x80é€ß漢😀\u202e\u200b$&{}'`|"))
TEXT = st.text(st.one_of(NASTY, st.characters(exclude_categories=["Cs"])), min_size=1, max_size=24)
TYPES = [
    x509.ObjectIdentifier(dotted) for dotted in [*names._SHORT_NAMES, "1.3.6.1.4.1.99999.7"] if dotted != "2.5.4.6"
]
ATTRIBUTE = st.builds(x509.NameAttribute, st.sampled_from(TYPES), TEXT, st.just(_ASN1Type.UTF8String))
RDN = st.lists(ATTRIBUTE, min_size=1, max_size=3, unique_by=lambda attribute: attribute.oid.dotted_string).map(
    x509.RelativeDistinguishedName
)
NAME = st.lists(RDN, min_size=1, max_size=4).map(x509.Name)


def certificate(name: x509.Name, path: Path) -> x509.Name:
    """Write a certificate for ``name`` and return the name in it (DER sorts the parts of an RDN)."""
    now = datetime.now(timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(x509.Name([]))
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(KEY, hashes.SHA256())
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return x509.load_pem_x509_certificate(path.read_bytes()).subject


def printed(openssl: Any, path: Path, form: str) -> str:
    return openssl("x509", "-noout", "-subject", "-nameopt", form, "-in", str(path)).removeprefix("subject=")[:-1]


@SLOW
@given(name=NAME)
def test_rfc2253_is_what_openssl_and_so_nginx_print(name: x509.Name, openssl: Any, tmp_path: Path) -> None:
    subject = certificate(name, tmp_path / "one.pem")
    assert names.rfc2253(subject) == printed(openssl, tmp_path / "one.pem", "RFC2253")


def test_plain_is_a_name_like_ours() -> None:
    """nginx prints every plain name as ``rfc2253`` formats it; for other names this is not promised."""
    ours = names.build_name("Zoë, #1", "Ops", "DE")
    common_name, organization = x509.NameAttribute(NameOID.COMMON_NAME, "a"), ours.rdns[1]
    mail = x509.NameAttribute(NameOID.EMAIL_ADDRESS, "a@b.test")
    wide = x509.NameAttribute(NameOID.COMMON_NAME, "a", _ASN1Type.BMPString)
    assert names.is_plain(ours)
    assert names.is_plain(x509.Name([common_name, mail]))
    assert names.is_plain(x509.Name([]))
    assert not names.is_plain(x509.Name([wide]))
    assert not names.is_plain(x509.Name([x509.RelativeDistinguishedName([common_name, mail]), organization]))


@SLOW
@given(name=NAME)
def test_oneline_is_what_openssl_prints(name: x509.Name, openssl: Any, tmp_path: Path) -> None:
    subject = certificate(name, tmp_path / "one.pem")
    assert names.oneline(subject) == printed(openssl, tmp_path / "one.pem", "compat")


@settings(SLOW, max_examples=25)
@given(text=TEXT)
@example(text="Zoë \\\t/CN=x")
def test_oneline_is_what_openssl_writes_into_its_database(text: str, openssl: Any, door: Any, tmp_path: Path) -> None:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(KEY, hashes.SHA256())
    (tmp_path / "one.csr").write_bytes(request.public_bytes(serialization.Encoding.PEM))
    door.openssl_ca("-preserveDN", "-notext", "-in", str(tmp_path / "one.csr"), "-out", str(tmp_path / "one.pem"))
    assert door.authority.rows[-1].subject == names.oneline(subject)


@pytest.mark.parametrize("name", ["a", "alex", "alex.laptop-2", "9lives", "a@example.org", "A+b_c", "x" * 64])
def test_client_names_that_are_good(name: str) -> None:
    assert names.check_client_name(name) == name


@pytest.mark.parametrize(
    "name",
    ['a; }"\n', "", "a\n", "x" * 65, "x" * 10_000, "a b", "../a", ".hidden", "-a", "a\x00b", "a/b", "alex\u202e",
     "\u0430lex", "\uff41lex", "a$b", "é", "\ud800"],
)  # fmt: skip
def test_client_names_that_are_refused_in_few_printable_words(name: str) -> None:
    with pytest.raises(MtlsError) as caught:
        names.check_client_name(name)
    message = str(caught.value)
    assert "name" in message
    assert len(message) < 400
    assert message.isprintable()
    assert message.isascii()


@given(text=st.text(max_size=300))
def test_whatever_passes_as_a_client_name_is_safe_in_a_file_name_and_in_nginx(text: str) -> None:
    try:
        names.check_client_name(text)
    except MtlsError:
        return
    assert set(text) <= set(string.ascii_letters + string.digits + "._@+-")
    assert text[0] not in ".-"


@pytest.mark.parametrize(
    "email",
    ["a@b", "alex@example.org", "first.last+tag@sub.example.co.uk", "o'neil@example.org", "x@xn--bcher-kva.example",
     f"{'x' * 64}@example.org"],
)  # fmt: skip
def test_addresses_that_are_good(email: str) -> None:
    assert names.check_email(email, "alex") == email


@pytest.mark.parametrize(
    "email",
    ["", "alex", "@example.org", "alex@", "a@b@c", "a b@c.org", "a@c.org\n", "a\n@c.org", "jürgen@example.org",
     "a@bücher.example", ".a@b.org", "a.@b.org", "a..b@c.org", "a@-b.org", "a@b-.org", "a@b..org", "a@b.org.",
     '"a b"@c.org', "a,b@c.org", "$a@b.org", "{a}@b.org", "a;b@c.org", "a@[127.0.0.1]", f"{'x' * 65}@example.org",
     f"a@{'x' * 64}.org", f"a@{'.'.join(['x' * 60] * 5)}", "a" * 10_000, "a@b\x00.org", "a\u202e@b.org"],
)  # fmt: skip
def test_addresses_that_are_refused(email: str) -> None:
    with pytest.raises(MtlsError, match="alex") as caught:
        names.check_email(email, "alex")
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()


@given(email=st.from_regex(r"[!-~é]{1,70}@[a-z0-9.-]{1,80}", fullmatch=True))
def test_every_address_that_passes_fits_a_certificate_exactly(email: str) -> None:
    try:
        names.check_email(email, "alex")
    except MtlsError:
        return
    assert x509.RFC822Name(email).value == email


@pytest.mark.parametrize("role", ["admin", "team:ops", "a/b", "x" * 64])
def test_roles_that_are_good(role: str) -> None:
    assert names.check_role(role, "alex") == role


@pytest.mark.parametrize("role", ["", "a,b", "a b", "admin\n", 'a"', "x" * 65, "$x", "ädmin", "\x00"])
def test_roles_that_are_refused(role: str) -> None:
    with pytest.raises(MtlsError, match="client alex: role"):
        names.check_role(role, "alex")


@pytest.mark.parametrize(
    "text", ["Alex Example", "Zoë Müller", 'O\'Neil, "Ann" <x>; #1', "漢字", "😀", "x" * 64, "é" * 32, "-", "=", "נעמי"]
)
def test_subject_texts_that_are_good(text: str) -> None:
    assert names.check_subject_text(text, "common_name") == text


@pytest.mark.parametrize(
    "text",
    ["", " ", " a", "a ", "a\tb", "a\nb", "a\x00b", "a\x7fb", "\u202eevil", "zero\u200bwidth", "soft\u00adhyphen",
     "no\u00a0break", "wide\u3000space", "hangul\u3164filler", "a\u115fb", "blank\u2800braille", "e\u0301", "x" * 65, "é" * 33,
     "x" * 10_000, "\ue000", "\ud800", "line\u2028end", "\ufeffbom", "tag\U000e0041", "vs\ufe0f", "\u034fcgj"],
)  # fmt: skip
def test_subject_texts_that_are_refused(text: str) -> None:
    with pytest.raises(MtlsError, match="common_name") as caught:
        names.check_subject_text(text, "common_name")
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()


@SLOW
@given(text=st.text(max_size=70))
def test_a_subject_text_that_passes_round_trips_through_a_certificate(text: str, tmp_path: Path) -> None:
    try:
        names.check_subject_text(text, "common_name")
    except MtlsError:
        return
    subject = certificate(names.build_name(text, text), tmp_path / "one.pem")
    assert [attribute.value for attribute in subject] == [text, text]


@pytest.mark.parametrize("country", ["DE", "GB"])
def test_countries(country: str) -> None:
    assert names.check_country(country) == country


@pytest.mark.parametrize("country", ["", "de", "DEU", "D", "Ä1", "DE\n"])
def test_countries_that_are_refused(country: str) -> None:
    with pytest.raises(MtlsError, match="country"):
        names.check_country(country)
