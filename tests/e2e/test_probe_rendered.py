# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The probe against gates as the role renders them, whole and with one guard taken out.

Most guards of a rendered gate are doubled. If the gate stays closed without one of them, the test asserts that and removes both.
The guarded places of an otherwise public site are not doubled for bad certificates: the map alone decides which of those
requests go on.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from support.ca import make_pair
from support.nginx import NginxInstance, free_port
from support.probe import probe, red
from support.probe_rendered import CONTACT, DENIED, Change, Rendered, application, chain, play

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


# --- the world ---


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rendered]:
    """The three sites, with both roles applied."""
    root = tmp_path_factory.mktemp("rendered")
    ports = {"own": free_port(23000, 23099), "shared": free_port(23100, 23199), "plain": free_port(23200, 23299)}
    foreign = make_pair(root / "foreign-ca", "Foreign", is_ca=True)
    idle = free_port(23400, 23499)
    with (
        application(root, free_port(23300, 23399)) as server,
        NginxInstance(root / "nginx", http=f"server {{ listen 127.0.0.1:{idle}; }}") as nginx,
    ):
        world = Rendered(root, nginx, ports, server, foreign)
        world.authority = chain(root / "chain")
        own = ports["own"]
        # Carl is still on the list: only the revocation refuses the client.
        listed = {"allow": {"names": ["alex", "carl"]}, "contact": CONTACT}
        limit = {"rate": "1r/m", "burst": 4}
        world.sites = [
            world.site("door", ["panel.test"], own, **listed, hsts=True, websocket=True),
            world.site("shop", ["wiki.test"], own, **listed, mode="path", paths=["/admin"]),
            world.site("limits", ["late.test"], own, contact=CONTACT, rate_limit=limit),
        ]
        world.go_live()
        yield world


# --- what is taken out ---


DOOR, SHOP, LIMITS = ("sites/door.conf", "sites/shop.conf", "sites/limits.conf")
REWRITE = Change(
    DOOR,
    r"    if \(\$quietdoor_sni != 1\) \{\n        return 403;\n    \}\n    if \(\S+ != cert\) \{\n        return 403;\n    \}",
)
ACCESS = Change(DOOR, r"auth_request /\.well-known/quietdoor/verdict;")
VERIFY = Change(DOOR, r"ssl_verify_client on;", "ssl_verify_client optional_no_ca;")
CRL = Change(DOOR, r"ssl_crl [^;]+;")
SNI = Change("gates/*/http.conf", r"(?<=\$quietdoor_sni \{\n)    default 0", "    default 1")
DEFAULT = Change(
    "gates/*/http.conf",
    r"ssl_reject_handshake on;",
    "ssl_certificate ../server.crt; ssl_certificate_key ../server.key;"
    " ssl_verify_client optional; ssl_client_certificate quietdoor/trust/ca.pem; ssl_verify_depth 2;",
)
STATUS = Change(
    DOOR,
    r"        if \(\S+ = cert\) \{\n            return 204;\n        \}\n        return 403;\n    \}\n\n    # Only 2xx",
    "        return 204;\n    }\n\n    # Only 2xx",
)

PLACES = Change(SHOP, r'(?<!quietdoor\(\?:/\|\\z\)") guarded;', " public;")
ROOT_CRL = Change("trusts/*/crl.pem", r"(-----END X509 CRL-----\n).*", "-----END X509 CRL-----\n")
SPELLINGS = Change(SHOP, r" odd;", " public;")
NAMED = Change(SHOP, r"(?<=_named \{\n)    default 0", "    default 1")
CARET = Change(SHOP, r"location \^~ ", "location ")
# As articles have it; the requests it takes away from the guarded path lose their identity.
PHP = Change(
    SHOP,
    r"(?=    location = \"?/admin\"? )",
    "    location ~ \\.php$ {\n        include quietdoor/gate/snippets/shop-public.conf;\n    }\n",
)
SHOP_ACCESS = Change(SHOP, r"(?m)^    auth_request /\.well-known/quietdoor/verdict;")

UNLISTED = {"not_allowed", "unlisted_page", "friendly_page"}
EITHER = {"friendly_page", "hostile_requests", "http2_requests", "internal_locations", "websocket"}
NOBODY = {"no_certificate", "header_spoofing"}
NOBODY_IN = {"valid", "identity_headers", "tls_versions", "http2_requests", "websocket"}
BAD = {"foreign", "look_alike", "self_signed", "expired", "revoked"}
UNAUTHENTICATED_CLIENTS = {"foreign", "look_alike"} | EITHER | {"spellings", "smuggling"}

OPEN = NOBODY | BAD | UNLISTED | UNAUTHENTICATED_CLIENTS - {"internal_locations", "websocket"}

MUTANTS: dict[str, tuple[str, tuple[Change, ...], set[str]]] = {
    "whole: guarded everywhere": ("door", (), set()),
    "whole: guarded in part": ("shop", (), set()),
    "one of two: the CRL": ("door", (CRL,), set()),
    "one of two: the deny list": ("door", (DENIED,), set()),
    "one of two: the decision in the rewrite phase": ("door", (REWRITE,), set()),
    "one of two: the decision in the access phase": ("door", (ACCESS,), set()),
    "one of two: the server name": ("door", (SNI,), set()),
    "one of three: nginx's own verification": ("door", (VERIFY,), set()),
    "CRL and deny list": ("door", (CRL, DENIED), {"revoked", "friendly_page"}),
    "the root's CRL": ("door", (ROOT_CRL,), {"unlisted_page"} | NOBODY_IN),
    "both decisions": ("door", (REWRITE, ACCESS), UNLISTED),
    "verification and both decisions": ("door", (VERIFY, REWRITE, ACCESS), NOBODY | UNAUTHENTICATED_CLIENTS | UNLISTED),
    "the allow list": ("door", (Change(DOOR, r"\^cert:0\*1", "^cert:"),), UNLISTED),
    "server name and default server": ("door", (SNI, DEFAULT), {"sni_none", "sni_unknown", "sni_other"}),
    "status location and both decisions": ("door", (STATUS, REWRITE, ACCESS), UNLISTED),
    "a plain port and both decisions": (
        "door",
        (Change(DOOR, r"(?<=server \{\n)", "    listen 127.0.0.1:PLAIN;\n"), REWRITE, ACCESS),
        {"plain_ports"} | UNLISTED,
    ),
    "the headers of one location": (
        "door",
        (Change(DOOR, r"include quietdoor/gate/snippets/door-\S+;", "proxy_set_header X-A b; proxy_pass APP;"),),
        {"identity_headers", "valid", "http2_requests", "websocket"},
    ),
    "one header": ("door", (Change("snippets/door-*.conf", r"proxy_set_header X-Client-Roles [^;]+;"),), {"identity_headers"}),
    "the way of bad certificates": ("door", (Change(DOOR, "error_page 403 495 496", "error_page 403 496"),), BAD | EITHER),
    "the refusal's verdict": (
        "door",
        (Change(DOOR, r"add_header X-Quietdoor-Verdict deny always;"),),
        {"tls_versions"} | NOBODY | BAD | UNAUTHENTICATED_CLIENTS | UNLISTED,
    ),
    "no resumption": (
        "door",
        (
            Change("*.conf", r"ssl_session_cache off;", "ssl_session_cache shared:mutant:1m;"),
            Change("*.conf", r"ssl_session_tickets off;"),
            Change("*.conf", r"ssl_conf_command Options -SessionTicket;"),
        ),
        {"resumption"},
    ),
    "always, of HSTS": ("door", (Change(DOOR, r"_hsts always;", "_hsts;"),), {"hsts"}),
    "HSTS without preload": ("door", (Change(DOOR, r'on "max-age', 'on "preload; max-age'),), {"hsts"}),
    "TLS 1.2 as the lowest": (
        "door",
        (
            Change("*.conf", r"ssl_protocols TLSv1\.2", "ssl_protocols TLSv1 TLSv1.1 TLSv1.2"),
            Change("*.conf", r"ssl_ciphers [^;]+;|(?<=ssl_reject_handshake on;)", "ssl_ciphers DEFAULT:@SECLEVEL=0;"),
        ),
        {"tls_versions"},
    ),
    "the names of the CAs": (
        "door",
        (Change(DOOR, r"ssl_client_certificate [^;]+;", "ssl_client_certificate ../server.crt;"),),
        {"ca_names"},
    ),
    "HTTP/2": ("door", (Change("*.conf", r"(?<= ssl) http2|    http2 on;\n"),), {"http2"}),
    "the redirect of plain HTTP": ("door", (Change(DOOR, r"error_page 497[^;]+;"),), {"plain_http_on_tls_port"}),
    "the upgrade": ("door", (Change("snippets/door-*.conf", r"proxy_set_header Upgrade [^;]+;"),), {"websocket"}),
    "the contact": ("door", (Change(DOOR, CONTACT, "somebody"),), {"friendly_page"}),
    "the generation": ("door", (Change("gates/*/generation.conf", r"\b1\b", "7"),), {"generation"}),
    "the guarded places": ("shop", (PLACES,), OPEN | {"identity_headers", "valid"}),
    "one of two: the decision in the access phase, of a path": ("shop", (SHOP_ACCESS,), set()),
    # The location of a guarded path checks the verdict again: a request that counts as public gets 404, also with a certificate.
    "places, spellings and the decision in the access phase": (
        "shop",
        (PLACES, SPELLINGS, SHOP_ACCESS),
        OPEN | {"identity_headers", "valid"},
    ),
    "one of two: the longest prefix, of a path": ("shop", (CARET,), set()),
    "one of two: a regular expression beside a path": ("shop", (PHP,), set()),
    "the longest prefix of a path": ("shop", (CARET, PHP), {"identity_headers"}),
    "one of three: the server name, in part": ("shop", (NAMED,), set()),
    "two of three: both server names, in part": ("shop", (NAMED, SNI), set()),
    "server names and default server, in part": ("shop", (NAMED, SNI, DEFAULT), {"sni_none", "sni_unknown", "sni_other"}),
    "the other spellings": ("shop", (SPELLINGS,), {"spellings"}),
    "the way of bad certificates to the public part": (
        "shop",
        (Change(SHOP, "error_page 495 = @quietdoor_bad_certificate", "error_page 495 = @quietdoor_refused"),),
        {"public_part", "public_headers"},
    ),
    "the headers of the public part": (
        "shop",
        (Change("snippets/shop-public.conf", r"proxy_set_header X-Client-Name [^;]+;"),),
        {"public_headers"},
    ),
    "the limit": ("limits", (Change(LIMITS, r"limit_req zone=[^;]+;"),), {"rate_limit"}),
    "whole: a limit": ("limits", (), set()),
}  # fmt: skip


@pytest.mark.parametrize("what", MUTANTS)
def test_removed_line_fails_exactly_its_checks(world: Rendered, tmp_path: Path, what: str) -> None:
    site, changes, expected = MUTANTS[what]
    world.serve(changes)
    # The limit of refusals is used up by the other checks, so it is looked at alone.
    wanted = ("rate_limit",) if site == "limits" else ()
    outcome = probe(tmp_path, world.options(site, plain_ports=[world.ports["plain"]]), wanted)
    assert red(outcome) == expected, outcome["table"]


# --- the playbook ---


def test_the_playbook_prints_the_table_and_writes_the_report(world: Rendered, tmp_path: Path) -> None:
    world.serve(())
    report = tmp_path / "report.json"
    code, output = play(world, report, "--check")
    assert code == 0, output
    assert not report.exists()

    code, output = play(world, report, expect_hsts="present", guarded_paths=["/admin", "/x"])
    assert code == 0, output
    reported = json.loads(report.read_text())
    assert reported["deviations"] == 0
    assert reported["passed"] == len(reported["checks"]) > 40
    assert {"valid", "revoked", "not_allowed", "unlisted_page", "expired", "hsts"} <= {
        one["name"] for one in reported["checks"]
    }
    assert re.search(r"ok +revoked +revoked +403 deny +403 deny", output)
    assert "WARNING" not in output.replace("[WARNING]: Deprecation", "")


def test_playbook_fails_with_a_check_and_still_reports_everything(world: Rendered, tmp_path: Path) -> None:
    world.serve((CRL, DENIED))
    report = tmp_path / "report.json"
    code, output = play(world, report, checks="revoked,no_certificate")
    assert code == 2
    assert "The gate deviates in 1 of 2 cases." in output
    assert re.search(r"FAIL +revoked +revoked +403 deny +200 without verdict", output)
    assert json.loads(report.read_text())["deviations"] == 1


def test_playbook_names_missing_variables(world: Rendered, tmp_path: Path) -> None:
    code, output = play(world, tmp_path / "none.json", url="")
    assert code == 2
    assert "probe_url: the URL, a certificate or a key is missing" in output
    code, output = play(world, tmp_path / "none.json", key="")
    assert code == 2
    assert "each certificate together with its key" in output
