# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test how the variables of the roles follow those of role gate."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.quietdoor.mtls.plugins.module_utils._common import errors
from ansible_collections.quietdoor.mtls.plugins.module_utils._deploy.module_options import CHANGE, NGINX, RENDER
from ansible_collections.quietdoor.mtls.plugins.modules import gate_transaction

ROLES = Path(errors.__file__).parents[3] / "roles"
GATE = yaml.safe_load((ROLES / "gate" / "defaults" / "main.yml").read_text(encoding="utf-8"))
OWN = {
    "gate_nginx_conf_path": "/opt/nginx",
    "gate_nginx_binary": "/opt/sbin/nginx",
    "gate_nginx_test_argv": ["/opt/sbin/nginx", "-t", "-c", "/opt/nginx/nginx.conf"],
    "gate_nginx_reload_argv": ["systemctl", "reload", "own"],
    "gate_nginx_log_path": "/opt/log",
    "gate_on_bypass": "warn",
    "gate_prove_timeout": "40s",
    "gate_keep": 9,
}
TRUST = {f"trust_nginx_{setting}": "own" for setting in ("conf_path", "binary", "test_argv", "reload_argv")}
NOTHING: dict[str, Any] = {}
# Ansible's plugin loader stays as it is for a whole process, so the templates are evaluated in one of their own.
PROGRAM = """
import json, sys
from ansible.plugins.loader import init_plugin_loader
init_plugin_loader([])
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
own, cases = json.load(sys.stdin)
own = {key: trust_as_template(text) if isinstance(text, str) else text for key, text in own.items()}
templars = [Templar(loader=DataLoader(), variables={**own, **case}) for case in cases]
names = [name for name, text in own.items() if '__gate.gate_' in str(text)]
print(json.dumps([{name: templar.template(own[name]) for name in names} for templar in templars]))
"""


def values(role: str, *cases: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the vars of a role that name gate's amount to, for each set of variables."""
    own = yaml.safe_load((ROLES / role / "vars" / "main.yml").read_text(encoding="utf-8"))
    given = json.dumps([{**own, "role_path": str(ROLES / role)}, cases])
    argv = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(argv, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("setting", OWN)
def test_rollout_passes_settings_of_gate_or_omits_them(setting: str) -> None:
    own = yaml.safe_load((ROLES / "rollout" / "vars" / "main.yml").read_text(encoding="utf-8"))
    texts = {str(text) for text in (*own.values(), *own["rollout__transaction_options"].values())}
    assert f"{{{{ {setting} | default(omit) }}}}" in texts


@pytest.mark.parametrize("setting", OWN)
def test_default_of_a_module_equals_that_of_role_gate(setting: str) -> None:
    # Role rollout omits an option if the variable of role gate is not set.
    documented = yaml.safe_load(gate_transaction.DOCUMENTATION)["options"]
    defaults = {**documented, **RENDER, **CHANGE, **NGINX}
    option = setting.removeprefix("gate_").removeprefix("nginx_")
    assert defaults[{"binary": "nginx_binary"}.get(option, option)]["default"] == GATE[setting]


def test_trust_takes_the_nginx_of_gate_unless_it_has_its_own() -> None:
    default, gate, own = values("trust", NOTHING, OWN, {**OWN, **TRUST})
    for setting in ("conf_path", "binary", "test_argv", "reload_argv"):
        name, of_gate = f"trust__{setting}", f"gate_nginx_{setting}"
        assert (default[name], gate[name], own[name]) == (GATE[of_gate], OWN[of_gate], "own")


def test_kept_generations_of_gate_and_trust_have_one_default() -> None:
    trust = yaml.safe_load((ROLES / "trust" / "defaults" / "main.yml").read_text(encoding="utf-8"))
    assert trust["trust_keep"] == GATE["gate_keep"] == CHANGE["keep"]["default"]


@pytest.mark.parametrize("role", ["rollout", "trust"])
def test_no_default_of_gate_is_repeated(role: str) -> None:
    for path in (ROLES / role / "defaults" / "main.yml", ROLES / role / "vars" / "main.yml"):
        text = path.read_text(encoding="utf-8")
        assert "/etc/nginx" not in text
        assert "/var/log/nginx" not in text
