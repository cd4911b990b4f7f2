# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Report hash tables of nginx that are too small for their entries."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .config_model import Configuration

_NOT_OPTIMAL = re.compile(r"could not build optimal (\w+), you should increase either \w+_max_size: (\d+)")
# The tables with a directive TABLE_max_size in http. Others, such as fastcgi_params_hash, have fixed sizes.
_WITH_DIRECTIVE = (
    "map_hash",
    "proxy_headers_hash",
    "server_names_hash",
    "types_hash",
    "variables_hash",
)
# nginx uses the smallest size that fits, so a large maximum costs no memory.
_FACTOR = 16


def small_hashes(reported: str) -> tuple[tuple[str, int], ...]:
    """Return the hash tables that nginx reports as not optimal (ngx_hash_init()), each with its maximum size in buckets."""
    return tuple((name, int(size)) for name, size in dict(_NOT_OPTIMAL.findall(reported)).items())


def describe_small_hashes(configuration: Configuration, home: str) -> Iterator[str]:
    """Yield for each such table a sentence with the line to write, unless nginx has no directive for it or the gate sets it.

    :param home: the directory of the gate as nginx names its files, with a final slash.
    """
    for name, size in configuration.small_hashes:
        directive = f"{name}_max_size"
        written = [one for _context, one in configuration.walk() if one.name == directive]
        others = [f"instead of line {one.line} of {one.file}" for one in written if not one.file.startswith(home)]
        if name not in _WITH_DIRECTIVE or (written and not others):
            continue
        where = others[0] if others else f"at the beginning of the http block of {configuration.main_file}"
        yield (
            f"nginx could not build an optimal {name} of {size} buckets, so it searches more slowly. "
            f"Write {directive} {size * _FACTOR}; {where}"
        )
