# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guarded paths of a public site, who may come in, and everything that can stand behind a gate, on a real nginx."""

from __future__ import annotations

import json
import re
import shutil
import socket
import socketserver
import struct
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID as Usage
from support.app import Application
from support.ca import make_pair
from support.client import STATUS, Answer, eventually, exchange, wait_for_port
from support.nginx import RELEASES, NginxInstance, free_port
from support.path_world import PathWorld

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EVERY_CLIENT = ("valid", "unlisted", "none", "revoked", "denied", "foreign", "expired", "self-signed", "not-yet-valid")
BAD = tuple(who for who in EVERY_CLIENT if who not in ("valid",))


# --- what stands behind the gate ---


class Decisions:
    """A decision service: who is refused is named by a header, and what it was asked is kept."""

    def __init__(self, port: int) -> None:
        self.asked: list[dict[str, str]] = []
        self.status = 204
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                service.asked.append({name.lower(): value for name, value in self.headers.items()})
                self.send_response(service.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


class FastCgi(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """A responder that answers with its parameters as JSON (FastCGI specification, section 3)."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), _FastCgiHandler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _FastCgiHandler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        params, body = b"", b""
        while True:
            _version, kind, request, length, padding = struct.unpack(">BBHHBx", self.rfile.read(8))
            content = self.rfile.read(length)
            self.rfile.read(padding)
            params += content if kind == 4 else b""
            body += content if kind == 5 else b""
            if kind == 5 and not length:
                break
        answer = json.dumps({"params": _pairs(params), "body": body.decode()}).encode()
        out = b"Content-Type: application/json\r\nX-Quietdoor-Verdict: forged\r\nX-Accel-Redirect: /x\r\n\r\n" + answer
        self.wfile.write(struct.pack(">BBHHBx", 1, 6, request, len(out), 0) + out)
        self.wfile.write(struct.pack(">BBHHBxI4x", 1, 3, request, 8, 0, 0))


def _pairs(data: bytes) -> dict[str, str]:
    found, at = {}, 0
    while at < len(data):
        sizes = []
        for _half in range(2):
            long = data[at] >> 7
            sizes.append(struct.unpack(">I", data[at : at + 4])[0] & 0x7FFFFFFF if long else data[at])
            at += 4 if long else 1
        name, value = data[at : at + sizes[0]], data[at + sizes[0] : at + sum(sizes)]
        found[name.decode()] = value.decode("latin-1")
        at += sum(sizes)
    return found


# --- the world ---


def _sites(world: PathWorld, panel: Application) -> list[dict]:
    own, root = world.ports["own"], world.root
    files = root / "files"
    (files / "admin").mkdir(parents=True)
    (files / "index.html").write_text("public files")
    (files / "admin" / "index.html").write_text("secret files")
    (files / "admin" / "x.txt").write_text("secret text")
    (files / "empty").mkdir()
    listed = {"allow": {"names": ["alex"], "emails": ["bea@example.org"]}}
    secure = {"upstream": f"grpcs://localhost:{world.ports['rpcs']}"}
    return [
        world.site(
            "shop",
            ["shop.test"],
            own,
            mode="path",
            paths=["/admin/", {"path": "/app/panel", "upstream": f"http://127.0.0.1:{panel.port}"}],
            hsts={"max_age": "30d", "include_subdomains": True},
            websocket=True,
            client_max_body_size="300k",
            **listed,
        )
        | {"listen": [f"127.0.0.1:{own}", f"127.0.0.1:{world.ports['shared']}", f"[::1]:{own}"]},
        world.site(
            "club",
            ["club.test"],
            own,
            hsts=True,
            rate_limit={"rate": "1r/m", "burst": 4},
            identity_headers={"name": "Remote-User", "roles": "X-Groups", "verify": "X-Is-Verified"},
            allow={"roles": ["ops"], "names": ["emil"]},
        ),
        world.site("lister", ["lister.test"], own, **listed),
        world.site("asks", ["asks.test"], own, auth_request=f"http://127.0.0.1:{world.ports['decisions']}/decide"),
        world.site("lost", ["lost.test"], own, auth_request=f"http://127.0.0.1:{free_port(21600, 21699)}"),
        world.site("files", ["files.test"], own, mode="path", paths=["/admin"], upstream=str(files)),
        world.site("rpc", ["rpc.test"], own, upstream=f"grpc://127.0.0.1:{world.ports['rpc']}"),
        world.site("rpcs", ["rpcs.test"], own, **secure, upstream_ca=f"{root}/upstream.crt"),
        world.site("rpcs-distrusted", ["distrusted.test"], own, **secure, upstream_ca=f"{root}/neighbour.crt"),
        world.site(
            "php",
            ["php.test"],
            own,
            mode="path",
            paths=["/admin"],
            upstream=f"fastcgi://unix:{root}/php.sock",
            fastcgi_script="/srv/php/index.php",
        ),
        world.site("loose", ["loose.test"], own, mode="path", paths=["/admin"], path_spelling="loose"),
        world.site(
            "limits", ["limits.test"], own, mode="path", paths=["/admin"], rate_limit={"rate": "1r/m", "burst": 0}
        ),
    ]


@pytest.fixture(scope="module", params=RELEASES)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PathWorld]:
    """The sites, with both roles applied."""
    root = tmp_path_factory.mktemp("path")
    ranges = {"own": 21000, "shared": 21100, "rpc": 21200, "rpcs": 21250, "article": 21300, "decisions": 21400}
    ports = {name: free_port(first, first + 49) for name, first in ranges.items()}
    application, panel = Application(free_port(21500, 21549)), Application(free_port(21550, 21599))
    foreign = make_pair(root / "foreign-ca", "Foreign", is_ca=True)
    make_pair(root / "neighbour", "neighbour", usage=Usage.SERVER_AUTH, dns=("public.test",))
    make_pair(root / "upstream", "upstream", usage=Usage.SERVER_AUTH, dns=("localhost",))
    decisions, php = Decisions(ports["decisions"]), FastCgi(root / "php.sock")
    idle = free_port(21700, 21799)
    # The neighbour of test_gate.py, an HTTP/2 application, and a gate as articles have it.
    tls = f"ssl_certificate {root}/neighbour.crt; ssl_certificate_key {root}/neighbour.key;"
    proxy = f"proxy_pass http://127.0.0.1:{application.port};"
    http = f"""
        underscores_in_headers on;
        satisfy any;
        server {{
            listen 127.0.0.1:{ports["shared"]} ssl default_server;
            server_name public.test;
            {tls}
            ssl_protocols TLSv1.2 TLSv1.3;
            ssl_early_data on;
            ssl_session_cache shared:neighbour:1m;
            ssl_verify_client optional_no_ca;
            location / {{ return 200 "the neighbour"; }}
        }}
        server {{
            listen 127.0.0.1:{ports["rpc"]} http2;
            listen 127.0.0.1:{ports["rpcs"]} ssl http2;
            ssl_certificate {root}/upstream.crt;
            ssl_certificate_key {root}/upstream.key;
            location / {{
                add_header Content-Type application/grpc;
                return 200 "$server_protocol $request_uri $http_x_client_name,$http_remote_user,$http_x_client_verify";
            }}
        }}
        server {{
            listen 127.0.0.1:{ports["article"]} ssl;
            server_name panel.test;
            {tls}
            ssl_client_certificate {root}/ca.crt;
            ssl_verify_client optional;
            location / {{ {proxy} }}
            location ~ \\.php {{ {proxy} }}
            location /admin/ {{
                if ($ssl_client_verify != SUCCESS) {{ return 403; }}
                {proxy}
            }}
        }}"""
    try:
        with NginxInstance(
            root / "nginx", http=f"server {{ listen 127.0.0.1:{idle}; }}", version=request.param
        ) as nginx:
            world = PathWorld(root, nginx, ports, application, foreign)
            nginx.configure(http=http)
            nginx.reload()
            world.panel, world.decisions = panel, decisions
            world.sites = _sites(world, panel)
            world.authority.publish()
            world.first = world.play("--diff")
            assert world.first.code == 0, world.first.output
            yield world
    finally:
        for one in (application, panel, decisions):
            one.stop()
        php.shutdown()
        php.server_close()
        shutil.rmtree(root / "ansible", ignore_errors=True)


def ask(world: PathWorld, who: str, path: str, host: str = "shop.test", **more: object) -> Answer:
    """Ask as one of the people."""
    return world.get(world.people()[who], path, host=host, **more)


def test_a_second_run_changes_nothing_and_nginx_has_nothing_to_complain_about(world: PathWorld) -> None:
    again = world.play()
    assert (again.code, again.changed) == (0, 0), again.output
    done = subprocess.run(world.nginx.test_argv, capture_output=True, text=True, check=True)
    # With so many names nginx cannot give each a bucket of its own; it says so and works all the same. nginx.conf is not ours.
    assert not re.findall(r"\[(?:warn|error|emerg)\](?!.*(?:could not build optimal|/nginx\.conf:)).*", done.stderr)


def test_role_shows_other_ways_to_a_guarded_path(world: PathWorld) -> None:
    message = world.first.output
    assert (
        f"site shop: /admin and the public part have the same upstream http://127.0.0.1:{world.application.port}"
        in message
    )
    assert "which site loose reaches too, at other addresses than its own guarded paths" in message
    assert not re.search(r"site shop: /app/panel", message), "nobody else reaches that one"
    assert f"the server panel.test passes requests to 127.0.0.1:{world.application.port}" in message, (
        "the article's gate"
    )


# --- mode path ---


@pytest.mark.parametrize("port", ["own", "shared"])
@pytest.mark.parametrize("who", EVERY_CLIENT)
def test_public_part_is_public_for_every_client(world: PathWorld, who: str, port: str) -> None:
    forged = {
        "X-Client-Name": "forged",
        "X_Client_Name": "forged",
        "X-Client_Verify": "forged",
        "X-Quietdoor-Verdict": "forged",
    }
    for method, path, body in [
        ("GET", "/", None),
        ("GET", "/a%2Fb//c/../d;x?y=/admin/", None),
        ("POST", "/form", b"x" * 200_000),
        ("PUT", "/administration", b"1"),
        ("DELETE", "/x", None),
        ("PATCH", "/blog/admin", b"1"),
        ("OPTIONS", "/", None),
    ]:
        answer = ask(world, who, path, port=port, method=method, body=body, headers=forged)
        assert answer.status == 200, (method, path, answer)
        seen, told = answer.seen(), json.loads(answer.body)
        assert (told["method"], told["path"], told["body"]) == (method, path, (body or b"").decode())
        assert not [name for name in seen if name.replace("_", "-").startswith("x-client-")]
        assert "forged" not in answer.body
        assert (seen["x-real-ip"], seen["x-forwarded-proto"]) == ("127.0.0.1", "https")
        assert seen["host"] == f"shop.test:{world.ports[port]}"
        assert answer.headers["strict-transport-security"] == "max-age=2592000; includeSubDomains"
        assert "x-quietdoor-verdict" not in answer.headers
    assert ask(world, who, "/", port=port, method="HEAD").status == 200


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
@pytest.mark.parametrize("who", ["none", "expired", "valid"])
def test_curl_reaches_the_public_part_with_a_large_body(world: PathWorld, who: str, version: str) -> None:
    pair, port = world.people()[who], world.ports["own"]
    argv = ["curl", "-ksS", "--max-time", "20", version, "--resolve", f"shop.test:{port}:127.0.0.1"]
    argv += ["--cert", str(pair.crt), "--key", str(pair.pem)] if pair else []
    argv += ["-w", "\n%{http_code} %{http_version}", f"https://shop.test:{port}/upload", "--data-binary", "@-"]
    for size, status in ((290_000, "200"), (310_000, "413")):
        done = subprocess.run(argv, input="x" * size, capture_output=True, text=True, check=False)
        body, _newline, summary = done.stdout.rpartition("\n")
        assert summary == f"{status} {'2' if version == '--http2' else '1.1'}", done.stderr
        assert status == "413" or len(json.loads(body)["body"]) == size
    # A body whose length is not told beforehand: chunked, or a stream of HTTP/2.
    argv[-2:] = ["-T", "-"]
    done = subprocess.run(argv, input="x" * 310_000, capture_output=True, text=True, check=False)
    assert done.stdout.rpartition("\n")[2].startswith("413 "), done.stdout[-300:] + done.stderr


def test_the_size_of_a_body_is_limited_for_a_bad_certificate_too(world: PathWorld) -> None:
    for who in ("none", "expired", "foreign"):
        for size, status in ((307_200, 200), (307_201, 413), (400_000, 413)):
            assert ask(world, who, "/", method="POST", body=b"x" * size).status == status


@pytest.mark.parametrize("who", BAD)
def test_a_guarded_path_answers_others_with_the_page(world: PathWorld, who: str) -> None:
    reached = len(world.application.reached), len(world.panel.reached)
    for path in (
        "/admin",
        "/admin/",
        "/admin/x?y",
        "/%61dmin//z",
        "/x/../admin/",
        "/app/panel",
        "/app/panel/x",
        "/app/%70anel/",
    ):
        for method in ("GET", "POST"):
            answer = ask(world, who, path, method=method, body=b"1" if method == "POST" else None)
            assert (answer.status, answer.headers["x-quietdoor-verdict"]) == (403, "deny"), path
            assert answer.headers["strict-transport-security"]
    assert (len(world.application.reached), len(world.panel.reached)) == reached
    sentence = {
        "unlisted": "not on the list",
        "none": "did not show",
        "revoked": "has been revoked",
        "expired": "has expired",
        "foreign": "not issued for this site",
    }.get(who, "certificate")
    assert sentence in answer.body


@pytest.mark.parametrize("client", ["alex", "bea"])
def test_listed_certificate_is_admitted_to_guarded_paths(world: PathWorld, client: str) -> None:
    pair = world.authority.clients[client]
    for path, application in (
        ("/admin", world.application),
        ("/admin/a%2Fb//c", world.application),
        ("/app/panel/x", world.panel),
    ):
        answer = world.get(pair, path, host="shop.test", method="POST", body=b"b")
        assert (answer.status, json.loads(answer.body)["path"]) == (200, path)
        assert application.reached[-1] == f"POST {path}"
        assert answer.seen()["x-client-name"] == client


def test_the_status_location_tells_generations_in_mode_path(world: PathWorld) -> None:
    for who in EVERY_CLIENT:
        answer = ask(world, who, STATUS)
        assert (answer.status, answer.headers["x-quietdoor-verdict"]) == (
            (204, "cert") if who == "valid" else (403, "deny")
        )
        assert re.fullmatch(r"gate=\d+ trust=\d+", answer.headers["x-quietdoor-generation"])
        for inside in ("/verdict", "/public"):
            assert ask(world, who, STATUS + inside).status == 403


def test_other_spelling_is_refused_for_every_client_and_logged(world: PathWorld) -> None:
    for path in ("/ADMIN/", "/admin;x/", "/x/..;/admin/", "/admin/../x", "/app/Panel", "/%2570anel;/"):
        for who in ("valid", "none", "expired"):
            answer = ask(world, who, path)
            assert (answer.status, "written in a way" in answer.body) == (403, True), (who, path)
    assert ask(world, "valid", "/ADMIN/", "loose.test").status == 200
    assert ask(world, "none", "/ADMIN/", "loose.test").seen().get("x-client-name") is None
    assert ask(world, "none", "/admin/../x", "loose.test").status == 403


def test_a_websocket_on_the_guarded_path(world: PathWorld) -> None:
    request = "GET {} HTTP/1.1\r\nHost: shop.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n12345"
    for who, path, status in (
        ("valid", "/admin/ws", b"101"),
        ("none", "/admin/ws", b"403"),
        ("expired", "/ws", b"101"),
    ):
        with (
            socket.create_connection(("127.0.0.1", world.ports["own"]), 10) as plain,
            world.context(world.people()[who]).wrap_socket(plain, server_hostname="shop.test") as tls,
        ):
            tls.sendall(request.format(path).encode())
            answer = b""
            while status != b"403" and b"54321" not in answer:
                part = tls.recv(4096)
                assert part, answer
                answer += part
            assert (answer or tls.recv(4096)).startswith(b"HTTP/1.1 " + status)


def test_the_log_tells_public_requests_from_guarded_ones(world: PathWorld) -> None:
    for who in ("valid", "unlisted", "none", "expired"):
        ask(world, who, f"/log-{who}")
        ask(world, who, f"/admin/log-{who}")
    ask(world, "none", "/ADMIN/log-odd")

    def look() -> dict[str, tuple[str, str, str]]:
        found = {
            one["uri"]: (one["verdict"], one["reason"], one["status"])
            for one in world.log("shop")
            if "log-" in one["uri"]
        }
        return found if len(found) == 9 else {}

    assert eventually(look) == {
        "/log-valid": ("public", "public", "200"),
        "/log-unlisted": ("public", "public", "200"),
        "/log-none": ("public", "public", "200"),
        "/log-expired": ("public", "public", "200"),
        "/admin/log-valid": ("cert", "accepted", "200"),
        "/admin/log-unlisted": ("deny", "unlisted", "403"),
        "/admin/log-none": ("deny", "no-certificate", "403"),
        "/admin/log-expired": ("deny", "expired", "403"),
        "/ADMIN/log-odd": ("deny", "spelling", "403"),
    }


# --- who may come in ---


def test_allow_lists_clients_in_mode_host_too(world: PathWorld) -> None:
    for who in EVERY_CLIENT:
        answer = ask(world, who, "/", "lister.test")
        assert answer.status == (200 if who == "valid" else 403), who
        assert ("not on the list" in answer.body) == (who == "unlisted")


def test_a_certificate_that_is_in_no_roster_is_not_listed_whatever_its_name_is(world: PathWorld) -> None:
    ghost = make_pair(world.root / "ghost", "alex", world.authority.ca)
    assert world.get(ghost, "/", host="asks.test").status == 200, "it is a good certificate"
    for host, path in (
        ("lister.test", "/"),
        ("club.test", STATUS),
        ("shop.test", "/admin/"),
        ("shop.test", "/app/panel"),
    ):
        answer = world.get(ghost, path, host=host)
        assert (answer.status, "not on the list" in answer.body) == (403, True), host


def test_listed_name_does_not_admit_a_revoked_client(world: PathWorld) -> None:
    answer = ask(world, "denied", STATUS, "club.test")
    assert (answer.status, "has been revoked" in answer.body) == (403, True)


def test_identity_headers_have_the_names_of_the_site(world: PathWorld) -> None:
    forged = dict.fromkeys(
        ["Remote-User", "X-Groups", "X-Is-Verified", "X-Client-Name", "X-Client-Roles", "X_Groups", "Remote_User"],
        "forged",
    )
    answer = ask(world, "valid", "/", "club.test", headers=forged)
    seen = answer.seen()
    assert "forged" not in answer.body
    assert (seen["remote-user"], seen["x-groups"], seen["x-is-verified"]) == ("alex", "admin,ops", "SUCCESS")
    assert (seen["x-client-email"], "x-client-name" in seen) == ("alex@example.org", False)


def test_decision_service_overrides_the_verdict(world: PathWorld) -> None:
    service, before = world.decisions, len(world.application.reached)
    service.status = 204
    assert (
        ask(
            world, "valid", "/x?y=1", "asks.test", method="POST", body=b"12345", headers={"X-Client-Name": "forged"}
        ).status
        == 200
    )
    asked = service.asked[-1]
    expected = {
        "x-client-name": "alex",
        "x-client-verify": "SUCCESS",
        "x-original-uri": "/x?y=1",
        "x-original-method": "POST",
        "x-original-host": f"asks.test:{world.ports['own']}",
    }
    assert {name: asked.get(name) for name in expected} == expected
    assert "content-length" not in asked
    for message, got in ((403, 403), (401, 401), (500, 403), (404, 403), (302, 403), (200, 200)):
        service.status = message
        assert ask(world, "valid", "/", "asks.test").status == got
    assert len(world.application.reached) == before + 2
    service.status, count = 204, len(service.asked)
    assert [ask(world, who, "/", "asks.test").status for who in ("none", "revoked", "foreign")] == [403] * 3
    assert len(service.asked) == count, "strangers are refused before anybody is asked"


def test_without_its_decision_service_a_site_is_closed(world: PathWorld) -> None:
    before = len(world.application.reached)
    answer = ask(world, "valid", "/", "lost.test")
    assert (answer.status, answer.headers["x-quietdoor-verdict"]) == (403, "deny")
    assert "a rule of this server refused the request" in answer.body
    # The strangers' refusal is the usual one.
    assert ask(world, "none", "/", "lost.test").status == 403
    assert len(world.application.reached) == before


def test_refusals_are_limited_and_certificates_never(world: PathWorld) -> None:
    statuses = [ask(world, "none", f"/{number}", "club.test").status for number in range(9)]
    assert statuses == [403] * 5 + [429] * 4
    limited = ask(world, "foreign", "/", "club.test")
    assert (limited.status, limited.headers["x-quietdoor-verdict"]) == (429, "deny")
    assert limited.headers["strict-transport-security"] == "max-age=31536000"
    assert {ask(world, "valid", "/", "club.test").status for _ in range(20)} == {200}
    statuses = [ask(world, "expired", "/admin/", "limits.test").status for _ in range(3)]
    assert statuses == [403, 429, 429]
    assert {ask(world, "expired", "/", "limits.test").status for _ in range(10)} == {200}
    assert {ask(world, "none", STATUS, "limits.test").status for _ in range(5)} == {403}, (
        "the generation is told all the same"
    )


def test_hsts_is_on_every_answer_and_not_over_plain_http(world: PathWorld) -> None:
    for path in ("/", "/status/500", STATUS):
        assert ask(world, "valid", path, "club.test").headers["strict-transport-security"] == "max-age=31536000"
    assert "strict-transport-security" not in ask(world, "valid", "/", "lister.test").headers
    with socket.create_connection(("127.0.0.1", world.ports["own"]), 10) as plain:
        answer = exchange(plain, "GET", "/", {"Host": "club.test"})
    assert (answer.status, "strict-transport-security" in answer.headers) == (301, False)


# --- what can stand behind a gate ---


def _curl(world: PathWorld, who: str, url: str, *arguments: str) -> tuple[str, str]:
    pair, port = world.people()[who], world.ports["own"]
    host = url.partition("/")[0]
    argv = [
        "curl",
        "-ksS",
        "--max-time",
        "10",
        "--resolve",
        f"{host}:{port}:127.0.0.1",
        "-w",
        "\n%{http_code} %{http_version}",
    ]
    argv += ["--cert", str(pair.crt), "--key", str(pair.pem)] if pair else []
    done = subprocess.run(
        [*argv, *arguments, f"https://{url.replace(host, f'{host}:{port}', 1)}"],
        capture_output=True,
        text=True,
        check=True,
    )
    body, _newline, summary = done.stdout.rpartition("\n")
    return body, summary


def test_a_grpc_application(world: PathWorld) -> None:
    headers = [
        "-H",
        "TE: trailers",
        "-H",
        "Content-Type: application/grpc",
        "-H",
        "Remote-User: forged",
        "-H",
        "X-Client-Name: forged",
    ]
    body, summary = _curl(world, "valid", "rpc.test/door.Panel/Open", "--http2", *headers, "--data-binary", "12345")
    assert (body, summary) == ("HTTP/2.0 /door.Panel/Open alex,,SUCCESS", "200 2")
    assert _curl(world, "none", "rpc.test/door.Panel/Open", "--http2", *headers)[1] == "403 2"


def test_a_grpc_application_behind_tls(world: PathWorld) -> None:
    headers = ["--http2", "-H", "TE: trailers", "-H", "Content-Type: application/grpc"]
    assert _curl(world, "valid", "rpcs.test/a.B/C", *headers) == ("HTTP/2.0 /a.B/C alex,,SUCCESS", "200 2")
    assert _curl(world, "valid", "distrusted.test/a.B/C", *headers)[1] == "502 2"
    assert _curl(world, "none", "rpcs.test/a.B/C", *headers)[1] == "403 2"


def test_a_fastcgi_application(world: PathWorld) -> None:
    forged = {
        "X-Client-Name": "forged",
        "X_Client_Name": "forged",
        "Proxy": "forged",
        "Remote-User": "forged",
        "X-A": "kept",
    }
    answer = ask(world, "valid", "/admin/a%2Fb?x=1", "php.test", method="POST", body=b"x=1", headers=forged)
    assert answer.status == 200
    assert "forged" not in answer.body + str(answer.headers)
    told = json.loads(answer.body)
    expected = {
        "SCRIPT_FILENAME": "/srv/php/index.php",
        "DOCUMENT_ROOT": "/srv/php",
        "REQUEST_URI": "/admin/a%2Fb?x=1",
        "PATH_INFO": "/admin/a/b",
        "QUERY_STRING": "x=1",
        "REQUEST_METHOD": "POST",
        "HTTPS": "on",
        "REMOTE_USER": "alex",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_X_CLIENT_NAME": "alex",
        "HTTP_X_CLIENT_VERIFY": "SUCCESS",
        "HTTP_X_CLIENT_EMAIL": "alex@example.org",
        "HTTP_PROXY": None,
        "HTTP_X_A": "kept",
    }
    assert {name: told["params"].get(name) for name in expected} == expected
    assert told["body"] == "x=1"
    public = json.loads(ask(world, "expired", "/shop", "php.test", method="POST", body=b"y", headers=forged).body)
    assert (public["body"], public["params"]["REMOTE_USER"], public["params"].get("HTTP_X_CLIENT_NAME")) == (
        "y",
        "",
        None,
    )
    assert ask(world, "none", "/admin/", "php.test").status == 403


def test_a_directory_of_files(world: PathWorld) -> None:
    for who in ("none", "expired", "valid"):
        assert (ask(world, who, "/", "files.test").body, ask(world, who, "/nothing", "files.test").status) == (
            "public files",
            404,
        )
        assert ask(world, who, "/empty/", "files.test").status == 404
        inside = [ask(world, who, path, "files.test") for path in ("/admin/", "/admin/x.txt", "/x/../admin/x.txt")]
        assert [one.status for one in inside] == [200 if who == "valid" else 403] * 3
        assert [("secret" in one.body) for one in inside] == [who == "valid"] * 3


# --- other ways in ---


def test_gate_listens_on_ipv6_too(world: PathWorld) -> None:
    before = len(world.application.reached)
    for who, path, status in (
        ("none", "/admin/", 403),
        ("expired", "/admin/", 403),
        ("expired", "/", 200),
        ("unlisted", "/admin/", 403),
        ("valid", "/admin/", 200),
    ):
        with (
            socket.create_connection(("::1", world.ports["own"]), 10) as plain,
            world.context(world.people()[who]).wrap_socket(plain, server_hostname="shop.test") as tls,
        ):
            answer = exchange(tls, "GET", path, {"Host": "shop.test"})
        assert answer.status == status, (who, path)
    assert answer.seen()["x-real-ip"] == "::1"
    assert world.application.reached[before:] == ["GET /", "GET /admin/"]


def _first_flight(world: PathWorld, sni: str, host: str, session: Path, *arguments: str) -> str:
    pair = world.people()["foreign"]
    request = f"GET /admin/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    early = session.with_name("early")
    early.write_text(request)
    argv = ["openssl", "s_client", "-connect", f"127.0.0.1:{world.ports['shared']}", "-servername", sni, "-tls1_3"]
    argv += ["-cert", str(pair.crt), "-key", str(pair.pem), "-ign_eof", *arguments]
    argv += ["-early_data", str(early)] if "-sess_in" in arguments else []
    done = subprocess.run(argv, input=request.encode(), capture_output=True, timeout=30, check=False)
    return done.stdout.decode("utf-8", "replace")


def test_early_data_admits_no_client(world: PathWorld, tmp_path: Path) -> None:
    """A neighbour takes requests in the first flight of a resumed session (0-RTT), and any certificate with it."""
    session, before = tmp_path / "session", len(world.application.reached)
    assert "the neighbour" in _first_flight(world, "public.test", "public.test", session, "-sess_out", str(session))
    taken = ("-sess_in", str(session))
    message = _first_flight(world, "public.test", "public.test", session, *taken)
    assert ("Early data was accepted" in message, "the neighbour" in message) == (True, True)
    message = _first_flight(world, "public.test", "shop.test", session, *taken)
    assert ("Early data was accepted" in message, "HTTP/1.1 421" in message) == (True, True)
    # For another name than that of the session OpenSSL sends no first flight, and the gate gives no session to begin with.
    own = tmp_path / "own"
    assert "HTTP/1.1 403" in _first_flight(world, "shop.test", "shop.test", session, "-sess_out", str(own))
    assert not own.exists()
    assert world.application.reached[before:] == []


# --- each line of defence ---

_LINES = {
    "the guard in the rewrite phase": (
        r'    if \(\$quietdoor_site_shop_verdict !~ "[^"]*"\) \{\n        return 403;\n    \}\n',
        "",
    ),
    "the question in the access phase": (r"    auth_request /\.well-known/quietdoor/verdict;\n", ""),
    "the guard on the way of bad certificates": (
        r"        if \(\$quietdoor_site_shop_verdict != public\) \{\n        *return 403;\n *\}\n",
        "",
    ),
    "the question on that way": (
        r"(return 413;\n        \}\n)        auth_request /\.well-known/quietdoor/public;\n(        include)",
        r"\1\2",
    ),
    "optional, not optional_no_ca": (r"ssl_verify_client optional;", "ssl_verify_client optional_no_ca;"),
}


@pytest.mark.parametrize("line", _LINES)
def test_guarded_paths_stay_closed_without_any_one_defence(world: PathWorld, tmp_path: Path, line: str) -> None:
    prefix = tmp_path / "nginx"
    shutil.copytree(world.nginx.prefix, prefix, ignore=shutil.ignore_patterns("*.pid", "*.log"), symlinks=True)
    site = prefix / "quietdoor" / "gate" / "sites" / "shop.conf"
    text, count = re.subn(_LINES[line][0], _LINES[line][1], site.read_text())
    assert count == 1, "the line is not there, so this would test nothing"
    site.write_text(text)
    ports = {
        name: free_port(21800 + 20 * index, 21819 + 20 * index)
        for index, name in enumerate(("own", "shared", "rpc", "article", "rpcs"))
    }
    for path in prefix.rglob("*.conf"):
        text = path.read_text().replace(str(world.nginx.prefix), str(prefix))
        for name, port in ports.items():
            text = text.replace(f":{world.ports[name]}", f":{port}")
        path.write_text(text)
    process = subprocess.Popen(
        [world.nginx.binary, "-p", str(prefix), "-c", str(prefix / "nginx.conf"), "-g", "daemon off;"],
        stderr=subprocess.DEVNULL,
    )
    world.ports["layer"] = ports["own"]
    try:
        wait_for_port(ports["own"], process)
        reached = len(world.application.reached), len(world.panel.reached)
        for who in BAD:
            for path in ("/admin", "/admin/x", "/app/panel/", "/ADMIN/", "/admin/../x"):
                answer = ask(world, who, path, port="layer")
                assert (answer.status, answer.headers["x-quietdoor-verdict"]) == (403, "deny"), (who, path)
        assert (len(world.application.reached), len(world.panel.reached)) == reached
        assert ask(world, "valid", "/admin/", port="layer").status == 200
    finally:
        process.terminate()
        process.wait(10)
