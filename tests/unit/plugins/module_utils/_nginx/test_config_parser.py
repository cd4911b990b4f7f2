# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the parser with random and real-world configurations against crossplane."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import crossplane
import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.config_lexer import Unreadable
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.config_model import read_dump
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.config_parser import (
    Directive,
    parse,
    rewrite_includes,
    split_dump,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.quoting import quote_verbatim
from hypothesis import given, settings
from hypothesis import strategies as st

# crossplane differs from ngx_conf_read_token() in two cases, which are left out: } within a word, and backslashes.
BARE = st.from_regex(r"[a-z0-9_./:*~^=@-][a-z0-9_./:*~^=\"'#$-]{0,11}", fullmatch=True)
QUOTED = st.text(st.sampled_from("ab c{};#\"'$é"), max_size=10).flatmap(
    lambda text: st.sampled_from([quote_verbatim(text), "'" + text.replace("'", "\\'") + "'"])
)
SPACE = st.sampled_from([" ", "\n", "\t ", " # a comment { \" ' ;\n", "\r\n"])
NAME = st.from_regex(r"[a-z_]{2,9}", fullmatch=True).filter(lambda name: name not in ("if", "include"))


@st.composite
def blocks(draw: Any, depth: int = 0) -> str:
    """Return the text of some directives."""
    text = ""
    for _count in range(draw(st.integers(0, 4))):
        text += draw(SPACE) + draw(NAME)
        for word in draw(st.lists(st.one_of(BARE, QUOTED), max_size=3)):
            text += draw(SPACE) + word
        text += draw(SPACE)
        if depth < 3 and draw(st.booleans()):
            text += "{" + draw(blocks(depth + 1)) + draw(SPACE) + "}"
        else:
            text += ";"
    return text


def as_crossplane(directives: tuple[Directive, ...] | None) -> Any:
    """Return directives in crossplane's shape."""
    if directives is None:
        return None
    return [(one.name, _condition(one), one.line, as_crossplane(one.block)) for one in directives]


def _condition(directive: Directive) -> list[str]:
    """Return the arguments; those of ``if`` without their parentheses, which crossplane removes."""
    if directive.name != "if" or not directive.args:
        return list(directive.args)
    text = "\0".join(directive.args).removeprefix("(").removesuffix(")")
    return [word for word in text.split("\0") if word]


def read_by_crossplane(path: Path) -> Any:
    """Return the directives that crossplane reads."""
    found = crossplane.parse(str(path), single=True, check_ctx=False, check_args=False, strict=False)
    assert found["status"] == "ok", found["errors"]

    def plain(arg: str) -> str:
        return arg.replace('\\"', '"').replace("\\'", "'")

    def shape(block: Any) -> Any:
        directives = [one for one in block if one["directive"] != "#"]
        return [
            (
                one["directive"],
                [plain(arg) for arg in one["args"]],
                one["line"],
                shape(one["block"]) if "block" in one else None,
            )
            for one in directives
        ]

    return shape(found["config"][0]["parsed"])


@settings(max_examples=150)
@given(blocks())
def test_as_crossplane_reads_it(text: str) -> None:
    """Compare names, arguments, lines and nesting."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "nginx.conf"
        path.write_text(text, encoding="utf-8", newline="")
        assert as_crossplane(parse(text, str(path))) == read_by_crossplane(path)


CORPUS = sorted(path for path in (Path(__file__).parents[3] / "corpus" / "nginx").iterdir() if path.suffix == ".conf")


def test_the_corpus_of_configurations_is_there() -> None:
    assert len(CORPUS) >= 8


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_parser_reads_real_world_configurations_as_crossplane_does(path: Path) -> None:
    assert as_crossplane(parse(path.read_text(encoding="utf-8"), str(path))) == read_by_crossplane(path)


@pytest.mark.parametrize("text", ["map $uri $x { default a}b; }", "server { set $x a}b; location / { return 204; } }"])
def test_parser_follows_nginx_where_crossplane_ends_a_word_at_a_brace(text: str, tmp_path: Path) -> None:
    """``}`` inside a word is an ordinary character for ngx_conf_read_token(); crossplane ends the word there."""
    path = tmp_path / "nginx.conf"
    path.write_text(text, encoding="utf-8")
    found = crossplane.parse(str(path), single=True, check_ctx=False, check_args=False, strict=False)
    words = [one.args[-1] for one in parse(text, str(path))[0].block or () if one.args[-1:] == ("a}b",)]
    assert words == ["a}b"]
    assert found["status"] == "failed" or "a}b" not in str(found["config"][0]["parsed"])


@pytest.mark.parametrize("text", ["a", "a {", "}", "a b", "a;}", "a 'b;", ";", "{ }", 'a "\\";'])
def test_invalid_configuration_is_rejected_with_file_and_line(text: str) -> None:
    """Check that the error names file and line."""
    with pytest.raises(Unreadable, match=r"^file:1: "):
        parse(text, "file")


def test_tokens_as_nginx_reads_them() -> None:
    """Read quotes inside a word, braces after a dollar, escapes and Lua."""
    (one, two, three, four) = parse(
        'a b"c ${x}y d}e f\\ g "\\"\\t\\x\\\\" \'it\\\'s\' x#y;\n'
        'content_by_lua_block { s = "}" -- }\n t = [[ } ]] if x { } }\n'
        'if ($a = "b") { c; }\n'
        "set_by_lua_block $v { return '{' }",
        "f",
    )
    assert one.args == ('b"c', "${x}y", "d}e", "f\\ g", '"\t\\x\\', "it's", "x#y")
    assert (two.name, two.block) == ("content_by_lua_block", ())
    assert three.args == ("($a", "=", "b", ")")
    assert (four.args, four.line) == (("$v",), 5)


DUMP = """\
# configuration file /etc/nginx/nginx.conf:
pid /run/x.pid;
http {
    http2 on;
    include conf.d/*.conf;
    include /srv/more;
    server { listen 8443 ssl; http2 off; }
}
stream { server { listen 53 udp; listen 127.0.0.1:853 ssl; } }

# configuration file /etc/nginx/conf.d/a.conf:
server {
    listen 80 default_server;
    listen [::]:443 ssl default_server;
    listen 127.0.0.1;
    listen unix:/run/a.sock;
    listen [::1];
    listen 0.0.0.0:9000-9002;
    listen 443 quic;
    server_name a.test
                *.a.test;
    location / { proxy_pass http://x; }
}

# configuration file /srv/more:
upstream x { server 127.0.0.1:1; }
server { }
"""


def test_effective_servers() -> None:
    """Follow includes, parse addresses, and ignore ``server`` in ``upstream``."""
    found = read_dump(DUMP)
    assert found.files == ("/etc/nginx/nginx.conf", "/etc/nginx/conf.d/a.conf", "/srv/more")
    assert found.main("pid") == ("/run/x.pid",)
    first, bare, last, stream = found.servers(8000)
    assert first.server_names == ("a.test", "*.a.test")
    assert (first.file, first.line, first.http2) == ("/etc/nginx/conf.d/a.conf", 1, True)
    assert [(listen.address, listen.port) for listen in first.listens] == [
        ("*", 80),
        ("::", 443),
        ("127.0.0.1", 80),
        ("unix:/run/a.sock", None),
        ("::1", 80),
        ("*", 9000),
        ("*", 9001),
        ("*", 9002),
        ("*", 443),
    ]
    assert [listen.default_server for listen in first.listens] == [True, True, *[False] * 7]
    assert [listen.ssl for listen in first.listens] == [False, True, *[False] * 6, True]
    assert [listen.line for listen in first.listens][:3] == [2, 3, 4]
    assert [listen.udp for listen in first.listens] == [*[False] * 8, True]
    assert [(listen.address, listen.port) for listen in bare.listens] == [("*", 8000)]
    assert (last.http2, last.listens[0].port, last.listens[0].http2) == (False, 8443, False)
    assert (stream.protocol, [listen.udp for listen in stream.listens]) == ("stream", [True, False])


def test_includes_and_contexts() -> None:
    """Return the files of each include, and the blocks around each directive."""
    found = read_dump(DUMP)
    assert [(one.args, one.line, files) for one, files in found.includes()] == [
        (("conf.d/*.conf",), 4, ["/etc/nginx/conf.d/a.conf"]),
        (("/srv/more",), 5, ["/srv/more"]),
    ]
    contexts = {(one.file, one.name): context for context, one in found.walk()}
    assert contexts["/etc/nginx/conf.d/a.conf", "location"] == ("http", "server")
    assert contexts["/srv/more", "upstream"] == ("http",)


def test_opaque_files_are_not_read() -> None:
    """List the files without parsing them."""
    found = read_dump(DUMP, ("/srv/more",))
    assert "/srv/more" in found.files
    assert not [one for _context, one in found.walk() if one.file == "/srv/more"]


def test_glob_as_nginx_means_it() -> None:
    """Check that a star matches neither a slash nor a leading dot."""
    found = read_dump(DUMP)
    for pattern, expected in (
        ("conf.d/*", 1),
        ("*", 1),
        ("*/*", 1),
        ("/etc/nginx/*.conf", 1),
        ("conf.d/[b-z].conf", 0),
    ):
        assert len(found.matches(pattern)) == expected, pattern
    assert split_dump("# configuration file /x:\n\n# configuration file /y/.z:\n") == {"/x": "\n", "/y/.z": ""}
    with pytest.raises(Unreadable):
        split_dump("nothing")


def test_rewritten_includes() -> None:
    """Rewrite only arguments of include, not comments, strings, relative paths and other directives."""
    text = (
        "# include /etc/x;\n"
        'log_format a "include /etc/x;";\n'
        "root /etc/x;\n"
        "http { include\n  /etc/x; include '/etc/a b/*.conf'; include rel/*; }\n"
        "map $a $include { include /etc/map; /etc/x 1; }\n"
    )
    changed, paths = rewrite_includes(text, "f", lambda path: "/copy" + path)
    assert changed == (
        "# include /etc/x;\n"
        'log_format a "include /etc/x;";\n'
        "root /etc/x;\n"
        'http { include\n  "/copy/etc/x"; include "/copy/etc/a b/*.conf"; include rel/*; }\n'
        'map $a $include { include "/copy/etc/map"; /etc/x 1; }\n'
    )
    assert paths == ["/copy/etc/x", "/copy/etc/a b/*.conf", "rel/*", "/copy/etc/map"]
    assert rewrite_includes(text, "f", lambda path: path)[0] == text


@pytest.mark.parametrize(
    "comment", ["# configuration file /etc/nginx/none.conf:", "# configuration file /etc/nginx/nginx.conf:"]
)
def test_a_comment_that_looks_like_the_name_of_a_file_hides_no_server(comment: str) -> None:
    """Reject comments such as those in a configuration restored from the output of nginx -T."""
    dump = f"# configuration file /etc/nginx/nginx.conf:\nhttp {{ }}\n{comment}\nstream {{ server {{ listen 1; }} }}\n"
    with pytest.raises(Unreadable, match=r"# configuration file /etc/nginx/n\w+\.conf:'[,;] remove it"):
        read_dump(dump)
