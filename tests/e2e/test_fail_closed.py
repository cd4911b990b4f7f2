# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check that a gate refuses what nginx cannot evaluate, and that access rules around it open nothing, on a real nginx.

Clients come from 127.0.0.1, or from 127.0.0.9, which the windows list.
"""

from __future__ import annotations

import datetime
import re
import shutil
import ssl
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from support.app import Application
from support.ca import make_pair
from support.client import Answer
from support.nginx import RELEASES, NginxInstance, free_port
from support.stages_world import PASSWORD, StagesWorld, basic_auth
from support.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LISTED, ELSEWHERE = "127.0.0.9", "127.0.0.1"
# Access rules around the sites name this one.
NAMED = "127.0.0.66"
# PCRE2 gives up on the first with its match limit, and on the second with the stack of pcre_jit.
BOMB = "/SECRET//" + ("%c3%a9" * 14 + "q") * 16
SLASHES = "/" * 1600 + "ADMIN/"


class ClosedWorld(StagesWorld):
    """One nginx with a site of each kind."""

    jit = "off"
    release = ""

    def people(self) -> dict[str, Any]:
        """Return the clients, with one that allow names by its e-mail and one that no roster has."""
        ghost = self.root / "ghost"
        if not ghost.with_suffix(".crt").exists():
            self.strangers["ghost"] = make_pair(ghost, "ghost", self.authority.ca)
        return {**super().people(), "by e-mail": self.authority.clients["bea"]}

    def serve(self, texts: dict[Path, str] | None = None, http: str = "", jit: str = "") -> None:
        """Serve the live files with other texts, and with lines at http level."""
        self.jit = jit or self.jit
        self.nginx.configure(http=f"{self.http} {http}", main=f"pcre_jit {self.jit};")
        self.nginx.serve(texts or {})

    def reached(self, who: str, path: str, host: str, source: str) -> bool:
        """Return whether a request reaches the application."""
        count = len(self.application.reached)
        try:
            self.ask(who, path, host=host, source=source)
        except (ssl.SSLError, OSError):
            return False
        return len(self.application.reached) > count


def _sites(world: World) -> list[dict[str, Any]]:
    own, users = world.ports["own"], world.root / "users"
    hashed = subprocess.run(["openssl", "passwd", "-apr1", PASSWORD], capture_output=True, text=True, check=True).stdout
    users.write_text(f"guest:{hashed}")
    until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=7)
    window = {"networks": [LISTED], "until": until.isoformat(timespec="seconds")}
    door = {**window, "basic_auth": {"user_file": str(users), "rate": "100r/s", "burst": 3000}}
    path = {"mode": "path", "paths": ["/admin"]}
    twin = {"mode": "path", "paths": ["/administration", "/secret"]}
    allow = {"allow": {"names": ["alex"], "emails": ["bea@example.org"]}}
    limit = {"rate_limit": {"rate": "100r/s", "burst": 3000}}
    return [
        world.site("shop", ["shop.test"], own, **path, client_max_body_size="300k"),
        world.site("twin", ["twin.test"], own, **twin),
        world.site("club", ["club.test"], own, **allow),
        world.site("open", ["open.test"], own, stage="fallback", window=window),
        world.site("lane", ["lane.test"], own, stage="fallback", window=window, **path),
        world.site("side", ["side.test"], own, stage="fallback", window=door, **allow),
        world.site("gate", ["gate.test"], own, stage="fallback", window=door, **path, **allow, **limit),
    ]


@pytest.fixture(scope="module", params=RELEASES)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClosedWorld]:
    """The sites, with both roles applied."""
    root = tmp_path_factory.mktemp("closed")
    application = Application(free_port(24700, 24749))
    foreign = make_pair(root / "foreign-ca", "Foreign", is_ca=True)
    ports = {"own": free_port(24750, 24799), "shared": free_port(24800, 24849)}
    http = f"server {{ listen 127.0.0.1:{free_port(24850, 24899)}; }}"
    try:
        with NginxInstance(root / "nginx", http=http, version=request.param) as nginx:
            world = ClosedWorld(root, nginx, ports, application, foreign)
            world.http, world.release = http, request.param
            world.authority.publish()
            world.sites = _sites(world)
            first = world.play()
            assert first.code == 0, first.output
            yield world
    finally:
        application.stop()
        shutil.rmtree(root / "ansible", ignore_errors=True)


def _texts(world: ClosedWorld) -> dict[Path, str]:
    home = world.nginx.prefix / "quietdoor"
    paths = [
        home / "trust" / "http.conf",
        home / "gate" / "http.conf",
        *sorted((home / "gate" / "sites").glob("*.conf")),
    ]
    return {path: path.read_text() for path in paths}


# --- expressions that nginx cannot evaluate ---


@pytest.mark.parametrize("jit", ["off", "on"])
def test_path_beyond_the_limits_of_pcre_is_refused(world: ClosedWorld, jit: str) -> None:
    world.serve(jit=jit)
    seen = {}
    for number, (path, *hosts) in enumerate(
        (
            (BOMB, "twin.test"),
            (SLASHES, "shop.test", "lane.test", "gate.test"),
            (f"/{BOMB[9:]}/..\\administration/", "twin.test"),
        )
    ):
        for who in ("none", "valid", "expired"):
            for host in hosts:
                written = f"{path}?{jit}{number}{who}"
                count = len(world.application.reached)
                answer = world.ask(who, written, host=host, source=LISTED)
                assert (answer.status, len(world.application.reached)) == (403, count), (host, who, number)
                entry = world.last(host.removesuffix(".test"), written)
                assert entry["verdict"] == "deny"
                seen[number] = entry["reason"]
    assert set(seen.values()) <= {"undecided", "spelling"}
    # These were the defaults that opened.
    assert seen[0 if jit == "off" else 1] == "undecided"
    for who in ("none", "valid", "expired"):
        for path in ("/", "/x/y", "/a%2Fb//c/../d;x?y=/admin/", "/administrations", "/blog/admin"):
            assert world.ask(who, path, host="shop.test").status == 200, path
    assert world.ask("valid", "/secret/x", host="twin.test").status == 200


def test_the_former_default_lets_that_address_through(world: ClosedWorld) -> None:
    """Without this the test above could pass because nginx evaluates the expressions after all."""
    texts = _texts(world)
    former = {
        path: re.sub(r"(_spelling \{\n)    default undecided;", r"\1    default public;", text)
        for path, text in texts.items()
    }
    try:
        world.serve(former, jit="off")
        assert world.reached("none", BOMB, "twin.test", ELSEWHERE)
        world.serve(jit="on")
        assert world.reached("none", SLASHES, "shop.test", ELSEWHERE)
    finally:
        world.serve(texts, jit="off")
    assert not world.reached("none", BOMB, "twin.test", ELSEWHERE)


FIRST_RELEASE = next(iter(RELEASES))
_EXPRESSION = re.compile(r'^(map .* (\$quietdoor_\w+) \{)|^    "~(?=\*?(\S*))', re.MULTILINE)
_GIVES_UP = "(*NO_JIT)(*NO_START_OPT)(*LIMIT_MATCH=0)"
# An error in one of these closes nothing that is asked for here.
_NEUTRAL = {
    # Words of the log and of pages, the port of a Host header, an upgrade, the size of a body.
    *("refusal", "site_S_refusal", "site_S_told", "host_port", "upgrade", "connection", "site_S_oversized"),
    # The request counts for a limit.
    *("site_S_attempt", "site_S_counted"),
    # It leads to a location that asks for the verdict itself.
    "site_S_again",
    # Its expression is about certificates that are known by their fingerprint, and nothing asks for the issuer of those.
    "presented_issuer",
}


def _expressions(texts: dict[Path, str]) -> dict[tuple[str, int], dict[Path, list[int]]]:
    """Return where the expressions of a map begin: name of the map and number -> file -> offsets, the same for all sites."""
    found: dict[tuple[str, int], dict[Path, list[int]]] = {}
    for path, text in texts.items():
        name, number = "", 0
        for match in _EXPRESSION.finditer(text):
            if match[1]:
                slug = path.stem if path.parent.name == "sites" else ""
                name, number = match[2].removeprefix("$quietdoor_").replace(f"site_{slug}_", "site_S_"), 0
            else:
                number += 1
                offset = match.end() + (text[match.end()] == "*")
                found.setdefault((name, number), {}).setdefault(path, []).append(offset)
    return found


def _by_map(expressions: dict[tuple[str, int], dict[Path, list[int]]]) -> dict[tuple[str, int], dict[Path, list[int]]]:
    """Return the expressions of a map as one: one release has each alone, which takes some fifty reloads."""
    found: dict[tuple[str, int], dict[Path, list[int]]] = {}
    for (name, _number), places in expressions.items():
        for path, offsets in places.items():
            found.setdefault((name, 0), {}).setdefault(path, []).extend(offsets)
    return found


def _giving_up(texts: dict[Path, str], places: dict[Path, list[int]]) -> dict[Path, str]:
    """Return the files with expressions that end in an error whatever they are compared with."""
    changed = dict(texts)
    for path, offsets in places.items():
        for offset in sorted(offsets, reverse=True):
            changed[path] = changed[path][:offset] + _GIVES_UP + changed[path][offset:]
    return changed


def _opened(world: ClosedWorld) -> set[tuple[str, str, str, str]]:
    """Return the requests that reach the application."""
    people = ("none", "valid", "unlisted", "revoked", "denied", "expired", "foreign")
    requests = [
        *((who, "/admin/x", host, ELSEWHERE) for who in people for host in ("shop.test", "club.test")),
        *((who, "/admin/x", "open.test", LISTED) for who in people),
        *((who, "/admin/x", "lane.test", LISTED) for who in ("none", "revoked")),
        *((who, "/admin/x", "open.test", ELSEWHERE) for who in ("none", "ghost")),
        ("by e-mail", "/admin/x", "club.test", ELSEWHERE),
        ("unlisted", "/", "side.test", LISTED),
        *((who, path, "shop.test", ELSEWHERE) for who in ("none", "expired") for path in ("/", "/ADMIN/", "/admin/..")),
        *(("none", path, "twin.test", ELSEWHERE) for path in ("/secret/", "//x;/Secret", "/%2561dministration", "/x")),
        ("none", "/", "side.test", ELSEWHERE),
        ("none", "/", "side.test", LISTED),
    ]
    return {one for one in requests if world.reached(*one)}


def test_failed_regular_expression_admits_no_client(world: ClosedWorld) -> None:
    texts = _texts(world)
    world.serve(jit="on")
    whole = _opened(world)
    assert ("none", "/", "shop.test", ELSEWHERE) in whole
    assert ("valid", "/admin/x", "club.test", ELSEWHERE) in whole
    assert not [one for one in whole if one[0] in ("revoked", "denied")]
    expressions = _expressions(texts)
    assert len(expressions) >= 40
    if world.release != FIRST_RELEASE:
        expressions = _by_map(expressions)
    closed = set()
    try:
        for (name, number), places in expressions.items():
            world.serve(_giving_up(texts, places))
            left = _opened(world)
            assert left <= whole, (name, number, left - whole)
            if left < whole:
                closed.add(name)
            if name in ("site_S_spelling", "site_S_place"):
                for host in {f"{path.stem}.test" for path in places} & {"shop.test", "twin.test"}:
                    assert not [one for one in left if one[0] == "none" and one[2] == host], (name, number)
                    answer = world.ask("none", "/x", host=host)
                    assert (answer.status, "could not check" in answer.body) == (403, True), (name, number)
    finally:
        world.serve(texts, jit="off")
    assert {name for name, _number in expressions} - closed <= _NEUTRAL


# --- access rules around a site with a password ---


@pytest.mark.parametrize(
    ("rules", "allowed", "refused"),
    [
        (f"deny {NAMED}; allow all;", ELSEWHERE, NAMED),
        (f"allow {NAMED}; deny all;", NAMED, ELSEWHERE),
        (f"allow {NAMED}; deny all; satisfy any;", NAMED, ELSEWHERE),
    ],
)
@pytest.mark.parametrize("host", ["side.test", "gate.test"])
def test_access_rules_of_http_admit_no_client_and_still_refuse(
    world: ClosedWorld, host: str, rules: str, allowed: str, refused: str
) -> None:
    site = host.removesuffix(".test")
    number = 0

    def ask(who: str, source: str, headers: dict[str, str]) -> tuple[Answer, dict[str, Any]]:
        nonlocal number
        number += 1
        path = f"/admin/{number}?{rules.partition(' ')[0]}{len(rules)}"
        answer = world.ask(who, path, host=host, source=source, headers=headers)
        return answer, world.last(site, path)

    world.serve(http=rules)
    try:
        count = len(world.application.reached)
        for who in ("none", "expired", "unlisted"):
            for headers in ({}, basic_auth("wrong"), {"Authorization": "Bearer x"}):
                answer, entry = ask(who, allowed, headers)
                assert (answer.status, entry["verdict"]) == (401, "deny"), (who, headers)
                assert answer.headers["www-authenticate"] == 'Basic realm="Side door"'
                assert answer.headers["x-quietdoor-verdict"] == "deny"
                assert "opens only with your certificate" in answer.body
        for who in ("none", "expired", "unlisted", "valid", "revoked"):
            for headers in ({}, basic_auth("wrong"), basic_auth()):
                answer, entry = ask(who, refused, headers)
                assert (answer.status, answer.headers["x-quietdoor-verdict"]) == (403, "deny"), (who, headers)
                assert entry["verdict"] == ("cert" if who == "valid" else "deny")
                assert "opens only with your certificate" in answer.body
        answer, _entry = ask("revoked", allowed, basic_auth())
        assert answer.status == 403
        assert len(world.application.reached) == count
        for who in ("none", "expired", "unlisted", "valid"):
            answer, entry = ask(who, allowed, basic_auth())
            assert (answer.status, "authorization" in answer.seen()) == (200, False), who
            assert entry["verdict"] == ("cert" if who == "valid" else "fallback")
        answer, entry = ask("valid", allowed, {})
        assert (answer.status, answer.seen()["x-client-name"], entry["verdict"]) == (200, "alex", "cert")
        if host == "gate.test":
            for who in ("none", "expired", "valid"):
                assert world.ask(who, "/public", host=host, source=allowed).status == 200
                # The page of a public address that a rule of others refuses.
                count = len(world.application.reached)
                assert world.ask(who, "/public", host=host, source=refused).status == 404
                assert len(world.application.reached) == count
    finally:
        world.serve()
