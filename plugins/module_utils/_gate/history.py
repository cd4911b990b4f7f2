# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record the files of each generation of the gate, and find manual changes to the live one."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._common.errors import MtlsError
from .._common.files import PUBLIC_DIR, PUBLIC_FILE, make_directory, write_atomic
from .._common.timestamps import from_epoch, iso
from .._contracts.gate_manifest import read_manifest
from .._contracts.paths import ENTRY, HOME, MANIFEST, RECORDS
from .._deploy.entry_point import ENTRY_TEXT, read_text

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from .._deploy.generation_store import GenerationStore

_FORMAT = 1


@dataclass(frozen=True)
class Record:
    """One generation as it was written.

    :param files: relative path -> text, generation.conf among them.
    :param stages: site -> stage, as in manifest.json.
    :param written: RFC 3339.
    :param restores: the generation that it restored, None if it is a new one.
    """

    generation: int
    files: dict[str, str]
    stages: dict[str, str]
    written: str
    restores: int | None = None

    @property
    def sha256(self) -> str:
        """A digest over the names and texts of all files."""
        return digest(self.files)


@dataclass(frozen=True)
class Drift:
    """Files of the live gate that differ from those that the last transaction wrote, by path relative to the configuration.

    :param written: the written texts of these files; a file that is missing here was added manually.
    :param found: their texts on disk; a file that is missing here was removed manually.
    """

    written: dict[str, str]
    found: dict[str, str]

    @property
    def paths(self) -> list[str]:
        """The files that differ."""
        return sorted({*self.written, *self.found})


class Drifted(MtlsError):
    """Raised when the live gate was changed manually."""

    def __init__(self, drift: Drift) -> None:
        paths = drift.paths
        listed = ", ".join(paths[:5]) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
        super().__init__(
            f"The live gate was changed manually: {listed} {'differs' if len(paths) == 1 else 'differ'} from what the last "
            "transaction wrote. Nothing was changed",
            "Check the difference, move the wanted changes into the inventory, and set force (of role rollout, "
            "rollout_overwrite_manual_changes) to overwrite the rest",
        )
        self.drift = drift


def digest(files: Mapping[str, str]) -> str:
    """Return a SHA-256, in hex, over the names and texts of files."""
    text = json.dumps(sorted(files.items()))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def write_record(
    conf_path: str, generation: int, files: Mapping[str, str], wall: float, restores: int | None = None
) -> None:
    """Record the files of a generation, and the one that it restores. Call it before the generation is live."""
    directory = os.path.join(conf_path, RECORDS)
    make_directory(os.path.dirname(directory), PUBLIC_DIR)
    make_directory(directory, PUBLIC_DIR)
    known = {"generation": generation, "written": iso(from_epoch(wall)), "restores": restores}
    data = {"format": _FORMAT, **known, "files": dict(files)}
    write_atomic(_path(conf_path, generation), (json.dumps(data, indent=1) + "\n").encode(), PUBLIC_FILE)


def read_record(conf_path: str, generation: int | None) -> Record | None:
    """Return the record of ``generation``, None if there is none."""
    text = read_text(_path(conf_path, generation)) if generation is not None else None
    if text is None:
        return None
    try:
        data = json.loads(text)
        files = {str(path): str(content) for path, content in data["files"].items()}
        restores = data.get("restores")
        if (data["format"], data["generation"]) != (_FORMAT, generation):
            return None
        return Record(
            int(data["generation"]),
            files,
            _stages(files),
            str(data["written"]),
            int(restores) if restores is not None else None,
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def prune_records(conf_path: str, stored: Collection[int]) -> None:
    """Remove the records of generations that are not on disk any more."""
    directory = os.path.join(conf_path, RECORDS)
    for name in os.listdir(directory) if os.path.isdir(directory) else ():
        number = name.partition(".")[0]
        if number.isdigit() and int(number) not in stored:
            os.unlink(os.path.join(directory, name))


def find_drift(conf_path: str, shelf: GenerationStore) -> Drift:
    """Return the files of the live gate that differ from those that the last transaction wrote."""
    live = shelf.live()
    entry = read_text(os.path.join(conf_path, ENTRY))
    if live is None:
        return Drift({}, {} if entry is None else {ENTRY: entry})
    record = read_record(conf_path, live)
    expected = {f"{HOME}/gate/{path}": text for path, text in record.files.items()} if record else {}
    found = {f"{HOME}/gate/{path}": text for path, text in shelf.files(live).items()}
    # A first run that was killed has set the link and not yet written the entry: this is not a manual change.
    if entry is not None or live == shelf.committed():
        expected[ENTRY] = ENTRY_TEXT
        found.update({ENTRY: entry} if entry is not None else {})
    differing = {path for path in {*expected, *found} if expected.get(path) != found.get(path)}
    return Drift(
        {path: text for path, text in expected.items() if path in differing},
        {path: text for path, text in found.items() if path in differing},
    )


def refuse_drift(drift: Drift) -> None:
    """Check that no manual change would be overwritten.

    :raises Drifted: if there is one; it names the files.
    """
    if drift.paths:
        raise Drifted(drift)


def _stages(files: Mapping[str, str]) -> dict[str, str]:
    manifest = read_manifest(files.get(MANIFEST, "{}"))
    if manifest.damaged:
        raise ValueError(manifest)
    return {site.name: site.stage for site in manifest.sites}


def _path(conf_path: str, generation: int | None) -> str:
    return os.path.join(conf_path, RECORDS, f"{generation}.json")
