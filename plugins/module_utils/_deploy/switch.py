# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change of what a running nginx serves, made so that it either holds or leaves everything as it was.

The change is tested in a scratch copy of the whole configuration, made by switching one link, and believed only when the running
nginx tells the new generation. Gate and trust both move like this.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from .._common.errors import MtlsError
from .._common.system_errors import problem_of
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

# Large, and known to hold nothing but maps.
TRUST_MAPS = tuple(
    f"quietdoor/trust/{name}"
    for name in ("http.conf", "edge.conf", *(edge_file_of(spelling) for spelling in CERTIFICATE_ENCODINGS))
)


class Server(StatusClient, Protocol):
    """What a change needs of nginx; see server.Nginx."""

    @property
    def conf_path(self) -> str:
        """The directory of the main configuration file."""

    @property
    def conf_file(self) -> str:
        """The main configuration file."""

    def dump(self, conf_file: str, opaque: Collection[str] = ()) -> Configuration:
        """Test a configuration and return it."""

    def test(self) -> None:
        """Test the live files; Problem if nginx refuses them."""

    def reload(self) -> None:
        """Reload; Problem if the command fails."""

    def master(self, configuration: Configuration) -> int | None:
        """Return the process id of the master, None if it does not run."""

    def workers(self, configuration: Configuration) -> frozenset[int]:
        """Return the workers that accept connections."""

    def await_retirement(self, configuration: Configuration, workers: frozenset[int], timeout: float) -> None:
        """Wait until none of these workers accepts connections; Problem if that does not come about."""

    def log_mark(self, configuration: Configuration) -> LogMark:
        """Return a mark at the end of the error log."""


@dataclass(frozen=True)
class Hold:
    """Keeps a move undecided until somebody else commits it.

    :param arm: called with the generation to go back to, before anything is switched.
    :param release: called with the reason, once this very run has gone back there.
    """

    arm: Callable[[int | None], None]
    release: Callable[[str], None]


@dataclass(frozen=True)
class Switch:
    """What shall be live.

    :param target: the generation that shall be live, None for none.
    :param files: what to write for ``target``; None if its files are there.
    :param in_place: whether the disk is as it shall be.
    :param arrange: makes a generation live on disk, link and all; called for ``target``, and for another one on a way back.
    :param endpoints_of: where a generation is told; for None, where none may be told any more.
    :param overlay: what the scratch copy has to differ in, as for scratch_copy().
    :param judge: raises Problem if the configuration in the scratch copy (at the given path) is not what it should be.
    :param even_if_stopped: put the files in place also where nginx does not run, so that it starts with them.
    :param hold: leaves what is proven undecided, None to commit it.
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
    """What was done: ``action`` is unchanged, applied, resumed or removed."""

    action: str
    reason: str
    tested: bool
    warnings: tuple[str, ...] = ()


def make_live(nginx: Server, move: Switch, *, check_mode: bool) -> Result:
    """Make the move, or in check mode find out what it would do.

    :raises MtlsError: if it cannot be made; it says whether anything changed and what was taken back.
    """
    shelf = move.shelf
    if not check_mode:
        shelf.tidy()
    decided = move.hold is None or shelf.committed() == move.target
    if decided and move.in_place and is_live(nginx, move.endpoints_of(move.target), shelf.kind, move.target):
        return _already_there(move, check_mode=check_mode)
    configuration = _rehearsed(nginx, move, check_mode=check_mode)
    result = _predict(move)
    master = nginx.master(configuration)
    if master is None and not _answers(nginx, move):
        return _while_stopped(nginx, move, result, check_mode=check_mode)
    if master is not None and move.target is not None:
        check_free(_addresses(configuration, move), master)
    if check_mode:
        return result
    base = _proven(nginx, shelf, move)
    _write(move)
    if move.hold is not None and base != move.target:
        _hold(move, move.hold, base)
        _carry_out(nginx, move, base, configuration, move.hold)
        return result
    _carry_out(nginx, move, base, configuration, None)
    shelf.prune(move.keep)
    return result


def rehearse(
    nginx: Server, overlay: Mapping[str, str | None], judge: Callable[[Configuration, str], None]
) -> Configuration:
    """Test the configuration with ``overlay`` in it, in a scratch copy, and return it. Nothing live is touched.

    :raises MtlsError: with nginx's own words, in which paths are those of the live files.
    """
    main_file = os.path.basename(nginx.conf_file)
    with sandbox_copy(nginx.conf_path, main_file, overlay) as scratch:
        try:
            configuration = nginx.dump(scratch.path(main_file), tuple(scratch.path(maps) for maps in TRUST_MAPS))
            judge(configuration, scratch.root)
        except MtlsError as problem:
            raise MtlsError(scratch.with_live_paths(problem.what), problem.hint) from None
    return configuration


def _already_there(move: Switch, *, check_mode: bool) -> Result:
    shelf = move.shelf
    if shelf.committed() == move.target:
        return Result("unchanged", "", tested=False)
    if not check_mode:
        shelf.commit(move.target)
        shelf.prune(move.keep)
    return Result(
        "resumed", "an earlier run ended before it had proven what nginx serves; it is proven now", tested=False
    )


def _rehearsed(nginx: Server, move: Switch, *, check_mode: bool) -> Configuration:
    try:
        return rehearse(nginx, move.overlay, move.judge)
    except MtlsError as problem:
        what = f"{problem.what}. It was tested in a scratch copy; nothing live was changed"
        try:
            nginx.test()
        except MtlsError as live:
            what += f". Without the change {live.what[0].lower()}{live.what[1:]}"
        if not check_mode:
            what += _undo_unfinished(nginx, move)
        raise MtlsError(what, problem.hint) from None


def _undo_unfinished(nginx: Server, move: Switch) -> str:
    """Take back what a killed run left unproven, since this run will not replace it."""
    shelf = move.shelf
    live = shelf.live()
    base = _proven(nginx, shelf, move)
    if live == base:
        return ""
    try:
        _bring_about(nginx, move, base)
    except (MtlsError, OSError) as error:
        problem = error if isinstance(error, MtlsError) else problem_of(error)
        return f". An earlier, unfinished change could not be taken back: {problem.what}"
    return f". An earlier, unfinished change was taken back: nginx serves {_named(shelf, base)}"


def _predict(move: Switch) -> Result:
    if move.in_place or (move.target is not None and move.files is None):
        return Result("resumed", "the running nginx did not serve what lies on disk", tested=True)
    return Result("removed" if move.target is None else "applied", move.reason, tested=True)


def _while_stopped(nginx: Server, move: Switch, result: Result, *, check_mode: bool) -> Result:
    named = _named(move.shelf, move.target)
    if check_mode:
        warning = f"nginx does not run with {nginx.conf_file}: the real run would fail"
        return Result(result.action, result.reason, tested=True, warnings=(warning,))
    if move.hold is not None or (not move.even_if_stopped and _live_is_sound(nginx)):
        raise MtlsError(
            f"nginx does not run with {nginx.conf_file}, so nothing could be proven; nothing was changed", "Start nginx"
        )
    _write(move)
    move.arrange(move.target)
    raise MtlsError(
        f"nginx does not run with {nginx.conf_file}; {named} was tested and lies on disk, and nginx takes it when it starts",
        "Start nginx and run this again, so that it is proven",
    )


def _live_is_sound(nginx: Server) -> bool:
    try:
        nginx.test()
    except MtlsError:
        return False
    return True


def _answers(nginx: Server, move: Switch) -> bool:
    """Return whether a gate answers, whatever the pid file says."""
    asked = {*move.endpoints_of(move.target), *move.endpoints_of(move.shelf.live())}
    return any(nginx.ask(endpoint).of(move.shelf.kind) is not None for endpoint in asked)


def _addresses(configuration: Configuration, move: Switch) -> set[tuple[str, int]]:
    listens = [listen for server in configuration.servers() for listen in server.listens if not listen.udp]
    wanted = {(listen.address, listen.port) for listen in listens if listen.port is not None}
    return wanted | {(endpoint.address, endpoint.port) for endpoint in move.endpoints_of(move.target)}


def _write(move: Switch) -> None:
    if move.target is not None and move.files is not None:
        move.shelf.write(move.target, move.files)


def _proven(nginx: Server, shelf: GenerationStore, move: Switch) -> int | None:
    """Return the generation to go back to: the live one if nginx serves it, else the one that was last proven."""
    live, committed = shelf.live(), shelf.committed()
    if (
        live is not None
        and live not in (committed, move.target)
        and is_live(nginx, move.endpoints_of(live), shelf.kind, live)
    ):
        shelf.commit(live)
        return live
    if committed is not None and os.path.isdir(shelf.directory(committed)):
        return committed
    return None


def _hold(move: Switch, hold: Hold, base: int | None) -> None:
    try:
        hold.arm(base)
    except (MtlsError, OSError):
        if move.target is not None and move.files is not None:
            move.shelf.discard(move.target)
        raise


def _carry_out(nginx: Server, move: Switch, base: int | None, configuration: Configuration, hold: Hold | None) -> None:
    """Switch, test, reload, prove, and commit unless it is held. If anything fails, go back the same way."""
    log, former = nginx.log_mark(configuration), nginx.workers(configuration)
    try:
        _switch(nginx, move, move.target)
        # The new workers answer; as long as an old one accepts too, somebody revoked just now could still get in through it.
        nginx.await_retirement(configuration, former, move.timeout)
        if hold is None:
            move.shelf.commit(move.target)
    except (MtlsError, OSError) as error:
        raise _way_back(nginx, move, base, error, log.since(), hold) from error


def _bring_about(nginx: Server, move: Switch, generation: int | None) -> None:
    _switch(nginx, move, generation)
    move.shelf.commit(generation)


def _switch(nginx: Server, move: Switch, generation: int | None) -> None:
    move.arrange(generation)
    nginx.test()
    nginx.reload()
    wait_until_live(nginx, move.endpoints_of(generation), move.shelf.kind, generation, move.timeout)


def _way_back(
    nginx: Server, move: Switch, base: int | None, error: MtlsError | OSError, logged: str, hold: Hold | None
) -> MtlsError:
    problem = error if isinstance(error, MtlsError) else problem_of(error)
    what, hint = problem.what, problem.hint
    what += f". nginx logged: {logged}" if logged else ""
    if base == move.target:
        return MtlsError(f"{what}. It is what was last proven, so there is nothing to go back to", hint)
    before = _named(move.shelf, base)
    try:
        _bring_about(nginx, move, base)
        if hold is not None:
            hold.release(what)
    except (MtlsError, OSError) as failure:
        second = failure if isinstance(failure, MtlsError) else problem_of(failure)
        again = " The armed revert tries that again when its time has come." if hold else ""
        return MtlsError(
            f"{what}. Going back to {before} failed as well: {second}{again}", f"{hint}, then run this again"
        )
    if move.target is not None:
        move.shelf.discard(move.target)
    return MtlsError(f"{what}. Reverted: nginx serves {before} again, as fresh connections proved", hint)


def _named(shelf: GenerationStore, generation: int | None) -> str:
    return f"no {shelf.kind}" if generation is None else f"{shelf.kind} generation {generation}"
