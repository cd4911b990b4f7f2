# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter gate_readiness."""

from __future__ import annotations

DOCUMENTATION = r"""
name: gate_readiness
short_description: Say of each site who is ready for its gate to close
version_added: 0.1.0
author:
  - quietdoor.mtls authors (@quietdoor)
description:
  - Puts together what the logs of all hosts show, and holds it against the people who have a good certificate today.
positional: _input
options:
  _input:
    description: The list of sites, as of role P(quietdoor.mtls.gate#role).
    type: list
    elements: dict
    required: true
  logs:
    description:
      - A list of C(site), C(host) and C(log), the last as module M(quietdoor.mtls.gate_log_info) returns it, or none where the
        site has a gate and no log. What happened on a port where the gate is tried, by C(staging_listen), belongs to the site.
      - A log that is not there, one of which no line says anything of a gate, and rotated files that could not be read stand
        against closing the site, for it is not known who came in.
    type: list
    elements: dict
    required: true
  people:
    description:
      - Who holds a good certificate, as module M(quietdoor.mtls.trust_info) returns it. Who got in counts only with a
        certificate whose serial is among C(serials) there.
    type: list
    elements: dict
    required: true
  confirmations:
    description: How many different people have to have got in with a certificate.
    type: int
    default: 2
  quiet_for:
    description: How long nobody may have come in through the window of stage C(fallback), as in V(24h).
    type: str
    default: 24h
  exclude:
    description: Names of clients that are no people. They confirm nothing.
    type: list
    elements: str
    default: [door-probe]
seealso:
  - module: quietdoor.mtls.gate_log_info
  - module: quietdoor.mtls.trust_info
"""

EXAMPLES = r"""
- name: Show who is ready
  ansible.builtin.debug:
    msg: "{{ (gate_sites | quietdoor.mtls.gate_readiness(my_logs, my_trust.people)) | map(attribute='table') | flatten }}"
"""

RETURN = r"""
_value:
  description:
    - Each with C(site), C(allowed) (whether nothing stands against closing it), C(reasons) (what does), C(ready), C(former) (who
      has a good certificate and got in only with one that is not good any more), C(never),
      C(strangers) (who got in and holds no good certificate any more), C(without) (which addresses came in without one),
      C(admitted) (the names of those who may come in) and C(table), lines for people.
  type: list
  elements: dict
"""

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleFilterError
from ansible_collections.quietdoor.mtls.plugins.module_utils._ansible.durations import parse_duration
from ansible_collections.quietdoor.mtls.plugins.module_utils._ansible.errors import Problem
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.readiness import (
    judge,
    people_of,
    rehearsal_of,
    rules_from,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.sites import parse_sites

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence


def gate_readiness(
    value: object,
    logs: Sequence[Mapping[str, Any]],
    people: Sequence[Mapping[str, Any]],
    confirmations: int = 2,
    quiet_for: str = "24h",
    exclude: Collection[str] = ("door-probe",),
) -> list[dict[str, Any]]:
    """Return what is known of each site that has a gate."""
    try:
        rules = rules_from(confirmations, parse_duration(quiet_for, "rollout_quiet_for"), exclude)
        sites = [site for site in parse_sites(value) if site.stage != "absent" and not site.rehearsal]
    except Problem as problem:
        raise AnsibleFilterError(str(problem)) from problem
    now = datetime.now(timezone.utc)
    found = []
    for site in sites:
        admitted = people_of(people, site.allow)
        # Without that port, a site of that name is another one.
        names = (site.name, rehearsal_of(site.name)) if site.staging_listen else (site.name,)
        own = [one for one in logs if one["site"] in names]
        found.append({**judge(site.name, own, admitted, rules, now).as_dict(), "admitted": sorted(admitted)})
    return found


class FilterModule:
    """Tells Ansible about the filter."""

    def filters(self) -> dict[str, Callable[..., object]]:
        return {"gate_readiness": gate_readiness}
