# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the order of results from worker processes, and the errors when a worker fails or dies."""

from __future__ import annotations

import os
import signal
import time
from itertools import islice

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._clients import process_pool
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.fixture(autouse=True)
def three_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_pool, "processors", lambda: 3)


def handles() -> list[str]:
    return os.listdir("/proc/self/fd")


def test_results_come_in_the_order_of_the_items_and_from_other_processes() -> None:
    def work(item: int) -> tuple[int, int]:
        time.sleep(0.01 if item % 7 == 0 else 0)
        return item * item, os.getpid()

    before = handles()
    results = list(process_pool.each(work, range(2000)))
    assert [square for square, _pid in results] == [item * item for item in range(2000)]
    processes = {pid for _square, pid in results}
    assert os.getpid() not in processes
    assert len(processes) == 3
    assert handles() == before


def test_few_items_are_not_worth_a_fork() -> None:
    assert set(process_pool.each(lambda _item: os.getpid(), range(15))) == {os.getpid()}


def test_results_may_be_larger_than_a_pipe() -> None:
    assert list(process_pool.each(lambda item: bytes([item]) * (3 << 20), range(24))) == [
        bytes([item]) * (3 << 20) for item in range(24)
    ]


def test_a_problem_in_a_worker_is_a_problem_here() -> None:
    def work(item: int) -> int:
        if item == 30:
            raise MtlsError("It does not work", "Repair it")
        return item

    before = handles()
    with pytest.raises(MtlsError, match=r"It does not work\. Repair it\."):
        list(process_pool.each(work, range(100)))
    assert handles() == before


def test_an_error_in_a_worker_is_an_error_here() -> None:
    with pytest.raises(ZeroDivisionError):
        list(process_pool.each(lambda item: 1 // (item - 50), range(100)))


def test_death_of_a_worker_is_reported_and_leaves_no_process() -> None:
    def work(item: int) -> int:
        if item == 40:
            os.kill(os.getpid(), signal.SIGKILL)
        return os.getpid()

    seen: set[int] = set()
    with pytest.raises(MtlsError, match="worker process died"):
        seen.update(process_pool.each(work, range(100)))
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_early_stop_leaves_no_process() -> None:
    results = process_pool.each(lambda item: item, range(5000))
    assert list(islice(results, 5)) == [0, 1, 2, 3, 4]
    results.close()  # type: ignore[attr-defined]
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_workers_end_when_their_parent_is_killed() -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        next(iter(process_pool.each(lambda item: item, range(1000))))
        os.kill(os.getpid(), signal.SIGKILL)
    os.close(writing)
    os.waitpid(child, 0)
    # The workers hold the other end too, so it closes when the last of them has ended.
    assert os.read(reading, 1) == b""
    os.close(reading)
