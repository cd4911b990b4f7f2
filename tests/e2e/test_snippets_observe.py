# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stage observe in a server that was there before: nobody is refused, and the log says who would be."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from support.client import STATUS, Answer, eventually, exchange
from support.nginx import RELEASES, children
from support.snippets import ABROAD, EVERY_CLIENT, Brownfield, brownfield, shop

if TYPE_CHECKING:
    from collections.abc import Iterator

# Why each of them would be refused. Nobody else has what "valid" has.
REASONS = {
    "unlisted": "unlisted",
    "none": "no-certificate",
    "revoked": "revoked",
    "denied": "revoked",
    "foreign": "untrusted",
    "expired": "expired",
    "self-signed": "untrusted",
    "not-yet-valid": "not-yet-valid",
}
# With these nobody gets in at all.
ODD = ("/ADMIN/", "/moved/y")


@dataclass
class Observed:
    """A world whose site is in stage ``observe``, and the paths behind its gate."""

    world: Brownfield
    name: str
    guarded: tuple[str, ...]

    @property
    def host(self) -> str:
        """The name that people ask for."""
        return f"{self.name}.test"

    def ask(
        self, who: str, path: str, method: str = "GET", headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        """Ask over a fresh connection that does not come from the server's own address."""
        pair = {
            "valid": self.world.authority.clients["alex"],
            "unlisted": self.world.authority.clients["dora"],
            **self.world.strangers,
        }[who]
        here = ("127.0.0.1", self.world.ports["own"])
        with (
            socket.create_connection(here, 10, (ABROAD, 0)) as plain,
            self.world.context(pair).wrap_socket(plain, server_hostname=self.host) as tls,
        ):
            return exchange(tls, method, path, {"Host": f"{self.host}:{here[1]}", **(headers or {})}, body)

    def lines(self, path: str) -> list[dict]:
        """Return the entries of the log about a path, when there is one."""
        return eventually(lambda: [line for line in self.world.log(self.name) if line["uri"] == path])

    def snippet(self, kind: str) -> str:
        """The line that includes one."""
        return f"include quietdoor/gate/snippets/{self.name}-{kind}.conf;"

    def reload(self) -> None:
        """Have nginx read its files, and wait until no worker is left that began before."""
        before = set(children(self.world.nginx.pid))
        self.world.nginx.reload()
        assert eventually(lambda: set(children(self.world.nginx.pid)).isdisjoint(before))

    def becomes(self, stage: str) -> None:
        """Have the role take the site to another stage; the lines in the server stay as they are."""
        self.world.sites[0]["stage"] = stage
        run = self.world.play(roles=("gate",), gate_allow_unverified_enforce=True)
        assert run.code == 0, run.output


@pytest.fixture(scope="module", params=[*((release, "host") for release in RELEASES), (None, "path")], ids=str)
def observed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    """The gate as it is after the lines were added."""
    release, mode = request.param
    root = tmp_path_factory.mktemp("observed")
    if mode == "host":
        with brownfield(root, 24900, release, stage="observe") as world:
            yield Observed(world, "panel", ("/", "/x/index.php", "/fixed", "/a%2Fb//c"))
    else:
        with shop(root, 32000, stage="observe") as world:
            yield Observed(
                world, "shop", ("/admin/", "/admin/x.php", "/ADMIN/", "/app/panel/x", "/moved/y", "//admin//z")
            )


def test_the_lines_are_those_of_every_stage_and_a_further_run_changes_nothing(observed: Observed) -> None:
    world = observed.world
    assert world.first.code == 0, world.first.output
    assert "nothing guards" in " ".join(world.first.output.split())
    assert world.second.code == 0, world.second.output
    assert (world.third.code, world.third.changed) == (0, 0), world.third.output
    assert world.look().survey.errors() == []


@pytest.mark.parametrize("who", EVERY_CLIENT)
def test_observe_refuses_no_client_and_names_only_admissible_ones(observed: Observed, who: str) -> None:
    forged = {"X-Client-Name": "forged", "X_Client_Name": "forged", "X-Quietdoor-Visitor": "203.0.113.7"}
    for path in observed.guarded:
        for method, body in (("GET", None), ("POST", b"x" * 20_000)):
            asked = f"{path}?{who}{method}"
            answer = observed.ask(who, asked, method, forged, body)
            assert answer.status == 200, (asked, answer)
            assert "x-quietdoor-verdict" not in answer.headers
            [line] = observed.lines(asked)
            known = who == "valid" and path not in ODD
            assert line["stage"] == "observe"
            assert (line["remote_addr"], line["peer"]) == (ABROAD, ABROAD)
            assert (line["verdict"], line["reason"]) == ("cert", "accepted") if known else _why(who, path)
            if path == "/fixed":
                assert answer.body == "fixed"
                continue
            reported, seen = json.loads(answer.body), answer.seen()
            assert (reported["method"], reported["body"]) == (method, (body or b"").decode())
            assert seen.get("x-client-name") == ("alex" if known else None)
            assert "forged" not in answer.body
            assert not [name for name in seen if name.replace("_", "-").startswith("x-quietdoor-")]


@pytest.mark.parametrize(
    "observed", [(release, "host") for release in RELEASES], ids=str, indirect=True, scope="module"
)
def test_forged_identity_header_is_only_logged(observed: Observed) -> None:
    """A location without the snippet passes it on; enforce would refuse the request. In mode path that location is closed."""
    world = observed.world
    world.vhost(more=f"location /forgot/ {{ proxy_pass http://127.0.0.1:{world.application.port}; }}")
    observed.reload()
    try:
        for who, logged in (("valid", ("would-deny", "forged-identity")), ("none", ("would-deny", "no-certificate"))):
            answer = observed.ask(who, f"/forgot/{who}", headers={"X-Client-Name": "forged"})
            assert (answer.status, answer.seen()["x-client-name"]) == (200, "forged")
            [line] = observed.lines(f"/forgot/{who}")
            assert (line["verdict"], line["reason"]) == logged
    finally:
        world.vhost()
        observed.reload()


def _why(who: str, path: str) -> tuple[str, str]:
    """Return verdict and reason for a client that would be refused. A rewritten path matters only if nginx gets that far."""
    if path == "/moved/y" and who not in ("valid", "unlisted", "none", "denied"):
        return "public", "public"
    return "would-deny", "spelling" if path in ODD else REASONS[who]


def test_gate_reports_its_verdict_on_every_client(observed: Observed) -> None:
    for who in EVERY_CLIENT:
        reported = observed.ask(who, STATUS)
        verdict = "cert" if who == "valid" else "would-deny"
        assert (reported.status, reported.headers["x-quietdoor-verdict"]) == (204, verdict), who


def test_same_lines_serve_enforce_and_observe(observed: Observed) -> None:
    """Which is one word in the inventory."""
    observed.becomes("enforce")
    try:
        path = observed.guarded[0]
        for who in EVERY_CLIENT:
            assert observed.ask(who, path).status == (200 if who == "valid" else 403), who
    finally:
        observed.becomes("observe")
    for who in EVERY_CLIENT:
        assert observed.ask(who, path).status == 200, who


def test_what_the_server_limits_is_counted_once(observed: Observed) -> None:
    zones = (
        "limit_req_zone $binary_remote_addr zone=mine:1m rate=1r/m; limit_conn_zone $binary_remote_addr zone=conns:1m;"
    )
    observed.world.vhost(more="limit_req zone=mine; limit_conn conns 1;", beside=zones)
    observed.reload()
    try:
        assert observed.ask("expired", observed.guarded[0]).status == 200
        assert observed.ask("expired", observed.guarded[0]).status == 503
        assert observed.ask("none", observed.guarded[0]).status == 503
    finally:
        observed.world.vhost()
        observed.reload()


def test_an_answer_may_have_many_headers(observed: Observed) -> None:
    """As many as the location that gives it has room for."""
    headers = "".join(f"add_header X-Long-{number} {'x' * 3000};" for number in range(10))
    inside = observed.snippet("panel-1") if observed.name == "shop" else ""
    observed.world.vhost(more=f"location /admin/long {{ {inside} {headers} return 200 long; }}")
    observed.reload()
    try:
        for who in ("none", "expired", "valid"):
            answer = observed.ask(who, "/admin/long")
            assert (answer.status, answer.body, len(answer.headers["x-long-9"])) == (200, "long", 3000), who
    finally:
        observed.world.vhost()
        observed.reload()


def test_observe_snippets_refuse_no_client(observed: Observed) -> None:
    """In mode path not even that of a guarded path in a location that answers public ones too."""
    kind = "location" if observed.name == "panel" else "panel-1"
    observed.world.vhost(more=f"location ~ [.]cgi$ {{ {observed.snippet(kind)} return 200 cgi; }}")
    observed.reload()
    try:
        for who in ("none", "expired", "valid"):
            assert [observed.ask(who, path).body for path in ("/x.cgi", "/admin/x.cgi")] == ["cgi", "cgi"], who
    finally:
        observed.world.vhost()
        observed.reload()


def test_request_is_re_proxied_at_most_once(observed: Observed) -> None:
    """With a certificate of its own that nobody knows, the second time would be like the first."""
    neighbour = observed.world.root / "neighbour"
    observed.world.vhost(more=f"proxy_ssl_certificate {neighbour}.crt; proxy_ssl_certificate_key {neighbour}.key;")
    observed.reload()
    try:
        with pytest.raises(MtlsError, match="nginx presents this certificate in re-proxied requests"):
            observed.world.look()
        assert observed.ask("expired", observed.guarded[0]).status == 403
        assert observed.ask("none", observed.guarded[0]).status == 200
    finally:
        observed.world.vhost()
        observed.reload()
    assert observed.ask("expired", observed.guarded[0]).status == 200


def test_missing_line_refuses_no_client_and_is_named(observed: Observed) -> None:
    """As in enforce: what would open the panel then is found while it is still open to everybody."""
    parts = {"location": ""} if observed.name == "panel" else {"panel": observed.snippet("public")}
    observed.world.vhost(**parts)
    try:
        run = observed.world.play(roles=("gate",))
    finally:
        observed.world.vhost()
    assert run.code != 0
    assert f"site {observed.name}: {observed.world.nginx.prefix}/sites/{observed.name}.conf:" in run.output
