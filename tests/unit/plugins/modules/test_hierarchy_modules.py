# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test results, warnings and errors of modules ca and crl with a root and an issuing CA."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.quietdoor.mtls.plugins.module_utils._common import timestamps

SECRET = "Root-Passphrase-1"
KEY = {"type": "ecdsa"}
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a module in this process; what it wrote must not have the passphrase in it. Warnings are in ``warned``."""
    warned: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _module, text: warned.append(text))

    def run_module(name: str, path: Path, **options: Any) -> dict[str, Any]:
        module = importlib.import_module(f"ansible_collections.quietdoor.mtls.plugins.modules.{name}")
        warned.clear()
        with patch_module_args({"path": str(path), "_ansible_diff": True, **options}), pytest.raises(SystemExit):
            module.main()
        output = capsys.readouterr().out
        result: dict[str, Any] = json.loads(output)
        result.pop("invocation", None)
        assert SECRET not in json.dumps(result)
        return {**result, "warned": list(warned)}

    return run_module


@pytest.fixture
def root(run: Run, tmp_path: Path) -> Path:
    path = tmp_path / "root"
    assert run("ca", path, passphrase=SECRET, common_name="Root", key=KEY, path_length=1)["changed"]
    assert run("crl", path, passphrase=SECRET, valid_for="40d")["changed"]
    return path


def issuing(root: Path, **options: Any) -> dict[str, Any]:
    return {"common_name": "Issuing", "key": KEY, "issuer": {"path": str(root), "passphrase": SECRET}, **options}


def test_the_crl_of_a_predecessor_matters_no_more_once_its_ca_has_ended(
    run: Run, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = timestamps.now() + timedelta(days=8000)
    monkeypatch.setattr("ansible_collections.quietdoor.mtls.plugins.modules.crl.now", lambda: ended)
    before = (root / "crl" / "ca.crl.pem").read_bytes()
    refused = run("crl", root, passphrase=SECRET)
    assert "Set the clock, or create a new authority" in refused["msg"]
    for check_mode in (True, False):
        reported = run("crl", root, passphrase=SECRET, predecessor=True, _ansible_check_mode=check_mode)
        assert not reported["changed"]
        assert reported["crl"] == str(root / "crl" / "ca.crl.pem")
        assert f"The CA certificate of the predecessor {root} has expired" in reported["warned"][0]
    assert (root / "crl" / "ca.crl.pem").read_bytes() == before


def test_ca_that_ends_soon_is_reported_with_the_days_left(
    run: Run, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = run("ca", tmp_path / "issuing", passphrase="x", **issuing(root, valid_for="100d"))
    assert made["days_left"] in (99, 100)
    assert made["chain"] == str(tmp_path / "issuing" / "certs" / "chain.pem")
    assert made["warned"] == []
    monkeypatch.setattr(
        "ansible_collections.quietdoor.mtls.plugins.modules.ca.now", lambda: timestamps.now() + timedelta(days=70)
    )
    reported = run("ca", tmp_path / "issuing", passphrase="x", **issuing(root, valid_for="100d"))
    assert not reported["changed"]
    assert "ends in 29 days" in reported["warned"][0] or "ends in 30 days" in reported["warned"][0]
    assert "Renew it with renew: same_key" in reported["warned"][0]
    renewed = run("ca", tmp_path / "issuing", passphrase="x", **issuing(root, valid_for="100d", renew="same_key"))
    assert (renewed["changed"], renewed["renewed"]) == (True, True)
    assert renewed["warned"] == []


def test_the_crls_of_the_whole_chain_are_returned_and_warned_of(run: Run, root: Path, tmp_path: Path) -> None:
    path = tmp_path / "issuing"
    run("ca", path, **issuing(root))
    without = run("crl", path)
    assert [(one["issuer"], one["number"]) for one in without["chain"]] == [("CN=Issuing", 1), ("CN=Root", None)]
    assert without["chain"][1]["days_left"] is None
    assert "The CRL of CN=Root: there is none. Without a valid CRL no client gets in. Bring its" in without["warned"][0]
    shutil.copy(root / "crl" / "ca.crl.pem", tmp_path / "root.crl")
    shutil.move(root, tmp_path / "away")
    handed = run("crl", path, issuer_crl=str(tmp_path / "root.crl"), issuer={"path": str(root)})
    assert handed["changed"]
    assert handed["changes"][0] == "CRL 1 of CN=Root copied"
    assert handed["chain"][0]["days_left"] in (29, 30)
    assert handed["chain"][1]["days_left"] in (39, 40)
    assert handed["warned"] == []
    assert handed["chain_crl"] == str(path / "crl" / "chain.crl.pem")
    early = run("crl", path, warn_before="50d")
    assert not early["changed"]
    assert "The CRL of CN=Root: it ends at" in early["warned"][0]
    alone = run("crl", tmp_path / "away", passphrase=SECRET, valid_for="40d")
    assert (alone["chain_crl"], alone["changes"]) == (alone["crl"], [])
    assert [one["issuer"] for one in alone["chain"]] == ["CN=Root"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"path_length": 1}, "path_length: an issuing CA signs clients only"),
        ({"issuer": {"path": "relative"}}, "is not an absolute path"),
        ({"issuer": {"path": "/nowhere"}}, "/nowhere, which is not on this host"),
        ({"renew": "new_key"}, "value of renew must be one of"),
        ({"renew_before": "soon"}, "renew_before: 'soon' is not a duration"),
        ({"path_length": 7}, "value of path_length must be one of"),
    ],
)
def test_bad_options_change_nothing(options: dict[str, Any], says: str, run: Run, root: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    result = run("ca", tmp_path / "issuing", **issuing(root, **options))
    assert result["failed"]
    assert says in result["msg"]
    assert sorted(tmp_path.rglob("*")) == before
