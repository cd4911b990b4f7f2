# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that the openssl command and this collection can share one directory."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._clients import listing
from cryptography.x509 import CRLNumber, load_pem_x509_crl
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

PATHS = [
    "plain",
    "with space",
    "$HOME/${x}",
    "quo'te\"s",
    "#hash;semicolon",
    "Ämter/日本",
    "back\\slash",
    "%s{0}",
    "end ",
]


@pytest.fixture(params=PATHS)
def odd(request: Any, empty_door: Any, tmp_path: Path) -> Any:
    """Return an authority with an encrypted key, in a directory with special characters in its name."""
    empty_door.path = str(tmp_path / request.param / "ca")
    empty_door.passphrase = b"se cr\xc3\xa9t$"
    empty_door.create()
    return empty_door


def signed_by_hand(door: Any, openssl: Any, name: str) -> str:
    """Sign a request with the openssl command and return the serial."""
    base = str(door.file("by-hand"))
    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-subj", f"/CN={name}", "-keyout", f"{base}.key", "-out", f"{base}.csr")  # fmt: skip
    door.openssl_ca("-notext", "-in", f"{base}.csr", "-out", f"{base}.crt")
    return openssl("x509", "-in", f"{base}.crt", "-noout", "-serial").strip().partition("=")[2]


def status(door: Any, serial: str) -> str:
    # openssl ca -status ends with 1 for a valid certificate, too.
    return door.openssl_ca("-status", serial, fails=True).rpartition("=")[2].strip()


def by_openssl(door: Any) -> Any:
    """Replace the CRL by one that openssl makes."""
    door.openssl_ca("-gencrl", "-out", str(door.file("crl", "ca.crl.pem")))
    return load_pem_x509_crl(door.file("crl", "ca.crl.pem").read_bytes())


def number(crl: Any) -> int:
    return crl.extensions.get_extension_for_class(CRLNumber).value.crl_number


def test_both_work_on_a_directory_of_any_name(odd: Any, client: Any, openssl: Any, tmp_path: Path) -> None:
    odd.enrol(client("alex"), client("bea"))
    alex, bea = odd.authority.rows
    assert [status(odd, row.serial) for row in (alex, bea)] == ["Valid (V)"] * 2
    carl = signed_by_hand(odd, openssl, "carl")

    odd.openssl_ca("-revoke", str(odd.file("clients", "alex", "alex.crt")), "-crl_reason", "keyCompromise")
    odd.revoke("superseded", serial=carl)
    odd.openssl_ca("-updatedb")
    assert [row.status for row in odd.authority.rows] == ["R", "V", "R"]
    assert [status(odd, serial) for serial in (alex.serial, bea.serial, carl)] == [
        "Revoked (R)",
        "Valid (V)",
        "Revoked (R)",
    ]

    first = odd.crl()
    assert first.after.serials == {alex.serial, carl}
    second = by_openssl(odd)
    assert number(second) == first.after.number + 1
    assert len(second) == 2
    # The CRL is good, so only the DER file is written again.
    followed = odd.later(minutes=1).crl()
    assert followed.after == followed.before
    assert followed.after.number == number(second)
    assert not odd.later(minutes=1).crl().changed
    odd = odd.later(days=20)
    odd.crl()
    assert number(load_pem_x509_crl(odd.file("crl", "ca.crl.pem").read_bytes())) == number(second) + 1

    odd.publish(tmp_path / "public")
    denied = json.loads((tmp_path / "public" / "denied.json").read_text())["denied"]
    assert [(entry["serial"], entry["reason"]) for entry in denied] == [
        (alex.serial, "keyCompromise"),
        (carl, "superseded"),
    ]
    listed = {entry["serial"]: entry for entry in listing.listing(odd.path, odd.now)}
    assert {(listed[serial]["name"], listed[serial]["status"]) for serial in (alex.serial, bea.serial, carl)} == {
        ("alex", "revoked"), ("bea", "valid"), (None, "revoked")
    }  # fmt: skip
    assert odd.create().changes == []


def test_certificate_signed_by_hand_can_be_revoked_in_every_way(door: Any, openssl: Any) -> None:
    serial = signed_by_hand(door, openssl, "carl")
    ca, crl = str(door.file("certs", "ca.cert.pem")), str(door.file("crl", "ca.crl.pem"))
    certificate = str(door.file("by-hand.crt"))
    door.crl()
    judge = ("verify", "-x509_strict", "-crl_check_all", "-CAfile", ca, "-CRLfile", crl, "-purpose")
    assert "OK" in openssl(*judge, "sslclient", certificate)
    openssl(*judge, "sslserver", certificate, fails=True)
    assert door.revoke(certificate=certificate)[0].row.serial == serial
    door.crl()
    assert "revoked" in openssl(*judge, "sslclient", certificate, fails=True)


def test_the_same_subject_twice_does_not_stop_openssl(door: Any, client: Any, openssl: Any) -> None:
    """With unique_subject = yes, the default, -gencrl and signing would fail from the second certificate on."""
    door.enrol(client("alex", common_name="Same"))
    door.enrol(client("alex", common_name="Same", roles=()))
    signed_by_hand(door, openssl, "Same")
    signed_by_hand(door, openssl, "Same")
    door.revoke(client="alex")
    assert len(by_openssl(door)) == 2
    assert door.file("index.txt.attr").read_text() == "unique_subject = no\n"


def test_openssl_gives_random_serials_and_takes_nothing_from_a_request_but_its_key(door: Any, openssl: Any) -> None:
    base = str(door.file("by-hand"))
    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=x",
            "-addext", "basicConstraints=CA:true", "-addext", "subjectAltName=email:boss@example.org",
            "-keyout", f"{base}.key", "-out", f"{base}.csr")  # fmt: skip
    door.openssl_ca("-notext", "-in", f"{base}.csr", "-out", f"{base}.crt")
    printed = openssl("x509", "-in", f"{base}.crt", "-noout", "-text")
    assert "CA:FALSE" in printed
    assert "boss" not in printed
    assert len(door.authority.rows[0].serial) > 30


def test_openssl_carries_the_tie_to_the_client_along(door: Any, client: Any) -> None:
    door.enrol(client())
    row = door.authority.rows[0]
    door.openssl_ca("-revoke", str(door.file("newcerts", f"{row.serial}.pem")))
    door.openssl_ca("-updatedb")
    assert door.authority.rows[0].file == row.file
    assert door.authority.rows[0].client == "alex"


def test_any_sequence_of_modules_and_openssl_ends_in_one_state(
    tmp_path_factory: pytest.TempPathFactory, openssl: Any, client: Any, door: Any
) -> None:
    """Compare random sequences of both tools' operations with a model."""

    class Both(RuleBasedStateMachine):
        @initialize()
        def begin(self) -> None:
            self.door = type(door)(str(tmp_path_factory.mktemp("both") / "ca"))
            self.door.create()
            self.revoked: set[str] = set()
            self.serials: list[str] = []
            self.number = 0

        @rule(name=st.sampled_from(["alex", "bea"]), role=st.sampled_from(["a", "b"]))
        def enrol(self, name: str, role: str) -> None:
            (result,) = self.door.enrol(client(name, roles=(role,)))
            if result.step.issues:
                self.serials.append(result.record.latest.serial)

        @rule(name=st.sampled_from(["alex", "bea"]))
        def leave(self, name: str) -> None:
            (result,) = self.door.enrol(client(name, present=False))
            self.revoked.update(result.step.revoke)

        @rule()
        def sign_by_hand(self) -> None:
            self.serials.append(signed_by_hand(self.door, openssl, "by hand").upper())

        @precondition(lambda self: set(self.serials) - self.revoked)
        @rule(data=st.data(), theirs=st.booleans())
        def revoke(self, data: Any, theirs: bool) -> None:
            serial = data.draw(st.sampled_from(sorted(set(self.serials) - self.revoked)))
            if theirs:
                self.door.openssl_ca("-revoke", str(self.door.file("newcerts", f"{serial}.pem")))
            else:
                self.door.revoke(serial=serial)
            self.revoked.add(serial)

        @rule(theirs=st.booleans())
        def write_crl(self, theirs: bool) -> None:
            if theirs:
                crl = by_openssl(self.door)
            else:
                self.door.crl()
                crl = load_pem_x509_crl(self.door.file("crl", "ca.crl.pem").read_bytes())
            assert {f"{entry.serial_number:X}" for entry in crl} == {serial.lstrip("0") for serial in self.revoked}
            assert number(crl) >= self.number
            self.number = number(crl)

        @rule()
        def update(self) -> None:
            self.door.openssl_ca("-updatedb")

        @invariant()
        def nothing_is_lost(self) -> None:
            rows = self.door.authority.rows
            assert [row.serial for row in rows] == self.serials
            assert {row.serial for row in rows if row.is_revoked} == self.revoked
            assert Counter(self.serials).most_common(1)[:1] in ([], [(self.serials[0], 1)] if self.serials else [])

    run_state_machine_as_test(
        Both,
        settings=settings(max_examples=12, stateful_step_count=12, suppress_health_check=list(HealthCheck)),
    )
