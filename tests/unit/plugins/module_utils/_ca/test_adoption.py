# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the adoption of authorities made by the openssl command and by easy-rsa."""

from __future__ import annotations

import json
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca import adoption, index_database
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

NOW = datetime.now(timezone.utc).replace(microsecond=0)
DAY = timedelta(days=1)
MAKES = {
    "the guide": {
        "rsa": 4096, "passphrase": "se cret", "crl_number": "1000", "unique_subject": "yes", "directory": "~/ca",
    },
    "an old key": {"certificate": "ca.crt", "key": "ca.key", "new_certificates": ".", "traditional": True,
                   "passphrase": "old", "extensions": "basicConstraints = CA:true\nsubjectKeyIdentifier = none",
                   "crl_extensions": "authorityKeyIdentifier = issuer:always"},
    "CA.pl": {"certificate": "cacert.pem", "key": "private/cakey.pem", "crl_number": "01"},
    "certs": {"certificate": "certs/ca.crt", "key": "private/ca.key", "new_certificates": "certs", "rsa": 2048},
}  # fmt: skip


@pytest.fixture(params=MAKES)
def theirs(request: Any, by_hand: Any) -> Any:
    """Return an authority made by hand, with three certificates, one of them revoked."""
    made = by_hand(**MAKES[request.param])
    for name in ("alex", "bea", "carl"):
        made.sign(f"/O=Example/CN={name}/emailAddress=team@example.org", "team@example.org")
    made.revoke("1002", "keyCompromise")
    return made


def opened(door: Any, theirs: Any) -> Any:
    """Return the same directory for work with this collection, at the present time."""
    door.path = str(theirs.path)
    door.now = type(door)("").now
    door.passphrase = theirs.passphrase.encode() if getattr(theirs, "passphrase", None) else None
    return door


def expected(theirs: Any, *others: str) -> set[str]:
    """Return the files that an adoption may add or change."""
    ours = {"quietdoor.cnf", "quietdoor.json", "index.txt.attr", "crl", "clients", *others}
    return ours if (theirs.path / "crlnumber").exists() else {*ours, "crlnumber"}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    """Return the files that differ."""
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def test_an_authority_made_by_hand_is_taken_over_and_nothing_but_what_was_said_changes(
    theirs: Any, empty_door: Any, client: Any
) -> None:
    door = opened(empty_door, theirs)
    before, wanted = door.digest(), expected(theirs)
    output = door.adopt(check_mode=True)
    assert door.digest() == before
    assert not (theirs.path / ".lock").exists()
    assert door.adopt() == output
    assert changed(before, door.digest()) == wanted
    assert len(output) == len(wanted)
    assert all(any(name in line for line in output) for name in wanted)
    after = door.digest()
    assert door.adopt() == []
    assert door.adopt(check_mode=True) == []
    assert door.digest() == after

    listed = door.listed()
    assert [(entry["name"], entry["status"], entry["email"]) for entry in listed.values()] == [
        ("alex", "valid", ["team@example.org"]),
        ("bea", "valid", ["team@example.org"]),
        ("carl", "revoked", ["team@example.org"]),
    ]
    assert all(os.path.exists(entry["files"]["certificate"]) for entry in listed.values())


def test_what_is_adopted_is_worked_on_by_both_sides(
    theirs: Any, empty_door: Any, client: Any, openssl: Any, tmp_path: Path
) -> None:
    door = opened(empty_door, theirs)
    last = theirs.gencrl()
    door.adopt()
    (result,) = door.enrol(client("dora"))
    door.revoke(client="bea")
    written = door.crl()
    if theirs.crl_number:
        assert written.after.number > last.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    assert written.after.serials == {"1001", "1002"}
    theirs.revoke(result.record.latest.serial)
    theirs.sign("/CN=alex")
    theirs.updatedb()
    assert {f"{entry.serial_number:X}" for entry in theirs.gencrl()} == {
        "1001",
        "1002",
        result.record.latest.serial.lstrip("0"),
    }
    assert "Revoked" in theirs.run("ca", "-status", "1001", fails=True)

    ours = ("ca", "-batch", "-config", str(theirs.path / "quietdoor.cnf"), *theirs._pass("in"))
    openssl(*ours, "-revoke", theirs.file("1003"))
    openssl(*ours, "-updatedb")
    openssl(*ours, "-gencrl", "-out", str(tmp_path / "by-ours.pem"))
    assert len(x509.load_pem_x509_crl((tmp_path / "by-ours.pem").read_bytes())) == 4
    assert door.crl().after.serials == {"1001", "1002", "1003", result.record.latest.serial}
    assert [row.status for row in door.authority.rows] == ["V", "R", "R", "R", "R"]
    assert door.adopt() == []

    judge = ("verify", "-crl_check_all", "-CAfile", str(theirs.path / theirs.certificate), "-CRLfile")
    for crl in (str(theirs.path / "crl" / "ca.crl.pem"), str(tmp_path / "by-ours.pem")):
        assert "OK" in openssl(*judge, crl, "-purpose", "sslclient", theirs.file("1000"))
        assert "revoked" in openssl(*judge, crl, "-purpose", "sslclient", theirs.file("1001"), fails=True)


def test_easy_rsa_is_taken_over_and_goes_on(easy_rsa: Any, empty_door: Any, client: Any, openssl: Any) -> None:
    theirs = easy_rsa()
    alex, bea = theirs.sign("alex"), theirs.sign("bea")
    theirs.revoke("alex", "keyCompromise")
    theirs.gencrl()
    door = opened(empty_door, theirs)
    before = door.digest()
    output = door.adopt(check_mode=True)
    assert door.adopt() == output
    assert changed(before, door.digest()) == {"quietdoor.cnf", "quietdoor.json", "crl", "clients", "crlnumber"}
    assert [door.listed()[serial]["status"] for serial in (alex, bea)] == ["revoked", "valid"]
    assert door.listed()[alex]["files"] == {}

    door.enrol(client("dora"))
    door.revoke(client="bea")
    emil = theirs.sign("emil")
    theirs.revoke("emil", "superseded")
    mine, other = door.crl().after.serials, theirs.gencrl()
    assert mine == {alex, bea, emil}
    assert {f"{entry.serial_number:X}" for entry in other} == {serial.lstrip("0") for serial in mine}
    fay = theirs.sign("fay")
    theirs.run("show-crl")
    assert door.listed()[fay]["name"] == "fay"
    assert door.adopt() == []
    judge = ("verify", "-crl_check_all", "-CAfile", str(theirs.path / "ca.crt"), "-CRLfile")
    crl = str(theirs.path / "crl" / "ca.crl.pem")
    assert "OK" in openssl(*judge, crl, str(door.file("clients", "dora", "dora.crt")))
    assert "OK" in openssl(*judge, crl, str(theirs.path / "issued" / "fay.crt"))
    assert "revoked" in openssl(*judge, crl, str(theirs.path / "certs_by_serial" / f"{bea}.pem"), fails=True)


def test_nothing_is_touched_unless_adoption_is_asked_for(by_hand: Any, empty_door: Any, client: Any) -> None:
    theirs = by_hand()
    theirs.sign("/CN=alex")
    door = opened(empty_door, theirs)
    before = door.digest()
    with pytest.raises(
        MtlsError, match=r"was not made by this collection.*Set adopt to true.*index.txt.attr: unique_subject"
    ):
        adoption.refuse_unasked(door.path, None, door.now)
    (theirs.path / theirs.key).rename(theirs.path / "key")
    with pytest.raises(MtlsError, match=r"Set adopt to true.*what prevents it: .*Set key_file to"):
        adoption.refuse_unasked(door.path, None, door.now)
    (theirs.path / "key").rename(theirs.path / theirs.key)
    for work in (door.crl, lambda: door.revoke(client="alex"), lambda: door.enrol(client())):
        with pytest.raises(MtlsError, match="Adopt it first: module ca with adopt: true"):
            work()
    assert door.digest() == before
    assert not (theirs.path / ".lock").exists()
    # Check mode works before the adoption too.
    assert door.actions(client(), check_mode=True) == ["issued"]
    assert door.crl(check_mode=True).changed


def test_a_run_killed_in_an_adoption_is_completed(
    by_hand: Any, empty_door: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = by_hand(certificate="ca.crt", new_certificates=".")
    theirs.sign("/CN=alex")
    (theirs.path / theirs.key).chmod(0o644)
    door = opened(empty_door, theirs)
    theirs_own = (theirs.path / "openssl.cnf").read_bytes()
    output = door.adopt(check_mode=True)
    carry_out = adoption._carry_out
    left = 0

    def dies(change: Any) -> None:
        nonlocal left
        if not left:
            raise KeyboardInterrupt
        left -= 1
        carry_out(change)

    # Every run completes one step more than the run before.
    monkeypatch.setattr(adoption, "_carry_out", dies)
    for done in range(len(output) - 1):
        left = 1
        with pytest.raises(KeyboardInterrupt):
            door.adopt()
        assert door.adopt(check_mode=True) == output[done + 1 :]
        assert (theirs.path / "openssl.cnf").read_bytes() == theirs_own
    left = 1
    assert door.adopt() == output[-1:]
    assert door.adopt() == []
    assert (theirs.path / theirs.key).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("number", [None, "03"])
def test_the_crl_number_goes_on_above_every_crl_that_is_there(
    by_hand: Any, empty_door: Any, number: str | None
) -> None:
    theirs = by_hand(crl_number="1000")
    theirs.gencrl("old.crl")
    theirs.gencrl("crl.pem")
    (theirs.path / "crlnumber").unlink()
    if number:
        (theirs.path / "crlnumber").write_text(number)
    door = opened(empty_door, theirs)
    assert any("1002" in line for line in door.adopt())
    assert door.crl().after.number == 0x1002


def test_a_crl_of_another_authority_is_passed_over(by_hand: Any, empty_door: Any, tmp_path: Path) -> None:
    other = by_hand(path=tmp_path / "other", crl_number="1000")
    theirs = by_hand()
    other.gencrl(str(theirs.path / "crl.pem"))
    (theirs.path / "junk.crl").write_text("-----BEGIN X509 CRL-----\n")
    door = opened(empty_door, theirs)
    door.adopt()
    assert door.crl().after.number == 1


def test_a_revocation_that_only_a_crl_knows_of_is_not_lost(by_hand: Any, empty_door: Any) -> None:
    theirs = by_hand()
    serial = theirs.sign("/CN=alex")
    index = (theirs.path / "index.txt").read_bytes()
    theirs.revoke(serial)
    theirs.gencrl()
    (theirs.path / "index.txt").write_bytes(index)
    with pytest.raises(MtlsError, match=r"crl.pem revokes serials that .*index.txt does not: 1000\. Revoke each again"):
        opened(empty_door, theirs).adopt()


def without_rows(theirs: Any, *serials: str) -> None:
    """Delete the rows of revoked certificates, as a script of OpenVPN did."""
    index = theirs.path / "index.txt"
    lines = index.read_text().splitlines(keepends=True)
    index.write_text("".join(line for line in lines if line.split("\t")[3] not in serials))


def refused(door: Any, *words: str) -> str:
    """Adopt, in check mode and without; nothing may change, and the error has these words."""
    before = door.digest()
    for check_mode in (True, False):
        with pytest.raises(MtlsError) as caught:
            door.adopt(check_mode=check_mode)
        assert all(word in str(caught.value) for word in words), caught.value
        assert door.digest() == before
        assert not door.file(".lock").exists()
    return str(caught.value)


def test_a_revoked_serial_without_a_row_stops_the_adoption_of_easy_rsa(
    easy_rsa: Any, empty_door: Any, command: Any, tmp_path: Path
) -> None:
    theirs = easy_rsa()
    theirs.sign("alex")
    bob = theirs.sign("bob")
    theirs.revoke("bob")
    theirs.gencrl()
    without_rows(theirs, bob)
    door = opened(empty_door, theirs)
    index, crl = str(theirs.path / "index.txt"), str(theirs.path / "crl.pem")
    message = refused(door, f"{crl} revokes serials that have no row in {index}: {bob}. Add each row")
    assert "docs/adoption.md" in message
    # As docs/adoption.md shows it: openssl adds the row of a certificate that its database does not have.
    (copy,) = theirs.path.rglob(f"revoked/certs_by_serial/{bob}.crt")
    (tmp_path / "row.cnf").write_text(
        "[ca]\ndefault_ca = authority\n[authority]\ndatabase = index.txt\ndefault_md = sha256\n"
    )
    files = ("-cert", "ca.crt", "-keyfile", "private/ca.key", "-revoke", str(copy))
    command("openssl", "ca", "-config", str(tmp_path / "row.cnf"), *files, directory=theirs.path)
    door.adopt()
    assert door.crl().after.serials == {bob}


@pytest.mark.parametrize("name", ["crl.pem", "ca.crl", "CRL.der", "revoked-crl", "1a2b3c4d.r0", "crl/old.txt"])
@pytest.mark.parametrize("form", ["PEM", "DER", "PEM with text and another CRL"])
def test_a_revoked_serial_without_a_row_stops_the_adoption(
    name: str, form: str, by_hand: Any, empty_door: Any, openssl: Any, tmp_path: Path
) -> None:
    theirs = by_hand(crl_number="1000")
    serials = [theirs.sign(f"/CN=client {number}") for number in range(3)]
    empty = theirs.gencrl("empty.out")
    for serial in serials[:2]:
        theirs.revoke(serial)
    theirs.gencrl("full.out")
    without_rows(theirs, serials[0], serials[1])
    (theirs.path / "crl").mkdir()
    options = () if form == "PEM" else ("-outform", "DER") if form == "DER" else ("-text",)
    openssl("crl", "-in", str(theirs.path / "full.out"), "-out", str(tmp_path / "out"), *options)
    text = (tmp_path / "out").read_bytes()
    if form == "PEM with text and another CRL":
        other = by_hand(path=tmp_path / "other")
        other.gencrl()
        text = (other.path / "crl.pem").read_bytes() + empty.public_bytes(Encoding.PEM) + text.replace(b"\n", b"\r\n")
    (theirs.path / name).write_bytes(text)
    for file in ("empty.out", "full.out"):
        (theirs.path / file).unlink()
    door = opened(empty_door, theirs)
    refused(door, f"{theirs.path / name} revokes serials that have no row in", f": {', '.join(serials[:2])}. Add each")
    # The hint works: openssl adds the row of a certificate that its database does not have.
    theirs.revoke(serials[0])
    refused(door, f": {serials[1]}. Add each")
    theirs.revoke(serials[1])
    door.adopt()
    assert door.crl().after.serials == set(serials[:2])


def test_many_serials_without_a_row_are_counted(by_hand: Any, empty_door: Any) -> None:
    theirs = by_hand()
    key = load_pem_private_key((theirs.path / theirs.key).read_bytes(), None)
    issuer = x509.load_pem_x509_certificate((theirs.path / theirs.certificate).read_bytes()).subject
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer).last_update(NOW).next_update(NOW + DAY)
    for number in range(1, 13):
        entry = x509.RevokedCertificateBuilder().serial_number(number).revocation_date(NOW)
        builder = builder.add_revoked_certificate(entry.build())
    crl = builder.sign(key, hashes.SHA256())
    (theirs.path / "crl.pem").write_bytes(crl.public_bytes(Encoding.PEM))
    refused(opened(empty_door, theirs), ": 01, 02, 03, 04, 05, 06, 07, 08, 09, 0A and 2 more. Add")


@pytest.mark.parametrize("end", [b"\r\n", b""])
def test_lines_that_end_otherwise_stay_so(end: bytes, by_hand: Any, empty_door: Any) -> None:
    theirs = by_hand()
    for name in ("alex", "bea"):
        theirs.sign(f"/CN={name}")
    index = theirs.path / "index.txt"
    lines = index.read_bytes().splitlines()
    index.write_bytes(b"\r\n".join(lines) + end if end else b"\n".join(lines))
    before = index.read_bytes()
    door = opened(empty_door, theirs)
    output = door.adopt()
    assert index.read_bytes() == (before if end else before + b"\n")
    assert any("which openssl ignores" in line for line in output) == (not end)
    assert [entry["name"] for entry in door.listed().values()] == ["alex", "bea"]
    door.revoke(client="bea")
    theirs.run("ca", "-updatedb")
    assert len(theirs.gencrl()) == 1
    assert door.crl().after.serials == {"1001"}


def test_other_names_are_reported_and_stored(by_hand: Any, empty_door: Any, tmp_path: Path) -> None:
    theirs = by_hand(certificate="certs/boss.pem", key="private/boss-key.pem")
    door = opened(empty_door, theirs)
    with pytest.raises(MtlsError, match=r"none of certs/ca.cert.pem, .* exists.*Set certificate_file to"):
        door.adopt()
    told = {"certificate_file": "certs/boss.pem", "key_file": "private/boss-key.pem"}
    for option, bad in (
        ("key_file", "/etc/key"),
        ("key_file", "../key"),
        ("certificate_file", "a/$b"),
        ("key_file", "a//b"),
    ):
        with pytest.raises(MtlsError, match=f"{option}: .* is not a path relative"):
            door.adopt(**{**told, option: bad})
    door.adopt(**told)
    assert door.adopt() == []
    assert door.crl().changed
    with pytest.raises(
        MtlsError, match=r"key_file is 'x', and the authority in .* was adopted with private/boss-key.pem"
    ):
        door.adopt(key_file="x")


def test_two_certificates_under_usual_names_are_not_guessed_between(by_hand: Any, empty_door: Any) -> None:
    theirs = by_hand()
    (theirs.path / "ca.crt").write_bytes((theirs.path / theirs.certificate).read_bytes())
    door = opened(empty_door, theirs)
    door.adopt(check_mode=True)
    (theirs.path / "ca.crt").write_text("another")
    with pytest.raises(MtlsError, match=r"certs/ca.cert.pem and ca.crt differ.*Set certificate_file to"):
        door.adopt()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"extensions": "basicConstraints = CA:false"}, "may sign certificates and CRLs"),
        ({"extensions": "subjectKeyIdentifier = hash"}, "may sign certificates and CRLs"),
        ({"extensions": "basicConstraints = CA:true\nkeyUsage = keyCertSign"}, "may sign certificates and CRLs"),
        ({"rsa": 1024}, "1024 bits"),
    ],
)
def test_authority_that_no_verifier_accepts_is_refused(
    options: dict[str, Any], says: str, by_hand: Any, empty_door: Any
) -> None:
    door = opened(empty_door, by_hand(**options))
    before = door.digest()
    with pytest.raises(MtlsError, match=says):
        door.adopt()
    assert door.digest() == before


def test_an_issuing_authority_is_refused_with_where_to_begin(
    by_hand: Any, empty_door: Any, openssl: Any, tmp_path: Path
) -> None:
    root, theirs = by_hand(path=tmp_path / "root"), by_hand()
    openssl("req", "-new", "-key", str(theirs.path / theirs.key), "-subj", "/CN=Issuing", "-out", str(tmp_path / "csr"))
    root.run(
        "ca",
        "-batch",
        "-extensions",
        "v3_ca",
        "-in",
        str(tmp_path / "csr"),
        "-out",
        str(theirs.path / theirs.certificate),
    )
    with pytest.raises(MtlsError, match=r"signed by CN=Hand Made CA,O=Example,C=DE.*top of the chain"):
        opened(empty_door, theirs).adopt()


def test_what_is_said_of_the_subject_is_compared(by_hand: Any, empty_door: Any) -> None:
    door = opened(empty_door, by_hand())
    with pytest.raises(MtlsError, match="common_name is 'Other'"):
        door.adopt(common_name="Other")
    door.adopt(common_name="Hand Made CA", organization="Example", country="DE")
    with pytest.raises(MtlsError, match="country is 'FR'"):
        door.adopt(country="FR")


def test_where_there_is_nothing_to_adopt_this_is_said(door: Any, empty_door: Any, by_hand: Any, tmp_path: Path) -> None:
    with pytest.raises(MtlsError, match="was made by this collection: there is nothing to adopt"):
        door.adopt()
    empty_door.path = str(tmp_path / "nothing")
    with pytest.raises(MtlsError, match=r"index.txt is missing.*for easy-rsa: its pki/"):
        empty_door.adopt()
    opened(empty_door, by_hand())
    Path(empty_door.path, "quietdoor.cnf").write_text("mine")
    with pytest.raises(MtlsError, match="which needs its name"):
        empty_door.adopt()


def test_the_key_has_to_be_the_certificates_and_to_open(by_hand: Any, empty_door: Any, tmp_path: Path) -> None:
    theirs = by_hand(passphrase="right")
    door = opened(empty_door, theirs)
    for passphrase, says in ((None, "is encrypted and no passphrase"), (b"wrong", "does not open")):
        door.passphrase = passphrase
        with pytest.raises(MtlsError, match=says):
            door.adopt()
    other = by_hand(path=tmp_path / "other")
    (theirs.path / theirs.key).write_bytes((other.path / other.key).read_bytes())
    door.passphrase = None
    with pytest.raises(MtlsError, match="is not the key of"):
        door.adopt()


def test_the_certificate_of_the_ca_itself_has_a_row_and_cannot_be_revoked(
    by_hand: Any, empty_door: Any, openssl: Any
) -> None:
    theirs = by_hand(certificate="cacert.pem")
    openssl("req", "-new", "-key", str(theirs.path / theirs.key), "-subj", "/CN=Self", "-out", str(theirs.path / "csr"))
    theirs.run("ca", "-batch", "-selfsign", "-extensions", "v3_ca", "-in", "csr", "-out", theirs.certificate)
    theirs.sign("/CN=alex")
    door = opened(empty_door, theirs)
    door.adopt()
    assert [entry["name"] for entry in door.listed().values()] == [None, "alex"]
    with pytest.raises(MtlsError, match="1000 is the serial of the CA certificate, whose revocation"):
        door.revoke(serial="1000")
    door.crl()
    assert [row.serial for row in door.authority.rows] == ["1000", "1001"]


# --- owners of certificates -----------------------------------------------------------------------------------------


def test_a_name_that_means_one_subject_revokes_it_and_one_that_means_two_is_refused(
    by_hand: Any, empty_door: Any
) -> None:
    theirs = by_hand(unique_subject="no")
    (theirs.path / "index.txt.attr").write_text("unique_subject = no\n")
    subjects = [
        "/CN=Zoë Müller",
        "/CN=Zoë Müller",
        "/O=A/CN=sam",
        "/O=B/CN=sam",
        "/O=A/emailAddress=x@example.org",
        "/O=A",
    ]
    serials = [theirs.sign(subject) for subject in subjects]
    door = opened(empty_door, theirs)
    door.adopt()
    listed = door.listed()
    assert [listed[serial]["name"] for serial in serials] == ["Zoë Müller"] * 2 + ["sam"] * 2 + ["x@example.org", None]
    assert [listed[serial]["current"] for serial in serials] == [False, True, True, True, True, True]
    assert [one.row.serial for one in door.revoke(client="Zoë Müller")] == serials[:2]
    with pytest.raises(MtlsError, match=r"'sam' is the common name of .* different subjects: 1002 .*O=A.*1003 .*O=B"):
        door.revoke(client="sam")
    assert [one.row.serial for one in door.revoke(client="x@example.org")] == serials[4:5]
    door.revoke(serial=serials[5])
    fingerprint = x509.load_pem_x509_certificate(Path(theirs.file(serials[2])).read_bytes()).fingerprint(
        hashes.SHA256()
    )
    door.revoke(fingerprint=fingerprint.hex())
    assert [row.status for row in door.authority.rows] == ["R", "R", "R", "V", "R", "R"]


def test_a_clear_predecessor_is_succeeded_and_superseded_after_the_overlap(
    by_hand: Any, empty_door: Any, client: Any, tmp_path: Path
) -> None:
    theirs = by_hand()
    serial = theirs.sign("/O=Old/CN=Alex/emailAddress=alex@example.org")
    door = opened(empty_door, theirs)
    door.adopt()
    assert door.actions(client("alex"), check_mode=True) == ["renewed"]
    (result,) = door.enrol(client("alex"))
    assert (result.action, result.record.serials[0]) == ("renewed", serial)
    assert "1000 was issued before the authority was adopted" in result.reason
    assert door.actions(client("alex")) == ["unchanged"]
    assert [door.listed()[row.serial]["name"] for row in door.authority.rows] == ["alex", "alex"]
    door.crl()
    door.publish(tmp_path / "public")
    identities = json.loads((tmp_path / "public" / "identities.json").read_text())["identities"]
    assert [(entry["serial"], entry["roles"]) for entry in identities] == [
        (row.serial, ["admin"]) for row in door.authority.rows
    ]
    # The owner is stored, so later changes of the roster do not matter.
    later = door.later(days=15)
    (result,) = later.enrol(client("alex", common_name="Alexandra", email=("a@example.org",)))
    assert result.step.revoke == (serial,)
    assert later.authority.rows[0].revocation.reason == "superseded"
    assert len(later.revoke(client="alex")) == 3


def test_two_devices_of_a_client_stay_valid_until_the_overlap_ends(by_hand: Any, empty_door: Any, client: Any) -> None:
    """No client needs a new certificate on the day of the adoption, however old the second device's certificate is."""
    theirs = by_hand(unique_subject="no")
    (theirs.path / "index.txt.attr").write_text("unique_subject = no\n")
    for _device in range(2):
        theirs.sign("/CN=Alex", "alex@example.org")
    adopted = opened(empty_door, theirs)
    adopted.adopt()
    door = adopted.later(days=30)
    assert door.actions(client()) == ["renewed"]
    assert [row.status for row in door.authority.rows] == ["V", "V", "V"]
    assert door.later(days=13).actions(client()) == ["unchanged"]
    assert door.later(days=14).actions(client()) == ["updated"]
    assert [row.status for row in door.authority.rows] == ["R", "R", "V"]


def test_a_damaged_record_does_not_hinder_a_revocation(by_hand: Any, empty_door: Any, client: Any) -> None:
    theirs = by_hand()
    theirs.sign("/CN=carl")
    door = opened(empty_door, theirs)
    door.adopt()
    door.enrol(client("alex"))
    door.file("clients", "alex", "client.json").write_text("{")
    assert [one.row.serial for one in door.revoke(client="carl")] == ["1000"]
    assert [one.client for one in door.revoke(client="alex")] == ["alex"]


def test_an_unclear_predecessor_is_named_and_left_alone(by_hand: Any, empty_door: Any, client: Any) -> None:
    theirs = by_hand()
    serial = theirs.sign("/CN=Alex/emailAddress=team@example.org", "team@example.org")
    door = opened(empty_door, theirs)
    door.adopt()
    (result,) = door.enrol(client("alex"))
    assert result.action == "issued"
    assert "1000 ('/CN=Alex/emailAddress=team@example.org'); revoke by serial" in result.reason
    assert door.later(days=20).actions(client("alex")) == ["unchanged"]
    assert not door.authority.rows[0].is_revoked
    # If a client leaves, all certificates of its name with one subject are revoked.
    (result,) = door.enrol(client("alex", present=False))
    assert set(result.step.revoke) == {serial, door.authority.rows[1].serial}
    assert door.actions(client("alex", present=False)) == ["unchanged"]


def test_leaving_client_with_adopted_certificates_only_is_revoked(by_hand: Any, empty_door: Any, client: Any) -> None:
    theirs = by_hand()
    theirs.sign("/CN=carl/emailAddress=team@example.org")
    theirs.sign("/O=A/CN=sam")
    theirs.sign("/O=B/CN=sam")
    door = opened(empty_door, theirs)
    door.adopt()
    carl, sam = (client(name, common_name=name, email=(), present=False) for name in ("carl", "sam"))
    expected, doubtful = door.enrol(carl, sam)
    assert (expected.action, expected.step.revoke) == ("revoked", ("1000",))
    assert doubtful.action == "unchanged"
    assert "1001 ('/O=A/CN=sam'), 1002 ('/O=B/CN=sam'); revoke by serial" in doubtful.reason
    assert [row.status for row in door.authority.rows] == ["R", "V", "V"]


# --- index.txt ------------------------------------------------------------------------------------------------------

SUBJECTS = [
    "/CN=plain",
    "/C=DE/ST=Köln/L=x/O=a \\/ b/OU=c\\\\d/CN=Zoë",
    "/O=tab\there/CN=plus\\+one",
    "/CN=日本/emailAddress=x\\+y@example.org",
    "/CN=end\\\\",
    "/O=a\\/CN=b/CN=c",
    "/CN= spaces  ",
]


@pytest.mark.parametrize("mask", ["utf8only", "MASK:4", "MASK:2048"])
def test_reading_and_writing_what_openssl_wrote_is_the_identity(mask: str, by_hand: Any, empty_door: Any) -> None:
    """MASK:4 is T61String, MASK:2048 is BMPString."""
    theirs = by_hand(string_mask="utf8only", unique_subject="no")
    (theirs.path / "index.txt.attr").write_text("unique_subject = no\n")
    theirs.string_mask = mask
    for subject in SUBJECTS:
        request(theirs, subject.replace("日本", "Kö") if mask == "MASK:4" else subject)
    for number, why in enumerate(["unspecified", "superseded", "certificateHold"]):
        theirs.revoke(f"100{number}", why)
    theirs.run("ca", "-revoke", theirs.file("1003"), "-crl_compromise", "20261101000000Z")
    theirs.run("ca", "-revoke", theirs.file("1004"), "-crl_CA_compromise", "20261101000000Z")
    theirs.run("ca", "-revoke", theirs.file("1005"), "-crl_hold", "holdInstructionReject")
    text = (theirs.path / "index.txt").read_bytes()
    door = opened(empty_door, theirs)
    door.adopt()
    assert index_database.render(door.authority.rows).encode() == text
    door.authority.save(door.authority.rows)
    assert (theirs.path / "index.txt").read_bytes() == text
    assert door.listed()["1000"]["name"] == "plain"
    reasons = {entry.serial_number: reason(entry) for entry in theirs.gencrl()}
    door.crl()
    ours = x509.load_pem_x509_crl(Path(theirs.path, "crl", "ca.crl.pem").read_bytes())
    assert {entry.serial_number: reason(entry) for entry in ours} == reasons


def reason(entry: Any) -> str | None:
    found = [item.value.reason.value for item in entry.extensions if isinstance(item.value, x509.CRLReason)]
    # RFC 5280 section 5.3.1: unspecified should be left out; openssl writes it.
    return next((value for value in found if value != "unspecified"), None)


def request(theirs: Any, subject: str) -> None:
    """Sign a subject in the string type of the authority's configuration."""
    base = f"{theirs.path}-{len(os.listdir(theirs.path / 'newcerts'))}"
    theirs.run("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-utf8", "-subj", subject,
               "-keyout", f"{base}.key", "-out", f"{base}.csr")  # fmt: skip
    theirs.run("ca", "-batch", "-notext", "-in", f"{base}.csr", "-out", f"{base}.crt")


def test_what_openssl_marked_as_expired_stays_so(by_hand: Any, empty_door: Any) -> None:
    theirs = by_hand(crl_number="01")
    ended = theirs.sign("/CN=alex", options=("-startdate", "20200101000000Z", "-enddate", "20210101000000Z"))
    late = theirs.sign("/CN=bea", options=("-enddate", "20600101000000Z"))
    gone = theirs.sign("/CN=carl", options=("-startdate", "200101000000Z", "-enddate", "210101000000Z"))
    theirs.revoke(gone)
    door = opened(empty_door, theirs)
    door.adopt()
    theirs.updatedb()
    text = (theirs.path / "index.txt").read_bytes()
    assert [row.status for row in door.authority.rows] == ["E", "V", "R"]
    assert [door.listed()[serial]["status"] for serial in (ended, late, gone)] == ["expired", "valid", "revoked"]
    assert door.crl().after.serials == {gone}
    assert (theirs.path / "index.txt").read_bytes() == text
    door.revoke(client="bea")
    # One CRL after the certificate's end had the entry (RFC 5280 section 3.3).
    assert door.crl().after.serials == {late}


@pytest.mark.parametrize("reason", ["removeFromCRL", "CACompromise", "affiliationChanged"])
def test_every_reason_of_openssl_is_understood(reason: str, by_hand: Any, empty_door: Any) -> None:
    theirs = by_hand()
    theirs.revoke(theirs.sign("/CN=alex"), reason)
    door = opened(empty_door, theirs)
    door.adopt()
    assert door.listed()["1000"]["revocation_reason"] == reason
    theirs.gencrl()
    assert door.crl().after.serials == {"1000"}


def test_a_first_serial_of_zero_can_be_revoked(by_hand: Any, empty_door: Any, openssl: Any) -> None:
    theirs = by_hand()
    (theirs.path / "serial").write_text("00\n")
    theirs.revoke(theirs.sign("/CN=alex"))
    door = opened(empty_door, theirs)
    door.adopt()
    door.crl()
    assert "Serial Number: 00" in openssl("crl", "-in", str(theirs.path / "crl" / "ca.crl.pem"), "-noout", "-text")
    judge = ("verify", "-crl_check_all", "-CAfile", str(theirs.path / theirs.certificate), "-CRLfile")
    assert "revoked" in openssl(*judge, str(theirs.path / "crl" / "ca.crl.pem"), theirs.file("00"), fails=True)


def adopted(door: Any, theirs: Any) -> Any:
    made = type(door)(str(theirs.path))
    made.adopt()
    return made


def test_a_database_behind_a_link_stays_one_database_with_its_mode(
    by_hand: Any, empty_door: Any, tmp_path: Path
) -> None:
    theirs = by_hand()
    theirs.sign("/CN=Alex")
    real, link = tmp_path / "index.txt", theirs.path / "index.txt"
    link.rename(real)
    real.chmod(0o600)
    link.symlink_to(real)
    (theirs.path / "crlnumber").write_text("01\n")
    (theirs.path / "crlnumber").chmod(0o600)
    door = adopted(empty_door, theirs)
    door.revoke(client="Alex")
    door.crl()
    assert link.is_symlink()
    assert real.read_text().startswith("R")
    assert {path.stat().st_mode & 0o777 for path in (real, theirs.path / "crlnumber")} == {0o600}


def test_keys_and_former_ca_certificates_among_the_certificates_are_none_that_was_issued(
    by_hand: Any, empty_door: Any
) -> None:
    theirs = by_hand(certificate="ca.crt", key="ca.key", new_certificates=".")
    theirs.sign("/CN=Alex")
    (theirs.path / "ed.pem").write_text((theirs.path / "ca.key").read_text())
    (theirs.path / "ca.pem").write_text((theirs.path / "ca.crt").read_text())
    days = ("-days", "3000")
    theirs.run("req", "-new", "-x509", "-key", "ca.key", "-out", "ca.crt", "-subj", theirs.subject, *days)
    door = type(empty_door)(str(theirs.path))
    door.adopt(certificate_file="ca.crt")
    door.crl()
    assert [row.serial for row in door.authority.with_orphans()] == ["1000"]
    (theirs.path / "dead.pem").write_text("")
    with pytest.raises(MtlsError, match=r"dead\.pem is not a PEM certificate"):
        door.authority.with_orphans()
