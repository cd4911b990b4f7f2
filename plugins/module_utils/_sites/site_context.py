# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute the data of template `site.conf.j2`: verdict sets, conditions, variable names and keys of maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._contracts.log_format import render_log_format
from .._contracts.paths import ANCHORS, TRUST
from .._contracts.publication_format import CHAIN
from .._contracts.stages import OPEN
from .._nginx.quoting import quote
from .._nginx.request_timeouts import OF_GATES
from .template_context import describe_site

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .models import Site

# A complete file; the part at http level; the part that a server of the operator includes.
PARTS = ("whole", "http", "server")
# The reasons with which the fallback window is open to a client: all but a revoked certificate and one that nginx could not
# judge.
WINDOW_REASONS = (
    "accepted",
    "no-certificate",
    "untrusted",
    "expired",
    "not-yet-valid",
    "wrong-purpose",
    "crl-unusable",
)
# nginx takes these as an answer of the access phase, or makes them itself.
_ANSWERS = (401, 403, 499)
# A longer key does not fit into the default map_hash_bucket_size.
_LONGEST_KEY = 46


def site_context(
    site: Site, part: str, *, log_path: str, log_format: str, http2_tokens: Iterable[str]
) -> dict[str, Any]:
    """Return the context of template ``site.conf.j2``.

    :param part: one of ``PARTS``.
    :param log_path: the directory of the access logs.
    :param log_format: ``json`` or ``combined``.
    :param http2_tokens: the addresses whose ``listen`` switches HTTP/2 on.
    """
    described, decided = describe_site(site), _Decisions(site, part)
    own, by_path = decided.own, decided.by_path
    limit, password = described["rate_limit"], decided.basic_auth
    return {
        "site": described,
        "part": part,
        "is_whole": decided.is_whole,
        "header_timeout": OF_GATES,
        "is_open": decided.is_open,
        "by_path": by_path,
        "rewritten": decided.rewritten,
        "own": own,
        "edge": described["edge"],
        "basic_auth": password,
        "admitted": decided.admitted,
        "verdict": decided.verdict,
        "outsider": decided.outsider,
        "default_verdict": "would-deny" if site.stage == "observe" else "deny",
        "reason": decided.reason,
        "logged_reason": decided.logged_reason,
        "logged_verdict": decided.logged_verdict,
        "page_reason": decided.page_reason,
        "refuses_forgery": site.detects_forgery and site.refuse_forged_headers and site.stage != "observe",
        "forgery_verdict": decided.forgery_verdict,
        "identity_header_values": "".join(map(_request_header, described["identity_headers"])),
        "place": f"{own}_named:{own}_place" if by_path else "1:guarded",
        "bearable_reasons": "|".join(WINDOW_REASONS),
        "conditions": decided.conditions(),
        "invalid_certificate_handlers": decided.invalid_certificate_handlers(described["handlers"]),
        "invalid_certificate": decided.invalid_certificate(),
        "reproxied_verdicts": decided.reproxied,
        "reproxied_key": decided.reproxied_key(),
        "reproxy_question": "public" if by_path else "verdict",
        "guarded_handlers": _guarded_first(described["handlers"]) if by_path else [],
        "path_handlers": _path_handlers(described["handlers"]),
        "last_handler": described["handlers"][-1]["key"],
        "allow_rules": (rules := _allow_rules(described, own)),
        "allow_key": "".join(rule["variable"] for rule in rules),
        "server_names": " ".join(site.server_names),
        "server_name_keys": [_name_key(name) for name in site.server_names],
        "http2_by_listen": set(http2_tokens),
        "verify_client": decided.verify_client(),
        "trusted_cas": f"{TRUST}/{ANCHORS if site.revocation == 'map' else CHAIN}",
        "access_log": quote(f"{log_path}/quietdoor-{site.name}.log"),
        "log_format": _log_format(described, decided, log_format),
        "counted_address": f"{own}_visitor" if site.edge else "$binary_remote_addr",
        "password_burst": _burst(password),
        "refusal_burst": _burst(limit),
        "refusal_page": "@quietdoor_page" if limit else "@quietdoor_refused",
        "error_statuses": " ".join(str(status) for status in range(300, 600) if status not in _ANSWERS),
        "told_headers": [
            {**header, "without": "NONE" if header["key"] == "verify" else '""'}
            for header in described["identity_headers"]
        ],
        "contact": described["contact_html"] or "The people who gave you the address of this site.",
    }


class _Decisions:
    """The verdicts of a site, and the requests that pass with each of them."""

    def __init__(self, site: Site, part: str) -> None:
        self.site = site
        self.own = f"$quietdoor_site_{site.slug}"
        self.is_whole = part == "whole"
        self.by_path = site.mode == "path"
        self.is_open = site.stage in OPEN
        self.basic_auth = describe_site(site)["window"].get("basic_auth", {})
        self.admitted = f"{self.own}_admitted" if site.allow.restricted else "$quietdoor_verdict"
        self.verdict = f"{self.own}_verdict" if self.by_path or self.is_open else self.admitted
        self.reason = f"{self.own}_reason" if self.by_path or site.allow.restricted else "$quietdoor_reason"
        # A rewrite in the operator's server can make a guarded address of a public one. In stage observe only the log
        # reports that.
        self.rewritten = self.by_path and not self.is_whole and site.stage == "observe"
        # In the operator's server a location without the snippet can pass on an identity header of the client.
        self.page_reason = f"{self.own}_logged_reason" if site.detects_forgery else self.reason
        self.logged_reason = f"{self.own}_reason_now" if self.rewritten else self.page_reason
        self.outsider = {"observe": "would-deny", "fallback": f"{self.own}_window"}.get(site.stage, "deny")
        #: the verdicts of clients without a valid certificate that pass.
        self.without_certificate = self._without_certificate()
        #: the verdicts with which a request goes on although nginx answers its certificate with an error.
        self.reproxied = [*(["public"] if self.by_path else []), *(["would-deny"] if site.stage == "observe" else [])]

    @property
    def logged_verdict(self) -> str:
        """The variable for the log. The password is checked after the verdict, so the verdict is derived from the response."""
        if self.basic_auth:
            return f"{self.own}_told"
        if self.site.detects_forgery:
            return f"{self.own}_logged_verdict"
        return f"{self.own}_verdict_now" if self.rewritten else self.verdict

    @property
    def forgery_verdict(self) -> str:
        """The verdict for the log about a valid certificate with forged identity headers."""
        if not self.site.refuse_forged_headers:
            return "cert"
        return "would-deny" if self.site.stage == "observe" else "deny"

    def _without_certificate(self) -> list[str]:
        if self.site.stage == "observe":
            return ["would-deny"]
        if self.site.stage == "fallback":
            return ["fallback", "ask"] if self.basic_auth else ["fallback"]
        return []

    def conditions(self) -> dict[str, str]:
        """Return the conditions of ``if`` directives; empty where no verdict fulfils one, which no template then asks for."""
        passing = ["cert", *self.without_certificate]
        answered = [verdict for verdict in passing if verdict != "ask"]
        public = ["public"] if self.by_path else []
        return {
            "refused": _is_not(self.verdict, [*passing, *public]),
            "passes": _is(self.verdict, passing),
            "without_verdict": _is_not(self.verdict, passing),
            "answered": _is(self.verdict, answered),
            "observed": _is(self.verdict, [*answered, *(["public"] if self.rewritten else [])]),
            "without_certificate": _is(self.verdict, self.without_certificate),
            "public": _is(self.verdict, ["public", *(["would-deny"] if self.site.stage == "observe" else [])]),
            "not_reproxied": _is_not(self.verdict, self.reproxied),
        }

    def invalid_certificate_handlers(self, handlers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the locations for requests whose certificate nginx answers with an error, and the refused verdicts."""
        found = []
        for handler in handlers if self.is_whole else ():
            identity = handler["identity"]
            if not self.is_open and identity:
                continue
            passing = self.without_certificate if identity or self.site.stage == "observe" else []
            refused = _is_not(self.verdict, [*([] if identity else ["public"]), *passing])
            suffix = "" if handler == handlers[-1] else f"_{handler['key']}"
            found.append({"suffix": suffix, "refused": refused, "identity": identity, "key": handler["key"]})
        return found

    def invalid_certificate(self) -> str:
        """Return the target of ``error_page 495``, where requests with an invalid certificate can go on."""
        if self.site.comes_again:
            return f"{self.own}_bad_certificate"
        return f"{self.own}_again" if self.is_open else "@quietdoor_bad_certificate"

    def reproxied_key(self) -> str:
        """Return the key of the second, internal request of a client with an invalid certificate."""
        address = self.site.listen[0].reachable_at.replace(".", "\\.")
        return quote(f"~^(?:{'|'.join(self.reproxied)}):{address}:.")

    def verify_client(self) -> str:
        """Return the value of ``ssl_verify_client``."""
        if self.site.edge and not self.site.edge.by_certificate:
            return "off"
        return "optional" if self.by_path or self.is_open else "on"


def _is(variable: str, words: Sequence[str]) -> str:
    return _condition(variable, words, "=", "~")


def _is_not(variable: str, words: Sequence[str]) -> str:
    return _condition(variable, words, "!=", "!~")


def _condition(variable: str, words: Sequence[str], equals: str, matches: str) -> str:
    if not words:
        return ""
    if len(words) == 1:
        return f"{variable} {equals} {words[0]}"
    return f'{variable} {matches} "^(?:{"|".join(words)})\\z"'


def _name_key(name: str) -> str:
    """Return a key for a map that is one host name in any case."""
    if len(name) <= _LONGEST_KEY:
        return quote(name)
    return quote("~*^" + name.replace(".", "\\.") + "\\z")


def _allow_rules(described: Mapping[str, Any], own: str) -> list[dict[str, Any]]:
    return [
        {"source": described["visitor"][what], "variable": f"{own}_by_{what}", "entries": keys}
        for what, keys in described["allow"].items()
        if keys
    ]


def _guarded_first(handlers: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the guarded paths, the longest of several that begin alike first."""
    guarded = [handler for handler in handlers if handler["identity"]]
    return sorted(guarded, key=lambda handler: str(handler["path"]).lower(), reverse=True)


def _path_handlers(handlers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {**handler, "exact": quote(handler["path"]), "prefix": quote(f"{handler['path']}/")}
        for handler in handlers
        if handler["path"] != "/"
    ]


def _request_header(header: Mapping[str, Any]) -> str:
    """Return the variable of a header of the request. Hyphens and underscores in its name are the same there."""
    return f"$http_{header['name'].lower().replace('-', '_')}"


def _burst(limit: Mapping[str, Any]) -> str:
    return f" burst={limit['burst']} nodelay" if limit and limit["burst"] else ""


def _log_format(described: Mapping[str, Any], decided: _Decisions, kind: str) -> str:
    values = {
        **described["visitor"],
        "site": described["name"],
        "stage": described["stage"],
        "verdict": decided.logged_verdict,
        "reason": decided.logged_reason,
        "edge_signal": f"{decided.own}_edge_signal",
    }
    return render_log_format(kind, values, edge=bool(described["edge"]))
