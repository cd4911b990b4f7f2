# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of _pki share: an authority on disk, a roster, and the real openssl command as a judge."""

from __future__ import annotations

import hashlib
import os
import subprocess
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._pki import crl, enrol, names, publication, revoke
from ansible_collections.quietdoor.mtls.plugins.module_utils._pki.authority import (
    Authority,
    AuthoritySpec,
    establish,
    open_authority,
)
from ansible_collections.quietdoor.mtls.plugins.module_utils._pki.keys import KeySpec
from ansible_collections.quietdoor.mtls.plugins.module_utils._pki.roster import Client, Rules

P256 = KeySpec("ecdsa", curve="P-256")
CRL_RULES = crl.Rules(timedelta(days=30), timedelta(days=15), timedelta(days=7))


def openssl(*arguments: str, fails: bool = False, **environment: str) -> str:
    """Return what the command wrote to both streams; its exit status has to be the expected one."""
    done = subprocess.run(
        ["openssl", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        env={**os.environ, **environment},
    )
    output = done.stdout.decode("utf-8", "replace")
    assert (done.returncode != 0) == fails, output
    return output


@dataclass
class Door:
    """An authority in a directory, at a moment of the test's choosing."""

    path: str
    passphrase: bytes | None = None
    now: datetime = field(default_factory=lambda: datetime.now(timezone.utc).replace(microsecond=0))
    rules: Rules = field(default_factory=lambda: Rules(timedelta(days=30), timedelta(days=14)))

    def create(self, common_name: str = "Test CA", key: KeySpec = P256, days: int = 3650, **options: Any) -> Any:
        """Make the authority, or keep it."""
        check_mode = options.pop("check_mode", False)
        spec = AuthoritySpec(names.build_name(common_name), key, timedelta(days=days), **options)
        return establish(self.path, spec, self.passphrase, self.now, check_mode=check_mode)

    def enrol(self, *clients: Client, check_mode: bool = False) -> list[enrol.Result]:
        """Bring the clients to their desired state."""
        if check_mode:
            return enrol.predict(self.path, list(clients), self.rules, self.passphrase, self.now)
        return enrol.bring_to_desired_state(self.path, list(clients), self.rules, self.passphrase, self.now)

    def actions(self, *clients: Client, check_mode: bool = False) -> list[str]:
        """The actions of enrol()."""
        return [result.action for result in self.enrol(*clients, check_mode=check_mode)]

    def revoke(self, reason: str = "unspecified", *, check_mode: bool = False, **target: str) -> list[revoke.Revoked]:
        """Revoke what target names."""
        return revoke.revoke(self.path, revoke.Target(**target), reason, self.now, check_mode=check_mode)

    def crl(self, rules: crl.Rules = CRL_RULES, *, check_mode: bool = False) -> crl.Outcome:
        """Keep the CRL."""
        return crl.keep(self.path, rules, self.passphrase, self.now, check_mode=check_mode)

    def publish(self, directory: Path, *former: Door, check_mode: bool = False) -> publication.Outcome:
        """Publish, with seven days as the least that a CRL may have left."""
        request = publication.Request(self.path, tuple(door.path for door in former), timedelta(days=7))
        return publication.publish(request, str(directory), self.now, check_mode=check_mode)

    def later(self, **delta: float) -> Door:
        """The same directory, later."""
        return replace(self, now=self.now + timedelta(**delta))

    def file(self, *parts: str) -> Path:
        """A file of the authority."""
        return Path(self.path, *parts)

    @property
    def authority(self) -> Authority:
        """The authority as it is on disk."""
        return open_authority(self.path)

    def openssl_ca(self, *arguments: str, fails: bool = False) -> str:
        """Work on the directory with the plain openssl command."""
        passphrase = (self.passphrase or b"").decode()
        secret = ("-passin", "env:AUTHORITY_PASSPHRASE") if passphrase else ()
        return openssl(
            "ca", "-batch", "-config", f"{self.path}/openssl.cnf", *secret, *arguments, fails=fails,
            AUTHORITY_PASSPHRASE=passphrase,
        )  # fmt: skip

    def digest(self) -> dict[str, str]:
        """Every file with its mode and contents, but the lock, to compare two moments."""
        return tree(Path(self.path))


def tree(directory: Path) -> dict[str, str]:
    """Every file below a directory with its mode and a digest of its contents; locks aside."""
    found = {}
    for path in sorted(directory.rglob("*")):
        if path.name == ".lock":
            continue
        what = "link " + os.readlink(path) if path.is_symlink() else "directory"
        if path.is_file() and not path.is_symlink():
            what = hashlib.sha256(path.read_bytes()).hexdigest()
        found[str(path.relative_to(directory))] = f"{path.lstat().st_mode:o} {what}"
    return found


def client(name: str = "alex", **changes: Any) -> Client:
    """A client on the roster."""
    defaults: dict[str, Any] = {
        "common_name": name.title(),
        "organization": None,
        "email": (f"{name}@example.org",),
        "roles": ("admin",),
        "key": P256,
        "valid_for": timedelta(days=365),
        "present": True,
        "reason": "cessationOfOperation",
        "bundle_profiles": (),
    }
    return Client(name=name, **{**defaults, **changes})


@pytest.fixture
def door(tmp_path: Path) -> Door:
    """An authority of its own for one test, with an unencrypted P-256 key."""
    made = Door(str(tmp_path / "ca"))
    made.create()
    return made


@pytest.fixture
def empty_door(tmp_path: Path) -> Door:
    """A place for an authority, with nothing there yet."""
    return Door(str(tmp_path / "ca"))


@pytest.fixture(name="client")
def client_fixture() -> Any:
    """The function that makes a client."""
    return client


@pytest.fixture(name="openssl")
def openssl_fixture() -> Any:
    """The function that runs openssl."""
    return openssl


@pytest.fixture(name="tree")
def tree_fixture() -> Any:
    """The function that digests a directory."""
    return tree
