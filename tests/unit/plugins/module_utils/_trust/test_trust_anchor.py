# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which publications share a trust anchor with the installed trust."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.chain_verification import read_chain
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.trust_anchor import check_anchors, parse_anchor
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509.certificate_profiles import (
    CaProfile,
    Signer,
    issuing_ca,
    self_signed_ca,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509.keys import KeySpec, generate
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509.names import build_name
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime.now(timezone.utc).replace(microsecond=0)


class Ca:
    """A CA, self-signed or signed by another one, with a new key or a given one."""

    def __init__(self, name: str, issuer: Ca | None = None, key: Any = None, days: int = 30) -> None:
        self.key = key or generate(KeySpec("ecdsa", curve="P-256"))
        start = NOW - timedelta(days=60)
        end = NOW + timedelta(days=days)
        profile = CaProfile(build_name(name), self.key.public_key(), start, end, 0 if issuer else 1)
        certificate = (
            issuing_ca(Signer(issuer.certificate, issuer.key), profile) if issuer else self_signed_ca(self.key, profile)
        )
        self.certificate = certificate
        self.pem = certificate.public_bytes(Encoding.PEM).decode()

    @property
    def anchor(self) -> str:
        """The SHA-256 of the public key, computed with another library."""
        der = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(der).hexdigest()


ROOT, OTHER, SUCCESSOR = Ca("Root"), Ca("Other"), Ca("Successor")
RENEWED, ENDED = Ca("Root", key=ROOT.key, days=60), Ca("Root", key=ROOT.key, days=-1)
ISSUING, STOLEN_NAME = Ca("Issuing", ROOT), Ca("Root")
BELOW_OTHER = Ca("Issuing", OTHER, key=ISSUING.key)
LINK = "quietdoor/trust"


def pem(*cas: Ca) -> str:
    return "".join(ca.pem for ca in cas)


def install(conf_path: Path, text: str | None, *, linked: bool = True) -> str:
    """Install trust of which only ``ca.pem`` matters here; None leaves the file out."""
    directory = conf_path / "quietdoor" / "trusts" / "7"
    directory.mkdir(parents=True)
    (directory / "trust.json").write_text("{}")
    if text is not None:
        (directory / "ca.pem").write_text(text)
    (conf_path / "quietdoor" / "trust.committed").write_text("7\n")
    if linked:
        (conf_path / LINK).symlink_to("trusts/7")
    return str(conf_path)


@pytest.mark.parametrize("key", [KeySpec("rsa", 2048), KeySpec("ecdsa", curve="P-384")])
def test_anchor_is_the_digest_of_the_public_key(key: KeySpec) -> None:
    ca = Ca("Root", key=generate(key))
    assert [one.key_sha256 for one in read_chain(ca.pem, NOW)] == [ca.anchor]


@pytest.mark.parametrize(
    ("installed", "offered"),
    [
        ((ROOT,), (ROOT,)),
        ((ROOT,), (RENEWED,)),
        ((ENDED,), (RENEWED,)),
        ((ROOT,), (ISSUING, ROOT)),
        ((ROOT,), (SUCCESSOR, ROOT)),
        ((SUCCESSOR, ROOT), (SUCCESSOR,)),
        ((ISSUING, ROOT), (Ca("Issuing 2", ROOT), ROOT)),
        ((ROOT,), (ROOT, OTHER)),
    ],
)
def test_shared_anchor_is_accepted(tmp_path: Path, installed: tuple[Ca, ...], offered: tuple[Ca, ...]) -> None:
    assert check_anchors(install(tmp_path, pem(*installed)), pem(*offered), "", NOW) == ""


def test_first_trust_is_accepted(tmp_path: Path) -> None:
    assert check_anchors(str(tmp_path), pem(OTHER), "", NOW) == ""


@pytest.mark.parametrize(
    ("installed", "offered"),
    [
        ((ROOT,), OTHER),
        ((ROOT,), STOLEN_NAME),
        ((ROOT, SUCCESSOR), OTHER),
    ],
)
@pytest.mark.parametrize("linked", [True, False])
def test_foreign_root_is_refused_with_both_names(
    tmp_path: Path, installed: tuple[Ca, ...], offered: Ca, linked: bool
) -> None:
    conf_path = install(tmp_path, pem(*installed), linked=linked)
    for replace_anchor in ("", OTHER.anchor[:-1] + "_", ROOT.anchor, "0" * 64):
        with pytest.raises(MtlsError) as caught:
            check_anchors(conf_path, pem(offered), replace_anchor, NOW)
        message = str(caught.value)
        assert all(ca.anchor in message for ca in (*installed, offered))
        assert f"CN={offered.certificate.subject.rdns[0].rfc4514_string()[3:]} " in message
        assert str(tmp_path / LINK) in message
        assert "set trust_replace_anchor" in message


def test_known_issuing_key_below_a_foreign_root_is_refused(tmp_path: Path) -> None:
    conf_path = install(tmp_path, pem(ISSUING, ROOT))
    with pytest.raises(MtlsError, match=r"The publication has the root CN=Other \(SHA-256 of its public key"):
        check_anchors(conf_path, pem(BELOW_OTHER, OTHER), ISSUING.anchor, NOW)


@pytest.mark.parametrize("text", [None, "", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_damaged_installed_root_does_not_count_as_first_trust(tmp_path: Path, text: str | None) -> None:
    conf_path = install(tmp_path, text)
    with pytest.raises(MtlsError, match="has no root that can be read"):
        check_anchors(conf_path, pem(OTHER), "", NOW)
    assert "by CN=Other" in check_anchors(conf_path, pem(OTHER), OTHER.anchor, NOW)


def test_replacement_is_accepted_by_the_exact_anchor_only(tmp_path: Path) -> None:
    conf_path = install(tmp_path, pem(ROOT))
    words = check_anchors(conf_path, pem(OTHER), OTHER.anchor, NOW)
    assert words.startswith(
        f"trust_replace_anchor replaces CN=Root (SHA-256 of its public key {ROOT.anchor}) by CN=Other"
    )
    fingerprint = hashlib.sha256(OTHER.certificate.public_bytes(Encoding.DER)).hexdigest()
    with pytest.raises(MtlsError, match="set trust_replace_anchor"):
        check_anchors(conf_path, pem(OTHER), fingerprint, NOW)


def test_anchor_may_be_written_with_colons_and_in_upper_case() -> None:
    text = ":".join(["AB"] * 32)
    assert parse_anchor(f" {text}\n", "trust_replace_anchor") == "ab" * 32
    assert parse_anchor("", "trust_replace_anchor") == ""


@pytest.mark.parametrize("text", ["yes", "*", "ab" * 31, "ab" * 33, "gg" * 32])
def test_invalid_digest_is_rejected(text: str) -> None:
    with pytest.raises(MtlsError, match=r"trust_replace_anchor: .* is not the SHA-256 of a public key"):
        parse_anchor(text, "trust_replace_anchor")
