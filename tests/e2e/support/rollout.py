# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Roll out a site while a client sends requests."""

from __future__ import annotations

import threading
import time

from support.lab import Lab, curl

QUICK = {
    "rollout_quiet_period": "1s",
    "rollout_requires_environment": "",
    "gate_on_bypass": "warn",
    "rollout_revert_mechanism": "process",
}


PROBE_CLIENT = {"name": "door-probe", "common_name": "Door probe"}


class Poller:
    """A client with a certificate that sends a request every 100 ms on a new connection; ``refused`` is whatever was no 200."""

    def __init__(self, lab: Lab, who: str | None) -> None:
        self.refused: list[tuple[float, int]] = []
        self.asked = 0
        self._lab = lab
        self._who = ["--cert", str(lab.client(who, "chain.pem")), "--key", str(lab.client(who, "key"))] if who else []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)

    def _poll(self) -> None:
        while not self._end.wait(0.1):
            status, _body = curl(self._lab.sites[0], self._lab, *self._who)
            self.asked += 1
            if status != 200:
                self.refused.append((time.time(), status))

    def __enter__(self) -> Poller:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._end.set()
        self._thread.join()


def rollout(lab: Lab, stage: str, *arguments: str, **overrides: object):
    """Run the playbook with the site in a stage."""
    site = lab.sites[0]
    site.entry["stage"] = stage
    if stage == "fallback":
        site.entry["window"] = {"networks": ["127.0.0.1"]}
    return lab.play(*arguments, playbook="quietdoor.mtls.rollout", **overrides)


def status(lab: Lab, who: str | None = None) -> int:
    """Ask once."""
    arguments = ["--cert", str(lab.client(who, "chain.pem")), "--key", str(lab.client(who, "key"))] if who else []
    return curl(lab.sites[0], lab, *arguments)[0]


def armed(lab: Lab) -> bool:
    """Whether something is left armed."""
    return any((lab.nginx.prefix / "quietdoor" / name).exists() for name in ("armed", "gate.revert"))
