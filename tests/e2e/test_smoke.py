# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the roles trust and gate on the oldest and the newest nginx of Debian: admission, refusal, revocation, protected paths."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from support.app import Application
from support.ca import make_pair
from support.nginx import SMOKE_RELEASES, NginxInstance, free_port
from support.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module", params=SMOKE_RELEASES)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Apply both roles to a gate of mode host and one of mode path."""
    root = tmp_path_factory.mktemp("smoke")
    ports = {"own": free_port(25300, 25499), "shared": free_port(25500, 25699)}
    application = Application(free_port(25700, 25899))
    try:
        with NginxInstance(root / "nginx", version=request.param) as nginx:
            world = World(root, nginx, ports, application, make_pair(root / "foreign-ca", "Foreign", is_ca=True))
            path = world.site("path", ["wiki.test"], ports["shared"], mode="path", paths=["/admin"])
            world.sites = [world.sites[0], path]
            world.authority.publish()
            world.first = world.play("--diff")
            assert world.first.code == 0, world.first.output
            yield world
    finally:
        application.stop()


def test_smoke_nginx_is_the_release_and_reports_no_problem(world: World, request: pytest.FixtureRequest) -> None:
    said = subprocess.run([world.nginx.binary, "-v"], capture_output=True, text=True, check=True).stderr
    assert f"nginx/{request.node.callspec.params['world']}." in said
    tested = subprocess.run(world.nginx.test_argv, capture_output=True, text=True, check=True).stderr
    assert "[warn]" not in tested
    assert "[emerg]" not in world.nginx.error_log.read_text()


def test_smoke_second_run_changes_nothing(world: World) -> None:
    again = world.play("--check", "--diff")
    assert (again.code, again.changed) == (0, 0), again.output


def test_smoke_valid_certificate_is_admitted_with_its_identity(world: World) -> None:
    answer = world.get(world.authority.clients["alex"])
    assert (answer.status, answer.seen()["x-client-name"]) == (200, "alex")


def test_smoke_everybody_else_is_refused_with_the_reason(world: World) -> None:
    reached = len(world.application.reached)
    for who, pair in world.strangers.items():
        for path in ("/", "/x/%2e%2e//y;z"):
            answer = world.get(pair, path)
            assert (answer.status, answer.headers["x-quietdoor-verdict"]) == (403, "deny"), (who, path)
    assert len(world.application.reached) == reached


@pytest.mark.parametrize("path", ["/admin", "/admin/x", "//admin/", "/ADMIN/x", "/%61dmin", "/x/../admin/", "/admin;x"])
def test_smoke_protected_path_needs_a_certificate_in_every_spelling(world: World, path: str) -> None:
    reached = len(world.application.reached)
    answer = world.get(None, path, host="wiki.test", port="shared")
    assert answer.status == 403, answer
    assert len(world.application.reached) == reached
    assert world.get(None, "/public/page", host="wiki.test", port="shared").status == 200
    assert world.get(world.authority.clients["alex"], "/admin/x", host="wiki.test", port="shared").status == 200


def test_smoke_revoked_client_is_refused_after_the_next_run_of_trust(world: World) -> None:
    dora = world.authority.clients["dora"]
    assert world.get(dora).status == 200
    world.authority.revoked.append("dora")
    world.authority.publish()
    run = world.play(roles=("trust",))
    assert (run.code, run.changed) == (0, 1), run.output
    answer = world.get(dora)
    assert (answer.status, "has been revoked" in answer.body) == (403, True)
