# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the check of ports and the query of generations against sockets of this process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._contracts.status_protocol import (
    Answer,
    Endpoint,
    endpoints_from,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._deploy import live_generation
from ansible_collections.quietdoor.mtls.plugins.module_utils._deploy.live_generation import (
    ask,
    is_live,
    wait_until_live,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.port_check import check_free

UNUSED_PID = 2**22 + 1  # above the highest process id
ONE = Endpoint("admin", "127.0.0.1", 443, "admin.test")
TWO = Endpoint("other", "::", 8443, "other.test")


@pytest.mark.parametrize(
    ("family", "held", "wanted", "taken"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1", True),
        (socket.AF_INET, "127.0.0.1", "*", True),
        (socket.AF_INET, "127.0.0.1", "127.0.0.2", False),
        (socket.AF_INET, "", "127.0.0.1", True),
        (socket.AF_INET6, "::1", "::1", True),
        (socket.AF_INET6, "::1", "::", True),
        (socket.AF_INET6, "::1", "127.0.0.1", False),
        (socket.AF_INET6, "::", "127.0.0.1", True),
    ],
)
def test_port(family: socket.AddressFamily, held: str, wanted: str, taken: bool) -> None:
    """Check an address, its wildcard and the wildcard of the other family."""
    with socket.socket(family) as holder:
        holder.bind((held, 0))
        holder.listen()
        port = holder.getsockname()[1]
        if not taken:
            check_free([(wanted, port)], UNUSED_PID)
            return
        with pytest.raises(MtlsError, match=rf"Port {port} on .* is in use by process {os.getpid()} \("):
            check_free([(wanted, port)], UNUSED_PID)
        check_free([(wanted, port)], os.getpid())


def test_an_address_that_the_wildcard_covers_is_not_bound() -> None:
    """Skip the address, because nginx binds the wildcard only."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        check_free([("localhost", port + 1), ("203.0.113.7", port)], UNUSED_PID)
        with pytest.raises(MtlsError, match=r"on \* is in use"):
            check_free([("*", port), ("127.0.0.1", port)], UNUSED_PID)


class Script:
    """A client that returns the given answers in turn, then repeats the last one."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked = 0

    def ask(self, _endpoint: Endpoint) -> Answer:
        """Return the next answer."""
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a clock that advances in pauses only."""
    now = [0.0]
    monkeypatch.setattr(live_generation.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    return now


def test_several_equal_answers_are_required(clock: list[float]) -> None:
    """Restart the count when a former worker answers."""
    old, new = Answer(gate=1), Answer(gate=2)
    script = Script(old, new, new, new, new, old, new)
    wait_until_live(script, [ONE], "gate", 2, 5.0, lambda: clock[0])
    assert script.asked == 6 + 5
    script = Script(new, new, new, new, old, new)
    assert is_live(script, [ONE], "gate", 2) is False
    assert is_live(Script(new), [ONE, TWO], "gate", 2) is True


def test_timeout_is_an_error(clock: list[float]) -> None:
    """Name the endpoint and the generation that it reported."""
    with pytest.raises(
        MtlsError, match=r"gate generation 2: after 3 s admin.test on 127.0.0.1:443 reports gate generation 1"
    ):
        wait_until_live(Script(Answer(gate=1)), [ONE], "gate", 2, 3.0, lambda: clock[0])
    assert 3.0 <= clock[0] < 3.2
    with pytest.raises(MtlsError, match=r"reports none \(no trust generation\)"):
        wait_until_live(Script(Answer(gate=2)), [ONE], "trust", 2, 0.0, lambda: clock[0])
    with pytest.raises(MtlsError, match=r"reports none \(refused\)"):
        wait_until_live(Script(Answer(failure="refused")), [ONE], "trust", 2, 0.0, lambda: clock[0])
    with pytest.raises(MtlsError, match="does not serve no gate generation"):
        wait_until_live(Script(Answer(gate=1)), [ONE], "gate", None, 0.0, lambda: clock[0])


def test_server_without_a_generation_is_an_answer_with_a_failure() -> None:
    """Return an answer without a number, never an exception, for a closed port and for other servers."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        assert "refused" in ask(Endpoint("a", "127.0.0.1", port, "a.test")).failure.lower()
    code = (
        "import socket; s=socket.socket(); s.bind(('127.0.0.1',0)); s.listen(); print(s.getsockname()[1],flush=True)\n"
    )
    code += "c=s.accept()[0]; c.recv(99); c.sendall(b'HTTP/1.1 400 no\\r\\n\\r\\n'); c.close()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as plain:
        assert plain.stdout
        answer = ask(Endpoint("a", "127.0.0.1", int(plain.stdout.readline()), "a.test"))
        assert (answer.gate, answer.trust) == (None, None)
        assert answer.failure


def test_endpoints() -> None:
    """Return sorted endpoints without duplicates, and reject invalid ones."""
    item = {"site": "a", "address": "[::1]", "port": 443, "server_name": "a.test", "more": 1}
    assert endpoints_from([item, item], "x") == (Endpoint("a", "::1", 443, "a.test"),)
    assert str(endpoints_from([item], "x")[0]) == "a.test on [::1]:443"
    wrong = [
        {"port": 0},
        {"port": 65536},
        {"port": "x"},
        {"address": "a.test"},
        {"address": "unix:/x"},
        {"address": ""},
    ]
    wrong += [{"server_name": "a\r\nX: y"}, {"server_name": ""}, {"server_name": "~^a"}]
    for change in wrong:
        with pytest.raises(MtlsError, match="is not an endpoint"):
            endpoints_from([{**item, **change}], "x")
    for data in (None, {}, "x", ["x"], [{}]):
        with pytest.raises(MtlsError):
            endpoints_from(data, "x")
