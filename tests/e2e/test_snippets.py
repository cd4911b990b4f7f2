# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A gate in a server that was there before: two include lines, everything that undoes them, and the way out again."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._contracts.identity_headers import (
    CLIENT,
    IDENTITY,
    header_names,
)
from support import hostile
from support.client import STATUS, eventually, exchange
from support.nginx import RELEASES, children
from support.snippets import IN_LOCATION, IN_SERVER, Brownfield, brownfield
from support.world import on_one_release

if TYPE_CHECKING:
    from collections.abc import Iterator

ACCEPTED = "http://127.0.0.1:$arg_port"
UNAUTHENTICATED_CLIENTS = (
    "none",
    "revoked",
    "denied",
    "foreign",
    "expired",
    "self-signed",
    "not-yet-valid",
    "unlisted",
)


@pytest.fixture(scope="module", params=RELEASES)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brownfield]:
    """The panel behind a gate in stage enforce."""
    accepted = [f"proxy_pass {ACCEPTED}"]
    with brownfield(
        tmp_path_factory.mktemp("snippets"), 23300, request.param, accepted_variable_targets=accepted
    ) as world:
        yield world


@pytest.fixture
def rewritten(world: Brownfield) -> Iterator[None]:
    """The operator's server on disk as it should be, afterwards, where nginx never read another."""
    yield
    world.vhost()


@pytest.fixture
def restored(world: Brownfield) -> Iterator[None]:
    """The operator's server as it should be, afterwards."""
    yield
    world.vhost()
    run = world.play(roles=("gate",))
    assert run.code == 0, run.output


# --- coming in ---


def test_first_run_writes_files_and_shows_the_lines_to_add(world: Brownfield) -> None:
    assert world.first.code == 0, world.first.output
    assert world.open_at_first == 200
    message = " ".join(world.first.output.split())
    assert "nothing guards panel.test" in message
    assert f"Add the line {IN_SERVER} as the first of the server at {world.nginx.prefix}/sites/panel.conf:2" in message
    assert f"{IN_LOCATION} to every location of it that passes requests on" in message
    assert f"({world.nginx.prefix}/sites/panel.conf:10, {world.nginx.prefix}/sites/panel.conf:15)" in message


def test_gate_with_its_lines_is_verified_and_then_unchanged(world: Brownfield) -> None:
    assert world.second.code == 0, world.second.output
    assert "nothing guards" not in world.second.output
    assert (world.third.code, world.third.changed) == (0, 0), world.third.output
    assert world.look().survey.included == ("panel",)
    reported = world.get(None, STATUS)
    assert (reported.status, reported.headers["x-quietdoor-verdict"]) == (403, "deny")


@pytest.mark.parametrize("path", ["/", "/x/index.php", "/fixed", STATUS])
@pytest.mark.parametrize("who", UNAUTHENTICATED_CLIENTS)
def test_client_without_a_valid_certificate_is_refused(world: Brownfield, who: str, path: str) -> None:
    people = {**world.strangers, "unlisted": world.authority.clients["dora"]}
    before = len(world.application.reached)
    answer = world.get(people[who], path)
    assert (answer.status, answer.headers["x-quietdoor-verdict"]) == (403, "deny")
    assert world.application.reached[before:] == []


def test_listed_client_is_admitted_with_its_identity(world: Brownfield) -> None:
    alex = world.authority.clients["alex"]
    for path in ("/", "/x/index.php"):
        answer = world.get(alex, path, headers={"X-Client-Name": "root", "X-Remote-User": "root"})
        assert answer.status == 200
        assert answer.seen()["x-client-name"] == "alex"
        assert "x-remote-user" not in answer.seen()
        assert "x-quietdoor-verdict" not in answer.headers
    assert world.get(alex, "/fixed").body == "fixed"
    assert world.get(alex, host="panel.test", sni="other.test").status == 421
    assert world.get(alex, host="panel.test", sni=None).status == 421


def test_each_header_of_a_proxy_is_dropped_and_those_of_clients_are_named_once(world: Brownfield) -> None:
    names = header_names(IDENTITY, CLIENT)
    for part in (names[::2], names[1::2]):
        sent = {name: f"sent-{name.lower()}" for name in part}
        seen = world.get(world.authority.clients["alex"], headers=sent).seen()
        arrived = {value.removeprefix("sent-") for value in seen.values() if value.startswith("sent-")}
        assert arrived == {name.lower() for name in header_names(CLIENT)} & {name.lower() for name in part}
    [finding] = [one for one in world.look().survey.findings if "drop_client_headers" in one.hint]
    assert (finding.opens, finding.site) == (False, "panel")
    assert "X-User-Id" in finding.what


@pytest.mark.parametrize("who", UNAUTHENTICATED_CLIENTS)
def test_no_hostile_request_reaches_the_application(world: Brownfield, who: str) -> None:
    pair = {**world.strangers, "unlisted": world.authority.clients["dora"]}[who]
    before = len(world.application.reached)
    assert hostile.send_all("panel.test", world.ports["own"], lambda: world.context(pair)) > 200
    hostile.settled(world.application.reached)
    assert world.application.reached[before:] == []


# --- what undoes it ---

TLS = "ssl_certificate <root>/neighbour.crt; ssl_certificate_key <root>/neighbour.key;"
PASS = "proxy_pass http://127.0.0.1:<app>;"


def _write(world: Brownfield, **parts: str) -> None:
    values = {"app": world.application.port, "root": world.root, **world.ports}
    texts = {
        part: text.replace("{", "{{").replace("}", "}}").replace("<", "{").replace(">", "}").format(**values)
        for part, text in parts.items()
    }
    world.vhost(**texts)


ERRORS = {
    "auth_request off": ({"more": "location /x { auth_request off; return 204; }"}, "auth_request off replaces"),
    "a question of its own": (
        {"more": "location /x { auth_request /mine; return 204; }"},
        "auth_request /mine replaces",
    ),
    "satisfy any": ({"more": "location /x { satisfy any; return 204; }"}, "satisfy any admits"),
    "its own 495": ({"more": "error_page 495 /sorry.html;"}, "error_page 495 /sorry.html replaces"),
    "another CA": (
        {"more": "ssl_conf_command VerifyCAFile <root>/foreign-ca.crt;"},
        "ssl_conf_command VerifyCAFile",
    ),
    "an answer before the gate": ({"first": 'return 200 "hello";'}, "return precedes the server snippet"),
    "another order of names": (
        {"more": "server_name late.test;", "first": "server_name first.test;"},
        "the first name",
    ),
    "no header snippet": ({"location": ""}, "passes on identity headers of the client"),
    "nested, with headers of its own": (
        {"more": "location /x { " + IN_LOCATION + " location /x/y { proxy_set_header A b; " + PASS + " } }"},
        "passes on identity headers of the client",
    ),
    "identity said twice": (
        {"location": IN_LOCATION + " proxy_set_header X-Client-Name $http_x_client_name;"},
        "proxy_set_header X-Client-Name sets an identity header of the snippet again",
    ),
    "a capture of the decoded address": (
        {"more": "location ~ ^/x/([^?]*)$ { " + IN_LOCATION + " proxy_pass http://127.0.0.1:<app>/$1; }"},
        "/$1 passes on the decoded address",
    ),
    "a header with the decoded address": (
        {"location": IN_LOCATION + " proxy_set_header X-Original $uri;"},
        "proxy_set_header X-Original $uri passes on the decoded address",
    ),
    "a password of the server": (
        {"more": 'auth_basic "staff"; auth_basic_user_file /dev/null;'},
        "auth_basic staff refuses clients with a valid certificate too, because it is inherited",
    ),
    "a pattern": (
        {"server": "include quietdoor/gate/snippets/panel-server.con[f];"},
        "is a pattern, and if the file is missing",
    ),
    "the same upstream": (
        {"beside": "server { listen 127.0.0.1:<other>; server_name old.test; location / { " + PASS + " } }"},
        "the server old.test passes requests to 127.0.0.1:",
    ),
    "the same upstream by another name": (
        {
            "beside": "upstream app { server localhost:<app>; } server { listen 127.0.0.1:<other>; "
            "location / { if ($arg_x) { proxy_pass http://app; } } }"
        },
        "the server without a name passes requests to 127.0.0.1:",
    ),
    "a variable": (
        {"beside": "server { listen 127.0.0.1:<other>; location / { proxy_pass http://$arg_host:$arg_port; } }"},
        "the target of proxy_pass http://$arg_host:$arg_port is not known before a request",
    ),
    "the same name first": (
        {"beside": "server { listen 127.0.0.1:<own> ssl; server_name alias.test; " + TLS + " }"},
        "another server for alias.test",
    ),
}


@pytest.mark.parametrize("fault", ERRORS)
def test_bypass_is_an_error_with_file_and_line(world: Brownfield, rewritten: None, fault: str) -> None:
    parts, message = ERRORS[fault]
    _write(world, **parts)
    with pytest.raises(MtlsError) as problem:
        world.look()
    assert f"site panel: {world.nginx.prefix}/sites/panel.conf:" in str(problem.value)
    assert message in str(problem.value)


WARNINGS = {
    "no TLS": ({"more": "listen 127.0.0.1:<other>;"}, "this server listens without TLS too"),
    "another port": ({"more": "listen 127.0.0.1:<other> ssl;"}, "no client gets in on port"),
    "a name more": ({"more": "server_name late.test;"}, "no client gets in at late.test"),
    "default server": (
        {"beside": "server { listen 127.0.0.1:<own> ssl default_server; server_name public.test; " + TLS + " }"},
        "answers requests without a known name",
    ),
    "the same name elsewhere": (
        {"beside": "server { listen 127.0.0.1:<other>; server_name *.test; root /srv; }"},
        "a server without the gate answers for panel.test",
    ),
    "a named location": ({"more": 'location @x { return 200 "x"; }'}, "return in a named location"),
    "headers that are lost": ({"more": "proxy_set_header X-Mine 1;"}, "do not apply in this location"),
}


@pytest.mark.parametrize("fault", WARNINGS)
def test_harmless_deviation_is_a_warning(world: Brownfield, rewritten: None, fault: str) -> None:
    parts, message = WARNINGS[fault]
    _write(world, **parts)
    findings = world.look().survey.findings
    assert any(message in finding.what for finding in findings), findings
    assert not any(finding.opens for finding in findings)


def test_variable_target_that_the_operator_accepts_is_not_mentioned(world: Brownfield, rewritten: None) -> None:
    server = "server { listen 127.0.0.1:<other>; server_name x; location / { proxy_pass " + ACCEPTED + "; } }"
    _write(world, beside=server)
    assert not [finding for finding in world.look().survey.findings if ACCEPTED in finding.what]


@on_one_release
def test_password_in_the_location_itself_is_intended(world: Brownfield, restored: None) -> None:
    password = 'auth_basic "staff"; auth_basic_user_file /dev/null;'
    _write(world, more=password)
    world.nginx.reload()
    assert eventually(lambda: world.get(world.authority.clients["alex"]).status == 401)
    _write(world, more=password, location=IN_LOCATION + " auth_basic off;")
    assert world.look().survey.errors() == []
    world.nginx.reload()
    assert eventually(lambda: world.get(world.authority.clients["alex"]).status == 200)
    assert world.get(None).status == 403
    _write(world, location=f"{IN_LOCATION} {password}")
    assert world.look().survey.errors() == []


def _plain(world: Brownfield) -> int:
    """Ask the other server without TLS; 0 as long as nobody listens."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", world.ports["other"], timeout=10)) as plain:
        try:
            plain.request("GET", "/open")
        except ConnectionRefusedError:
            return 0
        return plain.getresponse().status


@on_one_release
def test_bypass_through_another_server_exists_and_is_reported(world: Brownfield, restored: None) -> None:
    _write(world, **ERRORS["the same upstream"][0])
    world.nginx.reload()
    assert eventually(lambda: _plain(world)) == 200
    run = world.play(roles=("gate",))
    assert run.code != 0
    assert "the server old.test passes requests" in run.output
    lenient = world.play(roles=("gate",), gate_on_bypass="warn")
    assert lenient.code == 0, lenient.output
    assert "the server old.test passes requests" in lenient.output


def test_nginx_refuses_a_duplicate_ssl_verify_client(world: Brownfield, rewritten: None) -> None:
    for line in ("ssl_verify_client off;", "ssl_client_certificate x.pem;", "ssl_crl x.pem;", "auth_request off;"):
        world.vhost(more=line)
        with pytest.raises(MtlsError, match=r"directive is duplicate in .*/sites/panel\.conf:\d+"):
            world.look()


def test_session_resumed_from_the_servers_cache_admits_no_client(world: Brownfield, restored: None) -> None:
    """ssl_session_cache may stand twice: what counts is that a resumed session is not believed."""
    world.vhost(more="ssl_session_cache shared:mine:1m;")
    world.nginx.reload()
    assert world.get(world.strangers["foreign"]).status == 403


ERROR_PAGES = {
    "another place": "error_page 500 502 504 = @backup; location @backup { return 200 backup; }",
    "a page": "error_page 500 502 503 504 =200 /fixed;",
    "a redirect": "error_page 502 = /fixed;",
}


@on_one_release
@pytest.mark.parametrize("page", ERROR_PAGES)
def test_error_page_does_not_turn_a_failed_decision_into_admission(
    world: Brownfield, restored: None, page: str
) -> None:
    world.vhost(more=ERROR_PAGES[page])
    asks = [{**world.sites[0], "auth_request": "http://127.0.0.1:9"}]
    run = world.play(roles=("gate",), gate_sites=asks)
    assert run.code == 0, run.output
    before = len(world.application.reached)
    for path in ("/", "/x/index.php"):
        answer = world.get(world.authority.clients["alex"], path)
        assert (answer.status, answer.headers.get("x-quietdoor-verdict")) == (403, "deny"), (path, answer)
    assert len(world.application.reached) == before


# --- a location that forgets the snippet ---

# Lines that the audit refuses. The operator can write them after the last run of the role.
FORGOTTEN = f"""
    location /forgot/ {{ {PASS} }}
    location /try/ {{ {IN_LOCATION} try_files /none @forgot; }}
    location @forgot {{ {PASS} }}
"""
FORGERIES = {
    "hyphens": {"X-Client-Name": "forged"},
    "lower case": {"x-client-name": "forged"},
    "upper case": {"X-CLIENT-ISSUER-DN": "forged"},
    "doubled": {"X-Client-Roles": "forged", "x-client-roles": "forged"},
    "doubled, the second one empty": {"X-Client-Verify": "forged", "x-client-verify": ""},
}


def _forget(world: Brownfield) -> None:
    """Let the running nginx have locations without the snippet, and HTTP/2."""
    _write(world, more=FORGOTTEN)
    file = world.nginx.prefix / "sites" / "panel.conf"
    file.write_text(file.read_text().replace(f"{world.ports['own']} ssl;", f"{world.ports['own']} ssl http2;"))
    _reload(world)


def _reload(world: Brownfield) -> None:
    """Have nginx read its files, and wait until no worker is left that began before."""
    before = set(children(world.nginx.pid))
    world.nginx.reload()
    assert eventually(lambda: set(children(world.nginx.pid)).isdisjoint(before))


@pytest.fixture
def forgotten(world: Brownfield) -> Iterator[None]:
    """Locations without the snippet, until the end of the test."""
    _forget(world)
    yield
    world.vhost()
    _reload(world)


def _logged(world: Brownfield, path: str) -> tuple[str, str, str]:
    """Return verdict, reason and status of the only request for a path."""
    line = eventually(lambda: next((one for one in world.log("panel") if one["uri"] == path), None))
    return line["verdict"], line["reason"], line["status"]


def test_identity_header_from_outside_is_refused_where_no_snippet_replaces_it(
    world: Brownfield, forgotten: None
) -> None:
    alex = world.authority.clients["alex"]
    assert world.get(alex, "/forgot/").status == 200
    for number, forged in enumerate(FORGERIES.values()):
        before = len(world.application.reached)
        for path in (f"/forgot/{number}", f"/try/{number}"):
            answer = world.get(alex, path, headers=forged)
            assert (answer.status, answer.headers["x-quietdoor-verdict"]) == (400, "deny"), (path, forged)
            assert "a header in which only this server may write who you are" in answer.body
            assert "forged-identity" in answer.body
            assert _logged(world, path) == ("deny", "forged-identity", "400")
        assert len(world.application.reached) == before
        replaced = world.get(alex, f"/x/{number}", headers=forged)
        assert (replaced.status, "forged" in replaced.body) == (200, False)
        assert _logged(world, f"/x/{number}") == ("cert", "accepted", "200")
        assert world.get(None, f"/forgot/none-{number}", headers=forged).status == 403


def test_identity_header_of_http2_is_refused(world: Brownfield, forgotten: None) -> None:
    alex, port = world.authority.clients["alex"], world.ports["own"]
    argv = ["curl", "-sS", "--max-time", "10", "--http2", "--resolve", f"panel.test:{port}:127.0.0.1", "-k"]
    argv += ["--cert", str(alex.crt), "--key", str(alex.pem), "-o", "/dev/null", "-w", "%{http_code} %{http_version}"]
    argv += ["-H", "X-Client-Email: forged", f"https://panel.test:{port}"]
    codes = []
    for path in ("/forgot/h2", "/x/h2"):
        done = subprocess.run([*argv[:-1], argv[-1] + path], capture_output=True, text=True, check=True)
        codes.append(done.stdout)
    assert codes == ["400 2", "200 2"]


def test_other_spellings_and_trailers_never_arrive(world: Brownfield, forgotten: None) -> None:
    """nginx drops names with underscores and the trailers of a request (RFC 9110 section 6.5) by itself."""
    alex = world.authority.clients["alex"]
    for name in ("X_Client_Name", "X-Client_Name", "X.Client.Name"):
        answer = world.get(alex, "/forgot/", headers={name: "forged"})
        assert (answer.status, "forged" in answer.body) == (200, False), name
    with (
        socket.create_connection(("127.0.0.1", world.ports["own"]), 10) as plain,
        world.context(alex).wrap_socket(plain, server_hostname="panel.test") as tls,
    ):
        head = "POST /forgot/ HTTP/1.1\r\nHost: panel.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
        tls.sendall(f"{head}Trailer: X-Client-Name\r\n\r\n1\r\nx\r\n0\r\nX-Client-Name: forged\r\n\r\n".encode())
        response = http.client.HTTPResponse(tls, method="POST")
        response.begin()
        body = response.read().decode()
    assert (response.status, json.loads(body)["body"], "forged" in body) == (200, "x", False)


def test_empty_header_hides_a_second_one_before_nginx_1_23(world: Brownfield, forgotten: None) -> None:
    """nginx 1.22 shows only the first header of a name, so the audit alone protects that location there."""
    forged = {"X-Client-Name": "", "x-client-name": "forged"}
    answer = world.get(world.authority.clients["alex"], "/forgot/", headers=forged)
    assert answer.status == (200 if "/bookworm/" in world.nginx.binary else 400)


@on_one_release
def test_forged_identity_header_is_only_logged_on_request(world: Brownfield, restored: None) -> None:
    site = {**world.sites[0], "refuse_forged_headers": False}
    run = world.play(roles=("gate",), gate_sites=[site])
    assert run.code == 0, run.output
    _forget(world)
    answer = world.get(world.authority.clients["alex"], "/forgot/logged", headers={"X-Client-Name": "forged"})
    assert (answer.status, answer.seen()["x-client-name"]) == (200, "forged")
    assert _logged(world, "/forgot/logged") == ("cert", "forged-identity", "200")


# --- losing it, and going out ---


@on_one_release
def test_losing_the_include_is_an_error(world: Brownfield, rewritten: None) -> None:
    world.vhost(server="")
    run = world.play(roles=("gate",))
    assert run.code != 0
    assert "site panel was guarded and is not any more" in run.output


@on_one_release
def test_trust_changes_with_a_gate_in_snippets(world: Brownfield) -> None:
    before = world.generations()["trust"]
    world.authority.publish()
    run = world.play(roles=("trust",))
    assert run.code == 0, run.output
    assert world.generations()["trust"] > before


@on_one_release
def test_snippets_that_are_included_are_not_removed(world: Brownfield, restored: None) -> None:
    absent = [{**world.sites[0], "stage": "absent"}]
    run = world.play(roles=("gate",), gate_sites=absent)
    assert run.code != 0
    assert f"{world.nginx.prefix}/sites/panel.conf:4 includes snippets/panel-server.conf" in run.output
    assert world.get(None).status == 403
    world.vhost(server="", location="")
    own = (world.nginx.prefix / "sites" / "panel.conf").read_text()
    run = world.play(roles=("gate",), gate_sites=absent)
    assert run.code == 0, run.output
    assert (world.nginx.prefix / "sites" / "panel.conf").read_text() == own
    assert not (world.nginx.prefix / "quietdoor" / "gate.included").exists()
    assert world.get(None).status == 200


@on_one_release
def test_trust_changes_without_included_snippets(world: Brownfield) -> None:
    world.vhost(server="", location="")
    absent = [{**world.sites[0], "stage": "absent"}]
    try:
        assert world.play(roles=("gate",), gate_sites=absent).code == 0
        placed = world.play(roles=("gate",))
        assert placed.code == 0, placed.output
        world.authority.publish()
        run = world.play(roles=("trust",))
        assert run.code == 0, run.output
    finally:
        world.vhost()
        run = world.play(roles=("trust", "gate"))
    assert run.code == 0, run.output


def test_tls_versions_and_sessions_are_those_of_a_gate(world: Brownfield) -> None:
    context = world.context(world.authority.clients["alex"], ssl.TLSVersion.TLSv1_2)
    session = None
    for _time in range(3):
        with (
            socket.create_connection(("127.0.0.1", world.ports["own"]), 10) as plain,
            context.wrap_socket(plain, server_hostname="panel.test", session=session) as tls,
        ):
            assert exchange(tls, "GET", "/", {"Host": "panel.test"}).status == 200
            assert not tls.session_reused
            session = tls.session
