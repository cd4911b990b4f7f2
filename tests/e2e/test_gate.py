# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The roles trust and gate on a real nginx: who gets in, who does not, and what each of them sees.

The authority is made here, with nothing of the collection: the gate is judged against certificates that it has no part in.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import socket
import ssl
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._contracts.identity_headers import (
    CLIENT,
    IDENTITY,
    header_names,
)
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID as Usage
from support.app import Application
from support.ca import make_pair, serial_of, subject_of
from support.client import REJECTED, STATUS, Answer, eventually, exchange, log_lines, wait_for_port
from support.nginx import RELEASES, NginxInstance, free_port
from support.world import KEPT, World, on_one_release

if TYPE_CHECKING:
    from collections.abc import Iterator

COLLECTION = Path(importlib.util.find_spec("ansible_collections.quietdoor.mtls").submodule_search_locations[0])


# --- the world of a test ---


@pytest.fixture(scope="module", params=RELEASES)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world to which both roles have been applied."""
    root = tmp_path_factory.mktemp("gate")
    ports = {"own": free_port(22300, 22499), "shared": free_port(22500, 22699)}
    application = Application(free_port(22700, 22899))
    foreign = make_pair(root / "foreign-ca", "Foreign", is_ca=True)
    make_pair(root / "neighbour", "neighbour", usage=Usage.SERVER_AUTH, dns=("public.test",))
    # A neighbour that makes it hard: default server of its port, resumes sessions, asks for certificates and takes any, trusts a
    # foreign CA for everything, and has habits at http level that sites inherit.
    neighbour = f"""
        ssl_trusted_certificate {root}/foreign-ca.crt;
        underscores_in_headers on;
        proxy_intercept_errors on;
        satisfy any;
        error_page 404 500 /inherited;
        server {{
            listen 127.0.0.1:{ports["shared"]} ssl default_server;
            server_name public.test;
            ssl_certificate {root}/neighbour.crt;
            ssl_certificate_key {root}/neighbour.key;
            ssl_protocols TLSv1.2 TLSv1.3;
            ssl_session_cache shared:neighbour:1m;
            ssl_session_tickets on;
            ssl_verify_client optional_no_ca;
            location / {{ return 200 "the neighbour"; }}
        }}"""
    try:
        with NginxInstance(root / "nginx", http=neighbour, version=request.param) as nginx:
            world = World(root, nginx, ports, application, foreign)
            world.authority.publish()
            world.first = world.play("--diff")
            assert world.first.code == 0, world.first.output
            yield world
    finally:
        application.stop()
        shutil.rmtree(root / "ansible", ignore_errors=True)


@pytest.fixture
def restored(world: World) -> Iterator[None]:
    """Brings the world back to its own sites after a test that changed them."""
    yield
    run = world.play(roles=("gate",))
    assert run.code == 0, run.output


# --- applying ---


def test_a_second_run_changes_nothing(world: World) -> None:
    for arguments in ([], ["--check", "--diff"]):
        again = world.play(*arguments)
        assert (again.code, again.changed) == (0, 0), again.output


def test_role_shows_the_default_server(world: World) -> None:
    assert f"127.0.0.1:{world.ports['own']}: the gate owns the default server" in world.first.output
    assert re.search(rf"127.0.0.1:{world.ports['shared']}: .*nginx.conf:\d+ is the default server", world.first.output)


def test_nginx_logs_no_warning(world: World) -> None:
    done = subprocess.run(world.nginx.test_argv, capture_output=True, text=True, check=True)
    assert not re.findall(r"\[(?:warn|error|emerg)\].*", done.stderr)


@on_one_release
def test_check_mode_predicts_what_the_run_then_does(world: World, restored: None) -> None:
    before = world.generations()
    sites = [{**world.sites[0], "contact": "somebody else"}, *world.sites[1:]]
    predicted = world.play("--check", "--diff", roles=("gate",), gate_sites=sites)
    assert (predicted.code, predicted.changed) == (0, 1)
    assert "+<p>somebody else</p>" in predicted.output
    assert world.generations() == before
    run = world.play(roles=("gate",), gate_sites=sites)
    assert (run.code, run.changed) == (0, 1), run.output
    assert world.generations()["gate"] > before["gate"]
    assert "somebody else" in world.get(None).body


# --- who gets in ---


@pytest.mark.parametrize(
    ("host", "port"), [("panel.test", "own"), ("wiki.test", "own"), ("late.test", "shared"), ("alias.test", "own")]
)
def test_valid_certificate_is_admitted_with_its_identity(world: World, host: str, port: str) -> None:
    alex = world.authority.clients["alex"]
    answer = world.get(alex, "/a%2Fb//c/../d?x=1", host=host, port=port)
    assert answer.status == 200, answer
    assert json.loads(answer.body)["path"] == "/a%2Fb//c/../d?x=1"
    seen = answer.seen()
    expected = {
        "x-client-verify": "SUCCESS",
        "x-client-dn": subject_of(alex),
        "x-client-serial": serial_of(alex),
        "x-client-fingerprint": alex.certificate.fingerprint(hashes.SHA1()).hex(),
        "x-client-issuer-dn": subject_of(world.authority.ca),
        "x-client-name": "alex",
        "x-client-email": "alex@example.org",
        "x-client-roles": "admin,ops",
        "host": f"{host}:{world.ports[port]}",
        "x-forwarded-host": f"{host}:{world.ports[port]}",
        "x-forwarded-port": str(world.ports[port]),
        "x-forwarded-proto": "https",
        "x-forwarded-for": "127.0.0.1",
        "x-real-ip": "127.0.0.1",
    }
    assert {name: seen.get(name) for name in expected} == expected


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
@pytest.mark.parametrize("tls", [["--tlsv1.2", "--tls-max", "1.2"], ["--tlsv1.3"]])
def test_curl_is_admitted_with_every_protocol(world: World, version: str, tls: list[str]) -> None:
    alex, port = world.authority.clients["alex"], world.ports["own"]
    argv = ["curl", "-sS", "--max-time", "10", version, *tls, "--resolve", f"panel.test:{port}:127.0.0.1"]
    argv += ["--cacert", str(world.server.crt), "--cert", str(alex.crt), "--key", str(alex.pem)]
    argv += ["-w", "\n%{http_code} %{http_version}", f"https://panel.test:{port}/", "-d", "x=1"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    body, _newline, summary = done.stdout.rpartition("\n")
    assert summary == f"200 {'2' if version == '--http2' else '1.1'}"
    assert json.loads(body)["body"] == "x=1"


def test_openssl_s_client_is_admitted(world: World) -> None:
    alex = world.authority.clients["alex"]
    argv = ["openssl", "s_client", "-connect", f"127.0.0.1:{world.ports['own']}", "-servername", "panel.test", "-quiet"]
    request = b"GET / HTTP/1.1\r\nHost: panel.test\r\nConnection: close\r\n\r\n"
    argv += ["-cert", str(alex.crt), "-key", str(alex.pem), "-ign_eof"]
    done = subprocess.run(argv, input=request, capture_output=True, timeout=20, check=False)
    assert b"HTTP/1.1 200" in done.stdout, done.stderr


def test_websocket_passes_and_no_other_upgrade_does(world: World) -> None:
    alex = world.authority.clients["alex"]
    with (
        socket.create_connection(("127.0.0.1", world.ports["own"]), 10) as plain,
        world.context(alex).wrap_socket(plain, server_hostname="panel.test") as tls,
    ):
        tls.sendall(b"GET /ws HTTP/1.1\r\nHost: panel.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n12345")
        answer = b""
        while b"54321" not in answer:
            part = tls.recv(4096)
            assert part, answer
            answer += part
    assert answer.startswith(b"HTTP/1.1 101")
    seen = world.get(alex, headers={"Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAoAAAAAIAAAAA"}).seen()
    assert "upgrade" not in seen
    assert seen["connection"] == "close"
    refused = world.get(alex, host="wiki.test", headers={"Upgrade": "websocket"})
    assert (refused.status, "upgrade" in refused.seen()) == (200, False)


def test_forged_identity_headers_do_not_count(world: World) -> None:
    own = ["Verify", "DN", "Serial", "Fingerprint", "Issuer-DN", "Name", "Email", "Roles"]
    names = [*header_names(IDENTITY), *(f"X-Client-{name}" for name in own)]
    names.remove(KEPT)
    forged = dict.fromkeys(names, "forged") | {name.replace("-", "_"): "forged" for name in names if "-" in name}
    forged |= {
        "X-Forwarded-For": "forged",
        "X-Real-IP": "forged",
        "X-Forwarded-Proto": "forged",
        "X-Request-ID": "forged",
    }
    for host in ("panel.test", "wiki.test"):
        for path in ("/", STATUS + "/x", "/status/200"):
            answer = world.get(world.authority.clients["alex"], path, host=host, headers=forged)
            assert answer.status == 200
            assert "forged" not in answer.body, path


@pytest.mark.parametrize("host", ["panel.test", "late.test"])
def test_each_header_is_dropped_or_passed_on_as_the_site_says(world: World, host: str) -> None:
    """The site panel drops the headers of clients too, and keeps one; the site late does neither."""
    port = "shared" if host == "late.test" else "own"
    names = header_names(IDENTITY, CLIENT)
    passed = {KEPT.lower()} if host == "panel.test" else {name.lower() for name in header_names(CLIENT)}
    for part in (names[::2], names[1::2]):
        sent = {name: f"sent-{name.lower()}" for name in part}
        seen = world.get(world.authority.clients["alex"], host=host, port=port, headers=sent).seen()
        arrived = {value.removeprefix("sent-") for value in seen.values() if value.startswith("sent-")}
        assert arrived == passed & {name.lower() for name in part}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 421, 500, 502])
def test_what_the_application_refuses_passes_through_untouched(world: World, status: int) -> None:
    answer = world.get(world.authority.clients["alex"], f"/status/{status}")
    assert (answer.status, answer.body) == (status, f"own page {status}")
    assert not [name for name in answer.headers if name.startswith("x-quietdoor")]


def test_the_application_cannot_speak_for_the_gate(world: World) -> None:
    answer = world.get(world.authority.clients["alex"], "/accel")
    assert answer.status == 200
    assert not [name for name in answer.headers if name.startswith("x-quietdoor")]


def test_large_bodies_are_limited_as_the_site_says(world: World) -> None:
    alex = world.authority.clients["alex"]
    assert world.get(alex, method="POST", body=b"x" * 1_900_000).status == 200
    assert world.get(alex, method="POST", body=b"x" * 2_200_000).status == 413


@on_one_release
def test_applications_behind_tls_and_behind_a_socket(world: World, restored: None) -> None:
    alex, tls_port = world.authority.clients["alex"], free_port(22000, 22199)
    server = make_pair(world.root / "upstream", "upstream", usage=Usage.SERVER_AUTH, dns=("localhost",))
    socket_path = world.root / "application.sock"
    applications = [Application(tls_port, tls=server), Application(path=socket_path)]
    tls = {"upstream": f"https://localhost:{tls_port}"}
    own = world.ports["own"]
    try:
        sites = [
            world.site("checked", ["panel.test"], own, **tls, upstream_ca=str(server.crt)),
            world.site("unchecked", ["alias.test"], own, **tls),
            world.site("distrusted", ["wiki.test"], own, **tls, upstream_ca=str(world.server.crt)),
            world.site("by-socket", ["late.test"], own, upstream=f"http://unix:{socket_path}"),
        ]
        run = world.play(roles=("gate",), gate_sites=sites)
        assert run.code == 0, run.output
        for host, status in (("panel.test", 200), ("alias.test", 200), ("wiki.test", 502), ("late.test", 200)):
            answer = world.get(alex, "/a%2Fb//c", host=host)
            assert answer.status == status, host
            assert status != 200 or json.loads(answer.body)["path"] == "/a%2Fb//c"
    finally:
        for application in applications:
            application.stop()


# --- who does not get in ---

_SENTENCES = {
    "none": "did not show a certificate",
    "foreign": "was not issued for this site",
    "look-alike": "was not issued for this site",
    "self-signed": "was not issued for this site",
    "expired": "has expired",
    "not-yet-valid": "is not valid yet",
    "server-only": "was made for another purpose",
    "revoked": "has been revoked",
    "denied": "has been revoked",
    "revoked-and-expired": "has been revoked",
}


@pytest.mark.parametrize("who", _SENTENCES)
@pytest.mark.parametrize(("host", "port"), [("panel.test", "own"), ("late.test", "shared")])
def test_unauthenticated_clients_get_the_page_with_the_reason(world: World, who: str, host: str, port: str) -> None:
    before = len(world.application.reached)
    requests = [
        ("GET", "/", None),
        ("GET", STATUS, None),
        ("GET", STATUS + "/verdict", None),
        ("GET", "/x/%2e%2e//y;z", None),
        ("POST", "/", b"x" * 300_000),
        ("PUT", "/x", b"1"),
        ("DELETE", "/x", None),
        ("OPTIONS", "/", None),
    ]
    for method, path, body in requests:
        answer = world.get(world.strangers[who], path, host=host, port=port, method=method, body=body)
        assert (answer.status, answer.headers["x-quietdoor-verdict"]) == (403, "deny"), (method, path)
        assert _SENTENCES[who] in answer.body
        assert re.fullmatch(r"gate=\d+ trust=\d+", answer.headers["x-quietdoor-generation"])
    head = world.get(world.strangers[who], host=host, port=port, method="HEAD")
    assert (head.status, head.body) == (403, "")
    assert len(world.application.reached) == before


def test_page_is_complete_safe_and_not_cached(world: World) -> None:
    answer = world.get(None)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert not re.findall(r"(?:src|href)=|url\(|@import", answer.body)
    assert answer.body.count("<script") == 0
    assert (
        "Zoë &lt;ops@example.org&gt; &amp; &quot;friends&quot; &#92; costs &#36;host &amp; &#36;{ssl_client_s_dn}"
        in answer.body
    )
    assert "The people who gave you" in world.get(None, host="wiki.test").body
    reference = re.search(r"reference ([0-9a-f]{32})", answer.body)
    assert reference
    assert eventually(lambda: [entry for entry in world.log("panel") if entry["request_id"] == reference[1]])


def test_status_location_reports_generations_to_every_client(world: World) -> None:
    answer = world.get(world.authority.clients["bea"], STATUS)
    assert (answer.status, answer.headers["x-quietdoor-verdict"]) == (204, "cert")
    assert answer.headers["cache-control"] == "no-store"
    assert world.generations() == world.generations("late.test", "shared")
    assert world.get(world.authority.clients["bea"], STATUS + "/verdict").status == 403


@pytest.mark.parametrize("who", ["alex", "none", "foreign", "look-alike", "revoked", "denied"])
def test_connections_for_another_name_never_reach_the_application(world: World, who: str) -> None:
    pair = world.authority.clients["alex"] if who == "alex" else world.strangers[who]
    before = len(world.application.reached)
    for sni in (None, "unknown.test"):
        for host in ("panel.test", "wiki.test", "unknown.test"):
            assert world.get(pair, host=host, sni=sni) == REJECTED
        answer = world.get(pair, host="late.test", sni=sni, port="shared")
        assert answer.status in (403, 421), answer
        assert answer.headers["x-quietdoor-verdict"] == "deny"
        assert answer.status == 421
    for sni, host, port in [
        ("panel.test", "wiki.test", "own"),
        ("wiki.test", "panel.test", "own"),
        ("panel.test", "unknown.test", "own"),
        ("public.test", "late.test", "shared"),
    ]:
        assert world.get(pair, host=host, sni=sni, port=port).status in (403, 421)
    neighbour = world.get(pair, host="public.test", sni="late.test", port="shared")
    assert "headers" not in neighbour.body
    assert len(world.application.reached) == before


def test_plain_http_is_redirected_to_https(world: World) -> None:
    for host, port in (("panel.test", "own"), ("late.test", "shared")):
        with socket.create_connection(("127.0.0.1", world.ports[port]), 10) as plain:
            answer = exchange(plain, "GET", "/a?b=c", {"Host": host})
        assert (answer.status, answer.headers["location"]) == (301, f"https://{host}:{world.ports[port]}/a?b=c")


# --- revoking ---


def _resume(
    world: World, host: str, port: str, context: ssl.SSLContext, session: ssl.SSLSession | None
) -> tuple[Answer, ssl.SSLSession | None, bool]:
    with (
        socket.create_connection(("127.0.0.1", world.ports[port]), 10) as plain,
        context.wrap_socket(plain, server_hostname=host, session=session) as tls,
    ):
        answer = exchange(tls, "GET", "/", {"Host": host})
        return answer, tls.session, bool(tls.session_reused)


def test_a_revocation_by_trust_alone_is_effective_at_once_for_old_sessions_too(world: World) -> None:
    dora, before = world.authority.clients["dora"], world.generations()
    places = [("panel.test", "own"), ("late.test", "shared")]
    versions = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
    taken = []
    for host, port in places:
        for version in versions:
            context = world.context(dora, version)
            answer, session, _reused = _resume(world, host, port, context, None)
            assert answer.status == 200
            taken.append((host, port, version, context, session))
    world.authority.revoked.append("dora")
    world.authority.publish()
    predicted = world.play("--check", roles=("trust",))
    assert (predicted.code, predicted.changed) == (0, 1), predicted.output
    run = world.play(roles=("trust",))
    assert (run.code, run.changed) == (0, 1), run.output
    reached = len(world.application.reached)
    for host, port, _version, context, session in taken:
        answer, _session, again = _resume(world, host, port, context, session)
        assert (answer.status, "has been revoked" in answer.body) == (403, True)
        assert not (again and port == "own"), "our own addresses resume nothing"
    assert len(world.application.reached) == reached
    after = world.generations()
    assert (after["gate"], after["trust"]) == (before["gate"], before["trust"] + 1)
    assert world.play().changed == 0


@pytest.mark.parametrize(
    "removed",
    [
        r"    if \(\$quietdoor_verdict != cert\) \{\n        return 403;\n    \}\n",
        r"    auth_request /\.well-known/quietdoor/verdict;\n",
        r"    if \(\$quietdoor_sni != 1\) \{\n        return 403;\n    \}\n    if",
        r"ssl_verify_client on;",
    ],
)
def test_either_layer_alone_refuses_unauthenticated_clients(world: World, tmp_path: Path, removed: str) -> None:
    """Takes one line of defence out of what the role rendered and asks again."""
    prefix = tmp_path / "nginx"
    shutil.copytree(world.nginx.prefix, prefix, ignore=shutil.ignore_patterns("*.pid", "*.log"), symlinks=True)
    port = free_port(22900, 22999)
    site = prefix / "quietdoor" / "gate" / "sites" / "late.conf"
    replacement = (
        "ssl_verify_client optional_no_ca;" if "verify_client" in removed else "    if" if "sni" in removed else ""
    )
    text, count = re.subn(removed, replacement, site.read_text(), count=1)
    assert count == 1, "the line is not there, so this would test nothing"
    site.write_text(text)
    for path in prefix.rglob("*.conf"):
        text = path.read_text().replace(str(world.nginx.prefix), str(prefix))
        text = text.replace(str(world.ports["shared"]), str(port)).replace(str(world.ports["own"]), str(port + 1))
        path.write_text(text)
    argv = [world.nginx.binary, "-p", str(prefix), "-c", str(prefix / "nginx.conf"), "-g", "daemon off;"]
    process = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
    world.ports["layer"] = port
    try:
        wait_for_port(port, process)
        reached = len(world.application.reached)
        for pair in world.strangers.values():
            answer = world.get(pair, host="late.test", port="layer")
            assert answer.status == 403
            assert world.get(pair, host="late.test", sni=None, port="layer").status in (403, 421)
        assert len(world.application.reached) == reached
        assert world.get(world.authority.clients["alex"], host="late.test", port="layer").status == 200
    finally:
        process.terminate()
        process.wait(10)


# --- the log ---


def _at_least(count: int, entries: list[dict]) -> list[dict]:
    return entries if len(entries) >= count else []


def test_log_has_client_and_reason(world: World) -> None:
    alex = world.authority.clients["alex"]
    world.get(alex, "/log-in", headers={"User-Agent": 'a"b\\c\x01é'})
    for pair in world.strangers.values():
        world.get(pair, "/log-out")
    entries = eventually(
        lambda: _at_least(11, [entry for entry in world.log("panel") if entry["uri"].startswith("/log-")])
    )
    entry = next(entry for entry in entries if entry["uri"] == "/log-in")
    expected = {
        "site": "panel",
        "verdict": "cert",
        "reason": "accepted",
        "verify": "SUCCESS",
        "serial": serial_of(alex),
        "subject": subject_of(alex),
        "issuer": subject_of(world.authority.ca),
        "name": "alex",
        "email": "alex@example.org",
        "status": "200",
        "host": "panel.test",
        "remote_addr": "127.0.0.1",
    }
    assert {name: entry[name] for name in expected} == expected
    refused = [
        (entry["verdict"], entry["reason"], entry["status"], entry["name"])
        for entry in entries
        if entry["uri"] == "/log-out"
    ]
    reasons = ["no-certificate", *["untrusted"] * 3, "expired", "not-yet-valid", "wrong-purpose", *["revoked"] * 3]
    # "denied" is verified by nginx and known to the deny map alone, so its name is known too.
    assert refused == [("deny", reason, "403", "emil" if index == 8 else "") for index, reason in enumerate(reasons)]


@on_one_release
def test_the_combined_log_begins_as_everywhere(world: World, restored: None) -> None:
    sites = [world.site("combi", ["wiki.test"], world.ports["own"])]
    run = world.play(roles=("gate",), gate_sites=sites, gate_log_format="combined")
    assert run.code == 0, run.output
    world.get(world.authority.clients["alex"], "/c", host="wiki.test")
    log = world.logs / "quietdoor-combi.log"
    line = eventually(lambda: [line for line in log_lines(log) if "GET /c " in line])[0]
    assert re.match(
        r'127\.0\.0\.1 - - \[[^]]+\] "GET /c HTTP/1\.1" 200 \d+ "-" "-" stage="enforce" verdict="cert" reason="accepted"',
        line,
    )
    assert 'name="alex" email="alex@example.org"' in line


# --- what a person gets wrong, and going away ---


@on_one_release
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"name": 'a; }"\n'}, "is not a valid site name"),
        ({"hst": True}, "hst"),
        ({"allow": {"names": []}}, "site panel: allow: admits no client"),
        ({"mode": "path", "paths": ["/adm in"]}, "is not a valid guarded path"),
        ({"identity_headers": {"name": "X-A;\n"}}, "is not a valid header name"),
        ({"stage": False}, "site panel: stage: False is a boolean"),
        ({"server_names": ["wiki.test"]}, "site wiki-2: server_names: wiki.test on port"),
        ({"certificate": "/nowhere/at/all.pem"}, "/nowhere/at/all.pem"),
    ],
)
def test_a_mistake_is_named_and_changes_nothing(world: World, change: dict, named: str) -> None:
    before = world.generations()
    run = world.play(roles=("gate",), gate_sites=[{**world.sites[0], **change}, *world.sites[1:]])
    assert run.code != 0
    assert named in run.output.replace("\\'", "'"), run.output
    assert world.generations() == before
    assert world.get(world.authority.clients["alex"]).status == 200


@on_one_release
def test_a_name_that_the_neighbour_serves_is_refused(world: World) -> None:
    run = world.play(roles=("gate",), gate_sites=[world.site("public", ["public.test"], world.ports["shared"])])
    assert run.code != 0
    assert re.search(r"site public: server_names: \S+/nginx.conf:\d+ serves public.test on", run.output), run.output


@on_one_release
def test_default_server_always_and_never_are_followed(world: World) -> None:
    always = world.play(roles=("gate",), gate_default_server="always")
    assert always.code != 0
    assert "gate_default_server: always is not possible" in always.output
    assert world.play(roles=("gate",), gate_default_server="never").code == 0
    for sni in (None, "unknown.test"):
        answer = world.get(world.authority.clients["alex"], sni=sni)
        assert (answer.status, answer.headers["x-quietdoor-verdict"]) == (421, "deny")
    assert world.play(roles=("gate",)).code == 0
    assert world.get(world.authority.clients["alex"], sni=None) == REJECTED


@on_one_release
def test_a_log_directory_with_odd_characters_is_no_danger(world: World, restored: None) -> None:
    odd = world.root / 'odd "dir; } \\ #x'
    odd.mkdir()
    assert world.play(roles=("gate",), gate_nginx_log_path=str(odd)).code == 0
    world.get(world.authority.clients["alex"])
    assert eventually(lambda: log_lines(odd / "quietdoor-panel.log"))
    run = world.play(roles=("gate",), gate_nginx_log_path=str(world.root / "$host"))
    assert (run.code != 0, "contains a $" in run.output) == (True, True)


@on_one_release
def test_trust_names_missing_files(world: World, tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nothing")
    predicted = world.play("--check", roles=("trust",), authority_publish_path=nowhere)
    assert (predicted.code, predicted.changed) == (0, 0)
    assert f"{nowhere} on door: no publication exists yet" in predicted.output
    run = world.play(roles=("trust",), authority_publish_path=nowhere)
    assert run.code != 0
    assert f"{nowhere} on door: no publication exists. Run role authority" in run.output
    unknown = world.play(roles=("trust",), trust_publication_path="", authority_publish_path="")
    assert unknown.code != 0
    assert "the location of the publication is not known" in unknown.output


@on_one_release
def test_the_neighbour_is_as_it_was_and_absent_sites_leave_nothing(world: World) -> None:
    one = world.play(roles=("gate",), gate_sites=[{**world.sites[0], "stage": "absent"}, *world.sites[1:]])
    assert (one.code, one.changed) == (0, 1), one.output
    assert world.get(world.authority.clients["alex"]) == REJECTED
    assert world.get(world.authority.clients["alex"], host="wiki.test").status == 200
    sites = [{**site, "stage": "absent"} for site in world.sites]
    run = world.play(roles=("gate",), gate_sites=sites)
    assert (run.code, run.changed) == (0, 1), run.output
    assert not (world.nginx.prefix / "conf.d" / "quietdoor.conf").exists()
    assert world.get(None, host="public.test", port="shared").body == "the neighbour"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", world.ports["own"]), 2)
    again = world.play(roles=("gate",), gate_sites=sites)
    assert (again.code, again.changed) == (0, 0), again.output
