# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read, write and withdraw receipts: records that a site was rolled out to an environment.

A receipt is a small file whose name contains everything: the environment, the site, and a digest over the version of this
collection and the settings of the site. It contains no secret.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from .._common.errors import MtlsError
from .._common.files import PUBLIC_DIR, PUBLIC_FILE, make_directory, sync_directory, write_atomic

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence


_ENVIRONMENT = re.compile(r"[a-z][a-z0-9_]{0,31}")
_SITE = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FILE = re.compile(r"(?P<environment>[a-z0-9_]+)\.(?P<site>[a-z0-9_-]+)\.(?P<digest>[0-9a-f]{64})\.json")
# The number of receipts to keep for one site in one environment: enough for every stage of some dozens of versions.
_KEPT = 100


@dataclass(frozen=True)
class RolledOutSite:
    """A site in a stage, with a digest of its settings and of the version of this collection."""

    site: str
    stage: str
    digest: str


def missing(directory: str, environment: str, things: Iterable[RolledOutSite]) -> tuple[RolledOutSite, ...]:
    """Return the sites without a receipt of ``environment``.

    :raises MtlsError: if the directory cannot be read.
    """
    _check_environment(environment)
    there = _names(directory)
    return tuple(thing for thing in things if _name(environment, thing) not in there)


def write(
    directory: str, environment: str, things: Sequence[RolledOutSite], when: str, *, check_mode: bool
) -> tuple[RolledOutSite, ...]:
    """Write the receipts that do not exist yet, and return their sites.

    :param when: the time in RFC 3339.
    """
    new = missing(directory, environment, things)
    if check_mode or not new:
        return new
    # Every host has changed by now, so a missing parent directory must not stop this.
    os.makedirs(os.path.dirname(directory), PUBLIC_DIR, exist_ok=True)
    make_directory(directory, PUBLIC_DIR)
    for thing in new:
        text = json.dumps({"format": 1, "environment": environment, "when": when, **asdict(thing)}, sort_keys=True)
        write_atomic(os.path.join(directory, _name(environment, thing)), f"{text}\n".encode(), PUBLIC_FILE)
    for site in {thing.site for thing in new}:
        _prune(directory, environment, site)
    sync_directory(directory)
    return new


def withdraw(directory: str, environment: str, sites: Collection[str], *, check_mode: bool) -> tuple[str, ...]:
    """Remove the receipts of sites from ``environment``, of every stage and digest, and return those sites.

    :raises MtlsError: if the directory cannot be read.
    """
    _check_environment(environment)
    found = [match for name in _names(directory) if (match := _FILE.fullmatch(name))]
    gone = [match for match in found if match["environment"] == environment and match["site"] in sites]
    if gone and not check_mode:
        for match in gone:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(directory, match[0]))
        sync_directory(directory)
    return tuple(sorted({match["site"] for match in gone}))


def rolled_out_site_from(item: object) -> RolledOutSite:
    """Parse a dictionary of ``site``, ``stage`` and ``digest``.

    :raises MtlsError: if it is not one that :func:`.site_digests.digests_of_sites` returns.
    """
    values = item if isinstance(item, dict) else {}
    site, stage, digest = (str(values.get(key, "")) for key in ("site", "stage", "digest"))
    if not (_SITE.fullmatch(site) and stage and _DIGEST.fullmatch(digest)):
        raise MtlsError(
            f"invalid receipt entry {item!r}: expected site, stage and digest", "Use the result of action rollout_plan"
        )
    return RolledOutSite(site, stage, digest)


def _name(environment: str, thing: RolledOutSite) -> str:
    return f"{environment}.{thing.site}.{thing.digest}.json"


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


def _prune(directory: str, environment: str, site: str) -> None:
    found = [match for name in _names(directory) if (match := _FILE.fullmatch(name))]
    own = [match[0] for match in found if (match["environment"], match["site"]) == (environment, site)]
    paths = sorted((os.path.join(directory, name) for name in own), key=os.path.getmtime, reverse=True)
    for path in paths[_KEPT:]:
        os.unlink(path)


def _check_environment(environment: str) -> None:
    if not _ENVIRONMENT.fullmatch(environment):
        raise MtlsError(
            f"{environment!r} is not a valid name of an environment",
            "Use lower-case letters, digits and _, at most 32, a letter first, for example staging",
        )
