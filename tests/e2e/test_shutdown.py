# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test worker_shutdown_timeout on a real nginx: it is effective, or nothing changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._deploy.live_generation import LiveNginx
from ansible_collections.quietdoor.mtls.plugins.module_utils._deploy.worker_shutdown import set_worker_shutdown_timeout
from support.nginx import NginxInstance

FILE = "modules-enabled/quietdoor.conf"
INCLUDE = "include modules-enabled/*.conf;"


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[LiveNginx]:
    instance = NginxInstance(tmp_path / "nginx", main=INCLUDE)
    (instance.prefix / "modules-enabled").mkdir()
    with instance:
        yield LiveNginx(instance.binary, str(instance.prefix), tuple(instance.test_argv), tuple(instance.reload_argv))


def keep(nginx: LiveNginx, after: float | None, check_mode: bool = False) -> bool:
    return set_worker_shutdown_timeout(nginx, FILE, after, 10.0, check_mode=check_mode)


def in_force(nginx: LiveNginx) -> tuple[str, ...] | None:
    return nginx.dump(nginx.conf_file).main("worker_shutdown_timeout")


def test_it_comes_changes_stays_and_goes(nginx: LiveNginx) -> None:
    path = Path(nginx.conf_path, FILE)
    former = nginx.workers(nginx.dump(nginx.conf_file))
    assert not keep(nginx, None)
    assert keep(nginx, 5, check_mode=True)
    assert not path.exists()
    assert keep(nginx, 5)
    assert in_force(nginx) == ("5s",)
    # The workers that serve now started with it.
    assert not former & nginx.workers(nginx.dump(nginx.conf_file))
    assert not keep(nginx, 5)
    assert keep(nginx, 60)
    assert in_force(nginx) == ("60s",)
    assert keep(nginx, None, check_mode=True)
    assert keep(nginx, None)
    assert not in_force(nginx)
    assert not path.exists()
    assert not keep(nginx, None)


def test_a_run_that_was_killed_before_the_reload_is_completed(nginx: LiveNginx) -> None:
    keep(nginx, 5)
    former = nginx.workers(nginx.dump(nginx.conf_file))
    Path(nginx.conf_path, "quietdoor", "shutdown.committed").unlink()
    assert keep(nginx, 5)
    assert not former & nginx.workers(nginx.dump(nginx.conf_file))
    assert not keep(nginx, 5)


def test_where_it_is_not_included_it_is_not_written(tmp_path: Path) -> None:
    with NginxInstance(tmp_path / "nginx") as instance:
        nginx = LiveNginx(instance.binary, str(instance.prefix), tuple(instance.test_argv), tuple(instance.reload_argv))
        with pytest.raises(MtlsError, match="does not include it at main level"):
            keep(nginx, 5)
        (instance.prefix / "modules-enabled").mkdir()
        with pytest.raises(MtlsError, match="does not include it at main level"):
            keep(nginx, 5)
        assert not list((instance.prefix / "modules-enabled").iterdir())


def test_where_the_directive_is_there_already_nginx_says_so(nginx: LiveNginx) -> None:
    (Path(nginx.conf_path) / "modules-enabled" / "own.conf").write_text("worker_shutdown_timeout 9s;\n")
    with pytest.raises(MtlsError, match="duplicate"):
        keep(nginx, 5)
    assert in_force(nginx) == ("9s",)
    assert not Path(nginx.conf_path, FILE).exists()


def test_foreign_file_is_left_unchanged(nginx: LiveNginx) -> None:
    path = Path(nginx.conf_path, FILE)
    path.write_text("worker_rlimit_nofile 512;\n")
    with pytest.raises(MtlsError, match="was not written by this collection"):
        keep(nginx, 5)
    assert not keep(nginx, None)
    assert path.read_text() == "worker_rlimit_nofile 512;\n"


def test_failed_reload_is_reverted(nginx: LiveNginx) -> None:
    broken = LiveNginx(nginx.binary, nginx.conf_path, nginx.test_argv, ("false",))
    with pytest.raises(MtlsError, match="false failed"):
        keep(broken, 5)
    assert not Path(nginx.conf_path, FILE).exists()
