# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the search for revoked certificates in the listings of their authorities."""

from __future__ import annotations

from typing import Any

from ansible_collections.quietdoor.mtls.plugins.module_utils._checks.revocation_proof import Certificate
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks.revoked_certificates import (
    find_certificates,
    unlisted_authorities,
)

REVOKED = [{"serial": "0A", "path": "/ca/", "name": "carl"}]


def listing(path: str, *certificates: dict[str, Any]) -> dict[str, Any]:
    """Return the listing of one authority."""
    return {"path": path, "certificates": list(certificates)}


def issued(serial: str, name: str | None = "carl", days_left: int = 3, **files: str) -> dict[str, Any]:
    """Return one entry of a listing."""
    return {"serial": serial, "name": name, "days_left": days_left, "files": {"certificate": f"/{serial}.crt", **files}}


def test_a_revoked_certificate_with_its_key() -> None:
    found = find_certificates(REVOKED, [listing("/ca", issued("0A", key="/0A.key"), issued("0B"))])
    assert found == (Certificate("carl", "0A", "/0A.crt", "/0A.key"),)


def test_without_a_key_or_a_client() -> None:
    assert find_certificates(REVOKED, [listing("/ca", issued("0A", None))]) == (
        Certificate("a certificate of no client", "0A", "/0A.crt", ""),
    )


def test_the_same_serial_of_another_authority_is_another_certificate() -> None:
    assert find_certificates(REVOKED, [listing("/former", issued("0A"))]) == ()


def test_a_certificate_that_has_ended_is_left_out() -> None:
    assert find_certificates(REVOKED, [listing("/ca", issued("0A", days_left=-1))]) == ()
    assert len(find_certificates(REVOKED, [listing("/ca", issued("0A", days_left=0))])) == 1


def test_an_authority_that_could_not_be_listed_is_named() -> None:
    failed = {"failed": True, "msg": "it is away", "item": "/former"}
    revoked = [*REVOKED, {"serial": "0A", "path": "/former"}, {"serial": "0B", "path": "/former/"}]
    assert find_certificates(revoked, [listing("/ca"), failed]) == ()
    assert unlisted_authorities(revoked, [listing("/ca"), failed]) == ("/former",)
    assert unlisted_authorities(REVOKED, [listing("/ca")]) == ()
