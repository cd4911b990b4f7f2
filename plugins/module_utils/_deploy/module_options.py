# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the nginx options of modules; the documentation fragment ``nginx`` describes them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .._common.durations import parse_duration
from .._common.errors import MtlsError
from .generation_store import KEPT_GENERATIONS
from .live_generation import LiveNginx

if TYPE_CHECKING:
    from collections.abc import Mapping

NGINX: dict[str, Any] = {
    "conf_path": {"type": "path", "default": "/etc/nginx"},
    "nginx_binary": {"type": "str", "default": "nginx"},
    "test_argv": {"type": "list", "elements": "str", "default": ["nginx", "-t"]},
}
CHANGE: dict[str, Any] = {
    "reload_argv": {"type": "list", "elements": "str", "default": ["nginx", "-s", "reload"]},
    "prove_timeout": {"type": "str", "default": "15s"},
    "keep": {"type": "int", "default": KEPT_GENERATIONS},
}
RENDER: dict[str, Any] = {
    # Type list would convert its entries and so hide mistakes in them.
    "sites": {"type": "raw", "required": True},
    "log_path": {"type": "str", "default": "/var/log/nginx"},
    "log_format": {"type": "str", "choices": ["json", "combined"], "default": "json"},
    "default_server": {"type": "str", "choices": ["auto", "always", "never"], "default": "auto"},
}


def nginx_from(params: Mapping[str, Any]) -> LiveNginx:
    """Return the nginx that the options describe.

    :raises MtlsError: if a command is empty.
    """
    for option in ("test_argv", "reload_argv"):
        if not params.get(option, True):
            raise MtlsError(f"gate_nginx_{option}: the list is empty", "Write the command as a list of words")
    return LiveNginx(
        binary=params["nginx_binary"],
        conf_path=os.path.normpath(params["conf_path"]),
        test_argv=tuple(params["test_argv"]),
        reload_argv=tuple(params.get("reload_argv", ())),
    )


def seconds(params: Mapping[str, Any], option: str) -> float:
    """Return a duration option in seconds.

    :raises MtlsError: if it is not a valid duration.
    """
    return parse_duration(params[option], option).total_seconds()


def kept(params: Mapping[str, Any]) -> int:
    """Return the number of generations to keep.

    :raises MtlsError: if it is less than one.
    """
    keep = int(params["keep"])
    if keep < 1:
        raise MtlsError(f"keep is {keep}", "Keep at least one generation")
    return keep
