# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask nginx, with the maps of a rendered gate, to which part of the site addresses belong, and measure its processor time.

The maps alone are served, without TLS, so that 100,000 requests take seconds.
"""

from __future__ import annotations

import functools
import os
import re
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.nginx import RELEASES, NginxInstance, children, free_port

sys.path.append(str(Path(__file__).parents[1] / "unit" / "support"))

from address_model import EITHER, INVALID, ODD, PUBLIC, addresses, part_of
from gate_rendering import SITE, render_gate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PATHS = ("/admin", "/administration", "/secret", "/app/panel", "/api/v1.php")
COUNT = 100_000
# The slowest that the search of tests/unit/test_expressions.py finds in single expressions, and ordinary ones.
PIECES = (
    *(
        b"/",
        b"%2f",
        b"%252f",
        b"%25",
        b"%61",
        b"a/",
        b"a.",
        b";a",
        b"%c3%a9",
        b"%e2%80",
        b"%ef%bd%81",
        b"\xef",
        b"\xcd",
    ),
    *(b"%253a", b"/admi", b"/admin%c3%a9", b"\xef\xbd\x81", b"\xe0", b".ph", b"x"),
)
BEGINNINGS = (b"/", b"/;x/", b"/xx%25/")
# Seconds of a worker for an address of 8 KiB.
MOST = 0.002


class Judge:
    """One nginx that answers with the part of the site."""

    def __init__(self, nginx: NginxInstance, port: int) -> None:
        self.nginx, self.port = nginx, port

    def parts_of(self, asked: Sequence[bytes]) -> list[str]:
        """Return the part of each address, from requests in one connection."""
        with socket.create_connection(("127.0.0.1", self.port), 60) as connection:
            received, answers = b"", []
            for begin in range(0, len(asked), 100):
                some = asked[begin : begin + 100]
                connection.sendall(b"".join(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % one for one in some))
                while received.count(b"\n.\n") < len(some):
                    data = connection.recv(1 << 16)
                    assert data, (some, received[-300:])
                    received += data
                answers += re.findall(rb"\r\n\r\n(\w*)\n\.\n", received)
                received = b""
        assert len(answers) == len(asked)
        return [answer.decode() for answer in answers]

    def seconds(self, address: bytes, count: int) -> float:
        """Return the processor time of the worker for one request."""
        before = self._ticks()
        self.parts_of([address] * count)
        return (self._ticks() - before) / os.sysconf("SC_CLK_TCK") / count

    def _ticks(self) -> int:
        fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in children(self.nginx.pid)]
        return sum(int(one[11]) + int(one[12]) for one in fields)


@functools.cache
def expected() -> tuple[tuple[bytes, ...], tuple[str, ...]]:
    """Return addresses that nginx accepts, and their parts according to the model."""
    pairs = [(address, part_of(address, PATHS)) for address in addresses(5, COUNT * 11 // 10, PATHS)]
    kept = [pair for pair in pairs if pair[1] != INVALID][:COUNT]
    assert len(kept) == COUNT
    return tuple(pair[0] for pair in kept), tuple(pair[1] for pair in kept)


def maps() -> str:
    """Return the maps of the address."""
    text = render_gate({**SITE, "mode": "path", "paths": list(PATHS)})["sites/panel.conf"]
    found = re.findall(
        r"^map \S+ \$quietdoor_site_panel_(?:written|hidden|spelling|place) \{.*?^\}\n", text, re.M | re.S
    )
    assert len(found) == 4
    return "".join(found)


@pytest.fixture(scope="module", params=[(release, jit) for release in RELEASES for jit in ("off", "on")], ids="-".join)
def judge(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    """An nginx with the maps."""
    release, jit = request.param
    port = free_port(25600, 25699)
    http = f"""
        large_client_header_buffers 4 16k;
        keepalive_requests 1000000;
        {maps()}
        server {{
            listen 127.0.0.1:{port};
            return 200 "$quietdoor_site_panel_place\\n.\\n";
        }}"""
    main = f"pcre_jit {jit};"
    with NginxInstance(tmp_path_factory.mktemp("addresses") / "nginx", http, main, version=release) as nginx:
        yield Judge(nginx, port)


def test_nginx_and_the_model_agree(judge: Judge) -> None:
    asked, parts = expected()
    seen = judge.parts_of(asked)
    wrong = [
        (address, part, answer)
        for address, part, answer in zip(asked, parts, seen)
        if answer != part and not (part == EITHER and answer in (ODD, PUBLIC))
    ]
    assert not wrong, wrong[:20]
    assert parts.count(EITHER) < COUNT / 8
    assert min(parts.count(PUBLIC), parts.count(ODD)) > COUNT / 5


def test_an_address_of_8_kib_takes_2_ms_at_most(judge: Judge) -> None:
    found = []
    for piece in PIECES:
        for beginning in BEGINNINGS:
            address = beginning + piece * ((8192 - len(beginning)) // len(piece))
            found.append((judge.seconds(address, 20), beginning, piece))
    found.sort(reverse=True)
    for _seconds, beginning, piece in found[:2]:
        short, long = (beginning + piece * ((size - len(beginning)) // len(piece)) for size in (4096, 8192))
        seconds = judge.seconds(long, 1000)
        assert seconds <= MOST, (beginning, piece)
        # The clock has 10 ms, which is as much as 1,000 short requests take with pcre_jit.
        assert seconds <= 2.2 * judge.seconds(short, 1000) + 0.00005, (beginning, piece)
