# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test reading the files of a publication."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.publication_files import read_files
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.publication_reader import FILES

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).write_bytes(f"Zoë, {name}\r\n".encode())
    return tmp_path


def test_read_files_returns_every_byte(directory: Path) -> None:
    assert read_files(str(directory)) == {name: f"Zoë, {name}\r\n" for name in FILES}


@pytest.mark.parametrize("name", ["", "nothing"])
def test_read_files_returns_nothing_without_a_manifest(directory: Path, name: str) -> None:
    (directory / "trust.json").unlink()
    assert read_files(str(directory / name)) == {}


def test_read_files_names_a_missing_file(directory: Path) -> None:
    (directory / "crl.pem").unlink()
    with pytest.raises(MtlsError, match=r"crl\.pem does not exist, although trust\.json does"):
        read_files(str(directory))


def test_read_files_refuses_bytes_that_are_not_text(directory: Path) -> None:
    (directory / "ca.pem").write_bytes(b"\xff")
    with pytest.raises(MtlsError, match=r"ca\.pem is not UTF-8 text"):
        read_files(str(directory))


def test_read_files_refuses_a_broken_link(directory: Path) -> None:
    (directory / "trust.json").unlink()
    (directory / "trust.json").symlink_to("nowhere")
    with pytest.raises(MtlsError, match=r"trust\.json does not exist"):
        read_files(str(directory))
