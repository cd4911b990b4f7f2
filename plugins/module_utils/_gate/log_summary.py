# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evidence from a gate's log: which people got in with their certificates, and who still comes without."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote

from .._contracts.status_protocol import STATUS_PATH

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterable
    from datetime import datetime

    from .access_log import Request

# So many people, and so many sources of one kind, are told apart; what comes beyond is only counted. It bounds the memory that
# a flood of addresses can take.
_MOST = 10_000
# Of so many certificates of one person it is known that they were used, the latest ones.
_SERIALS = 16
# Who asks as module gate_probe does is no person. Whoever else takes that name is not counted either.
_PROBE = "quietdoor-probe"
# Not the application's own word: a malformed request, another site's connection, nginx's own refusals (494 to 499).
_NOT_THE_APPLICATION = frozenset((400, 408, 421, 429, *range(494, 500)))
_SCHEME_AND_HOST = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?]*")


@dataclass
class Occurrences:
    """How often, and when first and last (UTC), and with which certificates: serial, upper-case -> when last."""

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
    """Who came without a certificate that opens: an address, and why it does not; the person, if the certificate names one."""

    address: str
    reason: str
    name: str


@dataclass
class BoundedCounter:
    """Sightings by key, a limited number of keys; ``beyond`` counts the rest."""

    seen: dict[Hashable, Occurrences] = field(default_factory=dict)
    beyond: int = 0

    def add(self, key: Hashable, at: datetime, serial: str = "", *, always: bool = False) -> None:
        """Count one more sighting of ``key``; ``always`` says that it is told apart however many there are."""
        if key not in self.seen and len(self.seen) >= _MOST and not always:
            self.beyond += 1
            return
        self.seen.setdefault(key, Occurrences()).add(at, serial)


@dataclass
class Evidence:
    """What a log shows.

    :param people: name and e-mail -> sightings with a certificate that opened, answered by the application.
    :param unanswered: the same, where the application did not answer (5xx).
    :param excluded: names that are left out, and how often they were seen.
    :param would_deny: sources that stage enforce would have refused, in stage observe.
    :param fallback: sources that came in through the window.
    :param denied: sources that were refused.
    :param probed: how many requests without a good certificate were those of a probe.
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
    """Return what the requests show.

    A person counts as seen when their certificate opened and the application answered, with whatever word. 5xx is no such
    answer: a gate must not be taken for confirmed while nothing behind it works. Nor is what the gate says at its own address, or
    what nginx says without having asked the application, such as a redirect.

    :param since: what came before is left out.
    :param exclude: names of clients that are no people, such as the canary.
    :param from_files: whether nginx answers with files, so that there is no application to be asked.
    """
    evidence = Evidence()
    by_verdict = {"would-deny": evidence.would_deny, "fallback": evidence.fallback, "deny": evidence.denied}
    for request in requests:
        if since is not None and request.at < since:
            continue
        if request.verdict == "cert":
            tally = _tally_of(evidence, request, exclude, from_files=from_files)
            tally.add((request.name, request.email), request.at, request.serial.upper())
        elif request.verdict in by_verdict and request.agent == _PROBE:
            evidence.probed += 1
        elif request.verdict in by_verdict:
            source = Source(request.peer, request.reason, request.name)
            # Nobody takes a name that a certificate of trust does not give, so these cannot be many.
            by_verdict[request.verdict].add(source, request.at, always=bool(request.name))
    return evidence


def _tally_of(evidence: Evidence, request: Request, exclude: Collection[str], *, from_files: bool) -> BoundedCounter:
    if request.name in exclude:
        return evidence.excluded
    return evidence.people if _answered(request, from_files=from_files) else evidence.unanswered


def _answered(request: Request, *, from_files: bool) -> bool:
    """Whether it was the application that answered."""
    if not from_files and not request.upstream_status:
        return False
    return request.status < 500 and request.status not in _NOT_THE_APPLICATION and not _asks_the_gate(request.uri)


def _asks_the_gate(uri: str) -> bool:
    """Whether nginx takes it for the address of the gate itself, however it is spelled."""
    path = unquote(re.split("[?#]", _SCHEME_AND_HOST.sub("", uri, count=1), maxsplit=1)[0], errors="replace")
    path = posixpath.normpath(re.sub("/+", "/", path))
    return path == STATUS_PATH or path.startswith(f"{STATUS_PATH}/")
