# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Summarize a gate's log: clients that got in with a certificate, and requests without a valid one."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote

from .._contracts.status_protocol import PROBE_USER_AGENT, STATUS_PATH

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterable
    from datetime import datetime

    from .access_log import Request

# Track at most this many distinct keys per counter; count the rest in `beyond`. It limits the memory that a flood of addresses
# can use.
_MOST = 10_000
# Track at most this many certificates of one client, the ones that were used last.
_SERIALS = 16
# Ignore requests with the probe's User-Agent, including forged ones.
# Not answers of the application: a malformed request, a connection of another site, nginx's own refusals (494 to 499).
_NOT_THE_APPLICATION = frozenset((400, 408, 421, 429, *range(494, 500)))
_SCHEME_AND_HOST = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?]*")


@dataclass
class Occurrences:
    """The number of requests, the first and the last time (UTC), and the certificates: upper-case serial -> last time."""

    count: int = 0
    first: datetime | None = None
    last: datetime | None = None
    serials: dict[str, datetime] = field(default_factory=dict)

    def add(self, at: datetime, serial: str = "") -> None:
        """Count one more."""
        self.count += 1
        self.first = at if self.first is None or at < self.first else self.first
        self.last = at if self.last is None or at > self.last else self.last
        if serial:
            self.serials[serial] = max(at, self.serials.get(serial, at))
            if len(self.serials) > _SERIALS:
                del self.serials[min(self.serials, key=lambda one: self.serials[one])]


@dataclass(frozen=True)
class Source:
    """A source of requests without a valid certificate: address, reason, and the client that the certificate names, if any."""

    address: str
    reason: str
    name: str


@dataclass
class BoundedCounter:
    """Occurrences by key, for a limited number of keys; ``beyond`` counts the rest."""

    seen: dict[Hashable, Occurrences] = field(default_factory=dict)
    beyond: int = 0

    def add(self, key: Hashable, at: datetime, serial: str = "", *, always: bool = False) -> None:
        """Count one more occurrence of ``key``; with ``always`` the key is tracked beyond the limit."""
        if key not in self.seen and len(self.seen) >= _MOST and not always:
            self.beyond += 1
            return
        self.seen.setdefault(key, Occurrences()).add(at, serial)


@dataclass
class Evidence:
    """The evidence in a log.

    :param people: name and e-mail -> requests with a valid certificate that the application answered.
    :param unanswered: the same, where the application did not answer (5xx).
    :param excluded: names that are left out -> their requests.
    :param would_deny: sources that stage enforce would have refused, in stage observe.
    :param fallback: sources that got in through the fallback window.
    :param denied: sources that were refused.
    :param probed: the number of requests without a valid certificate that a probe made.
    """

    people: BoundedCounter = field(default_factory=BoundedCounter)
    unanswered: BoundedCounter = field(default_factory=BoundedCounter)
    excluded: BoundedCounter = field(default_factory=BoundedCounter)
    would_deny: BoundedCounter = field(default_factory=BoundedCounter)
    fallback: BoundedCounter = field(default_factory=BoundedCounter)
    denied: BoundedCounter = field(default_factory=BoundedCounter)
    probed: int = 0


def summarize(
    requests: Iterable[Request], since: datetime | None, exclude: Collection[str], *, from_files: bool = False
) -> Evidence:
    """Return the evidence of the requests.

    A client counts as seen when its certificate was accepted and the application answered, with any status but 5xx: a gate must
    not count as confirmed while nothing behind it works. Answers of the gate at its own address do not count, nor those of nginx
    without a request to the application, such as a redirect.

    :param since: earlier requests are left out.
    :param exclude: names of clients that are not people, such as the probe client.
    :param from_files: whether nginx answers with files, without an upstream.
    """
    evidence = Evidence()
    by_verdict = {"would-deny": evidence.would_deny, "fallback": evidence.fallback, "deny": evidence.denied}
    for request in requests:
        if since is not None and request.at < since:
            continue
        if request.verdict == "cert":
            tally = _tally_of(evidence, request, exclude, from_files=from_files)
            tally.add((request.name, request.email), request.at, request.serial.upper())
        elif request.verdict in by_verdict and request.agent == PROBE_USER_AGENT:
            evidence.probed += 1
        elif request.verdict in by_verdict:
            source = Source(request.peer, request.reason, request.name)
            # Only a certificate of trust gives a name, so these cannot be many.
            by_verdict[request.verdict].add(source, request.at, always=bool(request.name))
    return evidence


def _tally_of(evidence: Evidence, request: Request, exclude: Collection[str], *, from_files: bool) -> BoundedCounter:
    if request.name in exclude:
        return evidence.excluded
    return evidence.people if _is_answered(request, from_files=from_files) else evidence.unanswered


def _is_answered(request: Request, *, from_files: bool) -> bool:
    """Return whether the application answered the request."""
    if not from_files and not request.upstream_status:
        return False
    return request.status < 500 and request.status not in _NOT_THE_APPLICATION and not _is_gate_address(request.uri)


def _is_gate_address(uri: str) -> bool:
    """Return whether nginx reads it as an address of the gate itself, in any spelling."""
    path = unquote(re.split("[?#]", _SCHEME_AND_HOST.sub("", uri, count=1), maxsplit=1)[0], errors="replace")
    path = posixpath.normpath(re.sub("/+", "/", path))
    return path == STATUS_PATH or path.startswith(f"{STATUS_PATH}/")
