# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook rollout on a server that was there before: a public panel is observed, closed on evidence, and opened again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.lab import Lab, built
from support.rollout import PROBE_CLIENT, QUICK, Poller, armed, rollout, status

if TYPE_CHECKING:
    from collections.abc import Iterator


def write_server(lab: Lab, *, lines: bool) -> None:
    """Write the operator's own server, with the lines of the gate or as it was before."""
    site = lab.sites[0]
    kinds = ("server", "location") if lines else ()
    line = {kind: f"include quietdoor/gate/snippets/{site.name}-{kind}.conf;" for kind in kinds}
    text = f"""
        server {{
            {line.get("server", "")}
            listen 127.0.0.1:{site.port} ssl;
            server_name {site.server_name};
            ssl_certificate {lab.root}/tls/{site.name}.crt;
            ssl_certificate_key {lab.root}/tls/{site.name}.key;
            location / {{
                {line.get("location", "")}
                proxy_pass {site.entry["upstream"]};
            }}
        }}
    """
    # Read after conf.d/quietdoor.conf.
    (lab.nginx.prefix / "conf.d" / "zz-own.conf").write_text(text)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab with one site in a server of the operator's, which is open to everybody."""
    with built(tmp_path_factory.mktemp("rollout"), 6, clients=2, sites=1) as lab:
        site = lab.sites[0]
        lab.roster = [{**client, "key": {"type": "ecdsa", "curve": "P-256"}} for client in lab.roster] + [PROBE_CLIENT]
        lab.variables.update(QUICK, rollout_probe_server_ca=str(lab.root / "tls" / f"{site.name}.crt"))
        site.entry = {key: site.entry[key] for key in site.entry if not key.startswith("certificate")}
        site.entry["manage"] = "snippets"
        write_server(lab, lines=False)
        lab.nginx.reload()
        done = lab.play(playbook="quietdoor.mtls.trust")
        assert done.code == 0, done.output
        yield lab


def test_a_jump_is_refused_and_so_is_a_window(lab: Lab) -> None:
    done = rollout(lab, "enforce")
    assert done.code != 0
    assert "that skips observe. Set stage: observe for site" in " ".join(done.output.split())
    done = rollout(lab, "fallback")
    assert done.code != 0
    assert "fallback is not possible with manage: snippets. Write stage: observe" in " ".join(done.output.split())
    del lab.sites[0].entry["window"]
    assert status(lab) == 200


def test_from_nothing_to_observe(lab: Lab) -> None:
    """First the files are placed, then the operator adds the lines, then it is proven."""
    with Poller(lab, None) as any_client:
        placed = rollout(lab, "observe")
        write_server(lab, lines=True)
        lab.nginx.reload()
        proven = rollout(lab, "observe")
    assert placed.code == 0, placed.output
    assert "as the first of the server at" in " ".join(placed.output.split())
    assert proven.code == 0, proven.output
    assert "nothing guards" not in " ".join(proven.output.split())
    again = rollout(lab, "observe")
    assert (again.code, again.changed) == (0, 0), again.output
    assert (any_client.refused, armed(lab)) == ([], False)
    assert any_client.asked > 3


def test_enforce_waits_for_confirmations(lab: Lab) -> None:
    assert status(lab, lab.roster[0]["name"]) == 200
    done = rollout(lab, "enforce", "-e", "rollout_confirmations=2")
    assert done.code != 0
    assert "1 of at least 2 people got in with a certificate" in " ".join(done.output.split())
    assert status(lab) == 200


def test_from_observe_to_enforce_and_back(lab: Lab) -> None:
    alex, bea = (client["name"] for client in lab.roster[:2])
    assert status(lab, bea) == 200
    with Poller(lab, alex) as certified:
        done = rollout(lab, "enforce", "-e", "rollout_confirmations=2", rollout_quiet_period="0s")
        assert done.code == 0, done.output
        assert status(lab) == 403
        back = lab.play(playbook="quietdoor.mtls.rollback")
    assert back.code == 0, back.output
    assert (status(lab), status(lab, alex)) == (200, 200)
    assert (certified.refused, armed(lab)) == ([], False)
    assert certified.asked > 3
