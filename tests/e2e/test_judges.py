# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check gates and bundles with other programs: gixy on the configuration, sslyze on TLS, browsers.

The browsers import the bundles. Screenshots of the pages remain in .cache/screenshots/.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from support.lab import Lab, built, make_certificate, write_pair

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT = Path(__file__).parents[2]
SCREENSHOTS = CHECKOUT / ".cache" / "screenshots"
POLICIES = Path("/etc/chromium/policies/managed")
SEED = 20261123
# Nothing answers at these upstreams: they are read, not used.
SHAPES = {
    "listed": {"allow": {"names": ["alex"], "emails": ["bea@example.org"], "roles": ["db:read"]}},
    "limited": {"rate_limit": {"rate": "10r/m"}, "hsts": {"max_age": "730d", "include_subdomains": True}},
    "asking": {"auth_request": "http://127.0.0.1:9/decide", "hsts": True},
    "rpc": {"upstream": "grpc://127.0.0.1:9"},
    "secure-rpc": {"upstream": "grpcs://127.0.0.1:9", "upstream_ca": "{ca}"},
    "secure": {"upstream": "https://127.0.0.1:9", "upstream_ca": "{ca}", "websocket": True, "hsts": True},
    "php": {"upstream": "fastcgi://127.0.0.1:9", "fastcgi_script": "/srv/panel/index.php"},
    "files": {"upstream": "/srv/files"},
    "shop": {"mode": "path", "paths": ["/admin/", {"path": "/x.php", "upstream": "http://127.0.0.1:9"}], "hsts": True},
    "shop-php": {
        "mode": "path",
        "paths": ["/admin"],
        "upstream": "fastcgi://127.0.0.1:9",
        "fastcgi_script": "/srv/shop/index.php",
        "rate_limit": {"rate": "1r/s", "burst": 0},
    },
    "shop-files": {
        "mode": "path",
        "paths": ["/admin"],
        "upstream": "/srv/shop",
        "auth_request": "http://127.0.0.1:9",
        "allow": {"roles": ["ops"]},
    },
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A gate in mode host, one in mode path, and beside them one of every other shape."""
    with built(tmp_path_factory.mktemp("judges"), SEED, clients=2) as lab:
        lab.variables["authority_bundle_profiles"] = ["modern", "compat"]
        issuer = make_certificate("Server CA", eku=None, is_ca=True)
        ca, _key = write_pair(lab.root / "tls" / "ca", *issuer)
        for site in lab.sites:
            pair = make_certificate(
                site.server_name, issuer=issuer, eku=ExtendedKeyUsageOID.SERVER_AUTH, dns=(site.server_name,)
            )
            write_pair(lab.root / "tls" / site.name, *pair)
        lab.sites[1].entry |= {"mode": "path", "paths": ["/admin/"]}
        first = lab.sites[0].entry
        shapes = [
            {**first, "name": name, "server_names": [f"{name}.example"], **_filled(shape, ca)}
            for name, shape in SHAPES.items()
        ]
        run = lab.play(gate_sites=[*(site.entry for site in lab.sites), *shapes])
        assert run.code == 0, run.output
        yield lab


def _filled(shape: dict, ca: Path) -> dict:
    return {key: str(ca) if value == "{ca}" else value for key, value in shape.items()}


def _judge(name: str) -> str:
    found = shutil.which(name, path=f"{CHECKOUT}/.cache/judges/bin:{os.environ['PATH']}")
    assert found, f"{name} is not here. tools/judges.sh installs it"
    return found


# --- gixy: the configuration ---

# Findings of gixy -> why the gate keeps them. A finding that is missing here fails the test, as does an entry without a finding.
EXPLAINED = {
    ("weak_ssl_tls", "No ssl_ciphers directive found"): "only the default server, which ends every handshake",
    (
        "hsts_header",
        "No Strict-Transport-Security header found",
    ): "only where it is asked for, because it binds browsers for long",
    (
        "http_splitting",
        '"$ssl_client_verify" can contain',
    ): "SUCCESS, NONE, or FAILED with one of OpenSSL's own sentences",
    ("http_splitting", '"$quietdoor_subject_dn" can contain'): "RFC 2253, in which OpenSSL writes a line break as \\0A",
    ("http_splitting", '"$quietdoor_issuer_dn" can contain'): "likewise",
    ("http_splitting", '"$quietdoor_serial" can contain'): "a number in hex",
    (
        "try_files_is_evil_too",
        "without open_file_cache",
    ): "only on the way to the refusal page, where a limit has to be passed first",
}


def _gixy(conf_file: Path) -> list[dict]:
    """Return the findings of gixy, which knows no subroutines and no possessive quantifiers of PCRE: copies go without them."""
    copy = Path(tempfile.mkdtemp(prefix="gixy-")) / "nginx"
    try:
        shutil.copytree(conf_file.parent, copy, symlinks=True, ignore=shutil.ignore_patterns("*.pid"))
        for path in [copy / conf_file.name, *(copy / "quietdoor").rglob("*.conf")]:
            text = path.read_text().replace(str(conf_file.parent), str(copy))
            text = re.sub(r'^ +"~[^"]*\(\?[\d(][^"]*" \S+;\n', "", text, flags=re.MULTILINE)
            path.write_text(re.sub(r'(?<=[*+?}])\+(?=[^"\n]*" \S+;$)', "", text, flags=re.MULTILINE))
        argv = [_judge("gixy"), "--format", "json", str(copy / conf_file.name)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    finally:
        shutil.rmtree(copy.parent)
    assert done.stdout, done.stderr
    return json.loads(done.stdout.replace(str(copy), str(conf_file.parent)))


def _explanation(finding: dict) -> tuple[str, str] | None:
    matching = [key for key in EXPLAINED if key[0] == finding["plugin"] and key[1] in finding["reason"]]
    return matching[0] if matching else None


def test_gixy_finds_nothing_that_is_not_explained(lab: Lab) -> None:
    # nginx.conf is that of the test.
    findings = [one for one in _gixy(lab.nginx.conf_file) if one["file"] != str(lab.nginx.conf_file)]
    unknown = [one for one in findings if _explanation(one) is None]
    assert not unknown, json.dumps(unknown, indent=1)
    assert {_explanation(one) for one in findings} == set(EXPLAINED)
    ciphers = {Path(one["file"]).name for one in findings if one["plugin"] == "weak_ssl_tls"}
    assert ciphers == {"http.conf"}, "every site names its own"
    lacking = "".join(one["config"] for one in findings if one["plugin"] == "hsts_header")
    assert "server_name listed.example" in lacking
    assert not [name for name, shape in SHAPES.items() if "hsts" in shape and f"server_name {name}.example" in lacking]


def test_gixy_does_find_what_is_wrong(lab: Lab, tmp_path: Path) -> None:
    """The judge reads the files of the gate: a fault put into one of them is found there."""
    copy = tmp_path / "nginx"
    shutil.copytree(lab.nginx.prefix, copy, symlinks=True, ignore=shutil.ignore_patterns("*.pid"))
    conf_file = copy / "nginx.conf"
    conf_file.write_text(conf_file.read_text().replace(str(lab.nginx.prefix), str(copy)))
    snippet = copy / "quietdoor" / "gate" / "snippets" / "secure-proxy.conf"
    sound = snippet.read_text()
    faulty = sound.replace("proxy_set_header Host $host$quietdoor_host_port;", "proxy_set_header Host $http_host;")
    assert faulty != sound
    snippet.write_text(faulty)
    unknown = [one for one in _gixy(conf_file) if _explanation(one) is None]
    assert ("host_spoofing", str(snippet.resolve())) in {
        (one["plugin"], str(Path(one["file"]).resolve())) for one in unknown
    }


# --- sslyze: the door ---


def test_sslyze_sees_two_protocols_no_resumption_and_a_wish_for_a_certificate(lab: Lab, tmp_path: Path) -> None:
    protocols = ["ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1", "tls_1_2", "tls_1_3"]
    flags = ["--sslv2", "--sslv3", "--tlsv1", "--tlsv1_1", "--tlsv1_2", "--tlsv1_3", "--resum", "--early_data"]
    report = tmp_path / "sslyze.json"
    targets = [f"{site.server_name}:{site.port}{{127.0.0.1}}" for site in lab.sites]
    argv = [_judge("sslyze"), "--mozilla_config=disable", f"--json_out={report}", *flags, *targets]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert report.exists(), done.stdout + done.stderr
    answers = json.loads(report.read_text())["server_scan_results"]
    assert len(answers) == 2, done.stdout
    for answer in answers:
        scans = {name: scan["result"] for name, scan in answer["scan_result"].items() if scan["result"]}
        spoken = [name for name in protocols if scans[f"{name}_cipher_suites"]["is_tls_version_supported"]]
        assert spoken == ["tls_1_2", "tls_1_3"]
        # The handshake requests a certificate and never enforces it: a client without one is to see the page.
        assert answer["connectivity_result"]["client_auth_requirement"] == "OPTIONAL"
        for way in ("session_id_resumption_result", "tls_ticket_resumption_result"):
            assert scans["session_resumption"][way] == "NOT_SUPPORTED"
        assert scans["tls_1_3_early_data"]["supports_early_data"] is False


# --- bundles: the store of Firefox and Chromium ---


def _certutil(store: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["certutil", *arguments, "-d", f"sql:{store}"], capture_output=True, text=True, check=False, timeout=60
    )


def _store(path: Path) -> Path:
    path.mkdir(parents=True)
    made = _certutil(path, "-N", "--empty-password")
    assert made.returncode == 0, made.stderr
    return path


def _take_in(store: Path, bundle: Path, passphrase_file: Path) -> None:
    argv = ["pk12util", "-i", str(bundle), "-d", f"sql:{store}", "-w", str(passphrase_file)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def _listed(store: Path) -> dict[str, str]:
    """Return the content of the store: nickname -> trust flags."""
    lines = re.findall(r"^(\S.*?) +([A-Za-z]*,[A-Za-z]*,[A-Za-z]*) *$", _certutil(store, "-L").stdout, re.MULTILINE)
    return dict(lines)


@pytest.mark.parametrize("ending", ["p12", "compat.p12"])
def test_firefox_store_accepts_the_bundle_for_a_client(lab: Lab, tmp_path: Path, ending: str) -> None:
    store = _store(tmp_path / "firefox")
    name = lab.roster[0]["name"]
    _take_in(store, lab.client(name, ending), lab.client(name, "passphrase"))
    listed = _listed(store)
    own = [nickname for nickname, flags in listed.items() if flags == "u,u,u"]
    chain = [nickname for nickname in listed if nickname not in own]
    assert len(own) == 1, listed
    assert len(chain) == 1, "the chain comes along"
    usable = ("-V", "-n", own[0], "-u", "C", "-e")
    assert "valid" not in _certutil(store, *usable).stdout.replace("invalid", ""), "its CA is not trusted by the import"
    assert _certutil(store, "-M", "-n", chain[0], "-t", "T,,").returncode == 0
    assert "certificate is valid" in _certutil(store, *usable).stdout
    assert "certificate is valid" not in _certutil(store, "-V", "-n", own[0], "-u", "V", "-e").stdout, "not a server's"


# --- a browser ---


class Browser:
    """A headless Chromium with a home of its own."""

    def __init__(self, lab: Lab, home: Path) -> None:
        self.lab = lab
        self.home = home
        self.store = _store(home / ".pki" / "nssdb")
        trusted = _certutil(self.store, "-A", "-n", "server-ca", "-t", "C,,", "-i", str(lab.root / "tls" / "ca.crt"))
        assert trusted.returncode == 0, trusted.stderr
        self.visits = 0

    def page(self, url: str) -> str:
        """Return the page as the browser understood it."""
        return self._run(url, "--dump-dom")

    def photograph(self, url: str, name: str, size: str = "1000,760") -> None:
        """Leave a picture of the page in .cache/screenshots/."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        picture = SCREENSHOTS / f"{name}.png"
        picture.unlink(missing_ok=True)
        self._run(url, f"--screenshot={picture}", f"--window-size={size}")
        assert picture.read_bytes().startswith(b"\x89PNG")

    def _run(self, url: str, *arguments: str) -> str:
        self.visits += 1
        hosts = ", ".join(f"MAP {site.server_name} 127.0.0.1" for site in self.lab.sites)
        argv = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
        argv += ["--disable-background-networking", "--disable-component-update", f"--host-resolver-rules={hosts}"]
        argv += [f"--user-data-dir={self.home}/profile-{self.visits}", *arguments, url]
        environment = {**os.environ, "HOME": str(self.home), "XDG_RUNTIME_DIR": str(self.home)}
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def chooses(lab: Lab) -> Iterator[None]:
    """Chromium shows a certificate without asking a person.

    It reads policies from one directory of the machine and nowhere else, so the file is there only while the test runs, and
    one test at a time; it speaks of the names of this lab alone.
    """
    with contextlib.ExitStack() as stack:
        made = [path for path in (POLICIES, *POLICIES.parents) if not path.exists()]
        POLICIES.mkdir(parents=True, exist_ok=True)
        directory = os.open(POLICIES, os.O_RDONLY)
        stack.callback(os.close, directory)
        fcntl.flock(directory, fcntl.LOCK_EX)
        policy = POLICIES / "quietdoor-mtls-tests.json"
        patterns = [json.dumps({"pattern": f"https://{site.server_name}", "filter": {}}) for site in lab.sites]
        policy.write_text(json.dumps({"AutoSelectCertificateForUrls": patterns}))
        for path in reversed(made):
            stack.callback(_remove_if_empty, path)
        stack.callback(policy.unlink)
        yield


def _remove_if_empty(directory: Path) -> None:
    with contextlib.suppress(OSError):
        directory.rmdir()


def test_browser_without_a_bundle_shows_the_page_with_the_contact(lab: Lab, tmp_path: Path, chooses: None) -> None:
    browser = Browser(lab, tmp_path)
    before = lab.reached()
    for site, url, title in (
        (lab.sites[0], lab.sites[0].url, "This site opens only with your certificate"),
        (lab.sites[1], f"{lab.sites[1].url}admin/", "This page opens only with your certificate"),
    ):
        page = browser.page(url)
        assert title in page
        assert "Your browser did not show a certificate." in page
        assert site.entry["contact"].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") in page
        assert "You are in" not in page
    assert lab.reached() == before
    browser.photograph(lab.sites[0].url, "page-without-certificate")
    browser.photograph(lab.sites[0].url, "page-without-certificate-narrow", "500,900")
    assert "Public page" in browser.page(lab.sites[1].url)


def test_browser_with_the_imported_bundle_is_admitted(lab: Lab, tmp_path: Path, chooses: None) -> None:
    browser = Browser(lab, tmp_path)
    name = lab.roster[0]["name"]
    _take_in(browser.store, lab.client(name, "p12"), lab.client(name, "passphrase"))
    for url in (lab.sites[0].url, f"{lab.sites[1].url}admin/"):
        assert f"You are in, <b>{name}</b>." in browser.page(url)
    browser.photograph(lab.sites[0].url, "panel-with-certificate")
    public = browser.page(lab.sites[1].url)
    assert "Public page" in public
    assert name not in public, "the public part is not told who it is"
