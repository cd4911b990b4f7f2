# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Activate a gate generation: write `conf.d/quietdoor.conf` and switch the symbolic link."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .._common.files import PUBLIC_DIR, PUBLIC_FILE, make_directory, opened, sync_directory, write_atomic
from .._contracts.paths import GATE, HTTP, INCLUDED, TRUST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .generation_store import GenerationStore

ENTRY_TEXT = f"""\
# Written by module quietdoor.mtls.gate_transaction; it is here if and only if a gate is live.
include {TRUST}/{HTTP};
include {GATE}/{HTTP};
"""


def activate(shelf: GenerationStore, entry: str, generation: int | None, entry_text: str = ENTRY_TEXT) -> None:
    """Make ``generation`` of the gate live on disk; None removes the gate.

    :param entry: the path of the file that nginx includes.
    """
    # nginx could start at any moment, so the entry exists only while its includes exist.
    if generation is None:
        if os.path.lexists(entry):
            os.unlink(entry)
            sync_directory(os.path.dirname(entry))
        shelf.point(None)
        return
    shelf.point(generation)
    directory = os.path.dirname(entry)
    if not os.path.isdir(directory):
        make_directory(directory, PUBLIC_DIR)
    if read_text(entry) != entry_text:
        write_atomic(entry, entry_text.encode("utf-8", "surrogateescape"), PUBLIC_FILE)


def included_sites(conf_path: str) -> frozenset[str]:
    """Return the sites whose snippets a server included when the gate was last verified."""
    text = read_text(os.path.join(conf_path, INCLUDED))
    return frozenset(text.split()) if text else frozenset()


def write_included(conf_path: str, sites: Sequence[str]) -> None:
    """Store the sites whose snippets a server includes, one per line; remove the file if there are none."""
    path = os.path.join(conf_path, INCLUDED)
    text = "".join(f"{site}\n" for site in sorted(sites))
    if (read_text(path) or "") == text:
        return
    if text:
        write_atomic(path, text.encode(), PUBLIC_FILE)
    else:
        os.unlink(path)
        sync_directory(os.path.dirname(path))


def read_text(path: str) -> str | None:
    """Return a file's text, None if the file does not exist."""
    try:
        with opened(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:
        return None
