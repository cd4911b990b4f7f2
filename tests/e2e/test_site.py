# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook site from end to end, on an inventory made up at random: names, ports, keys, ten clients, two sites."""

from __future__ import annotations

import hashlib
import json
import secrets
import socket
import ssl
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID
from support.client import eventually, log_lines
from support.lab import Lab, built, curl, make_certificate, seen, write_pair

if TYPE_CHECKING:
    from collections.abc import Iterator

STATUS_PATH = "/.well-known/quietdoor"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab to which site has been applied twice; the first and the second run are remembered."""
    seed = secrets.randbelow(10**9)
    print(f"seed {seed}")
    # nginx's workers run as another user and have to reach the directory.
    root = tmp_path_factory.mktemp("lab")
    with built(root, seed) as lab:
        lab.predicted = lab.play("--check")
        lab.first = lab.play("--diff", "-vvv")
        lab.second = lab.play()
        yield lab


def test_check_mode_on_an_empty_machine_predicts_changes_and_makes_none(lab: Lab) -> None:
    assert lab.predicted.code == 0, lab.predicted.output
    assert lab.predicted.changed >= 4


def test_first_run_succeeds(lab: Lab) -> None:
    assert lab.first.code == 0, lab.first.output[-6000:]
    assert lab.first.changed > 0


def test_second_run_changes_nothing(lab: Lab) -> None:
    assert (lab.second.code, lab.second.changed) == (0, 0), lab.second.output


def test_check_mode_then_predicts_nothing(lab: Lab) -> None:
    again = lab.play("--check", "--diff")
    assert (again.code, again.changed) == (0, 0), again.output


@pytest.mark.parametrize("playbook", ["site", "trust", "rollout", "confirm", "rollback", "revoke", "backup"])
def test_former_name_of_a_variable_stops_every_playbook_at_its_first_task(lab: Lab, playbook: str) -> None:
    before = lab.digest()
    given = json.dumps({"rollout_canary": "x", "gate_other_ways": "refuse"})
    run = lab.play("-e", given, playbook=f"quietdoor.mtls.{playbook}")
    message = " ".join(run.output.split())
    assert run.code != 0, run.output
    assert message.count("TASK [") == 1, run.output
    assert message.count("rollout_canary is now rollout_probe_client (set for ") == 1, run.output
    assert "gate_other_ways: refuse is now gate_on_bypass: fail (set for " in message
    assert lab.digest() == before


def test_no_secret_in_the_most_talkative_output(lab: Lab) -> None:
    assert "PRIVATE KEY" not in lab.first.output
    assert lab.variables["authority_passphrase"] not in lab.first.output
    for client in lab.roster:
        passphrase = lab.client(client["name"], "passphrase").read_text().strip()
        assert passphrase not in lab.first.output


def test_every_client_is_admitted_everywhere_with_its_identity(lab: Lab) -> None:
    for client in lab.roster:
        for site in lab.sites:
            crt, key = lab.client(client["name"], "crt"), lab.client(client["name"], "key")
            status, body = curl(site, lab, "--cert", str(crt), "--key", str(key))
            assert status == 200, (client, body)
            headers = seen(body)
            assert headers["X-Client-Verify"] == "SUCCESS"
            assert headers["X-Client-Name"] == client["name"]
            assert headers["X-Client-Email"] == client["email"][0]
            assert headers.get("X-Client-Roles", "") == ",".join(client["roles"])
            assert headers["X-Forwarded-Proto"] == "https"


def test_bundle_is_admitted(lab: Lab) -> None:
    for client in lab.roster[:3]:
        passphrase = lab.client(client["name"], "passphrase").read_text().strip()
        bundle = lab.client(client["name"], "p12")
        status, body = curl(lab.sites[0], lab, "--cert-type", "P12", "--cert", f"{bundle}:{passphrase}")
        assert status == 200, body


def test_openssl_s_client_is_admitted(lab: Lab) -> None:
    site, name = lab.sites[0], lab.roster[0]["name"]
    argv = ["openssl", "s_client", "-quiet", "-connect", f"127.0.0.1:{site.port}", "-servername", site.server_name]
    argv += ["-cert", str(lab.client(name, "crt")), "-key", str(lab.client(name, "key"))]
    request = f"GET / HTTP/1.1\r\nHost: {site.server_name}:{site.port}\r\nConnection: close\r\n\r\n"
    done = subprocess.run(argv, input=request.encode(), capture_output=True, check=False, timeout=20)
    assert b"HTTP/1.1 200" in done.stdout, done.stdout + done.stderr


# --- who must not get in ---


def _authority(lab: Lab) -> tuple[x509.Certificate, object]:
    certificate = x509.load_pem_x509_certificate((lab.authority / "certs" / "ca.cert.pem").read_bytes())
    passphrase = lab.variables["authority_passphrase"].encode()
    key = serialization.load_pem_private_key((lab.authority / "private" / "ca.key.pem").read_bytes(), passphrase)
    return certificate, key


def _unauthenticated_clients(lab: Lab, directory: Path) -> dict[str, tuple[Path, Path] | None]:
    authority = _authority(lab)
    valid = x509.load_pem_x509_certificate(lab.client(lab.roster[0]["name"], "crt").read_bytes())
    lookalike = make_certificate("", subject=authority[0].subject, is_ca=True, eku=None)
    foreign = make_certificate("Foreign CA", is_ca=True, eku=None)
    made = {
        "foreign": make_certificate("alex", issuer=foreign),
        "lookalike": make_certificate("", issuer=lookalike, subject=valid.subject, serial=valid.serial_number),
        "self-signed": make_certificate("", subject=valid.subject, serial=valid.serial_number),
        "expired": make_certificate("expired", issuer=authority, expired=True),
        "server-only": make_certificate("server", issuer=authority, eku=ExtendedKeyUsageOID.SERVER_AUTH),
    }
    return {"none": None, **{name: write_pair(directory / name, *pair) for name, pair in made.items()}}


def _ask(lab: Lab, port: int, sni: str | None, host: str, pair: tuple[Path, Path] | None) -> bytes:
    """Ask over TLS with whatever SNI and Host; an answer, or nothing where the handshake was refused."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if pair:
        context.load_cert_chain(*map(str, pair))
    try:
        with (
            socket.create_connection(("127.0.0.1", port), 10) as raw,
            context.wrap_socket(raw, server_hostname=sni) as tls,
        ):
            tls.sendall(
                f"GET /secret HTTP/1.1\r\nHost: {host}\r\nX-Client-Verify: SUCCESS\r\nConnection: close\r\n\r\n".encode()
            )
            return b"".join(iter(lambda: tls.recv(65536), b""))
    except ssl.SSLError:
        return b""


@pytest.mark.parametrize("who", ["none", "foreign", "lookalike", "self-signed", "expired", "server-only"])
def test_unauthenticated_clients_get_the_page(lab: Lab, tmp_path: Path, who: str) -> None:
    pair = _unauthenticated_clients(lab, tmp_path)[who]
    before = lab.reached()
    for site in lab.sites:
        certificate = ["--cert", str(pair[0]), "--key", str(pair[1])] if pair else []
        for method in (["-X", "GET"], ["-X", "POST", "-d", "x" * 20000], ["-X", "DELETE"]):
            status, body = curl(site, lab, *certificate, *method, "-H", "X-Client-Verify: SUCCESS")
            assert (status, "<html" in body) == (403, True), body
    assert lab.reached() == before


@pytest.mark.parametrize("who", ["none", "foreign", "lookalike", "self-signed", "expired", "server-only", "valid"])
def test_confused_names_never_reach_the_application(lab: Lab, tmp_path: Path, who: str) -> None:
    valid = lab.roster[0]["name"]
    pair = (
        (lab.client(valid, "crt"), lab.client(valid, "key"))
        if who == "valid"
        else _unauthenticated_clients(lab, tmp_path)[who]
    )
    one, other = lab.sites
    before = lab.reached()
    for port in (one.port, other.port):
        for sni, host in [
            (None, one.server_name),
            ("unknown.example", one.server_name),
            (None, other.server_name),
            ("unknown.example", "unknown.example"),
        ]:
            answer = _ask(lab, port, sni, host, pair)
            assert b"200 OK" not in answer.split(b"\r\n")[0]
    assert _ask(lab, one.port, one.server_name, other.server_name, pair).split(b" ")[1:2] != [b"200"]
    assert lab.reached() == before


# --- revoking ---


def _session(lab: Lab, version: ssl.TLSVersion, name: str) -> tuple[ssl.SSLContext, ssl.SSLSession | None]:
    site = lab.sites[0]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    context.load_cert_chain(str(lab.client(name, "crt")), str(lab.client(name, "key")))
    return context, _request(site.port, site.server_name, context, None)[1]


def _request(
    port: int, name: str, context: ssl.SSLContext, session: ssl.SSLSession | None
) -> tuple[bytes, ssl.SSLSession | None]:
    with (
        socket.create_connection(("127.0.0.1", port), 10) as raw,
        context.wrap_socket(raw, server_hostname=name, session=session) as tls,
    ):
        tls.sendall(f"GET / HTTP/1.1\r\nHost: {name}:{port}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: tls.recv(65536), b""))
        return answer, tls.session


def _generations(lab: Lab) -> dict[str, str]:
    site = lab.sites[0]
    argv = ["-o", "/dev/null", "-D", "-", "--request-target", STATUS_PATH]
    _status, headers = curl(site, lab, *argv)
    line = next(line for line in headers.splitlines() if line.lower().startswith("x-quietdoor-generation:"))
    return dict(part.split("=") for part in line.split(":")[1].split())


def test_revoked_client_is_refused_when_the_play_ends(lab: Lab) -> None:
    name = lab.roster[-1]["name"]
    sessions = {version: _session(lab, version, name) for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)}
    before, reached = _generations(lab), lab.reached()
    lab.roster[-1]["state"] = "revoked"
    predicted = lab.play("--check")
    run = lab.play()
    assert run.code == 0, run.output
    assert predicted.changed == run.changed == 4, "roster, CRL, publication, trust"
    site = lab.sites[0]
    status, body = curl(site, lab, "--cert", str(lab.client(name, "crt")), "--key", str(lab.client(name, "key")))
    assert (status, "<html" in body) == (403, True)
    for context, session in sessions.values():
        answer, _session_again = _request(site.port, site.server_name, context, session)
        assert b" 403 " in answer.split(b"\r\n")[0]
    assert lab.reached() == reached
    after = _generations(lab)
    assert after["gate"] == before["gate"], "a revocation is no change of the gate"
    assert int(after["trust"]) > int(before["trust"])
    assert lab.play().changed == 0


def test_log_has_the_client(lab: Lab) -> None:
    site, name = lab.sites[0], lab.roster[0]["name"]
    curl(site, lab, "--cert", str(lab.client(name, "crt")), "--key", str(lab.client(name, "key")))
    curl(site, lab)
    log = lab.nginx.prefix / f"quietdoor-{site.name}.log"

    def logged(verdict: str, client: str) -> bool:
        return any((line["verdict"], line["name"]) == (verdict, client) for line in map(json.loads, log_lines(log)))

    assert eventually(lambda: logged("cert", name))
    assert eventually(lambda: logged("deny", ""))


# --- what a person gets wrong ---

_CLIENTS = [
    ({"name": 'a; }"\n'}, "name"),
    ({"name": "x" * 10_000}, "name"),
    ({"name": "a", "email": ["none"]}, "e-mail"),
    ({"name": "a", "common_name": "evil\u202egnp"}, "common_name"),
    ({"name": "a", "valid_for": "soon"}, "valid_for"),
]


@pytest.mark.parametrize(("client", "named"), _CLIENTS)
def test_a_bad_client_is_refused_by_name_and_nothing_changes(lab: Lab, client: dict, named: str) -> None:
    before = lab.digest()
    run = lab.play(authority_roster=[*lab.roster, client])
    assert run.code != 0
    assert named in run.output
    assert "Traceback" not in run.output
    assert lab.digest() == before


def test_twins_are_refused(lab: Lab) -> None:
    before = lab.digest()
    run = lab.play(authority_roster=[*lab.roster, {"name": lab.roster[0]["name"].upper()}])
    assert run.code != 0
    assert "more than once" in run.output
    assert lab.digest() == before


@pytest.mark.parametrize("passphrase", ["wrong", ""])
def test_a_wrong_or_missing_passphrase_is_named(lab: Lab, passphrase: str) -> None:
    before = lab.digest()
    run = lab.play(authority_passphrase=passphrase)
    assert run.code != 0
    assert "passphrase" in run.output
    assert lab.digest() == before


def test_a_directory_that_is_no_authority_is_left_alone(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("irreplaceable")
    run = lab.play(authority_path=str(tmp_path))
    assert run.code != 0
    assert "thesis.txt" in run.output
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_new_authority_is_refused_by_a_host_that_trusts_another(lab: Lab, tmp_path: Path) -> None:
    """As on the machine of a colleague, who has the inventory and not the authority."""
    elsewhere, name = tmp_path / "authority", lab.roster[0]["name"]
    before = lab.digest()
    predicted = lab.play("--check", playbook="quietdoor.mtls.trust", authority_path=str(elsewhere))
    assert predicted.code != 0, predicted.output
    assert "would create another authority" in predicted.output
    assert not elsewhere.exists()
    run = lab.play(playbook="quietdoor.mtls.trust", authority_path=str(elsewhere))
    assert run.code != 0, run.output
    for path in (lab.authority, elsewhere):
        root = x509.load_pem_x509_certificate((path / "certs" / "ca.cert.pem").read_bytes())
        key = root.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        assert hashlib.sha256(key).hexdigest() in run.output
    assert "set trust_replace_anchor" in run.output
    # The other authority exists now, and its publication is what check mode refuses.
    again = lab.play("--check", playbook="quietdoor.mtls.trust", authority_path=str(elsewhere))
    assert again.code != 0
    assert "set trust_replace_anchor" in again.output
    assert lab.digest() == before
    for site in lab.sites:
        pair = ("--cert", str(lab.client(name, "crt")), "--key", str(lab.client(name, "key")))
        assert curl(site, lab, *pair)[0] == 200


def test_an_nginx_that_is_not_there_is_named(lab: Lab) -> None:
    before = lab.digest()
    run = lab.play(gate_nginx_binary="/nowhere/nginx", gate_nginx_test_argv=["/nowhere/nginx", "-t"])
    assert run.code != 0
    assert "/nowhere/nginx" in run.output
    assert lab.digest() == before


def test_a_port_taken_is_named_and_the_gate_stays_as_it_was(lab: Lab) -> None:
    before = lab.digest()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        sites = [site.entry for site in lab.sites]
        run = lab.play(gate_sites=[{**sites[0], "listen": [f"127.0.0.1:{port}"]}, *sites[1:]])
    assert run.code != 0
    assert str(port) in run.output
    assert lab.digest() == before
    name = lab.roster[0]["name"]
    status, _body = curl(
        lab.sites[0], lab, "--cert", str(lab.client(name, "crt")), "--key", str(lab.client(name, "key"))
    )
    assert status == 200
