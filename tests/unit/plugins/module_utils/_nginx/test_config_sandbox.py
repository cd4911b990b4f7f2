# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the contents of a scratch copy, and that the live files stay unchanged."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx import config_sandbox
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.config_sandbox import (
    remove_abandoned_copies,
    sandbox_copy,
)


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create a tree like that of Debian, with a directory and a file outside."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(config_sandbox.tempfile, "tempdir", str(temporary))
    home, outside = tmp_path / "etc", tmp_path / "outside"
    for path in ("sites-available", "sites-enabled", "snippets", "quietdoor/gates/1"):
        (home / path).mkdir(parents=True)
    (outside / "vhosts").mkdir(parents=True)
    (home / "shared").symlink_to(outside / "vhosts")
    (home / "nginx.conf").write_text(f"http {{ include {home}/sites-enabled/*; include shared/*.conf; }}\n")
    (home / "sites-available/a").write_text(f"include '{home}/snippets/s.conf';\n# include {home}/x;\n")
    (home / "sites-enabled/a").symlink_to("../sites-available/a")
    (home / "snippets/s.conf").write_text("# live\n")
    (outside / "vhosts/v.conf").write_text(f"include {home}/../etc/snippets/s.conf;\n")
    (home / "key.pem").write_text("secret")
    return home


def tree(top: Path) -> dict[str, str]:
    """Return path -> text of all files."""
    return {str(path): path.read_text() for path in sorted(top.rglob("*")) if path.is_file()}


def test_includes_point_into_the_copy(live: Path) -> None:
    """Follow links, linked directories, quotes and dots; the live tree stays unchanged."""
    before = tree(live.parent)
    with sandbox_copy(str(live), "nginx.conf", {"snippets/s.conf": "# new\n"}) as copy:
        root = Path(copy.root)
        assert (
            root / "nginx.conf"
        ).read_text() == f'http {{ include "{root}/sites-enabled/*"; include shared/*.conf; }}\n'
        assert (root / "sites-enabled/a").read_text() == f'include "{root}/snippets/s.conf";\n# include {live}/x;\n'
        assert (root / "shared/v.conf").read_text() == f'include "{root}/snippets/s.conf";\n'
        assert (root / "snippets/s.conf").read_text() == "# new\n"
        assert (root / "key.pem").is_symlink()
        assert root.stat().st_mode & 0o777 == 0o700
        assert copy.with_live_paths(f"in {root}/snippets/s.conf:1") == f"in {live}/snippets/s.conf:1"
    assert tree(live.parent) == before
    assert not os.listdir(live.parent / "tmp")


def test_outside_files_are_redirected_too(live: Path) -> None:
    """Rewrite an outside file that includes a file of the configuration again."""
    outside = live.parent / "outside" / "vhosts"
    (live / "nginx.conf").write_text(f"include {outside}/*.conf;\n")
    before = tree(live.parent)
    with sandbox_copy(str(live), "nginx.conf", {}) as copy:
        (pattern,) = [
            word.strip(';"\n') for word in (Path(copy.root) / "nginx.conf").read_text().split() if "*" in word
        ]
        found = Path(pattern).parent / "v.conf"
        assert found.read_text() == f'include "{copy.root}/snippets/s.conf";\n'
        assert copy.with_live_paths(str(found)) == str(outside / "v.conf")
    assert tree(live.parent) == before


def test_files_are_removed_and_added(live: Path) -> None:
    """Remove and add a file and a directory, and replace a whole directory."""
    changes = {"sites-enabled/a": None, "quietdoor": None, "quietdoor/gate/sites/x.conf": "x", "conf.d/new.conf": "y"}
    with sandbox_copy(str(live), "nginx.conf", changes) as copy:
        root = Path(copy.root)
        assert os.listdir(root / "sites-enabled") == []
        assert tree(root / "quietdoor") == {str(root / "quietdoor/gate/sites/x.conf"): "x"}
        assert (root / "conf.d/new.conf").read_text() == "y"
    assert (live / "sites-enabled/a").is_symlink()
    assert (live / "quietdoor/gates/1").is_dir()
    assert not (live / "conf.d").exists()


def test_cycles_end(live: Path) -> None:
    """Accept a directory that links to its parent, and a file that includes itself."""
    (live / "snippets/up").symlink_to("..")
    (live / "snippets/s.conf").write_text(f"include {live}/snippets/s.conf;\ninclude {live}/snippets/up/snippets/*;\n")
    with sandbox_copy(str(live), "nginx.conf", {}) as copy:
        assert str(live) not in (Path(copy.root) / "snippets/s.conf").read_text()


def test_unreadable_file_is_left_as_it_is(live: Path) -> None:
    """Leave the error to nginx."""
    (live / "nginx.conf").write_text("include 'unclosed;\n")
    with sandbox_copy(str(live), "nginx.conf", {}) as copy:
        assert (Path(copy.root) / "nginx.conf").is_symlink()


def test_only_copies_of_ended_processes_are_removed(live: Path) -> None:
    """Keep a copy whose process is running."""
    temporary = live.parent / "tmp"
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    )
    dead, own, other = (
        temporary / name
        for name in (f"quietdoor-scratch-{gone.stdout.strip()}-x", f"quietdoor-scratch-{os.getpid()}-x", "else")
    )
    for path in (dead, own, other):
        path.mkdir()
        (path / "link").symlink_to(live)
    remove_abandoned_copies()
    assert sorted(os.listdir(temporary)) == sorted([own.name, other.name])
    assert (live / "nginx.conf").exists()
