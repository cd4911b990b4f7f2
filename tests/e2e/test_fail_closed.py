# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check that a gate refuses what nginx cannot evaluate, and that access rules around it open nothing, on a real nginx.

Clients come from 127.0.0.1, or from 127.0.0.9, which the windows list.
"""

from __future__ import annotations

import datetime
import json
import re
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.app import Application
from support.ca import make_pair
from support.client import Answer, eventually, log_lines
from support.nginx import RELEASES, NginxInstance, free_port
from support.stages_world import PASSWORD, StagesWorld, basic_auth
from support.world import World

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LISTED, ELSEWHERE = "127.0.0.9", "127.0.0.1"
# Access rules around the sites name this one.
NAMED = "127.0.0.66"
# PCRE2 gave up on the first with its match limit, and on the second with the stack of pcre_jit, with former expressions.
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
                assert (entry["verdict"], entry["reason"]) == ("deny", "spelling")
    for who in ("none", "valid", "expired"):
        for path in (
            "/",
            "/x/y",
            "/a%2Fb//c/../d;x?y=/admin/",
            "/administrations",
            "/blog/admin",
            "/%D0%BD%D0%BE%D0%B2/",
        ):
            assert world.ask(who, path, host="shop.test").status == 200, path
    assert world.ask("valid", "/secret/x", host="twin.test").status == 200


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


# An error in one of these leaves the address undecided. The map "hidden" is asked about addresses with an oddity only.
_ADDRESS_MAPS = ("site_S_written", "site_S_hidden", "site_S_spelling", "site_S_place")
_ODD_ADDRESS = "/x;/y"


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


# The requests for each site: client, path, and the address that it comes from.
_REQUESTS: dict[str, list[tuple[str, str, str]]] = {
    "shop": [
        *(
            (who, "/admin/x", ELSEWHERE)
            for who in ("none", "valid", "unlisted", "revoked", "denied", "expired", "foreign")
        ),
        *((who, path, ELSEWHERE) for who in ("none", "expired") for path in ("/", "/ADMIN/", "/admin/..")),
        ("none", _ODD_ADDRESS, ELSEWHERE),
    ],
    "twin": [
        ("none", path, ELSEWHERE)
        for path in ("/secret/", "//x;/Secret", "/%2561dministration", "/x", "/x;/\u017fecret")
    ],
    "club": [
        *(
            (who, "/admin/x", ELSEWHERE)
            for who in ("none", "valid", "unlisted", "revoked", "denied", "expired", "foreign")
        ),
        ("by e-mail", "/admin/x", ELSEWHERE),
    ],
    "open": [
        *(
            (who, "/admin/x", LISTED)
            for who in ("none", "valid", "unlisted", "revoked", "denied", "expired", "foreign")
        ),
        *((who, "/admin/x", ELSEWHERE) for who in ("none", "ghost")),
    ],
    "lane": [(who, "/admin/x", LISTED) for who in ("none", "revoked")],
    "side": [("unlisted", "/", LISTED), ("none", "/", ELSEWHERE), ("none", "/", LISTED)],
}
_BATCH = 16


class _Variants:
    """Copies of the whole gate under other names, in the same nginx. In each an expression ends in an error.

    A copy has its own maps, sites, zones and files: the word quietdoor and the server names are replaced in all of its texts.
    """

    def __init__(self, world: ClosedWorld) -> None:
        self.world = world
        self.home = world.nginx.prefix / "quietdoor"

    def serve(self, changes: dict[str, dict[Path, str]]) -> None:
        """Serve a copy with each of these names; its texts are changed."""
        entries = []
        for name, texts in changes.items():
            for path in sorted((self.home / "gate").resolve().rglob("*.conf")):
                relative = Path("gate") / path.relative_to((self.home / "gate").resolve())
                self._write(name, relative, texts.get(self.home / relative, path.read_text()))
            trust = Path("trust") / "http.conf"
            self._write(name, trust, texts.get(self.home / trust, (self.home / trust).read_text()))
            for file in ("ca.pem", "crl.pem"):
                shutil.copy(self.home / "trust" / file, self.world.nginx.prefix / name / "trust" / file)
            entries += [f"include {name}/trust/http.conf;", f"include {name}/gate/http.conf;"]
        http = f"{self.world.http} server_names_hash_max_size 65536; {' '.join(entries)}"
        self.world.nginx.configure(http=http, main="pcre_jit off;")
        self.world.nginx.serve({})

    def _write(self, name: str, relative: Path, text: str) -> None:
        path = self.world.nginx.prefix / name / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        if relative == Path("gate/http.conf"):
            # The default server of the address stays that of the gate itself.
            text = re.sub(r"^server \{\n.*?^\}\n", "", text, flags=re.MULTILINE | re.DOTALL)
        text = re.sub(r"^\w+_hash_(?:max|bucket)_size .*\n", "", text, flags=re.MULTILINE)
        text = text.replace("quietdoor", name).replace("X-Quietdoor", f"X-{name}")
        path.write_text(re.sub(rf"\b({'|'.join(_HOSTS)})(\\{{0,2}}\.)test\b", rf"\1\2{name}\2test", text))

    def reason(self, name: str, site: str, address: str) -> str:
        """Return the reason in the log of a copy for an address that was asked for once."""
        log = self.world.logs / f"{name}-{site}.log"
        found = eventually(lambda: [line for line in map(json.loads, log_lines(log)) if line["uri"] == address])
        return str(found[0]["reason"])

    def opened(self, name: str, sites: Iterable[str]) -> set[tuple[str, str, str, str]]:
        """Return the requests to sites of a copy that reach the application."""
        host = f"{name}.test" if name else "test"
        return {
            (site, *request)
            for site in sites
            for request in _REQUESTS[site]
            if self.world.reached(request[0], request[1].encode().decode("latin-1"), f"{site}.{host}", request[2])
        }


_HOSTS = ("shop", "twin", "club", "open", "lane", "side", "gate")


def test_failed_regular_expression_admits_no_client(world: ClosedWorld) -> None:
    texts = _texts(world)
    variants = _Variants(world)
    expressions = _expressions(texts)
    assert len(expressions) >= 40
    if world.release != FIRST_RELEASE:
        expressions = _by_map(expressions)
    closed = set()
    try:
        variants.serve({"qd0x": {}})
        whole = variants.opened("qd0x", _REQUESTS)
        assert whole == variants.opened("", _REQUESTS)
        assert ("shop", "none", "/", ELSEWHERE) in whole
        assert ("club", "valid", "/admin/x", ELSEWHERE) in whole
        assert not [one for one in whole if one[1] in ("revoked", "denied")]
        named = {f"qd{number}x": key for number, key in enumerate(expressions, start=1)}
        names = list(named)
        for begin in range(0, len(names), _BATCH):
            batch = names[begin : begin + _BATCH]
            variants.serve({name: _giving_up(texts, expressions[named[name]]) for name in batch})
            for name in batch:
                key, places = named[name], expressions[named[name]]
                # A map of one site has no effect on others.
                sites = {path.stem for path in places} if key[0].startswith("site_S_") else set(_REQUESTS)
                sites &= set(_REQUESTS)
                before = {one for one in whole if one[0] in sites}
                left = variants.opened(name, sites)
                assert left <= before, (key, left - before)
                if left < before:
                    closed.add(key[0])
                if key[0] in _ADDRESS_MAPS:
                    for site in sites & {"shop", "twin"}:
                        # Another expression than the last one decides about an address with an oddity.
                        if key[0] != "site_S_hidden":
                            opened = [one for one in left if one[:2] == (site, "none") and one[2] != _ODD_ADDRESS]
                            assert not opened, key
                        answer = world.ask(
                            "none", _ODD_ADDRESS if key[0] == "site_S_hidden" else "/x", host=f"{site}.{name}.test"
                        )
                        assert (answer.status, "could not check" in answer.body) == (403, True), key
    finally:
        world.serve(texts, jit="off")
    assert {name for name, _number in expressions} - closed <= _NEUTRAL


# --- subrequests ---


@pytest.mark.parametrize("host", ["shop.test", "lane.test", "gate.test"])
@pytest.mark.parametrize("who", ["none", "expired", "valid"])
def test_a_page_of_the_public_part_includes_no_guarded_page(world: ClosedWorld, who: str, host: str) -> None:
    """A subrequest passes neither the access phase nor the rewrite phase of the server."""
    world.serve(http="ssi on; ssi_types *;")
    try:
        seen = {}
        for number, path in enumerate(
            ("/other", "/admin", "/admin/x", "/admin/x?y", "//admin/x", "/x/../admin/x", "/%61dmin/x")
        ):
            count = len(world.application.reached)
            page = f"/page-{number}"
            world.ask(who, page, host=host, headers={"X-Page": f"<!--#include virtual='{path}' -->"})
            seen[path] = world.application.reached[count:]
            assert seen[path][:1] == [f"GET {page}"], "the page itself is public"
        assert len(seen["/other"]) > 1, "nginx does include pages here"
        assert [path for path, reached in seen.items() if len(reached) > 1] == ["/other"]
    finally:
        world.serve()


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
