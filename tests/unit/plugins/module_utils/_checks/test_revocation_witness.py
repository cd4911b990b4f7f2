# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the proof from a publication, and the judgement of requests that began before a revocation."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._checks.revocation_witness import (
    GateEndpoint,
    Proof,
    Witness,
    judge_bundle,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._contracts.status_protocol import (
    GENERATION_HEADER,
    VERDICT_HEADER,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._probe.messages import (
    CLOSED,
    HTTP,
    NO_ANSWER,
    TIMED_OUT,
    Answer,
    Identity,
    Target,
)

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


NEW = 8


def answer(verdict: str, trust: int) -> Answer:
    return Answer(HTTP, status=204, headers=((VERDICT_HEADER, verdict), (GENERATION_HEADER, f"gate=1 trust={trust}")))


class Connection:
    """A connection that was opened before the revocation, with its answer after it."""

    def __init__(self, later: Answer) -> None:
        self.later = later

    def ask(self, _path: str, _host: str) -> Answer:
        return self.later

    def finish(self) -> Answer:
        return self.later


def former(later: Answer, closed: bool) -> list[Proof]:
    """Return the proofs for a connection past the handshake and for half a request header."""
    endpoint = GateEndpoint("web1", "panel", Target("127.0.0.1", 443), "panel.test", 443, closed=closed)
    witness = Witness(endpoint, Identity("carl"))
    witness._past_handshake = witness._in_header = Connection(later)
    return list(witness._begun(NEW))


@pytest.mark.parametrize(
    ("later", "closed", "ok"),
    [
        (Answer(NO_ANSWER, CLOSED), False, True),
        (Answer(NO_ANSWER, CLOSED), True, True),
        (answer("deny", NEW), False, True),
        (answer("deny", NEW), True, True),
        (answer("cert", NEW - 1), False, None),
        (answer("cert", NEW - 1), True, False),
        (answer("cert", NEW), True, False),
        (Answer(NO_ANSWER, TIMED_OUT), False, None),
        (Answer(NO_ANSWER, TIMED_OUT), True, False),
    ],
)
def test_request_that_began_before_is_a_failure_only_if_former_workers_were_ended(
    later: Answer, closed: bool, ok: bool | None
) -> None:
    proofs = former(later, closed)
    assert [(proof.tried, proof.ok) for proof in proofs] == [
        ("connection past the handshake", ok),
        ("half a request header", ok),
    ]
    answered = ok is None and later.outcome == HTTP
    assert all(("a former worker of nginx answered" in proof.seen) == answered for proof in proofs)
