# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test a root CA and an issuing CA, also while the root CA is away."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca import issuer_crls
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca.crl import Rules
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca.issuer import Issuer
from ansible_collections.quietdoor.mtls.plugins.module_utils._clients import revoke
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._x509.keys import KeySpec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs12

P384 = KeySpec("ecdsa", curve="P-384")
LONG = timedelta(days=365)
ROOT_RULES = Rules(LONG, timedelta(days=180), timedelta(days=7))


@pytest.fixture
def root(door: Any, tmp_path: Path) -> Any:
    made = type(door)(str(tmp_path / "root"), passphrase=b"geheim", now=door.now)
    made.create("Root", P384, path_length=1)
    made.crl(ROOT_RULES)
    return made


def above(root: Any) -> Issuer:
    return Issuer(root.path, root.passphrase)


@pytest.fixture
def below(root: Any, tmp_path: Path) -> Any:
    made = type(root)(str(tmp_path / "issuing"), now=root.now)
    made.create("Issuing", issuer=above(root))
    return made


def copied(below: Any, root: Any | None = None, file: str | None = None, **options: Any) -> issuer_crls.Outcome:
    offer = issuer_crls.Offer(root.path if root else None, file)
    return issuer_crls.keep(below.path, offer, below.now, **{"check_mode": False, **options})


def ready(below: Any, root: Any, *clients: Any) -> Any:
    below.enrol(*clients)
    below.crl()
    copied(below, root)
    return below


def verified(openssl: Any, public: Path, certificate: Path, *, fails: bool = False) -> str:
    return openssl(
        "verify", "-x509_strict", "-crl_check_all", "-purpose", "sslclient", "-no-CApath", "-CAfile",
        str(public / "ca.pem"), "-CRLfile", str(public / "crl.pem"), str(certificate), fails=fails,
    )  # fmt: skip


def chain_on_disk(door: Any) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(door.file("certs", "chain.pem").read_bytes())


def test_the_root_signs_an_issuing_ca_that_signs_clients_only(below: Any, root: Any, openssl: Any) -> None:
    certificate, top = below.authority.certificate, root.authority.certificate
    certificate.verify_directly_issued_by(top)
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert (usage.critical, usage.value.key_cert_sign, usage.value.crl_sign) == (True, True, True)
    assert not usage.value.digital_signature
    identifier = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert identifier == top.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert certificate.not_valid_after_utc <= top.not_valid_after_utc
    (row,) = root.authority.rows
    assert int(row.serial, 16) == certificate.serial_number
    assert root.file("newcerts", f"{row.serial}.pem").read_bytes() == certificate.public_bytes(Encoding.PEM)
    assert chain_on_disk(below) == [certificate, top]
    assert "=Valid (V)" in root.openssl_ca("-status", row.serial, fails=True)
    strict = ("verify", "-x509_strict", "-no-CApath", "-CAfile", str(root.file("certs", "ca.cert.pem")))
    openssl(*strict, str(below.file("certs", "ca.cert.pem")))


def test_a_second_run_changes_nothing_with_the_root_or_without(below: Any, root: Any) -> None:
    before = below.digest(), root.digest()
    for check_mode in (True, False):
        assert below.create("Issuing", issuer=above(root), check_mode=check_mode).changes == []
    assert (below.digest(), root.digest()) == before
    shutil.move(root.path, f"{root.path}-away")
    for check_mode in (True, False):
        assert below.create("Issuing", issuer=above(root), check_mode=check_mode).changes == []
    assert below.digest() == before[0]


def test_check_mode_foretells_and_makes_nothing(root: Any, tmp_path: Path) -> None:
    made = type(root)(str(tmp_path / "issuing"), now=root.now)
    before = root.digest()
    predicted = made.create("Issuing", issuer=above(root), days=9999, check_mode=True)
    assert predicted.changes == ["created"]
    assert root.digest() == before
    assert not Path(made.path).exists()
    assert made.create("Issuing", issuer=above(root), days=9999).after == predicted.after
    assert made.authority.certificate.not_valid_after_utc == root.authority.certificate.not_valid_after_utc


def test_check_mode_before_there_is_a_root(root: Any, tmp_path: Path) -> None:
    made = type(root)(str(tmp_path / "issuing"), now=root.now)
    assert made.create("Issuing", issuer=Issuer(str(tmp_path / "nowhere")), check_mode=True).changes == ["created"]


@pytest.mark.parametrize(
    ("name", "issuer", "says"),
    [
        ("Root", None, "is also the name of its issuer in .*, but"),
        ("Issuing", {"path": "ca"}, r"may sign clients only, not a CA \(path length 0\). Renew it with path_length 1"),
        ("Issuing", {"path": "nowhere"}, "has to be signed by the authority in .*nowhere, which is not on this host"),
        ("Issuing", {"passphrase": None}, "no passphrase was given"),
        ("Issuing", {"passphrase": b"wrong"}, "does not open"),
        ("Issuing", {"path": "issuing"}, "are one inside the other"),
        ("Issuing", {"path": "issuing/root"}, "are one inside the other"),
    ],
)
def test_what_the_root_cannot_sign_is_refused_by_name_and_nothing_changes(
    name: str, issuer: dict[str, Any] | None, says: str, root: Any, door: Any, tmp_path: Path
) -> None:
    made = type(root)(str(tmp_path / "issuing"), now=root.now)
    options = {"path": "root", "passphrase": root.passphrase, **(issuer or {})}
    options["path"] = str(tmp_path / options["path"])
    before = root.digest(), door.digest()
    with pytest.raises(MtlsError, match=says):
        made.create(name, issuer=Issuer(**options))
    assert not Path(made.path).exists()
    assert (root.digest(), door.digest()) == before


def test_another_root_than_the_one_that_signed_is_refused(below: Any, root: Any, tmp_path: Path) -> None:
    other = type(root)(str(tmp_path / "other"), now=root.now)
    other.create("Root", path_length=1)
    with pytest.raises(MtlsError, match=r"was issued by CN=Root, not by the authority in .*other"):
        below.create("Issuing", issuer=above(other))


def test_a_self_signed_authority_does_not_come_below_a_root(door: Any, root: Any) -> None:
    with pytest.raises(MtlsError, match="it is self-signed and should have an issuer"):
        door.create(issuer=above(root))


def test_chain_and_bundle_of_a_client_have_every_ca(below: Any, client: Any) -> None:
    below.enrol(client(bundle_profiles=("modern",), bundle_passphrase="geheim"))
    directory = below.file("clients", "alex")
    chain = x509.load_pem_x509_certificates((directory / "alex.chain.pem").read_bytes())
    assert chain[1:] == list(below.authority.chain)
    assert len(chain) == 3
    bundle = pkcs12.load_pkcs12((directory / "alex.p12").read_bytes(), b"geheim")
    assert [one.certificate for one in bundle.additional_certs] == chain[1:]


def test_what_is_published_is_all_that_openssl_needs(
    below: Any, root: Any, client: Any, tmp_path: Path, openssl: Any
) -> None:
    public = tmp_path / "public"
    ready(below, root, client("alex"), client("bea")).publish(public)
    verified(openssl, public, below.file("clients", "alex", "alex.crt"))
    identities = json.loads((public / "identities.json").read_text())
    assert [(one["id"], one["subject"]) for one in identities["issuers"]] == [(1, "CN=Issuing"), (2, "CN=Root")]
    assert {one["issuer"] for one in identities["identities"]} == {1}
    assert (public / "ca.pem").read_bytes() == below.file("certs", "chain.pem").read_bytes()
    assert (public / "crl.pem").read_bytes() == below.file("crl", "chain.crl.pem").read_bytes()
    # nginx and openssl need the CRL of the root CA too.
    (public / "crl.pem").write_bytes(below.file("crl", "ca.crl.pem").read_bytes())
    assert "unable to get certificate CRL" in verified(
        openssl, public, below.file("clients", "alex", "alex.crt"), fails=True
    )


def test_everything_but_signing_by_the_root_works_without_it(
    below: Any, root: Any, client: Any, tmp_path: Path, openssl: Any
) -> None:
    ready(below, root, client("alex"))
    shutil.rmtree(root.path)
    later = below.later(days=20)
    assert later.actions(client("alex"), client("bea")) == ["unchanged", "issued"]
    later.revoke(client="alex")
    assert later.crl().changed
    assert copied(later, root).warnings == []
    later.publish(tmp_path / "public")
    with pytest.raises(
        MtlsError, match=r"CN=Issuing has to be signed by .*root, which is not on this host. Bring that"
    ):
        later.create("Issuing", days=3000, issuer=above(root), renew=True)


def test_revoked_issuing_ca_is_published_and_reported(
    below: Any, root: Any, client: Any, tmp_path: Path, openssl: Any
) -> None:
    public = tmp_path / "public"
    ready(below, root, client()).publish(public)
    serial = root.authority.rows[0].serial
    root.revoke("CACompromise", serial=serial)
    root.crl()
    (warning,) = copied(below, root).warnings
    assert "CN=Root has revoked CN=Issuing" in warning
    below.publish(public)
    assert "certificate revoked" in verified(openssl, public, below.file("clients", "alex", "alex.crt"), fails=True)
    (entry,) = json.loads((public / "denied.json").read_text())["denied"]
    assert (entry["issuer"], entry["serial"], entry["reason"]) == (2, serial, "CACompromise")
    with pytest.raises(MtlsError, match="The certificate of CN=Issuing was revoked by CN=Root"):
        below.create("Issuing", days=3000, issuer=above(root), renew=True)


def test_the_crl_of_the_root_is_copied_and_only_forward(below: Any, root: Any) -> None:
    below.crl()
    before = below.digest()
    predicted = copied(below, root, check_mode=True)
    assert below.digest() == before
    outcome = copied(below, root)
    assert predicted.changes == outcome.changes
    assert outcome.changes[0] == "CRL 1 of CN=Root copied"
    assert copied(below, root).changes == []
    old = root.file("crl", "ca.crl.pem").read_bytes()
    root.later(days=200).crl(ROOT_RULES)
    later = below.later(days=200)
    assert copied(later, root).changes[0] == "CRL 2 of CN=Root copied"
    kept = below.digest()
    root.file("crl", "ca.crl.pem").write_bytes(old)
    outcome = copied(later, root)
    assert outcome.changes == []
    assert "number 1 is lower than that of the copy here, 2" in outcome.warnings[0]
    assert below.digest() == kept


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_a_crl_that_was_made_offline_is_handed_over(encoding: Encoding, below: Any, root: Any, tmp_path: Path) -> None:
    crl = x509.load_pem_x509_crl(root.file("crl", "ca.crl.pem").read_bytes())
    (tmp_path / "root.crl").write_bytes(crl.public_bytes(encoding))
    offer = issuer_crls.Offer(None, str(tmp_path / "root.crl"))
    issuer_crls.check_offer(below.path, offer, below.now)
    assert "CRL 1 of CN=Root copied" in copied(below, None, str(tmp_path / "root.crl")).changes
    with pytest.raises(MtlsError, match="is not accepted: it ends at"):
        issuer_crls.check_offer(below.path, offer, below.now + LONG)
    with pytest.raises(MtlsError, match="is not accepted: it begins only at"):
        issuer_crls.check_offer(below.path, offer, below.now - timedelta(days=1))
    (tmp_path / "root.crl").write_bytes(b"garbage")
    with pytest.raises(MtlsError, match=r"root\.crl is not a CRL"):
        issuer_crls.check_offer(below.path, offer, below.now)


def test_a_crl_with_windows_line_ends_is_one(below: Any, root: Any, tmp_path: Path) -> None:
    carried = tmp_path / "carried.pem"
    carried.write_bytes(root.file("crl", "ca.crl.pem").read_bytes().replace(b"\n", b"\r\n"))
    issuer_crls.check_offer(below.path, issuer_crls.Offer(None, str(carried)), below.now)
    assert copied(below, file=str(carried)).changes[0].startswith("CRL 1 of CN=Root copied")


def test_the_crl_of_a_lookalike_is_not_taken(below: Any, root: Any, tmp_path: Path) -> None:
    other = type(root)(str(tmp_path / "other"), now=root.now)
    other.create("Root")
    other.crl()
    assert copied(below, other).copies[0].crl is None
    with pytest.raises(MtlsError, match="was not signed by an issuer of"):
        issuer_crls.check_offer(below.path, issuer_crls.Offer(None, str(other.file("crl", "ca.crl.pem"))), below.now)


def test_a_root_crl_that_is_missing_or_ends_is_not_published(
    below: Any, root: Any, client: Any, tmp_path: Path
) -> None:
    below.enrol(client())
    below.crl()
    with pytest.raises(
        MtlsError, match=r"The CRL of CN=Root cannot be published: there is none\. Bring its directory back"
    ):
        below.publish(tmp_path / "public")
    copied(below, root)
    below.publish(tmp_path / "public")
    late = below.later(days=360)
    late.crl()
    assert late.publish(tmp_path / "public").lapsing[0].startswith("The CRL of CN=Root cannot be published: it ends at")
    with pytest.raises(MtlsError, match="The CRL of CN=Root cannot be published: it ends at"):
        late.publish(tmp_path / "elsewhere")


@pytest.mark.parametrize("predecessor", [False, True])
def test_a_revocation_does_not_wait_for_the_crl_of_another_ca(
    predecessor: bool, empty_door: Any, client: Any, tmp_path: Path
) -> None:
    """A revocation is published with the existing CRL and a warning; a change of that CRL alone is not."""
    other, door = type(empty_door)(str(tmp_path / "other")), type(empty_door)(str(tmp_path / "here"))
    other.create("Other", path_length=1)
    other.crl(Rules(timedelta(days=30), timedelta(days=15), timedelta(days=7)))
    door.create("Here", issuer=None if predecessor else Issuer(other.path))
    former = [other] if predecessor else []
    door.enrol(client(), client("bea"))
    door.crl()
    copied(door, other)
    public = tmp_path / "public"
    with pytest.raises(MtlsError, match="ends at"):
        door.later(days=25).publish(public, *former)
    door.publish(public, *former)
    later = door.later(days=25)
    later.revoke("keyCompromise", client="alex")
    later.crl()
    outcome = later.publish(public, *former)
    assert outcome.changes == ["crl.pem", "identities.json", "denied.json"]
    assert [f"it ends at {door.now + timedelta(days=30):%Y-%m-%d}" in one for one in outcome.lapsing] == [True]
    again = later.publish(public, *former)
    assert (again.changes, again.lapsing) == ([], outcome.lapsing)
    # A CRL with three more days is not urgent: it can wait for a good one.
    more = other.later(days=20)
    more.crl(Rules(timedelta(days=11), timedelta(days=10), timedelta(days=1)))
    copied(later, other)
    with pytest.raises(MtlsError, match="ends at"):
        later.publish(public, *former)
    later.revoke("keyCompromise", client="bea")
    ended = door.later(days=32)
    ended.crl()
    with pytest.raises(MtlsError, match="ends at"):
        ended.publish(public, *former)


@pytest.mark.parametrize("damage", [b"", b"garbage", None, "only itself"])
def test_damaged_copy_of_the_chain_is_named_and_repaired_by_the_root(
    damage: bytes | str | None, below: Any, root: Any, client: Any
) -> None:
    path, before = below.file("certs", "chain.pem"), below.digest()
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(below.file("certs", "ca.cert.pem").read_bytes() if damage == "only itself" else damage)  # type: ignore[arg-type]
    with pytest.raises(MtlsError, match=r"chain\.pem .*Bring the issuer's directory back"):
        len(below.authority.chain)
    assert below.create("Issuing", issuer=above(root)).changes == [f"{path} brought up to date"]
    assert below.digest() == before


def test_a_root_that_was_renewed_reaches_the_chain_below(below: Any, root: Any, client: Any, tmp_path: Path) -> None:
    ready(below, root, client())
    root.create("Root", P384, days=5000, renew=True, path_length=1)
    assert below.create("Issuing", issuer=above(root)).changes == [
        f"{below.file('certs', 'chain.pem')} brought up to date"
    ]
    assert chain_on_disk(below)[1] == root.authority.certificate
    assert below.create("Issuing", issuer=above(root)).changes == []


def test_the_root_does_not_take_a_ca_for_good_whose_row_was_lost(below: Any, root: Any) -> None:
    root.revoke("CACompromise", serial=root.authority.rows[0].serial)
    root.file("index.txt").write_text("")
    before = root.digest()
    for act in (lambda: below.create("Issuing", issuer=above(root)), lambda: root.crl(ROOT_RULES)):
        with pytest.raises(MtlsError, match=r"root/index\.txt lost rows"):
            act()
    assert root.digest() == before


def test_the_row_of_a_lost_issuing_ca_can_be_revoked(below: Any, root: Any) -> None:
    target = revoke.Target(certificate=str(below.file("certs", "ca.cert.pem")))
    shutil.copy(below.file("certs", "ca.cert.pem"), Path(root.path).parent / "issuing.pem")
    target = revoke.Target(certificate=str(Path(root.path).parent / "issuing.pem"))
    shutil.rmtree(below.path)
    assert revoke.revoke(root.path, target, "CACompromise", root.now, check_mode=False)[0].newly
