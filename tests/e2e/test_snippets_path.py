# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guarded paths in a public server that was there before: what stays public, what is shut, what the role says."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from support import hostile
from support.client import STATUS, eventually, log_lines
from support.nginx import children
from support.snippets import ABROAD, EVERY_CLIENT, OPEN_UPGRADE, OTHER_PANEL, PANEL, PUBLIC, SERVER, Shop, shop

if TYPE_CHECKING:
    from collections.abc import Iterator

BAD = EVERY_CLIENT[1:]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The shop, its panels behind a gate in stage enforce."""
    with shop(tmp_path_factory.mktemp("shop"), 24200) as world:
        yield world


@pytest.fixture
def rewritten(world: Shop) -> Iterator[None]:
    """The operator's server on disk as it should be, afterwards, where nginx never read another."""
    yield
    world.vhost()


@pytest.fixture
def served(world: Shop) -> Iterator[None]:
    """The operator's server as it should be, afterwards, where the gate itself has not changed."""
    yield
    world.vhost()
    _serve(world)


@pytest.fixture
def restored(world: Shop) -> Iterator[None]:
    """The operator's server as it should be, afterwards."""
    yield
    world.vhost()
    run = world.play(roles=("gate",))
    assert run.code == 0, run.output


def test_first_run_writes_files_and_shows_the_lines_to_add(world: Shop) -> None:
    assert world.first.code == 0, world.first.output
    assert world.open_at_first == 200
    message = " ".join(world.first.output.split())
    assert f"Add the line {SERVER} as the first of the server at {world.nginx.prefix}/sites/shop.conf:2" in message
    assert (
        f"{PANEL} to those of /admin, {OTHER_PANEL} to those of /app/panel, and {PUBLIC} to every other one" in message
    )


def test_gate_with_its_lines_is_verified_and_then_unchanged(world: Shop) -> None:
    assert world.second.code == 0, world.second.output
    assert (world.third.code, world.third.changed) == (0, 0), world.third.output
    survey = world.look().survey
    assert (survey.included, survey.errors()) == (("shop",), [])
    reported = world.ask("none", STATUS)
    assert (reported.status, reported.headers["x-quietdoor-verdict"]) == (403, "deny")


# --- the public part ---


@pytest.mark.parametrize("who", EVERY_CLIENT)
def test_public_part_is_public_for_every_client(world: Shop, who: str) -> None:
    forged = {"X-Client-Name": "forged", "X_Client_Name": "forged", "X-Quietdoor-Visitor": "203.0.113.7"}
    for method, path, body in [
        ("GET", "/", None),
        ("GET", "/a%2Fb//c/../d;x?y=/admin/", None),
        ("POST", "/form", b"x" * 200_000),
        ("PUT", "/administration", b"1"),
        ("DELETE", "/x/index.php?z", None),
        ("GET", "/blog/1", None),
    ]:
        answer = world.ask(who, path, method=method, body=body, headers=forged)
        assert answer.status == 200, (method, path, answer)
        seen, reported = answer.seen(), json.loads(answer.body)
        assert (reported["method"], reported["path"], reported["body"]) == (method, path, (body or b"").decode())
        assert not [name for name in seen if name.replace("_", "-").startswith(("x-client-", "x-quietdoor-"))]
        assert "forged" not in answer.body
        assert (seen["x-real-ip"], seen["x-forwarded-proto"]) == (ABROAD, "https")
        assert answer.headers["x-shop"] == "yes", "once"
        assert "x-quietdoor-verdict" not in answer.headers
    assert world.ask(who, "/files/a.txt").body == "file files/"
    assert (world.ask(who, "/kept/a.txt").status, world.ask(who, "/files/none").status) == (404, 404)
    assert world.ask(who, "/files/none").body == "own page of the shop"


@pytest.mark.parametrize("who", ["none", "expired"])
def test_a_body_is_as_large_as_the_server_allows(world: Shop, who: str) -> None:
    pair, port = world.people()[who], world.ports["own"]
    argv = ["curl", "-ksS", "--max-time", "20", "--resolve", f"shop.test:{port}:127.0.0.1"]
    argv += ["--cert", str(pair.crt), "--key", str(pair.pem)] if pair else []
    argv += ["-w", "\n%{http_code}", f"https://shop.test:{port}/upload"]
    for size, status in ((290_000, "200"), (310_000, "413")):
        for sent in (["-T", "-"], ["--data-binary", "@-"]):
            done = subprocess.run([*argv, *sent], input="x" * size, capture_output=True, text=True, check=False)
            assert done.stdout.rpartition("\n")[2] == status, done.stdout[-300:] + done.stderr


@pytest.mark.parametrize("who", ["none", "expired", "foreign"])
def test_websocket_of_the_public_part_is_open_for_every_client(world: Shop, who: str) -> None:
    with (
        socket.create_connection(("127.0.0.1", world.ports["own"]), 10) as plain,
        world.context(world.people()[who]).wrap_socket(plain, server_hostname="shop.test") as tls,
    ):
        tls.sendall(b"GET /ws HTTP/1.1\r\nHost: shop.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        reported = b""
        while b"\r\n\r\n" not in reported:
            reported += tls.recv(4096)
        assert reported.startswith(b"HTTP/1.1 101 ")
        tls.sendall(b"hello")
        assert tls.recv(5) == b"olleh"


def test_upgrade_to_h2c_is_handed_on_only_by_the_line_that_the_audit_refuses(world: Shop, served: None) -> None:
    h2c = {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings", "HTTP2-Settings": "AAMAAABkAAQAoAAAAAIAAAAA"}
    for who in ("none", "expired", "valid"):
        assert "upgrade" not in world.ask(who, "/ws", headers=h2c).seen(), who
    world.vhost(upgrade=OPEN_UPGRADE)
    with pytest.raises(MtlsError, match=r"Write proxy_set_header Upgrade \$quietdoor_upgrade; in line [0-9]+ of"):
        world.look()
    _serve(world)
    assert world.ask("none", "/ws", headers=h2c).seen()["upgrade"] == "h2c"


@pytest.mark.parametrize("who", ["none", "expired"])
def test_each_log_has_one_line_for_one_request(world: Shop, who: str) -> None:
    path = f"/logged-{who}"
    assert world.ask(who, path).status == 200

    def entries() -> list[dict]:
        return [entry for entry in world.log("shop") if entry["uri"] == path]

    lines = eventually(entries)
    own = eventually(lambda: [line for line in log_lines(world.logs / "own.log") if path in line])
    assert (len(lines), len(own)) == (1, 1)
    assert (lines[0]["remote_addr"], lines[0]["verdict"]) == (ABROAD, "public")
    assert lines[0]["verify"].startswith("NONE" if who == "none" else "FAILED:certificate has expired")
    assert own[0].startswith(f"{ABROAD} ")


# --- the guarded paths ---

GUARDED = ("/admin/", "/admin", "/admin/x.php", "/%61dmin//z", "/x/../admin/", "/app/panel", "/app/panel/x")


@pytest.mark.parametrize("who", BAD)
def test_a_guarded_path_answers_others_with_the_page(world: Shop, who: str) -> None:
    before = world.reached()
    for path in GUARDED:
        for method in ("GET", "POST"):
            answer = world.ask(who, path, method=method, body=b"1" if method == "POST" else None)
            assert (answer.status, answer.headers["x-quietdoor-verdict"]) == (403, "deny"), path
            assert "opens only with your certificate" in answer.body
    assert world.reached() == before


@pytest.mark.parametrize("who", EVERY_CLIENT)
def test_rewritten_guarded_path_is_refused(world: Shop, who: str) -> None:
    before = world.reached()
    for path in ("/moved/", "/moved/x.php"):
        assert world.ask(who, path).status == 403, path
    assert world.reached() == before


def test_listed_client_is_admitted_with_its_identity(world: Shop) -> None:
    for path in ("/admin/", "/admin/x.php", "/app/panel/x"):
        answer = world.ask("valid", path, headers={"X-Client-Name": "root", "X-Remote-User": "root"})
        assert answer.status == 200, path
        assert answer.seen()["x-client-name"] == "alex"
        assert "x-remote-user" not in answer.seen()
    assert len([one for one in world.panel.reached if one == "GET /app/panel/x"]) > 0


@pytest.mark.parametrize("who", BAD)
def test_no_hostile_request_reaches_the_panel(world: Shop, who: str) -> None:
    context = world.context(world.people()[who])
    before = len(world.application.reached)
    for one in hostile.requests():
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", world.ports["own"]), 10) as plain,
            context.wrap_socket(plain, server_hostname=one.sni and one.sni.replace("NAME", "shop.test")) as tls,
        ):
            tls.settimeout(0.3)
            tls.sendall(one.data.replace(b"NAME", b"shop.test"))
            while tls.recv(65536):
                pass
    got_in = [one for one in world.application.reached[before:] if hostile.is_panel(one.partition(" ")[2])]
    assert got_in == []


# --- lines that are forgotten, and lines that undo the gate ---


def _parts(world: Shop, parts: dict[str, str]) -> dict[str, str]:
    values = {"app": world.application.port, "panel": world.panel.port, "root": world.root, **world.ports}
    return {
        part: text.replace("{", "{{").replace("}", "}}").replace("<", "{").replace(">", "}").format(**values)
        for part, text in parts.items()
    }


PASS = "proxy_pass http://127.0.0.1:<app>;"
PASS_PANEL = "proxy_pass http://127.0.0.1:<panel>;"
TLS = "ssl_certificate <root>/neighbour.crt; ssl_certificate_key <root>/neighbour.key;"

# Faults that close too much: no client gets further than before, and the role reports the place.
SHUT = {
    "no line in the public location": ({"public": "", "nested": ""}, "this location is closed to every client"),
    "no line in a location of files": ({"static": ""}, "this location is closed to every client"),
    "no line in a regular expression": ({"script": ""}, "this location is closed to every client"),
    "no line in a nested location": ({"nested": ""}, "passes on identity headers of the client"),
    "the wrong line in the public part": (
        {"static": PANEL},
        "the snippet of a guarded path is included in a location of the",
    ),
    "no line in a location of the panel": ({"panel": ""}, "passes on identity headers of the client"),
    "a listen without TLS": ({"more": "listen 127.0.0.1:<other>;"}, "this server listens without TLS too"),
    "a name more": ({"more": "server_name late.test;"}, "no client gets in at late.test"),
    "a certificate of nginx's own": (
        {"more": "proxy_ssl_certificate <root>/neighbour.crt; proxy_ssl_certificate_key <root>/neighbour.key;"},
        "nginx presents this certificate in re-proxied requests",
    ),
    "another place for addresses": (
        {"more": "set_real_ip_from 10.0.0.1;"},
        "set_real_ip_from sets the source of the client's",
    ),
}
# Changes that would open the application, or one of its two layers of protection.
OPENING = {
    "the public line in a location of the panel": ({"panel": PUBLIC}, "is included in a location of a guarded path"),
    "auth_request of its own": ({"more": "location /x { auth_request /mine; }"}, "auth_request /mine replaces"),
    "auth_request off": (
        {"more": "location /x { auth_request off; " + PASS + " }"},
        "auth_request off replaces",
    ),
    "satisfy any": ({"in_panel": "satisfy any;"}, "satisfy any admits"),
    "its own 495": ({"more": "error_page 495 /sorry.html;"}, "error_page 495 /sorry.html replaces"),
    "a rewrite before the server's line": ({"first": "rewrite ^/x /admin/ break;"}, "rewrite precedes the server"),
    "a rewrite before a location's line": (
        {"more": "location /x { rewrite ^/x /admin/ break; " + PUBLIC + PASS + " }"},
        "rewrite precedes the snippet",
    ),
    "a rewrite that stays": (
        {"more": "location /x { " + PUBLIC + " rewrite ^/x/(.*) /admin/$1 break; " + PASS + " }"},
        "rewrite changes addresses",
    ),
    "another address for the application": (
        {"more": "location /x/ { " + PUBLIC + " proxy_pass http://127.0.0.1:<app>/; }"},
        "proxy_pass changes addresses",
    ),
    "the panel's application": (
        {"more": "location /x/ { " + PUBLIC + PASS_PANEL + " }"},
        "passes requests of the public part to 127.0.0.1:",
    ),
    "the panel's application through a variable": (
        {"more": "location /x/ { " + PUBLIC + " set $to 127.0.0.1:<panel>; proxy_pass http://$to; }"},
        "passes requests of the public part to 127.0.0.1:",
    ),
    "an application that the client names": (
        {"more": "location /x/ { " + PUBLIC + " proxy_pass http://127.0.0.1:$arg_port; }"},
        "the target of proxy_pass http://127.0.0.1:$arg_port is not known before a request",
    ),
    "a second listen of another server": (
        {"beside": "server { listen 127.0.0.1:<other>; server_name old.test; location / { " + PASS_PANEL + " } }"},
        "the server old.test passes requests to 127.0.0.1:",
    ),
    "the same upstream through a map": (
        {
            "beside": "map $host $old { default 127.0.0.1:<panel>; } "
            "server { listen 127.0.0.1:<other>; location / { proxy_pass http://$old; } }"
        },
        "the server without a name passes requests to 127.0.0.1:",
    ),
    "the client's own Upgrade": (
        {"upgrade": OPEN_UPGRADE},
        "proxy_set_header Upgrade $http_upgrade can pass on other protocols than websocket",
    ),
    "the client's own Upgrade through a map": (
        {
            "upgrade": "proxy_set_header Upgrade $own_upgrade;",
            "beside": 'map $http_upgrade $own_upgrade { default $http_upgrade; "" ""; }',
        },
        "proxy_set_header Upgrade $own_upgrade can pass on other protocols than websocket",
    ),
    "a pattern": ({"panel": "include quietdoor/gate/snippets/shop-panel-[1].conf;"}, "is a pattern"),
}


@pytest.mark.parametrize("fault", [*SHUT, *OPENING])
def test_a_line_that_is_missing_or_undoes_the_gate_is_an_error_with_file_and_line(
    world: Shop, rewritten: None, fault: str
) -> None:
    parts, message = {**SHUT, **OPENING}[fault]
    world.vhost(**_parts(world, parts))
    with pytest.raises(MtlsError) as problem:
        world.look()
    assert f"site shop: {world.nginx.prefix}/sites/shop.conf:" in str(problem.value)
    assert message in str(problem.value)


HARMLESS = {
    "a return in a location of the panel": {"in_panel": 'return 200 "inside";'},
    "a return in a location with no line": {"more": 'location /hello { return 200 "hello"; }'},
    "a location that denies": {"more": "location ~ /\\.ht { deny all; }"},
    "a redirect": {"more": "location /old/ { " + PUBLIC + " rewrite ^/old/(.*) /admin/$1 permanent; }"},
    "try_files": {"more": "location /t/ { " + PUBLIC + " try_files $uri /admin/x.php; }"},
    "another location of the panel": {"more": "location ~ ^/admin/.*\\.x$ { " + PANEL + PASS + " }"},
}


@pytest.mark.parametrize("change", HARMLESS)
def test_harmless_line_is_not_an_error_and_admits_no_client(world: Shop, served: None, change: str) -> None:
    world.vhost(**_parts(world, HARMLESS[change]))
    assert not world.look().survey.errors()
    _serve(world)
    _nobody_gets_in(world, *(["/t/none"] if change == "try_files" else []))
    assert world.ask("expired", "/").status == 200


@pytest.mark.parametrize("fault", SHUT)
def test_forgotten_line_admits_no_client(world: Shop, served: None, fault: str) -> None:
    world.vhost(**_parts(world, SHUT[fault][0]))
    _serve(world)
    _nobody_gets_in(world)


def test_request_is_re_proxied_at_most_once(world: Shop, served: None) -> None:
    """With a certificate of its own that nobody knows, the second time would be like the first."""
    world.vhost(**_parts(world, SHUT["a certificate of nginx's own"][0]))
    _serve(world)
    assert world.ask("expired", "/").status == 403
    assert world.ask("none", "/").status == 200


def _serve(world: Shop) -> None:
    """Reload, and wait until no worker is left that began before."""
    before = set(children(world.nginx.pid))
    world.nginx.reload()
    assert eventually(lambda: set(children(world.nginx.pid)).isdisjoint(before))


def _nobody_gets_in(world: Shop, *more: str) -> None:
    before = world.reached()
    for who in ("none", "revoked", "foreign", "unlisted", "expired"):
        for path in (*GUARDED, *more, "/admin/y.x", "/moved/", "/moved/x.php"):
            answer = world.ask(who, path)
            assert answer.status in (403, 404), (who, path, answer)
            assert "inside" not in answer.body
    assert world.reached() == before


def test_losing_the_include_is_an_error(world: Shop, rewritten: None) -> None:
    world.bare()
    run = world.play(roles=("gate",))
    assert run.code != 0
    assert "site shop was guarded and is not any more" in run.output


# --- the way out ---


def test_the_gate_goes_when_the_lines_are_gone_and_leaves_everything_as_it_was(world: Shop, restored: None) -> None:
    absent = [{**world.sites[0], "stage": "absent"}]
    run = world.play(roles=("gate",), gate_sites=absent)
    assert run.code != 0
    for kind in ("server", "public", "panel-1", "panel-2"):
        assert f"includes snippets/shop-{kind}.conf" in run.output
    assert world.ask("none", "/admin/").status == 403
    world.vhost(server="", **dict.fromkeys(("public", "panel", "script", "static", "nested"), ""))
    left = world.play(roles=("gate",), gate_sites=absent)
    assert "includes snippets/shop-panel-2.conf" in left.output, "one line that was forgotten"
    world.bare()
    before = _own_files(world)
    run = world.play(roles=("gate",), gate_sites=absent)
    assert run.code == 0, run.output
    assert _own_files(world) == before
    assert not (world.nginx.prefix / "conf.d" / "quietdoor.conf").exists()
    assert world.ask("none", "/admin/").status == 200


def _own_files(world: Shop) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for directory in ("sites", "conf.d", "")
        for path in (world.nginx.prefix / directory).glob("*.conf")
        if path.name != "quietdoor.conf"
    }
