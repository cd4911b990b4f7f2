# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stages before enforce, on a real nginx: observe refuses nobody, fallback lets in who comes from the right place too.

Clients come from 127.0.0.1, or from 127.0.0.9, which is the listed one.
"""

from __future__ import annotations

import datetime
import gzip
import json
import os
import re
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._gate.access_log import Reading, parse, requests
from ansible_collections.quietdoor.mtls.plugins.module_utils._gate.log_summary import summarize
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.fallback_window import before
from ansible_collections.quietdoor.mtls.plugins.modules.gate_log_info import evidence_as_dict
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from support.app import Application
from support.ca import DAY, NOW, make_pair
from support.client import STATUS, eventually, exchange, log_lines
from support.nginx import NginxInstance, free_port
from support.stages_world import ELSEWHERE, LISTED, PASSWORD, StagesWorld, basic_auth

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Nobody else comes from here, so nothing was counted yet.
UNAUTHENTICATED_CLIENT = "127.0.0.77"
EVERY_CLIENT = (
    "valid",
    "unlisted",
    "none",
    "foreign",
    "look-alike",
    "self-signed",
    "expired",
    "not-yet-valid",
    "server-only",
)
REVOKED = ("revoked", "denied", "revoked-and-expired")
WEEK = datetime.timedelta(days=7)


def _sites(world: StagesWorld) -> list[dict[str, Any]]:
    own = world.ports["own"]
    users = world.root / "users"
    hashed = subprocess.run(["openssl", "passwd", "-apr1", PASSWORD], capture_output=True, text=True, check=True).stdout
    users.write_text(f"guest:{hashed}")
    soon = (datetime.datetime.now(datetime.timezone.utc) + WEEK).isoformat(timespec="seconds")
    listed, allow = {"networks": [LISTED]}, {"allow": {"names": ["alex"]}}
    return [
        world.site("watch", ["watch.test"], own, stage="observe", rate_limit={"rate": "1r/m", "burst": 0}, **allow),
        world.site("look", ["look.test"], own, stage="observe", mode="path", paths=["/admin", "/admin/deep"], **allow),
        world.site("open", ["open.test"], own, stage="fallback", window={**listed, "until": soon}, **allow),
        world.site(
            "lane",
            ["lane.test"],
            own,
            stage="fallback",
            mode="path",
            paths=["/admin", "/admin/deep"],
            window=listed,
            **allow,
        ),
        world.site(
            "side",
            ["side.test"],
            own,
            stage="fallback",
            window={**listed, "basic_auth": {"user_file": str(users), "rate": "1r/m", "burst": 3000}},
            **allow,
        ),
        world.site("shut", ["shut.test"], own, window={**listed, "until": soon}, **allow),
    ]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StagesWorld]:
    """The sites, with both roles applied."""
    root = tmp_path_factory.mktemp("stages")
    ports = {"own": free_port(24500, 24549), "shared": free_port(24550, 24599)}
    application = Application(free_port(24600, 24649))
    foreign = make_pair(root / "foreign-ca", "Foreign", is_ca=True)
    idle = free_port(24650, 24699)
    # nginx accepts the visitor's address in a header from this machine; the window must ignore that header.
    http = f"set_real_ip_from 127.0.0.0/8; real_ip_header X-Real-IP; server {{ listen 127.0.0.1:{idle}; }}"
    try:
        with NginxInstance(root / "nginx", http=http) as nginx:
            world = StagesWorld(root, nginx, ports, application, foreign)
            ca = world.authority.ca
            world.authority.clients["fred"] = make_pair(root / "fred", "fred", ca, days=(-10, -2))
            world.authority.denied.append("fred")
            world.authority.publish()
            world.strangers["revoked-and-expired"] = world.authority.clients["fred"]
            world.sites = _sites(world)
            world.first = world.play("--diff")
            assert world.first.code == 0, world.first.output
            yield world
    finally:
        application.stop()
        shutil.rmtree(root / "ansible", ignore_errors=True)


# --- applying ---


def test_second_run_changes_nothing_and_keeps_the_default_deadline(world: StagesWorld) -> None:
    manifest = json.loads((world.nginx.prefix / "quietdoor/gate/manifest.json").read_text())
    until = manifest["sites"]["lane"]["until"]
    assert abs(until - time.time() - WEEK.total_seconds()) < 3600
    again = world.play()
    assert (again.code, again.changed) == (0, 0), again.output
    done = subprocess.run(world.nginx.test_argv, capture_output=True, text=True, check=True)
    assert not re.findall(r"\[(?:warn|error|emerg)\](?!.*could not build optimal).*", done.stderr)


def test_invalid_window_is_refused_by_name(world: StagesWorld) -> None:
    past = (datetime.datetime.now(datetime.timezone.utc) - WEEK).isoformat(timespec="seconds")
    late = (datetime.datetime.now(datetime.timezone.utc) + 5 * WEEK).isoformat(timespec="seconds")
    before_it = world.generations("shut.test")
    for window, message in (
        ({"networks": [LISTED], "until": past}, "site open: window: until: .* is in the past"),
        ({"networks": [LISTED], "until": late}, "site open: window: until: .* is more than 30 days ahead"),
        ({"until": late}, "site open: window: admits no client"),
    ):
        sites = [{**site, "window": window} if site["name"] == "open" else site for site in world.sites]
        run = world.play(roles=("gate",), gate_sites=sites)
        assert run.code != 0
        assert re.search(message, " ".join(run.output.split())), run.output
    assert world.generations("shut.test") == before_it


# --- observe ---


@pytest.mark.parametrize("who", [*EVERY_CLIENT, *REVOKED])
def test_observe_refuses_no_client_and_names_only_admitted_ones(world: StagesWorld, who: str) -> None:
    for host, path in (
        ("watch.test", "/"),
        ("watch.test", "/a%2Fb//c/../d"),
        ("look.test", "/admin/deep/x"),
        ("look.test", "/"),
    ):
        for method, body in (("GET", None), ("POST", b"x" * 5000)):
            path_now = f"{path}?{who}{method}"
            answer = world.ask(who, path_now, host=host, method=method, body=body)
            assert answer.status == 200, (host, path_now, answer)
            reported, seen = json.loads(answer.body), answer.seen()
            assert (reported["method"], reported["path"], reported["body"]) == (
                method,
                path_now,
                (body or b"").decode(),
            )
            known = who == "valid" and (host, path) != ("look.test", "/")
            assert seen.get("x-client-name") == ("alex" if known else None)
            if (host, path) != ("look.test", "/"):
                assert seen["x-client-verify"] == ("SUCCESS" if known else "NONE")
            others = {"x-client-dn", "x-client-serial", "x-client-fingerprint", "x-client-issuer-dn", "x-client-roles"}
            assert known or not others & set(seen)
            site = host.removesuffix(".test")
            public = host == "look.test" and path == "/"
            verdict = "public" if public else "cert" if known else "would-deny"
            assert world.last(site, path_now)["verdict"] == verdict
            assert world.last(site, path_now)["stage"] == "observe"


def test_observe_reports_the_reason_of_a_refusal(world: StagesWorld) -> None:
    reasons = {
        "none": "no-certificate",
        "expired": "expired",
        "revoked": "revoked",
        "unlisted": "unlisted",
        "revoked-and-expired": "revoked",
        "foreign": "untrusted",
    }
    for who, reason in reasons.items():
        world.ask(who, f"/why/{who}", host="watch.test")
        assert world.last("watch", f"/why/{who}")["reason"] == reason


def test_observe_lets_every_spelling_and_every_name_through(world: StagesWorld) -> None:
    for path in ("/ADMIN/", "/admin;x/", "/x/..%2fadmin", "/%2561dmin/", "//admin/"):
        for who in ("none", "expired", "valid"):
            assert world.ask(who, path, host="look.test").status == 200, path
    for sni in ("nobody.test", None):
        address = ("127.0.0.1", world.ports["own"])
        with (
            socket.create_connection(address, 10) as plain,
            world.context(None).wrap_socket(plain, server_hostname=sni) as tls,
        ):
            assert exchange(tls, "GET", "/", {"Host": "watch.test"}).status == 200
    # That is so for the observed ones only.
    with (
        socket.create_connection(address, 10) as plain,
        world.context(None).wrap_socket(plain, server_hostname="nobody.test") as tls,
    ):
        assert exchange(tls, "GET", "/", {"Host": "shut.test"}).status in (403, 421)


def test_each_stage_reports_the_verdict(world: StagesWorld) -> None:
    for host, who, source, verdict in (
        ("watch.test", "none", ELSEWHERE, "would-deny"),
        ("watch.test", "expired", ELSEWHERE, "would-deny"),
        ("watch.test", "valid", ELSEWHERE, "cert"),
        ("look.test", "revoked", ELSEWHERE, "would-deny"),
        ("open.test", "none", LISTED, "fallback"),
        ("open.test", "expired", LISTED, "fallback"),
        ("open.test", "none", ELSEWHERE, "deny"),
        ("open.test", "revoked", LISTED, "deny"),
        ("lane.test", "none", LISTED, "fallback"),
        ("lane.test", "expired", ELSEWHERE, "deny"),
        ("shut.test", "none", LISTED, "deny"),
        ("shut.test", "valid", LISTED, "cert"),
    ):
        answer = world.ask(who, STATUS, host=host, source=source)
        assert answer.headers["x-quietdoor-verdict"] == verdict, (host, who, source)
        assert answer.status == (403 if verdict == "deny" else 204)


# --- fallback ---


@pytest.mark.parametrize("host", ["open.test", "lane.test", "side.test"])
@pytest.mark.parametrize("who", EVERY_CLIENT)
def test_fallback_admits_clients_of_a_listed_network(world: StagesWorld, host: str, who: str) -> None:
    path, site = f"/admin/{who}", host.removesuffix(".test")
    for method, body in (("GET", None), ("PUT", b"y" * 9000)):
        answer = world.ask(who, path, host=host, source=LISTED, method=method, body=body)
        assert answer.status == 200, answer
        assert json.loads(answer.body)["body"] == (body or b"").decode()
        seen = answer.seen()
        assert seen["x-client-verify"] == ("SUCCESS" if who == "valid" else "NONE")
        assert seen.get("x-client-name") == ("alex" if who == "valid" else None)
        assert ("x-client-dn" in seen) == (who == "valid")
    entry = world.last(site, path)
    assert (entry["verdict"], entry["stage"]) == ("cert" if who == "valid" else "fallback", "fallback")


@pytest.mark.parametrize("host", ["open.test", "lane.test", "side.test"])
@pytest.mark.parametrize("who", REVOKED)
def test_revoked_client_is_refused_in_a_listed_network(world: StagesWorld, host: str, who: str) -> None:
    reached = len(world.application.reached)
    for source in (LISTED, ELSEWHERE):
        for headers in ({}, basic_auth()):
            answer = world.ask(who, "/admin/revoked", host=host, source=source, headers=headers)
            assert answer.status == 403, (who, source, answer)
            assert answer.headers["x-quietdoor-verdict"] == "deny"
    assert len(world.application.reached) == reached


@pytest.mark.parametrize("host", ["open.test", "lane.test", "shut.test"])
@pytest.mark.parametrize("who", [*(name for name in EVERY_CLIENT if name != "valid"), "revoked", "denied"])
def test_outside_the_network_only_a_valid_certificate_is_admitted(world: StagesWorld, host: str, who: str) -> None:
    reached = len(world.application.reached)
    for headers in (
        {},
        basic_auth(),
        {"X-Real-IP": LISTED, "X-Forwarded-For": LISTED, "Forwarded": f"for={LISTED}"},
        {"X-Quietdoor-Verdict": "fallback"},
    ):
        answer = world.ask(who, "/admin/x", host=host, headers=headers)
        assert (answer.status, answer.headers["x-quietdoor-verdict"]) == (403, "deny"), answer
        assert "opens only with your certificate" in answer.body
    assert len(world.application.reached) == reached
    assert world.ask("valid", "/admin/x", host=host).status == 200


def test_the_public_part_stays_public_in_every_stage(world: StagesWorld) -> None:
    for host in ("look.test", "lane.test"):
        for who in (*EVERY_CLIENT, *REVOKED):
            for source in (LISTED, ELSEWHERE):
                answer = world.ask(who, "/public", host=host, source=source, method="POST", body=b"z" * 2000)
                assert answer.status == 200
                assert not [name for name in answer.seen() if name.startswith("x-client-")]
    for source in (LISTED, ELSEWHERE):
        assert world.ask("none", "/ADMIN/", host="lane.test", source=source).status == 403
        assert world.ask("expired", "/ADMIN/", host="lane.test", source=source).status == 403


# --- the side door ---


def test_fallback_basic_auth_admits_with_the_password_and_hides_it(world: StagesWorld) -> None:
    for who in ("none", "expired", "unlisted"):
        path = f"/door/{who}"
        answer = world.ask(who, path, host="side.test", headers=basic_auth())
        assert answer.status == 200, answer
        assert "authorization" not in answer.seen()
        assert answer.seen()["x-client-verify"] == "NONE"
        assert world.last("side", path)["verdict"] == "fallback"
    for source, who in ((LISTED, "none"), (ELSEWHERE, "valid")):
        answer = world.ask(who, "/", host="side.test", source=source, headers=basic_auth())
        assert (answer.status, "authorization" in answer.seen()) == (200, False)
    other = world.ask("valid", "/", host="open.test", headers={"Authorization": "Bearer mine"})
    assert other.seen()["authorization"] == "Bearer mine", "a site without a side door leaves the application its own"


def test_wrong_or_missing_password_is_requested(world: StagesWorld) -> None:
    reached = len(world.application.reached)
    for number, headers in enumerate(
        ({}, basic_auth("wrong"), basic_auth(""), {"Authorization": "Bearer x"}, {"Authorization": "Basic !"})
    ):
        path = f"/wrong/{number}"
        answer = world.ask("none", path, host="side.test", headers=headers)
        assert answer.status == 401, answer
        assert answer.headers["www-authenticate"] == 'Basic realm="Side door"'
        assert answer.headers["x-quietdoor-verdict"] == "deny"
        assert "opens only with your certificate" in answer.body
        assert world.last("side", path)["verdict"] == "deny"
    assert len(world.application.reached) == reached


def test_missing_password_file_admits_no_client(world: StagesWorld) -> None:
    users = world.root / "users"
    text = users.read_text()
    users.unlink()
    try:
        for headers in ({}, basic_auth()):
            answer = world.ask("none", "/missing", host="side.test", headers=headers)
            assert answer.status in (401, 403, 500)
        assert world.ask("valid", "/missing", host="side.test").status == 200
        assert world.ask("none", "/missing", host="side.test", source=LISTED).status == 200
    finally:
        users.write_text(text)


# --- what the live files say, changed without the role ---


class Changed:
    """The live files with words replaced, until the end of the block; an edit is a file, a pattern and what takes its place."""

    def __init__(self, world: StagesWorld, *edits: tuple[str, str, str]) -> None:
        self.world = world
        self.home = world.nginx.prefix / "quietdoor"
        self.edits = [*edits, ("gate/generation.conf", r'"\d+"', f'"{time.time_ns() // 1_000_000}"')]
        self.kept = {name: (self.home / name).read_text() for name, _old, _new in self.edits}

    def __enter__(self) -> None:
        texts = dict(self.kept)
        for name, old, new in self.edits:
            changed = re.sub(old, lambda _match, new=new: new, texts[name])
            assert changed != texts[name], f"{old} is not in {name}"
            texts[name] = changed
        self._serve(texts)

    def __exit__(self, *_error: object) -> None:
        self._serve(self.kept)

    def _serve(self, texts: dict[str, str]) -> None:
        for name, text in texts.items():
            (self.home / name).write_text(text)
        wanted = re.search(r'"(\d+)"', texts["gate/generation.conf"])[1]
        self.world.nginx.reload()
        eventually(lambda: all(self._told().startswith(f"gate={wanted} ") for _try in range(8)))

    def _told(self) -> str:
        return self.world.ask("none", STATUS, host="shut.test").headers["x-quietdoor-generation"]


OPEN_SITE = "gate/sites/open.conf"


def test_the_window_closes_by_itself_at_the_second(world: StagesWorld) -> None:
    window = (OPEN_SITE, r'"~\^\(\?:0[^"]*"')
    begun = time.time()
    with Changed(world, (*window, before(int(begun) + 3600))):
        took = time.time() - begun
    deadline = int(time.time() + 3 + 2 * took)
    seen: list[tuple[float, float, int]] = []
    with Changed(world, (*window, before(deadline))):
        worker = _workers(world)
        assert time.time() < deadline - 0.5, "reloading took too long for this test to say anything"
        while time.time() < deadline + 0.5:
            begun = time.time()
            status = world.ask("none", "/closing", host="open.test", source=LISTED).status
            seen.append((begun, time.time(), status))
            assert world.ask("valid", "/closing", host="open.test").status == 200
        assert _workers(world) == worker, "nothing was reloaded"
    # The clock that nginx looks at is that of its event loop, a few milliseconds old at most.
    assert {status for _begun, ended, status in seen if ended < deadline} == {200}
    assert {status for begun, _ended, status in seen if begun > deadline + 0.1} == {403}


def _workers(world: StagesWorld) -> set[str]:
    done = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(world.nginx.pid)], capture_output=True, text=True, check=True
    )
    return {line.split()[0] for line in done.stdout.splitlines() if "shutting down" not in line}


def test_fallback_basic_auth_attempts_are_limited(world: StagesWorld) -> None:
    with Changed(world, ("gate/sites/side.conf", "burst=3000 nodelay", "burst=3 nodelay")):
        statuses = [
            world.ask("none", "/", host="side.test", source=UNAUTHENTICATED_CLIENT, headers=basic_auth(str(n))).status
            for n in range(8)
        ]
        assert statuses[-1] == 429, statuses
        assert 401 in statuses
        answer = world.ask("none", "/", host="side.test", source=UNAUTHENTICATED_CLIENT, headers=basic_auth())
        assert (answer.status, answer.headers["x-quietdoor-verdict"]) == (429, "deny"), (
            "a right guess is not told either"
        )
        for _try in range(10):
            assert (
                world.ask("valid", "/", host="side.test", source=UNAUTHENTICATED_CLIENT, headers=basic_auth()).status
                == 200
            )
            assert world.ask("none", "/", host="side.test", source=LISTED).status == 200


_FORGOTTEN = (
    "trust/http.conf",
    r"(?s)(\$quietdoor_denied \{\n    default 1;\n).*?\}",
    "$quietdoor_denied {\n    default 0;\n}",
)
_DENIED_TOO = (OPEN_SITE, r":0:(?=\(\?:accepted\|)", ":[01]:")
_BLIND = (OPEN_SITE, r"\(\?:accepted\|", "(?:accepted|revoked|")


@pytest.mark.parametrize(
    ("who", "source", "harmless", "opened"),
    [
        ("denied", LISTED, (_DENIED_TOO,), _BLIND),
        ("revoked", LISTED, (_FORGOTTEN,), _BLIND),
        ("none", ELSEWHERE, (), (OPEN_SITE, r"\):1:1\\z", r"):1:[01]\z")),
        ("none", ELSEWHERE, (), (OPEN_SITE, r"\$realip_remote_addr", "$remote_addr")),
    ],
)
def test_each_guard_of_the_window_is_necessary(
    world: StagesWorld,
    who: str,
    source: str,
    harmless: tuple[tuple[str, str, str], ...],
    opened: tuple[str, str, str],
) -> None:
    """Without one guard a client is admitted that was refused before."""

    def gets_in() -> bool:
        forged = {"X-Real-IP": LISTED}
        return world.ask(who, "/teeth", host="open.test", source=source, headers=forged).status == 200

    with Changed(world, *harmless):
        assert not gets_in()
    with Changed(world, *harmless, opened):
        assert gets_in()
    assert not gets_in()


def test_expired_crl_refuses_no_client_of_a_listed_network(world: StagesWorld) -> None:
    with Changed(world, ("trust/crl.pem", r"(?s).+", _crl_of_yesterday(world))):
        refused = world.ask("valid", "/lapsed", host="open.test")
        assert (refused.status, "out of date" in refused.body) == (403, True)
        assert world.ask("valid", "/lapsed/listed", host="open.test", source=LISTED).status == 200
        assert world.last("open", "/lapsed/listed")["reason"] == "crl-unusable"
        assert world.ask("none", "/lapsed", host="open.test", source=LISTED).status == 200
        assert world.ask("revoked", "/lapsed", host="open.test", source=LISTED).status == 403
        assert world.ask("valid", "/lapsed", host="watch.test").status == 200
    assert world.ask("valid", "/lapsed", host="open.test").status == 200


def _crl_of_yesterday(world: StagesWorld) -> str:
    ca = world.authority.ca
    builder = x509.CertificateRevocationListBuilder().issuer_name(ca.certificate.subject)
    builder = builder.last_update(NOW - 2 * DAY).next_update(NOW - DAY)
    return builder.sign(ca.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def test_next_stage_is_one_changed_word(world: StagesWorld) -> None:
    """Every move keeps good certificates in, and the file of the site is the only thing that is written."""
    for stage, expected in (("observe", 200), ("fallback", 403), ("enforce", 403), ("observe", 200)):
        sites = [{**site, "stage": stage} if site["name"] == "shut" else site for site in world.sites]
        if stage == "enforce":
            refused = world.play(roles=("gate",), gate_sites=sites)
            assert "shut: the live gate admits clients without a certificate" in " ".join(refused.output.split())
        run = world.play(roles=("gate",), gate_sites=sites, gate_allow_unverified_enforce=True)
        assert (run.code, run.changed) == (0, 1), run.output
        assert world.ask("none", "/moved", host="shut.test").status == expected
        assert world.ask("valid", "/moved", host="shut.test").status == 200
        assert world.ask("none", "/moved", host="shut.test", source=LISTED).status == (
            403 if stage == "enforce" else 200
        )
    assert world.play(roles=("gate",), gate_allow_unverified_enforce=True).code == 0


@pytest.mark.parametrize("form", ["json", "combined"])
def test_the_log_is_evidence_in_both_formats(world: StagesWorld, form: str) -> None:
    run = world.play(roles=("gate",), gate_log_format=form)
    assert run.code == 0, run.output
    log = world.logs / "quietdoor-open.log"
    # As logrotate does with copytruncate.
    log.with_name(f"{log.name}.1.gz").write_bytes(gzip.compress(log.read_bytes()))
    os.truncate(log, 0)
    path = f'/evidence?{form}="name="mallory"\\x22'
    for who, source, count in (
        ("valid", ELSEWHERE, 3),
        ("none", LISTED, 2),
        ("expired", LISTED, 1),
        ("foreign", ELSEWHERE, 4),
    ):
        for _time in range(count):
            world.ask(
                who, path, host="open.test", source=source, headers={"User-Agent": 'verdict="cert" name="mallory"'}
            )
    world.ask("valid", "/status/503", host="open.test")
    eventually(lambda: log.read_text().count("\n") == 11)
    reading = Reading()
    seen = evidence_as_dict(summarize(requests(str(log), reading), NOW - DAY, ()))
    assert (reading.files, reading.damaged) == (2, 0)
    assert [(one["name"], one["email"]) for one in seen["people"]] == [("alex", "alex@example.org")]
    now = evidence_as_dict(
        summarize((one for one in requests(str(log), Reading()) if one.at >= _last_move(log)), None, ())
    )
    counts = {
        kind: {(one["address"], one["reason"]): one["count"] for one in now[kind]} for kind in ("fallback", "denied")
    }
    assert now["people"][0]["count"] == 3
    assert now["unanswered"][0]["count"] == 1
    assert counts["fallback"][LISTED, "no-certificate"] == 2
    assert counts["fallback"][LISTED, "expired"] == 1
    assert counts["denied"][ELSEWHERE, "untrusted"] == 4
    log.with_name(f"{log.name}.1.gz").unlink()
    assert world.play(roles=("gate",)).code == 0


def _last_move(log: Path) -> datetime.datetime:
    """When the first line was written after the log was rotated."""
    first = parse(log_lines(log)[0])
    assert first
    return first.at


def test_certificates_of_both_protocols_and_http2(world: StagesWorld) -> None:
    port = world.ports["own"]
    for host, who, expected in (
        ("watch.test", "expired", "200 2"),
        ("open.test", "valid", "200 2"),
        ("open.test", "expired", "403 2"),
    ):
        pair = world.people()[who]
        argv = [
            "curl",
            "-ksS",
            "--http2",
            "--resolve",
            f"{host}:{port}:127.0.0.1",
            "--cert",
            str(pair.crt),
            "--key",
            str(pair.pem),
        ]
        argv += ["-o", "/dev/null", "-w", "%{http_code} %{http_version}", f"https://{host}:{port}/", "-d", "x=1"]
        for tls in (["--tlsv1.2", "--tls-max", "1.2"], ["--tlsv1.3"]):
            done = subprocess.run([*argv, *tls], capture_output=True, text=True, check=True)
            assert done.stdout == expected
