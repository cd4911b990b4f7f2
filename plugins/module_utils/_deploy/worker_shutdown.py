# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long former workers of nginx may serve open connections after a reload (directive worker_shutdown_timeout, main level).

Without it a WebSocket that was opened before a revocation lives on. It concerns every server of that nginx, so it is asked for
explicitly. A worker obeys what was in force when it started: it has to be there before the reload that shall cut.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .._common.errors import MtlsError
from .._common.files import PUBLIC_FILE, opened, sync_directory, write_atomic
from . import switch
from .generation_store import HOME, locked

if TYPE_CHECKING:
    from .._deploy.live_generation import LiveNginx
    from .._nginx.config_model import Configuration

_DIRECTIVE = "worker_shutdown_timeout"
_HEAD = "# Written by module quietdoor.mtls.trust_install; it is replaced as a whole.\n"
_STATE = "shutdown.committed"


def keep_cutting(nginx: LiveNginx, main_file: str, after: float | None, timeout: float, *, check_mode: bool) -> bool:
    """Make former workers cut their connections ``after`` so many seconds, or never. Return whether something changed.

    :param main_file: the file to write, relative to the directory of nginx.conf, which has to include it at main level.
    :param after: seconds, None for no limit of ours.
    :param timeout: seconds to wait until no former worker accepts connections.
    :raises MtlsError: if nginx refuses it or does not include the file; everything is then as it was.
    """
    path = os.path.join(nginx.conf_path, main_file)
    state = os.path.join(nginx.conf_path, HOME, _STATE)
    wanted = "" if after is None else f"{_HEAD}{_DIRECTIVE} {int(after)}s;\n"
    before = _read(path)
    if not (wanted or before.startswith(_HEAD)) or wanted == before == _read(state):
        return False
    _check_place(nginx, path, before)
    with locked(nginx.conf_path, check_mode=check_mode):
        configuration = _rehearse(nginx, main_file, wanted)
        if not check_mode:
            _carry_out(nginx, path, wanted, before, configuration, timeout)
            _put(state, wanted)
    return True


def _check_place(nginx: LiveNginx, path: str, before: str) -> None:
    nginx.check()
    if before and not before.startswith(_HEAD):
        raise MtlsError(f"{path} is not what this collection put there", "Move it away, or set another trust_main_file")
    if not os.path.isdir(os.path.dirname(path)):
        raise _not_included(path, nginx.conf_file)


def _rehearse(nginx: LiveNginx, main_file: str, wanted: str) -> Configuration:
    def judge(configuration: Configuration, _root: str) -> None:
        found = configuration.main(_DIRECTIVE)
        if wanted and not found:
            raise _not_included(os.path.join(nginx.conf_path, main_file), nginx.conf_file)

    return switch.rehearse(nginx, {main_file: wanted or None}, judge)


def _not_included(path: str, conf_file: str) -> MtlsError:
    return MtlsError(
        f"{path} would have no effect: {conf_file} does not include it at main level",
        f"Put a line 'include {os.path.dirname(path)}/*.conf;' above the block events, or set another trust_main_file",
    )


def _carry_out(
    nginx: LiveNginx, path: str, wanted: str, before: str, configuration: Configuration, timeout: float
) -> None:
    try:
        _put(path, wanted)
        nginx.test()
        if nginx.master(configuration) is not None:
            former = nginx.workers(configuration)
            nginx.reload()
            nginx.await_retirement(configuration, former, timeout)
    except (MtlsError, OSError):
        _put(path, before)
        raise


def _put(path: str, text: str) -> None:
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
