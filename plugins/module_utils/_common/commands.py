# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run external commands with a time limit and return what they printed."""

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


# A login over SSH often lacks these, and nginx lives in one of them.
_SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")


_TIMEOUT = 120.0


SHOWN_LINES = 6


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def words(self) -> str:
        """The last lines that it said, in one line."""
        lines = [line.strip() for line in (self.err or self.out).splitlines() if line.strip()]
        return " / ".join(lines[-SHOWN_LINES:]) or f"nothing (exit code {self.code})"


def find_command(name: str) -> str | None:
    """Return the path of a command, looked for in PATH and in the sbin directories."""
    return shutil.which(name, path=_search_path())


def run_command(argv: Sequence[str], stdin: bytes | None = None) -> Done:
    """Run a command in the C locale and return what it said, whatever its exit code.

    :raises MtlsError: if it cannot be started, or does not end in two minutes.
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
    return data.decode("utf-8", "surrogateescape")
