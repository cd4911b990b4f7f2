# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evidence from a gate's log: which people got in with their certificates, and who still comes without."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterable
    from datetime import datetime

    from .access_log import Request

# So many people, and so many sources of one kind, are told apart; what comes beyond is only counted. It bounds the memory that
# a flood of addresses can take.
_MOST = 10_000
# Who asks as module gate_probe does is no person. Whoever else takes that name is not counted either.
_PROBE = "quietdoor-probe"
# Not the application's own word: a malformed request, another site's connection, nginx's own refusals (494 to 499).
_NOT_THE_APPLICATION = frozenset((400, 408, 421, 429, *range(494, 500)))


@dataclass
class Sighting:
    """How often, and when first and last (UTC)."""

    count: int = 0
    first: datetime | None = None
    last: datetime | None = None

    def add(self, at: datetime) -> None:
        """Count one more."""
        self.count += 1
        self.first = at if self.first is None or at < self.first else self.first
        self.last = at if self.last is None or at > self.last else self.last


@dataclass(frozen=True)
class Source:
    """Who came without a certificate that opens: an address, and why it does not; the person, if the certificate names one."""

    address: str
    reason: str
    name: str


@dataclass
class Tally:
    """Sightings by key, a limited number of keys; ``beyond`` counts the rest."""

    seen: dict[Hashable, Sighting] = field(default_factory=dict)
    beyond: int = 0

    def add(self, key: Hashable, at: datetime) -> None:
        """Count one more sighting of ``key``."""
        if key not in self.seen and len(self.seen) >= _MOST:
            self.beyond += 1
            return
        self.seen.setdefault(key, Sighting()).add(at)


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

    people: Tally = field(default_factory=Tally)
    unanswered: Tally = field(default_factory=Tally)
    excluded: Tally = field(default_factory=Tally)
    would_deny: Tally = field(default_factory=Tally)
    fallback: Tally = field(default_factory=Tally)
    denied: Tally = field(default_factory=Tally)
    probed: int = 0


def weigh(requests: Iterable[Request], since: datetime | None, exclude: Collection[str]) -> Evidence:
    """Return what the requests show.

    A person counts as seen when their certificate opened and the application answered, with whatever word. 5xx is no such
    answer: a gate must not be taken for confirmed while nothing behind it works.

    :param since: what came before is left out.
    :param exclude: names of clients that are no people, such as the canary.
    """
    evidence = Evidence()
    by_verdict = {"would-deny": evidence.would_deny, "fallback": evidence.fallback, "deny": evidence.denied}
    for request in requests:
        if since is not None and request.at < since:
            continue
        if request.verdict == "cert":
            _tally_of(evidence, request, exclude).add((request.name, request.email), request.at)
        elif request.verdict in by_verdict and request.agent == _PROBE:
            evidence.probed += 1
        elif request.verdict in by_verdict:
            by_verdict[request.verdict].add(Source(request.peer, request.reason, request.name), request.at)
    return evidence


def _tally_of(evidence: Evidence, request: Request, exclude: Collection[str]) -> Tally:
    if request.name in exclude:
        return evidence.excluded
    answered = request.status < 500 and request.status not in _NOT_THE_APPLICATION
    return evidence.people if answered else evidence.unanswered
