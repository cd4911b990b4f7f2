# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sites with ``revocation: map`` on a real nginx: no ssl_crl, and still everything that a CRL would refuse is refused.

Beside them a site with ``revocation: crl``, so that every case is seen in both forms. (Playbook revoke proves itself in both in
test_revoke.py.)
"""

from __future__ import annotations

import datetime
import hashlib
import json
import socket
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._deploy.module_options import nginx_from
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.install import Request, install_trust
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from support.ca import DAY, NOW, Authority, Pair, make_pair, serial_of, subject_of
from support.client import eventually
from support.made_der import described
from support.nginx import NginxInstance, children, free_port
from support.probe import probe, red
from support.probe_rendered import CONTACT, DENIED, Rendered, application

if TYPE_CHECKING:
    from collections.abc import Iterator

HOSTS = {"door": "panel.test", "shop": "wiki.test", "limits": "late.test"}
LONG = (1 << 159) | 0xABC  # 20 bytes, of which DER makes 21
AGAIN = 0x7B  # a serial that two CAs give


@dataclass
class Hierarchy(Authority):
    """A root that issues as well, an issuing CA, and publications that say of each what was revoked."""

    root: Pair = None  # type: ignore[assignment]
    gone: dict[str, list[int]] = field(default_factory=lambda: {"issuing": [], "root": []})
    on_list: dict[str, list[int]] = field(default_factory=lambda: {"issuing": [], "root": []})
    crl_end: datetime.timedelta = 30 * DAY

    def publish(self) -> None:
        """Write the next generation: ``gone`` is in the CRLs, ``on_list`` in denied.json."""
        self.generation += 1
        cas = {"issuing": self.ca, "root": self.root}
        issuers = [
            {"id": number, "subject": subject_of(ca), "sha256": ca.certificate.fingerprint(hashes.SHA256()).hex()}
            for number, ca in enumerate(cas.values(), 1)
        ]
        people = [
            {
                "issuer": 2 if pair.certificate.issuer == self.root.certificate.subject else 1,
                "serial": serial_of(pair),
                "name": name,
                "common_name": name,
                "email": [f"{name}@example.org"],
                "roles": [],
                "not_after": "2030-01-01T00:00:00Z",
                **self._described(name, pair),
            }
            for name, pair in self.clients.items()
        ]
        denied = [
            {"issuer": number, "serial": _hex(serial), "reason": "unspecified", "revoked_at": "2026-01-01T00:00:00Z"}
            for number, name in enumerate(cas, 1)
            for serial in self.on_list[name]
        ]
        files = {
            "ca.pem": "".join(ca.crt.read_text() for ca in cas.values()),
            "crl.pem": "".join(self.crl(cas[name], self.gone[name]) for name in cas),
            "identities.json": json.dumps({"format": 1, "issuers": issuers, "identities": people}),
            "denied.json": json.dumps({"format": 1, "denied": denied}),
        }
        digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}
        files["trust.json"] = json.dumps({"format": 1, "generation": self.generation, "files": digests})
        self.path.mkdir(exist_ok=True)
        for name, text in files.items():
            (self.path / name).write_text(text)

    def _described(self, name: str, pair: Pair) -> dict[str, str]:
        """Return by what a certificate is known without its issuer and serial, and its name; of these it is not told."""
        if name in ("bea", "dora"):
            return {}
        return {**described(pair.certificate.public_bytes(serialization.Encoding.DER)), "subject": subject_of(pair)}

    def crl(self, ca: Pair, serials: list[int]) -> str:
        """Return the CRL of a CA."""
        number = x509.Extension(x509.CRLNumber.oid, False, x509.CRLNumber(self.generation))
        aki = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key())
        extensions = [number, x509.Extension(aki.oid, False, aki)]
        ends = [moment.replace(tzinfo=None) for moment in (NOW - 2 * DAY, NOW + self.crl_end)]
        entries = [x509.RevokedCertificateBuilder(serial, ends[0]).build() for serial in serials]
        builder = x509.CertificateRevocationListBuilder(ca.certificate.subject, *ends, extensions, entries)
        return builder.sign(ca.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def _hex(serial: int) -> str:
    text = f"{serial:X}"
    return text.zfill(len(text) + len(text) % 2)


def _with_long_serial(stem: Path, issuer: Pair) -> Pair:
    """A certificate with a serial of 160 bits, which the library does not make."""
    made = make_pair(stem, "long", issuer)
    request = subprocess.run(
        ["openssl", "req", "-new", "-key", str(made.pem), "-subj", "/CN=long"], check=True, capture_output=True
    ).stdout
    argv = ["openssl", "x509", "-req", "-CA", str(issuer.crt), "-CAkey", str(issuer.pem), "-days", "9"]
    argv += ["-set_serial", f"0x{LONG:X}", "-out", str(made.crt)]
    subprocess.run(argv, input=request, check=True, capture_output=True)
    return replace(made, certificate=x509.load_pem_x509_certificate(made.crt.read_bytes()))


def hierarchy(root: Path) -> Hierarchy:
    """Return two CAs and their clients; carl, rex and the odd serials of both kinds are revoked."""
    root.mkdir()
    top = make_pair(root / "root", "Test Root", is_ca=True, days=(-20, 90))
    issuing = make_pair(root / "issuing", "Test Issuing", top, is_ca=True, days=(-20, 90))
    clients = {name: make_pair(root / name, name, issuing) for name in ("alex", "bea", "carl", "dora", "emil")}
    clients["rex"] = make_pair(root / "rex", "rex", issuing, days=(-10, -2))
    clients["short"] = make_pair(root / "short", "short", issuing, serial=0x0A1B)
    clients["high"] = make_pair(root / "high", "high", issuing, serial=0xFF)
    clients["long"] = _with_long_serial(root / "long", issuing)
    clients["again"] = make_pair(root / "again", "again", issuing, serial=AGAIN)
    clients["direct"] = make_pair(root / "direct", "direct", top, serial=AGAIN)
    make_pair(root / "eve", "eve", issuing, days=(-10, -2))
    made = Hierarchy(root / "publication", issuing, clients, root=top)
    # Each of them in only one of the two places; the map holds both.
    made.gone["issuing"] = [clients[name].certificate.serial_number for name in ("carl", "short", "long", "again")]
    made.on_list["issuing"] = [clients[name].certificate.serial_number for name in ("rex", "high", "emil")]
    return made


class Doors(Rendered):
    """door is guarded whole and shop in part, both by map; limits is guarded whole, by CRL."""

    authority: Hierarchy

    def statuses(self, pair: Pair | None) -> list[int]:
        """Return what the guarded parts of the three sites answer."""
        return [self.get(pair, "/admin/x", host=host).status for host in HOSTS.values()]

    def reload(self) -> None:
        """Have nginx read what lies on the disk."""
        former = set(children(self.nginx.pid))
        self.nginx.reload()
        eventually(lambda: former.isdisjoint(children(self.nginx.pid)))

    def install(self) -> None:
        """Publish, and have nginx believe it."""
        self.authority.publish()
        texts = {path.name: path.read_text() for path in self.authority.path.iterdir()}
        request = Request(texts, datetime.timedelta(days=7), prove_timeout=60.0, keep=2)
        install_trust(
            nginx_from(self.nginx.options()), request, datetime.datetime.now(datetime.timezone.utc), check_mode=False
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    """The three sites, with both roles applied; http has a CRL of its own, of a CA that nobody knows and long past."""
    root = tmp_path_factory.mktemp("map")
    own = free_port(24350, 24369)
    ports = {"own": own, "shared": own, "plain": free_port(24370, 24379)}
    foreign = make_pair(root / "foreign-ca", "Foreign", is_ca=True)
    nobodys = Hierarchy(root, foreign, {}, root=foreign, crl_end=-DAY)
    (root / "nobodys.pem").write_text(nobodys.crl(foreign, []))
    idle = free_port(24390, 24399)
    inherited = f"ssl_crl {root}/nobodys.pem; server {{ listen 127.0.0.1:{idle}; }}"
    with application(root, free_port(24380, 24389)) as server, NginxInstance(root / "nginx", http=inherited) as nginx:
        world = Doors(root, nginx, ports, server, foreign)
        world.authority = hierarchy(root / "chain")
        listed = {"allow": {"names": ["alex", "bea", "carl", "direct"]}, "contact": CONTACT}
        by_map = {**listed, "revocation": "map"}
        world.sites = [
            world.site("door", ["panel.test"], own, **by_map, hsts=True, websocket=True),
            world.site("shop", ["wiki.test"], own, **by_map, mode="path", paths=["/admin"]),
            world.site("limits", ["late.test"], own, **listed),
        ]
        world.go_live()
        yield world


@pytest.fixture
def restored(world: Doors) -> Iterator[None]:
    """Brings trust back to what it was, except that its generation is a higher one."""
    before = {name: [*serials] for name, serials in world.authority.gone.items()}
    yield
    world.authority.gone = before
    world.install()


def test_forms_of_revocation_are_rendered_as_named(world: Doors) -> None:
    texts = {name: (world.nginx.prefix / f"quietdoor/gate/sites/{name}.conf").read_text() for name in HOSTS}
    assert [text.count("ssl_crl quietdoor/trust/crl.pem;") for text in texts.values()] == [0, 0, 1]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("alex", 200),
        ("direct", 200),  # the serial of a revoked client, but of another CA
        ("carl", 403),
        ("emil", 403),
        ("rex", 403),
        ("short", 403),
        ("high", 403),
        ("long", 403),
        ("again", 403),
        ("dora", 403),  # not on the list of those who may
    ],
)
def test_both_forms_judge_alike(world: Doors, name: str, expected: int) -> None:
    assert world.statuses(world.authority.clients[name]) == [expected] * 3


@pytest.mark.parametrize("name", ["alex", "bea", "direct"])
def test_identity_is_the_same_by_fingerprint_and_by_serial(world: Doors, name: str) -> None:
    """The publication contains only issuer and serial of bea; direct shares its serial with another client."""
    pair = world.authority.clients[name]
    issuer = world.authority.root if name == "direct" else world.authority.ca
    expected = {
        "x-client-dn": subject_of(pair),
        "x-client-serial": serial_of(pair),
        "x-client-fingerprint": pair.certificate.fingerprint(hashes.SHA1()).hex(),
        "x-client-issuer-dn": subject_of(issuer),
        "x-client-name": name,
        "x-client-email": f"{name}@example.org",
    }
    for site, host in HOSTS.items():
        headers = json.loads(world.get(pair, "/admin/echo", host=host).body)["headers"]
        seen = {header.lower(): value for header, (value,) in headers.items()}
        assert {header: seen.get(header) for header in expected} == expected, site


@pytest.mark.parametrize("name", ["short", "high", "long", "again", "carl", "emil", "rex"])
def test_revoked_client_gets_the_reason(world: Doors, name: str) -> None:
    """Also where nginx says something else: that the certificate has expired, or that all is well."""
    pair = world.authority.clients[name]
    for site, host in HOSTS.items():
        body = world.get(pair, "/admin/x", host=host).body
        assert "has been revoked" in body, (site, body)
    entry = eventually(lambda: [one for one in world.log("door") if one["serial"] == serial_of(pair)])[-1]
    assert (entry["verdict"], entry["reason"]) == ("deny", "revoked")


def test_public_part_stays_public_for_a_revoked_client(world: Doors) -> None:
    for name in ("carl", "rex", "long"):
        answer = world.get(world.authority.clients[name], "/echo", host="wiki.test")
        assert answer.status == 200
        assert not [header for header in json.loads(answer.body)["headers"] if header.lower().startswith("x-client-")]


# --- chains that a client brings along ---


def _chained(stem: Path, leaf: Pair, *cas: Pair) -> Pair:
    crt = stem.with_suffix(".chain.crt")
    crt.write_text("".join(one.crt.read_text() for one in (leaf, *cas)))
    return replace(leaf, crt=crt)


def test_ca_known_only_to_the_client_admits_no_client(world: Doors, tmp_path: Path) -> None:
    """Below our own root, unrevoked, and nobody's: without a CRL nothing but the depth of zero stops it."""
    other = make_pair(tmp_path / "other", "Other", world.authority.root, is_ca=True)
    alex = world.authority.clients["alex"]
    leaf = make_pair(tmp_path / "leaf", "alex", other, serial=alex.certificate.serial_number)
    assert world.statuses(_chained(tmp_path / "leaf", leaf, other)) == [403] * 3


def test_revoked_namesake_of_the_issuing_ca_admits_no_client(world: Doors, tmp_path: Path, restored: None) -> None:
    """Its former key was stolen and the root revoked it; the successor has the same name. To the map they look alike."""
    former = make_pair(tmp_path / "former", "Test Issuing", world.authority.root, is_ca=True)
    alex = world.authority.clients["alex"]
    leaf = make_pair(tmp_path / "leaf", "alex", former, serial=alex.certificate.serial_number)
    world.authority.gone["root"] = [former.certificate.serial_number]
    world.install()
    assert world.statuses(_chained(tmp_path / "leaf", leaf, former)) == [403] * 3
    assert world.statuses(_chained(tmp_path / "alex", alex, world.authority.ca)) == [200] * 3


def test_foreign_and_self_made_certificates_with_a_good_serial(world: Doors, tmp_path: Path) -> None:
    alex, number = world.authority.clients["alex"], world.authority.clients["alex"].certificate.serial_number
    foreign = make_pair(tmp_path / "foreign", "Test Issuing", is_ca=True)
    for pair in (
        make_pair(tmp_path / "a", "alex", foreign, serial=number),
        _chained(tmp_path / "b", make_pair(tmp_path / "b", "alex", foreign, serial=number), foreign),
        make_pair(tmp_path / "c", "alex", serial=number),
        make_pair(tmp_path / "d", "alex", alex, serial=number),
        _chained(tmp_path / "e", make_pair(tmp_path / "e", "alex", alex, serial=number), alex),
    ):
        assert world.statuses(pair) == [403] * 3


# --- what changes ---


@pytest.mark.parametrize("published", ["on the root's CRL", "in denied.json"])
def test_revoked_issuing_ca_revokes_its_certificates(world: Doors, restored: None, published: str) -> None:
    number = world.authority.ca.certificate.serial_number
    alex, direct = world.authority.clients["alex"], world.authority.clients["direct"]
    place = world.authority.gone if published == "on the root's CRL" else world.authority.on_list
    place["root"] = [number]
    try:
        world.install()
        assert world.statuses(alex) == [403] * 3
        assert world.statuses(_chained(world.root / "alex", alex, world.authority.ca)) == [403] * 3
        assert "has been revoked" in world.get(alex, "/admin/x").body
        assert world.statuses(direct) == [200] * 3
    finally:
        world.authority.on_list["root"] = []


def test_a_revocation_counts_on_connections_that_are_open(world: Doors, restored: None) -> None:
    bea = world.authority.clients["bea"]
    with (
        socket.create_connection(("127.0.0.1", world.ports["own"]), 10) as plain,
        world.context(bea).wrap_socket(plain, server_hostname="panel.test") as tls,
    ):
        request = b"GET /admin/x HTTP/1.1\r\nHost: panel.test\r\n\r\n"
        tls.sendall(request)
        assert tls.recv(65536).startswith(b"HTTP/1.1 200")
        world.authority.gone["issuing"].append(bea.certificate.serial_number)
        world.install()
        try:
            tls.sendall(request)
            later = tls.recv(65536)
        except OSError:
            later = b""
        assert not later.startswith(b"HTTP/1.1 200")
    assert world.statuses(bea) == [403] * 3


def test_expired_crl_changes_no_verdict(world: Doors, restored: None) -> None:
    live = (world.nginx.prefix / "quietdoor" / "trust").resolve() / "crl.pem"
    kept = live.read_text()
    lapsed = replace(world.authority, crl_end=-DAY)
    live.write_text("".join(lapsed.crl(ca, []) for ca in (lapsed.ca, lapsed.root)))
    try:
        world.reload()
        assert world.statuses(world.authority.clients["alex"]) == [200, 200, 403]
        assert world.statuses(world.authority.clients["carl"]) == [403] * 3
    finally:
        live.write_text(kept)


def test_a_publication_whose_crl_ends_soon_is_refused_in_this_form_too(world: Doors, restored: None) -> None:
    world.authority.crl_end = DAY
    try:
        world.authority.publish()
        run = world.play(roles=("trust",))
    finally:
        world.authority.crl_end = 30 * DAY
    assert run.code != 0
    assert "earlier than trust_min_remaining" in run.output


# --- the probe ---


def test_the_probe_finds_nothing(world: Doors, tmp_path: Path) -> None:
    for site in ("door", "shop"):
        (tmp_path / site).mkdir()
        outcome = probe(tmp_path / site, world.options(site))
        assert red(outcome) == set(), outcome["table"]


def test_probe_finds_that_only_the_map_decides(world: Doors, tmp_path: Path) -> None:
    world.rendered = world.original()
    world.serve((DENIED,))
    try:
        outcome = probe(tmp_path, world.options("door"))
    finally:
        world.serve(())
    assert red(outcome) == {"revoked", "friendly_page"}, outcome["table"]


# --- size ---


def test_a_hundred_thousand_revoked(world: Doors, restored: None) -> None:
    """They load, they are judged, and a worker holds less than 150 MiB with both the map and, for the third site, the CRL."""
    world.authority.gone["issuing"] += [(1 << 158) + 7919 * number for number in range(100_000)]
    world.install()
    assert world.statuses(world.authority.clients["alex"]) == [200] * 3
    assert world.statuses(world.authority.clients["carl"]) == [403] * 3
    workers = Path(f"/proc/{world.nginx.pid}/task/{world.nginx.pid}/children").read_text().split()
    rollup = Path(f"/proc/{workers[-1]}/smaps_rollup").read_text().splitlines()
    held = next(int(line.split()[1]) for line in rollup if line.startswith("Rss:")) / 1024
    print(f"{held:.0f} MiB")
    assert held < 150
