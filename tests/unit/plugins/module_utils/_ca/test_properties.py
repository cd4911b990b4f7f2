# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that any text is either refused with a short message or stored unchanged."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import crossplane
import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca import publication_contents
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca.index_database import serial_hex
from ansible_collections.quietdoor.mtls.plugins.module_utils._clients.roster import check_roster
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.durations import parse_duration
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.identity_maps import render_maps
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.publication_reader import read_publication
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509 import names, pkcs12
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable

RULES = settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
NASTY = st.text(st.sampled_from(list("aZ09 .-_@+:/\"'\\$#%;{}é漢\u202e\t\n\x00")), min_size=1, max_size=16)
SUBJECT = st.text(st.sampled_from(list("aZ9 ,+\"\\<>;=#/éß漢😀$&{}'`|~%")), min_size=1, max_size=12)


def check_words(problem: MtlsError) -> None:
    """Check that a message is short and printable."""
    assert str(problem).isprintable()
    assert len(str(problem)) < 400


@RULES
@given(
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,12}", fullmatch=True),
    common_name=SUBJECT,
    email=st.from_regex(r"[a-z!#%&'*+/=?^_~-]{1,8}@[a-z]{1,5}\.[a-z]{2,4}", fullmatch=True),
    role=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,12}", fullmatch=True),
)
def test_a_client_comes_back_exactly(
    name: str, common_name: str, email: str, role: str, door: Any, client: Any
) -> None:
    """From the certificate, index.txt, client.json, identities.json and the maps of nginx, as another parser reads them."""
    wanted = client(name, common_name=common_name, organization=common_name, email=(email,), roles=(role,))
    try:
        check_roster([wanted])
    except MtlsError as problem:
        check_words(problem)
        assume(False)
    with tempfile.TemporaryDirectory(dir=door.path + "/..") as directory:
        one = type(door)(str(Path(directory, "ca")), now=door.now)
        one.create()
        one.enrol(wanted)
        one.crl()
        row = one.authority.rows[0]
        issued = x509.load_pem_x509_certificate(one.file("newcerts", f"{row.serial}.pem").read_bytes())
        assert [part.value for part in issued.subject] == [common_name, common_name]
        emails = issued.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert emails.get_values_for_type(x509.RFC822Name) == [email]
        assert row.client == name
        assert row.subject == names.oneline(issued.subject)
        one.publish(Path(directory, "public"))
        texts = {
            file: Path(directory, "public", file).read_text()
            for file in (*publication_contents.DATA_FILES, "trust.json")
        }
        (identity,) = json.loads(texts["identities.json"])["identities"]
        assert (identity["name"], identity["common_name"]) == (name, common_name)
        assert (identity["email"], identity["roles"]) == ([email], [role])
        configuration = Path(directory, "http.conf")
        configuration.write_text(render_maps(read_publication(texts)))
        parsed = crossplane.parse(str(configuration), check_ctx=False, check_args=False)["config"][0]["parsed"]
        maps = {one["args"][1]: {entry["directive"]: entry["args"][0] for entry in one["block"]} for one in parsed}
        number = maps["$quietdoor_known"][issued.fingerprint(hashes.SHA1()).hex()]
        reported = [maps[f"$quietdoor_{what}"][number] for what in ("name", "email", "roles", "serial")]
        assert reported == [name, email, role, row.serial]
        # If nginx cannot write a character, nginx prints it. crossplane leaves a backslash as nginx needs it.
        printed = "$ssl_client_s_dn" if "$" in common_name else names.rfc2253(issued.subject).replace("\\", "\\\\")
        assert maps["$quietdoor_subject_dn"][number] == printed


@RULES
@given(text=st.text(st.sampled_from(list(" \"'$#%\\{}é漢;=[]~&()*?a")), min_size=1, max_size=12))
@example(text='a b"c$d#e%f\\g é')
def test_openssl_works_in_a_directory_of_any_name(text: str, door: Any) -> None:
    with tempfile.TemporaryDirectory(dir=door.path + "/..") as directory:
        one = type(door)(str(Path(directory, f"x{text}")), now=door.now)
        one.create()
        one.openssl_ca("-gencrl", "-out", str(Path(directory, "crl.pem")))
        assert len(x509.load_pem_x509_crl(Path(directory, "crl.pem").read_bytes())) == 0
        assert one.create().changes == []


CHECKS: dict[str, Callable[[str], str]] = {
    "name": names.check_client_name,
    "common_name": lambda text: names.check_subject_text(text, "common_name"),
    "organization": lambda text: names.check_subject_text(text, "organization"),
    "country": names.check_country,
    "email": lambda text: names.check_email(text, "alex"),
    "role": lambda text: names.check_role(text, "alex"),
}


@pytest.mark.parametrize("option", CHECKS)
@settings(RULES, max_examples=200)
@given(text=st.one_of(st.text(max_size=80), NASTY, st.text(st.characters(categories=["Cs", "Cf", "Mn"]), max_size=4)))
def test_any_text_is_refused_in_one_sentence_or_taken_as_it_is(option: str, text: str) -> None:
    try:
        assert CHECKS[option](text) == text
    except MtlsError as problem:
        check_words(problem)


@settings(RULES, max_examples=300)
@given(st.tuples(SUBJECT, SUBJECT), st.tuples(SUBJECT, SUBJECT))
@example(("a,O=b", "c"), ("a", "b"))
@example(("a", "A"), ("a", "a"))
def test_two_names_never_look_alike_to_nginx(one: tuple[str, str], other: tuple[str, str]) -> None:
    """Its maps compare the RFC 2253 text, so two subjects must never have the same text."""
    assume(one != other)
    assert names.rfc2253(names.build_name(*one)) != names.rfc2253(names.build_name(*other))


@settings(RULES, max_examples=300)
@given(text=st.one_of(st.text(max_size=12), st.from_regex(r"[0-9]{1,9}[smhdw]", fullmatch=True)))
def test_durations(text: str) -> None:
    try:
        length = parse_duration(text, "valid_for")
    except MtlsError as problem:
        check_words(problem)
        return
    unit = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[text.strip()[-1]]
    assert length.total_seconds() == int(text.strip()[:-1]) * unit


@settings(RULES, max_examples=300)
@given(st.integers(1, 2**160 - 1))
def test_serials(number: int) -> None:
    assert int(serial_hex(number), 16) == number
    assert bytes.fromhex(serial_hex(number)).hex().upper() == serial_hex(number)
    assert len(bytes.fromhex(serial_hex(number))) == (number.bit_length() + 7) // 8


@settings(RULES, max_examples=300)
@given(NASTY)
def test_a_bundle_passphrase_is_refused_or_taken_as_it_is(text: str) -> None:
    try:
        assert pkcs12.check_passphrase(text, "alex") == text
    except MtlsError as problem:
        check_words(problem)
