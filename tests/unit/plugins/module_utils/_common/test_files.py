# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test atomic writes, locks, and the file names in system errors."""

from __future__ import annotations

import ast
import builtins
import errno
import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common import files
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


@pytest.mark.parametrize("wanted", [0o600, 0o644])
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_file_has_its_mode_whatever_the_umask(wanted: int, umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        files.write_atomic(str(tmp_path / "file"), b"text", wanted)
    finally:
        os.umask(before)
    assert (tmp_path / "file").read_bytes() == b"text"
    assert mode(tmp_path / "file") == wanted


def test_a_secret_never_exists_with_a_wider_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    fchmod = os.fchmod
    monkeypatch.setattr(
        os, "fchmod", lambda *arguments: (seen.append(os.fstat(arguments[0]).st_mode), fchmod(*arguments))
    )
    files.write_atomic(str(tmp_path / "key"), b"secret", 0o600)
    assert [found & 0o777 for found in seen] == [0o600]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("old")

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_atomic(str(tmp_path / "file"), b"new", 0o600)
    assert (tmp_path / "file").read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_link_is_replaced_in_one_step(tmp_path: Path) -> None:
    files.link_atomic("one", str(tmp_path / "link"))
    files.link_atomic("two", str(tmp_path / "link"))
    assert (tmp_path / "link").readlink() == Path("two")
    assert os.listdir(tmp_path) == ["link"]


def test_a_link_takes_the_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "link").write_text("file")
    files.link_atomic("one", str(tmp_path / "link"))
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("count", [3, 100])
def test_many_files_and_links_are_written_at_once(count: int, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "0").write_text("old")
    entries = [files.NewFile(str(tmp_path / str(index)), b"%d" % index, 0o600) for index in range(count)]
    links = [files.NewLink(str(tmp_path / "sub" / f"{index}.link"), f"../{index}") for index in range(count)]
    files.put_all([*entries, *links])
    assert len(os.listdir(tmp_path)) == count + 1
    for index in range(count):
        assert (tmp_path / "sub" / f"{index}.link").read_text() == str(index)
        assert mode(tmp_path / str(index)) == 0o600


def test_many_files_take_their_places_in_the_order_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["c", "a", "d", "b"]
    events = []
    rename, sync = os.rename, files._sync_paths
    monkeypatch.setattr(os, "rename", lambda old, new: (events.append(Path(new).name), rename(old, new)))
    monkeypatch.setattr(files, "_sync_paths", lambda paths: (events.append(len(paths)), sync(paths)))
    files.put_all([files.NewFile(str(tmp_path / name), b"text", 0o600) for name in names])
    assert events == [4, *names, 1]


@pytest.mark.parametrize("failing", ["fsync", "syncfs"])
def test_many_files_are_all_written_or_none(failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "0").write_text("old")

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    if failing == "fsync":
        monkeypatch.setattr(files, "_load_syncfs", lambda: None)
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr(files.ctypes, "get_errno", lambda: 28)
        monkeypatch.setattr(files, "_load_syncfs", lambda: lambda _handle: -1)
    with pytest.raises(OSError, match="No space"):
        files.put_all([files.NewFile(str(tmp_path / str(index)), b"new", 0o600) for index in range(100)])
    assert os.listdir(tmp_path) == ["0"]
    assert (tmp_path / "0").read_text() == "old"


def test_leftovers_are_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".quietdoor-tmp-x").write_text("half")
    (tmp_path / "whole").write_text("whole")
    files.remove_leftovers(str(tmp_path))
    assert os.listdir(tmp_path) == ["whole"]


def test_a_directory_is_made_once_with_its_mode(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        assert files.make_directory(str(tmp_path / "private"), 0o700)
        assert files.make_directory(str(tmp_path / "public"), 0o755)
    finally:
        os.umask(before)
    assert not files.make_directory(str(tmp_path / "private"), 0o700)
    assert [mode(tmp_path / name) for name in ("private", "public")] == [0o700, 0o755]


def test_an_open_directory_is_closed(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir(mode=0o755)
    assert files.make_directory(str(tmp_path / "private"), 0o700)
    assert mode(tmp_path / "private") == 0o700


def test_a_file_in_the_way_of_a_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "private").write_text("file")
    with pytest.raises(MtlsError, match=f"{tmp_path}/private is not a directory"):
        files.make_directory(str(tmp_path / "private"), 0o700)


def test_a_second_run_waits_for_the_first(tmp_path: Path) -> None:
    path = str(tmp_path / ".lock")
    order = []

    def second() -> None:
        with files.lock(path):
            order.append("second")

    with files.lock(path):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_error_of_a_lock_that_is_not_released_names_the_holder(tmp_path: Path) -> None:
    path = str(tmp_path / ".lock")
    with (
        files.lock(path),
        pytest.raises(MtlsError, match=f"{path}: the lock has been held .*process {os.getpid()}.* for 0.2 s"),
        files.lock(path, timeout=0.2),
    ):
        pass


def test_a_lock_goes_with_its_holder(tmp_path: Path) -> None:
    path = str(tmp_path / ".lock")
    code = f"import os, signal; from {files.__name__} import lock\nwith lock({path!r}): os.kill(os.getpid(), signal.SIGKILL)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    with files.lock(path, timeout=0.2):
        pass


def test_next_holder_learns_that_the_last_one_died(tmp_path: Path) -> None:
    path = str(tmp_path / ".lock")
    code = f"import os, signal; from {files.__name__} import lock\nwith lock({path!r}): os.kill(os.getpid(), signal.SIGKILL)"
    reported = []
    for dies in (False, True, False):
        if dies:
            assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
        with files.lock(path, timeout=0.2) as died:
            reported.append(died)
    assert reported == [False, True, False]


def test_failed_run_does_not_count_as_dead(tmp_path: Path) -> None:
    path = str(tmp_path / ".lock")
    with pytest.raises(MtlsError, match="failed"), files.lock(path):
        raise MtlsError("It failed", "Correct it")
    with files.lock(path) as died:
        assert not died


def test_a_link_in_place_of_the_lock_is_refused_and_what_it_points_to_stays(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("precious")
    (tmp_path / ".lock").symlink_to(tmp_path / "key")
    with pytest.raises(MtlsError, match=r"not a plain file\. Remove it"), files.lock(str(tmp_path / ".lock")):
        pass
    assert (tmp_path / "key").read_text() == "precious"


def test_a_pipe_in_place_of_the_lock_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".lock")
    with pytest.raises(MtlsError, match="not a plain file"), files.lock(str(tmp_path / ".lock")):
        pass


def test_rewrite_follows_links_and_keeps_the_mode(tmp_path: Path) -> None:
    there, link, lost = tmp_path / "there", tmp_path / "link", tmp_path / "lost"
    there.write_text("old")
    there.chmod(0o600)
    link.symlink_to(there)
    lost.symlink_to(tmp_path / "nothing")
    for path in (link, lost):
        files.rewrite_atomic(str(path), b"new", 0o644)
    assert (link.is_symlink(), there.read_text(), there.stat().st_mode & 0o777) == (True, "new", 0o600)
    assert (lost.is_symlink(), lost.read_text(), (tmp_path / "nothing").exists()) == (False, "new", False)


# --- system errors ---

CALLS = ("open", "fstat", "fchmod", "fsync", "close", "rename", "symlink", "mkdir", "ftruncate", "pwrite", "pread")


def failing(call: Callable[..., Any], number: int, moment: int) -> Callable[..., Any]:
    """Return the call, which fails the ``moment``-th time as in Python: with its path, if it has one."""
    counter = itertools.count()

    def guard(*arguments: Any, **options: Any) -> Any:
        if next(counter) != moment:
            return call(*arguments, **options)
        if call is CLOSE:
            call(*arguments)
        raise OSError(number, os.strerror(number), *(path for path in arguments[:1] if isinstance(path, str)))

    return guard


CLOSE = os.close


class FailingFile:
    """An open file that can be neither read nor written."""

    def __init__(self, file: Any, number: int) -> None:
        self._file, self._number = file, number

    def __enter__(self) -> FailingFile:
        return self

    def __exit__(self, *_arguments: object) -> None:
        self._file.close()

    def fileno(self) -> int:
        return int(self._file.fileno())

    def fails(self, *_arguments: Any) -> Any:
        raise OSError(self._number, os.strerror(self._number))

    read = write = flush = fails


def error_of(place: Path) -> OSError | None:
    """Return the error that using every function raised, None if there was none."""
    try:
        use_everything(place)
    except OSError as error:
        return error
    return None


def use_everything(place: Path) -> None:
    """Use every function that touches files."""
    files.make_directory(str(place / "sub"), 0o700)
    files.make_parents(str(place / "deep" / "file"))
    files.write_atomic(str(place / "file"), b"text", 0o600)
    files.rewrite_atomic(str(place / "file"), b"text", 0o600)
    files.link_atomic("file", str(place / "link"))
    files.put_all([files.NewFile(str(place / f"many{index}"), b"text", 0o600) for index in range(3)])
    with files.writing(str(place / "stream"), 0o600) as file:
        file.write(b"text")
    with files.created(str(place / "created"), 0o600) as file:
        file.write(b"text")
    with files.opened(str(place / "file"), encoding="utf-8") as text:
        assert text.read() == "text"
    assert files.read_file(str(place / "file")) == b"text"
    files.sync_directory(str(place))
    with files.lock(str(place / ".lock")):
        files.remove_leftovers(str(place))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("name", [*CALLS, "flock"])
def test_a_system_error_names_its_file(name: str, number: int, tmp_path: Path) -> None:
    """Let each call fail in turn, in every function."""
    module = files.fcntl if name == "flock" else os
    for moment in itertools.count():
        place = tmp_path / str(moment)
        place.mkdir()
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(module, name, failing(getattr(module, name), number, moment))
            found = error_of(place)
        if found is None:
            break
        assert found.errno == number
        assert str(found.filename).startswith(str(place)), found
        assert ".quietdoor-tmp-" not in str(found.filename)
    assert moment > 0, f"{name} is not called any more"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("opener", ["open", "fdopen"])
def test_an_error_of_an_open_file_names_it(opener: str, number: int, tmp_path: Path) -> None:
    """Python sets no file name in errors of reading and writing."""
    call = getattr(os if opener == "fdopen" else builtins, opener)
    for moment in itertools.count():
        place, counter = tmp_path / str(moment), itertools.count()
        place.mkdir()

        def opens(*arguments: Any, _now: Any = counter, _moment: int = moment, **options: Any) -> Any:
            file = call(*arguments, **options)
            return FailingFile(file, number) if next(_now) == _moment else file

        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(*((os, "fdopen") if opener == "fdopen" else (files, "open")), opens, raising=False)
            found = error_of(place)
        if found is None:
            break
        assert found.errno == number
        assert str(found.filename).startswith(str(place)), found
        assert ".quietdoor-tmp-" not in str(found.filename)
    assert moment > 2


def test_errors_of_the_kernel_name_their_file() -> None:
    with (
        pytest.raises(OSError, match="No space left on device: '/dev/full'"),
        files.opened("/dev/full", "wb") as file,
    ):
        file.write(b"text")
    with (
        pytest.raises(OSError, match="Input/output error: '/proc/self/mem'"),
        files.opened("/proc/self/mem", "rb") as file,
    ):
        file.read(1)


def test_an_error_of_another_file_keeps_its_name(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match="'/other'"),
        files.writing(str(tmp_path / "file"), 0o600),
    ):
        raise OSError(errno.EIO, "Input/output error", "/other")
    assert os.listdir(tmp_path) == []


UNNAMED = {"open", "fdopen", "read", "write", "pread", "pwrite", "close", "fsync", "ftruncate", "fchmod"}
PIPES = {"process_pool.py": {"read", "write", "close"}, "auto_revert.py": {"read", "write", "close", "open", "fdopen"}}


def test_files_are_opened_in_one_module_only() -> None:
    """Errors of files that are opened elsewhere name no file. Pipes have no name."""
    found = []
    for path in Path(files.__file__).parents[2].rglob("*.py"):
        if path == Path(files.__file__):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            unnamed = {f"os.{name}" for name in UNNAMED - PIPES.get(path.name, set())}
            if called == "open" or called in unnamed or called.endswith((".read_text", ".write_text", "fcntl.flock")):
                found.append(f"{path}:{node.lineno} {called}")
    assert found == []


def test_a_lock_that_was_released_keeps_its_block(tmp_path: Path) -> None:
    """On a full disk the next holder overwrites that block; an empty file would need a new one."""
    path = tmp_path / ".lock"
    with files.lock(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"
    assert path.read_text() == "\n"
    with files.lock(str(path)) as died:
        assert not died
