# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who holds a port, and what a server tells: against sockets of this process."""

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

NOBODY = 2**22 + 1  # above the highest process id
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
    """By address, by wildcard, by the other family's wildcard."""
    with socket.socket(family) as holder:
        holder.bind((held, 0))
        holder.listen()
        port = holder.getsockname()[1]
        if not taken:
            check_free([(wanted, port)], NOBODY)
            return
        with pytest.raises(MtlsError, match=rf"Port {port} on .* is in use by process {os.getpid()} \("):
            check_free([(wanted, port)], NOBODY)
        check_free([(wanted, port)], os.getpid())


def test_an_address_that_the_wildcard_covers_is_not_bound() -> None:
    """nginx binds the wildcard only; the one address beside it is no matter."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        check_free([("localhost", port + 1), ("203.0.113.7", port)], NOBODY)
        with pytest.raises(MtlsError, match=r"on \* is taken"):
            check_free([("*", port), ("127.0.0.1", port)], NOBODY)


class Script:
    """Answers one after the other, the last one for ever."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked = 0

    def ask(self, _endpoint: Endpoint) -> Answer:
        """Answer."""
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time that passes in pauses only."""
    now = [0.0]
    monkeypatch.setattr(live_generation.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    return now


def test_one_answer_proves_nothing(clock: list[float]) -> None:
    """An old worker in between starts the count anew."""
    old, new = Answer(gate=1), Answer(gate=2)
    script = Script(old, new, new, new, new, old, new)
    wait_until_live(script, [ONE], "gate", 2, 5.0, lambda: clock[0])
    assert script.asked == 6 + 5
    script = Script(new, new, new, new, old, new)
    assert is_live(script, [ONE], "gate", 2) is False
    assert is_live(Script(new), [ONE, TWO], "gate", 2) is True


def test_not_in_time(clock: list[float]) -> None:
    """It says what was told instead, and where."""
    with pytest.raises(
        MtlsError, match=r"gate generation 2: after 3 s admin.test on 127.0.0.1:443 tells gate generation 1"
    ):
        wait_until_live(Script(Answer(gate=1)), [ONE], "gate", 2, 3.0, lambda: clock[0])
    assert 3.0 <= clock[0] < 3.2
    with pytest.raises(MtlsError, match=r"tells none \(no trust generation\)"):
        wait_until_live(Script(Answer(gate=2)), [ONE], "trust", 2, 0.0, lambda: clock[0])
    with pytest.raises(MtlsError, match=r"tells none \(refused\)"):
        wait_until_live(Script(Answer(failure="refused")), [ONE], "trust", 2, 0.0, lambda: clock[0])
    with pytest.raises(MtlsError, match="does not serve no gate generation"):
        wait_until_live(Script(Answer(gate=1)), [ONE], "gate", None, 0.0, lambda: clock[0])


def test_what_is_there_need_not_speak_tls() -> None:
    """Nobody, somebody who says nothing of use: an answer without a number, and never an exception."""
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
    """Sorted, once each, strict."""
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
