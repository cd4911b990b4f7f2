# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test certificates for CSRs, and the keys that are refused."""

from __future__ import annotations

import base64
import math
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._clients import csr, enrol, predecessor_clients
from ansible_collections.quietdoor.mtls.plugins.module_utils._clients.roster import check_roster
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509 import key_checks
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509.keys import KeySpec, public_der
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

P256 = KeySpec("ecdsa", curve="P-256")


def request_of(key: Any, subject: str = "whatever") -> str:
    """Return a CSR in PEM that asks for more than any client should get."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    builder = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.RFC822Name("boss@example.org")]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )
    algorithm = None if isinstance(key, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.PEM).decode()


def new_key() -> Any:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def bringing(client: Any) -> Any:
    """Return a function that makes a client with a CSR."""

    def bring(key: Any, name: str = "alex", **changes: Any) -> Any:
        spec, public_key = csr.requested_key(request_of(key), name)
        return client(name, **{"key": spec, "public_key": public_key, **changes})

    return bring


def directory(door: Any) -> Path:
    return door.file("clients", "alex")


@pytest.mark.parametrize("bits", [0, 2048, 3000, 4096])
def test_the_key_is_taken_from_text_and_from_a_file(bits: int, tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, bits) if bits else new_key()
    spec = KeySpec("rsa", size=bits) if bits else P256
    text = request_of(key)
    file = tmp_path / "a request.csr"
    file.write_text(text)
    expected = (spec, public_der(key.public_key()))
    assert csr.requested_key(text, "alex") == expected
    assert csr.requested_key(str(file), "alex") == expected


def test_what_openssl_writes_is_taken(tmp_path: Path, openssl: Any) -> None:
    openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-text", "-keyout",
            str(tmp_path / "x.key"), "-out", str(tmp_path / "x.csr"))  # fmt: skip
    assert "Certificate Request:" in (tmp_path / "x.csr").read_text()
    assert csr.requested_key(str(tmp_path / "x.csr"), "alex")[0] == KeySpec("rsa", size=2048)
    assert csr.requested_key((tmp_path / "x.csr").read_text(), "alex")[0] == KeySpec("rsa", size=2048)


def test_nothing_of_a_request_is_used_but_its_key(door: Any, bringing: Any) -> None:
    key = new_key()
    door.enrol(bringing(key))
    certificate = door.authority.issued(door.authority.rows[0].serial)
    assert certificate.public_key() == key.public_key()
    assert certificate.subject.rfc4514_string() == "CN=Alex"
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.RFC822Name) == ["alex@example.org"]
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_there_is_no_key_and_no_bundle_and_the_next_run_has_nothing_to_do(door: Any, bringing: Any) -> None:
    alex = bringing(new_key())
    assert door.actions(alex, check_mode=True) == ["issued"]
    assert door.actions(alex) == ["issued"]
    stem = Path(os.readlink(directory(door) / "alex.crt")).stem
    expected = {"client.json", "alex.crt", "alex.chain.pem", f"{stem}.crt", f"{stem}.chain.pem"}
    assert set(os.listdir(directory(door))) == expected
    before = door.digest()
    assert door.actions(alex, check_mode=True) == ["unchanged"]
    assert door.actions(alex) == ["unchanged"]
    assert door.digest() == before


def test_another_key_reissues_and_the_same_one_renews(door: Any, bringing: Any) -> None:
    first, second = new_key(), new_key()
    door.enrol(bringing(first))
    (result,) = door.enrol(bringing(second))
    assert result.action == "reissued"
    assert "key is now ECDSA P-256 of a CSR, SHA-256 " in result.reason
    keys = [door.authority.issued(row.serial).public_key() for row in door.authority.rows]
    assert keys == [first.public_key(), second.public_key()]
    later = door.later(days=340)
    assert later.actions(bringing(second)) == ["renewed"]
    much_later = later.later(days=20)
    assert much_later.actions(bringing(second)) == ["updated"]
    assert [row.status for row in door.authority.rows] == ["R", "R", "V"]
    assert much_later.later(days=330).actions(bringing(second)) == ["renewed"]


def test_from_a_key_made_here_to_a_csr_and_back(door: Any, client: Any, bringing: Any) -> None:
    made_here = client(bundle_profiles=("modern", "compat"))
    door.enrol(made_here)
    old = {path.name for path in directory(door).iterdir() if not path.is_symlink()}
    assert door.actions(bringing(new_key()), check_mode=True) == ["reissued"]
    assert door.actions(bringing(new_key())) == ["reissued"]
    links = {path.name for path in directory(door).iterdir() if path.is_symlink()}
    assert links == {"alex.crt", "alex.chain.pem"}, "a link to the predecessor's key or bundle would mislead"
    assert old <= {path.name for path in directory(door).iterdir()}
    assert door.actions(made_here) == ["reissued"]
    key = load_pem_private_key((directory(door) / "alex.key").read_bytes(), None)
    assert key.public_key() == door.authority.issued(door.authority.rows[-1].serial).public_key()
    assert door.actions(made_here) == ["unchanged"]


def test_file_that_is_not_a_managed_link_stays(door: Any, bringing: Any) -> None:
    alex = bringing(new_key())
    door.enrol(alex)
    (directory(door) / "alex.key").write_text("mine")
    assert door.actions(alex) == ["unchanged"]
    assert (directory(door) / "alex.key").read_text() == "mine"


def refused(door: Any, says: str, *clients: Any) -> None:
    before = door.digest()
    for check_mode in (True, False):
        with pytest.raises(MtlsError, match=says):
            door.enrol(*clients, check_mode=check_mode)
    assert door.digest() == before


def test_the_key_of_another_client_is_refused(door: Any, client: Any, bringing: Any) -> None:
    key = new_key()
    door.enrol(bringing(key, "bea"))
    serial = door.authority.rows[0].serial
    refused(door, f"client alex: the key of its csr is that of certificate {serial} of client bea", bringing(key))
    refused(door, "of client bea", client("carl"), bringing(key))
    door.revoke("keyCompromise", client="bea")
    refused(door, r"of client bea, revoked \(keyCompromise\)", bringing(key))


def test_a_key_that_was_made_here_for_another_is_refused(door: Any, client: Any, bringing: Any) -> None:
    door.enrol(client("bea"))
    key = load_pem_private_key(door.file("clients", "bea", "bea.key").read_bytes(), None)
    refused(door, "of client bea", client("bea"), bringing(key))


def test_a_key_that_was_certified_by_hand_is_refused(door: Any, bringing: Any, openssl: Any) -> None:
    base = str(door.file("by-hand"))
    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=hand",
            "-keyout", f"{base}.key", "-out", f"{base}.csr")  # fmt: skip
    door.openssl_ca("-notext", "-in", f"{base}.csr", "-out", f"{base}.crt")
    key = load_pem_private_key(Path(f"{base}.key").read_bytes(), None)
    refused(door, "of '/CN=hand'", bringing(key))


def test_the_key_of_the_ca_is_refused(door: Any, bringing: Any) -> None:
    refused(door, "is that of the CA CN=Test CA", bringing(door.authority.signer(None, door.now).key))


def test_a_client_that_returns_needs_a_new_key(door: Any, client: Any, bringing: Any) -> None:
    key = new_key()
    for reason in ("keyCompromise", "cessationOfOperation", "superseded"):
        door.enrol(bringing(key))
        door.enrol(client(present=False, reason=reason))
        left_without(door, reason, bringing(key), client("bea"))
        key = new_key()
    assert door.actions(bringing(key)) == ["issued"]


def left_without(door: Any, reason: str, *clients: Any) -> None:
    """Check that the first client is not issued a certificate, also in check mode, and that the others are not affected."""
    before = door.digest()
    predicted = door.enrol(*clients, check_mode=True)
    assert door.digest() == before
    done = door.enrol(*clients)
    assert [(one.action, one.reason) for one in predicted] == [(one.action, one.reason) for one in done]
    assert (done[0].action, done[0].step.refused) == ("unchanged", True)
    assert f"of client alex, revoked ({reason}): it needs a new key, and a CSR with it" in done[0].reason
    assert not any(one.step.refused for one in done[1:])
    assert {one.action for one in door.enrol(*clients)} == {"unchanged"}


def test_revoked_key_does_not_block_other_clients(door: Any, client: Any, bringing: Any) -> None:
    """Playbook revoke does not change the roster, so the next run finds the same CSR."""
    key = new_key()
    door.enrol(bringing(key))
    door.revoke("keyCompromise", client="alex")
    before = {name: what for name, what in door.digest().items() if "clients/alex" in name}
    left_without(door, "keyCompromise", bringing(key), client("bea"), bringing(new_key(), "carl"))
    assert {name: what for name, what in door.digest().items() if "clients/alex" in name} == before
    assert [row.client for row in door.authority.rows if not row.is_revoked] == ["bea", "carl"]


def test_a_key_that_was_given_up_is_not_taken_again_later(door: Any, bringing: Any) -> None:
    stolen, new = new_key(), new_key()
    door.enrol(bringing(stolen))
    door.revoke("keyCompromise", client="alex")
    door.enrol(bringing(new))
    before = door.digest()
    left_without(door, "keyCompromise", bringing(stolen))
    assert door.digest() == before


def test_a_key_is_given_up_for_good_also_where_the_reason_was_superseded(door: Any, client: Any, bringing: Any) -> None:
    """The roster may give that reason for a client that leaves, without a successor that has the same key."""
    first, second = new_key(), new_key()
    door.enrol(bringing(first))
    door.enrol(client(present=False, reason="superseded"))
    door.later(days=1).enrol(bringing(second))
    left_without(door.later(days=2), "superseded", bringing(first))


def test_a_key_whose_certificate_was_succeeded_may_come_back(door: Any, bringing: Any) -> None:
    first, second = new_key(), new_key()
    door.enrol(bringing(first))
    door.later(days=1).enrol(bringing(second))
    assert door.later(days=15).actions(bringing(second)) == ["updated"]
    assert door.later(days=16).actions(bringing(first)) == ["reissued"]


@pytest.mark.parametrize("both", [True, False], ids=["who left with two", "the newer of two was revoked"])
def test_only_a_newer_certificate_that_was_good_then_succeeds(
    both: bool, door: Any, client: Any, bringing: Any
) -> None:
    first, second = new_key(), new_key()
    door.enrol(bringing(first))
    door.later(days=1).enrol(bringing(second))
    if both:
        door.later(days=2).enrol(client(present=False, reason="superseded"))
    else:
        door.later(days=2).revoke("superseded", serial=door.authority.rows[1].serial)
    left_without(door.later(days=3), "superseded", bringing(first if both else second))


def test_what_a_predecessor_knows_of_a_key_counts_at_its_successor(
    door: Any, client: Any, bringing: Any, tmp_path: Path
) -> None:
    new = type(door)(str(tmp_path / "new"), now=door.now)
    lost, kept = new_key(), new_key()
    door.enrol(bringing(lost), bringing(kept, "bea"))
    door.revoke("keyCompromise", client="alex")

    def planned(*clients: Any) -> Any:
        elsewhere = predecessor_clients.load_elsewhere([door.path], list(clients), new.now)
        return enrol.predict(new.path, list(clients), new.rules, None, new.now, elsewhere).results

    for _time in range(2):
        for mine in (bringing(kept, "carl"), bringing(lost, "carl")):
            with pytest.raises(MtlsError, match=r"client carl: the key of its csr is that of certificate .* of client"):
                planned(mine)
        with pytest.raises(MtlsError, match="is that of the CA CN=Test CA"):
            planned(bringing(door.authority.signer(None, door.now).key))
        alex, bea = planned(bringing(lost), bringing(kept, "bea"))
        assert (alex.step.refused, bea.action) == (True, "issued")
        # In check mode the successor may not exist yet.
        new.create("New")


def test_a_lost_certificate_file_does_not_stop_others(door: Any, client: Any, bringing: Any) -> None:
    door.enrol(client("bea"))
    door.file("newcerts", f"{door.authority.rows[0].serial}.pem").unlink()
    assert door.actions(bringing(new_key())) == ["issued"]


def test_two_clients_with_one_key_are_refused(bringing: Any) -> None:
    key = new_key()
    with pytest.raises(MtlsError, match="client bea: its csr has the same key as that of alex"):
        check_roster([bringing(key), bringing(new_key(), "carl"), bringing(key, "bea")])


def test_a_csr_and_a_bundle_do_not_go_together(bringing: Any) -> None:
    for changes in ({"bundle_profiles": ("modern",)}, {"bundle_passphrase": "x"}):
        with pytest.raises(MtlsError, match="client alex: with a csr there can be no bundle"):
            check_roster([bringing(new_key(), **changes)])


def not_proven(key: Any) -> str:
    """Return a CSR with a copied public key: it is signed with another key, and the public key is replaced afterwards."""
    other = new_key()
    theirs = base64.b64decode("".join(request_of(other).splitlines()[1:-1]))
    forged = theirs.replace(public_der(other.public_key()), public_der(key.public_key()))
    return (
        f"-----BEGIN CERTIFICATE REQUEST-----\n{base64.encodebytes(forged).decode()}-----END CERTIFICATE REQUEST-----\n"
    )


def test_a_csr_without_proof_of_possession_is_refused() -> None:
    key = new_key()
    text = not_proven(key)
    assert x509.load_pem_x509_csr(text.encode()).public_key() == key.public_key()
    with pytest.raises(MtlsError, match="client alex: the signature of its csr is not valid, so it does not prove"):
        csr.requested_key(text, "alex")


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (ed25519.Ed25519PrivateKey.generate, "is an EdDSA key, which browsers do not use for client certificates"),
        (ed448.Ed448PrivateKey.generate, "is an EdDSA key, which browsers do not use"),
        (lambda: ec.generate_private_key(ec.SECP384R1()), "is ECDSA P-384"),
        (lambda: ec.generate_private_key(ec.SECP521R1()), "is ECDSA secp521r1"),
        (lambda: ec.generate_private_key(ec.SECP256K1()), "is ECDSA secp256k1"),
        (lambda: rsa.generate_private_key(65537, 1024), "is weak: its modulus has 1024 bits"),  # noqa: S505
        (lambda: rsa.generate_private_key(65537, 2047), "is weak: its modulus has 2047 bits"),  # noqa: S505
        (lambda: rsa.generate_private_key(65537, 4104), "is weak: its modulus has 4104 bits"),
        (lambda: rsa.generate_private_key(3, 2048), "is weak: its public exponent is even, below 65537"),
    ],
)
def test_weak_and_unusual_keys_are_refused(key: Any, says: str) -> None:
    with pytest.raises(MtlsError, match=f"client alex: the key of its csr {says}") as caught:
        csr.requested_key(request_of(key()), "alex")
    assert "Create a P-256 key" in str(caught.value)


def modulus_of(first: int, second: int, exponent: int = 65537) -> Any:
    return rsa.RSAPublicNumbers(exponent, first * second).public_key()


def prime_from(start: int, step: int = 2) -> int:
    """Return the next probable prime (Fermat's test, base 2 and 3)."""
    while pow(2, start - 1, start) != 1 or pow(3, start - 1, start) != 1:
        start += step
    return start


def test_factors_that_can_be_found_are_refused() -> None:
    numbers = rsa.generate_private_key(65537, 2048).private_numbers()
    close = prime_from(numbers.p + 2)
    for key, says in [
        (modulus_of(numbers.p, close), "so close to each other"),
        (modulus_of(numbers.p, numbers.p), "so close to each other"),
        (modulus_of(numbers.p * numbers.q, 743), "has a small factor"),
    ]:
        with pytest.raises(MtlsError, match=f"it is weak: .*{says}"):
            key_checks.check_client_key(key, "it")
    assert key_checks.check_client_key(modulus_of(numbers.p, numbers.q), "it") == KeySpec("rsa", size=2048)


def test_keys_with_the_fault_of_roca_are_refused() -> None:
    """Primes are k * M + (65537 ** a mod M), M the product of the first primes, as CVE-2017-15361 describes them."""
    product = math.prod(prime for prime in range(2, 702) if all(prime % d for d in range(2, math.isqrt(prime) + 1)))
    size = 1024 - product.bit_length()

    def faulty(power: int) -> int:
        start = (1 << size) - (1 << (size - 3)) - power
        return prime_from(start * product + pow(65537, power, product), product)

    key = modulus_of(faulty(12345), faulty(987654))
    with pytest.raises(MtlsError, match=r"ROCA, CVE-2017-15361"):
        key_checks.check_client_key(key, "it")


def test_sound_keys_are_not_taken_for_weak_ones() -> None:
    for _time in range(20):
        key_checks.check_client_key(rsa.generate_private_key(65537, 2048).public_key(), "it")


PRIVATE = "-----BEGIN EC PRIVATE KEY-----\nSECRETSECRET\n-----END EC PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("", "csr '' is neither a CSR in PEM nor a full path"),
        ("alex.csr", "csr 'alex.csr' is neither a CSR in PEM nor a full path"),
        ("/nowhere/alex.csr", "csr '/nowhere/alex.csr' cannot be read"),
        ("/", r"csr '/' cannot be read \(Is a directory\)"),
        ("/a\x00b", ".* is neither a CSR in PEM nor a full path"),
        ("/etc/passwd", "csr is not one CSR in PEM"),
        ("/dev/zero", "csr is not one CSR in PEM"),
        ("-----BEGIN CERTIFICATE REQUEST-----", "csr is not one CSR in PEM"),
        ("-----BEGIN \ud800", "csr is not one CSR in PEM"),
        ("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----", "csr is not one CSR in PEM"),
    ],
)
def test_what_is_no_csr_is_explained(value: str, says: str) -> None:
    with pytest.raises(MtlsError, match=f"client alex: {says}"):
        csr.requested_key(value, "alex")


def test_what_is_nearly_a_csr_is_explained() -> None:
    sound = request_of(new_key())
    for value in (sound * 2, sound[:200], sound + " " * 70_000, sound.replace("CERTIFICATE REQUEST", "CERTIFICATE")):
        with pytest.raises(MtlsError, match="client alex: csr is not one CSR in PEM"):
            csr.requested_key(value, "alex")
    for value in (PRIVATE, sound + PRIVATE, PRIVATE + sound):
        with pytest.raises(MtlsError, match="client alex: csr has a private key in it") as caught:
            csr.requested_key(value, "alex")
        assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("position", range(0, 400, 13))
def test_a_garbled_csr_never_ends_in_a_traceback(position: int) -> None:
    lines = request_of(new_key()).splitlines()
    data = bytearray(base64.b64decode("".join(lines[1:-1])))
    data[position % len(data)] ^= 0x55
    text = f"{lines[0]}\n{base64.encodebytes(bytes(data)).decode()}{lines[-1]}\n"
    with pytest.raises(MtlsError, match="client alex: "):
        csr.requested_key(text, "alex")
