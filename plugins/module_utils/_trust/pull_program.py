# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that a timer runs on a web host: one pull, one line for the journal, one file of metrics.

It is made of the very files of this package, which module trust_pull puts into one zip archive on the host (Python runs such an
archive, PEP 441). Its settings are a JSON file that the same module writes.
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
from .._deploy.module_options import kept, nginx_from, seconds
from .._deploy.worker_shutdown import set_worker_shutdown_timeout
from .https_fetch import source_from
from .publication_reader import MANIFEST, read_generation
from .pull import PullError, Rules, installed_crls, installed_texts, pull

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .chain_verification import Crl

_ROOT_DIGEST = 64  # hex digits


def build_program() -> bytes:
    """Return the archive. The same sources make the same bytes."""
    return zipapp_builder.build_program(*__name__.split(".")[-2:])


def check_settings(settings: Mapping[str, Any]) -> None:
    """Make sure that the settings can be worked with.

    :raises MtlsError: naming the one that cannot.
    """
    _rules(settings)
    source_from(settings["url"], settings["url_ca"], seconds(settings, "timeout"))
    nginx_from(settings)


def _rules(settings: Mapping[str, Any]) -> Rules:
    roots = frozenset(str(root).replace(":", "").lower() for root in settings["roots"])
    for root in roots:
        if len(root) != _ROOT_DIGEST or set(root) - set("0123456789abcdef"):
            raise MtlsError(f"trust_pull_roots: {root!r} is not a SHA-256 fingerprint", "Write its 64 hex digits")
    return Rules(
        roots=roots,
        min_remaining=parse_duration(settings["min_remaining"], "min_remaining"),
        prove_timeout=seconds(settings, "prove_timeout"),
        keep=kept(settings),
    )


def main(arguments: list[str]) -> int:
    """Pull once, as the settings in the file that is the only argument say. Return 0, or 1 if nothing could be taken."""
    try:
        settings = json.loads(_read(arguments[0]))
    except (IndexError, OSError, ValueError) as error:
        _say(f"The settings cannot be read: {error}. Run role trust again.", failed=True)
        return 1
    now = datetime.now(timezone.utc)
    code, words = _run(settings, now)
    _say(words, failed=bool(code))
    with contextlib.suppress(KeyError):
        _write_metrics(settings, code, now)
    return 1 if code else 0


def _run(settings: Mapping[str, Any], now: datetime) -> tuple[str, str]:
    """Return the code of what went wrong, empty if nothing did, and a sentence."""
    try:
        nginx = nginx_from(settings)
        source = source_from(settings["url"], settings["url_ca"], seconds(settings, "timeout"))
        rules = _rules(settings)
        after = seconds(settings, "worker_shutdown_timeout") if settings["worker_shutdown_timeout"] else None
        set_worker_shutdown_timeout(nginx, settings["main_file"], after, rules.prove_timeout, check_mode=False)
        outcome = pull(nginx, source, rules, now)
    except PullError as problem:
        return problem.code, f"{_kept(settings)}. {problem}"
    except MtlsError as problem:
        return "settings", f"{_kept(settings)}. {problem}"
    except OSError as error:
        return "system", f"{_kept(settings)}. {problem_of(error).what}."
    reason = f": {outcome.result.reason}" if outcome.result.reason else ""
    words = [f"{outcome.result.action}: trust generation {outcome.generation}{reason}", *outcome.lapsing]
    return "", ". ".join(words)


def _kept(settings: Mapping[str, Any]) -> str:
    generation = _generation(str(settings.get("conf_path", "")))
    return f"Trust generation {generation} stays live" if generation else "No trust is live"


def _generation(conf_path: str) -> int:
    try:
        return read_generation(installed_texts(conf_path).get(MANIFEST, ""))
    except MtlsError:
        return 0


def _say(words: str, *, failed: bool) -> None:
    # sd-daemon(3): journald takes a level in front of a line.
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
        text = render_metrics(code, _generation(conf_path), installed_crls(conf_path, now), now)
        write_atomic(path, text.encode("utf-8"), PUBLIC_FILE)
    except (MtlsError, OSError) as error:
        _say(f"The metrics could not be written to {path}: {error}", failed=True)


def render_metrics(code: str, generation: int, crls: tuple[Crl, ...], now: datetime) -> str:
    """Return the metrics in the text format of Prometheus.

    :param code: what went wrong, empty if nothing did.
    :param crls: those that are live.
    """
    labels = {crl: crl.issuer.replace("\\", "\\\\").replace('"', '\\"') for crl in crls}
    ends = {crl: int(crl.next_update.timestamp()) for crl in crls}
    families = [
        ("trust_pull_success", "Whether the last pull found trust up to date or brought it so.", [("", int(not code))]),
        ("trust_pull_timestamp_seconds", "When the last pull was.", [("", int(now.timestamp()))]),
        ("trust_pull_error", "Why the last pull failed.", [(f'{{code="{code}"}}', 1)] if code else []),
        ("trust_generation", "The generation of trust on disk.", [("", generation)]),
        (
            "trust_crl_end_timestamp_seconds",
            "When the CRL that nginx has ends; nobody gets in then.",
            [(f'{{issuer="{labels[crl]}"}}', ends[crl]) for crl in crls],
        ),
        (
            "trust_crl_remaining_seconds",
            "How long that was at the last pull.",
            [(f'{{issuer="{labels[crl]}"}}', ends[crl] - int(now.timestamp())) for crl in crls],
        ),
    ]
    lines = []
    for name, words, samples in families:
        lines += [f"# HELP quietdoor_{name} {words}", f"# TYPE quietdoor_{name} gauge"]
        lines += [f"quietdoor_{name}{label} {value}" for label, value in samples]
    return "\n".join(lines) + "\n"


def _read(path: str) -> str:
    with opened(path, encoding="utf-8") as file:
        return file.read()
