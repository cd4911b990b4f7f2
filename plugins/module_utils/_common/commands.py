# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run external commands with a time limit and return their output."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import MtlsError

if TYPE_CHECKING:
    from collections.abc import Sequence


# PATH of an SSH session often lacks these directories, and nginx is installed in one of them.
_SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")


_TIMEOUT = 120.0


SHOWN_LINES = 6


@dataclass(frozen=True)
class Done:
    """The result of a command: its exit code and its output."""

    code: int
    out: str
    err: str

    @property
    def words(self) -> str:
        """The last lines of its output, joined to one line."""
        lines = [line.strip() for line in (self.err or self.out).splitlines() if line.strip()]
        return " / ".join(lines[-SHOWN_LINES:]) or f"no output (exit code {self.code})"


def find_command(name: str) -> str | None:
    """Return the path of a command in PATH or the sbin directories, None if there is none."""
    return shutil.which(name, path=_search_path())


def run_command(argv: Sequence[str], stdin: bytes | None = None) -> Done:
    """Run a command in the C locale and return its output, whatever its exit code.

    :raises MtlsError: if it is not installed, or does not end within two minutes.
    """
    environment = {**os.environ, "LC_ALL": "C", "PATH": _search_path()}
    program = find_command(argv[0])
    if program is None:
        raise MtlsError(
            f"The command {argv[0]} is not installed on {platform.node()}", "Install it or name another one"
        )
    try:
        done = subprocess.run(
            [program, *argv[1:]],
            input=stdin or b"",
            capture_output=True,
            env=environment,
            timeout=_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise MtlsError(f"{' '.join(argv)} did not end in {_TIMEOUT:g} s", "Run it by hand to see why") from None
    return Done(done.returncode, decoded(done.stdout), decoded(done.stderr))


def _search_path() -> str:
    return os.pathsep.join([os.environ.get("PATH", os.defpath), *_SBIN])


def decoded(data: bytes) -> str:
    """Return output as text; bytes that are not UTF-8 become surrogates."""
    return data.decode("utf-8", "surrogateescape")
