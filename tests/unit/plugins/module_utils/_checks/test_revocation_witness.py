# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the proof from a publication if two authorities have issued the same serial."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks.revocation_witness import judge_bundle

SUBJECTS = ["CN=Successor", "O=Caf\\C3\\A9\\, Berlin,CN=CA"]


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Return a certificate of the second issuer; it is self-signed here."""
    path = tmp_path / "carl.crt"
    command = ["openssl", "req", "-x509", "-new", "-nodes", "-utf8", "-subj", "/CN=CA/O=Café, Berlin", "-days", "1"]
    command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", "/dev/null", "-out", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return path


@pytest.mark.parametrize(("issuer", "serial", "denied"), [(2, "AB", True), (1, "AB", False), (2, "AC", False)])
def test_a_serial_is_denied_only_with_its_issuer(
    issuer: int, serial: str, denied: bool, certificate: Path, tmp_path: Path
) -> None:
    issuers = [{"id": number, "subject": subject} for number, subject in enumerate(SUBJECTS, 1)]
    (tmp_path / "identities.json").write_text(json.dumps({"issuers": issuers}))
    (tmp_path / "denied.json").write_text(json.dumps({"denied": [{"issuer": issuer, "serial": serial}]}))
    for name in ("ca.pem", "crl.pem"):
        (tmp_path / name).touch()
    _bundle, listed = judge_bundle(str(tmp_path), str(certificate), "carl", "AB")
    assert (listed.ok, listed.seen) == (denied, "yes" if denied else "no")
