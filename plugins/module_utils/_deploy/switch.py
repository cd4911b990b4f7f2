# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a generation live in the running nginx, or leave everything unchanged.

The change is tested in a scratch copy of the whole configuration, applied by switching one link, and committed only when the
running nginx reports the new generation. Gate and trust both use this module.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from .._common.errors import MtlsError
from .._common.system_errors import problem_of
from .._contracts.paths import EDGE_MAPS, HTTP, TRUST
from .._contracts.publication_format import CERTIFICATE_ENCODINGS, edge_file_of
from .._contracts.status_protocol import StatusClient
from .._nginx.config_sandbox import sandbox_copy
from .._nginx.port_check import check_free
from .live_generation import is_live, wait_until_live

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from .._contracts.status_protocol import Endpoint
    from .._nginx.config_model import Configuration
    from .._nginx.nginx import LogMark
    from .generation_store import GenerationStore

# These files are large and contain only maps, so they are not parsed.
TRUST_MAPS = tuple(
    f"{TRUST}/{name}" for name in (HTTP, EDGE_MAPS, *(edge_file_of(encoding) for encoding in CERTIFICATE_ENCODINGS))
)


class Server(StatusClient, Protocol):
    """The part of :class:`.live_generation.LiveNginx` that is used here."""

    @property
    def conf_path(self) -> str:
        """The directory of the main configuration file."""

    @property
    def conf_file(self) -> str:
        """The main configuration file."""

    def dump(self, conf_file: str, opaque: Collection[str] = ()) -> Configuration:
        """Test a configuration and return it."""

    def test(self) -> None:
        """Test the live files; raise MtlsError if nginx rejects them."""

    def reload(self) -> None:
        """Reload; raise MtlsError if the command fails."""

    def master(self, configuration: Configuration) -> int | None:
        """Return the process id of the master, None if it does not run."""

    def workers(self, configuration: Configuration) -> frozenset[int]:
        """Return the workers that accept connections."""

    def await_retirement(self, configuration: Configuration, workers: frozenset[int], timeout: float) -> None:
        """Wait until none of these workers accepts connections; raise MtlsError at the timeout."""

    def log_mark(self, configuration: Configuration) -> LogMark:
        """Return a mark at the end of the error log."""


@dataclass(frozen=True)
class Hold:
    """Leaves a switch uncommitted until a later step commits it.

    :param arm: called with the generation to revert to, before anything is switched.
    :param release: called with the reason, after this run itself has reverted.
    """

    arm: Callable[[int | None], None]
    release: Callable[[str], None]


@dataclass(frozen=True)
class Switch:
    """A generation to make live, and the functions that do it.

    :param target: the generation that must become live, None for none.
    :param files: the files to write for ``target``; None if they exist.
    :param in_place: whether the files on disk are as required already.
    :param arrange: makes a generation live on disk, link included; called for ``target``, and for another one to revert.
    :param endpoints_of: returns the endpoints that report a generation; for None, those that must not report one any more.
    :param overlay: the changes in the scratch copy, see :func:`.config_sandbox.sandbox_copy`.
    :param judge: raises MtlsError if the configuration in the scratch copy (at the given path) is not acceptable.
    :param even_if_stopped: write the files even if nginx does not run, so that it starts with them.
    :param hold: leaves the verified switch uncommitted; None to commit it.
    """

    shelf: GenerationStore
    target: int | None
    files: Mapping[str, str] | None
    in_place: bool
    reason: str
    arrange: Callable[[int | None], None]
    endpoints_of: Callable[[int | None], Sequence[Endpoint]]
    overlay: Mapping[str, str | None]
    judge: Callable[[Configuration, str], None]
    even_if_stopped: bool
    timeout: float
    keep: int
    hold: Hold | None = None


@dataclass(frozen=True)
class Result:
    """The result of a switch: ``action`` is unchanged, applied, resumed or removed."""

    action: str
    reason: str
    tested: bool
    warnings: tuple[str, ...] = ()


def make_live(nginx: Server, change: Switch, *, check_mode: bool) -> Result:
    """Perform the switch, or predict its result in check mode.

    :raises MtlsError: if it fails; the message states whether anything changed and what was reverted.
    """
    shelf = change.shelf
    if not check_mode:
        shelf.tidy()
    decided = change.hold is None or shelf.committed() == change.target
    if decided and change.in_place and is_live(nginx, change.endpoints_of(change.target), shelf.kind, change.target):
        return _finish_unchanged(change, check_mode=check_mode)
    configuration = _rehearse_change(nginx, change, check_mode=check_mode)
    result = _predict(change)
    master = nginx.master(configuration)
    if master is None and not _is_gate_running(nginx, change):
        return _handle_stopped(nginx, change, result, check_mode=check_mode)
    if master is not None and change.target is not None:
        check_free(_listen_addresses(configuration, change), master)
    if check_mode:
        return result
    base = _find_base(nginx, shelf, change)
    _write_files(change)
    if change.hold is not None and base != change.target:
        _arm(change, change.hold, base)
        _apply(nginx, change, base, configuration, change.hold)
        return result
    _apply(nginx, change, base, configuration, None)
    shelf.prune(change.keep)
    return result


def rehearse(
    nginx: Server, overlay: Mapping[str, str | None], judge: Callable[[Configuration, str], None]
) -> Configuration:
    """Test the configuration with ``overlay`` applied in a scratch copy, and return it. Live files stay unchanged.

    :raises MtlsError: with the errors that nginx reported, with the paths of the live files.
    """
    main_file = os.path.basename(nginx.conf_file)
    with sandbox_copy(nginx.conf_path, main_file, overlay) as scratch:
        try:
            configuration = nginx.dump(scratch.path(main_file), tuple(scratch.path(maps) for maps in TRUST_MAPS))
            judge(configuration, scratch.root)
        except MtlsError as problem:
            raise MtlsError(scratch.with_live_paths(problem.what), problem.hint) from None
    return configuration


def _finish_unchanged(change: Switch, *, check_mode: bool) -> Result:
    shelf = change.shelf
    if shelf.committed() == change.target:
        return Result("unchanged", "", tested=False)
    if not check_mode:
        shelf.commit(change.target)
        shelf.prune(change.keep)
    return Result(
        "resumed", "an earlier run ended before it had verified the live generation; it is verified now", tested=False
    )


def _rehearse_change(nginx: Server, change: Switch, *, check_mode: bool) -> Configuration:
    try:
        return rehearse(nginx, change.overlay, change.judge)
    except MtlsError as problem:
        what = f"{problem.what}. It was tested in a scratch copy; nothing live was changed"
        try:
            nginx.test()
        except MtlsError as live:
            what += f". Without the change {live.what[0].lower()}{live.what[1:]}"
        if not check_mode:
            what += _undo_unfinished(nginx, change)
        raise MtlsError(what, problem.hint) from None


def _undo_unfinished(nginx: Server, change: Switch) -> str:
    """Revert the unverified change of a killed run, since this run does not replace it. Return a sentence about it."""
    shelf = change.shelf
    live = shelf.live()
    base = _find_base(nginx, shelf, change)
    if live == base:
        return ""
    try:
        _switch_and_commit(nginx, change, base)
    except (MtlsError, OSError) as error:
        problem = error if isinstance(error, MtlsError) else problem_of(error)
        return f". An earlier, unfinished change could not be reverted: {problem.what}"
    return f". An earlier, unfinished change was reverted: nginx serves {_describe(shelf, base)}"


def _predict(change: Switch) -> Result:
    if change.in_place or (change.target is not None and change.files is None):
        return Result("resumed", "the running nginx did not serve the files on disk", tested=True)
    return Result("removed" if change.target is None else "applied", change.reason, tested=True)


def _handle_stopped(nginx: Server, change: Switch, result: Result, *, check_mode: bool) -> Result:
    target = _describe(change.shelf, change.target)
    if check_mode:
        warning = f"nginx does not run with {nginx.conf_file}: the real run would fail"
        return Result(result.action, result.reason, tested=True, warnings=(warning,))
    if change.hold is not None or (not change.even_if_stopped and _is_live_valid(nginx)):
        raise MtlsError(
            f"nginx does not run with {nginx.conf_file}, so the change cannot be verified; nothing was changed",
            "Start nginx",
        )
    _write_files(change)
    change.arrange(change.target)
    raise MtlsError(
        f"nginx does not run with {nginx.conf_file}; {target} was tested and written to disk, and nginx uses it when it starts",
        "Start nginx, then run again to verify it",
    )


def _is_live_valid(nginx: Server) -> bool:
    try:
        nginx.test()
    except MtlsError:
        return False
    return True


def _is_gate_running(nginx: Server, change: Switch) -> bool:
    """Return whether an endpoint reports a generation, even if the pid file names no process."""
    asked = {*change.endpoints_of(change.target), *change.endpoints_of(change.shelf.live())}
    return any(nginx.ask(endpoint).of(change.shelf.kind) is not None for endpoint in asked)


def _listen_addresses(configuration: Configuration, change: Switch) -> set[tuple[str, int]]:
    listens = [listen for server in configuration.servers() for listen in server.listens if not listen.udp]
    wanted = {(listen.address, listen.port) for listen in listens if listen.port is not None}
    return wanted | {(endpoint.address, endpoint.port) for endpoint in change.endpoints_of(change.target)}


def _write_files(change: Switch) -> None:
    if change.target is not None and change.files is not None:
        change.shelf.write(change.target, change.files)


def _find_base(nginx: Server, shelf: GenerationStore, change: Switch) -> int | None:
    """Return the generation to revert to: the live one if nginx serves it, else the one that was last verified."""
    live, committed = shelf.live(), shelf.committed()
    if (
        live is not None
        and live not in (committed, change.target)
        and is_live(nginx, change.endpoints_of(live), shelf.kind, live)
    ):
        shelf.commit(live)
        return live
    if committed is not None and os.path.isdir(shelf.directory(committed)):
        return committed
    return None


def _arm(change: Switch, hold: Hold, base: int | None) -> None:
    try:
        hold.arm(base)
    except (MtlsError, OSError):
        if change.target is not None and change.files is not None:
            change.shelf.discard(change.target)
        raise


def _apply(nginx: Server, change: Switch, base: int | None, configuration: Configuration, hold: Hold | None) -> None:
    """Switch, test, reload, verify, and commit unless it is held. Revert if a step fails."""
    log, former = nginx.log_mark(configuration), nginx.workers(configuration)
    try:
        _switch(nginx, change, change.target)
        # While an old worker accepts connections, a client that was just revoked could still be admitted by it.
        nginx.await_retirement(configuration, former, change.timeout)
        if hold is None:
            change.shelf.commit(change.target)
    except (MtlsError, OSError) as error:
        raise _revert(nginx, change, base, error, log.since(), hold) from error


def _switch_and_commit(nginx: Server, change: Switch, generation: int | None) -> None:
    _switch(nginx, change, generation)
    change.shelf.commit(generation)


def _switch(nginx: Server, change: Switch, generation: int | None) -> None:
    change.arrange(generation)
    nginx.test()
    nginx.reload()
    wait_until_live(nginx, change.endpoints_of(generation), change.shelf.kind, generation, change.timeout)


def _revert(
    nginx: Server, change: Switch, base: int | None, error: MtlsError | OSError, logged: str, hold: Hold | None
) -> MtlsError:
    problem = error if isinstance(error, MtlsError) else problem_of(error)
    what, hint = problem.what, problem.hint
    what += f". nginx logged: {logged}" if logged else ""
    if base == change.target:
        return MtlsError(
            f"{what}. It is the generation that was last verified, so no other generation exists to revert to", hint
        )
    before = _describe(change.shelf, base)
    try:
        _switch_and_commit(nginx, change, base)
        if hold is not None:
            hold.release(what)
    except (MtlsError, OSError) as failure:
        second = failure if isinstance(failure, MtlsError) else problem_of(failure)
        again = " The armed revert tries again at its deadline." if hold else ""
        return MtlsError(f"{what}. The revert to {before} failed, too: {second}{again}", f"{hint}, then run again")
    if change.target is not None:
        change.shelf.discard(change.target)
    return MtlsError(f"{what}. Reverted: nginx serves {before} again, as new connections confirmed", hint)


def _describe(shelf: GenerationStore, generation: int | None) -> str:
    return f"no {shelf.kind}" if generation is None else f"{shelf.kind} generation {generation}"
