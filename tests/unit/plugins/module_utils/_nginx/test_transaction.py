# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever moment a run dies at, the next one brings link, proven generation and the running server together.

Here every single write is such a moment. The server is a model: it takes what lies on disk when it is reloaded.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._ansible.errors import Problem
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx import gate, generation, shelf, transaction
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.config import Configuration, parse, read_dump
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.gate import Request, apply_gate
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.generation import Answer, Endpoint
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.server import LogMark

ENDPOINT = Endpoint("admin", "127.0.0.1", 443, "admin.test")
# Every way in which this collection changes a directory.
SYSTEM_CALLS = ("mkdir", "rename", "symlink", "unlink", "rmdir", "chmod", "open")


OPEN = os.open


class Killed(BaseException):
    """The process is gone."""


class Model:
    """An nginx that is nothing but its configuration files."""

    def __init__(self, conf_path: Path) -> None:
        self.conf_path = str(conf_path)
        self.conf_file = str(conf_path / "nginx.conf")
        self.serves = Answer()
        self.runs = True
        self.before: Callable[[str], None] = lambda _what: None

    def check(self) -> None:
        """It is installed."""

    def dump(self, conf_file: str, opaque: Collection[str] = ()) -> Configuration:
        """Read the files as nginx would."""
        self.before("dump")
        return self._read(conf_file, opaque)

    def test(self) -> None:
        """Read the live files."""
        self.before("test")
        self._read(self.conf_file)

    def reload(self) -> None:
        """Serve what lies on disk."""
        self.before("reload")
        found = self._read(self.conf_file)
        told = {
            directive.args[1]: int(directive.block[0].args[0])
            for _context, directive in found.walk()
            if directive.name == "map" and directive.block
        }
        self.serves = Answer(told.get("$quietdoor_gate_generation"), told.get("$quietdoor_trust_generation"))
        self.before("reloaded")

    def workers(self, _configuration: Configuration) -> frozenset[int]:
        """It has none."""
        return frozenset()

    def await_retirement(self, _configuration: Configuration, _workers: frozenset[int], _timeout: float) -> None:
        """Nothing to wait for."""

    def ask(self, endpoint: Endpoint) -> Answer:
        """Tell it."""
        assert endpoint == ENDPOINT
        return self.serves

    def master(self, _configuration: Configuration) -> int | None:
        """A number."""
        return 4242 if self.runs else None

    def log_mark(self, _configuration: Configuration) -> LogMark:
        """It logs nothing."""
        return LogMark(None, 0)

    def _read(self, conf_file: str, opaque: Collection[str] = ()) -> Configuration:
        home = os.path.dirname(conf_file)
        waiting, dump = [conf_file], ""
        while waiting:
            path = waiting.pop(0)
            try:
                text = Path(path).read_text(encoding="utf-8")
            except OSError:
                raise Problem(f'nginx refuses the configuration: open() "{path}" failed', "Mend it") from None
            if "BROKEN" in text:
                raise Problem(f"nginx refuses the configuration: BROKEN in {path}", "Mend it")
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
    """No pauses, no disk, no sockets, and what the dead leave in the temporary directory stays within the test's own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("tmp")))
    monkeypatch.setattr(generation, "_PAUSE", 0)
    monkeypatch.setattr(transaction, "check_free", lambda _wanted, _master: None)
    monkeypatch.setattr(os, "fsync", lambda _handle: None)


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """A model with a trust and no gate."""
    return _fresh(tmp_path)


def request(word: str | None) -> Request:
    """A candidate that is told by ``word``; None to remove the gate."""
    if word is None:
        return Request({}, (), 0, 5)
    manifest = {"format": 1, "endpoints": [ENDPOINT.__dict__]}
    candidate = {
        "http.conf": f"include quietdoor/gate/generation.conf;\n# {word}\n",
        "manifest.json": json.dumps(manifest),
    }
    return Request({**candidate, "sites/a.conf": f"# {word}\n"}, (ENDPOINT,), 0, 5)


def run(model: Model, word: str | None, *, check_mode: bool = False) -> gate.Outcome:
    """One call."""
    return apply_gate(model, request(word), check_mode=check_mode)  # type: ignore[arg-type]


class Reaper:
    """Kills the run before its n-th system call that changes something; once dead, nothing works any more."""

    def __init__(self, model: Model, monkeypatch: pytest.MonkeyPatch, moment: int) -> None:
        self.left = moment
        self.dead = False
        model.before = lambda _what: self.count()
        for name in SYSTEM_CALLS:
            monkeypatch.setattr(os, name, self.guarded(getattr(os, name)))

    def count(self) -> None:
        """One step further."""
        self.left -= 1
        if self.left < 0 or self.dead:
            self.dead = True
            raise Killed

    def guarded(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return the system call, deadly."""

        def guard(*args: Any, **keywords: Any) -> Any:
            if not (call is OPEN and args[1] & os.O_DIRECTORY):  # to make names durable, or to look
                self.count()
            return call(*args, **keywords)

        return guard


def dies(model: Model, word: str | None, moment: int) -> bool:
    """Run and die at the given moment; return whether the run lived long enough to end."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        reaper = Reaper(model, monkeypatch, moment)
        try:
            run(model, word)
        except Killed:
            return False
        finally:
            model.before = lambda _what: None
        return not reaper.dead


def is_whole(model: Model, outcome: gate.Outcome) -> None:
    """Assert that disk, memory and server agree."""
    home = Path(model.conf_path)
    live = shelf.Shelf(model.conf_path, "gate")
    assert live.live() == live.committed() == model.serves.gate == outcome.generation
    assert (home / gate.ENTRY).exists() == (outcome.generation is not None)
    assert not list(home.rglob(".quietdoor-tmp-*"))


# What is live, what the run that dies wants, what the next run wants.
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
    """A later run always ends well, says the truth about what it changed, and predicted it."""
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
            assert shelf.Shelf(model.conf_path, "gate").files(outcome.generation)["sites/a.conf"] == f"# {then}\n"
        assert run(model, then).result.action == "unchanged"
        if lived:
            assert moment > 10
            return
    raise AssertionError("the run never lived to its end")


@pytest.mark.parametrize("live", [None, "a"])
def test_refused_after_a_death(tmp_path_factory: pytest.TempPathFactory, live: str | None) -> None:
    """A next run with a candidate that nginx refuses: afterwards the disk holds what is served."""
    for moment in range(1000):
        model = _fresh(tmp_path_factory.mktemp("moment"))
        if live:
            run(model, live)
        lived = dies(model, "b", moment)
        with pytest.raises(Problem, match=r"BROKEN in .*/conf/quietdoor/gate/http.conf"):
            run(model, "BROKEN")
        state = shelf.Shelf(model.conf_path, "gate")
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
    """A reboot at this moment: what lies on disk can be read."""
    model.test()


def test_number_never_returns(model: Model) -> None:
    """After a refusal, a revert, a removal."""
    assert run(model, "a").generation == 1
    with pytest.raises(Problem):
        run(model, "BROKEN")
    model.reload = lambda: None  # type: ignore[method-assign]
    with pytest.raises(Problem, match="Reverted: nginx serves gate generation 1 again"):
        run(model, "b")
    del model.reload  # type: ignore[method-assign]
    assert run(model, "c").generation == 3
    assert run(model, None).generation is None
    assert run(model, "a").generation == 4


def test_way_back_fails_as_well(model: Model) -> None:
    """It says so."""
    run(model, "a")

    def fails() -> None:
        model.serves = Answer()
        raise Problem("reload failed", "Mend it")

    model.reload = fails  # type: ignore[method-assign]
    with pytest.raises(Problem, match="Going back to gate generation 1 failed as well: reload failed"):
        run(model, "b")
    del model.reload  # type: ignore[method-assign]
    assert run(model, "a").result.action == "resumed"


def test_what_was_proven_is_never_thrown_away(model: Model) -> None:
    """A reload that fails on the generation that is live and proven."""
    run(model, "a")
    model.serves = Answer()
    model.reload = lambda: None  # type: ignore[method-assign]
    with pytest.raises(Problem, match="nothing to go back to"):
        run(model, "a")
    assert shelf.Shelf(model.conf_path, "gate").files(1)["sites/a.conf"] == "# a\n"


@pytest.mark.parametrize("name", ["gate", "gate.committed", "gate.highest"])
def test_strange_things_in_the_way(model: Model, name: str) -> None:
    """Named, not overwritten."""
    path = Path(model.conf_path) / "quietdoor" / name
    path.write_text("mine")
    with contextlib.ExitStack() as stack:
        stack.enter_context(pytest.raises(Problem, match=f"{name} is not what this collection put there"))
        run(model, "a")
    assert path.read_text() == "mine"


def test_reads_the_live_tree(model: Model) -> None:
    """A file that cannot be redirected into the scratch copy: said, not overlooked."""
    run(model, "a")
    live = os.path.join(model.conf_path, "quietdoor/gates/1/http.conf")
    read = model.dump

    def dump(conf_file: str, opaque: Collection[str] = ()) -> Configuration:
        found = read(conf_file, opaque)
        return Configuration(found.main_file, (*found.files, live), found.directives)

    model.dump = dump  # type: ignore[method-assign]
    with pytest.raises(Problem, match="is read from the live tree even in a scratch copy"):
        run(model, "b")
