# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check names and expiry of the server certificates of a candidate as browsers do."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._common.commands import run_command
from .._common.errors import MtlsError
from .config_lexer import Unreadable
from .config_parser import parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .config_parser import Directive


@dataclass(frozen=True)
class ServerCertificate:
    """One certificate of one server.

    :param problem: ``name`` if it is not valid for ``server_name``, ``end`` if it has expired, ``unreadable`` if openssl cannot
        read it; empty if it is valid.
    :param detail: the output of openssl.
    """

    file: str
    server_name: str
    problem: str = ""
    detail: str = ""


def check_server_certificates(candidate: Mapping[str, str], conf_path: str) -> tuple[ServerCertificate, ...]:
    """Return every server certificate that a candidate uses, with the problem that browsers would report.

    :param candidate: the files of a gate, path -> text.
    :param conf_path: the directory to which nginx resolves relative paths.
    :raises MtlsError: if openssl is not installed, or if a file is not a configuration.
    """
    try:
        used = dict.fromkeys(
            pair for path, text in sorted(candidate.items()) for pair in _used_certificates(path, text)
        )
    except Unreadable as error:
        raise MtlsError(f"The candidate is not a valid configuration: {error}", "Correct the candidate") from None
    return tuple(_check(file, server_name, conf_path) for file, server_name in used)


def _used_certificates(path: str, text: str) -> Iterator[tuple[str, str]]:
    """Yield each certificate with the first name of its server."""
    if not path.endswith(".conf"):
        return
    for directive in parse(text, path):
        if directive.name == "server" and directive.block is not None:
            names = _arguments(directive, "server_name")
            for file in _arguments(directive, "ssl_certificate"):
                # The default server of the gate has no name and rejects handshakes, so its certificate is never shown.
                if names and names[0]:
                    yield file, names[0]


def _arguments(server: Directive, name: str) -> list[str]:
    return [word for directive in server.block or () if directive.name == name for word in directive.args]


def _check(file: str, server_name: str, conf_path: str) -> ServerCertificate:
    argv = ["openssl", "x509", "-in", os.path.join(conf_path, file), "-noout"]
    name = run_command([*argv, "-checkhost", server_name])
    if "does match certificate" not in name.out:
        readable = "does NOT match certificate" in name.out
        words = name.out.strip() if readable else name.words
        return ServerCertificate(file, server_name, "name" if readable else "unreadable", words)
    if "will not expire" not in run_command([*argv, "-checkend", "0"]).out:
        return ServerCertificate(file, server_name, "end", "")
    return ServerCertificate(file, server_name)
