# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the entries of the CRL, when it is written, and that revocations are never lost."""

from __future__ import annotations

import base64
import re
import shutil
from datetime import timedelta
from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca import crl
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509.keys import KeySpec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding


def loaded(door: Any) -> x509.CertificateRevocationList:
    return x509.load_pem_x509_crl(door.file("crl", "ca.crl.pem").read_bytes())


def number(door: Any) -> int:
    return loaded(door).extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def serials(door: Any) -> set[str]:
    return {f"{entry.serial_number:040X}" for entry in loaded(door)}


def kept(door: Any, **options: Any) -> Any:
    """Write the CRL and return the outcome, which check mode predicts; the next run changes nothing."""
    before = door.digest()
    predicted = door.crl(**options, check_mode=True)
    assert door.digest() == before
    outcome = door.crl(**options)
    assert (predicted.changed, predicted.reason) == (outcome.changed, outcome.reason)
    done = door.digest()
    assert not door.crl(**options).changed
    assert door.digest() == done
    return outcome


def test_a_crl_is_version_2_with_number_and_authority_key_identifier(door: Any, openssl: Any) -> None:
    outcome = kept(door)
    assert (outcome.changed, outcome.before, outcome.after.number) == (True, None, 1)
    made = loaded(door)
    assert len(made) == 0
    assert {extension.oid for extension in made.extensions} == {x509.CRLNumber.oid, x509.AuthorityKeyIdentifier.oid}
    assert not any(extension.critical for extension in made.extensions)
    identifier = made.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    ca = door.authority.certificate
    assert identifier == ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert made.issuer == ca.subject
    assert made.last_update_utc == door.now - timedelta(minutes=10)
    assert made.next_update_utc == door.now + timedelta(days=30)
    paths = str(door.file("crl", "ca.crl.pem")), str(door.file("certs", "ca.cert.pem"))
    assert "verify OK" in openssl("crl", "-noout", "-in", paths[0], "-CAfile", paths[1])
    assert "Version 2" in openssl("crl", "-noout", "-text", "-in", paths[0])
    der = openssl("crl", "-inform", "DER", "-in", str(door.file("crl", "ca.crl.der")))
    assert der == door.file("crl", "ca.crl.pem").read_text()


@pytest.mark.parametrize("key", [KeySpec("ecdsa", curve="P-384"), KeySpec("rsa", size=2048)], ids=str)
def test_other_kinds_of_keys_sign_too(key: KeySpec, empty_door: Any, openssl: Any) -> None:
    empty_door.create(key=key)
    kept(empty_door)
    paths = str(empty_door.file("crl", "ca.crl.pem")), str(empty_door.file("certs", "ca.cert.pem"))
    assert "verify OK" in openssl("crl", "-noout", "-in", paths[0], "-CAfile", paths[1])


@pytest.mark.parametrize(
    ("reason", "flag"),
    [
        ("keyCompromise", x509.ReasonFlags.key_compromise),
        ("CACompromise", x509.ReasonFlags.ca_compromise),
        ("affiliationChanged", x509.ReasonFlags.affiliation_changed),
        ("superseded", x509.ReasonFlags.superseded),
        ("cessationOfOperation", x509.ReasonFlags.cessation_of_operation),
        ("unspecified", None),
    ],
)
def test_a_revocation_is_on_the_next_crl_with_date_and_reason(
    reason: str, flag: x509.ReasonFlags | None, door: Any, client: Any
) -> None:
    door.enrol(client("alex"), client("bea"))
    kept(door)
    later = door.later(hours=1)
    later.revoke(reason, client="alex")
    outcome = kept(later)
    assert outcome.reason == f"revoked since: {door.authority.rows[0].serial}"
    assert number(door) == 2
    (entry,) = loaded(door)
    assert entry.serial_number == int(door.authority.rows[0].serial, 16)
    assert entry.revocation_date_utc == later.now
    # RFC 5280 section 5.3.1: unspecified is expressed by the absence of the extension.
    reasons = [extension.value.reason for extension in entry.extensions]
    assert reasons == ([flag] if flag else [])


def test_invalidity_date_and_hold_of_openssl_are_kept(door: Any, client: Any) -> None:
    door.enrol(client("alex"), client("bea"))
    alex, bea = (str(door.file("newcerts", f"{row.serial}.pem")) for row in door.authority.rows)
    door.openssl_ca("-revoke", alex, "-crl_compromise", "20261101000000Z")
    door.openssl_ca("-revoke", bea, "-crl_hold", "holdInstructionReject")
    kept(door)
    entries = {f"{entry.serial_number:040X}": entry for entry in loaded(door)}
    first, second = (entries[row.serial.zfill(40)] for row in door.authority.rows)
    assert first.extensions.get_extension_for_class(x509.CRLReason).value.reason is x509.ReasonFlags.key_compromise
    since = first.extensions.get_extension_for_class(x509.InvalidityDate).value.invalidity_date_utc
    assert since.isoformat() == "2026-11-01T00:00:00+00:00"
    assert second.extensions.get_extension_for_class(x509.CRLReason).value.reason is x509.ReasonFlags.certificate_hold


@pytest.mark.parametrize(("days", "due"), [(0, False), (14, False), (15, True), (31, True)])
def test_a_crl_is_replaced_before_its_end(days: int, due: bool, door: Any) -> None:
    door.crl()
    outcome = kept(door.later(days=days))
    assert outcome.changed == due
    assert ("it ends at" in outcome.reason) == due
    assert number(door) == (2 if due else 1)


def test_a_crl_from_a_clock_that_was_ahead_is_replaced_with_a_higher_number(door: Any) -> None:
    door.later(days=60).crl()
    outcome = kept(door)
    assert "it begins only at" in outcome.reason
    assert number(door) == 2
    assert loaded(door).last_update_utc < door.now


def test_a_clock_that_was_ahead_drops_no_certificate_that_is_still_valid(door: Any, client: Any) -> None:
    """The time of the current CRL is after the certificate's end, but the CRL was issued before."""
    door.enrol(client("alex", valid_for=timedelta(days=20)), client("bea", valid_for=timedelta(days=20)))
    door.revoke(client="alex")
    for _time in range(2):
        door.later(days=60).crl()
        door.file("crl", "ca.crl.pem").unlink()
    door.later(days=60).crl()
    door.later(days=90).crl()
    assert len(loaded(door)) == 0
    door.revoke(client="bea")
    kept(door)
    assert serials(door) == {row.serial.zfill(40) for row in door.authority.rows}


@pytest.mark.parametrize(("seconds", "listed"), [(-1, True), (0, True), (1, False)])
def test_an_entry_is_dropped_once_a_crl_was_issued_after_the_end_and_not_a_second_before(
    seconds: int, listed: bool, door: Any, client: Any
) -> None:
    """RFC 5280 section 3.3. A CRL is issued at its thisUpdate."""
    door.enrol(client(valid_for=timedelta(days=20)))
    door.revoke(client="alex")
    end = door.authority.rows[0].not_after
    first = door.later(seconds=(end - door.now).total_seconds() + seconds + 600)
    first.crl()
    assert loaded(door).last_update_utc == end + timedelta(seconds=seconds)
    assert len(loaded(door)) == 1
    first.later(days=16).crl()
    assert len(loaded(door)) == listed
    first.later(days=40).crl()
    assert len(loaded(door)) == 0


def test_openssl_refuses_only_revoked_clients(door: Any, client: Any, openssl: Any) -> None:
    door.enrol(client("alex"), client("bea"))
    door.revoke("keyCompromise", client="alex")
    door.crl()
    judged = ["verify", "-x509_strict", "-crl_check_all", "-CAfile", str(door.file("certs", "ca.cert.pem"))]
    judged += ["-CRLfile", str(door.file("crl", "ca.crl.pem")), "-purpose", "sslclient"]
    assert "OK" in openssl(*judged, str(door.file("clients", "bea", "bea.crt")))
    assert "certificate revoked" in openssl(*judged, str(door.file("clients", "alex", "alex.crt")), fails=True)


@pytest.mark.parametrize("damage", [None, b"", b"garbage", "older"])
def test_a_der_file_that_is_not_the_same_crl_is_made_anew(damage: bytes | str | None, door: Any) -> None:
    door.crl()
    der = door.file("crl", "ca.crl.der")
    older = der.read_bytes()
    door.later(days=16).crl()
    good = der.read_bytes()
    if damage is None:
        der.unlink()
    else:
        der.write_bytes(older if damage == "older" else damage)
    later = door.later(days=17)
    later.passphrase = b"no key is needed for that"
    outcome = kept(later)
    assert (outcome.reason, outcome.after) == (f"{der} is not the same CRL", outcome.before)
    assert number(door) == 2
    assert der.read_bytes() == good


def test_after_openssl_wrote_a_crl_the_der_file_follows(door: Any) -> None:
    door.crl()
    door.openssl_ca("-gencrl", "-out", str(door.file("crl", "ca.crl.pem")))
    kept(door.later(minutes=1))
    assert door.file("crl", "ca.crl.der").read_bytes() == loaded(door).public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    ("days", "says"),
    [(16, None), (22, None), (24, "in 6 days; its minimum is 7 days"), (29, "in 24 hours; its minimum is 7 days"),
     (33, r"3 days ago, and nginx refuses every client; its minimum is 7 days")],
)  # fmt: skip
def test_run_that_cannot_sign_reports_the_end_of_the_crl(days: int, says: str | None, door: Any) -> None:
    door.crl()
    key = door.file("private", "ca.key.pem")
    key.rename(key.with_name("elsewhere"))
    before = door.digest()
    for check_mode in (True, False):
        with pytest.raises(MtlsError, match=r"ca\.key\.pem cannot be read .*Restore it from the backup") as reported:
            door.later(days=days).crl(check_mode=check_mode)
        assert ("Meanwhile the CRL" in str(reported.value)) == bool(says)
        assert re.search(says or "", str(reported.value))
    assert door.digest() == before


def test_a_passphrase_that_does_not_open_the_key_leaves_a_good_crl_alone(door: Any) -> None:
    door.crl()
    wrong = door.later(days=14)
    wrong.passphrase = b"not needed"
    assert not kept(wrong).changed


def test_a_number_that_nothing_tells_is_not_guessed(door: Any) -> None:
    door.crl()
    door.file("crl", "ca.crl.pem").unlink()
    door.file("crlnumber").unlink()
    before = door.digest()
    with pytest.raises(MtlsError, match=r"crlnumber is missing, and no CRL .* higher than the last CRL's"):
        door.crl()
    assert door.digest() == before
    assert door.create().changes == [], "module ca does not guess it either"
    door.file("crlnumber").write_text("07\n")
    assert kept(door).after.number == 7


def test_rows_that_openssl_revoked_with_removefromcrl_stay_revoked(door: Any, client: Any, openssl: Any) -> None:
    """RFC 5280 section 5.3.1: that reason is for delta CRLs. The database says revoked, so it is on the CRL, without a reason."""
    door.enrol(client())
    row = door.authority.rows[0]
    door.file("index.txt").write_text(
        replace_status(door.file("index.txt").read_text(), row.serial, "261101000000Z,removeFromCRL")
    )
    kept(door)
    (entry,) = loaded(door)
    assert list(entry.extensions) == []
    text = openssl("crl", "-noout", "-text", "-in", str(door.file("crl", "ca.crl.pem")))
    assert "Remove From CRL" not in text


def test_a_hold_is_lifted_by_hand_and_never_by_accident(door: Any, client: Any) -> None:
    door.enrol(client())
    valid = door.file("index.txt").read_bytes()
    door.openssl_ca("-revoke", str(door.file("clients", "alex", "alex.crt")), "-crl_reason", "certificateHold")
    door.crl()
    door.file("index.txt").write_bytes(valid)
    with pytest.raises(MtlsError, match="remove the CRL to discard these revocations"):
        door.crl()
    door.file("crl", "ca.crl.pem").unlink()
    assert kept(door).after.number == 2
    assert serials(door) == set()


@pytest.mark.parametrize(
    ("option", "flag"),
    [("-crl_compromise", x509.ReasonFlags.key_compromise), ("-crl_CA_compromise", x509.ReasonFlags.ca_compromise)],
)
def test_invalidity_dates_of_openssl_stay_on_every_further_crl(
    option: str, flag: x509.ReasonFlags, door: Any, client: Any
) -> None:
    door.enrol(client())
    door.openssl_ca("-revoke", str(door.file("clients", "alex", "alex.crt")), option, "20261101120000Z")
    for days in (0, 16, 32):
        kept(door.later(days=days, minutes=1))
        (entry,) = loaded(door)
        assert entry.extensions.get_extension_for_class(x509.CRLReason).value.reason is flag
        since = entry.extensions.get_extension_for_class(x509.InvalidityDate).value.invalidity_date_utc
        assert since.isoformat() == "2026-11-01T12:00:00+00:00"


def replace_status(text: str, serial: str, revoked: str) -> str:
    """Return the database with one certificate revoked in openssl's format."""
    lines = [line.split("\t") for line in text.splitlines()]
    return "".join(
        "\t".join(["R", line[1], revoked, *line[3:]] if line[3] == serial else line) + "\n" for line in lines
    )


def test_an_entry_stays_until_one_crl_after_its_certificates_end(door: Any, client: Any) -> None:
    """RFC 5280 section 3.3."""
    short = client(valid_for=timedelta(days=20))
    door.enrol(short)
    door.revoke(client="alex")
    serial = door.authority.rows[0].serial.zfill(40)
    for days, listed in [(0, True), (16, True), (32, True), (48, False)]:
        kept(door.later(days=days))
        assert (serial in serials(door)) == listed, days
    assert door.authority.rows[0].is_revoked


def test_an_expired_certificate_revoked_late_needs_no_new_crl(door: Any, client: Any) -> None:
    door.enrol(client(valid_for=timedelta(days=2)))
    later = door.later(days=4)
    later.crl()
    later.revoke(client="alex")
    assert not later.crl().changed


def test_the_number_rises_whatever_becomes_of_the_file(door: Any) -> None:
    door.crl()
    for days, text in [(20, None), (40, "01\n"), (60, "FF\n"), (80, "10\n")]:
        path = door.file("crlnumber")
        path.unlink() if text is None else path.write_text(text)
        before = number(door)
        door.later(days=days).crl()
        assert number(door) > before
    assert number(door) == 0x100
    assert door.file("crlnumber").read_text() == "0101\n"


def test_the_number_rises_when_the_crl_is_lost(door: Any) -> None:
    door.crl()
    door.file("crl", "ca.crl.pem").unlink()
    assert kept(door).reason == "no CRL signed by this authority exists"
    assert number(door) == 2


@pytest.mark.parametrize("text", ["", "x", "-1", "0x10", "1_0", "é", "F" * 41, "1\n2\n"])
def test_a_damaged_number_is_named(text: str, door: Any) -> None:
    door.file("crlnumber").write_text(text)
    before = door.digest()
    with pytest.raises(MtlsError, match=f"{door.file('crlnumber')} is not a hexadecimal number"):
        door.crl()
    assert door.digest() == before


@pytest.mark.parametrize("damage", [b"", b"garbage", b"\x00", "half"])
def test_a_damaged_crl_is_replaced(damage: bytes | str, door: Any, client: Any) -> None:
    door.enrol(client())
    door.revoke(client="alex")
    door.crl()
    path = door.file("crl", "ca.crl.pem")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if damage == "half" else damage)
    assert kept(door).changed
    assert number(door) == 2
    assert len(loaded(door)) == 1


@pytest.mark.parametrize("key", [KeySpec("ecdsa", curve="P-384"), KeySpec("rsa", size=2048)], ids=str)
@pytest.mark.parametrize("part", ["an entry", "the algorithm inside", "the signature"])
def test_changed_crl_is_not_accepted(part: str, key: KeySpec, empty_door: Any, client: Any) -> None:
    empty_door.create(key=key)
    empty_door.enrol(client())
    empty_door.revoke(client="alex")
    empty_door.crl()
    path = empty_door.file("crl", "ca.crl.pem")
    made = x509.load_pem_x509_crl(path.read_bytes())
    der = bytearray(made.public_bytes(Encoding.DER))
    serial = next(iter(made)).serial_number
    places = {
        "an entry": der.index(serial.to_bytes(20, "big").lstrip(b"\0")) + 1,
        # The last octet of the object identifier, the first of its two places.
        "the algorithm inside": der.index(
            bytes.fromhex("2a8648ce3d0403" if key.type == "ecdsa" else "2a864886f70d0101")
        )
        + 7,
        "the signature": len(der) - 1,
    }
    der[places[part]] ^= 1
    text = base64.encodebytes(bytes(der)).decode()
    path.write_text(f"-----BEGIN X509 CRL-----\n{text}-----END X509 CRL-----\n")
    assert kept(empty_door).reason == "no CRL signed by this authority exists"


def test_crl_that_openssl_signed_with_pss_is_accepted(empty_door: Any, openssl: Any) -> None:
    empty_door.create(key=KeySpec("rsa", size=2048))
    empty_door.crl()
    configuration, path = empty_door.file("openssl.cnf"), empty_door.file("crl", "ca.crl.pem")
    openssl("ca", "-config", str(configuration), "-gencrl", "-sigopt", "rsa_padding_mode:pss", "-out", str(path))
    assert "rsassaPss" in openssl("crl", "-in", str(path), "-noout", "-text")
    assert crl.current(empty_door.authority).number == 2


@pytest.mark.parametrize("key", [KeySpec("ecdsa", curve="P-256"), KeySpec("rsa", size=2048)], ids=str)
def test_a_crl_of_another_authority_is_replaced(key: KeySpec, door: Any, tmp_path: Any) -> None:
    other = type(door)(str(tmp_path / "other"))
    other.create(key=key)
    other.crl()
    door.crl()
    shutil.copy(other.file("crl", "ca.crl.pem"), door.file("crl", "ca.crl.pem"))
    assert kept(door).reason == "no CRL signed by this authority exists"


def test_a_database_older_than_the_crl_is_refused_not_obeyed(door: Any, client: Any, tmp_path: Any) -> None:
    """An old index.txt or a deleted row would silently admit a revoked certificate again."""
    door.enrol(client())
    old = door.file("index.txt").read_bytes()
    door.revoke(client="alex")
    door.crl()
    for text in (old, b""):
        door.file("index.txt").write_bytes(text)
        before = door.digest()
        for act in (door.crl, lambda: door.crl(check_mode=True), lambda: door.publish(tmp_path / "public")):
            with pytest.raises(MtlsError, match=r"(revocations were lost|whether it was revoked)\. Restore the newest"):
                act()
        assert number(door) == 1
        assert before["crl/ca.crl.pem"] == door.digest()["crl/ca.crl.pem"]
    door.revoke(client="alex")
    assert not door.crl().changed


def test_a_crl_can_be_written_in_the_cas_last_days(empty_door: Any, client: Any) -> None:
    empty_door.create(days=100)
    empty_door.enrol(client())
    last = empty_door.later(days=99)
    last.revoke(client="alex")
    assert kept(last).changed
    assert len(loaded(last)) == 1
    with pytest.raises(MtlsError, match="create a new authority"):
        empty_door.later(days=130).crl()


@pytest.mark.parametrize("lacks", ["crl_extensions = crl\n", "crlnumber = $dir/crlnumber\n"])
def test_a_crl_that_lacks_what_rfc_5280_asks_for_is_replaced(lacks: str, door: Any) -> None:
    """Sections 5.2.1 and 5.2.3: authority key identifier and number are required; appliances refuse a CRL without them."""
    configuration = door.file("openssl.cnf")
    configuration.write_text(configuration.read_text().replace(lacks, ""))
    door.openssl_ca("-gencrl", "-out", str(door.file("crl", "ca.crl.pem")))
    # openssl writes the present time, which is later than the time of the fixture.
    assert kept(door.later(minutes=1)).reason == "it lacks the number or the authority key identifier"


def test_a_reason_names_ten_serials_at_most(door: Any, client: Any) -> None:
    names = [f"client{index}" for index in range(12)]
    door.enrol(*[client(name) for name in names])
    door.crl()
    door.enrol(*[client(name, present=False) for name in names])
    assert "and 2 more" in door.crl().reason


def test_rules_are_checked() -> None:
    assert crl.check_rules(crl.Rules(timedelta(30), timedelta(15), timedelta(7)))


def test_a_lost_number_comes_back_from_the_crl(door: Any) -> None:
    door.crl()
    door.file("crlnumber").unlink()
    for check_mode in (True, False):
        outcome = door.crl(check_mode=check_mode)
        assert (outcome.changed, outcome.reason) == (True, f"{door.file('crlnumber')} is missing")
    assert door.file("crlnumber").read_text() == "02\n"
    assert not door.crl().changed
