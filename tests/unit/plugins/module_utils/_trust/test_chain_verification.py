# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which sets of certificates are valid chains."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.chain_verification import read_chain
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509.certificate_profiles import (
    CaProfile,
    Signer,
    issuing_ca,
    self_signed_ca,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509.keys import KeySpec, generate
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509.names import build_name
from cryptography.hazmat.primitives.serialization import Encoding

NOW = datetime.now(timezone.utc).replace(microsecond=0)
P256 = KeySpec("ecdsa", curve="P-256")


class Ca:
    """A CA, self-signed or signed by another one."""

    def __init__(self, name: str, issuer: Ca | None = None) -> None:
        self.key = generate(P256)
        length = 0 if issuer else 1
        profile = CaProfile(build_name(name), self.key.public_key(), NOW, NOW + timedelta(days=30), length)
        self.certificate = (
            issuing_ca(Signer(issuer.certificate, issuer.key), profile) if issuer else self_signed_ca(self.key, profile)
        )
        self.pem = self.certificate.public_bytes(Encoding.PEM).decode()


def pem(*cas: Ca) -> str:
    return "".join(ca.pem for ca in cas)


ROOT, OTHER = Ca("Root"), Ca("Other")
ONE, TWO, THREE = Ca("One", ROOT), Ca("Two", ROOT), Ca("Three", OTHER)


@pytest.mark.parametrize(
    "cas", [(ROOT,), (ONE, ROOT), (ROOT, ONE), (ONE, ROOT, TWO), (ONE, ROOT, THREE, OTHER), (ONE, ROOT, OTHER)]
)
def test_one_chain_or_several(cas: tuple[Ca, ...]) -> None:
    assert [ca.subject for ca in read_chain(pem(*cas), NOW)] == [
        f"CN={ca.certificate.subject.rdns[0].rfc4514_string()[3:]}" for ca in cas
    ]


@pytest.mark.parametrize(
    ("cas", "says"),
    [
        ((ONE,), "ca.pem ends with CN=One, which is not a self-signed root"),
        ((ONE, ROOT, THREE), "CN=Three is not part of a valid chain in ca.pem"),
        ((ONE, OTHER), "CN=One is not part of a valid chain in ca.pem"),
        (
            (ROOT, Ca("Root")),
            "ca.pem contains more than one certificate of CN=Root; nginx selects a CA and its CRL by that name",
        ),
        ((ROOT, ROOT), "ca.pem contains more than one certificate of CN=Root"),
        ((Ca("One", Ca("Root")), ROOT), "CN=One is not part of a valid chain in ca.pem"),
    ],
)
def test_incomplete_chain_is_rejected_with_the_certificate(cas: tuple[Ca, ...], says: str) -> None:
    with pytest.raises(MtlsError) as caught:
        read_chain(pem(*cas), NOW)
    assert says in str(caught.value)
