# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run one pull as a program: write one line to the journal, and the metrics.

A timer runs it on web hosts. Module trust_pull builds it from the files of this collection as one zip archive (PEP 441), and
writes its settings to a JSON file.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from .._common import zipapp_builder
from .._common.durations import parse_duration
from .._common.errors import MtlsError
from .._common.files import PUBLIC_FILE, opened, write_atomic
from .._common.system_errors import problem_of
from .._contracts.publication_format import MANIFEST
from .._deploy.module_options import kept, nginx_from, seconds
from .._deploy.worker_shutdown import set_worker_shutdown_timeout
from .https_fetch import source_from
from .publication_reader import read_generation
from .pull import PullError, Rules, installed_crls, installed_texts, pull
from .pull_metrics import render_metrics

if TYPE_CHECKING:
    from collections.abc import Mapping

_ROOT_DIGEST = 64  # hex digits


def build_program() -> bytes:
    """Return the archive. Equal sources result in equal bytes."""
    return zipapp_builder.build_program(*__name__.split(".")[-2:])


def check_settings(settings: Mapping[str, Any]) -> None:
    """Check the settings.

    :raises MtlsError: with the first setting that is not valid.
    """
    _parse_rules(settings)
    source_from(settings["url"], settings["url_ca"], seconds(settings, "timeout"))
    nginx_from(settings)


def _parse_rules(settings: Mapping[str, Any]) -> Rules:
    roots = frozenset(str(root).replace(":", "").lower() for root in settings["roots"])
    for root in roots:
        if len(root) != _ROOT_DIGEST or set(root) - set("0123456789abcdef"):
            raise MtlsError(f"trust_pull_roots: {root!r} is not a SHA-256 fingerprint", "Write its 64 hex digits")
    return Rules(
        roots=roots,
        min_remaining=parse_duration(settings["min_remaining"], "trust_min_remaining"),
        prove_timeout=seconds(settings, "prove_timeout"),
        keep=kept(settings),
    )


def main(arguments: list[str]) -> int:
    """Pull once with the settings in the file that is the only argument. Return 0, or 1 if the pull failed."""
    try:
        settings = json.loads(_read_file(arguments[0]))
    except (IndexError, OSError, ValueError) as error:
        _write_line(f"The settings cannot be read: {error}. Run role trust again.", failed=True)
        return 1
    now = datetime.now(timezone.utc)
    code, words = _pull_once(settings, now)
    _write_line(words, failed=bool(code))
    with contextlib.suppress(KeyError):
        _write_metrics(settings, code, now)
    return 1 if code else 0


def _pull_once(settings: Mapping[str, Any], now: datetime) -> tuple[str, str]:
    """Return the code of the error, empty if there is none, and a sentence."""
    try:
        nginx = nginx_from(settings)
        source = source_from(settings["url"], settings["url_ca"], seconds(settings, "timeout"))
        rules = _parse_rules(settings)
        after = seconds(settings, "worker_shutdown_timeout") if settings["worker_shutdown_timeout"] else None
        set_worker_shutdown_timeout(nginx, settings["main_file"], after, rules.prove_timeout, check_mode=False)
        outcome = pull(nginx, source, rules, now)
    except PullError as problem:
        return problem.code, f"{_describe_live_trust(settings)}. {problem}"
    except MtlsError as problem:
        return "settings", f"{_describe_live_trust(settings)}. {problem}"
    except OSError as error:
        return "system", f"{_describe_live_trust(settings)}. {problem_of(error).what}."
    reason = f": {outcome.result.reason}" if outcome.result.reason else ""
    words = [f"{outcome.result.action}: trust generation {outcome.generation}{reason}", *outcome.lapsing]
    return "", ". ".join(words)


def _describe_live_trust(settings: Mapping[str, Any]) -> str:
    generation = _live_generation(str(settings.get("conf_path", "")))
    return f"Trust generation {generation} stays live" if generation else "No trust is live"


def _live_generation(conf_path: str) -> int:
    try:
        return read_generation(installed_texts(conf_path).get(MANIFEST, ""))
    except MtlsError:
        return 0


def _write_line(words: str, *, failed: bool) -> None:
    # sd-daemon(3): journald reads a priority at the start of a line.
    level = "<3>" if failed and "JOURNAL_STREAM" in os.environ else ""
    stream = sys.stderr if failed else sys.stdout
    stream.write(f"{level}{words}\n")
    stream.flush()


def _write_metrics(settings: Mapping[str, Any], code: str, now: datetime) -> None:
    path = settings["metrics_path"]
    if not path:
        return
    conf_path = settings["conf_path"]
    try:
        text = render_metrics(code, _live_generation(conf_path), installed_crls(conf_path, now), now)
        write_atomic(path, text.encode("utf-8"), PUBLIC_FILE)
    except (MtlsError, OSError) as error:
        _write_line(f"The metrics could not be written to {path}: {error}", failed=True)


def _read_file(path: str) -> str:
    with opened(path, encoding="utf-8") as file:
        return file.read()
