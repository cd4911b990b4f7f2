# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test random sequences of openssl's and the collection's operations on adopted authorities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca import index_database
from cryptography import x509
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

NAMES = st.sampled_from(["alex", "bea"])
REASONS = st.sampled_from(["unspecified", "keyCompromise", "superseded", "cessationOfOperation"])
SETTINGS = settings(suppress_health_check=list(HealthCheck))


def entries(crl: x509.CertificateRevocationList) -> dict[str, str]:
    """Return serials and reasons of a CRL; a missing reason is unspecified (RFC 5280 section 5.3.1)."""
    return {
        index_database.serial_hex(entry.serial_number): next(
            (item.value.reason.value for item in entry.extensions if isinstance(item.value, x509.CRLReason)),
            "unspecified",
        )
        for entry in crl
    }


class Shared(RuleBasedStateMachine):
    """Rules and invariants of adopted authorities; the test sets ``theirs``, ``door``, ``client`` and ``openssl``."""

    def started(self, theirs: Any, door: Any) -> None:
        """Store the state at the adoption."""
        self.theirs, self.door = theirs, door
        self.issued: dict[str, str] = {}
        self.revoked: dict[str, str] = {}
        self.number = 0

    def sign(self, name: str) -> None:
        """Sign with the original tool."""
        raise NotImplementedError

    def revoke_theirs(self, serial: str, reason: str) -> None:
        """Revoke with the original tool."""
        raise NotImplementedError

    def found(self, serial: str) -> bool:
        """Return whether the original tool can revoke this certificate."""
        raise NotImplementedError

    @rule(name=NAMES)
    def they_sign(self, name: str) -> None:
        self.sign(name)

    @rule(name=NAMES, role=st.sampled_from(["a", "b"]))
    def we_enrol(self, name: str, role: str) -> None:
        (result,) = self.door.enrol(self.client(name, common_name=f"{name} of the roster", roles=(role,)))
        if result.step.issues:
            self.issued[result.record.latest.serial] = name
        self.revoked.update(dict.fromkeys(result.step.revoke, "superseded"))

    @precondition(lambda self: self.issued.keys() - self.revoked.keys())
    @rule(data=st.data(), reason=REASONS, ours=st.booleans())
    def one_revokes(self, data: Any, reason: str, ours: bool) -> None:
        serial = data.draw(st.sampled_from(sorted(self.issued.keys() - self.revoked.keys())))
        if ours or not self.found(serial):
            self.door.revoke(reason, serial=serial)
        else:
            self.revoke_theirs(serial, reason)
        self.revoked[serial] = reason

    @rule()
    def both_write_a_crl(self) -> None:
        theirs = self.theirs.gencrl()
        self.door.crl()
        ours = x509.load_pem_x509_crl(Path(self.door.path, "crl", "ca.crl.pem").read_bytes())
        assert entries(ours) == entries(theirs) == self.revoked
        number = ours.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        assert number >= self.number
        self.number = number
        self.verify()

    def verify(self) -> None:
        """Verify the existing certificates with openssl and the collection's CRL."""
        layout = self.door.authority.layout
        for serial in self.issued:
            path = Path(layout.new_certificate(serial))
            if path.exists():
                judge = ("verify", "-crl_check_all", "-CAfile", layout.certificate, "-CRLfile", layout.crl, str(path))
                output = self.openssl(*judge, fails=serial in self.revoked)
                assert ("revoked" if serial in self.revoked else "OK") in output

    @rule()
    def we_look(self) -> None:
        listed = self.door.listed()
        assert listed.keys() == self.issued.keys()
        assert {serial for serial, entry in listed.items() if entry["status"] == "revoked"} == self.revoked.keys()
        assert self.door.adopt() == []

    @invariant()
    def nothing_is_lost(self) -> None:
        if not hasattr(self, "issued"):
            return
        rows = self.door.authority.rows
        assert [row.serial for row in rows] == list(self.issued)
        assert {row.serial: row.revocation.reason or "unspecified" for row in rows if row.is_revoked} == self.revoked


def test_openssl_and_the_modules_alternate(
    tmp_path_factory: pytest.TempPathFactory, by_hand: Any, door: Any, client: Any, openssl: Any
) -> None:
    class Both(Shared):
        @initialize(
            crl_number=st.sampled_from([None, "1000"]),
            unique=st.sampled_from(["", "yes"]),
            names=st.lists(NAMES, unique=True),
        )
        def begin(self, crl_number: str | None, unique: str, names: list[str]) -> None:
            self.client, self.openssl = client, openssl
            path = tmp_path_factory.mktemp("both") / "theirs"
            self.started(by_hand(path=path, crl_number=crl_number, unique_subject=unique), type(door)(str(path)))
            for name in names:
                self.sign(name)
            self.door.adopt()

        def sign(self, name: str) -> None:
            self.issued[self.theirs.sign(f"/CN={name}/emailAddress=team@example.org")] = name

        def revoke_theirs(self, serial: str, reason: str) -> None:
            self.theirs.revoke(serial, reason)

        def found(self, serial: str) -> bool:
            return Path(self.theirs.file(serial)).exists()

        @rule()
        def they_update(self) -> None:
            self.theirs.updatedb()

    run_state_machine_as_test(Both, settings=settings(SETTINGS, max_examples=20, stateful_step_count=12))


def test_easy_rsa_and_the_modules_alternate(
    tmp_path_factory: pytest.TempPathFactory, easy_rsa: Any, door: Any, client: Any, openssl: Any
) -> None:
    class Both(Shared):
        @initialize(early=st.booleans())
        def begin(self, early: bool) -> None:
            self.client, self.openssl = client, openssl
            path = tmp_path_factory.mktemp("both") / "pki"
            self.started(easy_rsa(path), type(door)(str(path)))
            self.files: dict[str, str] = {}
            if early:
                self.sign("alex")
            self.door.adopt()

        def sign(self, name: str) -> None:
            file = f"{name}-{len(self.issued)}"
            serial = self.theirs.sign(file)
            self.issued[serial], self.files[serial] = name, file

        def revoke_theirs(self, serial: str, reason: str) -> None:
            self.theirs.revoke(self.files[serial], reason)

        def found(self, serial: str) -> bool:
            return serial in self.files

    run_state_machine_as_test(Both, settings=settings(SETTINGS, max_examples=8, stateful_step_count=12))
