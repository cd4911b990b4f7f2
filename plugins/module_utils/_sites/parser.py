# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse and validate `gate_sites` into `Site` objects; all other code uses `Site` only."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .._common.errors import MtlsError
from .._contracts.gate_manifest import deadlines_of
from .._contracts.stages import STAGES
from .._contracts.status_protocol import STATUS_PATH
from .._nginx.config_lexer import Unreadable, tokens
from .._nginx.proxy_targets import PASSES
from .access_rules import parse_allow, parse_hsts, parse_identity_headers, parse_rate_limit
from .body_size import parse_body_size
from .edge import parse_edge
from .fallback_window import parse_window, settle
from .field_reader import FieldReader, first_duplicate, kind
from .header_policy import parse_header_policy
from .models import (
    EVERY_ADDRESS,
    KEYS,
    MANAGED,
    MODES,
    PATH_KEYS,
    REVOCATIONS,
    SPELLINGS,
    VHOST_KEYS,
    GuardedPath,
    Listen,
    Site,
)
from .path_patterns import hidden_patterns, spelled_pattern
from .upstreams import parse_decision_service, parse_path, parse_port, parse_upstream

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


_CONTACT_LIMIT = 200
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_LISTEN = re.compile(r"(?:(?P<address>\*|[0-9.]+|\[[0-9A-Fa-f:.]+\]):)?(?P<port>[0-9]+)")
_GUARDED_PATH = re.compile(r"(?:/[A-Za-z0-9._~@+-]+)+/?")
_PATH_LIMIT = 100


def parse_sites(raw: object) -> tuple[Site, ...]:
    """Validate the whole list ``gate_sites`` and return it with all defaults.

    :raises MtlsError: if a value is not valid; it names the site and the key.
    """
    if not isinstance(raw, (list, tuple)):
        raise MtlsError(f"gate_sites is {kind(raw)}, not a list", "Write it as a list with one entry for each site")
    written = tuple(_parse_site(entry, position) for position, entry in enumerate(raw, start=1))
    sites = tuple(one for site in written for one in (site, *_rehearsals(site)))
    _refuse_double_names(sites)
    _refuse_double_server_names([site for site in sites if site.stage != "absent"])
    return sites


def _rehearsals(site: Site) -> tuple[Site, ...]:
    """Return the same gate, enforced, on the staging ports."""
    if not site.staging_listen:
        return ()
    listen = site.staging_listen
    return (
        replace(site, name=f"{site.name}-staging", stage="enforce", listen=listen, staging_listen=(), rehearsal=True),
    )


def settle_windows(sites: Sequence[Site], manifest: object, now: float) -> tuple[Site, ...]:
    """Return the sites, those in stage ``fallback`` with a checked deadline.

    :param manifest: the manifest of the live gate, None if there is none.
    :param now: seconds since 1970.
    :raises MtlsError: if a window admits no client, or its deadline is in the past or too far ahead.
    """
    known = deadlines_of(manifest)
    return tuple(
        replace(site, window=settle(FieldReader({}, f"site {site.name}"), site.window, known.get(site.name, 0), now))
        if site.stage == "fallback"
        else site
        for site in sites
    )


def _parse_site(raw: object, position: int) -> Site:
    if not isinstance(raw, dict):
        raise MtlsError(f"gate_sites: entry {position} is {kind(raw)}, not a mapping", "Write it as keys and values")
    name = _parse_name(FieldReader(raw, f"entry {position}"))
    entry = FieldReader(raw, f"site {name}")
    _refuse_unknown_keys(entry, raw)
    mode = entry.choice("mode", MODES, "host", "is not a valid mode")
    _refuse_window_behind_edge(entry)
    manage = _parse_manage(entry)
    edge, identity_headers = parse_edge(entry), parse_identity_headers(entry)
    own = [*(header for header, _key, _variable in identity_headers), *(edge.header_names() if edge else ())]
    return Site(
        name=name,
        stage=_parse_stage(entry),
        manage=manage,
        mode=mode,
        edge=edge,
        server_names=_parse_server_names(entry),
        listen=_parse_listens(entry, "listen") or (Listen(EVERY_ADDRESS, 443),),
        staging_listen=_parse_staging_listens(entry, manage),
        upstream=parse_upstream(entry, answers=manage == "vhost"),
        paths=_parse_paths(entry, raw, mode, manage),
        path_spelling=_parse_path_spelling(entry, mode),
        allow=parse_allow(entry),
        window=parse_window(entry),
        identity_headers=identity_headers,
        headers=parse_header_policy(entry, own),
        auth_request=parse_decision_service(entry),
        hsts=parse_hsts(entry),
        rate_limit=parse_rate_limit(entry),
        revocation=entry.choice("revocation", REVOCATIONS, "crl"),
        certificate=parse_path(entry, "certificate") if manage == "vhost" else "",
        certificate_key=parse_path(entry, "certificate_key") if manage == "vhost" else "",
        contact=_parse_contact(entry),
        client_max_body_size=parse_body_size(entry, mode) if manage == "vhost" else "",
        websocket=entry.flag("websocket"),
        accepted_variable_targets=_parse_accepted_targets(entry),
        refuse_forged_headers=_parse_refuse_forged_headers(entry, mode, manage),
    )


def _refuse_window_behind_edge(entry: FieldReader) -> None:
    if entry.value("stage") == "fallback" and entry.value("source") == "edge":
        raise entry.problem(
            "stage",
            "fallback is not possible with source: edge; the peer of every connection is the edge, so a window would admit all",
            "Write stage: observe, and enforce when every client was seen with a certificate",
        )


def _parse_name(entry: FieldReader) -> str:
    hint = "Give the site a name of lower-case letters, digits, - and _, at most 32, beginning with a letter"
    name = entry.text("name", hint)
    if not _NAME.fullmatch(name):
        raise entry.problem("name", f"{name!r} is not a valid site name", hint)
    return name


def _refuse_unknown_keys(entry: FieldReader, raw: Mapping[Any, Any]) -> None:
    unknown = sorted(str(key) for key in raw if key not in KEYS)
    if unknown:
        raise entry.problem(", ".join(unknown), "unknown key", f"Write only keys of a site: {', '.join(KEYS)}")


def _parse_stage(entry: FieldReader) -> str:
    stage = entry.value("stage")
    if isinstance(stage, bool):
        raise entry.problem(
            "stage",
            f"{stage} is a boolean (YAML reads off, no, on and yes as one)",
            "Write stage: absent to remove the gate, or stage: enforce to close it",
        )
    return entry.choice("stage", STAGES, what="is not a valid stage")


def _parse_manage(entry: FieldReader) -> str:
    manage = entry.choice("manage", MANAGED, "vhost")
    if manage == "vhost":
        return manage
    if entry.value("stage") == "fallback":
        raise entry.problem(
            "stage",
            "fallback is not possible with manage: snippets",
            "Write stage: observe, and enforce when every client was seen with a certificate; or manage: vhost",
        )
    for key in VHOST_KEYS:
        if entry.given(key):
            raise entry.problem(key, "has no effect with manage: snippets; your own server sets it", "Remove it")
    return manage


def _parse_server_names(entry: FieldReader) -> tuple[str, ...]:
    hint = "Write the full host names at which clients reach the site, for example panel.example.org"
    return entry.each("server_names", hint, lambda text: _parse_host(entry, text, hint))


def _parse_host(entry: FieldReader, text: str, hint: str) -> str:
    """Return an exact host name in lower-case ASCII (RFC 1123 section 2.1; RFC 6066 section 3: no address, no final dot)."""
    if not text.isascii():
        raise entry.problem(
            "server_names", f"{text!r} is not ASCII", "Write it as the A-label that a browser sends, beginning xn--"
        )
    name = text.lower()
    labels = name.split(".")
    if not name or len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise entry.problem("server_names", f"{text!r} is not a valid host name (wildcards are not supported)", hint)
    if labels[-1].isdigit():
        raise entry.problem(
            "server_names", f"{text!r} is an address; a browser sends no server name for one (RFC 6066)", hint
        )
    return name


def _parse_staging_listens(entry: FieldReader, manage: str) -> tuple[Listen, ...]:
    if entry.given("staging_listen") and manage == "snippets":
        raise entry.problem(
            "staging_listen",
            "needs a server of the gate, and with manage: snippets there is none",
            "Write manage: vhost with stage: absent to try the gate beside your own server, or remove it",
        )
    return _parse_listens(entry, "staging_listen")


def _parse_listens(entry: FieldReader, key: str) -> tuple[Listen, ...]:
    hint = 'Write a list of ports, address:port or [IPv6 address]:port, for example ["443", "[::]:443"]'
    if not entry.given(key):
        return ()
    return entry.each(key, hint, lambda text: _parse_listen(entry, key, text, hint), lambda listen: listen.token)


def _parse_listen(entry: FieldReader, key: str, text: str, hint: str) -> Listen:
    match = _LISTEN.fullmatch(text)
    if not match:
        raise entry.problem(key, f"{text!r} is not a valid port, or address and port", hint)
    return Listen(_parse_address(entry, key, match["address"], hint), parse_port(entry, key, match["port"]))


def _parse_address(entry: FieldReader, key: str, text: str | None, hint: str) -> str:
    if text is None or text in (EVERY_ADDRESS, "0.0.0.0"):  # noqa: S104 the wildcard as a person writes it, nothing is bound
        return EVERY_ADDRESS
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        raise entry.problem(key, f"{text!r} is not a valid address", hint) from None


def _parse_paths(entry: FieldReader, raw: Mapping[str, Any], mode: str, manage: str) -> tuple[GuardedPath, ...]:
    hint = "Write a list of paths, each as /admin/ or as a mapping of path and, if another application answers there, upstream"
    listed = entry.value("paths")
    if mode == "host":
        if listed is not None:
            raise entry.problem("paths", "has no effect in mode host", "Remove it, or write mode: path")
        return ()
    if not isinstance(listed, (list, tuple)) or not listed:
        raise entry.problem("paths", "missing" if not listed else f"{listed!r} is {kind(listed)}, not a list", hint)
    paths = tuple(_parse_guarded(entry, raw, item, hint, manage) for item in listed)
    duplicate = first_duplicate([path.path.lower() for path in paths])
    if duplicate:
        raise entry.problem("paths", f"{duplicate} is listed more than once", "Remove the duplicate")
    return paths


def _parse_guarded(entry: FieldReader, raw: Mapping[str, Any], item: object, hint: str, manage: str) -> GuardedPath:
    values = {"path": item} if isinstance(item, str) else item
    if not isinstance(values, dict):
        raise entry.problem("paths", f"{item!r} is {kind(item)}, not a string", hint)
    part = FieldReader(values, entry.called, "paths: ")
    part.refuse_unknown(PATH_KEYS)
    path = _parse_guarded_path(part, hint)
    answers = manage == "vhost"
    for key in VHOST_KEYS:
        if not answers and part.given(key):
            raise part.problem(key, "has no effect with manage: snippets; your own server sets it", "Remove it")
    if part.given("upstream"):
        return GuardedPath(path, parse_upstream(part, answers=answers))
    for key in ("upstream_ca", "fastcgi_script"):
        if part.given(key):
            raise part.problem(key, "has no effect without an upstream beside it", "Write the upstream, or remove it")
    return GuardedPath(path, parse_upstream(FieldReader(raw, entry.called), answers=answers))


def _parse_guarded_path(part: FieldReader, hint: str) -> str:
    """Return a path that all programs read alike (RFC 3986 section 2.3), for ``location``, without a final slash."""
    text = part.text("path", hint)
    path = text.rstrip("/")
    if not path:
        raise part.problem("path", f"{text!r} is the whole site", "Write mode: host and no paths")
    if not text.isascii():
        raise part.problem(
            "path",
            f"{text!r} has characters beyond ASCII, which programs encode and normalize in different ways",
            "Guard an ASCII path that the application has instead, or the whole site with mode: host",
        )
    if not _GUARDED_PATH.fullmatch(text) or {".", ".."} & set(path.split("/")) or len(path) > _PATH_LIMIT:
        raise part.problem(
            "path",
            f"{text!r} is not a valid guarded path",
            f"Write it from the first slash on, in letters, digits and . _ ~ @ + -, at most {_PATH_LIMIT} characters",
        )
    if f"{STATUS_PATH}/".startswith(f"{path.lower()}/") or f"{path.lower()}/".startswith(f"{STATUS_PATH}/"):
        raise part.problem("path", f"{STATUS_PATH} belongs to the gate itself", "Guard another path")
    try:
        spelled_pattern(path)
        hidden_patterns([path])
    except MtlsError:
        raise part.problem(
            "path", f"{text!r} is too long to be matched in every spelling", "Guard a shorter path"
        ) from None
    return path


def _parse_path_spelling(entry: FieldReader, mode: str) -> str:
    spelling = entry.choice("path_spelling", SPELLINGS, "strict")
    if mode == "host" and entry.given("path_spelling"):
        raise entry.problem("path_spelling", "has no effect in mode host", "Remove it, or write mode: path")
    return spelling


def _parse_refuse_forged_headers(entry: FieldReader, mode: str, manage: str) -> bool:
    if not entry.given("refuse_forged_headers"):
        return True
    if (mode, manage) != ("host", "snippets"):
        raise entry.problem(
            "refuse_forged_headers",
            "has an effect only with manage: snippets and mode: host; elsewhere every open location replaces these headers",
            "Remove it",
        )
    return entry.flag("refuse_forged_headers")


def _parse_contact(entry: FieldReader) -> str:
    hint = f"Write one line of at most {_CONTACT_LIMIT} characters: the person to ask, and how"
    contact = entry.text("contact", hint, default="")
    if len(contact) > _CONTACT_LIMIT:
        raise entry.problem("contact", f"{len(contact)} characters are more than {_CONTACT_LIMIT}", hint)
    if not contact.isprintable():
        raise entry.problem("contact", "contains a line break or another control character", hint)
    return contact


def _parse_accepted_targets(entry: FieldReader) -> tuple[str, ...]:
    """Return directives with one space between their words, without quotes and semicolon, as the audit compares them."""
    key = "accepted_variable_targets"
    hint = "Write the directives as in the message of the audit, for example ['proxy_pass http://$backend']"

    def parse(text: str) -> str:
        words = _words_of(text)
        if len(words) < 2 or words[0] not in PASSES or "$" not in text:
            raise entry.problem(key, f"{text!r} is not a valid directive with a variable target", hint)
        return " ".join(words)

    return entry.each(key, hint, parse) if entry.given(key) else ()


def _words_of(directive: str) -> list[str]:
    """Return the words of one directive as nginx reads them, empty if the text is not one directive."""
    try:
        found = list(tokens(f"{directive.strip().rstrip(';')};", ""))
    except Unreadable:
        return []
    return [] if any(token.mark for token in found[:-1]) else [token.text for token in found[:-1]]


def _refuse_double_names(sites: Sequence[Site]) -> None:
    seen: dict[str, str] = {}
    for site in sites:
        if site.slug in seen:
            raise MtlsError(
                f"gate_sites: site {site.name}: name: the same as site {seen[site.slug]} (- and _ count as one)",
                "Give every site a name of its own",
            )
        seen[site.slug] = site.name


def _refuse_double_server_names(sites: Sequence[Site]) -> None:
    seen: dict[tuple[str, int], str] = {}
    for site in sites:
        for place in sorted({(name, listen.port) for name in site.server_names for listen in site.listen}):
            if place in seen:
                raise MtlsError(
                    f"gate_sites: site {site.name}: server_names: {place[0]} on port {place[1]} already belongs to site "
                    f"{seen[place]}",
                    "Give every site names of its own, or another port",
                )
            seen[place] = site.name
