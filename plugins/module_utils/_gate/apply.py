# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Apply a candidate: nginx serves it afterwards, or nothing changes."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .._audit.audit import Audit, audit_configuration, refuse, refuse_orphans
from .._common.errors import MtlsError
from .._contracts.gate_manifest import manifest_endpoints, protected_sites, read_manifest, with_targets_of
from .._contracts.paths import ENTRY, GATE, GENERATION, HOME, HTTP, MANIFEST, TRUST, is_server_snippet
from .._deploy import switch
from .._deploy.deadline import read_clocks
from .._deploy.entry_point import ENTRY_TEXT, activate, included_sites, read_text, write_included
from .._deploy.generation_store import GenerationStore, locked
from .._deploy.live_generation import is_live
from .._deploy.switch import Hold, Result, Switch
from .._nginx.config_sandbox import with_live_paths
from .._nginx.hash_sizes import describe_small_hashes
from .arm import Change
from .armed_state import Snapshot, laid_out, locked_with_room, read_transaction
from .auto_revert import Rules, refuse_if_held, settle
from .history import find_drift, prune_records, refuse_drift, write_record

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from .._contracts.status_protocol import Endpoint
    from .._deploy.deadline import Moment
    from .._deploy.live_generation import LiveNginx
    from .._nginx.config_model import Configuration
    from .arm import Arming
    from .armed_state import Transaction

_REQUIRED = (HTTP, MANIFEST)
_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")


@dataclass(frozen=True)
class Request:
    """The gate that is to be live.

    :param candidate: relative path -> text; empty to remove the gate.
    :param endpoints: where the running nginx reports the generation, as in manifest.json.
    :param prove_timeout: seconds.
    :param keep: the number of generations to keep on disk.
    :param lenient: whether a bypass through another server is a warning only.
    :param restores: the kept generation that the candidate restores, None if it is a new one.
    """

    candidate: Mapping[str, str]
    endpoints: Sequence[Endpoint]
    prove_timeout: float
    keep: int
    lenient: bool = False
    restores: int | None = None


@dataclass(frozen=True)
class Outcome:
    """The outcome. ``before`` and ``after`` are the files that differ, by path relative to the configuration.

    ``survey`` is the audit of the configuration. ``armed`` is the transaction that is reverted by itself unless it is
    committed.
    """

    result: Result
    survey: Audit
    generation: int | None
    previous_generation: int | None
    before: dict[str, str]
    after: dict[str, str]
    sites: list[str]
    armed: Transaction | None = None


def generation_conf(generation: int) -> str:
    """Return the file that defines ``$quietdoor_gate_generation``, with which the running nginx reports its generation."""
    return f'map "" $quietdoor_gate_generation {{ default "{generation}"; }}\n'


def apply_gate(
    nginx: LiveNginx,
    request: Request,
    *,
    check_mode: bool,
    arming: Arming | None = None,
    clock: Callable[[], Moment] = read_clocks,
) -> Outcome:
    """Make the candidate live.

    :param arming: arms a revert before anything changes, and leaves the decision to a commit; None to commit once proven.
    :raises MtlsError: if that fails; the message contains whether anything changed and what was reverted.
    """
    _check_request(request)
    if not request.candidate and not _gate_exists(nginx.conf_path):
        if not check_mode and os.path.isdir(os.path.join(nginx.conf_path, HOME)):
            with locked(nginx.conf_path, check_mode=False):
                GenerationStore(nginx.conf_path, "gate").tidy()
        return Outcome(Result("unchanged", "", tested=False), Audit((), (), ()), None, None, {}, {}, [])
    nginx.check()
    with locked(nginx.conf_path, check_mode=True) if check_mode else locked_with_room(nginx.conf_path):
        notes = _settle_earlier(nginx, request, clock(), check_mode=check_mode)
        if arming is not None and not arming.force:
            refuse_drift(find_drift(nginx.conf_path, GenerationStore(nginx.conf_path, "gate")))
        outcome = _Gate(nginx, request, arming, clock).apply(check_mode=check_mode)
    return replace(outcome, result=replace(outcome.result, warnings=(*notes, *outcome.result.warnings)))


def _settle_earlier(nginx: LiveNginx, request: Request, now: Moment, *, check_mode: bool) -> tuple[str, ...]:
    """End an earlier transaction, or refuse because it holds this host. Return warnings about what check mode left undone."""
    if not check_mode:
        refuse_if_held(settle(nginx, now, Rules(request.prove_timeout, request.keep)))
        return ()
    earlier = read_transaction(nginx.conf_path)
    if earlier is None or earlier.over:
        return ()
    if earlier.undecided and not earlier.due(now):
        refuse_if_held(earlier)
    return (f"The real run first ends {earlier}, so it may find other files than this one",)


class _Gate:
    """One call, under the lock."""

    def __init__(self, nginx: LiveNginx, request: Request, arming: Arming | None, clock: Callable[[], Moment]) -> None:
        self.nginx = nginx
        self.request = request
        self.arming = arming
        self.clock = clock
        self.armed: Transaction | None = None
        self.shelf = GenerationStore(nginx.conf_path, "gate")
        self.entry = os.path.join(nginx.conf_path, ENTRY)
        self.live = self.shelf.live()
        self.committed = self.shelf.committed()
        self.found_entry = read_text(self.entry)
        self.files = {path: text for path, text in self.shelf.files(self.live).items() if path != GENERATION}
        self.target = self._target_generation()
        self.protected = protected_sites(request.candidate[MANIFEST]) if request.candidate else ()
        if request.restores is not None:
            # A kept generation cannot get an entry any more, and the operator's servers are those of today.
            self.protected = with_targets_of(self.protected, self.files.get(MANIFEST, ""))
        self.notes: tuple[str, ...] = ()
        self.survey = Audit((), tuple(site.site for site in self.protected if site.manage == "snippets"), ())

    def apply(self, *, check_mode: bool) -> Outcome:
        before, after = self._differences()
        if self.target is not None and not os.path.isdir(os.path.join(self.nginx.conf_path, TRUST)):
            result = self._without_trust(check_mode=check_mode)
        else:
            change = self._build_switch(before, after)
            self._audit_live(change)
            result = switch.make_live(self.nginx, change, check_mode=check_mode)
            if not check_mode and self.armed is None:
                write_included(self.nginx.conf_path, self.survey.included)
                prune_records(self.nginx.conf_path, self.shelf.stored())
        sites = sorted({endpoint.site for endpoint in self.request.endpoints})
        result = replace(result, warnings=(*result.warnings, *self.notes))
        return Outcome(result, self.survey, self.target, self.committed, before, after, sites, self.armed)

    def _audit_live(self, change: Switch) -> None:
        """Audit the live configuration before anything changes.

        It finds includes of snippets that are to be removed. If nothing changes, no candidate is tested, so it also finds
        new bypasses, a removed include of the gate, and redefined variables.
        """
        may_go = any(is_server_snippet(path) for path in self.files)
        if not change.in_place and not may_go:
            return
        try:
            configuration = self.nginx.dump(
                self.nginx.conf_file,
                tuple(os.path.join(self.nginx.conf_path, maps) for maps in switch.TRUST_MAPS),
            )
        except MtlsError:
            # If something changes, the test in the scratch copy reports the error, with the change in it.
            if change.in_place and self._is_untested(change):
                raise
            return
        home = os.path.join(self.shelf.link, "")
        refuse_orphans(configuration, self.request.candidate, home)
        if change.in_place and change.target is not None:
            real = os.path.join(os.path.realpath(self.nginx.conf_path), HOME, "")
            own = {file for file in configuration.files if os.path.realpath(file).startswith(real)}
            _check_variables(configuration, own)
            _check_entry(configuration, self.entry, self.nginx.conf_file)
        if change.in_place:
            self._audit(configuration, home, str)

    def _is_untested(self, change: Switch) -> bool:
        """Return whether the switch changes nothing and so tests nothing, or whether only an audit can tell."""
        snippets = any(site.manage == "snippets" for site in self.protected)
        return snippets or is_live(self.nginx, change.endpoints_of(change.target), self.shelf.kind, change.target)

    def _audit(self, configuration: Configuration, home: str, translate: Callable[[str], str]) -> None:
        found = audit_configuration(configuration, self.protected, home, lenient=self.request.lenient)
        findings = tuple(
            replace(one, file=translate(one.file), what=translate(one.what), hint=translate(one.hint))
            for one in found.findings
        )
        self.survey = replace(found, findings=findings)
        refuse(self.survey, included_sites(self.nginx.conf_path))

    def _target_generation(self) -> int | None:
        if not self.request.candidate:
            return None
        return self.live if self._same_files() else self.shelf.next_generation()

    def _same_files(self) -> bool:
        return self.live is not None and self.files == dict(self.request.candidate)

    def _build_switch(self, before: Mapping[str, str], after: Mapping[str, str]) -> Switch:
        target = self.target
        files = None if target in (None, self.live) else self._with_generation(target)
        return Switch(
            shelf=self.shelf,
            target=target,
            files=files,
            in_place=self.live == target and read_text(self.entry) == (None if target is None else ENTRY_TEXT),
            reason=_reason(before, after),
            arrange=self._arrange,
            endpoints_of=self._endpoints_of,
            overlay=self._overlay(),
            judge=self._check_candidate,
            even_if_stopped=False,
            timeout=self.request.prove_timeout,
            keep=self.request.keep,
            hold=Hold(self._arm, self._release) if self.arming else None,
        )

    def _arm(self, base: int | None) -> None:
        if self.arming is None:
            return
        change = Change(
            base=base,
            target=self.target,
            before=self._endpoints_of(base),
            after=self._endpoints_of(self.target),
            included=self.survey.included,
            snapshot=Snapshot(self.shelf.files(base), self.found_entry),
        )
        self.armed = self.arming.arm(self.nginx, change)

    def _release(self, why: str) -> None:
        if self.arming is not None and self.armed is not None:
            self.arming.release(self.nginx, self.armed, why, self.request.prove_timeout, self.request.keep)

    def _with_generation(self, generation: int | None) -> dict[str, str]:
        return {**self.request.candidate, GENERATION: generation_conf(generation or 0)}

    def _overlay(self) -> dict[str, str | None]:
        if self.target is None:
            return {ENTRY: None, GATE: None}
        files = self._with_generation(self.target)
        return {
            ENTRY: ENTRY_TEXT,
            GATE: None,
            **{f"{GATE}/{path}": text for path, text in files.items()},
        }

    def _arrange(self, generation: int | None) -> None:
        if generation is not None and generation == self.target and generation != self.live:
            files, wall = self._with_generation(generation), self.clock().wall
            write_record(self.nginx.conf_path, generation, files, wall, self.request.restores)
        keep_entry = generation != self.target and self.armed is not None and self.found_entry is not None
        activate(self.shelf, self.entry, generation, (self.found_entry or "") if keep_entry else ENTRY_TEXT)

    def _endpoints_of(self, generation: int | None) -> Sequence[Endpoint]:
        if generation is None:
            return sorted(
                {*self._removed_with(self.live), *self._removed_with(self.committed), *self.request.endpoints}
            )
        found = self.request.endpoints if generation == self.target else self._manifest_endpoints(generation)
        # Skip sites whose snippets are not included yet: they have no status endpoint.
        return [endpoint for endpoint in found if endpoint.site not in self.survey.unguarded]

    def _manifest_endpoints(self, generation: int | None) -> Sequence[Endpoint]:
        text = self.shelf.files(generation).get(MANIFEST, "")
        try:
            return manifest_endpoints(text)
        except MtlsError:
            return ()

    def _removed_with(self, generation: int | None) -> Sequence[Endpoint]:
        """Return the endpoints that no longer report a generation once the gate is removed.

        The servers that include snippets stay, and may report anything.
        """
        found = self._manifest_endpoints(generation)
        if not found:
            return ()
        sites = read_manifest(self.shelf.files(generation)[MANIFEST]).checked().sites
        snippets = {site.name for site in sites if site.manage == "snippets"}
        return [endpoint for endpoint in found if endpoint.site not in snippets]

    def _check_candidate(self, configuration: Configuration, root: str) -> None:
        if self.target is None:
            return
        gate = os.path.join(os.path.realpath(self.nginx.conf_path), GATE)
        live = [file for file in configuration.files if os.path.realpath(file).startswith(gate)]
        if live:
            raise MtlsError(
                f"{live[0]} is read from the live tree even in a scratch copy, so the candidate cannot be tested",
                "Include it with a path relative to the directory of nginx.conf",
            )
        own = os.path.join(root, HOME, "")
        _check_variables(configuration, {file for file in configuration.files if file.startswith(own)})
        _check_entry(configuration, os.path.join(root, ENTRY), self.nginx.conf_file)
        if os.path.join(root, GATE, GENERATION) not in configuration.files:
            raise MtlsError(
                "The candidate does not report its generation",
                f"Write include {GATE}/{GENERATION}; into its {HTTP}",
            )
        self.notes = tuple(
            with_live_paths(note, root, self.nginx.conf_path) for note in describe_small_hashes(configuration, own)
        )
        self._audit(
            configuration,
            os.path.join(root, GATE, ""),
            lambda text: with_live_paths(text, root, self.nginx.conf_path),
        )

    def _without_trust(self, *, check_mode: bool) -> Result:
        missing = f"No trust is installed in {self.nginx.conf_path}/{TRUST}, and a gate without trust admits no client"
        if not check_mode:
            raise MtlsError(missing, "Run role trust, or module trust_install, first")
        warning = f"The candidate was not tested: {missing[0].lower()}{missing[1:]}"
        return Result("applied", "the gate is new here", tested=False, warnings=(warning,))

    def _differences(self) -> tuple[dict[str, str], dict[str, str]]:
        entry = read_text(self.entry)
        before = {f"{GATE}/{path}": text for path, text in self.files.items()}
        before.update({ENTRY: entry} if entry is not None else {})
        after = {f"{GATE}/{path}": text for path, text in self.request.candidate.items()}
        after.update({ENTRY: ENTRY_TEXT} if after else {})
        differing = {path for path in {*before, *after} if before.get(path) != after.get(path)}
        return _select(before, differing), _select(after, differing)


def _check_request(request: Request) -> None:
    for path, text in request.candidate.items():
        _check_file(path, text)
    parents = {path[: match.start()] for path in request.candidate for match in re.finditer("/", path)}
    for path in sorted(parents & set(request.candidate)):
        raise MtlsError(f"candidate: {path} is a file and a directory at once", "Name one of them differently")
    if not request.candidate:
        return
    for path in _REQUIRED:
        if path not in request.candidate:
            raise MtlsError(f"candidate: {path} is missing", "Render it with role gate")
    if not request.endpoints:
        raise MtlsError("endpoints is empty, so the change cannot be proven", "Name at least one endpoint")
    if set(manifest_endpoints(request.candidate[MANIFEST])) != set(request.endpoints):
        raise MtlsError(f"endpoints differ from those in the candidate's {MANIFEST}", "Render both from the same sites")


def _check_file(path: str, text: object) -> None:
    if not isinstance(path, str) or not _PATH.fullmatch(path):
        raise MtlsError(
            f"candidate: {path!r} is not a relative path of plain names",
            "Use the characters A-Z a-z 0-9 . _ - and /, without . at the beginning of a name",
        )
    if path == GENERATION:
        raise MtlsError(f"candidate: {GENERATION} is written by the transaction itself", "Leave it out")
    if not isinstance(text, str) or "\0" in text:
        raise MtlsError(f"candidate: {path} is not text", "Give the file's text as a string")


def _check_entry(configuration: Configuration, entry: str, main_file: str) -> None:
    real = os.path.realpath(entry)
    files = {file for file in configuration.files if os.path.realpath(file) == real}
    contexts = {context for context, directive in configuration.walk() if directive.file in files}
    if contexts == {("http",)}:
        return
    found = " and ".join(sorted(" > ".join(context) or "the main context" for context in contexts)) or "nowhere"
    raise MtlsError(
        f"{ENTRY} has to be included in the http block of {main_file}, but is included {'in ' if contexts else ''}{found}",
        f"Add the line include conf.d/*.conf; to the http block of {main_file}",
    )


# The position of the variable that a directive defines among its arguments.
_DEFINED_AT = {
    "map": 1,
    "split_clients": 1,
    "geo": -1,
    "set": 0,
    "auth_request_set": 0,
    "perl_set": 0,
    "js_set": 0,
    "js_var": 0,
}


def _check_variables(configuration: Configuration, own: Collection[str]) -> None:
    """Refuse a configuration that redefines variables of the gate: of two maps, nginx uses the one that it reads last.

    :param own: the files of the gate and of the trust.
    """
    for _context, directive in configuration.walk():
        position = _DEFINED_AT.get(directive.name)
        if position is None or directive.file in own or not directive.args[position:]:
            continue
        if directive.args[position].startswith("$quietdoor_"):
            raise MtlsError(
                f"{directive.file} line {directive.line} defines {directive.args[position]}, which belongs to the gate",
                "Remove that line, or rename the variable",
            )


def _gate_exists(conf_path: str) -> bool:
    files = any(os.path.lexists(os.path.join(conf_path, path)) for path in (ENTRY, GATE))
    return files or laid_out(conf_path) or GenerationStore(conf_path, "gate").committed() is not None


def _reason(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    if not before:
        return "the gate is new here"
    if not after:
        return "the gate is removed"
    paths = sorted({*before, *after})
    listed = ", ".join(paths[:5]) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
    return f"{listed} differ{'s' if len(paths) == 1 else ''}"


def _select(files: Mapping[str, str], paths: set[str]) -> dict[str, str]:
    return {path: text for path, text in files.items() if path in paths}
