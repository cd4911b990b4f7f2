# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the checks of server certificates with the real openssl."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.server_certificates import check_server_certificates

if TYPE_CHECKING:
    from pathlib import Path


def certificate(directory: Path, name: str, days: int = 1) -> None:
    """Write a self-signed server certificate for one name."""
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    argv += ["-keyout", str(directory / "key.pem"), "-out", str(directory / f"{name}.pem"), "-days", str(days)]
    argv += ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    subprocess.run(argv, check=True, capture_output=True)


def site(file: str, server_name: str) -> str:
    """Return the configuration of a site."""
    return (
        f'map $x $y {{ default 1; }}\nserver {{ server_name {server_name} other.example; ssl_certificate "{file}"; }}\n'
    )


def test_valid_certificate(tmp_path: Path) -> None:
    certificate(tmp_path, "a.example")
    default = 'server { server_name ""; ssl_certificate "a.example.pem"; ssl_reject_handshake on; }'
    candidate = {"sites/a.conf": site("a.example.pem", "a.example"), "http.conf": default, "manifest.json": "{"}
    [found] = check_server_certificates(candidate, str(tmp_path))
    assert (found.file, found.server_name, found.problem) == ("a.example.pem", "a.example", "")


def test_certificate_for_another_name(tmp_path: Path) -> None:
    certificate(tmp_path, "a.example")
    [found] = check_server_certificates({"sites/b.conf": site(f"{tmp_path}/a.example.pem", "b.example")}, "/")
    assert found.problem == "name"
    assert "does NOT match" in found.detail


@pytest.mark.parametrize("text", [None, "not a certificate"])
def test_unreadable_file(tmp_path: Path, text: str | None) -> None:
    if text:
        (tmp_path / "x.pem").write_text(text)
    [found] = check_server_certificates({"sites/a.conf": site("x.pem", "a.example")}, str(tmp_path))
    assert found.problem == "unreadable"
    assert found.detail


def test_snippets_have_no_certificate(tmp_path: Path) -> None:
    assert check_server_certificates({"sites/a.conf": "map $a $b { default 1; }"}, str(tmp_path)) == ()


def test_invalid_configuration_is_rejected() -> None:
    with pytest.raises(MtlsError, match=r"not a valid configuration: sites/a\.conf:1"):
        check_server_certificates({"sites/a.conf": "server {"}, "/")
