# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test revocation by name, serial, fingerprint and file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca import client_records
from ansible_collections.quietdoor.mtls.plugins.module_utils._clients import revoke
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from cryptography.hazmat.primitives import hashes


def colons(text: str) -> str:
    return ":".join(text[index : index + 2] for index in range(0, len(text), 2))


def targets(door: Any) -> dict[str, dict[str, str]]:
    serial = door.authority.rows[0].serial
    certificate = door.authority.issued(serial)
    sha256, sha1 = (certificate.fingerprint(kind).hex() for kind in (hashes.SHA256(), hashes.SHA1()))
    return {
        "serial": {"serial": serial},
        "serial with colons": {"serial": colons(serial).lower()},
        "serial with zeros": {"serial": f"00{serial}"},
        "serial without its zero": {"serial": serial.lstrip("0")},
        "sha256": {"fingerprint": colons(sha256).upper()},
        "sha1": {"fingerprint": sha1},
        "file": {"certificate": str(door.file("clients", "alex", "alex.crt"))},
        "chain": {"certificate": str(door.file("clients", "alex", "alex.chain.pem"))},
        "client": {"client": "alex"},
    }


@pytest.mark.parametrize(
    "how",
    ["serial", "serial with colons", "serial with zeros", "serial without its zero", "sha256", "sha1", "file", "chain",
     "client"],
)  # fmt: skip
def test_every_way_to_name_a_certificate(how: str, door: Any, client: Any) -> None:
    door.enrol(client("alex"), client("bea"))
    target = targets(door)[how]
    before = door.digest()
    predicted = door.revoke("keyCompromise", **target, check_mode=True)
    assert door.digest() == before
    assert door.revoke("keyCompromise", **target) == predicted
    (one,) = predicted
    assert (one.client, one.newly) == ("alex", True)
    assert [row.status for row in door.authority.rows] == ["R", "V"]
    assert one.row == door.authority.rows[0]
    revoked = door.digest()
    (again,) = door.later(days=1).revoke("superseded", **target)
    assert (again.newly, again.row) == (False, one.row)
    assert door.digest() == revoked


def test_database_decides_the_owner_before_any_record(door: Any, client: Any) -> None:
    """A copied or edited record must not cause the revocation of another client's certificate."""
    door.enrol(client("alex"), client("bea"))
    path = door.file("clients", "bea", "client.json")
    alex, bea = (row.serial for row in door.authority.rows)
    record = json.loads(path.read_text())
    record["issues"].insert(0, {**record["issues"][0], "serial": alex})
    path.write_text(json.dumps(record))
    assert client_records.owners(client_records.load_all(door.authority.layout.clients), door.authority.rows) == {
        alex: "alex",
        bea: "bea",
    }
    (result,) = door.enrol(client("bea", present=False))
    assert result.step.revoke == (bea,)


def test_a_name_stands_for_all_serials_it_ever_had(door: Any, client: Any) -> None:
    door.enrol(client())
    door.later(days=340).enrol(client())
    door.later(days=400).enrol(client(roles=("dev",)))
    assert len(door.revoke(client="alex")) == 3
    assert {row.status for row in door.authority.rows} == {"R"}


@pytest.mark.parametrize(
    "target",
    [{"client": "nobody"}, {"client": ""}, {"client": "Alex"}, {"client": 'a; }"\n'}, {"serial": "AB"}, {"serial": "00"},
     {"serial": "F" * 10_000}, {"fingerprint": "0" * 64}, {"fingerprint": "0" * 40}],
)  # fmt: skip
def test_what_the_authority_did_not_issue_is_named(target: dict[str, str], door: Any, client: Any) -> None:
    door.enrol(client())
    before = door.digest()
    with pytest.raises(MtlsError, match=r"was not issued by the authority in .*. List .* certs_info") as caught:
        door.revoke(**target)
    assert len(str(caught.value)) < 500
    assert str(caught.value).isprintable()
    assert door.digest() == before


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ({"serial": ""}, "serial: .* is not hexadecimal"),
        ({"serial": "-1"}, "serial: .* is not hexadecimal"),
        ({"serial": "xyz"}, "serial: 'xyz' is not hexadecimal"),
        ({"serial": "٣"}, "serial: .* is not hexadecimal"),
        ({"fingerprint": "zz"}, "fingerprint: .* is not hexadecimal"),
        ({"fingerprint": "ABCD"}, "has 4 digits. Give a SHA-256"),
        ({"certificate": "/nowhere"}, "'/nowhere' cannot be read"),
        ({"certificate": "/"}, "is not a PEM certificate"),
        ({"certificate": "/dev/null"}, "is not a PEM certificate"),
        ({"certificate": "a\x00b"}, "is not a PEM certificate"),
    ],
)
def test_targets_that_are_none_are_explained(target: dict[str, str], says: str, door: Any, client: Any) -> None:
    with pytest.raises(MtlsError, match=says):
        door.revoke(**target)


def test_a_certificate_of_another_authority_with_the_same_serial_is_not_revoked(
    door: Any, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = type(door)(str(tmp_path / "other"))
    other.create()
    monkeypatch.setattr(
        "ansible_collections.quietdoor.mtls.plugins.module_utils._clients.enrol.random_serial", lambda: 77
    )
    door.enrol(client())
    other.enrol(client())
    with pytest.raises(MtlsError, match="was not issued by"):
        door.revoke(certificate=str(other.file("clients", "alex", "alex.crt")))
    assert door.revoke(certificate=str(door.file("clients", "alex", "alex.crt")))


def test_a_certificate_file_is_enough_when_newcerts_is_lost(door: Any, client: Any) -> None:
    door.enrol(client())
    next(door.file("newcerts").iterdir()).unlink()
    assert door.revoke(certificate=str(door.file("clients", "alex", "alex.crt")))[0].newly


def test_reasons_without_meaning_here_are_refused(door: Any, client: Any) -> None:
    door.enrol(client())
    for reason in ("certificateHold", "removeFromCRL", "because", ""):
        with pytest.raises(MtlsError, match="is not a valid reason"):
            door.revoke(reason, client="alex")


@pytest.mark.parametrize("reason", revoke.CHOICES)
def test_openssl_reads_every_reason(reason: str, door: Any, client: Any) -> None:
    door.enrol(client())
    door.revoke(reason, client="alex")
    door.openssl_ca("-gencrl", "-out", str(door.file("crl", "x.pem")))
    assert "Revoked (R)" in door.openssl_ca("-status", door.authority.rows[0].serial, fails=True)
