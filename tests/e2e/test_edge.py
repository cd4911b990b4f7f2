# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sites behind an edge, which terminates TLS: a second nginx as the edge, and clients that imitate it.

An edge that says what nginx cannot say (a SHA-256 digest, a certificate in one line) is played by a client that shows the
edge's certificate.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import socket
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._gate.access_log import Reading, requests
from ansible_collections.quietdoor.mtls.plugins.module_utils._gate.log_summary import summarize
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID as Usage
from support.app import Application
from support.ca import Pair, make_pair, serial_of, subject_of
from support.client import REJECTED, STATUS, Answer, eventually, log_lines
from support.nginx import NginxInstance, free_port
from support.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Headers = list[tuple[str, str]]
NEAR, FAR, VISITOR = "127.0.0.1", "127.0.0.2", "127.0.0.5"
PROFILES = (
    *("nginx", "haproxy", "envoy", "cloudflare", "cloudfront", "aws_alb", "azure", "google"),
    *("traefik", "rfc9440", "ingress_nginx", "custom"),
)
WHOLE = ("traefik", "rfc9440", "ingress_nginx")


def digest(pair: Pair) -> str:
    """The SHA-256 digest of a certificate, hex."""
    return pair.certificate.fingerprint(hashes.SHA256()).hex()


def sha1(pair: Pair) -> str:
    """The SHA-1 digest of a certificate, hex."""
    return pair.certificate.fingerprint(hashes.SHA1()).hex()


_SUBJECTS: dict[Path, str] = {}


def subject(pair: Pair) -> str:
    """Its name as nginx prints it; openssl is asked once."""
    if pair.crt not in _SUBJECTS:
        _SUBJECTS[pair.crt] = subject_of(pair)
    return _SUBJECTS[pair.crt]


def der(pair: Pair) -> str:
    """A certificate in Base64, in one line."""
    return base64.b64encode(pair.certificate.public_bytes(Encoding.DER)).decode()


def escaped(pair: Pair) -> str:
    """A certificate as nginx escapes it."""
    return quote(pair.certificate.public_bytes(Encoding.PEM).decode(), safe="")


class EdgeWorld(World):
    """Sites of every profile behind one edge, and a direct one beside them."""

    def said(self, profile: str, pair: Pair) -> Headers:
        """Return the headers of an edge of that kind for a valid certificate."""
        issuer = subject(self.authority.ca)
        return {
            "nginx": [
                ("X-SSL-Client-Verify", "SUCCESS"),
                ("X-SSL-Client-Serial", serial_of(pair)),
                ("X-SSL-Client-I-DN", issuer),
            ],
            "haproxy": [("X-SSL-Client-Verify", "0"), ("X-SSL-Client-SHA256", digest(pair).upper())],
            "envoy": [
                (
                    "X-Forwarded-Client-Cert",
                    f'By=spiffe://x/y;Hash={digest(pair)};Cert="{"MIIB%2B" * 500}";'
                    'Subject="CN=a \\"quoted\\", b;c";URI=;DNS=a.example',
                )
            ],
            "cloudflare": [("X-SSL-Client-SHA256", digest(pair))],
            "cloudfront": [("CloudFront-Viewer-Cert-Sha256", digest(pair))],
            "aws_alb": [
                # Neither the case of the digits nor a leading zero is told in AWS's documentation.
                ("X-Amzn-Mtls-Clientcert-Serial-Number", serial_of(pair).lower().lstrip("0")),
                ("X-Amzn-Mtls-Clientcert-Issuer", issuer),
            ],
            "azure": [("X-SSL-Client-Verify", "SUCCESS"), ("X-SSL-Client-Fingerprint", sha1(pair))],
            "google": [
                ("X-Client-Cert-Chain-Verified", "true"),
                ("X-Client-Cert-Hash", base64.b64encode(bytes.fromhex(digest(pair))).decode().rstrip("=")),
            ],
            "traefik": [("X-Forwarded-Tls-Client-Cert", der(pair))],
            "rfc9440": [("Client-Cert", f":{der(pair)}:")],
            "ingress_nginx": [
                ("ssl-client-verify", "SUCCESS"),
                ("ssl-client-subject-dn", subject(pair)),
                ("ssl-client-issuer-dn", issuer),
                ("ssl-client-cert", escaped(pair)),
            ],
            "custom": [("X-Edge-Says", "yes"), ("X-Edge-Digest", digest(pair))],
        }[profile]

    def ask(
        self,
        pair: Pair | None,
        host: str,
        headers: Sequence[tuple[str, str]] = (),
        *,
        path: str = "/",
        source: str = NEAR,
        port: str = "own",
        sni: str | None = "",
    ) -> Answer:
        """Ask from an address, with headers in that order, whatever they are."""
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers)]
        with socket.create_connection((NEAR, self.ports[port]), 10, source_address=(source, 0)) as plain:
            try:
                with self.context(pair).wrap_socket(plain, server_hostname=host if sni == "" else sni) as tls:
                    return _exchange(tls, [*lines, "Connection: close"])
            except ssl.SSLError:
                return REJECTED

    def through(self, pair: Pair | None, host: str, headers: Sequence[tuple[str, str]] = (), path: str = "/") -> Answer:
        """Ask the edge, as a visitor does."""
        return self.ask(pair, host, headers, path=path, source=VISITOR, port="edge")

    def rendered(self) -> dict[Path, str]:
        """The files that the roles wrote."""
        return {path.resolve(): path.read_text() for path in (self.nginx.prefix / "quietdoor").rglob("*.conf")}

    def serve(self, texts: dict[Path, str]) -> None:
        """Have nginx serve these files, and nothing else."""
        self.nginx.serve(texts)


def _exchange(tls: socket.socket, lines: list[str]) -> Answer:
    tls.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
    data = b""
    while part := tls.recv(65536):
        data += part
    head, _empty, body = data.partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _colon, value in (line.partition(": ") for line in rest)}
    if headers.get("transfer-encoding") == "chunked":
        body = re.sub(rb"(?:\A|\r\n)[0-9a-f]+\r\n", b"", body)
    return Answer(int(first.split()[1]), headers, body.decode())


def _edge(world: EdgeWorld, **more: object) -> dict[str, object]:
    peer = {"certificate_authority": str(world.root / "edge-ca.crt"), "certificates": [sha1(world.edge)]}
    return {"source": "edge", "trusted_proxies": [NEAR], "edge": {**peer, **more}}


def _sites(world: EdgeWorld) -> list[dict]:
    own = world.ports["own"]
    headers = {"headers": {"verify": "X-Edge-Says", "sha256": "X-Edge-Digest"}, "verified_value": "yes"}
    sites = [
        world.site(
            profile.replace("_", "-"),
            [f"{profile.replace('_', '-')}.test"],
            own,
            **_edge(world, profile=profile, **(headers if profile == "custom" else {})),
        )
        for profile in PROFILES
    ]
    by_subject = {"certificates": [subject(world.edge), "AA" * 20]}
    return [
        *sites,
        world.site(
            "a-site-of-which-the-name-is-long",
            ["whole.test"],
            own,
            **_edge(world, profile="custom", headers={"certificate": "X-Edge-Whole"}),
        ),
        world.site("direct", ["direct.test"], own),
        world.site(
            "shop",
            ["shop.test"],
            own,
            mode="path",
            paths=["/admin"],
            allow={"names": ["alex", "carl", "emil"]},
            rate_limit={"rate": "1r/m", "burst": 400},
            **_edge(world, profile="nginx", **by_subject),
        ),
        world.site(
            "near",
            ["near.test"],
            own,
            **{
                **_edge(world),
                "edge": {"profile": "nginx", "authentication": "network", "address_header": "X-Real-IP"},
            },
        ),
        # On a port of its own: where a site is observed, unknown names are not rejected.
        world.site(
            "watch",
            ["watch.test"],
            world.ports["shared"],
            stage="observe",
            allow={"names": ["alex"]},
            **_edge(world, profile="nginx", **by_subject),
        ),
    ]


def _edge_conf(world: EdgeWorld) -> str:
    """An nginx as edge: it knows the CA of the visitors, and no list of who was revoked."""
    said = {
        "nginx shop near watch": {
            "X-SSL-Client-Verify": "$ssl_client_verify",
            "X-SSL-Client-Serial": "$ssl_client_serial",
            "X-SSL-Client-I-DN": "$ssl_client_i_dn",
            "X-Real-IP": "$remote_addr",
        },
        "ingress-nginx": {
            # As ingress-nginx writes them with auth-tls-pass-certificate-to-upstream.
            "ssl-client-cert": "$ssl_client_escaped_cert",
            "ssl-client-verify": "$ssl_client_verify",
            "ssl-client-subject-dn": "$ssl_client_s_dn",
            "ssl-client-issuer-dn": "$ssl_client_i_dn",
        },
        "azure": {"X-SSL-Client-Verify": "$ssl_client_verify", "X-SSL-Client-Fingerprint": "$ssl_client_fingerprint"},
        "aws-alb": {
            "X-Amzn-Mtls-Clientcert-Serial-Number": "$ssl_client_serial",
            "X-Amzn-Mtls-Clientcert-Issuer": "$ssl_client_i_dn",
        },
    }
    servers = ""
    for names, headers in said.items():
        lines = "".join(f"proxy_set_header {name} {value};\n" for name, value in headers.items())
        behind = f"if ($host = watch.test) {{ proxy_pass https://{NEAR}:{world.ports['shared']}; }}"
        servers += f"""
        server {{
            listen {NEAR}:{world.ports["edge"]} ssl;
            server_name {" ".join(f"{name}.test" for name in names.split())};
            ssl_certificate {world.server.crt};
            ssl_certificate_key {world.server.pem};
            ssl_client_certificate {world.authority.ca.crt};
            ssl_verify_client optional;
            location / {{
                {behind}
                proxy_pass https://{NEAR}:{world.ports["own"]};
                proxy_ssl_server_name on;
                proxy_ssl_name $host;
                proxy_ssl_certificate {world.edge.crt};
                proxy_ssl_certificate_key {world.edge.pem};
                proxy_set_header Host $host;
                proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
                {lines}
            }}
        }}"""
    return servers


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeWorld]:
    """The sites, with both roles applied, and the edge."""
    root = tmp_path_factory.mktemp("edge")
    ports = {"own": free_port(23600, 23639), "edge": free_port(23640, 23679), "shared": free_port(23760, 23799)}
    application = Application(free_port(23680, 23719))
    foreign = make_pair(root / "foreign-ca", "Foreign", is_ca=True)
    edge_ca = make_pair(root / "edge-ca", "Edge CA", is_ca=True)
    idle = free_port(23720, 23759)
    # Habits of the machine that would hurt, if the sites inherited them.
    habits = (
        "underscores_in_headers on; set_real_ip_from 127.0.0.0/8; real_ip_header X-Forwarded-For; real_ip_recursive on;"
    )
    try:
        with NginxInstance(root / "nginx", http=f"{habits} server {{ listen {NEAR}:{idle}; }}") as nginx:
            world = EdgeWorld(root, nginx, ports, application, foreign)
            ca = world.authority.ca
            # As long as can be, once for each spelling.
            for name, length in {"long": 71, "longer": 75}.items():
                dns = tuple(f"{number:02}.{name}.of-a-long-name.example" for number in range(length))
                world.authority.clients[name] = make_pair(root / name, name, ca, dns=dns)
            world.edge = make_pair(root / "edge", "edge", edge_ca)
            world.peers = {
                "another certificate of that CA": make_pair(root / "other", "other", edge_ca),
                "the edge's name from a foreign CA": make_pair(root / "named", "edge", foreign),
                "a server's certificate of that CA": make_pair(
                    root / "serving", "edge", edge_ca, usage=Usage.SERVER_AUTH
                ),
                "an expired certificate of the edge": make_pair(root / "ended", "edge", edge_ca, days=(-9, -2)),
                "no certificate": None,
                "the certificate of a person": world.authority.clients["alex"],
                "a foreign certificate": world.strangers["foreign"],
            }
            world.sites = _sites(world)
            world.authority.publish()
            world.first = world.play("--diff")
            assert world.first.code == 0, world.first.output
            with NginxInstance(root / "front", http=_edge_conf(world)):
                yield world
    finally:
        application.stop()
        shutil.rmtree(root / "ansible", ignore_errors=True)


def host_of(profile: str) -> str:
    """The site's name."""
    return f"{profile.replace('_', '-')}.test"


def refused(world: EdgeWorld, answer: Answer, reached: int) -> bool:
    """Whether the gate itself gave this answer, and nothing got through."""
    assert len(world.application.reached) == reached
    return (answer.status, answer.headers.get("x-quietdoor-verdict")) == (403, "deny")


def test_a_second_run_changes_nothing_and_nginx_has_nothing_to_complain_about(world: EdgeWorld) -> None:
    again = world.play()
    assert (again.code, again.changed) == (0, 0), again.output
    done = subprocess.run(world.nginx.test_argv, capture_output=True, text=True, check=True)
    # With so many sites nginx cannot give each variable a bucket of its own; it says so and works all the same.
    assert not re.findall(r"\[(?:warn|error|emerg)\](?!.*could not build optimal).*", done.stderr)


# --- who gets in ---


@pytest.mark.parametrize(
    "host", ["nginx.test", "azure.test", "aws-alb.test", "ingress-nginx.test", "shop.test", "near.test"]
)
def test_clients_are_admitted_through_a_real_edge_with_name_and_address(world: EdgeWorld, host: str) -> None:
    alex = world.authority.clients["alex"]
    for _time in range(3):  # the edge keeps sessions, and would resume them
        answer = world.through(alex, host, path="/admin/x?y")
        assert answer.status == 200, answer
    seen = answer.seen()
    expected = {
        "x-client-verify": "SUCCESS",
        "x-client-dn": subject(alex),
        "x-client-issuer-dn": subject(world.authority.ca),
        "x-client-serial": serial_of(alex),
        "x-client-fingerprint": sha1(alex),
        "x-client-name": "alex",
        "x-client-email": "alex@example.org",
        "x-client-roles": "admin,ops",
        "x-real-ip": VISITOR,
        "x-forwarded-for": VISITOR,
        "x-forwarded-proto": "https",
    }
    assert {name: seen.get(name) for name in expected} == expected
    reported = {name for name in seen if re.match(r"x-(?:ssl|amzn|forwarded-client|edge)|ssl-|client-", name)}
    assert reported == set()
    assert world.through(alex, host, path=STATUS).status == 204


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_is_understood(world: EdgeWorld, profile: str) -> None:
    for name in ("alex", "bea", "dora"):
        said = world.said(profile, world.authority.clients[name])
        answer = world.ask(
            world.edge, host_of(profile), [*said, ("X-Forwarded-For", VISITOR), ("CF-Connecting-IP", VISITOR)]
        )
        assert answer.status == 200, answer
        seen = answer.seen()
        pair = world.authority.clients[name]
        assert (seen["x-client-name"], seen["x-client-serial"]) == (name, serial_of(pair))
        assert (seen["x-client-dn"], seen["x-client-issuer-dn"]) == (subject(pair), subject(world.authority.ca))
        assert not {header.lower() for header, _value in said} & set(seen)
        assert (seen["x-real-ip"], seen["x-forwarded-for"]) == (VISITOR, VISITOR)
        assert "cf-connecting-ip" not in seen


def test_a_whole_certificate_comes_with_a_chain_or_in_colons(world: EdgeWorld) -> None:
    alex, bea = (world.authority.clients[name] for name in ("alex", "bea"))
    ca = der(world.authority.ca)
    for host, name, value in (
        ("traefik.test", "X-Forwarded-Tls-Client-Cert", f"{der(alex)},{ca}"),
        # The certificates after the first one come from the visitor too, and do not identify the visitor.
        ("traefik.test", "X-Forwarded-Tls-Client-Cert", f"{der(alex)},{ca},{der(bea)}"),
        ("whole.test", "X-Edge-Whole", der(alex)),
        ("whole.test", "X-Edge-Whole", f":{der(alex)}:"),
    ):
        answer = world.ask(world.edge, host, [(name, value)])
        assert (answer.status, answer.seen()["x-client-name"]) == (200, "alex"), host


def test_how_long_a_certificate_may_be(world: EdgeWorld) -> None:
    """A word of nginx's configuration has 4096 bytes at most, and escaped it takes more of them."""
    reached = len(world.application.reached)
    for name, profiles in {"long": WHOLE, "longer": WHOLE[:2]}.items():
        pair = world.authority.clients[name]
        for profile in WHOLE:
            answer = world.ask(world.edge, host_of(profile), world.said(profile, pair))
            if profile in profiles:
                reached += 1
                assert (answer.status, answer.seen()["x-client-name"]) == (200, name), profile
            else:
                assert refused(world, answer, reached), profile
    assert 2500 < len(der(world.authority.clients["long"])) * 3 / 4 < 2700 < len(der(pair)) * 3 / 4 <= 3000


def test_observe_refuses_no_client_and_logs_its_address(world: EdgeWorld) -> None:
    """Through the edge or past it; only a good certificate that the edge speaks for has a name."""
    people = {"alex": world.authority.clients["alex"], "bea": world.authority.clients["bea"], "nobody": None}
    people |= {"revoked": world.strangers["revoked"]}
    reasons = {"alex": "accepted", "bea": "unlisted", "nobody": "no-certificate", "revoked": "revoked"}
    for name, pair in people.items():
        answer = world.through(pair, "watch.test", path=f"/through/{name}")
        assert answer.status == 200, (name, answer)
        assert answer.seen().get("x-client-name") == ("alex" if name == "alex" else None)
    said = world.said("nginx", people["alex"])
    # One host that is not listed, and all that are not the edge; nginx answers a bad certificate with an error at first.
    past = {"far": (world.edge, FAR), **{name.replace(" ", "-"): (pair, NEAR) for name, pair in world.peers.items()}}
    for name, (pair, source) in past.items():
        answer = world.ask(pair, "watch.test", said, path=f"/past/{name}", source=source, port="shared")
        assert answer.status == 200, (name, answer)
        assert "x-client-name" not in answer.seen(), name
        assert answer.seen()["x-client-verify"] == "NONE"

    def found() -> dict[str, dict]:
        entries = {entry["uri"].rpartition("/")[2]: entry for entry in world.log("watch")}
        return entries if {*reasons, *past} <= set(entries) else {}

    entries = eventually(found)
    for name, reason in reasons.items():
        reported = tuple(entries[name][key] for key in ("verdict", "reason", "remote_addr"))
        assert reported == ("cert" if name == "alex" else "would-deny", reason, VISITOR), name
    for name, (_pair_of, source) in past.items():
        reported = tuple(entries[name][key] for key in ("verdict", "reason", "remote_addr"))
        assert reported == ("would-deny", "not-from-edge", source), name
    evidence = summarize(requests(str(world.logs / "quietdoor-watch.log"), Reading()), None, ())
    assert {(one.address, one.reason) for one in evidence.would_deny.seen} == {
        *((VISITOR, reason) for name, reason in reasons.items() if name != "alex"),
        (FAR, "not-from-edge"),
        (NEAR, "not-from-edge"),
    }
    assert [name for name, _email in evidence.people.seen] == ["alex"]


def test_combined_log_format_has_the_address_too(world: EdgeWorld) -> None:
    log = world.logs / "quietdoor-watch.log"
    try:
        run = world.play(roles=("gate",), gate_log_format="combined")
        assert run.code == 0, run.output
        log.write_text("")
        assert world.through(world.authority.clients["bea"], "watch.test").status == 200
        assert eventually(lambda: log_lines(log))
        evidence = summarize(requests(str(log), Reading()), None, ())
    finally:
        run = world.play(roles=("gate",))
        for path in world.logs.glob("quietdoor-*.log"):
            path.write_text("")
    assert run.code == 0, run.output
    assert [(one.address, one.reason) for one in evidence.would_deny.seen] == [(VISITOR, "unlisted")]


def test_log_has_client_and_edge(world: EdgeWorld) -> None:
    world.through(world.authority.clients["bea"], "nginx.test", path="/log-in")
    world.ask(world.peers["no certificate"], "nginx.test", world.said("nginx", world.edge), path="/log-out")

    def found(path: str) -> list[dict]:
        return [entry for entry in world.log("nginx") if entry["uri"] == path]

    entry = eventually(lambda: found("/log-in"))[0]
    expected = {
        "verdict": "cert",
        "reason": "accepted",
        "verify": "SUCCESS",
        "serial": serial_of(world.authority.clients["bea"]),
        "name": "bea",
        "remote_addr": VISITOR,
        "peer": NEAR,
        "edge": subject(world.edge),
        "edge_signal": "good",
    }
    assert {name: entry[name] for name in expected} == expected
    entry = eventually(lambda: found("/log-out"))[0]
    assert (entry["verdict"], entry["reason"], entry["name"], entry["serial"]) == ("deny", "not-from-edge", "", "")


# --- who does not ---


@pytest.mark.parametrize("host", ["nginx.test", "azure.test", "ingress-nginx.test", "shop.test", "near.test"])
def test_client_revoked_by_trust_is_refused_although_the_edge_admits_it(world: EdgeWorld, host: str) -> None:
    reached = len(world.application.reached)
    sentences = {"carl": "has been revoked", "emil": "has been revoked", "nobody": "did not show a certificate"}
    for name, sentence in sentences.items():
        answer = world.through(world.authority.clients.get(name), host, path="/admin/")
        assert refused(world, answer, reached), (name, answer)
        # Of a certificate that is in no list any more a digest says nothing.
        assert sentence in answer.body or (host, name) == ("azure.test", "carl")
    if host == "shop.test":
        answer = world.through(world.authority.clients["bea"], host, path="/admin/")
        assert refused(world, answer, reached)
        assert "not on the list" in answer.body


def test_forged_headers_are_overwritten_by_the_edge(world: EdgeWorld) -> None:
    reached = len(world.application.reached)
    said = world.said("nginx", world.authority.clients["alex"])
    for forged in (said, [*said, *said], [(name.replace("-", "_"), value) for name, value in said]):
        answer = world.through(None, "nginx.test", [*forged, ("X-Forwarded-For", "9.9.9.9"), ("X-Real-IP", "9.9.9.9")])
        assert refused(world, answer, reached)
        entered = world.through(world.authority.clients["bea"], "nginx.test", forged)
        assert (entered.status, entered.seen()["x-client-name"]) == (200, "bea")
        reached += 1


@dataclass(frozen=True)
class Attack:
    """A client imitates the edge, or the headers of the edge are not sufficient."""

    headers: Headers
    peer: Pair | None
    source: str = NEAR
    host: str = "nginx.test"
    sni: str | None = ""


def attacks(world: EdgeWorld) -> dict[str, Attack]:
    """All of them by name."""
    alex, edge = world.authority.clients["alex"], world.edge
    good = world.said("nginx", alex)
    verify, serial, issuer = good
    found = {
        f"{label}, {host}": Attack(good, peer, host=host)
        for label, peer in world.peers.items()
        for host in ("nginx.test", "shop.test")
    }
    found |= {
        f"{label}, {host_of(profile)}": Attack(world.said(profile, alex), peer, host=host_of(profile))
        for label, peer in world.peers.items()
        for profile in WHOLE
    }
    found |= {
        "the edge from elsewhere": Attack(good, edge, FAR),
        "the edge from elsewhere, addresses in headers": Attack(
            [*good, ("X-Forwarded-For", NEAR), ("X-Real-IP", NEAR), ("Forwarded", f"for={NEAR}")], edge, FAR
        ),
        "a listed network, from elsewhere": Attack([*good, ("X-Real-IP", NEAR)], None, FAR, "near.test"),
        "no server name": Attack(good, edge, sni=None),
        "another site's server name": Attack(good, edge, sni="direct.test"),
        "the edge alone": Attack([], edge),
        "verify alone": Attack([verify], edge),
        "no verify": Attack([serial, issuer], edge),
        "an empty verify": Attack([(verify[0], ""), serial, issuer], edge),
        "verify in lower case": Attack([(verify[0], "success"), serial, issuer], edge),
        "verify and more": Attack([(verify[0], "SUCCESS:x"), serial, issuer], edge),
        "verify twice in one": Attack([(verify[0], "SUCCESS, NONE"), serial, issuer], edge),
        "verify failed": Attack([(verify[0], "FAILED:certificate has expired"), serial, issuer], edge),
        "verify is 0": Attack([(verify[0], "0"), serial, issuer], edge),
        "an empty serial": Attack([verify, (serial[0], ""), issuer], edge),
        "an empty issuer": Attack([verify, serial, (issuer[0], "")], edge),
        "no issuer": Attack([verify, serial], edge),
        "two serials in one": Attack([verify, (serial[0], f"{serial[1]}, 01"), issuer], edge),
        "a part of the serial": Attack([verify, (serial[0], serial[1][2:]), issuer], edge),
        "more than the serial": Attack([verify, (serial[0], f"01{serial[1]}"), issuer], edge),
        "an unlisted serial": Attack([verify, (serial[0], "0BADC0DE"), issuer], edge),
        "a foreign issuer": Attack([verify, serial, (issuer[0], "CN=Foreign,O=Door\\, Test")], edge),
        "an issuer without its escapes": Attack([verify, serial, (issuer[0], issuer[1].replace("\\", ""))], edge),
        "an issuer in lower case": Attack([verify, serial, (issuer[0], issuer[1].lower())], edge),
        "an issuer and more": Attack([verify, serial, (issuer[0], f"{issuer[1]},C=DE")], edge),
        "more and an issuer": Attack([verify, serial, (issuer[0], f"C=DE,{issuer[1]}")], edge),
        "names with underscores": Attack([(name.replace("-", "_"), value) for name, value in good], edge),
        "names half with underscores": Attack([(name.replace("-", "_", 1), value) for name, value in good], edge),
        "the identity headers themselves": Attack(
            [("X-Client-Verify", "SUCCESS"), ("X-Client-Name", "alex"), ("X-Quietdoor-Verdict", "cert")], edge
        ),
        "revoked": Attack(world.said("nginx", world.authority.clients["carl"]), edge),
        "denied and listed": Attack(world.said("nginx", world.authority.clients["emil"]), edge),
        "another profile's words": Attack(world.said("haproxy", alex), edge),
    }
    for profile in ("haproxy", "envoy", "cloudflare", "azure", "google", *WHOLE, "custom"):
        host = host_of(profile)
        last = world.said(profile, alex)
        for name in ("carl", "emil"):
            found[f"{name}, {profile}"] = Attack(world.said(profile, world.authority.clients[name]), edge, host=host)
        for label, change in _CHANGES.items():
            changed = [*last[:-1], (last[-1][0], change(last[-1][1]))]
            found[f"{label}, {profile}"] = Attack(changed, edge, host=host)
        if profile in WHOLE:
            found |= _whole_attacks(world, profile)
        if len(last) > 1:
            found[f"verify alone, {profile}"] = Attack(last[:1], edge, host=host)
            found[f"not verified, {profile}"] = Attack([(last[0][0], "false"), *last[1:]], edge, host=host)
            found[f"without verify, {profile}"] = Attack(last[1:], edge, host=host)
    xfcc = f"Hash={digest(alex)}"
    for label, value in {
        "two elements": f"{xfcc},Hash={'0' * 64}",
        "a second element": f"Hash={'0' * 64},{xfcc}",
        "two digests": f"Hash={'0' * 64};{xfcc}",
        "a digest in the subject": f'Subject="x;{xfcc}"',
        "a digest behind the subject": f'Hash={"0" * 64};Subject="x";{xfcc}',
        "an open quote": f'{xfcc};Subject="x',
        "an unknown key": f"{xfcc};Other=x",
        "in lower case": xfcc.lower().replace("hash", "hash"),
        "only the digest": digest(alex),
    }.items():
        found[f"envoy, {label}"] = Attack([("X-Forwarded-Client-Cert", value)], edge, host="envoy.test")
    return found


def _next_letter(letter: str) -> str:
    """Return the character beside it, which for a, z and their capitals is not always a letter."""
    return chr(ord(letter) ^ 1)


def _whole_attacks(world: EdgeWorld, profile: str) -> dict[str, Attack]:
    """An edge, or an intruder in it, passes on a certificate that differs slightly from that of an allowed client."""
    alex, bea = (world.authority.clients[name] for name in ("alex", "bea"))
    edge, host, said = world.edge, host_of(profile), world.said(profile, alex)
    name, good = said[-1]
    other, middle = world.said(profile, bea)[-1][1], len(good) // 2
    letter = next(
        place
        for place in range(middle, len(good))
        if good[place].isalpha() and _next_letter(good[place]).isalpha() and good[place - 2] != "%"
    )
    values = {
        "one letter in another case": good[:letter] + good[letter].swapcase() + good[letter + 1 :],
        "one letter is another": good[:letter] + _next_letter(good[letter]) + good[letter + 1 :],
        "one letter less": good[:letter] + good[letter + 1 :],
        "one letter more": good[:letter] + "A" + good[letter:],
        "all in another case": good.swapcase(),
        "without its beginning": good[: good.index("MI")] + good[good.index("MI") + 4 :],
        "without its end": good[:-60],
        "its end alone": good[-100:],
        "somebody else's with its end": other[:-120] + good[-120:],
        "two in one": f"{good}{good}",
        "two in a list": f"{good},{good}" if profile != "traefik" else f"{good},{good}, {good}",
        "a list with a space": f"{other}, {good}",
        "text before it": f"x{good}",
        "text behind it": f"{good}x",
        "a colon and a digest behind it": f"{good}:{digest(alex)}",
        "a parameter": f"{good};a=b",
        "quoted": f'"{good}"',
        "as PEM in one line": alex.crt.read_text().replace("\n", " ").strip(),
        "in another alphabet": good.replace("+", "-").replace("/", "_").replace("%2B", "-").replace("%2F", "_"),
    }
    if profile == "traefik":
        values |= {
            "as older ones escape it": quote(good, safe=""),
            "behind somebody else's": f"{der(world.strangers['foreign'])},{good}",
            "behind nothing": f",{good}",
            "a chain twice": f"{good}, {good}",
            "with padding that is not there": f"{good}=",
        }
    if profile == "rfc9440":
        values |= {
            "without colons": good.strip(":"),
            "as a chain": f"{good}, :{der(world.authority.ca)}:",
            "a list without a space": f":{der(world.authority.ca)}:,{good}",
        }
    if profile == "ingress_nginx":
        values |= {
            "escapes in lower case": re.sub("%2[BF]|%3D|%0A", lambda found: found[0].lower(), good),
            "with what may stay unescaped": good.replace("%2B", "+").replace("%2F", "/").replace("%3D", "="),
            "without the last line's end": good.removesuffix("%0A"),
            "with other ends of lines": good.replace("%0A", "%0D%0A"),
            "without armour": good[good.index("MI") : good.rindex("%0A-----END")],
            "two blocks": good + other,
        }
    found = {
        f"{label}, {profile}": Attack([*said[:-1], (name, value)], edge, host=host) for label, value in values.items()
    }
    for label in ("foreign", "look-alike", "self-signed", "expired", "not-yet-valid", "server-only"):
        pair = world.strangers[label]
        assert pair
        found[f"{label}, {profile}"] = Attack(world.said(profile, pair), edge, host=host)
    for pair, label in ((world.authority.ca, "the CA itself"), (edge, "the edge's own")):
        found[f"{label}, {profile}"] = Attack(world.said(profile, pair), edge, host=host)
    found[f"fred, {profile}"] = Attack(world.said(profile, world.authority.clients["fred"]), edge, host=host)
    found[f"two headers, the second good, {profile}"] = Attack(
        [*said[:-1], (name, other[:-90]), said[-1]], edge, host=host
    )
    underscores = [(header.replace("-", "_"), value) for header, value in said]
    found[f"names with underscores, {profile}"] = Attack(underscores, edge, host=host)
    found[f"from elsewhere, {profile}"] = Attack(said, edge, FAR, host)
    return found


_CHANGES = {
    "another last digit": lambda value: f"{value[:-1]}{'0' if value[-1] != '0' else '1'}",
    "one digit less": lambda value: value[:-1],
    "one digit more": lambda value: f"{value}0",
    "twice": lambda value: f"{value}, {value}",
    "empty": lambda _value: "",
}
# One more character behind an element of XFCC is a longer name of a host, and no digit.
_NO_DIGITS = {f"{label}, envoy" for label in ("another last digit", "one digit less", "one digit more")}


def test_forged_edge_is_refused(world: EdgeWorld) -> None:
    reached, got_in = len(world.application.reached), []
    for label, attack in attacks(world).items():
        if label in _NO_DIGITS:
            continue
        answer = world.ask(
            attack.peer, attack.host, attack.headers, path="/admin/", source=attack.source, sni=attack.sni
        )
        by_gate = (answer.status, answer.headers.get("x-quietdoor-verdict")) == (403, "deny")
        if not (by_gate or (attack.sni != "" and answer.status in (0, 421))):
            got_in.append((label, answer))
        elif answer.status == 403:
            assert "<h1>This" in answer.body, label
    assert got_in == []
    assert len(world.application.reached) == reached


@pytest.mark.parametrize("who", ["edge", "no certificate", "the certificate of a person"])
def test_headers_in_http2_count_as_in_http1(world: EdgeWorld, who: str) -> None:
    port, pair = world.ports["own"], world.edge if who == "edge" else world.peers[who]
    argv = ["curl", "-ksS", "--http2", "--max-time", "10", "--resolve", f"nginx.test:{port}:{NEAR}"]
    argv += ["--cert", str(pair.crt), "--key", str(pair.pem)] if pair else []
    argv += ["-w", "\n%{http_code} %{http_version}", f"https://nginx.test:{port}/"]
    for name, value in world.said("nginx", world.authority.clients["alex"]):
        argv += ["-H", f"{name}: {value}"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.stdout.rpartition("\n")[2] == f"{'200' if who == 'edge' else '403'} 2", done.stderr


def test_duplicate_header_never_admits_by_its_second_value(world: EdgeWorld) -> None:
    """nginx before 1.23 knows only the first of them; since then both are one value, which nothing is equal to."""
    bea, alex = (world.said("cloudflare", world.authority.clients[name]) for name in ("bea", "alex"))
    answer = world.ask(world.edge, "cloudflare.test", [*bea, *alex])
    assert answer.status == 403 or answer.seen()["x-client-name"] == "bea"
    nobody = [("X-SSL-Client-SHA256", "0" * 64)]
    assert world.ask(world.edge, "cloudflare.test", [*nobody, *alex]).status == 403
    for profile in WHOLE:
        bea, alex = (world.said(profile, world.authority.clients[name]) for name in ("bea", "alex"))
        answer = world.ask(world.edge, host_of(profile), [*bea, *alex])
        assert answer.status == 403 or answer.seen()["x-client-name"] == "bea", profile


# --- a part of a site, the network alone, and direct sites ---


def test_public_part_gets_no_identity(world: EdgeWorld) -> None:
    said = [*world.said("nginx", world.authority.clients["alex"]), ("X-Forwarded-For", "9.9.9.9")]
    for peer in (world.edge, *world.peers.values()):
        answer = world.ask(peer, "shop.test", said, path="/x")
        assert answer.status == 200, answer
        seen = answer.seen()
        assert not [name for name in seen if name.startswith(("x-client", "x-ssl"))]
        assert seen["x-real-ip"] == ("9.9.9.9" if peer is world.edge else NEAR)
    far = world.ask(world.edge, "shop.test", said, path="/x", source=FAR).seen()
    assert (far["x-real-ip"], far["x-forwarded-for"]) == (FAR, FAR)


def test_the_network_alone_counts_where_that_was_asked_for(world: EdgeWorld) -> None:
    said = [*world.said("nginx", world.authority.clients["alex"]), ("X-Real-IP", VISITOR)]
    answer = world.ask(None, "near.test", said)
    assert (answer.status, answer.seen()["x-real-ip"]) == (200, VISITOR)
    reached = len(world.application.reached)
    assert refused(world, world.ask(None, "near.test", said, source=FAR), reached)
    assert refused(world, world.ask(None, "near.test", []), reached)


def test_direct_site_ignores_headers_of_an_edge(world: EdgeWorld) -> None:
    alex, reached = world.authority.clients["alex"], len(world.application.reached)
    said = [header for profile in PROFILES for header in world.said(profile, alex)]
    for peer in (None, world.edge, world.strangers["revoked"]):
        assert refused(world, world.ask(peer, "direct.test", said), reached)
    seen = world.ask(world.authority.clients["bea"], "direct.test", said).seen()
    assert seen["x-client-name"] == "bea"
    spoken = {name.lower() for name, _value in said} - {"x-edge-says", "x-edge-digest"}
    assert not spoken & set(seen)


def test_a_revocation_counts_at_once_on_connections_that_the_edge_keeps_too(world: EdgeWorld) -> None:
    dora = world.authority.clients["dora"]
    hosts = ["nginx.test", "azure.test"]
    with (
        socket.create_connection((NEAR, world.ports["edge"]), 10) as plain,
        world.context(dora).wrap_socket(plain, server_hostname="nginx.test") as kept,
    ):

        def again() -> bytes:
            kept.sendall(b"GET / HTTP/1.1\r\nHost: nginx.test\r\n\r\n")
            return kept.recv(65536)

        assert again().startswith(b"HTTP/1.1 200")
        assert [world.through(dora, host).status for host in hosts] == [200, 200]
        world.authority.revoked.append("dora")
        try:
            world.authority.publish()
            run = world.play(roles=("trust",))
            assert (run.code, run.changed) == (0, 1), run.output
            reached = len(world.application.reached)
            assert again().startswith(b"HTTP/1.1 403")
            assert all(refused(world, world.through(dora, host), reached) for host in hosts)
        finally:
            world.authority.revoked.remove("dora")
            world.authority.publish()
            back = world.play(roles=("trust",))
    assert back.code == 0, back.output
    assert [world.through(dora, host).status for host in hosts] == [200, 200]


def test_old_publication_admits_no_client_by_a_whole_certificate(world: EdgeWorld) -> None:
    alex = world.authority.clients["alex"]

    def publish(*untold: str) -> None:
        world.authority.untold = untold
        world.authority.publish()
        run = world.play(roles=("trust",))
        assert run.code == 0, run.output

    try:
        publish("der", "subject")
        reached = len(world.application.reached)
        for profile in WHOLE:
            assert refused(world, world.ask(world.edge, host_of(profile), world.said(profile, alex)), reached), profile
        seen = world.ask(world.edge, "haproxy.test", world.said("haproxy", alex)).seen()
        assert (seen["x-client-name"], seen.get("x-client-dn")) == ("alex", None)
        # The certificate alone does, as its digest is that of the same one.
        publish("sha256", "subject")
        for profile in (*WHOLE, "haproxy"):
            answer = world.ask(world.edge, host_of(profile), world.said(profile, alex))
            assert (answer.status, answer.seen()["x-client-name"]) == (200, "alex"), profile
    finally:
        publish()


def test_only_the_maps_that_a_site_needs_are_read(world: EdgeWorld) -> None:
    """They are the largest ones, and nginx keeps what it reads in memory."""
    text = next(text for path, text in world.rendered().items() if path.match("gates/*/http.conf"))
    included = re.findall(r"^include quietdoor/trust/(edge\S*);", text, re.MULTILINE)
    assert included == ["edge.conf", "edge-certificate.conf", "edge-certificate-pem.conf"]
    sites = [site for site in world.sites if site["name"] in ("nginx", "haproxy", "rfc9440")]
    for number, expected in ((2, included[:1]), (3, included[:2])):
        run = world.play("--check", "--diff", roles=("gate",), gate_sites=sites[:number])
        assert run.code == 0, run.output
        removed = re.findall(r"-include quietdoor/trust/(edge\S*);", run.output)
        assert [name for name in included if name not in removed] == expected


# --- each guard alone ---


@dataclass(frozen=True)
class Mutant:
    """A guard that is taken out, and the attack that then gets in."""

    file: str
    old: str
    new: str
    attack: str


MUTANTS = {
    "the list of networks": Mutant(
        "sites/nginx.conf", r"_edge_near \{\n    default 0", "_edge_near {\n    default 1", "the edge from elsewhere"
    ),
    "the list of networks, where nothing else counts": Mutant(
        "sites/near.conf",
        r"_edge_near \{\n    default 0",
        "_edge_near {\n    default 1",
        "a listed network, from elsewhere",
    ),
    "whose certificate it is": Mutant(
        "sites/nginx.conf", r":\(\?:01\|1\[01\]\)\\z", ":", "another certificate of that CA, nginx.test"
    ),
    "that it shows a certificate": Mutant(
        "sites/shop.conf", r"SUCCESS:0:\(\?:01\|1\[01\]\)\\z", "", "no certificate, shop.test"
    ),
    "what verify says": Mutant(
        "sites/nginx.conf", r"_edge_claim \{\n    default bad", "_edge_claim {\n    default good", "verify failed"
    ),
    "verify as it is written": Mutant("sites/nginx.conf", r"~\^1:SUCCESS", "~*^1:SUCCESS", "verify in lower case"),
    "verify as a whole": Mutant("sites/nginx.conf", r'(?<="~\^1:SUCCESS)\\\\z', "", "verify and more"),
    "verify of HAProxy": Mutant(
        "sites/haproxy.conf",
        r"_edge_claim \{\n    default bad",
        "_edge_claim {\n    default good",
        "not verified, haproxy",
    ),
    "that an entry is there": Mutant(
        "gates/*/http.conf", r"1:good:0:\." + '" cert', '1:good:0:" cert', "an unlisted serial"
    ),
    "who was revoked": Mutant("gates/*/http.conf", r'good:0:\." cert', 'good:[01]:." cert', "denied and listed"),
    "the issuer": Mutant(
        "trusts/*/edge.conf", r"_edge_issuer \{\n    default 0", "_edge_issuer {\n    default 1", "a foreign issuer"
    ),
    "the issuer as a whole": Mutant("trusts/*/edge.conf", r"\\\\z\" 1;", '" 1;', "an issuer and more"),
    "the digest as a whole": Mutant(
        "trusts/*/edge.conf", r"=\\\\k<quietdoor_edge_hex>=", "=[0-9a-f]{64}=", "another last digit, haproxy"
    ),
    "the digest in Base64 as a whole": Mutant(
        "trusts/*/edge.conf", r"43\}\)=\\\\k<quietdoor_edge_text>=", "43})=[^=]+=", "in another case, google"
    ),
    "one element of XFCC": Mutant(
        "sites/envoy.conf", r'\\\\z" \$quietdoor_edge_digest', '" $quietdoor_edge_digest', "envoy, two elements"
    ),
    "the certificate as a whole": Mutant(
        "trusts/*/edge-certificate.conf", r":\\\\k<quietdoor_edge_own>:", ":[^:]*:", "one letter is another, rfc9440"
    ),
    "the certificate with its case": Mutant(
        "trusts/*/edge-certificate.conf",
        r'"~\^\(\?<quietdoor_edge_own>',
        '"~*^(?<quietdoor_edge_own>',
        "one letter in another case, traefik",
    ),
    "the certificate from its beginning": Mutant(
        "trusts/*/edge-certificate.conf",
        r":\\\\k<quietdoor_edge_own>:",
        r":[^:]*\\k<quietdoor_edge_own>:",
        "without its beginning, rfc9440",
    ),
    "the escaped certificate as a whole": Mutant(
        "trusts/*/edge-certificate-pem.conf",
        r":\\\\k<quietdoor_edge_own>:",
        ":[^:]*:",
        "one letter is another, ingress_nginx",
    ),
    "one certificate of RFC 9440": Mutant(
        "sites/rfc9440.conf", r':\\\\z" (?=\$quietdoor_edge_certificate)', ':" ', "two in a list, rfc9440"
    ),
    "the visitor's own certificate of a chain": Mutant(
        "sites/traefik.conf",
        r"good:(?=\(\?<quietdoor_edge_certificate_0>)",
        "good:(?:[^,]*,)?",
        "behind somebody else's, traefik",
    ),
    "two headers with a chain": Mutant(
        "sites/traefik.conf", r"(?<=\(\?:,\[A-Za-z0-9\+/=,)\](?=\+\+)", " ]", "a chain twice, traefik"
    ),
    "verify of ingress-nginx": Mutant(
        "sites/ingress-nginx.conf",
        r"_edge_claim \{\n    default bad",
        "_edge_claim {\n    default good",
        "not verified, ingress_nginx",
    ),
    "underscores": Mutant(
        "sites/nginx.conf", "underscores_in_headers off", "underscores_in_headers on", "names with underscores"
    ),
}


@pytest.mark.parametrize("guard", MUTANTS)
def test_attack_succeeds_without_its_guard(world: EdgeWorld, guard: str) -> None:
    mutant, whole = MUTANTS[guard], world.rendered()
    texts = {path: text for path, text in whole.items() if path.match(mutant.file)}
    found = {path: re.subn(mutant.old, lambda _match: mutant.new, text) for path, text in texts.items()}
    assert sum(count for _text, count in found.values()), "the guard is not there, so this would test nothing"
    known = attacks(world)
    google = world.said("google", world.authority.clients["alex"])
    known["in another case, google"] = Attack(
        [google[0], (google[1][0], google[1][1].swapcase())], world.edge, host="google.test"
    )
    attack = known[mutant.attack]

    def tried() -> int:
        return world.ask(
            attack.peer, attack.host, attack.headers, path="/admin/", source=attack.source, sni=attack.sni
        ).status

    assert tried() == 403
    try:
        world.serve({path: text for path, (text, _count) in found.items()})
        assert tried() == 200
    finally:
        world.serve(whole)
    assert tried() == 403


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("snippets/nginx-proxy.conf", r"proxy_set_header X-SSL-Client-Serial \"\";\n", ""),
        ("snippets/custom-proxy.conf", r"proxy_set_header X-Edge-Digest \"\";\n", ""),
        ("snippets/rfc9440-proxy.conf", r"proxy_set_header Client-Cert \"\";\n", ""),
    ],
)
def test_without_its_line_a_header_of_the_edge_would_arrive(world: EdgeWorld, file: str, old: str, new: str) -> None:
    profile, whole = file.partition("/")[2].partition("-")[0], world.rendered()
    said = world.said(profile, world.authority.clients["alex"])

    def arrived() -> set[str]:
        seen = world.ask(world.edge, host_of(profile), said).seen()
        return {name.lower() for name, _value in said} & set(seen)

    assert arrived() == set()
    try:
        world.serve({path: re.sub(old, new, text) for path, text in whole.items() if path.match(file)})
        assert len(arrived()) == 1
    finally:
        world.serve(whole)


def test_header_would_set_the_address_without_its_map(world: EdgeWorld) -> None:
    whole = world.rendered()
    forged = [("X-Forwarded-For", "9.9.9.9")]

    def address(source: str) -> str:
        return world.ask(None, "shop.test", forged, path="/x", source=source).seen()["x-real-ip"]

    assert (address(NEAR), address(FAR)) == (NEAR, FAR)
    try:
        texts = {path: text for path, text in whole.items() if path.match("sites/shop.conf")}
        world.serve(
            {path: text.replace("default $realip_remote_addr", "default $remote_addr") for path, text in texts.items()}
        )
        assert (address(NEAR), address(FAR)) == ("9.9.9.9", FAR)
        world.serve(
            {
                path: re.sub(r"set_real_ip_from [^;]+;", "", text).replace(
                    "default $realip_remote_addr", "default $remote_addr"
                )
                for path, text in texts.items()
            }
        )
        assert address(FAR) == "9.9.9.9", "what the machine is used to would hold"
    finally:
        world.serve(whole)


# --- what a person gets wrong ---


def test_a_mistake_is_named_and_changes_nothing(world: EdgeWorld) -> None:
    before = world.generations("direct.test")
    first = world.sites[0]
    for change, named in (
        ({"trusted_proxies": ["0.0.0.0/0"]}, "site nginx: trusted_proxies: 0.0.0.0/0 contains every address"),
        (
            {
                "edge": {**first["edge"], "profile": "custom", "headers": {"verify": "X-V"}},
                "allow": {"names": ["alex"]},
            },
            "site nginx: edge: headers: no header identifies the certificate",
        ),
        ({"edge": {**first["edge"], "certificate_authority": "/nowhere.pem"}}, "/nowhere.pem"),
    ):
        run = world.play(roles=("gate",), gate_sites=[{**first, **change}, *world.sites[1:]])
        assert run.code != 0
        assert named in run.output, run.output
    assert world.generations("direct.test") == before


def test_the_answer_is_json(world: EdgeWorld) -> None:
    """The reader of answers in this file is simple: it is looked at with an answer that is known."""
    answer = world.ask(world.edge, "nginx.test", world.said("nginx", world.authority.clients["alex"]), path="/known")
    assert json.loads(answer.body)["path"] == "/known"
