# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that any value in ``gate_sites`` is refused by name or rendered in its place only.

A rendering with a harmless word instead of the value is the reference: nginx must get the same directives in the same order,
with the value in the same arguments. crossplane parses both.
"""

from __future__ import annotations

import collections
import datetime
import html
import ipaddress
import json
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import crossplane
import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.durations import parse_duration
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._contracts.identity_headers import IDENTITY, header_names
from ansible_collections.quietdoor.mtls.plugins.module_utils._gate.apply import generation_conf
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.gate_renderer import GateSettings, render_gate
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.parser import parse_sites
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.template_context import handlers_of
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.identity_maps import render_maps
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.publication_reader import (
    DATA_FILES,
    read_publication,
)
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from support.ca import make_authority, make_pair
from support.nginx import NginxInstance

if TYPE_CHECKING:
    from collections.abc import Callable

    from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.models import Site

# An example found is short enough: making it shorter would take minutes.
RULES = settings(max_examples=12, derandomize=True, database=None, phases=[Phase.generate])
Tree = list[Any]

FRAGMENTS = [
    *["; ", ";", "{", "}", "} server { listen 1; } ", '"', "'", "\\", '\\"', "$", "${host}", "$request_uri", "#", " ", "\t"],
    *["\n", "\r\n", "\x00", "\x7f", "\x1b[2J", "\u2028", "\u00a0", "\ud800", "\u00e9", "\U0001f6aa", "~", "^", "=", "@", "*"],
    *["add_header X 1;", "auth_request off;", "include /etc/passwd;", "return 200;", "{{ 7 * 7 }}", "{% raw %}", "%0a"],
    *["../", "/", "//", "(", ")", "(?", "[", "]", ".*", "\\z", ":", ",", "|", "0", "1", "-", "_", ".", "+", "%", "&", "<script>"],
    *["default", "ssl_verify_client off;", "data:", "unix:", "engine:", "http://", "0x", "on", "off", "A" * 40, "x" * 5000],
]  # fmt: skip


def hostile(good: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Return texts of fragments that mean something to nginx, Jinja or a regular expression, alone or put into a good one."""
    pieces = st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=4).map("".join)
    placed = st.builds(
        lambda text, at, piece: text[: at % (len(text) + 1)] + piece + text[at % (len(text) + 1) :],
        good,
        st.integers(0, 99),
        pieces,
    )
    return st.one_of(good, good, placed, placed, pieces, st.text(min_size=1, max_size=40)).filter(bool)


# --- rendering as the role does ---


class Bench:
    """The templates of the role, and an nginx that is asked what it thinks of the result."""

    def __init__(self, nginx: NginxInstance, root: Path) -> None:
        self.nginx = nginx
        self.server = make_pair(root / "server", "server", dns=("panel.example",))
        authority = make_authority(root)
        authority.publish()
        self.publication = {path.name: path.read_text() for path in authority.path.iterdir()}
        self.trust = nginx.prefix / "quietdoor" / "trust"
        self.trust.mkdir(parents=True)
        for name, text in {**self.publication, "http.conf": self.maps({})}.items():
            (self.trust / name).write_text(text)
        entry = "include quietdoor/trust/http.conf;\ninclude quietdoor/gate/http.conf;\n"
        (nginx.prefix / "conf.d" / "quietdoor.conf").write_text(entry)
        reported = subprocess.run([nginx.binary, "-v"], capture_output=True, text=True, check=True).stderr
        self.version = tuple(int(part) for part in re.findall(r"\d+", reported)[:3])
        self.references: dict[str, dict[str, str]] = {}

    def maps(self, changes: dict[str, object]) -> str:
        """Return the maps of trust for a publication whose identities.json is changed."""
        data = {**json.loads(self.publication["identities.json"]), **changes}
        texts = {**self.publication, "identities.json": json.dumps(data)}
        digests = {name: sha256(texts[name].encode()).hexdigest() for name in DATA_FILES}
        texts["trust.json"] = json.dumps({"format": 1, "generation": 1, "files": digests})
        return render_maps(read_publication(texts))

    def render(self, site: Site) -> dict[str, str]:
        """Return the files of a gate for one site."""
        directive = self.version >= (1, 25, 1)
        capabilities = {
            "http2": True,
            "http2_directive": directive,
            "ssl_conf_command": True,
            "ssl_reject_handshake": True,
        }
        nginx = {"configuration_error": None, "listens": [], "hash_sizes": [], "capabilities": capabilities}
        files = render_gate([site], nginx, GateSettings(str(self.nginx.prefix))).candidate
        del files["manifest.json"]
        return {"generation.conf": generation_conf(1), **files}

    def write(self, files: dict[str, str]) -> Path:
        """Put the files where the live gate is, and return that directory."""
        gate = self.nginx.prefix / "quietdoor" / "gate"
        shutil.rmtree(gate, ignore_errors=True)
        for name, text in files.items():
            path = gate / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return gate

    def refusals(self) -> list[str]:
        """Return the error of nginx about the configuration, without the name of a generated file."""
        done = subprocess.run(self.nginx.test_argv, capture_output=True, check=False)
        words = done.stderr.decode("utf-8", "replace").splitlines()
        found = [word for word in words if "[emerg]" in word]
        assert bool(found) == bool(done.returncode), words
        return found


def read(path: Path) -> Tree:
    """Return every directive as [name, arguments, block], as crossplane reads the file."""
    found = crossplane.parse(str(path), single=True, check_ctx=False, check_args=False, strict=False)
    assert found["status"] == "ok", found["errors"]
    return [_plain(directive) for directive in found["config"][0]["parsed"]]


def _plain(directive: dict[str, Any]) -> list[Any]:
    block = directive.get("block")
    return [directive["directive"], directive["args"], block and [_plain(inner) for inner in block]]


# --- what can be written, and where it is to be found ---


def in_quotes(text: str) -> str:
    """The way in which crossplane reads a quoted token: it takes the backslash from quotes and from nothing else."""
    return text.replace("\\", "\\\\")


@dataclass(frozen=True)
class Field:
    """One option. ``forms`` says how its value looks in the configuration, ``keys`` which maps have keys made from it."""

    key: str
    harmless: str
    good: st.SearchStrategy[str]
    changes: Callable[[str], dict[str, Any]]
    forms: Callable[[str], tuple[str, ...]] = lambda value: (value,)
    keys: str = "no map"
    modes: tuple[str, ...] = ("host", "path")
    excuses: Callable[[str, Path], list[str]] = field(default=lambda _value, _prefix: [])


def _file(value: str, prefix: Path) -> list[str]:
    """The file is not there: nginx says which one it looked for."""
    return [f'"{value if value.startswith("/") else f"{prefix}/{value}"}"']


def _host(value: str) -> str:
    return re.sub(r"^[a-z]+://(\[[^]]*\]|[^:/]*).*", r"\1", value).strip("[]")


def _of_upstream(value: str) -> tuple[str, ...]:
    address = value.rstrip("/")
    return (address.removeprefix("fastcgi://"), *([] if "unix:" in value else [_host(value)]))


def _of_listen(value: str) -> tuple[str, ...]:
    address, _colon, port = value.rpartition(":")
    port = str(int(port))
    if address in ("", "*", "0.0.0.0"):  # noqa: S104 the wildcard as a person writes it
        return port, port
    address = str(ipaddress.ip_address(address.strip("[]")))
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}", port


def _of_html(value: str) -> tuple[str, ...]:
    return (html.escape(value).replace("$", "&#36;").replace("\\", "&#92;"),)


def _seconds(value: str) -> tuple[str, ...]:
    return (f"max-age={int(parse_duration(value, 'max_age').total_seconds())}",)


PORTS = st.integers(1, 65535)
LOCAL = st.builds("127.77.{}.{}:{}".format, st.integers(0, 255), st.integers(1, 254), PORTS)
PEM = st.from_regex(r"/?[A-Za-z0-9 ;{}'\"\\#~().-]{1,40}", fullmatch=True)
URL_PATH = st.from_regex(r"(/[A-Za-z0-9._~/-]{0,20})?", fullmatch=True)
HEADER = st.from_regex(r"[A-Z](-?[A-Za-z0-9]){1,20}", fullmatch=True) | st.sampled_from(header_names(IDENTITY))
PHP = {"upstream": "fastcgi://127.0.0.1:9"}
SOON = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
UNTIL = (SOON + datetime.timedelta(days=3)).isoformat()


def in_window(**values: Any) -> dict[str, Any]:
    """Return the keys of a site whose window holds these values."""
    return {"stage": "fallback", "window": {"until": UNTIL, **values}}


FIELDS = [
    Field(
        "name",
        "zq-site",
        st.from_regex(r"[a-z][a-z0-9_-]{0,31}", fullmatch=True),
        lambda value: {"name": value},
        lambda value: (value, value.replace("-", "_")),
    ),
    Field(
        "server_names",
        "zq.example",
        st.from_regex(r"([A-Za-z0-9]{1,9}\.){0,3}[a-z]{2,9}", fullmatch=True),
        lambda value: {"server_names": [value, "second.example"]},
        lambda value: (value.lower(), value.lower().replace(".", "\\\\.")),
        keys="_sni",  # long names make other keys than short ones
    ),
    Field(
        "listen",
        "127.77.77.77:20777",
        LOCAL | st.just("[::1]:20778"),
        lambda value: {"listen": [value]},
        _of_listen,
        excuses=lambda value, _prefix: [
            f"bind() to {':'.join(_of_listen(value)[:1])} ",
            f"bind() to 0.0.0.0:{_of_listen(value)[1]} ",
            "socket() ",
        ],
    ),
    Field(
        "upstream",
        "http://203.0.113.77:20777",
        st.builds(
            "http://10.1.{}.{}:{}{}".format, st.integers(0, 255), st.integers(0, 255), PORTS, st.sampled_from(["", "/"])
        ),
        lambda value: {"upstream": value},
        _of_upstream,
    ),
    Field(
        "upstream",
        "https://203.0.113.77:20777",
        st.builds("https://10.1.2.{}:{}".format, st.integers(0, 255), PORTS),
        lambda value: {"upstream": value, "upstream_ca": "quietdoor/trust/ca.pem"},
        _of_upstream,
    ),
    Field(
        "upstream",
        "grpcs://203.0.113.77:20777",
        st.builds("grpcs://[::{:x}]:{}".format, PORTS, PORTS),
        lambda value: {"upstream": value},
        _of_upstream,
    ),
    Field(
        "upstream",
        "http://unix:/zq.sock",
        st.from_regex(r"http://unix:/[A-Za-z0-9._/@+-]{1,20}", fullmatch=True),
        lambda value: {"upstream": value},
        lambda value: (value,),
    ),
    Field(
        "upstream",
        "fastcgi://203.0.113.77:20777",
        st.builds("fastcgi://10.1.2.{}:{}".format, st.integers(0, 255), PORTS),
        lambda value: {"upstream": value, "fastcgi_script": "/srv/x.php"},
        _of_upstream,
    ),
    Field(
        "upstream",
        "/zq/dir",
        st.from_regex(r"/[A-Za-z0-9 ;{}'\"\\#~()._-]{1,20}(/x)?/?", fullmatch=True),
        lambda value: {"upstream": value},
        lambda value: (in_quotes(value.rstrip("/") or "/"),),
    ),
    Field(
        "fastcgi_script",
        "/zqdir/zq.php",
        st.from_regex(r"/[A-Za-z0-9 ;{}'\"\\#()._/-]{1,30}php", fullmatch=True),
        lambda value: {**PHP, "fastcgi_script": value},
        lambda value: (in_quotes(value), in_quotes(value.rpartition("/")[0] or "/")),
    ),
    Field(
        "upstream_ca",
        "zq.pem",
        PEM,
        lambda value: {"upstream": "https://127.0.0.1:9", "upstream_ca": value},
        lambda value: (in_quotes(value),),
        excuses=_file,
    ),
    Field(
        "certificate",
        "zq.pem",
        PEM,
        lambda value: {"certificate": value},
        lambda value: (in_quotes(value),),
        excuses=_file,
    ),
    Field(
        "certificate_key",
        "zq.pem",
        PEM,
        lambda value: {"certificate_key": value},
        lambda value: (in_quotes(value),),
        excuses=_file,
    ),
    Field(
        "contact",
        "zqcontact",
        st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=200),
        lambda value: {"contact": value},
        _of_html,
    ),
    Field("name", "X-Zq-Who", HEADER, lambda value: {"identity_headers": {"name": value}}),
    Field(
        "roles",
        "X-Zq-Who",
        HEADER,
        lambda value: {"identity_headers": {"roles": value}, **PHP, "fastcgi_script": "/srv/x.php"},
        lambda value: (value, value.upper().replace("-", "_")),
    ),
    Field(
        "auth_request",
        "http://203.0.113.77:20777/zq",
        st.builds("http://10.1.2.{}:{}{}".format, st.integers(0, 255), PORTS, URL_PATH),
        lambda value: {"auth_request": value},
        lambda value: (value if re.match(r"http://(?:unix:[^:]+:|(?!unix:)[^/]+)/", value) else f"{value}/",),
    ),
    Field(
        "max_age",
        "77d",
        st.builds("{}{}".format, st.integers(1, 900), st.sampled_from("dhw")),
        lambda value: {"hsts": {"max_age": value}},
        _seconds,
    ),
    Field(
        "rate",
        "77r/m",
        st.builds("{}r/{}".format, st.integers(1, 9999), st.sampled_from("sm")),
        lambda value: {"rate_limit": {"rate": value}},
        lambda value: (f"rate={value}",),
    ),
    Field(
        "client_max_body_size",
        "777k",
        st.builds("{}{}".format, st.integers(1, 9999), st.sampled_from(["", "k", "M", "g"])),
        lambda value: {"client_max_body_size": value},
        keys="_oversized",
    ),
    Field(
        "names",
        "zqname",
        st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,30}", fullmatch=True),
        lambda value: {"allow": {"names": [value]}},
        lambda _value: (),
        keys="_by_name",
    ),
    Field(
        "emails",
        "zq@example.org",
        st.emails(),
        lambda value: {"allow": {"emails": [value]}},
        lambda _value: (),
        keys="_by_email",
    ),
    Field(
        "roles",
        "zqrole",
        st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,30}", fullmatch=True),
        lambda value: {"allow": {"roles": [value]}},
        lambda _value: (),
        keys="_by_roles",
    ),
    Field(
        "networks",
        "203.0.113.0/24",
        st.builds("10.{}.{}.0/24".format, st.integers(0, 255), st.integers(0, 255))
        | st.builds("2001:db8:{:x}::/{}".format, PORTS, st.integers(48, 128)),
        lambda value: in_window(networks=[value]),
        lambda value: (str(ipaddress.ip_network(value)),),
    ),
    Field(
        "until",
        UNTIL,
        st.integers(1, 29).map(lambda days: (SOON + datetime.timedelta(days)).isoformat()),
        lambda value: in_window(networks=["192.0.2.0/24"], until=value),
        lambda _value: (),
        keys="_open",
    ),
    Field(
        "user_file",
        "zq.users",
        PEM,
        lambda value: in_window(basic_auth={"user_file": value}),
        lambda value: (in_quotes(value),),
    ),
    Field(
        "realm",
        "zqrealm",
        st.from_regex(r"[A-Za-z0-9.,:_-][A-Za-z0-9 .,:_-]{0,30}", fullmatch=True),
        lambda value: in_window(basic_auth={"user_file": "users", "realm": value}),
    ),
    Field(
        "rate",
        "78r/m",
        st.builds("{}r/{}".format, st.integers(1, 9999), st.sampled_from("sm")),
        lambda value: in_window(basic_auth={"user_file": "users", "rate": value}),
        lambda value: (f"rate={value}",),
    ),
    Field(
        "path",
        "/zqadmin",
        st.from_regex(r"(/[A-Za-z0-9._~@+-]{1,12}){1,3}/?", fullmatch=True),
        lambda value: {"paths": [value, "/second"]},
        lambda value: (value.rstrip("/"),),
        keys="_hidden|_spelling|_place|_place_now",
        modes=("path",),
    ),
]
CASES = [
    # The harmless deadline is another one at every run.
    pytest.param(one, mode, id=f"{one.key}-{one.harmless if one.key != 'until' else 'soon'}-{mode}")
    for one in FIELDS
    for mode in one.modes
]


# --- the comparison ---


def meant(tree: Tree, one: Field, value: str) -> Tree:
    """Return the harmless tree with the value in the place of the harmless word."""
    forms = dict(zip(one.forms(one.harmless), one.forms(value)))
    if not forms:
        return tree
    longest_first = sorted(forms, key=len, reverse=True)
    pattern = re.compile("|".join(re.escape(form) for form in longest_first))

    def put(text: str) -> str:
        return pattern.sub(lambda match: forms[match[0]], text)

    def rewrite(directive: list[Any]) -> list[Any]:
        name, args, block = directive
        return [put(name), [put(arg) for arg in args], block and [rewrite(inner) for inner in block]]

    return [rewrite(directive) for directive in tree]


def without(tree: Tree, one: Field, value: str) -> Tree:
    """Leave out what is made from the value in another way than by putting it there: keys of maps, blanked headers."""

    def comparable(directive: list[Any]) -> list[Any]:
        name, args, block = directive
        if name == "map" and re.search(rf"(?:{one.keys})$", args[1]):
            return [name, args, sorted((arg for _key, arg, _none in block))]
        return [name, args, block and trimmed(block)]

    def trimmed(block: Tree) -> Tree:
        return [comparable(directive) for directive in block if not blanked(directive, value)]

    return trimmed(tree)


def blanked(directive: list[Any], header: str) -> bool:
    """Tell whether the directive drops this header."""
    name, args, _block = directive
    if name not in ("proxy_set_header", "fastcgi_param") or args[1:] != [""]:
        return False
    return args[0].lower().removeprefix("http_").replace("_", "-") == header.lower()


def judged(bench: Bench, one: Field, mode: str, value: str) -> Site | None:
    """Return the site, None if the value is refused by name."""
    base = {
        "name": "panel",
        "stage": "enforce",
        "mode": mode,
        "server_names": ["panel.example"],
        "listen": ["127.77.0.1:20776"],
        "upstream": "http://127.0.0.1:9",
        "certificate": str(bench.server.crt),
        "certificate_key": str(bench.server.pem),
        "auth_request": "http://127.0.0.1:9/decide",
        "rate_limit": {"rate": "1r/s"},
        "hsts": True,
        **({"paths": ["/admin"]} if mode == "path" else {}),
        **one.changes(value),
    }
    try:
        return parse_sites([base])[0]
    except MtlsError as error:
        refusal = str(error)
    site = "entry 1" if one.changes("x") == {"name": "x"} else "site panel"
    named = (rf"(?:\w+: )*{one.key}: .", rf"identity_headers: {re.escape(value.lower())} is listed more than once")
    assert re.match(rf"gate_sites: {site}: (?:{'|'.join(named)})", refusal), refusal
    return None


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """An nginx that is only asked what it thinks of configurations."""
    root = tmp_path_factory.mktemp("fuzz")
    return Bench(NginxInstance(root / "nginx"), root)


@pytest.mark.parametrize(("one", "mode"), CASES)
def test_value_is_refused_by_name_or_rendered_in_its_place(bench: Bench, one: Field, mode: str) -> None:
    outcomes: collections.Counter[str] = collections.Counter()

    @RULES
    @given(value=hostile(one.good))
    def fuzz(value: str) -> None:
        site = judged(bench, one, mode, value)
        outcomes["refused" if site is None else "taken"] += 1
        if site is not None:
            check(bench, one, mode, value, site)

    fuzz()
    assert min(outcomes["refused"], outcomes["taken"]) >= 1, outcomes


def check(bench: Bench, one: Field, mode: str, value: str, site: Site) -> None:
    """Compare with the harmless rendering, and ask nginx."""
    harmless = judged(bench, one, mode, one.harmless)
    assert harmless
    kinds = [(handler["kind"], handler["tls"]) for handler in handlers_of(harmless)]
    if [(handler["kind"], handler["tls"]) for handler in handlers_of(site)] != kinds:
        return  # it became another kind of upstream, which is a case of its own
    name = f"{one.key} {one.harmless} {mode}"
    if name not in bench.references:
        bench.references[name] = bench.render(harmless)
    reference, files = bench.references[name], bench.render(site)
    assert len(files) == len(reference)
    gate = bench.write({**files, **{f"harmless/{number}": text for number, text in enumerate(reference.values())}})
    for number, (file_name, text) in enumerate(files.items()):
        if text == reference.get(file_name):
            continue
        expected, seen = read(gate / "harmless" / str(number)), read(gate / file_name)
        assert without(seen, one, value) == without(meant(expected, one, value), one, value), file_name
    if one.key in ("upstream", "auth_request") and not _is_address(value):
        return  # nginx would look the name up
    excuses = one.excuses(value, bench.nginx.prefix)
    assert not [word for word in bench.refusals() if not any(excuse in word for excuse in excuses)]


def _is_address(value: str) -> bool:
    if "unix:" in value or value.startswith("/"):
        return True
    try:
        ipaddress.ip_address(_host(value))
    except ValueError:
        return False
    return True


# --- what the CA host publishes ---


@pytest.mark.parametrize("what", ["subject", "name", "email", "roles"])
def test_a_publication_is_refused_or_its_names_stay_in_their_maps(bench: Bench, what: str) -> None:
    outcomes: collections.Counter[str] = collections.Counter()
    good = {
        "subject": st.text(st.characters(codec="ascii", exclude_categories=["C"]), min_size=1, max_size=60).map(
            "CN=Ops,O={}".format
        ),
        "name": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,30}", fullmatch=True),
        "email": st.emails(),
        "roles": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,30}", fullmatch=True),
    }[what]

    @RULES
    @given(value=hostile(good))
    def fuzz(value: str) -> None:
        try:
            seen, refusal = _maps(bench, what, value), ""
        except MtlsError as problem:
            seen, refusal = [], problem.what
        if refusal:
            outcomes["refused"] += 1
            assert refusal.startswith("publication: identities.json: ")
            return
        outcomes["taken"] += 1
        assert not bench.refusals()
        expected = _maps(bench, what, "z@q" if what == "email" else "zq")
        assert [_shape(directive) for directive in seen] == [_shape(directive) for directive in expected]
        if what != "subject":
            reported = next(block for name, args, block in seen if args[-1] == f"$quietdoor_{what}_by_serial")
            assert reported[1][1] == [value]

    bench.write(bench.render(judged(bench, FIELDS[0], "host", "panel")))
    fuzz()
    assert min(outcomes["refused"], outcomes["taken"]) >= 1, outcomes


def _maps(bench: Bench, what: str, value: str) -> Tree:
    person = {"issuer": 1, "serial": "0A", "name": "alex", "email": ["a@example.org"], "roles": ["ops"]}
    issuer = {"id": 1, "subject": value if what == "subject" else "CN=Ops", "sha256": "0" * 64}
    if what != "subject":
        person[what] = value if what == "name" else [value]
    changes = {"issuers": [issuer], "identities": [person]}
    path = bench.trust / "http.conf"
    path.write_text(
        bench.maps(
            changes if what != "email" or value != "zq" else {**changes, "identities": [{**person, "email": ["z@q"]}]}
        )
    )
    return read(path)


def _shape(directive: list[Any]) -> list[Any]:
    name, args, block = directive
    return [name, args, len(block), [len(entry[1]) for entry in block], [bool(entry[2]) for entry in block]]
