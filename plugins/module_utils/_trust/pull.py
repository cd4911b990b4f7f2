# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetch a publication and install it if it comes from the authority of this host.

A pulled publication is checked like a pushed one, and two rules are added. Its root must be pinned by fingerprint or installed
already, so a new authority can only be pushed. And it must deny every serial that the installed trust denies.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._common.errors import MtlsError
from .._contracts.publication_format import DATA_FILES, MANIFEST
from .._deploy.generation_store import GenerationStore
from .chain_verification import known_crls, read_chain, read_installed_chain
from .install import Request, install_trust
from .publication_reader import FILES, read_digests, read_generation, read_publication
from .trust_anchor import check_anchors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime, timedelta

    from .._deploy.live_generation import LiveNginx
    from .chain_verification import Ca, Crl
    from .https_fetch import Source
    from .install import Outcome
    from .publication_reader import Publication

# Bytes. A hundred thousand revocations make a CRL of 5 MB and a denied.json of 15 MB.
_LIMITS = {MANIFEST: 1 << 16, "ca.pem": 1 << 20, "crl.pem": 1 << 26, "identities.json": 1 << 26, "denied.json": 1 << 26}
_ATTEMPTS = 5
_PAUSE = 2.0


@dataclass(frozen=True)
class Rules:
    """The rules for a pulled publication and its installation; see :class:`.install.Request`.

    :param roots: SHA-256 of accepted root certificates, lower-case hex; empty to accept the installed one only.
    """

    roots: frozenset[str]
    min_remaining: timedelta
    prove_timeout: float
    keep: int


class PullError(MtlsError):
    """An error with a code for the metrics: fetch, incomplete, older, foreign, or refused."""

    def __init__(self, code: str, problem: MtlsError) -> None:
        super().__init__(problem.what, problem.hint)
        self.code = code


def pull(
    nginx: LiveNginx, source: Source, rules: Rules, now: datetime, sleep: Callable[[float], None] = time.sleep
) -> Outcome:
    """Fetch the publication and install it.

    :raises PullError: if it cannot be fetched or is rejected; the live trust stays.
    """
    installed = installed_texts(nginx.conf_path)
    texts = _fetch(source, installed, sleep)
    _run_check("older", lambda: _check_not_older(texts, installed))
    _run_check("foreign", lambda: _check_origin(texts, installed, rules.roots, now))
    # Pinned roots can be added beside the installed one. Only a push replaces the installed authority.
    _run_check("foreign", lambda: _check_anchors(nginx.conf_path, texts["ca.pem"], now))
    request = Request(dict(texts), rules.min_remaining, rules.prove_timeout, rules.keep)
    try:
        return install_trust(nginx, request, now, check_mode=False)
    except MtlsError as problem:
        raise PullError("refused", problem) from problem


def installed_texts(conf_path: str) -> dict[str, str]:
    """Return the files of the live publication, empty if there is none."""
    shelf = GenerationStore(conf_path, "trust")
    return {name: text for name, text in shelf.files(shelf.live()).items() if name in FILES}


def installed_crls(conf_path: str, now: datetime) -> tuple[Crl, ...]:
    """Return the live CRLs, expired ones included; empty if they cannot be read."""
    installed = installed_texts(conf_path)
    try:
        chain = read_chain(installed.get("ca.pem", ""), now)
    except MtlsError:
        return ()
    return tuple(known_crls(installed.get("crl.pem", ""), chain).values())


def _check_anchors(conf_path: str, ca_pem: str, now: datetime) -> None:
    check_anchors(conf_path, ca_pem, "", now)


def _run_check(code: str, check: Callable[[], None]) -> None:
    try:
        check()
    except MtlsError as problem:
        raise PullError(code, problem) from None


def _fetch(source: Source, installed: Mapping[str, str], sleep: Callable[[float], None]) -> dict[str, str]:
    """Return the files after checking their digests in the manifest.

    The CA host writes the manifest last. A fetch during that write gets files that do not match, and is repeated.
    """
    for attempt in range(_ATTEMPTS):
        if attempt:
            sleep(_PAUSE)
        try:
            texts, differing = _fetch_once(source, installed)
        except MtlsError as problem:
            raise PullError("fetch", problem) from None
        if not differing:
            return texts
    what = f"{source.url}: {', '.join(differing)} did not have the digest in {MANIFEST} {_ATTEMPTS} times in a row"
    hint = "Copy all files of the publication unchanged, trust.json last"
    raise PullError("incomplete", MtlsError(what, hint))


def _fetch_once(source: Source, installed: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    manifest = _fetch_text(source, MANIFEST)
    digests = read_digests(manifest)
    texts = {name: _reuse_or_fetch(source, name, digests[name], installed) for name in DATA_FILES}
    return {**texts, MANIFEST: manifest}, [name for name in DATA_FILES if _digest(texts[name]) != digests[name]]


def _reuse_or_fetch(source: Source, name: str, digest: str, installed: Mapping[str, str]) -> str:
    held = installed.get(name)
    return held if held is not None and _digest(held) == digest else _fetch_text(source, name)


def _fetch_text(source: Source, name: str) -> str:
    data = source.fetch(name, _LIMITS[name])
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise MtlsError(f"{source.url}/{name} is not text", "Check the publication at trust_url") from None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _check_not_older(texts: Mapping[str, str], installed: Mapping[str, str]) -> None:
    if not installed:
        return
    held, offered = read_generation(installed.get(MANIFEST, "")), read_generation(texts[MANIFEST])
    if offered < held:
        raise MtlsError(
            f"The publication at trust_url is older (generation {offered}) than the installed trust ({held})",
            "Find out why an old one is served: it could be an attempt to undo a revocation",
        )


def _check_origin(texts: Mapping[str, str], installed: Mapping[str, str], roots: frozenset[str], now: datetime) -> None:
    publication = read_publication(texts)
    chain = read_chain(texts["ca.pem"], now)
    known = _installed_anchors(installed)
    if not (roots or known):
        raise MtlsError(
            "No trusted root: no trust is installed on this host, and trust_pull_roots is empty",
            "Install the first trust with trust_source push, or set trust_pull_roots to the SHA-256 of the root certificate",
        )
    for root in (ca for ca in chain if ca.is_root):
        # A root that was renewed with the same key has a new fingerprint.
        if not (root.sha256 in roots if roots else root.key_sha256 in known):
            raise MtlsError(
                f"The publication contains the root {root.subject} (SHA-256 {root.sha256}), which this host does not trust",
                "If it is your new root, install it with trust_source push, or add it to trust_pull_roots",
            )
    _check_denied(publication, chain, installed)


def _installed_anchors(installed: Mapping[str, str]) -> frozenset[str]:
    return frozenset(ca.key_sha256 for ca in read_installed_chain(installed.get("ca.pem", "")) if ca.is_root)


def _check_denied(publication: Publication, chain: tuple[Ca, ...], installed: Mapping[str, str]) -> None:
    if not installed:
        return
    former = read_installed_chain(installed.get("ca.pem", ""))
    # CAs are compared by key: a CA renewed with the same key is still the issuer of its denied certificates.
    keys = {ca.sha256: ca.key_sha256 for ca in (*former, *chain)}
    present = {ca.key_sha256 for ca in chain}
    lost = sorted(
        (issuer, serial)
        for issuer, serial in _denied_certificates(read_publication(installed), keys)
        - _denied_certificates(publication, keys)
        if issuer in present
    )
    if lost:
        raise MtlsError(
            f"The publication does not deny the serial {lost[0][1]} any more ({len(lost)} in total), but revocations are final",
            "Find out who changed it. If the authority was restored from a backup, repeat the revocations since then",
        )


def _denied_certificates(publication: Publication, keys: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    """Return the denied certificates by issuer key and serial, since ids differ between publications.

    :param keys: SHA-256 of a CA certificate -> SHA-256 of its public key.
    """
    issuers = {str(issuer.id): keys.get(issuer.sha256, issuer.sha256) for issuer in publication.issuers}
    pairs = (key.split(":") for key in publication.denied)
    return frozenset((issuers[issuer], serial) for issuer, serial in pairs)
