# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check that no default of a rendered ``map``, ``geo`` or ``if`` opens a gate.

A ``map`` takes its default if nginx cannot evaluate an expression. So each default is listed here, with the reason why it is
closed or neutral.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.config_parser import parse
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.edge_profiles import PROFILES
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.edge_certificate_maps import render_certificate_maps
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.edge_maps import render_edge_maps
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.identity_maps import render_maps
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.publication_reader import (
    Identity,
    Issuer,
    Publication,
)
from gate_rendering import render

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.config_parser import Directive

_EDGE = {
    "source": "edge",
    "trusted_proxies": ["192.0.2.0/24", "2001:db8::1"],
    "edge": {"profile": "nginx", "certificate_authority": "edge.pem", "certificates": ["CN=edge"]},
}
_OPEN = {
    "stage": "fallback",
    "window": {
        "until": "2030-01-01T00:00:00Z",
        "networks": ["192.0.2.0/24"],
        "basic_auth": {"user_file": "/etc/nginx/users", "rate": "1r/s"},
    },
}
_PATH = {"mode": "path", "paths": ["/admin"], "allow": {"names": ["alex"]}, "rate_limit": {"rate": "1r/m"}}
_BY_PATH = {"manage": "snippets", "mode": "path", "paths": ["/admin/"], "certificate": None, "certificate_key": None}
_ALLOW = {"allow": {"names": ["alex"], "emails": ["a@b.test"], "roles": ["ops"]}}
_OBSERVE = {"stage": "observe"}
_SERVER = {"manage": "snippets", "certificate": None, "certificate_key": None}
_NETWORK = {"stage": "fallback", "window": {"until": "2030-01-01T00:00:00Z", "networks": ["192.0.2.0/24"]}}
SITES: dict[str, dict[str, Any]] = {
    "host": {},
    "host, allow, limits": {**_ALLOW, "rate_limit": {"rate": "1r/m"}, "hsts": True},
    "host, observe": {**_OBSERVE, **_ALLOW},
    "host, window": {**_NETWORK, "client_max_body_size": "1m"},
    "host, password": {**_OPEN, **_ALLOW, "rate_limit": {"rate": "1r/m"}},
    "host, password and service": {**_OPEN, "auth_request": "http://127.0.0.1:9000/x"},
    "path": {"mode": "path", "paths": ["/admin", "/x/y.php"], "client_max_body_size": "1m"},
    "path, loose": {"mode": "path", "paths": ["/admin"], "path_spelling": "loose"},
    "path, allow, limits": {**_PATH, "hsts": True},
    "path, observe": {**_PATH, **_OBSERVE},
    "path, window": {**_PATH, **_NETWORK},
    "path, password": {**_PATH, **_OPEN, "client_max_body_size": "1m"},
    "snippets": {**_SERVER, **_ALLOW},
    "snippets, observe": {**_SERVER, **_OBSERVE},
    "snippets, path": _BY_PATH,
    "snippets, path, observe": {**_BY_PATH, **_OBSERVE},
    "long names": {"mode": "path", "paths": ["/admin"], "server_names": ["a" * 60 + ".example"]},
    **{f"edge {name}": {**_EDGE, "edge": {**_EDGE["edge"], "profile": name}} for name in PROFILES},
    "edge by network": {**_EDGE, "edge": {"profile": "google", "authentication": "network"}, **_PATH},
}

# The name of a variable, S for the prefix of a site -> its defaults, and why nothing opens by them.
DEFAULTS: dict[str, set[str]] = {
    # Decisions: 0, deny, bad and undecided refuse. would-deny is the verdict of stage observe, which refuses nobody.
    "sni": {"0"},
    "verdict": {"deny", "$quietdoor_edge_verdict"},
    "direct_verdict": {"deny"},
    "edge_verdict": {"deny"},
    "S_admitted": {"deny"},
    "S_by_name": {"0"},
    "S_by_email": {"0"},
    "S_by_roles": {"0"},
    "S_named": {"0"},
    # No path begins with "undecided", so the maps that compare this text take their defaults.
    "S_written": {"undecided"},
    "S_hidden": {"undecided"},
    "S_spelling": {"undecided"},
    "S_place": {"undecided"},
    "S_place_now": {"undecided"},
    # The verdict without a good certificate; S_window is a separate map, and would-deny is as above.
    "S_verdict": {"deny", "would-deny", "$S_window"},
    "S_verdict_now": {"deny", "would-deny"},
    "S_listed": {"0"},
    "S_open": {"0"},
    "S_window": {"deny"},
    "good": {"0"},
    "good_by_serial": {"0"},
    "holder": {"0"},
    "issuer": {"0"},
    "presented_issuer": {"0"},
    # A certificate of an issuer without a number is denied: see denied_by_serial.
    "issuer_by_dn": {""},
    "denied": {"1"},
    "denied_by_serial": {"1"},
    "edge_denied": {"1"},
    # Nothing is known of the certificate, so issuer and serial decide.
    "known": {""},
    # No site has this slug, so it leads to the verdict of an edge that is not believed.
    "edge_site": {"-"},
    "edge_peer": {"0"},
    "edge_signal": {"none"},
    "S_edge_near": {"0"},
    "S_edge_fingerprint": {"0"},
    "S_edge_subject": {"0"},
    "S_edge_peer": {"0"},
    "S_edge_claim": {"bad", "none"},
    "S_edge_signal": {"bad"},
    # Empty, or an issuer 0, leads to no certificate.
    "S_edge_whose": {""},
    "S_edge_issuer_dn": {""},
    **{key: {""} for key in ("edge_serial", "edge_issuer_dn", "edge_sha256", "edge_sha256_base64", "edge_sha1")},
    **{key: {""} for key in ("edge_certificate", "edge_certificate_pem")},
    **{
        key: {""}
        for key in (
            f"edge_{spelling}_{what}"
            for spelling in ("certificate", "certificate_pem")
            for what in ("tail", "entry", "sha256")
        )
    },
    **{
        key: {""}
        for key in ("edge_sha256_head", "edge_sha256_entry", "edge_by_sha256", "edge_base64_entry", "edge_by_base64")
    },
    "edge_by_sha1": {""},
    "edge_issuer": {"0"},
    # Only a digest that was found names a certificate; else issuer and serial do, empty where the edge gives a digest.
    "edge_presented": {"$quietdoor_edge_issuer:$quietdoor_edge_serial"},
    # The identity that the application receives: empty, unless the certificate is good.
    **{key: {""} for key in ("name", "email", "roles", "name_by_serial", "email_by_serial", "roles_by_serial")},
    **{key: {""} for key in ("edge_name", "edge_email", "edge_roles", "edge_dn", "edge_client_issuer_dn")},
    **{key: {""} for key in ("edge_client_serial", "edge_client_sha1", "edge_verify")},
    "S_told_KEY": {"", "NONE"},
    "S_identity_N": {""},
    # Fields of the presented certificate from nginx; the usual issuer is a constant for an entry of trust. All keys are strings.
    "serial": {"$ssl_client_serial"},
    "subject_dn": {"$ssl_client_s_dn"},
    "issuer_dn": {"$ssl_client_i_dn", "CN=One"},
    # Words for the log and the page. S_window takes accepted, untrusted and others, but not undecided.
    "reason": {"$quietdoor_refusal", "$quietdoor_edge_reason"},
    "direct_reason": {"$quietdoor_refusal"},
    "refusal": {"undecided"},
    "edge_reason": {"undecided"},
    "S_reason": {"$S_refusal"},
    "S_reason_now": {"$S_reason"},
    "S_refusal": {"undecided"},
    "S_told": {"$S_verdict"},
    # A request counts as one with identity headers that the location does not replace.
    "S_brought": {"1"},
    "S_replaced": {"0"},
    "S_forged": {"1"},
    # For the log alone: the request was not refused as a forgery.
    "S_forgery": {"0"},
    "S_logged_verdict": {"$quietdoor_verdict", "$S_verdict", "$S_admitted"},
    "S_logged_reason": {"$quietdoor_reason", "$S_reason"},
    "page_reason": {"untrusted"},
    "page_finding": {"Your browser showed a certificate that was not issued for this site."},
    "page_advice": {
        "Close all windows of the browser, open this page again, and choose the certificate that was made for you for this "
        "site. If you have none, ask for one."
    },
    # The location for a bad certificate: the refusal, or one that requests the verdict itself.
    "S_bad_certificate": {"@quietdoor_refused"},
    "S_again": {"@quietdoor_bad_certificate"},
    # A request for a client with a bad certificate is logged, and not made.
    "S_first": {"undecided"},
    # A body counts as too large, a refusal and an attempt count.
    "S_oversized": {"1"},
    "S_counted": {"$binary_remote_addr", "$S_visitor"},
    "S_attempt": {"$binary_remote_addr"},
    # nginx asks for a password, which verdicts that need none switch off by a match.
    "S_realm": {"Side door"},
    # The source address of the connection, not that in a header.
    "S_visitor": {"$realip_remote_addr"},
    # Nothing is upgraded; a Host without its port; a header less.
    "upgrade": {""},
    "connection": {"close"},
    "host_port": {""},
    "own_port": {":$server_port"},
    "S_hsts": {""},
    # Constants without keys.
    "S_nobody": {""},
    "trust_generation": {"5"},
}
_CONSTANTS = {"page_style"}


def _name(variable: str) -> str:
    """Return the name of a variable as DEFAULTS has it."""
    name = variable.lstrip("$").removeprefix("quietdoor_").replace("site_panel", "S")
    name = re.sub(r"site_a{60}", "S", name)
    return re.sub(r"\A(S_identity_)\d+\Z", r"\1N", re.sub(r"\A(S_told_)\w+\Z", r"\1KEY", name))


def _texts(changes: dict[str, Any]) -> Iterator[str]:
    yield render("http.conf.j2", **changes)
    if changes.get("manage") == "snippets":
        for part in ("http", "server"):
            yield render("site.conf.j2", part=part, **changes)
        handlers = range(2 if changes.get("mode") == "path" else 1)
        for handler in handlers:
            yield render("location.conf.j2", handler=handler, **changes)
    else:
        yield render("site.conf.j2", **changes)


def _trust() -> Iterator[str]:
    issuers = (Issuer(1, "CN=One", "11" * 32), Issuer(12, "CN=Twelve", "12" * 32))
    people = (
        _identity("1:0A1B", sha1="ab" * 20, der="TUlJ" * 40, subject="CN=a"),
        _identity("12:0A1C", sha1="cd" * 20, der="TUlK" * 40, subject="CN=b"),
        _identity("1:0A1D"),
    )
    publication = Publication(5, {}, issuers, people, ("1:0A1E",))
    yield render_maps(publication, ('"~^12:"',))
    yield render_edge_maps(publication, ('"~^12:"',))
    yield from render_certificate_maps(publication).values()


def _identity(key: str, **more: str) -> Identity:
    return Identity(key, "alex", ("a@b.test",), ("x",), "ef" * 32, **more)


def _blocks(directives: Any, *names: str) -> Iterator[Directive]:
    for one in directives:
        if one.name in names:
            yield one
        yield from _blocks(one.block or (), *names)


def _wrong_defaults(text: str) -> list[tuple[str, str]]:
    found = []
    for one in _blocks(parse(text, "x.conf"), "map", "geo"):
        name = _name(one.args[-1])
        defaults = [
            entry.args[0].replace("$quietdoor_site_panel", "$S") for entry in one.block if entry.name == "default"
        ]
        assert len(defaults) == 1, f"{name} has no default, so it is empty"
        if name not in _CONSTANTS and defaults[0] not in DEFAULTS.get(name, set()):
            found.append((name, defaults[0]))
    return found


@pytest.mark.parametrize("site", SITES)
def test_every_default_of_a_gate_is_closed_or_neutral(site: str) -> None:
    for text in _texts(SITES[site]):
        assert _wrong_defaults(text) == []


def test_every_default_of_trust_is_closed_or_neutral() -> None:
    texts = list(_trust())
    assert [_wrong_defaults(text) for text in texts] == [[]] * len(texts)


def test_the_list_of_defaults_has_no_entry_too_many() -> None:
    texts = [*_trust(), *(text for changes in SITES.values() for text in _texts(changes))]
    seen = {_name(one.args[-1]) for text in texts for one in _blocks(parse(text, "x.conf"), "map", "geo")}
    assert set(DEFAULTS) | _CONSTANTS == seen


def test_a_default_that_opens_is_found() -> None:
    text = render("site.conf.j2", **_PATH)
    assert text.count("default undecided;") == 6
    opened = re.sub(r"(_spelling \{\n    default) undecided;", r"\1 public;", text)
    assert _wrong_defaults(opened) == [("S_spelling", "public")]


@pytest.mark.parametrize("site", SITES)
def test_no_rule_of_others_can_take_the_place_of_a_verdict(site: str) -> None:
    for text in _texts(SITES[site]):
        rules = [one.args for one in _blocks(parse(text, "x.conf"), "satisfy")]
        assert set(rules) <= {("all",)}
        assert len(rules) == sum(1 for line in text.splitlines() if line.strip() == "satisfy all;")


# A condition of one of these pages chooses a text; every one of them refuses.
_PAGES = {
    "$quietdoor_site_panel_verdict = public",
    "$quietdoor_sni = 0",
    "$quietdoor_site_panel_logged_reason = forged-identity",
}


def _wrong_conditions(text: str) -> list[str]:
    """Return conditions that refuse if a value is a certain one, or that let a request pass if it is not."""
    found = []
    for one in _blocks(parse(text, "x.conf"), "if"):
        words = " ".join(one.args).strip("()")
        returned = [inner.args for inner in one.block if inner.name == "return"]
        assert len(one.block) == len(returned) == 1, words
        refuses, positive = int(returned[0][0]) >= 400, not re.search(r" !(?:=|~\*?) ", words)
        page = words in _PAGES and len(returned[0]) == 2
        if refuses == positive and not page:
            found.append(words)
    return found


@pytest.mark.parametrize("site", SITES)
def test_every_condition_names_what_may_pass(site: str) -> None:
    for text in _texts(SITES[site]):
        assert _wrong_conditions(text) == []


def test_a_condition_that_names_what_is_refused_is_found() -> None:
    text = render("site.conf.j2", **_PATH)
    opened = re.sub(r'if \((\S+) !~ "[^"]+"\) \{', r"if (\1 = deny) {", text, count=1)
    assert _wrong_conditions(opened) == ["$quietdoor_site_panel_verdict = deny"]
