# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that the next run repairs the state after a kill at any moment.

Each system call that changes something is a kill point. The server is a model that loads the files on disk at a reload.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import os
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._contracts.status_protocol import Answer, Endpoint
from ansible_collections.quietdoor.mtls.plugins.module_utils._deploy import generation_store, live_generation, switch
from ansible_collections.quietdoor.mtls.plugins.module_utils._deploy.deadline import Moment
from ansible_collections.quietdoor.mtls.plugins.module_utils._gate import (
    apply,
    arm,
    armed_state,
    operations,
    revert_timer,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._gate.apply import Request, apply_gate
from ansible_collections.quietdoor.mtls.plugins.module_utils._gate.arm import Arming
from ansible_collections.quietdoor.mtls.plugins.module_utils._gate.armed_state import Trigger, read_transaction
from ansible_collections.quietdoor.mtls.plugins.module_utils._gate.auto_revert import Rules, settle
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.config_model import Configuration, read_dump
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.config_parser import parse
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.nginx import LogMark

ENDPOINT = Endpoint("admin", "127.0.0.1", 443, "admin.test")
# Every way in which this collection changes a directory.
SYSTEM_CALLS = ("mkdir", "rename", "symlink", "unlink", "rmdir", "chmod", "open")


OPEN = os.open


class Killed(BaseException):
    """The process was killed."""


class Model:
    """A model of nginx that consists of its configuration files only."""

    def __init__(self, conf_path: Path) -> None:
        self.conf_path = str(conf_path)
        self.conf_file = str(conf_path / "nginx.conf")
        self.serves = Answer()
        self.runs = True
        self.before: Callable[[str], None] = lambda _what: None

    def check(self) -> None:
        """Accept."""

    def dump(self, conf_file: str, opaque: Collection[str] = ()) -> Configuration:
        """Read the files as nginx would."""
        self.before("dump")
        return self._read(conf_file, opaque)

    def test(self) -> None:
        """Read the live files."""
        self.before("test")
        self._read(self.conf_file)

    def reload(self) -> None:
        """Serve the files on disk."""
        self.before("reload")
        found = self._read(self.conf_file)
        reported = {
            directive.args[1]: int(directive.block[0].args[0])
            for _context, directive in found.walk()
            if directive.name == "map" and directive.block
        }
        self.serves = Answer(reported.get("$quietdoor_gate_generation"), reported.get("$quietdoor_trust_generation"))
        self.before("reloaded")

    def workers(self, _configuration: Configuration) -> frozenset[int]:
        """Return no workers."""
        return frozenset()

    def await_retirement(self, _configuration: Configuration, _workers: frozenset[int], _timeout: float) -> None:
        """Return at once."""

    def ask(self, endpoint: Endpoint) -> Answer:
        """Return the served generations."""
        assert endpoint == ENDPOINT
        return self.serves

    def master(self, _configuration: Configuration) -> int | None:
        """Return a process id."""
        return 4242 if self.runs else None

    def log_mark(self, _configuration: Configuration) -> LogMark:
        """Return a mark without a log."""
        return LogMark(None, 0)

    def _read(self, conf_file: str, opaque: Collection[str] = ()) -> Configuration:
        home = os.path.dirname(conf_file)
        waiting, dump = [conf_file], ""
        while waiting:
            path = waiting.pop(0)
            try:
                text = Path(path).read_text(encoding="utf-8")
            except OSError:
                raise MtlsError(f'nginx refuses the configuration: open() "{path}" failed', "Correct it") from None
            if "BROKEN" in text:
                raise MtlsError(f"nginx refuses the configuration: BROKEN in {path}", "Correct it")
            dump += f"# configuration file {path}:\n{text}\n"
            for directive in _flat(parse(text, path)):
                if directive.name == "include":
                    pattern = os.path.join(home, directive.args[0])
                    waiting += sorted(glob.glob(pattern)) if glob.has_magic(pattern) else [pattern]
        return read_dump(dump, opaque)


def _flat(directives: Any) -> Any:
    for directive in directives:
        yield directive
        yield from _flat(directive.block or ())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Disable pauses, syncs and sockets, and use a temporary directory of the test itself."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("tmp")))
    monkeypatch.setattr(live_generation, "_PAUSE", 0)
    monkeypatch.setattr(switch, "check_free", lambda _wanted, _master: None)
    monkeypatch.setattr(os, "fsync", lambda _handle: None)


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """Return a model with trust and without a gate."""
    return _fresh(tmp_path)


def request(word: str | None) -> Request:
    """Return a request for a candidate with ``word`` in it; None removes the gate."""
    if word is None:
        return Request({}, (), 0, 5)
    manifest = {"format": 1, "endpoints": [ENDPOINT.__dict__]}
    candidate = {
        "http.conf": f"include quietdoor/gate/generation.conf;\n# {word}\n",
        "manifest.json": json.dumps(manifest),
    }
    return Request({**candidate, "sites/a.conf": f"# {word}\n"}, (ENDPOINT,), 0, 5)


def run(model: Model, word: str | None, *, check_mode: bool = False) -> apply.Outcome:
    """Apply the candidate."""
    return apply_gate(model, request(word), check_mode=check_mode)  # type: ignore[arg-type]


class Reaper:
    """Kills the run before its n-th system call that changes something. All later calls fail, too."""

    def __init__(self, model: Model, monkeypatch: pytest.MonkeyPatch, moment: int) -> None:
        self.left = moment
        self.dead = False
        model.before = lambda _what: self.count()
        for name in SYSTEM_CALLS:
            monkeypatch.setattr(os, name, self.guarded(getattr(os, name)))

    def count(self) -> None:
        """Count one call, and die at the given one."""
        self.left -= 1
        if self.left < 0 or self.dead:
            self.dead = True
            raise Killed

    def guarded(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return the system call with the kill point in front."""

        def guard(*args: Any, **keywords: Any) -> Any:
            if not (call is OPEN and args[1] & os.O_DIRECTORY):  # to make names durable, or to look
                self.count()
            return call(*args, **keywords)

        return guard


def dies(model: Model, word: str | None, moment: int) -> bool:
    """Run and die at the given moment; return whether the run ended before it."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        reaper = Reaper(model, monkeypatch, moment)
        try:
            run(model, word)
        except Killed:
            return False
        finally:
            model.before = lambda _what: None
        return not reaper.dead


def is_whole(model: Model, outcome: apply.Outcome) -> None:
    """Assert that disk, memory and server agree."""
    home = Path(model.conf_path)
    live = generation_store.GenerationStore(model.conf_path, "gate")
    assert live.live() == live.committed() == model.serves.gate == outcome.generation
    assert (home / apply.ENTRY).exists() == (outcome.generation is not None)
    assert not list(home.rglob(".quietdoor-tmp-*"))


# The live word, the word that the killed run wants, the word that the next run wants.
STORIES = [
    (None, "a", "a"),
    (None, "a", "b"),
    (None, "a", None),
    ("a", "b", "b"),
    ("a", "b", "a"),
    ("a", "b", "c"),
    ("a", "b", None),
    ("a", None, None),
    ("a", None, "a"),
    ("a", None, "b"),
]


@pytest.mark.parametrize(("live", "dying", "then"), STORIES)
def test_every_moment(
    tmp_path_factory: pytest.TempPathFactory,
    live: str | None,
    dying: str | None,
    then: str | None,
) -> None:
    """Check that a later run succeeds, and that its report and its prediction are correct."""
    for moment in range(1000):
        model = _fresh(tmp_path_factory.mktemp("moment"))
        if live:
            run(model, live)
        lived = dies(model, dying, moment)
        _is_loadable(model)
        predicted = run(model, then, check_mode=True)
        outcome = run(model, then)
        is_whole(model, outcome)
        assert predicted.result.action == outcome.result.action
        assert predicted.generation == outcome.generation
        if then is not None:
            assert (
                generation_store.GenerationStore(model.conf_path, "gate").files(outcome.generation)["sites/a.conf"]
                == f"# {then}\n"
            )
        assert run(model, then).result.action == "unchanged"
        if lived:
            assert moment > 10
            return
    raise AssertionError("the run never lived to its end")


@pytest.mark.parametrize("live", [None, "a"])
def test_rejected_candidate_after_a_kill(tmp_path_factory: pytest.TempPathFactory, live: str | None) -> None:
    """Check that disk and server agree after a next run whose candidate nginx rejects."""
    for moment in range(1000):
        model = _fresh(tmp_path_factory.mktemp("moment"))
        if live:
            run(model, live)
        lived = dies(model, "b", moment)
        with pytest.raises(MtlsError, match=r"BROKEN in .*/conf/quietdoor/gate/http.conf"):
            run(model, "BROKEN")
        state = generation_store.GenerationStore(model.conf_path, "gate")
        assert state.live() == state.committed() == model.serves.gate
        _is_loadable(model)
        if lived:
            return
    raise AssertionError("the run never lived to its end")


def _fresh(path: Path) -> Model:
    home = path / "conf"
    (home / "conf.d").mkdir(parents=True)
    (home / "nginx.conf").write_text("http { include conf.d/*.conf; }\n")
    (home / "quietdoor/trusts/7").mkdir(parents=True)
    (home / "quietdoor/trusts/7/http.conf").write_text('map "" $quietdoor_trust_generation { default 7; }\n')
    (home / "quietdoor/trust").symlink_to("trusts/7")
    return Model(home)


def _is_loadable(model: Model) -> None:
    """Assert that nginx could start with the files on disk."""
    model.test()


def test_generation_numbers_are_never_reused(model: Model) -> None:
    """Use new numbers after a rejection, a revert and a removal."""
    assert run(model, "a").generation == 1
    with pytest.raises(MtlsError):
        run(model, "BROKEN")
    model.reload = lambda: None  # type: ignore[method-assign]
    with pytest.raises(MtlsError, match="Reverted: nginx serves gate generation 1 again"):
        run(model, "b")
    del model.reload  # type: ignore[method-assign]
    assert run(model, "c").generation == 3
    assert run(model, None).generation is None
    assert run(model, "a").generation == 4


def test_failed_revert_is_reported(model: Model) -> None:
    """Name both errors."""
    run(model, "a")

    def fails() -> None:
        model.serves = Answer()
        raise MtlsError("reload failed", "Correct it")

    model.reload = fails  # type: ignore[method-assign]
    with pytest.raises(MtlsError, match="The revert to gate generation 1 failed, too: reload failed"):
        run(model, "b")
    del model.reload  # type: ignore[method-assign]
    assert run(model, "a").result.action == "resumed"


def test_verified_generation_is_kept(model: Model) -> None:
    """Keep the live, verified generation if a reload fails."""
    run(model, "a")
    model.serves = Answer()
    model.reload = lambda: None  # type: ignore[method-assign]
    with pytest.raises(MtlsError, match="no other generation exists to revert to"):
        run(model, "a")
    assert generation_store.GenerationStore(model.conf_path, "gate").files(1)["sites/a.conf"] == "# a\n"


@pytest.mark.parametrize("name", ["gate", "gate.committed", "gate.highest"])
def test_unexpected_files_are_named_and_kept(model: Model, name: str) -> None:
    """Raise an error and keep the file."""
    path = Path(model.conf_path) / "quietdoor" / name
    path.write_text("mine")
    with contextlib.ExitStack() as stack:
        stack.enter_context(pytest.raises(MtlsError, match=f"{name} was not written by this collection"))
        run(model, "a")
    assert path.read_text() == "mine"


def test_file_of_the_live_tree_in_a_scratch_copy_is_an_error(model: Model) -> None:
    """Detect an include that cannot be redirected into the scratch copy."""
    run(model, "a")
    live = os.path.join(model.conf_path, "quietdoor/gates/1/http.conf")
    read = model.dump

    def dump(conf_file: str, opaque: Collection[str] = ()) -> Configuration:
        found = read(conf_file, opaque)
        return Configuration(found.main_file, (*found.files, live), found.directives)

    model.dump = dump  # type: ignore[method-assign]
    with pytest.raises(MtlsError, match="is read from the live tree even in a scratch copy"):
        run(model, "b")


# --- a transaction in steps ---

RULES = Rules(0, 5)
EARLY, LATE = Moment(1000.0, 50.0, "boot"), Moment(2000.0, 1050.0, "boot")


@pytest.fixture
def unarmed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable the timer of the armed revert; the tests call it."""
    monkeypatch.setattr(revert_timer, "start", lambda _kind, _conf_path, _deadline: Trigger("process"))
    monkeypatch.setattr(revert_timer, "stop", lambda _conf_path, _trigger, **_own: None)
    monkeypatch.setattr(arm, "build_program", lambda _package, _module: b"program")


def begin(model: Model, word: str | None, *, force: bool = False) -> apply.Outcome:
    """Begin a transaction with a deadline in five minutes."""
    armed_by = Arming("kim", 300, "process", {}, lambda: EARLY, force)
    return apply_gate(model, request(word), check_mode=False, arming=armed_by, clock=lambda: EARLY)  # type: ignore[arg-type]


def commit(model: Model, now: Moment = EARLY) -> operations.End:
    """Commit the armed transaction."""
    held = read_transaction(model.conf_path)
    assert held
    return operations.commit(model, held.id, now, RULES, check_mode=False)  # type: ignore[arg-type]


def revert(model: Model) -> operations.End:
    """Revert the armed transaction."""
    return operations.revert(model, "", "kim", EARLY, RULES, check_mode=False)  # type: ignore[arg-type]


def comes_back(model: Model, now: Moment = LATE) -> None:
    """Run the armed revert at its deadline."""
    with generation_store.locked(model.conf_path, check_mode=False):
        settle(model, now, RULES)  # type: ignore[arg-type]


def word_of(model: Model) -> str | None:
    """Return the word of the live gate after checking that disk and server agree."""
    state = generation_store.GenerationStore(model.conf_path, "gate")
    assert state.live() == state.committed() == model.serves.gate
    assert (Path(model.conf_path) / apply.ENTRY).exists() == (state.live() is not None)
    files = state.files(state.live())
    return files["sites/a.conf"].strip("# \n") if files else None


def dies_in(model: Model, call: Callable[..., Any], moment: int, *wanted: str | None) -> bool:
    """Make a call that dies at the given moment; return whether it ended before it."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        reaper = Reaper(model, monkeypatch, moment)
        try:
            call(model, *wanted)
        except Killed:
            return False
        finally:
            model.before = lambda _what: None
        return not reaper.dead


def is_over(model: Model) -> None:
    """Assert that nothing is armed, and that no file of a transaction is left."""
    last = read_transaction(model.conf_path)
    assert last is None or last.over
    assert not armed_state.laid_out(model.conf_path)
    # Files that a killed run left of a generation that never was live are removed with the next write.
    left = Path(model.conf_path).rglob(".quietdoor-tmp-*")
    assert not [path for path in left if "gates" not in path.parts]


CALLS: dict[str, Callable[[Model], Any]] = {"commit": commit, "revert": revert, "fired": comes_back}


@pytest.mark.usefixtures("unarmed")
@pytest.mark.parametrize(("live", "wanted"), [(None, "b"), ("a", "b"), ("a", None)])
@pytest.mark.parametrize("dying", ["begin", *CALLS])
@pytest.mark.parametrize("then", ["fired", "another"])
def test_every_moment_of_an_armed_transaction(
    tmp_path_factory: pytest.TempPathFactory, live: str | None, wanted: str | None, dying: str, then: str
) -> None:
    """Check that the armed revert or the next run ends the transaction: the gate is the former or the new one."""
    ends = set()
    for moment in range(0, 1000, 1 if then == "fired" else 3):
        model = _fresh(tmp_path_factory.mktemp("moment"))
        if live:
            run(model, live)
        if dying == "begin":
            lived = dies_in(model, begin, moment, wanted)
        else:
            assert begin(model, wanted).armed
            lived = dies_in(model, CALLS[dying], moment)
        _is_loadable(model)
        if then == "fired":
            comes_back(model)
            ends.add(word_of(model))
        else:
            outcome = apply_gate(model, request("c"), check_mode=False, clock=lambda: LATE)  # type: ignore[arg-type]
            assert word_of(model) == "c"
            assert outcome.previous_generation in (1, 2, None)
        is_over(model)
        if lived:
            break
    else:
        raise AssertionError("it never lived to its end")
    if then == "fired":
        assert ends == ({live, wanted} if dying == "commit" else {live})


@pytest.mark.usefixtures("unarmed")
@pytest.mark.parametrize("live", [None, "a"])
def test_gate_is_reverted_on_a_full_disk(tmp_path_factory: pytest.TempPathFactory, live: str | None) -> None:
    """From any moment on no file can be created: the former gate is live, and the files agree once there is space."""
    for moment in range(100):
        model = _fresh(tmp_path_factory.mktemp("moment"))
        if live:
            run(model, live)
        served = model.serves
        with pytest.MonkeyPatch.context() as monkeypatch:
            made = _fills_up(monkeypatch, moment)
            with contextlib.suppress(MtlsError, OSError):
                begin(model, "b")
            with contextlib.suppress(MtlsError, OSError):
                comes_back(model)
            assert model.serves == served
            filled = made[0] > moment
        comes_back(model)
        assert word_of(model) == live
        is_over(model)
        if not filled:
            return
    raise AssertionError("the disk was never large enough")


def _fills_up(monkeypatch: pytest.MonkeyPatch, moment: int) -> list[int]:
    """Fail to create files after this number; renames, links and removals need no space."""
    made, mkstemp, mkdir = [0], tempfile.mkstemp, os.mkdir

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def guard(*args: Any, **keywords: Any) -> Any:
            if call is mkdir and os.path.isdir(args[0]):
                return call(*args, **keywords)
            made[0] += 1
            if made[0] > moment:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), args[0] if args else None)
            return call(*args, **keywords)

        return guard

    monkeypatch.setattr(tempfile, "mkstemp", counted(mkstemp))
    monkeypatch.setattr(os, "mkdir", counted(mkdir))
    return made


@pytest.mark.usefixtures("unarmed")
class TestHeld:
    """Tests of the steps that are allowed while a transaction is armed, and afterwards."""

    def test_others_are_refused_until_the_deadline(self, model: Model) -> None:
        run(model, "a")
        held = begin(model, "b").armed
        assert held
        for call in (
            lambda: begin(model, "c"),
            lambda: apply_gate(model, request("c"), check_mode=True, clock=lambda: EARLY),
        ):  # type: ignore[arg-type]
            with pytest.raises(
                MtlsError, match=f"held by transaction {held.id}, begun by kim at 1970-01-01 00:16:40 UTC"
            ):
                call()
        assert model.serves.gate == 2
        assert apply_gate(model, request("c"), check_mode=False, clock=lambda: LATE).previous_generation == 1  # type: ignore[arg-type]

    def test_commit_and_the_fired_revert(self, model: Model) -> None:
        """Let the first holder of the lock win, and the other one fail with an error."""
        run(model, "a")
        begin(model, "b")
        comes_back(model, EARLY)
        assert model.serves.gate == 2
        assert commit(model).action == "committed"
        comes_back(model)
        assert (word_of(model), commit(model, LATE).action) == ("b", "unchanged")
        begin(model, "c")
        with pytest.raises(
            MtlsError, match="cannot be committed any more, because the gate was reverted to generation 2: it was not"
        ):
            commit(model, LATE)
        assert word_of(model) == "b"
        assert revert(model).action == "unchanged"

    def test_a_commit_needs_the_id(self, model: Model) -> None:
        run(model, "a")
        begin(model, "b")
        for name in ("", "0123456789abcdef"):
            with pytest.raises(MtlsError, match="There is no transaction"):
                operations.commit(model, name, EARLY, RULES, check_mode=False)  # type: ignore[arg-type]
        assert revert(model).action == "reverted"

    def test_what_cannot_be_armed_is_not_begun(self, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
        run(model, "a")

        def fails(*_args: Any) -> Trigger:
            raise MtlsError("systemctl failed", "Correct it")

        monkeypatch.setattr(revert_timer, "start", fails)
        with pytest.raises(MtlsError, match="systemctl failed"):
            begin(model, "b")
        assert word_of(model) == "a"
        is_over(model)
        assert generation_store.GenerationStore(model.conf_path, "gate").stored() == [1]

    def test_failed_revert_is_tried_again_at_the_deadline(self, model: Model) -> None:
        """Keep the transaction armed, so that the armed revert tries again."""
        run(model, "a")

        def fails() -> None:
            raise MtlsError("reload failed", "Correct it")

        model.reload = fails  # type: ignore[method-assign]
        with pytest.raises(MtlsError, match="The armed revert tries again at its deadline"):
            begin(model, "b")
        with pytest.raises(MtlsError, match="reload failed"):
            comes_back(model)
        with pytest.raises(MtlsError, match="The armed revert keeps trying to restore generation 1"):
            revert(model)
        del model.reload  # type: ignore[method-assign]
        comes_back(model)
        assert word_of(model) == "a"
        is_over(model)

    def test_snapshot_survives_an_edit_of_the_old_files(self, model: Model) -> None:
        """Restore the former files even if they were emptied while a transaction was armed."""
        run(model, "a")
        begin(model, "b")
        (Path(model.conf_path) / "quietdoor/gates/1/sites/a.conf").write_text("BROKEN")
        comes_back(model)
        assert word_of(model) == "a"

    def test_nginx_was_stopped_meanwhile(self, model: Model) -> None:
        """Do not reload a stopped nginx; it starts with the former gate."""
        run(model, "a")
        begin(model, "b")
        model.runs, model.serves = False, Answer()
        model.reload = lambda: pytest.fail("nginx does not run")  # type: ignore[method-assign]
        comes_back(model)
        is_over(model)
        del model.reload  # type: ignore[method-assign]
        model.reload()
        assert word_of(model) == "a"

    def test_trust_is_not_touched(self, model: Model) -> None:
        """Keep a revocation that was installed while the gate was armed."""
        run(model, "a")
        begin(model, "b")
        home = Path(model.conf_path) / "quietdoor"
        (home / "trusts/8").mkdir()
        (home / "trusts/8/http.conf").write_text('map "" $quietdoor_trust_generation { default 8; }\n')
        (home / "trust").unlink()
        (home / "trust").symlink_to("trusts/8")
        comes_back(model)
        assert model.serves == Answer(1, 8)

    def test_damaged_state_is_named(self, model: Model) -> None:
        run(model, "a")
        state = Path(model.conf_path) / armed_state.TRANSACTION
        state.write_text('{"format": 1}')
        with pytest.raises(MtlsError, match=r"gate\.transaction is damaged"):
            run(model, "b")
        assert word_of(model) == "a"

    @pytest.mark.parametrize("path", ["quietdoor/gates/1/sites/a.conf", apply.ENTRY, "quietdoor/gates/1/mine.conf"])
    def test_manual_changes_are_refused(self, model: Model, path: str) -> None:
        """Refuse changed or added files unless forced; a revert restores them."""
        run(model, "a")
        file = Path(model.conf_path) / path
        file.write_text((file.read_text() if file.exists() else "") + "# by hand\n")
        found = file.read_text()
        with pytest.raises(MtlsError, match="The live gate was changed manually"):
            begin(model, "b")
        assert begin(model, "b", force=True).armed
        comes_back(model)
        assert model.serves.gate == 1
        assert file.read_text() == found

    def test_removed_entry(self, model: Model) -> None:
        """Refuse to continue after a manual removal of the gate."""
        run(model, "a")
        (Path(model.conf_path) / apply.ENTRY).unlink()
        with pytest.raises(MtlsError, match=r"conf\.d/quietdoor\.conf differs from what the last transaction wrote"):
            begin(model, "b")

    def test_rollback_is_a_candidate_as_it_was_written(self, model: Model) -> None:
        run(model, "a")
        run(model, "b")
        (Path(model.conf_path) / "quietdoor/gates/1/sites/a.conf").write_text("BROKEN")
        candidate, endpoints = operations.candidate_of(model.conf_path, 1)
        assert (candidate, endpoints) == (request("a").candidate, (ENDPOINT,))
        assert operations.candidate_of(model.conf_path, 0) == ({}, ())
        with pytest.raises(MtlsError, match=r"Gate generation 3 is not kept on this host \(kept: 1, 2\)"):
            operations.candidate_of(model.conf_path, 3)
        assert [one.intact for one in operations.status(model).kept] == [True, False]  # type: ignore[arg-type]
