# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of one nginx on this host: what it is, testing a configuration, reloading, and whether it runs."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from .._common.commands import SHOWN_LINES, decoded, find_command, run_command
from .._common.errors import MtlsError
from .._common.files import opened
from .build_info import parse_build
from .config_lexer import Unreadable
from .config_model import Configuration, read_dump
from .config_parser import parse, split_dump

if TYPE_CHECKING:
    from collections.abc import Collection

    from .build_info import Build

_PAUSE = 0.05
_LOG_BYTES = 65536
_SERIOUS = re.compile(r"\[(?:emerg|alert|crit)\]")


@dataclass(frozen=True)
class Nginx:
    """One nginx: its binary, the directory of its configuration, and how to test and reload it.

    :param conf_path: the directory of nginx.conf.
    :param test_argv: holds ``-t`` as a word of its own.
    """

    binary: str
    conf_path: str
    test_argv: tuple[str, ...]
    reload_argv: tuple[str, ...] = ()

    def check(self) -> None:
        """Make sure that the commands can work on this configuration.

        :raises MtlsError: otherwise.
        """
        self._check_installed()
        if "-t" not in self.test_argv:
            raise MtlsError(
                f"test_argv {list(self.test_argv)} does not hold -t",
                "Write -t as a word of its own, as in [nginx, -t]",
            )
        if not os.path.isabs(self.conf_path) or not os.path.isfile(self.conf_file):
            raise MtlsError(
                f"{self.conf_file} does not exist", "Set gate_nginx_conf_path to the directory of nginx.conf"
            )
        self._check_same_configuration()

    @cached_property
    def build(self) -> Build:
        """What ``nginx -V`` says.

        :raises MtlsError: if nginx is not installed.
        """
        self._check_installed()
        done = run_command([self.binary, "-V"])
        return parse_build(done.err or done.out)

    @property
    def conf_file(self) -> str:
        """The main configuration file."""
        return os.path.join(self.conf_path, os.path.basename(self._option("-c") or "nginx.conf"))

    @property
    def prefix(self) -> str:
        """What relative paths of logs and of the pid file start from."""
        return self._option("-p") or self.build.prefix

    def test(self) -> None:
        """Test the configuration as it lies there.

        :raises MtlsError: with nginx's own words.
        """
        done = run_command(self.test_argv)
        if done.code != 0:
            raise MtlsError(f"nginx refuses the configuration: {done.words}", "Mend what nginx names")

    def dump(self, conf_file: str, opaque: Collection[str] = ()) -> Configuration:
        """Test the configuration in ``conf_file`` and return what it amounts to.

        :raises MtlsError: with nginx's own words if it refuses the configuration.
        """
        try:
            return read_dump(self._dumped(conf_file), opaque)
        except Unreadable as error:
            raise MtlsError(f"The configuration that nginx -T printed cannot be read: {error}", "Report this") from None

    def files(self, conf_file: str) -> dict[str, str]:
        """Test the configuration in ``conf_file`` and return the text of every file of it, in the order nginx opens them.

        :raises MtlsError: with nginx's own words if it refuses the configuration.
        """
        try:
            return split_dump(self._dumped(conf_file))
        except Unreadable as error:
            raise MtlsError(f"The configuration that nginx -T printed cannot be read: {error}", "Report this") from None

    def _dumped(self, conf_file: str) -> str:
        done = run_command(self._dump_argv(conf_file))
        if done.code != 0:
            raise MtlsError(f"nginx refuses the configuration: {done.words}", "Mend what nginx names")
        return done.out

    def main_file_alone(self) -> Configuration:
        """Return what can be read of the main file without its includes, for when nginx refuses the whole."""
        try:
            with opened(self.conf_file, encoding="utf-8", errors="surrogateescape") as file:
                return Configuration(self.conf_file, (self.conf_file,), parse(file.read(), self.conf_file))
        except (OSError, Unreadable):
            return Configuration(self.conf_file, (), ())

    def reload(self) -> None:
        """Tell the running nginx to take the configuration.

        :raises MtlsError: if the command fails. That it succeeds proves nothing.
        """
        done = run_command(self.reload_argv)
        if done.code != 0:
            raise MtlsError(f"{' '.join(self.reload_argv)} failed: {done.words}", "Mend what it names")

    def workers(self, configuration: Configuration) -> frozenset[int]:
        """Return the workers that accept connections: children of the master whose title does not say that they shut down.

        Empty where nginx does not run, or where /proc does not show it.
        """
        master = self.master(configuration)
        return frozenset() if master is None else frozenset(pid for pid in _children(master) if _accepts(pid))

    def await_retirement(self, configuration: Configuration, workers: frozenset[int], timeout: float) -> None:
        """Wait until none of the former ``workers`` accepts connections: as long as one does, it may answer as before the reload.

        :param timeout: seconds.
        :raises MtlsError: if that does not come about.
        """
        deadline = time.monotonic() + timeout
        while workers & self.workers(configuration):
            if time.monotonic() >= deadline:
                named = ", ".join(map(str, sorted(workers & self.workers(configuration))))
                raise MtlsError(
                    f"After {timeout:g} s former workers of nginx still accept connections (process {named})",
                    "Find out what keeps them from shutting down; a restart of nginx ends them",
                )
            time.sleep(_PAUSE)

    def master(self, configuration: Configuration) -> int | None:
        """Return the process id of the master that runs with this configuration's pid file, or None."""
        pid_file = self._main_path(configuration, "pid", self.build.pid_file)
        if pid_file is None:
            return None
        try:
            with opened(pid_file, encoding="ascii") as file:
                pid = int(file.read())
        except (OSError, ValueError):
            return None
        return pid if is_master(pid) else None

    def log_mark(self, configuration: Configuration) -> LogMark:
        """Return a mark at the present end of the error log."""
        path = self._main_path(configuration, "error_log", self.build.error_log)
        size = 0
        if path and os.path.isfile(path):
            size = os.path.getsize(path)
        return LogMark(path, size)

    def _main_path(self, configuration: Configuration, name: str, default: str) -> str | None:
        args = configuration.main(name)
        value = args[0] if args else default
        if value in ("stderr", "off") or value.startswith(("syslog:", "memory:")):
            return None
        return os.path.join(self.prefix, value)

    def _dump_argv(self, conf_file: str) -> list[str]:
        argv = ["-T" if word == "-t" else word for word in self.test_argv]
        if "-c" in argv[:-1]:
            argv[argv.index("-c") + 1] = conf_file
            return argv
        return [*argv, "-c", conf_file]

    def _option(self, option: str) -> str | None:
        words = self.test_argv
        return words[words.index(option) + 1] if option in words[:-1] else None

    def _check_installed(self) -> None:
        if find_command(self.binary) is None:
            raise MtlsError(
                f"nginx is not installed on {platform.node()}: there is no command {self.binary}",
                "Install the package nginx or set gate_nginx_binary",
            )

    def _check_same_configuration(self) -> None:
        named = self._option("-c")
        if named is None and self._option("-p") is None and self.test_argv[0] in (self.binary, "nginx"):
            named = self.build.conf_file
        if (
            named
            and os.path.isabs(named)
            and os.path.realpath(os.path.dirname(named)) != os.path.realpath(self.conf_path)
        ):
            raise MtlsError(
                f"{' '.join(self.test_argv)} tests {named}, which is not in {self.conf_path}",
                "Set gate_nginx_conf_path, gate_nginx_test_argv and gate_nginx_reload_argv to one and the same nginx "
                "(its option is -c)",
            )


@dataclass(frozen=True)
class LogMark:
    """A place in nginx's error log; ``path`` is None if the log is no file."""

    path: str | None
    size: int

    def since(self) -> str:
        """Return the serious lines that were written after the mark, in one line, or an empty string."""
        if self.path is None:
            return ""
        try:
            with opened(self.path, "rb") as file:
                file.seek(self.size)
                lines = decoded(file.read(_LOG_BYTES)).splitlines()
        except OSError:
            return ""
        serious = [line.strip() for line in lines if _SERIOUS.search(line)]
        return " / ".join(serious[-SHOWN_LINES:])


def _children(master: int) -> list[int]:
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), opened(f"/proc/{name}/stat", encoding="ascii", errors="replace") as file:
            # proc(5): the name in brackets may hold anything, so count from its end; the parent is the second field after it.
            if int(file.read().rpartition(")")[2].split()[1]) == master:
                found.append(int(name))
    return found


def _accepts(pid: int) -> bool:
    try:
        with opened(f"/proc/{pid}/cmdline", "rb") as file:
            title = file.read(200)
    except OSError:
        return False
    return title.startswith(b"nginx: worker process") and b"shutting down" not in title


def is_master(pid: int) -> bool:
    """Return whether process ``pid`` is the master process of an nginx."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    try:
        with opened(f"/proc/{pid}/cmdline", "rb") as file:
            return b"master process" in file.read()
    except OSError:
        return True  # a system without /proc: the process lives, and that is all there is to know
