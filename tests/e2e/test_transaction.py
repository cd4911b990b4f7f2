# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules of a web host against a real nginx: what holds, what is refused, and what a killed run leaves."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._contracts.status_protocol import Answer
from support import programs
from support.nginx import RELEASES, NginxInstance, free_port
from support.transaction import NAME, PORTS, Ca, Pki, World, call, deadly, openssl, scratch_copies, script, start

pytestmark = pytest.mark.usefixtures("own_temporary_directory")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A server certificate with its key."""
    home = tmp_path_factory.mktemp("server")
    key, certificate, both = home / "key", home / "certificate", home / "server.pem"
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(key)]
    openssl("req", "-x509", *new, "-out", str(certificate), "-subj", f"/CN={NAME}", "-days", "30")
    both.write_text(certificate.read_text() + key.read_text())
    return both


@pytest.fixture(scope="module")
def first_pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """CAs that no test changes."""
    pki = Pki(tmp_path_factory.mktemp("pki") / "first").make()
    pki.add("alex", ["alex@ops.test", "o'x%y!z@ops.test"], ["admin", "ops"])
    return pki


@pytest.fixture
def version() -> str:
    """This machine's own nginx, unless a test asks for each of RELEASES."""
    return ""


each_version = pytest.mark.parametrize("version", RELEASES)


@pytest.fixture
def world(tmp_path: Path, first_pki: Pki, server: Path, version: str) -> Any:
    """A running nginx with trust, without a gate."""
    with NginxInstance(tmp_path / "nginx", version=version) as nginx:
        world = World(nginx, first_pki, free_port(*PORTS), server)
        assert world.trust(first_pki.publication(100))["action"] == "applied"
        yield world
        assert scratch_copies() == []


@pytest.fixture
def gated(world: World) -> World:
    """The same with a first generation live."""
    done = world.gate()
    assert done.get("action") == "applied", done
    return world


def ansible(world: World, module: str, options: dict[str, Any], *flags: str) -> tuple[dict[str, Any], str]:
    """Run a module through the ansible command; return its result and the whole output."""
    argv = ["localhost", "-i", "localhost,", "-c", "local", *flags]
    argv += ["-e", f"ansible_python_interpreter={programs.module_interpreter()}"]
    done = programs.ansible(*argv, "-m", f"quietdoor.mtls.{module}", "-a", json.dumps(options))
    found = re.search(r"localhost \| [A-Z]+!? => (\{.*^\})", done.stdout, re.DOTALL | re.MULTILINE)
    assert found, done.stdout + done.stderr
    return json.loads(found[1]), done.stdout


class TestGate:
    """Test the result of a change of the gate without a kill."""

    @each_version
    def test_through_ansible_check_run_check_run(self, world: World) -> None:
        """The four steps, through the ansible command."""
        candidate = world.candidate()
        options = {**world.nginx.options(), "candidate": candidate, "endpoints": [world.endpoint]}
        predicted, output = ansible(world, "gate_transaction", options, "--check", "--diff")
        assert predicted["changed"] is True
        assert predicted["action"] == "applied"
        assert predicted["generation"] == 1
        assert predicted["tested"] is True
        assert "+++ after: quietdoor/gate/sites/admin.conf" in output
        assert f"+                server_name {NAME};" in output
        assert world.told().gate is None

        done, _output = ansible(world, "gate_transaction", options)
        assert (done["changed"], done["action"], done["generation"], done["previous_generation"]) == (
            True,
            "applied",
            1,
            None,
        )
        assert done["sites"] == ["admin"]
        world.is_whole(1)

        for flags in (("--check",), ()):
            again, _output = ansible(world, "gate_transaction", options, *flags)
            assert (again["changed"], again["action"], again["generation"]) == (False, "unchanged", 1)
        world.is_whole(1)

    @each_version
    def test_change_keeps_serving(self, gated: World) -> None:
        """A second generation; the difference names the one file."""
        done = gated.gate(gated.candidate("two"))
        assert (done["action"], done["generation"], done["previous_generation"]) == ("applied", 2, 1)
        assert done["reason"] == "quietdoor/gate/sites/admin.conf differs"
        assert [entry["before_header"] for entry in done["diff"]] == ["quietdoor/gate/sites/admin.conf"]
        assert '"one"' in done["diff"][0]["before"]
        assert '"two"' in done["diff"][0]["after"]
        assert gated.get("/word") == "two"
        gated.is_whole(2)

    def test_check_mode_leaves_nothing(self, gated: World) -> None:
        """Not a file, not a time, not a scratch copy; and nginx is not reloaded."""
        before = gated.tree()
        for candidate in (gated.candidate("two"), {}, gated.candidate(extra="nonsense;")):
            gated.gate(candidate, _ansible_check_mode=True)
        assert gated.tree() == before
        gated.is_whole(1)

    def test_check_mode_on_an_untouched_nginx(self, tmp_path: Path, first_pki: Pki, server: Path) -> None:
        """Neither trust nor gate: nothing is created, and it says that nothing was tested."""
        with NginxInstance(tmp_path / "nginx") as nginx:
            world = World(nginx, first_pki, free_port(*PORTS), server)
            before = world.tree()
            done = world.gate(_ansible_check_mode=True)
            assert (done["changed"], done["tested"]) == (True, False)
            assert "not tested" in str(done["warnings"])
            assert world.trust(first_pki.publication(1), _ansible_check_mode=True)["changed"] is True
            assert world.tree() == before
            refused = world.gate()
            assert "No trust is installed" in refused["msg"]
            assert "trust_install" in refused["msg"]
            assert world.gate({})["changed"] is False

    @each_version
    def test_broken_candidate_is_refused(self, gated: World) -> None:
        """With nginx's words, in terms of the live paths, and nothing changed."""
        before = gated.tree()
        refused = gated.gate(gated.candidate(extra="proxy_pas http://127.0.0.1;"))
        assert 'unknown directive "proxy_pas"' in refused["msg"]
        assert f"{gated.nginx.prefix}/quietdoor/gate/sites/admin.conf:" in refused["msg"]
        assert "scratch-" not in refused["msg"]
        assert gated.tree() == before
        gated.is_whole(1)

    def test_candidate_reads_its_own_files_through_absolute_includes(
        self, tmp_path: Path, first_pki: Pki, server: Path
    ) -> None:
        """nginx.conf and a file elsewhere include by absolute paths: the copy reads none of the live files for them."""
        prefix, outside = tmp_path / "nginx", tmp_path / "outside"
        outside.mkdir()
        port = free_port(*PORTS)
        with NginxInstance(
            prefix, include=f"include '{prefix}/conf.d/*.conf'; # include {prefix}/conf.d/*.conf;"
        ) as nginx:
            world = World(nginx, first_pki, port, server)
            world.trust(first_pki.publication(100))
            candidate = {**world.candidate(), "snippets/admin-guard.conf": "# fine\n"}
            assert world.gate(candidate)["action"] == "applied"
            own = free_port(port + 1, PORTS[1])
            guard = f"include {prefix}/quietdoor/gate/snippets/admin-guard.conf;"
            (outside / "own.conf").write_text(f"server {{ listen 127.0.0.1:{own}; {guard} }}\n")
            (prefix / "conf.d" / "own.conf").write_text(f'include "{outside}/*.conf";\n')
            before = world.tree()
            refused = world.gate({**candidate, "snippets/admin-guard.conf": "no_such_directive;\n"})
            assert 'unknown directive "no_such_directive"' in refused["msg"]
            assert f"{prefix}/quietdoor/gate/snippets/admin-guard.conf:1" in refused["msg"]
            assert world.tree() == before
            assert world.gate({**candidate, "snippets/admin-guard.conf": "# fine, too\n"})["action"] == "applied"
            refused = world.gate({})
            assert "admin-guard.conf" in refused["msg"]
            world.is_whole(2)
            assert (outside / "own.conf").read_text().count("scratch") == 0

    def test_no_key_is_copied(self, gated: World, tmp_path: Path) -> None:
        """Keys beside nginx.conf are reached through a link by relative path; the copy is private and holds no text of theirs."""
        key = gated.nginx.prefix / "private.pem"
        shutil.copy(gated.server, key)
        spy = script(
            tmp_path / "spy",
            f"""
            case " $* " in *" -T "*)
                copy=$(dirname "$4")
                find "$copy" -type f >> {tmp_path}/files
                stat -c '%a' "$copy" >> {tmp_path}/modes
            esac
            exec {gated.nginx.binary} "$@"
            """,
        )
        candidate = {name: text.replace(str(gated.server), "private.pem") for name, text in gated.candidate().items()}
        done = gated.gate(candidate, test_argv=[str(spy), *gated.nginx.test_argv[1:]])
        assert done["action"] == "applied", done
        copied = {Path(line).name for line in (tmp_path / "files").read_text().splitlines()}
        assert copied == {"quietdoor.conf", "http.conf", "admin.conf", "manifest.json", "generation.conf"}
        assert (tmp_path / "modes").read_text() == "700\n"

    @each_version
    def test_port_taken(self, gated: World) -> None:
        """Another process holds it: refused before anything is switched, by the name of the process."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            before = gated.tree()
            refused = gated.gate(gated.candidate("two", extra=f"listen 127.0.0.1:{port};"))
        assert f"Port {port} on 127.0.0.1 is in use by process {os.getpid()} (" in refused["msg"]
        assert gated.tree() == before
        gated.is_whole(1)

    @each_version
    def test_reload_that_does_not_take(self, gated: World) -> None:
        """An address to the wildcard: nginx -t and -s reload succeed, and nginx stays with the old configuration."""
        refused = gated.gate(gated.candidate("two", listen=f"*:{gated.port}"))
        assert "does not serve gate generation 2" in refused["msg"]
        assert "reports gate generation 1" in refused["msg"]
        assert "Address already in use" in refused["msg"]
        assert "Reverted: nginx serves gate generation 1 again" in refused["msg"]
        assert gated.generations() == [1]
        gated.is_whole(1)
        assert gated.gate(gated.candidate("three"))["generation"] == 3, "a number is never given twice"
        gated.is_whole(3)

    @pytest.mark.parametrize(("argv", "words"), [(["false"], "false failed"), (["true"], "does not serve")])
    def test_first_gate_with_a_reload_that_does_nothing(self, world: World, argv: list[str], words: str) -> None:
        """There was nothing before, and there is nothing afterwards."""
        refused = world.gate(reload_argv=argv, prove_timeout="1s")
        assert words in refused["msg"]
        assert not (world.nginx.prefix / "conf.d/quietdoor.conf").exists()
        assert not (world.quietdoor / "gate").is_symlink()
        assert world.told().gate is None
        assert world.gate()["generation"] == 2

    def test_entry_is_not_included(self, tmp_path: Path, first_pki: Pki, server: Path) -> None:
        """It names the line to add."""
        with NginxInstance(tmp_path / "nginx", include="") as nginx:
            world = World(nginx, first_pki, free_port(*PORTS), server)
            world.trust(first_pki.publication(100))
            refused = world.gate()
            assert f"Add the line include conf.d/*.conf; to the http block of {nginx.conf_file}" in refused["msg"]
            assert not (nginx.prefix / "conf.d/quietdoor.conf").exists()
            nginx.configure()
            assert world.gate()["action"] == "applied"

    def test_generation_is_not_reported(self, world: World) -> None:
        """A candidate that forgets generation.conf could never be proven."""
        candidate = {**world.candidate(), "http.conf": 'map "" $quietdoor_gate_generation { default 1; }\n'}
        assert "include quietdoor/gate/generation.conf;" in world.gate(candidate)["msg"]

    @each_version
    def test_removal_and_return(self, gated: World) -> None:
        """The gate goes and comes back; its number keeps rising."""
        predicted = gated.gate({}, _ansible_check_mode=True)
        done = gated.gate({})
        assert predicted["action"] == done["action"] == "removed"
        assert (done["generation"], done["previous_generation"]) == (None, 1)
        assert {entry["after"] for entry in done["diff"]} == {""}
        assert gated.told().gate is None
        assert not (gated.quietdoor / "gate").is_symlink()
        before = gated.tree()
        assert gated.gate({})["changed"] is False
        assert gated.tree() == before
        shutil.rmtree(gated.quietdoor / "gates")
        assert gated.gate()["generation"] == 2
        gated.is_whole(2)

    def test_only_the_newest_are_kept(self, gated: World) -> None:
        """Five, or as many as are asked for."""
        for number in range(2, 8):
            assert gated.gate(gated.candidate(f"word {number}"))["generation"] == number
        assert gated.generations() == [3, 4, 5, 6, 7]
        gated.gate(gated.candidate("last"), keep=2)
        assert gated.generations() == [7, 8]

    def test_two_runs_at_once(self, gated: World, tmp_path: Path) -> None:
        """One after the other, and the whole of one of them."""
        options = {**gated.nginx.options(), "endpoints": [gated.endpoint]}
        runs = [
            start("gate_transaction", {**options, "candidate": gated.candidate(word)}, tmp_path) for word in ("a", "b")
        ]
        done = [json.loads(run.communicate(timeout=60)[0]) for run in runs]
        assert sorted(one["generation"] for one in done) == [2, 3]
        last = max(done, key=lambda one: one["generation"])
        gated.is_whole(3)
        assert gated.get("/word") == ("a", "b")[done.index(last)]

    def test_edited_by_hand(self, gated: World) -> None:
        """Manual changes in the live files are corrected."""
        (gated.quietdoor / "gates/1/sites/admin.conf").write_text("# gone\n")
        assert gated.gate()["action"] == "applied"
        (gated.nginx.prefix / "conf.d/quietdoor.conf").unlink()
        gated.nginx.reload()
        done = gated.gate()
        assert (done["changed"], done["action"], done["generation"]) == (True, "resumed", 2)
        gated.is_whole(2)

    @each_version
    def test_restarted_with_another_configuration(self, gated: World) -> None:
        """The files are correct, but nginx serves another generation: this is detected and corrected."""
        entry = gated.nginx.prefix / "conf.d/quietdoor.conf"
        text = entry.read_text()
        entry.unlink()
        gated.nginx.stop()
        gated.nginx.start()
        entry.write_text(text)
        predicted = gated.gate(_ansible_check_mode=True)
        done = gated.gate()
        assert predicted["action"] == done["action"] == "resumed"
        assert done["reason"] == "the running nginx did not serve the files on disk"
        gated.is_whole(1)

    def test_nginx_does_not_run(self, gated: World) -> None:
        """Nothing is changed, unless the live configuration itself is what keeps nginx from starting."""
        gated.nginx.stop()
        before = gated.tree()
        refused = gated.gate(gated.candidate("two"))
        assert "nginx does not run with" in refused["msg"]
        assert "nothing was changed" in refused["msg"]
        before["nginx.pid"] = gated.tree()["nginx.pid"]  # nginx -t makes an empty one
        assert gated.tree() == before
        assert "the real run would fail" in str(
            gated.gate(gated.candidate("two"), _ansible_check_mode=True)["warnings"]
        )
        (gated.quietdoor / "gates/1/sites/admin.conf").write_text("broken\n")
        assert "written to disk" in gated.gate(gated.candidate("two"))["msg"]
        gated.nginx.start()
        done = gated.gate(gated.candidate("two"))
        assert (done["action"], done["generation"]) == ("resumed", 2)
        gated.is_whole(2)

    def test_live_configuration_is_broken_already(self, gated: World) -> None:
        """It says that the fault was there before."""
        (gated.nginx.prefix / "conf.d/other.conf").write_text("oops;\n")
        refused = gated.gate(gated.candidate("two"))
        assert "Without the change nginx refuses the configuration" in refused["msg"]
        assert 'unknown directive "oops"' in refused["msg"]
        gated.is_whole(1)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"../evil.conf": ""}, "'../evil.conf' is not a relative path"),
            ({"/etc/evil.conf": ""}, "'/etc/evil.conf' is not a relative path"),
            ({"sites/../../evil.conf": ""}, "is not a relative path"),
            ({"sites/*.conf": ""}, "is not a relative path"),
            ({"generation.conf": ""}, "written by the transaction itself"),
            ({"sites": ""}, "sites is a file and a directory"),
            ({"sites/x.conf": 7}, "sites/x.conf is not text"),
            ({"manifest.json": "{}"}, "manifest.json is not a list of endpoints"),
            ({"manifest.json": '{"format": 1, "endpoints": []}'}, "endpoints differ"),
        ],
    )
    def test_bad_candidate(self, gated: World, change: dict[str, Any], words: str) -> None:
        """Refused by name, nothing changed."""
        before = gated.tree()
        refused = gated.gate({**gated.candidate("two"), **change}, endpoints=[gated.endpoint])
        assert words in refused["msg"]
        assert gated.tree() == before

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"nginx_binary": "/nowhere/nginx"}, "nginx is not installed on "),
            ({"test_argv": ["nginx", "-tq"]}, "does not contain -t"),
            ({"test_argv": []}, "gate_nginx_test_argv: the list is empty"),
            ({"conf_path": "/nowhere"}, "/nowhere/nginx.conf does not exist"),
            ({"test_argv": ["nginx", "-t"]}, "to the same nginx"),
            ({"prove_timeout": "soon"}, "prove_timeout: 'soon' is not a duration"),
            ({"keep": 0}, "keep is 0"),
            ({"endpoints": []}, "endpoints is empty"),
            ({"endpoints": [{"site": "a", "address": "::1; }", "port": 1, "server_name": "x"}]}, "is not an endpoint"),
        ],
    )
    def test_bad_options(self, gated: World, options: dict[str, Any], words: str) -> None:
        """A clear error that names the thing."""
        before = gated.tree()
        assert words in gated.gate(gated.candidate("two"), **options)["msg"]
        assert gated.tree() == before


MOMENTS = ("scratch test", "live test", "before reload", "after reload")


class TestKilled:
    """A run that is killed, -9, and what the next one makes of it."""

    @pytest.mark.parametrize("moment", MOMENTS)
    @pytest.mark.parametrize("then", ["the same", "the old one", "a broken one", "removal"])
    def test_change(self, gated: World, tmp_path: Path, moment: str, then: str) -> None:
        """The next run finishes it, undoes it, or puts something else in its place; afterwards everything agrees."""
        assert gated.gate(gated.candidate("two"), **deadly(gated, tmp_path, moment)) == {"killed": 9}
        if then == "a broken one":
            assert "nonsense" in gated.gate(gated.candidate(extra="nonsense;"))["msg"]
            gated.is_whole(int((gated.quietdoor / "gate.committed").read_text()))
            return
        wanted = {"the same": gated.candidate("two"), "the old one": gated.candidate(), "removal": {}}[then]
        done = gated.gate(wanted)
        assert "msg" not in done, done
        if then == "removal":
            assert gated.told().gate is None
            return
        gated.is_whole(done["generation"])
        assert gated.get("/word") == ("two" if then == "the same" else "one")
        assert gated.gate(wanted)["changed"] is False

    @pytest.mark.parametrize("moment", MOMENTS)
    def test_first(self, world: World, tmp_path: Path, moment: str) -> None:
        """The first gate of a host; check mode tells what the next run does."""
        assert world.gate(**deadly(world, tmp_path, moment)) == {"killed": 9}
        predicted = world.gate(_ansible_check_mode=True)
        done = world.gate()
        assert (predicted["action"], predicted["generation"]) == (done["action"], done["generation"])
        assert done["changed"] is True
        world.is_whole(1)

    @pytest.mark.parametrize("moment", MOMENTS)
    @pytest.mark.parametrize("then", ["removal", "return"])
    def test_removal(self, gated: World, tmp_path: Path, moment: str, then: str) -> None:
        """Taking the gate away."""
        assert gated.gate({}, **deadly(gated, tmp_path, moment)) == {"killed": 9}
        if then == "return":
            done = gated.gate()
            assert "msg" not in done, done
            gated.is_whole(done["generation"])
            return
        assert gated.gate({})["changed"] is True
        assert gated.told().gate is None
        assert gated.gate({})["changed"] is False

    @pytest.mark.parametrize("moment", MOMENTS)
    def test_trust(self, gated: World, tmp_path: Path, moment: str) -> None:
        """The same for trust."""
        publication = gated.pki.publication(200)
        assert gated.trust(publication, **deadly(gated, tmp_path, moment)) == {"killed": 9}
        done = gated.trust(publication)
        assert done["changed"] is True
        assert gated.told() == Answer(1, 200)
        assert gated.trust(publication)["changed"] is False


class TestTrust:
    """The installed trust of a host."""

    @each_version
    def test_identity_and_revocation(self, tmp_path: Path, server: Path, version: str) -> None:
        """The variables say who it is; after a revocation the serial is denied; the gate's generation stays."""
        pki = Pki(tmp_path / "pki").make()
        alex = pki.add("alex", ["alex@ops.test", "o'x%y!z@ops.test"], ["admin", "ops"])
        bea = pki.add("bea", [], [])
        stranger = Pki(tmp_path / "other").make().add("alex", [], [])
        with NginxInstance(tmp_path / "nginx", version=version) as nginx:
            world = World(nginx, pki, free_port(*PORTS), server)
            first = pki.publication(100)
            assert world.trust(first)["crl"][0]["number"] == 0x1000
            assert world.gate()["action"] == "applied"
            assert world.told() == Answer(1, 100)
            assert world.get("/who", alex) == "SUCCESS|0|1|alex|alex@ops.test,o'x%y!z@ops.test|admin,ops"
            assert world.get("/who", bea) == "SUCCESS|0|1|bea||"
            assert world.get("/who") == "NONE|0|0|||"
            assert world.get("/who", stranger).startswith("FAILED:")
            assert world.get("/who", stranger).endswith("|0|0|||")

            pki.revoke("alex")
            second = pki.publication(200)
            predicted = world.trust(second, _ansible_check_mode=True)
            assert world.told() == Answer(1, 100)
            done = world.trust(second)
            assert (predicted["action"], done["action"], done["tested"]) == ("applied", "applied", True)
            assert (done["generation"], done["previous_generation"]) == (200, 100)
            assert [entry["entries"] for entry in done["crl"]] == [1, 0]
            assert "denied 1:" in done["diff"]["after"]
            assert "identity 1:" in done["diff"]["before"]
            assert "number 4097" in done["diff"]["after"]
            assert world.get("/who", alex) == "FAILED:certificate revoked|1|0|||"
            assert world.told() == Answer(1, 200)
            assert world.trust(second)["changed"] is False

            assert "The publication is older" in world.trust(first)["msg"]
            assert world.told() == Answer(1, 200)
            world.gate(world.candidate("two"))
            assert world.told() == Answer(2, 200)
            assert world.get("/who", alex).startswith("FAILED:certificate revoked|1|")

    def test_through_ansible(self, gated: World) -> None:
        """The ansible command, with check mode and diff."""
        options = {**gated.nginx.options(), "publication": gated.pki.publication(300)}
        predicted, output = ansible(gated, "trust_install", options, "--check", "--diff")
        done, _output = ansible(gated, "trust_install", options)
        assert predicted["changed"] is done["changed"] is True
        assert "+generation 300" in output
        assert "-generation 100" in output
        assert gated.told() == Answer(1, 300)

    @pytest.mark.parametrize(
        ("crl", "words"),
        [
            ("none of the root", "crl.pem contains no CRL of CN=Root"),
            ("truncated", "whole PEM CRLs"),
            ("damaged", "crl.pem contains a CRL that openssl cannot read"),
            ("expired", "expired on 2026-01-02 00:00 UTC, so nginx would reject every client"),
            ("not yet", "which is in the future"),
            ("short", "earlier than trust_min_remaining (7 days, 0:00:00)"),
            ("of another CA", "crl.pem contains a CRL of CN=Issuing"),
            ("forged", "was not signed by the CA of that name"),
            ("twice", "crl.pem contains more than one CRL of"),
            ("distribution point", "critical Issuing Distribution Point"),
            ("lower number", "lower than the installed one"),
            ("other contents", "but different contents"),
        ],
    )
    def test_crl_that_would_refuse_every_client(self, gated: World, tmp_path: Path, crl: str, words: str) -> None:
        """Each is refused by name before nginx sees it, and nothing changes."""
        issuing, root = gated.pki.issuing, gated.pki.root
        other = Pki(tmp_path / "other").make()
        good = root.crl()
        generation = 500
        if crl == "none of the root":
            text = issuing.crl()
        elif crl == "truncated":
            text = good + issuing.crl()[:-40]
        elif crl == "damaged":
            lines = issuing.crl().splitlines(keepends=True)
            text = good + "".join([*lines[:2], *lines[3:]])
        elif crl == "expired":
            text = good + issuing.crl("-crl_lastupdate", "20260101000000Z", "-crl_nextupdate", "20260102000000Z")
        elif crl == "not yet":
            text = good + issuing.crl("-crl_lastupdate", "20990101000000Z", "-crl_nextupdate", "20990201000000Z")
        elif crl == "short":
            text = good + issuing.crl("-crldays", "6")
        elif crl == "of another CA":
            ca = Ca(tmp_path / "strange", "/CN=Issuing and strange").make()
            text = good + ca.crl()
        elif crl == "forged":
            text = good + other.issuing.crl()
        elif crl == "twice":
            text = good + issuing.crl() + issuing.crl()
        elif crl == "distribution point":
            text = good + issuing.crl("-crlexts", "idp")
        elif crl == "lower number":
            assert gated.trust(gated.pki.publication(400))["action"] == "applied"
            number = gated.pki.issuing.home / "crlnumber"
            kept = number.read_text()
            number.write_text("0999\n")
            text = good + issuing.crl()
            number.write_text(kept)
        else:
            generation, text = 100, good + issuing.crl()
        before = gated.tree()
        refused = gated.trust(gated.pki.publication(generation, crl_pem=text))
        assert words in refused["msg"]
        assert gated.tree() == before

    def test_a_revocation_does_not_wait_for_a_crl_that_lives_long(self, gated: World) -> None:
        """It is taken over with a CRL that is short, which is said; what denies nobody new is not."""
        root = gated.pki.root
        # The authority is that of other tests too.
        gated.pki = copy.copy(gated.pki)
        gated.pki.people, gated.pki.denied = [*gated.pki.people], [*gated.pki.denied]
        gated.pki.add("carl", ["carl@ops.test"], ["ops"])
        gated.pki.revoke("carl")
        crl = gated.pki.issuing.crl() + root.crl("-crldays", "6")
        done = gated.trust(gated.pki.publication(500, crl_pem=crl))
        assert done["action"] == "applied"
        assert [words.startswith("The CRL of CN=Root") for words in done["lapsing"]] == [True]
        assert gated.told() == Answer(1, 500)
        before = gated.tree()
        for generation, text in ((500, crl), (501, gated.pki.issuing.crl() + root.crl("-crldays", "6"))):
            refused = gated.trust(gated.pki.publication(generation, crl_pem=text))
            assert "earlier than trust_min_remaining" in refused["msg"]
        ended = root.crl("-crl_lastupdate", "20260101000000Z", "-crl_nextupdate", "20260102000000Z")
        gated.pki.denied.append({**gated.pki.denied[0], "serial": "77"})
        refused = gated.trust(gated.pki.publication(502, crl_pem=gated.pki.issuing.crl() + ended))
        assert "nginx would reject every client" in refused["msg"]
        assert gated.tree() == before

    @pytest.mark.parametrize(
        ("chain", "words"),
        [
            ("without the root", "not a self-signed root"),
            ("of two families", "is not part of a valid chain"),
            ("with a client in it", "is not part of a valid chain"),
            ("empty", "whole PEM certificates"),
            ("of another family", "set trust_replace_anchor"),
            ("of another family beside the root", "is not in ca.pem with that name"),
        ],
    )
    def test_invalid_chain(self, gated: World, tmp_path: Path, chain: str, words: str) -> None:
        """Likewise."""
        issuing, root = gated.pki.issuing.certificate.read_text(), gated.pki.root.certificate.read_text()
        other, extra = Pki(tmp_path / "other").make(), Ca(tmp_path / "extra", "/CN=Extra").make()
        client, _serial = other.issuing.client("x")
        text = {
            "without the root": issuing,
            "of two families": other.issuing.certificate.read_text() + root,
            "with a client in it": client.read_text().partition("-----BEGIN EC")[0] + issuing + root,
            "empty": "",
            "of another family": other.issuing.certificate.read_text() + other.root.certificate.read_text(),
            "of another family beside the root": extra.certificate.read_text() + root,
        }[chain]
        before = gated.tree()
        assert words in gated.trust(gated.pki.publication(500, ca_pem=text))["msg"]
        assert gated.tree() == before

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"name": 'a; }"\n'}, "is not a name"),
            ({"email": ["x$host@ops.test"]}, "is not an e-mail address"),
            ({"roles": ["a,b"]}, "is not a role"),
            ({"serial": "0a1b"}, "is not a serial"),
            ({"serial": "000A"}, "is not a serial"),
            ({"issuer": 3}, "is not an issuer"),
        ],
    )
    def test_identity_that_may_not_reach_nginx(self, gated: World, change: dict[str, Any], words: str) -> None:
        """Bad texts are refused, by name."""
        data = json.loads(gated.pki.publication(500)["identities.json"])
        data["identities"][0].update(change)
        before = gated.tree()
        assert words in gated.trust(gated.pki.publication(500, identities_json=json.dumps(data)))["msg"]
        assert gated.tree() == before

    def test_digest(self, gated: World) -> None:
        """A final newline that was lost on the way."""
        publication = gated.pki.publication(500)
        assert (
            "ca.pem does not have the digest"
            in gated.trust({**publication, "ca.pem": publication["ca.pem"].rstrip()})["msg"]
        )
        assert "missing" in gated.trust({name: text for name, text in publication.items() if name != "crl.pem"})["msg"]

    def test_another_authority_is_refused_unless_its_root_is_named(self, gated: World, tmp_path: Path) -> None:
        """Nothing changes, the limit for connections included; the clients of the installed authority still get in."""
        alex = gated.pki.issuing.home / "alex.both.pem"
        other = Pki(tmp_path / "other").make()
        dora = other.add("dora", ["dora@ops.test"], ["ops"])
        publication, anchor = other.publication(500), other.root.anchor
        before = gated.tree()
        for replace_anchor in ("", other.issuing.anchor, other.root.facts["sha256"]):
            for mode in ({}, {"_ansible_check_mode": True}):
                options = {"replace_anchor": replace_anchor, "worker_shutdown_timeout": "5s", "main_file": "main.conf"}
                message = gated.trust(publication, **options, **mode)["msg"]
                assert all(text in message for text in (anchor, gated.pki.root.anchor, str(gated.quietdoor / "trust")))
                assert "set trust_replace_anchor" in message
                assert gated.tree() == before
        assert gated.get("/who", alex).startswith("SUCCESS|0|1|alex")
        assert not gated.get("/who", dora).startswith("SUCCESS")
        assert "is not the SHA-256 of a public key" in gated.trust(publication, replace_anchor="yes")["msg"]
        done = gated.trust(publication, replace_anchor=anchor.upper())
        assert done["reason"].startswith("trust_replace_anchor replaces CN=Root")
        assert gated.told() == Answer(1, 500)
        assert gated.get("/who", dora).startswith("SUCCESS|0|1|dora")
        assert not gated.get("/who", alex).startswith("SUCCESS")
        # The former authority is another one now.
        assert "set trust_replace_anchor" in gated.trust(gated.pki.publication(501), replace_anchor=anchor)["msg"]

    def test_reload_that_does_not_take(self, gated: World) -> None:
        """The link goes back, and the old trust is proven."""
        refused = gated.trust(gated.pki.publication(500), reload_argv=["true"], prove_timeout="1s")
        assert "does not serve trust generation 500" in refused["msg"]
        assert "Reverted: nginx serves trust generation 100 again" in refused["msg"]
        assert os.readlink(gated.quietdoor / "trust") == "trusts/100"
        assert gated.generations("trust") == [100]

    def test_nginx_does_not_run(self, gated: World) -> None:
        """The revocation is not lost: nginx starts with it, and the run fails because nothing could be proven."""
        gated.nginx.stop()
        publication = gated.pki.publication(500)
        refused = gated.trust(publication)
        assert "trust generation 500 was tested and written to disk" in refused["msg"]
        gated.nginx.start()
        assert gated.told() == Answer(1, 500)
        assert gated.trust(publication)["action"] == "resumed"
        assert gated.trust(publication)["changed"] is False

    def test_only_the_newest_are_kept(self, world: World) -> None:
        """Without a gate, too."""
        for generation in range(101, 108):
            assert world.trust(world.pki.publication(generation))["action"] == "applied"
        assert world.generations("trust") == [103, 104, 105, 106, 107]


class TestInfo:
    """nginx_info."""

    @each_version
    def test_looks(self, gated: World) -> None:
        """Version, capabilities, what it listens on, that it runs."""
        found = call("nginx_info", {k: v for k, v in gated.nginx.options().items() if k != "reload_argv"})
        said = subprocess.run([gated.nginx.binary, "-v"], capture_output=True, text=True, check=True).stderr
        assert f"/{found['version']}" in said
        assert found["running"] is True
        assert found["configuration_error"] is None
        assert found["capabilities"]["ssl_reject_handshake"] is True
        (listen,) = [one for one in found["listens"] if one["port"] == gated.port]
        assert (listen["address"], listen["ssl"], listen["server_names"]) == ("127.0.0.1", True, [NAME])
        assert listen["file"] == f"{gated.nginx.prefix}/quietdoor/gate/sites/admin.conf"
        assert any(one["pattern"] == "quietdoor/gate/sites/*.conf" for one in found["includes"])

    def test_broken_configuration(self, gated: World) -> None:
        """Said in a field."""
        (gated.nginx.prefix / "conf.d/other.conf").write_text("oops;\n")
        found = call("nginx_info", {k: v for k, v in gated.nginx.options().items() if k != "reload_argv"})
        assert 'unknown directive "oops"' in found["configuration_error"]
        assert (found["listens"], found["running"]) == ([], True)

    def test_not_installed(self) -> None:
        """The message has a hint."""
        message = call("nginx_info", {"nginx_binary": "no-such-nginx"})["msg"]
        assert f"nginx is not installed on {os.uname().nodename}" in message
        assert "gate_nginx_binary" in message
