# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A root above the authority, and an authority's end of life, from end to end on a real nginx."""

from __future__ import annotations

import secrets
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from ansible_collections.quietdoor.mtls.plugins.module_utils._clients import revoke
from ansible_collections.quietdoor.mtls.plugins.module_utils._common import timestamps
from cryptography import x509
from support.lab import Lab, built, curl

if TYPE_CHECKING:
    from collections.abc import Iterator

REVOKE = "quietdoor.mtls.revoke"
ROOT_PASSPHRASE = "root-passphrase-of-a-test"


@pytest.fixture
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    seed = secrets.randbelow(10**9)
    print(f"seed {seed}")
    # nginx's workers run as another user and have to reach the directory.
    with built(tmp_path_factory.mktemp("lab"), seed, clients=3, sites=1) as made:
        made.variables["rollout_probe_server_ca"] = str(made.root / "tls" / f"{made.sites[0].name}.crt")
        for client in made.roster:
            client["valid_for"] = "365d"
        yield made


def applied(lab: Lab, *arguments: str, **overrides: object) -> int:
    """Run a playbook, site if nothing else is said, which has to succeed; return how many tasks changed something."""
    run = lab.play(*arguments, **overrides)
    assert run.code == 0, run.output[-6000:]
    assert ROOT_PASSPHRASE not in run.output
    return run.changed


def refused(lab: Lab, *says: str, **overrides: object) -> None:
    """Run site, which has to fail with these words and change nothing that nginx believes."""
    before = trust(lab)
    run = lab.play(**overrides)
    assert run.code != 0
    for words in says:
        assert words in run.output, run.output[-6000:]
    assert trust(lab) == before


def trust(lab: Lab) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (lab.nginx.prefix / "quietdoor" / "trust").iterdir()}


def pair(authority: Path, name: str) -> tuple[Path, Path]:
    """A client's certificate and key, as files that stay when it gets others."""
    directory = authority / "clients" / name
    return (directory / f"{name}.crt").resolve(), (directory / f"{name}.key").resolve()


def status(lab: Lab, certificate: tuple[Path, Path]) -> int:
    return curl(lab.sites[0], lab, "--cert", str(certificate[0]), "--key", str(certificate[1]))[0]


def strictly_verified(lab: Lab, certificate: tuple[Path, Path]) -> bool:
    """Return the result of openssl for a certificate with only the publication."""
    public = Path(lab.variables.get("authority_publish_path", f"{lab.authority}-publication"))
    argv = ["openssl", "verify", "-x509_strict", "-crl_check_all", "-purpose", "sslclient", "-no-CApath"]
    argv += ["-CAfile", str(public / "ca.pem"), "-CRLfile", str(public / "crl.pem"), str(certificate[0])]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


def probed(lab: Lab, **expected: str) -> None:
    """Ask the gate with gate_probe, as clients that send their whole chain; ``expected`` says cert or deny by client."""
    files = {name: lab.authority / "clients" / name / name for name in expected}
    options = {
        "url": lab.sites[0].url,
        "address": "127.0.0.1",
        "server_ca": str(lab.root / "tls" / f"{lab.sites[0].name}.crt"),
        "client_ca": f"{lab.authority}-publication/ca.pem",
        "clients": [
            {"name": name, "certificate": f"{files[name]}.chain.pem", "key": f"{files[name]}.key", "expect": expect}
            for name, expect in expected.items()
        ],
    }
    play = lab.root / "probe.yml"
    tasks = [{"quietdoor.mtls.gate_probe": options}]
    play.write_text(yaml.safe_dump([{"hosts": "mtls_web", "gather_facts": False, "tasks": tasks}]))
    applied(lab, playbook=str(play))


def test_a_root_that_goes_offline(lab: Lab) -> None:
    root = Path(f"{lab.authority}-root")
    lab.variables.update(
        authority_issuing={"common_name": "Issuing", "key": {"type": "ecdsa"}},
        authority_root_passphrase=ROOT_PASSPHRASE,
    )
    assert applied(lab, "--check") > 4
    assert not root.exists()
    assert applied(lab, "--diff", "-vvv") > 4
    assert applied(lab) == 0
    first = pair(lab.authority, lab.roster[0]["name"])
    assert (status(lab, first), strictly_verified(lab, first)) == (200, True)

    root.rename(lab.root / "safe")
    assert applied(lab) == 0
    assert applied(lab, "--check") == 0
    lab.roster.append({"name": "new"})
    lab.roster[1]["state"] = "revoked"
    gone, new = pair(lab.authority, lab.roster[1]["name"]), lab.authority / "clients"
    assert applied(lab) > 0
    assert [status(lab, one) for one in (first, gone, pair(new.parent, "new"))] == [200, 403, 200]
    probed(lab, **{lab.roster[0]["name"]: "cert", "new": "cert", lab.roster[1]["name"]: "deny"})
    renewing = {**lab.variables["authority_issuing"], "renew": "same_key", "valid_for": "3000d"}
    refused(lab, "Issuing", f"{root}, which is not on this host", authority_issuing=renewing)

    copy = lab.authority / "crl" / "issuers.crl.pem"
    kept = copy.read_bytes()
    copy.unlink()
    refused(lab, lab.variables["authority_root"]["common_name"][:3], "cannot be published: there is none")
    copy.write_bytes(kept)
    assert applied(lab) == 1

    (lab.root / "safe").rename(root)
    issuing = revoke.Target(certificate=str(lab.authority / "certs" / "ca.cert.pem"))
    revoke.revoke(str(root), issuing, "CACompromise", timestamps.now(), check_mode=False)
    run = lab.play()
    assert run.code == 0, run.output
    assert "has revoked CN=Issuing" in run.output
    assert (status(lab, first), strictly_verified(lab, first)) == (403, False)


def revoked(lab: Lab, name: str) -> str:
    """Revoke a client with playbook revoke, which has to prove it; return what it wrote."""
    predicted = lab.play("-e", f"revoke_client={name}", "--check", playbook=REVOKE)
    assert predicted.code == 0, predicted.output[-6000:]
    assert predicted.changed >= 3, "revocation, CRL, publication"
    run = lab.play("-e", f"revoke_client={name}", playbook=REVOKE)
    assert run.code == 0, run.output[-6000:]
    assert "openssl verify with the published bundle: certificate revoked" in run.output
    assert "on the published list of denied serials: yes" in run.output
    again = lab.play("-e", f"revoke_client={name}", playbook=REVOKE)
    assert (again.code, again.changed) == (0, 0), again.output[-6000:]
    return run.output


def request(lab: Lab, name: str) -> Path:
    """The CSR of a client that makes its own key, in a file beside it."""
    base = lab.root / f"{name}-own"
    command = ["openssl", "req", "-new", "-nodes", "-subj", "/CN=x", "-newkey", "ec", "-pkeyopt"]
    command += ["ec_paramgen_curve:P-256", "-keyout", f"{base}.key", "-out", f"{base}.csr"]
    subprocess.run(command, check=True, capture_output=True)
    return Path(f"{base}.csr")


def crl_number(lab: Lab) -> int:
    """The number of the first CRL that nginx has."""
    crl = x509.load_pem_x509_crl(trust(lab)["crl.pem"])
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def test_revocations_below_a_root_that_is_away(lab: Lab) -> None:
    """Revoke a client whose key is here and a client whose key never was; the next runs keep both revocations."""
    root = Path(f"{lab.authority}-root")
    csr = request(lab, "own")
    # The slash at the end must not change the paths that are derived from this one or compared with it.
    lab.variables["authority_path"] = f"{lab.authority}/"
    lab.variables.update(
        authority_issuing={"common_name": "Issuing", "key": {"type": "ecdsa"}},
        authority_root_passphrase=ROOT_PASSPHRASE,
    )
    lab.roster.append({"name": "own", "csr": str(csr)})
    applied(lab)
    root.rename(lab.root / "safe")
    stays, gone = (pair(lab.authority, client["name"]) for client in lab.roster[:2])
    own = (lab.client("own", "crt").resolve(), csr.with_suffix(".key"))
    assert [status(lab, one) for one in (stays, gone, own)] == [200, 200, 200]

    revoked(lab, lab.roster[1]["name"])
    assert [status(lab, one) for one in (stays, gone, own)] == [200, 403, 200]
    assert "Without the private key, which is not here" in revoked(lab, "own")
    assert [status(lab, one) for one in (stays, gone, own)] == [200, 403, 403]

    # The CSR is still on the roster, and holds up nobody.
    lab.roster[1]["state"] = "revoked"
    lab.roster.append({"name": "new"})
    run = lab.play()
    assert run.code == 0, run.output[-6000:]
    assert "client own: it gets no new certificate" in run.output
    assert [status(lab, one) for one in (stays, own, pair(lab.authority, "new"))] == [200, 403, 200]

    # A mistake on the roster stops neither CRL nor trust, and is told at the end.
    lab.roster.append({"name": "own-too", "csr": str(csr)})
    number = crl_number(lab)
    run = lab.play(authority_crl_valid_for="40d", authority_crl_renew_before="31d")
    assert run.code != 0
    assert "client own-too: its csr has the same key as that of own" in run.output
    assert run.failed == 1
    assert crl_number(lab) == number + 1
    assert status(lab, stays) == 200


def test_a_ca_that_ends(lab: Lab) -> None:
    """Renewed with the same key, then replaced by a successor."""
    applied(lab)
    name = lab.roster[0]["name"]
    old = pair(lab.authority, name)
    ca = lab.authority / "certs" / "ca.cert.pem"
    former = ca.read_bytes()
    lab.variables["authority_root"].update(renew="same_key", valid_for="3700d")
    predicted = applied(lab, "--check")
    assert applied(lab) == predicted == 4, "CA, chains, publication, trust"
    assert former.decode() not in lab.client(name, "chain.pem").read_text()
    assert applied(lab) == 0
    assert ca.read_bytes() != former
    assert (status(lab, old), strictly_verified(lab, old)) == (200, True)

    before = lab.authority
    lab.variables["authority_predecessors"] = [
        {"path": str(before), "passphrase": lab.variables["authority_passphrase"]}
    ]
    publication = f"{before}-publication"
    lab.authority = lab.root / "successor"
    lab.variables.update(
        authority_path=str(lab.authority), authority_publish_path=publication, authority_passphrase=ROOT_PASSPHRASE
    )
    refused(lab, "have the same name")
    lab.variables["authority_root"] = {"common_name": "Successor", "key": {"type": "ecdsa"}}
    assert not lab.authority.exists()
    applied(lab)
    assert applied(lab) == 0
    new = pair(lab.authority, name)
    assert [status(lab, one) for one in (old, new)] == [200, 200]
    gone = pair(before, lab.roster[1]["name"]), pair(lab.authority, lab.roster[1]["name"])
    assert [status(lab, one) for one in gone] == [200, 200]
    both = pair(before, lab.roster[2]["name"]), pair(lab.authority, lab.roster[2]["name"])
    assert [status(lab, one) for one in both] == [200, 200]
    revoked(lab, lab.roster[2]["name"])
    assert [status(lab, one) for one in (*both, *gone, old, new)] == [403, 403, 200, 200, 200, 200]

    # A predecessor whose key does not open keeps no revocation back. That its CRL is due fails the run at its end.
    lab.roster[1]["state"] = "revoked"
    run = lab.play(authority_predecessors=[{"path": str(before), "passphrase": "wrong"}])
    assert run.code != 0
    assert "authority_predecessors: a CRL was not renewed" in run.output
    assert f"The CRL {before}/crl/ca.crl.pem cannot be published: revoked since" in run.output
    assert [status(lab, one) for one in (*gone, old, new)] == [403, 403, 200, 200]
    applied(lab)

    # Nor does one whose medium is not there, of which everything that was published stays.
    stays = pair(before, lab.roster[0]["name"])
    lab.roster.append({"name": "late"})
    applied(lab)
    before.rename(lab.root / "away")
    run = lab.play("-e", "revoke_client=late", playbook=REVOKE)
    assert run.code != 0, "it fails at its end"
    assert f"The predecessor {before} is not here" in run.output
    assert "on the published list of denied serials: yes" in run.output
    away = tuple(lab.root / "away" / path.relative_to(before) for path in stays)
    assert [status(lab, one) for one in (pair(lab.authority, "late"), away, new)] == [403, 200, 200]
    (lab.root / "away").rename(before)

    for client in lab.roster[1:]:
        client["state"] = "revoked"
    predicted = applied(lab, "--check")
    assert applied(lab) == predicted > 0
    assert [status(lab, one) for one in (*gone, old, new)] == [403, 403, 200, 200]

    run = lab.play(authority_client_overlap="0s")
    assert run.code == 0, run.output
    assert "no valid certificates any more. Remove it from predecessors" in run.output
    assert [status(lab, one) for one in (*gone, old, new)] == [403, 403, 403, 200]
    lab.variables["authority_predecessors"] = []
    assert applied(lab) > 0
    assert applied(lab) == 0
    assert [status(lab, one) for one in (old, new)] == [403, 200]
