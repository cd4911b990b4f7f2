# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the pull program: its contents, accepted sources, and metrics."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.chain_verification import Crl
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.https_fetch import source_from
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.pull_metrics import render_metrics
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.pull_program import build_program

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=timezone.utc)


def test_program_is_reproducible() -> None:
    assert build_program() == build_program()


def test_program_runs_alone_and_contains_only_what_it_loads(tmp_path: Path) -> None:
    program = tmp_path / "pull.pyz"
    program.write_bytes(build_program())
    code = (
        f"import sys; sys.path.insert(0, {str(program)!r}); import quietdoor._trust.pull_program; "
        "print(*sorted(name for name in sys.modules if name.startswith(('quietdoor', 'ansible'))))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    loaded = {f"{name.replace('.', '/')}.py" for name in done.stdout.split() if name.count(".") == 2}
    held = {name for name in zipfile.ZipFile(io.BytesIO(program.read_bytes())).namelist() if name.count("/") == 2}
    assert {name for name in held if not name.endswith("__init__.py")} == loaded
    assert "ansible" not in done.stdout.replace("_common", "")


def test_missing_settings_are_an_error(tmp_path: Path) -> None:
    program = tmp_path / "pull.pyz"
    program.write_bytes(build_program())
    for arguments in ([], [str(tmp_path / "none.json")], [str(program)]):
        argv = [sys.executable, "-I", str(program), *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr.startswith("The settings cannot be read")


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://ca.example.org/trust/", "https://ca.example.org/trust"),
        ("https://[2001:db8::1]:8443/x", "https://[2001:db8::1]:8443/x"),
        ("file:///srv/trust/", "/srv/trust"),
        ("/srv/trust/../other", "/srv/other"),
    ],
)
def test_accepted_sources(url: str, kept: str) -> None:
    assert source_from(url, "", 1.0).url == kept


@pytest.mark.parametrize(
    "url",
    [
        "", "http://ca.example.org/", "ftp://ca.example.org/", "https://", "https:///trust", "https://a:b/", "https://a:0/",
        "https://user@a/", "https://a/?x=1", "https://a/#x", "https://a/x y", "https://a/x\r\nHost: b", "file://host/srv",
        "srv/trust", "https://a/\u00e9", "https://[::1/",
    ],
)  # fmt: skip
def test_rejected_sources(url: str) -> None:
    with pytest.raises(MtlsError, match="trust_url"):
        source_from(url, "", 1.0)


def test_unmounted_directory_is_an_error(tmp_path: Path) -> None:
    source = source_from(str(tmp_path / "nowhere"), "", 1.0)
    with pytest.raises(MtlsError, match=r"nowhere/trust.json cannot be read"):
        source.fetch("trust.json", 10)
    (tmp_path / "trust.json").write_text("x" * 11)
    with pytest.raises(MtlsError, match="larger than 10 bytes"):
        source_from(str(tmp_path), "", 1.0).fetch("trust.json", 10)


def test_metrics_of_a_failed_pull() -> None:
    crl = Crl('CN=A "b" \\\\ c', "ab" * 32, 7, NOW, NOW + timedelta(days=2), ())
    lines = render_metrics("older", 42, (crl,), NOW).splitlines()
    end = int((NOW + timedelta(days=2)).timestamp())
    escaped = r'{issuer="CN=A \"b\" \\\\ c"}'
    assert [line for line in lines if not line.startswith("#")] == [
        "quietdoor_trust_pull_success 0",
        f"quietdoor_trust_pull_timestamp_seconds {int(NOW.timestamp())}",
        'quietdoor_trust_pull_error{code="older"} 1',
        "quietdoor_trust_generation 42",
        f"quietdoor_trust_crl_end_timestamp_seconds{escaped} {end}",
        f"quietdoor_trust_crl_remaining_seconds{escaped} 172800",
    ]


def test_metrics_of_a_good_pull_without_trust() -> None:
    text = render_metrics("", 0, (), NOW)
    assert "quietdoor_trust_pull_success 1\n" in text
    assert "quietdoor_trust_pull_error{" not in text
    assert text.endswith("\n")
