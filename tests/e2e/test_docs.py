# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that the commands of the documentation exist and that the CI jobs work."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support.lab import COLLECTION, COLLECTIONS, PLAYBOOK, Lab, built

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DOCS = COLLECTION / "docs"
CI = DOCS / "ci"
PAGES = [
    COLLECTION / "README.md",
    *sorted(DOCS.rglob("*.md")),
    *sorted(CI.glob("*.yml")),
    *sorted((COLLECTION / "roles").glob("*/README.md")),
]
PREFIXES = ("authority", "confirm", "gate", "probe", "revoke", "rollback", "rollout", "trust")
_COMMAND = re.compile(r"ansible-playbook (?:[^\n`]*\\\n)*[^\n`]*")
_CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
_VARIABLE = re.compile(rf"(?<![\w.$/-])(?:{'|'.join(PREFIXES)})_(?!_)\w+(?![\w(])")
# Names that are neither variables of roles nor of playbooks.
_OTHER = {
    *(path.stem for kind in ("modules", "filter") for path in (COLLECTION / "plugins" / kind).glob("*.py")),
    "probe_option",
    "trust_pool",  # a word of Caddy
}


def commands(path: Path) -> list[list[str]]:
    """Return the words of every call of ansible-playbook in a text, without prompts, comments and variables before it."""
    found = []
    for match in _COMMAND.finditer(path.read_text(encoding="utf-8")):
        words = shlex.split(match[0].replace("\\\n", " "), comments=True)
        if len(words) > 1:
            found.append(words)
    return found


def playbook_of(words: list[str]) -> str:
    """Return the playbook that a command names."""
    return next(word for word in words if word.startswith("quietdoor.mtls.")).removeprefix("quietdoor.mtls.")


def extra_variables(words: list[str]) -> set[str]:
    """Return the names that a command sets with -e."""
    values = [after for word, after in zip(words, words[1:]) if word in ("-e", "--extra-vars")]
    return {value.partition("=")[0] for value in values if "=" in value}


def specified() -> set[str]:
    """Return every variable of every role."""
    files = (COLLECTION / "roles").glob("*/meta/argument_specs.yml")
    return {
        name
        for path in files
        for entry in yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"].values()
        for name in entry["options"]
    }


def known_to(playbook: str) -> set[str]:
    """Return what a playbook takes: what its text names, and for probe every option of its module."""
    names = set(re.findall(r"\w+", (COLLECTION / "playbooks" / f"{playbook}.yml").read_text(encoding="utf-8")))
    if playbook == "probe":
        source = (COLLECTION / "plugins" / "modules" / "gate_probe.py").read_text(encoding="utf-8")
        [text] = re.findall(r'DOCUMENTATION = r"""(.*?)"""', source, re.DOTALL)
        names |= {f"probe_{name}" for name in yaml.safe_load(text)["options"]}
    return names


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(COLLECTION)))
def test_every_command_names_existing_playbooks_and_files(page: Path) -> None:
    roles = specified()
    for words in commands(page):
        playbook = playbook_of(words)
        assert (COLLECTION / "playbooks" / f"{playbook}.yml").exists(), words
        unknown = extra_variables(words) - roles - known_to(playbook)
        assert not unknown, (words, unknown)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(COLLECTION)))
def test_every_named_variable_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    code = text if page.suffix == ".yml" else "\n".join(_CODE.findall(text))
    playbooks = {name for path in (COLLECTION / "playbooks").glob("*.yml") for name in known_to(path.stem)}
    unknown = set(_VARIABLE.findall(code)) - specified() - playbooks - _OTHER
    assert not unknown


def test_pages_exist() -> None:
    names = {str(path.relative_to(COLLECTION)) for path in PAGES}
    assert {"docs/guide.md", "docs/runbooks.md", "docs/ci/README.md", "docs/ci/gitlab-ci.yml"} <= names
    assert sum(len(commands(page)) for page in PAGES) > 30


@pytest.mark.parametrize("page", [*sorted(DOCS.rglob("*.md")), COLLECTION / "README.md"], ids=lambda path: path.name)
def test_links_have_targets(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


# --- CI ---------------------------------------------------------------------------------------------------------------
def jobs(name: str) -> dict[str, Any]:
    """Return the jobs of an example, each with the commands that are ansible's own, in order."""
    document = yaml.safe_load((CI / name).read_text(encoding="utf-8"))
    if name == "github-actions.yml":
        runs = {job: [step.get("run", "") for step in one["steps"]] for job, one in document["jobs"].items()}
        steps = {job: [line for run in all_ for line in run.splitlines()] for job, all_ in runs.items()}
    else:
        steps = {job: document[job]["script"] for job in ("check", "staging", "production")}
    return {
        job: [line for line in lines if line.startswith(("ansible ", "ansible-playbook "))]
        for job, lines in steps.items()
    }


def test_both_run_the_same_commands() -> None:
    github = jobs("github-actions.yml")
    assert github == jobs("gitlab-ci.yml")
    assert [shlex.split(line)[0] for line in github["production"]] == [
        "ansible-playbook",
        "ansible",
        "ansible-playbook",
    ]


def test_pins_do_not_move() -> None:
    document = yaml.safe_load((CI / "github-actions.yml").read_text(encoding="utf-8"))
    used = [step["uses"] for job in document["jobs"].values() for step in job["steps"] if "uses" in step]
    assert used
    assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", one) for one in used)
    pins = (CI / "requirements.txt").read_text(encoding="utf-8")
    assert all("--hash=sha256:" in one for one in re.split(r"\n(?=\w)", pins)[1:])


@pytest.fixture
def environments(tmp_path: Path) -> Iterator[tuple[Lab, Lab, Path]]:
    """A repository as docs/ci/README.md describes it, with staging and production on an nginx each, and trust in place."""
    with (
        built(tmp_path / "staging", 71, clients=2, sites=1) as staging,
        built(tmp_path / "production", 72, clients=2, sites=1) as production,
    ):
        repository = tmp_path / "repository"
        shutil.copytree(CI, repository / "ci")
        roster = [{"name": "alex"}, {"name": "bea"}, {"name": "door-probe"}]
        own = {key: value for key, value in staging.variables.items() if key.startswith("ansible_")}
        for name, lab in (("staging", staging), ("production", production)):
            inventory = repository / "inventory" / name
            site = lab.sites[0]
            site.entry.update(
                name="panel", contact="the ops team", stage="fallback", window={"networks": ["127.0.0.1"]}
            )
            web = {
                "rollout_environment": name,
                "rollout_receipts_host": "ops1",
                "rollout_receipts_path": str(tmp_path / "receipts"),
                "rollout_probe_certificate": "{{ inventory_dir }}/../../ci/door-probe.chain.pem",
                "rollout_probe_key": "{{ lookup('ansible.builtin.env', 'DOOR_PROBE_KEY') }}",
                "rollout_probe_server_ca": site.entry["certificate"],
                "rollout_revert_mechanism": "process",
                "gate_sites": [site.entry],
                **{key: value for key, value in lab.variables.items() if key.startswith("gate_")},
            }
            authority = {
                "authority_path": str(staging.authority),
                "authority_root": {"common_name": "Example Ops Client CA", "key": {"type": "ecdsa", "curve": "P-256"}},
                "authority_roster": [{"common_name": one["name"], **one} for one in roster],
                "authority_passphrase": "{{ vault_authority_passphrase }}",
            }
            groups = {
                "mtls_ca": {"hosts": {"ca": own}},
                "mtls_web": {"hosts": {f"{name}1": own}},
                "receipts": {"hosts": {"ops1": own}},
            }
            for path, content in (
                (inventory / "hosts.yml", groups),
                (inventory / "group_vars" / "mtls_web.yml", web),
                (inventory / "group_vars" / "mtls_ca" / "vars.yml", authority),
                (inventory / "group_vars" / "mtls_ca" / "vault.yml", {"vault_authority_passphrase": "of the CA alone"}),
            ):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(yaml.safe_dump(content))
        (tmp_path / "receipts").mkdir()
        yield staging, production, repository


def shell(repository: Path, line: str, **more: str) -> str:
    """Run one line as a CI job does, and return what it said."""
    variables = yaml.safe_load((CI / "gitlab-ci.yml").read_text(encoding="utf-8"))["variables"]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
        **{name: variables[name] for name in ("ANSIBLE_HOST_KEY_CHECKING", "ANSIBLE_VAULT_IDENTITY_LIST")},
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_HOME": str(repository.parent / "ansible"),
        "ANSIBLE_LOCAL_TEMP": str(repository.parent / "ansible" / "tmp"),
        "ANSIBLE_REMOTE_TEMP": str(repository.parent / "ansible" / "tmp"),
        "ANSIBLE_NOCOLOR": "1",
        "DOOR_PROBE_KEY": str(repository.parent / "door-probe.key"),
        "PATH": f"{PLAYBOOK.parent}:{os.environ['PATH']}:/usr/sbin:/sbin",
        "QUIETDOOR_WEB_VAULT_PASSWORD": "of the web part",
        **more,
    }
    done = subprocess.run(
        ["bash", "-euc", line], cwd=repository, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_jobs_roll_out_without_the_ca(environments: tuple[Lab, Lab, Path]) -> None:
    staging, production, repository = environments
    for name in ("staging", "production"):
        shell(repository, f"ansible-playbook quietdoor.mtls.trust -i inventory/{name}")
    canary = staging.authority / "clients" / "door-probe"
    shell(
        repository, f"ansible-vault encrypt --encrypt-vault-id web --output ci/door-probe.key {canary}/door-probe.key"
    )
    shutil.copy(canary / "door-probe.chain.pem", repository / "ci")
    # From here on the CA is missing, and its passphrase is encrypted with a password that CI does not have.
    staging.authority.rename(staging.root / "elsewhere")
    for vault in repository.glob("inventory/*/group_vars/mtls_ca/vault.yml"):
        other = {"ANSIBLE_VAULT_IDENTITY_LIST": f"ca@{repository.parent}/ca-vault"}
        (repository.parent / "ca-vault").write_text("of the CA's part")
        shell(repository, f"ansible-vault encrypt --encrypt-vault-id ca {vault}", **other)

    shell(repository, 'umask 077; ansible-vault view ci/door-probe.key > "$DOOR_PROBE_KEY"')
    commands_of = jobs("github-actions.yml")
    for job in ("check", "staging", "production"):
        if job == "staging":
            assert curl_status(staging) == 0
        here = [
            line.replace("/srv/quietdoor/receipts", str(repository.parent / "receipts")) for line in commands_of[job]
        ]
        output = [shell(repository, line) for line in here]
    assert curl_status(staging) == curl_status(production) == 200
    assert re.search(r"staging\.panel\.\w{64}\.json", output[1])
    assert re.search(r"production\.panel\.\w{64}\.json", output[1])


def curl_status(lab: Lab) -> int:
    """Ask without a certificate, through the window."""
    site = lab.sites[0]
    certificate = site.entry["certificate"]
    argv = ["curl", "-sS", "-o", os.devnull, "-w", "%{http_code}", "--cacert", certificate]
    argv += ["--resolve", f"{site.server_name}:{site.port}:127.0.0.1", site.url]
    return int(subprocess.run(argv, capture_output=True, text=True, check=False).stdout)
