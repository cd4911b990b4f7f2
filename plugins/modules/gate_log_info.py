#!/usr/bin/python
# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gate_log_info
short_description: Summarize from the access log of a gate which clients were admitted or refused
version_added: 0.1.0
description:
  - Reads the log of a site behind a gate, with its rotated and compressed files, and returns the evidence about clients and
    addresses. Changes nothing.
  - It reads line by line, so a large log costs time but no memory.
extends_documentation_fragment:
  - quietdoor.mtls.attributes.info
options:
  path:
    description:
      - The log that role P(quietdoor.mtls.gate#role) configures, C(quietdoor-NAME.log) in C(gate_nginx_log_path). Rotated files
        beside it, whose names begin with this one and a dot or a hyphen, are read too; C(.gz), C(.bz2) and C(.xz) are unpacked.
      - Exactly one of O(path) and O(logs) is required.
    type: path
  logs:
    description:
      - The logs of several sites, read in one call. RV(logs) contains the result of each, and no other value is returned.
    type: list
    elements: dict
    suboptions:
      site:
        description: The name of the site.
        type: str
        required: true
      path:
        description: Its log, as for O(path). It may be missing.
        type: path
        required: true
      from_files:
        description: The same as O(from_files) for this log.
        type: bool
        default: false
      expected:
        description: Whether the log must exist. The value is only returned.
        type: bool
        default: false
  since:
    description:
      - The period to read, a duration as in V(7d), the longest if there are several. By default the whole log.
    type: list
    elements: str
  exclude:
    description:
      - Names of clients that are not people, which are counted separately.
    type: list
    elements: str
    default: [door-probe]
  from_files:
    description:
      - Whether nginx itself serves the site, with files from a directory. Otherwise an answer with an empty C(upstream_status),
        such as a redirect, does not count as one of the application.
    type: bool
    default: false
notes:
  - Clients are counted only by verified certificates. Addresses are the peers of the connections; behind an edge they are the
    visitor addresses that the edge reports.
  - Times are compared with the clock of this host. Lines with a future time are counted like others.
seealso:
  - module: quietdoor.mtls.gate_transaction
  - module: quietdoor.mtls.gate_probe
author:
  - quietdoor.mtls authors (@quietdoor)
"""

EXAMPLES = r"""
- name: Read the log of the last week
  quietdoor.mtls.gate_log_info:
    path: /var/log/nginx/quietdoor-panel.log
    since: 7d
  register: evidence

- name: Show the clients that were admitted with a certificate
  ansible.builtin.debug:
    msg: "{{ evidence.people | map(attribute='name') }}"
"""

RETURN = r"""
people:
  description:
    - The clients that were admitted with a certificate and got an answer of the application, the latest first. Status 5xx does
      not count, nor does an answer of the gate at C(/.well-known/quietdoor), nor, without O(from_files), an answer of nginx
      without a request to the application.
    - C(serials) are the latest 16 serials of the client's certificates, in upper-case hexadecimal digits, the latest at the end.
  returned: O(path) is given
  type: list
  elements: dict
  sample:
    - name: alex
      email: alex@example.org
      count: 41
      first_seen: "2026-11-23T08:12:09Z"
      last_seen: "2026-11-24T16:40:31Z"
      serials: [0A1B2C3D]
unanswered:
  description: The same for admitted clients without an answer of the application.
  returned: O(path) is given
  type: list
  elements: dict
excluded:
  description: The same for the clients in O(exclude).
  returned: O(path) is given
  type: list
  elements: dict
would_deny:
  description:
    - The requests that stage C(observe) let in and stage C(enforce) would refuse, by address, the most frequent first. C(name)
      is the name in the certificate, if a certificate was verified.
  returned: O(path) is given
  type: list
  elements: dict
  sample:
    - address: 192.0.2.7
      reason: no-certificate
      name: ""
      count: 12
      first_seen: "2026-11-23T08:12:09Z"
      last_seen: "2026-11-24T16:40:31Z"
fallback:
  description: The requests that the window of stage C(fallback) let in, likewise.
  returned: O(path) is given
  type: list
  elements: dict
denied:
  description: The refused requests, likewise.
  returned: O(path) is given
  type: list
  elements: dict
probed:
  description:
    - The number of requests without a valid certificate that came from M(quietdoor.mtls.gate_probe), by their C(User-Agent). They
      are not counted elsewhere.
  returned: O(path) is given
  type: int
  sample: 18
last_fallback:
  description: The time of the last request that the window let in; none if there was none.
  returned: O(path) is given
  type: str
  sample: "2026-11-24T16:40:31Z"
last_would_deny:
  description: The time of the last request that stage C(enforce) would refuse; none if there was none.
  returned: O(path) is given
  type: str
beyond:
  description:
    - The number of requests of clients, and through the window, beyond the 10,000 clients or addresses of each kind that are
      counted separately. An address with the certificate of a known client is always counted separately.
  returned: O(path) is given
  type: int
  sample: 0
files:
  description: The number of files that were read.
  returned: O(path) is given
  type: int
  sample: 8
lines:
  description: The number of lines in them.
  returned: O(path) is given
  type: int
  sample: 120455
damaged:
  description: The number of lines that are not of a gate, because they are truncated or have another format.
  returned: O(path) is given
  type: int
  sample: 0
unread:
  description: Rotated files with an unsupported compression.
  returned: O(path) is given
  type: list
  elements: str
  sample: []
logs:
  description:
    - One entry for each of O(logs), with C(site), C(expected), C(found), whether the log exists, and C(log), which holds
      everything that is returned for O(path), or none if the log does not exist.
  returned: O(logs) is given
  type: list
  elements: dict
  sample:
    - site: panel
      expected: true
      found: false
      log: null
"""

import os
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.durations import parse_duration
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.module_runner import run
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.timestamps import iso
from ansible_collections.quietdoor.mtls.plugins.module_utils._gate.access_log import Reading, requests
from ansible_collections.quietdoor.mtls.plugins.module_utils._gate.log_summary import (
    BoundedCounter,
    Evidence,
    Occurrences,
    summarize,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_LOG = {
    "site": {"type": "str", "required": True},
    "path": {"type": "path", "required": True},
    "from_files": {"type": "bool", "default": False},
    "expected": {"type": "bool", "default": False},
}
ARGUMENTS = {
    "path": {"type": "path"},
    "logs": {"type": "list", "elements": "dict", "options": _LOG},
    "since": {"type": "list", "elements": "str"},
    "exclude": {"type": "list", "elements": "str", "default": ["door-probe"]},
    "from_files": {"type": "bool", "default": False},
}


def work(module: Any) -> dict[str, Any]:
    """Read the log, or all logs."""
    params = module.params
    if params["logs"] is None:
        return {"changed": False, **read_log(module, params["path"], from_files=params["from_files"])}
    return {"changed": False, "logs": [_read_if_found(module, log) for log in params["logs"]]}


def read_log(module: Any, path: str, *, from_files: bool) -> dict[str, Any]:
    """Return the evidence in one log as plain data.

    :raises MtlsError: if the log cannot be read.
    """
    reading = Reading()
    evidence = summarize(
        requests(path, reading),
        beginning(module.params["since"] or [], datetime.now(timezone.utc)),
        frozenset(module.params["exclude"]),
        from_files=from_files,
    )
    for name in reading.unread:
        module.warn(f"{name} was not read, because its compression is not supported")
    if reading.damaged:
        module.warn(f"{reading.damaged} of {reading.lines} lines of {path} are not log lines of a gate")
    return {**evidence_as_dict(evidence), **_about(reading)}


def _read_if_found(module: Any, log: dict[str, Any]) -> dict[str, Any]:
    found = os.path.exists(log["path"])
    read = read_log(module, log["path"], from_files=log["from_files"]) if found else None
    return {"site": log["site"], "expected": log["expected"], "found": found, "log": read}


def beginning(since: Sequence[str], now: datetime) -> datetime | None:
    """Return the time from which requests count: the longest duration ago, None for all requests.

    :raises MtlsError: if one is not a duration.
    """
    if not since or not all(since):
        return None
    return now - max(parse_duration(one, "since") for one in since)


def evidence_as_dict(evidence: Evidence) -> dict[str, Any]:
    """Return evidence as plain data."""
    tallies = {"would_deny": evidence.would_deny, "fallback": evidence.fallback, "denied": evidence.denied}
    people = {"people": evidence.people, "unanswered": evidence.unanswered, "excluded": evidence.excluded}
    return {
        **{key: _listed(tally, _person, by_time=True) for key, tally in people.items()},
        **{key: _listed(tally, _source, by_time=False) for key, tally in tallies.items()},
        "probed": evidence.probed,
        "last_fallback": _last(evidence.fallback),
        "last_would_deny": _last(evidence.would_deny),
        # The number of unauthenticated clients that were denied or observed is not limited by this: no decision uses it.
        "beyond": sum(tally.beyond for tally in (evidence.fallback, *people.values())),
    }


def _about(reading: Reading) -> dict[str, Any]:
    return {
        "files": reading.files,
        "lines": reading.lines,
        "damaged": reading.damaged,
        "unread": list(reading.unread),
    }


def _listed(
    tally: BoundedCounter, describe: Callable[[Any, Occurrences], dict[str, Any]], *, by_time: bool
) -> list[dict[str, Any]]:
    rows = [{**describe(key, sighting), **_sighting(sighting)} for key, sighting in tally.seen.items()]
    return sorted(rows, key=lambda row: row["last_seen"] if by_time else row["count"], reverse=True)


def _person(key: Any, sighting: Occurrences) -> dict[str, Any]:
    name, email = key
    return {"name": name, "email": email, "serials": sorted(sighting.serials, key=lambda one: sighting.serials[one])}


def _source(key: Any, _sighting: Occurrences) -> dict[str, Any]:
    return {"address": key.address, "reason": key.reason, "name": key.name}


def _sighting(sighting: Occurrences) -> dict[str, Any]:
    return {"count": sighting.count, "first_seen": _iso(sighting.first), "last_seen": _iso(sighting.last)}


def _last(tally: BoundedCounter) -> str | None:
    moments = [sighting.last for sighting in tally.seen.values() if sighting.last]
    return _iso(max(moments)) if moments else None


def _iso(moment: datetime | None) -> str:
    return iso(moment) if moment else ""


def main() -> None:
    """Run the module."""
    one_of = [("path", "logs")]
    module = AnsibleModule(
        argument_spec=ARGUMENTS, mutually_exclusive=one_of, required_one_of=one_of, supports_check_mode=True
    )
    run(module, work)


if __name__ == "__main__":
    main()
