# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the end of a CA: renewal with the same key, or a successor with another key."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca import issuer_crls, predecessors
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca.issuer import Issuer
from ansible_collections.quietdoor.mtls.plugins.module_utils._clients import enrol, predecessor_clients, revoke
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs12

DAY = timedelta(days=1)
YEAR = 365 * DAY


def judged(openssl: Any, public: Path, certificate: Path, *at: str, fails: bool = False) -> str:
    return openssl(
        "verify", "-x509_strict", "-crl_check_all", "-purpose", "sslclient", "-no-CApath", *at, "-CAfile",
        str(public / "ca.pem"), "-CRLfile", str(public / "crl.pem"), str(certificate), fails=fails,
    )  # fmt: skip


def read(public: Path, name: str) -> Any:
    return json.loads((public / name).read_text())


# --- the same key ---


@pytest.mark.parametrize(("days", "due"), [(0, False), (3284, False), (3285, True), (3649, True), (4000, True)])
def test_a_ca_is_renewed_before_its_end_with_the_key_that_it_has(days: int, due: bool, door: Any) -> None:
    former, key = door.authority.certificate, door.file("private", "ca.key.pem").read_bytes()
    later, before = door.later(days=days), door.digest()
    predicted = later.create(renew=True, renew_before=YEAR, check_mode=True)
    assert door.digest() == before
    outcome = later.create(renew=True, renew_before=YEAR)
    assert (predicted.changes, predicted.after) == (outcome.changes, outcome.after)
    assert bool(outcome.changes) == due
    if not due:
        assert door.digest() == before
        return
    made = door.authority.certificate
    assert (made.subject, made.public_key()) == (former.subject, former.public_key())
    assert made.serial_number != former.serial_number
    assert made.not_valid_after_utc == later.now + 3650 * DAY
    identifiers = [one.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value for one in (former, made)]
    assert identifiers[0] == identifiers[1]
    assert door.file("private", "ca.key.pem").read_bytes() == key
    kept = door.file("certs", f"ca-{former.serial_number:040X}.cert.pem".replace("ca-00", "ca-"))
    assert x509.load_pem_x509_certificate(kept.read_bytes()) == former
    assert later.create(renew=True, renew_before=YEAR).changes == []


@pytest.mark.parametrize("days", [3651, 300])
def test_a_changed_validity_renews_only_when_that_is_asked_for(days: int, door: Any) -> None:
    before = door.digest()
    with pytest.raises(MtlsError, match=r"valid_for is .*renew it with the same key \(renew: same_key\)"):
        door.create(days=days)
    with pytest.raises(
        MtlsError,
        match=r"subject is CN=Test CA and should be CN=Other\. Restore the former options, or choose another path\.$",
    ):
        door.create("Other", days=days, renew=True)
    assert door.digest() == before
    assert "valid_for is 3650 days and should be" in door.create(days=days, renew=True, renew_before=YEAR).changes[0]
    assert door.authority.certificate.not_valid_after_utc == door.now + days * DAY
    assert door.create(days=days, renew=True, renew_before=YEAR).changes == []


def test_a_root_of_before_becomes_one_that_signs_an_issuing_ca(door: Any) -> None:
    with pytest.raises(MtlsError, match="path_length is 0 and should be 1"):
        door.create(path_length=1)
    door.create(path_length=1, renew=True)
    assert door.create(path_length=1).changes == []
    assert door.create().changes == []
    with pytest.raises(MtlsError, match="path_length is 1 and should be 0"):
        door.create(path_length=0)


def test_what_was_issued_before_verifies_and_only_the_new_certificate_is_published(
    door: Any, client: Any, tmp_path: Path, openssl: Any
) -> None:
    door.enrol(client("alex"))
    door.crl()
    former = door.authority.certificate
    door.create(days=4000, renew=True)
    door.publish(tmp_path / "public")
    (published,) = x509.load_pem_x509_certificates((tmp_path / "public" / "ca.pem").read_bytes())
    assert published == door.authority.certificate != former
    judged(openssl, tmp_path / "public", door.file("clients", "alex", "alex.crt"))
    assert door.actions(client("alex"), client("bea")) == ["updated", "issued"]
    assert not door.crl().changed
    judged(openssl, tmp_path / "public", door.file("clients", "bea", "bea.crt"))


def test_chain_and_bundle_of_a_client_follow_a_renewed_ca(door: Any, client: Any) -> None:
    alex = client("alex", bundle_profiles=("modern",), bundle_passphrase="pass")
    taken_away = client("bea", bundle_profiles=("modern",), bundle_passphrase="pass")
    door.enrol(alex, taken_away)
    certificate = door.file("clients", "alex", "alex.crt").read_bytes()
    next(door.file("clients", "bea").glob("bea-*.key")).unlink()
    kept = door.file("clients", "bea", "bea.p12").read_bytes()
    door.create(days=3700, renew=True)
    ca = door.authority.certificate
    before = door.digest()
    predicted = door.enrol(alex, taken_away, check_mode=True)
    assert door.digest() == before
    done = door.enrol(alex, taken_away)
    assert [(one.action, one.reason) for one in done] == [(one.action, one.reason) for one in predicted]
    assert [one.action for one in done] == ["updated", "updated"]
    for name in ("alex", "bea"):
        chain = x509.load_pem_x509_certificates(door.file("clients", name, f"{name}.chain.pem").read_bytes())
        assert chain[1:] == [ca]
    bundle = pkcs12.load_pkcs12(door.file("clients", "alex", "alex.p12").read_bytes(), b"pass")
    assert [one.certificate for one in bundle.additional_certs] == [ca]
    assert door.file("clients", "alex", "alex.crt").read_bytes() == certificate
    assert door.file("clients", "bea", "bea.p12").read_bytes() == kept, "without the key it stays as it is"
    assert door.actions(alex, taken_away) == ["unchanged", "unchanged"]


def test_a_certificate_that_names_its_issuer_by_serial_forbids_it(door: Any, tmp_path: Path, openssl: Any) -> None:
    """Certificates of easy-rsa and common configurations: authorityKeyIdentifier = keyid,issuer:always."""
    configuration, request = door.file("openssl.cnf"), tmp_path / "request.pem"
    text = configuration.read_text()
    configuration.write_text(text.replace("= keyid:always", "= keyid:always,issuer:always"))
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-keyout", str(tmp_path / "key.pem"))
    openssl("req", "-new", *key, "-subj", "/CN=x", "-out", str(request))
    door.openssl_ca("-days", "10", "-in", str(request), "-notext", "-out", str(tmp_path / "x.pem"))
    configuration.write_text(text)
    before = door.digest()
    for check_mode in (True, False):
        with pytest.raises(MtlsError, match=r"newcerts/.* names the serial .* would not verify with a renewed one"):
            door.create(days=4000, renew=True, check_mode=check_mode)
    assert door.digest() == before


def test_an_issuing_ca_is_renewed_by_its_root(door: Any, client: Any, tmp_path: Path, openssl: Any) -> None:
    door.create(path_length=1, renew=True)
    door.crl()
    below = type(door)(str(tmp_path / "issuing"), now=door.now)
    issuer, offer = Issuer(door.path), issuer_crls.Offer(door.path)
    below.create("Issuing", days=400, issuer=issuer)
    below.enrol(client())
    below.crl()
    issuer_crls.keep(below.path, offer, below.now, check_mode=False)
    former = below.authority.certificate
    options = {"days": 400, "issuer": issuer, "renew": True, "renew_before": YEAR}
    assert below.create("Issuing", **options).changes == []
    later = below.later(days=300)
    predicted = later.create("Issuing", **options, check_mode=True)
    outcome = later.create("Issuing", **options)
    assert predicted.changes == outcome.changes
    assert "renewed with the same key: it ends at" in outcome.changes[0]
    assert below.authority.certificate.public_key() == former.public_key()
    assert later.create("Issuing", **options).changes == []
    assert len(door.authority.rows) == 2
    for authority in (door, below):
        authority.later(days=300).crl()
    issuer_crls.keep(below.path, offer, later.now, check_mode=False)
    later.publish(tmp_path / "public")
    at = ("-attime", f"{later.now.timestamp():.0f}")
    judged(openssl, tmp_path / "public", below.file("clients", "alex", "alex.crt"), *at)
    assert (tmp_path / "public" / "ca.pem").read_bytes() == below.file("certs", "chain.pem").read_bytes()


def test_an_issuing_ca_at_its_roots_end_is_not_renewed_again_and_again(door: Any, tmp_path: Path) -> None:
    door.create(path_length=1, renew=True)
    below = type(door)(str(tmp_path / "issuing"), now=door.now).later(days=3000)
    options = {"issuer": Issuer(door.path), "renew": True, "renew_before": YEAR}
    below.create("Issuing", **options)
    assert below.later(days=600).create("Issuing", **options).changes == []
    door.later(days=3000).create(days=7300, path_length=1, renew=True)
    outcome = below.later(days=600).create("Issuing", **options)
    assert "can live until" in outcome.changes[0]
    assert below.later(days=600).create("Issuing", **options).changes == []


# --- a successor ---


@pytest.fixture
def successor(door: Any, client: Any, tmp_path: Path) -> Any:
    door.enrol(client("alex"), client("bea"))
    door.crl()
    made = type(door)(str(tmp_path / "successor"), now=door.now)
    made.create("Successor")
    return made


def retired(new: Any, old: Any, *clients: Any, **options: Any) -> list[tuple[str, str]]:
    found = predecessor_clients.retire(
        new.path, [old.path], list(clients), timedelta(days=14), new.now, **{"check_mode": False, **options}
    )
    assert found.doubts == []
    return [(one.client, one.reason) for one in found.retired]


def test_both_are_trusted_until_the_last_old_certificate_has_ended(
    door: Any, successor: Any, client: Any, tmp_path: Path, openssl: Any
) -> None:
    public = tmp_path / "public"
    assert successor.actions(client("alex"), client("bea")) == ["issued", "issued"]
    successor.crl()
    assert successor.publish(public, door).warnings == []
    for authority in (door, successor):
        judged(openssl, public, authority.file("clients", "alex", "alex.crt"))
    identities = read(public, "identities.json")
    assert [(one["id"], one["subject"]) for one in identities["issuers"]] == [(1, "CN=Successor"), (2, "CN=Test CA")]
    assert [(one["issuer"], one["name"]) for one in identities["identities"]] == [
        (1, "alex"), (1, "bea"), (2, "alex"), (2, "bea")]  # fmt: skip

    later = successor.later(days=14)
    assert retired(later, door, client("alex"), client("bea"), check_mode=True) == [
        ("alex", "superseded"), ("bea", "superseded")]  # fmt: skip
    assert [row.status for row in door.authority.rows] == ["V", "V"]
    retired(later, door, client("alex"), client("bea"))
    assert [row.revocation.reason for row in door.authority.rows] == ["superseded", "superseded"]
    assert retired(later, door, client("alex"), client("bea")) == []
    door.later(days=14).crl()
    (warning,) = later.publish(public, door).warnings
    assert f"The predecessor {door.path} has no valid certificates any more. Remove it" in warning
    assert "certificate revoked" in judged(openssl, public, door.file("clients", "alex", "alex.crt"), fails=True)
    judged(openssl, public, successor.file("clients", "alex", "alex.crt"))
    assert {one["issuer"] for one in read(public, "denied.json")["denied"]} == {2}
    later.publish(public)
    assert "CN=Test CA" not in (public / "identities.json").read_text()


def test_the_overlap_runs_from_a_good_certificate_of_the_successor(door: Any, successor: Any, client: Any) -> None:
    assert retired(successor.later(days=100), door, client("alex")) == []
    successor.enrol(client("alex"))
    assert retired(successor.later(days=13), door, client("alex")) == []
    successor.revoke(client="alex")
    assert retired(successor.later(days=15), door, client("alex")) == []


def test_who_leaves_is_revoked_at_the_predecessor_at_once(door: Any, successor: Any, client: Any) -> None:
    gone = client("bea", present=False, reason="keyCompromise")
    assert retired(successor, door, client("alex"), gone) == [("bea", "keyCompromise")]
    assert [row.status for row in door.authority.rows] == ["V", "R"]


def test_who_holds_a_certificate_of_a_predecessor_is_known(door: Any, successor: Any, client: Any) -> None:
    assert predecessor_clients.load_elsewhere([door.path], [], door.now).holders == {"alex", "bea"}
    assert predecessor_clients.load_elsewhere([door.path], [], door.now + 2 * YEAR).holders == frozenset()
    door.revoke(client="bea")
    assert predecessor_clients.load_elsewhere([door.path], [], door.now).holders == {"alex"}


@pytest.mark.parametrize("limit", [None, 0, 1])
def test_a_purge_reaches_who_holds_a_certificate_of_a_predecessor_only(
    limit: int | None, door: Any, client: Any
) -> None:
    rules = replace(door.rules, purge_limit=limit)
    arguments = (door.path, [client("alex")], rules, None, door.now, predecessor_clients.Elsewhere(frozenset({"cleo"})))
    if limit == 0:
        with pytest.raises(MtlsError, match=r"purge would revoke .*cleo"):
            enrol.predict(*arguments)
        return
    done = enrol.predict(*arguments)
    purged = [result.step.client.name for result in done.results if result.step.action == "revoked"]
    assert ("cleo" in purged, "cleo" in done.unlisted) == (limit is not None, limit is None)


def test_a_revocation_by_name_reaches_the_predecessor(door: Any, successor: Any, client: Any) -> None:
    successor.enrol(client("alex"))
    before = door.digest(), successor.digest()
    for check_mode in (True, False):
        found = predecessor_clients.revoke_everywhere(
            successor.path, [door.path], revoke.Target(client="alex"), "keyCompromise", door.now, check_mode=check_mode
        )
        assert [path for path, _one in found] == [successor.path, door.path]
        if check_mode:
            assert (door.digest(), successor.digest()) == before
    # bea never had a certificate of the successor.
    target = revoke.Target(client="bea")
    predecessor_clients.revoke_everywhere(
        successor.path, [door.path], target, "unspecified", door.now, check_mode=False
    )
    assert [row.status for row in door.authority.rows] == ["R", "R"]
    target = revoke.Target(client="carl")
    with pytest.raises(revoke.NotIssued, match="client 'carl' was not issued by the authority in"):
        predecessor_clients.revoke_everywhere(
            successor.path, [door.path], target, "unspecified", door.now, check_mode=False
        )


def test_a_successor_of_the_same_name_is_refused(door: Any, tmp_path: Path) -> None:
    twin = type(door)(str(tmp_path / "twin"), now=door.now)
    twin.create()
    for act in (
        lambda: predecessors.check_predecessors(twin.path, [door.path]),
        lambda: predecessors.refuse_name_of([door.path], twin.authority.certificate.subject),
        lambda: twin.publish(tmp_path / "public", door),
    ):
        with pytest.raises(MtlsError, match="have the same name, CN=Test CA, by which nginx and CRLs identify a CA"):
            act()
    for former in ([door.path, door.path], [twin.path]):
        with pytest.raises(MtlsError, match="is the authority itself, or is listed more than once"):
            predecessors.check_predecessors(twin.path, former)
    with pytest.raises(MtlsError, match="is not an authority"):
        predecessors.check_predecessors(twin.path, [str(tmp_path / "nowhere")])


def test_a_predecessor_whose_ca_has_ended_is_left_out(door: Any, successor: Any, client: Any, tmp_path: Path) -> None:
    late = successor.later(days=3660)
    late.create("Successor", days=7300, renew=True)
    late.crl()
    assert len(late.publish(tmp_path / "public", door).warnings) == 1
    assert [one["subject"] for one in read(tmp_path / "public", "identities.json")["issuers"]] == ["CN=Successor"]


def test_two_issuing_cas_below_one_root_share_it(door: Any, client: Any, tmp_path: Path, openssl: Any) -> None:
    """The root was renewed after the predecessor copied it, and its newer CRL is known to the successor only."""
    public = tmp_path / "public"
    door.create(path_length=1, renew=True)
    door.crl()
    doors = [type(door)(str(tmp_path / name), now=door.now) for name in ("one", "two")]
    for made in doors:
        made.create(Path(made.path).name, issuer=Issuer(door.path), days=2000)
        made.enrol(client("alex"))
        made.crl()
        issuer_crls.keep(made.path, issuer_crls.Offer(door.path), made.now, check_mode=False)
        door.create(days=3700, path_length=1, renew=True)
        door.revoke(serial=door.authority.rows[0].serial) if made is doors[1] else None
        door.file("crl", "ca.crl.pem").unlink()
        door.crl()
    one, two = doors
    two.create("two", issuer=Issuer(door.path), days=2000)
    two.publish(public, one)
    published = x509.load_pem_x509_certificates((public / "ca.pem").read_bytes())
    assert [len(published), published[1]] == [3, two.authority.chain[1]]
    assert (public / "crl.pem").read_text().count("BEGIN X509 CRL") == 3
    for made in doors:
        judged(openssl, public, made.file("clients", "alex", "alex.crt"))
    assert two.authority.certificate.public_bytes(Encoding.PEM).decode() in (public / "ca.pem").read_text()


@pytest.mark.parametrize("unmounted", [False, True])
def test_a_predecessor_that_is_away_keeps_no_revocation_back(
    unmounted: bool, door: Any, successor: Any, client: Any, tmp_path: Path
) -> None:
    """Its former publication stays: its CA, its CRL, its identities and its denied certificates."""
    public = tmp_path / "public"
    door.enrol(client("alex"), client("bea"))
    door.revoke(client="bea")
    door.crl()
    successor.enrol(client("alex"), client("carl"))
    successor.crl()
    successor.publish(public, door)
    before = {name: json.loads((public / name).read_text()) for name in ("identities.json", "denied.json")}
    Path(door.path).rename(tmp_path / "safe")
    if unmounted:
        Path(door.path).mkdir()
    again = successor.publish(public, door)
    assert (again.changes, len(again.lapsing)) == ([], 1)
    successor.enrol(client("dora"))
    with pytest.raises(MtlsError, match="is not an authority"):
        successor.publish(public, door)
    successor.revoke("keyCompromise", client="carl")
    successor.crl()
    outcome = successor.publish(public, door)
    assert outcome.changes == ["crl.pem", "identities.json", "denied.json"]
    assert f"The predecessor {door.path} is not here" in outcome.lapsing[0]
    after = {name: json.loads((public / name).read_text()) for name in before}
    assert after["identities.json"]["issuers"] == before["identities.json"]["issuers"]
    former = [one for one in before["identities.json"]["identities"] if one["issuer"] == 2]
    assert [one["name"] for one in former] == ["alex"]
    assert [one for one in after["identities.json"]["identities"] if one["issuer"] == 2] == former
    assert before["denied.json"]["denied"] == [one for one in after["denied.json"]["denied"] if one["issuer"] == 2]
    assert len(after["denied.json"]["denied"]) == 2
    if unmounted:
        Path(door.path).rmdir()
    (tmp_path / "safe").rename(door.path)
    assert successor.publish(public, door).changes == []
    Path(door.path).rename(tmp_path / "safe")
    with pytest.raises(MtlsError, match="missing or damaged"):
        successor.publish(tmp_path / "other", door)
