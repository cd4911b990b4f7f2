# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limit how long former workers serve open connections after a reload (worker_shutdown_timeout).

Without the limit a WebSocket that was opened before a revocation stays open. The directive applies to all servers of that nginx,
so it is opt-in. A worker uses the value from its start, so the directive must be live before the reload that closes connections.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .._common.errors import MtlsError
from .._common.files import PUBLIC_FILE, opened, sync_directory, write_atomic
from .._contracts.paths import SHUTDOWN
from . import switch
from .generation_store import locked

if TYPE_CHECKING:
    from .._deploy.live_generation import LiveNginx
    from .._nginx.config_model import Configuration

_DIRECTIVE = "worker_shutdown_timeout"
_HEAD = "# Written by module quietdoor.mtls.trust_install; it is replaced as a whole.\n"


def set_worker_shutdown_timeout(
    nginx: LiveNginx, main_file: str, after: float | None, timeout: float, *, check_mode: bool
) -> bool:
    """Set or remove the time limit of former workers. Return whether anything changed.

    :param main_file: the file to write, relative to the directory of nginx.conf, which must include it at main level.
    :param after: seconds after a reload, None to remove the limit.
    :param timeout: seconds to wait until no former worker accepts connections.
    :raises MtlsError: if nginx rejects or does not include the file; nothing is changed then.
    """
    path = os.path.join(nginx.conf_path, main_file)
    state = os.path.join(nginx.conf_path, SHUTDOWN)
    wanted = "" if after is None else f"{_HEAD}{_DIRECTIVE} {int(after)}s;\n"
    before = _read(path)
    if not (wanted or before.startswith(_HEAD)) or wanted == before == _read(state):
        return False
    _check_path(nginx, path, before)
    with locked(nginx.conf_path, check_mode=check_mode):
        configuration = _test_candidate(nginx, main_file, wanted)
        if not check_mode:
            _apply(nginx, path, wanted, before, configuration, timeout)
            _write_or_remove(state, wanted)
    return True


def _check_path(nginx: LiveNginx, path: str, before: str) -> None:
    nginx.check()
    if before and not before.startswith(_HEAD):
        raise MtlsError(f"{path} was not written by this collection", "Move it away, or set another trust_main_file")
    if not os.path.isdir(os.path.dirname(path)):
        raise _not_included_error(path, nginx.conf_file)


def _test_candidate(nginx: LiveNginx, main_file: str, wanted: str) -> Configuration:
    def judge(configuration: Configuration, _root: str) -> None:
        found = configuration.main(_DIRECTIVE)
        if wanted and not found:
            raise _not_included_error(os.path.join(nginx.conf_path, main_file), nginx.conf_file)

    return switch.rehearse(nginx, {main_file: wanted or None}, judge)


def _not_included_error(path: str, conf_file: str) -> MtlsError:
    return MtlsError(
        f"{path} would have no effect: {conf_file} does not include it at main level",
        f"Add the line 'include {os.path.dirname(path)}/*.conf;' above the block events, or set another trust_main_file",
    )


def _apply(nginx: LiveNginx, path: str, wanted: str, before: str, configuration: Configuration, timeout: float) -> None:
    try:
        _write_or_remove(path, wanted)
        nginx.test()
        if nginx.master(configuration) is not None:
            former = nginx.workers(configuration)
            nginx.reload()
            nginx.await_retirement(configuration, former, timeout)
    except (MtlsError, OSError):
        _write_or_remove(path, before)
        raise


def _write_or_remove(path: str, text: str) -> None:
    if text:
        write_atomic(path, text.encode(), PUBLIC_FILE)
    elif os.path.lexists(path):
        os.unlink(path)
        sync_directory(os.path.dirname(path))


def _read(path: str) -> str:
    try:
        with opened(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""
