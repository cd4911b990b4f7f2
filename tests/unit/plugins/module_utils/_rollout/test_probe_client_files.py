# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test reading the files of the probe client."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._rollout.probe_client_files import read_probe_client_files

if TYPE_CHECKING:
    from pathlib import Path


def test_the_serial_of_the_first_certificate(tmp_path: Path) -> None:
    pair = tmp_path / "c.pem", tmp_path / "c.key"
    argv = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=p",
    ]
    argv += ["-set_serial", "0x0AF3", "-out", str(pair[0]), "-keyout", str(pair[1])]
    subprocess.run(argv, check=True, capture_output=True)
    pair[0].write_text(f"a comment\n{pair[0].read_text()}")
    assert read_probe_client_files(str(pair[0]), str(pair[1])) == {
        "certificate_found": True,
        "key_found": True,
        "serial": "0AF3",
    }


def test_files_that_do_not_exist() -> None:
    assert read_probe_client_files("/nowhere.pem", "") == {"certificate_found": False, "key_found": False, "serial": ""}


@pytest.mark.parametrize(
    "text", ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "-----BEGIN CERTIFICATE-----\n"]
)
def test_a_file_without_a_certificate(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.pem").write_text(text)
    with pytest.raises(MtlsError, match="does not begin with a certificate"):
        read_probe_client_files(str(tmp_path / "c.pem"), "")
