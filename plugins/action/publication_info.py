# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a publication once for all hosts of a task."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from typing import TYPE_CHECKING, Any

from ansible import constants
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.files import (
    PRIVATE_FILE,
    lock,
    read_file,
    write_atomic,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.publication_files import LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable

_SPEC = {"path": {"type": "str", "required": True}, "optional": {"type": "bool", "default": False}}
_SHARED = ("changed", "exists", "files", "failed", "msg", "module_stderr", "module_stdout")
# Seconds. Batches of a play reuse the task; a later batch must not install an old publication.
_MAX_AGE = 60.0
# Seconds in which one worker reads, while the others wait for it.
_PATIENCE = 600.0


class ActionModule(ActionBase):
    """Action publication_info."""

    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the files of the publication."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        options = self.validate_argument_spec(argument_spec=_SPEC)[1]
        host, path = self._task.delegate_to, options["path"]
        if not path or not host:
            msg = (
                "trust_publication_path: the location of the publication is not known. Add the CA host to group mtls_ca and set "
                "its authority_path or authority_publish_path, or set trust_publication_host and trust_publication_path."
            )
            return {**result, "failed": True, "msg": msg}
        try:
            found = read_once(cache_file(self._task._uuid, host, path), lambda: self._read(path, task_vars))
        except MtlsError as problem:
            return {**result, "failed": True, "msg": str(problem)}
        if found.get("unreachable"):
            raise AnsibleConnectionFailure(found["msg"])
        if found.get("failed") or found.get("exists"):
            return {**result, **found}
        if options["optional"]:
            warning = (
                f"{path} on {host}: no publication exists yet, so check mode cannot predict the installed trust. In the real run "
                "role authority writes it first."
            )
            return {**result, **found, "warnings": [warning]}
        msg = (
            f"{path} on {host}: no publication exists. Run role authority on that host first, or set trust_publication_host and "
            "trust_publication_path."
        )
        return {**result, "failed": True, "msg": msg}

    def _read(self, path: str, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        try:
            found: dict[str, Any] = self._execute_module(
                module_name="quietdoor.mtls.publication_info", module_args={"path": path}, task_vars=task_vars
            )
        except AnsibleConnectionFailure as error:
            return {"unreachable": True, "msg": str(error)}
        return {name: found[name] for name in _SHARED if name in found}


def cache_file(task: str, host: str, path: str) -> str:
    """Return the file, in the private temporary directory of this run, that stores what the task read for all its hosts.

    The parent of a worker is the process of the run.
    """
    name = hashlib.sha256(json.dumps([os.getppid(), task, host, path]).encode()).hexdigest()
    return os.path.join(constants.DEFAULT_LOCAL_TMP, f"publication-{name}")


def read_once(path: str, read: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what another worker of this task read less than a minute ago, or read now.

    A failure is shared too, so that the workers do not wait for an unreachable CA host one after another.

    :raises MtlsError: if another worker reads for longer than ten minutes.
    """
    with lock(f"{path}.lock", _PATIENCE):
        with contextlib.suppress(FileNotFoundError):
            if 0 <= time.time() - os.stat(path).st_mtime < _MAX_AGE:
                stored: dict[str, Any] = json.loads(read_file(path, 8 * LIMIT))
                return stored
        found = read()
        write_atomic(path, json.dumps(found).encode(), PRIVATE_FILE)
        return found
