# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge from the logs whether a site may be enforced: the clients that got in with a certificate.

It covers a whole fleet. A client that got in at one host has a certificate that works; a client that still comes without one at
any host would be refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from .._common.errors import MtlsError
from .._common.timestamps import iso

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from .._sites.access_rules import Allow

_REHEARSAL = "-staging"
_SHOWN = 20
_FORMER = "a certificate that is not valid any more"


@dataclass(frozen=True)
class Rules:
    """The conditions.

    :param confirmations: how many different people must have got in.
    :param quiet_for: how long no client may have got in through the fallback window.
    :param exclude: names of clients that are not people.
    """

    confirmations: int
    quiet_for: timedelta
    exclude: frozenset[str]


@dataclass(frozen=True)
class Seen:
    """A client or an address, with the number of requests, and the first and last time (RFC 3339, UTC).

    :param verdict: for requests without a valid certificate, ``fallback`` or ``would-deny``.
    """

    name: str
    verdict: str = ""
    address: str = ""
    reason: str = ""
    count: int = 0
    first: str = ""
    last: str = ""

    def joined(self, other: Seen) -> Seen:
        """Return the sum of both."""
        moments = [moment for moment in (self.first, other.first) if moment]
        return Seen(
            self.name,
            self.verdict,
            self.address,
            self.reason,
            self.count + other.count,
            min(moments, default=""),
            max(self.last, other.last),
        )


@dataclass(frozen=True)
class Readiness:
    """The evidence about one site.

    :param ready: people that got in with a certificate that is valid today, the latest first.
    :param former: people with a valid one that got in only with another, which ended, was revoked or is not known here.
    :param never: people that never got in.
    :param strangers: people that got in and hold no valid certificate any more.
    :param without: addresses that got in without a valid certificate, the latest first.
    :param reasons: why the site may not be enforced; empty if it may.
    """

    site: str
    ready: tuple[Seen, ...]
    former: tuple[Seen, ...]
    never: tuple[str, ...]
    strangers: tuple[Seen, ...]
    without: tuple[Seen, ...]
    reasons: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data, with a table for the terminal."""
        return {
            "site": self.site,
            "ready": [{"name": one.name, **_times(one)} for one in self.ready],
            "former": [{"name": one.name, **_times(one)} for one in self.former],
            "never": list(self.never),
            "strangers": [{"name": one.name, **_times(one)} for one in self.strangers],
            "without": [
                {"address": one.address, "verdict": one.verdict, "reason": one.reason, "name": one.name, **_times(one)}
                for one in self.without
            ],
            "reasons": list(self.reasons),
            "allowed": not self.reasons,
            "table": self.table(),
        }

    def table(self) -> list[str]:
        """Return lines for a terminal."""
        lines = [f"site {self.site}: clients that got in with a certificate"]
        lines += [f"  ready  {one.name:<24} {one.last:<21} {_requests(one)}" for one in self.ready]
        lines += [
            f"  former {one.name:<24} {one.last:<21} {_requests(one)}, got in with {_FORMER}" for one in self.former
        ]
        lines += [f"  never  {name}" for name in self.never]
        if self.without:
            lines.append("  got in without one:")
            lines += [
                f"         {one.address:<24} {one.last:<21} {_requests(one)}, {one.verdict}: {one.reason}{_name_suffix(one)}"
                for one in self.without[:_SHOWN]
            ]
            rest = len(self.without) - _SHOWN
            lines += [f"         and {rest} more addresses"] if rest > 0 else []
        lines += [f"  not yet: {reason}" for reason in self.reasons] or ["  it can be enforced"]
        return lines


def judge(
    site: str,
    logs: Iterable[Mapping[str, Any]],
    people: Mapping[str, Collection[str]],
    rules: Rules,
    now: datetime,
) -> Readiness:
    """Return the evidence of the logs of all hosts about one site.

    :param logs: ``host`` and ``log``, the result of module gate_log_info there, or None where a log is missing; of every host,
        and also of the staging port.
    :param people: the admitted clients with a certificate that is valid today: name -> the serials of these certificates.
    """
    rows = list(logs)
    read = [row["log"] for row in rows if row["log"] is not None]
    valid, other = _people_in(read, people, rules.exclude)
    ready = _latest_first(valid.values())
    former = _latest_first(one for one in other.values() if one.name in people and one.name not in valid)
    strangers = tuple(one for one in other.values() if one.name and one.name not in people)
    never = tuple(sorted(set(people) - rules.exclude - valid.keys() - other.keys()))
    sources = _latest_first(_without(read))
    lately = _recent(sources, rules, now)
    beyond = sum(int(log.get("beyond", 0)) for log in read)
    reasons = (
        *_too_few(ready, former, never, rules),
        *_not_quiet(lately, rules),
        *_known_clients(lately, people, rules),
        *_too_many_addresses(beyond),
        *_missing_logs(rows),
    )
    return Readiness(site, ready, former, never, strangers, sources, reasons)


def people_of(identities: Iterable[Mapping[str, Any]], allow: Allow) -> dict[str, frozenset[str]]:
    """Return the clients that a site admits: name -> the serials of their valid certificates.

    :param identities: the clients with a valid certificate, each with ``name``, ``email``, ``roles`` and ``serials``.
    """
    return {
        str(one["name"]): frozenset(one["serials"])
        for one in identities
        if not allow.restricted
        or one["name"] in allow.names
        or set(allow.emails) & set(one["email"])
        or set(allow.roles) & set(one["roles"])
    }


def rehearsal_of(site: str) -> str:
    """Return the name of a site on its staging port."""
    return f"{site}{_REHEARSAL}"


def _people_in(
    logs: Iterable[Mapping[str, Any]], people: Mapping[str, Collection[str]], exclude: Collection[str]
) -> tuple[dict[str, Seen], dict[str, Seen]]:
    """Return the clients that got in with a certificate that is valid today, and those with another, by name."""
    numbers = {name: {_number(serial) for serial in serials} for name, serials in people.items()}
    valid: dict[str, Seen] = {}
    other: dict[str, Seen] = {}
    for row in (row for log in logs for row in log["people"]):
        seen = _seen(row)
        if seen.name in exclude:
            continue
        used = {_number(serial) for serial in row.get("serials", ())}
        found = valid if used & numbers.get(seen.name, set()) else other
        found[seen.name] = found[seen.name].joined(seen) if seen.name in found else seen
    return valid, other


def _number(serial: str) -> str:
    """Return a serial in one spelling of its hexadecimal digits."""
    return serial.replace(":", "").upper().lstrip("0")


def _without(logs: Iterable[Mapping[str, Any]]) -> Iterable[Seen]:
    without: dict[tuple[str, ...], Seen] = {}
    for log in logs:
        rows = [(row, "would-deny") for row in log["would_deny"]] + [(row, "fallback") for row in log["fallback"]]
        for row, verdict in rows:
            seen = _seen(row, verdict)
            key = (verdict, seen.address, seen.reason, seen.name)
            without[key] = without[key].joined(seen) if key in without else seen
    return without.values()


def _latest_first(found: Iterable[Seen]) -> tuple[Seen, ...]:
    return tuple(sorted(found, key=lambda one: one.last, reverse=True))


def _seen(row: Mapping[str, Any], verdict: str = "") -> Seen:
    return Seen(
        name=str(row.get("name", "")),
        verdict=verdict,
        address=str(row.get("address", "")),
        reason=str(row.get("reason", "")),
        count=int(row["count"]),
        first=str(row["first_seen"]),
        last=str(row["last_seen"]),
    )


def _too_few(ready: Sequence[Seen], former: Sequence[Seen], never: Sequence[str], rules: Rules) -> list[str]:
    if len(ready) >= rules.confirmations:
        return []
    names = ", ".join(one.name for one in ready) or "none"
    rest = f"; only with {_FORMER}: {_join_few([one.name for one in former])}" if former else ""
    rest += f"; never seen: {_join_few(never)}" if never else ""
    return [f"{len(ready)} of at least {rules.confirmations} people got in with a certificate ({names}{rest})"]


def _recent(sources: Sequence[Seen], rules: Rules, now: datetime) -> list[Seen]:
    since = iso(now - rules.quiet_for)
    return [one for one in sources if rules.quiet_for and one.last > since]


def _not_quiet(lately: Sequence[Seen], rules: Rules) -> list[str]:
    found = [one for one in lately if one.verdict == "fallback"]
    if not found:
        return []
    shown = _join_few([f"{one.address} at {one.last} ({one.reason}{_name_suffix(one)})" for one in found])
    return [
        f"clients without a valid certificate got in through the window in the last {_words(rules.quiet_for)}: {shown}"
    ]


def _known_clients(lately: Sequence[Seen], people: Collection[str], rules: Rules) -> list[str]:
    """Return a reason for known clients only: while the application is public (would-deny), requests may be of anyone."""
    found = [one for one in lately if one.verdict == "would-deny" and one.name in set(people) - rules.exclude]
    if not found:
        return []
    shown = _join_few([f"{one.name} at {one.last} ({one.reason})" for one in found])
    return [f"admitted people presented an invalid certificate in the last {_words(rules.quiet_for)}: {shown}"]


def _too_many_addresses(beyond: int) -> list[str]:
    if not beyond:
        return []
    return [
        f"{beyond} requests came from more addresses than are tracked, so the clients that would be refused are unknown"
    ]


def _missing_logs(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return a reason for each log that is missing or unreadable, because its clients are unknown."""
    found = []
    for row in rows:
        host, log = row.get("host") or "a host", row["log"]
        if log is None:
            found.append(f"{host} has no log of this site")
        elif log.get("unread"):
            found.append(f"{host} has rotated logs that could not be read ({_join_few(log['unread'])})")
        elif log.get("lines") and log["damaged"] == log["lines"]:
            found.append(f"the log of {host} has no valid line of a gate")
    return [f"{what}, so the clients that got in there are unknown" for what in found]


def _join_few(texts: Sequence[str]) -> str:
    rest = f" and {len(texts) - 5} more" if len(texts) > 5 else ""
    return f"{', '.join(texts[:5])}{rest}"


def _name_suffix(one: Seen) -> str:
    return f", {one.name}" if one.name else ""


def _requests(one: Seen) -> str:
    return "1 request" if one.count == 1 else f"{one.count} requests"


def _times(one: Seen) -> dict[str, Any]:
    return {"count": one.count, "first_seen": one.first, "last_seen": one.last}


def _words(length: timedelta) -> str:
    for unit, name in ((86400, "d"), (3600, "h"), (60, "m")):
        if length.total_seconds() % unit == 0:
            return f"{int(length.total_seconds() // unit)}{name}"
    return f"{int(length.total_seconds())}s"


def rules_from(confirmations: object, quiet_for: timedelta, exclude: Collection[str]) -> Rules:
    """Return the rules.

    :raises MtlsError: if ``confirmations`` is not a valid number of people.
    """
    if not isinstance(confirmations, int) or isinstance(confirmations, bool) or confirmations < 1:
        raise MtlsError(
            f"rollout_confirmations: {confirmations!r} is not a valid number of people",
            "Write how many different people must have got in with a certificate, at least 1",
        )
    return Rules(confirmations, quiet_for, frozenset(exclude))
