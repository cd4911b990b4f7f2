# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the commands of an nginx on this host: build information, test, reload, processes."""

from __future__ import annotations

import os
import platform
import re
import time
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from .._common.commands import SHOWN_LINES, decoded, find_command, run_command
from .._common.errors import MtlsError
from .._common.files import opened
from .build_info import parse_build
from .config_lexer import Unreadable
from .config_model import Configuration, read_dump
from .config_parser import parse, split_dump
from .former_workers import accepts_connections, child_processes
from .hash_sizes import small_hashes

if TYPE_CHECKING:
    from collections.abc import Collection

    from .._common.commands import Done
    from .build_info import Build

_PAUSE = 0.05
_LOG_BYTES = 65536
_SERIOUS = re.compile(r"\[(?:emerg|alert|crit)\]")


@dataclass(frozen=True)
class Nginx:
    """An nginx installation: its binary, its configuration directory, and the commands that test and reload it.

    :param conf_path: the directory of nginx.conf.
    :param test_argv: contains ``-t`` as a word of its own.
    """

    binary: str
    conf_path: str
    test_argv: tuple[str, ...]
    reload_argv: tuple[str, ...] = ()

    def check(self) -> None:
        """Check that the binary is installed and that the commands use this configuration.

        :raises MtlsError: if not.
        """
        self._check_installed()
        if "-t" not in self.test_argv:
            raise MtlsError(
                f"gate_nginx_test_argv: {list(self.test_argv)} does not contain -t",
                "Write -t as a word of its own, as in [nginx, -t]",
            )
        if not os.path.isabs(self.conf_path) or not os.path.isfile(self.conf_file):
            raise MtlsError(
                f"{self.conf_file} does not exist", "Set gate_nginx_conf_path to the directory of nginx.conf"
            )
        self._check_same_configuration()

    @cached_property
    def build(self) -> Build:
        """The parsed output of ``nginx -V``.

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
        """The directory to which paths of logs and of the pid file are relative."""
        return self._option("-p") or self.build.prefix

    def test(self) -> None:
        """Test the live configuration.

        :raises MtlsError: with the errors that nginx reported.
        """
        done = run_command(self.test_argv)
        if done.code != 0:
            raise MtlsError(f"nginx refuses the configuration: {done.words}", "Correct the configuration")

    def dump(self, conf_file: str, opaque: Collection[str] = ()) -> Configuration:
        """Test the configuration in ``conf_file`` and return it.

        :raises MtlsError: with the errors that nginx reported, if it rejects the configuration.
        """
        done = self._run_dump(conf_file)
        try:
            return replace(read_dump(done.out, opaque), small_hashes=small_hashes(done.err))
        except Unreadable as error:
            raise MtlsError(f"The configuration that nginx -T printed cannot be read: {error}", "Report this") from None

    def files(self, conf_file: str) -> dict[str, str]:
        """Test the configuration in ``conf_file`` and return the text of each of its files, in the order of nginx.

        :raises MtlsError: with the errors that nginx reported, if it rejects the configuration.
        """
        try:
            return split_dump(self._run_dump(conf_file).out)
        except Unreadable as error:
            raise MtlsError(f"The configuration that nginx -T printed cannot be read: {error}", "Report this") from None

    def _run_dump(self, conf_file: str) -> Done:
        done = run_command(self._dump_argv(conf_file))
        if done.code != 0:
            raise MtlsError(f"nginx refuses the configuration: {done.words}", "Correct the configuration")
        return done

    def main_file_alone(self) -> Configuration:
        """Return the main file without its includes, for use if nginx rejects the configuration."""
        try:
            with opened(self.conf_file, encoding="utf-8", errors="surrogateescape") as file:
                return Configuration(self.conf_file, (self.conf_file,), parse(file.read(), self.conf_file))
        except (OSError, Unreadable):
            return Configuration(self.conf_file, (), ())

    def reload(self) -> None:
        """Reload the running nginx. The success of the command does not prove that nginx uses the new configuration.

        :raises MtlsError: if the command fails.
        """
        done = run_command(self.reload_argv)
        if done.code != 0:
            raise MtlsError(f"{' '.join(self.reload_argv)} failed: {done.words}", "Correct the reported error")

    def workers(self, configuration: Configuration) -> frozenset[int]:
        """Return the workers that accept connections: children of the master that are not shutting down.

        The set is empty if nginx does not run, or if /proc does not show its processes.
        """
        master = self.master(configuration)
        return (
            frozenset()
            if master is None
            else frozenset(pid for pid in child_processes(master) if accepts_connections(pid))
        )

    def await_retirement(self, configuration: Configuration, workers: frozenset[int], timeout: float) -> None:
        """Wait until none of the former ``workers`` accepts connections, since they answer with the former configuration.

        :param timeout: seconds.
        :raises MtlsError: if a worker still accepts connections after the timeout.
        """
        deadline = time.monotonic() + timeout
        while workers & self.workers(configuration):
            if time.monotonic() >= deadline:
                pids = ", ".join(map(str, sorted(workers & self.workers(configuration))))
                raise MtlsError(
                    f"nginx: former workers still accept connections after {timeout:g} s (process {pids})",
                    "Find out why they do not shut down, or restart nginx",
                )
            time.sleep(_PAUSE)

    def master(self, configuration: Configuration) -> int | None:
        """Return the process id of the master in the pid file of this configuration, None if it does not run."""
        return self._master_in(configuration, "")

    def former_master(self, configuration: Configuration) -> int | None:
        """Return the process id of the former master while nginx replaces its binary (signal USR2), None otherwise."""
        return self._master_in(configuration, ".oldbin")

    def _master_in(self, configuration: Configuration, suffix: str) -> int | None:
        pid_file = self._main_path(configuration, "pid", self.build.pid_file)
        if pid_file is None:
            return None
        try:
            with opened(f"{pid_file}{suffix}", encoding="ascii") as file:
                pid = int(file.read())
        except (OSError, ValueError):
            return None
        return pid if is_master(pid) else None

    def log_mark(self, configuration: Configuration) -> LogMark:
        """Return the current end of the error log."""
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
                f"nginx is not installed on {platform.node()}: the command {self.binary} does not exist",
                "Install the package nginx or set gate_nginx_binary",
            )

    def _check_same_configuration(self) -> None:
        tested = self._option("-c")
        if tested is None and self._option("-p") is None and self.test_argv[0] in (self.binary, "nginx"):
            tested = self.build.conf_file
        if (
            tested
            and os.path.isabs(tested)
            and os.path.realpath(os.path.dirname(tested)) != os.path.realpath(self.conf_path)
        ):
            raise MtlsError(
                f"{' '.join(self.test_argv)} tests {tested}, which is not in {self.conf_path}",
                "Set gate_nginx_conf_path, gate_nginx_test_argv and gate_nginx_reload_argv to the same nginx "
                "(its option is -c)",
            )


@dataclass(frozen=True)
class LogMark:
    """An offset in the error log of nginx; ``path`` is None if the log is not a file."""

    path: str | None
    size: int

    def since(self) -> str:
        """Return the serious errors that were logged after the mark as one line, empty if there are none."""
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
        return True  # Without /proc only the existence of the process can be checked.
