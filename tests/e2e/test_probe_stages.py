# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The probe against rendered gates of every stage: right ones, one at another stage than it was told, and ones with a hole.

The probe comes from 127.0.0.1. A site whose window names that address is open to it; one whose window names 127.0.0.9 is not.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID as Usage
from support.ca import make_pair
from support.nginx import NginxInstance, free_port
from support.probe import probe, red
from support.probe_rendered import CONTACT, Change, Rendered, application, chain, play

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LISTED, ELSEWHERE = ["127.0.0.1"], ["127.0.0.9"]

# site -> what the probe has to be told of it
TOLD: dict[str, dict[str, Any]] = {
    "watch": {"stage": "observe", "websocket_path": "/socket", "expect_hsts": "present"},
    "look": {"stage": "observe"},
    "open": {"stage": "fallback", "window": "listed", "websocket_path": "/socket"},
    "lane": {"stage": "fallback", "window": "listed"},
    "shut": {"stage": "fallback", "window": "outside", "websocket_path": "/socket"},
    "side": {"stage": "fallback", "window": "outside", "side_door": True, "websocket_path": "/socket"},
    "alley": {"stage": "fallback", "window": "outside", "side_door": True},
    "door": {"stage": "enforce", "websocket_path": "/socket"},
}
BY_PATH = ("look", "lane", "alley")


class Staged(Rendered):
    """One nginx with a site for each stage; see TOLD."""

    def options(self, site: str, **more: Any) -> dict[str, Any]:
        """Return the options of the probe for one of the sites."""
        parts = {"guarded_paths": ["/admin"], "public_echo_path": "/echo"} if site in BY_PATH else {}
        common = super().options("door", expect_hsts="absent", websocket_path=None)
        common["url"] = common["url"].replace("panel.test", f"{site}.test")
        common["echo_path"] = "/admin/echo" if site in BY_PATH else "/echo"
        return {**common, **parts, **TOLD[site], **more}

    def probe(self, site: str, directory: Path, *checks: str, **more: Any) -> dict[str, Any]:
        """Ask one of the sites."""
        directory.mkdir(exist_ok=True)
        shutil.rmtree(directory / "workshop", ignore_errors=True)
        return probe(directory, self.options(site, **more), checks)

    def clients(self, *names: str) -> list[dict[str, str]]:
        """Return some of the clients only."""
        return [client for client in self.options("door")["clients"] if client["name"] in names]


def _sites(world: Staged) -> list[dict[str, Any]]:
    own = world.ports["own"]
    users = world.root / "users"
    hashed = subprocess.run(["openssl", "passwd", "-apr1", "secret"], capture_output=True, text=True, check=True).stdout
    users.write_text(f"guest:{hashed}")
    # Carl is still on the list: only the revocation refuses the client.
    common = {"allow": {"names": ["alex", "carl"]}, "contact": CONTACT}
    whole, part = {"websocket": True, **common}, {"mode": "path", "paths": ["/admin"], **common}
    door = {"networks": ELSEWHERE, "basic_auth": {"user_file": str(users)}}
    limit = {"rate": "1r/m", "burst": 4}
    given: dict[str, dict[str, Any]] = {
        "watch": {**whole, "stage": "observe", "hsts": True},
        "look": {**part, "stage": "observe"},
        "open": {**whole, "stage": "fallback", "window": {"networks": LISTED}},
        "lane": {**part, "stage": "fallback", "window": {"networks": LISTED}},
        "shut": {**whole, "stage": "fallback", "window": {"networks": ELSEWHERE}},
        "side": {**whole, "stage": "fallback", "window": door},
        "alley": {**part, "stage": "fallback", "window": door},
        "door": whole,
        "limits": {**whole, "stage": "fallback", "window": {"networks": LISTED}, "rate_limit": limit},
    }
    return [world.site(name, [f"{name}.test"], own, **more) for name, more in given.items()]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Staged]:
    """The sites, with both roles applied."""
    root = tmp_path_factory.mktemp("probe-stages")
    ports = {"own": free_port(24700, 24749), "shared": free_port(24750, 24779), "plain": free_port(24780, 24799)}
    foreign = make_pair(root / "foreign-ca", "Foreign", is_ca=True)
    idle = free_port(24850, 24899)
    with (
        application(root, free_port(24800, 24849)) as server,
        NginxInstance(root / "nginx", http=f"server {{ listen 127.0.0.1:{idle}; }}") as nginx,
    ):
        world = Staged(root, nginx, ports, server, foreign)
        names = tuple(f"{site}.test" for site in (*TOLD, "limits"))
        world.server = make_pair(root / "staged", "staged", usage=Usage.SERVER_AUTH, dns=names)
        world.authority = chain(root / "chain")
        world.sites = _sites(world)
        world.go_live()
        yield world


def seen(outcome: dict[str, Any], check: str, client: str) -> str:
    """Return what was seen of one client in one check."""
    return next(one["seen"] for one in outcome["checks"] if (one["name"], one["client"]) == (check, client))


def left_out(outcome: dict[str, Any]) -> dict[str, str]:
    """Return what was left out, and why."""
    return {one["name"]: one["missing"] for one in outcome["left_out"]}


# --- right gates ---

REFUSALS = {"spellings", "hostile_requests", "smuggling", "friendly_page"}


@pytest.mark.parametrize("site", TOLD)
def test_a_right_gate_passes_at_every_stage(world: Staged, tmp_path: Path, site: str) -> None:
    world.serve(())
    outcome = world.probe(site, tmp_path)
    assert red(outcome) == set(), outcome["table"]
    assert outcome["application_down"] == []
    made = {one["name"] for one in outcome["checks"]}
    assert {
        "no_certificate",
        "valid",
        "foreign",
        "look_alike",
        "self_signed",
        "expired",
        "revoked",
        "not_allowed",
    } <= made
    assert {"header_spoofing", "identity_headers", "sni_none", "resumption", "plain_http_on_tls_port", "hsts"} <= made
    assert made.isdisjoint(REFUSALS) if site in ("watch", "look") else made >= REFUSALS


def test_table_names_skipped_checks_where_every_client_is_admitted(world: Staged, tmp_path: Path) -> None:
    world.serve(())
    outcome = world.probe("watch", tmp_path, rate_limit_burst=4)
    assert {left_out(outcome)[name] for name in (*REFUSALS, "rate_limit")} == {"no client is refused at stage observe"}
    outcome = world.probe("open", tmp_path, clients=world.clients("alex"), echo_path=None)
    assert "none was given" in left_out(outcome)["friendly_page"]
    assert "only that shows what the application receives" in left_out(outcome)["header_spoofing"]
    assert red(outcome) == set(), outcome["table"]


def test_refusals_are_probed_as_a_revoked_client_where_no_other_is_refused(world: Staged, tmp_path: Path) -> None:
    world.serve(())
    told = {"stage": "fallback", "window": "listed", "rate_limit_burst": 4}
    outcome = world.probe("door", tmp_path, "rate_limit", url=f"https://limits.test:{world.ports['own']}/", **told)
    assert red(outcome) == set(), outcome["table"]
    assert {one["client"] for one in outcome["checks"]} == {"carl", "alex"}


@pytest.mark.parametrize(("site", "said"), [("open", "204 fallback"), ("shut", "403 deny"), ("lane", "204 fallback")])
def test_unknown_window_is_derived_from_the_answers(world: Staged, tmp_path: Path, site: str, said: str) -> None:
    world.serve(())
    outcome = world.probe(site, tmp_path, window="unknown")
    assert red(outcome) == set(), outcome["table"]
    assert said in seen(outcome, "no_certificate", "no certificate")
    assert seen(outcome, "revoked", "carl") == "403 deny"


# --- told the wrong stage ---

UNAUTHENTICATED_CLIENTS = {"no_certificate", "foreign", "look_alike", "self_signed", "expired", "not_allowed"}
WHO = (
    *sorted(UNAUTHENTICATED_CLIENTS),
    "revoked",
    "valid",
    "header_spoofing",
    "tls_versions",
    "http2_requests",
    "websocket",
)
ENTRY = UNAUTHENTICATED_CLIENTS | {"header_spoofing", "tls_versions", "http2_requests", "websocket"}


@pytest.mark.parametrize(
    ("site", "told", "expected"),
    [
        ("watch", {"stage": "enforce"}, ENTRY | {"revoked"}),
        ("open", {"stage": "enforce"}, ENTRY),
        ("door", {"stage": "observe"}, ENTRY | {"revoked"}),
        ("shut", {"stage": "observe"}, ENTRY | {"revoked"}),
        ("open", {"stage": "observe"}, {*ENTRY, "revoked"} - {"websocket"}),
        ("watch", {"stage": "fallback", "window": "listed"}, {*ENTRY, "revoked"} - {"websocket"}),
        ("open", {"window": "outside"}, ENTRY),
        ("lane", {"window": "outside"}, ENTRY - {"websocket"}),
        ("shut", {"window": "listed"}, ENTRY),
        ("shut", {"side_door": True}, ENTRY - {"tls_versions"}),
        ("side", {"side_door": False}, ENTRY - {"tls_versions"}),
        ("watch", {"stage": "fallback", "window": "unknown"}, {*ENTRY, "revoked"} - {"websocket"}),
    ],
)
def test_gate_at_another_stage_fails(
    world: Staged, tmp_path: Path, site: str, told: dict[str, Any], expected: set[str]
) -> None:
    world.serve(())
    checks = [check for check in WHO if check != "websocket" or "websocket_path" in TOLD[site]]
    outcome = world.probe(site, tmp_path, *checks, **told)
    assert red(outcome) == expected, outcome["table"]


# --- gates with a hole ---

OPEN, WATCH, SHUT, DOOR = ("sites/open.conf", "sites/watch.conf", "sites/shut.conf", "sites/door.conf")
REVOKED = {"revoked", "header_spoofing", "friendly_page", "spellings", "hostile_requests", "smuggling"}
TO_STATUS = r"(?<=location = /\.well-known/quietdoor \{\n)"

HOLES: dict[str, tuple[str, tuple[Change, ...], set[str]]] = {
    "one of two: the deny map": ("open", (Change(OPEN, r":0:(?=\(\?:accepted\|)", ":[01]:"),), set()),
    "one of two: what nginx says of the revoked": ("open", (Change(OPEN, r"(?<=\(\?:)(?=accepted\|)", "revoked|"),), set()),
    "the revoked may use the window": ("open", (Change(OPEN, r":0:\(\?:(?=accepted\|)", ":[01]:(?:revoked|"),), REVOKED),
    "everybody is listed": (
        "shut",
        (Change(SHUT, r"(?<=_listed \{\n)    default 0", "    default 1"),),
        ENTRY | REVOKED - {"revoked"} | {"unlisted_page", "internal_locations"},
    ),
    "who is observed is told to the application": (
        "watch",
        (Change(WATCH, r"default (?:NONE|\"\");\n(?=    cert \$ssl_client_verify)", "default SUCCESS;\n"),),
        {"header_spoofing", "sni_none", "sni_unknown", "sni_other"},
    ),
    "a name is told of who comes through the window": (
        "open",
        (Change("snippets/open-*.conf", r"X-Client-DN \S+;", "X-Client-DN $ssl_client_s_dn;"),),
        {"header_spoofing"},
    ),
    "a forged header comes through": (
        "watch",
        (Change("snippets/watch-*.conf", r"proxy_set_header X-Client-Roles [^;]+;"),),
        {"header_spoofing", "identity_headers"},
    ),
    "bad certificates are refused, though nobody should be": (
        "watch",
        (Change(WATCH, r"error_page 495 = [^;]+;", "error_page 495 = @quietdoor_refused;"),),
        {"foreign", "look_alike", "self_signed", "expired", "revoked", "header_spoofing", "http2_requests", "websocket"},
    ),
    "the decision can be asked for": (
        "watch",
        (Change(WATCH, r"(?<=location = /\.well-known/quietdoor/verdict \{\n)        internal;\n"),),
        {"internal_locations"},
    ),
    "the side door opens without a password": (
        "side",
        (Change("sites/side.conf", r"auth_basic \S+;", "allow all;"),),
        ENTRY - {"tls_versions"} | REVOKED - {"revoked"} | {"unlisted_page", "internal_locations"},
    ),
    "no generation where nobody is refused": (
        "watch",
        (Change(WATCH, r"add_header X-Quietdoor-Generation [^;]+;"),),
        {"generation"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", HOLES)
def test_bypass_fails_exactly_its_checks(world: Staged, tmp_path: Path, what: str) -> None:
    site, changes, expected = HOLES[what]
    world.serve(changes)
    outcome = world.probe(site, tmp_path)
    assert red(outcome) == expected, outcome["table"]


def test_status_location_that_contradicts_the_page_is_not_trusted(world: Staged, tmp_path: Path) -> None:
    world.serve((Change(OPEN, TO_STATUS, "        if ($ssl_client_verify != SUCCESS) {\n return 403;\n }\n"),))
    outcome = world.probe("open", tmp_path, "no_certificate", "valid", window="unknown")
    assert red(outcome) == {"no_certificate"}, outcome["table"]
    assert "comes from behind the gate" in outcome["table"]


# --- the application is down ---

DOWN = Change("snippets/*.conf", r"(?<=http://127\.0\.0\.1:)[0-9]+", "9")


@pytest.mark.parametrize("site", TOLD)
def test_application_that_is_down_is_not_a_failed_gate(world: Staged, tmp_path: Path, site: str) -> None:
    world.serve((DOWN,))
    outcome = world.probe(site, tmp_path)
    assert {"valid", "identity_headers"} <= red(outcome), outcome["table"]
    assert outcome["application_down"]

    outcome = world.probe(site, tmp_path, expect_application=False)
    assert red(outcome) == set(), outcome["table"]
    assert "valid (alex): GET /admin/: 502, the application is down" in outcome["application_down"]
    assert seen(outcome, "valid", "alex") == "204 cert, 502, the application is down"


@pytest.mark.parametrize(("patience", "said"), [("1s", "504"), ("1h", "no answer")])
@pytest.mark.parametrize("site", ["watch", "door"])
def test_an_application_that_hangs_is_one_that_is_down(
    world: Staged, tmp_path: Path, site: str, patience: str, said: str
) -> None:
    given = {"timeout": 2, "expect_application": False}
    with socket.create_server(("127.0.0.1", world.ports["shared"])) as silent:
        hanging = (
            Change(f"snippets/{site}-*.conf", r"(?<=http://127\.0\.0\.1:)[0-9]+", str(silent.getsockname()[1])),
            Change(f"snippets/{site}-*.conf", r"proxy_read_timeout 1h", f"proxy_read_timeout {patience}"),
        )
        world.serve(hanging)
        checks = ("no_certificate", "valid", "header_spoofing", "identity_headers", "hsts", "websocket")
        outcome = world.probe(site, tmp_path, *checks, **given)
        strict = world.probe(site, tmp_path, "valid", timeout=2)
    assert red(outcome) == set(), outcome["table"]
    assert seen(outcome, "valid", "alex") == f"204 cert, {said}, the application is down"
    assert red(strict) == {"valid"}
    assert "the application behind the gate did not answer" in strict["table"]


REFUSES_ALEX = Change(DOOR, r"\^cert:0\*1", "^cert:never")


@pytest.mark.parametrize("changes", [(REFUSES_ALEX,), (REFUSES_ALEX, DOWN)], ids=["it runs", "it is down"])
def test_a_gate_that_refuses_is_never_an_application_that_is_down(
    world: Staged, tmp_path: Path, changes: tuple[Change, ...]
) -> None:
    world.serve(changes)
    outcome = world.probe("door", tmp_path, expect_application=False)
    assert {"valid", "tls_versions", "websocket"} <= red(outcome), outcome["table"]
    assert outcome["application_down"] == []


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_refusal_that_looks_like_an_application_that_is_down_is_found_out(
    world: Staged, tmp_path: Path, status: int
) -> None:
    """Alex reaches the application, so a client that does not is refused."""
    refusal = f"location / {{\n if ($quietdoor_site_watch_verdict != cert) {{ return {status}; }}"
    world.serve((Change(WATCH, r"location / \{", refusal),))
    outcome = world.probe("watch", tmp_path, "no_certificate", "valid", "websocket", expect_application=False)
    assert red(outcome) == {"no_certificate", "websocket"}, outcome["table"]
    assert outcome["application_down"] == []


def test_another_name_that_leads_to_an_application_that_is_down_is_still_found(world: Staged, tmp_path: Path) -> None:
    alias = "server { listen 127.0.0.1:OWN ssl; server_name alias.test; location / { proxy_pass http://127.0.0.1:9; }"
    alias += f" ssl_certificate {world.server.crt}; ssl_certificate_key {world.server.pem}; }}\n"
    world.serve((DOWN, Change(DOOR, r"(?m)^server \{", alias.replace("OWN", str(world.ports["own"])) + "server {")))
    outcome = world.probe("door", tmp_path, "sni_other", "valid", expect_application=False)
    assert red(outcome) == {"sni_other"}, outcome["table"]


def test_without_a_client_any_answer_shows_whether_it_is_down(world: Staged, tmp_path: Path) -> None:
    world.serve((DOWN,))
    outcome = world.probe("watch", tmp_path, "no_certificate", "header_spoofing", clients=[], expect_application=False)
    assert red(outcome) == set(), outcome["table"]
    assert any(what.startswith("no_certificate (no certificate): GET ") for what in outcome["application_down"])


# --- the playbook ---


def test_playbook_takes_the_stage_and_reports_what_is_down(world: Staged, tmp_path: Path) -> None:
    world.serve((DOWN,))
    report = tmp_path / "report.json"
    told = {"url": f"https://open.test:{world.ports['own']}/", "stage": "fallback", "window": "listed"}
    code, said = play(world, report, checks="no_certificate,valid,revoked", **told)
    assert code == 2, said
    code, said = play(world, report, checks="no_certificate,valid,revoked", expect_application=False, **told)
    assert code == 0, said
    assert json.loads(report.read_text())["application_down"]
    told = {**told, "url": f"https://side.test:{world.ports['own']}/", "window": "outside", "side_door": True}
    code, said = play(world, report, checks="no_certificate,revoked", **told)
    assert code == 0, said
    assert "401 deny" in said
