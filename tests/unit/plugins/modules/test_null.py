# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that every module of the authority fails for a path that is null, as from an empty template."""

from __future__ import annotations

import importlib
import json
import pkgutil
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.quietdoor.mtls.plugins import modules
from ansible_collections.quietdoor.mtls.plugins.module_utils._ca.layout import check_path
from ansible_collections.quietdoor.mtls.plugins.module_utils._common import argument_specs
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError

ACTIONS = Path(modules.__path__[0]).with_name("action")
VALUES: dict[str, Any] = {"str": "x", "path": "/nowhere/at/all", "list": [], "dict": {}}
# Options that a module needs beside those that are always required.
BESIDE: dict[str, dict[str, Any]] = {
    "ca": {"common_name": "Test CA"},
    "revocation": {"serial": "01"},
    "rollout_receipt": {"things": []},
}


def spec(name: str) -> dict[str, Any]:
    """The argument spec of a module, as it hands it to Ansible."""
    told: dict[str, Any] = {}

    def tell(argument_spec: dict[str, Any], **_rest: Any) -> None:
        told.update(argument_spec)
        raise SystemExit

    module = importlib.import_module(f"{modules.__name__}.{name}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "AnsibleModule", tell)
        with pytest.raises(SystemExit):
            module.main()
    return told


NULLS = [
    (found.name, option)
    for found in pkgutil.iter_modules(modules.__path__)
    # The work of an action is done on the control node; its module only documents it.
    if not (ACTIONS / f"{found.name}.py").exists()
    for options in [spec(found.name)]
    if options.get("path") == argument_specs.PATH
    for option, told in sorted(options.items())
    if told.get("type") == "path" and told.get("required")
]


def test_the_modules_of_the_authority_are_among_them() -> None:
    assert {"ca", "client_certs", "crl", "certs_info", "publication", "revocation"} <= {name for name, _path in NULLS}


@pytest.mark.parametrize("check_mode", [True, False])
@pytest.mark.parametrize(("name", "null"), NULLS)
def test_null_for_a_path_is_named(name: str, null: str, check_mode: bool, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(f"{modules.__name__}.{name}")
    required = {option: told for option, told in spec(name).items() if told.get("required")}
    values = {option: VALUES[told["type"]] for option, told in required.items()}
    arguments_ = {**values, **BESIDE.get(name, {}), null: None, "_ansible_check_mode": check_mode}
    with patch_module_args(arguments_), pytest.raises(SystemExit):
        module.main()
    result = json.loads(capsys.readouterr().out)
    assert result["failed"]
    assert result["msg"].startswith(f"{null}: "), result
    assert "is not an absolute path" in result["msg"]


def test_a_path_that_stays_null_is_refused_like_any_other() -> None:
    """ansible-core 2.19 makes an empty text of it; who calls the library, or another release, may not."""
    with pytest.raises(MtlsError, match="path: None is not an absolute path"):
        check_path(None)
