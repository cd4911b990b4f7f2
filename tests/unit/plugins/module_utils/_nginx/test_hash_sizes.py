# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the sentences about hash tables that are too small."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.config_model import read_dump
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.hash_sizes import (
    describe_small_hashes,
    small_hashes,
)

HOME = "/etc/nginx/quietdoor/"
WARNING = (
    "nginx: [warn] could not build optimal {0}, you should increase either {0}_max_size: {1} or {0}_bucket_size: 64; "
    "ignoring {0}_bucket_size\n"
)


def test_small_hash_is_named_once_with_the_line_to_write() -> None:
    reported = (
        WARNING.format("variables_hash", 1024) + 2 * WARNING.format("map_hash", 2048) + "nginx: test is successful"
    )
    dump = "# configuration file /etc/nginx/nginx.conf:\nhttp {\nmap_hash_max_size 2048; }\n"
    configuration = replace(read_dump(dump), small_hashes=small_hashes(reported))
    assert configuration.small_hashes == (("variables_hash", 1024), ("map_hash", 2048))
    start = "nginx could not build an optimal {} buckets, so it searches more slowly. Write {}"
    assert list(describe_small_hashes(configuration, HOME)) == [
        start.format(
            "variables_hash of 1024",
            "variables_hash_max_size 16384; at the beginning of the http block of /etc/nginx/nginx.conf",
        ),
        start.format("map_hash of 2048", "map_hash_max_size 32768; instead of line 2 of /etc/nginx/nginx.conf"),
    ]


def test_other_warnings_are_not_about_hashes() -> None:
    assert small_hashes("nginx: [warn] conflicting server name") == ()


@pytest.mark.parametrize(
    "name",
    ["grpc_headers_hash", "fastcgi_params_hash", "uwsgi_params_hash", "scgi_params_hash", "referer_hash", "types"],
)
def test_table_without_a_directive_of_http_is_not_mentioned(name: str) -> None:
    configuration = read_dump("# configuration file /etc/nginx/nginx.conf:\nhttp { }\n")
    reported = replace(configuration, small_hashes=small_hashes(WARNING.format(name, 512)))
    assert (len(reported.small_hashes), list(describe_small_hashes(reported, HOME))) == (1, [])


def test_line_of_the_gate_is_not_mentioned() -> None:
    dump = "# configuration file /etc/nginx/nginx.conf:\nhttp { include quietdoor/gate/http.conf; }\n"
    dump += f"# configuration file {HOME}gate/http.conf:\nvariables_hash_max_size 65536;\n"
    configuration = replace(read_dump(dump), small_hashes=small_hashes(WARNING.format("variables_hash", 65536)))
    assert list(describe_small_hashes(configuration, HOME)) == []
    beside = replace(read_dump(dump.replace("http {", "http {\nmap_hash_max_size 9;")), small_hashes=(("map_hash", 9),))
    assert [one.rpartition("; ")[2] for one in describe_small_hashes(beside, HOME)] == [
        "instead of line 2 of /etc/nginx/nginx.conf"
    ]
