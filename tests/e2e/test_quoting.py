# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Quoting, judged by nginx itself: what it answers is what was quoted, and a pattern matches its text and no other."""

from __future__ import annotations

import contextlib
import http.client
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.quoting import (
    LONGEST_TOKEN,
    quote,
    quote_verbatim,
    regex_exact,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.nginx import NginxInstance, free_port

AWKWARD = st.text(st.sampled_from("\"'\\;{}#~^*.|()[]+? :\u00e9\u20ac\U0001f6aaaZ\u00a0%&<>`!="), max_size=12)
ANY = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="$"), max_size=60)
TEXTS = st.lists(st.one_of(AWKWARD, ANY), min_size=1, max_size=60)
# A map never tries its patterns on an empty value (ngx_http_map_find), and no name is empty.
PATTERN = st.one_of(AWKWARD, ANY, AWKWARD.map(lambda text: f"${text}$")).filter(bool)
PATTERNS = st.lists(PATTERN, min_size=1, max_size=60, unique=True)
RULES = settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Server:
    """An nginx whose answers are made anew for every example."""

    def __init__(self, nginx: NginxInstance, port: int) -> None:
        self.nginx = nginx
        self.port = port
        self.number = 0

    def answers(self, maps: str, returned: list[str]) -> list[str]:
        """Return what nginx answers for each of ``returned``, the argument of a return directive."""
        self.number += 1
        locations = "".join(f"location = /{n} {{ return 200 {token}; }}\n" for n, token in enumerate(returned))
        locations += f"location = /number {{ return 200 {self.number}; }}\n"
        self.nginx.configure(f"{maps}\nserver {{ listen 127.0.0.1:{self.port}; {locations} }}")
        tested = subprocess.run(self.nginx.test_argv, capture_output=True, text=True, check=False)
        assert tested.returncode == 0, tested.stderr
        self.nginx.reload()
        deadline = time.monotonic() + 10
        while True:
            # On one connection, so that the worker that says which configuration it has is the one that answers.
            with contextlib.suppress(ConnectionError):  # an old worker that ends
                number, *bodies = self.get("number", *map(str, range(len(returned))))
                if number == str(self.number):
                    return bodies
            assert time.monotonic() < deadline, "the reload did not take"
            time.sleep(0.02)

    def get(self, *pages: str) -> list[str]:
        """Return the bodies of pages, fetched on one fresh connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        bodies = []
        for page in pages:
            connection.request("GET", f"/{page}")
            bodies.append(connection.getresponse().read().decode())
        connection.close()
        return bodies


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """One that starts with nothing."""
    port = free_port(20000, 20999)
    with NginxInstance(tmp_path / "nginx", http=f"server {{ listen 127.0.0.1:{port}; return 200 0; }}") as nginx:
        yield Server(nginx, port)


@RULES
@given(texts=TEXTS)
def test_answer_is_what_was_quoted(server: Server, texts: list[str]) -> None:
    """Through the configuration and back, byte for byte."""
    assert server.answers("", [quote(text) for text in texts]) == texts


@RULES
@given(texts=PATTERNS)
def test_pattern_matches_its_text_only(server: Server, texts: list[str]) -> None:
    """One map with all patterns in it: every text finds its own, and near misses find none. A $ comes from a variable."""

    def source(text: str) -> str:
        return quote_verbatim(text).replace("$", "${dollar}")

    near = [text + "x" for text in texts] + ["x" + text for text in texts]
    near = [text for text in [*near, *(text.swapcase() for text in texts)] if text not in texts]
    entries = "".join(f"{regex_exact(text)} {n};" for n, text in enumerate(texts))
    maps = "".join(
        f"map {source(text)} $found{n} {{ default none; {entries} }}\n" for n, text in enumerate([*texts, *near])
    )
    http = f'map_hash_bucket_size 4096; variables_hash_max_size 4096; geo $dollar {{ default "$"; }}\n{maps}'
    answers = server.answers(http, [f"$found{n}" for n in range(len(texts) + len(near))])
    assert answers == [*(str(n) for n in range(len(texts))), *["none"] * len(near)]


def test_longest_token(server: Server) -> None:
    """The limit is nginx's own: one byte more and it refuses."""
    for character in ("x", "\\"):
        text = character * (LONGEST_TOKEN // len(character.encode("unicode_escape")))
        assert server.answers("", [quote(text)]) == [text]
    too_long = '"' + "x" * (LONGEST_TOKEN + 1) + '"'
    server.nginx.configure(f"server {{ listen 127.0.0.1:{server.port}; return 200 {too_long}; }}")
    tested = subprocess.run(server.nginx.test_argv, capture_output=True, text=True, check=False)
    assert "too long parameter" in tested.stderr
